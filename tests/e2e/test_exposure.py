"""What would be lost if the active died now: named on the active, and on the passive that would take over."""

import os
import shutil

import pytest

import disks
import hostile
from harness import DONE
from waiting import wait_until


def exposure(node):
    answer = node.cli("exposure", "--json")
    assert answer.exit == DONE, repr(answer)
    return answer.json


def nothing(node):
    told = exposure(node)
    return told["changes"] == 0 and told["paths"] == [] and not told["truncated"]


@pytest.mark.short
def test_both_sides_name_what_is_under_way_and_the_passive_remembers(make_pair):
    """The link is too slow for a large file: what is behind it has a name on both sides at once, and still has
    when the active is gone."""
    pair = make_pair(settings={"limits": {"rate_bytes_per_s": 65536}})
    pair.start()
    pair.wait()
    for node in pair.nodes:
        wait_until(f"nothing is under way at {node.name}", lambda node=node: nothing(node))
        assert "Nothing" in node.cli("exposure").out
    assert pair.active.cli("pause").exit == DONE  # until all of it has a name
    (pair.active.tree / "large").write_bytes(os.urandom(2 << 20))
    for number in range(20):
        (pair.active.tree / f"more {number}").write_bytes(os.urandom(200_000))
    paths = {"large"} | {f"more {number}" for number in range(20)}

    def named(node):
        told = exposure(node)
        assert {each["path"] for each in told["paths"]} >= paths, told
        return told
    told = wait_until("the passive names all of it", lambda: named(pair.passive))
    assert told["announced"] is True and exposure(pair.active)["announced"] is False
    assert all(0 <= each["age_s"] < 120 and each["seq"] > 0 for each in told["paths"])
    assert next(each["size"] for each in told["paths"] if each["path"] == "large") == 2 << 20
    assert pair.active.cli("resume").exit == DONE
    pair.active.kill()
    pair.passive.wait_for_state("disconnected")

    def missing():
        """What it calls missing is what is missing; a batch that is under way is in both or in neither at its end."""
        lost = {each["path"] for each in exposure(pair.passive)["paths"]}
        there = {path for path in paths if (pair.passive.tree / path).exists()
                 and (pair.passive.tree / path).read_bytes() == (pair.active.tree / path).read_bytes()}
        assert lost - {""} == paths - there, f"{lost} are called missing, and {there} are there"
        return lost
    lost = wait_until("the last batch has ended", missing)
    assert "announced" in pair.passive.cli("exposure").out
    asked = pair.passive.cli("reverse", "--failover", "--dry-run", "--json").json
    assert set(asked["lost"]) == lost, "a failover says the same"
    for node in pair.nodes:
        node.configure(limits=None)
    pair.active.start()
    pair.converge()
    wait_until("nothing is missing", lambda: nothing(pair.passive))


@pytest.mark.skipif(disks.why_unavailable() is not None, reason=str(disks.why_unavailable()))
def test_more_than_can_be_named_is_counted(make_pair, home):
    """And named again when it is less."""
    disk = disks.Disk(home / "disk", 200, "tmpfs")
    try:
        pair = make_pair(init=False)
        pair.active.tree = disk.where / "tree"
        pair.active.tree.mkdir()
        pair.init().start()
        pair.wait()
        pair.passive.cli("pause")
        pair.active.wait_for_state("paused")
        for number in range(83):
            (pair.active.tree / f"d{number}").mkdir()
            for each in range(100):
                (pair.active.tree / f"d{number}" / f"{each}").write_bytes(b"x")
        told = wait_until("both count", lambda: (lambda a, p: p if a["changes"] == p["changes"] > 8300 else None)(
            exposure(pair.active), exposure(pair.passive)), 120)
        assert told["truncated"] is True and len(told["paths"]) <= 1000
        for number in range(83):
            shutil.rmtree(pair.active.tree / f"d{number}")
        (pair.active.tree / "one").write_bytes(b"1")
        pair.passive.cli("resume")
        pair.converge(120)
        wait_until("nothing is missing", lambda: nothing(pair.passive))
        pair.stop()
    finally:
        disk.close()


def test_an_active_that_lies_about_what_is_coming(make_pair):
    """Numbers that leap end the session; names without end are bounded; nothing is created by a name."""
    pair = make_pair()
    pair.start()
    pair.wait()
    pair.active.stop()

    def announce(seq, *entries):
        body = b"".join(hostile.text(path) + hostile.u8(hostile.FILE) + hostile.u64(each) + hostile.u64(1)
                        for path, each in entries)
        return hostile.u64(10**6) + hostile.u64(5) + hostile.u64(seq) + hostile.u16(len(entries)) + \
            hostile.blob(body)
    liar = hostile.Liar(pair.passive, pair.active, hostile.ACTIVE).hello()
    for page in range(30):
        liar.send(hostile.ANNOUNCE, announce(7, *[(f"never/{page}/{n}", 7) for n in range(1000)]))

    def counted():
        liar.beat()
        told = exposure(pair.passive)
        return told if told["changes"] == 10**6 else None
    told = wait_until("it counts what it cannot name", counted)
    assert told["truncated"] is True and len(told["paths"]) == 1000
    assert not (pair.passive.tree / "never").exists()
    liar.send(hostile.ANNOUNCE, announce(7, ("leap", 1 << 50)))
    reason, why = liar.expect_closed()
    assert reason == hostile.MALFORMED and "ANNOUNCE" in why
    liar.close()
    pair.active.start()
    pair.converge()
    wait_until("nothing is missing", lambda: nothing(pair.passive))
