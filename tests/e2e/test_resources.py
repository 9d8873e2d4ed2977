"""What an agent needs is not there for a while: room, rights, descriptors, a disk that works. In each
case `status` names it and what to do, nothing is acknowledged that is not durable, what can go on does,
and when the cause is gone nobody has to start anything anew."""

import ctypes
import fcntl
import os
import resource
import struct
import subprocess

import pytest

import disks
import processes
import trees
from harness import DONE
from waiting import wait_until

SHUTDOWN = 0x8004587D          # EXT4_IOC_SHUTDOWN: from now on all of the file system fails
SHUTDOWN_NOLOGFLUSH = struct.pack("I", 2)
# Root without any capability: an owner like others, to whom modes apply.
POWERLESS = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"]

needs_root = pytest.mark.skipif(disks.why_unavailable() is not None, reason=str(disks.why_unavailable()))


@pytest.fixture
def make_disk(home):
    made = []

    def make(name, size_mib=48, kind="ext4", **options):
        try:
            made.append(disks.Disk(home / f"disk-{name}", size_mib, kind, **options))
        except RuntimeError as error:
            pytest.skip(str(error))
        return made[-1]
    yield make
    for each in made:
        each.close()


def on_disk(make_pair, node_number, disk, part="tree", settings=None, prefix=()):
    """A pair of which one has its tree or its state on the disk."""
    pair = make_pair(init=False, settings=settings)
    node = pair.nodes[node_number]
    node.prefix = list(prefix)
    setattr(node, part, disk.where / part)
    (disk.where / part).mkdir(mode=0o700)
    return pair, node


def told(node, *words, timeout=60):
    """Until one problem has all the words: what, and what to do."""
    def one_has_them(status):
        return any(all(word in str(problem) for word in words) for problem in status.get("problems", []))
    return node.wait_for(f"a problem says {words}", one_has_them, timeout)


def recovered(pair, timeout=180):
    """It mends itself within the longest back-off, and says so."""
    pair.converge(timeout)
    for node in pair.nodes:
        node.wait_for("nothing is wrong any more", lambda s: s["state"] == "in_sync" and not s["problems"], 60)
    pair.assert_tidy()
    assert pair.passive.status()["salvage"] == 0


def not_vouched_for(pair):
    answer = pair.active.cli("wait", "--timeout", "1")
    assert answer.exit != DONE, repr(answer)


# -- disks that are full ---------------------------------------------------------------------------

@needs_root
def test_earlier_versions_give_way_to_the_present(make_pair, make_disk):
    """A disk that would be full of them: the oldest leave, and the tree goes on."""
    pair, passive = on_disk(make_pair, 1, make_disk("small", 64))
    pair.init().start()
    for number in range(25):
        trees.write_random(pair.active.tree / "replaced", 4 << 20, seed=number)
        pair.converge(60)
    status = passive.wait_for("they have left room", lambda s: not any("disk" in each for each in s["problems"]))
    assert 0 < status["history"]["bytes"] < 60 << 20
    assert "the oldest versions give way" in passive.log()
    pair.assert_verified("--deep")


@needs_root
@pytest.mark.short
def test_a_full_disk_under_the_passive_tree(make_pair, make_disk):
    disk = make_disk("tree")
    pair, passive = on_disk(make_pair, 1, disk)
    pair.init()
    for name in ("small", "large", "gone"):
        (pair.active.tree / name).write_bytes(f"{name} as it was".encode() * 100)
    pair.start()
    pair.converge()
    before = {name: (passive.tree / name).read_bytes() for name in ("small", "large")}
    disk.fill()
    mark = passive.log_mark()
    (pair.active.tree / "small").write_bytes(os.urandom(9000))
    (pair.active.tree / "large").write_bytes(os.urandom(3 << 20))
    (pair.active.tree / "gone").unlink()
    told(passive, "disk-full", "No space left on device", "df", str(passive.tree))
    told(pair.active, "refused", "No space left on device")
    wait_until("what needs no room goes on", lambda: not (passive.tree / "gone").exists(), 60)
    not_vouched_for(pair)
    for name, content in before.items():
        assert (passive.tree / name).read_bytes() == content, "the version that was there is damaged"
    assert passive.log(mark).count("action=refused") < 20, "the log repeats itself"
    disk.free()
    recovered(pair)


@needs_root
@pytest.mark.parametrize("side", [0, 1], ids=["active", "passive"])
def test_a_full_disk_under_a_state_directory(make_pair, make_disk, side):
    disk = make_disk("state", 16, "tmpfs")
    pair, node = on_disk(make_pair, side, disk, "state")
    pair.init()
    (pair.active.tree / "file").write_bytes(b"as it was")
    pair.start()
    pair.converge()
    disk.fill()
    for number in range(300):
        (pair.active.tree / f"new {number}").write_bytes(b"%d" % number)
    (pair.active.tree / "file").write_bytes(b"as it shall be")
    told(node, "disk-full", "No space left on device", "df", str(node.state))
    # The database finds some room in itself; but what is vouched for must be true.
    if pair.active.cli("wait", "--timeout", "1").exit == DONE:
        trees.assert_same(pair.active.tree, pair.passive.tree)
    disk.free()
    recovered(pair)


def set_project_quota(where, project, limit_kib):
    """Q_SETQUOTA for a project; there is no tool for it in the base system."""
    device = next(line.split()[0] for line in open("/proc/mounts") if line.split()[1] == str(where))
    block = struct.pack("QQQQQQQQI4x", limit_kib, limit_kib, 0, 0, 0, 0, 0, 0, 1)
    command = (0x800008 << 8) | 2  # Q_SETQUOTA, PRJQUOTA
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.quotactl(ctypes.c_int(command - (1 << 32)), device.encode(), project, block) != 0:
        pytest.skip(f"quotactl: {os.strerror(ctypes.get_errno())}")


@needs_root
def test_a_quota_on_the_passive(make_pair, make_disk):
    disk = make_disk("tree", options=("-O", "quota,project", "-E", "quotatype=prjquota"), mount="prjquota")
    set_project_quota(disk.where, 77, 4096)
    pair, passive = on_disk(make_pair, 1, disk, prefix=POWERLESS)
    done = subprocess.run(["chattr", "-p", "77", "+P", str(passive.tree)], capture_output=True, text=True)
    if done.returncode != 0:
        pytest.skip(f"chattr: {done.stderr}")
    pair.init()
    pair.start()
    (pair.active.tree / "fits").write_bytes(os.urandom(100_000))
    pair.converge()
    (pair.active.tree / "too-much").write_bytes(os.urandom(6 << 20))
    try:
        told(passive, "quota", "Disk quota exceeded")
    except AssertionError:
        if "No space left" not in passive.log():
            raise
        told(passive, "disk-full")  # a project's limit is reported as a full disk by some kernels
    not_vouched_for(pair)
    set_project_quota(disk.where, 77, 40_000)
    recovered(pair)


# -- disks that may not be written, or fail ----------------------------------------------------------

def is_read_only(disk):
    """The kernel refuses while the agent writes, such as its canary."""
    try:
        disk.read_only()
    except RuntimeError as error:
        raise AssertionError(error) from None
    return True


@needs_root
def test_a_passive_tree_that_becomes_read_only(make_pair, make_disk):
    disk = make_disk("tree")
    pair, passive = on_disk(make_pair, 1, disk)
    pair.init()
    (pair.active.tree / "file").write_bytes(b"as it was")
    pair.start()
    pair.converge()
    wait_until("nothing on it is open for writing", lambda: is_read_only(disk))
    (pair.active.tree / "file").write_bytes(b"as it shall be")
    told(passive, "read-only", "Read-only file system", "remount,rw", str(passive.tree))
    not_vouched_for(pair)
    assert (passive.tree / "file").read_bytes() == b"as it was"
    disk.read_only(False)
    recovered(pair)


@needs_root
@pytest.mark.parametrize("side", [0, 1], ids=["active", "passive"])
def test_a_disk_that_fails_under_a_tree(make_pair, make_disk, side):
    """Everything on it gives EIO; later another disk with the same content is mounted in its place."""
    disk = make_disk("tree")
    pair, node = on_disk(make_pair, side, disk)
    pair.init()
    (pair.active.tree / "file").write_bytes(b"as it was")
    pair.start()
    pair.converge()
    subprocess.run(["sync", "-f", str(disk.where)], check=True)
    where = os.open(disk.where, os.O_RDONLY)
    try:
        fcntl.ioctl(where, SHUTDOWN, SHUTDOWN_NOLOGFLUSH)
    except OSError as error:
        pytest.skip(f"EXT4_IOC_SHUTDOWN: {error}")
    finally:
        os.close(where)
    if side == 1:
        (pair.active.tree / "file").write_bytes(b"as it shall be")
    told(node, "Input/output error")
    node.wait_for("it is not in sync", lambda s: s["state"] != "in_sync")
    not_vouched_for(pair)
    other = pair.nodes[1 - side]
    assert (other.tree / "file").exists(), "a failing disk has deleted something elsewhere"
    disk.mount_again()
    recovered(pair)


# -- rights ------------------------------------------------------------------------------------------

@needs_root
def test_what_the_active_may_not_read(make_pair):
    pair = make_pair(init=False)
    pair.active.prefix = POWERLESS
    pair.init()
    tree = pair.active.tree
    (tree / "open").write_bytes(b"1")
    (tree / "secret").write_bytes(b"2")
    (tree / "closed").mkdir()
    (tree / "closed" / "within").write_bytes(b"3")
    pair.start()
    pair.converge()
    os.chown(tree / "secret", 65534, 65534)
    (tree / "secret").chmod(0o600)
    (tree / "closed").chmod(0o700)
    os.chown(tree / "closed", 65534, 65534)
    told(pair.active, "unreadable", "secret", "Permission denied")
    (tree / "open").write_bytes(b"the rest goes on")
    wait_until("the rest goes on", lambda: (pair.passive.tree / "open").read_bytes() == b"the rest goes on", 60)
    pair.active.cli("wait", "--timeout", "2")
    assert (pair.passive.tree / "secret").read_bytes() == b"2"
    assert (pair.passive.tree / "closed" / "within").read_bytes() == b"3", "what cannot be seen was deleted"
    for name in ("secret", "closed"):
        os.chown(tree / name, 0, 0)
    recovered(pair)


@needs_root
def test_where_the_passive_may_not_write(make_pair):
    pair = make_pair(init=False)
    pair.passive.prefix = POWERLESS
    pair.init()
    (pair.active.tree / "directory").mkdir()
    (pair.active.tree / "directory" / "file").write_bytes(b"as it was")
    pair.start()
    pair.converge()
    theirs = pair.passive.tree / "directory"
    os.chown(theirs, 65534, 65534)
    (pair.active.tree / "directory" / "file").write_bytes(b"as it shall be")
    (pair.active.tree / "beside").write_bytes(b"the rest goes on")
    told(pair.passive, "permission", "Permission denied", "let the agent's user")
    told(pair.active, "refused", "Permission denied")
    wait_until("the rest goes on", (pair.passive.tree / "beside").exists, 60)
    not_vouched_for(pair)
    assert (theirs / "file").read_bytes() == b"as it was"
    os.chown(theirs, 0, 0)
    recovered(pair)


# -- limits of the process ---------------------------------------------------------------------------

@pytest.mark.parametrize("side", [0, 1], ids=["active", "passive"])
def test_too_many_open_files(pair, side):
    node = pair.nodes[side]
    (pair.active.tree / "one").write_bytes(b"1")
    pair.converge()
    node.wait_for_state("in_sync")
    before = resource.prlimit(node.pid, resource.RLIMIT_NOFILE)
    unanswered = []

    def tells():
        """The agent keeps what it needs to be asked; everything else has nothing left."""
        processes.starve_of_files(node.pid)
        answer = node.cli("status", "--json")
        if "problems" not in answer.json:
            unanswered.append(repr(answer))
        (pair.active.tree / "one").write_bytes(os.urandom(100))
        return any("Too many open files" in each and "LimitNOFILE" in each for each in answer.json.get("problems", []))
    processes.starve_of_files(node.pid)
    try:
        trees.make_many(pair.active.tree / "many", 20, 100_000)
        wait_until("a problem says what, and what to do", tells, 60)
        if pair.active.cli("wait", "--timeout", "1").exit == DONE:  # with what it has
            trees.assert_same(pair.active.tree, pair.passive.tree)
    finally:
        resource.prlimit(node.pid, resource.RLIMIT_NOFILE, before)
    assert not unanswered, unanswered[0]
    recovered(pair)


@pytest.mark.parametrize("side", [0, 1], ids=["active", "passive"])
def test_memory_that_runs_out_ends_the_process_and_nothing_else(pair, side, seed):
    """What cannot be allocated ends the agent, with a word; the service manager starts it again."""
    node = pair.nodes[side]
    (pair.active.tree / "one").write_bytes(b"1")
    pair.converge()
    size = int(open(f"/proc/{node.pid}/statm").read().split()[0]) * resource.getpagesize()
    resource.prlimit(node.pid, resource.RLIMIT_AS, (size + (1 << 20), resource.RLIM_INFINITY))
    trees.make_many(pair.active.tree / "many", 200, 50_000, seed=seed)
    trees.write_random(pair.active.tree / "large", 24 << 20, seed)

    def ended_or_did_without():
        return not node.running or pair.active.cli("wait", "--timeout", "1").exit == DONE
    wait_until("it ends, or does with what it has", ended_or_did_without, 180)
    if not node.running:
        assert "memory" in node.log().lower(), f"{node.process.returncode}: {node.log_tail()}"
        node.kill()
        node.start()
    else:
        resource.prlimit(node.pid, resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    recovered(pair)


@needs_root
def test_fewer_watches_than_directories(make_pair):
    limited = ["unshare", "--user", "--map-root-user", "sh", "-c",
               'echo 20 > /proc/sys/user/max_inotify_watches && exec "$@"', "sh"]
    if subprocess.run([*limited, "true"], capture_output=True).returncode != 0:
        pytest.skip("no user namespace with a limit of its own")
    pair = make_pair(init=False, settings={"scan_interval_s": 2})
    pair.active.prefix = limited
    pair.init()
    for number in range(40):
        (pair.active.tree / f"d{number}").mkdir()
        (pair.active.tree / f"d{number}" / "file").write_bytes(b"%d" % number)
    pair.start()
    pair.converge()
    status = told(pair.active, "watch-limit", "sysctl fs.inotify.max_user_watches=")
    assert status["watch"]["watched"] < status["watch"]["directories"]
    for number in range(40):
        (pair.active.tree / f"d{number}" / "file").write_bytes(b"changed %d" % number)
    wait_until("scans find what is not watched", lambda: all(
        (pair.passive.tree / f"d{n}" / "file").read_bytes() == b"changed %d" % n for n in range(40)), 60)


# -- clocks ------------------------------------------------------------------------------------------

FAKETIME = "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1"
needs_faketime = pytest.mark.skipif(not os.path.exists(FAKETIME), reason="libfaketime is not installed")


def set_clock(path, offset):
    """In one step: the agent reads the file whenever it looks at its clock."""
    beside = path.with_suffix(".new")
    beside.write_text(offset + "\n")
    os.replace(beside, path)


def faked_clock(path):
    """The environment of an agent whose clock stands as far off as the file says."""
    return {"LD_PRELOAD": FAKETIME, "FAKETIME_TIMESTAMP_FILE": str(path), "FAKETIME_NO_CACHE": "1",
            "NO_FAKE_STAT": "1", "FAKE_UTIME": "0", "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "DONT_FAKE_MONOTONIC": "1"}


@needs_faketime
@pytest.mark.parametrize("side", [0, 1], ids=["active", "passive"])
def test_a_clock_that_jumps(make_pair, home, side):
    """Days forward and back while the tree changes. The file system's own stamps do not jump."""
    pair = make_pair()
    clock = home / "clock"
    set_clock(clock, "+0")
    environment = faked_clock(clock)
    for number, node in enumerate(pair.nodes):
        node.start(extra_environment=environment if number == side else None)
    (pair.active.tree / "file").write_bytes(b"0")
    pair.converge()
    for number, jump in enumerate(("+3d", "-2d", "+1h", "-400d", "+0")):
        set_clock(clock, jump)
        (pair.active.tree / "file").write_bytes(b"after %d" % number)
        (pair.active.tree / f"new {number}").write_bytes(b"%d" % number)
        pair.converge()
        for node in pair.nodes:
            status = node.wait_for_state("in_sync")
            assert status["problems"] == []
        lag = pair.active.status()["peers"][0]["lag_seconds"]
        assert lag is not None and 0 <= lag < 60, f"a jump of {jump} makes a lag of {lag}"
        # What was said just before the jump is put right by the next heartbeat and barrier.
        pair.passive.wait_for("its age is right", lambda s: 0 <= s["rpo_seconds"] < 60)


@needs_faketime
def test_a_clock_that_jumps_takes_no_earlier_version(make_pair, home):
    """What is kept for days is given up for the room it takes, and not because it suddenly looks old."""
    pair = make_pair(settings={"history": {"keep_days": 7, "keep_bytes": 120_000}})
    clock = home / "clock"
    set_clock(clock, "+0")
    pair.active.start()
    pair.passive.start(extra_environment=faked_clock(clock))

    def versions():
        return len(pair.passive.cli("history", "file", "--json").json["versions"])
    for number in range(30):
        (pair.active.tree / "file").write_bytes(b"%04d" % number * 500)
        pair.converge()
    kept = versions()
    set_clock(clock, "+30d")
    pair.passive.wait_for("the jump is seen", lambda s: any("clock" in each for each in s["not_ready"]), 60)
    for number in range(30):  # 47 of all fit: however late they are counted, some dozen go
        (pair.active.tree / "other").write_bytes(b"%04d" % (1000 + number) * 500)  # one content is kept once
        pair.converge()
    wait_until("something was given up for its room", lambda: versions() < kept)
    assert versions() >= kept // 3, "what went is more than what was too much"


def test_two_time_zones(make_pair):
    pair = make_pair()
    pair.active.start(extra_environment={"TZ": "Pacific/Kiritimati"})
    pair.passive.start(extra_environment={"TZ": "America/Los_Angeles"})
    (pair.active.tree / "file").write_bytes(b"x")
    os.utime(pair.active.tree / "file", ns=(10**18 + 1, 10**18 + 1))
    pair.converge()
    assert pair.active.status()["recovery_point"].endswith("Z")
    recovered(pair)
