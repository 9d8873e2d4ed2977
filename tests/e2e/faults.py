"""Faults at the agent's own durable calls, and what a batch with everything in it looks like.
docs/TESTING.md says how the agent is told."""

import json
import os
import shutil
import sqlite3

import harness
import trees
from waiting import wait_until

KILL = "kill"


def are_built_in():
    options = harness.BUILD / "meson-info" / "intro-buildoptions.json"
    if not options.exists():
        return False
    return any(each["name"] == "faults" and each["value"] for each in json.loads(options.read_text()))


class Order:
    """Faults for an agent, before it starts or while it runs: it looks at this file at each durable
    call. What is withdrawn hits no call that begins later."""

    def __init__(self, node):
        self.path = node.home / "fault"
        self.environment = {"ARTIFACT_SYNC_FAULT_FILE": str(self.path)}

    def give(self, nth, what, times=1):
        beside = self.path.with_suffix(".new")
        beside.write_text(f"{nth}:{what}:{times}\n")
        os.replace(beside, self.path)

    def withdraw(self):
        beside = self.path.with_suffix(".new")
        beside.write_text("none\n")
        os.replace(beside, self.path)


def hits(node, since):
    """The durable calls that were hit, as the agent tells them."""
    return [line for line in node.log(since).splitlines() if line.startswith("fault: ")]


def begin(top):
    """What change() changes."""
    (top / "kept").mkdir()
    for name in ("replaced", "deleted", "to-link", "to-directory", "mode", "local", "kept/one"):
        (top / name).write_bytes(name.encode() * 50)
    trees.write_random(top / "large", 300_000, seed=1)
    for number in range(3):
        directory = top / "old-name" / f"d{number}"
        directory.mkdir(parents=True)
        (directory / "file").write_bytes(f"moved {number}".encode() * 100)
    (top / "to-file").mkdir()
    (top / "to-file" / "within").write_bytes(b"within")
    (top / "link").symlink_to("nowhere")
    (top / "to-remove" / "deep").mkdir(parents=True)
    (top / "to-remove" / "deep" / "file").write_bytes(b"goes")


def change(top, number):
    """Of everything something, and another time back again. Contents are unique to the number."""
    shutil.rmtree(top / "again", ignore_errors=True)
    tag = f"version {number} ".encode()
    (top / "replaced").write_bytes(tag * 40)
    (top / "local").write_bytes(tag * 30)
    with open(top / "large", "r+b") as file:
        file.seek(number * 1000 % 250_000)
        file.write(tag * 100)
    (top / f"new-{number}").write_bytes(tag)
    (top / f"new-{number - 1}").unlink(missing_ok=True)
    trees.write_random(top / "new-large", 150_000, seed=number)
    names = ("old-name", "new-name")
    os.rename(top / names[(number + 1) % 2], top / names[number % 2])
    (top / "link").unlink()
    (top / "link").symlink_to(f"target-{number}")
    (top / "mode").chmod(0o600 + number % 64)
    os.setxattr(top / "mode", "user.number", tag)
    turn(top / "to-file", tag, number)
    turn(top / "to-directory", tag, number + 1)
    link_or_file(top / "to-link", tag, number)
    (top / "again" / "a" / "b").mkdir(parents=True)
    (top / "again" / "a" / "b" / "c").write_bytes(tag)
    shutil.rmtree(top / "to-remove", ignore_errors=True)
    if number % 2:
        (top / "to-remove" / "deep").mkdir(parents=True)
        (top / "to-remove" / "deep" / "file").write_bytes(tag)


def turn(path, tag, number):
    """A directory with something in it, or a file."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()
    if number % 2:
        path.mkdir()
        (path / "within").write_bytes(tag)
    else:
        path.write_bytes(tag)


def link_or_file(path, tag, number):
    path.unlink()
    if number % 2:
        path.symlink_to("elsewhere")
    else:
        path.write_bytes(tag)


def _bare(entry):
    """A directory's times are put in order at the end of each batch; what counts is that it is there."""
    return entry[:2] if entry and entry[0] == "directory" else entry


def assert_old_or_new(top, old, new):
    """No path is anything but what it was or what it shall be."""
    now = trees.snapshot(top)
    for path in now.keys() | old.keys() | new.keys():
        have = _bare(now.get(path))
        assert have in (_bare(old.get(path)), _bare(new.get(path))), \
            f"{path!r} is neither:\n now {have}\n old {_bare(old.get(path))}\n new {_bare(new.get(path))}"


def assert_index_is_tree(node, but):
    """What the database says is installed is what stands in the tree: a batch is in both or in neither.

    @param but  a path that somebody wrote to without the agent
    """
    database = sqlite3.connect(f"file:{node.state / 'state.db'}?mode=ro", uri=True)

    def indexed_rows():
        return database.execute("SELECT path,kind,size,hash,target FROM records WHERE kind<>4").fetchall()

    def between_batches():
        """The guard of drift may be saving what was written without the agent: that is a batch, too."""
        rows = indexed_rows()
        try:
            there = trees.snapshot(node.tree)
        except FileNotFoundError:
            return None
        quiet = database.execute("SELECT count(*) FROM journal").fetchone() == (0,)
        return (rows, there) if quiet and rows == indexed_rows() else None

    try:
        rows, there = wait_until("no batch is open", between_batches)
    finally:
        database.close()
    indexed = {}
    for path, kind, size, digest, target in rows:
        name = path or b"."
        indexed[name] = {1: ("file", size, digest), 2: ("directory", None, None),
                         3: ("link", None, target)}[kind]
    found = {path: (entry[0], entry[3], entry[4]) for path, entry in there.items()}
    for each in (indexed, found):
        each.pop(but, None)
    assert indexed == found, "index and tree differ:\n" + trees.describe_difference(indexed, found)


