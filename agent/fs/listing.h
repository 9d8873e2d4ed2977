/* listing.h - a directory as it is now: names in byte order, each with its stat. Blocking; thread:
 * any. */
#ifndef FS_LISTING_H
#define FS_LISTING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/base/err.h"
#include "agent/fs/meta.h"

#define LISTING_MAX 2000000 /* entries; some 250 MB. Nobody's server finds a file among more */

struct listing_entry {
	uint32_t name;	       /* offset: see listing_name() */
	int error;	       /* positive errno: its stat could not be had, and is zero */
	bool is_mount;	       /* something else is mounted here */
	struct file_stat stat; /* of the entry itself, a link not followed */
};

/* A zeroed struct listing is empty and valid. */
struct listing {
	struct listing_entry *entries;
	size_t n, cap;
	char *names;
	size_t names_len, names_cap;
};

/**
 * Lists an open directory, without `.` and `..`, sorted by name.
 * @param out  emptied first; also after a failure it holds what could be read, sorted
 * @return 0, -E2BIG over LISTING_MAX, or another errno
 */
int listing_read(struct listing *out, int fd, struct err *err);

static inline const char *listing_name(const struct listing *list, size_t i)
{
	return list->names + list->entries[i].name;
}

/* Adds an entry, or replaces the one of that name; the order is kept. */
void listing_put(struct listing *list, const char *name, const struct file_stat *stat, int error);

void listing_release(struct listing *list);

#endif
