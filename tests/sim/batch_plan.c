/* batch_plan.c - what of a batch must be done, and in which order: after agent/sync/commit_plan.c.
 */
#include <stdlib.h>
#include <string.h>

#include "world.h"

static void refuse_need(struct op *op, uint8_t need)
{
	op->state = OP_FAILED;
	op->need = need;
}

static void plan_publish(struct node *node, struct op *op, const struct row *old)
{
	uint32_t staged = disk_lookup(&node->disk, INO_STAGE, op->row.temp);
	op->row.op = JOURNAL_PUBLISH;
	op->phase = PHASE_FILES;
	op->displaces_dir = old->kind == RECORD_DIR || (old->flags & ROW_KEPT);
	if (!op->row.temp || !staged) {
		refuse_need(op, NEED_CONTENT);
		return;
	}
	op->staged = disk_stat(&node->disk, staged);
}

static void plan_meta(struct node *node, struct op *op, const struct row *old)
{
	struct disk_stat now = disk_stat(&node->disk, disk_at(&node->disk, op->row.path));
	op->row.op = JOURNAL_META;
	op->phase = PHASE_META;
	if (old->kind != RECORD_FILE || old->inst.kind == 0 ||
	    !disk_stat_equal(&now, &old->inst, true) || old->content != op->row.row.content)
		refuse_need(op, NEED_CONTENT);
}

static void plan_removal(struct node *node, struct op *op, const struct row *old)
{
	const struct disk_attrs *there =
		disk_attrs(&node->disk, disk_at(&node->disk, op->row.path));
	bool dir = old->kind == RECORD_DIR;
	if (old->inst.kind == 0 && there)
		dir = there->kind == RECORD_DIR;
	op->row.op = dir || op->row.path == 0 ? JOURNAL_RMDIR : JOURNAL_REMOVE;
	op->phase = PHASE_REMOVE;
	op->row.temp = ++node->w->last_temp;
	op->row.temp_ino = 0;
}

static void plan_op(struct node *node, struct op *op)
{
	const struct slot *slot = op->slot;
	const struct row *old = &node->store.rows[slot->path];
	op->row = (struct journal_row){.path = slot->path,
				       .row = slot->row,
				       .temp = slot->temp,
				       .temp_ino = slot->temp_ino};
	op->row.row.inst = old->inst;
	op->must_sync = slot->staged_at >= node->synced_at;
	op->row.keep_foreign = (old->flags & ROW_FOREIGN) && !row_same_content(old, &slot->row);
	if (slot->row.kind == RECORD_ABSENT) {
		plan_removal(node, op, old);
	} else if (slot->row.kind == RECORD_DIR) {
		op->row.op = JOURNAL_DIR;
		op->phase = PHASE_DIRS;
		op->row.temp = ++node->w->last_temp;
	} else if (slot->row.kind == RECORD_FILE && slot->op == OP_META) {
		plan_meta(node, op, old);
	} else {
		plan_publish(node, op, old);
	}
	op->planned = op->state != OP_FAILED;
}

/* Deletes beneath a path where a file takes the place of a directory go before it. */
static void clear_before_displacing(struct batch *b)
{
	uint64_t displaced = 0;
	for (size_t i = 0; i < b->n; i++) {
		if (b->ops[i].displaces_dir)
			displaced |= path_beneath[b->ops[i].row.path];
	}
	for (size_t i = 0; i < b->n; i++) {
		if (b->ops[i].phase == PHASE_REMOVE && (displaced >> b->ops[i].row.path & 1))
			b->ops[i].phase = PHASE_CLEAR;
	}
}

/* Some files go before others, whatever their names. */
static int class_of(const struct op *op)
{
	return op->row.op == JOURNAL_PUBLISH ? op->row.path * 7 % 3 : 0;
}

static int compare_ops(const void *pa, const void *pb)
{
	const struct op *a = pa, *b = pb;
	if (a->phase != b->phase)
		return a->phase < b->phase ? -1 : 1;
	if (class_of(a) != class_of(b))
		return class_of(a) - class_of(b);
	int order = a->row.path - b->row.path;
	return a->phase == PHASE_CLEAR || a->phase == PHASE_REMOVE ? -order : order;
}

void batch_plan(struct node *node)
{
	struct batch *b = &node->batch;
	size_t metas = 0;
	for (size_t i = 0; i < b->n; i++) {
		plan_op(node, &b->ops[i]);
		metas += b->ops[i].planned && b->ops[i].row.op == JOURNAL_META;
	}
	clear_before_displacing(b);
	qsort(b->ops, b->n, sizeof(b->ops[0]), compare_ops);
	b->sync_each = metas <= 3;
}
