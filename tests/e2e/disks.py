"""File systems of a size of one's own, that can be filled, freed, made read-only and taken away."""

import os
import subprocess
from pathlib import Path


def why_unavailable():
    """None, or why nothing can be mounted here."""
    return None if os.geteuid() == 0 else "mounting needs root"


def _run(*command):
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(map(str, command))}: {done.stderr.strip()}")
    return done.stdout


class Disk:
    """A file system at `where`.

    @param kind     "tmpfs" or "ext4" (in a file beside `where`, through a loop device)
    @param options  of mkfs.ext4
    @param mount    of mount -o
    """

    def __init__(self, where, size_mib, kind="tmpfs", options=(), mount=""):
        self.where = Path(where)
        self.where.mkdir(parents=True, exist_ok=True)
        self.kind = kind
        self.ballast = self.where / "ballast"
        extra = f",{mount}" if mount else ""
        if kind == "tmpfs":
            _run("mount", "-t", "tmpfs", "-o", f"size={size_mib}m{extra}", "artifact-sync-test", self.where)
            return
        self.image = image = self.where.with_name(self.where.name + ".image")
        self.mounting = ("-o", f"loop{extra}", image, self.where)
        with open(image, "wb") as file:
            file.truncate(size_mib << 20)
        _run("mkfs.ext4", "-q", "-m", "0", "-I", "256", *options, image)
        _run("mount", *self.mounting)

    def free_bytes(self):
        status = os.statvfs(self.where)
        return status.f_bavail * status.f_frsize

    def fill(self, leave=0):
        """All of it but `leave` bytes belongs to a file of ours."""
        with open(self.ballast, "ab") as file:
            for step in (64 << 20, 1 << 20, 1 << 16, 1 << 12):
                while self.free_bytes() > leave + step:
                    try:
                        os.posix_fallocate(file.fileno(), os.fstat(file.fileno()).st_size, step)
                    except OSError:
                        break

    def free(self):
        self.ballast.unlink(missing_ok=True)

    def read_only(self, yes=True):
        _run("mount", "-o", f"remount,{'ro' if yes else 'rw'}", self.where)

    def mount_again(self):
        """Whoever has files open on it keeps what he has; the same content stands there anew, from a copy of
        the image, since the old one is in use."""
        self.close()
        copy = self.image.with_suffix(".again")
        _run("cp", "--sparse=always", self.image, copy)
        _run("mount", *self.mounting[:2], copy, self.where)

    def close(self):
        subprocess.run(["umount", "--lazy", str(self.where)], capture_output=True)
