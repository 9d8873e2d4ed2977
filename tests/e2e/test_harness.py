"""The test tools themselves: a comparison that cannot fail would prove nothing."""

import os
import socket
import subprocess
import time

import pytest

import netpair
import processes
import reads
import sample
import trees
from proxy import Proxy
from waiting import wait_until

pytestmark = [pytest.mark.harness, pytest.mark.short]


@pytest.fixture
def twins(home):
    """Two equal trees."""
    for side in ("left", "right"):
        top = home / side
        (top / "d").mkdir(parents=True)
        (top / "d" / "file").write_bytes(b"content")
        (top / "link").symlink_to("d/file")
        for path in (top / "d" / "file", top / "link", top / "d", top):
            os.utime(path, ns=(10**18, 10**18), follow_symlinks=False)
    return home / "left", home / "right"


def test_equal_trees_are_equal(twins):
    trees.assert_same(*twins)


def _content(top):
    (top / "d" / "file").write_bytes(b"c0ntent")
    os.utime(top / "d" / "file", ns=(10**18, 10**18))


def _mode(top):
    (top / "d" / "file").chmod(0o600)


def _nanosecond(top):
    os.utime(top / "d" / "file", ns=(10**18, 10**18 + 1))


def _target(top):
    (top / "link").unlink()
    (top / "link").symlink_to("elsewhere")
    os.utime(top / "link", ns=(10**18, 10**18), follow_symlinks=False)
    os.utime(top, ns=(10**18, 10**18))


def _extra(top):
    (top / "extra").mkdir()
    os.utime(top, ns=(10**18, 10**18))


def _attribute(top):
    os.setxattr(top / "d" / "file", "user.note", b"1")


@pytest.mark.parametrize("change", [_content, _mode, _nanosecond, _target, _extra, _attribute])
@pytest.mark.parametrize("side", [0, 1])
def test_every_difference_is_found(twins, change, side):
    change(twins[side])
    with pytest.raises(AssertionError):
        trees.assert_same(*twins)


def test_our_own_directory_is_left_out(twins):
    (twins[0] / ".artifact-sync" / "stage").mkdir(parents=True)
    for top in twins:
        os.utime(top, ns=(10**18, 10**18))
    trees.assert_same(*twins)


def test_the_made_up_releases_differ_as_real_ones_do(home):
    first, second = sample.contents(1), sample.contents(2)
    assert len(second.keys() - first.keys()) == 8 and not first.keys() - second.keys()
    assert sum(first[path] != second[path] for path in first) >= 60
    sample.write(home / "tree", 1)
    (home / "tree" / "left-over").mkdir()
    (home / "tree" / "left-over" / "file").write_bytes(b"x")
    sample.write(home / "tree", 2)
    assert trees.read_files(home / "tree") == second
    assert sample.contents(2) == second


def test_the_changer_repeats_itself(home, seed):
    for name in ("one", "two"):
        (home / name).mkdir()
        changer = trees.Changer(home / name, seed)
        for _ in range(300):
            changer.step()
    assert trees.read_files(home / "one") == trees.read_files(home / "two")


def test_reads_are_seen(home):
    (home / "read").write_bytes(b"1")
    (home / "left").write_bytes(b"2")
    with reads.ReadWatch(home) as watch:
        os.listdir(home)
        os.stat(home / "left")
        assert watch.files() == set()
        (home / "read").read_bytes()
        assert watch.files() == {os.fsencode(home / "read")}


def test_a_proxy_counts_freezes_and_cuts():
    with socket.create_server(("127.0.0.1", 0)) as server:
        proxy = Proxy(server.getsockname()[1])
        client = socket.create_connection(("127.0.0.1", proxy.port))
        served, _ = server.accept()
        client.sendall(b"12345")
        assert served.recv(5) == b"12345"
        wait_until("the proxy has counted", lambda: proxy.bytes == 5)
        proxy.freeze()
        client.sendall(b"6")
        served.settimeout(0.3)
        with pytest.raises(TimeoutError):
            served.recv(1)
        proxy.restore()
        served.settimeout(5)
        assert served.recv(1) == b"6"
        proxy.cut()
        assert served.recv(1) == b""
        proxy.close()


def test_a_proxy_delays():
    with socket.create_server(("127.0.0.1", 0)) as server:
        proxy = Proxy(server.getsockname()[1], delay=0.05)
        client = socket.create_connection(("127.0.0.1", proxy.port))
        served, _ = server.accept()
        took = []
        for _ in range(5):  # whoever is held up is so now and then, and the proxy every time
            start = time.monotonic()
            client.sendall(b"there")
            assert served.recv(5) == b"there"
            served.sendall(b"and back")
            assert client.recv(8) == b"and back"
            took.append(time.monotonic() - start)
        assert 0.1 <= min(took) < 1.0
        client.close()
        assert served.recv(1) == b""
        proxy.close()


def test_a_wire_counts_and_can_be_pulled(net):
    def send(count):
        return subprocess.run(net.command(
            0, "python3", "-c", "import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM);"
            f"[s.sendto(bytes(1000), ('{net.addresses[1]}', 9)) for _ in range({count})]")).returncode == 0

    def is_known():
        told = subprocess.run(net.command(0, "ip", "neigh", "show", net.addresses[1]), capture_output=True, text=True)
        return send(1) and "lladdr" in told.stdout
    # Of what is sent before its address is known, the kernel keeps only some.
    wait_until("the other end is known", is_known)
    before = net.bytes()
    assert send(100)
    assert 100_000 < net.bytes() - before < 200_000
    net.cut()
    net.restore()


def test_a_wait_ends_at_its_deadline():
    with pytest.raises(AssertionError, match="still waiting until pigs fly"):
        wait_until("pigs fly", lambda: False, timeout=0.05)


def test_memory_of_ourselves():
    values = processes.memory(os.getpid())
    assert 0 < values["VmRSS"] <= values["VmHWM"]
    assert processes.memory(2**22 - 1) == {}


def test_why_namespaces_are_unavailable_is_said():
    reason = netpair.why_unavailable()
    assert reason is None or reason
