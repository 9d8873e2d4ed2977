"""What `reverse` answers is true: not only when it is given, but also a moment later."""

import contextlib
import errno
import json
import os
import pty
import re
import signal
import subprocess

import pytest

import faults
from harness import DONE, NO, PROGRAM, REFUSED, TIMED_OUT, UNREACHABLE, environment
from roles import Group, Hooks, done, failover, lineage_of, refused, reverse, roles_of, settle, unchanged
from test_failover import cut_off
from test_reverse_steps import clean_run, fault, restarted
from waiting import wait_until

needs_faults = pytest.mark.skipif(not faults.are_built_in(), reason="the build is without -Dfaults=true")


@pytest.fixture
def hooked(make_pair, home):
    """(a, b, hooks, pair): in sync, with every hook on both sides."""
    pair = make_pair()
    hooks = Hooks(pair.nodes, home)
    pair.start()
    (pair.active.tree / "file").write_text("content")
    pair.converge()
    settle(pair)
    return *pair.nodes, hooks, pair


@contextlib.contextmanager
def asleep(node):
    """Its agent is there and says nothing."""
    os.kill(node.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(node.pid, signal.SIGCONT)


def type_it(node, *options):
    """The command, which somebody may interrupt."""
    return subprocess.Popen([PROGRAM, "--config", node.config, "reverse", "--yes", "--json", *options],
                            env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


# -- given up while the other side was asked -----------------------------------------------------------

def test_nothing_comes_of_what_was_given_up(pair):
    """The active answers when the passive's command has been told that all is as before."""
    pair.converge()
    settle(pair)
    a, b = pair.nodes
    with asleep(a):
        answer = refused(reverse(b, "--timeout", "1"), TIMED_OUT)
        assert answer.json["outcome"] == "rolled_back", repr(answer)
    a.wait_for_log("says=UNREADY .*given it up")
    unchanged(pair, 1)
    with asleep(a):
        command = type_it(b)
        wait_until("it was asked again", lambda: b.log().count("said=PLEASE") == 2)
        command.send_signal(signal.SIGINT)
        command.communicate()
        b.wait_for_log("the command was given up")
    wait_until("the active was told", lambda: len(re.findall("says=UNREADY .*given it up", a.log())) == 2)
    unchanged(pair, 1)
    done(reverse(b), b)
    settle(pair)


# -- the agent ends before its answer ------------------------------------------------------------------

def answer_of(command):
    """(exit code, what it told) of one that was typed."""
    text = command.communicate(timeout=120)[0].decode()
    return command.returncode, json.loads(text)


def terminate(node):
    node.process.send_signal(signal.SIGTERM)


def ended(node):
    """One that was terminated: a second signal would kill it."""
    wait_until("the agent has ended", lambda: not node.running)
    node.stop()


def test_the_draining_agent_is_stopped(hooked):
    """Nothing was taken back: that happens when it starts again."""
    a, b, hooks, pair = hooked
    hooks.hold(a, "before_demote")
    command = type_it(a)
    hooks.wait_for("a before_demote")
    terminate(a)
    code, told = answer_of(command)
    assert (code, told["outcome"]) == (UNREACHABLE, "unresolved") and "next start" in str(told["reasons"]), told
    ended(a)
    hooks.let_go(a, "before_demote")
    a.start()
    unchanged(pair, 1)
    hooks.wait_for("a after_promote")


def test_the_new_active_is_stopped_while_its_hook_runs(hooked):
    a, b, hooks, pair = hooked
    hooks.hold(b, "after_promote")
    command = type_it(b)
    hooks.wait_for("b after_promote")
    terminate(b)
    code, told = answer_of(command)
    assert (code, told["outcome"], told["epoch"]) == (DONE, "done", 2), told
    ended(b)
    hooks.let_go(b, "after_promote")
    b.start()
    assert settle(pair) is b
    hooks.wait_for("b after_promote", count=2)


@needs_faults
def test_an_epoch_that_cannot_be_stored_has_not_begun(make_pair, home):
    pair = make_pair(proxied=True)
    a, b = pair.nodes
    hooks = Hooks(pair.nodes, home)
    order = faults.Order(b)
    order.withdraw()
    a.start()
    b.start(extra_environment=order.environment)
    pair.converge()
    settle(pair)
    cut_off(pair)
    order.give(1, errno.ENOSPC, 100000)
    command = type_it(b, "--failover")
    code, told = answer_of(command)
    assert (code, told["outcome"], told["active"]) == (NO, "failed", "a"), told
    wait_until("the agent has ended", lambda: not b.running)
    order.withdraw()
    assert b.abandon() != 0
    b.start()
    assert roles_of([b]) == {"b": "passive"} and len(lineage_of(b)) == 1
    assert "b after_promote" not in hooks.names()


# -- the heir does not know whether it was offered -----------------------------------------------------

@needs_faults
@pytest.mark.parametrize("what", ["kill", "cut"])
def test_the_giver_vanishes_with_a_durable_offer(make_pair, home, what):
    """Typed on the heir. Nobody can say that all is as before until the giver has said so itself."""
    pair = make_pair(proxied=True)
    hooks = Hooks(pair.nodes, home)
    pair.start()
    pair.converge()
    a, b = pair.nodes
    step = next(number for number, action in clean_run(pair, hooks)["giver"] if action == "SEND_OFFER")
    done(reverse(b), a)
    settle(pair)
    restarted(a, fault(step, what))
    settle(pair)
    answer = refused(reverse(b, "--timeout", "60"), UNREACHABLE)
    if what == "kill" or answer.json["outcome"] == "unresolved":
        # The giver has three seconds to come back and to say that it has gone back.
        assert answer.json["outcome"] == "unresolved" and "refused for ever" in answer.text, repr(answer)
    else:
        assert answer.json["outcome"] == "rolled_back", repr(answer)
        assert a.status()["role"] == "active", "it was told that all is as before"
    if what == "kill":
        wait_until("a is gone", lambda: not a.running)
        a.abandon()
        a.start()
    assert settle(pair) is a
    assert len(lineage_of(a)) == 3, "the reverse took place after all"
    pair.converge()


# -- overtaken -----------------------------------------------------------------------------------------

@pytest.fixture
def three(request, home):
    """(a, b, c, hooks, group)"""
    made = Group(home)
    request.node.agents = [made]
    hooks = Hooks(made.nodes, home)
    try:
        made.start()
        (made.active.tree / "file").write_text("content")
        made.converge()
        made.meet()
        settle(made)
        yield *made.nodes, hooks, made
    finally:
        made.close()


def isolate(group, node):
    for other in group.nodes:
        if other is not node:
            group.cut(node, other)
    wait_until(f"{node.name} is alone", lambda: not any(p["connected"] for p in node.status()["peers"]))


def join(group, node):
    for other in group.nodes:
        if other is not node:
            group.restore(node, other)


def test_who_is_superseded_is_told_at_once(three):
    a, b, c, hooks, group = three
    isolate(group, c)
    hooks.hold(a, "before_demote")
    command = type_it(a, "--to", "b")
    hooks.wait_for("a before_demote")
    done(failover(c, "--accept-data-loss"), c)
    group.restore(a, c)  # were b the first to follow c, a would have lost its heir before it hears why
    code, told = answer_of(command)
    assert (code, told["outcome"], told["active"]) == (NO, "superseded", "a"), told
    assert "c took over" in str(told["reasons"]), told
    group.restore(b, c)
    hooks.let_go(a, "before_demote")
    assert settle(group, 90) is c


def test_who_is_in_a_split_is_told_at_once(three):
    a, b, c, hooks, group = three
    isolate(group, b)
    isolate(group, c)
    hooks.hold(b, "after_promote")
    command = type_it(b, "--failover", "--accept-data-loss")
    hooks.wait_for("b after_promote")
    done(failover(c, "--accept-data-loss"), c)
    group.restore(b, c)
    code, told = answer_of(command)
    assert (code, told["outcome"], told["role"]) == (NO, "split", "split"), told
    hooks.let_go(b, "after_promote")


def test_a_failover_under_way_is_superseded(three):
    a, b, c, hooks, group = three
    a.kill()
    isolate(group, b)
    wait_until("c is alone, too", lambda: not any(p["connected"] for p in c.status()["peers"]))
    hooks.hold(b, "before_promote")
    command = type_it(b, "--failover", "--accept-data-loss")
    hooks.wait_for("b before_promote")
    done(failover(c, "--accept-data-loss"), c)
    group.restore(b, c)
    code, told = answer_of(command)
    assert (code, told["outcome"]) == (NO, "superseded") and "c took over" in str(told["reasons"]), told
    hooks.let_go(b, "before_promote")
    hooks.wait_for("b after_demote")
    a.start()
    join(group, b)
    assert settle(group, 90) is c


# -- the server of the old region ----------------------------------------------------------------------

def stopped_while_demoting(a, hooks):
    """The answer of a reverse whose time was up when the hook before_demote, which is held, had begun."""
    for timeout in ("2", "10", "60"):
        a.wait_for("nothing is under way", lambda s: not any("busy" in each for each in s["not_ready"]))
        hooks.forget()
        answer = reverse(a, "--timeout", timeout, timeout=120)
        if "a before_demote" in hooks.names():
            break
    return answer


def test_rolled_back_says_whether_the_server_runs_again(hooked):
    a, b, hooks, pair = hooked
    hooks.hold(a, "before_demote")
    hooks.hold(a, "after_promote")
    answer = refused(stopped_while_demoting(a, hooks), TIMED_OUT, "after_promote .*has not ended")
    assert answer.json["outcome"] == "rolled_back"
    hooks.let_go(a, "after_promote")
    hooks.let_go(a, "before_demote")
    unchanged(pair, 1)
    hooks.hold(a, "before_demote")
    hooks.fail(a, "after_promote", "the server does not start")
    refused(stopped_while_demoting(a, hooks), TIMED_OUT, "after_promote .*the server does not start")
    hooks.let_go(a, "before_demote")
    hooks.mend(a, "after_promote")


@pytest.mark.parametrize("asked", ["old", "new"])
def test_a_server_that_does_not_start_can_be_left(hooked, asked):
    """The new active's server does not start: handing the role back is the way out."""
    a, b, hooks, pair = hooked
    hooks.fail(b, "after_promote", "the server does not start")
    assert "does not start" in done(reverse(a), b)["reasons"][0]
    b.wait_for("it is followed", lambda s: s["peers"][0]["connected"])
    done(reverse(a if asked == "old" else b), a)
    assert settle(pair) is a
    hooks.wait_for("a after_promote")


# -- the exit of a node that waits for its heir --------------------------------------------------------

def at_a_terminal(node, *arguments, reply=b"yes\n"):
    """(exit code, what it says) of a command that asks."""
    child, terminal = pty.fork()
    if child == 0:
        os.execve(PROGRAM, [str(PROGRAM), "--config", str(node.config), *arguments], environment())
    said, answered = b"", False
    with contextlib.suppress(OSError):
        while piece := os.read(terminal, 4096):
            said += piece
            if b"Type yes" in said and not answered:
                os.write(terminal, reply)
                answered = True
    os.close(terminal)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), said.decode(errors="replace")


@needs_faults
def test_a_draining_node_is_given_back_at_a_terminal(make_pair, home):
    pair = make_pair(proxied=True)
    hooks = Hooks(pair.nodes, home)
    pair.start()
    pair.converge()
    a, b = pair.nodes
    step = next(number for number, action in clean_run(pair, hooks)["heir"] if action == "STORE_EPOCH")
    done(reverse(b), a)
    settle(pair)
    restarted(b, fault(step, "kill"))
    settle(pair)
    assert refused(reverse(a, "--timeout", "10"), UNREACHABLE).json["outcome"] == "unresolved"
    refused(failover(a, "--dry-run"), REFUSED, "offered")
    code, said = at_a_terminal(a, "reverse", "--failover", "--accept-data-loss", reply=b"no\n")
    assert code == REFUSED and "split" in said and a.status()["role"] == "draining", said
    code, said = at_a_terminal(a, "reverse", "--failover", "--accept-data-loss")
    assert code == DONE and "a is active now" in said, said
    b.abandon()
    b.start()
    assert settle(pair) is a
