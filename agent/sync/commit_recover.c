/* Rolling a journaled batch forward: its data is durable, its rows say in which order its names
 * come; every step can be done again. */
#include "agent/sync/commit_private.h"

#include <errno.h>

#include "agent/base/log.h"
#include "agent/sync/salvage.h"

static int check_roots(const struct batch *b, struct err *err)
{
	char why[ROOT_WHY_MAX];
	for (size_t i = 0; i < b->n; i++) {
		const struct root *root = b->ops[i].root;
		bool looked_at = i > 0 && b->ops[i - 1].root == root;
		if (!looked_at && root_verify(root, why) < 0)
			return err_set(err, -EAGAIN, "a batch waits for the root \"%.60s\": %.120s",
				       root->at, why);
	}
	return 0;
}

static int load_op(const struct batch *b, struct commit_op *op, const struct journal_row *row,
		   struct err *err)
{
	struct index_entry old = {0};
	const char *path = row->entry.rec.path;
	op->row = *row; /* its strings stay the row's */
	op->root = tree_resolve(b->env->tree, path, &op->sub);
	int r = store_get(b->env->store, path, &old, err);
	if (r == 0) {
		op_remember_was(op, &old);
		index_entry_release(&old);
	}
	return r == -ENOENT ? 0 : r;
}

static int load_ops(struct batch *b, const struct journal_row *rows, size_t n, struct err *err)
{
	int r = 0;
	b->ops = x_calloc(n, sizeof(*b->ops));
	for (size_t i = 0; r == 0 && i < n; i++)
		r = load_op(b, &b->ops[i], &rows[i], err);
	b->n = n;
	return r;
}

static int roll_forward(struct batch *b, struct err *err)
{
	int r = check_roots(b, err);
	return r < 0 ? r : batch_carry_out(b, true, err);
}

int commit_roll_forward(const struct commit_env *env, struct err *err)
{
	struct journal_row *rows;
	size_t n;
	int r = store_journal_load(env->store, &rows, &n, err);
	if (r < 0 || n == 0)
		return r;
	struct batch b = {.env = env};
	r = load_ops(&b, rows, n, err);
	if (r == 0)
		r = roll_forward(&b, err);
	batch_release(&b);
	journal_rows_free(rows, n);
	return r;
}

int commit_recover(const struct commit_env *env, struct err *err)
{
	struct err settled = {0};
	int r = salvage_recover(env->store, env->tree, err);
	if (r == 0)
		r = commit_roll_forward(env, err);
	if (r < 0)
		return r;
	/* Replication does not wait for what was: a kept version that cannot be put in its place
	 * now stays in stage/. */
	if (history_settle(env->history, &settled) < 0)
		log_warn("commit", "action=\"earlier versions stay in stage\" err=\"%s\"",
			 settled.msg);
	return stage_clean(env->tree, env->history ? history_claims : NULL, env->history, err);
}
