"""Two nodes that both believe they are active, in both ways it can come about: they find out as soon as
they meet, stop, say so, and exchange nothing until a person has decided."""

import re

import pytest

import faults
import trees
from harness import DONE, NO, REFUSED, UNREACHABLE
from roles import (Group, Hooks, assert_all_salvaged, done, failover, files_of, lineage_of, refused, reverse,
                   settle)
from test_reverse_steps import clean_run, fault, restarted
from waiting import wait_until

needs_faults = pytest.mark.skipif(not faults.are_built_in(), reason="the build is without -Dfaults=true")


def forks(one, other):
    """Each goes its own way, also at the same path. @return {node: {path: bytes} that only it has}"""
    alone = {}
    for node in (one, other):
        files = node.status()["files"]
        alone[node] = {"both": f"by {node.name}".encode(), f"only {node.name}": b"x" * 2000}
        for path, content in alone[node].items():
            (node.tree / path).write_bytes(content)
        node.wait_for("it is indexed", lambda s, files=files: s["files"] > files and not s["work"]["dirty_paths"])
    return alone


def both_say_split(*nodes):
    for node in nodes:
        shown = node.wait_for("it is split", lambda s: s["state"] == s["role"] == "split", 40)
        assert "split" in str(shown["problems"]), shown
        assert node.cli("role").out.strip() == "split"
        for role in ("active", "passive"):
            assert node.cli("role", "--require", role).exit == NO


def nothing_is_exchanged(nodes, between):
    """While they are split they meet again and again (each tries); files that change meanwhile stay where
    they are, and no session lasts."""
    before = {node: files_of(node.tree) for node in nodes}
    marks = {node: node.log_mark() for node in nodes}
    bytes_before = between()
    big = {}
    for node in nodes:
        big[node] = f"written in the split by {node.name}"
        trees.write_random(node.tree / big[node], 1 << 20, seed=5)
    for node in nodes:
        node.wait_for_log("split", since=marks[node], timeout=60)
        refused(reverse(node), REFUSED, "split")
    for node in nodes:
        after = files_of(node.tree)
        assert after.pop(big[node]) and after == before[node], f"something happened in the tree of {node.name}"
    assert between() - bytes_before < 200_000, "handshakes alone do not take so much"
    return {node: {path: (node.tree / path).read_bytes()} for node, path in big.items()}


def resolved(keep):
    """Where they have not met since a start, nobody knows yet what the other one's fork is."""
    answers = []

    def decided():
        answers.append(keep.cli("resolve", "--keep", keep.name, "--json"))
        return answers[-1].exit != UNREACHABLE
    wait_until("they have met", decided, 40, step=0.2)
    assert answers[-1].exit == DONE, repr(answers[-1])
    return answers[-1].json


def mended(pair, keep, lose, alone):
    resolved(keep)
    assert settle(pair, 90) is keep
    pair.converge()
    assert_all_salvaged(lose, alone[lose])
    for path, content in alone[keep].items():
        assert (lose.tree / path).read_bytes() == content
    assert lineage_of(keep) == lineage_of(lose)
    for node in pair.nodes:
        assert node.cli("ledger", "verify").exit == DONE
    assert keep.status()["salvage"] == 0
    # And it is an ordinary pair again.
    done(reverse(pair.active), pair.passive)
    settle(pair, 60)
    pair.converge()


# -- a draining active is forced back, while the passive had taken the offer ------------------------------

@pytest.fixture
def forked(make_pair, home):
    """(pair, {node: what only it has}): both active, cut off from each other."""
    pair = make_pair(proxied=True)
    hooks = Hooks(pair.nodes, home)
    (pair.active.tree / "both").write_text("before")
    pair.start()
    pair.converge()
    settle(pair)
    taking = next(number for number, action in clean_run(pair, hooks)["heir"] if action == "SEND_TAKEN")
    pair.converge()
    giver, heir = pair.active, pair.passive
    for seconds in (3, 15, 60):
        restarted(heir, fault(taking, "kill"))
        settle(pair)
        reverse(giver, "--timeout", str(seconds))
        wait_until("the heir is gone, or the time was up before", lambda: not heir.running
                   or (giver.status() or {}).get("role") == "active", 60)
        if not heir.running:
            break
    assert not heir.running, "it has never taken"
    giver.wait_for_state("draining")
    pair.cut()
    refused(failover(giver), REFUSED, "accept-data-loss")
    done(failover(giver, "--accept-data-loss"), giver)
    heir.kill()
    heir.start()
    heir.wait_for("it had taken", lambda s: s["role"] == "active")
    pair.hooks = hooks
    yield pair, forks(giver, heir)


@needs_faults
@pytest.mark.parametrize("winner", ["giver", "heir"])
def test_a_draining_active_forced_back(forked, winner):
    pair, alone = forked
    giver, heir = pair.active, pair.passive
    pair.restore()
    both_say_split(giver, heir)
    pair.hooks.wait_for(f"{giver.name} on_fenced")
    pair.hooks.wait_for(f"{heir.name} on_fenced")
    for node, more in nothing_is_exchanged(pair.nodes, pair.wire_bytes).items():
        alone[node].update(more)
    refused(giver.cli("resolve", "--keep", "nobody"), REFUSED, "nobody")
    refused(giver.cli("resolve", "--keep", heir.name), REFUSED, f"on {heir.name}")
    keep, lose = (giver, heir) if winner == "giver" else (heir, giver)
    mended(pair, keep, lose, alone)


@needs_faults
def test_a_split_outlives_restarts(forked):
    pair, alone = forked
    pair.restore()
    both_say_split(*pair.nodes)
    for node in pair.nodes:
        node.kill()
        node.start()
    both_say_split(*pair.nodes)
    mended(pair, pair.nodes[0], pair.nodes[1], alone)


# -- three nodes -----------------------------------------------------------------------------------------

@pytest.fixture
def group(request, home):
    made = Group(home)
    request.node.agents = [made]
    try:
        (made.active.tree / "both").write_text("before")
        made.start()
        made.converge()
        made.meet()
        settle(made)
        yield made
    finally:
        made.close()


def lost(node, name):
    return not next(peer for peer in node.status()["peers"] if peer["node"] == name)["connected"]


def test_both_passives_were_failed_over_during_a_cut(group):
    a, b, c = group.nodes
    a.kill()
    group.cut(b, c)
    wait_until("b and c are alone", lambda: lost(b, "c") and lost(c, "b") and lost(b, "a") and lost(c, "a"))
    for node in (b, c):
        done(failover(node, "--accept-data-loss"), node)
    alone = forks(b, c)
    group.restore(b, c)
    both_say_split(b, c)
    more = nothing_is_exchanged((b, c), lambda: group.bytes_between(b, c))
    for node, paths in more.items():
        alone[node].update(paths)
    resolved(b)
    # The first active comes back into what has happened meanwhile.
    a.start()
    assert settle(group, 90) is b
    group.converge()
    assert_all_salvaged(c, alone[c])
    for node in (a, c):
        assert lineage_of(node) == lineage_of(b)
        for path, content in alone[b].items():
            assert (node.tree / path).read_bytes() == content


def test_a_planned_reverse_takes_the_third_along(group):
    a, b, c = group.nodes
    refused(reverse(a), REFUSED, "--to")
    for number, (old, new) in enumerate(((a, b), (b, c), (c, a)), 2):
        (old.tree / "both").write_text(f"epoch {number - 1}")
        told = done(reverse(old, "--to", new.name) if new is not group.passive else reverse(new), new, old)
        assert told["epoch"] == number
        assert settle(group) is new
        (new.tree / f"by {new.name}").write_text("changes flow from here")
        group.converge()
    assert [node.status()["salvage"] for node in group.nodes] == [0, 0, 0]
    assert lineage_of(a) == lineage_of(b) == lineage_of(c)


def test_a_third_that_was_away_during_a_planned_reverse(group):
    a, b, c = group.nodes
    c.stop()
    wait_until("c is missed", lambda: lost(a, "c") and lost(b, "c"))
    answer = reverse(b)
    done(answer, b, a)
    assert re.search(r"\bc\b.*may still follow", answer.text), f"c may not have heard, and that is not said: {answer!r}"
    (b.tree / "after").write_text("epoch 2")
    c.start()
    assert settle(group) is b
    group.converge()
    assert lineage_of(c) == lineage_of(b)
