#include "agent/fs/publish_internal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/base/clock.h"
#include "agent/base/fault.h"
#include "agent/base/quote.h"
#include "agent/fs/beneath.h"

/* Somebody else who creates and deletes the same name as fast as we look is given up on. */
#define PUBLISH_ATTEMPTS 16

int look_at(struct sighting *out, int dirfd, const char *name)
{
	struct stat st;
	*out = (struct sighting){0};
	int r = stat_name(dirfd, name, &st);
	if (r == -ENOENT)
		return 0;
	if (r < 0)
		return r;
	out->present = true;
	file_stat_from(&out->stat, &st);
	return 0;
}

bool is_same_object(const struct file_stat *a, const struct file_stat *b)
{
	return a->dev == b->dev && a->ino == b->ino && (a->mode & S_IFMT) == (b->mode & S_IFMT);
}

/* ---- what was displaced --------------------------------------------------------------------- */

static bool is_empty_dir(int dirfd, const char *name)
{
	int fd = open_beneath(dirfd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	if (!dir) {
		if (fd >= 0)
			close(fd);
		return false;
	}
	int n = 0;
	errno = 0;
	while (n <= 2 && readdir(dir))
		n++;
	bool empty = n <= 2 && errno == 0; /* . and .. */
	closedir(dir);
	return empty;
}

/* Is stage/<temp>, which stood under the name, what the index says stood there? Its ctime was
 * compared before the move, which changes it; all else now, because a writer may have come between.
 */
static enum displaced judge(const struct root *root, const char *temp, const struct sighting *seen,
			    const struct file_stat *expected)
{
	struct sighting now;
	if (!expected || look_at(&now, root->stage_fd, temp) < 0 || !now.present ||
	    !is_same_object(&seen->stat, &now.stat))
		return DISPLACED_UNKNOWN;
	if (S_ISDIR(now.stat.mode))
		return is_same_object(&now.stat, expected) && is_empty_dir(root->stage_fd, temp)
			       ? DISPLACED_EXPECTED
			       : DISPLACED_UNKNOWN;
	bool as_indexed = file_stat_equal(&seen->stat, expected) &&
			  file_stat_equal_moved(&now.stat, expected);
	return as_indexed ? DISPLACED_EXPECTED : DISPLACED_UNKNOWN;
}

/* ---- moves ---------------------------------------------------------------------------------- */

static int into_free_name(const struct root *root, const char *temp, int parent, const char *name)
{
	int hit = fault_point("publish into a free name");
	if (hit)
		return -hit;
	if (!root->can_exchange)
		return steps_into_free_name(root, temp, parent, name);
	return renameat2(root->stage_fd, temp, parent, name, RENAME_NOREPLACE) < 0 ? -errno : 0;
}

static int exchange(const struct root *root, const char *temp, int parent, const char *name)
{
	int hit = fault_point("exchange");
	if (hit)
		return -hit;
	if (!root->can_exchange)
		return steps_exchange(root, temp, parent, name);
	return renameat2(root->stage_fd, temp, parent, name, RENAME_EXCHANGE) < 0 ? -errno : 0;
}

static int remove_to_stage(const struct root *root, const char *temp, int parent, const char *name)
{
	int hit = fault_point("remove");
	if (hit)
		return -hit;
	if (!root->can_exchange)
		return steps_remove(root, temp, parent, name);
	return renameat2(parent, name, root->stage_fd, temp, RENAME_NOREPLACE) < 0 ? -errno : 0;
}

/* One look and one move. @return 1 when the name changed between them */
static int try_put(enum displaced *out, const struct root *root, const char *temp, int parent,
		   const char *name, const struct file_stat *expected)
{
	struct sighting seen, staged;
	int r = look_at(&staged, root->stage_fd, temp);
	if (r < 0)
		return r;
	if (!staged.present)
		return -ENODATA;
	r = look_at(&seen, parent, name);
	if (r < 0)
		return r;
	if (!seen.present) {
		r = into_free_name(root, temp, parent, name);
		if (r == 0)
			*out = DISPLACED_NOTHING;
		return r == -EEXIST ? 1 : r;
	}
	r = exchange(root, temp, parent, name);
	if (r == 0)
		*out = judge(root, temp, &seen, expected);
	return r == -ENOENT ? 1 : r;
}

static int put_name(enum displaced *out, const struct root *root, const char *temp, int parent,
		    const char *name, const struct file_stat *expected)
{
	/* Where nothing should stand mostly nothing does: the move that replaces nothing is the
	 * look. */
	int moved = expected ? -EEXIST : into_free_name(root, temp, parent, name);
	if (moved != -EEXIST && moved != -ENOENT) {
		*out = DISPLACED_NOTHING;
		return moved;
	}
	for (int attempt = 0; attempt < PUBLISH_ATTEMPTS; attempt++) {
		int r = try_put(out, root, temp, parent, name, expected);
		if (r <= 0)
			return r;
	}
	return -EAGAIN;
}

/* A parent that became a file or a link is as little there as one that was deleted. */
static int open_parent(const struct root *root, const char *sub, const char **name)
{
	int fd = root_open_parent(root, sub, name);
	return fd < 0 && errno_is_absence(fd) ? -ENOENT : fd;
}

int publish_name(enum displaced *out, const struct root *root, const char *temp, const char *sub,
		 const struct file_stat *expected, struct err *err)
{
	char q[QUOTED_MAX];
	const char *name;
	AUTO_CLOSE int parent = open_parent(root, sub, &name);
	if (parent < 0)
		return err_sys(err, -parent, "open the directory of %s", quote_path(q, sub));
	int r = put_name(out, root, temp, parent, name, expected);
	return r < 0 ? err_sys(err, -r, "publish %s", quote_path(q, sub)) : 0;
}

static int set_mode(int parent, const char *name, mode_t mode)
{
	AUTO_CLOSE int fd = open_beneath(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
	if (fd < 0)
		return fd;
	int hit = fault_point("give a directory its mode");
	if (hit)
		return -hit;
	return fchmod(fd, mode) < 0 ? -errno : 0;
}

/* Whoever lists the tree finds it with the mode it is to have, and not closed to him until the
 * batch ends: only our own right to write in it is on top until then. */
static int make_with_mode(int parent, const char *name, mode_t mode)
{
	mode = (mode & 0777) | S_IRWXU;
	if (mkdirat(parent, name, 0700) < 0)
		return -errno;
	int r = mode == 0700 ? 0 : set_mode(parent, name, mode);
	if (r < 0)
		unlinkat(parent, name, AT_REMOVEDIR);
	return r;
}

/* A directory takes the place of a non-directory. */
static int displace_by_dir(enum displaced *out, const struct root *root, const char *temp,
			   int parent, const char *name, const struct new_dir *dir)
{
	int hit = fault_point("make the directory that takes a place");
	int r = hit ? -hit : make_with_mode(root->stage_fd, temp, dir->mode);
	if (r < 0)
		return r;
	r = put_name(out, root, temp, parent, name, dir->expected);
	if (r < 0)
		unlinkat(root->stage_fd, temp, AT_REMOVEDIR);
	return r;
}

static int put_dir(enum displaced *out, const struct root *root, const char *temp, int parent,
		   const char *name, const struct new_dir *dir)
{
	struct sighting seen;
	int hit = fault_point("make directory");
	if (hit)
		return -hit;
	*out = DISPLACED_NOTHING;
	int r = make_with_mode(parent, name, dir->mode);
	if (r != -EEXIST)
		return r;
	r = look_at(&seen, parent, name);
	if (r < 0 || (seen.present && S_ISDIR(seen.stat.mode)))
		return r;
	return displace_by_dir(out, root, temp, parent, name, dir);
}

int publish_dir(enum displaced *out, const struct root *root, const char *temp, const char *sub,
		const struct new_dir *dir, struct err *err)
{
	char q[QUOTED_MAX];
	const char *name;
	*out = DISPLACED_NOTHING;
	if (!*sub)
		return 0; /* the root itself: it is open */
	AUTO_CLOSE int parent = open_parent(root, sub, &name);
	if (parent < 0)
		return err_sys(err, -parent, "open the directory of %s", quote_path(q, sub));
	int r = put_dir(out, root, temp, parent, name, dir);
	return r < 0 ? err_sys(err, -r, "make directory %s", quote_path(q, sub)) : 0;
}

static int take_away(enum displaced *out, const struct root *root, const char *temp, int parent,
		     const char *name, const struct file_stat *expected)
{
	struct sighting seen;
	int r = look_at(&seen, parent, name);
	if (r == 0 && seen.present)
		r = remove_to_stage(root, temp, parent, name);
	if (r == -ENOENT || (r == 0 && !seen.present)) {
		*out = DISPLACED_NOTHING;
		return 0;
	}
	if (r == 0)
		*out = judge(root, temp, &seen, expected);
	return r;
}

int publish_removal(enum displaced *out, const struct root *root, const char *temp, const char *sub,
		    const struct file_stat *expected, struct err *err)
{
	char q[QUOTED_MAX];
	const char *name;
	AUTO_CLOSE int parent = open_parent(root, sub, &name);
	if (parent == -ENOENT) {
		*out = DISPLACED_NOTHING;
		return 0;
	}
	int r = parent < 0 ? parent : take_away(out, root, temp, parent, name, expected);
	return r < 0 ? err_sys(err, -r, "remove %s", quote_path(q, sub)) : 0;
}

int publish_rmdir(const struct root *root, const char *sub, struct err *err)
{
	char q[QUOTED_MAX];
	const char *name;
	AUTO_CLOSE int parent = open_parent(root, sub, &name);
	if (parent == -ENOENT)
		return 0;
	if (parent < 0)
		return err_sys(err, -parent, "open the directory of %s", quote_path(q, sub));
	int hit = fault_point("rmdir");
	if (hit == 0 && unlinkat(parent, name, AT_REMOVEDIR) == 0)
		return 0;
	int error = hit ? hit : errno;
	if (error == ENOENT)
		return 0;
	return err_sys(err, error == EEXIST ? ENOTEMPTY : error, "remove directory %s",
		       quote_path(q, sub));
}

/* ---- durability ----------------------------------------------------------------------------- */

int root_sync_dir(const struct root *root, const char *sub, struct err *err)
{
	char q[QUOTED_MAX];
	AUTO_CLOSE int fd = root_open(root, sub, O_RDONLY | O_DIRECTORY, 0);
	if (fd < 0)
		return errno_is_absence(fd)
			       ? 0
			       : err_sys(err, -fd, "open directory %s", quote_path(q, sub));
	int hit = fault_point("sync directory");
	if (hit || fsync(fd) < 0)
		return err_sys(err, hit ? hit : errno, "sync directory %s", quote_path(q, sub));
	return 0;
}

int root_sync_all(struct root *root, struct err *err)
{
	uint64_t begun_ns = clock_mono_ns();
	int hit = fault_point("syncfs");
	if (!hit && !root->healthy)
		hit = ESTALE;
	if (hit || syncfs(root->fd) < 0) {
		hit = hit ? hit : errno;
		root->unsynced_ns = clock_mono_ns();
		return err_sys(err, hit, "sync the file system of %s", root->location);
	}
	root->synced_ns = begun_ns;
	return 0;
}
