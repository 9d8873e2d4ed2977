/* The last step: what stands there now becomes the as-installed stat, and the batch the index. */
#include "agent/sync/commit_private.h"

#include <sys/stat.h>

#include "agent/fs/copy.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

/* After a crash nobody knows any more what the staged object's stat was: the bytes decide. */
static bool has_recorded_content(const struct commit_op *op, const struct file_stat *now)
{
	uint8_t hash[HASH_LEN];
	const struct record *rec = &op->row.entry.rec;
	if (rec->kind == RECORD_SYMLINK)
		return true; /* an inode's target never changes */
	if (now->size != rec->size)
		return false;
	AUTO_CLOSE int fd = root_open(op->root, op->sub, O_RDONLY | O_NOFOLLOW | O_NONBLOCK, 0);
	return fd >= 0 && hash_content(hash, fd, rec->size, NULL, NULL) == 0 &&
	       memcmp(hash, rec->hash, HASH_LEN) == 0;
}

static bool is_what_we_left(const struct commit_op *op, const struct file_stat *now)
{
	if (op->row.op == JOURNAL_META)
		return file_stat_equal(now, &op->staged);
	if (now->ino != op->row.temp_ino)
		return false;
	if (op->staged.mode == 0)
		return has_recorded_content(op, now);
	return file_stat_equal_moved(now, &op->staged);
}

/* A stat that equals no object's: the next look calls it drift. */
static struct file_stat never_seen(const struct commit_op *op)
{
	return (struct file_stat){.ino = op->row.temp_ino, .mode = S_IFREG};
}

/* Somebody may have changed the object, or put another in its place, since we let go of it. Taking
 * that over as ours would hide it for ever. */
static struct file_stat installed_stat(const struct commit_op *op)
{
	struct stat st;
	struct file_stat now = {0};
	if (op->row.op != JOURNAL_PUBLISH && op->row.op != JOURNAL_META)
		return op->staged;
	if (root_stat(op->root, op->sub, &st) < 0)
		return never_seen(op);
	file_stat_from(&now, &st);
	return is_what_we_left(op, &now) ? now : never_seen(op);
}

static void fill_entry(struct commit_op *op)
{
	struct index_entry *entry = &op->row.entry;
	entry->flags =
		(op->kept ? ENTRY_KEPT : 0) | (op->item && op->item->approved ? ENTRY_APPROVED : 0);
	if (entry->rec.kind == RECORD_ABSENT)
		entry->inst = (struct file_stat){0};
	else
		entry->inst = installed_stat(op);
	if (op->item)
		op->item->entry.inst = entry->inst;
}

/* What was displaced is an earlier version, if it was replicated. */
static struct keep_order *keep_order(const struct batch *b, struct commit_op *op)
{
	if (!op->retire || !history_wants(b->env->history, op->root, op->row.temp))
		return NULL;
	op->keep = (struct keep_order){.root_at = op->root->at, .temp = op->row.temp};
	return &op->keep;
}

static size_t collect_done(const struct batch *b, struct installed *done)
{
	size_t n = 0;
	for (size_t i = 0; i < b->n_unkept; i++)
		done[n++] = (struct installed){.entry = &b->unkept[i]};
	for (size_t i = 0; i < b->n; i++) {
		struct commit_op *op = &b->ops[i];
		if (op->state != OP_PERFORMED)
			continue;
		fill_entry(op);
		done[n++] = (struct installed){.entry = &op->row.entry,
					       .forget = op_forgets(op),
					       .keep = keep_order(b, op)};
	}
	return n;
}

static size_t collect_touched(const struct batch *b, struct index_entry *touched)
{
	size_t n = 0;
	for (struct touched_dir *dir = b->touched; dir; dir = dir->hh.next) {
		if (dir->known)
			touched[n++] = dir->indexed; /* borrowed */
	}
	return n;
}

static int record(struct batch *b, struct err *err)
{
	AUTO_FREE struct installed *done = x_calloc(b->n + b->n_unkept, sizeof(*done));
	AUTO_FREE struct index_entry *touched = x_calloc(HASH_COUNT(b->touched), sizeof(*touched));
	size_t n = collect_done(b, done);
	size_t n_touched = collect_touched(b, touched);
	return store_journal_end(b->env->store, done, n, touched, n_touched, err);
}

int batch_record(struct batch *b, struct err *err)
{
	history_begin(b->env->history);
	int r = record(b, err);
	if (r == 0)
		batch_retire(b);
	history_end(b->env->history);
	return r;
}
