"""Failover: the active region is gone, the passive one is told to go on without it. What that costs is
said before, and is true; what the old one had alone is in its salvage when it comes back."""

import random
import sqlite3
import subprocess
import threading

import pytest

import trees
from harness import DONE, NO, PROGRAM, REFUSED, environment
from roles import (Group, Hooks, all_salvaged, assert_all_salvaged, contents, differing, done, failover, files_of,
                   lineage_of, refused, reverse, settle)
from test_commands import reload
from waiting import let_pass, wait_until

SLOW_LINK = {"limits": {"rate_bytes_per_s": 400_000}}
HARDLY_ANY_LINK = {"limits": {"rate_bytes_per_s": 20_000}}


class Stream(threading.Thread):
    """Somebody who writes without a pause: new files, rewritten files, deletions."""

    def __init__(self, tree, size=8000, pause=0.004):
        super().__init__(daemon=True)
        self.tree, self.size, self.pause = tree, size, pause
        self.ending = threading.Event()
        self.last = None

    def run(self):
        chooser = random.Random(7)
        number = 0
        while not self.ending.is_set():
            self.last = f"stream/f{number % 400:04d}"
            (self.tree / self.last).write_bytes(b"%d:" % number + chooser.randbytes(self.size))
            if number % 10 == 9:
                (self.tree / f"stream/f{(number - 5) % 400:04d}").unlink(missing_ok=True)
            number += 1
            self.ending.wait(self.pause)

    def end(self):
        self.ending.set()
        self.join()


def cut_off(pair, expected=None):
    """The active region is gone. @return once the passive knows"""
    pair.active.kill()
    pair.cut()
    pair.passive.wait_for("it knows", lambda s: not s["peers"][0]["connected"])
    wait_until("a batch that had begun is finished", lambda: has_finished(pair.passive))


def has_finished(node):
    """What is staged comes first: it is journaled before it is there no longer."""
    if node.staged():
        return False
    with sqlite3.connect(f"file:{node.state / 'state.db'}?mode=ro", uri=True) as database:
        return database.execute("SELECT count(*) FROM journal").fetchone() == (0,)


def comes_back(pair):
    pair.restore()
    pair.nodes[0].start()


@pytest.fixture
def lost_in_a_stream(make_pair, home):
    """(pair, hooks, files of the dead active, files of what the passive has): killed while changes
    are on their way, all of which have been announced."""
    pair = make_pair(proxied=True, settings=SLOW_LINK)
    hooks = Hooks(pair.nodes, home)
    (pair.active.tree / "stream").mkdir()
    trees.make_many(pair.active.tree / "still", 300, 10_000, seed=3)
    pair.start()
    pair.converge()
    reload(pair.active, **HARDLY_ANY_LINK)
    stream = Stream(pair.active.tree)
    stream.start()
    pair.active.wait_for("many are pending", lambda s: s["peers"][0]["pending_changes"] > 150)
    stream.end()
    announced(pair)
    cut_off(pair)
    return pair, hooks


def announced(pair):
    """Until the passive knows of everything that it does not have."""
    def same():
        status = pair.active.status()
        assert not status["work"]["dirty_paths"]
        told = pair.passive.cli("exposure", "--json")
        assert told.exit == DONE, repr(told)
        theirs = {each["path"] for each in told.json["paths"]}
        ours = {each["path"] for each in pair.active.cli("exposure", "--json").json["paths"]}
        assert len(ours) > 10, "the link was too quick for this test"
        return ours <= theirs
    wait_until("all is announced", same, 30)


# -- the report, and what it stands for ---------------------------------------------------------------

def test_the_list_of_lost_paths_is_true(lost_in_a_stream):
    pair, hooks = lost_in_a_stream
    a, b = pair.nodes
    shown = failover(b, "--dry-run")
    assert shown.exit in (DONE, REFUSED), repr(shown)
    really = differing(a.tree, b.tree)
    assert really, "nothing was on its way"
    only_files = set(shown.json["lost"]) & (really | set(files_of(a.tree)) | set(files_of(b.tree)))
    assert only_files == really, f"told but not lost: {sorted(only_files - really)[:20]}; " \
        f"lost but not told: {sorted(really - only_files)[:20]}"
    assert shown.json["recovery_point"] and shown.json["seconds_at_risk"] > 0
    assert b.cli("role").out.strip() == "passive" and hooks.calls() == []

    lost = contents(a.tree, really)
    untouched = files_of(b.tree)
    told = done(failover(b, "--accept-data-loss", "--reason", "region a burns"), b)
    assert set(told["lost"]) == set(shown.json["lost"]) and told["recovery_point"]
    assert files_of(b.tree) == untouched, "a failover changes no file"
    assert hooks.names() == ["b before_promote", "b after_promote"]
    (b.tree / "written by the new active").write_text("x" * 1000)

    before = pair.wire_bytes()
    comes_back(pair)
    assert settle(pair, 90) is b
    pair.converge()
    crossed = pair.wire_bytes() - before
    print(f"{len(really)} paths lost, {sum(map(len, lost.values()))} bytes; {crossed} bytes to rejoin")
    assert_all_salvaged(a, lost)
    # What b has under the lost paths goes back to a, and nothing of the three megabytes that are equal.
    give = sum(len(content) for content in contents(b.tree, really).values())
    assert crossed < 1.3 * give + 600 * len(really) + 300_000, (crossed, give)
    assert "a on_fenced" in hooks.names()


def test_the_ledger_tells_of_it_whatever_comes_after(lost_in_a_stream):
    """What was lost, who wanted it and why is durable with the epoch: not only when its hook has ended."""
    pair, hooks = lost_in_a_stream
    b = pair.nodes[1]
    shown = failover(b, "--dry-run").json
    hooks.hold(b, "after_promote")
    with subprocess.Popen([str(PROGRAM), "--config", str(b.config), "reverse", "--failover", "--yes",
                           "--accept-data-loss", "--reason", "region a burns"], env=environment(),
                          stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL):
        hooks.wait_for("b after_promote")
        b.kill()
    hooks.let_go(b, "after_promote")
    b.start()
    told, = wait_until("it is booked", lambda: b.cli("ledger", "--json").json["entries"])
    assert (told["kind"], told["epoch"], told["active"], told["from"]) == ("failover", 2, "b", "a"), told
    assert told["reason"] == "region a burns" and told["operator"], told
    assert shown["lost"] and sorted(told["lost"]) == sorted(shown["lost"])
    assert told["recovery_point"] == shown["recovery_point"] and told["seconds_at_risk"] > 0, told
    assert b.cli("ledger", "verify").exit == DONE


def test_nothing_is_lost_when_all_was_acknowledged(make_pair):
    pair = make_pair(proxied=True).start()
    (pair.active.tree / "file").write_text("acknowledged")
    pair.converge()
    settle(pair)
    cut_off(pair)
    told = done(failover(pair.passive), pair.passive)
    assert told["lost"] == [] and told["epoch"] == 2
    comes_back(pair)
    settle(pair)
    pair.converge()
    assert [node.status()["salvage"] for node in pair.nodes] == [0, 0]
    # Failback is a planned reverse.
    done(reverse(pair.active), pair.passive)
    assert settle(pair) is pair.nodes[0]
    pair.converge()


# -- what it asks for ---------------------------------------------------------------------------------

def test_yes_and_accepting_loss_are_different_things(lost_in_a_stream):
    pair, _ = lost_in_a_stream
    b = pair.passive
    path = sorted(failover(b, "--dry-run").json["lost"])[0]
    refused(failover(b), REFUSED, "accept-data-loss", path)
    refused(b.cli("reverse", "--failover", "--accept-data-loss", "--json"), REFUSED, "--yes")
    assert b.status()["role"] == "passive"
    done(failover(b, "--accept-data-loss"), b)


@pytest.mark.short
def test_refused_while_a_healthy_active_is_connected(pair):
    pair.converge()
    settle(pair)
    for options in ([], ["--accept-data-loss"]):
        refused(failover(pair.passive, *options), REFUSED, "connected")
    refused(failover(pair.active, "--accept-data-loss"), REFUSED)
    assert settle(pair) is pair.nodes[0]


def test_a_first_sync_that_never_ended_is_a_loss(make_pair, seed):
    pair = make_pair(proxied=True, settings={"limits": {"rate_bytes_per_s": 40_000}})
    trees.make_many(pair.active.tree, 400, 5000, seed=seed)
    pair.start()
    pair.passive.wait_for("some of it is there", lambda s: s["files"] > 10)
    cut_off(pair)
    refused(failover(pair.passive), REFUSED, "first.sync")
    done(failover(pair.passive, "--accept-data-loss"), pair.passive)
    comes_back(pair)
    assert settle(pair, 90) is pair.nodes[1]
    pair.converge()
    assert len(all_salvaged(pair.nodes[0])) > 100, "what b never had is saved on a"


# -- coming back --------------------------------------------------------------------------------------

def test_files_changed_while_its_agent_was_down(make_pair):
    pair = make_pair(proxied=True)
    for name in ("changed on a", "changed on b", "changed on both", "deleted on a", "deleted on b", "same"):
        (pair.active.tree / name).write_text("first")
    (pair.active.tree / "dir").mkdir()
    (pair.active.tree / "dir" / "inner").write_text("first")
    pair.start()
    pair.converge()
    a, b = pair.nodes
    cut_off(pair)
    (a.tree / "changed on a").write_text("by a")
    (a.tree / "changed on both").write_text("by a as well")
    (a.tree / "new on a").write_text("new by a")
    (a.tree / "dir" / "new inner").write_text("new by a, deeper")
    (a.tree / "deleted on a").unlink()
    done(failover(b, "--accept-data-loss"), b)
    (b.tree / "changed on b").write_text("by b")
    (b.tree / "changed on both").write_text("by b as well")
    (b.tree / "deleted on b").unlink()
    (b.tree / "new on b").write_text("new by b")
    expected = files_of(b.tree)
    comes_back(pair)
    assert settle(pair) is b
    pair.converge()
    assert files_of(b.tree) == expected and files_of(a.tree) == expected
    assert_all_salvaged(a, {"changed on a": b"by a", "changed on both": b"by a as well",
                            "new on a": b"new by a", "dir/new inner": b"new by a, deeper"})
    assert b.status()["salvage"] == 0
    assert lineage_of(a) == lineage_of(b)


def test_its_tree_is_not_touched_before_on_fenced_has_ended_well(make_pair, home):
    pair = make_pair(proxied=True)
    hooks = Hooks(pair.nodes, home)
    pair.start()
    (pair.active.tree / "file").write_text("first")
    pair.converge()
    a, b = pair.nodes
    cut_off(pair)
    (a.tree / "alone").write_text("never sent")
    done(failover(b, "--accept-data-loss"), b)
    (b.tree / "file").write_text("by b")
    before = trees.snapshot(a.tree)
    hooks.fail(a, "on_fenced", "the server does not stop")
    comes_back(pair)
    hooks.wait_for("a on_fenced")
    shown = a.wait_for_state("fenced")
    assert shown["role"] == "fenced"
    for role in ("active", "passive"):
        assert a.cli("role", "--require", role).exit == NO
    hooks.wait_for("a on_fenced", count=2, timeout=90)
    a.wait_for("status tells why", lambda s: "the server does not stop" in str(s["problems"]))
    refused(a.cli("drill"), REFUSED, "this node is fenced")
    assert trees.snapshot(a.tree) == before
    a.kill()
    a.start()
    a.wait_for_state("fenced")
    assert trees.snapshot(a.tree) == before
    hooks.mend(a, "on_fenced")
    assert settle(pair, 120) is b
    pair.converge()
    assert_all_salvaged(a, {"alone": b"never sent"})


def test_it_dies_again_while_it_comes_back(make_pair, seed):
    """Rejoining is interrupted: it begins again where it stands, and saves nothing twice or never."""
    pair = make_pair(proxied=True)
    trees.make_many(pair.active.tree / "many", 200, 4000, seed=seed)
    pair.start()
    pair.converge()
    a, b = pair.nodes
    cut_off(pair)
    mine = {}
    for number in range(0, 200, 2):
        path = f"many/d0000/f{number:06d}.bin"
        mine[path] = b"by a %d" % number
        (a.tree / path).write_bytes(mine[path])
    done(failover(b, "--accept-data-loss"), b)
    for number in range(0, 200, 3):
        (b.tree / f"many/d0000/f{number:06d}.bin").write_bytes(b"by b %d" % number)
    pair.restore()
    for pause in (0.0, 0.1, 0.3, 0.6):
        a.start(wait=False)
        wait_until("it answers", a._answers)
        let_pass(pause)
        a.kill()
    a.start()
    assert settle(pair, 90) is b
    pair.converge()
    assert_all_salvaged(a, mine)


# -- three nodes --------------------------------------------------------------------------------------

@pytest.fixture
def group(request, home):
    made = Group(home)
    request.node.agents = [made]
    try:
        made.start()
        made.converge()
        made.meet()
        settle(made)
        yield made
    finally:
        made.close()


def test_it_comes_back_after_several_epochs(group):
    a, b, c = group.nodes
    (a.tree / "file").write_text("epoch 1")
    group.converge()
    a.kill()
    (a.tree / "alone").write_text("while its agent was down")
    for node in (b, c):  # one that still has it promises nothing
        wait_until(f"{node.name} knows", lambda node=node: not next(
            p for p in node.status()["peers"] if p["node"] == "a")["connected"])
    done(failover(b, "--accept-data-loss"), b)
    group.active = b
    c.wait_for("it follows b", lambda s: s["epoch"] == 2)
    for number, new in ((3, c), (4, b)):
        (group.active.tree / "file").write_text(f"epoch {number}")
        wait_until("the other passive has it",
                   lambda new=new, number=number: (new.tree / "file").read_text() == f"epoch {number}")
        answer = reverse(group.active)
        assert done(answer, new)["epoch"] == number
        assert "a" in answer.text, f"a may still believe in itself, and that is not said: {answer!r}"
        group.active = new
        new.wait_for("it leads", lambda s, number=number: s["role"] == "active" and s["epoch"] == number)
    a.start()
    assert settle(group, 90) is b
    group.converge()
    wait_until("its return is booked", lambda: booked_last(a) == (4, "rejoin"))
    assert_all_salvaged(a, {"alone": b"while its agent was down"})
    for node in group.nodes:
        booked = [(e["epoch"], e["active"]) for e in node.cli("ledger", "--json").json["entries"]]
        assert {(2, "b"), (3, "c"), (4, "b")} <= set(booked), booked
        assert node.cli("ledger", "verify").exit == DONE


def has(node, active, name):
    """Also in its index, which comes after the tree."""
    return (node.tree / name).exists() and node.status()["digest"] == active.status()["digest"]


def booked_last(node):
    last = node.cli("ledger", "--json").json["entries"][-1]
    return last["epoch"], last["kind"]


def test_two_passives_beside_an_active_have_no_problem(group):
    a, b, c = group.nodes
    for node, other in ((b, c), (c, b)):
        shown = node.wait_for("it is well", lambda s: s["state"] == "in_sync")
        assert not [each for each in shown["problems"] if each.startswith("idle")], shown["problems"]
        text = node.cli("status")
        assert text.exit == DONE and "standing by" in text.out and "syncing" not in text.out, repr(text)
        assert next(peer for peer in shown["peers"] if peer["node"] == other.name)["idle"] is True


def test_a_node_that_is_ahead_goes_first(group):
    """b is behind c, and both can be asked: failing over to b would lose what c has."""
    a, b, c = group.nodes
    group.cut(a, b)
    wait_until("b has lost a", lambda: not next(p for p in b.status()["peers"] if p["node"] == "a")["connected"])
    (a.tree / "only c has it").write_text("precious")
    wait_until("c has it", lambda: has(c, a, "only c has it"))
    a.kill()
    wait_until("c has lost a", lambda: not next(p for p in c.status()["peers"] if p["node"] == "a")["connected"])
    refused(failover(b, "--accept-data-loss"), REFUSED, r"\bc\b")
    done(failover(c, "--accept-data-loss"), c)
    group.restore(a, b)
    a.start()
    assert settle(group, 90) is c
    group.converge()
    assert (b.tree / "only c has it").read_text() == "precious"


def test_the_third_gives_up_what_the_new_active_never_had(group):
    a, b, c = group.nodes
    group.cut(a, b)
    wait_until("b has lost a", lambda: not next(p for p in b.status()["peers"] if p["node"] == "a")["connected"])
    (a.tree / "only c has it").write_text("precious")
    wait_until("c has it", lambda: has(c, a, "only c has it"))
    a.kill()
    group.cut(b, c)
    wait_until("b is alone", lambda: not any(p["connected"] for p in b.status()["peers"]))
    done(failover(b, "--accept-data-loss"), b)
    (b.tree / "by b").write_text("new")
    group.restore(b, c)
    group.restore(a, b)
    a.start()
    assert settle(group, 90) is b
    group.converge()
    for node in (a, c):
        assert_all_salvaged(node, {"only c has it": b"precious"})
