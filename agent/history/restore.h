/* restore.h - an earlier tree, or some paths of it, written into a directory of its own. Content is
 * read from the objects in history/ and from live files, and compared with its SHA-256 both when it
 * is read and as it was written; the catalogue is proven by the digest that the barrier matched.
 * Memory does not grow with the tree. Blocking; run on a worker. */
#ifndef HISTORY_RESTORE_H
#define HISTORY_RESTORE_H

#include <stdatomic.h>

#include "agent/fs/meta.h"
#include "agent/history/history.h"

#define RESTORE_FAILURES_MAX 100 /* named; the others are counted */

struct restore_order {
	struct history *history;
	struct store *store;
	const struct tree *tree;
	struct meta_policy policy;
	const char *to;	    /* absolute; an empty directory, or made */
	char *const *paths; /* with all beneath them; none: the whole tree */
	size_t n_paths;
	int64_t at_ns;	  /* the last barrier not after it */
	uint64_t version; /* not 0: this version of paths[0] instead */
	bool rehearsal; /* `to` is a directory of ours within the tree (.artifact-sync), and what is
			   made will be thrown away: it need not be durable */
};

/* Written by the worker, read by whoever watches. */
struct restore_progress {
	_Atomic uint64_t files, bytes;
	_Atomic bool cancelled; /* set by the watcher: ends soon with -ECANCELED */
};

struct restore_failure {
	char *path;
	char *why;
};

struct restore_result {
	struct history_barrier barrier; /* zero when one version was asked for */
	uint8_t digest[HASH_LEN];	/* of the barrier's tree as far as it could be restored */
	bool digest_matches;
	uint64_t files, directories, links, bytes;
	struct restore_failure failures[RESTORE_FAILURES_MAX];
	uint64_t n_failures;
};
void restore_result_release(struct restore_result *result);

/**
 * @param out  zeroed; what could not be restored is in it, and everything else is in `to`, durably
 * @return 0, also with failures; -ENOENT nothing is known from then (or there is no such version);
 * -EEXIST `to` is there and not empty; -EPERM it lies within the tree; -ESTALE pruned meanwhile;
 * -ECANCELED; errno
 */
int restore_run(struct restore_result *out, const struct restore_order *order,
		struct restore_progress *progress, struct err *err);

#endif
