/* The life of a batch, from staged objects to the index. */
#include "agent/sync/commit_private.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define SYNC_EACH_MAX 64 /* metadata changes synced one by one; from there on with the whole file system */

void commit_item_release(struct commit_item *item)
{
	index_entry_release(&item->entry);
	*item = (struct commit_item){ 0 };
}

/* ---- staged objects that are not wanted --------------------------------------------------------- */

static void discard_staged(const struct commit_env *env, const struct commit_item *item)
{
	const char *sub;
	const struct root *root = tree_resolve(env->tree, item->entry.rec.path, &sub);
	if (*item->staged.temp && root->healthy)
		stage_discard(root, item->staged.temp, NULL); /* else stage_clean() does */
}

static void discard_all(const struct commit_env *env, const struct commit_item *items, size_t n)
{
	for (size_t i = 0; i < n; i++)
		discard_staged(env, &items[i]);
}

/* ---- answers ---------------------------------------------------------------------------------- */

static void answer(const struct batch *b, struct commit_op *op)
{
	struct commit_item *item = op->item;
	if (op->state == OP_PERFORMED) {
		item->result = COMMIT_DONE;
		return;
	}
	item->result = op->result;
	item->reason = op->reason;
	memcpy(item->text, op->text, sizeof(item->text));
	/* Salvage refused: put_back() has dealt with it, and what may still be in stage/ is local. */
	if (op->reason != REFUSED_SALVAGE || op->result != COMMIT_REFUSED)
		discard_staged(b->env, item);
}

static void answer_all(struct batch *b, struct commit_item *items, size_t n)
{
	for (size_t i = 0; i < b->n; i++)
		answer(b, &b->ops[i]);
	for (size_t i = 0; i < n; i++) {
		bool early = items[i].result != COMMIT_DONE && items[i].reason != 0;
		if (early)
			continue;
	}
}

/* ---- a batch ---------------------------------------------------------------------------------- */

static int verify_roots(const struct batch *b, struct err *err)
{
	char why[ROOT_WHY_MAX];
	const struct root *last = NULL;
	for (size_t i = 0; i < b->n; i++) {
		const struct root *root = b->ops[i].root;
		if (root != last && root_verify(root, why) < 0)
			return err_set(err, -ESTALE, "the root \"%.60s\": %.120s", root->at, why);
		last = root;
	}
	return 0;
}

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
		r = verify_roots(b, err);
	if (r == 0)
		r = batch_sync_staged(b, err);
	if (r == 0 && b->n > 0)
		r = write_journal(b, err);
	return r;
}

/* From the journal on, a failure of the whole leaves it written: the next commit or start goes on from
 * there. */
static int carry_out(struct batch *b, struct err *err)
{
	batch_perform(b);
	int r = batch_finish_dirs(b, err);
	if (r == 0)
		r = batch_sync_touched(b, err);
	return r < 0 ? r : batch_record(b, err);
}

int commit_run(const struct commit_env *env, struct commit_item *items, size_t n, struct err *err)
{
	struct batch b = { .env = env };
	int r = prepare(&b, items, n, err);
	if (r < 0) {
		discard_all(env, items, n);
		batch_release(&b);
		return r;
	}
	b.sync_each = is_small(&b);
	r = b.n > 0 ? carry_out(&b, err) : 0;
	if (r == 0) {
		batch_retire(&b);
		answer_all(&b, items, n);
	}
	batch_release(&b);
	return r;
}
