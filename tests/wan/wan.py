"""Two network namespaces with a long cable between them.

    with Wan(delay_ms=25) as wan:
        server = wan.a.popen([...])            # runs inside namespace a, which is wan.a.address
        wan.b.run([...], check=True)
        wan.cut(); wan.restore()               # the link goes down, and comes up again
        wan.blackhole(); wan.mend()            # packets vanish and nobody is told
        wan.counters()["a_to_b"]               # bytes on the cable
        wan.a.counters()["tx_bytes"]           # the same seen by the kernel, headers once per 64 KiB

Needs root and /dev/net/tun; why_not() says what is missing.
"""
import itertools
import json
import os
import re
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parent.parent
BUILD = Path(os.environ.get("ARTIFACT_SYNC_BUILD", REPOSITORY / "build")).resolve()
EMULATOR = BUILD / "tests" / "wan" / "wan-emulator"
PROBE = HERE / "probe.py"
DEVICE = "wan0"
STARTUP_SECONDS = 10

_serial = itertools.count(1)


def why_not():
    """The reason why no Wan can be made here, or None."""
    if os.geteuid() != 0:
        return "needs root, to make network namespaces"
    if not os.access("/dev/net/tun", os.R_OK | os.W_OK):
        return "needs /dev/net/tun"
    if not EMULATOR.exists():
        return f"{EMULATOR} is not built (set ARTIFACT_SYNC_BUILD)"
    probe = f"wan-probe-{os.getpid()}"
    made = subprocess.run(["ip", "netns", "add", probe], capture_output=True, text=True)
    if made.returncode != 0:
        return f"ip netns add: {made.stderr.strip()}"
    subprocess.run(["ip", "netns", "delete", probe], check=True)
    return None


class Namespace:
    def __init__(self, name, address):
        self.name = name
        self.address = address

    def command(self, argv):
        """argv, to be run inside."""
        return ["ip", "netns", "exec", self.name, *map(str, argv)]

    def run(self, argv, **options):
        return subprocess.run(self.command(argv), **options)

    def popen(self, argv, **options):
        return subprocess.Popen(self.command(argv), **options)

    def counters(self):
        """{"rx_bytes", "tx_bytes", "rx_packets", ...} of the device, by the kernel."""
        shown = subprocess.run(["ip", "-n", self.name, "-j", "-s", "link", "show", DEVICE],
                               check=True, capture_output=True, text=True)
        stats = json.loads(shown.stdout)[0]["stats64"]
        return {f"{way}_{what}": n for way, row in stats.items() for what, n in row.items()}

    def set_link(self, state):
        subprocess.run(["ip", "-n", self.name, "link", "set", DEVICE, state], check=True)

    def ping(self, address, count=5):
        """Round-trip times in milliseconds, of the answers that came."""
        done = self.run([sys.executable, PROBE, "ping", address, count], check=True,
                        capture_output=True, text=True)
        return json.loads(done.stdout)

    def _make(self):
        subprocess.run(["ip", "netns", "add", self.name], check=True)
        subprocess.run(["ip", "-n", self.name, "link", "set", "lo", "up"], check=True)

    def _allow_window(self, most):
        for name in ("tcp_rmem", "tcp_wmem"):
            self.run(["sysctl", "-qw", f"net.ipv4.{name}=4096 131072 {most}"], check=True)

    def _remove(self):
        subprocess.run(["ip", "netns", "delete", self.name], capture_output=True)


class Wan:
    def __init__(self, delay_ms=25, queue_mb=64, tcp_buffer_mb=None):
        """tcp_buffer_mb: what one connection may have under way; None: the kernel's default of 4 to 6 MB,
        which at 50 ms is about 0.6 Gbit/s, as on a machine that nobody tuned."""
        serial = next(_serial)
        base = f"wan{os.getpid()}x{serial}"
        # Devices in namespaces of their own do not mind equal addresses elsewhere.
        self.net = f"10.77.{serial % 250}.0"
        self.a = Namespace(f"{base}a", self.net[:-1] + "1")
        self.b = Namespace(f"{base}b", self.net[:-1] + "2")
        self.delay_ms = delay_ms
        self.queue_mb = queue_mb
        self.tcp_buffer_mb = tcp_buffer_mb
        self.emulator = None

    def __enter__(self):
        try:
            self.a._make()
            self.b._make()
            if self.tcp_buffer_mb:
                self.a._allow_window(self.tcp_buffer_mb << 20)
                self.b._allow_window(self.tcp_buffer_mb << 20)
            self._start_emulator()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_):
        self.close()

    def _start_emulator(self):
        self.emulator = subprocess.Popen(
            [EMULATOR, "--a", self.a.name, "--b", self.b.name, "--net", self.net,
             "--delay-ms", str(self.delay_ms), "--queue-mb", str(self.queue_mb)],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0)
        if self._line() != "ready":
            raise RuntimeError(f"wan-emulator did not start: {self.emulator.stderr.read()!r}")

    def _line(self):
        """One line from the emulator, by a deadline. Its output is unbuffered: select sees all of it."""
        line = b""
        end = time.monotonic() + STARTUP_SECONDS
        while not line.endswith(b"\n"):
            ready, _, _ = select.select([self.emulator.stdout], [], [], end - time.monotonic())
            if not ready:
                raise TimeoutError("wan-emulator says nothing")
            byte = self.emulator.stdout.read(1)
            if not byte:
                break
            line += byte
        return line.decode().strip()

    def _ask(self, which):
        self.emulator.send_signal(which)
        return json.loads(self._line())

    def counters(self):
        return self._ask(signal.SIGUSR1)

    def cut(self):
        """Both links go down: established connections starve, new ones fail at once."""
        self.a.set_link("down")
        self.b.set_link("down")

    def restore(self):
        self.a.set_link("up")
        self.b.set_link("up")

    def blackhole(self):
        """Packets vanish: to both sides the other is merely silent."""
        if not self.counters()["cut"]:
            self._ask(signal.SIGUSR2)

    def mend(self):
        if self.counters()["cut"]:
            self._ask(signal.SIGUSR2)

    def close(self):
        """Ends everything of ours, also what was left running inside the namespaces."""
        if self.emulator:
            self.emulator.terminate()
            self.emulator.wait(timeout=STARTUP_SECONDS)
            self.emulator.stdout.close()
            self.emulator.stderr.close()
            self.emulator = None
        for namespace in (self.a, self.b):
            inside = subprocess.run(["ip", "netns", "pids", namespace.name], capture_output=True,
                                    text=True).stdout
            for pid in re.findall(r"\d+", inside):
                try:
                    os.kill(int(pid), signal.SIGKILL)
                except ProcessLookupError:
                    pass
            namespace._remove()
