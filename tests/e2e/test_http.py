"""http.listen: the page, the probes, the role for load balancers, and what Prometheus reads."""

import http.client
import json
import os
import re
import resource
import socket
import threading
import xml.etree.ElementTree
from pathlib import Path

import pytest

import processes
import trees
from harness import free_port, problem_text
from waiting import wait_until

PATHS = ["/", "/metrics", "/healthz", "/readyz", "/role/active", "/role/passive", "/api/v1/status"]
SAMPLE = re.compile(r'([a-z_]+)(?:\{((?:[a-z_]+="(?:[^"\\\n]|\\[\\"n])*",?)*)\})? (-?[0-9.e+-]+)')


class Asker:
    def __init__(self, node, port):
        self.node, self.port = node, port

    def get(self, path, method="GET", host=None, body=None):
        """@return status, headers, body"""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            connection.request(method, path, body=body, headers={"Host": host} if host else {})
            answer = connection.getresponse()
            return answer.status, dict(answer.getheaders()), answer.read().decode()
        finally:
            connection.close()

    def code(self, path):
        return self.get(path)[0]

    def metrics(self):
        """{name or (name, labels): value}, and nothing that Prometheus would stumble over."""
        status, headers, text = self.get("/metrics")
        assert status == 200 and headers["Content-Type"].startswith("text/plain; version=0.0.4")
        assert text.endswith("\n")
        found, kinds, helped = {}, {}, set()
        for line in text.splitlines():
            if line.startswith("# HELP "):
                name = line.split()[2]
                assert name not in helped, f"{name} in two places"
                helped.add(name)
            elif line.startswith("# TYPE "):
                _, _, name, kind = line.split()
                assert kind == ("counter" if name.endswith("_total") else "gauge") and name in helped
                kinds[name] = kind
            else:
                sample = SAMPLE.fullmatch(line)
                assert sample, f"not a sample: {line}"
                name, labels, value = sample.groups()
                assert name in kinds and name.startswith("artifact_sync_"), line
                key = (name[14:], labels) if labels else name[14:]
                assert key not in found, line
                found[key] = float(value)
        return found


@pytest.fixture
def served(make_pair):
    """A pair that serves; and who asks each of the two."""
    pair = make_pair()
    askers = []
    for node in pair.nodes:
        askers.append(Asker(node, free_port()))
        node.configure(http={"listen": f"127.0.0.1:{askers[-1].port}"})
    pair.start()
    (pair.active.tree / "conf").mkdir()
    (pair.active.tree / "conf/a.xml").write_text("<a/>")
    pair.converge()
    for node in pair.nodes:
        node.wait_for_state("in_sync")
    return pair, *askers


def test_the_status_is_the_command_s(served):
    pair, active, passive = served
    for asker in (active, passive):
        status, headers, text = asker.get("/api/v1/status")
        assert status == 200 and headers["Content-Type"] == "application/json"
        told = json.loads(text)
        again = asker.node.cli("status", "--json").json
        assert set(told) == set(again)
        for key in ("node", "role", "epoch", "digest", "files", "version"):
            assert told[key] == again[key]


def test_prometheus_reads_it(served):
    pair, active, passive = served
    for asker, role in ((active, "active"), (passive, "passive")):
        found, status = asker.metrics(), asker.node.status()
        assert found["files"] == status["files"] == 1 and found["epoch"] == 1
        assert found["role", f'role="{role}"'] == 1
        assert sum(value for key, value in found.items() if key[0] == "role") == 1
        assert sum(value for key, value in found.items() if key[0] == "state") == 1
        peer = f'peer="{status["peers"][0]["node"]}"'
        assert found["peer_connected", peer] == 1
        assert found["drift_total"] == 0 and found["salvage_entries"] == 0
    assert active.metrics()["peer_acked_seq", 'peer="b"'] == pair.active.status()["seq"]


def test_drift_is_counted(served):
    pair, _, passive = served
    pair.passive.wait_for_log("the tree is guarded")
    (pair.passive.tree / "conf/a.xml").write_text("<foreign/>")
    wait_until("it is back and counted", lambda: passive.metrics()["drift_total"] == 1
               and (pair.passive.tree / "conf/a.xml").read_text() == "<a/>")
    wait_until("it is in the salvage", lambda: passive.metrics()["salvage_entries"] == 1)
    assert pair.passive.status()["drift_total"] == 1
    (pair.passive.tree / "conf/a.xml").unlink()
    wait_until("the next, too", lambda: passive.metrics()["drift_total"] == 2)


def test_probes_and_load_balancers(served):
    pair, active, passive = served
    assert [asker.code("/healthz") for asker in (active, passive)] == [200, 200]
    wait_until("both are ready", lambda: active.code("/readyz") == passive.code("/readyz") == 200)
    assert active.code("/role/active") == passive.code("/role/passive") == 200
    assert active.code("/role/passive") == passive.code("/role/active") == 503
    pair.passive.stop()
    wait_until("the reverse is not possible", lambda: active.code("/readyz") == 503)
    assert active.get("/readyz")[2].strip().splitlines() == pair.active.status()["not_ready"]
    assert active.code("/healthz") == 200
    # Nobody has confirmed to the new process that it still is the one.
    pair.active.stop()
    pair.active.start()
    status, _, text = active.get("/role/active")
    assert status == 503 and "not confirmed" in text
    pair.passive.start()
    wait_until("the peer has confirmed", lambda: active.code("/role/active") == 200)


def test_after_a_reverse_the_other_one_is_active(served):
    pair, was_active, was_passive = served
    answer = pair.active.cli("reverse", "--yes", "--json")
    assert answer.json["outcome"] == "done", repr(answer)
    wait_until("the load balancer goes there", lambda: was_passive.code("/role/active") == 200)
    assert was_active.code("/role/active") == 503 and was_active.code("/role/passive") == 200


def test_the_page_is_one_that_a_person_can_look_at(served):
    pair, active, passive = served
    for asker in (active, passive):
        status, headers, text = asker.get("/")
        assert status == 200 and headers["Content-Type"].startswith("text/html")
        assert "default-src 'none'" in headers["Content-Security-Policy"]
        page = xml.etree.ElementTree.fromstring(text.split("\n", 1)[1])
        words = " ".join(page.itertext())
        for word in ("a", "b", "in_sync", "active", "passive", pair.active.status()["digest"]):
            assert word in words
        assert not re.search(r"<script|src=|https?://(?!www\.w3\.org)", text)
    pair.passive.stop()
    wait_until("it shows what is wrong", lambda: "not connected" in active.get("/")[2]
               and "Problems" in active.get("/")[2])


@pytest.mark.short
def test_it_only_shows(served):
    _, active, _ = served
    for method in ("POST", "PUT", "DELETE", "OPTIONS", "BREW"):
        status, headers, _ = active.get("/", method)
        assert status == 405 and headers["Allow"] == "GET, HEAD"
    assert active.get("/api/v1/status", "POST", body=b"x" * 100_000)[0] == 405
    status, headers, text = active.get("/metrics", "HEAD")
    assert status == 200 and text == "" and int(headers["Content-Length"]) > 0
    for path in ("/nothing", "//", "/../etc/passwd", "/metrics/", "/%ff"):
        assert active.code(path) == 404
    assert active.get("/metrics?x=1")[0] == 200


def test_a_web_page_elsewhere_cannot_read_it(served):
    """A browser here that was sent to a name that means 127.0.0.1 says that name."""
    _, active, _ = served
    for path in PATHS:
        assert active.get(path, host="evil.example")[0] == 421
        assert active.get(path, host=f"evil.example:{active.port}")[0] == 421
        assert active.get(path, host="127.0.0.1.evil.example")[0] == 421
    for host in ("localhost", "127.0.0.2", f"127.0.0.1:{active.port}", f"LOCALHOST:{active.port}", "[::1]:1"):
        assert active.get("/healthz", host=host)[0] == 200
    # A load balancer's probe of HTTP/1.0 names nobody; a browser always does.
    with socket.create_connection(("127.0.0.1", active.port), timeout=20) as probe:
        probe.sendall(b"GET /role/active HTTP/1.0\r\n\r\n")
        assert probe.recv(100).startswith(b"HTTP/1.1 200")


@pytest.mark.short
def test_strangers_do_not_harm(served):
    """What is no HTTP, what never ends and what comes by the hundred, beside who asks properly."""
    pair, active, _ = served
    held = []
    for number in range(100):
        stranger = socket.create_connection(("127.0.0.1", active.port), timeout=20)
        stranger.sendall([b"", b"GET / HT", b"\x16\x03\x01\x02", b"GET /" + b"a" * 100_000][number % 4])
        held.append(stranger)
    (pair.active.tree / "meanwhile").write_text("x")
    pair.converge()
    for stranger in held:
        stranger.close()
    wait_until("it answers again", lambda: active.code("/healthz") == 200)
    for garbage in (b"GET / HTTP/9.9\r\n\r\n", b"GET\r\n\r\n", b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
                    b"GET / HTTP/1.1\r\n" + b"x: y\r\n" * 10_000 + b"\r\n", os.urandom(5000)):
        with socket.create_connection(("127.0.0.1", active.port), timeout=20) as stranger:
            try:
                stranger.sendall(garbage)
                stranger.shutdown(socket.SHUT_WR)
                while stranger.recv(65536):
                    pass
            except OSError:
                pass
    assert active.code("/healthz") == 200


def _ask_without_end(port, over):
    """Requests on one connection, one behind the other, and never an answer waited for."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as asker:
        def read():
            while asker.recv(1 << 20):
                pass
        reader = threading.Thread(target=read)
        reader.start()
        while not over.is_set():
            asker.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n" * 100)
        asker.shutdown(socket.SHUT_RDWR)
        reader.join()


def test_who_asks_without_end_does_not_hold_the_agent(served):
    pair, active, _ = served
    over = threading.Event()
    askers = [threading.Thread(target=_ask_without_end, args=(active.port, over)) for _ in range(8)]
    def descriptors():
        return len(os.listdir(f"/proc/{pair.active.pid}/fd"))
    before = descriptors()
    try:
        for asker in askers:
            asker.start()
        wait_until("they are there", lambda: descriptors() >= before + 8)
        (pair.active.tree / "meanwhile").write_text("x")
        assert pair.active.status()
        wait_until("it is replicated", lambda: (pair.passive.tree / "meanwhile").exists())
    finally:
        over.set()
        for asker in askers:
            asker.join()


@pytest.mark.parametrize("body", [b"0" * 40_000, b"5;" + b"x" * 40_000], ids=["size", "extension"])
def test_a_request_that_fills_its_buffer_does_not_hold_the_agent(served, body):
    """The library always has something to do then, until the connection's time is over: the agent answers
    others before that. A machine that stands still for so long proves nothing, so it is tried again."""
    pair, active, _ = served

    def answers_before_it_ends():
        with socket.create_connection(("127.0.0.1", active.port), timeout=20) as stranger:
            stranger.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\n"
                             b"Transfer-Encoding: chunked\r\n\r\n")
            assert stranger.recv(1000).startswith(b"HTTP/1.1 100")
            stranger.sendall(body)
            assert pair.active.status() and active.code("/healthz") == 200 and pair.active.status()
            stranger.setblocking(False)
            try:
                stranger.recv(1)
                return False
            except BlockingIOError:
                return True
            except ConnectionResetError:
                return False
    assert any(answers_before_it_ends() for _ in range(3)), "nobody was answered while it lasted"


def test_a_connection_that_says_nothing_does_not_hold_the_agent(served):
    pair, active, _ = served
    with socket.create_connection(("127.0.0.1", active.port), timeout=20) as silent:
        silent.sendall(b"GET / HTTP/1.1\r\n")
        pair.active.stop()
        assert silent.recv(100) == b""


def test_an_address_in_use_keeps_nobody_from_replicating(make_pair):
    pair = make_pair()
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        pair.active.configure(http={"listen": f"127.0.0.1:{port}"})
        assert "http.listen" in pair.active.cli("check").text
        pair.start()
        (pair.active.tree / "file").write_text("x")
        pair.converge()
        told = pair.active.wait_for("it is told", lambda s: "http:" in problem_text(s))
        assert "in use" in problem_text(told)
    wait_until("it is served as soon as the address is free", lambda: _answers(port), 60)
    pair.active.wait_for("all is well", lambda s: "http:" not in problem_text(s))


def _answers(port):
    try:
        return Asker(None, port).code("/healthz") == 200
    except OSError:
        return False


def test_it_is_asked_why_when_no_descriptor_is_left(served):
    pair, active, _ = served
    pid = pair.active.pid
    before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    def tells():
        processes.starve_of_files(pid)
        (pair.active.tree / "one").write_bytes(os.urandom(100))
        return "Too many open files" in active.get("/")[2]
    try:
        trees.make_many(pair.active.tree / "many", 20, 100_000)
        wait_until("the page says it", tells, 60)
    finally:
        resource.prlimit(pid, resource.RLIMIT_NOFILE, before)
    pair.converge()


def test_the_alerts_of_the_manual_are_about_what_there_is():
    top = Path(__file__).parents[2]
    there = (top / "agent/ops/metrics.c").read_text()
    names = set(re.findall(r"artifact_sync_([a-z_]+)", (top / "docs/OPERATIONS.md").read_text()))
    assert len(names) > 5 and not [name for name in names if f'"{name}"' not in there]
