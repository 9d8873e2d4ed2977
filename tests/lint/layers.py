#!/usr/bin/env python3
"""Who may include whom: reads the #include lines of protocol/ and agent/ and compares them with the table.

    layers.py SOURCE_ROOT

A layer sees itself and what stands before it; the three siblings watch, store and net do not see each other,
except that store may include fs. protocol/ sees only libc and itself. main.c sees everything.
"""
import os
import re
import sys

ORDER = [["base"], ["conf"], ["fs"], ["watch", "store", "net"], ["history"], ["sync"], ["ops"],
         ["node"], ["cli"]]
RANK = {layer: rank for rank, layers in enumerate(ORDER) for layer in layers}

# What protocol/ may use: the C library, and of it nothing that reaches the system.
LIBC = {"assert.h", "errno.h", "inttypes.h", "limits.h", "stdarg.h", "stdbool.h", "stddef.h",
        "stdint.h", "stdio.h", "stdlib.h", "string.h", "strings.h"}

INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]')


def wrong(path, bracket, target):
    """Why the file at `path` may not include `target`, or None."""
    parts = path.split("/")
    if parts[0] == "protocol":
        if target.startswith("protocol/") or (bracket == "<" and target in LIBC):
            return None
        return "protocol/ stands alone: only libc's pure part and protocol/"
    if bracket == "<":
        return None
    if target.startswith("protocol/"):
        return None
    if not target.startswith("agent/"):
        return "name it from the top: \"agent/...\" or \"protocol/...\""
    layer = parts[1] if len(parts) > 2 else None  # agent/main.c is above all
    other = target.split("/")[1]
    if layer is None or layer == other:
        return None
    if layer not in RANK or other not in RANK:
        return "no such layer"
    if RANK[other] < RANK[layer]:
        return None
    if RANK[other] == RANK[layer]:
        return f"{layer} and {other} are siblings and do not see each other"
    return f"{other} is above {layer}"


def sources(root):
    for top in ("protocol", "agent"):
        for folder, _, names in os.walk(os.path.join(root, top)):
            for name in sorted(names):
                if name.endswith((".c", ".h")):
                    yield os.path.relpath(os.path.join(folder, name), root)


def check(root):
    problems = []
    count = 0
    for path in sources(root):
        with open(os.path.join(root, path), encoding="utf-8", errors="replace") as lines:
            for number, line in enumerate(lines, 1):
                found = INCLUDE.match(line)
                if not found:
                    continue
                count += 1
                reason = wrong(path, found[1], found[2])
                if reason:
                    problems.append(f"{path}:{number}: includes {found[2]}: {reason}")
    if count == 0:
        problems.append(f"{root}: no includes found")
    return problems


def self_test():
    allowed = [("agent/conf/a.c", '"', "agent/base/err.h"), ("agent/store/a.c", '"', "agent/fs/meta.h"),
               ("agent/main.c", '"', "agent/cli/cmd.h"), ("agent/base/a.c", "<", "uv.h"),
               ("agent/net/a.c", '"', "protocol/wire.h"), ("protocol/a.c", "<", "string.h"),
               ("protocol/a.c", '"', "protocol/rd.h"), ("agent/watch/child/a.c", '"', "agent/base/err.h")]
    refused = [("agent/base/a.c", '"', "agent/conf/conf.h"), ("agent/store/a.c", '"', "agent/net/link.h"),
               ("agent/watch/a.c", '"', "agent/store/store.h"), ("agent/fs/a.c", '"', "agent/sync/scan.h"),
               ("protocol/a.c", "<", "uv.h"), ("protocol/a.c", "<", "unistd.h"),
               ("protocol/a.c", '"', "agent/base/err.h"), ("agent/fs/a.c", '"', "meta.h"),
               ("agent/ops/a.c", '"', "agent/node/node.h"), ("agent/fs/a.c", '"', "agent/new/x.h")]
    return ([f"refused: {case}" for case in allowed if wrong(*case)] +
            [f"allowed: {case}" for case in refused if not wrong(*case)])


def main():
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    problems = self_test() or check(sys.argv[1])
    for problem in problems:
        print(problem)
    sys.exit(1 if problems else 0)


if __name__ == "__main__":
    main()
