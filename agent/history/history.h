/* history.h - what a commit displaces is kept: content by its SHA-256 in
 * `.artifact-sync/history/<2 hex>/<64 hex>` of the root it was in. The displaced inode itself is
 * renamed, so keeping copies nothing; mode, owner and times are in the store's undo log
 * (agent/store/store_history.h), whose rows say how long an object is needed. A promise to keep is
 * part of the transaction that makes the new version current; the object is then in stage/ until it
 * has its place, and after a crash it is looked for there. Objects are 0600 in directories 0700.
 *
 * sync/commit -> history -> restore, rewind, drift. Blocking; any thread: one mutex, held for one
 * transaction or a few hundred names at a time. */
#ifndef HISTORY_HISTORY_H
#define HISTORY_HISTORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/base/err.h"
#include "agent/base/hash.h"
#include "agent/fs/tree.h"
#include "agent/store/store.h"
#include "agent/store/store_history.h"

struct history;

struct history_keep {
	uint32_t days;	/* 0: nothing is kept */
	uint64_t bytes; /* of content and catalogue; content larger than this is not kept at all */
};

/* Borrows store and tree. */
struct history *history_new(struct store *store, const struct tree *tree,
			    const struct history_keep *keep);
void history_free(struct history *history); /* NULL is a no-op */
void history_configure(struct history *history, const struct history_keep *keep); /* any thread */

/* ---- for the commit; a NULL history keeps nothing ---------------------------------------------
 */

/* Should this displaced object be promised? The store decides whether there is a way back to it. */
bool history_wants(const struct history *history, const struct root *root, const char *temp);
/* Around all that a batch does to the tree: in between, what it displaces is neither live nor kept,
 * and history_open_content() waits for the end. One batch at a time. */
void history_displacing(struct history *history);
void history_displaced(struct history *history);
/* Around the transaction that promises and the keeping of what it promised. */
void history_begin(struct history *history);
void history_end(struct history *history);
/**
 * Moves stage/<temp> to its place, or discards it when these bytes are there.
 * @param order  promised by store_journal_end(), between history_begin() and history_end()
 * @return 0; negative errno: it stays in stage/, and history_settle_left() tries again
 */
int history_take(struct history *history, const struct root *root, const struct keep_order *order,
		 struct err *err);
/**
 * Brings promised objects that are still in stage/ to their place and makes that durable. After a
 * start before stage/ is emptied, and now and then. Those of an unhealthy root wait.
 * @return 0; negative errno: some are still in stage/; history_claims() knows them
 */
int history_settle(struct history *history, struct err *err);
/* The same, only if something could not be taken since: quick when nothing waits. */
int history_settle_left(struct history *history, struct err *err);
bool history_claims(const char *temp, void *history); /* for stage_clean() */

/* ---- reading ----------------------------------------------------------------------------------
 */

/**
 * Opens content that is kept, wherever: the live file at `path`, or an object in history/.
 * It is read and compared with the hash; an object that fails is reported in the log and not given.
 * @param path  where it may be live (it is, when only metadata has changed since), or NULL
 * @return a descriptor for reading, at the beginning; -ENOENT when nothing here has these bytes;
 * errno
 */
int history_open_content(struct history *history, const uint8_t hash[HASH_LEN], uint64_t size,
			 const char *path, struct err *err);
/* "kept", "current" (the live file there has it) or "missing", by name and catalogue; nothing is
 * read. */
const char *history_where(struct history *history, const struct record *record);

/* ---- pruning ----------------------------------------------------------------------------------
 */

bool history_exceeds(const struct history *history); /* (quick) more bytes than are to be kept */
/**
 * One bounded step: forgets what is too old or too much, removes its content, and looks for objects
 * that the catalogue does not know.
 * @param by_age  the clock is trusted: one that jumped days ahead would take all there is
 * @return 1 there is more to do at once, 0, negative errno
 */
int history_prune(struct history *history, bool by_age, struct err *err);

#endif
