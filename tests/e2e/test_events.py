"""`artifact-sync events`: what the agent did can be read later, followed, and needs no agent."""

import json
import re
import signal
import subprocess

import pytest

import trees
from harness import DONE, PROGRAM, USAGE, environment
from waiting import wait_until

FILE_MAX = 4 << 20


def events(node, *options):
    """All that are kept, as objects."""
    answer = node.cli("events", "--all", "--json", *options)
    assert answer.exit == DONE and not answer.err, repr(answer)
    return [json.loads(line) for line in answer.out.splitlines()]


def find(node, module, pattern):
    """The first event of the module whose text matches; waits for it."""
    return wait_until(f"{node.name} has an event of {module} with /{pattern}/",
                      lambda: next((each for each in events(node) if each["module"] == module
                                    and re.search(pattern, each["text"])), None))


class Follower:
    """`events --follow` in the background; what it prints is in `path`."""

    def __init__(self, node, path, *options):
        self.path = path
        with open(path, "wb") as out:
            self.process = subprocess.Popen(
                [str(PROGRAM), "--config", str(node.config), "events", "--follow", *options],
                stdout=out, stderr=out, stdin=subprocess.DEVNULL, env=environment())

    def text(self):
        return self.path.read_text()

    def wait_for(self, pattern, count=1):
        return wait_until(f"/{pattern}/ is shown {count} times",
                          lambda: len(re.findall(pattern, self.text(), re.M)) >= count)

    def interrupt(self):
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(60)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()


@pytest.mark.short
def test_drift_and_what_it_displaced_appear(pair):
    (pair.active.tree / "file").write_bytes(b"replicated")
    pair.converge()
    pair.passive.wait_for("its tree is watched", lambda s: s["watch"]["running"] and s["watch"]["watched"] > 0)
    for node in pair.nodes:
        node.wait_for_state("in_sync")
    (pair.passive.tree / "file").write_bytes(b"edited by somebody")
    (pair.passive.tree / "x\nerror all: lost").write_bytes(b"made by somebody")
    put_back = find(pair.passive, "drift", r'path="file".*action=put-back')
    assert put_back["fields"]["path"] == "file" and put_back["level"] == "warn"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", put_back["time"])
    find(pair.passive, "salvage", r'path="file" why=drift action=moved-to-salvage')
    added = find(pair.passive, "salvage", r'path="x\\nerror all: lost"')
    assert added["fields"]["path"] == "x\nerror all: lost"
    for node in pair.nodes:
        find(node, "session", "outcome=")
        find(node, "node", "role=" + node.role)
    table = pair.passive.cli("events")
    assert table.exit == DONE and not table.err, repr(table)
    heading, *rows = table.out.splitlines()
    assert heading.split() == ["TIME", "LEVEL", "MODULE", "TEXT"]
    assert any(re.match(r'\S+Z  warn   drift      path="file" ', row) for row in rows), table.out
    assert not any(row.startswith("error all") for row in rows), "a name made a line"
    wait_until("the trees are equal", lambda: trees.assert_same(pair.active.tree, pair.passive.tree) is None)


def test_follow_goes_on_across_rotation_and_restart(pair, tmp_path):
    pair.converge()
    node = pair.active
    current, old = node.state / "events.jsonl", node.state / "events.jsonl.1"
    with Follower(node, tmp_path / "out") as follower:
        follower.wait_for(r"session\s+peer=b .*outcome=")
        assert node.cli("pause").exit == DONE
        follower.wait_for(r"info   node       paused$")
        filler = {"time": "2026-01-01T00:00:00.000Z", "level": "info", "module": "test", "text": "x" * 4000}
        with open(current, "a", encoding="utf-8") as file:
            file.write((json.dumps(filler) + "\n") * (FILE_MAX // 4000 + 1))
        assert node.cli("resume").exit == DONE
        follower.wait_for(r"node       resumed$")
        assert old.stat().st_size > FILE_MAX - 8192 and current.stat().st_size < FILE_MAX
        assert len(re.findall("test       x+$", follower.text(), re.M)) == FILE_MAX // 4000 + 1
        starts = len(re.findall("version=", follower.text()))
        node.stop()
        follower.wait_for("node       stopping$")
        node.start()
        follower.wait_for("version=", starts + 1)
        node.kill()
        node.start()
        follower.wait_for("version=", starts + 2)
        assert follower.interrupt() == DONE
        shown = follower.text().splitlines()
        assert len(shown) == len(set(shown)) + FILE_MAX // 4000, "something was shown twice"
    for path in (current, old):
        assert path.stat().st_mode & 0o777 == 0o600


def test_follow_into_a_pipe_is_one_object_a_line(pair, tmp_path):
    pair.converge()
    with Follower(pair.active, tmp_path / "out", "--json", "--number", "1") as follower:
        follower.wait_for("^{")
        assert pair.active.cli("pause").exit == DONE
        follower.wait_for('"text":"paused"')
        assert follower.interrupt() == DONE
        assert [json.loads(line)["level"] for line in follower.text().splitlines()]
    assert pair.active.cli("resume").exit == DONE


def test_no_agent_is_needed(pair):
    pair.converge()
    pair.stop()
    node = pair.active
    everything = events(node)
    assert any(each["text"] == "stopping" for each in everything)
    newest = node.cli("events", "--number", "2", "--json").out.splitlines()
    assert [json.loads(line) for line in newest] == everything[-2:]
    with open(node.state / "events.jsonl", "a", encoding="utf-8") as file:
        file.write('no JSON\n{"time":"torn')
    answer = node.cli("events", "--all")
    assert answer.exit == DONE and len(answer.out.splitlines()) == len(everything) + 1, repr(answer)
    assert "no events, left out: 1" in answer.err and "torn" not in answer.text
    node.start()
    again = node.cli("events", "--all", "--json").out.splitlines()
    assert [json.loads(line) for line in again][:len(everything)] == everything and len(again) > len(everything)
    assert "no events, left out: 1" in node.cli("events").err
    node.stop()
    (node.state / "events.jsonl").unlink()
    answer = node.cli("events")
    assert answer.exit == DONE and "No event is kept yet" in answer.out
    assert node.cli("events", "--number", "many").exit == USAGE


def test_why_the_agent_did_not_start_is_an_event(pair):
    pair.stop()
    node = pair.active
    node.configure(tls={"certificate": str(node.state / "nobody.crt"), "key": str(node.state / "nobody.key")})
    node.start(wait=False)
    assert node.process.wait(60) == USAGE
    node.process = None
    last = events(node)[-1]
    assert last["module"] == "agent" and last["level"] == "error" and "nobody" in last["text"]
    assert last["fields"]["remedy"]


def test_what_cannot_be_kept_stops_nobody(pair):
    """A directory stands where the file should be."""
    pair.stop()
    for node in pair.nodes:
        (node.state / "events.jsonl").unlink()
        (node.state / "events.jsonl").mkdir()
    pair.start()
    (pair.active.tree / "file").write_bytes(b"content")
    pair.converge()
    for node in pair.nodes:
        assert "go on without events" in node.log()
        node.wait_for_state("in_sync")
