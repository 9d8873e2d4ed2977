/* mend.h - paths of a passive that may not be as installed: looked at within a commit's turn,
 * judged by their bytes, and put back by the same journaled routine that installs. Foreign content
 * goes to the salvage. Blocking; run on a worker, one mend_run() at a time. Who decides what is put
 * back and how often is drift.h. */
#ifndef SYNC_MEND_H
#define SYNC_MEND_H

#include <stdbool.h>
#include <stddef.h>

#include "agent/base/err.h"
#include "agent/sync/commit.h"

enum mend_result {
	MEND_MATCHES,  /* as the index has it; perhaps a new stat of it was taken over */
	MEND_QUIET,    /* only the time of a directory was put back: no drift */
	MEND_DONE,     /* put right; `what` says what it was */
	MEND_REPORTED, /* it is drift, and was to be reported only */
	MEND_CONTENT,  /* its bytes are nowhere here */
	MEND_AGAIN,    /* it is changing, or so is the index */
	MEND_AWAY,     /* its root is not there */
	MEND_PARENT,   /* the directory it is in is not there */
	MEND_FAILED,   /* `why` says what the system said */
};

struct mend_item {
	char *path; /* heap, owned by the item */
	bool report_only;
	bool nobody_to_ask; /* copies of small files are looked for, too: a walk of the index */
	bool spare_added;   /* what has no record is left alone, without a word */
	/* filled in */
	enum mend_result result;
	char what[80]; /* in words: "content changed"; "" unless it is drift */
	char why[160];
	bool was_added; /* the drift is that something stands there: it has no record */
	bool new_dir;	/* a directory was made again: what is beneath it is to be looked at */
};

/* Each item gets its result; it never fails as a whole. Paths are distinct. */
void mend_run(const struct commit_env *env, struct mend_item *items, size_t n);
void mend_item_release(struct mend_item *item);

#endif
