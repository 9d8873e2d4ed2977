"""Things that must not overtake each other on their way."""

import os

import pytest

import trees


@pytest.mark.short
def test_a_large_file_does_not_overtake_the_deletions_it_waits_for(pair, seed):
    """A directory is renamed and a file takes its name. What was in it is copied on the passive before it
    is deleted there, which takes a while; the file's bytes come beside all that."""
    top = pair.active.tree
    for number in range(8):
        directory = top / f"d{number}"
        trees.make_many(directory, 40, 60_000, seed=seed + number)
        pair.wait()
        outside = pair.active.home / "outside"
        trees.write_random(outside, 200_000, seed=seed + 100 + number)
        directory.rename(top / f"moved{number}")
        os.rename(outside, directory)
        pair.converge()
        assert pair.passive.status()["salvage"] == 0, pair.passive.salvaged()
