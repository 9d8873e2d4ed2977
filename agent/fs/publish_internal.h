/* publish_internal.h - shared by publish.c and publish_steps.c only. */
#ifndef FS_PUBLISH_INTERNAL_H
#define FS_PUBLISH_INTERNAL_H

#include "agent/fs/publish.h"

/* What stood under a name when it was looked at. */
struct sighting {
	bool present;
	struct file_stat stat;
};

/* @return 0, also for nothing there, or negative errno */
int look_at(struct sighting *out, int dirfd, const char *name);

bool is_same_object(const struct file_stat *a, const struct file_stat *b);

/**
 * The moves, for a root that cannot exchange; the same results as renameat2 gives elsewhere.
 * @return 0, or negative errno: -EEXIST when the name turned out to be taken, -ENOENT when it
 *         turned out to be free
 */
int steps_into_free_name(const struct root *root, const char *temp, int parent, const char *name);
int steps_exchange(const struct root *root, const char *temp, int parent, const char *name);
int steps_remove(const struct root *root, const char *temp, int parent, const char *name);

#endif
