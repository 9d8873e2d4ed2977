"""A tree that never stops changing is still proven, and commands still end."""

import itertools
import threading

from harness import DONE
import trees
from waiting import wait_until


class Writer:
    """Writes small files as fast as it can until it is told to stop."""

    def __init__(self, directory):
        self.directory = directory
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self.run)

    def run(self):
        for number in itertools.count():
            if self.stop.is_set():
                return
            (self.directory / f"f{number % 500}").write_bytes(b"%d" % number * 20)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.stop.set()
        self.thread.join()


def test_the_recovery_point_moves_while_the_tree_never_rests(pair):
    (pair.active.tree / "busy").mkdir()
    pair.converge()
    with Writer(pair.active.tree / "busy"):
        seen = {pair.passive.status()["recovery_point"]}

        def moved():
            seen.add(pair.passive.status()["recovery_point"])
            return len(seen) >= 4
        wait_until("the recovery point has moved three times", moved, 120)
        answer = pair.active.cli("wait", "--timeout", "120", timeout=150)
        assert answer.exit == DONE, repr(answer)
    pair.converge()
    trees.assert_same(pair.active.tree, pair.passive.tree)
