"""A peer that lies: speaks docs/PROTOCOL.md from Python alone, with the key of a real node.

Nothing here uses the program's own code, so that it also shows that the document suffices to write a
second implementation. Encoders put down what they are told, legal or not.
"""

import hashlib
import select
import socket
import sqlite3
import ssl
import struct
import time

from waiting import SCALE

HELLO, BYE, HEARTBEAT, READINESS = 0x01, 0x02, 0x03, 0x04
RECORD, DATA, BARRIER, SIGNATURE_ASK, SET_ABORT, ANNOUNCE, CANARY = 0x10, 0x11, 0x12, 0x13, 0x14, 0x15, 0x16
ACK, NEED, REFUSED, BARRIER_DONE, SIGNATURE, CANARY_DONE = 0x20, 0x21, 0x22, 0x23, 0x24, 0x26
RANGE_ASK, RANGE_SPLIT, RANGE_LIST = 0x30, 0x31, 0x32
FINGERPRINTS, DEEP_ASK, DEEP_REPLY = 0x34, 0x35, 0x36

ACTIVE, PASSIVE, DRAINING, FENCED, SPLIT = 1, 2, 3, 4, 5
POPULATED, ADOPT, RECONCILING = 1, 2, 4
FILE, DIR, LINK, ABSENT_KIND = 1, 2, 3, 4
WHOLE, DELTA, REF, META, DELETE, ABSENT = 1, 2, 3, 4, 5, 6
LAST, COMPRESSED, ABORT = 1, 2, 4
CONTENT, PARENT, VERIFY = 1, 2, 3
MATCHED, MISMATCH, DROPPED = 1, 2, 3

VERSION_, GROUP, SELF, UNKNOWN_PEER, MALFORMED, OUT_OF_PHASE, OVERSIZED, TIMEOUT, ROLE, LINEAGE, \
    UNRELATED, SPLIT_, REPLACED, INTERNAL, NOT_ADOPTED, PROBED = range(2, 18)

CHUNK_MAX, RAW_MAX, FRAME_MAX = 65536, 262144, 196608


# -- primitive types (section 2) -----------------------------------------------------------------

def u8(value):
    return struct.pack(">B", value)


def u16(value):
    return struct.pack(">H", value)


def u32(value):
    return struct.pack(">I", value & 0xffffffff)


def u64(value):
    return struct.pack(">Q", value & 0xffffffffffffffff)


def raw(value):
    return value.encode() if isinstance(value, str) else bytes(value)


def blob(value):
    return u32(len(value)) + bytes(value)


def text(value):
    value = raw(value)
    return u16(len(value)) + value + b"\0"


def sha256(content):
    return hashlib.sha256(content).digest()


# -- messages (section 4) ------------------------------------------------------------------------

def record_fields(path, kind=FILE, seq=1, epoch=1, mode=0o644, uid=0, gid=0, mtime=1700000000 * 10**9,
                  xattrs=b"", size=None, digest=None, target=b"x", content=b""):
    """A record as it stands within RECORD and RANGE_LIST."""
    head = text(path) + u8(kind) + u64(epoch) + u64(seq)
    if kind == ABSENT_KIND:
        return head
    head += u32(uid) + u32(gid) + u64(mtime) + blob(xattrs)
    if kind == LINK:
        return head + blob(target)
    head += u32(mode)
    if kind == FILE:
        head += u64(len(content) if size is None else size)
        head += sha256(content) if digest is None else digest
    return head


def data(stream, content=b"", flags=0, raw_len=None):
    return u32(stream) + u8(flags) + u32(len(content) if raw_len is None else raw_len) + blob(content)


def barrier(number, seq=1, clock=0, records=1, denials=0, digest=bytes(32), sent=0, chain_n=1,
            chain=bytes(32)):
    return (u64(number) + u64(seq) + u64(clock) + u64(sent) + u64(records) + u32(denials) + digest +
            u64(chain_n) + chain)


def attribute(name, value=b""):
    """One of a record's extended attributes, as agent/fs/meta.h encodes them."""
    return u16(len(name)) + name + blob(value)


def ack(*tickets, chain_n=1, chain=bytes(32), n=None):
    return u64(chain_n) + chain + u32(len(tickets) if n is None else n) + b"".join(map(u32, tickets))


def range_ask(number, lo="", hi="", records=0, digest=bytes(32)):
    return u32(number) + text(lo) + text(hi) + u64(records) + digest


def range_split(number, *parts, n=None):
    """Each part: (hi, records, digest)."""
    body = b"".join(text(hi) + u64(records) + digest for hi, records, digest in parts)
    return u32(number) + u16(len(parts) if n is None else n) + body


def range_list(number, *records, last=True, n=None):
    body = b"".join(records)
    return u32(number) + u8(1 if last else 0) + u16(len(records) if n is None else n) + blob(body)


def fingerprints(*entries, last=True, n=None):
    body = b"".join(text(path) + digest for path, digest in entries)
    return u8(1 if last else 0) + u16(len(entries) if n is None else n) + blob(body)


def zstd_of_zeros(length, declared):
    """A zstd frame that says it holds `declared` bytes and holds `length`: 4 bytes for each 128 KiB."""
    out = struct.pack("<I", 0xfd2fb528) + bytes([0b10100000]) + struct.pack("<I", declared)
    while length > 0:
        part = min(length, 128 * 1024)
        length -= part
        out += struct.pack("<I", part << 3 | 1 << 1 | (length == 0))[:3] + b"\0"
    return out


# librsync's delta: magic, commands, end
DELTA_MAGIC, DELTA_END = b"rs\x02\x36", b"\0"


def delta_copy(start, length):
    return b"\x54" + u64(start) + u64(length)   # COPY_N8_N8


def delta_literal(content):
    return b"\x44" + u64(len(content)) + content  # LITERAL_N8


# -- identity ------------------------------------------------------------------------------------

def lineage_of(node):
    """Entries of a stopped node's state: (number, id, parent, base_seq, node)."""
    with sqlite3.connect(f"file:{node.state / 'state.db'}?mode=ro", uri=True) as database:
        rows = database.execute("SELECT number, id, parent, base_seq, node FROM lineage"
                                " ORDER BY position").fetchall()
    return [(number, bytes(own), bytes(parent or bytes(16)), base, name)
            for number, own, parent, base, name in rows]


def position_of(node):
    """(last_seq, chain_n, chain) of a stopped node's state."""
    with sqlite3.connect(f"file:{node.state / 'state.db'}?mode=ro", uri=True) as database:
        last_seq, chain_n, chain = database.execute("SELECT last_seq, chain_n, chain FROM state").fetchone()
    return last_seq, chain_n, bytes(chain)


def probe(victim, keys):
    """Asks as a probe, with node.crt and node.key in `keys`. @return the reason of the answering BYE, or None"""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.set_alpn_protocols(["artifact-sync-probe"])
    context.load_cert_chain(keys / "node.crt", keys / "node.key")
    plain = socket.create_connection((victim.host, victim.port), timeout=10 * SCALE)
    with context.wrap_socket(plain) as wrapped:
        answer = b""
        while got := wrapped.recv(4096):
            answer += got
    return struct.unpack(">H", answer[5:7])[0] if answer[4:5] == u8(BYE) else None


class Closed(Exception):
    """The victim has ended the connection. `reason` and `why` are its BYE's, 0 without one."""

    def __init__(self, reason=0, why=""):
        super().__init__(f"BYE {reason}: {why}")
        self.reason, self.why = reason, why


class Liar:
    """One TLS connection to `victim` with the key of `identity`, whose agent does not run."""

    def __init__(self, victim, identity, role):
        self.victim, self.identity, self.role = victim, identity, role
        self.lineage = lineage_of(identity)
        self.last_seq, self.chain_n, self.chain = position_of(identity)
        self.inbox, self.buffer, self.theirs, self.ticket, self.nonce = [], b"", None, 0, 0
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.load_cert_chain(identity.state / "node.crt", identity.state / "node.key")
        plain = socket.create_connection((victim.host, victim.port), timeout=10 * SCALE)
        self.socket = context.wrap_socket(plain)

    def close(self):
        self.socket.close()

    # -- bytes -------------------------------------------------------------------------------

    def write(self, data):
        try:
            self.socket.sendall(data)
        except (OSError, ssl.SSLError) as error:
            self._drain()
            raise Closed(*self._bye()) from error

    def _bye(self):
        for kind, body in self.inbox:
            if kind == BYE:
                size = struct.unpack(">H", body[2:4])[0]
                return struct.unpack(">H", body[:2])[0], body[4:4 + size].decode("utf-8", "replace")
        return 0, ""

    def _drain(self):
        try:
            while self._read(0.5 * SCALE):
                pass
        except (OSError, Closed):
            pass

    def _read(self, timeout):
        """@return False when nothing came in time"""
        if not self.socket.pending() and not select.select([self.socket], [], [], timeout)[0]:
            return False
        try:
            got = self.socket.recv(65536)
        except (ssl.SSLError, OSError) as error:
            raise Closed(*self._bye()) from error
        self.buffer += got
        while len(self.buffer) >= 5:
            size, kind = struct.unpack(">IB", self.buffer[:5])
            if len(self.buffer) < 5 + size:
                break
            self.inbox.append((kind, self.buffer[5:5 + size]))
            self.buffer = self.buffer[5 + size:]
        if not got:
            raise Closed(*self._bye())
        return True

    # -- frames ------------------------------------------------------------------------------

    def send(self, kind, body=b"", length=None):
        self.write(u32(len(body) if length is None else length) + u8(kind) + body)

    def expect(self, *kinds, timeout=30.0):
        """The next message of one of these kinds; others are dropped. Keeps the session alive."""
        deadline = time.monotonic() + timeout * SCALE
        while True:
            while self.inbox:
                kind, body = self.inbox.pop(0)
                if kind in kinds:
                    return kind, body
                if kind == BYE:
                    self.inbox.insert(0, (kind, body))
                    raise Closed(*self._bye())
            if time.monotonic() > deadline:
                raise AssertionError(f"none of {[hex(kind) for kind in kinds]} came in {timeout} s")
            if not self._read(0.5) and self.theirs:
                self.beat()

    def expect_closed(self, timeout=15.0):
        """Until the victim hangs up. @return (reason, why)"""
        deadline = time.monotonic() + timeout * SCALE
        try:
            while time.monotonic() < deadline:
                self._read(0.5)
        except Closed as closed:
            return closed.reason, closed.why
        raise AssertionError(f"the victim did not hang up in {timeout} s")

    def beat(self):
        self.nonce += 1
        self.send(HEARTBEAT, u64(self.nonce) + u64(0) + u32(0) + u16(1) + u32(0) + u32(600) +
                  u64(self.last_seq) + u64(time.time_ns()) + u64(0) + u32(0) + u32(0) + u32(0))

    # -- the handshake -----------------------------------------------------------------------

    def read_hello(self):
        """The victim's: its profile hash is told back, so that nothing differs but the lie."""
        _, body = self.expect(HELLO)
        at = 6
        names = []
        for _ in range(3):
            size = struct.unpack(">H", body[at:at + 2])[0]
            names.append(body[at + 2:at + 2 + size].decode())
            at += size + 3
        self.theirs = {"group": names[0], "node": names[1], "to": names[2], "role": body[at],
                       "flags": body[at + 1], "profile": body[at + 2:at + 34]}
        at += 34
        chain_n, chain, _, _, last_seq, records, digest = struct.unpack(">Q32sQ32sQQ32s",
                                                                        body[at:at + 128])
        self.theirs.update(chain_n=chain_n, chain=chain, last_seq=last_seq, records=records,
                           digest=digest)

    def hello_body(self, magic=0x4153594e, version=1, group=None, node=None, to=None, role=None, flags=0,
                   profile=None, chain_n=None, chain=None, seen_chain_n=None, seen_chain=None,
                   last_seq=None, records=2, digest=bytes(32), lineage=None, n_lineage=None, tail=b""):
        theirs = self.theirs
        entries = self.lineage if lineage is None else lineage
        body = u32(magic) + u16(version) + text(group or theirs["group"])
        body += text(node or self.identity.name) + text(to or theirs["node"])
        body += u8(self.role if role is None else role) + u8(flags) + (profile or theirs["profile"])
        body += u64(self.chain_n if chain_n is None else chain_n) + (chain or self.chain)
        body += u64(theirs["chain_n"] if seen_chain_n is None else seen_chain_n)
        body += seen_chain or theirs["chain"]
        body += u64(self.last_seq if last_seq is None else last_seq) + u64(records) + digest
        body += u16(len(entries) if n_lineage is None else n_lineage)
        for number, own, parent, base, name in entries:
            body += u64(number) + own + parent + u64(base) + bytes(16) + text(name)
        return body + tail

    def hello(self, **lies):
        self.read_hello()
        self.send(HELLO, self.hello_body(**lies))
        return self

    # -- being an active ---------------------------------------------------------------------

    def next_ticket(self):
        self.ticket += 1
        return self.ticket

    def record(self, path, op=None, ticket=None, stream=0, content=b"", raw_len=None, compressed=0,
               sent=None, basis=bytes(32), hint="a", seq=None, tail=b"", member=None, **fields):
        """Sends a RECORD. @param member (set, members in all) @return its ticket"""
        kind = fields.get("kind", FILE)
        if op is None:
            op = {FILE: WHOLE, ABSENT_KIND: DELETE}.get(kind, META)
        if seq is None:
            self.last_seq += 1
            seq = 0 if op == ABSENT else self.last_seq
        ticket = self.next_ticket() if ticket is None else ticket
        stream = ticket if stream is True else stream
        body = u8(op) + u32(ticket) + u32(stream) + u8(0)
        body += u32(member[0]) + struct.pack(">H", member[1]) if member else u32(0)
        body += record_fields(path, seq=seq, content=content, **fields)
        if op == WHOLE and stream == 0:
            sent = content if sent is None else sent
            body += u32(len(content) if raw_len is None else raw_len) + u8(compressed) + blob(sent)
        elif op == DELTA:
            body += basis
        elif op == REF:
            body += text(hint)
        self.send(RECORD, body + tail)
        return ticket

    def answer(self, ticket, timeout=30.0):
        """What the victim says to a RECORD: "ack", ("need", reason) or ("refused", reason, text)."""
        while True:
            kind, body = self.expect(ACK, NEED, REFUSED, timeout=timeout)
            if kind == ACK:
                n = struct.unpack(">I", body[40:44])[0]
                if ticket in struct.unpack(f">{n}I", body[44:44 + 4 * n]):
                    return "ack"
            elif struct.unpack(">I", body[:4])[0] == ticket:
                return ("need", body[4]) if kind == NEED else ("refused", body[4], body[7:-1])
            else:
                continue

    # -- being a passive ---------------------------------------------------------------------

    def take_record(self, timeout=30.0):
        """The next RECORD. @return (op, ticket, stream, path)"""
        _, body = self.expect(RECORD, timeout=timeout)
        op, ticket, stream, _, member = struct.unpack(">BIIBI", body[:14])
        at = 16 if member else 14
        size = struct.unpack(">H", body[at:at + 2])[0]
        return op, ticket, stream, body[at + 2:at + 2 + size]

    def take_ask(self, timeout=30.0):
        """The next RANGE_ASK. @return (id, lo, hi)"""
        _, body = self.expect(RANGE_ASK, timeout=timeout)
        number, size = struct.unpack(">IH", body[:6])
        lo = body[6:6 + size]
        at = 6 + size + 1
        size = struct.unpack(">H", body[at:at + 2])[0]
        return number, lo, body[at + 2:at + 2 + size]

    def ask_for_signature(self, path, size):
        """Answers a reconciliation so that the active wants to send a delta of `path` and has to ask for
        the signature. @return the id of its SIGNATURE_ASK"""
        number, _, _ = self.take_ask()
        self.send(RANGE_LIST, range_list(number, record_fields(path, size=size, digest=bytes(32))))
        _, body = self.expect(SIGNATURE_ASK)
        return struct.unpack(">I", body[:4])[0]


def signature(size, weak=lambda block: block, strong=lambda block: bytes(16), block_len=4096, magic=0x72730147):
    """What a file of that size has: librsync's BLAKE2 format with 16 bytes of strong sum."""
    blocks = (size + block_len - 1) // block_len
    return u32(magic) + u32(block_len) + u32(16) + b"".join(u32(weak(n)) + strong(n) for n in range(blocks))
