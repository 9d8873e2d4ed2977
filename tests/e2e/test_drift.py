"""A passive node is read-only: what somebody else changes in its tree is put back, and what that one
wrote is in the salvage."""

import os
import random
import shutil
import signal
import time

import pytest

import processes
import trees
from harness import problem_text
from waiting import wait_until

CONTENT = {"conf/a.xml": b"<a>replicated</a>", "conf/b.xml": b"<b>replicated too</b>",
           "deep/er/still/c": b"in the depth", "deep/er/d": b"above it", "deep/twin": b"in the depth",
           "data": bytes(range(256)) * 600}


def fill(pair):
    for path, content in CONTENT.items():
        place = pair.active.tree / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)
    (pair.active.tree / "empty").mkdir()
    (pair.active.tree / "link").symlink_to("conf/a.xml")
    os.setxattr(pair.active.tree / "conf/a.xml", "user.colour", b"green")


@pytest.fixture
def guarded(make_pair):
    """guarded(...) makes a Pair whose passive has everything and is guarded."""
    def make(**options):
        pair = make_pair(**options)
        fill(pair)
        pair.start()
        settle(pair)
        return pair
    return make


def settle(pair):
    pair.converge()
    pair.passive.wait_for("its tree is watched", lambda s: s["watch"]["running"] and s["watch"]["watched"] > 0)
    for node in pair.nodes:
        node.wait_for_state("in_sync")


def wait_until_mended(pair, timeout=20):
    """@return after how many seconds the trees were equal again"""
    began = time.monotonic()
    wait_until("the passive's tree is the active's again",
               lambda: trees.assert_same(pair.active.tree, pair.passive.tree) is None, timeout)
    return time.monotonic() - began


def assert_mended(pair, what):
    seconds = wait_until_mended(pair)
    print(f"{what}: put back after {seconds:.3f} s")
    for node in pair.nodes:
        node.wait_for("there is no drift", lambda s: s["drift"] == 0 and s["state"] == "in_sync")
    pair.assert_tidy()
    pair.converge()


def edit(top):
    (top / "conf/a.xml").write_bytes(b"<a>edited by somebody</a>")
    return {"conf/a.xml": b"<a>edited by somebody</a>"}


def edit_without_a_trace_in_size_and_mtime(top):
    before = (top / "conf/a.xml").stat()
    (top / "conf/a.xml").write_bytes(b"<a>replicatID</a>")
    os.utime(top / "conf/a.xml", ns=(before.st_atime_ns, before.st_mtime_ns))
    return {"conf/a.xml": b"<a>replicatID</a>"}


def append(top):
    with open(top / "data", "ab") as file:
        file.write(b"more")
    return {"data": CONTENT["data"] + b"more"}


def replace(top):
    place = top / ".." / "new"
    place.write_bytes(b"<a>renamed over it</a>")
    os.replace(place, top / "conf/a.xml")
    return {"conf/a.xml": b"<a>renamed over it</a>"}


def delete(top):
    (top / "conf/b.xml").unlink()
    return {}


def delete_one_of_twins(top):
    (top / "deep/twin").unlink()
    return {}


def change_mode(top):
    (top / "conf/a.xml").chmod(0o600)
    return {}


def change_mode_of_a_directory(top):
    (top / "deep/er").chmod(0o711)
    return {}


def change_mtime(top):
    os.utime(top / "conf/a.xml", (1, 1))
    return {}


def change_attribute(top):
    os.setxattr(top / "conf/a.xml", "user.colour", b"red")
    return {}


def remove_attribute(top):
    os.removexattr(top / "conf/a.xml", "user.colour")
    return {}


def add_attribute_to_a_directory(top):
    os.setxattr(top / "deep", "user.colour", b"red")
    return {}


def by_a_link(top):
    (top / "conf/a.xml").unlink()
    (top / "conf/a.xml").symlink_to("/etc/hostname")
    return {}


def by_a_directory(top):
    (top / "conf/a.xml").unlink()
    (top / "conf/a.xml").mkdir()
    (top / "conf/a.xml/inside").write_bytes(b"foreign inside")
    return {"conf/a.xml/inside": b"foreign inside"}


def by_a_hard_link(top):
    (top / "conf/a.xml").unlink()
    os.link(top / "conf/b.xml", top / "conf/a.xml")
    return {"conf/a.xml": CONTENT["conf/b.xml"]}


def directory_by_a_file(top):
    shutil.rmtree(top / "deep/er")
    (top / "deep/er").write_bytes(b"a foreign file")
    return {"deep/er": b"a foreign file"}


def directory_by_a_link(top):
    shutil.rmtree(top / "deep/er")
    (top / "deep/er").symlink_to("/etc")
    return {}


def remove_a_directory(top):
    shutil.rmtree(top / "deep")
    return {}


def rename_a_directory(top):
    (top / "deep").rename(top / "elsewhere")
    return {}


def rename_a_file(top):
    (top / "data").rename(top / "data.bak")
    return {"data.bak": CONTENT["data"]}


def new_file(top):
    (top / "conf/foreign.xml").write_bytes(b"nobody replicated it")
    return {"conf/foreign.xml": b"nobody replicated it"}


def new_directories(top):
    (top / "conf/x/y").mkdir(parents=True)
    (top / "conf/x/y/z").write_bytes(b"foreign z")
    (top / "conf/x/w").write_bytes(b"foreign w")
    (top / "conf/none").mkdir()
    return {"conf/x/y/z": b"foreign z", "conf/x/w": b"foreign w"}


def new_link(top):
    (top / "conf/foreign").symlink_to("nowhere")
    return {}


def change_a_link(top):
    (top / "link").unlink()
    (top / "link").symlink_to("conf/b.xml")
    return {}


CHANGES = [edit, edit_without_a_trace_in_size_and_mtime, append, replace, delete, delete_one_of_twins,
           change_mode, change_mode_of_a_directory, change_mtime, change_attribute, remove_attribute,
           add_attribute_to_a_directory, by_a_link, by_a_directory, by_a_hard_link, directory_by_a_file,
           directory_by_a_link, remove_a_directory, rename_a_directory, rename_a_file, new_file,
           new_directories, new_link, change_a_link]


def saved(node):
    """{path: bytes} of every file in the salvage."""
    found = {}
    for entry in node.salvaged():
        shown = node.cli("salvage", "show", str(entry["id"]), "--json")
        place = shown.json["location"]
        for directory, _, names in os.walk(place):
            for name in names:
                full = os.path.join(directory, name)
                path = os.path.join(entry["path"], os.path.relpath(full, place))
                if os.path.isfile(full) and not os.path.islink(full):
                    found.setdefault(path, []).append(open(full, "rb").read())
        if os.path.isfile(place) and not os.path.islink(place):
            found.setdefault(entry["path"], []).append(open(place, "rb").read())
    return found


def assert_saved(node, foreign):
    kept = saved(node)
    for path, content in foreign.items():
        assert content in kept.get(path, []), f"{path} is not in the salvage: {sorted(kept)}"


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_it_is_put_back(guarded, change):
    pair = guarded()
    foreign = change(pair.passive.tree)
    assert_mended(pair, change.__name__)
    assert_saved(pair.passive, foreign)
    assert pair.active.status()["salvage"] == 0
