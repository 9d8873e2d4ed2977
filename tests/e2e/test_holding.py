"""Files that are not whole: written slowly, torn, emptied. The passive keeps the last good version."""

import os

import pytest

import sample
import trees
from harness import DONE, NO, held_paths
from waiting import wait_until

STORE = "deployment/server/userstores/CUSTOMERS.xml"
STREAM = "deployment/server/eventstreams/mail_1.0.0.json"


@pytest.fixture
def served(make_pair):
    """A repository in profile `wso2is`, in sync."""
    def make(**settings):
        pair = make_pair(profile="wso2is", settings=settings)
        sample.write(pair.active.tree, 1)
        pair.start()
        pair.wait()
        return pair
    return make


def nudge(pair, number):
    """Proof that replication runs: another store is changed, and arrives."""
    other = "deployment/server/userstores/OTHER.xml"
    content = sample.user_store("OTHER", revision=number)
    (pair.active.tree / other).write_bytes(content)
    arrived = pair.passive.tree / other
    wait_until("the other store has arrived",
               lambda: arrived.exists() and arrived.read_bytes() == content)


def test_a_file_written_slowly_stays_as_it_was_until_it_is_whole(served):
    pair = served(settle_max_ms=600_000)
    old = (pair.passive.tree / STORE).read_bytes()
    new = sample.user_store("CUSTOMERS", revision=2, properties=60)
    piece = len(new) // 12 + 1
    with open(pair.active.tree / STORE, "wb", buffering=0) as file:
        for number, start in enumerate(range(0, len(new), piece)):
            file.write(new[start : start + piece])
            nudge(pair, number)
            assert (pair.passive.tree / STORE).read_bytes() == old, f"after piece {number}"
    wait_until("the whole file has arrived", lambda: (pair.passive.tree / STORE).read_bytes() == new)
    pair.wait()


def test_a_plain_file_written_slowly_is_never_seen_in_part(make_pair):
    """No gate knows this format; being open for writing is what protects it."""
    pair = make_pair(settings={"settle_max_ms": 600_000})
    (pair.active.tree / "data.bin").write_bytes(b"old")
    pair.start()
    pair.converge()
    with open(pair.active.tree / "data.bin", "wb", buffering=0) as file:
        for number in range(10):
            file.write(b"%d" % number * 1000)
            (pair.active.tree / "beside").write_bytes(b"%d" % number)
            wait_until("the file beside it has arrived", lambda number=number: (
                (pair.passive.tree / "beside").exists()
                and (pair.passive.tree / "beside").read_bytes() == b"%d" % number))
            assert (pair.passive.tree / "data.bin").read_bytes() == b"old"
    pair.converge()


@pytest.mark.short
@pytest.mark.parametrize("path, content", [
    pytest.param(STORE, sample.user_store("CUSTOMERS", 2)[:-30], id="torn-xml"),
    pytest.param(STORE, b"", id="emptied-xml"),
    pytest.param(STREAM, sample.event_stream("mail", 2)[:-10], id="torn-json"),
    pytest.param(STREAM, b"", id="emptied-json"),
])
def test_what_is_not_whole_is_held_and_named(served, path, content):
    pair = served()
    good = (pair.passive.tree / path).read_bytes()
    assert good
    (pair.active.tree / path).write_bytes(content)
    pair.active.wait_for("it is held", lambda s: path in held_paths(s))
    nudge(pair, 1)
    assert (pair.passive.tree / path).read_bytes() == good

    answer = pair.active.cli("wait", "--timeout", "50")
    assert answer.exit == NO and path in answer.text, repr(answer)
    status = pair.active.cli("status")
    assert status.exit == NO and path in status.out, repr(status)
    assert pair.active.status()["state"] == "held"

    whole = sample.user_store("CUSTOMERS", 3) if path == STORE else sample.event_stream("mail", 3)
    (pair.active.tree / path).write_bytes(whole)
    wait_until("the whole version has arrived",
               lambda: (pair.passive.tree / path).read_bytes() == whole)
    pair.wait()
    pair.active.wait_for("nothing is held", lambda s: not s["held"])


def test_a_torn_file_that_is_deleted_is_no_longer_held(served):
    pair = served()
    (pair.active.tree / STORE).write_bytes(b"<UserStoreManager>")
    pair.active.wait_for("it is held", lambda s: STORE in held_paths(s))
    (pair.active.tree / STORE).unlink()
    wait_until("it is gone on the passive", lambda: not (pair.passive.tree / STORE).exists())
    pair.wait()
    assert pair.active.status()["held"] == []


def test_held_survives_a_restart(served):
    pair = served()
    good = (pair.passive.tree / STORE).read_bytes()
    (pair.active.tree / STORE).write_bytes(b"<UserStoreManager>")
    pair.active.wait_for("it is held", lambda s: STORE in held_paths(s))
    for node in pair.nodes:
        node.stop()
    pair.start()
    pair.active.wait_for("it is still held", lambda s: STORE in held_paths(s))
    nudge(pair, 1)
    assert (pair.passive.tree / STORE).read_bytes() == good


def test_a_file_rewritten_without_end_is_not_starved(pair):
    """A busy file travels at its maximum age, whatever writes to it."""
    for node in pair.nodes:
        node.stop()
        node.configure(settle_max_ms=300)
        node.start()
    path = pair.active.tree / "busy"
    arrived = pair.passive.tree / "busy"
    serial = 0

    def rewritten():
        nonlocal serial
        serial += 1
        beside = path.with_name("busy.new")
        beside.write_bytes(b"%d" % serial)
        os.replace(beside, path)
        return arrived.exists()
    wait_until("some version has arrived", rewritten, timeout=60, step=0.005)
    pair.converge()
    assert trees.snapshot(pair.passive.tree)[b"busy"][0] == "file"


# Root without the right to read everything: what is closed is closed to it, too.
MORTAL = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"]


def left_out(pair, kind, name):
    """Nobody calls it in sync while something is wanted and not replicated; all else goes on."""
    status = pair.active.wait_for(f"{kind} is a problem", lambda s: any(
        text.startswith(f"{kind}: ") and name in text for text in s["problems"]))
    assert status["state"] != "in_sync" and not status["peers"][0]["in_sync"]
    shown = pair.active.cli("status")
    assert shown.exit == NO and "What to do" in shown.out, repr(shown)
    (pair.active.tree / "other").write_bytes(b"goes on")
    answer = pair.active.cli("wait", "--json", "--timeout", "50")
    assert answer.exit == NO, repr(answer)
    assert [each["what"] for each in answer.json["held"]] == [kind], repr(answer)
    assert answer.json["held"][0]["path"].startswith(name) and answer.json["held"][0]["reason"]
    text = pair.active.cli("wait", "--timeout", "50")
    assert kind in text.out and name in text.out, repr(text)
    assert (pair.passive.tree / "other").read_bytes() == b"goes on"
    exposed = pair.active.cli("exposure")
    assert "Nothing" not in exposed.out and name in exposed.out, repr(exposed)
    held = pair.active.cli("exposure", "--json").json["held"]
    assert [each["what"] for each in held] == [kind]


def test_what_cannot_be_read_is_not_in_sync(make_pair):
    pair = make_pair()
    pair.active.prefix = MORTAL
    pair.start()
    pair.converge()
    secret = pair.active.tree / "secret"
    secret.touch(0)
    left_out(pair, "unreadable", "secret")
    assert not (pair.passive.tree / "secret").exists()
    secret.chmod(0o600)
    pair.active.wait_for_state("in_sync")
    assert pair.active.cli("status").exit == DONE


def test_a_directory_that_cannot_be_read_is_not_in_sync(make_pair):
    pair = make_pair()
    pair.active.prefix = MORTAL
    (pair.active.tree / "closed").mkdir()
    (pair.active.tree / "closed" / "file").write_bytes(b"x")
    (pair.active.tree / "closed").chmod(0)
    pair.start()
    left_out(pair, "unreadable", "closed")
    (pair.active.tree / "closed").chmod(0o755)
    pair.converge()


def test_a_path_that_is_too_long_is_not_in_sync(make_pair):
    pair = make_pair()
    name = trees.make_too_long(pair.active.tree)
    pair.start()
    left_out(pair, "too-long", name)
