#include "agent/sync/put_on.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/fs/beneath.h"
#include "agent/fs/copy.h"

static int somebody_wrote(struct err *err)
{
	return err_set(err, -EAGAIN, "it is changing");
}

static int look(struct file_stat *out, int fd, struct err *err)
{
	struct stat st;
	if (fstat(fd, &st) < 0)
		return err_sys(err, errno, "look at a file");
	file_stat_from(out, &st);
	return 0;
}

static bool is_unwritten(const struct file_stat *now, const struct file_stat *judged,
			 int64_t mtime_ns)
{
	return now->ino == judged->ino && now->size == judged->size && now->mtime_ns == mtime_ns;
}

/* A file system may keep coarser times than it was told, and then only the bytes can say that
 * nobody wrote. */
static bool has_content(int fd, const struct record *rec, const struct file_stat *stat)
{
	uint8_t hash[HASH_LEN];
	struct file_stat after;
	return stat->size == rec->size && hash_content(hash, fd, rec->size, NULL, NULL) == 0 &&
	       memcmp(hash, rec->hash, HASH_LEN) == 0 && look(&after, fd, NULL) == 0 &&
	       file_stat_equal(&after, stat);
}

int put_on_file(struct file_stat *out, int fd, const struct file_stat *judged,
		const struct put_on *what, struct err *err)
{
	struct file_stat before;
	int r = meta_apply_rights(fd, what->rec, what->policy, err);
	if (r == 0)
		r = look(&before, fd, err);
	if (r < 0)
		return r;
	if (!is_unwritten(&before, judged, judged->mtime_ns))
		return somebody_wrote(err);
	r = meta_apply_mtime(fd, what->mtime_ns, err);
	if (r == 0)
		r = look(out, fd, err);
	if (r < 0)
		return r;
	if (!is_unwritten(out, judged, what->mtime_ns) && !has_content(fd, what->rec, out))
		return somebody_wrote(err);
	return 0;
}

/* An inode's target never changes, but another link may have taken its place, and its number. */
static bool is_target(int parent, const char *name, const struct record *rec)
{
	char target[RECORD_TARGET_MAX + 1];
	ssize_t len = readlinkat(parent, name, target, sizeof(target));
	return len >= 0 && (size_t)len == rec->target_len &&
	       memcmp(target, rec->target, (size_t)len) == 0;
}

int put_on_link(struct file_stat *out, const struct root *root, const char *sub,
		const struct put_on *what, struct err *err)
{
	const char *name;
	struct stat before, after;
	struct file_stat then;
	AUTO_CLOSE int parent = root_open_parent(root, sub, &name);
	if (parent < 0)
		return err_sys(err, -parent, "open the directory of a link");
	int r = meta_apply_symlink(parent, name, what->rec, what->policy, err);
	if (r < 0)
		return r;
	if (stat_name(parent, name, &before) < 0 || !is_target(parent, name, what->rec) ||
	    stat_name(parent, name, &after) < 0)
		return somebody_wrote(err);
	file_stat_from(&then, &before);
	file_stat_from(out, &after);
	return file_stat_equal(&then, out) ? 0 : somebody_wrote(err);
}
