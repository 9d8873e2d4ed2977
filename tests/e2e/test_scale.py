"""A hundred thousand files: memory, and what a restart costs."""

import pytest

import trees
from reads import ReadWatch

MIB = 1 << 20


def assert_small(pair, limit):
    for node in pair.nodes:
        agent, watchers = node.memory()
        peaks = "".join(f"; its watching child, peak {each['VmHWM'] / MIB:.0f} MiB" for each in watchers)
        print(f"{node.name}: peak {agent['VmHWM'] / MIB:.0f} MiB, now {agent['VmRSS'] / MIB:.0f} MiB{peaks}")
        assert agent["VmHWM"] < limit
        for each in watchers:
            assert each["VmHWM"] < limit


@pytest.mark.slow
def test_a_hundred_thousand_files(make_pair, seed):
    pair = make_pair()
    trees.make_many(pair.active.tree, 100_000, 2048, seed=seed)
    pair.start()
    pair.wait(300)
    assert_small(pair, 150 * MIB)
    pair.converge(60)
    pair.wait_until_calm()
    pair.stop()
    with ReadWatch(pair.active.tree) as ours, ReadWatch(pair.passive.tree) as theirs:
        pair.start()
        for node in pair.nodes:
            node.wait_for_state("in_sync", timeout=120)
        pair.wait()
        for node in pair.nodes:
            assert node.work("files_hashed") == 0
        assert ours.files() == set() and theirs.files() == set()
    assert_small(pair, 150 * MIB)


def test_ten_thousand_files_and_a_burst(make_pair, seed):
    pair = make_pair()
    trees.make_many(pair.active.tree, 10_000, 1024, per_directory=500, seed=seed)
    pair.start()
    pair.wait(120)
    for number in range(1000):
        (pair.active.tree / f"d{number % 20:04d}" / f"burst{number}").write_bytes(b"%d" % number)
    pair.converge(120)
    assert_small(pair, 100 * MIB)
    pair.assert_tidy()
