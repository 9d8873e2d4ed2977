/* objects.c - history/ of one root: names are hashes, an object never changes. */
#include "agent/history/history_private.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/base/fault.h"
#include "agent/fs/beneath.h"
#include "agent/fs/copy.h"
#include "agent/fs/publish.h"

static int open_dir(const struct root *root, uint8_t prefix)
{
	char sub[sizeof(HISTORY_DIR) + 4];
	snprintf(sub, sizeof(sub), HISTORY_DIR "/%02x", prefix);
	return open_beneath(root->own_fd, sub, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
}

static int make_dir(const struct root *root, uint8_t prefix)
{
	char sub[4];
	int hit = fault_point("make history");
	if (hit)
		return -hit;
	if (mkdirat(root->own_fd, HISTORY_DIR, 0700) < 0 && errno != EEXIST)
		return -errno;
	AUTO_CLOSE int top =
		open_beneath(root->own_fd, HISTORY_DIR, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
	if (top < 0)
		return top;
	snprintf(sub, sizeof(sub), "%02x", prefix);
	return mkdirat(top, sub, 0700) < 0 && errno != EEXIST ? -errno : 0;
}

int objects_open_dir(const struct root *root, uint8_t prefix, bool create)
{
	int fd = open_dir(root, prefix);
	if (fd != -ENOENT || !create)
		return fd;
	int r = make_dir(root, prefix);
	return r < 0 ? r : open_dir(root, prefix);
}

/* Bytes that another name of the same inode can still change are not kept by renaming: the other
 * name would rewrite history. */
static int copy_away(char copy[STAGE_NAME_MAX], const struct root *root, const char *temp,
		     const uint8_t hash[HASH_LEN], uint64_t size, struct err *err)
{
	uint8_t found[HASH_LEN];
	AUTO_CLOSE int in =
		open_beneath(root->stage_fd, temp, O_RDONLY | O_NOFOLLOW | O_NONBLOCK, 0);
	if (in < 0)
		return err_sys(err, -in, "open a displaced file");
	AUTO_CLOSE int out = stage_create(copy, root, err);
	if (out < 0)
		return out;
	int r = copy_content_hashed(found, in, out, size, root->can_clone, err);
	if (r == 0 && memcmp(found, hash, HASH_LEN) != 0)
		r = err_set(err, -ENOENT, "its other name has changed it");
	if (r < 0)
		stage_discard_or_later(root, copy, NULL);
	return r;
}

#define VERIFY_MAX (16u << 20) /* bytes; of a larger one only the size is compared */

/* Is history/<name> what it says, or has something damaged it since? */
static bool is_sound(int dir, const char *name, const uint8_t hash[HASH_LEN], uint64_t size)
{
	uint8_t found[HASH_LEN];
	struct stat st;
	AUTO_CLOSE int fd = open_beneath(dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK, 0);
	if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || (uint64_t)st.st_size != size)
		return false;
	return size > VERIFY_MAX || (hash_content(found, fd, size, NULL, NULL) == 0 &&
				     memcmp(found, hash, HASH_LEN) == 0);
}

struct object {
	int dir;
	const uint8_t *hash;
	uint64_t size;
};

static int move_in(const struct root *root, const char *temp, const struct object *to,
		   struct err *err)
{
	char name[HASH_HEX_MAX];
	int dir = to->dir;
	hash_hex(name, to->hash);
	int hit = fault_point("close history");
	/* 0600 whatever it was: readers of the tree are not readers of its past. On a file server
	 * that maps owners it may not be ours to change; its directory is closed to others. */
	if (hit || (fchmodat(root->stage_fd, temp, 0600, AT_SYMLINK_NOFOLLOW) < 0 &&
		    errno != EPERM && errno != EOPNOTSUPP))
		return err_sys(err, hit ? hit : errno, "close a kept version to others");
	hit = fault_point("keep");
	if (hit)
		return err_sys(err, hit, "move to history/");
	if (renameat2(root->stage_fd, temp, dir, name, RENAME_NOREPLACE) == 0)
		return 0;
	struct stat st;
	if (errno == EINVAL || errno == ENOSYS) { /* a file system that cannot refuse to replace */
		if (stat_name(dir, name, &st) == 0)
			errno = EEXIST;
		else if (renameat(root->stage_fd, temp, dir, name) == 0)
			return 0;
	}
	if (errno != EEXIST)
		return err_sys(err, errno, "move to history/");
	if (!is_sound(dir, name, to->hash, to->size))
		return renameat(root->stage_fd, temp, dir, name) < 0
			       ? err_sys(err, errno, "replace a damaged version in history/")
			       : 0;
	stage_discard_or_later(root, temp, NULL); /* the bytes are kept already */
	return 0;
}

int objects_put(const struct root *root, const char *temp, const uint8_t hash[HASH_LEN],
		uint64_t size, struct err *err)
{
	struct stat st;
	char copy[STAGE_NAME_MAX] = "";
	int r = stat_name(root->stage_fd, temp, &st);
	if (r < 0)
		return err_sys(err, -r, "look at a displaced file");
	if (!S_ISREG(st.st_mode) || (uint64_t)st.st_size != size)
		return err_set(err, -ENOENT, "what was displaced is another object by now");
	AUTO_CLOSE int dir = objects_open_dir(root, hash[0], true);
	if (dir < 0)
		return err_sys(err, -dir, "open history/");
	const struct object to = {dir, hash, size};
	if (st.st_nlink <= 1)
		return move_in(root, temp, &to, err);
	r = copy_away(copy, root, temp, hash, size, err);
	if (r < 0)
		return r;
	r = move_in(root, copy, &to, err);
	stage_discard_or_later(root, r < 0 ? copy : temp, NULL);
	return r;
}

int objects_open(const struct root *root, const uint8_t hash[HASH_LEN])
{
	char hex[HASH_HEX_MAX];
	AUTO_CLOSE int dir = objects_open_dir(root, hash[0], false);
	if (dir < 0)
		return dir;
	return open_beneath(dir, hash_hex(hex, hash), O_RDONLY | O_NOFOLLOW | O_NONBLOCK, 0);
}

int objects_have(const struct root *root, const uint8_t hash[HASH_LEN])
{
	char hex[HASH_HEX_MAX];
	struct stat st;
	AUTO_CLOSE int dir = objects_open_dir(root, hash[0], false);
	int r = dir < 0 ? dir : stat_name(dir, hash_hex(hex, hash), &st);
	return r == 0 ? S_ISREG(st.st_mode) : r == -ENOENT ? 0 : r;
}

int objects_remove(const struct root *root, const uint8_t hash[HASH_LEN], struct err *err)
{
	char hex[HASH_HEX_MAX];
	int hit = fault_point("forget content");
	if (hit)
		return err_sys(err, hit, "remove a kept version");
	AUTO_CLOSE int dir = objects_open_dir(root, hash[0], false);
	if (dir < 0)
		return dir == -ENOENT ? 0 : err_sys(err, -dir, "open history/");
	if (unlinkat(dir, hash_hex(hex, hash), 0) < 0 && errno != ENOENT)
		return err_sys(err, errno, "remove a kept version");
	return 0;
}
