/* publish.h - making a name appear, change or vanish without ever overwriting something unknown.
 * What stands in the way is exchanged into staging, looked at there, and only then dealt with.
 * One routine serves publishing, deleting, drift and roll-forward. Blocking; thread: one per root
 * at a time. Names in stage are opaque and never end in a deployable suffix. */
#ifndef FS_PUBLISH_H
#define FS_PUBLISH_H

#include "agent/base/err.h"
#include "agent/fs/meta.h"
#include "agent/fs/tree.h"

#define STAGE_NAME_MAX                                                            \
	40 /* with its NUL; publishing needs two bytes more in the same directory \
	    */

enum displaced {
	DISPLACED_NOTHING,  /* the name was free */
	DISPLACED_EXPECTED, /* what stood there is what the index says; it is now stage/<temp> */
	DISPLACED_UNKNOWN, /* something else stood there; it is now stage/<temp>, for the salvage */
};

/**
 * Gives stage/<temp> the name `sub`. For a directory that already is one nothing is exchanged: see
 * publish_dir().
 * @param expected  as-installed stat of what should stand there; NULL when nothing should
 * @param out       what was found; on success the displaced object, if any, is stage/<temp>
 * @return 0; -ENOENT when the parent directory is not there; -ENODATA when stage/<temp> is not;
 *         -EXDEV when the name lies on another file system than stage/; -EAGAIN when others keep
 *         changing the name; other errno: nothing changed
 */
int publish_name(enum displaced *out, const struct root *root, const char *temp, const char *sub,
		 const struct file_stat *expected, struct err *err);

struct new_dir {
	mode_t mode;			  /* permission bits; u+rwx comes on top */
	const struct file_stat *expected; /* as for publish_name() */
};

/* Makes sure `sub` is a directory: made new where nothing stands; a non-directory there is
 * displaced to stage/<temp>. One that is a directory already stays as it is: DISPLACED_NOTHING.
 * @return 0 with *out, -ENOENT without its parent; other errno: nothing changed */
int publish_dir(enum displaced *out, const struct root *root, const char *temp, const char *sub,
		const struct new_dir *dir, struct err *err);

/* Moves `sub` away to stage/<temp>, a name that is free. A directory is EXPECTED only when it is
 * empty.
 * @return 0 with *out (NOTHING: it was not there) */
int publish_removal(enum displaced *out, const struct root *root, const char *temp, const char *sub,
		    const struct file_stat *expected, struct err *err);

/**
 * Where a root cannot exchange, an operation takes several steps. After a crash in the midst of it
 * this brings stage/<temp> and `sub` to where they were before it or are after it; elsewhere it
 * does nothing. For every journaled temp, before anything is concluded from what stands where.
 * @return 0; -EBUSY when the name was taken meanwhile: the object stays in stage/<temp>~
 */
int publish_recover(const struct root *root, const char *temp, const char *sub, struct err *err);

/* rmdir. @return 0 (also when it is not there), -ENOTEMPTY when something local keeps it, -ENOTDIR
 * when it is something else */
int publish_rmdir(const struct root *root, const char *sub, struct err *err);

/* Creates stage/<temp>, 0600, for reading and writing. @return fd or -errno, temp filled in */
int stage_create(char temp[STAGE_NAME_MAX], const struct root *root, struct err *err);

/* Unlinks stage/<temp>, whatever it is (a directory with all beneath it). @return 0 also when
 * absent */
int stage_discard(const struct root *root, const char *temp, struct err *err);

/* The same for a name that is never used again: what cannot be removed now is remembered. */
int stage_discard_or_later(const struct root *root, const char *temp, struct err *err);
void stage_discard_leftovers(const struct root *root); /* those, until one cannot be removed */

/* Moves stage/<temp> to salvage/<id>/<name> and makes a file's data and its new name durable.
 * Done again after a crash it finishes. @return 0; -EINVAL for a name that is no single component;
 * -errno: nothing moved */
int stage_to_salvage(struct root *root, const char *temp, const char *id, const char *name,
		     struct err *err);

/* A fresh name for stage/: 64 random bits of this run and a counter, so unique across restarts. */
void stage_name(char out[STAGE_NAME_MAX]);

/* fsync of a directory beneath the root. @return 0, also when it is gone */
int root_sync_dir(const struct root *root, const char *sub, struct err *err);

/* syncfs of the root's file system. On success root->synced_ns is when it began; after a failure
 * the kernel may have dropped what it could not write, of whomever, and says so only once:
 * root->unsynced_ns is when that was. */
int root_sync_all(struct root *root, struct err *err);

#endif
