"""Earlier versions: `history`, `restore`, pruning, and crashes of the node that keeps them."""

import datetime
import os
import random
import signal

import pytest

import trees
from harness import DONE, NO, REFUSED, USAGE
from waiting import wait_until


def versions(node, path):
    answer = node.cli("history", "--json", path)
    assert answer.exit == DONE, repr(answer)
    return answer.json["versions"]


def restore(node, to, *arguments, timeout=120):
    return node.cli("restore", "--json", "--to", to, *arguments, timeout=timeout)


def moment(pair):
    """A time at which the tree is what it is now, and its digest. What comes next is later."""
    pair.converge()
    status = pair.passive.wait_for("all is proven", lambda s: s["state"] == "in_sync"
                                   and s["digest"] == pair.active.status()["digest"])
    now = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="microseconds")
    return now, status["digest"]


def later(when, **span):
    moment = datetime.datetime.fromisoformat(when.replace("Z", "+00:00"))
    return (moment + datetime.timedelta(**span)).isoformat()


@pytest.mark.short
def test_every_replaced_version_comes_back(pair, home):
    path = pair.active.tree / "dir" / "file"
    path.parent.mkdir()
    contents = [f"version {number}\n".encode() * (number % 7 + 1) for number in range(101)]
    path.write_bytes(contents[0])
    pair.converge()
    for number, content in enumerate(contents[1:], 1):
        path.write_bytes(content)
        path.chmod(0o600 | number % 8)
        wait_until("it has arrived", lambda: (pair.passive.tree / "dir/file").read_bytes() == content)
    path.unlink()
    pair.converge()
    kept = {}
    for number, entry in enumerate(versions(pair.passive, "dir/file")):
        if entry["kind"] == "absent":
            continue  # a barrier came before the file
        assert entry["content"] == "kept", entry
        answer = restore(pair.passive, home / f"v{number}", "--version", str(entry["version"]), "dir/file")
        assert answer.exit == DONE, repr(answer)
        back = home / f"v{number}" / "dir" / "file"
        kept[back.read_bytes()] = entry["size"]
        assert oct(back.stat().st_mode & 0o7777) == oct(int(entry["mode"], 8))
    missing = [content for content in contents if content not in kept]
    assert not missing, f"{len(missing)} versions are not kept, the first is {missing[0]!r}"
    text = pair.passive.cli("history", pair.passive.tree / "dir" / "file")
    assert text.exit == DONE and "UNTIL" in text.out
    history = pair.passive.status()["history"]
    assert history["versions"] >= 101 and history["bytes"] == sum(kept.values()) and history["oldest"]
    assert pair.active.status()["history"] == {"versions": 0, "bytes": 0, "oldest": None}


def test_the_tree_of_random_barriers_is_rebuilt(make_pair, home, seed):
    pair = make_pair().start()
    chooser = random.Random(seed)
    changer = trees.Changer(pair.active.tree, seed, most_files=60)
    os.symlink("nowhere", pair.active.tree / "link")
    moments = []
    for number in range(25):
        for _ in range(chooser.randrange(1, 12)):
            changer.step()
        moments.append((*moment(pair), trees.snapshot(pair.passive.tree)))
    for number, (when, digest, tree) in enumerate(chooser.sample(moments, 10)):
        answer = restore(pair.passive, home / f"t{number}", "--at", when)
        assert answer.exit == DONE, repr(answer)
        assert answer.json["digest_matches"] and answer.json["barrier"]["digest"] == digest == answer.json["digest"]
        back = trees.snapshot(home / f"t{number}")
        assert back == tree, trees.describe_difference(tree, back)
    # A part of one, and the same without an agent.
    when, digest, tree = moments[12]
    files = sorted(path for path, entry in tree.items() if entry[0] == "file")
    some = os.fsdecode(files[len(files) // 2])
    answer = restore(pair.passive, home / "part", "--at", when, some)
    assert answer.exit == DONE and answer.json["digest_matches"] and answer.json["files"] == 1, repr(answer)
    assert trees.snapshot(home / "part")[os.fsencode(some)] == tree[os.fsencode(some)]
    pair.passive.stop()
    answer = restore(pair.passive, home / "offline", "--at", when)
    assert answer.exit == DONE and answer.json["digest_matches"], repr(answer)
    assert trees.snapshot(home / "offline") == tree
    assert pair.passive.cli("history", "--json", some).exit == DONE
    pair.passive.start()
    pair.converge()


def test_what_is_refused(pair, home):
    (pair.active.tree / "file").write_bytes(b"1")
    pair.converge()
    (pair.active.tree / "file").write_bytes(b"2")
    pair.converge()
    oldest = pair.passive.status()["history"]["oldest"]
    full = home / "full"
    full.mkdir()
    (full / "mine").write_bytes(b"mine")
    for arguments, code in (
            (("--at", "now", "--to", full), REFUSED),
            (("--at", "now", "--to", pair.passive.tree / "below"), REFUSED),
            (("--at", later(oldest, hours=-1), "--to", home / "x"), NO),
            (("--at", "yesterday", "--to", home / "x"), USAGE),
            (("--to", home / "x"), USAGE),
            (("--at", "now", "--version", "1", "--to", home / "x"), USAGE),
            (("--version", "99999", "--to", home / "x", "file"), NO),
            (("--at", "now", "--to", home / "x", "../out"), USAGE)):
        answer = pair.passive.cli("restore", *arguments)
        assert answer.exit == code, f"{arguments}: {answer!r}"
        assert answer.err.strip()
        assert not (home / "x").exists()
    assert os.listdir(full) == ["mine"] and not (pair.passive.tree / "below").exists()
    answer = restore(pair.passive, home / "y", "--at", "now", "file", "never")
    assert answer.exit == NO and answer.json["failures"][0]["path"] == "never", repr(answer)
    assert (home / "y" / "file").read_bytes() == b"2"
    # The active keeps nothing, and says so.
    answer = pair.active.cli("restore", "--at", "now", "--to", home / "z")
    assert answer.exit == NO and "history" in answer.err


def test_a_damaged_object_is_reported_and_not_restored(pair, home):
    (pair.active.tree / "file").write_bytes(b"first")
    when, _ = moment(pair)
    (pair.active.tree / "file").write_bytes(b"second")
    pair.converge()
    entry = versions(pair.passive, "file")[0]
    place = pair.passive.tree / ".artifact-sync" / "history" / entry["hash"][:2] / entry["hash"]
    assert place.stat().st_mode & 0o7777 == 0o600
    place.write_bytes(b"F1rst")
    answer = restore(pair.passive, home / "t", "--at", when)
    assert answer.exit == NO and not answer.json["digest_matches"], repr(answer)
    assert [each["path"] for each in answer.json["failures"]] == ["file"]
    assert not (home / "t" / "file").exists()
    pair.passive.wait_for_log("kept version has other bytes")


def test_crashes_lose_no_version(make_pair, home, seed):
    pair = make_pair().start()
    chooser = random.Random(seed)
    changer = trees.Changer(pair.active.tree, seed, most_files=80)
    for _ in range(40):
        changer.step()
    pair.converge()
    digests = {}
    for _ in range(8):
        for _ in range(chooser.randrange(20, 80)):
            changer.step()
        target = pair.passive.work("bytes_received") + chooser.randrange(1000, 300_000)
        try:
            wait_until("some of it has arrived", lambda: pair.passive.work("bytes_received") >= target, timeout=2)
        except AssertionError:
            pass
        pair.passive.kill()
        pair.passive.start()
        when, digest = moment(pair)
        digests[when] = digest
    for number, (when, digest) in enumerate(digests.items()):
        answer = restore(pair.passive, home / f"t{number}", "--at", when)
        assert answer.exit == DONE and answer.json["digest"] == digest, repr(answer)
    kept = pair.passive.tree / ".artifact-sync" / "history"
    assert any(kept.glob("*/*"))
    pair.assert_tidy()


def test_pruning_by_bytes(make_pair):
    pair = make_pair(settings={"history": {"keep_days": 7, "keep_bytes": 300_000}}).start()
    path = pair.active.tree / "file"
    for number in range(30):
        path.write_bytes(bytes([number]) * 20_000)
        pair.converge()
    # 15 would be all of the bytes, and what is known of each takes some, too: 14 stay.
    status = pair.passive.wait_for("the oldest versions are gone", lambda s: s["history"]["bytes"] < 300_000
                                   and s["history"]["versions"] < 20)
    listed = versions(pair.passive, "file")
    assert 5 <= len(listed) <= 15 and all(entry["content"] == "kept" for entry in listed)
    assert status["history"]["bytes"] == sum(entry["size"] for entry in listed)
    newest = listed[0]["hash"]
    # A reload that keeps nothing empties it.
    pair.passive.configure(history={"keep_days": 0})
    pair.passive.process.send_signal(signal.SIGHUP)
    pair.passive.wait_for("nothing is kept", lambda s: s["history"]["bytes"] == 0 and s["history"]["versions"] == 0)
    assert versions(pair.passive, "file") == []
    place = pair.passive.tree / ".artifact-sync" / "history" / newest[:2] / newest
    wait_until("the object is gone", lambda: not place.exists())
    path.write_bytes(b"not kept")
    pair.converge()
    path.write_bytes(b"nor this")
    pair.converge()
    assert pair.passive.status()["history"] == {"versions": 0, "bytes": 0, "oldest": None}


def lay_out(tree):
    (tree / "dir" / "below").mkdir(parents=True)
    (tree / "dir" / "below" / "same").write_bytes(b"same")
    (tree / "dir" / "changed").write_bytes(b"before" * 40_000)
    (tree / "dir" / "moved").write_bytes(b"content that moves")
    (tree / "deleted").write_bytes(os.urandom(3_000_000))
    (tree / "empty").write_bytes(b"")
    (tree / "mode").write_bytes(b"mode")
    (tree / "becomes-dir").write_bytes(b"a file")
    (tree / "becomes-file").mkdir()
    (tree / "becomes-file" / "inside").write_bytes(b"inside")
    os.symlink("before", tree / "link")
    for number in range(60):
        (tree / "dir" / f"many{number}").write_bytes(b"%d" % number)


def change(tree):
    (tree / "dir" / "changed").write_bytes(b"after")
    (tree / "dir" / "moved").rename(tree / "elsewhere")
    (tree / "deleted").unlink()
    (tree / "empty").write_bytes(b"not empty")
    (tree / "mode").chmod(0o400)
    (tree / "becomes-dir").unlink()
    (tree / "becomes-dir").mkdir()
    (tree / "becomes-dir" / "new").write_bytes(b"new")
    (tree / "becomes-file" / "inside").unlink()
    (tree / "becomes-file").rmdir()
    (tree / "becomes-file").write_bytes(b"a file")
    (tree / "link").unlink()
    os.symlink("after", tree / "link")
    (tree / "created").mkdir()
    (tree / "created" / "file").write_bytes(b"created")
    for number in range(60):
        (tree / "dir" / f"many{number}").unlink()


@pytest.mark.short
def test_rewind(pair, home):
    lay_out(pair.active.tree)
    when, digest = moment(pair)
    before = trees.snapshot(pair.active.tree)
    change(pair.active.tree)
    after_point, _ = moment(pair)
    after = trees.snapshot(pair.active.tree)
    answer = pair.active.cli("rewind", "--to", when)
    assert answer.exit == REFUSED and "--yes" in answer.err, repr(answer)
    answer = pair.active.cli("rewind", "--json", "--to", when, "--dry-run")
    assert answer.exit == DONE, repr(answer)
    listed = {entry["path"]: entry["what"] for entry in answer.json["paths"]}
    assert listed["deleted"] == "create" and listed["created/file"] == "delete" and listed["mode"] == "metadata"
    assert listed["dir/changed"] == "replace" and "dir/below/same" not in listed
    assert trees.snapshot(pair.active.tree) == after
    pair.assert_tidy()
    answer = pair.active.cli("rewind", "--json", "--to", when, "--yes", timeout=120)
    assert answer.exit == DONE and answer.json["failed"] == 0, repr(answer)
    assert answer.json["changes"] == len(listed) and answer.json["digest_matches"], repr(answer)
    back = trees.snapshot(pair.active.tree)
    assert back == before, trees.describe_difference(before, back)
    assert pair.converge()["digest"] == digest
    assert pair.active.salvaged() == [] and pair.passive.salvaged() == []
    pair.assert_tidy()
    # And forward again: a rewind is a change like any.
    answer = pair.active.cli("rewind", "--to", after_point, "--yes", timeout=120)
    assert answer.exit == DONE, repr(answer)
    pair.converge()
    back = trees.snapshot(pair.active.tree)
    assert back == after, trees.describe_difference(after, back)
    # Nothing to do.
    answer = pair.active.cli("rewind", "--json", "--to", "now", "--yes")
    assert answer.exit == DONE and answer.json["changes"] == 0, repr(answer)


def test_what_rewind_refuses(pair):
    (pair.active.tree / "file").write_bytes(b"first")
    when, _ = moment(pair)
    (pair.active.tree / "file").write_bytes(b"second")
    pair.converge()
    answer = pair.passive.cli("rewind", "--to", when, "--yes")
    assert answer.exit == REFUSED, repr(answer)
    answer = pair.active.cli("rewind", "--to", later(when, days=-1), "--yes")
    assert answer.exit == NO and "nothing" in answer.err, repr(answer)
    entry = versions(pair.passive, "file")[0]
    place = pair.passive.tree / ".artifact-sync" / "history" / entry["hash"][:2] / entry["hash"]
    place.unlink()
    answer = pair.active.cli("rewind", "--to", when, "--yes")
    assert answer.exit == NO and "file" in answer.err, repr(answer)
    assert (pair.active.tree / "file").read_bytes() == b"second"
    pair.assert_tidy()
