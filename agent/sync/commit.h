/* commit.h - a batch of staged records becomes the tree: durable data, journal, publish in class
 * order, durable directories, index. Run on a worker, one batch at a time. docs/ARCHITECTURE.md,
 * "the life of a batch". */
#ifndef SYNC_COMMIT_H
#define SYNC_COMMIT_H

#include "agent/conf/profile.h"
#include "agent/fs/meta.h"
#include "agent/fs/tree.h"
#include "agent/store/store.h"
#include "agent/sync/stage.h"
#include "protocol/wire.h"

enum commit_result {
	COMMIT_DONE,	/* durable under its name: acknowledge */
	COMMIT_NEED,	/* need says what for */
	COMMIT_REFUSED, /* reason and text */
};

struct commit_item {
	uint8_t op; /* enum wire_op */
	struct index_entry
		entry; /* entry.rec is the record to install (owned); inst is filled in */
	struct staged staged;
	enum commit_result result; /* filled in */
	uint8_t reason;		   /* NEED_* or REFUSED_* */
	char text[160];
};
void commit_item_release(struct commit_item *item);

struct commit_env {
	struct tree *tree;
	struct store *store;
	const struct profile *profile;
	struct meta_policy policy;
	const char *salvage_why; /* "adopt", "divergence", "drift" */
};

/**
 * Commits the items, which name each path at most once. Each gets its result.
 * @return 0; negative errno when the batch as a whole did not happen (staging could not be made
 * durable, journal not written): no item is done, the staged objects are discarded, all must be
 * fetched again
 */
int commit_run(const struct commit_env *env, struct commit_item *items, size_t n, struct err *err);

/**
 * After a start: rolls a journaled batch forward, else does nothing; then cleans staging.
 * Needs every root the journal touches to be healthy.
 * @return 0; -EAGAIN while such a root is unhealthy
 */
int commit_recover(const struct commit_env *env, struct err *err);

#endif
