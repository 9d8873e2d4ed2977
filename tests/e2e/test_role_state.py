"""State directories that were put back from older copies after role changes, and ledgers that somebody
tampered with: both are noticed."""

import hashlib
import json
import os
import pwd
import re
import shutil
import signal
import subprocess

import pytest

from harness import DONE, NO, Node
from roles import done, failover, files_of, reverse, roles_of, settle
from waiting import wait_until

NOTICED = r"put back from an older copy|state was rolled back|superseded"


# -- older copies ---------------------------------------------------------------------------------------

def keep_state(node, copy):
    node.stop()
    shutil.copytree(node.state, copy)
    node.start()


def put_back(node, copy):
    node.stop()
    shutil.rmtree(node.state)
    shutil.copytree(copy, node.state)


def change(pair, tag):
    (pair.active.tree / f"by {pair.active.name} {tag}").write_text(tag)
    (pair.active.tree / "rewritten").write_text(tag)
    for old in pair.active.tree.glob("goes *"):
        old.unlink()
    (pair.active.tree / f"goes {tag}").write_text(tag)
    pair.converge()


def turn(pair):
    settle(pair)
    done(reverse(pair.active), pair.passive)
    settle(pair)


def restored(pair, node, copy):
    """Starts it with its older state. @return where the logs ended before"""
    put_back(node, copy)
    marks = {each: each.log_mark() for each in pair.nodes}
    node.start()
    return marks


def noticed(pair, marks):
    wait_until("one of them says so",
               lambda: any(re.search(NOTICED, node.log(marks[node]), re.IGNORECASE) for node in pair.nodes), 40)


@pytest.fixture
def started(make_pair):
    pair = make_pair(proxied=True).start()
    change(pair, "first")
    settle(pair)
    return pair


def test_the_old_active_with_its_state_from_before(started, tmp_path):
    """It believes to be active still; its successor knows better."""
    pair = started
    a, b = pair.nodes
    keep_state(a, tmp_path / "copy")
    settle(pair)
    change(pair, "second")
    turn(pair)
    change(pair, "third")
    settle(pair)
    expected = files_of(b.tree)
    marks = restored(pair, a, tmp_path / "copy")
    noticed(pair, marks)
    assert settle(pair) is b
    pair.converge()
    assert files_of(b.tree) == expected and files_of(a.tree) == expected


def test_the_old_passive_after_there_and_back(started, tmp_path):
    """The same node is active as when the copy was made; two epochs lie between."""
    pair = started
    a, b = pair.nodes
    keep_state(b, tmp_path / "copy")
    turn(pair)
    change(pair, "by b")
    turn(pair)
    change(pair, "by a again")
    settle(pair)
    expected = files_of(a.tree)
    marks = restored(pair, b, tmp_path / "copy")
    noticed(pair, marks)
    assert settle(pair) is a
    pair.converge()
    assert files_of(a.tree) == expected and files_of(b.tree) == expected


def test_the_new_active_with_its_state_from_when_it_was_passive(started, tmp_path):
    """Then nobody is active. Nothing moves until a person says who goes on, and that one's content wins;
    the other's is saved."""
    pair = started
    a, b = pair.nodes
    keep_state(b, tmp_path / "copy")
    turn(pair)
    change(pair, "by b")
    settle(pair)
    b.stop()
    (b.tree / "never sent").write_text("while no agent looks")
    expected = files_of(a.tree)
    marks = restored(pair, b, tmp_path / "copy")
    noticed(pair, marks)
    for node in pair.nodes:
        shown = node.wait_for("it says that nobody is active", lambda s: any("no-active" in each for each in s["problems"]), 40)
        assert shown["state"] != "in_sync" and shown["role"] == "passive"
    assert files_of(a.tree) == expected and (b.tree / "never sent").exists()
    done(failover(a, "--accept-data-loss"), a)
    assert settle(pair) is a
    pair.converge()
    assert files_of(a.tree) == expected
    assert b.salvaged_content("never sent") == b"while no agent looks"


def test_the_active_after_there_and_back_with_its_state_from_before(started, tmp_path):
    """It believes in epoch 1, the passive knows of 3, both of a's own making: a is fenced, b is asked."""
    pair = started
    a, b = pair.nodes
    keep_state(a, tmp_path / "copy")
    turn(pair)
    change(pair, "by b")
    turn(pair)
    change(pair, "by a again")
    settle(pair)
    expected = files_of(b.tree)
    marks = restored(pair, a, tmp_path / "copy")
    noticed(pair, marks)
    a.wait_for("it does not lead", lambda s: s["role"] != "active")
    assert files_of(b.tree) == expected and files_of(a.tree) == expected
    done(failover(b, "--accept-data-loss"), b)
    assert settle(pair) is b
    pair.converge()
    assert files_of(b.tree) == expected


# -- the ledger -------------------------------------------------------------------------------------------

@pytest.fixture
def booked(make_pair):
    """Four role changes, so that there is something to tamper with."""
    pair = make_pair().start()
    (pair.active.tree / "file").write_text("content")
    pair.converge()
    for number in range(3):
        settle(pair)
        (pair.active.tree / "file").write_text(f"{number}")
        pair.wait()
        done(reverse(pair.active, "--reason", f"turn {number}"), pair.passive)
    settle(pair)
    wait_until("both have booked it", lambda: all(len(entries(node)) >= 3 for node in pair.nodes))
    return pair


def entries(node):
    answer = node.cli("ledger", "--json")
    assert answer.exit == DONE, repr(answer)
    return answer.json["entries"]


def test_what_the_ledger_says(booked):
    pair = booked
    for node in pair.nodes:
        told = [each for each in entries(node) if each["epoch"] > 1]
        assert [each["epoch"] for each in told] == [2, 3, 4]
        assert [each["active"] for each in told] == ["b", "a", "b"]
        assert [each["reason"] for each in told] == ["turn 0", "turn 1", "turn 2"]
        assert {each["operator"] for each in told} == {operator()}, "who asked for it, on either side"
        for each in told:
            assert each["kind"] == "planned" and each["lost"] == [] and each["files"] == 1
            assert re.fullmatch("[0-9a-f]{64}", each["digest"])
        assert all(first["seq"] < then["seq"] for first, then in zip(told, told[1:]))
        text = node.cli("ledger")
        assert text.exit == DONE and "turn 1" in text.out
        verified = node.cli("ledger", "verify")
        assert verified.exit == DONE and verified.text.strip(), repr(verified)
    ours, theirs = (entries(node) for node in pair.nodes)
    assert [(e["epoch"], e["seq"], e["digest"]) for e in ours if e["epoch"] > 1] == \
        [(e["epoch"], e["seq"], e["digest"]) for e in theirs if e["epoch"] > 1]


def operator():
    return os.environ.get("SUDO_USER") or pwd.getpwuid(os.getuid()).pw_name


def test_both_know_who_asked_on_the_passive(booked):
    pair = booked
    done(reverse(pair.passive, "--reason", "asked for on the passive"), pair.passive)
    settle(pair)
    for node in pair.nodes:
        last = wait_until("it is booked", lambda node=node: (entries(node)[3:] or [None])[0])
        assert (last["operator"], last["reason"]) == (operator(), "asked for on the passive"), last


def line_changed(lines):
    entry = json.loads(lines[1])
    entry["reason"] = "nobody did anything"
    return [lines[0], json.dumps(entry, sort_keys=True, separators=(",", ":")), *lines[2:]]


TAMPERING = {
    "a line changed": line_changed,
    "one letter changed": lambda lines: [*lines[:-1], lines[-1].replace("turn", "torn")],
    "a line removed": lambda lines: [lines[0], *lines[2:]],
    "the first line removed": lambda lines: lines[1:],
    "the last line removed": lambda lines: lines[:-1],
    "two lines exchanged": lambda lines: [lines[1], lines[0], *lines[2:]],
    "a line twice": lambda lines: [*lines, lines[-1]],
    "everything removed": lambda lines: [],
    "half a line": lambda lines: [*lines[:-1], lines[-1][:40]],
}


def test_tampering_is_found(booked):
    """Each kind by itself; and the original is good again, so that it was that which was found."""
    node = booked.nodes[0]
    path = node.state / "ledger.jsonl"
    original = path.read_bytes()
    lines = original.decode().splitlines()
    assert len(lines) >= 3
    for what, tamper in TAMPERING.items():
        changed = tamper(lines)
        assert changed != lines, what
        path.write_text("".join(line + "\n" for line in changed))
        answer = node.cli("ledger", "verify")
        assert answer.exit == NO and answer.text.strip(), f"{what} is not found: {answer!r}"
        path.write_bytes(original)
        assert node.cli("ledger", "verify").exit == DONE, what
    (node.state / "ledger.jsonl").unlink()
    assert node.cli("ledger", "verify").exit == NO
    path.write_bytes(original)
    path.chmod(0o600)


def test_a_ledger_that_was_tampered_with_is_told_and_stops_nobody(booked):
    """It is evidence, not a lock: the roles can still be exchanged, and what is wrong stays visible."""
    pair = booked
    path = pair.active.state / "ledger.jsonl"
    path.write_text("".join(line + "\n" for line in path.read_text().splitlines()[:-1]))
    answer = reverse(pair.active)
    assert roles_of(pair.nodes)[answer.json["active"]] == "active", repr(answer)
    settle(pair)
    pair.converge()
    assert pair.nodes[1].cli("ledger", "verify").exit == NO
    assert pair.nodes[0].cli("ledger", "verify").exit == DONE


def test_a_changed_line_is_shown_as_such_and_hides_none(booked):
    """Also in status, and the entries of what comes after are kept until they can be written."""
    pair = booked
    node = pair.active
    path = node.state / "ledger.jsonl"
    original = path.read_text()
    lines = original.splitlines()
    path.write_text("".join(line + "\n" for line in [lines[0].replace('"files":1', '"files":2'), *lines[1:]]))
    shown = node.cli("ledger")
    assert shown.exit == NO and "turn 2" in shown.out and "1!" in shown.out, repr(shown)
    assert re.search("changed, line 1: its signature", shown.text), repr(shown)
    told = node.cli("ledger", "--json")
    assert told.exit == NO and [bool(e.get("bad")) for e in told.json["entries"]] == [True, True, False]
    node.wait_for("status says so", lambda s: any(re.search("ledger.*line 1", p) for p in s["problems"]))

    path.write_text("".join(line + "\n" for line in [*lines[:-1], lines[-1].replace("turn", "torn")]))
    done(reverse(node, "--reason", "turn 3"), pair.passive)
    settle(pair)
    node.wait_for("status says so", lambda s: any(re.search("ledger.*wait", p) for p in s["problems"]))
    path.write_text(original)
    node.stop()
    node.start()
    wait_until("what waited is written", lambda: entries(node)[-1]["reason"] == "turn 3")
    assert node.cli("ledger", "verify").exit == DONE
    node.wait_for("status is content", lambda s: not any("ledger" in p for p in s["problems"]))


def rotate(node, other):
    """As docs/OPERATIONS.md says it: the new key beside the old one, told to the peer, then exchanged."""
    key, certificate = node.state / "new.key", node.state / "new.crt"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                    "-days", "3650", "-subj", f"/CN={node.name}", "-keyout", key, "-out", certificate],
                   check=True, capture_output=True)
    key.chmod(0o600)
    public = subprocess.run(["openssl", "x509", "-in", certificate, "-noout", "-pubkey"], check=True,
                            capture_output=True).stdout
    der = subprocess.run(["openssl", "pkey", "-pubin", "-outform", "DER"], input=public, check=True,
                         capture_output=True).stdout
    other.pair(node, fingerprint="sha256:" + hashlib.sha256(der).hexdigest())
    mark = other.log_mark()
    os.kill(other.pid, signal.SIGHUP)
    other.wait_for_log("reload", since=mark)
    node.stop()
    key.rename(node.state / "node.key")
    certificate.rename(node.state / "node.crt")
    node.start()


def test_keys_are_rotated(booked):
    """Nothing is interrupted, and what was signed with the old key is good still."""
    pair = booked
    for node, other in (pair.nodes, pair.nodes[::-1]):
        rotate(node, other)
        settle(pair)
        assert node.cli("ledger", "verify").exit == DONE
    done(reverse(pair.active, "--reason", "with new keys"), pair.passive)
    settle(pair)
    for node in pair.nodes:
        wait_until("it is booked", lambda node=node: entries(node)[-1]["reason"] == "with new keys")
        verified = node.cli("ledger", "verify")
        assert verified.exit == DONE, repr(verified)
        values = json.loads(node.config.read_text())
        values["peers"][0]["fingerprints"] = values["peers"][0]["fingerprints"][1:]
        node.config.write_text(json.dumps(values))
        node.stop()
        node.start()
    settle(pair)


def test_a_passive_is_replaced(booked, home):
    """As docs/OPERATIONS.md says it: the machine that is gone is not trusted from the same step on."""
    pair = booked
    active, old = pair.active, pair.passive
    old.stop()
    new = Node(home / "new machine", old.name, "passive")
    (new.tree / "file").write_text("something else")
    assert new.init(adopt=True).exit == DONE
    mark = active.log_mark()
    answer = active.cli("pair", "--node", new.name, "--address", f"{new.host}:{new.port}",
                        "--fingerprint", new.fingerprint, "--replace")
    assert answer.exit == DONE, repr(answer)
    trusted = json.loads(active.config.read_text())["peers"][0]
    assert trusted["fingerprints"] == [new.fingerprint], trusted
    os.kill(active.pid, signal.SIGHUP)
    active.wait_for_log("reload", since=mark)
    assert new.pair(active).exit == DONE
    try:
        new.start()
        new.wait_for_state("in_sync", timeout=60)
        assert files_of(new.tree) == files_of(active.tree)
        assert new.salvaged_content("file") == b"something else"
        done(reverse(active), new)
    finally:
        new.abandon()
