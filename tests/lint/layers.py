#!/usr/bin/python3
"""Reads every #include against the table of layers: who may know whom, and who may use what.

protocol/ stands alone on libc; in agent/ a layer sees only those to its left, and the siblings
{watch, store, net} not each other. Each library is included by one wrapper only where that is a rule.
"""

import re
import sys
from pathlib import Path

TOP = Path(__file__).resolve().parents[2]

# Rank of each layer; equal ranks do not see each other.
RANKS = {"base": 0, "conf": 1, "fs": 2, "watch": 3, "store": 3, "net": 3, "sync": 4, "history": 5,
         "node": 6, "ops": 7, "cli": 8}

# What protocol/ may include besides itself (stdio for snprintf): no sockets, threads or clocks.
LIBC = {"assert.h", "ctype.h", "endian.h", "errno.h", "inttypes.h", "limits.h", "stdarg.h", "stdbool.h",
        "stddef.h", "stdint.h", "stdio.h", "stdlib.h", "string.h", "strings.h"}

# Headers that only one place may include, by prefix of the path.
OWNERS = {
    "inotifytools/": ("agent/watch/child/",),
    "sys/inotify.h": ("agent/watch/child/",),
    "librsync.h": ("agent/sync/", "tests/unit/sync/", "tests/fuzz/"),
    "sqlite3.h": ("agent/store/", "tests/unit/store/"),
    "openssl/ssl.h": ("agent/net/", "tests/unit/net/"),
}

INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]', re.MULTILINE)


def layer_of(path):
    """("protocol" | layer of agent | None for main.c and tests)."""
    parts = path.split("/")
    if parts[0] == "protocol":
        return "protocol"
    if parts[0] == "agent" and len(parts) > 2:
        return parts[1]
    return None


def complaint(path, quoted, name):
    """Why `path` must not include `name`, or None."""
    mine, theirs = layer_of(path), layer_of(name) if quoted else None
    for prefix, owners in OWNERS.items():
        if name.startswith(prefix) and not path.startswith(owners):
            return f"only {' and '.join(owners)} may"
    if mine == "protocol":
        if quoted:
            return None if theirs == "protocol" else "protocol stands alone"
        return None if name in LIBC else "protocol uses libc only, and no sockets, threads, clocks"
    if not quoted or mine is None or theirs in (None, "protocol", mine):
        return None
    for layer in (mine, theirs):
        if layer not in RANKS:
            return f"agent/{layer} is no layer of the table in {Path(__file__).name}"
    return None if RANKS[theirs] < RANKS[mine] else f"agent/{mine} is not above agent/{theirs}"


def check(path, text):
    for match in INCLUDE.finditer(text):
        why = complaint(path, match.group(1) == '"', match.group(2))
        if why:
            line = text.count("\n", 0, match.start(1)) + 1
            yield f"{path}:{line}: includes {match.group(2)}: {why}"


def main():
    # It must be able to fail.
    assert list(check("protocol/x.c", '#include <sys/socket.h>\n'))
    assert list(check("agent/fs/x.c", '#include "agent/store/store.h"\n'))
    assert list(check("agent/net/x.c", '#include "agent/store/store.h"\n'))
    assert not list(check("agent/sync/x.c", '#include "agent/store/store.h"\n#include <uv.h>\n'))

    found, count = [], 0
    for folder in ("protocol", "agent", "tests"):
        for path in sorted((TOP / folder).rglob("*.[ch]")):
            count += 1
            found += check(str(path.relative_to(TOP)), path.read_text())
    print("\n".join(found) if found else f"layers: {count} files, no wrong include")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
