"""A root that is not what it was: unmounted, replaced, unreadable. Nothing is deleted because of it."""

import json
import os
import shutil
import subprocess

import pytest

import sample
import trees
from harness import DONE, NO, REFUSED, USAGE, Node


def mount(*arguments):
    done = subprocess.run(["mount", *map(str, arguments)], capture_output=True, text=True)
    if done.returncode != 0:
        pytest.skip(f"mount: {done.stderr.strip()}")


def unmount(where):
    """@return False when nothing was mounted there"""
    return subprocess.run(["umount", "--lazy", str(where)], capture_output=True).returncode == 0


@pytest.fixture(params=["bind", "loop"])
def mounted(request, home):
    """(directory that is a mount, function that mounts it again)."""
    if os.geteuid() != 0:
        pytest.skip("mounting needs root")
    where = home / "mounted"
    where.mkdir()
    if request.param == "bind":
        (home / "store").mkdir()
        arguments = ["--bind", home / "store", where]
    else:
        image = home / "image"
        with open(image, "wb") as file:
            file.truncate(64 << 20)
        subprocess.run(["mkfs.ext4", "-q", "-I", "256", str(image)], check=True, capture_output=True)
        arguments = ["-o", "loop", image, where]
    mount(*arguments)
    if request.param == "loop":
        (where / "lost+found").rmdir()
    yield where, lambda: mount(*arguments)
    # ismount() does not see a bind mount within one file system
    while unmount(where):
        pass


def unhealthy(status):
    """`unhealthy`, with a reason somebody can act on."""
    if status["state"] != "unhealthy":
        return False
    root = next(each for each in status["roots"] if each["path"] == "")
    reason = root.get("reason") or root.get("why") or " ".join(map(str, status["problems"]))
    return root["healthy"] is False and reason


def assert_nothing_is_sent(pair):
    """The active is asked to bring everything over, given time to do it, and says no."""
    answer = pair.active.cli("wait", "--timeout", "2")
    assert answer.exit != 0, repr(answer)


def mounted_pair(make_pair, home, mounted, side):
    where, again = mounted
    pair = make_pair(init=False)
    node = pair.nodes[side]
    node.tree.rmdir()
    node.tree = where
    pair.init()
    sample.write(pair.active.tree, 1)
    pair.start()
    pair.converge()
    return pair, node, again


@pytest.mark.parametrize("side", [0, 1], ids=["active", "passive"])
def test_unmounted_while_running(make_pair, home, mounted, side):
    pair, node, again = mounted_pair(make_pair, home, mounted, side)
    before = trees.snapshot(pair.passive.tree)
    assert unmount(node.tree)
    node.wait_for("it is unhealthy, with the reason", unhealthy, 30)
    if side == 0:
        assert trees.snapshot(pair.passive.tree) == before
        assert pair.active.cli("status").exit == 1
    else:
        (pair.active.tree / "README.txt").write_bytes(b"changed while the passive has no root")
        pair.active.wait_for("the change is pending", lambda s: s["peers"][0]["pending_changes"] > 0)
        assert os.listdir(node.tree) == [], "something was written beneath the mount point"
    again()
    node.wait_for("it is healthy again", lambda s: s["state"] != "unhealthy", 30)
    pair.converge()


@pytest.mark.parametrize("side", [0, 1], ids=["active", "passive"])
def test_not_mounted_at_start(make_pair, home, mounted, side):
    pair, node, again = mounted_pair(make_pair, home, mounted, side)
    node.stop()
    assert unmount(node.tree)
    before = None if side else trees.snapshot(pair.passive.tree)
    node.start()
    node.wait_for("it is unhealthy, with the reason", unhealthy, 30)
    if side == 0:
        assert_nothing_is_sent(pair)
        assert trees.snapshot(pair.passive.tree) == before
    assert os.listdir(node.tree) == []
    again()
    node.wait_for("it is healthy again", lambda s: s["state"] != "unhealthy", 30)
    (pair.active.tree / "README.txt").write_bytes(b"and on it goes")
    pair.converge()


@pytest.mark.short
def test_replaced_by_an_empty_directory_while_running(pair, home):
    sample.write(pair.active.tree, 1)
    pair.converge()
    before = trees.snapshot(pair.passive.tree)
    aside = home / "aside"
    pair.active.tree.rename(aside)
    pair.active.tree.mkdir()
    pair.active.wait_for("it is unhealthy, with the reason", unhealthy, 30)
    assert trees.snapshot(pair.passive.tree) == before
    assert_nothing_is_sent(pair)
    assert trees.snapshot(pair.passive.tree) == before
    pair.active.tree.rmdir()
    aside.rename(pair.active.tree)
    pair.active.wait_for("it is healthy again", lambda s: s["state"] != "unhealthy", 30)
    pair.converge()


def test_replaced_by_an_empty_directory_while_down(pair):
    sample.write(pair.active.tree, 1)
    pair.converge()
    before = trees.snapshot(pair.passive.tree)
    pair.active.stop()
    shutil.rmtree(pair.active.tree)
    pair.active.tree.mkdir()
    pair.active.start()
    pair.active.wait_for("it is unhealthy, with the reason", unhealthy, 30)
    assert_nothing_is_sent(pair)
    assert trees.snapshot(pair.passive.tree) == before
    check = pair.active.cli("check")
    assert check.exit != 0 and str(pair.active.tree) in check.text, repr(check)


def test_gone_while_down(pair, home):
    sample.write(pair.active.tree, 1)
    pair.converge()
    before = trees.snapshot(pair.passive.tree)
    pair.active.stop()
    pair.active.tree.rename(home / "aside")
    pair.active.start()
    pair.active.wait_for("it is unhealthy, with the reason", unhealthy, 30)
    assert trees.snapshot(pair.passive.tree) == before
    (home / "aside").rename(pair.active.tree)
    pair.active.wait_for("it is healthy again", lambda s: s["state"] != "unhealthy", 30)
    pair.converge()


def test_an_emptied_root_is_still_a_root(make_pair):
    """Deleting everything by hand, with the marker left, is a change like any other.

    The delete brake may hold it; without the brake it is replicated.
    """
    pair = make_pair(settings={"max_delete": 0})
    trees.make_many(pair.active.tree, 30, 100)
    pair.start()
    pair.converge()
    shutil.rmtree(pair.active.tree / "d0000")
    pair.converge()
    assert sorted(os.listdir(pair.passive.tree)) == [".artifact-sync"]


def test_an_unreadable_directory_hides_nothing(make_pair, home):
    """Deletions beneath what cannot be read are suppressed; all else goes on."""
    if os.geteuid() == 0:
        pytest.skip("root reads everything; the fault tests cover this")
    pair = make_pair()
    trees.make_many(pair.active.tree, 20, 100)
    pair.start()
    pair.converge()
    (pair.active.tree / "d0000").chmod(0)
    pair.active.stop()
    pair.active.start()
    (pair.active.tree / "other").write_bytes(b"goes on")
    pair.passive.wait_for("the rest goes on", lambda s: (pair.passive.tree / "other").exists())
    assert len(os.listdir(pair.passive.tree / "d0000")) == 20
    (pair.active.tree / "d0000").chmod(0o755)
    pair.converge()


def linked_pair(make_pair, home):
    """`tenants` is a link to another directory on the active, as the server's documentation advises,
    and a plain directory on the passive."""
    pair = make_pair(profile="wso2is", init=False)
    (home / "elsewhere").mkdir()
    (pair.active.tree / "tenants").symlink_to(home / "elsewhere")
    (pair.passive.tree / "tenants").mkdir()
    pair.init(adopt=True, follow=["tenants"])
    sample.write(home / "made", 1)
    for source, target in (("tenants", "elsewhere"), ("deployment", "a/tree/deployment")):
        shutil.copytree(home / "made" / source, home / target, dirs_exist_ok=True)
    pair.start()
    pair.wait()
    return pair


def test_a_followed_link_is_a_root_of_its_own(make_pair, home):
    pair = linked_pair(make_pair, home)
    roots = {root["path"]: root["healthy"] for root in pair.active.status()["roots"]}
    assert roots == {"": True, "tenants": True}
    store = "tenants/3/userstores/STAFF.xml"
    content = sample.user_store("STAFF3", revision=2)
    (pair.active.tree / store).write_bytes(content)
    pair.passive.wait_for("the change behind the link arrives",
                          lambda s: (pair.passive.tree / store).read_bytes() == content, 60)
    pair.wait()
    assert (pair.active.tree / "tenants").is_symlink()
    assert pair.active.status()["digest"] == pair.passive.status()["digest"]


def test_a_followed_link_that_leads_nowhere_deletes_nothing(make_pair, home):
    pair = linked_pair(make_pair, home)
    before = trees.snapshot(pair.passive.tree, "tenants")
    (home / "elsewhere").rename(home / "aside")
    (home / "elsewhere").mkdir()
    status = pair.active.wait_for_state("unhealthy", timeout=30)
    bad = [root["path"] for root in status["roots"] if not root["healthy"]]
    assert bad == ["tenants"]
    assert trees.snapshot(pair.passive.tree, "tenants") == before
    (home / "elsewhere").rmdir()
    (home / "aside").rename(home / "elsewhere")
    pair.active.wait_for("it is healthy again", lambda s: s["state"] != "unhealthy", 30)
    pair.wait()


def test_one_more_followed_directory_does_not_unbind_the_others(pair, home):
    """The state knows its tree; a `follow` that is new and not healthy yet changes nothing of that."""
    (pair.active.tree / "base").write_bytes(b"base")
    pair.converge()
    pair.active.stop()
    pair.active.tree.rename(home / "aside")
    other = Node(home, "other", "active", tree=pair.active.tree)
    other.init()
    (pair.active.tree / "foreign").write_bytes(b"of another tree")
    (pair.active.tree / "ten").mkdir()
    pair.active.configure(follow=["ten"])
    for _ in range(2):  # a start must not make the next one believe it
        pair.active.start()
        pair.active.wait_for("it is unhealthy, with the reason", unhealthy, 30)
        assert_nothing_is_sent(pair)
        pair.active.stop()
    assert (pair.passive.tree / "base").read_bytes() == b"base"
    assert not (pair.passive.tree / "foreign").exists()
    shutil.rmtree(pair.active.tree)
    (home / "aside").rename(pair.active.tree)
    pair.active.configure(follow=None)
    pair.active.start()
    pair.converge()


def test_a_tree_has_one_agent(pair, home):
    """A second agent, with a state directory of its own, would empty the first one's staging."""
    node = pair.active
    aside = home / "aside"
    node.stop()
    node.tree.rename(aside)
    node.tree.mkdir()
    other = Node(home, "other", "active", tree=aside)
    answer = other.init()
    assert "node a" in answer.out and json.loads(other.config.read_text())["tree"] == str(aside)
    node.tree.rmdir()
    aside.rename(node.tree)
    other.configure(tree=str(node.tree))
    node.start()
    refused = other.cli("agent")
    assert refused.exit != DONE and "node a of group is" in refused.text, repr(refused)
    again = Node(home, "again", "active", tree=node.tree).init(check=False)
    assert again.exit == REFUSED and "node a of group is" in again.text, repr(again)
    pair.converge()
    node.stop()
    other.start()
    other.wait_for("it is healthy when the first has gone", lambda s: s["roots"][0]["healthy"])
    other.stop()
    node.start()


@pytest.mark.parametrize("inside", [True, False])
def test_init_refuses_a_tree_within_a_tree(home, inside):
    inner = home / "one" / "tree" / "some" / "where"
    inner.mkdir(parents=True)
    outer = Node(home, "one", "active")
    other = Node(home, "two", "active", tree=inner)
    first, second = (outer, other) if inside else (other, outer)
    first.init()
    answer = second.init(check=False)
    assert answer.exit == REFUSED and "another node" in answer.text, repr(answer)
    assert not second.config.exists() and not second.state.exists()


def test_one_more_followed_directory_on_a_node_that_exists(pair, home):
    """`check' says what to type, and that is what helps."""
    node = pair.active
    (node.tree / "file").write_bytes(b"x")
    pair.converge()
    (home / "elsewhere").mkdir()
    (home / "elsewhere" / "inner").write_bytes(b"beneath")
    (node.tree / "ten").symlink_to(home / "elsewhere")
    pair.converge()
    running = node.cli("init", "--follow", "ten")
    assert running.exit == REFUSED and "stop" in running.text, repr(running)
    node.stop()
    node.configure(follow=["ten"])
    told = node.cli("check")
    assert f"artifact-sync init --config {node.config} --follow ten" in told.out, repr(told)
    for path, code in (("../out", USAGE), ("nowhere", NO)):
        wrong = node.cli("init", "--follow", path)
        assert wrong.exit == code and "What to do" in wrong.err, repr(wrong)
    node.configure(follow=None)
    for _ in range(2):  # to do it again is no mistake
        answer = node.cli("init", "--follow", "ten", "--json")
        assert answer.exit == DONE and answer.json["follow"] == ["ten"], repr(answer)
    assert json.loads(node.config.read_text())["follow"] == ["ten"]
    assert node.cli("check").exit == DONE
    node.start()
    pair.passive.wait_for("what is beneath arrives",
                          lambda s: (pair.passive.tree / "ten" / "inner").is_file(), 60)
    pair.wait()
    node.stop()
    shutil.rmtree(node.tree)
    node.tree.mkdir()
    (node.tree / "more").mkdir()
    lost = node.cli("init", "--follow", "more")
    assert lost.exit == NO and "not healthy" in lost.err, repr(lost)
    assert os.listdir(node.tree / "more") == []
