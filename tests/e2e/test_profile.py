"""Profiles: what is replicated, compared, or left alone, and what they add."""

import os

import pytest

import sample
from waiting import wait_until

REPLICATED = [
    "deployment/server/userstores/A.xml", "tenants/1/userstores/B.xml",
    "tenants/22/eventpublishers/mail.xml", "tenants/22/eventstreams/mail.json",
    "deployment/server/eventpublishers/mail.xml", "deployment/server/eventstreams/mail.json",
    "deployment/server/bpel/flow.zip", "deployment/server/humantasks/task.zip",
]
LEFT_OUT = [
    "deployment/server/userstores/A.xml.bak", "deployment/server/userstores/.A.xml.swp",
    "deployment/server/userstores/.hidden.xml", "deployment/server/userstores/A.enc",
    "deployment/server/userstores/A.xml~", "deployment/server/webapps/app.war",
    "tenants/1/webapps/app/index.jsp", "tenants/x/userstores/B.xml", "conf/deployment.toml",
    "logs/wso2carbon.log", "database/WSO2CARBON_DB.mv.db", "components/plugins/a.jar",
    "resources/security/wso2carbon.jks", "resources/conf/.metadata/m.properties",
]


def content_for(path):
    name = path.rsplit("/", 1)[-1]
    if path.endswith(".json"):
        return sample.event_stream(name)
    if path.endswith(".xml"):
        return sample.user_store(name)
    return f"content of {path}".encode()


def fill(top, paths):
    for path in paths:
        target = top / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content_for(path))


def present(top):
    found = []
    for directory, names, leaves in os.walk(top):
        names[:] = [name for name in names if name != ".artifact-sync"]
        found += [os.path.relpath(os.path.join(directory, leaf), top) for leaf in leaves]
    return sorted(found)


@pytest.mark.short
def test_wso2is_replicates_the_artifacts_and_nothing_else(make_pair):
    pair = make_pair(profile="wso2is")
    fill(pair.active.tree, REPLICATED + LEFT_OUT)
    pair.start()
    pair.wait()
    assert present(pair.passive.tree) == sorted(REPLICATED)
    for path in REPLICATED:
        ours, theirs = pair.active.tree / path, pair.passive.tree / path
        assert ours.read_bytes() == theirs.read_bytes()
        assert ours.stat().st_mtime_ns == theirs.stat().st_mtime_ns
    assert pair.active.status()["digest"] == pair.passive.status()["digest"]
    pair.assert_verified("--deep")
    fill(pair.active.tree, ["logs/another.log", "tenants/3/userstores/C.xml"])
    pair.wait()
    assert present(pair.passive.tree) == sorted(REPLICATED + ["tenants/3/userstores/C.xml"])


def test_local_files_outside_the_profile_are_left_alone(make_pair):
    """The passive's own logs and webapps stay, also when the directory around them is deleted."""
    pair = make_pair(profile="wso2is", init=False)
    local = ["logs/wso2carbon.log", "tenants/5/webapps/local.war", "deployment/server/webapps/x.war"]
    fill(pair.passive.tree, local)
    fill(pair.active.tree, ["tenants/5/userstores/A.xml"])
    pair.init().start()
    pair.wait()
    assert present(pair.passive.tree) == sorted(local + ["tenants/5/userstores/A.xml"])
    (pair.active.tree / "tenants/5/userstores/A.xml").unlink()
    for directory in ("tenants/5/userstores", "tenants/5", "tenants"):
        (pair.active.tree / directory).rmdir()
    pair.wait()
    assert present(pair.passive.tree) == sorted(local)
    pair.active.wait_for_state("in_sync")


def test_equal_seconds_are_told_apart(make_pair):
    """The server compares whole seconds of the mtime only: other content, other second."""
    pair = make_pair(profile="wso2is")
    path = "deployment/server/userstores/A.xml"
    second = 1_700_000_000
    fill(pair.active.tree, [path])
    os.utime(pair.active.tree / path, ns=(second * 10**9 + 100, second * 10**9 + 100))
    pair.start()
    pair.wait()
    assert (pair.passive.tree / path).stat().st_mtime_ns == second * 10**9 + 100
    with open(pair.active.tree / path, "wb") as file:
        file.write(sample.user_store("A", revision=2))
        file.flush()
        os.utime(file.fileno(), ns=(second * 10**9 + 900, second * 10**9 + 900))
    pair.wait()
    arrived = (pair.passive.tree / path).stat()
    assert (pair.passive.tree / path).read_bytes() == sample.user_store("A", revision=2)
    assert arrived.st_mtime_ns // 10**9 == second + 1
    assert pair.active.status()["digest"] == pair.passive.status()["digest"]
    pair.assert_verified("--deep")
    for node in pair.nodes:
        node.stop()
        node.start()
    pair.wait()
    assert pair.passive.status()["drift"] == 0
    assert (pair.passive.tree / path).stat().st_mtime_ns == arrived.st_mtime_ns


def test_rules_add_to_the_profile(make_pair):
    rules = ["- deployment/server/userstores/SECRET.xml", "+ conf/deployment.toml"]
    pair = make_pair(profile="wso2is", settings={"rules": rules})
    fill(pair.active.tree, REPLICATED + ["deployment/server/userstores/SECRET.xml",
                                         "conf/deployment.toml", "conf/other.toml"])
    pair.start()
    pair.wait()
    assert present(pair.passive.tree) == sorted(REPLICATED + ["conf/deployment.toml"])


def test_sub_profiles(make_pair):
    pair = make_pair(profile="wso2is+keys")
    extra = ["resources/security/wso2carbon.jks", "resources/security/client-truststore.p12"]
    fill(pair.active.tree, REPLICATED + extra + ["conf/deployment.toml"])
    pair.start()
    pair.wait()
    assert present(pair.passive.tree) == sorted(REPLICATED + extra)


def test_compare_only_paths_are_reported_and_not_copied(make_pair):
    pair = make_pair(profile="wso2is", settings={"rules": ["= conf/deployment.toml"]}, init=False)
    for node, content in zip(pair.nodes, (b"hostname = a\n", b"hostname = b\n")):
        (node.tree / "conf").mkdir()
        (node.tree / "conf" / "deployment.toml").write_bytes(content)
    fill(pair.active.tree, REPLICATED)
    pair.init().start()
    pair.wait()
    assert (pair.passive.tree / "conf/deployment.toml").read_bytes() == b"hostname = b\n"
    for node in pair.nodes:
        node.wait_for("the difference is reported", lambda s: "conf/deployment.toml" in str(s["problems"]))
    (pair.active.tree / "conf/deployment.toml").write_bytes(b"hostname = b\n")
    pair.wait()
    wait_until("the difference is no longer reported", lambda: "conf/deployment.toml" not in str(
        pair.active.status()["problems"]) + str(pair.passive.status()["problems"]))


def test_different_profiles_are_a_problem(make_pair):
    """Content flows, each side by its own profile; nobody calls it in sync."""
    pair = make_pair(profile="wso2is")
    pair.passive.configure(rules=["- tenants/**"])
    fill(pair.active.tree, REPLICATED)
    pair.start()
    allowed = sorted(path for path in REPLICATED if not path.startswith("tenants/"))
    wait_until("what both want has arrived", lambda: present(pair.passive.tree) == allowed)
    status = pair.active.wait_for("the problem is named", lambda s: "profile" in str(s["problems"]))
    assert status["state"] != "in_sync" and not status["ready"]
    assert present(pair.passive.tree) == allowed


def test_a_path_that_leaves_the_profile_is_not_deleted(make_pair):
    pair = make_pair(profile="wso2is")
    fill(pair.active.tree, REPLICATED)
    pair.start()
    pair.wait()
    for node in pair.nodes:
        node.stop()
        node.configure(rules=["- tenants/**"])
        node.start()
    pair.wait()
    assert present(pair.passive.tree) == sorted(REPLICATED)
    (pair.active.tree / "tenants/1/userstores/B.xml").unlink()
    pair.wait()
    assert present(pair.passive.tree) == sorted(REPLICATED)


@pytest.mark.parametrize("ownership", ["ignore", "preserve", "12345:54321"])
def test_ownership(make_pair, ownership):
    if os.geteuid() != 0:
        pytest.skip("owners are set by root")
    pair = make_pair(settings={"ownership": ownership})
    path = pair.active.tree / "file"
    path.write_bytes(b"x")
    os.chown(path, 777, 888)
    pair.start()
    pair.wait()
    arrived = (pair.passive.tree / "file").stat()
    expected = {"ignore": (os.geteuid(), os.getegid()), "preserve": (777, 888)}
    assert (arrived.st_uid, arrived.st_gid) == expected.get(ownership, (12345, 54321))
    assert pair.active.status()["digest"] == pair.passive.status()["digest"]
    os.chown(path, 778, 888)
    pair.wait()
    if ownership == "preserve":
        assert (pair.passive.tree / "file").stat().st_uid == 778


def test_a_deletion_outside_this_nodes_profile_is_not_taken(make_pair):
    """The peer never names what may be deleted: a wider profile over there reaches nothing here."""
    pair = make_pair(profile="all")
    pair.passive.configure(profile="wso2is")
    local = pair.active.tree / "logs"
    local.mkdir()
    (local / "carbon.log").write_bytes(b"of the active")
    pair.start()
    pair.active.wait_for("it is connected", lambda s: s["peers"][0]["connected"])
    pair.active.wait_for("the file is refused", lambda s: any("refused" in p for p in s["problems"]))
    (pair.passive.tree / "logs").mkdir()
    (pair.passive.tree / "logs" / "carbon.log").write_bytes(b"of the passive")
    (local / "carbon.log").unlink()
    pair.active.wait_for("the deletion is indexed", lambda s: s["files"] == 0)
    # What is sent after it has arrived: so has the deletion.
    later = "deployment/server/userstores/LATER.xml"
    (pair.active.tree / later).parent.mkdir(parents=True)
    (pair.active.tree / later).write_bytes(sample.user_store("LATER"))
    wait_until("what came later is there", (pair.passive.tree / later).exists)
    assert (pair.passive.tree / "logs" / "carbon.log").read_bytes() == b"of the passive"
    assert pair.passive.status()["salvage"] == 0
