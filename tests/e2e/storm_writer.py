"""One process that does to a tree whatever a file system allows, at random from a seed, until it is
told to end. Several share a tree and get into each other's way, which is part of the storm.

usage: storm_writer.py TREE SEED PACE     PACE: milliseconds of rest, on average, between bursts

On SIGUSR1 it closes what it holds open and stops itself; on SIGTERM it closes it and prints how
often it did what, as JSON.
"""

import ctypes
import fcntl
import json
import mmap
import os
import random
import signal
import stat
import struct
import sys
import time

RENAME_NOREPLACE, RENAME_EXCHANGE = 1, 2
AT_FDCWD = -100
MOST_BYTES = 96 << 20  # of one writer's files, roughly
MOST_ENTRIES = 700
LARGE = (1 << 20, 3 << 20, 20 << 20)
OWNERS = (0, 1, 1000, 54321)
LINKED = b"linked "
MAPPED = b"mapped "    # nobody truncates these: whoever writes to a page that is gone is killed

_libc = ctypes.CDLL(None, use_errno=True)


def renameat2(old, new, flags):
    if _libc.renameat2(AT_FDCWD, old, AT_FDCWD, new, flags) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), old)


def acl(entries):
    """system.posix_acl_access: version 2, then (tag, permissions, id) each."""
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)


def opened(path, mode, **options):
    """Never waits for the other end of a FIFO that took the file's place."""
    return open(path, mode, opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK, 0o666),
                **options)


def is_open_for_writing(path):
    """A file held open through one name and known by another is beyond every watcher: its writes are
    told under the name that was opened, even when that one is gone. The next whole scan finds them."""
    with opened(path, "rb") as file:
        try:
            fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_RDLCK)
            fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_UNLCK)
            return False
        except OSError:
            return True


class Writer:
    def __init__(self, top, seed, pace_ms):
        self.top = os.fsencode(top)
        self.dice = random.Random(seed)
        self.pace_ms = pace_ms
        self.serial = 0
        self.held = []   # open files, and maps that outlive their descriptor
        self.done = {}
        self.ended = self.resting = False
        self.actions = [action for action, weight in self._weights() for _ in range(weight)]

    def _weights(self):
        return ((self.create, 14), (self.rewrite, 8), (self.append, 8), (self.truncate, 4),
                (self.write_within, 6), (self.map_and_sync, 2), (self.map_and_keep, 3),
                (self.hold_open, 3), (self.let_go, 4), (self.rename, 6), (self.replace, 8),
                (self.move_directory, 3), (self.exchange, 4), (self.link, 4), (self.break_link, 2),
                (self.symlink, 4), (self.swap_symlink, 3), (self.change_type, 5), (self.chmod, 4),
                (self.chown, 2), (self.attribute, 3), (self.set_acl, 2), (self.set_times, 3),
                (self.delete, 9), (self.make_directory, 5), (self.deep, 1), (self.remove_tree, 2),
                (self.sparse, 1), (self.large, 1), (self.quick, 6), (self.twins, 1),
                (self.fifo, 1), (self.copy, 3))

    # -- choosing -----------------------------------------------------------------------------------

    def _listing(self):
        """A random directory of the tree, and what is in it."""
        where = self.top
        names = []
        for _ in range(self.dice.randrange(1, 5)):
            names = [name for name in sorted(os.listdir(where)) if name != b".artifact-sync"]
            below = [name for name in names if not os.path.islink(os.path.join(where, name))
                     and os.path.isdir(os.path.join(where, name))]
            if not below or self.dice.random() < 0.3:
                break
            where = os.path.join(where, self.dice.choice(below))
            names = [name for name in sorted(os.listdir(where)) if name != b".artifact-sync"]
        return where, names

    @staticmethod
    def _is_fair(name, status, test):
        """A new hard link is left in peace for a while. What was written through a name that came and went
        before anybody could look at it is found by the next whole scan, and not before."""
        young = name.startswith(LINKED) and time.time() - status.st_ctime < 30
        return not young and not name.startswith(MAPPED) and test(status.st_mode)

    def _any(self, test):
        for _ in range(4):
            where, names = self._listing()
            found = [name for name in names if self._is_fair(name, os.lstat(os.path.join(where, name)), test)]
            if found:
                return os.path.join(where, self.dice.choice(found))
        raise FileNotFoundError("nothing of that kind")

    def _file(self):
        return self._any(stat.S_ISREG)

    def _directory(self):
        return self._any(stat.S_ISDIR)

    def _name(self):
        self.serial += 1
        plain = b"%d-%d" % (os.getpid() % 1000, self.serial)
        kind = self.dice.randrange(20)
        if kind == 0:
            return b"\xff\xfe" + plain + b"\x80"
        if kind == 1:
            return b"new\nline " + plain
        if kind == 2:
            return b"-rf " + plain
        if kind == 3:
            return plain + b"x" * (255 - len(plain))
        if kind == 4:
            return "\u00e4\u00f6\u4e2d\U0001f409 ".encode() + plain
        if kind == 5:
            return b"'\"\\$(`)*?;&|<>%s " + plain
        if kind == 6:
            return b".hidden " + plain
        return plain

    def _new(self):
        return os.path.join(self._listing()[0], self._name())

    def _bytes(self):
        size = self.dice.choice((0, 1, 60, 700, 2048, 4096, 9000, 70_000, 300_000))
        if self.dice.random() < 0.3:
            return (b"%d line\n" % self.serial) * (size // 8)
        return self.dice.randbytes(size)

    # -- contents -----------------------------------------------------------------------------------

    def create(self):
        with opened(self._new(), "wb") as file:
            file.write(self._bytes())

    def rewrite(self):
        with opened(self._file(), "wb") as file:
            file.write(self._bytes())

    def append(self):
        with opened(self._file(), "ab") as file:
            for _ in range(self.dice.randrange(1, 4)):
                file.write(self._bytes())

    def truncate(self):
        path = self._file()
        size = os.path.getsize(path)
        os.truncate(path, self.dice.choice((0, size // 2, size, size + 5000)))

    def write_within(self):
        with opened(self._file(), "r+b") as file:
            size = os.fstat(file.fileno()).st_size
            for _ in range(self.dice.randrange(1, 5)):
                file.seek(self.dice.randrange(size + 1))
                file.write(self.dice.randbytes(self.dice.choice((1, 30, 5000))))

    def _map(self):
        where, names = self._listing()
        names = [name for name in names if name.startswith(MAPPED)]
        if not names or self.dice.random() < 0.3:
            self.serial += 1
            names = [MAPPED + b"%d-%d" % (os.getpid() % 1000, self.serial)]
            with opened(os.path.join(where, names[0]), "xb") as file:
                file.write(self.dice.randbytes(self.dice.choice((10, 5000, 200_000))))
        path = os.path.join(where, self.dice.choice(names))
        with opened(path, "r+b") as file:
            return mmap.mmap(file.fileno(), os.fstat(file.fileno()).st_size)

    def _scribble(self, mapped):
        at = self.dice.randrange(len(mapped))
        piece = self.dice.randbytes(min(200, len(mapped) - at))
        mapped[at:at + len(piece)] = piece

    def map_and_sync(self):
        with self._map() as mapped:
            self._scribble(mapped)
            mapped.flush()
            self._scribble(mapped)

    def map_and_keep(self):
        """Written through memory, and again later: neither msync nor close."""
        if len(self.held) < 12:
            mapped = self._map()
            self.held.append(mapped)
            self._scribble(mapped)

    def hold_open(self):
        if len(self.held) < 12:
            file = opened(self._file(), "ab", buffering=0)
            if os.fstat(file.fileno()).st_nlink > 1:
                file.close()
                return
            self.held.append(file)
            file.write(b"kept open\n")

    def let_go(self):
        if not self.held:
            return
        one = self.dice.choice(self.held)
        if isinstance(one, mmap.mmap):
            self._scribble(one)
        else:
            one.write(b"and more %d\n" % self.serial)
        if self.dice.random() < 0.5:
            self.held.remove(one)
            one.close()

    def sparse(self):
        with opened(self._new(), "wb") as file:
            for _ in range(3):
                file.seek(self.dice.randrange(1 << 20), os.SEEK_CUR)
                file.write(self.dice.randbytes(3000))
            file.truncate(file.tell() + self.dice.randrange(1 << 20))

    def large(self):
        with opened(self._new(), "wb") as file:
            size = self.dice.choice(LARGE)
            for _ in range(0, size, 1 << 18):
                file.write(self.dice.randbytes(1 << 18))

    def copy(self):
        with opened(self._file(), "rb") as source, opened(self._new(), "wb") as sink:
            sink.write(source.read(4 << 20))

    # -- names --------------------------------------------------------------------------------------

    def rename(self):
        os.rename(self._any(lambda mode: not stat.S_ISDIR(mode)), self._new())

    def replace(self):
        path = self._file()
        beside = path[:-1] + b"~" if len(os.path.basename(path)) > 240 else path + b".tmp"
        with opened(beside, "wb") as file:
            file.write(self._bytes())
        os.replace(beside, path)

    def move_directory(self):
        os.rename(self._directory(), self._new())

    def exchange(self):
        anything = self.dice.choice((self._file, self._directory))
        renameat2(anything(), self._any(lambda mode: True), RENAME_EXCHANGE)

    def link(self):
        path = self._file()
        if is_open_for_writing(path):
            return
        other = os.path.join(self.top, LINKED + self._name()[:200])
        os.link(path, other)
        with opened(self.dice.choice((path, other)), "ab") as file:
            file.write(b"through one of two names\n")

    def break_link(self):
        path = self._any(stat.S_ISREG)
        if os.stat(path).st_nlink > 1:
            self.replace()
        else:
            self.link()

    def symlink(self):
        """To nothing: whoever opens what was a file a moment ago must not end up outside."""
        os.symlink(self.dice.choice((b"nowhere", b"/nonexistent/target", self._name() * 3)), self._new())

    def swap_symlink(self):
        path = self._any(stat.S_ISLNK)
        beside = self._new()
        os.symlink(self._name(), beside)
        os.replace(beside, path)

    def change_type(self):
        path = self._any(lambda mode: True)
        if os.path.isdir(path) and not os.path.islink(path):
            self._clear(path)
        else:
            os.unlink(path)
        kind = self.dice.randrange(3)
        if kind == 0:
            os.mkdir(path)
            with opened(os.path.join(path, b"within"), "wb") as file:
                file.write(self._bytes())
        elif kind == 1:
            os.symlink(b"elsewhere", path)
        else:
            with opened(path, "wb") as file:
                file.write(self._bytes())

    def delete(self):
        os.unlink(self._any(lambda mode: not stat.S_ISDIR(mode)))

    def make_directory(self):
        path = self._new()
        os.mkdir(path)
        for _ in range(self.dice.randrange(4)):
            with opened(os.path.join(path, self._name()), "wb") as file:
                file.write(self._bytes())

    def deep(self):
        path = self._new()
        for _ in range(self.dice.choice((5, 30, 60))):
            path = os.path.join(path, b"d" * self.dice.randrange(1, 20))
        if len(path) + 300 - len(self.top) < 3500:
            os.makedirs(path)
            with opened(os.path.join(path, b"bottom"), "wb") as file:
                file.write(self._bytes())

    def _clear(self, top):
        for directory, below, names in os.walk(top, topdown=False):
            for name in names:
                os.unlink(os.path.join(directory, name))
            for name in below:
                path = os.path.join(directory, name)
                os.unlink(path) if os.path.islink(path) else os.rmdir(path)
        os.rmdir(top)

    def remove_tree(self):
        self._clear(self._directory())

    def quick(self):
        """There and gone, or there and another at once."""
        path = self._new()
        for _ in range(self.dice.randrange(1, 6)):
            with opened(path, "wb") as file:
                file.write(self._bytes()[:5000])
            os.unlink(path)

    def twins(self):
        path = self._new()
        for suffix in (b"CASE", b"case", b"Case"):
            with opened(path[:len(path) - 4] + suffix, "wb") as file:
                file.write(suffix)

    def fifo(self):
        os.mkfifo(self._new())

    # -- metadata -----------------------------------------------------------------------------------

    def chmod(self):
        path = self._any(lambda mode: not stat.S_ISLNK(mode))
        modes = (0o755, 0o700, 0o1777, 0o555) if os.path.isdir(path) else (0o644, 0o600, 0o444, 0o000, 0o755)
        os.chmod(path, self.dice.choice(modes))

    def chown(self):
        os.chown(self._any(lambda mode: True), self.dice.choice(OWNERS), self.dice.choice(OWNERS),
                 follow_symlinks=False)

    def attribute(self):
        path = self._any(lambda mode: stat.S_ISREG(mode) or stat.S_ISDIR(mode))
        name = b"user.n%d" % self.dice.randrange(3)
        if self.dice.random() < 0.3:
            os.removexattr(path, name)
        else:
            os.setxattr(path, name, self.dice.randbytes(self.dice.choice((0, 10, 900))))

    def set_acl(self):
        path = self._any(lambda mode: stat.S_ISREG(mode) or stat.S_ISDIR(mode))
        if self.dice.random() < 0.3:
            os.removexattr(path, "system.posix_acl_access")
        else:
            os.setxattr(path, "system.posix_acl_access",
                        acl(((1, 6, 0xffffffff), (2, self.dice.randrange(8), 1234),
                             (4, 4, 0xffffffff), (16, 6, 0xffffffff), (32, 0, 0xffffffff))))

    def set_times(self):
        when = self.dice.choice((0, 1, 1_000_000_000_123_456_789, 4_000_000_000_000_000_001))
        os.utime(self._any(lambda mode: True), ns=(when, when), follow_symlinks=False)

    # -- the life of a writer -----------------------------------------------------------------------

    def is_full(self):
        entries = size = 0
        for directory, below, names in os.walk(self.top):
            if b".artifact-sync" in below:
                below.remove(b".artifact-sync")
            entries += len(below) + len(names)
            for name in names:
                try:
                    size += os.lstat(os.path.join(directory, name)).st_size
                except OSError:
                    pass
        return entries > MOST_ENTRIES or size > MOST_BYTES

    def burst(self):
        actions = self.actions
        if self.is_full():
            actions = [self.delete, self.remove_tree, self.truncate, self.append, self.replace]
        for _ in range(self.dice.choice((1, 3, 10, 40))):
            action = self.dice.choice(actions)
            try:
                action()
                self.done[action.__name__] = self.done.get(action.__name__, 0) + 1
            except (OSError, ValueError):
                self.done["in vain"] = self.done.get("in vain", 0) + 1

    def end(self, *_):
        self.ended = True

    def rest(self, *_):
        self.resting = True

    def close_all(self):
        for one in self.held:
            if isinstance(one, mmap.mmap):
                self._scribble(one)
            one.close()
        self.held = []

    def run(self):
        signal.signal(signal.SIGIO, signal.SIG_IGN)  # of a lease that is asked for back
        signal.signal(signal.SIGTERM, self.end)
        signal.signal(signal.SIGUSR1, self.rest)
        while not self.ended:
            self.burst()
            if self.resting:
                self.resting = False
                self.close_all()
                os.kill(os.getpid(), signal.SIGSTOP)
            time.sleep(self.dice.expovariate(1000 / self.pace_ms) if self.pace_ms else 0)
        self.close_all()
        print(json.dumps(self.done))


if __name__ == "__main__":
    Writer(sys.argv[1], int(sys.argv[2]), float(sys.argv[3])).run()
