"""Two consecutive releases of a server's repository: one replicated, then turned into the other."""

import os

import sample
import trees


def test_a_release_is_replaced_while_the_agents_run(make_pair):
    origin, older, newer = trees.releases()
    print(f"releases: {origin}")
    pair = make_pair(profile="all")
    sample.become(pair.active.tree, older)
    pair.start()
    status = pair.converge()
    assert status["files"] == len(older)

    sample.become(pair.active.tree, newer)
    status = pair.converge()
    assert status["files"] == len(newer)
    assert status["bytes"] == sum(map(len, newer.values()))
    assert trees.read_files(pair.passive.tree) == newer
    pair.assert_verified("--deep")
    pair.assert_tidy()


def test_and_back_again(make_pair):
    """The same change set reversed: files vanish, directories with them."""
    _, older, newer = trees.releases()
    pair = make_pair(profile="all")
    sample.become(pair.active.tree, newer)
    pair.start()
    pair.converge()
    sample.become(pair.active.tree, older)
    pair.converge()
    assert trees.read_files(pair.passive.tree) == older
    pair.assert_verified("--deep")


def test_verify_finds_what_digests_of_the_index_cannot(make_pair):
    """Content changed behind the agent's back with size and times put back: no digest of the index
    tells. The passive only reports such a thing here; it would else put it right before --deep reads."""
    pair = make_pair(settings={"drift": "report"}).start()
    sample.write(pair.active.tree, 1)
    pair.converge()
    pair.passive.stop()
    victim = pair.passive.tree / "conf" / "carbon.xml"
    before = victim.stat()
    with open(victim, "r+b") as file:
        file.seek(100)
        file.write(b"#")
    os.utime(victim, ns=(before.st_atime_ns, before.st_mtime_ns))
    pair.passive.start()
    for node in reversed(pair.nodes):  # what the active says first may be of the connection before
        node.wait_for("connected", lambda s: s["peers"][0]["connected"])
    answer = pair.active.cli("verify", "--deep", "--json", timeout=180)
    assert answer.exit == 1, repr(answer)
    assert any(each["path"] == "conf/carbon.xml" for each in answer.json["differences"])
