#include "agent/fs/listing.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "agent/base/alloc.h"
#include "agent/base/fault.h"

#define NAMES_BUFFER \
	(128 * 1024) /* bytes per getdents64: a thousand calls fewer for 100,000 names */

static uint32_t keep_name(struct listing *list, const char *name)
{
	size_t len = strlen(name) + 1, at = list->names_len;
	GROW(list->names, list->names_cap, at + len);
	memcpy(list->names + at, name, len);
	list->names_len += len;
	return (uint32_t)at;
}

static int64_t statx_ns(const struct statx_timestamp *time)
{
	return meta_ns(&(struct timespec){.tv_sec = time->tv_sec, .tv_nsec = time->tv_nsec});
}

static void take_stat(struct listing_entry *entry, const struct statx *sx)
{
	entry->is_mount = sx->stx_attributes & STATX_ATTR_MOUNT_ROOT;
	entry->stat = (struct file_stat){
		.dev = makedev(sx->stx_dev_major, sx->stx_dev_minor),
		.ino = sx->stx_ino,
		.size = sx->stx_size,
		.mtime_ns = statx_ns(&sx->stx_mtime),
		.ctime_ns = statx_ns(&sx->stx_ctime),
		.mode = sx->stx_mode,
		.uid = sx->stx_uid,
		.gid = sx->stx_gid,
		.nlink = sx->stx_nlink,
	};
}

static void add_entry(struct listing *list, int fd, const char *name)
{
	struct listing_entry entry = {0};
	struct statx sx;
	if (statx(fd, name, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT, STATX_BASIC_STATS, &sx) < 0) {
		if (errno == ENOENT)
			return; /* gone since it was listed */
		entry.error = errno;
	} else {
		take_stat(&entry, &sx);
	}
	entry.name = keep_name(list, name);
	GROW(list->entries, list->cap, list->n + 1);
	list->entries[list->n++] = entry;
}

static int compare_entries(const void *a, const void *b, void *names)
{
	const struct listing_entry *x = a, *y = b;
	return strcmp((char *)names + x->name, (char *)names + y->name);
}

static bool is_itself_or_parent(const char *name)
{
	return name[0] == '.' && (!name[1] || (name[1] == '.' && !name[2]));
}

static int add_names(struct listing *list, int fd, const char *buffer, size_t len)
{
	for (size_t at = 0; at < len;) {
		const struct dirent64 *one = (const void *)(buffer + at);
		at += one->d_reclen;
		if (is_itself_or_parent(one->d_name))
			continue;
		if (list->n == LISTING_MAX)
			return -E2BIG;
		add_entry(list, fd, one->d_name);
	}
	return 0;
}

static int read_entries(struct listing *list, int fd)
{
	AUTO_FREE char *buffer = x_calloc(1, NAMES_BUFFER);
	int hit = fault_point("list directory");
	if (hit)
		return -hit;
	ssize_t n;
	while ((n = getdents64(fd, buffer, NAMES_BUFFER)) > 0) {
		int r = add_names(list, fd, buffer, (size_t)n);
		if (r < 0)
			return r;
	}
	/* ENOENT: the open directory was deleted; it has no entries. */
	return n < 0 && errno != ENOENT ? -errno : 0;
}

int listing_read(struct listing *out, int fd, struct err *err)
{
	out->n = out->names_len = 0;
	int r = read_entries(out, fd);
	if (out->n > 1)
		qsort_r(out->entries, out->n, sizeof(*out->entries), compare_entries, out->names);
	if (r == -E2BIG)
		return err_set(err, r, "more than %d entries: leave it out or split it",
			       LISTING_MAX);
	return r < 0 ? err_sys(err, -r, "list the directory") : 0;
}

void listing_put(struct listing *list, const char *name, const struct file_stat *stat, int error)
{
	size_t at = 0;
	int order = 1;
	while (at < list->n && (order = strcmp(listing_name(list, at), name)) < 0)
		at++;
	if (at == list->n || order != 0) {
		GROW(list->entries, list->cap, list->n + 1);
		memmove(list->entries + at + 1, list->entries + at,
			(list->n - at) * sizeof(*list->entries));
		list->n++;
		list->entries[at].name = keep_name(list, name);
	}
	list->entries[at].stat = *stat;
	list->entries[at].error = error;
	list->entries[at].is_mount = false;
}

void listing_release(struct listing *list)
{
	free(list->entries);
	free(list->names);
	*list = (struct listing){0};
}
