"""The first sync, of an empty passive and of one that already holds files; and what a restart costs."""

import os

import pytest

import trees
from harness import DONE, NO, TIMED_OUT, UNREACHABLE, USAGE
from reads import ReadWatch
from waiting import wait_until


@pytest.mark.short
def test_an_empty_passive_is_filled(make_pair):
    pair = make_pair()
    trees.sample.write(pair.active.tree, 1)
    pair.start()
    status = pair.converge()
    assert status["files"] == len(trees.sample.contents(1))
    assert status["bytes"] == sum(map(len, trees.sample.contents(1).values()))
    pair.active.wait_for("in sync", lambda s: s["state"] == "in_sync" and s["peers"][0]["in_sync"])
    pair.passive.wait_for_state("in_sync")
    pair.assert_verified()
    pair.assert_verified("--deep")
    pair.assert_tidy()


def test_changes_made_during_the_first_sync_are_served_beside_it(make_pair, seed):
    pair = make_pair()
    trees.make_many(pair.active.tree / "bulk", 5000, 2048, seed=seed)
    pair.start()
    changer_top = pair.active.tree / "live"
    changer_top.mkdir()
    changer = trees.Changer(changer_top, seed)
    pair.passive.wait_for("the first files have arrived", lambda s: s["files"] > 0)
    for _ in range(400):
        changer.step()
    pair.converge()
    pair.assert_tidy()


def test_a_populated_passive_is_refused_without_adopt(make_pair):
    pair = make_pair()
    (pair.active.tree / "ours.txt").write_bytes(b"ours")
    (pair.passive.tree / "theirs.txt").write_bytes(b"theirs")
    before = trees.snapshot(pair.passive.tree)
    pair.start()
    pair.passive.wait_for_log("adopt")
    pair.active.wait_for_log("adopt|populated|unrelated")
    answer = pair.active.cli("wait", "--timeout", "3")
    assert answer.exit in (NO, UNREACHABLE, TIMED_OUT), repr(answer)
    assert trees.snapshot(pair.passive.tree) == before
    assert pair.active.status()["state"] != "in_sync"

    # What the refusal advises: say so on the node that exists.
    pair.passive.stop()
    assert pair.passive.cli("init", "--adopt").exit == DONE
    pair.passive.start()
    pair.converge()
    assert pair.passive.salvaged_content("theirs.txt") == b"theirs"


def test_adopting_moves_what_the_active_has_not_to_the_salvage(make_pair, seed):
    pair = make_pair(proxied=True, init=False)
    for node in pair.nodes:
        trees.make_many(node.tree / "same", 200, 50_000, seed=seed)
    for path in sorted((pair.active.tree / "same").rglob("*"), reverse=True):
        twin = pair.passive.tree / path.relative_to(pair.active.tree)
        os.utime(twin, ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns))
    (pair.active.tree / "differs.txt").write_bytes(b"of the active")
    (pair.passive.tree / "differs.txt").write_bytes(b"of the passive, replaced")
    (pair.passive.tree / "extra").mkdir()
    (pair.passive.tree / "extra" / "only-here.txt").write_bytes(b"only here")
    inodes = {path: path.stat().st_ino for path in (pair.passive.tree / "same").rglob("*.bin")}
    pair.init(adopt=True).start()
    pair.converge()

    assert pair.wire_bytes() < 0.05 * 200 * 50_000, "equal content was sent"
    changed = [path for path, inode in inodes.items() if path.stat().st_ino != inode]
    assert not changed, f"equal files were replaced: {changed[:5]}"
    assert pair.passive.salvaged_content("differs.txt") == b"of the passive, replaced"
    assert pair.passive.salvaged_content("extra/only-here.txt") == b"only here"
    assert pair.passive.status()["salvage"] == len(pair.passive.salvaged())


def test_adopting_is_consumed_by_the_first_sync(make_pair):
    pair = make_pair(init=False)
    (pair.passive.tree / "old").write_bytes(b"old")
    pair.init(adopt=True).start()
    pair.converge()
    pair.passive.stop()
    (pair.passive.tree / "late").write_bytes(b"written while the agent was down")
    pair.passive.start()
    (pair.active.tree / "new").write_bytes(b"new")
    pair.wait()
    # A file that nobody replicated is moved to the salvage; it is never deleted.
    wait_until("it is in the salvage", lambda:
               pair.passive.salvaged_content("late") == b"written while the agent was down")
    assert not (pair.passive.tree / "late").exists()


@pytest.mark.short
def test_a_restart_resumes_without_reading_contents(make_pair, seed):
    pair = make_pair()
    trees.make_many(pair.active.tree, 2000, 4096, per_directory=200, seed=seed)
    pair.start()
    pair.converge()
    pair.wait_until_calm()
    pair.stop()
    with ReadWatch(pair.active.tree) as ours, ReadWatch(pair.passive.tree) as theirs:
        pair.start()
        for node in pair.nodes:
            node.wait_for_state("in_sync")
            assert node.work("files_hashed") == 0
        pair.wait()
        assert ours.files() == set() and theirs.files() == set()
    pair.converge()


@pytest.mark.short
def test_only_what_changed_while_apart_travels(make_pair, seed):
    pair = make_pair(proxied=True)
    trees.make_many(pair.active.tree, 500, 20_000, seed=seed)
    pair.start()
    pair.converge()
    pair.passive.stop()
    (pair.active.tree / "d0000" / "f000007.bin").write_bytes(b"changed meanwhile")
    (pair.active.tree / "d0000" / "f000008.bin").unlink()
    pair.active.wait_for("the changes are known", lambda s: s["peers"][0]["pending_changes"] >= 2)
    before = pair.wire_bytes()
    pair.passive.start()
    pair.converge()
    assert pair.wire_bytes() - before < 100_000


def test_what_changed_while_the_agent_was_down_is_found(pair, seed):
    changer = trees.Changer(pair.active.tree, seed)
    for _ in range(200):
        changer.step()
    pair.converge()
    pair.active.stop()
    for _ in range(200):
        changer.step()
    pair.active.start()
    pair.converge()
    pair.assert_tidy()


def test_local_content_in_the_way_goes_to_the_salvage(pair):
    """Publishing displaces, it never overwrites."""
    (pair.active.tree / "kept").write_bytes(b"one")
    pair.converge()
    pair.passive.stop()
    (pair.passive.tree / "kept").write_bytes(b"written by somebody on the passive")
    (pair.passive.tree / "coming").write_bytes(b"also by somebody")
    (pair.active.tree / "kept").write_bytes(b"two")
    (pair.active.tree / "coming").write_bytes(b"from the active")
    pair.passive.start()
    pair.converge()
    assert pair.passive.salvaged_content("kept") == b"written by somebody on the passive"
    assert pair.passive.salvaged_content("coming") == b"also by somebody"
    assert pair.passive.status()["salvage"] == 2


def test_salvaged_content_can_be_put_elsewhere(pair, home):
    (pair.active.tree / "file").write_bytes(b"one")
    pair.converge()
    pair.passive.stop()
    (pair.passive.tree / "file").write_bytes(b"precious")
    (pair.active.tree / "file").write_bytes(b"two")
    pair.passive.start()
    pair.converge()
    entry, = pair.passive.salvaged()
    text = pair.passive.cli("salvage", "list")
    assert text.exit == DONE and "file" in text.out
    restored = pair.passive.cli("salvage", "restore", str(entry["id"]), "--to", str(home / "back"))
    assert restored.exit == DONE, repr(restored)
    assert (home / "back").read_bytes() == b"precious"
    pair.converge()
    unknown = pair.passive.cli("salvage", "show", "no-such-id")
    assert unknown.exit in (NO, USAGE) and "no-such-id" in unknown.text
