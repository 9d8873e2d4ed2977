/* The life of a batch, from staged objects to the index. */
#include "agent/sync/commit_private.h"

#include <string.h>

#define SYNC_EACH_MAX \
	64 /* metadata changes synced one by one; from there on with the whole file system */

void commit_item_release(struct commit_item *item)
{
	index_entry_release(&item->entry);
	*item = (struct commit_item){0};
}

/* ---- staged objects that are not wanted ---------------------------------------------------------
 */

static void discard_staged(const struct commit_env *env, const struct commit_item *item)
{
	const char *sub;
	const struct root *root = tree_resolve(env->tree, item->entry.rec.path, &sub);
	if (*item->staged.temp)
		stage_discard_or_later(root, item->staged.temp, NULL);
}

static void discard_all(const struct commit_env *env, const struct commit_item *items, size_t n)
{
	for (size_t i = 0; i < n; i++)
		discard_staged(env, &items[i]);
}

/* ---- answers ----------------------------------------------------------------------------------
 */

static void answer(const struct commit_op *op)
{
	struct commit_item *item = op->item;
	if (op->state == OP_PERFORMED) {
		item->result = COMMIT_DONE;
		return;
	}
	item->result = op->result;
	item->reason = op->reason;
	item->error = op->error;
	memcpy(item->text, op->text, sizeof(item->text));
}

/* Those that got no operation: their answer stands already. */
static void discard_answered(const struct commit_env *env, const struct commit_item *items,
			     size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (items[i].result != COMMIT_DONE)
			discard_staged(env, &items[i]);
	}
}

static void need_all(struct commit_item *items, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		items[i].result = COMMIT_NEED;
		items[i].reason = NEED_CONTENT;
	}
}

/* ---- a batch ----------------------------------------------------------------------------------
 */

static bool is_small(const struct batch *b)
{
	size_t metas = 0;
	for (size_t i = 0; i < b->n; i++)
		metas += b->ops[i].row.op == JOURNAL_META;
	return metas <= SYNC_EACH_MAX;
}

static int write_journal(const struct batch *b, struct err *err)
{
	AUTO_FREE struct journal_row *rows = x_calloc(b->n, sizeof(*rows));
	for (size_t i = 0; i < b->n; i++)
		rows[i] = b->ops[i].row; /* borrowed */
	return store_journal_begin(b->env->store, rows, b->n, err);
}

/* Until the journal is written nothing has happened. */
static int prepare(struct batch *b, struct commit_item *items, size_t n, struct err *err)
{
	int r = commit_roll_forward(b->env, err);
	if (r == 0)
		r = batch_plan(b, items, n, err);
	if (r == 0)
		r = batch_sync_staged(b, err);
	if (r == 0 && b->n > 0)
		r = write_journal(b, err);
	return r;
}

int batch_carry_out(struct batch *b, bool again, struct err *err)
{
	history_displacing(b->env->history);
	int r = batch_perform(b, again, err);
	if (r == 0)
		r = batch_finish_dirs(b, err);
	if (r == 0)
		r = batch_sync_touched(b, err);
	if (r == 0)
		r = batch_record(b, err);
	history_displaced(b->env->history);
	return r;
}

static int run(const struct commit_env *env, struct commit_item *items, size_t n, struct err *err)
{
	struct batch b = {.env = env};
	for (size_t i = 0; i < n; i++) {
		items[i].result = COMMIT_DONE;
		items[i].reason = 0;
		items[i].error = 0;
		*items[i].text = '\0';
	}
	int r = prepare(&b, items, n, err);
	if (r < 0) {
		discard_all(env, items, n);
		need_all(items, n);
		batch_release(&b);
		return r;
	}
	discard_answered(env, items, n);
	b.sync_each = is_small(&b);
	r = b.n > 0 ? batch_carry_out(&b, false, err) : 0;
	if (r == 0 && env->holds)
		batch_brake_done(&b);
	for (size_t i = 0; r == 0 && i < b.n; i++)
		answer(&b.ops[i]);
	if (r < 0)
		need_all(items, n);
	batch_release(&b);
	return r;
}

/* ---- turns ------------------------------------------------------------------------------------
 */

void commit_turn_init(struct commit_turn *turn)
{
	BUG_ON(pthread_mutex_init(&turn->lock, NULL) != 0);
}

void commit_turn_release(struct commit_turn *turn)
{
	pthread_mutex_destroy(&turn->lock);
}

static void take_turn(const struct commit_env *env)
{
	if (env->turn)
		pthread_mutex_lock(&env->turn->lock);
}

void commit_leave(const struct commit_env *env)
{
	if (env->turn)
		pthread_mutex_unlock(&env->turn->lock);
}

int commit_enter(const struct commit_env *env, struct err *err)
{
	take_turn(env);
	int r = commit_roll_forward(env, err);
	if (r < 0)
		commit_leave(env);
	return r;
}

int commit_run(const struct commit_env *env, struct commit_item *items, size_t n, struct err *err)
{
	take_turn(env);
	int r = run(env, items, n, err);
	commit_leave(env);
	return r;
}
