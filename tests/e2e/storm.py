"""A storm: writers that do to the active's tree whatever they like, while links, agents, watching
children, queues and disks fail in random turns. docs/TESTING.md says what it proves."""

import json
import os
import random
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path

import processes
from waiting import SCALE, let_pass, wait_until

WRITER = Path(__file__).with_name("storm_writer.py")
QUEUE = Path("/proc/sys/fs/inotify/max_queued_events")
MEMORY_SLACK = 8 << 20


def process_state(pid):
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


class Writers:
    """The processes that change the tree; all at once stopped with nothing held open, and going on."""

    def __init__(self, tree, seed, count, pace_ms):
        self.processes = [
            subprocess.Popen([sys.executable, str(WRITER), str(tree), str(seed * 100 + number), str(pace_ms)],
                             stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
            for number in range(count)]
        for each in self.processes:
            wait_until("a writer has begun", lambda each=each: processes.takes(each.pid, signal.SIGUSR1), 60)

    def rest(self):
        for each in self.processes:
            each.send_signal(signal.SIGUSR1)
        for each in self.processes:
            wait_until("a writer rests", lambda each=each: process_state(each.pid) == "T", 60)

    def go_on(self):
        for each in self.processes:
            each.send_signal(signal.SIGCONT)

    def end(self):
        """@return how often they did what"""
        total = {}
        for each in self.processes:
            each.send_signal(signal.SIGTERM)
        for each in self.processes:
            out, _ = each.communicate(timeout=60 * SCALE)
            assert each.returncode == 0, f"a writer of the storm ended with {each.returncode}"
            for name, count in json.loads(out).items():
                total[name] = total.get(name, 0) + count
        return total

    def abandon(self):
        for each in self.processes:
            if each.poll() is None:
                each.kill()
                each.wait()


class Storm:
    """@param disks  {"passive tree" | "passive state" | "active state": Disk}, may be empty
    @param only   the name of the only turn there is; all of them without"""

    def __init__(self, pair, seed, seconds, disks, writers=3, pace_ms=60, only=None):
        self.pair, self.disks, self.only = pair, disks, only
        self.dice = random.Random(seed)
        self.seconds = seconds
        self.writers = Writers(pair.active.tree, seed, writers, pace_ms)
        self.counts = {"checkpoints": 0}
        self.changes = {}
        self.with_kills = True
        self.log = []        # when each turn began
        self.memory = {}     # pid -> [bytes]

    # -- turns: each ends with everything in order again ----------------------------------------------

    def cut(self):
        self.pair.cut()
        self._pause(1.5)
        self.pair.restore()

    def freeze(self):
        self.pair.freeze()
        self._pause(3)
        self.pair.restore()

    def kill_agents(self):
        nodes = self.dice.choice((self.pair.nodes[:1], self.pair.nodes[1:], self.pair.nodes))
        for node in nodes:
            node.kill()
        self._pause(0.7)
        for node in nodes:
            node.start(wait=False)

    def stop_agent(self):
        node = self.dice.choice(self.pair.nodes)
        os.kill(node.pid, signal.SIGSTOP)
        self._pause(2)
        os.kill(node.pid, signal.SIGCONT)

    def _watching_children(self):
        return processes.watchers(self.pair.active.pid)

    @staticmethod
    def _signal(child, number):
        """It may have ended a moment ago."""
        try:
            os.kill(child, number)
        except ProcessLookupError:
            pass

    def kill_watcher(self):
        for child in self._watching_children():
            self._signal(child, signal.SIGKILL)
        self._pause(0.5)

    def overflow(self):
        """More events than the kernel keeps, while nobody takes them."""
        children = self._watching_children()
        for child in children:
            self._signal(child, signal.SIGSTOP)
        try:
            for number in range(int(QUEUE.read_text())):
                path = self.pair.active.tree / f"burst {number % 50}"
                try:
                    # It may be a FIFO by now, and nobody at its other end.
                    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NONBLOCK, 0o644))
                    os.chmod(path, 0o600 + number % 64)
                except OSError:
                    pass  # a writer moved it, or made a directory of it
            self._pause(0.3)
        finally:
            for child in children:
                self._signal(child, signal.SIGCONT)

    def fill(self):
        name, disk = self.dice.choice(sorted(self.disks.items()))
        self.log[-1] += f" of {name}"
        disk.fill(leave=self.dice.choice((0, 0, 50_000, 2 << 20)))
        self._pause(4)
        if self.with_kills and self.dice.random() < 0.3:
            self.kill_agents()
        disk.free()

    def reload(self):
        node = self.dice.choice(self.pair.nodes)
        if node.running and processes.takes(node.pid, signal.SIGHUP):  # also in the midst of its start
            os.kill(node.pid, signal.SIGHUP)
        self._pause(0.3)

    # -- between turns --------------------------------------------------------------------------------

    def _pause(self, longest):
        let_pass(self.dice.random() * longest)

    def checkpoint(self):
        """Nothing moves; what `wait` vouches for is compared."""
        self.writers.rest()
        self._agents_answer()
        self.pair.converge(180, special_left_out=True)
        self._assert_calm()
        self.counts["checkpoints"] += 1
        self.writers.go_on()

    def _start_again(self):
        """What the service manager does with an agent that could not begin because its disk is full."""
        for node in self.pair.nodes:
            if not node.running:
                assert node.process.returncode == 1 and "No space left" in node.log_tail(3), \
                    f"{node.name} ended by itself with {node.process.returncode}\n{node.log_tail(60)}"
                node.start(wait=False)
                self.counts["started again"] = self.counts.get("started again", 0) + 1

    def _agents_answer(self):
        wait_until("both agents answer", self._both_answer, 90)

    def _both_answer(self):
        self._start_again()
        return all(node.status() for node in self.pair.nodes)

    def _assert_calm(self):
        assert self.pair.passive.status()["salvage"] == 0, \
            f"the storm made content look foreign: {self.pair.passive.salvaged()}"

    def _look(self):
        self._start_again()
        for node in self.pair.nodes:
            rss = processes.memory(node.pid).get("VmRSS")
            if rss:
                self.memory.setdefault(node.pid, []).append(rss)

    def _turns(self, with_kills):
        if self.only:
            return [getattr(self, self.only)]
        turns = [self.cut] * 3 + [self.freeze, self.kill_watcher, self.overflow, self.reload, self.stop_agent]
        turns += [self.fill] * 3 if self.disks else []
        return turns + [self.kill_agents] * 4 if with_kills else turns

    def run(self):
        """The last part goes without kills, so that there are agents old enough to have leaked."""
        began = time.monotonic()
        turn = 0
        while (passed := time.monotonic() - began) < self.seconds:
            self.with_kills = passed < 0.6 * self.seconds
            turns = self._turns(self.with_kills)
            # Each kind comes early once; afterwards chance rules.
            kinds = list(dict.fromkeys(turns))
            chosen = kinds[turn] if turn < len(kinds) else self.dice.choice(turns)
            self.log.append(f"{time.strftime('%H:%M:%S', time.gmtime())} {chosen.__name__}")
            chosen()
            self.counts[chosen.__name__] = self.counts.get(chosen.__name__, 0) + 1
            self._look()
            self._pause(2)
            self._look()
            turn += 1
            if turn % 15 == 0:
                self.checkpoint()

    def finish(self):
        """Everything is well again and must become equal."""
        self.changes = self.writers.end()
        self._agents_answer()
        self.pair.converge(300, special_left_out=True)
        self._assert_calm()
        self.pair.assert_tidy()
        self.pair.assert_verified("--deep")
        for node in self.pair.nodes:
            node.wait_for("nothing is wrong any more", lambda s: s["state"] == "in_sync" and all(
                each.startswith("special:") for each in s["problems"]), 90)  # FIFOs are no fault

    def assert_memory_is_flat(self):
        for pid, samples in self.memory.items():
            if len(samples) < 40:
                continue
            samples = samples[8:]  # caches fill
            half = len(samples) // 2
            early, late = statistics.median(samples[:half]), statistics.median(samples[half:])
            assert late < early * 1.15 + MEMORY_SLACK, \
                f"process {pid} grows: {early >> 20} MiB, then {late >> 20} MiB"

    def report(self):
        overflows = (self.pair.active.status() or {}).get("watch", {}).get("overflows")
        told = sum(node.log().count("No space left") + node.log().count("disk is full")
                   for node in self.pair.nodes)
        ages = {pid: (len(s), max(s) >> 20) for pid, s in self.memory.items() if len(s) >= 20}
        return ("\n".join(self.log) + f"\nchanges {sum(self.changes.values())}: {self.changes}\nturns {self.counts}\n"
                f"overflows seen by the last child {overflows}, lines about full disks {told}\n"
                f"memory (samples, most MiB) {ages}")
