/* commit.h - a batch of staged records becomes the tree: durable data, journal, publish in class
 * order, durable directories, index. Run on a worker, one batch at a time. docs/ARCHITECTURE.md,
 * "the life of a batch". */
#ifndef SYNC_COMMIT_H
#define SYNC_COMMIT_H

#include <pthread.h>

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
	COMMIT_LEFT, /* another member of its set could not go on: nothing is done, nor answered */
};

/* Drift is put right: entry is the index's own. Such an item is answered COMMIT_NEED with NEED_LOOK
 * when index or disk do not ask for it any longer: somebody has to look again. */
enum commit_mend {
	COMMIT_ORDINARY,
	COMMIT_PUT_BACK,  /* a directory, or what is staged, stands there again */
	COMMIT_TAKE_AWAY, /* what stands there has no live record: to the salvage, whatever it is */
};
#define NEED_LOOK 0 /* beside NEED_*; never on the wire */

struct commit_item {
	uint8_t op;    /* enum wire_op */
	bool approved; /* by a person at the sender */
	enum commit_mend mend;
	uint32_t set; /* members of one set come into the journal together or not at all; 0: none */
	struct index_entry
		entry; /* entry.rec is the record to install (owned); inst is filled in */
	struct staged staged;
	enum commit_result result; /* filled in */
	uint8_t reason;		   /* NEED_* or REFUSED_* */
	int error;		   /* the errno behind a REFUSED, or 0 */
	char text[160];
};
void commit_item_release(struct commit_item *item);

/* One executor at a time: a commit, or somebody who compares tree and index and must not do so
 * between the two. */
struct commit_turn {
	pthread_mutex_t lock;
};
void commit_turn_init(struct commit_turn *turn);
void commit_turn_release(struct commit_turn *turn);

struct holds;

struct commit_env {
	struct commit_turn *turn; /* NULL where nobody else commits */
	struct tree *tree;
	struct store *store;
	const struct profile *profile;
	struct meta_policy policy;
	const char *
		salvage_why; /* "adopt", "divergence", "drift", "reject", "rewind"; NULL: "drift" */
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

/**
 * Waits for the turn and makes sure that no batch is journaled: until commit_leave() tree and index
 * are what the last commit left, and whatever differs is somebody else's doing.
 * @return 0; negative errno when a journaled batch cannot be ended: the turn is not taken
 */
int commit_enter(const struct commit_env *env, struct err *err);
void commit_leave(const struct commit_env *env);

#endif
