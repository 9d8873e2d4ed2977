"""Every durable call of either agent fails or is its last. What is on the disk afterwards is judged
before the agent has spoken to anybody: a batch has happened, or it has not."""

import errno
import os
import random

import pytest

import faults
import trees
from harness import DONE, problem_text
from waiting import wait_until

pytestmark = pytest.mark.skipif(not faults.are_built_in(), reason="the build is without -Dfaults=true")

SLOW = os.environ.get("ARTIFACT_SYNC_SLOW") == "1"
SAMPLE = 9           # of the durable calls in a normal run; all in a slow one
CALLS = {"passive": 150, "active": 30}  # about as many are made; the slow loops end by themselves
ERRORS = [errno.EIO, errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EMFILE]


def numbers(seed, side):
    """Which calls are hit. In a slow run all, until one is not reached."""
    if SLOW:
        yield from range(1, 100_000)
    yield from sorted(random.Random(seed).sample(range(1, CALLS[side]), SAMPLE))


@pytest.fixture
def parted(make_pair):
    """A pair with a proxy, in sync, the trees of which hold what faults.change() changes."""
    pair = make_pair(proxied=True)
    faults.begin(pair.active.tree)
    pair.start()
    pair.converge()
    return pair


def local_content(pair, number):
    """Somebody writes on the passive, where nobody should: its content must be saved."""
    content = f"local {number}".encode() * 20
    (pair.passive.tree / "local").write_bytes(content)
    return content


def assert_saved(pair, content):
    found = []
    for entry in sorted(pair.passive.salvaged(), key=lambda each: each["id"], reverse=True):
        shown = pair.passive.cli("salvage", "show", str(entry["id"]), "--json").json
        if os.path.isfile(shown["location"]):
            with open(shown["location"], "rb") as file:
                found.append(file.read())
        if content in found:
            return
    raise AssertionError(f"what was written on the passive is lost; the salvage has {found}")


def indexed_alone(pair):
    """Until the active has indexed everything, with nobody to send it to."""
    pair.active.wait_for("everything is indexed", lambda s: not s["work"]["dirty_paths"]
                         and not s["work"]["scanning"] and s["peers"][0]["pending_changes"] > 20)


def settled(node):
    """Until a batch of before is finished and the leftovers are gone."""
    wait_until(f"{node.name} has settled", lambda: node.status() and not node.staged())


def all_is_well(pair, timeout=60):
    pair.converge(timeout)
    pair.assert_verified("--deep")
    pair.assert_tidy()


def dies(order, pair, node):
    """Until it dies at the call that was ordered, or everything has arrived. @return whether it died;
    if it lives it goes on living"""
    wait_until("it dies, or has everything", lambda: not node.running or has_everything(pair), 60)
    order.withdraw()
    # An answer that was asked for after the order was withdrawn comes from one that lives.
    wait_until("it answers, or is dead", lambda: not node.running or node.status(), 60)
    return not node.running


def test_the_passive_dies_at_each_durable_call(parted, seed):
    pair = parted
    order = faults.Order(pair.passive)
    where = []
    for count, nth in enumerate(numbers(seed, "passive"), 1):
        pair.passive.stop()
        pair.cut()
        local = local_content(pair, count)
        old = trees.snapshot(pair.passive.tree)
        faults.change(pair.active.tree, count)
        indexed_alone(pair)
        new = trees.snapshot(pair.active.tree)
        mark = pair.passive.log_mark()
        order.give(nth, faults.KILL)
        pair.passive.start(wait=False, extra_environment=order.environment)
        pair.restore()
        reached = dies(order, pair, pair.passive)
        if reached:
            where.append(faults.hits(pair.passive, mark)[0])
            pair.passive.kill()
            pair.cut()
            pair.passive.start()
            settled(pair.passive)
            faults.assert_old_or_new(pair.passive.tree, old, new)
            faults.assert_index_is_tree(pair.passive, but=b"local")
            pair.restore()
        all_is_well(pair)
        assert_saved(pair, local)
        if not reached and SLOW:
            break
    print(f"{len(where)} deaths:", *where, sep="\n")
    assert len(where) > (50 if SLOW else 3)


def has_everything(pair):
    status = pair.active.status() or {}
    return status.get("state") == "in_sync"  # an agent that dies in the midst of an answer has none


def test_the_active_dies_at_each_durable_call(parted, seed):
    pair = parted
    order = faults.Order(pair.active)
    deaths = 0
    for count, nth in enumerate(numbers(seed, "active"), 1):
        pair.active.stop()
        faults.change(pair.active.tree, count)
        order.give(nth, faults.KILL)
        pair.active.start(wait=False, extra_environment=order.environment)
        reached = dies(order, pair, pair.active)
        if reached:
            deaths += 1
            pair.active.kill()
            pair.active.start()
        all_is_well(pair)
        if not reached:
            break
    assert deaths > 3


@pytest.mark.parametrize("side", ["passive", "active"])
@pytest.mark.parametrize("error", ERRORS, ids=errno.errorcode.get)
def test_calls_fail_and_then_work_again(parted, seed, side, error):
    """From the nth call on all fail, until somebody has been told; then they work again. Nothing is
    started anew."""
    pair = parted
    node = pair.passive if side == "passive" else pair.active
    order = faults.Order(node)
    node.stop()
    node.start(extra_environment=order.environment)
    begun = node.log_mark()
    told = 0
    chosen = range(1, 100_000) if SLOW else sorted(random.Random(seed).sample(range(1, 40), 3))
    for count, nth in enumerate(chosen, 1):
        pair.converge()
        old = trees.snapshot(pair.passive.tree)
        mark = node.log_mark()
        order.give(nth, error, -1)
        faults.change(pair.active.tree, count)
        wait_until("a call fails, or everything has arrived", lambda: faults.hits(node, mark)
                   or pair.active.cli("wait", "--timeout", "1").exit == DONE, 60)
        if not faults.hits(node, mark):
            order.withdraw()
            if SLOW:
                break
            continue
        node.wait_for("status tells what and why", lambda s: os.strerror(error) in problem_text(s), 30)
        assert os.strerror(error) in node.log(begun)  # a line that repeats is written once
        new = trees.snapshot(pair.active.tree)
        if side == "passive":
            faults.assert_old_or_new(pair.passive.tree, old, new)
        order.withdraw()
        all_is_well(pair, 90)
        node.wait_for("nothing is wrong any more", lambda s: not s["problems"], 30)
        told += 1
    assert told > 0
    assert pair.passive.status()["salvage"] == 0
