/* store_history.h - what the index was before: an undo log of it, the matched barriers it leads
 * back to, and the catalogue of the kept content. Written within the transactions that change the
 * index, so that neither can say what the other does not. The tree at a barrier is the index with
 * the rows of later transactions undone, the earliest of them per path. Rows carry the number of
 * their transaction in the chain, which grows whatever seqs and epochs do. Nothing is recorded
 * before the first barrier: there is nothing to lead back to. Thread: any, as store.h. */
#ifndef STORE_STORE_HISTORY_H
#define STORE_STORE_HISTORY_H

#include "agent/store/store.h"

#define HISTORY_ROW_BYTES                                                      \
	512 /* what an undo row counts for beside content: about what it takes \
	     */

/* ---- what is there -------------------------------------------------------------------------- */

struct history_counts {
	uint64_t versions; /* undo rows */
	uint64_t bytes;	   /* of kept content */
	uint64_t barriers;
};
void store_history_counts(struct store *store, struct history_counts *out); /* (quick) */

/* Off when a store is opened. While it is off barriers are not noted, and the first change to a
 * record forgets those there are: the way back to them would have a gap. */
void store_history_record(struct store *store, bool on);

struct history_barrier {
	uint64_t txn; /* the tree is what it was after this transaction */
	uint64_t seq;
	int64_t first_ns, last_ns; /* when the first and last barrier with this digest were sent,
				      by the active's clock: the tree was this one then */
	uint8_t digest[HASH_LEN];
	uint64_t records;
	bool with_owner; /* owners are in the digest */
};
/* The last barrier that was first sent not after at_ns. @return 0, -ENOENT */
int store_history_barrier(struct store *store, int64_t at_ns, struct history_barrier *out,
			  struct err *err);
int store_history_oldest(struct store *store, struct history_barrier *out,
			 struct err *err); /* (quick) 0, -ENOENT */

/* ---- reading -------------------------------------------------------------------------------- */

/* A version that was replaced. */
struct history_version {
	uint64_t txn;		  /* by which transaction: names it, together with its path */
	int64_t until_ns;	  /* this node's clock then */
	struct index_entry entry; /* rec only; kind ABSENT: there was nothing */
};
void history_version_release(struct history_version *version);
/* The newest first. @param out  receives at most max */
int store_history_versions(struct store *store, const char *path, struct history_version *out,
			   size_t max, size_t *n, struct err *err);
int store_history_version(struct store *store, const char *path, uint64_t txn,
			  struct history_version *out, struct err *err); /* 0, -ENOENT */

struct history_range {
	const char *lo, *hi; /* lo <= path < hi in memcmp order; "" = no bound */
	bool backwards;
};
/**
 * Live records as they were at a barrier, a page at a time: the answer for a barrier never changes,
 * so pages fit together however much later they are asked for.
 * @param out  receives at most max entries (rec only) to be released; more follow behind the last
 * when *n == max
 * @return 0; -ESTALE: the barrier has been pruned
 */
int store_history_page(struct store *store, uint64_t barrier_txn, const struct history_range *range,
		       struct index_entry *out, size_t max, size_t *n, struct err *err);

/* What the paths that changed since a barrier were at it, kind ABSENT among them; a path may by now
 * be again what it was. In pages like the above. @param after  the last path of the page before, or
 * NULL */
int store_history_changes(struct store *store, uint64_t barrier_txn, const char *after,
			  struct index_entry *out, size_t max, size_t *n, struct err *err);

/* ---- kept content --------------------------------------------------------------------------- */

/* What a commit displaces: store_journal_end() promises to keep it. The object is stage/<temp>
 * until it has its place in history/. */
struct keep_order {
	const char *root_at, *temp;
	bool promised;		/* filled in: recording, and the version it replaces is a file */
	uint8_t hash[HASH_LEN]; /* filled in */
	uint64_t size;		/* filled in */
};

struct kept_object {
	uint8_t hash[HASH_LEN];
	uint64_t size;
	char *root_at;
	char temp[40]; /* "" once it is known to be durably in its place */
};
void kept_objects_free(struct kept_object *objects, size_t n);

/* Promised, and perhaps still in stage/. *out is heap. */
int store_kept_unsettled(struct store *store, struct kept_object **out, size_t *n, struct err *err);
/* These are durably in their place. */
int store_kept_settle(struct store *store, const struct kept_object *objects, size_t n,
		      struct err *err);
/* Their content could not be kept or is gone. */
int store_kept_forget(struct store *store, const struct kept_object *objects, size_t n,
		      struct err *err);
/* @return 1 promised in that root, 0 not, negative errno */
int store_kept_find(struct store *store, const uint8_t hash[HASH_LEN], const char *root_at,
		    struct err *err);
/* @return 1 when stage/<temp> is promised, 0, negative errno */
int store_kept_claims(struct store *store, const char *temp, struct err *err);

/* ---- pruning -------------------------------------------------------------------------------- */

struct history_limits {
	int64_t oldest_ns;  /* what was replaced before goes */
	uint64_t max_bytes; /* of content and rows */
};
/**
 * Forgets the oldest rows that exceed the limits, at most max_rows of them, and the barriers that
 * they were needed for.
 * @param freed  heap: content that no row needs any longer, out of the catalogue; to be removed
 * @param more   there are more
 */
int store_history_prune(struct store *store, const struct history_limits *limits, size_t max_rows,
			struct kept_object **freed, size_t *n, bool *more, struct err *err);

#endif
