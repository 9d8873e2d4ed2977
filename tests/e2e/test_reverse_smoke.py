"""The way of a change of roles, in short: a planned reverse from either side and back, a handover that
is cut, a failover with its rejoin, a split with its end."""


from harness import DONE, REFUSED, UNREACHABLE
from waiting import wait_until


def reverse(node, *options):
    return node.cli("reverse", "--yes", "--json", *options, timeout=150)


def roles(pair):
    return {node.name: node.status()["role"] for node in pair.nodes}


def settle(pair, active):
    """One is active, the other passive, both in sync and at rest; harness names follow."""
    passive = next(node for node in pair.nodes if node is not active)
    for node, role in ((active, "active"), (passive, "passive")):
        node.wait_for(f"is {role}, in sync and at rest", lambda s, role=role: (s["role"], s["state"]) == (
            role, "in_sync") and not any("busy" in each for each in s["not_ready"]), 60)
    pair.active, pair.passive = active, passive


def booked(node, key, values):
    """Until its ledger has these entries; a line may be written after the command's end."""
    def entries():
        return [entry[key] for entry in node.cli("ledger", "--json").json["entries"]]
    wait_until(f"the ledger of {node.name} tells of {values}", lambda: entries() == values)


def test_there_and_back(pair):
    a, b = pair.nodes
    (a.tree / "one").write_text("1")
    pair.converge()
    for number, (asked, old, new) in enumerate(((a, a, b), (a, b, a), (a, a, b)), 2):
        answer = reverse(asked)
        assert answer.exit == DONE, f"{answer!r}\n{pair.report()}"
        told = answer.json
        assert (told["outcome"], told["active"], told["epoch"], told["lost"]) == ("done", new.name, number, [])
        settle(pair, new)
        (new.tree / f"epoch {number}").write_text(new.name)
        (new.tree / "one").write_text(f"changed in {number}")
        pair.converge()
        assert [n.status()["salvage"] for n in pair.nodes] == [0, 0]
    for node in pair.nodes:
        booked(node, "epoch", [2, 3, 4])
        assert node.cli("ledger", "verify").exit == DONE


def test_failover_and_rejoin(pair):
    a, b = pair.nodes
    (a.tree / "both").write_text("both")
    pair.converge()
    settle(pair, a)
    a.kill()
    b.wait_for("it knows", lambda s: not s["peers"][0]["connected"])
    (a.tree / "only a").write_text("only a has this")
    (a.tree / "both").write_text("changed by a")
    assert reverse(b).exit == UNREACHABLE
    answer = reverse(b, "--failover", "--reason", "a is gone")
    assert answer.exit == DONE and answer.json["active"] == "b", repr(answer)
    (b.tree / "both").write_text("changed by b")
    a.start()
    settle(pair, b)
    pair.converge()
    assert a.salvaged_content("only a") == b"only a has this"
    assert a.salvaged_content("both") == b"changed by a"
    assert reverse(a, "--reason", "failback").exit == DONE
    settle(pair, a)
    pair.converge()
    booked(b, "kind", ["failover", "planned"])


def test_an_active_that_went_on_alone(make_pair):
    pair = make_pair(proxied=True).start()
    a, b = pair.nodes
    (a.tree / "both").write_text("both")
    pair.converge()
    settle(pair, a)
    pair.cut()
    b.wait_for("it knows", lambda s: not s["peers"][0]["connected"])
    assert reverse(b, "--failover").exit == DONE
    for node in (a, b):
        before = node.status()["seq"]
        (node.tree / "both").write_text(f"changed by {node.name}")
        node.wait_for("it is indexed", lambda s, before=before: s["seq"] > before)
    # a was superseded, and knows nothing of it: it takes over from itself only by force.
    pair.restore()
    settle(pair, b)
    assert a.salvaged_content("both") == b"changed by a"
    assert a.cli("resolve", "--keep", "a").exit == REFUSED, "there is nothing to decide"
    pair.converge()
