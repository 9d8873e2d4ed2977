"""A failover that does not come about leaves everything as it was; one that does begins with what is true
at that moment, not with what was found out before."""

import concurrent.futures
import contextlib
import os
import signal
import subprocess

import pytest

import processes
from harness import DONE, NO, PROGRAM, REFUSED, TIMED_OUT, environment
from roles import Group, Hooks, done, failover, lineage_of, refused, reverse, roles_of, settle
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
    children = processes.watchers(node.pid)
    assert children
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
    assert not (b.tree / "y").exists() and b.salvaged_content("y") == b"new, by somebody else"
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
