"""How long a change takes is measured end to end, also while there is none; the tree knows nothing of it."""

import os
import struct

import pytest

import disks
import hostile
from waiting import wait_until


def measured(pair):
    """The active's view of its peer, once a canary went well."""
    def told():
        peer = pair.active.status()["peers"][0]
        return peer if peer["canary"] and not peer["canary"]["error"] else None
    return wait_until("a canary came back", told, 60)


@pytest.mark.short
def test_an_idle_pair_measures_and_nothing_changes(make_pair):
    pair = make_pair()
    (pair.active.tree / "file").write_bytes(b"x")
    pair.start()
    pair.converge()
    before = pair.active.status()
    def is_the_lag():
        peer = measured(pair)
        return peer["lag_seconds"] == peer["canary"]["lag_seconds"] and peer
    peer = wait_until("what it took is the lag, since nothing came later", is_the_lag)
    assert 0 < peer["canary"]["lag_seconds"] < 60
    assert pair.passive.status()["peers"][0]["canary"] is None
    after = pair.active.status()
    for key in ("seq", "digest", "files", "bytes", "records"):
        assert before[key] == after[key]
    assert pair.passive.status()["digest"] == after["digest"]

    def are_equal():
        ours, theirs = [(node.tree / ".artifact-sync/canary").read_bytes() for node in pair.nodes]
        return ours == theirs and len(ours) == 64
    wait_until("both have the last one", are_equal)
    pair.converge()
    for node in pair.nodes:
        assert node.wait_for_state("in_sync")["drift"] == 0
    pair.assert_tidy()
    # A change that comes later is what counts from then on, and the canary's turn comes again.
    (pair.active.tree / "file").write_bytes(b"y")
    pair.converge()
    assert pair.active.status()["peers"][0]["lag_seconds"] is not None


@pytest.mark.skipif(disks.why_unavailable() is not None, reason=str(disks.why_unavailable()))
def test_a_passive_whose_disk_is_full_fails_it(make_pair, home):
    disk = disks.Disk(home / "disk", 48, "ext4")
    try:
        pair = make_pair(init=False)
        pair.passive.tree = disk.where / "tree"
        pair.passive.tree.mkdir()
        pair.init()
        disk.fill()
        with pytest.raises(OSError):          # not one block
            for number in range(1000):
                (disk.where / f"last {number}").write_bytes(b"x")
        pair.start()

        def failed():
            told = pair.active.status()
            canary = told["peers"][0]["canary"]
            assert canary and "No space" in (canary["error"] or ""), canary
            return any("canary" in each and "No space" in each for each in told["not_ready"])
        wait_until("it fails, and says why", failed, 60)
        disk.free()
        measured(pair)
        pair.stop()
    finally:
        disk.close()


def canary(nonce, content=None, digest=None):
    content = os.urandom(64) if content is None else content
    return hostile.u64(nonce) + (digest or hostile.sha256(content)) + content


def test_an_active_that_lies_to_it(make_pair):
    pair = make_pair()
    pair.start()
    pair.converge()
    pair.active.stop()
    liar = hostile.Liar(pair.passive, pair.active, hostile.ACTIVE).hello()
    liar.send(hostile.CANARY, canary(1))
    _, body = liar.expect(hostile.CANARY_DONE)
    assert struct.unpack(">QB", body[:9]) == (1, 0)
    liar.send(hostile.CANARY, canary(2, digest=bytes(32)))
    _, body = liar.expect(hostile.CANARY_DONE)
    assert struct.unpack(">QB", body[:9]) == (2, 1) and b"hash" in body
    liar.send(hostile.CANARY, canary(2))
    reason, why = liar.expect_closed()
    assert reason == hostile.MALFORMED and "CANARY" in why
    liar.close()
    liar = hostile.Liar(pair.passive, pair.active, hostile.ACTIVE).hello()
    for nonce in range(1, 200):
        try:
            liar.send(hostile.CANARY, canary(nonce))
        except hostile.Closed:
            break
    reason, why = liar.expect_closed()
    assert reason == hostile.MALFORMED and "CANARY" in why
    liar.close()
    wait_until("nothing is left in stage", lambda: pair.passive.staged() == [])
    pair.active.start()
    pair.converge()
    measured(pair)
