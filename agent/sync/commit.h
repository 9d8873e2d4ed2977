/* commit.h - a batch of staged records becomes the tree: durable data, journal, publish in class
 * order, durable directories, index. Run on a worker, one batch at a time. docs/ARCHITECTURE.md,
 * "the life of a batch". */
#ifndef SYNC_COMMIT_H
#define SYNC_COMMIT_H

#include "agent/conf/profile.h"
#include "agent/fs/meta.h"
#include "agent/fs/tree.h"
#include "agent/history/history.h"
#include "agent/store/store.h"
#include "agent/sync/stage.h"
#include "protocol/wire.h"

enum commit_result {
	COMMIT_DONE,	/* durable under its name: acknowledge */
	COMMIT_NEED,	/* need says what for */
	COMMIT_REFUSED, /* reason and text */
};

struct commit_item {
	uint8_t op;    /* enum wire_op */
	bool approved; /* by a person at the sender */
	struct index_entry
		entry; /* entry.rec is the record to install (owned); inst is filled in */
	struct staged staged;
	enum commit_result result; /* filled in */
	uint8_t reason;		   /* NEED_* or REFUSED_* */
	char text[160];
};
void commit_item_release(struct commit_item *item);

struct holds;

struct commit_env {
	struct tree *tree;
	struct store *store;
	const struct profile *profile;
	struct meta_policy policy;
	const char *salvage_why; /* "adopt", "divergence", "drift"; NULL: "drift" */
	struct history *history; /* keeps what is replaced; NULL: nothing is kept */
	const char *peer; /* on the active: what this peer has not acknowledged is saved before it
			     is replaced; NULL: all that is in the index was replicated */
	const uint64_t *salvage_max; /* bytes, may change meanwhile; NULL or 0: no limit */
	struct holds *holds;	     /* the brakes; NULL: none */
};

/**
 * Commits the items, which name each path at most once. Each gets its result; for one that is done
 * entry.inst is what was installed. A record of kind ABSENT whose seq is 0 (OP_ABSENT) leaves the
 * index without a tombstone. Staged objects are used up, whatever the result.
 * @return 0; negative errno when the batch as a whole cannot be acknowledged: all must be fetched
 * again (each item's result says NEED_CONTENT). Before the journal was written nothing has happened
 * then; after it (touched directories not durable, index not written, local content neither saved
 * nor put back) the journal stays, and the next commit_run() or commit_recover() goes on from it.
 * -EAGAIN: such a batch waits for a root that is away
 */
int commit_run(const struct commit_env *env, struct commit_item *items, size_t n, struct err *err);

/**
 * After a start, before anything is staged: settles the salvage's intents, rolls a journaled batch
 * forward, then empties staging.
 * Needs every root the journal touches to be healthy.
 * @return 0; -EAGAIN while such a root is unhealthy
 */
int commit_recover(const struct commit_env *env, struct err *err);

#endif
