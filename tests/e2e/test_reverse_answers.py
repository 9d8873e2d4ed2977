"""What `reverse` answers is true: not only when it is given, but also a moment later."""

import concurrent.futures
import contextlib
import os
import re
import signal
import subprocess

import pytest

import faults
from harness import DONE, NO, PROGRAM, REFUSED, TIMED_OUT, UNREACHABLE, environment
from roles import Hooks, done, failover, lineage_of, refused, reverse, roles_of, settle, unchanged
from waiting import wait_until

NOT_RUNNING = 4


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
