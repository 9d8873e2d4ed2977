/* Carrying out operations: names first, then whatever they displaced. Each is tried, and once more
 * when it fails; the second attempt, and every one after a crash, looks first at how far the one
 * before came: the inode of stage/<temp> tells. */
#include "agent/sync/commit_private.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/base/fault.h"
#include "agent/base/log.h"
#include "agent/base/quote.h"
#include "agent/fs/beneath.h"
#include "agent/fs/copy.h"
#include "agent/sync/put_on.h"
#include "agent/sync/salvage.h"

#define SAVED_TOLD_MAX 10 /* paths of one batch that are named in the log */

/* ---- ends -------------------------------------------------------------------------------------
 */

void op_fail(struct commit_op *op, enum commit_result result, uint8_t reason, const char *text)
{
	op->state = OP_FAILED;
	op->result = result;
	op->reason = reason;
	snprintf(op->text, sizeof(op->text), "%.159s", text);
}

void op_fail_with(struct commit_op *op, const struct err *err)
{
	op->error = -err->code;
	switch (err->code) {
	case -ENOTSUP:
	case -ENAMETOOLONG:
	case -EILSEQ: op_fail(op, COMMIT_REFUSED, REFUSED_KIND, err->msg); return;
	default: op_fail(op, COMMIT_REFUSED, REFUSED_FAILED, err->msg);
	}
}

/* ---- what was displaced -----------------------------------------------------------------------
 */

/* What ends here was replicated. Only after the index is durable, so that no name that a crash
 * brings back lacks its content. */
static void retire_displaced(const struct batch *b, const struct commit_op *op)
{
	struct err err = {0};
	char q[QUOTED_MAX];
	int r = op->keep.promised ? history_take(b->env->history, op->root, &op->keep, &err)
				  : stage_discard_or_later(op->root, op->row.temp, &err);
	if (r < 0)
		log_warn("commit", "path=%s action=\"left in stage for now\" err=\"%s\"",
			 quote_path(q, op->row.entry.rec.path), err.msg);
}

uint64_t op_temp_inode(const struct commit_op *op)
{
	struct stat st;
	return stat_name(op->root->stage_fd, op->row.temp, &st) == 0 ? st.st_ino : 0;
}

static bool is_left_over(const struct commit_op *op)
{
	return op->state == OP_FAILED && op->row.temp_ino != 0 &&
	       op_temp_inode(op) == op->row.temp_ino;
}

void batch_retire(struct batch *b)
{
	for (size_t i = 0; i < b->n; i++) {
		if (b->ops[i].retire || is_left_over(&b->ops[i]))
			retire_displaced(b, &b->ops[i]);
	}
}

/* @return true when nothing but what came is in stage/<temp> */
static bool exchange_back(const struct commit_op *op)
{
	enum displaced ignored;
	if (publish_name(&ignored, op->root, op->row.temp, op->sub, NULL, NULL) < 0)
		return false;
	uint64_t temp = op_temp_inode(op);
	if (temp == 0 || temp == op->row.temp_ino)
		return true;
	/* The directory that was to take the place; not if something is in it already. */
	return unlinkat(op->root->stage_fd, op->row.temp, AT_REMOVEDIR) == 0;
}

/* The salvage has no room: what stood there goes back to its place, and what came is given up. */
static void put_back(struct batch *b, struct commit_op *op, const struct err *why)
{
	char q[QUOTED_MAX];
	op->error = -why->code;
	op_fail(op, COMMIT_REFUSED, REFUSED_SALVAGE, why->msg);
	if (exchange_back(op))
		return;
	b->stuck = why->code;
	log_error(
		"commit",
		"path=%s action=\"its local content waits in stage/%s for the salvage\" err=\"%s\"",
		quote_path(q, op->row.entry.rec.path), op->row.temp, why->msg);
}

/* A first sync over an old copy saves thousands. */
static void tell_saved(struct batch *b, const struct salvage_order *order)
{
	char q[QUOTED_MAX];
	if (++b->saved <= SAVED_TOLD_MAX)
		log_warn("salvage", "path=%s why=%s action=moved-to-salvage",
			 quote_path(q, order->path), order->why ? order->why : "drift");
}

static void save_displaced(struct batch *b, struct commit_op *op)
{
	struct err err = {0};
	if (unlinkat(op->root->stage_fd, op->row.temp, AT_REMOVEDIR) == 0)
		return; /* an empty directory */
	if (errno == ENOTEMPTY && displaced_is_replicated(b, op)) {
		op->retire = true;
		return;
	}
	const struct salvage_order order = {.root = op->root,
					    .temp = op->row.temp,
					    .path = op->row.entry.rec.path,
					    .why = b->env->salvage_why,
					    .epoch = op->row.entry.rec.epoch,
					    .max_bytes = commit_salvage_max(b->env)};
	if (salvage_put(b->env->store, &order, &err) < 0)
		put_back(b, op, &err);
	else
		tell_saved(b, &order);
}

static bool same_file_content(const struct commit_op *op, const struct index_entry *old)
{
	uint8_t hash[HASH_LEN];
	struct stat st;
	AUTO_CLOSE int fd = open_beneath(op->root->stage_fd, op->row.temp,
					 O_RDONLY | O_NOFOLLOW | O_NONBLOCK, 0);
	return fd >= 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode) &&
	       (uint64_t)st.st_size == old->rec.size &&
	       hash_content(hash, fd, old->rec.size, NULL, NULL) == 0 &&
	       memcmp(hash, old->rec.hash, HASH_LEN) == 0;
}

static bool same_target(const struct commit_op *op, const struct index_entry *old)
{
	char target[RECORD_TARGET_MAX + 1];
	ssize_t len = readlinkat(op->root->stage_fd, op->row.temp, target, sizeof(target));
	return len >= 0 && (size_t)len == old->rec.target_len &&
	       memcmp(target, old->rec.target, (size_t)len) == 0;
}

/* Is stage/<temp> by its bytes what the index, which does not know of the batch yet, says stood
 * there? */
static bool holds_indexed_content(const struct batch *b, const struct commit_op *op)
{
	struct index_entry old;
	if (store_get(b->env->store, op->row.entry.rec.path, &old, NULL) < 0)
		return false;
	bool same = (old.rec.kind == RECORD_FILE && same_file_content(op, &old)) ||
		    (old.rec.kind == RECORD_SYMLINK && same_target(op, &old));
	index_entry_release(&old);
	return same;
}

/* The stat that is expected vouches for content only if it is that of the record: it is the last
 * look before the only copy of something may be thrown away. */
static bool has_indexed_size(const struct commit_op *op)
{
	return op->was.kind != RECORD_FILE || op->row.entry.inst.size == op->was.size;
}

static void settle_displaced(struct batch *b, struct commit_op *op, enum displaced displaced)
{
	op->state = OP_PERFORMED;
	if (displaced == DISPLACED_NOTHING)
		return;
	bool expected = displaced == DISPLACED_EXPECTED && has_indexed_size(op);
	if (op->judge_content && !expected)
		expected = holds_indexed_content(b, op);
	if (expected && !op->row.keep_foreign)
		op->retire = true;
	else
		save_displaced(b, op);
}

/* ---- one attempt ------------------------------------------------------------------------------
 */

static int publish(struct batch *b, struct commit_op *op, struct err *err)
{
	enum displaced displaced;
	int r = publish_name(&displaced, op->root, op->row.temp, op->sub, op_expects(op), err);
	if (r == 0)
		settle_displaced(b, op, displaced);
	return r;
}

static int make_dir(struct batch *b, struct commit_op *op, struct err *err)
{
	enum displaced displaced;
	const struct new_dir dir = {.mode = op->row.entry.rec.mode, .expected = op_expects(op)};
	int r = publish_dir(&displaced, op->root, op->row.temp, op->sub, &dir, err);
	if (r == 0)
		settle_displaced(b, op, displaced);
	return r;
}

static int remove_name(struct batch *b, struct commit_op *op, struct err *err)
{
	enum displaced displaced;
	int r = publish_removal(&displaced, op->root, op->row.temp, op->sub, op_expects(op), err);
	if (r == 0)
		settle_displaced(b, op, displaced);
	return r;
}

static int remove_dir(struct batch *b, struct commit_op *op, struct err *err)
{
	int r = *op->sub ? publish_rmdir(op->root, op->sub, err) : -ENOTEMPTY;
	if (r == -ENOTDIR) /* something local took its place */
		return remove_name(b, op, err);
	if (r == 0 || r == -ENOTEMPTY) {
		op->kept = r == -ENOTEMPTY;
		op->state = OP_PERFORMED;
		return 0;
	}
	return r;
}

/* After a crash the metadata may be half on: then only the bytes tell. The size does in any case.
 */
static bool is_the_indexed_file(const struct commit_op *op, int fd, const struct file_stat *now)
{
	uint8_t hash[HASH_LEN];
	const struct record *rec = &op->row.entry.rec;
	if (!S_ISREG(now->mode) || now->size != rec->size)
		return false;
	if (!op->judge_content)
		return file_stat_equal(now, &op->row.entry.inst);
	return hash_content(hash, fd, rec->size, NULL, NULL) == 0 &&
	       memcmp(hash, rec->hash, HASH_LEN) == 0;
}

static int sync_metadata(const struct batch *b, int fd, struct err *err)
{
	int fault = b->sync_each ? fault_point("sync metadata") : 0;
	if (fault || (b->sync_each && fsync(fd) < 0))
		return err_sys(err, fault ? fault : errno, "sync metadata");
	return 0;
}

/* What somebody writes meanwhile is no reason to take anything back: it will not be taken for
 * installed, is found to be drift, and saved. */
static int put_metadata(struct batch *b, struct commit_op *op, struct err *err)
{
	struct stat st;
	struct file_stat judged = {0};
	const struct put_on what = {.rec = &op->row.entry.rec,
				    .mtime_ns = op->row.install_mtime_ns,
				    .policy = &b->env->policy};
	AUTO_CLOSE int fd = root_open(op->root, op->sub, O_RDONLY | O_NOFOLLOW | O_NONBLOCK, 0);
	if (fd >= 0 && fstat(fd, &st) == 0)
		file_stat_from(&judged, &st);
	if (fd < 0 || !is_the_indexed_file(op, fd, &judged)) {
		op_fail(op, COMMIT_NEED, NEED_CONTENT, "the file here has other content");
		return 0;
	}
	int r = put_on_file(&op->staged, fd, &judged, &what, err);
	if (r == -EAGAIN)
		op->staged = (struct file_stat){0};
	else if (r == 0)
		r = sync_metadata(b, fd, err);
	if (r == 0 || r == -EAGAIN)
		op->state = OP_PERFORMED;
	return r == -EAGAIN ? 0 : r;
}

static int attempt(struct batch *b, struct commit_op *op, struct err *err)
{
	switch (op->row.op) {
	case JOURNAL_PUBLISH: return publish(b, op, err);
	case JOURNAL_DIR: return make_dir(b, op, err);
	case JOURNAL_META: return put_metadata(b, op, err);
	case JOURNAL_REMOVE: return remove_name(b, op, err);
	case JOURNAL_RMDIR: return remove_dir(b, op, err);
	}
	return err_set(err, -EINVAL, "an operation of another program's journal");
}

/* ---- an attempt after another -----------------------------------------------------------------
 */

static int name_inode(uint64_t *ino, const struct commit_op *op)
{
	struct stat st;
	int r = root_stat(op->root, op->sub, &st);
	*ino = r == 0 ? st.st_ino : 0;
	return errno_is_absence(r) ? 0 : r;
}

/* stage/<temp> is the new object (it has not happened), the old one (it has), or gone (it has, and
 * nothing was there, or what was is in the salvage). */
static int publish_again(struct batch *b, struct commit_op *op, struct err *err)
{
	uint64_t named, temp = op_temp_inode(op);
	if (temp == op->row.temp_ino)
		return publish(b, op, err);
	if (temp != 0) {
		settle_displaced(b, op, DISPLACED_UNKNOWN);
		return 0;
	}
	int r = name_inode(&named, op);
	if (r < 0)
		return err_sys(err, -r, "look at what was published");
	if (named == op->row.temp_ino)
		op->state = OP_PERFORMED;
	else
		op_fail(op, COMMIT_NEED, NEED_CONTENT, "what was published is gone");
	return 0;
}

/* A directory in stage/<temp> is the one that was to take a place: it is made again. */
static int make_dir_again(struct batch *b, struct commit_op *op, struct err *err)
{
	struct stat st;
	int r = stat_name(op->root->stage_fd, op->row.temp, &st);
	if (r == 0 && S_ISDIR(st.st_mode))
		r = stage_discard(op->root, op->row.temp, err);
	else if (r == 0)
		settle_displaced(b, op, DISPLACED_UNKNOWN);
	if (r < 0 && r != -ENOENT)
		return r;
	return op->state == OP_FAILED ? 0 : make_dir(b, op, err);
}

static int remove_again(struct batch *b, struct commit_op *op, struct err *err)
{
	if (op_temp_inode(op) == 0)
		return op->row.op == JOURNAL_RMDIR ? remove_dir(b, op, err)
						   : remove_name(b, op, err);
	settle_displaced(b, op, DISPLACED_UNKNOWN);
	return 0;
}

static int attempt_again(struct batch *b, struct commit_op *op, struct err *err)
{
	int r = publish_recover(op->root, op->row.temp, op->sub, err);
	if (r < 0)
		return r;
	switch (op->row.op) {
	case JOURNAL_PUBLISH: return publish_again(b, op, err);
	case JOURNAL_DIR: return make_dir_again(b, op, err);
	case JOURNAL_REMOVE:
	case JOURNAL_RMDIR: return remove_again(b, op, err);
	default: return attempt(b, op, err);
	}
}

/* ---- all of them ------------------------------------------------------------------------------
 */

/* A directory may be replicated with a mode that forbids us to change it. batch_finish_dirs() puts
 * its mode back. */
static void open_parent_for_writing(const struct commit_op *op)
{
	struct stat st;
	const char *name;
	AUTO_CLOSE int path = root_open_parent(op->root, op->sub, &name);
	if (path < 0)
		return;
	AUTO_CLOSE int fd = openat(path, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd >= 0 && fstat(fd, &st) == 0)
		fchmod(fd, (st.st_mode & 07777) | S_IRWXU);
}

static void conclude(struct commit_op *op, int r, const struct err *err)
{
	if (r == -ENOENT)
		op_fail(op, COMMIT_NEED, NEED_PARENT, err->msg);
	else if (r == -ENODATA)
		op_fail(op, COMMIT_NEED, NEED_CONTENT, err->msg);
	else if (r < 0)
		op_fail_with(op, err);
}

static void perform(struct batch *b, struct commit_op *op, bool again)
{
	struct err err = {0};
	op->judge_content = again;
	int r = again ? attempt_again(b, op, &err) : attempt(b, op, &err);
	if (r < 0 && r != -ENOENT && r != -ENODATA) {
		if (r == -EACCES)
			open_parent_for_writing(op);
		op->judge_content = true;
		r = attempt_again(b, op, &err);
	}
	conclude(op, r, &err);
	batch_remove_kept_above(b, op);
	if (r != -ESTALE)
		b->changed[op->root - b->env->tree->roots] = true;
	if (op->row.op == JOURNAL_DIR)
		batch_touch(b, op->row.entry.rec.path, op);
	if (op->row.op != JOURNAL_META)
		batch_touch_parent(b, op->row.entry.rec.path);
}

int batch_perform(struct batch *b, bool again, struct err *err)
{
	for (size_t i = 0; i < b->n; i++)
		perform(b, &b->ops[i], again);
	if (b->saved > SAVED_TOLD_MAX)
		log_warn("salvage", "others=%zu action=moved-to-salvage",
			 b->saved - SAVED_TOLD_MAX);
	if (b->stuck)
		return err_set(err, b->stuck, "local content could neither be saved nor put back");
	return 0;
}
