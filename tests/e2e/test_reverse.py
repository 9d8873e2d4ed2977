"""Planned reverse: who is active changes by one command, from either side, with nothing lost; or
nothing changes and the reason is named."""

import concurrent.futures
import os
import re

import pytest

import trees
from harness import DONE, NO, REFUSED, TIMED_OUT, UNREACHABLE, problem_text
from roles import Hooks, at_rest, done, lineage_of, refused, reverse, roles_of, settle, swap, unchanged
from test_commands import reload
from waiting import wait_until

TORN = b"<?xml version='1.0'?>\n<UserStoreManager><Property"
WHOLE = b"<?xml version='1.0'?>\n<UserStoreManager/>\n"
STORE = "deployment/server/userstores/S.xml"


@pytest.fixture
def hooked(make_pair, home):
    """(pair, hooks): in sync, with every hook on both sides."""
    pair = make_pair()
    hooks = Hooks(pair.nodes, home)
    pair.start()
    (pair.active.tree / "file").write_text("content")
    pair.converge()
    settle(pair)
    return pair, hooks


def times_out_in(pair, hooks, name):
    """A reverse whose time runs out in a hook that is held. It has to come that far in time.
    @return its answer"""
    for seconds in (2, 10, 40):
        at_rest(pair)
        answer = refused(reverse(pair.active, "--timeout", str(seconds)), TIMED_OUT)
        if name in hooks.names():
            return answer
    raise AssertionError(f"it never came to {name}")


def change_and_converge(pair, tag):
    """A new, a changed and a deleted file on the active, wherever it is by now."""
    tree = pair.active.tree
    (tree / "changed").write_text(f"{tag} changed")
    (tree / f"new {tag}").write_text(tag)
    for old in tree.glob("goes *"):
        old.unlink()
    (tree / f"goes {tag}").write_text(tag)
    return pair.converge()


# -- it happens ---------------------------------------------------------------------------------------

@pytest.mark.short
@pytest.mark.parametrize("asked", ["active", "passive"])
def test_reverse_and_back(pair, asked):
    change_and_converge(pair, "before")
    for number in (2, 3, 4):
        settle(pair)
        was = pair.active.status()
        asked_node = getattr(pair, asked)
        told = done(reverse(asked_node, "--reason", f"number {number}"), pair.passive, pair.active)
        assert told["epoch"] == number and told["digest"] == was["digest"] and told["lost"] == []
        assert told["seq"] >= was["seq"] and 0 < told["seconds"] < 60
        assert [phase["phase"] for phase in told["timeline"]] and all(
            phase["ms"] >= 0 for phase in told["timeline"])
        swap(pair)
        assert roles_of(pair.nodes) == {pair.active.name: "active", pair.passive.name: "passive"}
        assert pair.active.status()["epoch"] == number
        change_and_converge(pair, f"epoch {number}")
        assert settle(pair) is pair.active
        assert pair.active.status()["digest"] == pair.passive.status()["digest"]
        for node in pair.nodes:
            assert node.status()["salvage"] == 0, "a planned reverse has nothing to save"
            assert [each[0] for each in lineage_of(node)] == list(range(1, number + 1))


def test_text_says_who_is_active_now(pair):
    pair.converge()
    settle(pair)
    answer = pair.active.cli("reverse", "--yes")
    assert answer.exit == DONE, repr(answer)
    assert "b" in answer.out and "active" in answer.out, repr(answer)
    settle(swap(pair))


def test_a_thousand_pending_changes_are_drained_first(make_pair, seed):
    """A slow link until it drains, so that most of them are still to be sent when the command is typed."""
    count, size = 1000, 2000
    pair = make_pair(proxied=True, settings={"limits": {"rate_bytes_per_s": 20_000}})
    pair.start()
    (pair.active.tree / "old").write_text("old")
    pair.converge()
    trees.make_many(pair.active.tree, count, size, per_directory=250, seed=seed)
    (pair.active.tree / "old").unlink()
    pair.active.wait_for("most of them are pending", lambda s: s["peers"][0]["pending_changes"] > 300)
    expected = trees.snapshot(pair.active.tree)
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        under_way = pool.submit(reverse, pair.active)
        pair.active.wait_for_state("draining")
        assert len(list(pair.passive.tree.glob("d*/*.bin"))) < count - 100
        reload(pair.active, limits={})
        done(under_way.result(), pair.passive)
    assert trees.snapshot(pair.passive.tree) == expected, "something was lost"
    settle(pair)
    pair.converge()
    assert trees.snapshot(pair.active.tree) == expected
    assert [node.status()["salvage"] for node in pair.nodes] == [0, 0]


def test_what_was_written_a_moment_before_the_command_goes_along(pair):
    """Nothing waits for the watcher, for settling or for the sender but the command itself."""
    pair.converge()
    settle(pair)
    for number in range(6):
        (pair.active.tree / "last").write_text(f"last words {number}")
        os.rename(pair.active.tree / "last", pair.active.tree / f"renamed {number}")
        done(reverse(pair.active), pair.passive)
        swap(pair)
        assert (pair.active.tree / f"renamed {number}").read_text() == f"last words {number}"
        settle(pair)
    pair.converge()


def test_the_old_active_lets_nobody_write(pair):
    """What is written where it was active a moment ago is drift now, and is kept."""
    pair.converge()
    settle(pair)
    done(reverse(pair.active), pair.passive)
    settle(pair)
    (pair.passive.tree / "too late").write_text("written by a server that was not stopped")
    pair.passive.wait_for("it is in the salvage", lambda s: s["salvage"] == 1)
    assert pair.passive.salvaged_content("too late") == b"written by a server that was not stopped"
    pair.converge()


# -- it is refused ------------------------------------------------------------------------------------

def test_without_yes_and_without_a_terminal(pair):
    pair.converge()
    for node in pair.nodes:
        for options in ([], ["--json"], ["--failover"], ["--failover", "--accept-data-loss"]):
            refused(node.cli("reverse", *options), REFUSED)
    unchanged(pair, 1)


def test_a_held_path(pair):
    store = pair.active.tree / STORE
    store.parent.mkdir(parents=True)
    store.write_bytes(WHOLE)
    pair.converge()
    store.write_bytes(TORN)
    pair.active.wait_for("it is held", lambda s: s["held"])
    for node in pair.nodes:
        refused(reverse(node), REFUSED, re.escape(STORE))
    assert roles_of(pair.nodes) == {"a": "active", "b": "passive"}
    told = done(reverse(pair.active, "--accept-data-loss"), pair.passive)
    assert told["lost"] == [STORE], "what did not go along must be said, once"
    settle(pair)
    assert (pair.active.tree / STORE).read_bytes() == WHOLE
    wait_until("the torn one is in the salvage",
               lambda: pair.passive.salvaged_content(STORE) == TORN, 20)
    pair.converge()


def test_a_file_still_open_for_writing(make_pair, home):
    pair = make_pair()
    hooks = Hooks(pair.nodes, home)
    pair.start()
    pair.converge()
    settle(pair)
    with open(pair.active.tree / "being written", "w") as file:
        file.write("half a")
        file.flush()
        answer = refused(reverse(pair.active), REFUSED, "being written")
        assert answer.json["outcome"] in ("refused", "rolled_back")
        hooks.wait_for("a after_promote")
    unchanged(pair, 1)
    done(reverse(pair.active), pair.passive)
    settle(pair)


def test_a_file_that_only_looks_open(pair):
    """Written without being opened, or closed under another name: the watcher sees no end of it."""
    (pair.active.tree / "truncated").write_bytes(b"x" * 5000)
    (pair.active.tree / "renamed").write_bytes(b"first")
    pair.converge()
    settle(pair)
    with open(pair.active.tree / "renamed", "ab") as file:
        file.write(b", then more")
        file.flush()
        os.link(pair.active.tree / "renamed", pair.active.tree / "second name")
        os.rename(pair.active.tree / "renamed", pair.active.tree / "new name")
    os.truncate(pair.active.tree / "truncated", 4000)
    done(reverse(pair.active), pair.passive)
    settle(pair)
    pair.converge()
    assert (pair.active.tree / "truncated").stat().st_size == 4000
    assert (pair.active.tree / "second name").read_bytes() == b"first, then more"


def test_a_paused_pair(pair):
    pair.converge()
    assert pair.active.cli("pause").exit == DONE
    pair.active.wait_for_state("paused")
    for node in pair.nodes:
        answer = refused(reverse(node), REFUSED, "pause")
        assert answer.json["outcome"] == "refused" and answer.json["reasons"]
    assert pair.active.cli("resume").exit == DONE
    unchanged(pair, 1)


def test_a_peer_that_is_away(pair):
    pair.converge()
    pair.passive.stop()
    pair.active.wait_for("it knows", lambda s: not s["peers"][0]["connected"])
    refused(reverse(pair.active), UNREACHABLE)
    pair.passive.start()
    pair.converge()
    pair.active.stop()
    pair.passive.wait_for("it knows", lambda s: not s["peers"][0]["connected"])
    refused(reverse(pair.passive), UNREACHABLE, "failover")
    pair.active.start()
    unchanged(pair, 1)


def test_the_time_runs_out(hooked):
    """Whichever side keeps the others waiting: it is rolled back, and the answer says so."""
    pair, hooks = hooked
    for holder, hook in ((pair.passive, "before_promote"), (pair.active, "before_demote")):
        hooks.forget()
        hooks.hold(holder, hook)
        answer = times_out_in(pair, hooks, f"{holder.name} {hook}")
        assert answer.json["outcome"] == "rolled_back" and answer.json["reasons"], repr(answer)
        hooks.let_go(holder, hook)
        unchanged(pair, 1)
        hooks.wait_for("b after_demote")
    # The server of a was stopped by before_demote: it must be started again.
    hooks.wait_for("a after_promote")
    facts = next(facts for node, hook, facts in hooks.calls() if (node, hook) == ("a", "after_promote"))
    assert facts["REASON"] == "rollback", facts
    at_rest(pair)
    done(reverse(pair.active), pair.passive)
    settle(pair)


def test_both_are_asked_at_once(pair):
    """Two people type it at the same moment on both sides. Both want the other node: when one attempt
    serves both they are told the same epoch; else one of them is refused, or served after the other."""
    pair.converge()
    settle(pair)
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        answers = list(pool.map(reverse, pair.nodes))
    # Unreachable: the sessions begin anew just then.
    assert all(answer.exit in (DONE, REFUSED, UNREACHABLE) for answer in answers), answers
    begun = {answer.json["epoch"]: answer.json["active"] for answer in answers if answer.exit == DONE}
    assert begun, answers
    active = settle(pair)
    # Whoever was told of an epoch was told of one that is there, and there is no other.
    assert lineage_of(active) == [(1, "a"), *sorted(begun.items())]
    pair.converge()


# -- hooks --------------------------------------------------------------------------------------------

def test_hooks_in_order_and_with_facts(hooked):
    pair, hooks = hooked
    told = done(reverse(pair.passive, "--reason", "maintenance of region a"), pair.passive)
    for name in ("a after_demote", "b after_promote"):
        hooks.wait_for(name)
    names = hooks.names()
    assert sorted(names) == ["a after_demote", "a before_demote", "b after_promote", "b before_promote"], names
    assert names[:2] == ["b before_promote", "a before_demote"], names
    for node, hook, facts in hooks.calls():
        assert facts["HOOK"] == hook and facts["NODE"] == node, facts
        assert facts["EPOCH"] == str(told["epoch"]), facts
        assert facts["PEER"] == {"a": "b", "b": "a"}[node], facts
        assert facts["TREE"] == str({n.name: n for n in pair.nodes}[node].tree), facts
    settle(pair)


def test_hooks_see_nothing_of_the_agents_environment(make_pair, home):
    pair = make_pair()
    hooks = Hooks(pair.nodes, home)
    for node in pair.nodes:
        node.start(extra_environment={"SECRET_OF_THE_AGENT": "do not tell"})
    pair.converge()
    settle(pair)
    done(reverse(pair.active), pair.passive)
    hooks.wait_for("b after_promote")
    assert not any("SECRET_OF_THE_AGENT" in text for text in hooks.environments())
    settle(pair)


@pytest.mark.parametrize("side, hook", [("passive", "before_promote"), ("active", "before_demote")])
def test_a_failing_before_hook_aborts(hooked, side, hook):
    pair, hooks = hooked
    node = getattr(pair, side)
    hooks.fail(node, hook, "the server does not stop today")
    answer = reverse(pair.active)
    assert answer.exit == NO and answer.json["outcome"] in ("failed", "rolled_back"), repr(answer)
    assert hook in answer.text and "the server does not stop today" in answer.text, repr(answer)
    unchanged(pair, 1)
    names = hooks.names()
    assert "b after_promote" not in names and "a after_demote" not in names, names
    if side == "passive":
        assert "a before_demote" not in names, "nobody's server need be stopped for this"
    else:
        hooks.wait_for("a after_promote")
        assert [facts["REASON"] for node, hook, facts in hooks.calls()
                if (node, hook) == ("a", "after_promote")] == ["rollback"]
        hooks.wait_for("b after_demote")
    hooks.mend(node, hook)
    done(reverse(pair.active), pair.passive)
    settle(pair)


@pytest.mark.parametrize("side, hook", [("passive", "after_promote"), ("active", "after_demote")])
def test_a_failing_after_hook_is_reported_and_tried_again(hooked, side, hook):
    pair, hooks = hooked
    node = getattr(pair, side)
    hooks.fail(node, hook, "the server does not start today")
    answer = reverse(node)
    done(answer, pair.passive)
    assert hook in answer.text, f"a failed hook is hidden: {answer!r}"
    shown = node.wait_for("status tells", lambda s: hook in problem_text(s))
    assert "the server does not start today" in problem_text(shown)
    hooks.wait_for(f"{node.name} {hook}", count=2, timeout=90)
    hooks.mend(node, hook)
    node.wait_for("it is well", lambda s: hook not in problem_text(s), 90)
    settle(pair)


def test_all_that_a_failing_hook_printed_is_there(hooked):
    """Why it failed may stand at the beginning of a long story: in the answer, in status and in the log."""
    pair, hooks = hooked
    a, b = pair.nodes
    story = "cannot find the server\n" + "".join(f"  at frame {number}\n" for number in range(40)) + "so it ends"
    hooks.fail(b, "before_promote", story)
    answer = reverse(b)
    assert answer.exit == NO and answer.json["hook_output"]["output"] == story, repr(answer)
    at_rest(pair)
    shown = b.cli("reverse", "--yes")
    assert "| cannot find the server" in shown.out and "so it ends" in shown.out, repr(shown)
    for part in ("cannot find the server", "at frame 17", "so it ends"):
        assert part in b.log(), part
    assert b.status()["hook_output"] is None, "it is not owed"
    hooks.mend(b, "before_promote")
    hooks.fail(b, "after_promote", story)
    at_rest(pair)
    done(reverse(a), b)
    shown = b.wait_for("status has it", lambda s: s["hook_output"])
    assert shown["hook_output"] == {"hook": "after_promote", "node": "b", "output": story}
    assert "| cannot find the server" in b.cli("status").out
    hooks.mend(b, "after_promote")
    b.wait_for("it is well", lambda s: s["hook_output"] is None, 90)


def test_an_after_hook_is_owed_across_a_restart(hooked):
    pair, hooks = hooked
    a, b = pair.nodes
    hooks.hold(b, "after_promote")
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        under_way = pool.submit(reverse, a)
        hooks.wait_for("b after_promote")
        b.kill()
        hooks.let_go(b, "after_promote")
        hooks.forget()
        b.start()
        hooks.wait_for("b after_promote")
        done(under_way.result(), b, a)
    assert settle(pair) is b


# -- what guards depend on ----------------------------------------------------------------------------

def test_a_hook_is_told_the_same_each_time(hooked):
    """Until it has ended well: also when it is run again after a restart, and of what was taken back."""
    pair, hooks = hooked
    a, b = pair.nodes
    hooks.hold(a, "before_demote")
    hooks.fail(a, "after_promote")
    times_out_in(pair, hooks, "a before_demote")
    hooks.let_go(a, "before_demote")
    hooks.wait_for("a after_promote", 2)
    assert told(hooks, a, "after_promote") == {("rollback", "1", "b")}
    a.stop()
    hooks.forget()
    a.start()
    hooks.wait_for("a after_promote", 2)
    assert told(hooks, a, "after_promote") == {("rollback", "1", "b")}
    hooks.mend(a, "after_promote")
    settle(pair)

    hooks.fail(b, "after_promote")
    a.kill()
    b.wait_for("it knows", lambda s: not s["peers"][0]["connected"])
    epoch = done(reverse(b, "--failover"), b)["epoch"]
    b.stop()
    b.start()
    hooks.wait_for("b after_promote", 3, timeout=90)
    assert told(hooks, b, "after_promote") == {("failover", str(epoch), "a")}


def told(hooks, node, hook):
    return {(facts["REASON"], facts["EPOCH"], facts["PEER"]) for name, which, facts in hooks.calls()
            if (name, which) == (node.name, hook)}


def test_a_dry_run_changes_nothing(hooked):
    pair, hooks = hooked
    before = [(n.status()["role"], n.status()["epoch"], n.status()["seq"], lineage_of(n)) for n in pair.nodes]
    for node in pair.nodes:
        answer = node.cli("reverse", "--dry-run", "--json")
        assert answer.exit == DONE, repr(answer)
        assert answer.json["reasons"] == [] and answer.json["estimate_seconds"] >= 0, repr(answer)
        assert node.cli("reverse", "--dry-run").exit == DONE
    assert pair.active.cli("pause").exit == DONE
    for node in pair.nodes:
        def refused_for_it(node=node):
            answer = node.cli("reverse", "--dry-run", "--json")
            return answer.exit == REFUSED and "pause" in str(answer.json["reasons"])
        wait_until("it has heard of the pause", refused_for_it)
    assert pair.active.cli("resume").exit == DONE
    after = [(n.status()["role"], n.status()["epoch"], n.status()["seq"], lineage_of(n)) for n in pair.nodes]
    assert before == after and hooks.calls() == []
    settle(pair)


def test_every_reason_of_both_sides_is_named_on_either(make_pair):
    """Where it is typed makes no difference to what is said, tried or meant."""
    pair = make_pair(profile="wso2is").start()
    stores = pair.active.tree / "deployment/server/userstores"
    stores.mkdir(parents=True)
    names = [f"a-user-store-with-a-rather-long-name-of-its-own-{number:02d}.xml" for number in range(8)]
    for name in names:
        (stores / name).write_text("<whole/>")
    pair.wait()
    settle(pair)
    for name in names:
        (stores / name).write_text("<torn>")
    a, b = pair.nodes
    a.wait_for("all are held", lambda s: len(s["held"]) == len(names))
    assert b.cli("pause").exit == DONE
    a.wait_for("it has heard of it", lambda s: any("paused" in reason for reason in s["not_ready"]))
    for node in pair.nodes:
        for options in (["--dry-run"], ["--yes"]):
            answer = refused(node.cli("reverse", "--json", *options), REFUSED, "paused: b")
            assert all(name in answer.text for name in names), f"{node.name} {options}: {answer!r}"
    assert b.cli("resume").exit == DONE
    wait_until("only the other side's reasons are left", lambda: "paused" not in str(
        b.cli("reverse", "--dry-run", "--json").json["reasons"]))
    for options in (["--dry-run"], ["--yes"]):
        answer = refused(b.cli("reverse", "--json", *options), REFUSED, "held")
        assert len(answer.json["reasons"]) == len(names), repr(answer)
        assert all(name in answer.text for name in names), f"{options}: {answer!r}"
    assert b.cli("reverse", "--dry-run", "--accept-data-loss").exit == DONE
    assert roles_of(pair.nodes) == {"a": "active", "b": "passive"}


def test_draining_satisfies_neither_role(hooked):
    pair, hooks = hooked
    a, b = pair.nodes
    hooks.hold(a, "before_demote")
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        under_way = pool.submit(reverse, a)
        hooks.wait_for("a before_demote")
        a.wait_for_state("draining")
        assert a.cli("role").out.strip() == "draining"
        for role in ("active", "passive"):
            assert a.cli("role", "--require", role).exit == NO
        assert a.cli("role", "--require", "active", "--unconfirmed").exit == NO
        assert b.cli("role", "--require", "active").exit == NO
        refused(reverse(b), REFUSED)
        hooks.let_go(a, "before_demote")
        done(under_way.result(), b, a)
    settle(pair)
    assert b.cli("role", "--require", "active").exit == DONE
    assert a.cli("role", "--require", "passive").exit == DONE
    assert a.cli("role", "--require", "active").exit == NO


def test_a_new_active_that_starts_alone_is_not_vouched_for(pair):
    pair.converge()
    settle(pair)
    done(reverse(pair.active), pair.passive)
    settle(pair)
    pair.stop()
    pair.active.start()
    assert pair.active.cli("role", "--require", "active").exit == NO
    assert pair.active.cli("role", "--require", "active", "--unconfirmed").exit == DONE
    pair.passive.start()
    wait_until("a peer has confirmed the epoch",
               lambda: pair.active.cli("role", "--require", "active").exit == DONE)
