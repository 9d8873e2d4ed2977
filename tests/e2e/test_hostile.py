"""A paired peer whose machine was taken over: it has the right key and lies in every field.

After each lie: the agent runs and answers, its log names the reason, nothing outside its tree was
written, its memory stays bounded, and its honest peer comes back and both trees are equal again.
"""

import os
import random
import re
import socket
import struct
import time
from pathlib import Path

import pytest

import harness
import hostile as h
from harness import Pair
from waiting import SCALE, wait_until

MEMORY_MAX = (300 if SCALE == 1 else 1500) << 20  # bytes; sanitizers need more
BIG = random.Random(1).randbytes(1 << 20)


class Scene:
    """A pair that knows each other, of which one is stopped and played by the liar."""

    def __init__(self, home, played):
        self.pair = Pair(home).start()
        active, passive = self.pair.nodes
        self.canary = Path(home) / "canary"
        self.canary.mkdir()
        (self.canary / "file").write_bytes(b"outside")
        (active.tree / "dir").mkdir()
        for name in ("one", "two", "dir/three"):
            (active.tree / name).write_bytes(name.encode() * 10)
        (active.tree / "big").write_bytes(BIG)
        (active.tree / "out").symlink_to(self.canary)
        self.pair.converge()
        self.honest, self.victim = (active, passive) if played == h.ACTIVE else (passive, active)
        self.role = played
        self.outside = self.look_outside()

    def look_outside(self):
        """Everything beside the agents' own directories."""
        return sorted((str(path), path.lstat().st_mtime_ns, path.read_bytes() if path.is_file() else b"")
                      for path in self.canary.rglob("*")) + sorted(os.listdir(self.canary.parent))

    def stop_honest(self):
        if self.honest.running:
            self.honest.stop()
        self.mark = self.victim.log_mark()

    def connect(self):
        return h.Liar(self.victim, self.honest, self.role)

    def check(self):
        """The victim is well, and so is its honest peer."""
        status = self.victim.status()
        assert status, f"the victim does not answer\n{self.victim.log_tail()}"
        assert self.look_outside() == self.outside
        peak = self.victim.memory()[0]["VmHWM"]
        assert peak < MEMORY_MAX, f"{peak >> 20} MiB"
        self.honest.start()
        try:
            # Just started, it may still say that it is not ready.
            wait_until("both trees are equal", lambda: self.pair.converge(60), 180, step=0.2)
        finally:
            self.honest.stop()


@pytest.fixture(scope="module")
def scenes():
    made = {}

    def scene(played):
        if played not in made:
            made[played] = Scene(harness.scratch(), played)
        return made[played]
    yield scene
    for scene_ in made.values():
        unclean = scene_.pair.close()
        harness.remove_tree(scene_.canary.parent)
        assert not unclean, f"agents that did not end with 0 on SIGTERM: {unclean}"


LIES = []


def lie(says=None, reason=h.MALFORMED, played=h.ACTIVE, hello=True, **hello_lies):
    """Registers a lie: a function of a Liar (after its HELLO, unless hello=False) and the scene.

    @param says    what the victim's log must say, a regular expression; None: it goes on as if nothing
                   had happened, because nothing was wrong enough to close
    @param reason  of the BYE it must send
    """
    def add(function):
        LIES.append(pytest.param((function, says, reason, played, hello, hello_lies),
                                 id=function.__name__))
        return function
    return add


def violations(table, says, reason=h.MALFORMED, played=h.ACTIVE, **options):
    """One lie for each entry {name: function of the liar} that all end alike."""
    for name, function in table.items():
        function.__name__ = name
        LIES.append(pytest.param((lambda liar, scene, tell=function: tell(liar), says, reason, played,
                                  True, options), id=name))


@pytest.mark.parametrize("case", LIES)
def test_a_lie_is_survived(scenes, case):
    tell, says, reason, played, hello, hello_lies = case
    scene = scenes(played)
    scene.stop_honest()
    liar = scene.connect()
    try:
        if hello:
            liar.hello(**hello_lies)
        try:
            tell(liar, scene)
            if says:
                closed = liar.expect_closed()
        except h.Closed as early:
            assert says, f"the victim closed: {early}\n{scene.victim.log_tail()}"
            closed = (early.reason, early.why)
        if says:
            scene.victim.wait_for_log(says, scene.mark)
            # Who writes on while the other closes may lose its last word to the reset.
            assert closed[0] in (reason, 0), closed
    finally:
        liar.close()
    scene.check()


# -- frames and phases ---------------------------------------------------------------------------

@lie(r"unknown type 0x7f")
def unknown_type(liar, scene):
    liar.send(0x7f, b"x")


@lie(r"a RECORD of 196609 bytes arrived", h.OVERSIZED)
def oversized_header(liar, scene):
    liar.send(h.RECORD, length=h.FRAME_MAX + 1)


@lie(r"a HELLO of 4294967295 bytes", h.OVERSIZED, hello=False)
def oversized_hello(liar, scene):
    liar.read_hello()
    liar.send(h.HELLO, length=0xffffffff)


@lie(r"a HELLO arrived from a side or at a time", h.OUT_OF_PHASE)
def second_hello(liar, scene):
    liar.send(h.HELLO, liar.hello_body())


@lie(r"a RECORD arrived before HELLO", h.OUT_OF_PHASE, hello=False)
def record_before_hello(liar, scene):
    liar.record("x")


@lie(r"a ACK arrived from a side", h.OUT_OF_PHASE)
def answers_from_the_active(liar, scene):
    liar.send(h.ACK, h.ack(1))


@lie(r"a RECORD arrived from a side", h.OUT_OF_PHASE, played=h.PASSIVE)
def records_from_the_passive(liar, scene):
    liar.record("x")


@lie(r"HEARTBEAT: malformed")
def trailing_bytes(liar, scene):
    liar.send(h.HEARTBEAT, bytes(80))


@lie(r"no complete HELLO in 5000 ms", h.TIMEOUT, hello=False)
def says_nothing(liar, scene):
    pass


@lie(r"no complete HELLO in 5000 ms", h.TIMEOUT, hello=False)
def says_hello_byte_by_byte(liar, scene):
    liar.read_hello()
    for byte in h.u32(300) + h.u8(h.HELLO) + liar.hello_body():
        liar.write(bytes([byte]))
        liar._read(0.05)


# -- HELLO -----------------------------------------------------------------------------------------

def hello_lie(name, says, reason, played=h.ACTIVE, **lies):
    def tell(liar, scene):
        liar.read_hello()
        liar.send(h.HELLO, liar.hello_body(**lies))
    LIES.append(pytest.param((tell, says, reason, played, False, {}), id="hello_" + name))


ID = b"i" * 16
for which in (h.ACTIVE, h.PASSIVE):
    side = "active" if which == h.ACTIVE else "passive"
    for name, says, reason, lies in (
            ("magic", r'field \\?"magic', h.MALFORMED, {"magic": 1}),
            ("version", r"protocol versions", h.VERSION_, {"version": 2}),
            ("group", r"groups .* differ", h.GROUP, {"group": "other"}),
            ("to", r"correct the paired names", h.UNKNOWN_PEER, {"to": "somebody"}),
            ("node", r"correct the paired names|pinned|certificate", h.UNKNOWN_PEER, {"node": "x"}),
            ("name_with_blank", r"malformed", h.MALFORMED, {"node": "a b"}),
            ("role_0", r"malformed", h.MALFORMED, {"role": 6}),
            ("flags", r"malformed", h.MALFORMED, {"flags": 0x80}),
            ("tail", r"malformed", h.MALFORMED, {"tail": b"x"}),
            ("unrelated", r"unrelated", h.UNRELATED, {"lineage": [(1, ID, bytes(16), 0, "x")]}),
            ("zero_id", r"contradicts itself|malformed", h.LINEAGE,
             {"lineage": [(1, bytes(16), bytes(16), 0, "x")]}),
            ("513_entries", r"malformed", h.MALFORMED, {"n_lineage": 513}),
            ("512_entries", r"unrelated|contradicts", h.UNRELATED,
             {"lineage": [(n + 1, struct.pack(">QQ", 7, n + 1),
                           struct.pack(">QQ", 7, n) if n else bytes(16), 0, "x" * 64)
                          for n in range(512)]}),
            ("split", r"forked|split", h.SPLIT_, {"role": h.SPLIT}),
            ("seq_without_end", r"last_seq|malformed|beyond", h.MALFORMED, {"last_seq": 2**64 - 1}),
            ("records_without_end", r"malformed", h.MALFORMED, {"records": 2**64 - 1})):
        hello_lie(f"{name}_of_the_{side}", says, reason, which, **lies)


@lie(None, played=h.PASSIVE, last_seq=2**62 - 1)
def a_seq_that_leaves_no_room(liar, scene):
    """The active raises its counter to what its peer has seen; not to the end of all numbers."""
    before = scene.victim.status()["seq"]
    time_out = time.monotonic() + 2
    while time.monotonic() < time_out:
        try:
            liar._read(0.2)
        except h.Closed:
            break
    assert scene.victim.status()["seq"] < before + 2**41


# -- RECORD ----------------------------------------------------------------------------------------

violations({
    "path_up": lambda l: l.record("../canary/file"),
    "path_up_within": lambda l: l.record("dir/../../canary/file"),
    "path_absolute": lambda l: l.record("/etc/passwd"),
    "path_empty": lambda l: l.record(""),
    "path_dot": lambda l: l.record("./one"),
    "path_slashes": lambda l: l.record("dir//three"),
    "path_ends_in_slash": lambda l: l.record("dir/"),
    "path_component_long": lambda l: l.record("n" * 256),
    "path_long": lambda l: l.record("/".join(["n" * 200] * 21)),
    "path_nul": lambda l: l.record(b"a\0b"),
    "path_own": lambda l: l.record(".artifact-sync/stage/x"),
    "path_own_below": lambda l: l.record("dir/.artifact-sync/marker"),
    "path_own_case": lambda l: l.record(".Artifact-SYNC/marker"),
    "tree_deleted": lambda l: l.record("", kind=h.ABSENT_KIND),
    "tree_a_link": lambda l: l.record("", kind=h.LINK),
    "kind_unknown": lambda l: l.record("x", kind=9, op=h.META),
    "mode_of_a_device": lambda l: l.record("x", mode=0o060644),
    "op_unknown": lambda l: l.record("x", op=7),
    "op_delete_of_a_file": lambda l: l.record("x", op=h.DELETE),
    "op_whole_of_a_link": lambda l: l.record("x", kind=h.LINK, op=h.WHOLE),
    "op_delta_without_stream": lambda l: l.record("x", op=h.DELTA),
    "op_ref_with_stream": lambda l: l.record("x", op=h.REF, stream=True),
    "ticket_0": lambda l: l.record("x", ticket=0),
    "stream_of_another": lambda l: l.record("x", stream=77),
    "set_of_one": lambda l: l.record("x", member=(1, 1)),
    "set_too_large": lambda l: l.record("x", member=(1, 2001)),
    "seq_0": lambda l: l.record("x", seq=0),
    "seq_without_end": lambda l: l.record("x", seq=2**64 - 1),
    "epoch_without_end": lambda l: l.record("x", epoch=2**64 - 1),
    "size_2_63": lambda l: l.record("x", stream=True, size=2**63),
    "raw_len_not_the_size": lambda l: l.record("x", content=b"abc", raw_len=4),
    "raw_len_huge": lambda l: l.record("x", size=2**32 - 1, raw_len=2**32 - 1),
    "compressed_2": lambda l: l.record("x", compressed=2),
    "compressed_nothing": lambda l: l.record("x", size=9, raw_len=9, compressed=1, sent=b""),
    "target_empty": lambda l: l.record("x", kind=h.LINK, target=b""),
    "target_nul": lambda l: l.record("x", kind=h.LINK, target=b"a\0b"),
    "target_long": lambda l: l.record("x", kind=h.LINK, target=b"n" * 4096),
    "xattrs_of_the_system": lambda l: l.record("x", xattrs=h.attribute(b"security.capability", b"x")),
    "xattrs_of_the_system_on_a_directory":
        lambda l: l.record("x", kind=h.DIR, xattrs=h.attribute(b"trusted.x", b"x")),
    "xattrs_not_in_order": lambda l: l.record("x", xattrs=h.attribute(b"user.b") + h.attribute(b"user.a")),
    "xattrs_cut": lambda l: l.record("x", xattrs=h.attribute(b"user.a", b"x")[:-1]),
    "xattrs_long": lambda l: l.record("x", xattrs=bytes(49153)),
    "hint_up": lambda l: l.record("x", op=h.REF, hint="../canary/file"),
    "hint_own": lambda l: l.record("x", op=h.REF, hint=".artifact-sync/marker"),
    "hint_empty": lambda l: l.record("x", op=h.REF, hint=""),
    "record_tail": lambda l: l.record("x", tail=b"y"),
}, r"RECORD: field .* is malformed")


@lie(r"RECORD: ticket out of order")
def a_ticket_twice(liar, scene):
    liar.record("x", ticket=5)
    liar.record("y", ticket=5)


@lie(r"RECORD: ticket out of order")
def a_path_twice_under_way(liar, scene):
    liar.record("x", stream=True, size=100)
    liar.record("x")


@lie(r"RECORD: ticket out of order, or too many")
def more_streams_than_may_be(liar, scene):
    for n in range(17):
        liar.record(f"stream{n}", stream=True, size=100)


@lie(r"too many under way")
def more_records_than_may_be(liar, scene):
    liar.record("open", stream=True, size=100)
    liar.send(h.BARRIER, h.barrier(1))
    for n in range(4097):
        liar.record(f"behind/{n}", kind=h.DIR)


@lie(r"RECORD: more members")
def a_set_that_grows(liar, scene):
    liar.record("x", member=(1, 2))
    liar.record("y", member=(1, 3))


@lie(r"RECORD: more members")
def more_members_than_announced(liar, scene):
    for n in range(3):
        liar.record(f"stream{n}", stream=True, size=100, member=(1, 2))


@lie(r"RECORD: more members")
def more_sets_than_may_be(liar, scene):
    for n in range(1, 66):
        liar.record(f"member{n}", content=b"x", member=(n, 2))


@lie(r"SET_ABORT: field .* is malformed")
def the_end_of_no_set(liar, scene):
    liar.send(h.SET_ABORT, h.u32(0))


@lie(None)
def sets_that_do_not_keep_their_word(liar, scene):
    """Half a set is never there, whatever ends it; then the paths are free again."""
    liar.send(h.SET_ABORT, h.u32(99))
    liar.record("half", content=b"x", member=(1, 2))
    bad = liar.record("other", content=b"x", digest=bytes(32), member=(1, 2))
    assert liar.answer(bad) == ("need", h.VERIFY)
    liar.send(h.SET_ABORT, h.u32(1))
    liar.record("half", stream=True, size=10, member=(2, 3))
    liar.record("beside", content=b"x", member=(2, 3))
    liar.send(h.SET_ABORT, h.u32(2))
    liar.record("nowhere/x", content=b"x", member=(3, 2))
    liar.record("other", content=b"x", member=(3, 2))
    assert liar.expect(h.NEED)[1][4] == h.PARENT
    liar.send(h.SET_ABORT, h.u32(3))
    assert liar.answer(liar.record("free", content=b"x")) == "ack"
    for name in ("half", "other", "beside"):
        assert not (scene.victim.tree / name).exists(), name
    liar.record("half", content=b"x", member=(4, 2))
    assert liar.answer(liar.record("other", content=b"x", member=(4, 2))) == "ack"
    assert (scene.victim.tree / "half").exists()


@lie(None)
def content_is_not_what_was_announced(liar, scene):
    assert liar.answer(liar.record("x", content=b"abc", digest=bytes(32))) == ("need", h.VERIFY)
    assert not (scene.victim.tree / "x").exists()


@lie(None)
def records_that_cannot_be_had(liar, scene):
    """Denied one by one; the session goes on."""
    bomb = h.zstd_of_zeros(1 << 30, 1000)
    assert liar.answer(liar.record("bomb", size=1000, raw_len=1000, compressed=1, sent=bomb)) == \
        ("need", h.VERIFY)
    assert liar.answer(liar.record("noise", size=1000, raw_len=1000, compressed=1, sent=b"no zstd")) == \
        ("need", h.VERIFY)
    for hint in ("out/file", "dir", "nowhere", "out"):
        answer = liar.answer(liar.record("x", op=h.REF, hint=hint, content=b"outside"))
        assert answer == ("need", h.CONTENT), (hint, answer)
    for path in ("out/file", "out/new"):
        answer = liar.answer(liar.record(path, content=b"through the link"))
        assert answer[0] in ("need", "refused"), (path, answer)
    assert liar.answer(liar.record("one/below", content=b"x"))[0] in ("need", "refused")
    assert not os.path.lexists(scene.victim.tree / "x")


@lie(None)
def bits_that_are_not_installed(liar, scene):
    assert liar.answer(liar.record("setuid", content=b"#!/bin/sh", mode=0o6755, uid=0)) == "ack"
    assert (scene.victim.tree / "setuid").stat().st_mode & 0o7777 == 0o755


@lie(None)
def times_at_the_ends_of_all_time(liar, scene):
    for n, mtime in enumerate((-2**63, 2**63 - 1, -1, 2**62)):
        liar.answer(liar.record(f"time{n}", mtime=mtime))
        liar.answer(liar.record(f"timedir{n}", kind=h.DIR, mode=0o755, mtime=mtime))


@lie(None)
def tickets_go_round(liar, scene):
    """Serial numbers may jump by 2^31-1 and come back to where a stream was aborted a moment ago."""
    for _ in range(50):
        first = liar.next_ticket()
        liar.record("round", ticket=first, stream=True, size=1 << 20)
        for _ in range(4):
            liar.send(h.DATA, h.data(first, bytes(60000)))
        liar.send(h.DATA, h.data(first, flags=h.ABORT))
        liar.record("far", ticket=first + 0x7fffffff, kind=h.DIR, mode=0o755)
        liar.record("further", ticket=first + 0xfffffffe & 0xffffffff, kind=h.DIR, mode=0o755)
        try:
            liar.record("again", ticket=first, content=b"again")
            liar.answer(first)
        except h.Closed:
            break  # to refuse a number that is still in use is right, too


# -- DATA ------------------------------------------------------------------------------------------

violations({
    "data_stream_not_open": lambda l: l.send(h.DATA, h.data(99, b"x")),
    "data_after_last": lambda l: [l.send(h.DATA, h.data(l.record("x", stream=True, size=1), part, flag))
                                  for part, flag in ((b"x", h.LAST),)] +
    [l.send(h.DATA, h.data(l.ticket, b"y"))],
    "data_after_abort": lambda l: [l.send(h.DATA, h.data(l.record("x", stream=True, size=1), b"", h.ABORT)),
                                   l.send(h.DATA, h.data(l.ticket, b"", h.ABORT))],
    "data_for_inline": lambda l: l.send(h.DATA, h.data(l.record("x"), b"x")),
    "data_raw_len_huge": lambda l: l.send(h.DATA, h.data(l.record("x", stream=True, size=9), b"x",
                                                         h.COMPRESSED, 2**32 - 1)),
    "data_flags": lambda l: l.send(h.DATA, h.data(l.record("x", stream=True, size=9), b"", 0x80)),
    "data_abort_with_bytes": lambda l: l.send(h.DATA, h.data(l.record("x", stream=True, size=9), b"x",
                                                             h.ABORT)),
}, r"DATA: ")


@lie(r"DATA: more than was announced")
def more_data_than_announced(liar, scene):
    ticket = liar.record("x", stream=True, size=10)
    for _ in range(3):
        liar.send(h.DATA, h.data(ticket, bytes(h.CHUNK_MAX)))


def streamed(liar, parts, **fields):
    ticket = liar.record(stream=True, **fields)
    for content, flags, raw_len in parts:
        liar.send(h.DATA, h.data(ticket, content, flags, raw_len))
    return liar.answer(ticket)


@lie(None)
def streams_that_do_not_keep_their_word(liar, scene):
    basis = h.sha256(BIG)
    many = h.zstd_of_zeros(1 << 28, h.RAW_MAX)

    def delta(*commands, size=1000, end=h.DELTA_END):
        content = h.DELTA_MAGIC + b"".join(commands) + end
        return streamed(liar, [(content, h.LAST, None)], path="big", op=h.DELTA, size=size, basis=basis,
                        digest=bytes(32))
    assert streamed(liar, [(b"abc", h.LAST, None)], path="short", size=10) == ("need", h.VERIFY)
    assert streamed(liar, [(bytes(20), h.LAST, None)], path="long", size=10) == ("need", h.VERIFY)
    assert streamed(liar, [(many, h.LAST | h.COMPRESSED, h.RAW_MAX)], path="bomb", size=1 << 20) == \
        ("need", h.VERIFY)
    assert streamed(liar, [(b"x", h.LAST, None)], path="huge", size=2**62) == ("need", h.VERIFY)
    # The file on the disk is 1 MiB long. librsync itself would produce all that is asked for.
    assert delta(h.delta_copy(0, 2**62)) == ("need", h.VERIFY)
    assert delta(h.delta_copy(2**20 - 10, 1000)) == ("need", h.VERIFY)
    assert delta(h.delta_copy(2**63, 10)) == ("need", h.VERIFY)
    assert delta(*[h.delta_copy(0, 2**20)] * 1000) == ("need", h.VERIFY)
    assert delta(h.delta_literal(bytes(1001))) == ("need", h.VERIFY)
    assert delta(b"\x44" + h.u64(2**64 - 1)) == ("need", h.VERIFY)
    assert delta(b"\xff") == ("need", h.VERIFY)
    assert delta(h.delta_copy(0, 1000), end=b"") == ("need", h.VERIFY)
    assert delta(h.delta_copy(0, 1000)) == ("need", h.VERIFY)  # of another hash
    assert streamed(liar, [(b"", h.LAST, None)], path="big", op=h.DELTA, size=1,
                    basis=bytes(32)) in (("need", h.CONTENT), ("need", h.VERIFY))
    assert (scene.victim.tree / "big").read_bytes() == BIG
    wait_until("nothing of it is left in staging", lambda: not scene.victim.staged())


# -- floods ----------------------------------------------------------------------------------------

def flood(liar, seconds, send):
    """As fast as the victim reads, or until it has had enough."""
    deadline = time.monotonic() + seconds
    number = 0
    while time.monotonic() < deadline:
        number += 1
        try:
            send(number)
        except h.Closed:
            return


@lie(None)
def empty_data_without_end(liar, scene):
    ticket = liar.record("x", stream=True, size=1 << 40)
    frame = (h.u32(len(h.data(ticket))) + h.u8(h.DATA) + h.data(ticket)) * 4000
    flood(liar, 3, lambda _: liar.write(frame))


@lie(None)
def attributes_without_end(liar, scene):
    """Records that can't be answered yet, each with as much beside its content as is allowed."""
    attribute = h.attribute(b"user.a", bytes(49000))
    liar.record("open", stream=True, size=100)
    liar.send(h.BARRIER, h.barrier(1))
    flood(liar, 5, lambda n: liar.record(f"heavy{n}", kind=h.DIR, mode=0o755, xattrs=attribute))


@lie(None)
def barriers_that_lie(liar, scene):
    def outcome(number, **fields):
        liar.send(h.BARRIER, h.barrier(number, **fields))
        _, body = liar.expect(h.BARRIER_DONE)
        assert struct.unpack(">Q", body[:8])[0] == number
        return body[8]
    before = scene.victim.status()["recovery_point"]
    assert outcome(1, clock=2**63 - 1) == h.MISMATCH
    assert outcome(2, denials=5) == h.DROPPED
    assert outcome(2**61, clock=-2**63) == h.MISMATCH
    status = scene.victim.status()
    assert status["recovery_point"] == before and status["state"] != "in_sync"
    # It has the digest from the victim's own HELLO: no content is claimed, but a time.
    assert outcome(2**62 - 1, digest=liar.theirs["digest"], records=liar.theirs["records"],
                   seq=liar.theirs["last_seq"], clock=2**63 - 1) in (h.MATCHED, h.MISMATCH)
    assert scene.victim.status()


violations({
    "barrier_0": lambda l: l.send(h.BARRIER, h.barrier(0)),
    "barrier_again": lambda l: [l.send(h.BARRIER, h.barrier(n)) for n in (7, 7)],
    "barriers_without_end": lambda l: [l.record("x", stream=True, size=9)] +
    [l.send(h.BARRIER, h.barrier(n)) for n in range(1, 19)],
}, r"BARRIER: ")


@lie(None)
def signatures_asked_without_end(liar, scene):
    ask = h.text("big") + h.sha256(BIG)
    flood(liar, 3, lambda n: liar.send(h.SIGNATURE_ASK, h.u32(n) + ask))


for who in (h.ACTIVE, h.PASSIVE):
    side = "active" if who == h.ACTIVE else "passive"

    def ranges_asked_without_end(liar, scene):
        flood(liar, 3, lambda n: liar.send(h.RANGE_ASK, h.range_ask(n)))

    def fingerprints_without_end(liar, scene):
        def send(n):
            liar.send(h.FINGERPRINTS, h.fingerprints(*((f"{n}/{k}/" + "p" * 200, bytes(32))
                                                       for k in range(700))))
        flood(liar, 3, send)

    def deep_asked_without_end(liar, scene):
        flood(liar, 3, lambda n: liar.send(h.DEEP_ASK, h.u32(n)))

    def never_reads(liar, scene):
        """Asks for what makes answers, and never takes one."""
        frames = b"".join(h.u32(len(body)) + h.u8(h.RANGE_ASK) + body
                          for body in (h.range_ask(n) for n in range(30)))
        liar.socket.settimeout(2)
        flood(liar, 6, lambda n: (liar.write(frames), time.sleep(0.01)))

    def unasked_answers(liar, scene):
        liar.send(h.RANGE_SPLIT, h.range_split(1))
        liar.send(h.RANGE_LIST, h.range_list(1))
        liar.send(h.DEEP_REPLY, h.u32(1) + h.u8(1) + h.u64(0) + h.u64(0) + h.u16(0) + h.blob(b""))
        liar._read(0.3)

    for each in (ranges_asked_without_end, fingerprints_without_end, deep_asked_without_end, never_reads,
                 unasked_answers):
        LIES.append(pytest.param((each, None, 0, who, True, {}), id=f"{each.__name__}_by_the_{side}"))
    violations({
        f"range_backwards_by_the_{side}": lambda l: l.send(h.RANGE_ASK, h.range_ask(1, "b", "a")),
        f"range_up_by_the_{side}": lambda l: l.send(h.RANGE_ASK, h.range_ask(1, "../x", "")),
        f"fingerprints_up_by_the_{side}":
            lambda l: l.send(h.FINGERPRINTS, h.fingerprints(("../x", bytes(32)))),
        f"fingerprints_count_by_the_{side}":
            lambda l: l.send(h.FINGERPRINTS, h.fingerprints(("x", bytes(32)), n=9)),
    }, r"malformed or not expected", played=who)


@lie(None)
def thousand_half_open_connections(liar, scene):
    sockets = []
    try:
        for _ in range(1000):
            one = socket.create_connection((scene.victim.host, scene.victim.port),
                                           timeout=60 * SCALE)
            sockets.append(one)
        assert scene.victim.status()
    finally:
        for one in sockets:
            one.close()


@lie(None)
def connections_one_after_the_other(liar, scene):
    """Each replaces the one before it."""
    for _ in range(40):
        other = scene.connect()
        try:
            other.hello()
            other.record("replaced", stream=True, size=1 << 20)
            other.send(h.DATA, h.data(other.ticket, bytes(60000)))
        except h.Closed:
            pass  # one that was replaced before it could say so
        finally:
            other.close()


# -- answers of a passive ----------------------------------------------------------------------------

violations({
    "ack_never_sent": lambda l: l.send(h.ACK, h.ack(4711)),
    "ack_0": lambda l: l.send(h.ACK, h.ack(0)),
    "ack_count": lambda l: l.send(h.ACK, h.ack(1, n=2)),
    "ack_too_many": lambda l: l.send(h.ACK, h.ack(n=2**32 - 1)),
    "need_never_sent": lambda l: l.send(h.NEED, h.u32(4711) + h.u8(h.CONTENT)),
    "need_reason": lambda l: l.send(h.NEED, h.u32(1) + h.u8(9)),
    "refused_never_sent": lambda l: l.send(h.REFUSED, h.u32(4711) + h.u8(1) + h.text("no")),
    "refused_text": lambda l: l.send(h.REFUSED, h.u32(1) + h.u8(1) + h.text("n" * 241)),
    "barrier_done_unknown": lambda l: l.send(h.BARRIER_DONE, h.u64(99) + h.u8(1) + bytes(32)),
    "signature_unasked": lambda l: l.send(h.SIGNATURE, h.u32(1) + h.u8(1) + h.blob(b"x")),
}, r"(ACK|NEED|REFUSED|BARRIER_DONE|SIGNATURE)\b.*(malformed|not sent|awaited|nothing asked)",
    played=h.PASSIVE)


def touch(scene, name="touched"):
    (scene.victim.tree / name).write_bytes(os.urandom(32))


@lie(r"not sent", played=h.PASSIVE)
def an_ack_twice(liar, scene):
    touch(scene)
    ticket = liar.take_record()[1]
    liar.send(h.ACK, h.ack(ticket))
    liar.send(h.ACK, h.ack(ticket))
    liar.send(h.ACK, h.ack(ticket + 1000))


@lie(None, played=h.PASSIVE)
def needs_everything_for_ever(liar, scene):
    """Attempts are bounded; then it is left for later."""
    touch(scene)
    seen, ticket = 0, liar.take_record(timeout=30)[1]
    try:
        while seen < 200:
            liar.send(h.NEED, h.u32(ticket) + h.u8(seen % 3 + 1))
            seen += 1
            ticket = liar.take_record(timeout=3)[1]
    except AssertionError:
        pass  # nothing more was sent for three seconds
    assert seen < 200


@lie(None, played=h.PASSIVE)
def refusals_that_would_forge_the_log(liar, scene):
    touch(scene)
    for _ in range(2):
        ticket = liar.take_record()[1]
        liar.send(h.REFUSED, h.u32(ticket) + h.u8(3) + h.text(b"x\n1 error forged \x1b[2J\xff"))
    scene.victim.wait_for_log(r"refuses it", scene.mark)
    text = scene.victim.log(scene.mark)
    assert "\x1b" not in text and not re.search(r"^1 error forged", text, re.MULTILINE)
    assert scene.victim.status()


@lie(None, played=h.PASSIVE)
def acknowledges_and_keeps_nothing(liar, scene):
    """It cannot be seen in an ACK; the barrier's digest is what proves."""
    touch(scene)
    seen = set()
    while seen != {h.RECORD, h.BARRIER, h.RANGE_ASK}:
        kind, body = liar.expect(h.RECORD, h.BARRIER, h.RANGE_ASK)
        seen.add(kind)
        if kind == h.RECORD:
            liar.send(h.ACK, h.ack(struct.unpack(">I", body[1:5])[0]))
        elif kind == h.BARRIER:
            liar.send(h.BARRIER_DONE, body[:8] + h.u8(h.MISMATCH) + bytes(32))
    assert scene.victim.status()["state"] != "in_sync"


def reconciling(says, tell, name, reason=h.MALFORMED):
    """A lie told to the questions of a reconciliation."""
    def told(liar, scene):
        number, lo, hi = liar.take_ask()
        assert (lo, hi) == (b"", b"")
        tell(liar, number)
    told.__name__ = name
    lie(says, reason, played=h.PASSIVE, flags=h.RECONCILING)(told)


PART = (7, bytes(32))
MANGLED = r"RANGE_(LIST|SPLIT) is malformed"
for name, tell in {
        "split_backwards": lambda l, n: l.send(h.RANGE_SPLIT, h.range_split(
            n, ("m", *PART), ("b", *PART), ("", *PART))),
        "split_not_to_the_end": lambda l, n: l.send(h.RANGE_SPLIT, h.range_split(n, ("m", *PART))),
        "split_in_33": lambda l, n: l.send(h.RANGE_SPLIT, h.range_split(
            n, *[(f"m{k:02}", *PART) for k in range(32)], ("", *PART))),
        "split_count": lambda l, n: l.send(h.RANGE_SPLIT, h.range_split(n, ("", *PART), n=9)),
        "list_not_in_order": lambda l, n: l.send(h.RANGE_LIST, h.range_list(
            n, h.record_fields("b"), h.record_fields("a"))),
        "list_twice": lambda l, n: l.send(h.RANGE_LIST, h.range_list(
            n, h.record_fields("b"), h.record_fields("b"))),
        "list_of_the_dead": lambda l, n: l.send(h.RANGE_LIST, h.range_list(
            n, h.record_fields("b", kind=h.ABSENT_KIND))),
        "list_count": lambda l, n: l.send(h.RANGE_LIST, h.range_list(n, h.record_fields("b"), n=3)),
        "list_up": lambda l, n: l.send(h.RANGE_LIST, h.range_list(n, h.record_fields("../b"))),
        "list_not_in_order_over_frames": lambda l, n: [
            l.send(h.RANGE_LIST, h.range_list(n, h.record_fields("b"), last=False)),
            l.send(h.RANGE_LIST, h.range_list(n, h.record_fields("a")))],
        "list_without_end": lambda l, n: [
            l.send(h.RANGE_LIST, h.range_list(n, *[h.record_fields(f"p{k:04}/{m:03}" + "x" * 200)
                                                   for m in range(500)], last=False))
            for k in range(200)]}.items():
    reconciling(MANGLED, tell, name)


@lie(MANGLED, played=h.PASSIVE, flags=h.RECONCILING)
def list_of_what_was_not_asked(liar, scene):
    """A path outside of the range that was asked for, which the active has: it must not be taken for
    one that only the peer has, and given up."""
    number, _, _ = liar.take_ask()
    liar.send(h.RANGE_SPLIT, h.range_split(number, ("e", *PART), ("", *PART)))
    for _ in range(2):
        number, lo, hi = liar.take_ask()
        if hi == b"e":
            liar.send(h.RANGE_LIST, h.range_list(number, h.record_fields("one"), h.record_fields("two")))
            break


@lie(None, played=h.PASSIVE, flags=h.RECONCILING)
def splits_for_ever(liar, scene):
    """Each range in 32, each of which differs, with borders as long as they may be."""
    deadline = time.monotonic() + 6
    try:
        while time.monotonic() < deadline:
            number, lo, hi = liar.take_ask(timeout=2)
            middle = [lo + b"/" * bool(lo) + bytes([n]) * 200 for n in range(ord("!"), ord("!") + 14)]
            middle = [each for each in middle if each > lo and (not hi or each < hi) and len(each) < 4096
                      and not each.endswith(b"/")]
            liar.send(h.RANGE_SPLIT, h.range_split(number, *[(each, *PART) for each in middle],
                                                   (hi, *PART)))
    except (AssertionError, h.Closed):
        pass


@lie(r"SIGNATURE: malformed", played=h.PASSIVE, flags=h.RECONCILING)
def a_signature_without_end(liar, scene):
    number = liar.ask_for_signature("big", 1 << 20)
    flood(liar, 5, lambda _: liar.send(h.SIGNATURE, h.u32(number) + h.u8(0) + h.blob(bytes(60000))))


@lie(r"SIGNATURE: malformed", played=h.PASSIVE, flags=h.RECONCILING)
def a_signature_that_is_too_short(liar, scene):
    number = liar.ask_for_signature("big", 1 << 20)
    liar.send(h.SIGNATURE, h.u32(number) + h.u8(1) + h.blob(h.signature(1 << 20)[:-1]))


def bad_signature(name, **wrong):
    """It cannot be relied on: the file is sent whole."""
    def tell(liar, scene):
        number = liar.ask_for_signature("big", 1 << 20)
        liar.send(h.SIGNATURE, h.u32(number) + h.u8(1) + h.blob(h.signature(1 << 20, **wrong)))
        path = op = None
        while path != b"big":
            op, _, _, path = liar.take_record()
        assert op == h.WHOLE
    tell.__name__ = name
    lie(None, played=h.PASSIVE, flags=h.RECONCILING)(tell)


bad_signature("a_signature_that_collides", weak=lambda block: 7, strong=lambda block: h.u64(block) * 2)
bad_signature("a_signature_of_another_format", magic=0x72730136)


@lie(None, played=h.PASSIVE, flags=h.RECONCILING)
def signatures_of_nothing_without_end(liar, scene):
    number = liar.ask_for_signature("big", 1 << 20)
    flood(liar, 3, lambda _: liar.send(h.SIGNATURE, h.u32(number) + h.u8(0) + h.blob(b"")))


def test_random_but_legal_records_are_survived(scenes, seed):
    """Every operation on a few paths, in an order no honest active would choose."""
    chance = random.Random(seed)
    scene = scenes(h.ACTIVE)
    scene.stop_honest()
    paths = ["p", "p/q", "p/q/r", "p/s", "t", "t/u", "one", "dir", "dir/three", "out", "out/x", "big"]
    for _ in range(6):
        liar = scene.connect().hello()
        try:
            for number in range(400):
                path, kind = chance.choice(paths), chance.choice([h.FILE, h.FILE, h.DIR, h.LINK, 4])
                options = {"mode": chance.choice([0, 0o644, 0o755, 0o7777]), "kind": kind,
                           "target": chance.choice([b"x", b"../..", b"/", b"p"])}
                content = chance.randbytes(chance.choice([0, 1, 3000]))
                if kind == h.FILE:
                    options.update(op=chance.choice([h.WHOLE, h.WHOLE, h.REF, h.META]), content=content,
                                   hint=chance.choice(paths))
                elif kind == h.ABSENT_KIND:
                    options = {"kind": kind, "op": chance.choice([h.DELETE, h.ABSENT])}
                elif kind == h.DIR:
                    options["mtime"] = chance.choice([0, 1700000000 * 10**9])
                ticket = liar.record(path, **options)
                if chance.random() < 0.7:
                    liar.answer(ticket)
                if chance.random() < 0.05:
                    liar.send(h.BARRIER, h.barrier(number + 1))
        except h.Closed as closed:
            assert closed.reason in (h.MALFORMED, 0), closed  # a path twice under way
        finally:
            liar.close()
    scene.check()
