/* batch_end.c - directories, durability, index: after agent/sync/commit_dirs.c,
 * commit_installed.c. */
#include "world.h"

#define SYNC_DIRS_MAX 6 /* touched directories synced one by one */

static struct op *brings(struct batch *b, int path)
{
	for (size_t i = 0; i < b->n; i++) {
		struct op *op = &b->ops[i];
		if (op->planned && op->row.path == path && op->row.op == JOURNAL_DIR &&
		    op->state == OP_PERFORMED)
			return op;
	}
	return NULL;
}

static void apply_record(struct node *node, struct op *op, uint32_t ino)
{
	struct disk_attrs attrs = *disk_attrs(&node->disk, ino);
	attrs.mode = op->row.row.mode;
	attrs.mtime = op->row.row.mtime;
	disk_set(&node->disk, ino, &attrs);
	op->staged = disk_stat(&node->disk, ino);
}

/* Making a name in it moved its mtime, which is replicated. */
static void put_back(struct node *node, int path, uint32_t ino)
{
	const struct row *row = &node->store.rows[path];
	if (row->kind != RECORD_DIR || row->inst.kind == 0)
		return;
	struct disk_attrs attrs = *disk_attrs(&node->disk, ino);
	attrs.mtime = row->mtime;
	disk_set(&node->disk, ino, &attrs);
	struct batch *b = &node->batch;
	struct touched_stat *known = &b->known[b->n_known++];
	*known = (struct touched_stat){.path = path, .inst = disk_stat(&node->disk, ino)};
	known->inst.mode = row->inst.mode;
}

bool batch_finish_dirs(struct node *node)
{
	struct batch *b = &node->batch;
	int path = N_PATHS - 1 - (int)b->at++;
	if (path < 0)
		return false;
	if (!(b->touched >> path & 1))
		return batch_finish_dirs(node);
	uint32_t ino = disk_at(&node->disk, path);
	const struct disk_attrs *attrs = disk_attrs(&node->disk, ino);
	struct op *op = brings(b, path);
	if (attrs && attrs->kind == RECORD_DIR && op)
		apply_record(node, op, ino);
	else if (attrs && attrs->kind == RECORD_DIR)
		put_back(node, path, ino);
	return true;
}

bool batch_sync_touched(struct node *node)
{
	struct batch *b = &node->batch;
	if (!b->sync_each || __builtin_popcountll(b->touched) > SYNC_DIRS_MAX)
		return batch_sync_all(node);
	int path;
	do {
		if (b->at == N_PATHS)
			return false;
		path = (int)b->at++;
		if (node->w->mutation == MUTATE_SYNC_CHILDREN_FIRST)
			path = N_PATHS - 1 - path;
	} while (!(b->touched >> path & 1));
	const struct disk_attrs *attrs = disk_attrs(&node->disk, disk_at(&node->disk, path));
	if (attrs && attrs->kind == RECORD_DIR)
		disk_sync(&node->disk, disk_at(&node->disk, path));
	return true;
}

/* Somebody may have changed the object since we let go of it. */
static struct disk_stat installed_stat(const struct node *node, const struct op *op)
{
	const struct disk *disk = &node->disk;
	uint32_t ino = disk_at(disk, op->row.path);
	struct disk_stat now = disk_stat(disk, ino);
	const struct disk_stat never_seen = {.ino = op->row.temp_ino, .kind = RECORD_FILE};
	if (op->row.op != JOURNAL_PUBLISH)
		return op->staged;
	if (now.kind == 0 || now.ino != op->row.temp_ino)
		return never_seen;
	if (op->staged.kind == 0)
		return disk_attrs(disk, ino)->content == op->row.row.content ? now : never_seen;
	return disk_stat_equal(&now, &op->staged, false) ? now : never_seen;
}

void batch_record(struct node *node)
{
	struct batch *b = &node->batch;
	struct installed done[BATCH_ROWS + N_PATHS];
	size_t n = 0;
	for (int path = 0; path < N_PATHS; path++) {
		if (!(b->no_longer_kept >> path & 1))
			continue;
		done[n] = (struct installed){.path = path, .row = node->store.rows[path]};
		done[n++].row.flags = 0;
	}
	for (size_t i = 0; i < b->n; i++) {
		struct op *op = &b->ops[i];
		if (!op->planned || op->state != OP_PERFORMED)
			continue;
		struct installed *one = &done[n++];
		*one = (struct installed){.path = op->row.path, .row = op->row.row};
		one->row.flags = op->kept ? ROW_KEPT : 0;
		one->row.inst = (struct disk_stat){0};
		if (one->row.kind != RECORD_ABSENT)
			one->row.inst = installed_stat(node, op);
		one->forget = one->row.kind == RECORD_ABSENT && one->row.seq == 0;
	}
	store_journal_end(&node->store, done, n, b->known, b->n_known);
}

static bool is_left_over(const struct node *node, const struct op *op)
{
	return op->state == OP_FAILED && op->row.temp_ino &&
	       disk_lookup(&node->disk, INO_STAGE, op->row.temp) == op->row.temp_ino;
}

bool batch_retire(struct node *node)
{
	struct batch *b = &node->batch;
	while (b->at < b->n) {
		struct op *op = &b->ops[b->at++];
		if (!op->retire && !is_left_over(node, op))
			continue;
		if (disk_lookup(&node->disk, INO_STAGE, op->row.temp))
			disk_unlink(&node->disk, INO_STAGE, op->row.temp);
		return true;
	}
	return false;
}
