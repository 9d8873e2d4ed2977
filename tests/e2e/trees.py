"""Making trees, and comparing them independently of the program under test. Paths are bytes."""

import hashlib
import os
import random
import stat
import subprocess
from pathlib import Path

import sample

OWN = b".artifact-sync"
REPOSITORY = Path(__file__).resolve().parents[2]


def releases():
    """(where from, {path: bytes} of the older, of the newer release): real ones if they are there."""
    for place in (os.environ.get("ARTIFACT_SYNC_CORPUS"), REPOSITORY.parent / "shared" / "corpus"):
        if not place:
            continue
        found = sorted(Path(place).glob("is-*"))
        if len(found) >= 2:
            return str(place), read_files(found[0]), read_files(found[1])
    return "made up", sample.contents(1), sample.contents(2)


def read_files(top):
    """{path: bytes} of every file, our own directory left out."""
    files = {}
    for directory, below, names in os.walk(top):
        below[:] = [name for name in below if name != ".artifact-sync"]
        for name in names:
            path = Path(directory, name)
            files[str(path.relative_to(top))] = path.read_bytes()
    return files


def make_many(top, count, size, per_directory=1000, seed=1):
    """`count` files of `size` random bytes; every content is unique and does not compress."""
    chooser = random.Random(seed)
    top = Path(top)
    for first in range(0, count, per_directory):
        directory = top / f"d{first // per_directory:04d}"
        directory.mkdir(parents=True, exist_ok=True)
        for number in range(first, min(first + per_directory, count)):
            with open(directory / f"f{number:06d}.bin", "wb", buffering=0) as file:
                file.write(chooser.randbytes(size))


def make_too_long(top):
    """Directories in each other until the deepest has a path of more than 4095 bytes.
    @return their name"""
    name = "n" * 250
    here = os.open(top, os.O_RDONLY | os.O_DIRECTORY)
    for _ in range(17):
        os.mkdir(name, dir_fd=here)
        beneath = os.open(name, os.O_RDONLY | os.O_DIRECTORY, dir_fd=here)
        os.close(here)
        here = beneath
    os.close(here)
    return name


def write_random(path, size, seed=1):
    """A large file that does not compress."""
    chooser = random.Random(seed)
    with open(path, "wb") as file:
        for _ in range(0, size, 1 << 20):
            file.write(chooser.randbytes(min(1 << 20, size)))


def is_empty(directory):
    return not os.path.isdir(directory) or not os.listdir(directory)


def snapshot(top, beneath=""):
    """{path: (kind, mode, mtime_ns, size, content or target, attributes)}; our own directory left out."""
    top = os.fsencode(top)
    found = {}
    for directory, names, leaves in os.walk(os.path.join(top, os.fsencode(beneath))):
        relative = os.path.relpath(directory, top)
        if relative == b".":
            names[:] = [name for name in names if name != OWN]
        found[relative] = _entry(directory)
        for name in leaves + [n for n in names if os.path.islink(os.path.join(directory, n))]:
            path = os.path.join(directory, name)
            found[os.path.normpath(os.path.join(relative, name))] = _entry(path)
    return found


def _entry(path):
    status = os.lstat(path)
    mode = stat.S_IMODE(status.st_mode)
    attributes = tuple(
        (name, os.getxattr(path, name, follow_symlinks=False))
        for name in sorted(os.listxattr(path, follow_symlinks=False)))
    if stat.S_ISLNK(status.st_mode):
        return ("link", None, status.st_mtime_ns, None, os.readlink(path), attributes)
    if stat.S_ISDIR(status.st_mode):
        return ("directory", mode, status.st_mtime_ns, None, None, attributes)
    if stat.S_ISREG(status.st_mode):
        digest = hashlib.sha256()
        with open(path, "rb") as file:
            while chunk := file.read(1 << 20):
                digest.update(chunk)
        return ("file", mode, status.st_mtime_ns, status.st_size, digest.digest(), attributes)
    return ("special", mode, None, None, None, attributes)


def rsync_differences(left, right, *options):
    """What rsync would have to do to make `right` equal to `left`: a second opinion. "" when nothing."""
    command = ["rsync", "-aXAn", "--checksum", "--delete", "-i", "--exclude=/.artifact-sync",
               *options, f"{left}/", f"{right}/"]
    done = subprocess.run(command, capture_output=True)
    out = done.stdout.decode("utf-8", "backslashreplace")
    if done.returncode != 0:
        return f"{out}{done.stderr.decode('utf-8', 'backslashreplace')}(exit {done.returncode})"
    return out


def assert_same(left, right, *rsync_options, special_left_out=False):
    """Both trees are equal, by rsync and by a walk of our own that also compares nanoseconds."""
    options = list(rsync_options)
    if special_left_out:
        options += ["--no-specials", "--no-devices", "--info=NONREG0"]
    differences = rsync_differences(left, right, *options)
    assert differences == "", f"rsync says the trees differ:\n{differences[:4000]}"
    ours, theirs = snapshot(left), snapshot(right)
    if special_left_out:
        ours = {path: entry for path, entry in ours.items() if entry[0] != "special"}
    assert ours == theirs, describe_difference(ours, theirs)


def describe_difference(ours, theirs, most=20):
    lines = []
    for path in sorted(ours.keys() | theirs.keys()):
        if ours.get(path) != theirs.get(path):
            lines.append(f"{path!r}\n  left  {ours.get(path)}\n  right {theirs.get(path)}")
    return "\n".join(lines[:most] + [f"({len(lines)} paths differ)"])


class Changer:
    """Random changes to a tree, reproducible from the seed. Contents are unique."""

    def __init__(self, top, seed, most_files=400):
        self.top = Path(top)
        self.chooser = random.Random(seed)
        self.most_files = most_files
        self.files = []
        self.directories = [self.top]
        self.serial = 0

    def step(self):
        actions = [self._create] if len(self.files) < 10 else [
            self._create, self._create, self._rewrite, self._rewrite, self._append, self._replace,
            self._rename, self._delete, self._chmod, self._make_directory, self._move_directory]
        if len(self.files) >= self.most_files:
            actions = [self._delete, self._rewrite, self._replace]
        self.chooser.choice(actions)()
        self.serial += 1

    def _bytes(self):
        size = self.chooser.choice((0, 10, 700, 2048, 5000, 70_000, 200_000))
        return f"{self.serial}:".encode() + self.chooser.randbytes(size)

    def _file(self):
        return self.chooser.randrange(len(self.files))

    def _new_path(self):
        return self.chooser.choice(self.directories) / f"f{self.serial}"

    def _create(self):
        path = self._new_path()
        path.write_bytes(self._bytes())
        self.files.append(path)

    def _rewrite(self):
        self.files[self._file()].write_bytes(self._bytes())

    def _append(self):
        with open(self.files[self._file()], "ab") as file:
            file.write(self._bytes())

    def _replace(self):
        path = self.files[self._file()]
        beside = path.with_name(path.name + ".new")
        beside.write_bytes(self._bytes())
        os.replace(beside, path)

    def _rename(self):
        number = self._file()
        target = self._new_path()
        self.files[number].rename(target)
        self.files[number] = target

    def _delete(self):
        self.files.pop(self._file()).unlink()

    def _chmod(self):
        self.files[self._file()].chmod(self.chooser.choice((0o600, 0o640, 0o644, 0o444)))

    def _make_directory(self):
        if len(self.directories) < 12:
            path = self.chooser.choice(self.directories[:4]) / f"d{self.serial}"
            path.mkdir()
            self.directories.append(path)

    def _move_directory(self):
        if len(self.directories) < 3:
            return
        old = self.chooser.choice(self.directories[1:])
        new = self.top / f"m{self.serial}"
        old.rename(new)
        self.directories = [self._moved(path, old, new) for path in self.directories]
        self.files = [self._moved(path, old, new) for path in self.files]

    @staticmethod
    def _moved(path, old, new):
        return new / path.relative_to(old) if path == old or old in path.parents else path
