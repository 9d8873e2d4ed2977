"""Consistency sets: what belongs together is new together or old together on the passive."""

import collections
import os
import random
import signal
import sqlite3

import pytest

from harness import NO, USAGE, held_paths, problem_text
from waiting import wait_until

RULES = ["+ set=webapp:{1} webapps/*.war", "+ set=webapp:{1} webapps/*/**",
         "+ set=stores userstores/**", "+ set=keys security/*", "+ set=keys conf/server.toml"]
SETTINGS = {"rules": RULES, "set_settle_ms": 150}
KILLS = 4  # while one version is awaited: without end it might never arrive


def write_application(tree, version, chooser):
    """One version of an archive, what was unpacked from it, and the files of the one before removed.

    The archive stays open until all is written, so that the set is never quiet before, however slow
    this process is at the moment.
    """
    top = tree / "webapps"
    (top / "shop" / "WEB-INF").mkdir(parents=True, exist_ok=True)
    with open(top / "shop.war", "wb", buffering=0) as archive:
        archive.write(b"%08d" % version)
        (top / "shop" / "index.jsp").write_bytes(b"%08d" % version)
        new = top / "shop" / "WEB-INF" / "web.new"
        new.write_bytes(b"%08d" % version)
        os.replace(new, top / "shop" / "WEB-INF" / "web.xml")
        for old in (top / "shop").glob("only-*"):
            old.unlink()
        (top / "shop" / f"only-{version:08d}").write_bytes(b"%08d" % version)
        archive.write(chooser.randbytes(chooser.choice((10, 10, 100_000, 2_000_000))))


def write_keys(tree, version):
    for name in ("security", "conf"):
        (tree / name).mkdir(exist_ok=True)
    with open(tree / "security" / "main.jks", "wb", buffering=0) as store:
        store.write(b"%08d" % version)
        (tree / "conf" / "server.toml").write_bytes(b"%08d" % version)
        (tree / "security" / "trust.jks").write_bytes(b"%08d" % version)


def version_of(path):
    try:
        return path.read_bytes()[:8]
    except FileNotFoundError:
        return None


def application(tree):
    """The versions that its members are of."""
    top = tree / "webapps"
    only = {name.name[5:].encode() for name in (top / "shop").glob("only-*")} or {None}
    return only | {version_of(top / "shop.war"), version_of(top / "shop" / "index.jsp"),
                   version_of(top / "shop" / "WEB-INF" / "web.xml")}


def keys(tree):
    return {version_of(tree / name)
            for name in ("security/main.jks", "security/trust.jks", "conf/server.toml")}


def is_publishing(node):
    """Is a batch in the journal? Between two of them nothing in the tree changes."""
    database = sqlite3.connect(f"file:{node.state / 'state.db'}?mode=ro", uri=True, timeout=20)
    try:
        return database.execute("SELECT count(*) FROM journal").fetchone()[0] > 0
    finally:
        database.close()


def between_batches(node, look):
    """look() while the agent stands still between two batches; None when it stood within one."""
    os.kill(node.pid, signal.SIGSTOP)
    try:
        return None if is_publishing(node) else look()
    finally:
        os.kill(node.pid, signal.SIGCONT)


def assert_whole(node):
    """@return whether it could be seen"""
    seen = between_batches(node, lambda: (application(node.tree), keys(node.tree)))
    if seen is None:
        return False
    for versions in seen:
        assert len(versions) == 1, f"new and old members beside each other: {versions}\n{node.log_tail()}"
    return True


@pytest.fixture
def sets(make_pair):
    def make(**settings):
        pair = make_pair(settings={**SETTINGS, **settings})
        write_application(pair.active.tree, 1, random.Random(1))
        write_keys(pair.active.tree, 1)
        pair.start()
        pair.converge()
        return pair
    return make


def change_often(pair, chooser, steps, between):
    for version in range(2, 2 + steps):
        write_application(pair.active.tree, version, chooser)
        if chooser.random() < 0.6:
            write_keys(pair.active.tree, version)
        (pair.active.tree / "beside").write_bytes(b"%d" % version)
        # Sometimes the next transaction meets the one before on its way.
        if chooser.random() < 0.7:
            awaited = b"%08d" % version
            wait_until("the passive has it", lambda awaited=awaited: between(awaited), 60, 0.005)
        else:
            for _ in range(chooser.randrange(20)):
                between(None)


@pytest.mark.short
def test_members_change_together(sets, seed):
    # A large member takes longer than the others: without sets these would be there before it.
    pair = sets(limits={"rate_bytes_per_s": 4 << 20})
    seen = 0

    def look(awaited):
        nonlocal seen
        seen += assert_whole(pair.passive)
        return version_of(pair.passive.tree / "webapps" / "shop.war") == awaited
    change_often(pair, random.Random(seed), 15, look)
    assert seen > 15
    pair.converge()
    assert_whole(pair.passive)
    pair.assert_tidy()


def test_members_change_together_while_the_passive_is_killed(sets, seed):
    pair = sets()
    chooser = random.Random(seed)
    kills = collections.Counter()

    def look(awaited):
        if kills[awaited] < KILLS and chooser.random() < 0.08:
            kills[awaited] += 1
            pair.passive.kill()
            pair.passive.start()
            # The batch that the kill interrupted is rolled forward before the agent answers.
            wait_until("it stands between two batches", lambda: assert_whole(pair.passive))
        return version_of(pair.passive.tree / "webapps" / "shop.war") == awaited
    change_often(pair, chooser, 12, look)
    pair.converge()
    pair.assert_tidy()
    assert pair.passive.status()["salvage"] == 0


def test_members_change_together_while_the_active_is_killed(sets, seed):
    pair = sets()
    chooser = random.Random(seed)
    kills = collections.Counter()

    def look(awaited):
        if kills[awaited] < KILLS and chooser.random() < 0.05:
            kills[awaited] += 1
            pair.active.kill()
            pair.active.start()
        assert_whole(pair.passive)
        return version_of(pair.passive.tree / "webapps" / "shop.war") == awaited
    change_often(pair, chooser, 10, look)
    pair.converge()
    pair.assert_tidy()


@pytest.mark.short
def test_a_torn_member_holds_its_set(make_pair):
    pair = make_pair(settings=SETTINGS)
    stores = pair.active.tree / "userstores"
    stores.mkdir()
    (stores / "A.xml").write_bytes(b"<old/>")
    (stores / "A.key").write_bytes(b"old")
    pair.start()
    pair.converge()
    with open(stores / "A.xml", "wb", buffering=0) as torn:  # open until all is written: one change
        torn.write(b"<ne")
        (stores / "A.key").write_bytes(b"new")
        (stores / "A.cert").write_bytes(b"new")
        torn.write(b"w>")
    held = pair.active.wait_for("it is held", lambda s: "userstores/A.xml" in held_paths(s))
    assert "stores" in problem_text(held) and "userstores/A.xml" in problem_text(held)
    (pair.active.tree / "beside").write_bytes(b"1")
    wait_until("what is not in the set arrives", (pair.passive.tree / "beside").exists)
    there = pair.passive.tree / "userstores"
    assert (there / "A.xml").read_bytes() == b"<old/>"
    assert (there / "A.key").read_bytes() == b"old" and not (there / "A.cert").exists()
    answer = pair.active.cli("wait", "--timeout", "50")
    assert answer.exit == NO and "A.xml" in answer.text, repr(answer)

    (stores / "A.xml").write_bytes(b"<new/>")
    wait_until("the mended file has arrived", lambda: (there / "A.xml").read_bytes() == b"<new/>")
    pair.converge()
    assert (there / "A.key").read_bytes() == b"new" and (there / "A.cert").exists()
    assert not pair.active.status()["held"]


def test_a_refused_member_keeps_its_set_back(make_pair):
    pair = make_pair(settings=SETTINGS)
    write_keys(pair.active.tree, 1)
    pair.start()
    pair.converge()
    pair.passive.stop()
    pair.passive.configure(rules=["- security/trust.jks", *RULES])
    pair.passive.start()
    write_keys(pair.active.tree, 2)
    status = pair.active.wait_for("the refusal is reported",
                                  lambda s: "security/trust.jks" in problem_text(s))
    assert "refused" in problem_text(status)
    (pair.active.tree / "beside").write_bytes(b"1")
    wait_until("what is not in the set arrives", (pair.passive.tree / "beside").exists)
    assert keys(pair.passive.tree) == {b"%08d" % 1}
    pair.passive.stop()
    pair.passive.configure(rules=RULES)
    pair.passive.start()
    pair.converge()
    assert keys(pair.passive.tree) == {b"%08d" % 2}


def test_nothing_of_a_set_cut_in_the_midst_is_there(make_pair, seed):
    pair = make_pair(proxied=True, settings={**SETTINGS, "limits": {"rate_bytes_per_s": 1 << 16}})
    chooser = random.Random(seed)
    write_application(pair.active.tree, 1, random.Random(1))
    write_keys(pair.active.tree, 1)
    pair.start()
    pair.converge()
    top = pair.active.tree / "webapps"
    with open(top / "shop.war", "wb", buffering=0) as archive:
        archive.write(b"%08d" % 2)
        for name in ("index.jsp", "WEB-INF/web.xml"):
            (top / "shop" / name).write_bytes(b"%08d" % 2)
        next((top / "shop").glob("only-*")).rename(top / "shop" / f"only-{2:08d}")
        archive.write(chooser.randbytes(3 << 20))
    stage = pair.passive.tree / ".artifact-sync" / "stage"

    def is_staging():
        """More than what measures how long a change takes, which comes by there now and then."""
        try:
            return any(each.stat().st_size > 10_000 for each in stage.iterdir())
        except FileNotFoundError:
            return False
    wait_until("the passive is staging it", is_staging)
    pair.cut()
    wait_until("what was staged is gone", lambda: not pair.passive.staged())
    assert application(pair.passive.tree) == {b"%08d" % 1}
    pair.active.stop()
    pair.active.configure(limits=None)
    pair.active.start()
    pair.restore()
    pair.converge(120)
    assert application(pair.passive.tree) == {b"%08d" % 2}


def test_a_set_larger_than_a_batch_arrives_and_is_reported(make_pair):
    pair = make_pair(settings=SETTINGS)
    top = pair.active.tree / "webapps" / "huge"
    top.mkdir(parents=True)
    for number in range(2100):
        (top / f"{number:04d}").write_bytes(b"1")
    write_keys(pair.active.tree, 1)
    pair.start()
    pair.converge(120)
    status = pair.active.wait_for("it is reported",
                                  lambda s: "set-too-large" in problem_text(s))
    assert "webapp:huge" in problem_text(status)
    assert keys(pair.passive.tree) == {b"%08d" % 1}


@pytest.mark.short
@pytest.mark.parametrize("rule, says", [
    ("+ set=app:{2} webapps/*/**", "wildcard 2"),
    ("+ set=x", "PATTERN"),
    ("- set=x a", "replicated"),
    ("+ set=a/b x", "letters"),
])
def test_a_bad_set_is_named(make_pair, rule, says):
    pair = make_pair(settings={"rules": [rule]})
    answer = pair.active.cli("check")
    assert answer.exit == USAGE and "rules" in answer.text and says in answer.text, repr(answer)
