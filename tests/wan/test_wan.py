"""The emulated cable is as long as it says, loses nothing, counts, and can be cut."""
import json
import statistics
import subprocess
import sys

import pytest

import wan as wan_module
from wan import PROBE, Wan

_missing = wan_module.why_not()
pytestmark = pytest.mark.skipif(_missing is not None, reason=str(_missing))

TRANSFER = 64 << 20


@pytest.fixture
def wan():
    with Wan(delay_ms=25) as made:
        yield made


def test_a_round_trip_takes_twice_the_delay(wan):
    times = wan.a.ping(wan.b.address, 10)
    assert len(times) == 10
    assert 50 <= min(times) and statistics.median(times) < 60, times


def test_no_delay_is_no_delay():
    with Wan(delay_ms=0) as near:
        assert statistics.median(near.b.ping(near.a.address, 10)) < 10


def transfer(wan, count):
    server = wan.b.popen([sys.executable, PROBE, "serve", wan.b.address], stdout=subprocess.PIPE,
                         text=True)
    port = server.stdout.readline().strip()
    sent = json.loads(wan.a.run([sys.executable, PROBE, "send", wan.b.address, port, count],
                                check=True, capture_output=True, text=True, timeout=120).stdout)
    received = json.loads(server.communicate(timeout=60)[0])
    return sent, received


def test_tcp_passes_unchanged_and_is_counted(wan):
    sent, received = transfer(wan, TRANSFER)
    counted = wan.counters()
    rate = TRANSFER * 8 / sent["seconds"] / 1e9
    print(f"{rate:.2f} Gbit/s over {2 * wan.delay_ms} ms")
    assert received == {"bytes": TRANSFER, "sha256": sent["sha256"]}
    # Headers are 52 bytes in 1500; a few segments may be sent twice.
    assert TRANSFER * 1.02 < counted["a_to_b"] < TRANSFER * 1.2
    assert counted["b_to_a"] < TRANSFER * 0.1
    assert wan.a.counters()["tx_bytes"] >= TRANSFER
    assert sent["seconds"] > 0.05


def test_a_large_window_fills_the_cable():
    with Wan(delay_ms=25, tcp_buffer_mb=64, queue_mb=256) as wide:
        sent, received = transfer(wide, 8 * TRANSFER)
        print(f"{8 * TRANSFER * 8 / sent['seconds'] / 1e9:.2f} Gbit/s with a window of 64 MB")
        assert received["sha256"] == sent["sha256"]
        assert wide.counters()["dropped"] == 0


def test_both_kinds_of_cut_end_when_mended(wan):
    for break_it, mend_it in ((wan.cut, wan.restore), (wan.blackhole, wan.mend)):
        assert wan.a.ping(wan.b.address, 1)
        break_it()
        assert wan.a.ping(wan.b.address, 1) == []
        mend_it()
        assert len(wan.a.ping(wan.b.address, 3)) == 3


def test_the_emulator_ends_with_its_device(wan):
    subprocess.run(["ip", "-n", wan.a.name, "link", "delete", wan_module.DEVICE], check=True)
    assert wan.emulator.wait(timeout=10) == 0


def test_nothing_is_left_behind():
    with Wan() as wan:
        sleeper = wan.a.popen(["sleep", "1000"])
        names = wan.a.name, wan.b.name
    assert sleeper.wait(timeout=10) != 0
    left = subprocess.run(["ip", "netns", "list"], check=True, capture_output=True, text=True).stdout
    assert not any(name in left for name in names)
