/* store.h - everything durable outside the tree: one SQLite database (WAL, synchronous FULL) in the
 * state directory. It holds the index, what each peer has acknowledged, the journal of the batch
 * being published, the salvage's catalogue, held paths, cached signatures and the node's own state.
 *
 * Each call is one transaction, durable when it returns. A writer connection and a reader
 * connection, each behind a mutex: calls block, and may come from any thread; those marked (quick)
 * are point reads that the loop may make. Walks (cursors, store_pending) have a connection of their
 * own and keep nobody waiting. Every transaction that changes index, role, lineage or
 * acknowledgements extends the chain hash: chain(n+1) = SHA-256(chain(n), what it is, last_seq,
 * digest). What another node never learns of (as-installed stats, journal, notes, salvage, barrier,
 * markers) does not. docs/STATE.md has the schema. */
#ifndef STORE_STORE_H
#define STORE_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/base/alloc.h"
#include "agent/base/err.h"
#include "agent/base/hash.h"
#include "agent/conf/profile.h"
#include "agent/fs/meta.h"
#include "protocol/digest.h"
#include "protocol/role.h"
#include "protocol/wire.h"

struct store;
struct keep_order;

/* ---- entries ------------------------------------------------------------------------------- */

#define ENTRY_FOREIGN 0x01  /* local content that was never replicated: displaced to the salvage */
#define ENTRY_KEPT 0x02	    /* tombstone of a directory that local files keep in being */
#define ENTRY_RACY 0x04	    /* timestamps too young when it was read: to be read again */
#define ENTRY_APPROVED 0x08 /* a person approved this version, or this deletion */

/* One path as the index holds it. Owns its strings: rec.path, rec.target, rec.xattrs are heap. */
struct index_entry {
	struct record rec;
	struct file_stat inst; /* mode == 0: nothing installed */
	unsigned flags;
};
void index_entry_release(struct index_entry *entry); /* frees the strings, zeroes the struct */
void index_entry_copy(struct index_entry *out, const struct index_entry *entry);

/* ---- opening, identity, state --------------------------------------------------------------- */

struct store_state {
	char node[WIRE_NAME_MAX + 1];
	char group[WIRE_NAME_MAX + 1];
	uint8_t role;		 /* enum wire_role */
	bool adopt;		 /* `init --adopt` was given and not yet consumed */
	bool populated_checked;	 /* the first scan of a passive has run */
	bool preserve_ownership; /* digest elements carry owners */
	uint64_t last_seq;
	uint64_t chain_n;
	uint8_t chain[HASH_LEN];
	uint8_t digest[HASH_LEN];	/* SHA-256 of the saved set digest */
	uint64_t records, files, bytes; /* live records; of them files; their bytes */
	uint64_t foreign;		/* live entries with ENTRY_FOREIGN */
	uint64_t barrier_seq;		/* last matched barrier */
	int64_t barrier_clock_ns;	/* 0 = none */
	uint8_t barrier_digest[HASH_LEN];
};

/* Makes state.db with its schema. -EEXIST when there is one. For `init`. */
int store_create(const char *state_dir, const struct store_state *initial,
		 const struct epoch_entry *first_epoch /* NULL for a passive */, struct err *err);
/**
 * Opens state.db and checks it (schema version, quick_check after an unclean end).
 * @return 0; -ENOENT without one; -EBUSY when another process has it open (flock on state.lock);
 * -EUCLEAN corrupt
 */
int store_open(struct store **out, const char *state_dir, struct err *err);
void store_close(struct store *store); /* NULL is a no-op */

/* The last store_set_vouched() of the run before, real time; 0 = there was none, or it ended by
 * itself. */
int64_t store_last_vouched_ns(const struct store *store);
/* All events of the tree up to then were told. Once a second or so; costs no disk write. */
void store_set_vouched(const struct store *store, int64_t real_ns);

void store_state(struct store *store, struct store_state *out); /* (quick) a copy, from memory */
int store_set_role(struct store *store, uint8_t role, struct err *err);
int store_set_adopt(struct store *store,
		    struct err *err); /* `init --adopt` on a passive node that exists */
int store_clear_adopt(struct store *store, struct err *err);
/* last_seq grows to at least `seq`: what a peer has seen is never given to another change. */
int store_raise_seq(struct store *store, uint64_t seq, struct err *err);
int store_set_populated_checked(struct store *store, struct err *err); /* the first scan has run */
int store_set_barrier(struct store *store, uint64_t seq, int64_t clock_ns,
		      const uint8_t digest[HASH_LEN], struct err *err);
/* The same, and, where history is recorded, the state is noted as that of sent_ns: nothing that
 * happened later is in it. */
int store_note_barrier(struct store *store, uint64_t seq, int64_t clock_ns, int64_t sent_ns,
		       const uint8_t digest[HASH_LEN], struct err *err);
/* Owners come into or leave the digest: recomputes it when the setting changed. At start. */
int store_set_preserve_ownership(struct store *store, bool preserve, struct err *err);

/* Lineage: at most WIRE_LINEAGE_MAX entries. *out is heap. */
int store_lineage(struct store *store, struct epoch_entry **out, size_t *n, struct err *err);
/* last_seq grows to the last entry's base_seq, so that no seq is given twice. */
int store_set_lineage(struct store *store, const struct epoch_entry *entries, size_t n,
		      struct err *err);

/* The same, with what the ledger is to say of the epochs that are new here, in one transaction.
 * @param entry_n  receives the number of the last of the entries; unchanged when there are none */
int store_follow_lineage(struct store *store, const struct epoch_entry *epochs, size_t n,
			 char *const *entries, size_t n_entries, uint64_t *entry_n,
			 struct err *err);

/* From now on paths are entered under the consistency sets that this profile puts them in; what is
 * indexed already is, too, when the profile is not the one of last time. Borrowed. At start. */
int store_use_profile(struct store *store, const struct profile *profile, struct err *err);
/* The live members of a set, in order. @param paths  receives at most max heap strings */
int store_members(struct store *store, const char *set, char **paths, size_t max, size_t *n,
		  struct err *err);
/* ---- roles ---------------------------------------------------------------------------------- */

/* What is durable of the role machine. An own row beside the state's role. */
int store_role(struct store *store, struct role_machine *out, struct err *err);
/**
 * One transaction: role, number, due and offer of the machine.
 * @param epoch  becomes the last of the lineage in the same transaction; NULL: none begins.
 * last_seq grows to its base_seq
 * @return 0; -E2BIG when the lineage is full; -EEXIST when its last entry is that epoch already
 * (then nothing changes)
 */
int store_set_machine(struct store *store, const struct role_machine *machine,
		      const struct epoch_entry *epoch, struct err *err);

/* What a hook that is owed is told, however often it is run. */
struct hook_facts {
	char reason[16];	      /* "planned", "rollback", ...; "": nothing is known */
	char peer[WIRE_NAME_MAX + 1]; /* "": nobody */
	uint64_t epoch;
};
/* What becomes durable with the machine, in its transaction. Borrowed; NULL: not so. */
struct role_change {
	const struct role_machine *machine;
	const struct epoch_entry *epoch;
	const struct hook_facts *owed; /* of the machine's `due` */
	const char *entry;	       /* of the ledger, to be written there later */
	uint64_t entry_n;	       /* receives its number */
};
/* store_set_machine() with all of it. */
int store_change_role(struct store *store, struct role_change *change, struct err *err);
/* Zeroed when there never was a hook. */
int store_owed(struct store *store, struct hook_facts *out, struct err *err);

/* An epoch that will never be taken here. */
int store_refuse_epoch(struct store *store, const uint8_t id[WIRE_ID_LEN], struct err *err);
/* @return 1 refused, 0 not, negative errno */
int store_is_epoch_refused(struct store *store, const uint8_t id[WIRE_ID_LEN], struct err *err);
/* A fork that was decided against: the lineage keeps its first n entries. */
int store_cut_lineage(struct store *store, size_t n, struct err *err);

/* The last line of the ledger that is known to be durable; n = 0: none. */
int store_ledger_head(struct store *store, uint64_t *n, uint8_t hash[HASH_LEN], struct err *err);
/* The first entry above number `after` that waits for its line. @return 1 with *entry (heap), 0, or
 * negative errno */
int store_next_entry(struct store *store, uint64_t after, uint64_t *n, char **entry,
		     struct err *err);
/* It says more by now. Nothing when it has become a line. */
int store_set_entry(struct store *store, uint64_t n, const char *entry, struct err *err);
/* Its line is durable and is the ledger's last; both in one transaction. */
int store_entry_written(struct store *store, uint64_t entry_n, uint64_t n,
			const uint8_t hash[HASH_LEN], struct err *err);

/* Marker ids of the roots: which markers this state belongs to. */
int store_root_id(struct store *store, const char *at, uint8_t id[16],
		  struct err *err); /* -ENOENT */
/* Of the tree and of what it follows, in order; all zero where none is known yet.
 * @param max  room in ids @return 0, -E2BIG, negative errno */
int store_root_ids(struct store *store, char *const *follow, size_t n_follow, uint8_t (*ids)[16],
		   size_t max, struct err *err);
int store_set_root_id(struct store *store, const char *at, const uint8_t id[16], struct err *err);

/* ---- reading the index ---------------------------------------------------------------------- */

/* Between these, the point reads of this thread are one transaction over one snapshot: SQLite takes
 * its file locks once instead of at each of them, which is most of what they cost. Everybody else's
 * reads wait, so nothing slow belongs between them; they do not nest. */
void store_begin_reads(struct store *store);
void store_end_reads(struct store *store);

/* (quick) @return 0 with an owned copy, -ENOENT (tombstones are found: kind ABSENT, without size,
 * hash and inst) */
int store_get(struct store *store, const char *path, struct index_entry *out, struct err *err);

/* A live entry that was installed as exactly this inode with this size, mtime and ctime: the same
 * bytes under another name (a renamed directory's files). Racy entries do not count. Tombstones do:
 * *out is then of kind ABSENT with the hash, size and inst of what was there. @return 0 with *out,
 * -ENOENT */
int store_find_inode(struct store *store, const struct file_stat *st, struct index_entry *out,
		     struct err *err);
/* Other live files that were installed as the inode entry->inst.ino: hard links, which change
 * together though only one name is reported. Where entry->inst.nlink is 1, only those that were
 * hard links when they were indexed; what an inode was renamed to is none.
 * @param paths  receives at most max heap strings */
int store_linked_paths(struct store *store, const struct index_entry *entry, char **paths,
		       size_t max, size_t *n, struct err *err);
/* Live files that were hard links to files which the index had beneath `dir` before they were
 * deleted. */
int store_linked_beneath(struct store *store, const char *dir, char **paths, size_t max, size_t *n,
			 struct err *err);
/* Live files of at least STORE_SIGNED_MIN bytes with these bytes, as the index has it; smaller ones
 * are not found by their hash. @param paths  receives at most max heap strings */
int store_content_paths(struct store *store, const uint8_t hash[HASH_LEN], char **paths, size_t max,
			size_t *n, struct err *err);

/* Walks entries with lo <= path < hi in memcmp order ("" = no bound), tombstones included. The
 * cursor sees one snapshot. It has a connection of its own: use it from one thread, close it soon.
 */
struct store_cursor;
int store_cursor_open(struct store_cursor **out, struct store *store, const char *lo,
		      const char *hi, struct err *err);
/* @return 1 with *entry (borrowed until the next call), 0 at the end, negative errno */
int store_cursor_next(struct store_cursor *cursor, const struct index_entry **entry,
		      struct err *err);
void store_cursor_free(struct store_cursor *cursor);
DEFINE_AUTO(store_cursor)

/* ---- the active: capturing ------------------------------------------------------------------ */

enum captured_kind {
	CAPTURED_VERSION, /* entry is the new version: gets the next seq and the current epoch */
	CAPTURED_SAME,	  /* only the as-installed stat or flags changed: no seq */
	CAPTURED_GONE, /* path and everything live beneath it becomes tombstones, deepest first */
	CAPTURED_DROPPED,   /* left the profile: path and all beneath it leave the index without
			       tombstone */
	CAPTURED_TOMBSTONE, /* a peer has it and this node has never known it: a tombstone; nothing
			       where there is a record */
};
struct captured {
	enum captured_kind kind;
	const struct index_entry *entry; /* VERSION, SAME */
	const char *path;		 /* GONE, DROPPED, TOMBSTONE */
	/* VERSION: NULL, or receives whether it was left out because the directory it lies in is
	 * not indexed: not yet, or, since it was read before another capture saw it go, not any
	 * longer. */
	bool *orphan;
	bool approved; /* GONE: by a person; of a VERSION its flag says so */
};

/**
 * Indexes what was captured, in the order given: peers are sent it in this order, so that a
 * deletion put behind the versions lets moved content be referred to. A VERSION whose record equals
 * the indexed one (record_equal) is treated as SAME, unless that never got a seq and now gets one.
 * A VERSION that is no directory where a directory was: what is indexed beneath is GONE.
 * @param foreign  true on a passive that looks at its own populated tree: entries get
 * ENTRY_FOREIGN, epoch 0, seq 0; what is GONE leaves the index without a tombstone
 * @param changed  may be NULL; receives how many records got a seq (foreign: how many were entered)
 * @return 0; -EPERM without an epoch, unless foreign
 */
int store_capture(struct store *store, const struct captured *items, size_t n, bool foreign,
		  size_t *changed, struct err *err);

/* A node becomes the active: every ENTRY_FOREIGN entry becomes a version of its epoch, with a seq.
 */
int store_claim_foreign(struct store *store, size_t *changed, struct err *err);

/* A node was superseded: what it numbered above base_seq (of the first epoch that is not its own)
 * was never replicated. Live entries become ENTRY_FOREIGN with epoch 0 and seq 0, so that what
 * displaces them saves them first; deletions are forgotten.
 * @param survivor  the same for whatever this peer has not acknowledged; NULL: only those above */
int store_disown_above(struct store *store, uint64_t base_seq, const char *survivor,
		       size_t *changed, struct err *err);
/* The tree was proven equal to the active's at this seq: what is still ENTRY_FOREIGN is replicated
 * content, and gets that seq and the epoch. */
int store_own_foreign(struct store *store, uint64_t seq, size_t *changed, struct err *err);

/* ---- the active: what a peer has ------------------------------------------------------------ */

struct pending {
	char *path; /* heap */
	uint64_t seq;
	uint64_t size;
	int64_t mtime_ns;
	enum record_kind kind;
};

/**
 * Records that the peer has not acknowledged, by seq, with seq > after; an unacknowledged
 * ancestor directory stands before its first descendant whatever its seq (it may then appear a
 * second time). The next page begins behind out[n - 1].seq, which is always a record in its own
 * place. Tombstones are among them.
 * @param out  receives at most max; the caller frees each path
 * @param max  a few thousand; -ENOBUFS when one record and all directories above it do not fit
 */
int store_pending(struct store *store, const char *peer, uint64_t after, struct pending *out,
		  size_t max, size_t *n, struct err *err);

/**
 * The same of one consistency set, as of one moment: first the unacknowledged directories above
 * that are not in it, then its members, deletions last.
 * @param max  WIRE_SET_MAX and room for the directories
 * @return 0; -E2BIG for more members than WIRE_SET_MAX; -ENOBUFS when the directories do not fit
 */
int store_pending_set(struct store *store, const char *peer, const char *set, struct pending *out,
		      size_t max, size_t *n_above, size_t *n, struct err *err);

struct pending_summary {
	uint64_t changes, bytes;
	uint64_t acked_seq; /* the watermark: every record up to it, deletions too, is acknowledged
			     */
};
int store_pending_summary(struct store *store, const char *peer, struct pending_summary *out,
			  struct err *err);

struct acked {
	const char *path;
	uint64_t seq;
	enum record_kind kind;
	uint8_t hash[HASH_LEN]; /* zero unless a file */
	uint64_t size;
};
/* The peer has these versions. Also clears their refusals. An acked tombstone is kept until pruned.
 */
int store_ack(struct store *store, const char *peer, const struct acked *acks, size_t n,
	      struct err *err);
/* What a session's acknowledgements say at once: versions, and how far the peer's chain is. */
struct ack_set {
	const struct acked *acks; /* borrowed */
	size_t n;
	uint64_t chain_n;
	const uint8_t *chain; /* HASH_LEN bytes, borrowed */
};
/* The same with the chain, in one transaction. */
int store_ack_chained(struct store *store, const char *peer, const struct ack_set *set,
		      struct err *err);
/* The peer's tree was proven equal, by digest, to ours with every record up to this seq: it has
 * them all, deletions too. After a reverse or a reconciliation. */
int store_ack_all(struct store *store, const char *peer, uint64_t up_to_seq, struct err *err);
/* (quick) What the peer has at this path. @return 0 with *out (path NULL), -ENOENT */
int store_acked(struct store *store, const char *peer, const char *path, struct acked *out,
		struct err *err);
/* (quick) A path under which the peer has these bytes. *path heap. @return 0, -ENOENT */
int store_acked_content(struct store *store, const char *peer, const uint8_t hash[HASH_LEN],
			char **path, struct err *err);
/* Forgets what is known of the peer at these paths / at all paths: they will be sent again. */
int store_unack(struct store *store, const char *peer, const char *const *paths, size_t n,
		struct err *err);
int store_unack_all(struct store *store, const char *peer, struct err *err);

/* The peer's state as last seen, for noticing a rolled-back one. n = 0: never met. */
int store_peer_chain(struct store *store, const char *peer, uint64_t *n, uint8_t chain[HASH_LEN],
		     struct err *err);
int store_set_peer_chain(struct store *store, const char *peer, uint64_t n,
			 const uint8_t chain[HASH_LEN], struct err *err);
/* (quick) Was (n, chain) ever a state of ours? The newest 4096 are remembered; older ones count as
 * ours.
 * @return true unless it can be shown that not */
bool store_chain_was_ours(struct store *store, uint64_t n, const uint8_t chain[HASH_LEN]);

/* Tombstones acknowledged by every one of these peers (by all of none: every tombstone), or older
 * than max_age_s, leave the index. */
int store_prune_tombstones(struct store *store, const char *const *peers, size_t n,
			   uint64_t max_age_s, size_t *pruned, struct err *err);

/* Cached librsync signatures, by content hash, of files of at least so many bytes. */
#define STORE_SIGNED_MIN 65536
int store_signature(struct store *store, const uint8_t hash[HASH_LEN], uint8_t **out, size_t *len,
		    struct err *err); /* -ENOENT */
int store_set_signature(struct store *store, const uint8_t hash[HASH_LEN], const uint8_t *sig,
			size_t len, struct err *err);
/* Drops signatures that no acknowledged version and no live record needs. */
int store_prune_signatures(struct store *store, struct err *err);

/* ---- paths that cannot go on ---------------------------------------------------------------- */

struct note {
	char *path;
	char *reason;
	int64_t since_ns;
};
enum note_kind {
	NOTE_HELD = 1,	     /* gates */
	NOTE_REFUSED = 2,    /* a peer will not take it */
	NOTE_RECONCILE = 3,  /* must be compared and answered */
	NOTE_UNREADABLE = 4, /* by capture */
	NOTE_BRAKE = 5,	     /* see "holds": the reason is the number of the hold */
	NOTE_DRIFT = 6,	     /* changed on the passive by somebody else, and not put back (yet) */
	NOTE_SET = 7, /* the "path" is a consistency set that is too large to travel as one */
};
/* Path and reason of each; at once, and an equal note keeps its `since`. */
int store_put_notes(struct store *store, enum note_kind kind, const struct note *notes, size_t n,
		    struct err *err);
int store_note(struct store *store, enum note_kind kind, const char *path, const char *reason,
	       struct err *err); /* an equal note keeps its `since` */
int store_note_many(struct store *store, enum note_kind kind, const char *const *paths, size_t n,
		    const char *reason, struct err *err); /* in one transaction */
int store_unnote(struct store *store, enum note_kind kind, const char *path,
		 struct err *err); /* 0 also when absent */
int store_forget_notes(struct store *store, enum note_kind kind, struct err *err); /* all of them */
int store_notes(struct store *store, enum note_kind kind, struct note **out, size_t *n,
		struct err *err);
/* The first `max` of them. */
int store_notes_up_to(struct store *store, enum note_kind kind, size_t max, struct note **out,
		      size_t *n, struct err *err);
uint64_t store_note_count(struct store *store, enum note_kind kind); /* (quick) from memory */
void notes_free(struct note *notes, size_t n);

/* ---- holds ---------------------------------------------------------------------------------- */

/* What a brake stopped at one time: paths noted as NOTE_BRAKE, and what a person decided of them.
 */
enum hold_side {
	HOLD_OURS = 1,	/* the active: changes of its own tree are not indexed */
	HOLD_PEERS = 2, /* the passive: records of the peer are refused */
};
enum hold_cause {
	HOLD_LOSS = 1,	  /* files deleted or emptied */
	HOLD_REWRITE = 2, /* contents replaced */
};
enum hold_state { HOLD_CLOSED = 1, HOLD_APPROVED = 2, HOLD_REJECTED = 3 };

#define HOLD_REASON_MAX 200
#define HOLD_APPROVED_S 3600 /* an approval that met nothing by then is none any longer */

struct hold {
	uint64_t id; /* never given twice */
	enum hold_side side;
	enum hold_cause cause;
	enum hold_state state; /* an approval that ran out is CLOSED */
	int64_t since_ns, joined_ns, decided_ns;
	uint64_t paths;
	char reason[HOLD_REASON_MAX];
};

/**
 * Adds paths to a hold; one that is held already changes over to it. One transaction.
 * @param id  in: the hold, or 0: a new one is made; out: which it was
 */
int store_hold_add(struct store *store, uint64_t *id, enum hold_side side, enum hold_cause cause,
		   const char *reason, const char *const *paths, size_t n, struct err *err);
/* (quick) The hold a path is in. @return 1 with *out, 0 none, negative errno */
int store_hold_of(struct store *store, const char *path, struct hold *out, struct err *err);
/* (quick) One that is not approved and has something beneath the path. @return as above */
int store_hold_beneath(struct store *store, const char *path, struct hold *out, struct err *err);
int store_hold_get(struct store *store, uint64_t id, struct hold *out, struct err *err);
/* *out is heap. */
int store_holds(struct store *store, struct hold **out, size_t *n, struct err *err);
/* At most max paths behind `after` ("" from the first); the caller frees each path; reason NULL. */
int store_hold_paths(struct store *store, uint64_t id, const char *after, struct note *out,
		     size_t max, size_t *n, struct err *err);
int store_hold_decide(struct store *store, uint64_t id, enum hold_state state, struct err *err);
/* The paths are held no longer; a hold without any is forgotten. */
int store_hold_release(struct store *store, const char *const *paths, size_t n, struct err *err);
int store_hold_release_beneath(struct store *store, const char *path, struct err *err);
int store_holds_clear(struct store *store, enum hold_side side, struct err *err);

/* Live files that got a seq greater than after_seq. On a connection of its own, like a cursor.
 * @param visit  the path is borrowed */
int store_files_since(struct store *store, uint64_t after_seq,
		      void (*visit)(void *arg, const char *path, const uint8_t hash[HASH_LEN]),
		      void *arg, struct err *err);

/* ---- the passive: journal ------------------------------------------------------------------- */

/* A file or link that is installed where a directory was takes what is indexed beneath out of the
 * index. */
enum journal_op {
	JOURNAL_PUBLISH = 1,
	JOURNAL_DIR = 2,
	JOURNAL_META = 3,
	JOURNAL_REMOVE = 4,
	JOURNAL_RMDIR = 5
};

struct journal_row {
	enum journal_op op;
	struct index_entry entry; /* the record to come; inst is the as-installed stat it replaces
				     (mode 0: none) */
	char temp[40];		  /* name in stage */
	uint64_t temp_ino;	  /* what stage/<temp> is before publishing; 0 = nothing */
	int64_t install_mtime_ns;
	bool keep_foreign; /* what it displaces was never replicated: to the salvage in any case */
};
/* There is at most one batch. -EEXIST when one is journaled. */
int store_journal_begin(struct store *store, const struct journal_row *rows, size_t n,
			struct err *err);
int store_journal_load(struct store *store, struct journal_row **out, size_t *n,
		       struct err *err); /* n = 0: none */
void journal_rows_free(struct journal_row *rows, size_t n);

struct installed {
	const struct index_entry
		*entry; /* with the new as-installed stat; kind ABSENT for a deletion. On an
			   active, epoch 0: gets the epoch and the next seq */
	bool forget;	/* OP_ABSENT: leaves the index without a tombstone */
	struct keep_order *keep; /* what it displaced, if that is to be kept: store_history.h */
};
/**
 * The end of a batch in one transaction: index, digest, journal emptied.
 * last_seq grows to the greatest seq installed.
 * @param touched  directories whose as-installed stat changed (entry with new inst); may be NULL
 */
int store_journal_end(struct store *store, const struct installed *done, size_t n,
		      const struct index_entry *touched, size_t n_touched, struct err *err);
/* Only as-installed stats and flags (ENTRY_FOREIGN stays as it is), no journal (drift repaired,
 * racy re-read). */
int store_set_installed(struct store *store, const struct index_entry *entries, size_t n,
			struct err *err);

/* A transaction as any, of which nothing is remembered: how long it takes is what counts. */
int store_canary(struct store *store, uint64_t nonce, struct err *err);

/* ---- salvage catalogue ---------------------------------------------------------------------- */

#define SALVAGE_ID_MAX 40 /* with its NUL */

struct salvage_row {
	char id[SALVAGE_ID_MAX]; /* sorts by time */
	char *path;		 /* where it was */
	char *root_at;		 /* which root's salvage holds it */
	char *why;		 /* "adopt", "drift", "divergence", ... */
	int64_t when_ns;
	uint64_t epoch;
	struct file_stat stat;
	uint64_t bytes; /* of the object, and of all files in it */
	bool has_hash;	/* a file that could be read */
	uint8_t hash[HASH_LEN];
	bool complete; /* false: intended, perhaps not moved */
	bool seen;     /* a person has been shown it */
};
int store_salvage_begin(struct store *store, const struct salvage_row *row, struct err *err);
/* The object is in its place. What cannot be recorded now is remembered. */
int store_salvage_end(struct store *store, const char *id, struct err *err);
/* Records the ends that were remembered. @return 0; else some are left (a start finds them, too) */
int store_salvage_end_left(struct store *store, struct err *err);
int store_salvage_forget(struct store *store, const char *id, struct err *err);
int store_salvage_list(struct store *store, struct salvage_row **out, size_t *n, struct err *err);
uint64_t store_salvage_count(struct store *store); /* (quick) of complete ones */
uint64_t store_salvage_bytes(struct store *store); /* (quick) of all, intended ones too */
/* A person has been shown those of these rows that are complete. */
int store_salvage_see(struct store *store, const struct salvage_row *rows, size_t n,
		      struct err *err);
/* (quick) Complete entries that nobody has been shown. */
int store_salvage_unseen(struct store *store, uint64_t *out, struct err *err);
void salvage_rows_free(struct salvage_row *rows, size_t n);

#endif
