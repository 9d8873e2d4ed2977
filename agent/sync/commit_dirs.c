/* Directories at the end of a batch: making a name in one moves its mtime, which is replicated, so
 * it is put back; those that the batch brings get their metadata only now, when nothing in them
 * changes any more. */
#include "agent/sync/commit_private.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "agent/base/fault.h"
#include "agent/base/log.h"
#include "agent/base/quote.h"
#include "protocol/relpath.h"

static struct touched_dir *touched_at(struct batch *b, const char *path, size_t len)
{
	struct touched_dir *dir;
	HASH_FIND(hh, b->touched, path, len, dir);
	if (dir)
		return dir;
	dir = x_calloc(1, sizeof(*dir) + len + 1);
	memcpy(dir->path, path, len);
	dir->root = tree_resolve(b->env->tree, dir->path, &dir->sub);
	HASH_ADD(hh, b->touched, path, len, dir);
	return dir;
}

void batch_touch(struct batch *b, const char *path, struct commit_op *op)
{
	touched_at(b, path, strlen(path))->op = op;
}

void batch_touch_parent(struct batch *b, const char *path)
{
	const char *sub;
	tree_resolve(b->env->tree, path, &sub);
	if (*sub) /* a root's own name stands in no directory that we change */
		touched_at(b, path, relpath_parent_len(path));
}

static int by_path_deepest_first(struct touched_dir *a, struct touched_dir *b)
{
	return strcmp(b->path, a->path);
}

static int by_path(struct touched_dir *a, struct touched_dir *b)
{
	return strcmp(a->path, b->path);
}

static int open_dir(const struct touched_dir *dir)
{
	return root_open(dir->root, dir->sub, O_RDONLY | O_DIRECTORY, 0);
}

/* ---- those that the batch brings ---------------------------------------------------------------
 */

static int apply_record(struct batch *b, struct touched_dir *dir, struct err *err)
{
	struct commit_op *op = dir->op;
	struct stat st;
	AUTO_CLOSE int fd = open_dir(dir);
	if (fd < 0)
		return err_sys(err, -fd, "open a directory for its metadata");
	int r = meta_apply(fd, &op->row.entry.rec, op->row.entry.rec.mtime_ns, &b->env->policy,
			   err);
	if (r == 0 && fstat(fd, &st) < 0)
		r = err_sys(err, errno, "look at a directory");
	if (r == 0)
		file_stat_from(&op->staged, &st);
	return r;
}

/* What will not be acknowledged must not stay as if it had been: the index would not know of it,
 * nor any digest. One that local files keep stays. */
static void take_back(struct batch *b, const struct touched_dir *dir)
{
	struct index_entry old;
	bool was_there = true;
	int r = store_get(b->env->store, dir->path, &old, NULL);
	if (r == 0) {
		was_there = old.rec.kind == RECORD_DIR;
		index_entry_release(&old);
	} else if (r == -ENOENT) {
		was_there = false;
	}
	if (!was_there && *dir->sub)
		publish_rmdir(dir->root, dir->sub, NULL);
}

static void finish_op(struct batch *b, struct touched_dir *dir)
{
	struct err err = {0};
	if (apply_record(b, dir, &err) == 0 || apply_record(b, dir, &err) == 0)
		return;
	op_fail_with(dir->op, &err);
	take_back(b, dir);
}

/* ---- those that were only changed ---------------------------------------------------------------
 */

/* The mode that open_parent_for_writing() leaves, and not another that somebody chose. */
static bool was_opened_by_us(const struct stat *st, const struct file_stat *inst)
{
	return st->st_mode != inst->mode && st->st_mode == (inst->mode | S_IRWXU);
}

static int put_back(struct touched_dir *dir, struct err *err)
{
	const struct record *rec = &dir->indexed.rec;
	struct stat st;
	AUTO_CLOSE int fd = open_dir(dir);
	if (fd < 0) /* it may be gone by now, or be no directory any longer */
		return errno_is_absence(fd) ? 0
					    : err_sys(err, -fd, "open a directory for its mtime");
	int fault = fault_point("put back mtime");
	if (fault || fstat(fd, &st) < 0)
		return err_sys(err, fault ? fault : errno, "look at a directory");
	if (was_opened_by_us(&st, &dir->indexed.inst) &&
	    fchmod(fd, dir->indexed.inst.mode & 07777) < 0)
		return err_sys(err, errno, "put back the mode of a directory");
	struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, meta_timespec(rec->mtime_ns)};
	if (rec->mtime_ns != RECORD_NO_MTIME && futimens(fd, times) < 0)
		return err_sys(err, errno, "put back the mtime of a directory");
	if (fstat(fd, &st) < 0)
		return err_sys(err, errno, "look at a directory");
	/* What we did is taken over; a local change of the rest stays visible as drift. */
	struct file_stat now;
	file_stat_from(&now, &st);
	dir->indexed.inst.mtime_ns = now.mtime_ns;
	dir->indexed.inst.ctime_ns = now.ctime_ns;
	dir->indexed.inst.size = now.size;
	dir->indexed.inst.nlink = now.nlink;
	dir->known = true;
	return 0;
}

/* It was given to somebody else: his to set, and no reason to hold up all others. What the index
 * says of it stays, so that the difference shows as drift. */
static void leave_as_it_is(struct touched_dir *dir, const struct err *why)
{
	char q[QUOTED_MAX];
	dir->known = false;
	log_warn("commit", "path=%s action=\"left with the time it has\" err=\"%s\"",
		 quote_path(q, dir->path), why->msg);
}

static int finish_touched(struct batch *b, struct touched_dir *dir, struct err *err)
{
	int r = store_get(b->env->store, dir->path, &dir->indexed, err);
	if (r < 0)
		return r == -ENOENT ? 0 : r;
	if (dir->indexed.rec.kind != RECORD_DIR || dir->indexed.inst.mode == 0)
		return 0;
	r = put_back(dir, err);
	if (r < 0)
		r = put_back(dir, err);
	if (r == -EPERM || r == -EACCES) {
		leave_as_it_is(dir, err);
		return 0;
	}
	return r;
}

int batch_finish_dirs(struct batch *b, struct err *err)
{
	HASH_SORT(b->touched, by_path_deepest_first);
	for (struct touched_dir *dir = b->touched; dir; dir = dir->hh.next) {
		int r = 0;
		if (!batch_changed(b, dir->root))
			continue;
		if (dir->op && dir->op->state == OP_PERFORMED)
			finish_op(b, dir);
		else
			r = finish_touched(b, dir, err);
		if (r < 0)
			return r;
	}
	/* They are synced from the top: once the name that an object had in stage is durably gone,
	 * a crash must not take the directory into which it went. */
	HASH_SORT(b->touched, by_path);
	return 0;
}

void batch_release(struct batch *b)
{
	struct touched_dir *dir, *next;
	HASH_ITER (hh, b->touched, dir, next) {
		HASH_DEL(b->touched, dir);
		index_entry_release(&dir->indexed);
		free(dir);
	}
	for (size_t i = 0; i < b->n_unkept; i++)
		index_entry_release(&b->unkept[i]);
	free(b->unkept);
	free(b->not_kept);
	free(b->ops);
}
