/* canary.h - the steps of a change, done with a small file that is none: what the active does
 * before it sends, and what the passive does before it acknowledges. The same primitives and the
 * same turns as those of records, beside them. Blocking; run on a worker. */
#ifndef SYNC_CANARY_H
#define SYNC_CANARY_H

#include "agent/sync/commit.h"
#include "protocol/wire.h"

#define CANARY_NAME "canary" /* in .artifact-sync of the tree */

/* The active: writes it, reads and hashes what is there, notes it durably.
 * @param out  nonce is given; the rest is filled in */
int canary_write(struct wire_canary *out, const struct tree *tree, struct store *store,
		 struct err *err);

/* The passive: stages, compares, syncs, waits for its turn, gives it its name, syncs the directory,
 * notes it durably. @return 0; -EBADMSG when the bytes are not what the hash says; errno */
int canary_commit(const struct wire_canary *canary, const struct commit_env *env, struct err *err);

#endif
