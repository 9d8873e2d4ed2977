"""A rehearsal on the passive: its tree as of the last barrier, a program tried on it, a verdict that is kept,
and nothing left behind, whatever ends it."""

import html.parser
import json
import os
import random
import signal
import subprocess
import threading
import xml.etree.ElementTree

import pytest

import processes
import trees
from harness import DONE, NO, PROGRAM, REFUSED, USAGE, environment, run
from waiting import SCALE, let_pass, wait_until

CONTENT = {"conf/a.xml": b"<a>replicated</a>", "deep/er/still/c": b"in the depth", "data": bytes(range(256)) * 600}


@pytest.fixture
def replicated(make_pair):
    def make(**options):
        pair = make_pair(**options)
        for path, content in CONTENT.items():
            (pair.active.tree / path).parent.mkdir(parents=True, exist_ok=True)
            (pair.active.tree / path).write_bytes(content)
        (pair.active.tree / "empty").mkdir()
        (pair.active.tree / "link").symlink_to("conf/a.xml")
        os.setxattr(pair.active.tree / "conf/a.xml", "user.colour", b"green")
        pair.start()
        pair.converge()
        pair.passive.wait_for("it has a barrier", lambda s: s["recovery_point"] and s["history"]["oldest"])
        return pair
    return make


def clones(node):
    place = node.tree / ".artifact-sync/drill"
    return sorted(os.listdir(place)) if place.is_dir() else []


def assert_nothing_left(pair):
    wait_until("the clone is gone", lambda: clones(pair.passive) == [])
    pair.converge()
    for node in pair.nodes:
        status = node.wait_for_state("in_sync")
        assert status["drift"] == 0 and status["salvage"] == 0
    pair.assert_tidy()


def script(home, text, name="hook"):
    path = home / name
    path.write_text("#!/bin/sh\n" + text)
    path.chmod(0o755)
    return path


class Page(html.parser.HTMLParser):
    """Tags must nest, and nothing may come from elsewhere."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.text = [], [], ""
        self.feed(text)
        assert self.open == [], f"not closed: {self.open}"

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)

    def handle_starttag(self, tag, attrs):
        self.handle_startendtag(tag, attrs)
        self.open.append(tag)
        for name, value in attrs:
            assert name not in ("src", "href", "onload"), f"<{tag} {name}={value}>"

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def assert_page(text, report):
    xml.etree.ElementTree.fromstring(text.replace("<!DOCTYPE html>\n", ""))
    page = Page(text)
    assert {"svg", "rect", "h1", "table"} <= set(page.tags) and "script" not in page.tags
    assert page.tags.count("rect") == len(report["timeline"])
    assert report["verdict"] in page.text and report["id"] in page.text and report["node"] in page.text
    return page


@pytest.mark.short
def test_a_hook_finds_the_tree_of_the_barrier_while_changes_stream(replicated, home, seed):
    """The clone is one state that both nodes agreed on, not a mixture, although the tree changes all the time."""
    pair = replicated()
    copy = home / "copy"
    hook = script(home, 'set -e\ncp -a "$ARTIFACT_SYNC_DRILL_TREE" "$1"\nenv | sort > "$1.env"\n'
                        'echo changed > "$ARTIFACT_SYNC_DRILL_TREE/conf/a.xml"\necho "tried <it> & it works"\n')
    stop = threading.Event()
    source = random.Random(seed)

    def change():
        number = 0
        while not stop.is_set():
            number += 1
            (pair.active.tree / "conf/a.xml").write_bytes(b"<a>%d</a>" % number)
            (pair.active.tree / f"n{source.randrange(50)}").write_bytes(source.randbytes(source.randrange(9000)))
            let_pass(0.005)
    writer = threading.Thread(target=change)
    writer.start()
    try:
        answer = pair.passive.cli("drill", "--json", "--hook", hook, copy, "--report", home / "report.html")
    finally:
        stop.set()
        writer.join()
    assert answer.exit == DONE, repr(answer)
    report = answer.json
    assert report["verdict"] == "passed" and report["reasons"] == [] and report["verified"] is True
    assert report["kind"] == "clone" and report["digest"] == report["barrier"]["digest"]
    assert report["hook"]["ok"] and "tried <it> & it works" in report["hook"]["output"]
    assert report["recovery_time_s"] == report["hook"]["ms"] / 1000
    assert 0 <= report["rpo_seconds"] < 60 and report["recovery_point"]
    assert [each["phase"] for each in report["timeline"]] == ["clone and verify", "hook", "remove the clone"]
    # The hook's copy is that barrier's tree: the history says so independently.
    restored = home / "restored"
    again = pair.passive.cli("restore", "--at", report["barrier"]["time"], "--to", restored, "--json")
    assert again.exit == DONE and again.json["barrier"]["digest"] == report["barrier"]["digest"], repr(again)
    trees.assert_same(restored, copy)
    facts = dict(line.split("=", 1) for line in (home / "copy.env").read_text().splitlines())
    assert facts["ARTIFACT_SYNC_DRILL_ID"] == report["id"] and facts["ARTIFACT_SYNC_NODE"] == "b"
    assert facts["ARTIFACT_SYNC_SEQ"] == str(report["barrier"]["seq"])
    assert not set(facts) & {"PYTEST_CURRENT_TEST", "ARTIFACT_SYNC_WATCH", "USER"}, "its environment is its own"
    assert_page((home / "report.html").read_text(), report)
    assert_nothing_left(pair)


def test_what_is_kept_and_shown(replicated, home):
    pair = replicated()
    assert pair.passive.status()["last_drill"] is None
    assert pair.passive.cli("drill").exit == DONE
    failing = script(home, "echo no\nexit 3\n")
    answer = pair.passive.cli("drill", "--hook", failing, "--report", home / "r.json", "--json")
    assert answer.exit == NO
    assert json.loads((home / "r.json").read_text())["verdict"] == answer.json["verdict"] == "failed"
    assert any("exited with 3" in each for each in answer.json["reasons"])
    status = pair.passive.status()
    assert status["last_drill"]["verdict"] == "failed" and status["last_drill"]["id"] == answer.json["id"]
    assert status["drills"] == {"kept": 2, "passed": 1, "failed": 1, "running": False}
    kept = sorted(os.listdir(pair.passive.state / "drills"))
    assert len(kept) == 4 and kept[-1] == answer.json["id"] + ".json"
    page = assert_page((pair.passive.state / "drills" / (answer.json["id"] + ".html")).read_text(), answer.json)
    assert "exited with 3" in page.text
    # A file that is none of ours does no harm, and the newest are kept over a restart.
    (pair.passive.state / "drills/20990101T000000.000Z-ffff.json").write_text("{")
    pair.passive.stop()
    pair.passive.start()
    pair.passive.wait_for("it remembers", lambda s: s["last_drill"] == status["last_drill"]
                          and s["drills"]["kept"] == 2)
    for number in range(32):
        name = f"20200101T0000{number:02}.000Z-0000"
        (pair.passive.state / f"drills/{name}.json").write_text(json.dumps({"id": name, "verdict": "passed"}))
    assert pair.passive.cli("drill").exit == DONE
    assert pair.passive.status()["drills"]["kept"] <= 30
    assert_nothing_left(pair)


def test_a_hook_that_hangs_is_ended_with_all_it_started(replicated, home):
    pair = replicated()
    hook = script(home, f'sleep 1000 &\necho $! > {home}/pid\ntrap "" TERM\nwhile :; do sleep 1; done\n')
    for seconds in (1, 4, 16):  # until it came as far as to start something
        answer = pair.passive.cli("drill", "--json", "--hook-timeout", seconds, "--hook", hook)
        assert answer.exit == NO and any(f"did not end in {seconds} s" in each for each in answer.json["reasons"]), \
            repr(answer)
        if (home / "pid").exists() and (home / "pid").read_text():
            break
    assert not processes.is_running(int((home / "pid").read_text()))
    assert_nothing_left(pair)


def as_in_a_terminal():
    """What runs in the background of a shell ignores interrupts, and so does what it starts."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT], ids=["kill", "interrupt"])
def test_the_command_dies_while_its_hook_runs(replicated, home, how):
    pair = replicated()
    hook = script(home, f"echo $$ > {home}/pid.new && mv {home}/pid.new {home}/pid\nsleep 1000\n")
    command = subprocess.Popen([str(PROGRAM), "--config", str(pair.passive.config), "drill", "--hook", str(hook)],
                               stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                               env=environment(), preexec_fn=as_in_a_terminal)
    wait_until("the hook runs", lambda: (home / "pid").exists())
    assert pair.passive.cli("drill").exit == NO, "one at a time"
    assert len(clones(pair.passive)) == 1
    command.send_signal(how)
    command.wait(30 * SCALE)
    pid = int((home / "pid").read_text())
    wait_until("the hook has ended", lambda: not processes.is_running(pid))
    pair.passive.wait_for("it is recorded", lambda s: s["last_drill"] and s["last_drill"]["verdict"] == "aborted")
    assert_nothing_left(pair)
    assert pair.passive.cli("drill").exit == DONE


def test_the_agent_dies_while_a_clone_is_there(replicated, home):
    pair = replicated()
    hook = script(home, f"mkdir -p $ARTIFACT_SYNC_DRILL_TREE/x && touch {home}/runs\nsleep 1000\n")
    command = subprocess.Popen([str(PROGRAM), "--config", str(pair.passive.config), "drill", "--hook", str(hook)],
                               stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                               env=environment(), preexec_fn=as_in_a_terminal)
    wait_until("the hook runs", lambda: (home / "runs").exists())
    place = pair.passive.tree / ".artifact-sync/drill" / clones(pair.passive)[0] / "tree"
    fd = os.open(place, os.O_RDONLY)
    for _ in range(120):                      # deeper than a path may be long
        os.mkdir("d" * 60, dir_fd=fd)
        inner = os.open("d" * 60, os.O_RDONLY, dir_fd=fd)
        os.mkdir("side", dir_fd=inner)
        os.close(fd)
        fd = inner
    os.close(fd)
    (place / "locked").mkdir()
    (place / "locked/file").write_bytes(b"x")
    (place / "locked").chmod(0)
    (place / "out").symlink_to(pair.passive.tree / "conf")
    pair.passive.kill()
    command.send_signal(signal.SIGINT)
    command.wait(30 * SCALE)
    pair.passive.start()
    assert_nothing_left(pair)


def test_it_is_refused_where_it_makes_no_sense(replicated, make_pair, home):
    pair = replicated()
    answer = pair.active.cli("drill")
    assert answer.exit == REFUSED and "passive" in answer.text, repr(answer)
    assert pair.passive.cli("drill", "an-argument").exit == USAGE
    assert pair.passive.cli("drill", "--hook", home / "none").exit == USAGE
    pair.passive.stop()
    answer = pair.passive.cli("drill")
    assert answer.exit == 4, repr(answer)
    assert run("--config", pair.passive.config, "drill", "--hook-timeout", "0").exit == USAGE


def test_before_anything_was_agreed_on_there_is_nothing_to_rehearse(make_pair):
    pair = make_pair()
    pair.passive.start()

    def answer_of_its_own():
        """What a crash may have left of another drill is removed first, and nothing else is done meanwhile."""
        answer = pair.passive.cli("drill")
        assert answer.exit == NO and "is running" not in answer.text, repr(answer)
        return answer
    answer = wait_until("it has looked for another drill", answer_of_its_own)
    assert "agreed" in answer.text, repr(answer)
    assert clones(pair.passive) == []


def test_bytes_that_rot_fail_the_drill(replicated):
    """What is on the passive's disk is not what it should be, and its stat says nothing of it."""
    pair = replicated(settings={"drift": "report", "scan_interval_s": 3600})
    place = pair.passive.tree / "data"
    was = place.stat()
    with open(place, "r+b") as file:
        file.write(b"rotten")
    os.utime(place, ns=(was.st_atime_ns, was.st_mtime_ns))
    answer = pair.passive.cli("drill", "--json")
    assert answer.exit == NO and answer.json["verified"] is False, repr(answer)
    assert any("data" in each for each in answer.json["reasons"]), answer.json["reasons"]
    assert any("digest" in each for each in answer.json["reasons"])
    assert clones(pair.passive) == []


def test_the_active_is_gone_and_the_drill_says_what_is_missing(make_pair):
    pair = make_pair()
    (pair.active.tree / "first").write_bytes(b"1")
    pair.start()
    pair.converge()
    pair.passive.wait_for("it has a barrier", lambda s: s["history"]["oldest"])
    assert pair.active.cli("pause").exit == DONE
    for number in range(10):
        (pair.active.tree / f"late {number}").write_bytes(os.urandom(100_000))
    wait_until("it was announced", lambda: pair.passive.cli("exposure", "--json").json["changes"] >= 10)
    pair.active.kill()
    pair.passive.wait_for_state("disconnected")
    answer = pair.passive.cli("drill", "--json")
    assert answer.exit == DONE, repr(answer)
    assert answer.json["missing"] >= 10 and any("late" in each for each in answer.json["missing_paths"])
    pair.active.start()
    assert_nothing_left(pair)


# -- there and back ------------------------------------------------------------------------------------

def wait_until_ready(pair):
    for node in pair.nodes:
        node.wait_for("it is ready", lambda s: s["ready"], 60)


@pytest.mark.parametrize("side", [0, 1], ids=["active", "passive"])
def test_a_switchover_there_and_back(replicated, home, side):
    pair = replicated()
    wait_until_ready(pair)
    node = pair.nodes[side]
    hook = script(home, f'env > {home}/env\ntest -f "$ARTIFACT_SYNC_DRILL_TREE/conf/a.xml"\n'
                        f'{PROGRAM} --config {node.config} role > {home}/role\n')
    answer = node.cli("drill", "--switchover", "--hook", hook, "--json", "--report", home / "r.html", timeout=300)
    assert answer.exit == DONE, f"{answer!r}\n{pair.report()}"
    report = answer.json
    assert report["verdict"] == "passed" and report["kind"] == "switchover" and report["verified"] is True
    assert [each["phase"] for each in report["timeline"]] == ["reverse", "in sync again", "hook", "failback",
                                                              "in sync after the failback"]
    assert report["reverse"]["active"] == "b" and report["failback"]["active"] == "a"
    assert 0 < report["recovery_time_s"] <= report["seconds"]
    assert f"ARTIFACT_SYNC_DRILL_TREE={node.tree}" in (home / "env").read_text()
    assert (home / "role").read_text().strip() == ("passive" if side == 0 else "active"), "the hook ran in between"
    assert_page((home / "r.html").read_text(), report)
    status = node.status()
    assert status["last_drill"]["kind"] == "switchover" and status["drills"]["passed"] == 1
    assert pair.active.status()["role"] == "active" and pair.passive.status()["role"] == "passive"
    assert pair.active.status()["epoch"] == 3
    assert_nothing_left(pair)


def test_a_switchover_whose_hook_fails_goes_back_all_the_same(replicated, home):
    pair = replicated()
    wait_until_ready(pair)
    answer = pair.passive.cli("drill", "--switchover", "--hook", script(home, "exit 7\n"), "--json", timeout=300)
    assert answer.exit == NO and answer.json["verdict"] == "failed", repr(answer)
    assert any("exited with 7" in each for each in answer.json["reasons"])
    assert answer.json["failback"]["active"] == "a"
    assert pair.active.status()["role"] == "active"
    assert_nothing_left(pair)


def test_no_switchover_unless_both_are_ready(replicated):
    pair = replicated()
    wait_until_ready(pair)
    assert pair.passive.cli("pause").exit == DONE
    pair.active.wait_for("it knows", lambda s: any("paused" in each for each in s["not_ready"]))
    answer = pair.active.cli("drill", "--switchover")
    assert answer.exit == REFUSED and "paused" in answer.text, repr(answer)
    assert pair.active.status()["epoch"] == 1 and pair.active.status()["last_drill"] is None
    assert pair.passive.cli("resume").exit == DONE
    pair.converge()
