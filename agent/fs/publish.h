/* publish.h - making a name appear, change or vanish without ever overwriting something unknown.
 * What stands in the way is exchanged into staging, looked at there, and only then dealt with.
 * One routine serves publishing, deleting, drift and roll-forward. Blocking; thread: one per root
 * at a time. Names in stage are opaque and never end in a deployable suffix. */
#ifndef FS_PUBLISH_H
#define FS_PUBLISH_H

#include "agent/base/err.h"
#include "agent/fs/meta.h"
#include "agent/fs/tree.h"

#define STAGE_NAME_MAX 40

enum displaced {
	DISPLACED_NOTHING,  /* the name was free */
	DISPLACED_EXPECTED, /* what stood there is what the index says; it is now stage/<temp> */
	DISPLACED_UNKNOWN,  /* something else stood there; it is now stage/<temp>, for the salvage */
};

/**
 * Gives stage/<temp> the name `sub`. For a directory that already is one nothing is exchanged: see
 * publish_dir().
 * @param expected  as-installed stat of what should stand there; NULL when nothing should
 * @param out       what was found; on success the displaced object, if any, is stage/<temp>
 * @return 0; -ENOENT when the parent directory is not there; -ENOTEMPTY never; other errno: nothing changed
 */
int publish_name(enum displaced *out, const struct root *root, const char *temp, const char *sub,
		 const struct file_stat *expected, struct err *err);

/* Makes sure `sub` is a directory: made new (0700) where nothing stands; a non-directory there is displaced to
 * stage/<temp>. @return 0 with *out, -ENOENT without its parent */
int publish_dir(enum displaced *out, const struct root *root, const char *temp, const char *sub,
		const struct file_stat *expected, struct err *err);

/* Moves `sub` away to stage/<temp>. @return 0 with *out (NOTHING: it was not there) */
int publish_removal(enum displaced *out, const struct root *root, const char *temp, const char *sub,
		    const struct file_stat *expected, struct err *err);

/* rmdir. @return 0 (also when it is not there), -ENOTEMPTY when something local keeps it */
int publish_rmdir(const struct root *root, const char *sub, struct err *err);

/* Unlinks stage/<temp>, whatever it is (a directory with all beneath it). @return 0 also when absent */
int stage_discard(const struct root *root, const char *temp, struct err *err);

/* Moves stage/<temp> to salvage/<id>/<name>; both directories synced. @return 0; -errno: nothing moved */
int stage_to_salvage(const struct root *root, const char *temp, const char *id, const char *name,
		     struct err *err);

/* A fresh name for stage/: unique across restarts. */
void stage_name(char out[STAGE_NAME_MAX]);

/* fsync of a directory beneath the root. @return 0, or 0 when it is gone */
int root_sync_dir(const struct root *root, const char *sub, struct err *err);

/* syncfs of the root's file system. */
int root_sync_all(const struct root *root, struct err *err);

#endif
