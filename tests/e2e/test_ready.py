"""Is a reverse possible now? Each reason is provoked, named with what to do on both sides, and gone again."""

import os
import signal
import subprocess

import pytest

import disks
import hostile
from harness import DONE, NO, PROGRAM, REFUSED, environment
from roles import Hooks
from waiting import wait_until

FAKETIME = "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1"
POWERLESS = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"]


def ready(pair, timeout=60):
    """Until both sides say so."""
    for node in pair.nodes:
        wait_until(f"{node.name} is ready", lambda node=node: is_ready(node), timeout)


def is_ready(node):
    answer = node.cli("ready", "--json")
    assert answer.exit in (DONE, NO), repr(answer)
    assert answer.json["ready"] == (answer.exit == DONE) == (answer.json["not_ready"] == []), repr(answer)
    assert answer.exit == DONE, answer.json["not_ready"]
    return True


def not_ready(node, *words, timeout=60, meanwhile=lambda: None):
    """Until one reason has all the words: what, and what to do. @return it"""
    def told():
        meanwhile()
        answer = node.cli("ready", "--json")
        for reason in answer.json["not_ready"]:
            if all(word in reason for word in words):
                assert answer.exit == NO
                return reason
        raise AssertionError(f"no reason has {words}: {answer.json['not_ready']}")
    reason = wait_until(f"{node.name} says {words}", told, timeout)
    status = node.status()
    assert status["ready"] is False and any(words[0] in each for each in status["not_ready"]), status["not_ready"]
    return reason


def not_ready_on_both(pair, node, *words, timeout=60):
    """The one says it, and the other says it of the one."""
    other = pair.nodes[node is pair.nodes[0]]
    not_ready(node, *words, timeout=timeout)
    not_ready(other, f"{node.name}: ", *words, timeout=timeout)


@pytest.fixture
def replicated(make_pair):
    def make(**options):
        pair = make_pair(**options)
        (pair.active.tree / "conf").mkdir()
        (pair.active.tree / "conf/a.xml").write_bytes(b"<a/>")
        pair.start()
        pair.wait()
        return pair
    return make


def test_what_a_reverse_is_refused_for_is_a_reason(make_pair, home):
    """Whoever asks `ready` before a maintenance window is not told otherwise within it."""
    pair = make_pair()
    hooks = Hooks(pair.nodes, home)
    a, b = pair.nodes
    pair.start()
    pair.converge()
    ready(pair)
    hooks.hold(b, "before_promote")
    hooks.fail(b, "after_promote", "no such server")
    with subprocess.Popen([str(PROGRAM), "--config", str(a.config), "reverse", "--yes"], env=environment(),
                          stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as command:
        hooks.wait_for("b before_promote")
        for node in pair.nodes:
            not_ready_on_both(pair, node, "busy", "wait for its end")
        hooks.let_go(b, "before_promote")
        assert command.wait(120) == DONE

    def agree():
        for node in pair.nodes:
            told, tried = node.cli("ready", "--json"), node.cli("reverse", "--dry-run", "--json")
            assert told.exit in (DONE, NO) and tried.exit in (DONE, REFUSED), (told, tried)
            assert (told.exit == DONE) == (tried.exit == DONE), (told, tried)
        return True
    wait_until("ready and reverse --dry-run say the same", agree)
    hooks.mend(b, "after_promote")
    ready(pair)


@pytest.mark.short
def test_a_pair_in_sync_is_ready_and_trying_it_disturbs_nothing(replicated):
    pair = replicated()
    ready(pair)
    for node in pair.nodes:
        assert "Ready" in node.cli("ready").out
        assert node.status()["ready"] is True and node.status()["not_ready"] == []
        assert node.log().count(" connected ") <= 2, "a probe became a connection"
        assert "rejected" not in node.log() and "probe=failed" not in node.log(), node.log()
    answer = pair.active.cli("ready", "--json").json
    assert answer["peers"][0]["node"] == "b" and answer["peers"][0]["ready"] is True
    assert answer["peers"][0]["version"] == pair.active.status()["version"]
    # A heartbeat that waited looks like a clock that is behind; the next one is faster.
    wait_until("the clocks are the same", lambda: abs(
        pair.active.cli("ready", "--json").json["peers"][0]["clock_skew_s"]) < 1)


def test_paused(replicated):
    pair = replicated()
    for node in pair.nodes:
        ready(pair)
        assert node.cli("pause").exit == DONE
        not_ready_on_both(pair, node, "paused", "artifact-sync resume")
        assert node.cli("resume").exit == DONE
    ready(pair)


def test_held_paths(replicated):
    pair = replicated(profile="wso2is")
    store = pair.active.tree / "deployment/server/userstores/A.xml"
    store.parent.mkdir(parents=True)
    store.write_bytes(b"<torn>")
    not_ready_on_both(pair, pair.active, "held", "A.xml", "mend")
    store.write_bytes(b"<whole/>")
    ready(pair)


def test_drift_and_salvage_that_nobody_has_looked_at(replicated):
    pair = replicated()
    pair.passive.wait_for("it is guarded", lambda s: s["watch"]["running"])
    (pair.passive.tree / "conf/a.xml").write_bytes(b"<edited/>")
    not_ready_on_both(pair, pair.passive, "salvage", "1 entries", "artifact-sync salvage list")
    assert len(pair.passive.salvaged()) == 1
    ready(pair)
    # What a person has seen stays seen.
    pair.passive.stop()
    pair.passive.start()
    ready(pair)


def test_drift_that_is_only_reported(replicated):
    pair = replicated(settings={"drift": "report"})
    pair.passive.wait_for("it is guarded", lambda s: s["watch"]["running"])
    place = pair.passive.tree / "conf/a.xml"
    was = place.stat()
    place.write_bytes(b"<edited/>")
    not_ready_on_both(pair, pair.passive, "drift", "conf/a.xml", "undo")
    place.write_bytes(b"<a/>")
    os.utime(place, ns=(was.st_atime_ns, was.st_mtime_ns))
    ready(pair)


def test_disconnected(replicated):
    pair = replicated()
    ready(pair)
    pair.passive.stop()
    not_ready(pair.active, "disconnected", "b", "start its agent")
    pair.passive.start()
    ready(pair)


def test_before_the_first_sync(make_pair):
    pair = make_pair()
    pair.passive.start()
    not_ready(pair.passive, "first-sync", "not complete")
    not_ready(pair.passive, "disconnected")
    pair.active.start()
    ready(pair)


@pytest.mark.parametrize("side", [0, 1], ids=["active", "passive"])
def test_the_direction_that_was_not_dialled(make_pair, side):
    """One can dial the other, but not the other way round: the pair works, and would not after the next cut."""
    pair = make_pair(proxied=True)
    node = pair.nodes[side]
    pair.proxies[node.name].cut()
    pair.start()
    pair.wait()
    reason = not_ready(node, "reach", "cannot connect", "address")
    not_ready(pair.nodes[1 - side], f"{node.name}: reach")
    print(reason)
    connected = [each.log().count(" connected ") for each in pair.nodes]
    pair.proxies[node.name].restore()
    ready(pair)
    assert [each.log().count(" connected ") for each in pair.nodes] == connected, "the session was disturbed"


def test_profiles_that_differ(replicated):
    pair = replicated()
    ready(pair)
    pair.passive.stop()
    pair.passive.configure(rules=["- somewhere/**"])
    pair.passive.start()
    for node in pair.nodes:
        not_ready(node, "profile-differs", "rules")
    pair.passive.stop()
    pair.passive.configure(rules=None)
    pair.passive.start()
    ready(pair)


def test_files_that_are_only_compared(make_pair):
    pair = make_pair(settings={"rules": ["= keystore.jks"]})
    for number, node in enumerate(pair.nodes):
        (node.tree / "keystore.jks").write_bytes(b"key %d" % number)
    pair.start()
    for node in pair.nodes:
        not_ready(node, "compare-differs", "keystore.jks", "make them the same")
    (pair.passive.tree / "keystore.jks").write_bytes(b"key 0")
    for node in pair.nodes:
        node.stop()
        node.start()
    ready(pair)


def test_a_hook_that_cannot_be_started(make_pair, home):
    hook = home / "hook"
    pair = make_pair()
    pair.passive.configure(hooks={"before_promote": [str(hook)]})
    pair.start()
    not_ready_on_both(pair, pair.passive, "hook", str(hook), "mend")
    hook.write_text("#!/bin/sh\n")
    hook.chmod(0o755)
    ready(pair)


@pytest.mark.skipif(disks.why_unavailable() is not None, reason=str(disks.why_unavailable()))
def test_a_disk_that_is_nearly_full(make_pair, home):
    disk = disks.Disk(home / "disk", 64, "tmpfs")
    try:
        pair = make_pair(init=False)
        pair.passive.state = disk.where / "state"
        pair.passive.state.mkdir(mode=0o700)
        pair.init().start()
        ready(pair)
        disk.fill(leave=2 << 20)
        not_ready_on_both(pair, pair.passive, "space", str(disk.where), "df")
        disk.free()
        ready(pair)
        pair.stop()
    finally:
        disk.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_watches_that_would_not_suffice(make_pair):
    limited = ["unshare", "--user", "--map-root-user", "sh", "-c",
               'echo 20 > /proc/sys/user/max_inotify_watches && exec "$@"', "sh"]
    if subprocess.run([*limited, "true"], capture_output=True).returncode != 0:
        pytest.skip("no user namespace with a limit of its own")
    pair = make_pair(init=False)
    pair.passive.prefix = limited
    pair.init()
    for number in range(40):
        (pair.active.tree / f"d{number}").mkdir()
    pair.start()
    not_ready_on_both(pair, pair.passive, "watches", "sysctl", "max_user_watches")
    for number in range(30):
        (pair.active.tree / f"d{number}").rmdir()
    ready(pair)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_owners_that_cannot_be_given(make_pair):
    pair = make_pair(settings={"ownership": "preserve"})
    pair.active.prefix = POWERLESS
    pair.start()
    not_ready_on_both(pair, pair.active, "owners", "CAP_CHOWN", "ignore")
    pair.active.stop()
    pair.active.prefix = []
    pair.active.start()
    ready(pair)


@pytest.mark.skipif(not os.path.exists(FAKETIME), reason="libfaketime is not installed")
def test_clocks_that_differ(make_pair, home):
    pair = make_pair()
    clock = home / "clock"
    clock.write_text("-90\n")
    pair.active.start()
    pair.passive.start(extra_environment={
        "LD_PRELOAD": FAKETIME, "FAKETIME_TIMESTAMP_FILE": str(clock), "FAKETIME_NO_CACHE": "1",
        "NO_FAKE_STAT": "1", "FAKE_UTIME": "0", "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "DONT_FAKE_MONOTONIC": "1"})
    not_ready(pair.active, "clock", "b is", "behind", "NTP")
    not_ready(pair.passive, "clock", "a is", "ahead", "NTP")
    beside = home / "clock.new"
    beside.write_text("+0\n")
    os.replace(beside, clock)  # the agent reads it whenever it looks at its clock
    ready(pair)


def openssl(*arguments):
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)


def sign(home, node, days):
    """A certificate for the node's key by the authority in `home`."""
    request = home / f"{node.name}.csr"
    openssl("req", "-new", "-key", node.state / "node.key", "-subj", f"/CN={node.name}", "-out", request)
    extra = home / "extra"
    extra.write_text(f"subjectAltName=DNS:{node.name}\nextendedKeyUsage=serverAuth,clientAuth\n")
    openssl("x509", "-req", "-in", request, "-CA", home / "ca.pem", "-CAkey", home / "ca.key", "-CAcreateserial",
            "-days", days, "-extfile", extra, "-out", node.state / "node.crt")


def test_a_certificate_that_expires_soon(make_pair, home):
    openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=ca",
            "-days", "100", "-keyout", home / "ca.key", "-out", home / "ca.pem")
    pair = make_pair()
    for node, other in (pair.nodes, pair.nodes[::-1]):
        sign(home, node, 3 if node is pair.passive else 90)
        node.configure(peers=[{"node": other.name, "address": f"{other.host}:{other.port}",
                               "ca": str(home / "ca.pem"), "name": other.name}])
    pair.start()
    not_ready(pair.active, "certificate", "b expires in", "reload")
    not_ready(pair.passive, "a: certificate")
    sign(home, pair.passive, 90)
    pair.passive.process.send_signal(signal.SIGHUP)
    # The connection goes on with what it began with; a probe is shown the new one.
    ready(pair)


def test_what_the_other_side_says_is_shown_and_harmless(make_pair):
    """Another version of the program, more reasons than are named, and words that a terminal would obey."""
    pair = make_pair()
    pair.start()
    pair.wait()
    ready(pair)
    pair.passive.stop()
    liar = hostile.Liar(pair.active, pair.passive, hostile.PASSIVE).hello()

    def say(version, total, *reasons):
        liar.send(hostile.READINESS, hostile.text(version) + hostile.u16(total) + hostile.u8(len(reasons)) +
                  b"".join(hostile.text(each) for each in reasons))
    say("99.9", 3, "salvage: \x1b[31mred", "x" * 480)
    not_ready(pair.active, "version", "99.9", "install the same", meanwhile=liar.beat)
    not_ready(pair.active, "b: salvage: ?[31mred", meanwhile=liar.beat)
    not_ready(pair.active, "and 1 more reasons", meanwhile=liar.beat)
    say(pair.active.status()["version"], 0)

    def taken_back():
        liar.beat()
        reasons = pair.active.cli("ready", "--json").json["not_ready"]
        return all("salvage" not in each and "version" not in each for each in reasons)
    wait_until("it takes back what it said", taken_back)
    say("1", 0, "one too many")
    reason, why = liar.expect_closed()
    assert reason == hostile.MALFORMED and "READINESS" in why
    liar.close()
    pair.passive.start()
    ready(pair)


def test_a_stranger_that_probes_is_told_nothing(make_pair, home):
    """TLS ends with whoever is not a configured peer, probe or not; a peer is told that it is let in."""
    pair = make_pair()
    pair.active.start()
    known = pair.passive.state
    openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=b",
            "-days", "10", "-keyout", home / "node.key", "-out", home / "node.crt")
    for place, welcome in ((known, True), (home, False)):
        try:
            answer = hostile.probe(pair.active, place)
        except OSError:
            answer = None
        assert (answer == hostile.PROBED) == welcome, f"{place}: {answer}"
    assert pair.active.status()["peers"][0]["connected"] is False
