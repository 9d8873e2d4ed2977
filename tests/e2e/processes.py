"""What /proc says about the processes under test."""

import os
import resource
from pathlib import Path


def memory(pid):
    """{"VmRSS": bytes, "VmHWM": bytes} of one process; {} when it is gone."""
    try:
        text = Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return {}
    values = {}
    for line in text.splitlines():
        name, _, rest = line.partition(":")
        if name in ("VmRSS", "VmHWM"):
            values[name] = int(rest.split()[0]) * 1024
    return values


def takes(pid, signum):
    """Is this signal caught, or blocked? Before its program has begun it is the end of a process."""
    try:
        text = Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    masks = [int(line.split()[1], 16) for line in text.splitlines() if line.startswith(("SigBlk", "SigCgt"))]
    return any(mask >> signum - 1 & 1 for mask in masks)


def children(pid):
    """Process ids of the direct children."""
    found = []
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            stat = Path(f"/proc/{entry}/stat").read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue
        # The name is in parentheses and may hold anything; the parent is the second field after it.
        fields = stat.rpartition(")")[2].split()
        if int(fields[1]) == pid:
            found.append(int(entry))
    return found


def watchers(pid):
    """Of these, the ones that watch; an agent has a child that runs hooks, too."""
    found = []
    for child in children(pid):
        try:
            command = Path(f"/proc/{child}/cmdline").read_bytes()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if os.path.basename(command.split(b"\0")[0]) == b"artifact-sync-watch":
            found.append(child)
    return found


def starve_of_files(pid):
    """No descriptor more than it has. Again and again: what it has open for a moment only is no part of
    what it has at rest."""
    soft, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    last = max(int(fd) for fd in os.listdir(f"/proc/{pid}/fd"))
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (min(soft, last + 1), hard))


def is_running(pid):
    """False for a process that is gone or a zombie."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


def cpu_seconds(pid):
    """User and system time a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
