"""An ssh server of our own with a key of its own, so that rsync can be measured beside us."""

import getpass
import os
import shutil
import socket
import subprocess
from pathlib import Path

from harness import free_port
from waiting import wait_until

CONFIGURATION = """\
Port {port}
ListenAddress {host}
HostKey {home}/host_key
PidFile none
AuthorizedKeysFile {home}/user_key.pub
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM no
StrictModes no
PermitRootLogin prohibit-password
PermitUserEnvironment no
"""


class Sshd:
    """@param net  a NetPair: the server lives on side 1, rsync is started on side 0"""

    def __init__(self, home, net=None):
        self.home = Path(home)
        self.home.mkdir(parents=True)
        self.net = net
        self.host = net.addresses[1] if net else "127.0.0.1"
        self.port = free_port()
        for name in ("host_key", "user_key"):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self.home / name],
                           check=True)
        # The server chroots its unprivileged half into this directory; a package creates it at boot.
        if os.geteuid() == 0:
            os.makedirs("/run/sshd", mode=0o755, exist_ok=True)
        (self.home / "config").write_text(CONFIGURATION.format(
            port=self.port, host=self.host, home=self.home))
        # It starts itself again for every connection, so its path must be absolute.
        command = [shutil.which("sshd", path="/usr/sbin:/usr/bin"), "-D", "-e", "-f",
                   str(self.home / "config")]
        self.log = open(self.home / "log", "wb")
        self.process = subprocess.Popen(self._on(1, *command), stderr=self.log)
        wait_until("sshd answers", self._answers)

    def _on(self, side, *command):
        return self.net.command(side, *command) if self.net else list(command)

    def _answers(self):
        if self.process.poll() is not None:
            raise RuntimeError(f"sshd ended: {(self.home / 'log').read_text()}")
        if self.net:
            return self._run(0, *self._ssh(), f"{getpass.getuser()}@{self.host}", "true").returncode == 0
        try:
            socket.create_connection((self.host, self.port), 1).close()
            return True
        except OSError:
            return False

    def _ssh(self):
        return ["ssh", "-F", "none", "-i", str(self.home / "user_key"), "-p", str(self.port),
                "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null",
                "-o", "LogLevel=ERROR", "-o", "BatchMode=yes", "-o", "IdentitiesOnly=yes"]

    def _run(self, side, *command):
        return subprocess.run(self._on(side, *command), capture_output=True, text=True)

    def rsync(self, source, target, *options):
        """rsync -a of one tree into the other, as the two regions would run it."""
        done = self._run(0, "rsync", "-a", "--delete", "--exclude=/.artifact-sync", *options,
                         "-e", " ".join(self._ssh()), f"{source}/",
                         f"{getpass.getuser()}@{self.host}:{target}/")
        if done.returncode != 0:
            raise RuntimeError(f"rsync exit {done.returncode}: {done.stderr}\n"
                               f"{(self.home / 'log').read_text()}")

    def close(self):
        self.process.terminate()
        self.process.wait()
        self.log.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
