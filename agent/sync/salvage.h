/* salvage.h - local content that must make way, moved to safety:
 * `.artifact-sync/salvage/<id>/<name>` in its own root (so it is a rename), with a manifest beside
 * it, `salvage/<id>.json`, that says what it is without the store, and a row in the store that is
 * written before the move and completed after it. Nothing here is ever removed unasked: when it is
 * full, whoever needs it is refused. Blocking; run on a worker. */
#ifndef SYNC_SALVAGE_H
#define SYNC_SALVAGE_H

#include <stdint.h>

#include "agent/base/err.h"
#include "agent/fs/tree.h"
#include "agent/store/store.h"

struct salvage_order {
	struct root *root;
	const char *temp;   /* what is to be saved: stage/<temp> of that root */
	const char *path;   /* where it stood, in the tree */
	const char *why;    /* "adopt", "divergence", "drift" */
	uint64_t epoch;	    /* of what takes its place */
	uint64_t max_bytes; /* that the salvage may hold; 0: no limit */
};

/**
 * Moves stage/<temp> to the salvage, durably.
 * @return 0; negative errno: it is still stage/<temp>; -ENOBUFS: the salvage is full
 */
int salvage_put(struct store *store, const struct salvage_order *order, struct err *err);

/* Would it take so many bytes more? Asked before anything is moved for it.
 * @param max_bytes  as in the order
 * @return 0; -ENOBUFS with the reason */
int salvage_has_room(struct store *store, uint64_t max_bytes, uint64_t bytes, struct err *err);
/* What a directory counts for: all files in it. */
uint64_t salvage_bytes_in(int dirfd, const char *name);

/**
 * After a start, before anything else in staging is looked at: intents whose move happened are
 * completed, the others forgotten, and so is what somebody removed by hand. Rows of an unhealthy
 * root wait.
 */
int salvage_recover(struct store *store, const struct tree *tree, struct err *err);

/* Where the object of a row is: an absolute path, heap; NULL when its root is not in the
 * configuration. For people. */
char *salvage_location(const struct tree *tree, const struct salvage_row *row);

/**
 * Gives an object back under `to`, with its metadata, and forgets the row.
 * @param to   an absolute path that must not exist, whose directory must; NULL: where it was
 * @param out  receives the absolute path; heap
 * @return 0; -EEXIST something is there; -ENOENT the object or the directory is not; -ESTALE its
 * root is unhealthy; -EXDEV a directory can be given back only within its own file system
 */
int salvage_restore(char **out, struct store *store, const struct tree *tree,
		    const struct salvage_row *row, const char *to, struct err *err);

/* Removes an object, its manifest and its row, for good.
 * @return 0; -ESTALE its root is unhealthy */
int salvage_purge(struct store *store, const struct tree *tree, const struct salvage_row *row,
		  struct err *err);

#endif
