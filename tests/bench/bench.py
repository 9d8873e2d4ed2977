#!/usr/bin/python3
"""Measures artifact-sync beside `rsync -a` over ssh, both in one run, turn by turn.

usage: bench.py [--rounds N] [--files N] [--samples N] [--only CASE...] [--json FILE] [--check]

  first-sync   20,000 files of 2 KB into an empty tree; artifact-sync's end is the acknowledgement of
               the last file, all of it durable; rsync syncs nothing
  latency      one changed file: from the close of the writer to its sight in the other tree
  latency-wan  the same at 50 ms round-trip time
  delta        8 bytes changed in 256 MiB: time, and bytes on the interface (root)
  rename       a directory of 10,000 files renamed: time, and bytes on the interface (root)
  reverse      from the command to a new active that accepts changes, the old one passive
  reverse-wan  the same at 50 ms round-trip time

Both programs work on the same machine, disk and trees; medians of the rounds are compared. --check
exits 1 when a target of the project is missed.
"""

import argparse
import json
import os
import platform
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "e2e"))

import harness  # noqa: E402
import netpair  # noqa: E402
import sample  # noqa: E402
import trees  # noqa: E402
from sshd import Sshd  # noqa: E402
from waiting import wait_until  # noqa: E402

MIB = 1 << 20
WAN_RTT_MS = 50


class Row:
    """One line of the table. `target` is the greatest value that is good enough; None: no target."""

    def __init__(self, case, what, value, unit, target=None):
        self.case, self.what, self.value, self.unit, self.target = case, what, value, unit, target

    @property
    def good(self):
        return self.target is None or self.value <= self.target

    def as_json(self):
        return {"case": self.case, "what": self.what, "value": self.value, "unit": self.unit,
                "target": self.target, "good": self.good}


def percentile(values, share):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def seconds(action):
    start = time.monotonic()
    action()
    return time.monotonic() - start


def warm(directory):
    """The same for both: everything in the page cache, what the machine still has to write written, and
    free memory that the host of a virtual machine has given already. Who runs first after much was
    freed would else run on memory that is there, and who runs later would fetch each page from the
    host, 10 µs for 4 KB: twice the cost of creating a file."""
    subprocess.run(["tar", "-cf", "/dev/null", "-C", str(directory), "."], check=True)
    os.sync()
    subprocess.run([sys.executable, "-c", "bytes(b'x') * (1 << 29)"], check=True)


# -- first sync ---------------------------------------------------------------------------------------

def first_sync_ours(home, number, source):
    """From the start of the active agent, whose peer waits with an empty tree, to `wait` saying that
    everything is durable there. The scan and the index of the source are part of it."""
    pair = harness.Pair(home / f"round{number}", init=False)
    pair.active.tree.rmdir()
    pair.active.tree = source
    harness.remove_tree(source / ".artifact-sync") if (source / ".artifact-sync").exists() else None
    try:
        pair.init()
        pair.passive.start()
        warm(source)

        def run():
            pair.active.start(wait=False)
            wait_until("everything has arrived", lambda: pair.active.cli(
                "wait", "--timeout", "300", timeout=320).exit == harness.DONE, 330, step=0.002)
        took = seconds(run)
        trees.assert_same(source, pair.passive.tree)
        peak = max(node.memory()[0]["VmHWM"] for node in pair.nodes)
    finally:
        pair.close()
    return took, peak


def first_sync_theirs(ssh, source, target, *options):
    target.mkdir()
    warm(source)
    return seconds(lambda: ssh.rsync(source, target, *options))


def first_sync(bench):
    source = bench.home / "source"
    trees.make_many(source, bench.files, 2048, per_directory=200)
    ours, theirs, peaks = [], [], []
    with Sshd(bench.home / "ssh") as ssh:
        for number in range(bench.rounds):
            took, peak = first_sync_ours(bench.home, number, source)
            ours.append(took)
            peaks.append(peak)
            theirs.append(first_sync_theirs(ssh, source, bench.home / f"rsync{number}"))
            print(f"  round {number + 1}: artifact-sync {took:.2f} s, rsync {theirs[-1]:.2f} s", flush=True)
        # Once is enough to show what it costs rsync to do half of the same: no directory is synced.
        durable = first_sync_theirs(ssh, source, bench.home / "fsync", "--fsync")
    us, them = statistics.median(ours), statistics.median(theirs)
    case = "first-sync"
    yield Row(case, f"artifact-sync, {bench.files} files of 2 KB, durable", us, "s")
    yield Row(case, "rsync -a over ssh, syncs nothing", them, "s")
    yield Row(case, "rsync -a --fsync over ssh, durable files, once", durable, "s")
    yield Row(case, "ratio to rsync -a", us / them, "x", 1.0)
    yield Row(case, "ratio to rsync -a --fsync", us / durable, "x")
    yield Row(case, "peak memory of an agent", max(peaks) / MIB, "MiB")


# -- change to visible --------------------------------------------------------------------------------

def watch_for(path, old_inode, timeout=30):
    """Polls, to half a millisecond, until another file stands there. @return when, monotonic"""
    deadline = time.monotonic() + timeout
    while True:
        now = time.monotonic()
        try:
            if os.stat(path).st_ino != old_inode:
                return now
        except FileNotFoundError:
            pass
        if now > deadline:
            raise AssertionError(f"{path} did not change within {timeout} s")
        # Leaves the processor to the agents, and the interpreter to the threads that hold bytes back.
        time.sleep(0.0005)


def latencies(pair, samples):
    """Milliseconds, one per change; each change begins when the one before is acknowledged."""
    store = "deployment/server/userstores/CUSTOMERS.xml"
    sample.write(pair.active.tree, 1)
    pair.wait()
    found = []
    for number in range(samples):
        content = sample.user_store("CUSTOMERS", revision=number + 2)
        arriving = pair.passive.tree / store
        old_inode = arriving.stat().st_ino
        with open(pair.active.tree / store, "wb") as file:
            file.write(content)
        closed = time.monotonic()
        found.append((watch_for(arriving, old_inode) - closed) * 1000)
        assert arriving.read_bytes() == content
        pair.wait()
    return found


def latency_rows(case, found, target):
    yield Row(case, f"change to visible, median of {len(found)}", statistics.median(found), "ms", target)
    yield Row(case, "99th percentile", percentile(found, 0.99), "ms")
    yield Row(case, "least", min(found), "ms")


def latency(bench):
    pair = harness.Pair(bench.home / "latency", profile="wso2is").start()
    try:
        found = latencies(pair, bench.samples)
    finally:
        pair.close()
    yield from latency_rows("latency", found, 50.0)

    # What a shell loop around rsync could reach at best: one run, begun when the file is closed.
    source, target = bench.home / "one-source", bench.home / "one-target"
    sample.write(source, 1)
    target.mkdir()
    times = []
    with Sshd(bench.home / "ssh-one") as ssh:
        ssh.rsync(source, target)
        for number in range(10):
            (source / "deployment/server/userstores/CUSTOMERS.xml").write_bytes(
                sample.user_store("CUSTOMERS", revision=number + 2))
            times.append(seconds(lambda: ssh.rsync(source, target)) * 1000)
    yield Row("latency", "one rsync -a over ssh, begun at the change", statistics.median(times), "ms")


def latency_wan(bench):
    """With a delay between them; the proxy holds bytes, and connections are still made at once."""
    pair = harness.Pair(bench.home / "wan", profile="wso2is", delay=WAN_RTT_MS / 2000).start()
    try:
        found = latencies(pair, max(20, bench.samples // 4))
        rtt = pair.active.status()["peers"][0]["rtt_ms"]
    finally:
        pair.close()
    if rtt is not None:
        yield Row("latency-wan", "round-trip time, measured by the agent", rtt, "ms")
    yield from latency_rows("latency-wan", found, WAN_RTT_MS / 2 + 50.0)


# -- what crosses the wire ----------------------------------------------------------------------------

def change_eight_bytes(path, number):
    with open(path, "r+b") as file:
        file.seek(123_456_789 + number * 1_000_003)
        file.write(b"%08d" % number)


def measured(net, action):
    before = net.bytes()
    took = seconds(action)
    return took, net.bytes() - before


def wire_case(bench, case, prepare, change, target_bytes):
    """The same change, by us and by rsync, through the same wire; `change(tree, number)` makes it."""
    home = bench.home / case
    with netpair.NetPair() as net:
        pair = harness.Pair(home, net=net)
        prepare(pair.active.tree)
        target = home / "rsync"
        target.mkdir()
        ours, theirs = [], []
        try:
            with Sshd(home / "ssh", net=net) as ssh:
                pair.start()
                pair.wait(300)
                ssh.rsync(pair.active.tree, target)
                for number in range(bench.rounds):
                    def run(number=number):
                        change(pair.active.tree, number)
                        pair.wait(300)
                    ours.append(measured(net, run))
                    theirs.append(measured(net, lambda: ssh.rsync(pair.active.tree, target)))
                trees.assert_same(pair.active.tree, pair.passive.tree)
        finally:
            pair.close()
    for name, results in (("artifact-sync", ours), ("rsync -a over ssh", theirs)):
        limit = target_bytes / 1e6 if name == "artifact-sync" else None
        yield Row(case, f"{name}", statistics.median(each[0] for each in results), "s")
        yield Row(case, f"{name}, on the wire", statistics.median(each[1] for each in results) / 1e6,
                  "MB", limit)


def delta(bench):
    def prepare(tree):
        trees.write_random(tree / "large.bin", 256 * MIB)
    yield from wire_case(bench, "delta", prepare,
                         lambda tree, number: change_eight_bytes(tree / "large.bin", number),
                         0.01 * 256 * MIB)


def rename(bench):
    def prepare(tree):
        trees.make_many(tree / "name0", 10_000, 2048, per_directory=10_000)
    yield from wire_case(bench, "rename", prepare,
                         lambda tree, number: os.rename(tree / f"name{number}", tree / f"name{number + 1}"),
                         400 * 10_000)


# -- the roles exchanged ------------------------------------------------------------------------------

def reversals(pair, rounds):
    """Seconds that `reverse` took on an in-sync pair, from its start to its end: then the new active
    accepts changes and the old one is passive, with equal digests."""
    sample.write(pair.active.tree, 1)
    pair.wait()
    found = []
    for number in range(rounds):
        for node in pair.nodes:
            node.wait_for_state("in_sync")
        (pair.active.tree / "resources" / "last").write_text(f"written before the command {number}")
        pair.wait()
        began = time.monotonic()
        answer = pair.active.cli("reverse", "--yes", "--json")
        found.append(time.monotonic() - began)
        assert answer.exit == harness.DONE, repr(answer)
        pair.active, pair.passive = pair.passive, pair.active
        assert [node.status()["role"] for node in (pair.active, pair.passive)] == ["active", "passive"]
        pair.wait()
        assert pair.active.status()["digest"] == pair.passive.status()["digest"]
    trees.assert_same(pair.active.tree, pair.passive.tree)
    return found


def reverse_case(bench, case, delay, target):
    pair = harness.Pair(bench.home / case, delay=delay).start()
    try:
        found = reversals(pair, max(10, bench.rounds))
    finally:
        pair.close()
    yield Row(case, f"command to new active, median of {len(found)}", statistics.median(found), "s", target)
    yield Row(case, "slowest", max(found), "s")
    yield Row(case, "least", min(found), "s")


def reverse(bench):
    yield from reverse_case(bench, "reverse", 0.0, 1.0)


def reverse_wan(bench):
    yield from reverse_case(bench, "reverse-wan", WAN_RTT_MS / 2000, 10 * WAN_RTT_MS / 1000 + 1.0)


# -- the run ------------------------------------------------------------------------------------------

CASES = {"first-sync": first_sync, "latency": latency, "latency-wan": latency_wan, "delta": delta,
         "rename": rename, "reverse": reverse, "reverse-wan": reverse_wan}
NEED_NAMESPACES = {"delta", "rename"}


def show(rows):
    print(f"\n{'case':<12} {'what':<48} {'value':>10}      target")
    for row in rows:
        verdict = "" if row.target is None else f"<= {row.target:g}  {'met' if row.good else 'MISSED'}"
        print(f"{row.case:<12} {row.what:<48} {row.value:>10.2f} {row.unit:<4} {verdict}".rstrip())


def machine():
    return {"cores": os.cpu_count(), "kernel": platform.release(), "machine": platform.machine(),
            "load": os.getloadavg()[0]}


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--files", type=int, default=20_000)
    parser.add_argument("--samples", type=int, default=200)
    parser.add_argument("--only", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--json", type=Path)
    parser.add_argument("--check", action="store_true")
    bench = parser.parse_args()
    bench.home = harness.scratch()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    rows, skipped = [], {}
    try:
        for name in bench.only:
            reason = netpair.why_unavailable() if name in NEED_NAMESPACES else None
            if reason:
                skipped[name] = reason
                continue
            print(f"{name} ...", flush=True)
            rows += CASES[name](bench)
    finally:
        harness.remove_tree(bench.home)
    show(rows)
    for name, reason in skipped.items():
        print(f"{name:<12} left out: {reason}")
    if bench.json:
        bench.json.write_text(json.dumps({
            "machine": machine(), "rounds": bench.rounds, "skipped": skipped,
            "rows": [row.as_json() for row in rows]}, indent=1) + "\n")
    return 1 if bench.check and not all(row.good for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
