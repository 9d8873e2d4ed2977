/* batch.c - the life of a batch, one durable step per event, and of what a crash has left of one:
 * after agent/sync/commit.c, commit_durable.c and commit_recover.c. */
#include <string.h>

#include "world.h"

#define SYNC_FILES_MAX 3 /* staged files synced one by one */

static void batch_next(struct world *w, struct node *node, int peer, uint32_t arg);

static void go_on(struct node *node)
{
	later(node->w, node, delay(node->w, MS / 2), "batch", batch_next, 0, node->batch.phase);
}

void batch_start(struct session *s, struct slot **slots, size_t n)
{
	struct batch *b = &s->node->batch;
	if (b->phase != BATCH_IDLE)
		world_fail(s->w, "%s: two batches at a time", s->node->name);
	*b = (struct batch){.phase = BATCH_PLAN, .session = s, .n = n};
	for (size_t i = 0; i < n; i++)
		b->ops[i].slot = slots[i];
	s->jobs++;
	go_on(s->node);
}

/* After a start, before the node speaks to anybody. */
void batch_recover(struct world *w, struct node *node)
{
	struct batch *b = &node->batch;
	*b = (struct batch){.phase = BATCH_SALVAGE, .recovering = true, .sync_each = true};
	for (size_t i = 0; i < node->store.n_journal; i++)
		b->ops[b->n++] = (struct op){.row = node->store.journal[i], .planned = true};
	w->stats.rolled_forward += b->n > 0;
	go_on(node);
}

/* ---- steps ---------------------------------------------------------------------------------- */

/* What is written while it runs may be made durable by it or not. */
bool batch_sync_all(struct node *node)
{
	struct batch *b = &node->batch;
	if (!b->syncing) {
		disk_sync_all(&node->disk);
		b->syncing = node->w->steps;
		return true;
	}
	node->synced_at =
		node->w->mutation == MUTATE_SYNC_COVERS_LATER ? node->w->steps : b->syncing;
	b->syncing = 0;
	return false;
}

static bool is_to_sync(const struct op *op)
{
	return op->planned && op->row.op == JOURNAL_PUBLISH && op->must_sync;
}

static bool sync_staged(struct node *node)
{
	struct batch *b = &node->batch;
	size_t files = 0;
	bool all = false;
	for (size_t i = 0; i < b->n; i++) {
		files += is_to_sync(&b->ops[i]);
		all |= is_to_sync(&b->ops[i]) && b->ops[i].row.row.kind != RECORD_FILE;
	}
	if (files == 0 || node->w->mutation == MUTATE_NO_STAGE_SYNC)
		return false;
	if (b->syncing || all || files >= SYNC_FILES_MAX)
		return batch_sync_all(node);
	while (b->at < b->n && !is_to_sync(&b->ops[b->at]))
		b->at++;
	if (b->at < b->n) {
		disk_sync(&node->disk, b->ops[b->at++].row.temp_ino);
		return true;
	}
	if (node->w->mutation != MUTATE_NO_STAGE_DIR_SYNC)
		disk_sync(&node->disk, INO_STAGE);
	return false;
}

static void write_journal(struct node *node)
{
	struct batch *b = &node->batch;
	struct journal_row rows[BATCH_ROWS];
	size_t n = 0;
	for (size_t i = 0; i < b->n; i++) {
		if (b->ops[i].planned)
			rows[n++] = b->ops[i].row;
	}
	store_journal_begin(&node->store, rows, n);
}

/* Intents whose move happened are completed, the others forgotten. */
static bool recover_salvage(struct node *node)
{
	for (size_t i = 0; i < SALVAGE_ROWS; i++) {
		struct salvage_row *row = &node->store.salvage[i];
		if (row->name == 0 || row->complete)
			continue;
		if (disk_lookup(&node->disk, INO_SALVAGE, row->name)) {
			disk_sync(&node->disk, INO_SALVAGE);
			row->complete = true;
		} else {
			row->name = 0;
		}
		return true;
	}
	return false;
}

static void clean_stage(struct node *node)
{
	struct disk *disk = &node->disk;
	while (!disk_is_empty(disk, INO_STAGE))
		disk_unlink(disk, INO_STAGE, disk_first(disk, INO_STAGE));
}

/* ---- the order ------------------------------------------------------------------------------ */

static void end(struct world *w, struct node *node)
{
	struct session *s = node->batch.session;
	bool recovering = node->batch.recovering;
	if (s && w->mutation != MUTATE_ACK_BEFORE_SYNC)
		receiver_answer_batch(s);
	node->batch.phase = BATCH_IDLE;
	if (recovering) {
		node_recovered(w, node);
		return;
	}
	receiver_committed(s);
	session_job_ended(s);
}

/* @return true while the phase goes on */
static bool step(struct world *w, struct node *node)
{
	struct batch *b = &node->batch;
	switch (b->phase) {
	case BATCH_IDLE: break;
	case BATCH_SALVAGE: return recover_salvage(node);
	case BATCH_PLAN: batch_plan(node); break;
	case BATCH_SYNC_STAGED: return sync_staged(node);
	case BATCH_JOURNAL:
		if (w->mutation != MUTATE_JOURNAL_LATE)
			write_journal(node);
		break;
	case BATCH_PERFORM: return batch_perform(node);
	case BATCH_DIRS: return batch_finish_dirs(node);
	case BATCH_SYNC_TOUCHED: return batch_sync_touched(node);
	case BATCH_RECORD:
		batch_record(node);
		if (b->session && w->mutation == MUTATE_ACK_BEFORE_SYNC)
			receiver_answer_batch(b->session);
		break;
	case BATCH_RETIRE: return batch_retire(node);
	case BATCH_CLEAN: clean_stage(node); break;
	case BATCH_END: end(w, node); break;
	}
	return false;
}

static bool anything_planned(const struct batch *b)
{
	bool any = false;
	for (size_t i = 0; i < b->n; i++)
		any |= b->ops[i].planned;
	return any;
}

static enum batch_phase phase_after(const struct world *w, const struct batch *b)
{
	switch (b->phase) {
	case BATCH_SALVAGE: return b->n > 0 ? BATCH_PERFORM : BATCH_CLEAN;
	case BATCH_PLAN: return anything_planned(b) ? BATCH_SYNC_STAGED : BATCH_END;
	case BATCH_RETIRE: return b->recovering ? BATCH_CLEAN : BATCH_END;
	case BATCH_DIRS:
		if (w->mutation == MUTATE_ACK_BEFORE_SYNC ||
		    w->mutation == MUTATE_INDEX_BEFORE_SYNC)
			return BATCH_RECORD;
		break;
	case BATCH_RECORD:
		if (w->mutation == MUTATE_ACK_BEFORE_SYNC ||
		    w->mutation == MUTATE_INDEX_BEFORE_SYNC)
			return BATCH_SYNC_TOUCHED;
		break;
	case BATCH_SYNC_TOUCHED:
		if (w->mutation == MUTATE_ACK_BEFORE_SYNC ||
		    w->mutation == MUTATE_INDEX_BEFORE_SYNC)
			return BATCH_RETIRE;
		break;
	default: break;
	}
	return b->phase + 1;
}

static void batch_next(struct world *w, struct node *node, int peer, uint32_t arg)
{
	struct batch *b = &node->batch;
	(void)peer;
	(void)arg;
	bool is_end = b->phase == BATCH_END;
	if (step(w, node)) {
		go_on(node);
		return;
	}
	if (is_end)
		return;
	if (w->mutation == MUTATE_JOURNAL_LATE && b->phase == BATCH_PERFORM && b->session)
		write_journal(node);
	b->phase = phase_after(w, b);
	b->at = 0;
	go_on(node);
}
