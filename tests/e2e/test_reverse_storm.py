"""Switchovers and failovers in turns, while writers do to the active's tree whatever they like. The
server that is stopped by before_demote is played by writers that rest."""

import json
import os
import random
import subprocess

import pytest

import trees
from harness import DONE
from roles import assert_all_salvaged, contents, done, failover, reverse, settle
from storm import Writers, process_state
from waiting import let_pass, wait_until

SLOW = os.environ.get("ARTIFACT_SYNC_SLOW") == "1"
ROUNDS = 20 if SLOW else 4

# Rests the writers, as `systemctl stop` would stop the server: returns when they hold nothing open. What
# is never replicated (FIFOs and the like) goes with it: it would stay on a node that becomes passive.
STOP = """#!/bin/sh
for pid in $(cat "$1"); do kill -USR1 "$pid" || exit 1; done
for pid in $(cat "$1"); do
	until grep -q '^State:.T' /proc/"$pid"/status; do sleep 0.05; done
done
exec find "$2" -not -type f -not -type d -not -type l -delete
"""


@pytest.fixture
def stormy(make_pair, home):
    pair = make_pair(proxied=True, settings={"ownership": "preserve", "settle_max_ms": 2000})
    script = home / "stop"
    script.write_text(STOP)
    script.chmod(0o755)
    for node in pair.nodes:
        node.configure(hooks={"before_demote": [str(script), str(home / "pids"), str(node.tree)]})
    trees.make_many(pair.active.tree / "still", 100, 3000, per_directory=50)
    pair.start()
    pair.converge()
    settle(pair)
    return pair


class Turns:
    def __init__(self, pair, home, seed):
        self.pair, self.pids, self.seed = pair, home / "pids", seed
        self.dice = random.Random(seed)
        self.writers, self.began = None, 0
        self.report = []

    def begin(self):
        """Writers on whoever is active now."""
        self.began += 1
        self.writers = Writers(self.pair.active.tree, self.seed + self.began, 2, 60)
        self.pids.write_text(" ".join(str(each.pid) for each in self.writers.processes))
        let_pass(0.5 + self.dice.random() * 1.5)

    def switchover(self):
        pair = self.pair
        told = done(reverse(pair.active, "--timeout", "120", timeout=150), pair.passive, pair.active)
        for each in self.writers.processes:
            assert process_state(each.pid) == "T", "the server still ran when the roles were exchanged"
        self.writers.abandon()
        self.writers = None
        phases = " ".join(f"{each['phase']} {each['ms']}" for each in told["timeline"])
        self.report.append(f"switchover {told['seconds']:.2f} s: {phases}")

    def failover(self):
        pair = self.pair
        pair.cut()
        let_pass(self.dice.random() * 0.5)
        pair.active.kill()
        subprocess.run([str(self.pids.with_name("stop")), str(self.pids), str(pair.active.tree)], check=True)
        self.writers.abandon()
        self.writers = None
        pair.passive.wait_for("it knows", lambda s: not s["peers"][0]["connected"])
        told = done(failover(pair.passive, "--accept-data-loss", timeout=150), pair.passive)
        alone = self.alone()  # what had begun to be published when the link was cut is so by now
        old = pair.active
        pair.restore()
        old.start()
        settle(pair, 180)
        assert_all_salvaged(old, alone)
        self.report.append(f"failover, {len(told['lost'])} told and {len(alone)} files of its own saved")

    def alone(self):
        """The contents that only the dead active has: nowhere in the other's tree, under whatever name."""
        ours, theirs = (trees.snapshot(node.tree) for node in (self.pair.active, self.pair.passive))
        known = {entry[4] for entry in theirs.values()}
        paths = [os.fsdecode(path) for path, entry in ours.items()
                 if entry[0] == "file" and entry[4] not in known]
        return contents(self.pair.active.tree, paths)


def all_booked(node):
    told = node.cli("ledger", "--json").json["entries"]
    assert sorted({each["epoch"] for each in told}) == list(range(2, ROUNDS + 2)), json.dumps(told)
    return told


def test_turns_in_a_storm(stormy, home, seed):
    pair = stormy
    turns = Turns(pair, home, seed)
    try:
        for number in range(ROUNDS):
            turns.begin()
            turns.switchover() if number % 2 == 0 else turns.failover()
            settle(pair, 180)
            pair.converge(180, special_left_out=True)
    finally:
        if turns.writers:
            turns.writers.abandon()
        print("\n".join(turns.report))
    pair.assert_verified("--deep")
    pair.assert_tidy()
    for node in pair.nodes:
        verified = node.cli("ledger", "verify")
        assert verified.exit == DONE, repr(verified)
        told = wait_until("each change is booked", lambda node=node: all_booked(node))
        for each in told:
            if each["active"] == node.name:
                assert each["kind"] == ("planned", "failover")[each["epoch"] % 2], json.dumps(each)
    assert pair.active.status()["epoch"] == ROUNDS + 1
