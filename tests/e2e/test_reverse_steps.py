"""A planned reverse is interrupted before every one of its steps, on either side, by a kill or a cut.
Whatever step it is: agents are started again, the link is back, and nobody does anything else;
then one node is active, the other follows it, and nothing is lost."""

import concurrent.futures
import re

import pytest

import faults
import trees
from harness import DONE, UNREACHABLE
from roles import Hooks, done, failover, lineage_of, reverse, settle
from waiting import SCALE, wait_until

pytestmark = pytest.mark.skipif(not faults.are_built_in(), reason="the build is without -Dfaults=true")

PATIENCE = int(60 * max(1, SCALE))  # seconds
AFTERWARDS = ("AFTER_DEMOTE", "AFTER_PROMOTE", "ON_FENCED")
STEP = re.compile(r"fault: role step (\d+) (\w+)")


def fault(step, what):
    return {"ARTIFACT_SYNC_ROLE_FAULT": f"{step}:{what}"}


def steps(node, since=0):
    """[(number, action)] that the agent tells of."""
    return [(int(number), action) for number, action in STEP.findall(node.log(since))]


@pytest.fixture
def parted(make_pair, home):
    pair = make_pair(proxied=True)
    hooks = Hooks(pair.nodes, home)
    trees.make_many(pair.active.tree / "still", 20, 2000, seed=1)
    pair.start()
    pair.converge()
    settle(pair)
    return pair, hooks


def restarted(node, environment=None):
    """Counting begins anew."""
    if node.running:
        node.stop()
    mark = node.log_mark()
    node.start(extra_environment=environment)
    return mark


def have_ended(node):
    """Has each hook that was owed ended, and is that noted? One that a restart cuts short is run again, and is
    the first step then."""
    actions = [action for _, action in steps(node)]
    last = max((at for at, action in enumerate(actions) if action in AFTERWARDS), default=None)
    return last is None or "STORE" in actions[last:]


def clean_run(pair, hooks):
    """@return {"giver": [(number, action)], "heir": [...]} of a reverse without faults"""
    giver, heir = pair.active, pair.passive
    marks = [restarted(node) for node in pair.nodes]
    settle(pair)
    hooks.forget()
    done(reverse(giver), heir)
    settle(pair)
    for name in (f"{heir.name} after_promote", f"{giver.name} after_demote"):
        hooks.wait_for(name)
    told = {node: steps(node, mark) for node, mark in zip(pair.nodes, marks)}
    counted = {"giver": told[giver], "heir": told[heir]}
    print(counted)
    for side, found in counted.items():
        assert [number for number, _ in found] == list(range(1, len(found) + 1)), (side, found)
    return counted


def write(pair, tag):
    """What must be there afterwards, some of it not even noticed when the reverse begins."""
    tree = pair.active.tree
    (tree / f"before {tag}").write_text(f"before {tag}")
    pair.wait()
    for number in range(5):
        (tree / f"at once {tag} {number}").write_text(f"at once {tag} {number}")
    (tree / "rewritten").write_text(f"rewritten {tag}")
    return {path: entry[4] for path, entry in trees.snapshot(tree).items() if entry[0] == "file"}


def interrupt(pair, hooks, side, step, what, tag):
    """@return whether the step was reached"""
    giver = pair.active
    node = giver if side == "giver" else pair.passive
    wait_until("no hook is owed", lambda: all(have_ended(each) for each in pair.nodes), 60)
    mark = restarted(node, fault(step, what))
    settle(pair)
    expected = write(pair, tag)
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        asked = pool.submit(reverse, giver, "--timeout", str(PATIENCE))
        reached = is_reached(pair, node, mark, step, what, asked)
        if reached and what == "kill":
            node.kill()
            node.start()
        answer = asked.result()
    print(tag, answer.exit, answer.text.strip()[:300])
    if not reached:
        settle(pair)
        return False
    active = settle(pair)
    pair.converge()
    have = {path: entry[4] for path, entry in trees.snapshot(active.tree).items() if entry[0] == "file"}
    assert have == expected, "lost or changed:\n" + trees.describe_difference(expected, have)
    assert [node.status()["salvage"] for node in pair.nodes] == [0, 0], "nothing was foreign to anybody"
    numbers = [lineage_of(node) for node in pair.nodes]
    assert numbers[0] == numbers[1], numbers
    for node in pair.nodes:
        verified = node.cli("ledger", "verify")
        assert verified.exit == DONE, repr(verified)
    told_truly(answer, active, giver)
    assert not any("on_fenced" in name for name in hooks.names()), "two had been active at some moment"
    return True


def is_reached(pair, node, mark, step, what, asked):
    """Until it is; or all is over. The command may have ended before the last steps, which are behind it."""
    def reached_or_over():
        return last_step(node, mark) >= step or (
            asked.done() and calm(pair) and all(have_ended(each) for each in pair.nodes))
    wait_until("the step is reached, or all is over", reached_or_over, 60)
    if last_step(node, mark) < step:
        return False
    if what == "kill":
        wait_until("it is killed", lambda: not node.running)
    return True


def last_step(node, mark):
    return max((number for number, _ in steps(node, mark)), default=0)


def calm(pair):
    states = [node.status() for node in pair.nodes]
    return all(s and s["state"] == "in_sync" for s in states)


def told_truly(answer, active, giver):
    """Whatever the command said, if it was not cut off itself, was not wrong."""
    told = answer.json if answer.out.startswith("{") else {}
    if told.get("outcome") == "done":
        assert told["active"] == active.name and active.status()["epoch"] == told["epoch"], repr(answer)
        assert told["seconds"] < PATIENCE, f"it waited for a word that nobody says any more: {answer!r}"
    if told.get("outcome") in ("failed", "refused", "rolled_back"):
        assert active is giver, f"it said that nothing had changed: {answer!r}"


@pytest.mark.parametrize("what", ["kill", "cut"])
@pytest.mark.parametrize("side", ["giver", "heir"])
def test_interrupted_before_every_step(parted, side, what):
    pair, hooks = parted
    counted = clean_run(pair, hooks)[side]
    reached = 0
    for step, name in counted:
        reached += interrupt(pair, hooks, side, step, what, f"{side} {what} {step} {name}")
    assert reached >= len(counted) - 2, "most of the steps were never reached"


def test_the_heir_is_lost_after_the_offer(parted):
    """Nobody knows whether it has taken: the command says so, the giver stays where it is, and the
    heir's return decides it without a person."""
    pair, hooks = parted
    counted = clean_run(pair, hooks)["heir"]
    taking = next(number for number, action in counted if action == "SEND_TAKEN")
    giver, heir = pair.active, pair.passive
    restarted(heir, fault(taking, "kill"))
    settle(pair)
    answer = reverse(giver, "--timeout", "10")
    assert answer.exit == UNREACHABLE and answer.json["outcome"] == "unresolved", repr(answer)
    wait_until("it is gone", lambda: not heir.running)
    assert giver.status()["state"] == "draining"
    for role in ("active", "passive"):
        assert giver.cli("role", "--require", role).exit != DONE
    restarted(giver)
    assert giver.status()["state"] == "draining", "the offer outlives a restart"
    heir.kill()
    heir.start()
    assert settle(pair) is heir
    pair.converge()


def test_the_giver_is_lost_after_the_offer(parted):
    """The heir may be told to go on alone: an offer it has not seen is refused for ever afterwards."""
    pair, hooks = parted
    counted = clean_run(pair, hooks)["giver"]
    offering = next(number for number, action in counted if action == "SEND_OFFER")
    giver, heir = pair.active, pair.passive
    restarted(giver, fault(offering, "kill"))
    settle(pair)
    reverse(giver, "--timeout", "60")
    wait_until("it is gone", lambda: not giver.running)
    heir.wait_for("it knows", lambda s: not s["peers"][0]["connected"])
    done(failover(heir, "--accept-data-loss"), heir)
    giver.kill()
    giver.start()
    assert settle(pair) is heir
    pair.converge()
