"""Races on the passive's tree: somebody with the right to rename there swaps directories for links that
lead outside, moves parents away and back, and puts FIFOs in the place of files, as fast as it can, while
batches are being published. Nothing outside is ever written, nothing hangs, and when it ends both trees
are equal again."""

import json
import os
import random
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

import trees
from waiting import SCALE, wait_until

DIRECTORIES = ("swapped", "away", "files", "decoyed", "deep/down")
FILES = 12
SECONDS = float(os.environ.get("ARTIFACT_SYNC_RACE_SECONDS", "8"))


def look(directory):
    """Everything that a write would change."""
    found = {}
    for path in [directory, *sorted(directory.rglob("*"))]:
        info = path.lstat()
        content = path.read_bytes() if stat.S_ISREG(info.st_mode) else None
        found[str(path)] = (info.st_mode, info.st_ino, info.st_mtime_ns, info.st_ctime_ns, info.st_nlink,
                            content)
    return found


def prepare(home):
    """What is swapped in, and where the links lead: the same names as in the tree."""
    canary, outside = Path(home) / "canary", Path(home) / "outside"
    for directory in (canary, outside, outside / "decoy"):
        directory.mkdir()
    for number in range(FILES):
        (canary / f"file{number}").write_text("must not be touched")
        (outside / "decoy" / f"file{number}").write_text(f"the racer's own {number}")
    (outside / "decoy" / "mine").write_text("the racer's own")
    (outside / "link").symlink_to(canary)
    (outside / "link2").symlink_to(canary)
    os.mkfifo(outside / "fifo")
    return canary, outside


def change(tree, chance):
    """One write of an active: files rewritten, removed, made again."""
    directory = tree / chance.choice(DIRECTORIES)
    path = directory / f"file{chance.randrange(FILES)}"
    what = chance.random()
    if what < 0.15 and path.exists():
        path.unlink()
    elif what < 0.25:
        os.utime(directory)
    else:
        path.write_bytes(chance.randbytes(chance.choice([10, 3000, 100000])))


@pytest.mark.short
def test_swapped_names_lead_nothing_outside(pair, home, seed):
    chance = random.Random(seed)
    active, passive = pair.nodes
    for name in DIRECTORIES:
        (active.tree / name).mkdir(parents=True)
        for number in range(FILES):
            (active.tree / name / f"file{number}").write_bytes(chance.randbytes(100))
    pair.converge()
    canary, outside = prepare(home)
    before = look(canary)
    racer = subprocess.Popen([sys.executable, str(Path(__file__).with_name("racer.py")), str(passive.tree),
                              str(outside)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert racer.stdout.readline() == b"racing\n"
        end = time.monotonic() + SECONDS * SCALE
        written = 0
        while time.monotonic() < end:
            change(active.tree, chance)
            written += 1
            if written % 40 == 0:
                assert look(canary) == before
                assert passive.status(), passive.log_tail()
    finally:
        try:
            told, _ = racer.communicate(timeout=30 * SCALE)
        finally:
            racer.kill()
    times = json.loads(told)
    assert all(count > 100 for count in times.values()), f"the races did not take place: {times}"
    assert look(canary) == before

    # Each path once more, so that whatever was refused meanwhile is offered again.
    for name in DIRECTORIES:
        for number in range(FILES):
            (active.tree / name / f"file{number}").write_bytes(chance.randbytes(200))
    wait_until("both trees are equal", lambda: pair.converge() or True, 180, step=0.5)
    assert look(canary) == before

    # What the racer brought is where it was, or in the salvage.
    kept = {path.read_bytes() for path in (outside / "decoy").rglob("*") if path.is_file()}
    kept |= {path.read_bytes() for path in (passive.tree / ".artifact-sync" / "salvage").rglob("*")
             if path.is_file() and not path.is_symlink()}
    kept |= {path.read_bytes() for path in (passive.tree / "decoyed").rglob("*") if path.is_file()}
    for number in range(FILES):
        assert f"the racer's own {number}".encode() in kept, number
    assert b"the racer's own" in kept
    trees.assert_same(active.tree, passive.tree)
