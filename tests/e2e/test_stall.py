"""A part that neither works nor dies: what status says of it, and what becomes of it."""

import os
import signal

import processes
from harness import problem_text


def test_a_watching_child_that_stands_still_is_told_and_replaced(pair):
    (pair.active.tree / "one").write_bytes(b"1")
    pair.converge()
    pair.active.wait_for_state("in_sync")
    (child,) = processes.watchers(pair.active.pid)
    os.kill(child, signal.SIGSTOP)
    try:
        (pair.active.tree / "two").write_bytes(b"2")
        told = pair.active.wait_for("it is told", lambda s: "watch-late" in problem_text(s), 30)
        assert told["state"] != "in_sync"
        assert told["rpo_seconds"] > 5
        passive = pair.passive.status()
        assert passive["rpo_seconds"] > 5, "the passive thinks it is fresher than it is"
        pair.active.wait_for("another has taken its place", lambda s: s["watch"]["restarts"] > 0, 120)
    finally:
        if processes.is_running(child):
            os.kill(child, signal.SIGCONT)
    pair.passive.wait_for("what nobody had told is there", lambda s: (pair.passive.tree / "two").exists())
    pair.converge()
    pair.active.wait_for("all is well", lambda s: s["state"] == "in_sync" and not s["problems"])
