"""What a record carries: kinds, modes, times, attributes, names. Compared by rsync and by ourselves."""

import os
import shutil
import socket
import subprocess

import pytest

import trees
from harness import DONE
from waiting import wait_until

SECOND = 10**9


def set_acl(path, entry):
    done = subprocess.run(["setfacl", "-m", entry, str(path)], capture_output=True, text=True)
    if done.returncode != 0:
        pytest.skip(f"no ACLs here: {done.stderr.strip()}")


def has_user_attributes(directory):
    try:
        os.setxattr(directory, "user.probe", b"1")
        os.removexattr(directory, "user.probe")
        return True
    except OSError:
        return False


@pytest.mark.short
def test_modes_times_and_kinds(make_pair):
    pair = make_pair()
    top = pair.active.tree
    for mode in (0o000, 0o400, 0o444, 0o600, 0o644, 0o755, 0o777):
        path = top / f"mode{mode:03o}"
        path.write_bytes(b"%o" % mode)
        path.chmod(mode)
    for name, nanoseconds in (("old", 1), ("before-1970", -(10**9) + 5), ("precise", 1_600_000_000_123_456_789),
                              ("future", 4_000_000_000 * SECOND + 7), ("whole-second", 10**18)):
        (top / name).write_bytes(name.encode())
        os.utime(top / name, ns=(nanoseconds, nanoseconds))
    (top / "empty-file").touch()
    (top / "empty-directory").mkdir(mode=0o711)
    (top / "private").mkdir()
    (top / "private" / "inside").write_bytes(b"x")
    (top / "private").chmod(0o700)
    (top / "to-file").symlink_to("empty-file")
    (top / "to-directory").symlink_to("private")
    (top / "dangling").symlink_to("no/such/target")
    (top / "absolute").symlink_to("/etc/hostname")
    (top / "upwards").symlink_to("../../../../etc/passwd")
    os.symlink(b"target \xff\n", os.fsencode(top / "odd-target"))
    os.utime(top / "dangling", ns=(10**18, 10**18 + 3), follow_symlinks=False)
    os.utime(top / "private", ns=(10**18, 10**18 + 5))
    pair.start()
    pair.converge()
    pair.assert_verified("--deep")


def test_metadata_changed_later(pair):
    top = pair.active.tree
    (top / "file").write_bytes(b"content")
    (top / "directory").mkdir()
    (top / "link").symlink_to("one")
    pair.converge()
    (top / "file").chmod(0o640)
    (top / "directory").chmod(0o750)
    os.utime(top / "directory", ns=(10**18, 10**18 + 9))
    (top / "link").unlink()
    (top / "link").symlink_to("two")
    pair.converge()
    assert os.readlink(pair.passive.tree / "link") == "two"


def set_id(pair, name, mode):
    path = pair.active.tree / name
    path.mkdir() if name == "shared" else path.write_bytes(b"#!")
    path.chmod(mode)
    return pair.passive.tree / name


def test_setid_bits_are_not_replicated(pair):
    """Unless configured; and not without a word. A directory with the bit is as usable as any."""
    there, shared = set_id(pair, "program", 0o6755), set_id(pair, "shared", 0o2775)
    (pair.active.tree / "shared" / "file").write_bytes(b"x")
    pair.wait()
    assert there.stat().st_mode & 0o7777 == 0o755
    assert shared.stat().st_mode & 0o7777 == 0o775 and (shared / "file").read_bytes() == b"x"

    def told(status):
        return any(text.startswith("setid: ") and "setid` to true" in text for text in status["problems"])
    assert '"program"' in " ".join(pair.active.wait_for("it is told", told)["problems"])
    pair.active.wait_for_state("in_sync")
    assert pair.active.cli("status").exit == DONE
    pair.active.stop()
    pair.active.start()
    pair.active.wait_for("a scan finds them, too", told)
    for name in ("program", "shared"):
        (pair.active.tree / name).chmod(0o755)
    pair.active.wait_for("it is over", lambda s: not told(s))


def test_setid_bits_are_replicated_where_it_is_configured(make_pair):
    pair = make_pair(settings={"setid": True}).start()
    there, shared = set_id(pair, "program", 0o6755), set_id(pair, "shared", 0o2775)
    pair.converge()
    assert there.stat().st_mode & 0o7777 == 0o6755 and shared.stat().st_mode & 0o7777 == 0o2775
    assert not any(text.startswith("setid") for text in pair.active.status()["problems"])


def test_attributes_and_acls(pair):
    top = pair.active.tree
    if not has_user_attributes(top):
        pytest.skip("no user attributes on this file system")
    (top / "file").write_bytes(b"x")
    (top / "directory").mkdir()
    for path in (top / "file", top / "directory"):
        os.setxattr(path, "user.note", b"a value with \0 and \xff")
        os.setxattr(path, "user.empty", b"")
        set_acl(path, "u:12345:r")
    set_acl(top / "directory", "d:g:54321:rx")
    pair.converge()
    os.removexattr(top / "file", "user.empty")
    os.setxattr(top / "file", "user.note", b"another")
    subprocess.run(["setfacl", "-b", str(top / "directory")], check=True)
    pair.converge()


ODD_NAMES = [
    b"with space", b" leading", b"trailing ", b"new\nline", b"tab\there", b"quote\"'`", b"back\\slash",
    b"-rf", b"--help", b"*?[a]", b"$HOME", b"..hidden", b"...", b"\x01\x7f\x1b[31m", b"%s%n",
    "umlaut-\u00e4-\u65e5\u672c-\U0001f600".encode(), "e\u0301".encode(), "\u00e9".encode(),
    b"latin1-\xe4\xff\xfe", b"\xc3", b"\xed\xa0\x80", b"x" * 255, b"CON", b"a:b|c<d>",
]


@pytest.mark.short
def test_odd_names(pair):
    """Names are bytes. Whatever they are, what commands print stays JSON."""
    top = os.fsencode(pair.active.tree)
    for number, name in enumerate(ODD_NAMES):
        with open(os.path.join(top, name), "wb") as file:
            file.write(b"%d" % number)
    os.mkdir(os.path.join(top, b"dir\xff\n"))
    for name in ODD_NAMES:
        os.symlink(name, os.path.join(top, b"dir\xff\n", name))
    pair.converge()
    assert len(trees.snapshot(pair.passive.tree)) == 2 + 2 * len(ODD_NAMES)
    for name in ODD_NAMES:
        os.rename(os.path.join(top, name), os.path.join(top, b"dir\xff\n", b"r" + name[:254]))
    pair.converge()
    pair.assert_verified("--deep")


def test_odd_names_in_what_is_printed(pair):
    """A path that is not UTF-8 stands in JSON, and a newline in it makes no line of its own."""
    pair.converge()
    assert pair.active.cli("pause").exit == 0
    name = b"bad\xff\nERROR forged"
    with open(os.path.join(os.fsencode(pair.active.tree), name), "wb") as file:
        file.write(b"x")
    # Its directory, which has changed as well, may be indexed before it.
    wait_until("it is pending", lambda: any("bad" in each["path"] and "forged" in each["path"] for each in
                                            pair.active.cli("exposure", "--json").json["paths"]))
    for text in (pair.active.cli("exposure").out, pair.active.log()):
        assert not any(line.startswith("ERROR forged") for line in text.splitlines())
    pair.active.cli("resume")
    pair.converge()


def test_sparse_files_stay_sparse(pair):
    path = pair.active.tree / "sparse"
    with open(path, "wb") as file:
        file.truncate(64 << 20)
        file.seek(20 << 20)
        file.write(b"in the middle")
        file.seek((64 << 20) - 3)
        file.write(b"end")
    if path.stat().st_blocks * 512 > 8 << 20:
        pytest.skip("this file system has no holes")
    pair.converge()
    arrived = pair.passive.tree / "sparse"
    assert arrived.stat().st_blocks * 512 < 8 << 20


def test_fifos_and_sockets_are_reported_not_sent(make_pair):
    pair = make_pair()
    os.mkfifo(pair.active.tree / "pipe")
    (pair.active.tree / "file").write_bytes(b"x")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(pair.active.tree / "sock"))
        pair.start()
        pair.converge(special_left_out=True)
        assert sorted(os.listdir(pair.passive.tree)) == [".artifact-sync", "file"]
        pair.active.wait_for("both are counted", lambda s: s["work"]["special_files"] == 2)
        os.mkfifo(pair.active.tree / "later")
        status = pair.active.wait_for("no scan is needed", lambda s: s["work"]["special_files"] == 3)
        assert any(text.startswith("special: 3 ") and '"pipe"' in text for text in status["problems"])
        assert "special: 3" in pair.active.cli("status").out
        (pair.active.tree / "later").unlink()
        pair.active.wait_for("nor to see it go", lambda s: s["work"]["special_files"] == 2)


def test_a_fifo_in_the_place_of_a_file(pair):
    """The file is gone; what took its place is not sent."""
    path = pair.active.tree / "file"
    path.write_bytes(b"x")
    pair.converge()
    path.unlink()
    os.mkfifo(path)
    wait_until("the file is gone", lambda: not (pair.passive.tree / "file").exists())
    pair.converge(special_left_out=True)


def test_hard_links_arrive_as_equal_files(pair):
    first = pair.active.tree / "first"
    first.write_bytes(b"shared")
    os.link(first, pair.active.tree / "second")
    pair.converge()
    assert (pair.passive.tree / "second").read_bytes() == b"shared"
    # Written through one name, with an event for that name only: the other changes as well.
    with open(first, "ab") as file:
        file.write(b" and changed")
    pair.converge()
    assert (pair.passive.tree / "second").read_bytes() == b"shared and changed"


KINDS = ("file", "directory", "full-directory", "link", "link-to-directory")


def make_kind(path, kind):
    if kind == "file":
        path.write_bytes(b"a file")
    elif kind == "link":
        path.symlink_to("somewhere")
    elif kind == "link-to-directory":
        path.symlink_to(".")
    else:
        path.mkdir()
        if kind == "full-directory":
            (path / "below").mkdir()
            (path / "below" / "file").write_bytes(b"deep")


def remove_kind(path):
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


def test_every_kind_becomes_every_other(pair):
    changes = [(old, new) for old in KINDS for new in KINDS if old != new]
    for old, new in changes:
        make_kind(pair.active.tree / f"{old}-to-{new}", old)
    pair.converge()
    for old, new in changes:
        remove_kind(pair.active.tree / f"{old}-to-{new}")
        make_kind(pair.active.tree / f"{old}-to-{new}", new)
    pair.converge()
    pair.assert_tidy()


def test_every_kind_becomes_every_other_while_down(pair):
    changes = [(old, new) for old in KINDS for new in KINDS if old != new]
    for old, new in changes:
        make_kind(pair.active.tree / f"{old}-to-{new}", old)
    pair.converge()
    pair.stop()
    for old, new in changes:
        remove_kind(pair.active.tree / f"{old}-to-{new}")
        make_kind(pair.active.tree / f"{old}-to-{new}", new)
    pair.start()
    pair.converge()


def test_names_exchanged(pair):
    """a <-> b, files and directories: no name may be lost on the way."""
    top = pair.active.tree
    (top / "a").write_bytes(b"was a")
    (top / "b").write_bytes(b"was b")
    for name in ("x", "y"):
        (top / name).mkdir()
        (top / name / "file").write_bytes(name.encode())
    pair.converge()
    for one, other in (("a", "b"), ("x", "y")):
        os.rename(top / one, top / "aside")
        os.rename(top / other, top / one)
        os.rename(top / "aside", top / other)
    pair.converge()
    assert (pair.passive.tree / "a").read_bytes() == b"was b"
    assert (pair.passive.tree / "x" / "file").read_bytes() == b"y"


def test_deep_trees(pair):
    """Far beyond what one path string may be is refused with a name; as deep as it may is replicated."""
    path = pair.active.tree
    depth = 0
    while len(str(path.relative_to(pair.active.tree))) < 3000:
        path = path / ("d" * 24)
        path.mkdir()
        depth += 1
    (path / "bottom").write_bytes(b"deep down")
    pair.converge(120)
    os.rename(pair.active.tree / ("d" * 24), pair.active.tree / "moved")
    pair.converge(120)
    assert depth > 100
    shutil.rmtree(pair.active.tree / "moved")
    pair.converge(120)
    assert os.listdir(pair.passive.tree) == [".artifact-sync"]


def test_wide_directories(pair):
    trees.make_many(pair.active.tree, 5000, 10, per_directory=5000)
    pair.converge(120)


def test_a_read_only_directory_is_written_into(pair):
    """The passive's own copy of a 0555 directory takes new files, and is 0555 again."""
    top = pair.active.tree / "sealed"
    top.mkdir()
    (top / "one").write_bytes(b"1")
    top.chmod(0o555)
    pair.converge()
    top.chmod(0o755)
    (top / "two").write_bytes(b"2")
    (top / "one").unlink()
    top.chmod(0o555)
    pair.converge()
    for node in pair.nodes:
        (node.tree / "sealed").chmod(0o755)
