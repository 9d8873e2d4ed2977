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


def numbers(seed, most, count):
    """Which calls are hit. In a slow run all, until one is not reached; else one of each `count`th part of
    them: how many are made depends on what comes together into a batch, and the first ones always are."""
    if SLOW:
        yield from range(1, 100_000)
    chooser = random.Random(seed)
    for part in range(count):
        yield chooser.randrange(1 + part * most // count, 1 + (part + 1) * most // count)


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


def assert_old_or_new(top, old, new, local):
    """A node that nobody speaks to for ten seconds puts back what somebody has written, too."""
    try:
        faults.assert_old_or_new(top, old, new)
    except AssertionError:
        faults.assert_old_or_new(top, {**old, b"local": local}, new)


def indexed_unsent(pair, number):
    """Until the active has indexed all that was done before, with nobody to send it to: what the watcher
    tells last is there."""
    last = f"last of {number}"
    (pair.active.tree / last).write_bytes(b"")

    def is_indexed():
        told = pair.active.ask("exposure")
        return told and last in [each["path"] for each in told["paths"]]
    wait_until("the last change is indexed", is_indexed)
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
    for count, nth in enumerate(numbers(seed, CALLS["passive"], SAMPLE), 1):
        pair.passive.stop()
        pair.cut()
        replicated = trees.snapshot(pair.passive.tree)[b"local"]
        local = local_content(pair, count)
        old = trees.snapshot(pair.passive.tree)
        faults.change(pair.active.tree, count)
        indexed_unsent(pair, count)
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
            assert_old_or_new(pair.passive.tree, old, new, replicated)
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
    for count, nth in enumerate(numbers(seed, CALLS["active"], SAMPLE), 1):
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
    for count, nth in enumerate(numbers(seed, 39, 3), 1):
        pair.converge()
        old = trees.snapshot(pair.passive.tree)
        mark = node.log_mark()
        if side == "passive":  # what the active has indexed in the midst of the change is not sent
            assert pair.active.cli("pause").exit == DONE
            faults.change(pair.active.tree, count)
            indexed_unsent(pair, count)
            order.give(nth, error, -1)
            assert pair.active.cli("resume").exit == DONE
        else:
            order.give(nth, error, -1)
            faults.change(pair.active.tree, count)
        wait_until("a call fails, or everything has arrived", lambda: faults.hits(node, mark)
                   or pair.active.cli("wait", "--timeout", "1").exit == DONE, 60)
        if not faults.hits(node, mark):
            order.withdraw()
            if SLOW:
                break
            continue
        node.wait_for("status tells what and why", lambda s: os.strerror(error) in problem_text(s), 60)
        assert os.strerror(error) in node.log(begun)  # a line that repeats is written once
        new = trees.snapshot(pair.active.tree)
        if side == "passive":
            faults.assert_old_or_new(pair.passive.tree, old, new)
        order.withdraw()
        all_is_well(pair, 90)
        node.wait_for("nothing is wrong any more", lambda s: not s["problems"], 90)
        told += 1
    assert told > 0
    assert pair.passive.status()["salvage"] == 0
