"""A state directory that was put back from an older copy."""

import shutil
import time

NOTICED = r"put back from an older copy|state was rolled back"


def keep_state(node, copy):
    """While its agent is stopped."""
    shutil.copytree(node.state, copy)


def put_state_back(node, copy):
    shutil.rmtree(node.state)
    shutil.copytree(copy, node.state)


def one_by_one(pair, name, count):
    """Each change is a transaction of its own, so that the numbers of transactions run on."""
    for i in range(count):
        (pair.active.tree / f"{name}-{i}").write_text(f"{name} {i} {time.monotonic_ns()}")
        pair.wait()


def test_a_restored_state_that_has_gone_on_is_noticed(make_pair, tmp_path):
    pair = make_pair()
    pair.start()
    one_by_one(pair, "before", 2)
    pair.active.stop()
    keep_state(pair.active, tmp_path / "copy")
    pair.active.start()
    one_by_one(pair, "lost", 3)
    # What the peer sees in a session is made durable every ten seconds.
    pair.passive.stop()
    pair.passive.start()
    pair.converge()
    pair.stop()
    put_state_back(pair.active, tmp_path / "copy")
    # Without its peer it numbers more transactions than the peer has ever seen.
    pair.active.start()
    for i in range(12):
        before = pair.active.status()["seq"]
        (pair.active.tree / f"after-{i}").write_text(f"after {i}")
        pair.active.wait_for("something is indexed", lambda s, before=before: s["seq"] > before)
    mark = pair.active.log_mark()
    pair.passive.start()
    pair.active.wait_for_log(NOTICED, since=mark, timeout=60)
    pair.converge()
    pair.assert_verified()
    # It was compared, and is trusted again.
    pair.passive.stop()
    mark = pair.active.log_mark()
    pair.passive.start()
    pair.active.wait_for_log("outcome=send ", since=mark, timeout=60)
    pair.converge()


def test_a_restored_passive_is_noticed(make_pair, tmp_path):
    pair = make_pair()
    pair.start()
    one_by_one(pair, "before", 2)
    pair.passive.stop()
    keep_state(pair.passive, tmp_path / "copy")
    pair.passive.start()
    one_by_one(pair, "lost", 3)
    pair.passive.stop()
    put_state_back(pair.passive, tmp_path / "copy")
    mark = pair.active.log_mark()
    pair.passive.start()
    pair.active.wait_for_log(NOTICED, since=mark, timeout=60)
    pair.converge()
    pair.assert_verified()
