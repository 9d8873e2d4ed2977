"""Too much at once waits for a person, and everything else flows."""

import contextlib
import datetime
import os
import pathlib
import shutil
import signal
import sqlite3

import pytest


from harness import DONE, NO, USAGE, held_paths, problem_text
from waiting import SCALE, wait_until

FILES = 60
PATIENCE = 60  # seconds


def fill(tree, directory, count=FILES, text="content"):
    (tree / directory).mkdir(parents=True, exist_ok=True)
    for number in range(count):
        (tree / directory / f"file-{number:05}").write_text(f"{text} of {directory}, {number}\n")


@pytest.fixture
def filled(make_pair):
    """A pair in sync, with FILES files in `many` and a few beside."""
    def make(count=FILES, active=None, passive=None, **settings):
        pair = make_pair(settings={"max_delete": None, **settings})
        for node, own in ((pair.active, active), (pair.passive, passive)):
            node.configure(**(own or {}))
        fill(pair.active.tree, "many", count)
        fill(pair.active.tree, "few", 5)
        pair.start()
        pair.converge()
        return pair
    return make


def take_away(pair, directory="many"):
    """All of it vanishes in one moment, and is kept elsewhere."""
    os.rename(pair.active.tree / directory, pair.active.home / "taken")


def put_back(pair, directory="many"):
    os.rename(pair.active.home / "taken", pair.active.tree / directory)


def assert_flows(pair, name):
    (pair.active.tree / name).write_text(name)
    wait_until(f"{name} has arrived", lambda: (pair.passive.tree / name).exists(), PATIENCE)


def wait(node, *options):
    """`wait`: when it answers, all that happened before is judged, and answered by the peer."""
    return node.cli("wait", "--timeout", str(int(PATIENCE * SCALE)), *options, timeout=PATIENCE + 30)


def wait_for_hold(node, paths=None):
    """The only hold, once it has as many paths."""
    status = node.wait_for("something is held", lambda status: len(status["holds"]) == 1 and (
        paths is None or status["holds"][0]["paths"] == paths), PATIENCE)
    return status["holds"][0]


def wait_for_no_hold(node):
    node.wait_for("nothing is held", lambda status: not status["holds"] and not status["held"], PATIENCE)


def test_mass_delete_is_held_and_everything_else_flows(filled):
    pair = filled()
    take_away(pair)
    hold = wait_for_hold(pair.active, FILES + 1)
    assert hold["cause"] == "delete" and hold["state"] == "held"
    assert "60 of 65 files" in hold["reason"] and "max_delete 50" in hold["reason"]
    assert_flows(pair, "beside")
    (pair.active.tree / "few" / "file-00001").unlink()
    wait_until("a small deletion after the great one is held, too",
               lambda: "few/file-00001" in held_paths(pair.active.status()))
    assert len(os.listdir(pair.passive.tree / "many")) == FILES
    status = pair.active.status()
    assert status["state"] == "held" and status["held_count"] == FILES + 2
    assert len(status["held"]) <= 100 and "many/file-00000" in held_paths(status)
    assert f"artifact-sync approve {hold['id']}" in problem_text(status)
    answer = wait(pair.active, "--json")
    assert answer.exit == NO and "many/file-00000" in held_paths(answer.json)


def test_approve_lets_it_happen(filled):
    pair = filled()
    take_away(pair)
    hold = wait_for_hold(pair.active, FILES + 1)
    answer = pair.active.cli("approve")
    assert answer.exit == DONE and f"Hold {hold['id']} is approved" in answer.out, repr(answer)
    pair.converge()
    assert not (pair.passive.tree / "many").exists()
    wait_for_no_hold(pair.active)
    (pair.active.tree / "few" / "file-00001").unlink()
    pair.converge()  # what was approved does not count any longer


def test_a_hold_survives_restarts_of_both(filled):
    pair = filled()
    take_away(pair)
    hold = wait_for_hold(pair.active, FILES + 1)
    for node in pair.nodes:
        node.kill()
    pair.start()
    again = wait_for_hold(pair.active, FILES + 1)
    assert again["id"] == hold["id"]
    assert_flows(pair, "after the restart")
    answer = wait(pair.active, "--json")
    assert answer.exit == NO and "many" in held_paths(answer.json)
    assert (pair.passive.tree / "many" / "file-00000").exists()
    assert pair.active.cli("approve", str(hold["id"])).exit == DONE
    pair.converge()


def test_what_vanished_while_the_agent_was_down_is_held(filled):
    pair = filled()
    pair.active.stop()
    take_away(pair)
    pair.active.start()
    wait_for_hold(pair.active, FILES + 1)
    assert (pair.passive.tree / "many" / "file-00000").exists()


def contents(tree):
    return {str(path.relative_to(tree)): (path.read_bytes(), path.stat().st_mtime_ns, path.stat().st_mode)
            for path in sorted(tree.rglob("*")) if path.is_file() and ".artifact-sync" not in path.parts}


def last_seq(node):
    return node.status()["seq"]


def salvaged_contents(node):
    shown = [node.cli("salvage", "show", str(entry["id"]), "--json").json for entry in node.salvaged()]
    return [pathlib.Path(each["location"]).read_bytes() for each in shown]


def files_after(node, seq):
    """Files that were numbered anew since. A directory may have been: its time moves while names in it
    come and go, and a look at it may fall in between."""
    with contextlib.closing(sqlite3.connect(f"file:{node.state / 'state.db'}?mode=ro", uri=True)) as database:
        return database.execute("SELECT path FROM records WHERE seq>? AND kind<>2", (seq,)).fetchall()


def test_reject_puts_back_what_was_deleted(filled):
    pair = filled(count=600)  # several batches
    before = contents(pair.active.tree)
    take_away(pair)
    wait_for_hold(pair.active, 601)
    seq = last_seq(pair.active)
    answer = pair.active.cli("reject", "--json")
    assert answer.exit == DONE and answer.json["state"] == "rejected", repr(answer)
    assert wait(pair.active).exit == DONE
    assert contents(pair.active.tree) == before
    wait_for_no_hold(pair.active)
    pair.converge()
    assert files_after(pair.active, seq) == [], "nothing of it is a change"
    (pair.active.tree / "many" / "file-00003").write_text("goes on")
    pair.converge()


def test_reject_goes_on_when_a_peer_is_there(filled):
    pair = filled()
    before = contents(pair.active.tree)
    take_away(pair)
    hold = wait_for_hold(pair.active, FILES + 1)
    pair.passive.stop()
    pair.active.wait_for("it is alone", lambda status: not status["peers"][0]["connected"])
    answer = pair.active.cli("reject", "--json")
    assert answer.exit == DONE and "no peer is connected" in answer.json["remedy"], repr(answer)
    pair.active.kill()
    pair.active.start()
    rejected = wait_for_hold(pair.active, FILES + 1)
    assert rejected["id"] == hold["id"] and rejected["state"] == "rejected"
    pair.passive.start()
    wait_for_no_hold(pair.active)
    assert contents(pair.active.tree) == before
    pair.converge()


def test_a_reject_survives_kills(filled):
    pair = filled(count=600)
    before = contents(pair.active.tree)
    take_away(pair)
    wait_for_hold(pair.active, 601)
    assert pair.active.cli("reject").exit == DONE
    wait_until("it has begun", lambda: (pair.active.tree / "many").exists())
    pair.active.kill()
    pair.active.start()
    wait_for_no_hold(pair.active)
    assert contents(pair.active.tree) == before
    pair.converge()


def test_what_stands_in_the_place_of_the_rejected_is_salvaged(filled):
    pair = filled(max_rewrite=10)
    before = contents(pair.active.tree)
    take_away(pair)
    (pair.active.tree / "many").write_text("a file now")
    wait_for_hold(pair.active)
    assert pair.active.cli("reject").exit == DONE
    assert wait(pair.active).exit == DONE
    assert contents(pair.active.tree) == before
    assert salvaged_contents(pair.active) == [b"a file now"]
    for number in range(FILES):
        (pair.active.tree / "many" / f"file-{number:05}").write_text(f"encrypted {number}")
    hold = wait_for_hold(pair.active)
    assert wait(pair.active).exit == NO
    held = wait_for_hold(pair.active)["paths"]
    assert held > FILES // 2
    assert pair.active.cli("reject", str(hold["id"])).exit == DONE
    assert wait(pair.active).exit == DONE
    assert len([each for each in salvaged_contents(pair.active) if each.startswith(b"encrypted")]) == held
    pair.converge()
    same = [path for path, was in before.items() if contents(pair.active.tree)[path][0] == was[0]]
    assert len(same) >= held


def test_what_no_peer_has_stays_held_by_name(filled):
    pair = filled(passive={"drift": "report"})
    before = contents(pair.active.tree)
    kept = pair.passive.home / "kept"
    os.rename(pair.passive.tree / "many" / "file-00005", kept)
    take_away(pair)
    wait_for_hold(pair.active, FILES + 1)
    assert pair.active.cli("reject").exit == DONE
    pair.active.wait_for("the one that is left is named", lambda status: (
        held_paths(status) == ["many/file-00005"] and "many/file-00005" in problem_text(status)
        and "has not these bytes" in problem_text(status)))
    assert wait(pair.active).exit == NO
    os.rename(kept, pair.passive.tree / "many" / "file-00005")
    pair.passive.kill()
    pair.passive.start()
    wait_for_no_hold(pair.active)
    assert contents(pair.active.tree) == before == contents(pair.passive.tree)


def test_what_comes_back_by_itself_leaves_a_rejected_hold(guarded):
    pair = guarded()
    take_away(pair)
    wait_for_hold(pair.passive)
    assert pair.passive.cli("reject").exit == DONE
    put_back(pair)
    (pair.active.tree / "many" / "file-00003").write_text("mended by hand")
    pair.converge()
    wait_for_no_hold(pair.passive)


def test_what_is_left_out_is_not_refused_any_longer(guarded):
    pair = guarded()
    take_away(pair)
    wait_for_hold(pair.passive)
    pair.active.wait_for("it is told who refuses", lambda status: "refused:" in problem_text(status))
    for node in pair.nodes:
        node.stop()
        node.configure(rules=["- many", "- many/**"])
    pair.start()
    pair.wait()
    pair.active.wait_for("nothing is refused", lambda status: (
        status["state"] == "in_sync" and "refused:" not in problem_text(status)))
    wait_for_no_hold(pair.passive)


def test_deletions_of_what_is_left_out_are_forgotten_on_both(make_pair):
    pair = make_pair()
    (pair.active.tree / "left").write_text("out later")
    pair.start()
    pair.converge()
    (pair.active.tree / "left").unlink()
    pair.converge()
    for node in pair.nodes:
        assert rows_of(node, "left") == 1
        node.stop()
        node.configure(rules=["- left"])
    pair.start()
    pair.wait()
    for node in pair.nodes:
        wait_until(f"{node.name} has forgotten it", lambda node=node: rows_of(node, "left") == 0)


def rows_of(node, path):
    with contextlib.closing(sqlite3.connect(f"file:{node.state / 'state.db'}?mode=ro", uri=True)) as database:
        return database.execute("SELECT count(*) FROM records WHERE path=?", (path.encode(),)).fetchone()[0]


# ---- consistency sets ----------------------------------------------------------------------------


def lose_most(pair):
    """40 of the set's files, and one is new; its agent sees nothing of it before all is done."""
    os.kill(pair.active.pid, signal.SIGSTOP)
    try:
        for number in range(40):
            (pair.active.tree / "many" / f"file-{number:05}").unlink()
        (pair.active.tree / "many" / "file-00055").write_text("new in the same transaction")
    finally:
        os.kill(pair.active.pid, signal.SIGCONT)


def assert_set_is_old(pair, changed):
    assert_flows(pair, "beside")
    assert len(os.listdir(pair.passive.tree / "many")) == FILES
    assert (pair.passive.tree / "many" / changed).read_text().startswith("content of many")


def test_a_set_is_held_as_a_whole(filled):
    pair = filled(rules=["+ set=many many/**"], set_settle_ms=100)
    lose_most(pair)
    hold = wait_for_hold(pair.active, 40)
    assert_set_is_old(pair, "file-00055")
    assert pair.active.cli("approve", str(hold["id"])).exit == DONE
    pair.converge()
    wait_for_no_hold(pair.active)
    assert (pair.passive.tree / "many" / "file-00055").read_text() == "new in the same transaction"


def test_a_rejected_set_comes_back_whole_and_goes_on(filled):
    pair = filled(rules=["+ set=many many/**"], set_settle_ms=100)
    lose_most(pair)
    wait_for_hold(pair.active, 40)
    assert pair.active.cli("reject").exit == DONE
    pair.converge()
    wait_for_no_hold(pair.active)
    assert len(os.listdir(pair.active.tree / "many")) == FILES
    assert (pair.passive.tree / "many" / "file-00055").read_text() == "new in the same transaction"


def test_what_moves_within_a_set_is_not_held(filled):
    pair = filled(rules=["+ set=many many/**"], set_settle_ms=100)
    for number in range(FILES):
        path = pair.active.tree / "many" / f"file-{number:05}"
        os.rename(path, path.with_name(f"moved-{number:05}"))
    pair.converge()
    assert not pair.active.status()["holds"]


def test_a_passive_holds_a_set_as_a_whole(filled):
    pair = filled(rules=["+ set=many many/**"], set_settle_ms=100, active={"max_delete": 0},
                  passive={"max_delete": 20})
    lose_most(pair)
    hold = wait_for_hold(pair.passive)
    assert_set_is_old(pair, "file-00055")
    assert pair.passive.cli("approve", str(hold["id"])).exit == DONE
    pair.converge()
    wait_for_no_hold(pair.passive)


def test_without_a_number_several_holds_are_named(filled):
    pair = filled(max_rewrite=20)
    fill(pair.active.tree, "again", 50)
    pair.converge()
    take_away(pair)
    wait_for_hold(pair.active, FILES + 1)
    fill(pair.active.tree, "again", 50, "second")
    assert wait(pair.active).exit == NO  # all of it has been judged
    status = pair.active.wait_for("two holds", lambda status: len(status["holds"]) == 2)
    answer = pair.active.cli("approve")
    assert answer.exit == USAGE
    assert all(str(hold["id"]) in answer.err for hold in status["holds"])
    assert pair.active.cli("approve", "999").exit == NO
    assert pair.active.cli("approve", "one").exit == USAGE
    for hold in status["holds"]:
        assert pair.active.cli("approve", str(hold["id"])).exit == DONE
    pair.converge()
    assert pair.active.cli("approve").exit == NO  # nothing is held any longer


def test_what_is_deleted_one_by_one_is_held_past_the_share(filled):
    """What is gone before it is too much has gone; all the rest is one hold."""
    pair = filled()
    shutil.rmtree(pair.active.tree / "many")
    pair.active.wait_for("it is held with its directory", lambda status: len(status["holds"]) == 1
                         and "many" in held_paths(status))
    assert wait(pair.active).exit == NO
    assert len(os.listdir(pair.passive.tree / "many")) >= FILES // 2 - 3
    assert pair.active.cli("approve").exit == DONE
    pair.converge()


def test_few_deletions_are_never_held(filled):
    pair = filled(count=8)
    take_away(pair)
    pair.converge()
    assert not (pair.passive.tree / "many").exists()


def test_a_small_tree_that_is_emptied_is_not_a_deletion(make_pair):
    pair = make_pair(settings={"max_delete": None})
    fill(pair.active.tree, "few", 5)
    pair.start()
    pair.converge()
    os.rename(pair.active.tree / "few", pair.active.home / "taken")
    hold = wait_for_hold(pair.active)
    assert "5 of 5 files" in hold["reason"], hold
    assert len(os.listdir(pair.passive.tree / "few")) == 5
    put_back(pair, "few")
    wait_for_no_hold(pair.active)
    pair.converge()


@pytest.mark.parametrize("kind", ["directory", "link"])
def test_files_that_give_way_to_something_else_are_lost(filled, kind):
    """Also for a passive: it counts for itself."""
    pair = filled()

    def turn(path):
        path.unlink()
        if kind == "link":
            path.symlink_to("/dev/null")
        else:
            path.mkdir()
    for path in (pair.active.tree / "many").iterdir():
        turn(path)
    hold = wait_for_hold(pair.active)
    assert hold["cause"] == "delete" and "of 65 files" in hold["reason"], hold
    assert_flows(pair, "beside")
    assert sum(path.is_file() and not path.is_symlink()
               for path in (pair.passive.tree / "many").iterdir()) >= FILES // 2 - 5
    assert wait(pair.active).exit == NO  # all of it has been judged
    assert pair.active.cli("approve").exit == DONE
    pair.converge()


def test_deletions_below_the_share_flow(filled):
    pair = filled(count=100, max_delete=30)
    for number in range(28):
        (pair.active.tree / "many" / f"file-{number:05}").unlink()
    pair.converge()
    assert not pair.active.status()["holds"]


def test_without_a_limit_nothing_is_held(filled):
    pair = filled(max_delete=0)
    take_away(pair)
    pair.converge()


def test_a_renamed_directory_of_thousands_flows(filled):
    pair = filled(count=2_500)
    os.rename(pair.active.tree / "many", pair.active.tree / "moved")
    pair.converge(timeout=120)
    assert not pair.active.status()["holds"] and not pair.passive.status()["holds"]
    # It counts for nothing: a few deletions afterwards are what they are.
    for number in range(20):
        (pair.active.tree / "moved" / f"file-{number:05}").unlink()
    pair.converge()


def test_files_of_one_content_that_are_renamed_flow(filled):
    pair = filled()
    (pair.active.tree / "same").mkdir()
    for number in range(200):
        (pair.active.tree / "same" / f"copy-{number}").write_text("the same")
    pair.converge()
    os.rename(pair.active.tree / "same", pair.active.tree / "other")
    pair.converge()


def test_what_is_moved_out_of_a_deleted_directory_flows(filled):
    pair = filled()
    os.rename(pair.active.tree / "many" / "file-00007", pair.active.tree / "rescued")
    take_away(pair)
    hold = wait_for_hold(pair.active, FILES)  # 59 files and their directory
    wait_until("the move has arrived", lambda: (pair.passive.tree / "rescued").exists()
               and not (pair.passive.tree / "many" / "file-00007").exists())
    assert (pair.passive.tree / "many" / "file-00008").exists()
    assert pair.active.cli("approve", str(hold["id"])).exit == DONE
    pair.converge()


def test_a_file_in_the_place_of_a_full_directory_is_held_with_it(filled):
    pair = filled()
    take_away(pair)
    (pair.active.tree / "many").write_text("a file now")
    wait_for_hold(pair.active)
    assert_flows(pair, "beside")
    assert (pair.passive.tree / "many" / "file-00000").exists()
    assert pair.active.cli("approve").exit == DONE
    pair.converge()
    assert (pair.passive.tree / "many").read_text() == "a file now"


def test_mass_truncation_is_held(filled):
    pair = filled(max_delete=20)
    def empty():
        for number in range(FILES):
            (pair.active.tree / "many" / f"file-{number:05}").write_bytes(b"")
        assert wait(pair.active).exit == NO
        assert "emptied" in wait_for_hold(pair.active)["reason"]

    empty()
    assert_flows(pair, "beside")
    whole = [number for number in range(FILES)
             if (pair.passive.tree / "many" / f"file-{number:05}").stat().st_size > 0]
    assert len(whole) >= FILES - 13
    fill(pair.active.tree, "many")  # put right
    pair.converge()
    wait_for_no_hold(pair.active)
    empty()
    assert pair.active.cli("approve").exit == DONE
    pair.converge()


def test_mass_rewrite_is_held_past_its_share(filled):
    pair = filled(max_rewrite=30)
    assert not pair.active.status()["holds"]
    fill(pair.active.tree, "many", text="encrypted")
    assert wait(pair.active).exit == NO
    hold = wait_for_hold(pair.active)
    assert hold["cause"] == "rewrite" and "max_rewrite 30" in hold["reason"]
    assert_flows(pair, "beside")
    old = [number for number in range(FILES)
           if "content" in (pair.passive.tree / "many" / f"file-{number:05}").read_text()]
    assert len(old) >= 40
    assert pair.active.cli("approve").exit == DONE
    pair.converge()


def test_rewrites_are_not_held_unless_asked_for(filled):
    pair = filled()
    fill(pair.active.tree, "many", text="updated")
    pair.converge()


def test_what_was_approved_is_asked_again_only_where_that_is_wanted(filled):
    pair = filled(passive={"peer_approvals": False})
    take_away(pair)
    wait_for_hold(pair.active, FILES + 1)
    assert pair.active.cli("approve").exit == DONE
    wait_for_hold(pair.passive)
    assert wait(pair.active).exit == NO
    assert len(os.listdir(pair.passive.tree / "many")) >= FILES // 2 - 3
    assert pair.passive.cli("approve").exit == DONE
    pair.converge()


def test_a_rewind_is_a_decision(filled):
    """What it deletes on the active is not held on the passive."""
    pair = filled(count=20)
    when = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="microseconds")
    fill(pair.active.tree, "later", FILES)
    pair.converge()
    answer = pair.active.cli("rewind", "--to", when, "--yes", timeout=120)
    assert answer.exit == DONE, repr(answer)
    pair.converge()
    assert not (pair.active.tree / "later").exists()
    assert not pair.passive.status()["holds"]


# ---- the passive ---------------------------------------------------------------------------------


@pytest.fixture
def guarded(filled):
    """The passive has a lower limit than the active."""
    return lambda **settings: filled(count=100, active={"max_delete": 0},
                                     passive={"max_delete": 10}, **settings)


def wait_for_holds_there(pair, count=1):
    """The passive's holds, once it has refused all that it will: it judges batch by batch."""
    status = pair.passive.wait_for("something is held", lambda status: len(status["holds"]) == count, PATIENCE)
    assert wait(pair.active).exit == NO
    again = pair.passive.status()["holds"]
    assert [hold["id"] for hold in again] == [hold["id"] for hold in status["holds"]]
    return again


def on_passive(pair, directory="many"):
    path = pair.passive.tree / directory
    return len(os.listdir(path)) if path.is_dir() else 0


def test_a_passive_holds_for_itself(guarded):
    pair = guarded()
    take_away(pair)
    hold = wait_for_hold(pair.passive)
    assert hold["of"] == "a peer"
    assert_flows(pair, "beside")
    assert on_passive(pair) >= 90, "at most ten per cent were let through"
    refused = pair.active.wait_for("the active names the refusals", lambda status: (
        f"artifact-sync approve {hold['id']}' on b" in problem_text(status)))
    assert refused["state"] in ("held", "syncing")
    pair.active.wait_for_state("held")
    answer = wait(pair.active, "--json")
    assert answer.exit == NO and any(path.startswith("many/") for path in held_paths(answer.json))
    assert wait(pair.passive).exit == NO
    assert pair.passive.cli("approve").exit == DONE
    pair.converge()
    wait_for_no_hold(pair.passive)
    pair.active.wait_for("no refusal is left", lambda status: status["state"] == "in_sync"
                         and "refused" not in problem_text(status))


def test_a_passive_goes_on_refusing_what_was_rejected(guarded):
    pair = guarded()
    take_away(pair)
    hold, = wait_for_holds_there(pair)
    assert pair.passive.cli("reject").exit == DONE
    pair.active.kill()
    pair.passive.kill()
    pair.start()
    assert wait_for_hold(pair.passive)["state"] == "rejected"
    assert_flows(pair, "beside")
    assert on_passive(pair) >= 90
    put_back(pair)
    pair.converge()
    wait_for_no_hold(pair.passive)
    assert hold["id"] not in [each["id"] for each in pair.passive.status()["holds"]]


def test_a_file_where_the_passive_holds_a_directory_waits_with_it(guarded):
    pair = guarded()
    take_away(pair)
    (pair.active.tree / "many").write_text("a file now")
    wait_for_holds_there(pair)
    assert_flows(pair, "beside")
    assert on_passive(pair) >= 90 and (pair.passive.tree / "many").is_dir()
    assert pair.passive.cli("approve").exit == DONE
    pair.converge()
    assert (pair.passive.tree / "many").read_text() == "a file now"


def test_a_passive_lets_a_renamed_directory_through(guarded):
    pair = guarded()
    os.rename(pair.active.tree / "many", pair.active.tree / "moved")
    pair.converge()
    assert not pair.passive.status()["holds"]


def test_a_passive_holds_truncation_and_rewrites(filled):
    pair = filled(count=100, active={"max_delete": 0},
                  passive={"max_delete": 10, "max_rewrite": 10})
    for number in range(50):
        (pair.active.tree / "many" / f"file-{number:05}").write_bytes(b"")
    for number in range(50, 100):
        (pair.active.tree / "many" / f"file-{number:05}").write_bytes(b"scrambled")
    holds = wait_for_holds_there(pair, 2)
    assert {hold["cause"] for hold in holds} == {"delete", "rewrite"}
    assert_flows(pair, "beside")
    for hold in holds:
        assert pair.passive.cli("approve", str(hold["id"])).exit == DONE
    pair.converge()


def test_the_adoption_of_a_tree_is_not_held(make_pair):
    """What the passive had of its own goes to the salvage: it is not lost, and was agreed to."""
    pair = make_pair(init=False, settings={"max_delete": None})
    fill(pair.passive.tree, "local", 80)
    fill(pair.active.tree, "many", 20)
    pair.init(adopt=True)
    pair.start()
    pair.converge()
    assert not pair.passive.status()["holds"]
    assert len(pair.passive.salvaged()) > 0
