/* Durability of a batch. One syncfs is as good as many fsyncs and, from a handful of files on, much
 * cheaper. */
#include "agent/sync/commit_private.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/base/fault.h"
#include "agent/fs/beneath.h"

#define SYNC_FILES_MAX 8 /* staged files synced one by one */
#define SYNC_DIRS_MAX 64 /* touched directories synced one by one */

static int sync_fd(int fd, const char *what, struct err *err)
{
	int fault = fault_point("sync staged");
	if (fault || fsync(fd) < 0)
		return err_sys(err, fault ? fault : errno, "sync %s", what);
	return 0;
}

static int sync_temp(const struct commit_op *op, struct err *err)
{
	AUTO_CLOSE int fd = open_beneath(op->root->stage_fd, op->row.temp,
					 O_RDONLY | O_NOFOLLOW | O_NONBLOCK, 0);
	if (fd == -ENOENT)
		return 0; /* publishing will say so of this one alone */
	if (fd < 0)
		return err_sys(err, -fd, "open a staged file");
	return sync_fd(fd, "a staged file", err);
}

/* A link cannot be opened to be synced, and a file that its own mode forbids to open can neither.
 */
static bool can_sync_alone(const struct commit_op *op)
{
	return S_ISREG(op->staged.mode) && op->staged.mode & S_IRUSR;
}

static bool is_to_sync(const struct commit_op *op, const struct root *root)
{
	return op->root == root && op->row.op == JOURNAL_PUBLISH && op->must_sync;
}

/* While many records come, staging is ahead of the batches: one syncfs is that of several. */
static int sync_root_staged(const struct batch *b, struct root *root, struct err *err)
{
	size_t files = 0;
	bool all = false;
	for (size_t i = 0; i < b->n; i++) {
		if (!is_to_sync(&b->ops[i], root))
			continue;
		files++;
		all |= !can_sync_alone(&b->ops[i]);
	}
	if (files == 0)
		return 0;
	if (all || files >= SYNC_FILES_MAX)
		return root_sync_all(root, err);
	for (size_t i = 0; i < b->n; i++) {
		int r = 0;
		if (is_to_sync(&b->ops[i], root))
			r = sync_temp(&b->ops[i], err);
		if (r < 0)
			return r;
	}
	return sync_fd(root->stage_fd, "the staging directory", err);
}

int batch_sync_staged(const struct batch *b, struct err *err)
{
	const struct tree *tree = b->env->tree;
	for (size_t i = 0; i < tree->n; i++) {
		int r = sync_root_staged(b, &tree->roots[i], err);
		if (r < 0)
			return r;
	}
	return 0;
}

static int sync_root_touched(const struct batch *b, const struct root *root, struct err *err)
{
	for (struct touched_dir *dir = b->touched; dir; dir = dir->hh.next) {
		int r = dir->root == root ? root_sync_dir(root, dir->sub, err) : 0;
		if (r < 0)
			return r;
	}
	return 0;
}

/* Names, modes and mtimes, before the index says that they are there. */
int batch_sync_touched(const struct batch *b, struct err *err)
{
	const struct tree *tree = b->env->tree;
	bool each = b->sync_each && HASH_COUNT(b->touched) <= SYNC_DIRS_MAX;
	for (size_t i = 0; i < tree->n; i++) {
		struct root *root = &tree->roots[i];
		int r = 0;
		if (batch_changed(b, root))
			r = each ? sync_root_touched(b, root, err) : root_sync_all(root, err);
		if (r < 0)
			return r;
	}
	return 0;
}
