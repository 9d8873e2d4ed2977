"""Turning the roles round: the command, hooks that write down when they ran, groups of three, and what
an old active had that its successor never got."""

import itertools
import os
import re
import sqlite3
from pathlib import Path

import trees
from harness import DONE, STARTS_WITHIN, Node
from proxy import Proxy
from waiting import SCALE, wait_until

HOOKS = ("before_demote", "after_demote", "before_promote", "after_promote", "on_fenced")


# -- the command ------------------------------------------------------------------------------------

def reverse(node, *options, timeout=150):
    """`reverse --yes --json`: whoever wants to be asked, or to read text, calls node.cli()."""
    return node.cli("reverse", "--yes", "--json", *options, timeout=timeout)


def failover(node, *options, timeout=150):
    return reverse(node, "--failover", *options, timeout=timeout)


def done(answer, active, old=None):
    """The answer of a reverse that took place."""
    assert answer.exit == DONE, repr(answer)
    told = answer.json
    assert told["outcome"] == "done" and told["active"] == active.name, repr(answer)
    if old is not None:
        assert told["from"] == old.name, repr(answer)
    return told


def refused(answer, exit_code, *words):
    """The answer of one that did not, and all the reasons it names."""
    assert answer.exit == exit_code, repr(answer)
    for word in words:
        assert re.search(word, answer.text, re.IGNORECASE), f"nothing is said of /{word}/: {answer!r}"
    return answer


def swap(pair):
    """After a reverse: the harness calls them by what they are now."""
    pair.active, pair.passive = pair.passive, pair.active
    return pair


def roles_of(nodes):
    return {node.name: (node.status() or {}).get("role") for node in nodes}


def at_rest(pair):
    """Until nothing of a change of roles is under way: who is told that one failed may hear of it before the
    other side does."""
    for node in pair.nodes:
        wait_until(f"{node.name} is at rest", lambda node=node: (node.ask("role") or {}).get("phase") == "resting")


def settle(pair, timeout=60):
    """Until exactly one node is active, the others are passive, and all are in sync; without anybody's
    help. @return the active one; pair.active and pair.passive follow"""
    def settled():
        states = {node: node.status() for node in pair.nodes}
        assert all(states.values()), "somebody does not answer"
        text = {node.name: (s["role"], s["state"], s["epoch"]) for node, s in states.items()}
        assert sorted(s["role"] for s in states.values()) == ["active"] + ["passive"] * (len(states) - 1), text
        assert all(s["state"] == "in_sync" for s in states.values()), text
        assert len({s["epoch"] for s in states.values()}) == 1, text
        at_rest(pair)
        return next(node for node, s in states.items() if s["role"] == "active")
    try:
        active = wait_until("one is active and all are in sync", settled, timeout)
    except AssertionError as error:
        raise AssertionError(f"{error}\n{pair.report()}") from None
    pair.active = active
    pair.passive = next(node for node in pair.nodes if node is not active)
    return active


def unchanged(pair, epoch):
    """All is as it was before a reverse that did not take place: the same active, and changes flow."""
    assert settle(pair) is pair.nodes[0]
    assert pair.active.status()["epoch"] == epoch
    (pair.active.tree / f"afterwards {epoch}").write_text("changes flow as before")
    pair.converge()


# -- hooks ------------------------------------------------------------------------------------------

SCRIPT = """#!/bin/sh
# usage: hook DIRECTORY NODE HOOK: notes when and with what it was called; waits and fails as it is told
made=$(mktemp "$1/.call.XXXXXX") || exit 9
env > "$made"
mv "$made" "$1/call.$(date +%s%N).$2.$3"
while [ -e "$1/hold.$2.$3" ]; do sleep 0.02; done
if [ -e "$1/fail.$2.$3" ]; then cat "$1/fail.$2.$3"; exit 3; fi
"""


class Hooks:
    """The same hook for everything on all nodes. Before the agents start."""

    def __init__(self, nodes, home, hooks=HOOKS):
        self.directory = Path(home) / "hooks"
        self.directory.mkdir()
        script = self.directory / "hook"
        script.write_text(SCRIPT)
        script.chmod(0o755)
        for node in nodes:
            node.configure(hooks={hook: [str(script), str(self.directory), node.name, hook] for hook in hooks})

    def calls(self):
        """[(node, hook, facts)], the oldest first. facts: its ARTIFACT_SYNC_* without that."""
        found = []
        for path in sorted(self.directory.glob("call.*")):
            _, _, node, hook = path.name.split(".")
            pairs = (line.partition("=") for line in path.read_text().splitlines())
            values = {name: value for name, _, value in pairs}
            found.append((node, hook, {name.removeprefix("ARTIFACT_SYNC_"): value
                                       for name, value in values.items() if name.startswith("ARTIFACT_SYNC_")}))
        return found

    def names(self):
        return [f"{node} {hook}" for node, hook, _ in self.calls()]

    def environments(self):
        return [path.read_text() for path in sorted(self.directory.glob("call.*"))]

    def wait_for(self, name, count=1, timeout=30):
        wait_until(f"the hook {name} has run", lambda: self.names().count(name) >= count, timeout)

    def forget(self):
        for path in self.directory.glob("call.*"):
            path.unlink()

    def hold(self, node, hook):
        (self.directory / f"hold.{node.name}.{hook}").touch()

    def let_go(self, node, hook):
        (self.directory / f"hold.{node.name}.{hook}").unlink()

    def fail(self, node, hook, text="this hook was told to fail"):
        (self.directory / f"fail.{node.name}.{hook}").write_text(text)

    def mend(self, node, hook):
        (self.directory / f"fail.{node.name}.{hook}").unlink()


# -- what an old active had alone -------------------------------------------------------------------

def files_of(top):
    """{path: entry} of everything but directories, whose times follow what is in them."""
    return {os.fsdecode(path): entry for path, entry in trees.snapshot(top).items() if entry[0] != "directory"}


def differing(one, other):
    """The paths at which two trees differ, found without the program."""
    ours, theirs = files_of(one), files_of(other)
    return {path for path in ours.keys() | theirs.keys() if ours.get(path) != theirs.get(path)}


def contents(top, paths):
    """{path: bytes} of those of the paths that are regular files there."""
    return {path: Path(top, path).read_bytes() for path in paths
            if Path(top, path).is_file() and not Path(top, path).is_symlink()}


def told_name(text):
    """A name as JSON tells it: \\\\ for a backslash, \\xHH for a byte that is no UTF-8."""
    def byte(found):
        return b"\\" if found[1] == b"\\" else bytes([int(found[1][1:], 16)])
    return os.fsdecode(re.sub(rb"\\(\\|x[0-9a-f]{2})", byte, text.encode()))


def all_salvaged(node):
    """{path: [bytes]} of everything in a node's salvage, also within directories salvaged whole."""
    found = {}
    for entry in node.salvaged():
        shown = node.cli("salvage", "show", str(entry["id"]), "--json")
        assert shown.exit == DONE, repr(shown)
        place = Path(told_name(shown.json["location"]))
        for path in [place] if place.is_symlink() or not place.is_dir() else place.rglob("*"):
            # A link is not followed, not even to look what it leads to: that may be no name at all.
            if not path.is_symlink() and path.is_file():
                name = os.path.normpath(os.path.join(told_name(entry["path"]), os.path.relpath(path, place)))
                found.setdefault(name, []).append(path.read_bytes())
    return found


def assert_all_salvaged(node, lost):
    """@param lost {path: bytes}"""
    have = all_salvaged(node)
    missing = [path for path, content in lost.items() if content not in have.get(path, [])]
    assert not missing, f"{len(missing)} of {len(lost)} are not in the salvage of {node.name}: " \
        f"{missing[:20]}\nit has {sorted(have)[:40]}"


def lineage_of(node):
    """[(number, node)] of a node's lineage, also while its agent runs."""
    with sqlite3.connect(f"file:{node.state / 'state.db'}?mode=ro", uri=True) as database:
        return database.execute("SELECT number, node FROM lineage ORDER BY position").fetchall()


# -- three nodes ------------------------------------------------------------------------------------

class Group:
    """One active and several passives, each pair of them through a proxy of its own. Looks like a Pair
    to what waits for it; `active` and `passive` (the first) follow settle()."""

    def __init__(self, home, names="abc", settings=None):
        self.nodes = tuple(Node(home, name, "passive" if at else "active") for at, name in enumerate(names))
        self.active, self.passive = self.nodes[:2]
        self.proxies = {}
        for node in self.nodes:
            node.init()
        for one, other in itertools.permutations(self.nodes, 2):
            proxy = self.proxies[one.name, other.name] = Proxy(other.port)
            one.pair(other, address=f"127.0.0.1:{proxy.port}")
        for node in self.nodes if settings else ():
            node.configure(**settings)

    def start(self):
        for node in self.nodes:
            node.start(wait=False)
        for node in self.nodes:
            wait_until(f"the agent of {node.name} answers", node._answers, STARTS_WITHIN)
        return self

    def meet(self, timeout=30):
        """Until each has met each: also passives ask each other, when one is to take over."""
        def met():
            for node in self.nodes:
                apart = [peer["node"] for peer in node.status()["peers"] if not peer["connected"]]
                assert not apart, f"{node.name} is not connected to {apart}"
            return True
        wait_until("each has met each", met, timeout)

    def _between(self, one, other):
        return self.proxies[one.name, other.name], self.proxies[other.name, one.name]

    def cut(self, one, other):
        for proxy in self._between(one, other):
            proxy.cut()

    def restore(self, one, other):
        for proxy in self._between(one, other):
            proxy.restore()

    def bytes_between(self, one, other):
        return sum(proxy.bytes for proxy in self._between(one, other))

    def wait(self, timeout=60):
        answer = self.active.cli("wait", "--timeout", str(int(timeout * SCALE)), timeout=timeout + 30)
        assert answer.exit == DONE, f"{answer!r}\n{self.report()}"

    def converge(self, timeout=60):
        self.wait(timeout)
        for node in self.nodes:
            if node is not self.active and node.running:
                trees.assert_same(self.active.tree, node.tree)
                assert node.status()["digest"] == self.active.status()["digest"]

    def report(self):
        return "\n".join(f"--- {node.name}: {node.status() if node.running else 'does not run'}\n{node.log_tail()}"
                         for node in self.nodes)

    def close(self):
        codes = {node.name: node.abandon() for node in self.nodes}
        for each in self.proxies.values():
            each.close()
        return {name: code for name, code in codes.items() if code != 0}
