"""Commands: exit codes, JSON, configuration errors, pausing, signals."""

import itertools
import json
import os
import re
import signal
import socket
import sqlite3
import subprocess
import threading
from pathlib import Path

import pytest

import processes
import trees
from harness import (DONE, NO, NOT_RUNNING, PROGRAM, REFUSED, TIMED_OUT, UNREACHABLE, USAGE, Node,
                     environment, run)
from waiting import wait_until

STATUS_FIELDS = {
    "node": str, "group": str, "role": str, "epoch": int, "tree": str, "state": str, "seq": int,
    "digest": str, "files": int, "bytes": int, "peers": list, "watch": dict, "held": list,
    "roots": list, "drift": int, "salvage": int, "ready": bool, "not_ready": list, "problems": list,
    "version": str, "uptime_s": (int, float), "history": dict,
}
MAY_BE_NULL = ("recovery_point", "rpo_seconds", "last_verify", "last_drill")
PEER_FIELDS = {
    "node": str, "connected": bool, "role": str, "acked_seq": int, "pending_changes": int,
    "pending_bytes": int, "lag_seconds": (int, float, type(None)),
    "rtt_ms": (int, float, type(None)), "in_sync": bool,
}


@pytest.mark.short
def test_status_has_every_field_of_the_contract(pair):
    (pair.active.tree / "file").write_bytes(b"content")
    pair.converge()
    for node in pair.nodes:
        status = node.wait_for_state("in_sync")
        for field, kind in STATUS_FIELDS.items():
            assert isinstance(status[field], kind), f"{field}: {status[field]!r}"
        for field in MAY_BE_NULL:
            assert field in status
        peer, = status["peers"]
        for field, kind in PEER_FIELDS.items():
            assert isinstance(peer[field], kind), f"peers[0].{field}: {peer[field]!r}"
        assert status["node"] == node.name and status["role"] == node.role
        assert status["tree"] == str(node.tree) and status["group"] == "is"
        assert status["epoch"] == 1
        assert re.fullmatch("[0-9a-f]{64}", status["digest"])
        assert {"directories", "watched", "overflows"} <= status["watch"].keys()
        assert status["roots"][0]["path"] == "" and status["roots"][0]["healthy"] is True
        assert peer["pending_changes"] == 0 and peer["pending_bytes"] == 0 and peer["in_sync"]
    ours, theirs = (node.status() for node in pair.nodes)
    assert ours["peers"][0]["acked_seq"] == ours["seq"]
    assert theirs["recovery_point"] and theirs["rpo_seconds"] >= 0
    pair.active.wait_for("the peer's recovery point is known", lambda s: s["recovery_point"])
    text = pair.active.cli("status")
    assert text.exit == DONE and "in_sync" in text.out.replace(" ", "_").lower()


def test_the_global_options_may_stand_before_or_after(pair):
    for arguments in (["--config", pair.active.config, "--json", "role"],
                      ["role", "--json", "--config", pair.active.config]):
        answer = run(*arguments)
        assert answer.exit == DONE and answer.json["role"] == "active"


def test_the_configuration_may_come_from_the_environment(pair):
    values = {**environment(), "ARTIFACT_SYNC_CONFIG": str(pair.active.config)}
    done = subprocess.run([str(PROGRAM), "role"], env=values, capture_output=True, text=True)
    assert done.returncode == DONE and done.stdout.strip() == "active"


@pytest.mark.short
def test_role(pair):
    pair.converge()
    assert pair.active.cli("role").out.strip() == "active"
    assert pair.passive.cli("role").out.strip() == "passive"
    assert pair.active.cli("role", "--require", "active").exit == DONE
    assert pair.active.cli("role", "--require", "passive").exit == NO
    assert pair.passive.cli("role", "--require", "passive").exit == DONE
    assert pair.passive.cli("role", "--require", "active").exit == NO
    assert pair.active.cli("role", "--require", "emperor").exit == USAGE


def test_an_active_that_no_peer_has_confirmed_is_not_vouched_for(make_pair):
    pair = make_pair()
    pair.active.start()
    assert pair.active.cli("role", "--require", "active").exit == NO
    assert pair.active.cli("role", "--require", "active", "--unconfirmed").exit == DONE
    pair.passive.start()
    wait_until("a peer has confirmed the epoch",
               lambda: pair.active.cli("role", "--require", "active").exit == DONE)


@pytest.mark.short
@pytest.mark.parametrize("command", [["status"], ["role"], ["exposure"], ["wait", "--timeout", "1"],
                                     ["verify"], ["pause"], ["resume"], ["salvage", "list"]],
                         ids=lambda command: command[0])
def test_commands_say_that_no_agent_runs(make_pair, command):
    pair = make_pair()
    for options in ([], ["--json"]):
        answer = pair.active.cli(*command, *options)
        assert answer.exit == NOT_RUNNING, repr(answer)
        assert "systemctl start artifact-sync@config'" in answer.text, "it must say what to do"


@pytest.mark.short
@pytest.mark.parametrize("arguments", [[], ["no-such-command"], ["status", "--no-such-option"],
                                       ["wait", "--timeout", "soon"], ["wait", "--seq", "-1"],
                                       ["salvage", "burn"], ["init"], ["pair"],
                                       ["status", "superfluous"]],
                         ids=lambda arguments: " ".join(arguments) or "nothing")
def test_wrong_usage(arguments):
    answer = run(*arguments)
    assert answer.exit == USAGE, repr(answer)
    assert answer.err.strip()


@pytest.mark.parametrize("arguments", [["--json", "bogus"], ["--json"], ["status", "--json", "--bogus"],
                                       ["wait", "--json", "--seq", "-1"], ["init", "--json"]])
def test_wrong_usage_is_an_object_for_those_who_asked_for_one(arguments):
    answer = run(*arguments)
    assert answer.exit == USAGE and answer.err == "", repr(answer)
    assert answer.json["exit_code"] == USAGE and answer.json["error"] and answer.json["remedy"]
    assert run("--json", "status", "--help").out.startswith("Usage:")


def test_help_and_version():
    for arguments in (["--help"], ["status", "--help"], ["--version"]):
        answer = run(*arguments)
        assert answer.exit == DONE and answer.out.strip(), repr(answer)
    help_text = run("--help").out
    for command in ("init", "pair", "check", "agent", "status", "role", "exposure", "wait", "verify",
                    "pause", "resume", "salvage"):
        assert command in help_text


def test_what_pair_refuses(pair):
    """Each with what to do, and nothing is written."""
    node, values = pair.active, pair.active.config.read_text()
    good = ["--node", "c", "--address", "c.example.org:7443", "--fingerprint", "sha256:" + "1" * 64]

    def refused(option, value, code):
        arguments = list(good)
        arguments[arguments.index(option) + 1] = value
        answer = node.cli("pair", *arguments)
        assert answer.exit == code and "What to do" in answer.err, repr(answer)
        assert value in answer.err and not re.search(r"line \d", answer.err), repr(answer)
        assert node.config.read_text() == values
    refused("--fingerprint", "sha256:12", USAGE)
    refused("--address", "nowhere", USAGE)
    refused("--node", "a", REFUSED)
    answer = node.cli("approve")
    assert answer.exit == NO and "What to do" in answer.err, repr(answer)


def test_a_rule_that_is_no_text(home):
    node = Node(home, "n", "active")
    node.init()
    node.configure(rules=[1])
    answer = node.cli("check")
    assert answer.exit == USAGE and "in double quotes\n" in answer.err, repr(answer)


@pytest.mark.parametrize("settings", [
    {"ownership": "nobody-of-that-name:nor-group"}, {"tls": {"certificate": "/nowhere/node.crt"}},
    {"peers": [{"node": "b", "ca": "/nowhere/ca.pem"}]},
    {"peers": [{"node": name, "fingerprints": ["sha256:" + "1" * 64]} for name in "bc"]},
    {"node": "z", "peers": []}, {"group": "other"}], ids=lambda settings: next(iter(settings)))
def test_a_configuration_that_cannot_be_used_is_not_tried_again(make_pair, settings):
    """Exit code 2, by which the service manager gives up; with what to mend."""
    pair = make_pair()
    pair.active.configure(**settings)
    answer = pair.active.cli("agent")
    assert answer.exit == USAGE and "remedy=" in answer.err, repr(answer)


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_watching_an_agent_that_is_not_there_ends(make_pair, options):
    pair = make_pair()
    answer = pair.active.cli("status", "--watch", *options)
    assert answer.exit == NOT_RUNNING, repr(answer)


@pytest.mark.short
def test_init_and_pair(home):
    node = Node(home, "n", "active")
    answer = node.init()
    assert answer.out.splitlines().count(node.fingerprint) == 1
    assert oct(node.config.stat().st_mode & 0o777) == "0o600"
    assert oct(node.state.stat().st_mode & 0o777) == "0o700"
    for secret in (node.state / "node.key", node.tree / ".artifact-sync"):
        assert secret.stat().st_mode & 0o077 == 0
    again = node.init(check=False)
    assert again.exit != DONE and str(node.config) in again.text
    for arguments in (["--fingerprint", "sha256:abc"], ["--fingerprint", "md5:" + "0" * 64]):
        bad = node.cli("pair", "--node", "m", "--address", "127.0.0.1:1", *arguments)
        assert bad.exit == USAGE, repr(bad)
    good = "sha256:" + "0" * 64
    assert node.cli("pair", "--node", "m", "--address", "127.0.0.1:1", "--fingerprint", good).exit == DONE
    assert node.cli("check").exit == DONE
    assert good in node.config.read_text()


@pytest.mark.parametrize("change, words", [
    ({"--node": "with space"}, "node"),
    ({"--role": "leader"}, "role"),
    ({"--profile": "nothing"}, "profile"),
    ({"--listen": "nowhere"}, "listen"),
    ({"--tree": "/etc/passwd"}, "/etc/passwd"),
    ({"--tree": "/no/such/directory"}, "/no/such/directory"),
])
def test_init_refuses_nonsense(home, change, words):
    (home / "tree").mkdir()
    options = {"--config": str(home / "config.json"), "--node": "n", "--group": "g",
               "--tree": str(home / "tree"), "--state-dir": str(home / "state"),
               "--listen": "127.0.0.1:7000", "--role": "active", **change}
    answer = run("init", *[part for option in options.items() for part in option])
    assert answer.exit in (NO, USAGE, REFUSED) and words in answer.text, repr(answer)
    assert not (home / "config.json").exists()


def test_an_unknown_key_is_named_with_its_line_and_the_nearest(make_pair):
    pair = make_pair()
    values = json.loads(pair.active.config.read_text())
    values["settel_ms"] = 100
    text = json.dumps(values, indent=1)
    line = 1 + text[: text.index("settel_ms")].count("\n")
    pair.active.config.write_text(text)
    for command in ("check", "agent"):
        answer = pair.active.cli(command)
        assert answer.exit == USAGE, repr(answer)
        assert "settel_ms" in answer.text and "settle_ms" in answer.text
        assert re.search(rf"\b{line}\b", answer.text), f"line {line} is not named: {answer!r}"


@pytest.mark.parametrize("key, value", [
    ("settle_ms", -1), ("settle_ms", "quick"), ("settle_ms", 10**9), ("scan_interval_s", 0.5),
    ("profile", "everything"), ("ownership", "root"), ("drift", "ignore"), ("listen", "7000"),
    ("tree", "relative/path"), ("rules", "+ **"), ("rules", ["? what"]), ("peers", {}),
    ("max_delete", 101), ("gates", "on"),
])
def test_bad_values_are_named(make_pair, key, value):
    pair = make_pair()
    pair.active.configure(**{key: value})
    answer = pair.active.cli("check")
    assert answer.exit == USAGE, repr(answer)
    assert key in answer.text


def test_a_file_that_is_no_json(make_pair):
    pair = make_pair()
    pair.active.config.write_text('{"node": "a",\n "group" "is"}\n')
    answer = pair.active.cli("check")
    assert answer.exit == USAGE and str(pair.active.config) in answer.text
    assert re.search(r"\b2\b", answer.text), "the line is not named"
    pair.active.config.unlink()
    answer = pair.active.cli("check")
    assert answer.exit == USAGE and str(pair.active.config) in answer.text


def test_check_says_what_is_wrong(make_pair):
    pair = make_pair()
    assert pair.active.cli("check").exit == DONE
    with socket.create_server(("127.0.0.1", pair.active.port)):
        answer = pair.active.cli("check")
        assert answer.exit == NO and str(pair.active.port) in answer.text, repr(answer)
    (pair.active.state / "node.key").rename(pair.active.state / "aside")
    answer = pair.active.cli("check")
    assert answer.exit in (NO, USAGE) and "node.key" in answer.text, repr(answer)
    (pair.active.state / "aside").rename(pair.active.state / "node.key")
    assert pair.active.cli("check", "--json").exit == DONE


def times_out_as_paused(pair, on):
    """The tree is read first: when that takes as long as there is time, nothing else is named."""
    def told():
        answer = pair.active.cli("wait", "--timeout", "1")
        return answer if answer.exit != TIMED_OUT or "being read" not in answer.err else None
    answer = wait_until("it waits for the peer", told)
    assert answer.exit == TIMED_OUT and f"paused on {on}" in answer.err, repr(answer)
    return answer


@pytest.mark.short
def test_pause_and_resume(pair):
    (pair.active.tree / "one").write_bytes(b"1")
    pair.converge()
    assert pair.active.cli("pause").exit == DONE
    assert pair.active.status()["state"] == "paused"
    (pair.active.tree / "two").write_bytes(b"22")

    def told():
        exposed = pair.active.cli("exposure", "--json").json
        return exposed if "two" in [each["path"] for each in exposed["paths"]] else None
    exposed = wait_until("the change is pending", told)
    assert pair.active.status()["peers"][0]["pending_changes"] > 0
    assert exposed["changes"] >= 1 and exposed["bytes"] >= 2
    assert all(each["age_s"] >= 0 for each in exposed["paths"])
    assert "two" in pair.active.cli("exposure").out
    answer = times_out_as_paused(pair, "a")
    assert "artifact-sync resume" in answer.err
    assert not (pair.passive.tree / "two").exists()

    assert pair.active.cli("resume").exit == DONE
    pair.converge()
    exposed = pair.active.cli("exposure", "--json").json
    assert exposed["changes"] == 0 and exposed["paths"] == []


def test_pause_on_the_passive(pair):
    """Says what is so there, and the active knows who has paused."""
    pair.converge()
    assert "is missing here" in pair.passive.cli("pause").out
    pair.active.wait_for_state("paused")
    (pair.active.tree / "file").write_bytes(b"x")
    pair.active.wait_for("the change is pending", lambda s: s["peers"][0]["pending_changes"] > 0)
    times_out_as_paused(pair, "b")
    assert pair.passive.cli("resume").exit == DONE
    pair.converge()


def test_wait(pair):
    (pair.active.tree / "file").write_bytes(b"x")
    answer = pair.active.cli("wait", "--timeout", "30", "--json")
    assert answer.exit == DONE, repr(answer)
    assert answer.json["digest"] == pair.passive.status()["digest"]
    assert (pair.passive.tree / "file").exists()
    seq = pair.active.status()["seq"]
    assert pair.active.cli("wait", "--seq", str(seq), "--timeout", "30").exit == DONE
    assert pair.active.cli("wait", "--seq", str(seq + 1000), "--timeout", "1").exit in (NO, TIMED_OUT)
    there = pair.passive.cli("wait", "--seq", str(seq), "--timeout", "30")
    assert there.exit == DONE and there.out.startswith("This node has everything"), repr(there)
    late = pair.passive.cli("wait", "--seq", str(seq + 1000), "--timeout", "1")
    assert late.exit == TIMED_OUT and str(seq + 1000) in late.err, repr(late)
    pair.passive.stop()
    (pair.active.tree / "file").write_bytes(b"y")
    answer = pair.active.cli("wait", "--timeout", "2")
    assert answer.exit in (UNREACHABLE, TIMED_OUT), repr(answer)


def proven(node, digest):
    """Has a barrier with this digest matched on the passive?"""
    database = sqlite3.connect(f"file:{node.state / 'state.db'}?mode=ro", uri=True)
    try:
        return database.execute("SELECT count(*) FROM barriers WHERE digest = ?",
                                [bytes.fromhex(digest)]).fetchone()[0] > 0
    finally:
        database.close()


def test_wait_says_what_was_proven(pair):
    """While changes go on, the index is ahead of the last barrier: what `wait' names is the barrier."""
    (pair.active.tree / "first").write_bytes(b"x")
    pair.converge()
    over = threading.Event()

    def write():
        for number in itertools.count():
            if over.is_set():
                return
            (pair.active.tree / f"file-{number % 200}").write_bytes(b"%d" % number)
    writer = threading.Thread(target=write)
    writer.start()
    try:
        for _ in range(15):
            answer = pair.active.cli("wait", "--timeout", "60", "--json", timeout=90)
            assert answer.exit == DONE, repr(answer)
            assert proven(pair.passive, answer.json["digest"]), repr(answer)
    finally:
        over.set()
        writer.join()


def stopped(node):
    """The process stands still; the connection does not end of it at once."""
    os.kill(node.pid, signal.SIGSTOP)
    return wait_until("it has stopped", lambda: " T " in Path(f"/proc/{node.pid}/stat").read_text())


def test_verify_ends_by_its_own_deadline(pair):
    """With the exit code of a deadline, whichever phase it is in."""
    (pair.active.tree / "file").write_bytes(b"x")
    pair.converge()
    pair.active.cli("pause")
    (pair.active.tree / "file").write_bytes(b"y")
    pair.active.wait_for("the change is pending", lambda s: s["peers"][0]["pending_changes"] > 0)
    answer = pair.active.cli("verify", "--timeout", "1")
    assert answer.exit == TIMED_OUT, repr(answer)
    pair.active.cli("resume")
    pair.converge()
    for options in ([], ["--deep"]):
        stopped(pair.passive)
        try:
            answer = pair.active.cli("verify", "--timeout", "2", *options)
        finally:
            os.kill(pair.passive.pid, signal.SIGCONT)
        assert answer.exit == TIMED_OUT, repr(answer)
        pair.active.wait_for_state("in_sync")
    pair.assert_verified("--deep")


def test_verify_waits_for_as_long_as_it_was_told(pair):
    """Not for the minute that `wait' takes when nothing else is said."""
    socket_path = pair.active.state / "control.sock"
    pair.converge()
    told = []
    pair.active.stop()
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(socket_path))
        server.listen()

        def answer():
            with server.accept()[0] as call:
                told.append(json.loads(call.makefile().readline()))
                call.sendall(b'{"done": 6, "error": "as told"}\n')
        agent = threading.Thread(target=answer)
        agent.start()
        assert pair.active.cli("verify", "--timeout", "604800").exit == TIMED_OUT
        agent.join()
    socket_path.unlink()
    assert told[0]["timeout_s"] == 604800
    pair.active.start()


@pytest.mark.short
def test_wait_covers_everything_written_before_it(pair):
    """No event may be on its way still: a hundred times written, waited, compared."""
    for number in range(100):
        content = b"%d" % number
        (pair.active.tree / f"f{number % 7}").write_bytes(content)
        pair.wait()
        assert (pair.passive.tree / f"f{number % 7}").read_bytes() == content


def test_verify_names_differences(pair):
    for name in ("same", "other"):
        (pair.active.tree / name).write_bytes(b"content")
    pair.converge()
    pair.assert_verified()
    text = pair.active.cli("verify", "--deep")
    assert text.exit == DONE
    assert pair.active.status()["last_verify"] is not None


def test_verify_without_a_peer(make_pair):
    pair = make_pair()
    pair.active.start()
    assert pair.active.cli("verify").exit in (NO, UNREACHABLE)


def test_exposure_of_a_peer_that_is_away(pair, seed):
    pair.converge()
    pair.passive.stop()
    trees.make_many(pair.active.tree, 50, 1000, seed=seed)
    names = {f"d0000/f{number:06d}.bin" for number in range(50)}

    def told():
        exposed = pair.active.cli("exposure", "--json").json
        return exposed if names <= {each["path"] for each in exposed["paths"]} else None
    exposed = wait_until("all are pending", told)
    assert exposed["changes"] >= 50 and exposed["bytes"] >= 50_000


def test_status_degrades_and_recovers(pair):
    pair.converge()
    pair.active.wait_for_state("in_sync")
    assert pair.active.cli("status").exit == DONE
    pair.passive.stop()
    pair.active.wait_for_state("disconnected")
    assert pair.active.cli("status").exit == NO
    pair.passive.start()
    pair.active.wait_for_state("in_sync")
    assert pair.active.cli("status").exit == DONE


def test_status_watch_shows_until_it_is_ended(pair):
    pair.converge()
    process = subprocess.Popen(
        [str(PROGRAM), "--config", str(pair.active.config), "status", "--watch"],
        stdout=subprocess.PIPE, env=environment(), stdin=subprocess.DEVNULL,
        # Whoever runs the tests in the background has it ignored, and that is inherited.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
    try:
        os.set_blocking(process.stdout.fileno(), False)
        shown = b""

        def says_in_sync():
            nonlocal shown
            shown += process.stdout.read() or b""
            return b"in" in shown.lower() and b"sync" in shown.lower()
        wait_until("it shows something", says_in_sync)
        assert process.poll() is None
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(60)
        process.stdout.close()


def test_service_notification(make_pair, home):
    pair = make_pair()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notified:
        notified.bind(str(home / "notify"))
        notified.setblocking(False)
        messages = []

        def told(word):
            try:
                while True:
                    messages.append(notified.recv(4096).decode())
            except BlockingIOError:
                pass
            return any(word in message for message in messages)
        pair.active.start(extra_environment={"NOTIFY_SOCKET": str(home / "notify"),
                                             "WATCHDOG_USEC": "2000000"})
        wait_until("READY=1", lambda: told("READY=1"))
        wait_until("STATUS=", lambda: told("STATUS="))
        wait_until("WATCHDOG=1", lambda: told("WATCHDOG=1"))
        pair.active.stop()
        wait_until("STOPPING=1", lambda: told("STOPPING=1"))


def test_reload(pair):
    pair.converge()
    pair.active.configure(scan_interval_s=300)
    mark = pair.active.log_mark()
    os.kill(pair.active.pid, signal.SIGHUP)
    pair.active.wait_for_log("reload", since=mark)
    (pair.active.tree / "file").write_bytes(b"x")
    pair.converge()
    values = pair.active.config.read_text()
    pair.active.config.write_text("{ not json")
    mark = pair.active.log_mark()
    os.kill(pair.active.pid, signal.SIGHUP)
    pair.active.wait_for_log(re.escape(str(pair.active.config)), since=mark)
    pair.active.config.write_text(values)
    (pair.active.tree / "file").write_bytes(b"the old settings are kept")
    pair.converge()


def test_a_reload_in_the_midst_of_a_start(pair):
    door = pair.active.state / "control.sock"
    early = 0
    for _ in range(20):
        pair.active.kill()
        door.unlink(missing_ok=True)
        mark = pair.active.log_mark()
        pair.active.start(wait=False)
        wait_until("it has begun", lambda: processes.takes(pair.active.pid, signal.SIGHUP), step=0.001)
        early += not door.exists()
        os.kill(pair.active.pid, signal.SIGHUP)
        pair.active.wait_for_log("configuration reloaded", since=mark)
        if early == 3:
            break
    assert early, "it was never met before it had opened its door"
    pair.converge()


def reload(node, **settings):
    node.configure(**settings)
    mark = node.log_mark()
    os.kill(node.pid, signal.SIGHUP)
    node.wait_for_log("configuration reloaded", since=mark)


def arrives(pair, name):
    pair.passive.wait_for(f"{name} arrives", lambda s: (pair.passive.tree / name).is_file())


@pytest.mark.parametrize("key, before, after", [
    ("settle_ms", 60_000, 25), ("settle_max_ms", 3_600_000, 100), ("set_settle_ms", 60_000, 100)])
def test_a_reload_takes_over_when_a_path_is_read(make_pair, key, before, after):
    pair = make_pair(settings={"settle_max_ms": 3_600_000, key: before,
                               "rules": ["+ set=s members/*"]}).start()
    (pair.active.tree / "members").mkdir()
    pair.wait()
    name = "members/file" if key == "set_settle_ms" else "file"
    reload(pair.active, **{key: after})
    with open(pair.active.tree / name, "wb", buffering=0) as file:
        file.write(b"x")
        if key != "settle_max_ms":
            file.close()
        arrives(pair, name)


def test_a_reload_takes_over_the_rate(make_pair):
    """Also for what is on its way: the link is too slow for this file within the test's patience."""
    pair = make_pair(settings={"limits": {"rate_bytes_per_s": 20_000}}).start()
    pair.wait()
    (pair.active.tree / "large").write_bytes(os.urandom(4 << 20))
    pair.active.wait_for("it is on its way", lambda s: s["work"]["content_bytes_sent"] > 0)
    reload(pair.active, limits={"rate_bytes_per_s": 0, "window_bytes": 1 << 20})
    arrives(pair, "large")
    pair.active.configure(limits={"rate_bytes_per_s": 20_000})
    os.kill(pair.active.pid, signal.SIGHUP)  # the log counts the same line and does not repeat it
    pair.active.status()
    (pair.active.tree / "large").write_bytes(os.urandom(1 << 20))
    answer = pair.active.cli("wait", "--timeout", "3")
    assert answer.exit == TIMED_OUT, repr(answer)


def test_a_reload_takes_over_the_level_of_the_log(pair):
    """Each batch is a line of level debug."""
    node = pair.passive
    pair.converge()
    assert "debug" not in node.log()
    reload(node, log="debug")
    (pair.active.tree / "file").write_bytes(b"x")
    node.wait_for_log(" debug .*batch=")
    node.configure(log="error")
    os.kill(node.pid, signal.SIGHUP)

    def quiet():
        mark = node.log_mark()
        (pair.active.tree / "file").write_bytes(os.urandom(8))
        pair.converge()
        return "debug" not in node.log(mark)
    wait_until("it is taken over", quiet)
    mark = node.log_mark()
    pair.active.stop()
    node.wait_for_state("disconnected")
    assert "disconnected" not in node.log(mark), "that is a line of level info"


def test_a_reload_takes_over_the_time_of_the_next_scan(pair):
    """A path that is too long is what only a scan sees."""
    pair.converge()
    trees.make_too_long(pair.active.tree)
    reload(pair.active, scan_interval_s=1)
    pair.active.wait_for("the scan has found it",
                         lambda s: any(text.startswith("too-long") for text in s["problems"]))


def test_a_reload_takes_over_the_brakes(make_pair):
    pair = make_pair(settings={"max_delete": 0})
    trees.make_many(pair.active.tree, 30, 100)
    pair.start()
    pair.converge()
    reload(pair.active, max_delete=20, max_rewrite=20)
    for path in sorted((pair.active.tree / "d0000").iterdir())[:15]:
        path.unlink()
    pair.active.wait_for_state("held")
    assert len(os.listdir(pair.passive.tree / "d0000")) > 15
    reload(pair.active, max_delete=0)


def test_the_log_can_be_json(make_pair):
    pair = make_pair()
    process = subprocess.Popen(
        [str(PROGRAM), "--config", str(pair.active.config), "agent", "--log-format", "json"],
        stderr=subprocess.PIPE, env=environment(), stdin=subprocess.DEVNULL)
    try:
        wait_until("it answers", lambda: pair.active.cli("role").exit == DONE)
    finally:
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 0
    lines = [json.loads(line) for line in err.decode().splitlines()]
    assert lines and all(isinstance(line, dict) for line in lines)


def test_salvage_restores_over_nothing_that_exists(pair, home):
    (pair.active.tree / "file").write_bytes(b"one")
    pair.converge()
    pair.passive.stop()
    (pair.passive.tree / "file").write_bytes(b"precious")
    (pair.active.tree / "file").write_bytes(b"two")
    pair.passive.start()
    pair.converge()
    entry, = pair.passive.salvaged()
    (home / "taken").write_bytes(b"do not touch")
    answer = pair.passive.cli("salvage", "restore", str(entry["id"]), "--to", str(home / "taken"))
    assert answer.exit in (NO, USAGE, REFUSED), repr(answer)
    assert (home / "taken").read_bytes() == b"do not touch"
    in_place = pair.passive.cli("salvage", "restore", str(entry["id"]))
    assert in_place.exit != DONE, "a passive's tree is written by nobody but the active"
    assert (pair.passive.tree / "file").read_bytes() == b"two"


@pytest.mark.parametrize("side", [0, 1], ids=["active", "passive"])
def test_an_address_that_is_taken(make_pair, side):
    """Also a passive that has first looked at what it holds, and finds it out later, ends in order."""
    node = make_pair().nodes[side]
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind((node.host, node.port))
        other.listen()
        done = subprocess.run([str(PROGRAM), "--config", str(node.config), "agent"], capture_output=True,
                              text=True, env=environment(), timeout=60)
    assert done.returncode in (NO, USAGE), done
    assert "in use" in done.stderr
