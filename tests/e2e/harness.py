"""Agents as objects: a Node is one agent with its tree, a Pair is an active and a passive one.

Everything here goes through the program's commands and `status --json`, as an operator would.
"""

import itertools
import json
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import tempfile
from pathlib import Path

import processes
import trees
from proxy import Proxy
from waiting import SCALE, wait_until

BUILD = Path(os.environ.get("ARTIFACT_SYNC_BUILD", trees.REPOSITORY / "build")).resolve()
PROGRAM = BUILD / "agent" / "artifact-sync"
WATCH_PROGRAM = BUILD / "agent" / "watch" / "child" / "artifact-sync-watch"

DONE, NO, USAGE, REFUSED, NOT_RUNNING, UNREACHABLE, TIMED_OUT = range(7)

# Seconds. Each of them waits for the disk, which others keep busy.
STARTS_WITHIN = ENDS_WITHIN = 60

# A sanitizer's report ends the process with this, so that it is never taken for an answer.
SANITIZER_EXIT = 99


def environment():
    values = dict(os.environ)
    values["ARTIFACT_SYNC_WATCH"] = str(WATCH_PROGRAM)
    values.setdefault("ASAN_OPTIONS", f"exitcode={SANITIZER_EXIT}")
    values.setdefault("UBSAN_OPTIONS", f"halt_on_error=1:exitcode={SANITIZER_EXIT}:print_stacktrace=1")
    values.pop("ARTIFACT_SYNC_CONFIG", None)
    return values


def _ports():
    worker = int(re.sub(r"\D", "", os.environ.get("PYTEST_XDIST_WORKER", "")) or 20)
    first, start = 10_000 + 1000 * worker, random.randrange(1000)
    return itertools.cycle(first + (start + number) % 1000 for number in range(1000))


_next_ports = _ports()


def free_port(host="127.0.0.1"):
    """Below the range that the kernel takes for outgoing connections: between two runs of an agent
    nobody else is to be given its port. Each worker of pytest-xdist has a thousand of its own, and
    gives none again before all were given."""
    for port in itertools.islice(_next_ports, 1000):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
                return port
            except OSError:
                continue
    raise RuntimeError(f"no port is free on {host}")


def scratch():
    """A directory of our own, short enough for a Unix socket beneath it."""
    return Path(tempfile.mkdtemp(prefix="as-", dir=os.environ.get("ARTIFACT_SYNC_SCRATCH")))


class Answer:
    """What a command said: exit code, text, and the JSON object if it printed one."""

    def __init__(self, command, done):
        self.command = command
        self.exit = done.returncode
        self.out = done.stdout.decode("utf-8", "surrogateescape")
        self.err = done.stderr.decode("utf-8", "surrogateescape")

    @property
    def json(self):
        return json.loads(self.out)

    @property
    def text(self):
        return self.out + self.err

    def __repr__(self):
        return f"`{' '.join(self.command)}` exit {self.exit}\n{self.text}"


def run(*arguments, prefix=(), timeout=60, program=PROGRAM):
    """Runs `artifact-sync arguments...` to its end."""
    command = [*prefix, str(program), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, timeout=timeout * SCALE, env=environment(),
                          stdin=subprocess.DEVNULL)
    answer = Answer([str(part) for part in arguments], done)
    assert done.returncode != SANITIZER_EXIT and done.returncode >= 0, f"it crashed: {answer!r}"
    return answer


class Node:
    """One agent: its configuration, tree, state and process."""

    def __init__(self, home, name, role, profile="all", group="is", host="127.0.0.1", prefix=(),
                 tree=None):
        self.home = Path(home) / name
        self.home.mkdir(parents=True, exist_ok=True)
        self.name, self.role, self.profile, self.group = name, role, profile, group
        self.tree = Path(tree) if tree else self.home / "tree"
        self.tree.mkdir(parents=True, exist_ok=True)
        self.state = self.home / "state"
        self.config = self.home / "config.json"
        self.log_path = self.home / "agent.log"
        self.host, self.port = host, free_port()
        self.prefix = list(prefix)
        self.process = None
        self.fingerprint = None

    # -- commands ---------------------------------------------------------------------------------

    def cli(self, *arguments, timeout=60):
        return run("--config", self.config, *arguments, timeout=timeout)

    def init(self, adopt=False, check=True, follow=()):
        answer = run("init", "--config", self.config, "--node", self.name, "--group", self.group,
                     "--tree", self.tree, "--state-dir", self.state,
                     "--listen", f"{self.host}:{self.port}", "--role", self.role,
                     "--profile", self.profile, *(["--adopt"] if adopt else []),
                     *[part for path in follow for part in ("--follow", path)])
        found = re.search(r"^(sha256:[0-9a-f]{64})$", answer.out, re.MULTILINE)
        if check:
            assert answer.exit == DONE, repr(answer)
            assert found, f"no fingerprint on a line of its own: {answer!r}"
        self.fingerprint = found.group(1) if found else None
        return answer

    def pair(self, other, address=None, fingerprint=None):
        answer = self.cli("pair", "--node", other.name,
                          "--address", address or f"{other.host}:{other.port}",
                          "--fingerprint", fingerprint or other.fingerprint)
        assert answer.exit == DONE, repr(answer)
        return answer

    def configure(self, **settings):
        """Writes settings into the configuration; None removes one."""
        values = json.loads(self.config.read_text())
        for key, value in settings.items():
            if value is None:
                values.pop(key, None)
            else:
                values[key] = value
        self.config.write_text(json.dumps(values, indent=1))

    # -- the process ------------------------------------------------------------------------------

    def start(self, wait=True, extra_environment=None):
        assert not self.running, f"{self.name} runs already"
        log = open(self.log_path, "ab")
        command = [*self.prefix, str(PROGRAM), "--config", str(self.config), "agent"]
        self.process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL,
                                        env={**environment(), **(extra_environment or {})})
        log.close()
        if wait:
            wait_until(f"the agent of {self.name} answers", self._answers, STARTS_WITHIN)
        return self

    def _answers(self):
        if self.process.poll() is not None:
            raise RuntimeError(f"{self.name} ended with {self.process.returncode}:\n{self.log_tail()}")
        return self.status()

    @property
    def running(self):
        return self.process is not None and self.process.poll() is None

    @property
    def pid(self):
        return self.process.pid

    def stop(self, timeout=ENDS_WITHIN):
        """SIGTERM; the agent must end by itself and cleanly."""
        if not self.process:
            return
        if self.running:
            self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(timeout * SCALE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError(f"{self.name} did not end on SIGTERM:\n{self.log_tail()}") from None
        self.process = None
        assert code == 0, f"{self.name} ended with {code} on SIGTERM:\n{self.log_tail()}"

    def kill(self):
        """SIGKILL to the agent alone, as the kernel's memory killer would. Its child must notice."""
        if self.process:
            self.process.kill()
            self.process.wait()
            self.process = None

    def abandon(self):
        """End of a test: away with it, whatever its state."""
        if not self.process:
            return 0
        if self.running:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(ENDS_WITHIN * SCALE)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        code, self.process = self.process.returncode, None
        return code

    # -- what it says -----------------------------------------------------------------------------

    def status(self):
        """The object of `status --json`, or None while nobody answers."""
        return self.ask("status")

    def ask(self, verb):
        """What a command that prints the answer to this request would print, or None. No process is
        started: for what is asked again and again."""
        for _ in range(3):
            try:
                with socket.socket(socket.AF_UNIX) as door:
                    door.settimeout(20 * SCALE)
                    door.connect(str(self.state / "control.sock"))
                    door.sendall(json.dumps({"verb": verb}).encode() + b"\n")
                    said = {}
                    with door.makefile("rb") as lines:
                        for said in map(json.loads, lines):
                            if "result" in said:
                                return said["result"]
                if said:
                    return None
            except (BrokenPipeError, ConnectionResetError):
                pass  # as when it ends without a word: we were held up before we had asked, and it waits for nobody
            except (OSError, ValueError):
                return None
        return None

    def work(self, name):
        """One of the counters under "work": files_hashed bytes_hashed bytes_sent bytes_received."""
        return self.status()["work"][name]

    def wait_for(self, what, condition, timeout=20.0):
        """Until condition(status) is true. @return that status; a failure shows the last one and the log"""
        last = {}

        def holds():
            last["status"] = self.status()
            return last["status"] if last["status"] and condition(last["status"]) else None
        try:
            return wait_until(f"{self.name}: {what}", holds, timeout)
        except AssertionError as error:
            raise AssertionError(f"{error}\nlast status: {json.dumps(last.get('status'), indent=1)}\n"
                                 f"{self.log_tail()}") from None

    def wait_for_state(self, *states, timeout=20.0):
        return self.wait_for(f"state is {' or '.join(states)}",
                             lambda status: status["state"] in states, timeout)

    def log(self, since=0):
        try:
            with open(self.log_path, "rb") as file:
                file.seek(since)
                return file.read().decode("utf-8", "backslashreplace")
        except FileNotFoundError:
            return ""

    def log_mark(self):
        return self.log_path.stat().st_size if self.log_path.exists() else 0

    def log_tail(self, lines=25):
        tail = "\n".join(self.log().splitlines()[-lines:])
        return f"--- log of {self.name}:\n{tail}"

    def wait_for_log(self, pattern, since=0, timeout=20.0):
        """The first line at or after `since` (a log_mark()) that matches the regular expression."""
        def found():
            for line in self.log(since).splitlines():
                if re.search(pattern, line, re.IGNORECASE):
                    return line
            return None
        try:
            return wait_until(f"the log of {self.name} has /{pattern}/", found, timeout)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.log_tail()}") from None

    def memory(self):
        """Peak and present resident bytes of the agent and, apart, of its watching child."""
        return (processes.memory(self.pid),
                [processes.memory(child) for child in processes.children(self.pid)])

    # -- its own directory in the tree -------------------------------------------------------------

    def staged(self):
        """Names of temporary files."""
        stage = self.tree / ".artifact-sync" / "stage"
        return sorted(os.listdir(stage)) if stage.is_dir() else []

    def salvaged(self):
        answer = self.cli("salvage", "list", "--json")
        assert answer.exit == DONE, repr(answer)
        return answer.json["entries"]

    def salvaged_content(self, path):
        """What the salvage keeps of a path, itself or within a directory salvaged whole; None."""
        for entry in self.salvaged():
            if path != entry["path"] and not path.startswith(entry["path"] + "/"):
                continue
            shown = self.cli("salvage", "show", str(entry["id"]), "--json")
            assert shown.exit == DONE, repr(shown)
            beneath = path[len(entry["path"]):].lstrip("/")
            return Path(shown.json["location"], beneath).read_bytes()
        return None


def held_paths(status):
    """Paths in status.held; each is a string or an object with "path"."""
    return [each["path"] if isinstance(each, dict) else each for each in status["held"]]


def problem_text(status):
    return json.dumps(status.get("problems", [])) + json.dumps(status.get("not_ready", []))


class Pair:
    """An active and a passive node that know each other.

    @param net       a NetPair: each node lives in its namespace; else both on loopback
    @param proxied   loopback only: each reaches the other through a Proxy
    @param delay     of that Proxy, seconds one way
    @param settings  written into both configurations; the delete brake is off unless they have
                     max_delete (None: the program's default)
    """

    def __init__(self, home, profile="all", net=None, proxied=False, delay=0.0, settings=None,
                 init=True):
        hosts = net.addresses if net else ("127.0.0.1", "127.0.0.1")
        prefixes = [net.command(side) if net else [] for side in (0, 1)]
        self.net = net
        self.active = Node(home, "a", "active", profile, host=hosts[0], prefix=prefixes[0])
        self.passive = Node(home, "b", "passive", profile, host=hosts[1], prefix=prefixes[1])
        self.nodes = (self.active, self.passive)
        self.proxies = {}
        self.proxied, self.delay = proxied or delay > 0, delay
        # Random changes to a small tree are mostly what a brake is there to stop.
        self.settings = {"max_delete": 0, **(settings or {})}
        if init:
            self.init()

    def init(self, adopt=False, follow=()):
        self.active.init(follow=follow)
        self.passive.init(adopt=adopt, follow=follow)
        for one, other in (self.nodes, self.nodes[::-1]):
            address = None
            if self.proxied:
                self.proxies[one.name] = Proxy(other.port, self.delay)
                address = f"127.0.0.1:{self.proxies[one.name].port}"
            one.pair(other, address=address)
            if self.settings:
                one.configure(**self.settings)
        return self

    def start(self):
        for node in self.nodes:
            node.start(wait=False)
        for node in self.nodes:
            wait_until(f"the agent of {node.name} answers", node._answers, STARTS_WITHIN)
        return self

    def stop(self):
        for node in self.nodes:
            node.stop()

    def wire_bytes(self):
        """Bytes between the nodes so far: on the interface, or through the proxies."""
        return self.net.bytes() if self.net else sum(each.bytes for each in self.proxies.values())

    def freeze(self):
        for each in self.proxies.values():
            each.freeze()

    def cut(self):
        for each in [self.net] if self.net else self.proxies.values():
            each.cut()

    def restore(self):
        for each in [self.net] if self.net else self.proxies.values():
            each.restore()

    def wait(self, timeout=60):
        """`wait` on the active: everything that happened before is on the passive."""
        answer = self.active.cli("wait", "--timeout", str(int(timeout * SCALE)), timeout=timeout + 30)
        assert answer.exit == DONE, f"{answer!r}\n{self.report()}"
        return answer

    def converge(self, timeout=60, **compare):
        """wait(), and then nobody's word is taken for it: trees and digests are compared."""
        self.wait(timeout)
        trees.assert_same(self.active.tree, self.passive.tree, **compare)
        ours, theirs = self.active.status(), self.passive.status()
        assert ours["digest"] == theirs["digest"], f"digests differ\n{self.report()}"
        return ours

    def wait_until_calm(self):
        """Until nothing is racy any more: a file whose timestamps were too young when it was read
        is read once more, and only then known for good."""
        def calm():
            before = [node.work("files_hashed") for node in self.nodes]
            self.wait()
            for node in self.nodes:
                node.wait_for_state("in_sync")
            return before == [node.work("files_hashed") for node in self.nodes]
        (self.active.tree / "calm").write_bytes(b"the clock of the file system has moved on")
        wait_until("nothing is hashed again", calm, 60, step=0.1)

    def assert_verified(self, *options):
        answer = self.active.cli("verify", *options, "--json", timeout=180)
        assert answer.exit == DONE, f"{answer!r}\n{self.report()}"
        assert answer.json["equal"] is True, repr(answer)

    def assert_tidy(self):
        """No temporary file stays. The last ones may be removed just after the acknowledgement."""
        for node in self.nodes:
            wait_until(f"nothing is left in the staging directory of {node.name}",
                       lambda node=node: not node.staged())

    def report(self):
        parts = []
        for node in self.nodes:
            try:
                parts.append(f"--- status of {node.name}: {json.dumps(node.status(), indent=1)}")
            except (AssertionError, OSError, ValueError, subprocess.TimeoutExpired) as error:
                parts.append(f"--- no status of {node.name}: {error}")
            parts.append(node.log_tail())
        return "\n".join(parts)

    def close(self):
        """@return the names and exit codes of agents that did not end cleanly"""
        codes = {node.name: node.abandon() for node in self.nodes}
        for each in self.proxies.values():
            each.close()
        return {name: code for name, code in codes.items() if code != 0}


def remove_tree(directory):
    """Also what has no permission bits."""
    def mend(function, path, _):
        os.chmod(os.path.dirname(path), 0o700)
        os.chmod(path, 0o700)
        function(path)
    shutil.rmtree(directory, onerror=mend)
