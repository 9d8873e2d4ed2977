"""A local user of the passive's machine who swaps names in the tree while batches are being published:
    racer.py TREE OUTSIDE    until its standard input ends; then everything stands where it stood.

OUTSIDE lies on the same file system and holds what is swapped in: `link` (to the canary), `fifo`,
`file`, and a directory `decoy`. Prints how often each trick came off.
"""

import ctypes
import json
import os
import select
import sys

LIBC = ctypes.CDLL(None, use_errno=True)
AT_FDCWD, EXCHANGE, NOREPLACE = -100, 2, 1


def rename(source, target, flags):
    """@return True when it was done"""
    return LIBC.renameat2(AT_FDCWD, os.fsencode(source), AT_FDCWD, os.fsencode(target), flags) == 0


class Swap:
    """A name of the tree and something outside, exchanged and exchanged back."""

    def __init__(self, inside, outside):
        self.inside, self.outside, self.swapped, self.times = inside, outside, False, 0

    def step(self):
        if rename(self.outside, self.inside, EXCHANGE):
            self.swapped = not self.swapped
            self.times += 1

    def restore(self):
        """Where nothing stands any more, because it was deleted meanwhile, nothing comes out either."""
        if self.swapped:
            self.step()
        if self.swapped and rename(self.outside, self.inside, NOREPLACE):
            self.swapped = False
        return not self.swapped


class Away:
    """A directory renamed away and back. When another has been made meanwhile, they change places."""

    def __init__(self, inside, outside):
        self.inside, self.outside, self.away, self.times = inside, outside, False, 0

    def step(self):
        if not self.away:
            self.away = rename(self.inside, self.outside, NOREPLACE)
            self.times += self.away
        elif rename(self.outside, self.inside, NOREPLACE):
            self.away = False
        else:
            rename(self.outside, self.inside, EXCHANGE)

    def restore(self):
        if self.away and rename(self.outside, self.inside, NOREPLACE):
            self.away = False
        return True  # where another one stands, that one stays


def main():
    tree, outside = sys.argv[1:3]
    tricks = {
        "link": Swap(f"{tree}/swapped", f"{outside}/link"),
        "away": Away(f"{tree}/away", f"{outside}/away"),
        "fifo": Swap(f"{tree}/files/file0", f"{outside}/fifo"),
        "decoy": Swap(f"{tree}/decoyed", f"{outside}/decoy"),
        "deep": Swap(f"{tree}/deep/down", f"{outside}/link2"),
    }
    print("racing", flush=True)
    while not select.select([sys.stdin], [], [], 0)[0]:
        for trick in tricks.values():
            trick.step()
    for trick in tricks.values():
        while not trick.restore():
            pass
    print(json.dumps({name: trick.times for name, trick in tricks.items()}))


main()
