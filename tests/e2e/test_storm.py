"""Storms: see storm.py."""

import os
import shutil

import pytest

import disks
import trees
from storm import Storm

SHORT_S = 12
LONG_S = float(os.environ.get("ARTIFACT_SYNC_STORM_S", "600"))


@pytest.fixture
def made_disks(home):
    made = {}
    if not disks.why_unavailable():
        try:
            made["passive tree"] = disks.Disk(home / "disk-t", 900, "ext4")
            made["passive state"] = disks.Disk(home / "disk-s", 400)
            made["active state"] = disks.Disk(home / "disk-a", 400)
        except RuntimeError as error:
            print(f"no disks to fill: {error}")
    yield made
    for each in made.values():
        each.close()


def stormy_pair(make_pair, made_disks):
    pair = make_pair(proxied=True, init=False, settings={"ownership": "preserve", "settle_max_ms": 2000, "log": os.environ.get("STORM_LOG", "info")})
    if "active state" in made_disks:
        pair.passive.tree = made_disks["passive tree"].where / "tree"
        pair.passive.tree.mkdir()
        pair.passive.state = made_disks["passive state"].where / "state"
        pair.active.state = made_disks["active state"].where / "state"
    pair.init()
    # A floor that nobody is told to touch, so that the storm is not all there is.
    trees.make_many(pair.active.tree / "still", 200, 3000, per_directory=50)
    return pair.start()


def run_storm(pair, seed, seconds, made_disks, only=None):
    pair.converge()
    storm = Storm(pair, seed, seconds, made_disks, only=only)
    try:
        storm.run()
        storm.finish()
        storm.assert_memory_is_flat()
    finally:
        storm.writers.abandon()
        if os.environ.get("ARTIFACT_SYNC_KEEP") == "1":  # the disks go with the test
            for node in pair.nodes:
                shutil.copytree(node.state, node.home / "state.copy", ignore=lambda *_: ["control.sock"])
        for each in made_disks.values():
            each.free()
        print(storm.report())


def test_a_short_storm(make_pair, made_disks, seed):
    run_storm(stormy_pair(make_pair, made_disks), seed, SHORT_S, made_disks)


@pytest.mark.slow
def test_a_long_storm(make_pair, made_disks, seed):
    run_storm(stormy_pair(make_pair, made_disks), seed, LONG_S, made_disks)


@pytest.mark.slow
@pytest.mark.parametrize("disk", ["passive tree", "passive state", "active state"])
def test_a_disk_that_is_full_again_and_again(make_pair, made_disks, seed, disk):
    """What is refused halfway, offered again and overtaken meanwhile leaves no trace either."""
    if disk not in made_disks:
        pytest.skip("no disk to fill")
    pair = stormy_pair(make_pair, made_disks)
    run_storm(pair, seed, LONG_S / 5, {disk: made_disks[disk]}, only="fill")
