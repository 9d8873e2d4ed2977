"""Both agents killed at random points while the tree changes."""

import os
import random
import signal

import pytest

import processes
import trees
from harness import NO, REFUSED, USAGE
from reads import ReadWatch
from test_commands import reload
from waiting import wait_until

KILLS = 50


def seq(node):
    status = node.status()
    return status["seq"] if status else 0


def storm(pair, seed, kills):
    """A stream of changes with SIGKILLs in it, each after a random number of changes."""
    chooser = random.Random(seed)
    top = pair.active.tree / "moving"
    top.mkdir()
    changer = trees.Changer(top, seed)
    for _ in range(kills):
        for _ in range(chooser.choice((1, 5, 20, 60))):
            changer.step()
        how = chooser.randrange(4)
        if how == 0:
            # Mid-transfer: the passive has moved on by a random amount since the changes.
            target = min(seq(pair.passive) + chooser.randrange(1, 10), seq(pair.active))
            wait_until("the passive gets something or has all",
                       lambda target=target: seq(pair.passive) >= target, 60, 0.002)
        victims = chooser.choice((pair.nodes[:1], pair.nodes[1:], pair.nodes))
        for node in victims:
            node.kill()
        for _ in range(chooser.choice((0, 3, 10))):
            changer.step()
        for node in victims:
            node.start(wait=chooser.random() < 0.5)
    for node in pair.nodes:
        wait_until(f"{node.name} answers", node._answers)


def test_fifty_kills_during_a_stream_of_changes(make_pair, seed):
    pair = make_pair()
    still = pair.active.tree / "still"
    trees.make_many(still, 600, 3000, per_directory=100, seed=seed)
    for path in still.rglob("*.bin"):
        os.utime(path, (10**9, 10**9))  # what changed just before a kill is read again, and should be
    pair.start()
    pair.converge()
    pair.wait_until_calm()
    with (ReadWatch(pair.active.tree / "still") as ours,
          ReadWatch(pair.passive.tree / "still") as theirs):
        storm(pair, seed, KILLS)
        pair.wait(120)
        assert not ours.files(), f"unchanged files were read on the active: {list(ours.files())[:5]}"
        assert not theirs.files(), f"unchanged files were read on the passive: {list(theirs.files())[:5]}"
    pair.converge()
    pair.assert_tidy()
    assert pair.passive.status()["salvage"] == 0, "a crash made content look foreign"
    pair.assert_verified("--deep")


@pytest.mark.short
def test_a_few_kills(make_pair, seed):
    """The same, short enough for every build."""
    pair = make_pair().start()
    storm(pair, seed, 8)
    pair.converge(120)
    pair.assert_tidy()
    assert pair.passive.status()["salvage"] == 0


def test_a_kill_in_the_middle_of_a_large_file(make_pair, seed):
    """Half a file is never visible, and its temporary goes away."""
    pair = make_pair(settings={"limits": {"rate_bytes_per_s": 1 << 20}})
    path = pair.active.tree / "large"
    path.write_bytes(b"the old version")
    pair.start()
    pair.converge()
    trees.write_random(pair.active.home / "new", 40 << 20, seed)  # whole at once, however slow the disk is
    (pair.active.home / "new").rename(path)
    wait_until("the passive is staging it", pair.passive.staged)
    pair.passive.kill()
    assert (pair.passive.tree / "large").read_bytes() == b"the old version"
    reload(pair.active, limits={})
    pair.passive.start()
    pair.converge(120)
    pair.assert_tidy()


def test_the_watching_child_ends_with_its_agent(pair):
    children = wait_until("the child watches", lambda: processes.watchers(pair.active.pid))
    pair.active.kill()
    for child in children:
        wait_until("the watching child has noticed", lambda child=child: not processes.is_running(child))


@pytest.mark.short
def test_a_watching_child_that_dies_is_started_again(pair):
    (pair.active.tree / "one").write_bytes(b"1")
    pair.converge()
    before = processes.watchers(pair.active.pid)
    for child in before:
        os.kill(child, signal.SIGKILL)
    (pair.active.tree / "two").write_bytes(b"2")
    pair.converge()
    wait_until("a new child runs", lambda: set(processes.watchers(pair.active.pid)) - set(before))
    (pair.active.tree / "three").write_bytes(b"3")
    pair.passive.wait_for("it arrives without anybody asking",
                          lambda s: (pair.passive.tree / "three").exists())
    pair.converge()


def test_a_second_agent_on_the_same_state_is_refused(pair):
    answer = pair.active.cli("agent")
    assert answer.exit in (NO, USAGE, REFUSED), repr(answer)
    assert answer.err.strip()
    pair.converge()
