"""Fixtures: a scratch directory per test, pairs of agents, two namespaces. Agents' logs are shown
with every failure; ARTIFACT_SYNC_KEEP=1 keeps the scratch directories of failed tests."""

import os
import random
import sys

import pytest

sys.path.insert(0, os.path.dirname(__file__))

import harness  # noqa: E402
import netpair  # noqa: E402


def pytest_configure(config):
    config.addinivalue_line("markers", "slow: takes minutes; runs with ARTIFACT_SYNC_SLOW=1 or -m slow")
    config.addinivalue_line("markers", "short: the subset that also runs with sanitizers")
    config.addinivalue_line("markers", "harness: tests the test tools; needs no program")


def pytest_collection_modifyitems(config, items):
    built = harness.PROGRAM.exists()
    if not built and "ARTIFACT_SYNC_BUILD" in os.environ:
        # Somebody built it and wants it tested: leaving everything out would look like success.
        pytest.exit(f"{harness.PROGRAM} is not there", returncode=1)
    chosen = "slow" in (config.getoption("-m") or "") or os.environ.get("ARTIFACT_SYNC_SLOW") == "1"
    for item in items:
        if not built and "harness" not in item.keywords:
            item.add_marker(pytest.mark.skip(reason=f"{harness.PROGRAM} is not built"))
        elif "slow" in item.keywords and not chosen:
            item.add_marker(pytest.mark.skip(reason="slow: ARTIFACT_SYNC_SLOW=1 or -m slow runs it"))


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    report = outcome.get_result()
    if report.when == "call":
        item.failed = report.failed
        if report.failed:
            for made in getattr(item, "agents", []):
                for node in made.nodes:
                    report.sections.append((f"agent {node.name}", node.log_tail(60)))


@pytest.fixture
def home(request):
    """A short scratch directory."""
    directory = harness.scratch()
    yield directory
    if getattr(request.node, "failed", False) and os.environ.get("ARTIFACT_SYNC_KEEP") == "1":
        print(f"kept: {directory}")
    else:
        harness.remove_tree(directory)


@pytest.fixture
def make_pair(request, home):
    """make_pair(...) makes a Pair that is taken down after the test."""
    request.node.agents = made = []

    def make(**options):
        pair = harness.Pair(home, **options)
        made.append(pair)
        return pair
    yield make
    unclean = {}
    for pair in made:
        unclean.update(pair.close())
    if not getattr(request.node, "failed", False):
        assert not unclean, f"agents that did not end with 0 on SIGTERM: {unclean}"


@pytest.fixture
def pair(make_pair):
    """Two running agents with empty trees, profile `all`, on loopback."""
    return make_pair().start()


@pytest.fixture
def proxied(make_pair):
    """The same with a Proxy between them: counts bytes, can be frozen or cut."""
    return make_pair(proxied=True).start()


@pytest.fixture
def net():
    """Two namespaces and a wire."""
    reason = netpair.why_unavailable()
    if reason:
        pytest.skip(reason)
    with netpair.NetPair() as made:
        yield made


@pytest.fixture
def seed():
    """Printed, so that a failure can be run again: ARTIFACT_SYNC_SEED."""
    value = int(os.environ.get("ARTIFACT_SYNC_SEED", random.SystemRandom().randrange(1 << 32)))
    print(f"seed {value} (again with ARTIFACT_SYNC_SEED={value})")
    return value
