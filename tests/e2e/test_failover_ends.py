"""A failover that does not come about leaves everything as it was; one that does begins with what is true
at that moment, not with what was found out before."""

import concurrent.futures
import contextlib
import os
import signal
import sqlite3
import subprocess

import pytest

import processes
from harness import DONE, NO, PROGRAM, REFUSED, TIMED_OUT, UNREACHABLE, environment
from roles import Group, Hooks, done, failover, lineage_of, refused, reverse, settle
from test_failover import cut_off
from waiting import wait_until


@pytest.fixture
def alone(make_pair, home):
    """(a, b, hooks, pair): a is gone, b was in sync with it and knows."""
    pair = make_pair(proxied=True)
    hooks = Hooks(pair.nodes, home)
    pair.start()
    (pair.active.tree / "x").write_text("good")
    pair.converge()
    settle(pair)
    cut_off(pair)
    return *pair.nodes, hooks, pair


@contextlib.contextmanager
def stopped_watcher(node):
    """Nothing that waits for its watcher ends."""
    children = wait_until("it is watched", lambda: processes.watchers(node.pid))
    for child in children:
        os.kill(child, signal.SIGSTOP)
    try:
        yield
    finally:
        for child in children:
            os.kill(child, signal.SIGCONT)


# -- the guard ----------------------------------------------------------------------------------------

def test_what_others_write_after_a_failed_one_is_no_change(alone):
    a, b, hooks, pair = alone
    hooks.fail(b, "before_promote")
    assert failover(b).exit == NO
    (b.tree / "x").write_text("written by somebody else")
    (b.tree / "y").write_text("new, by somebody else")
    hooks.mend(b, "before_promote")
    refused(failover(b), REFUSED, "drift|changed here", "x")
    # Where the guard had told of x before, nothing else needed to be looked at for this.
    wait_until("y is saved", lambda: b.salvaged_content("y") == b"new, by somebody else")
    assert not (b.tree / "y").exists()
    # The content of x is nowhere on b: who goes on all the same is told.
    told = done(failover(b, "--accept-data-loss"), b)
    assert "x" in told["lost"], told


def test_what_is_given_up_to_drift_is_named(make_pair):
    pair = make_pair(proxied=True, settings={"drift": "report"}).start()
    (pair.active.tree / "x").write_text("good")
    pair.converge()
    settle(pair)
    b = pair.passive
    (b.tree / "x").write_text("written by somebody else")
    b.wait_for("it is seen", lambda s: s["drift"] == 1)
    cut_off(pair)
    refused(failover(b), REFUSED, "drift")
    assert "x" in done(failover(b, "--accept-data-loss"), b)["lost"]


# -- it ends when the time is up, and is undone --------------------------------------------------------

def test_its_time_runs_out_while_it_looks(alone):
    """Whatever it waits for: the answer comes in time, and nothing comes of it afterwards."""
    a, b, hooks, pair = alone
    with stopped_watcher(b):
        answer = refused(failover(b, "--timeout", "2"), TIMED_OUT)
        assert answer.json["outcome"] == "rolled_back", repr(answer)
        hooks.wait_for("b after_demote")
    done(failover(b), b)
    assert lineage_of(b)[-1][1] == "b" and len(lineage_of(b)) == 2


def test_whoever_leaves_takes_it_back(alone):
    a, b, hooks, pair = alone
    with stopped_watcher(b):
        command = subprocess.Popen([PROGRAM, "--config", b.config, "reverse", "--failover", "--yes"],
                                   env=environment(), stdout=subprocess.DEVNULL,
                                   # Whoever runs the tests in the background has it ignored.
                                   preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
        hooks.wait_for("b before_promote")
        b.wait_for_log("passive/forcing -> passive/proving")
        command.send_signal(signal.SIGINT)
        command.communicate()
        b.wait_for_log("passive/proving -> passive/resting")
    hooks.wait_for("b after_demote")
    # Had anything gone on, it would come before what is asked for now.
    assert b.cli("reverse", "--failover", "--dry-run").exit == DONE
    assert b.status()["role"] == "passive" and len(lineage_of(b)) == 1


@pytest.mark.parametrize("fails", [True, False])
def test_what_before_promote_began_is_undone(alone, fails):
    a, b, hooks, pair = alone
    (hooks.fail if fails else hooks.hold)(b, "before_promote")
    answer = failover(b, *([] if fails else ["--timeout", "2"]))
    assert answer.exit == (NO if fails else TIMED_OUT), repr(answer)
    (hooks.mend if fails else hooks.let_go)(b, "before_promote")
    hooks.wait_for("b after_demote")
    facts = next(facts for node, hook, facts in hooks.calls() if (node, hook) == ("b", "after_demote"))
    assert facts["REASON"] == "rollback" and b.status()["role"] == "passive"
    done(failover(b), b)


def test_what_a_planned_before_promote_began_is_undone(make_pair, home):
    pair = make_pair()
    hooks = Hooks(pair.nodes, home)
    pair.start()
    pair.converge()
    settle(pair)
    hooks.fail(pair.passive, "before_promote")
    assert reverse(pair.active).exit == NO
    hooks.wait_for("b after_demote")
    hooks.mend(pair.passive, "before_promote")
    done(reverse(pair.active), pair.passive)
    settle(pair)


# -- what is true when it begins ----------------------------------------------------------------------

def test_the_active_comes_back_meanwhile(alone):
    """While before_promote runs the active returns, healthy, and is served again: then this is no failover."""
    a, b, hooks, pair = alone
    hooks.hold(b, "before_promote")
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        under_way = pool.submit(failover, b)
        hooks.wait_for("b before_promote")
        pair.restore()
        a.start()
        a.wait_for_state("in_sync", timeout=60)
        (a.tree / "acknowledged").write_text("while b was about to take over")
        pair.wait()
        hooks.let_go(b, "before_promote")
        refused(under_way.result(), REFUSED, "active-connected|connected")
    hooks.wait_for("b after_demote")
    assert settle(pair) is a and len(lineage_of(a)) == 1
    pair.converge()
    assert [node.status()["salvage"] for node in pair.nodes] == [0, 0]


def test_the_report_is_of_the_moment_it_begins(alone):
    """What the active gave before it vanished for good is below the epoch's begin."""
    a, b, hooks, pair = alone
    hooks.hold(b, "before_promote")
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        under_way = pool.submit(failover, b)
        hooks.wait_for("b before_promote")
        pair.restore()
        a.start()
        a.wait_for_state("in_sync", timeout=60)
        for number in range(5):
            (a.tree / f"late {number}").write_text("acknowledged")
        pair.wait()
        seq = a.status()["seq"]
        cut_off(pair)
        hooks.let_go(b, "before_promote")
        told = done(under_way.result(), b)
    assert told["seq"] >= seq, told
    pair.restore()
    a.start()
    assert settle(pair) is b
    pair.converge()
    assert [node.status()["salvage"] for node in pair.nodes] == [0, 0], "b had all of it"


def test_an_active_without_its_tree_is_no_obstacle(make_pair):
    """It is connected and can neither hand over nor send; a person who accepts that goes on without it."""
    pair = make_pair().start()
    (pair.active.tree / "x").write_text("1")
    pair.converge()
    settle(pair)
    a, b = pair.nodes
    away = a.tree.with_name("away")
    a.tree.rename(away)
    a.tree.mkdir()
    a.wait_for_state("unhealthy", timeout=60)
    wait_until("b has heard of it", lambda: "unhealthy-active" in failover(b).text)
    refused(reverse(b), REFUSED, "unhealthy")
    refused(failover(b), REFUSED, "unhealthy-active", "accept-data-loss")
    done(failover(b, "--accept-data-loss"), b)
    (b.tree / "x").write_text("2")
    a.tree.rmdir()
    away.rename(a.tree)
    assert settle(pair, 90) is b
    pair.converge()


# -- two at once ---------------------------------------------------------------------------------------

def test_of_two_passives_one_takes_over(home, request):
    """Both are told to go on, at the same moment and without a cut: one does, and the other follows it."""
    group = Group(home)
    request.node.agents = [group]
    hooks = Hooks(group.nodes, home)
    try:
        group.start()
        (group.active.tree / "x").write_text("1")
        group.converge()
        group.meet()
        settle(group)
        a, b, c = group.nodes
        a.kill()
        for node in (b, c):
            node.wait_for("it knows", lambda s: [p for p in s["peers"] if p["node"] == "a"][0]["connected"] is False)
            hooks.hold(node, "before_promote")
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            under_way = [pool.submit(failover, node) for node in (b, c)]
            for node in (b, c):
                hooks.wait_for(f"{node.name} before_promote")
            for node in (b, c):
                hooks.let_go(node, "before_promote")
            answers = {node: each.result() for node, each in zip((b, c), under_way)}
        outcomes = {node.name: answer.json["outcome"] for node, answer in answers.items()}
        assert sorted(outcomes.values()) in (["done", "refused"], ["done", "superseded"]), answers
        winner = next(node for node in (b, c) if outcomes[node.name] == "done")
        loser = c if winner is b else b
        assert f"{winner.name} " in str(answers[loser].json["reasons"]), answers
        hooks.wait_for(f"{loser.name} after_demote")
        a.start()
        assert settle(group, 90) is winner
        assert [number for number, _ in lineage_of(winner)][1:] == [lineage_of(winner)[-1][0]]
        assert "on_fenced" not in " ".join(hooks.names()).replace("a on_fenced", "")
    finally:
        group.close()


# -- dead ends ----------------------------------------------------------------------------------------

def test_the_loser_of_a_split_is_lost_for_good(home, request):
    """Its agent was restarted meanwhile, and nobody can be met who could tell what the other had."""
    group = Group(home)
    request.node.agents = [group]
    try:
        group.start()
        (group.active.tree / "x").write_text("1")
        group.converge()
        group.meet()
        settle(group)
        a, b, c = group.nodes
        a.kill()
        group.cut(b, c)
        for node in (b, c):
            node.wait_for("it is alone", lambda s: not any(p["connected"] for p in s["peers"]))
            done(failover(node, "--accept-data-loss"), node)
        (c.tree / "only c has it").write_text("precious")
        group.restore(b, c)
        for node in (b, c):
            node.wait_for_state("split", timeout=60)
        c.kill()
        b.stop()
        b.start()
        answer = b.cli("resolve", "--keep", "b")
        assert answer.exit == UNREACHABLE and "accept-data-loss" in answer.text, repr(answer)
        answer = b.cli("resolve", "--keep", "b", "--accept-data-loss")
        assert answer.exit == DONE and b.status()["role"] == "active", repr(answer)
        a.start()
        a.wait_for("it follows b", lambda s: s["role"] == "passive" and s["epoch"] == 3, 60)
        # And if it comes back after all: nothing is exchanged before a person has decided.
        c.start()
        for node in (b, c):
            node.wait_for_state("split", timeout=60)
        assert b.cli("resolve", "--keep", "b").exit == DONE
        assert settle(group, 90) is b
        group.converge()
        assert c.salvaged_content("only c has it") == b"precious"
    finally:
        group.close()


def lengthen(node, total):
    """As if so many changes of roles had been made; its agent does not run."""
    with sqlite3.connect(node.state / "state.db") as database:
        (number, parent, base_seq, name), = database.execute(
            "SELECT number, id, base_seq, node FROM lineage ORDER BY position DESC LIMIT 1")
        for position in range(lineage_length(database), total):
            number += 1
            made = number.to_bytes(16, "big")
            database.execute("INSERT INTO lineage(position, number, id, parent, base_seq, node, ends)"
                             " VALUES(?, ?, ?, ?, ?, ?, ?)",
                             (position, number, made, parent, base_seq, name, bytes(16)))
            parent = made


def lineage_length(database):
    return database.execute("SELECT count(*) FROM lineage").fetchone()[0]


@pytest.mark.parametrize("used, planned, alone", [(481, DONE, DONE), (508, REFUSED, DONE), (512, REFUSED, REFUSED)])
def test_a_lineage_that_comes_to_its_end(make_pair, used, planned, alone):
    """It is said in time, and never found out at the point of no return."""
    pair = make_pair().start()
    pair.converge()
    settle(pair)
    pair.stop()
    for node in pair.nodes:
        lengthen(node, used)
    pair.start()
    settle(pair)
    for node in pair.nodes:
        answer = node.cli("ready")
        assert answer.exit == NO and f"lineage: {used} of 512" in answer.text, repr(answer)
        assert node.cli("reverse", "--dry-run").exit == planned
    answer = reverse(pair.active)
    assert answer.exit == planned and (planned == DONE or "lineage" in answer.text), repr(answer)
    active = settle(pair)
    passive = next(node for node in pair.nodes if node is not active)
    active.kill()
    passive.wait_for("it knows", lambda s: not s["peers"][0]["connected"])
    answer = failover(passive)
    assert answer.exit == alone and (alone == DONE or "lineage" in answer.text), repr(answer)
    assert passive.running
