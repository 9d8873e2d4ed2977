"""Who may connect, and what becomes of a link that dies."""

import os
import re
import socket
import ssl

import pytest

import trees
from harness import UNREACHABLE, Node, free_port, problem_text
from waiting import SCALE, wait_until


def connect(port):
    """A new passive listens when it knows what its tree holds, a moment after it answers commands."""
    def attempt():
        try:
            return socket.create_connection(("127.0.0.1", port), 10)
        except ConnectionRefusedError:
            return None
    return wait_until("it listens", attempt)



# How a line of the log begins to say why somebody was turned away.
REFUSAL = r"(rejected|refused|err|why|reason|closed)=.*"


def hang_up_awaited(connection, within):
    """Reads until the other side closes; what it said before does not matter."""
    connection.settimeout(within * SCALE)
    try:
        while connection.recv(65536):
            pass
    except ConnectionError:
        pass


@pytest.mark.short
def test_plain_text_is_refused_with_a_reason(pair):
    pair.wait()
    mark = pair.passive.log_mark()
    with connect(pair.passive.port) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 10)
        hang_up_awaited(connection, 10)
    pair.passive.wait_for_log(REFUSAL + r"TLS", since=mark)
    (pair.active.tree / "file").write_bytes(b"undisturbed")
    pair.converge()


def test_who_says_nothing_is_hung_up_on(pair):
    """One deadline covers connect, handshake and hello."""
    with connect(pair.passive.port) as connection:
        hang_up_awaited(connection, 30)
    pair.converge()


def test_half_open_sessions_are_capped(pair):
    """Hundreds that say nothing: the peer still gets through."""
    idle = []
    try:
        for _ in range(300):
            try:
                idle.append(connect(pair.passive.port))
            except OSError:
                break
        (pair.active.tree / "file").write_bytes(b"gets through")
        pair.converge()
    finally:
        for connection in idle:
            connection.close()


@pytest.mark.short
def test_a_node_with_another_key_is_refused(make_pair, home):
    """The passive pins a fingerprint that is not the active's."""
    stranger = Node(home, "s", "active")
    stranger.init()
    pair = make_pair(init=False)
    pair.active.init()
    pair.passive.init()
    pair.active.pair(pair.passive)
    pair.passive.pair(pair.active, fingerprint=stranger.fingerprint)
    (pair.active.tree / "secret").write_bytes(b"secret")
    pair.start()
    for node in pair.nodes:
        node.wait_for_log(REFUSAL + r"(fingerprint|certificate|key)", timeout=30)
    assert not (pair.passive.tree / "secret").exists()
    assert not pair.active.status()["peers"][0]["connected"]
    # A second pair adds the right fingerprint beside the wrong one: keys rotate with overlap.
    pair.passive.stop()
    pair.passive.pair(pair.active)
    pair.passive.start()
    pair.converge()


def test_an_unknown_node_is_refused(pair, home):
    """It knows us and we do not know it."""
    stranger = Node(home, "s", "active")
    try:
        stranger.init()
        stranger.pair(pair.passive)
        (stranger.tree / "hostile").write_bytes(b"x")
        mark = pair.passive.log_mark()
        stranger.start()
        pair.passive.wait_for_log(REFUSAL + r"(fingerprint|certificate|key)", since=mark, timeout=30)
        stranger.wait_for_log(REFUSAL + r"(fingerprint|certificate|key)", timeout=30)
        (pair.active.tree / "file").write_bytes(b"undisturbed")
        pair.converge()
        assert not (pair.passive.tree / "hostile").exists()
    finally:
        stranger.abandon()


@pytest.mark.short
def test_another_group_is_refused(make_pair):
    pair = make_pair(init=False)
    pair.passive.group = "another"
    (pair.active.tree / "file").write_bytes(b"x")
    pair.init().start()
    for node in pair.nodes:
        node.wait_for_log(REFUSAL + "group", timeout=30)
    assert not (pair.passive.tree / "file").exists()
    assert not pair.active.status()["peers"][0]["in_sync"]


def test_two_actives_do_not_exchange_anything(make_pair):
    pair = make_pair(init=False)
    pair.passive.role = "active"
    (pair.active.tree / "file").write_bytes(b"x")
    (pair.passive.tree / "other").write_bytes(b"y")
    pair.init().start()
    for node in pair.nodes:
        node.wait_for_log(REFUSAL + "(active|split|unrelated|lineage)", timeout=30)
    assert not (pair.passive.tree / "file").exists()
    assert not (pair.active.tree / "other").exists()


def authenticated(pair):
    """A TLS connection to the passive with the active's own key, as a broken version would make."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_cert_chain(pair.active.state / "node.crt", pair.active.state / "node.key")
    plain = connect(pair.passive.port)
    return context.wrap_socket(plain)


@pytest.mark.parametrize("garbage", [
    pytest.param(b"\xff" * 64, id="oversized-frame"),
    pytest.param(b"\0" * 64, id="zeros"),
    pytest.param(os.urandom(5000), id="noise"),
    pytest.param(b"\0\0\0\4\x7ftest", id="unknown-message"),
])
def test_nonsense_from_the_right_key_is_refused_with_a_reason(pair, garbage):
    (pair.active.tree / "file").write_bytes(b"x")
    pair.converge()
    pair.active.stop()
    pair.passive.wait_for("it is disconnected", lambda s: not s["peers"][0]["connected"])
    mark = pair.passive.log_mark()
    with authenticated(pair) as connection:
        connection.sendall(garbage)
        hang_up_awaited(connection, 30)
    line = pair.passive.wait_for_log(REFUSAL + r"(frame|message|hello|protocol|version|bytes|type)", since=mark)
    print(line)
    pair.active.start()
    pair.converge()


def test_tls_1_2_is_refused(pair):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    plain = connect(pair.passive.port)
    with pytest.raises((ssl.SSLError, ConnectionError)):
        context.wrap_socket(plain)


@pytest.mark.short
def test_a_cut_link_is_restored(proxied):
    pair = proxied
    (pair.active.tree / "one").write_bytes(b"1")
    pair.converge()
    pair.cut()
    for node in pair.nodes:
        node.wait_for_state("disconnected")
    (pair.active.tree / "two").write_bytes(b"2")
    pair.active.wait_for("the change is pending", lambda s: s["peers"][0]["pending_changes"] > 0)
    lag = pair.active.status()["peers"][0]["lag_seconds"]
    pair.active.wait_for("the lag grows", lambda s: (s["peers"][0]["lag_seconds"] is None
                                                     or s["peers"][0]["lag_seconds"] > (lag or 0)))
    assert pair.active.cli("status").exit == 1
    pair.restore()
    pair.active.wait_for("connected again", lambda s: s["peers"][0]["connected"], 30)
    pair.converge()


def assert_noticed_in_time(node):
    """By the agent's own clock: ours may have stood still meanwhile."""
    status = node.wait_for("it is disconnected", lambda s: not s["peers"][0]["connected"], 30)
    silent = re.search(r"nothing was heard for (\d+) ms", problem_text(status))
    assert silent and int(silent[1]) < 10_000, problem_text(status)


def test_a_dead_path_is_noticed_within_ten_seconds(proxied):
    """Nothing is closed, nothing answers."""
    pair = proxied
    (pair.active.tree / "one").write_bytes(b"1")
    pair.converge()
    pair.freeze()
    for node in pair.nodes:
        assert_noticed_in_time(node)
    (pair.active.tree / "two").write_bytes(b"2")
    pair.restore()
    pair.converge()


def test_a_pulled_cable(make_pair, net):
    """The same with packets that vanish between two namespaces."""
    pair = make_pair(net=net).start()
    (pair.active.tree / "one").write_bytes(b"1")
    pair.converge()
    pair.cut()
    for node in pair.nodes:
        assert_noticed_in_time(node)
    (pair.active.tree / "two").write_bytes(b"2")
    pair.restore()
    pair.converge()


def test_links_cut_again_and_again_while_the_tree_changes(proxied, seed):
    pair = proxied
    changer = trees.Changer(pair.active.tree, seed)
    for _ in range(6):
        for _ in range(40):
            changer.step()
        pair.cut()
        for _ in range(5):
            changer.step()
        pair.restore()
        pair.active.wait_for("connected again", lambda s: s["peers"][0]["connected"], 30)
    pair.converge()
    pair.assert_tidy()


def test_either_side_may_dial(make_pair):
    """Each knows an address nobody listens at; the other direction works."""
    for silent in (0, 1):
        pair = make_pair(init=False)
        home = pair.active.home.parent
        for node in pair.nodes:
            node.config = home / f"{node.name}{silent}.json"
            node.state = home / f"{node.name}{silent}.state"
            node.tree = home / f"{node.name}{silent}.tree"
            node.tree.mkdir()
            node.init()
        nobody = f"127.0.0.1:{free_port()}"
        pair.active.pair(pair.passive, address=nobody if silent == 0 else None)
        pair.passive.pair(pair.active, address=nobody if silent == 1 else None)
        (pair.active.tree / "file").write_bytes(b"x")
        pair.start()
        pair.converge()
        pair.stop()


def test_the_peer_may_be_started_late(make_pair):
    pair = make_pair()
    (pair.active.tree / "file").write_bytes(b"x")
    pair.active.start()
    pair.active.wait_for("the change is pending", lambda s: s["peers"][0]["pending_changes"] > 0)
    pair.passive.start()
    pair.converge()


def test_an_idle_link_costs_little(proxied):
    """Heartbeats only: so much for each second, however many pass."""
    pair = proxied
    pair.converge()
    before = pair.wire_bytes()
    wait_until("heartbeats were seen", lambda: pair.wire_bytes() > before, 30)
    began = pair.active.status()["uptime_s"]
    start = pair.wire_bytes()
    pair.active.wait_for("uptime moves on", lambda s: s["uptime_s"] > began + 5)
    crossed = pair.wire_bytes() - start
    assert crossed < 4000 * (pair.active.status()["uptime_s"] - began)


@pytest.mark.short
def test_two_passives_stay_connected(make_pair):
    """Nothing flows, both know of each other, and it ends when one of them is active."""
    pair = make_pair(init=False)
    for node in pair.nodes:
        (node.tree / f"of-{node.name}").write_text("local")
    pair.active.role = "passive"
    pair.init()
    pair.start()
    for node in pair.nodes:
        status = node.wait_for("the other is there", lambda status: status["peers"][0]["connected"])
        assert status["peers"][0]["role"] == "passive" and not status["peers"][0]["in_sync"]
        assert status["state"] == "disconnected" and "nothing flows" in problem_text(status)
        assert node.cli("verify").exit == UNREACHABLE
    # Longer than a peer that says nothing is borne.
    for node in pair.nodes:
        beats = node.status()["peers"][0]["rtt_ms"]
        node.wait_for("heartbeats go on", lambda status: (
            status["peers"][0]["connected"] and status["peers"][0]["rtt_ms"] != beats))
        # Both dial at the start: of two connections that crossed, one makes way for the other.
        lost = [line for line in node.log().splitlines() if "disconnected" in line and "reason=replaced" not in line]
        assert not lost, lost
    assert not (pair.passive.tree / "of-a").exists() and not (pair.active.tree / "of-b").exists()
