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


def put_instead(top, path):
    """top/../new takes the place of a path, however fast that is put back in between."""
    gone = top / ".." / "gone"
    gone.mkdir()

    def done():
        if os.path.lexists(top / path):
            os.rename(top / path, gone / str(time.monotonic_ns()))
        try:
            os.rename(top / ".." / "new", top / path)
            return True
        except (IsADirectoryError, NotADirectoryError, FileExistsError):
            return False
    wait_until("it takes the place", done)


def take_away(top, path):
    """At once: what is removed bit by bit is put back meanwhile."""
    (top / path).rename(top / ".." / "gone")
    shutil.rmtree(top / ".." / "gone")


def by_a_link(top):
    (top / "../new").symlink_to("/etc/hostname")
    put_instead(top, "conf/a.xml")
    return {}


def by_a_directory(top):
    (top / "../new").mkdir()
    (top / "../new/inside").write_bytes(b"foreign inside")
    put_instead(top, "conf/a.xml")
    return {"conf/a.xml/inside": b"foreign inside"}


def by_a_hard_link(top):
    os.link(top / "conf/b.xml", top / "../new")
    put_instead(top, "conf/a.xml")
    return {"conf/a.xml": CONTENT["conf/b.xml"]}


def directory_by_a_file(top):
    (top / "../new").write_bytes(b"a foreign file")
    put_instead(top, "deep/er")
    return {"deep/er": b"a foreign file"}


def directory_by_a_link(top):
    (top / "../new").symlink_to("/etc")
    put_instead(top, "deep/er")
    return {}


def remove_a_directory(top):
    take_away(top, "deep")
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
    (top / "../new/y").mkdir(parents=True)
    (top / "../new/y/z").write_bytes(b"foreign z")
    (top / "../new/w").write_bytes(b"foreign w")
    os.rename(top / "../new", top / "conf/x")
    (top / "conf/none").mkdir()
    return {"conf/x/y/z": b"foreign z", "conf/x/w": b"foreign w"}


def new_link(top):
    (top / "conf/foreign").symlink_to("nowhere")
    return {}


def change_a_link(top):
    (top / "../new").symlink_to("conf/b.xml")
    os.replace(top / "../new", top / "link")
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
    """The name is right a moment before the salvage's catalogue is."""
    def are():
        kept = saved(node)
        for path, content in foreign.items():
            assert content in kept.get(path, []), f"{path} is not in the salvage: {sorted(kept)}"
        return True
    wait_until("the foreign contents are in the salvage", are)


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_it_is_put_back(guarded, change):
    pair = guarded()
    foreign = change(pair.passive.tree)
    assert_mended(pair, change.__name__)
    assert_saved(pair.passive, foreign)
    assert pair.active.status()["salvage"] == 0


# ---- what is none of its business ----------------------------------------------------------------

def test_files_outside_the_profile_are_not_touched(guarded):
    """Also when they come and go in a replicated directory, whose time is put back without a word."""
    pair = guarded(settings={"rules": ["- **/*.log", "- logs/**"]})
    top = pair.passive.tree
    beside = top / ".." / "beside"
    for path in ("logs/deep/own", "fresh/own.log"):
        (beside / path).parent.mkdir(parents=True)
        (beside / path).write_bytes(b"the server's own")
    (beside / "fresh" / "foreign").write_bytes(b"this one is not")
    for name in ("logs", "fresh"):  # an empty directory would be taken away at once
        os.rename(beside / name, top / name)
    (top / "conf/own.log").write_bytes(b"the server's own")
    wait_until("the foreign file is gone", lambda: not (top / "fresh/foreign").exists())
    wait_until("the time of the directory is the active's", lambda:
               (top / "conf").stat().st_mtime_ns == (pair.active.tree / "conf").stat().st_mtime_ns)
    pair.passive.wait_for_state("in_sync")
    wait_until("it is in the salvage, and nothing else", lambda:
               saved(pair.passive) == {"fresh/foreign": [b"this one is not"]})
    for path in ("conf/own.log", "logs/deep/own", "fresh/own.log"):
        assert (top / path).read_bytes() == b"the server's own"
    assert pair.passive.status()["drift"] == 0


def test_publishing_is_not_mistaken_for_drift(guarded, seed):
    pair = guarded()
    changer = trees.Changer(pair.active.tree, seed)
    for _ in range(400):
        changer.step()
    pair.converge()
    for node in pair.nodes:
        node.wait_for_state("in_sync")
    assert pair.passive.status()["salvage"] == 0
    assert "drift path=" not in pair.passive.log(), pair.passive.log_tail()


# ---- only reporting ------------------------------------------------------------------------------

def test_report_leaves_everything_and_says_so(guarded):
    pair = guarded(settings={"drift": "report"})
    top = pair.passive.tree
    edit(top)
    delete(top)
    new_file(top)
    change_mode_of_a_directory(top)
    before = trees.snapshot(top)
    wrong = {"conf/a.xml": "content changed", "conf/b.xml": "missing", "conf/foreign.xml": "nobody",
             "deep/er": "mode 0755 became 0711"}
    status = pair.passive.wait_for("four paths drift", lambda s: s["drift"] == 4)
    for path, what in wrong.items():
        assert any(path in each and what in each for each in status["problems"]), status["problems"]
    assert status["state"] != "in_sync"
    told = pair.active.wait_for("the active hears of it", lambda s: "peer-drift" in problem_text(s))
    assert told["state"] != "in_sync"
    (pair.active.tree / "still").write_bytes(b"the active goes on")
    pair.wait()
    assert (top / "still").read_bytes() == b"the active goes on"
    (top / "still").read_bytes()
    after = trees.snapshot(top)
    for path in (b"conf/a.xml", b"conf/b.xml", b"conf/foreign.xml", b"deep/er"):
        assert after.get(path) == before.get(path)
    assert saved(pair.passive) == {}


def test_what_is_reported_and_matches_again_is_forgotten(guarded):
    pair = guarded(settings={"drift": "report"})
    place = pair.passive.tree / "conf/a.xml"
    before = place.stat()
    edit(pair.passive.tree)
    new_file(pair.passive.tree)
    pair.passive.wait_for("it is reported", lambda s: s["drift"] == 2)
    place.write_bytes(CONTENT["conf/a.xml"])
    os.utime(place, ns=(before.st_atime_ns, before.st_mtime_ns))
    (pair.passive.tree / "conf/foreign.xml").unlink()
    for node in pair.nodes:
        node.wait_for("nothing is reported", lambda s: s["drift"] == 0 and s["state"] == "in_sync")


def test_what_is_reported_gives_way_to_the_next_version(guarded):
    """... and is in the salvage then."""
    pair = guarded(settings={"drift": "report"})
    foreign = edit(pair.passive.tree)
    pair.passive.wait_for("it is reported", lambda s: s["drift"] == 1)
    (pair.active.tree / "conf/a.xml").write_bytes(b"<a>the next version</a>")
    pair.wait()
    assert (pair.passive.tree / "conf/a.xml").read_bytes() == b"<a>the next version</a>"
    pair.passive.wait_for("nothing is reported", lambda s: s["drift"] == 0)
    assert_saved(pair.passive, foreign)


def test_a_reload_turns_reporting_into_putting_back(guarded):
    pair = guarded(settings={"drift": "report"})
    foreign = edit(pair.passive.tree)
    pair.passive.wait_for("it is reported", lambda s: s["drift"] == 1)
    pair.passive.configure(drift="revert")
    os.kill(pair.passive.pid, signal.SIGHUP)
    assert_mended(pair, "after the reload")
    assert_saved(pair.passive, foreign)


# ---- somebody who does not give up ---------------------------------------------------------------

def write_until_it_is_left(pair, place):
    """The active may send a record twice, and so put back what the guard has not seen: that does not
    count. @return what was written last, which is left"""
    for number in range(30):
        content = b"again %d" % number
        place.write_bytes(content)

        def became(content=content):
            status = pair.passive.status()
            if any("conf/a.xml" in each and "3 times" in each for each in status["problems"]):
                return "left"
            return status["drift"] == 0 and place.read_bytes() == CONTENT["conf/a.xml"] and "put back"
        if wait_until("it is put back or left", became) == "left":
            assert number >= 3 and place.read_bytes() == content
            return content
    raise AssertionError("it is put back for ever")


def test_no_ping_pong(guarded):
    pair = guarded()
    place = pair.passive.tree / "conf/a.xml"
    last = write_until_it_is_left(pair, place)
    status = pair.passive.status()
    assert status["drift"] == 1 and status["state"] != "in_sync"
    new_file(pair.passive.tree)
    wait_until("others are put right all the same", lambda: not (pair.passive.tree / "conf/foreign.xml").exists())
    assert place.read_bytes() == last
    assert_saved(pair.passive, {"conf/a.xml": b"again 2"})
    pair.passive.stop()
    pair.passive.start()
    assert_mended(pair, "after a restart")
    assert_saved(pair.passive, {"conf/a.xml": last})


def test_left_until_it_matches(guarded):
    pair = guarded()
    place = pair.passive.tree / "conf/a.xml"
    write_until_it_is_left(pair, place)
    mtime_ns = (pair.active.tree / "conf/a.xml").stat().st_mtime_ns
    place.write_bytes(CONTENT["conf/a.xml"])
    os.utime(place, ns=(mtime_ns, mtime_ns))
    pair.passive.wait_for("it matches", lambda s: s["drift"] == 0 and s["state"] == "in_sync")
    place.write_bytes(b"and once more")
    assert_mended(pair, "it is put back again")


# ---- both sides at once --------------------------------------------------------------------------

def test_what_cannot_be_saved_stays_where_it_is(guarded):
    pair = guarded(settings={"limits": {"salvage_bytes": 1000}})
    place = pair.passive.tree / "added"
    content = b"somebody's " * 200
    outside = pair.passive.home / "outside"
    outside.write_bytes(content)
    os.rename(outside, place)  # empty, as it is before it is written, it would have found room
    before = place.stat().st_ctime_ns
    pair.passive.wait_for("it is named", lambda s: "the salvage is full" in problem_text(s))
    assert place.stat().st_ctime_ns == before, "it was moved away and back"
    pair.passive.configure(limits={"salvage_bytes": 0})
    os.kill(pair.passive.pid, signal.SIGHUP)
    assert_mended(pair, "added")
    assert_saved(pair.passive, {"added": content})


def some_files(top):
    found = []
    for directory, below, names in os.walk(top):
        below[:] = [name for name in below if name != ".artifact-sync"]
        found += [os.path.join(directory, name) for name in names]
    return sorted(found)


class Intruder:
    """Writes into a passive's tree, so that no content of his is lost by his own doing: each comes by a
    rename from outside, and no name is used twice."""

    def __init__(self, node, seed):
        self.node, self.chooser, self.number = node, random.Random(seed), 0
        self.contents, self.used = set(), set()

    def step(self):
        files = [path for path in some_files(self.node.tree) if path not in self.used]
        if not files:
            return
        if self.chooser.random() < 0.2:
            self._try(os.unlink, self.chooser.choice(files))
            return
        self.number += 1
        outside = self.node.home / "outside"
        content = b"foreign %d" % self.number
        outside.write_bytes(content)
        target = self.chooser.choice(files)
        if self.chooser.random() < 0.4:
            target = os.path.join(os.path.dirname(target), f"foreign-{self.number}")
        self.used.add(target)
        if self._try(os.rename, outside, target):
            self.contents.add(content)

    @staticmethod
    def _try(action, *arguments):
        try:
            action(*arguments)
            return True
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            return False

    def assert_nothing_lost(self):
        def kept():
            found = {content for contents in saved(self.node).values() for content in contents}
            lost = self.contents - found
            assert not lost, f"{len(lost)} of {len(self.contents)} are lost: {sorted(lost)[:5]}"
            return True
        wait_until("the foreign contents are in the salvage", kept)


@pytest.mark.short
def test_a_storm_on_both_sides(guarded, seed):
    pair = guarded()
    chooser = random.Random(seed)
    changer = trees.Changer(pair.active.tree, seed)
    trees.make_many(pair.active.tree / "more", 200, 100, per_directory=50, seed=seed)
    pair.converge()
    intruder = Intruder(pair.passive, seed)
    for _ in range(150):
        for _ in range(chooser.choice((1, 3, 8))):
            changer.step()
        intruder.step()
    pair.wait(120)
    print(f"{len(intruder.contents)} foreign contents, calm after {wait_until_mended(pair, 90):.3f} s")
    for node in pair.nodes:
        node.wait_for_state("in_sync", timeout=60)
    pair.assert_tidy()
    intruder.assert_nothing_lost()
    pair.assert_verified("--deep")


# ---- down, killed, unwatched, alone --------------------------------------------------------------

@pytest.mark.short
def test_what_happened_while_it_was_down(guarded):
    pair = guarded()
    pair.passive.stop()
    foreign = {}
    for change in (edit, delete, new_directories, change_mode_of_a_directory, rename_a_file, change_a_link):
        foreign.update(change(pair.passive.tree))
    (pair.active.tree / "meanwhile").write_bytes(b"1")
    pair.passive.start()
    assert_mended(pair, "after the start")
    assert_saved(pair.passive, foreign)


@pytest.mark.short
def test_killed_while_it_mends(guarded, seed):
    """Wherever it dies: in the end the tree is the active's, and what was foreign is saved."""
    pair = guarded()
    chooser = random.Random(seed)
    many = pair.active.tree / "many"
    many.mkdir()
    for number in range(110):  # no name is used twice: enough for all rounds
        (many / f"f{number:03d}").write_bytes(b"replicated %d" % number)
    pair.converge()
    intruder = Intruder(pair.passive, seed)
    for _ in range(10):
        before = len(some_files(pair.passive.tree / ".artifact-sync" / "salvage"))
        for _ in range(12):
            intruder.step()
        how = chooser.randrange(3)
        wait_until("it is at it", lambda: how == 0 or pair.passive.staged() or len(
            some_files(pair.passive.tree / ".artifact-sync" / "salvage")) > before, step=0.001)
        pair.passive.kill()
        pair.passive.start()
        pair.passive.wait_for("it is guarded", lambda s: s["watch"]["running"], 60)
    wait_until_mended(pair, 90)
    for node in pair.nodes:
        node.wait_for_state("in_sync", timeout=60)
    pair.assert_tidy()
    intruder.assert_nothing_lost()
    pair.assert_verified("--deep")


def test_a_watching_child_that_dies(guarded):
    pair = guarded()
    children = processes.watchers(pair.passive.pid)
    assert children
    for child in children:
        os.kill(child, signal.SIGSTOP)
    foreign = {**edit(pair.passive.tree), **new_file(pair.passive.tree)}
    for child in children:
        os.kill(child, signal.SIGKILL)
    assert_mended(pair, "after the death of the watching child")
    assert_saved(pair.passive, foreign)
    assert pair.passive.status()["watch"]["restarts"] == 1


def test_events_that_are_lost(guarded):
    """The kernel's queue overflows while the watching child stands still: a scan finds all."""
    pair = guarded()
    children = processes.watchers(pair.passive.pid)
    for child in children:
        os.kill(child, signal.SIGSTOP)
    places = [pair.passive.tree / path for path in ("conf/a.xml", "conf/b.xml")]
    limit = int(open("/proc/sys/fs/inotify/max_queued_events").read())
    for number in range(limit + 1000):
        os.utime(places[number % 2], (number, number))
    foreign = {**append(pair.passive.tree), **new_directories(pair.passive.tree)}
    rename_a_directory(pair.passive.tree)
    for child in children:
        os.kill(child, signal.SIGCONT)
    assert_mended(pair, "after the overflow")
    assert_saved(pair.passive, foreign)
    # The count comes by itself, and may come after what the scan has found.
    pair.passive.wait_for("the overflow is counted", lambda s: s["watch"]["overflows"] > 0)
    wait_until("it is told", lambda: "event=overflow" in pair.passive.cli("events", "--all").out)


@pytest.mark.short
def test_link_down(make_pair):
    """What can be had here is put back at once, the rest is reported and put back when it can be had."""
    pair = make_pair(proxied=True)
    fill(pair)
    pair.start()
    settle(pair)
    pair.cut()
    pair.passive.wait_for_state("disconnected")
    top = pair.passive.tree
    foreign = edit(top)
    delete_one_of_twins(top)
    change_mode(top)
    change_a_link(top)
    (top / "empty").rmdir()
    new = new_file(top)
    wait_until("what can be had here is put right", lambda:
               (top / "deep/twin").exists() and (top / "empty").is_dir() and
               os.readlink(top / "link") == "conf/a.xml" and not (top / "conf/foreign.xml").exists())
    assert (top / "deep/twin").read_bytes() == CONTENT["deep/twin"]
    status = pair.passive.wait_for("the rest is reported", lambda s: s["drift"] == 1 and
                                   "conf/a.xml" in problem_text(s))
    assert any("conf/a.xml" in each and "waits for the active" in each for each in status["problems"])
    pair.restore()
    assert_mended(pair, "when the link is back")
    assert_saved(pair.passive, {**foreign, **new})


def test_link_down_and_the_bytes_in_the_history(make_pair):
    """A version that came back: it was kept when it was replaced."""
    pair = make_pair(proxied=True)
    fill(pair)
    pair.start()
    settle(pair)
    for content in (b"<a>another</a>", CONTENT["conf/a.xml"]):
        (pair.active.tree / "conf/a.xml").write_bytes(content)
        pair.converge()
        pair.passive.wait_for_state("in_sync")
    pair.cut()
    pair.passive.wait_for_state("disconnected")
    foreign = edit(pair.passive.tree)
    wait_until("it is put back", lambda:
               (pair.passive.tree / "conf/a.xml").read_bytes() == CONTENT["conf/a.xml"])
    assert_saved(pair.passive, foreign)


def test_a_start_without_a_link(make_pair):
    """A node that nobody speaks to guards what it has, after a while."""
    pair = make_pair()
    fill(pair)
    pair.start()
    settle(pair)
    for node in pair.nodes:
        node.stop()
    delete_one_of_twins(pair.passive.tree)
    pair.passive.start()
    new = new_file(pair.passive.tree)
    wait_until("it is put back", lambda: (pair.passive.tree / "deep/twin").exists(), 60)
    assert (pair.passive.tree / "conf/foreign.xml").exists(), "by whose rules?"
    pair.active.start()
    assert_mended(pair, "when the active is there")
    assert_saved(pair.passive, new)


def test_other_rules_than_the_active_s(guarded):
    """Rules that only the passive has make none of its own files a foreign one."""
    pair = guarded(settings={"rules": ["- local/**"]})
    (pair.passive.tree / "local").mkdir()
    (pair.passive.tree / "local" / "own").write_bytes(b"its own")
    pair.passive.stop()
    pair.passive.configure(rules=[])
    foreign = edit(pair.passive.tree)
    pair.passive.start()
    wait_until("what is replicated is put back", lambda:
               (pair.passive.tree / "conf/a.xml").read_bytes() == CONTENT["conf/a.xml"])
    assert (pair.passive.tree / "local" / "own").read_bytes() == b"its own"
    assert_saved(pair.passive, foreign)


def test_a_large_tree_removed(guarded):
    """More paths than are asked for at a time, each with bytes of its own."""
    pair = guarded()
    trees.make_many(pair.active.tree / "many", 1500, 900, per_directory=300)
    pair.converge()
    take_away(pair.passive.tree, "many")
    seconds = wait_until_mended(pair, 180)
    print(f"1500 files put back after {seconds:.3f} s")
    for node in pair.nodes:
        node.wait_for_state("in_sync", timeout=60)
    assert pair.passive.status()["drift"] == 0


def test_adoption_is_not_drift(make_pair):
    """What stands in the tree before the first sync goes by the rules of adoption, and then it is guarded."""
    pair = make_pair(init=False)
    fill(pair)
    (pair.passive.tree / "conf").mkdir()
    (pair.passive.tree / "conf/a.xml").write_bytes(b"older")
    (pair.passive.tree / "local").write_bytes(b"local")
    pair.init(adopt=True)
    pair.start()
    settle(pair)
    assert {entry["why"] for entry in pair.passive.salvaged()} == {"adopt"}
    foreign = edit(pair.passive.tree)
    assert_mended(pair, "after adoption")
    assert_saved(pair.passive, {**foreign, "local": b"local"})
    assert {entry["why"] for entry in pair.passive.salvaged()} == {"adopt", "drift"}


def test_the_hook_is_told(guarded, home):
    """Also of a path whose bytes had to come from the active."""
    told = home / "told"
    hook = home / "hook"
    hook.write_text('#!/bin/sh\necho "$ARTIFACT_SYNC_HOOK $ARTIFACT_SYNC_NODE $ARTIFACT_SYNC_PATH" >> "$1"\n')
    hook.chmod(0o755)
    pair = guarded(settings={"hooks": {"on_drift": [str(hook), str(told)]}})
    (pair.passive.tree / "conf/a.xml").write_text("<foreign/>")
    wait_until("the hook has run", lambda: told.exists() and told.read_text() == "on_drift b conf/a.xml\n")
    assert_mended(pair, "a file")
    assert pair.passive.status()["drift_total"] == 1
