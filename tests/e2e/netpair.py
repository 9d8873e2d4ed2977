"""Two network namespaces joined by a veth pair: bytes are counted on the interface, the cable can be
pulled."""

import json
import os
import subprocess

ADDRESSES = ("10.213.77.1", "10.213.77.2")
PREFIX_LENGTH = "30"
_numbers = iter(range(1 << 20))


def why_unavailable():
    """None, or why namespaces cannot be made here."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    probe = f"asprobe{os.getpid()}"
    try:
        made = subprocess.run(["ip", "netns", "add", probe], capture_output=True, text=True)
    except FileNotFoundError:
        return "the program ip (iproute2) is not installed"
    if made.returncode != 0:
        return f"ip netns add: {made.stderr.strip()}"
    entered = subprocess.run(["ip", "netns", "exec", probe, "true"], capture_output=True, text=True)
    subprocess.run(["ip", "netns", "del", probe], capture_output=True)
    return None if entered.returncode == 0 else f"ip netns exec: {entered.stderr.strip()}"


def _ip(*arguments):
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"ip {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout


class NetPair:
    """names[0] and names[1] see each other at addresses[0] and addresses[1], and nothing else."""

    def __init__(self):
        number = f"{os.getpid()}n{next(_numbers)}"
        self.names = (f"as{number}a", f"as{number}b")
        self.addresses = ADDRESSES
        self.device = "wire0"
        self._make()

    def _make(self):
        made = []
        try:
            for name in self.names:
                _ip("netns", "add", name)
                made.append(name)
                _ip("-n", name, "link", "set", "lo", "up")
            _ip("link", "add", self.device, "netns", self.names[0], "type", "veth",
                "peer", "name", self.device, "netns", self.names[1])
            for name, address in zip(self.names, self.addresses):
                _ip("-n", name, "address", "add", f"{address}/{PREFIX_LENGTH}", "dev", self.device)
                _ip("-n", name, "link", "set", self.device, "up")
        except RuntimeError:
            for name in made:
                _ip("netns", "del", name)
            raise

    def bytes(self):
        """Bytes that crossed the wire, both directions, headers of every layer included."""
        link = json.loads(_ip("-n", self.names[0], "-j", "-s", "link", "show", self.device))[0]
        counters = link["stats64"]
        return counters["rx"]["bytes"] + counters["tx"]["bytes"]

    def cut(self):
        """Packets vanish in both directions; no reset, no error to the sockets."""
        _ip("-n", self.names[1], "link", "set", self.device, "down")

    def restore(self):
        _ip("-n", self.names[1], "link", "set", self.device, "up")

    def command(self, side, *arguments):
        """The argument vector that runs a program on one side (0 or 1)."""
        return ["ip", "netns", "exec", self.names[side], *arguments]

    def close(self):
        for name in self.names:
            subprocess.run(["ip", "netns", "del", name], capture_output=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
