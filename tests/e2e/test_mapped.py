"""Files written through memory. The kernel says nothing of such a write but its mtime, and that only
when the page was clean; what tells for sure is the event of the last close."""

import mmap
import os

import pytest

import disks
from waiting import wait_until


def arrived(pair, name, content):
    path = pair.passive.tree / name
    wait_until(f"{name} has arrived", lambda: path.exists() and path.read_bytes() == content, 60)


@pytest.fixture
def mapped(make_pair, home):
    """(pair, path, its map), in sync. The tree has a disk of its own: whoever syncs another file of the
    same disk may write our page back."""
    if disks.why_unavailable():
        pytest.skip(disks.why_unavailable())
    disk = disks.Disk(home / "disk", 64, "ext4")
    pair = make_pair(init=False)
    pair.active.tree = disk.where / "tree"
    pair.active.tree.mkdir()
    pair.init().start()
    yield from make_mapped(pair)
    pair.close()
    disk.close()


def make_mapped(pair):
    path = pair.active.tree / "mapped"
    path.write_bytes(b"-" * 5000)
    pair.converge()
    with open(path, "r+b") as file:
        made = mmap.mmap(file.fileno(), 5000)
    os.sync()
    yield pair, path, made


@pytest.mark.short
def test_a_mapped_file_arrives_when_it_is_let_go(mapped):
    pair, _, content = mapped
    content[10:13] = b"one"
    content.close()
    pair.converge()


def test_a_write_without_a_trace_while_nobody_watched(mapped):
    """The page is dirty already, so the second write leaves the mtime as it is; the event of the close
    is lost with the agent."""
    pair, path, content = mapped
    content[10:13] = b"one"
    with open(path, "r+b"):
        pass  # its close makes the agent read the file while it is mapped
    arrived(pair, "mapped", content[:])
    pair.active.kill()
    before = os.stat(path).st_mtime_ns
    content[20:23] = b"two"
    content.close()
    if os.stat(path).st_mtime_ns != before:
        pytest.skip("the kernel wrote the page back in between")
    pair.active.start()
    pair.converge()


def test_a_write_without_a_trace_before_its_directory_is_renamed(mapped):
    """The file has its inode and its stamps under the new name, too, but not its bytes."""
    pair, path, _ = mapped
    directory = pair.active.tree / "directory"
    directory.mkdir()
    path = directory / "within"
    path.write_bytes(b"-" * 5000)
    pair.converge()
    with open(path, "r+b") as file:
        content = mmap.mmap(file.fileno(), 5000)
    os.sync()
    content[10:13] = b"one"
    with open(path, "r+b"):
        pass
    arrived(pair, "directory/within", content[:])
    before = os.stat(path).st_mtime_ns
    content[20:23] = b"two"
    if os.stat(path).st_mtime_ns != before:
        pytest.skip("the kernel wrote the page back in between")
    directory.rename(pair.active.tree / "renamed")
    pair.converge()
    content.close()


def test_a_mapped_file_that_a_scan_came_across(mapped):
    """What a scan reads of a mapped file is not the last word, however long the map lives on."""
    pair, path, content = mapped
    pair.active.kill()
    content[10:13] = b"one"
    pair.active.start()
    arrived(pair, "mapped", content[:])
    content[20:23] = b"two"
    # Long ago, as far as the next scan can tell.
    status = os.stat(path)
    pair.active.kill()
    content.close()
    os.utime(pair.active.state / "state.lock", ns=(1 << 62, status.st_mtime_ns + 60 * 10**9))
    pair.active.start()
    pair.converge()
