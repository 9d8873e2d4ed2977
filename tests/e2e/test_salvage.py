"""What had to make way: listed, compared, given back, removed, and never lost when there is no room."""

import hashlib
import json
import os
from pathlib import Path

import pytest

from harness import DONE, NO, USAGE, problem_text
from waiting import wait_until


@pytest.fixture
def adopted(make_pair):
    """A passive whose own files differ from the active's; they are in its salvage."""
    def make(ours, theirs, **settings):
        pair = make_pair(init=False, settings=settings)
        for tree, files in ((pair.active.tree, ours), (pair.passive.tree, theirs)):
            for name, content in files.items():
                (tree / name).parent.mkdir(parents=True, exist_ok=True)
                (tree / name).write_bytes(content)
        pair.init(adopt=True)
        return pair.start()
    return make


def entry_of(node, path):
    found = [entry for entry in node.salvaged() if entry["path"] == path]
    assert len(found) == 1, node.salvaged()
    return found[0]


def test_a_manifest_beside_it_says_what_it_is(adopted):
    pair = adopted({"conf/a.xml": b"<ours/>"}, {"conf/a.xml": b"<theirs/>"})
    pair.converge()
    entry = entry_of(pair.passive, "conf/a.xml")
    salvage = pair.passive.tree / ".artifact-sync" / "salvage"
    manifest = json.loads((salvage / f"{entry['id']}.json").read_text())
    assert manifest["path"] == "conf/a.xml" and manifest["why"] == "adopt"
    assert (salvage / entry["id"] / manifest["name"]).read_bytes() == b"<theirs/>"
    shown = pair.passive.cli("salvage", "show", entry["id"], "--json").json
    assert shown["sha256"] == manifest["sha256"] == hashlib.sha256(b"<theirs/>").hexdigest()
    assert Path(shown["location"]).read_bytes() == b"<theirs/>"


def test_the_hash_is_that_of_the_bytes(pair):
    """Also where the stat is that of the replicated version: who trusts it may purge the only copy."""
    name = "file"
    (pair.active.tree / name).write_bytes(b"what was replicated")
    pair.converge()
    path = pair.passive.tree / name
    before = path.stat()
    with open(path, "r+b") as file:
        file.write(b"WHAT somebody wrote")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    pair.passive.wait_for("it was saved", lambda status: status["salvage"] == 1)
    shown = pair.passive.cli("salvage", "show", entry_of(pair.passive, name)["id"], "--json").json
    assert shown["sha256"] == hashlib.sha256(b"WHAT somebody wrote").hexdigest()


def test_diff_of_texts_is_unified(adopted):
    pair = adopted({"a.txt": b"one\ntwo\nthree\n"}, {"a.txt": b"one\nzwei\nthree\n"})
    pair.converge()
    answer = pair.passive.cli("salvage", "diff", entry_of(pair.passive, "a.txt")["id"])
    assert answer.exit == NO, repr(answer)
    assert "\n-zwei\n+two\n" in answer.out and "@@" in answer.out, answer.out


def test_diff_of_binaries_says_sizes_and_hashes(adopted):
    pair = adopted({"a.bin": b"\0one"}, {"a.bin": b"\0two, and longer"})
    pair.converge()
    entry = entry_of(pair.passive, "a.bin")
    answer = pair.passive.cli("salvage", "diff", entry["id"])
    assert answer.exit == NO and answer.out.count("sha256") == 2, repr(answer)
    told = pair.passive.cli("salvage", "diff", entry["id"], "--json")
    assert told.exit == NO and told.json["same"] is False
    assert (told.json["salvaged"]["size"], told.json["standing"]["size"]) == (16, 4)


def test_diff_of_what_nothing_replaced_or_the_same(adopted):
    pair = adopted({"keep": b"1"}, {"only-here": b"mine"})
    pair.converge()
    entry = entry_of(pair.passive, "only-here")
    answer = pair.passive.cli("salvage", "diff", entry["id"])
    assert answer.exit == NO and "nothing stands at" in answer.out
    (pair.active.tree / "only-here").write_bytes(b"mine")
    pair.converge()
    assert pair.passive.cli("salvage", "diff", entry["id"]).exit == DONE


def test_purge_removes_what_is_named_and_nothing_else(adopted):
    pair = adopted({"keep": b"1"}, {name: name.encode() for name in "abc"})
    pair.converge()
    ids = {entry["path"]: entry["id"] for entry in pair.passive.salvaged()}
    salvage = pair.passive.tree / ".artifact-sync" / "salvage"
    assert pair.passive.cli("salvage", "purge", ids["a"]).exit == USAGE  # nobody can be asked
    assert pair.passive.cli("salvage", "purge", "--yes").exit == USAGE
    assert pair.passive.cli("salvage", "purge", "--all", ids["a"], "--yes").exit == USAGE
    assert pair.passive.cli("salvage", "purge", ids["a"], "unknown", "--yes").exit == NO
    assert len(pair.passive.salvaged()) == 3
    answer = pair.passive.cli("salvage", "purge", ids["a"], ids["b"], "--yes", "--json")
    assert answer.exit == DONE and answer.json == {"purged": 2, "bytes": 2}, repr(answer)
    assert [entry["path"] for entry in pair.passive.salvaged()] == ["c"]
    assert sorted(os.listdir(salvage)) == sorted([ids["c"], ids["c"] + ".json"])
    pair.passive.cli("salvage", "purge", "--older-than", "1", "--yes")
    assert len(pair.passive.salvaged()) == 1, "it is from today"
    assert pair.passive.cli("salvage", "purge", "--all", "--yes").exit == DONE
    assert pair.passive.salvaged() == [] and os.listdir(salvage) == []
    assert pair.passive.status()["salvage_bytes"] == 0
    pair.assert_tidy()


def test_restore_takes_the_manifest_along(adopted, home):
    pair = adopted({"keep": b"1"}, {"a": b"mine"})
    pair.converge()
    entry = entry_of(pair.passive, "a")
    answer = pair.passive.cli("salvage", "restore", entry["id"], "--to", home / "back")
    assert answer.exit == DONE and (home / "back").read_bytes() == b"mine"
    assert os.listdir(pair.passive.tree / ".artifact-sync" / "salvage") == []


def test_a_full_salvage_refuses_and_nothing_is_lost(adopted):
    theirs = {f"file-{number}": b"local %d " % number * 100 for number in range(10)}
    ours = {name: b"replicated" for name in theirs}
    pair = adopted(ours, theirs, limits={"salvage_bytes": 4000})
    refused = pair.active.wait_for("refusals are named", lambda status:
                                   "the salvage is full" in problem_text(status))
    assert "salvage purge makes room" in problem_text(refused)
    pair.passive.wait_for("status warns", lambda status: "salvage-full" in problem_text(status))
    assert pair.passive.status()["salvage_bytes"] <= 4000
    for name, content in theirs.items():
        here = (pair.passive.tree / name).read_bytes()
        assert here == content or (here == b"replicated"
                                   and pair.passive.salvaged_content(name) == content), name
    saved = {entry["path"] for entry in pair.passive.salvaged()}
    assert 0 < len(saved) < 10
    pair.passive.configure(limits={"salvage_bytes": 0})
    pair.passive.stop()
    pair.passive.start()
    pair.converge()
    for name, content in theirs.items():
        assert pair.passive.salvaged_content(name) == content


def test_a_kill_at_any_time_loses_nothing(adopted):
    """What is salvaged while the agent is killed again and again is complete, with its manifest."""
    theirs = {f"d{number % 7}/file-{number}": b"local %d" % number for number in range(300)}
    ours = {name: b"replicated" for name in theirs}
    pair = adopted(ours, theirs)
    for _ in range(5):
        before = len(pair.passive.salvaged())
        wait_until("some more is saved", lambda before=before: (
            len(pair.passive.salvaged()) > before or len(pair.passive.salvaged()) == 300), 60)
        pair.passive.kill()
        pair.passive.start()
    pair.converge(600)  # each of them waits for the disk several times
    salvage = pair.passive.tree / ".artifact-sync" / "salvage"
    entries = pair.passive.salvaged()
    assert len(entries) == 300
    for entry in entries:
        manifest = json.loads((salvage / f"{entry['id']}.json").read_text())
        content = (salvage / entry["id"] / manifest["name"]).read_bytes()
        assert content == theirs[entry["path"]] and manifest["path"] == entry["path"]
    assert len(os.listdir(salvage)) == 600
