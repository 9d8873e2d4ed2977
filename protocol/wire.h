/* wire.h - the words two agents speak: every message with its number, direction, phase and size
 * cap. docs/PROTOCOL.md tells the same in prose; a test compares the two. A frame is
 *
 *     u32 body length | u8 type | body
 *
 * big-endian, no padding. Strings and byte arrays are a u16 or u32 length and the bytes. */
#ifndef PROTOCOL_WIRE_H
#define PROTOCOL_WIRE_H

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "protocol/record.h"

#define WIRE_VERSION 1
#define WIRE_MAGIC 0x4153594eu /* "ASYN": plain text and other protocols fail here */

#define WIRE_HEADER_LEN 5
#define WIRE_FRAME_MAX (192u * 1024) /* bytes of body; bounds what one peer can make us hold */
#define WIRE_CHUNK_MAX (64u * 1024)  /* bytes of content in one RECORD or DATA, as sent */
#define WIRE_RAW_MAX (256u * 1024)   /* bytes of content one chunk may decompress to */
#define WIRE_PATH_MAX 4095
#define WIRE_NAME_MAX 64      /* node and group names */
#define WIRE_TEXT_MAX 240     /* a reason for people */
#define WIRE_LINEAGE_MAX 512  /* entries */
#define WIRE_ACKS_MAX 4096    /* tickets in one ACK */
#define WIRE_RANGES_MAX 32    /* subranges in one RANGE_SPLIT */
#define WIRE_RECORDS_MAX 4096 /* RECORDs unanswered; the receiver enforces, the sender knows */
#define WIRE_STREAMS_MAX 16   /* streams open; likewise */
#define WIRE_QUESTIONS_MAX 64 /* RANGE_ASKs without their whole answer */
#define WIRE_BARRIERS_MAX 16  /* BARRIERs without BARRIER_DONE; the sender keeps to it */
#define WIRE_RESENDS_MAX 64   /* RESENDs whose record has not come yet */
#define WIRE_SET_MAX 2000     /* members of one consistency set under way; they share a batch */
#define WIRE_SETS_MAX 64      /* sets begun and not ended; the sender keeps to it */
#define WIRE_CONTENTS_MAX 16  /* contents that are fetched at the same time */
#define WIRE_WINDOW_MAX (1024u * 1024) /* bytes that one CONTENT_ASK may ask for */
#define WIRE_UNREADY_MAX 16	       /* reasons in one READINESS; the rest are counted */
#define WIRE_UNREADY_TEXT_MAX 480
#define WIRE_OBSTACLES_MAX 32	/* reasons in one OBSTACLES; the rest are counted */
#define WIRE_ANNOUNCED_MAX 8192 /* announced and not there that a passive remembers */
#define WIRE_ID_LEN 16

/* A TLS client that offers this protocol (ALPN) asks only whether it would be let in: who accepts
 * it answers with BYE and PROBED, and no session begins. */
#define WIRE_ALPN_PROBE "artifact-sync-probe"

/* Counters of changes, epochs, transactions, records: none ever gets there, and what is below it
 * can be added to and is a signed number to everybody. */
#define WIRE_COUNTER_END (UINT64_C(1) << 62)
/* A seq is taken from a peer, in HELLO or RECORD, when it is at most so far ahead of one's own: a
 * lie must not use the numbers up. A node that assigns a million a second has gone so far in twelve
 * days. */
#define WIRE_SEQ_LEAP (UINT64_C(1) << 40)

enum wire_phase { PHASE_HELLO = 1, PHASE_LIVE = 2 };
/* FROM_NEITHER: a peer that neither sends nor receives, of which only what either may say is taken.
 */
enum wire_sender { FROM_ACTIVE = 1, FROM_PASSIVE = 2, FROM_NEITHER = 4, FROM_EITHER = 7 };

/* clang-format off */
/*        name         id    phase        sender        body limit */
#define WIRE_MESSAGES(X)                                                                           \
	X(HELLO,        0x01, PHASE_HELLO, FROM_EITHER,  128 * 1024)                               \
	X(BYE,          0x02, PHASE_HELLO | PHASE_LIVE, FROM_EITHER, 512)                          \
	X(HEARTBEAT,    0x03, PHASE_LIVE,  FROM_EITHER,  256)                                      \
	X(READINESS,    0x04, PHASE_LIVE,  FROM_EITHER,  8 * 1024)                                 \
	X(RECORD,       0x10, PHASE_LIVE,  FROM_ACTIVE,  WIRE_FRAME_MAX)                           \
	X(DATA,         0x11, PHASE_LIVE,  FROM_ACTIVE,  WIRE_CHUNK_MAX + 64)                      \
	X(BARRIER,      0x12, PHASE_LIVE,  FROM_ACTIVE,  256)                                      \
	X(SIGNATURE_ASK, 0x13, PHASE_LIVE, FROM_ACTIVE,  WIRE_PATH_MAX + 64)                       \
	X(SET_ABORT,    0x14, PHASE_LIVE,  FROM_ACTIVE,  64)                                       \
	X(ANNOUNCE,     0x15, PHASE_LIVE,  FROM_ACTIVE,  WIRE_FRAME_MAX)                           \
	X(CANARY,       0x16, PHASE_LIVE,  FROM_ACTIVE,  256)                                      \
	X(ACK,          0x20, PHASE_LIVE,  FROM_PASSIVE, 4 * WIRE_ACKS_MAX + 64)                   \
	X(NEED,         0x21, PHASE_LIVE,  FROM_PASSIVE, 512)                                      \
	X(REFUSED,      0x22, PHASE_LIVE,  FROM_PASSIVE, 512)                                      \
	X(BARRIER_DONE, 0x23, PHASE_LIVE,  FROM_PASSIVE, 256)                                      \
	X(SIGNATURE,    0x24, PHASE_LIVE,  FROM_PASSIVE, WIRE_CHUNK_MAX + 64)                      \
	X(RESEND,       0x25, PHASE_LIVE,  FROM_PASSIVE, WIRE_PATH_MAX + 64)                       \
	X(CANARY_DONE,  0x26, PHASE_LIVE,  FROM_PASSIVE, 512)                                      \
	X(RANGE_ASK,    0x30, PHASE_LIVE,  FROM_EITHER,  2 * WIRE_PATH_MAX + 128)                  \
	X(RANGE_SPLIT,  0x31, PHASE_LIVE,  FROM_EITHER,  WIRE_FRAME_MAX)                           \
	X(RANGE_LIST,   0x32, PHASE_LIVE,  FROM_EITHER,  WIRE_FRAME_MAX)                           \
	X(FINGERPRINTS, 0x34, PHASE_LIVE,  FROM_EITHER,  WIRE_FRAME_MAX)                           \
	X(DEEP_ASK,     0x35, PHASE_LIVE,  FROM_EITHER,  64)                                       \
	X(DEEP_REPLY,   0x36, PHASE_LIVE,  FROM_EITHER,  WIRE_FRAME_MAX)                           \
	X(HISTORY_ASK,  0x40, PHASE_LIVE,  FROM_ACTIVE,  WIRE_PATH_MAX + 64)                       \
	X(HISTORY_LIST, 0x41, PHASE_LIVE,  FROM_PASSIVE, WIRE_FRAME_MAX)                           \
	X(CONTENT_ASK,  0x42, PHASE_LIVE,  FROM_ACTIVE,  WIRE_PATH_MAX + 128)                      \
	X(CONTENT,      0x43, PHASE_LIVE,  FROM_PASSIVE, WIRE_CHUNK_MAX + 64)                      \
	X(HANDOVER,     0x50, PHASE_LIVE,  FROM_EITHER,  512)                                      \
	X(OBSTACLES,    0x51, PHASE_LIVE,  FROM_EITHER,  16 * 1024)
/* clang-format on */

enum wire_type {
#define X(name, id, phase, sender, limit) WIRE_##name = id,
	WIRE_MESSAGES(X)
#undef X
};

/* One generated row per message: name, phases, sender, body limit. NULL for an unknown type. */
struct wire_rule {
	const char *name;
	uint8_t type;
	unsigned phases;
	unsigned senders;
	uint32_t body_max;
};
const struct wire_rule *wire_rule(uint8_t type);

/* Every rule in the order of WIRE_MESSAGES; *n receives how many. For tests and the manual. */
const struct wire_rule *wire_rules(size_t *n);

/* May this be the name of a node or a group? 1..64 printable ASCII characters, none of them a
 * blank, a quote, a slash or a backslash: names stand in file names, logs and commands. */
bool wire_name_is_legal(const char *name);

/* What a RECORD, the largest message, takes beside its four variable fields. */
static_assert(2 * (WIRE_PATH_MAX + 3) + (RECORD_TARGET_MAX + 4) + (RECORD_XATTRS_MAX + 4) +
			      (WIRE_CHUNK_MAX + 4) + 128 <=
		      WIRE_FRAME_MAX,
	      "the largest record must fit in one frame");
static_assert(WIRE_SET_MAX <= WIRE_RECORDS_MAX, "a whole set must fit in the window");
static_assert(WIRE_LINEAGE_MAX * (8 + 16 + 16 + 8 + 16 + WIRE_NAME_MAX + 3) + 1024 <= 128 * 1024,
	      "the longest lineage must fit in a HELLO");
static_assert(WIRE_RANGES_MAX * (WIRE_PATH_MAX + 3 + 8 + 32) + 64 <= WIRE_FRAME_MAX,
	      "the widest split must fit in one frame");

/* Why a side closes. The text of BYE says the particulars. */
/* clang-format off */
#define WIRE_REASONS(X)                                                                            \
	X(SHUTDOWN, 1) X(VERSION, 2) X(GROUP, 3) X(SELF, 4) X(UNKNOWN_PEER, 5) X(MALFORMED, 6)     \
	X(OUT_OF_PHASE, 7) X(OVERSIZED, 8) X(TIMEOUT, 9) X(ROLE, 10) X(LINEAGE, 11)                \
	X(UNRELATED, 12) X(SPLIT, 13) X(REPLACED, 14) X(INTERNAL, 15) X(NOT_ADOPTED, 16)        \
	X(PROBED, 17)
/* clang-format on */
enum wire_reason {
#define X(name, id) BYE_##name = id,
	WIRE_REASONS(X)
#undef X
};
const char *wire_reason_name(uint16_t reason); /* "version", ...; "unknown" for others */

enum wire_role {
	WIRE_ROLE_ACTIVE = 1,
	WIRE_ROLE_PASSIVE = 2,
	WIRE_ROLE_DRAINING = 3,
	WIRE_ROLE_FENCED = 4,
	WIRE_ROLE_SPLIT = 5
};

struct epoch_entry {
	uint64_t number;
	uint8_t id[WIRE_ID_LEN];
	uint8_t parent[WIRE_ID_LEN]; /* zero for the first */
	uint64_t base_seq;	     /* the last seq of the parent that this epoch builds on */
	uint8_t ends[WIRE_ID_LEN];   /* zero, or the last epoch of a fork that a person decided
					against with this one */
	char node[WIRE_NAME_MAX + 1];
};

/* HELLO: both sides send it first and at once; each judges the pair (lineage.h). */
struct wire_hello {
	uint16_t version; /* of another version nothing else is decoded: the rest is zero */
	char group[WIRE_NAME_MAX + 1];
	char node[WIRE_NAME_MAX + 1];
	char to[WIRE_NAME_MAX + 1]; /* whom the sender means: must be the receiver's name */
	uint8_t role;
	uint8_t flags;	       /* HELLO_* */
	uint8_t profile[32];   /* hash of the effective profile and metadata policy */
	uint64_t chain_n;      /* how many transactions the sender's state has seen */
	uint8_t chain[32];     /* and their chain hash */
	uint64_t seen_chain_n; /* what the sender last saw of the receiver; 0 = never met */
	uint8_t seen_chain[32];
	uint64_t last_seq; /* greatest seq the sender's index holds */
	uint64_t records;  /* live records in its index */
	uint8_t digest[32];
	uint16_t n_lineage;
	const struct epoch_entry *lineage; /* encoder: borrowed; decoder: the caller's array */
};
#define HELLO_POPULATED 0x01   /* holds files that were never replicated */
#define HELLO_ADOPT 0x02       /* and its operator said `init --adopt` */
#define HELLO_RECONCILING 0x04 /* its set of paths to reconcile is not empty */

struct wire_bye {
	uint16_t reason;
	char text[WIRE_TEXT_MAX + 1];
};

/* HEARTBEAT: every second; carries what status needs to say of the other side. */
struct wire_heartbeat {
	uint64_t nonce;		/* of this heartbeat; a counter */
	uint64_t echo;		/* the last nonce received; 0 = none */
	uint32_t echo_delay_us; /* how long ago that was */
	uint16_t flags;		/* BEAT_* */
	uint32_t scan_age_s;	/* since the last finished scan; UINT32_MAX = never */
	uint32_t scan_interval_s;
	uint64_t last_seq;
	int64_t clock_ns;	       /* sender's wall clock, only to report skew */
	int64_t recovery_ns;	       /* passive: its recovery point; 0 = none */
	uint32_t held, drift, salvage; /* counts */
};
#define BEAT_HEALTHY 0x01
#define BEAT_PAUSED 0x02
#define BEAT_SCANNING 0x04
#define BEAT_ASK 0x08 /* answer with a HEARTBEAT at once */

/* READINESS: why no reverse should be tried, as far as the sender can tell by itself. After the
 * handshake, and whenever it changes. */
struct wire_readiness {
	char version[WIRE_NAME_MAX + 1];			   /* of the program */
	uint16_t total;						   /* reasons; 0 = ready */
	uint8_t n;						   /* of them named here */
	char reasons[WIRE_UNREADY_MAX][WIRE_UNREADY_TEXT_MAX + 1]; /* for people */
};
static_assert(WIRE_UNREADY_MAX * (WIRE_UNREADY_TEXT_MAX + 3) + WIRE_NAME_MAX + 16 <= 8 * 1024,
	      "all reasons that are named must fit in READINESS");

enum wire_op {
	OP_WHOLE = 1,  /* a file: content follows, inline when stream == 0, else in DATA frames */
	OP_DELTA = 2,  /* a file: a librsync delta against `basis` follows in DATA frames */
	OP_REF = 3,    /* the receiver has these bytes under `hint` */
	OP_META = 4,   /* directory, link or a file whose content the receiver has at this path */
	OP_DELETE = 5, /* a tombstone */
	OP_ABSENT = 6, /* reconciliation: the survivor has no such path; record.seq is 0 */
};

struct wire_record {
	uint8_t op;
	uint8_t flags;	 /* RECORD_* */
	uint32_t ticket; /* grows within a session; ACK, NEED and REFUSED name it */
	uint32_t stream; /* 0 = inline; else equals the ticket, and DATA frames follow */
	uint32_t set;	 /* consistency set it is a member of; 0 = none */
	uint16_t set_n;	 /* its members in all, the same in each: 2..WIRE_SET_MAX */
	struct record record;
	uint8_t basis[32];  /* OP_DELTA */
	const char *hint;   /* OP_REF: a path of the receiver's; NUL-terminated */
	uint32_t raw_len;   /* inline content: length after decompression, <= WIRE_RAW_MAX */
	uint8_t compressed; /* 1: `bytes` is one zstd frame */
	const uint8_t *bytes;
	uint32_t bytes_len; /* <= WIRE_CHUNK_MAX */
};

#define RECORD_APPROVED 0x01 /* a person approved this loss or rewrite at the sender */

struct wire_data {
	uint32_t stream;
	uint8_t flags; /* DATA_* */
	uint32_t raw_len;
	const uint8_t *bytes;
	uint32_t bytes_len;
};
#define DATA_LAST 0x01	     /* nothing follows in this stream */
#define DATA_COMPRESSED 0x02 /* one zstd frame of raw_len bytes */
#define DATA_ABORT 0x04	     /* alone, no bytes: source changed or answered early; forget it */

/* SET_ABORT: nothing more of the set follows; forget what has come of it, without an answer. */
struct wire_set_abort {
	uint32_t set;
};

/* ANNOUNCE: what is indexed and not acknowledged, ahead of the bytes: what would be lost now has a
 * name on the passive, too. */
struct wire_announce {
	uint64_t changes, bytes; /* in all */
	uint64_t seq;		 /* everything up to it was named, in this or an earlier one; 0: it
				    is too much to be named now */
	uint16_t n;
	const uint8_t *entries; /* n times path, kind, seq, size; wire_next_announced() */
	uint32_t entries_len;
};
struct wire_announced {
	const char *path;
	uint8_t kind; /* enum record_kind */
	uint64_t seq;
	uint64_t size;
};

/* CANARY: a small file that is outside of everything, made durable on both sides to measure how
 * long that takes while there is nothing else to measure. */
#define WIRE_CANARY_LEN 64
struct wire_canary {
	uint64_t nonce; /* grows; one at a time is unanswered */
	uint8_t hash[32];
	uint8_t bytes[WIRE_CANARY_LEN];
};
struct wire_canary_done {
	uint64_t nonce;
	uint8_t failed;		      /* 0 or 1 */
	char text[WIRE_TEXT_MAX + 1]; /* why; else "" */
};

struct wire_barrier {
	uint64_t seq;
	int64_t clock_ns; /* of the active: everything before it is in the tree at this barrier */
	int64_t sent_ns;  /* of the active: nothing after it is */
	uint64_t records;
	uint64_t id;	  /* counts barriers in a session from 1 */
	uint32_t denials; /* how many NEED and REFUSED the sender had received in this session;
			   * if the receiver has sent more, one crosses this barrier, which is
			   * then dropped */
	uint8_t digest[32];
	uint64_t chain_n; /* of the sender's state, as in HELLO: a session may last for weeks */
	uint8_t chain[32];
};

struct wire_barrier_done {
	uint64_t id;
	uint8_t outcome; /* BARRIER_* */
	uint8_t digest[32];
};
#define BARRIER_MATCHED 1
#define BARRIER_MISMATCH 2
#define BARRIER_DROPPED 3 /* a record before it was refused or is needed again */

/* ACK: everything named is durable under its final name. */
struct wire_ack {
	uint32_t n;
	const uint32_t *tickets; /* encoder: borrowed; decoder: the caller's array */
	uint64_t chain_n;	 /* of the receiver's state after the commit */
	uint8_t chain[32];
};

struct wire_need {
	uint32_t ticket;
	uint8_t reason; /* NEED_* */
};
#define NEED_CONTENT 1 /* the referred or basis bytes are not there: send it whole */
#define NEED_PARENT 2  /* the directory above is not there */
#define NEED_VERIFY 3  /* the hash did not match: send it again */

struct wire_refused {
	uint32_t ticket;
	uint8_t reason; /* REFUSED_* */
	char text[WIRE_TEXT_MAX + 1];
};
#define REFUSED_PROFILE 1 /* the receiver's profile leaves this path out */
#define REFUSED_KIND 2	  /* cannot be represented there */
#define REFUSED_FAILED 3  /* the system said no; the text says what */
#define REFUSED_SALVAGE 4 /* local content was in the way and could not be moved to safety */
#define REFUSED_HELD 5	  /* too much at once: a person there decides; the text names the command */

struct wire_signature_ask {
	uint32_t id;
	const char *path;
	uint8_t hash[32]; /* of the version whose signature is wanted */
};

struct wire_signature {
	uint32_t id;
	uint8_t flags; /* SIGNATURE_* */
	const uint8_t *bytes;
	uint32_t bytes_len;
};
#define SIGNATURE_LAST 0x01
#define SIGNATURE_NONE 0x02 /* no such version here, or it cannot be read */

/* RESEND: what the sender acknowledged of this path is not there any longer, and the bytes cannot
 * be had there. */
struct wire_resend {
	const char *path;
};

/* RANGE_ASK: is what you hold in lo <= path < hi this? hi "" = to the end. Order is memcmp's. */
struct wire_range_ask {
	uint32_t id;
	const char *lo, *hi;
	uint64_t records;
	uint8_t digest[32]; /* SHA-256 over the SHA-256 of each element in order */
};

struct wire_subrange {
	const char *hi;
	uint64_t records;
	uint8_t digest[32];
};
/* RANGE_SPLIT: equal (n == 0), or my subranges, which cover the asked range in order. */
struct wire_range_split {
	uint32_t id;
	uint16_t n;
	const struct wire_subrange *ranges; /* decoder: the caller's array of WIRE_RANGES_MAX */
};
/* RANGE_LIST: few enough to list: live records of the range, in order, perhaps in several frames.
 */
struct wire_range_list {
	uint32_t id;
	uint8_t flags; /* RANGE_LAST */
	uint16_t n;
	const uint8_t *records; /* n encoded records; read with wire_next_record() */
	uint32_t records_len;
};
#define RANGE_LAST 0x01

/* FINGERPRINTS: compare-only paths and the hash each side has. */
struct wire_fingerprints {
	uint8_t flags; /* FINGERPRINTS_LAST */
	uint16_t n;
	const uint8_t *entries; /* n times path, hash; wire_next_fingerprint() */
	uint32_t entries_len;
};
#define FINGERPRINTS_LAST 0x01

struct wire_deep_ask {
	uint32_t id;
};
/* DEEP_REPLY: paths whose content or metadata on disk differs from the index there. */
struct wire_deep_reply {
	uint32_t id;
	uint8_t flags;	       /* DEEP_LAST: complete; DEEP_FAILED */
	uint64_t files, bytes; /* read so far */
	uint16_t n;
	const uint8_t *entries; /* n times path, text */
	uint32_t entries_len;
};
#define DEEP_LAST 0x01
#define DEEP_FAILED 0x02

/* HISTORY_ASK: what were the paths that changed since then? */
struct wire_history_ask {
	uint32_t id;
	uint8_t flags;	   /* HISTORY_AFTER */
	uint64_t barrier;  /* as HISTORY_LIST named it; 0: the last one sent not after at_ns */
	int64_t at_ns;	   /* of the active's clock */
	const char *after; /* HISTORY_AFTER: only what is behind this path; else "" */
};
#define HISTORY_AFTER 0x01

/* HISTORY_LIST: a page, in order; deletions among the records: nothing was there. */
struct wire_history_list {
	uint32_t id;
	uint8_t flags;		   /* HISTORY_LAST; HISTORY_NONE: not kept, and n is 0 */
	uint64_t barrier;	   /* the passive's name for it */
	uint64_t seq;		   /* of it */
	int64_t first_ns, last_ns; /* when it and the last with the same digest were sent */
	uint8_t digest[32];
	uint16_t n;
	const uint8_t *records; /* n encoded records; read with wire_next_record() */
	uint32_t records_len;
};
#define HISTORY_LAST 0x01
#define HISTORY_NONE 0x02

/* CONTENT_ASK: bytes of a content that the passive has or keeps. */
struct wire_content_ask {
	uint32_t id; /* of the content: the same until all of it has been had */
	uint8_t hash[32];
	uint64_t size;
	uint64_t offset;
	uint32_t len;	  /* 1..WIRE_WINDOW_MAX, not beyond size; 0: no more of it is wanted */
	const char *path; /* where it may be live */
};

struct wire_content {
	uint32_t id;
	uint8_t flags; /* CONTENT_NONE: there is no such content, or it cannot be read */
	uint64_t offset;
	const uint8_t *bytes;
	uint32_t bytes_len; /* <= WIRE_CHUNK_MAX */
};
#define CONTENT_NONE 0x01

/* HANDOVER: one word of a planned reverse; role.h has the rules. */
enum handover_word {
	HANDOVER_PREPARE = 1, /* giver: get ready to take over with this epoch */
	HANDOVER_READY = 2,
	HANDOVER_UNREADY = 3, /* text says why; also gives up what was ready */
	HANDOVER_CHECK =
		4, /* giver: all is at you, with this digest at base_seq: is your tree that? */
	HANDOVER_CHECKED = 5,
	HANDOVER_UNCHECKED = 6,
	HANDOVER_OFFER = 7,    /* giver, durable: the epoch is yours if you say so */
	HANDOVER_TAKEN = 8,    /* heir, durable */
	HANDOVER_REFUSED = 9,  /* heir, durable: this id will never be taken */
	HANDOVER_ASK = 10,     /* giver: did you take it? */
	HANDOVER_ABORT = 11,   /* giver: forget it; all is as before */
	HANDOVER_PLEASE = 12,  /* heir: a person here asks you to hand over to me */
	HANDOVER_ENDED = 13,   /* either: my after-hook has ended; text when it did not end well */
	HANDOVER_CLAIM = 14,   /* passive to passive: I am about to take over with this epoch */
	HANDOVER_PROMISE = 15, /* durable: I do not, with this number or a smaller one */
	HANDOVER_DENIAL = 16,  /* text says why */
};
#define HANDOVER_WORD_MAX HANDOVER_DENIAL
#define HANDOVER_ACCEPT_LOSS 0x01 /* PLEASE: with held paths, too */
#define HANDOVER_BY_RULE 0x02	  /* UNREADY, UNCHECKED, ABORT: a safety rule says no */
#define HANDOVER_LATE 0x04	  /* UNREADY, ABORT: the person's time is up */
#define HANDOVER_FLAGS 0x07

struct wire_handover {
	uint8_t word;
	uint8_t flags;	      /* HANDOVER_* */
	uint32_t deadline_ms; /* PLEASE, PREPARE: how long the person waits */
	uint64_t number;      /* of the epoch; 0 in PLEASE */
	uint8_t id[WIRE_ID_LEN];
	uint64_t please;	      /* PLEASE: drawn anew. PREPARE, ABORT: of the PLEASE that they
					 answer, or 0 */
	uint64_t base_seq;	      /* CHECK, OFFER; else 0 */
	uint8_t digest[32];	      /* likewise */
	char text[WIRE_TEXT_MAX + 1]; /* for people */
	/* PLEASE, PREPARE: who asked for it, for the ledger; else "" */
	char operator[WIRE_NAME_MAX + 1];
};

/* OBSTACLES: what stands in the way of a planned reverse on the sender's side. Asked for, or said
 * of a reverse just before the word of HANDOVER that declines it, which has room for one text only.
 */
enum obstacles_kind {
	OBSTACLES_ASK = 1,
	OBSTACLES_ANSWER = 2,
	OBSTACLES_DECLINE = 3,
};
#define OBSTACLES_ACCEPT_LOSS 0x01 /* ASK: held paths are none */

struct wire_obstacles {
	uint8_t kind;
	uint8_t flags;
	uint64_t nonce; /* ANSWER: the question's; DECLINE: 0 */
	uint16_t total; /* 0 in ASK, and when nothing stands in the way */
	uint8_t n;	/* of them named here */
	char reasons[WIRE_OBSTACLES_MAX][WIRE_UNREADY_TEXT_MAX + 1]; /* for people */
};
static_assert(WIRE_OBSTACLES_MAX * (WIRE_UNREADY_TEXT_MAX + 3) + 16 <= 16 * 1024,
	      "all reasons that are named must fit in OBSTACLES");

#endif
