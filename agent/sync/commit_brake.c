/* commit_brake.c - a passive protects itself from its peer: what a batch deletes, empties or
 * rewrites is counted by this node's own brakes, and too much of it is refused, path by path, until
 * a person here approves. A directory is not removed or displaced while anything beneath it is
 * held. What was never replicated does not count: it goes to the salvage. */
#include "agent/sync/commit_private.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "agent/sync/arrivals.h"
#include "agent/sync/brake.h"
#include "agent/sync/holds.h"

/* A path that the batch removes, or of which it takes the content. */
struct lost_path {
	UT_hash_handle hh;
	const char *path;
};

struct judging {
	struct batch *b;
	struct lost_path *lost; /* hash; the elements are one array */
	struct lost_path *lost_paths;
	struct arrivals arrivals; /* contents that came, with this batch or before it */
	bool *held;		  /* by operation */
	uint64_t after_seq;
};

/* ---- what an operation does ------------------------------------------------------------------ */

static bool removes(const struct commit_op *op)
{
	return op->row.entry.rec.kind == RECORD_ABSENT;
}

static bool loses_file(const struct commit_op *op)
{
	const struct record *rec = &op->row.entry.rec;
	if (op->was.kind != RECORD_FILE || op->was.foreign)
		return false;
	return rec->kind != RECORD_FILE || (rec->size == 0 && op->was.size > 0);
}

static bool rewrites(const struct commit_op *op)
{
	const struct record *rec = &op->row.entry.rec;
	if (op->was.kind != RECORD_FILE || op->was.foreign || loses_file(op))
		return false;
	return memcmp(rec->hash, op->was.hash, HASH_LEN) != 0;
}

/* A directory goes, or gives way. */
static bool ends_dir(const struct commit_op *op)
{
	return op->was.kind == RECORD_DIR && op->row.entry.rec.kind != RECORD_DIR;
}

static enum hold_cause cause_of(const struct commit_op *op)
{
	return rewrites(op) ? HOLD_REWRITE : HOLD_LOSS;
}

/* ---- refusing -------------------------------------------------------------------------------- */

static void refuse(struct judging *j, size_t i, const struct hold *hold)
{
	struct commit_item *item = j->b->ops[i].item;
	struct store_state state;
	store_state(j->b->env->store, &state);
	item->result = COMMIT_REFUSED;
	item->reason = REFUSED_HELD;
	snprintf(item->text, sizeof(item->text),
		 "%s: run `artifact-sync approve %" PRIu64 "' on %.40s (%.66s)",
		 hold->state == HOLD_REJECTED ? "rejected" : "held", hold->id, state.node,
		 hold->reason);
	j->held[i] = true;
}

/* Was it held before, or approved? @return 1 when that decides it */
static int judge_known(struct judging *j, size_t i, struct err *err)
{
	const struct commit_op *op = &j->b->ops[i];
	struct hold hold;
	if (op->item->approved && holds_trust_peers(j->b->env->holds))
		return 1;
	int r = store_hold_of(j->b->env->store, op->row.entry.rec.path, &hold, err);
	if (r <= 0 || hold.cause != cause_of(op))
		return r < 0 ? r : 0;
	if (hold.state != HOLD_APPROVED)
		refuse(j, i, &hold);
	return 1;
}

/* ---- losses ---------------------------------------------------------------------------------- */

static bool is_lost_too(struct judging *j, const char *path)
{
	struct lost_path *lost;
	HASH_FIND_STR(j->lost, path, lost);
	return lost != NULL;
}

static void add_arrival(void *arg, const char *path, const uint8_t hash[HASH_LEN])
{
	struct judging *j = arg;
	struct hold hold;
	if (!is_lost_too(j, path) && store_hold_of(j->b->env->store, path, &hold, NULL) == 0)
		arrivals_add(&j->arrivals, hash);
}

/* A peer sends the deletions beneath first; if they were refused, this would make up for them. */
static int count_beneath(struct judging *j, struct commit_op *op, struct err *err)
{
	AUTO(store_cursor) *cursor = NULL;
	const struct index_entry *entry;
	AUTO_FREE char *lo = x_asprintf("%s/", op->row.entry.rec.path);
	AUTO_FREE char *hi = x_asprintf("%s0", op->row.entry.rec.path);
	int r = store_cursor_open(&cursor, j->b->env->store, lo, hi, err);
	while (r == 0 && (r = store_cursor_next(cursor, &entry, err)) > 0) {
		r = 0;
		op->costs += entry->rec.kind == RECORD_FILE && !(entry->flags & ENTRY_FOREIGN) &&
			     !is_lost_too(j, entry->rec.path);
	}
	return r;
}

static void find_lost(struct judging *j)
{
	size_t n = 0;
	j->lost_paths = x_calloc(j->b->n ? j->b->n : 1, sizeof(*j->lost_paths));
	for (size_t i = 0; i < j->b->n; i++) {
		const struct commit_op *op = &j->b->ops[i];
		if (!removes(op) && !loses_file(op))
			continue;
		struct lost_path *lost = &j->lost_paths[n++];
		lost->path = op->row.entry.rec.path;
		HASH_ADD_KEYPTR(hh, j->lost, lost->path, strlen(lost->path), lost);
	}
}

/* A few are not worth looking where they went, unless they would be too much. */
static int find_arrivals(struct judging *j, struct err *err)
{
	uint64_t files = 0;
	for (size_t i = 0; i < j->b->n; i++)
		files += loses_file(&j->b->ops[i]);
	if (files <= BRAKE_FLOOR && !holds_too_much(j->b->env->holds, HOLD_LOSS, files))
		return 0;
	for (size_t i = 0; i < j->b->n; i++) {
		const struct record *rec = &j->b->ops[i].row.entry.rec;
		if (rec->kind == RECORD_FILE && !loses_file(&j->b->ops[i]))
			arrivals_add(&j->arrivals, rec->hash);
	}
	int r = store_files_since(j->b->env->store, j->after_seq, add_arrival, j, err);
	arrivals_seal(&j->arrivals);
	return r;
}

/* What it costs when nothing of it is held: a move costs nothing. */
static int set_costs(struct judging *j, struct commit_op *op, struct err *err)
{
	op->costs = 0;
	if (op->displaces_dir)
		return count_beneath(j, op, err);
	op->costs = !(loses_file(op) && arrivals_take(&j->arrivals, op->was.hash));
	return 0;
}

/* The operations of one cause on which nobody has decided and which cost something. */
static int find_open(struct judging *j, enum hold_cause cause, size_t *at, size_t *n,
		     struct err *err)
{
	for (size_t i = 0; i < j->b->n; i++) {
		struct commit_op *op = &j->b->ops[i];
		bool wanted =
			cause == HOLD_REWRITE ? rewrites(op) : loses_file(op) || op->displaces_dir;
		int r = wanted ? judge_known(j, i, err) : 1;
		if (r == 0)
			r = set_costs(j, op, err);
		if (r < 0)
			return r;
		if (op->costs > 0 && !j->held[i])
			at[(*n)++] = i;
	}
	return 0;
}

static int hold_ops(struct judging *j, enum hold_cause cause, const size_t *at, size_t n,
		    uint64_t files, struct err *err)
{
	struct hold hold = {0};
	AUTO_FREE const char **paths = x_calloc(n ? n : 1, sizeof(*paths));
	for (size_t i = 0; i < n; i++)
		paths[i] = j->b->ops[at[i]].row.entry.rec.path;
	int r = holds_add(j->b->env->holds, cause, paths, n, files, &hold, err);
	for (size_t i = 0; r == 0 && i < n; i++)
		refuse(j, at[i], &hold);
	return r;
}

static int judge(struct judging *j, enum hold_cause cause, struct err *err)
{
	AUTO_FREE size_t *at = x_calloc(j->b->n ? j->b->n : 1, sizeof(*at));
	size_t n = 0;
	uint64_t files = 0;
	int r = find_open(j, cause, at, &n, err);
	for (size_t i = 0; i < n; i++)
		files += j->b->ops[at[i]].costs;
	if (r < 0 || !holds_too_much(j->b->env->holds, cause, files))
		return r;
	return hold_ops(j, cause, at, n, files, err);
}

/* What is held beneath keeps its directory. */
static int keep_dirs(struct judging *j, struct err *err)
{
	for (size_t i = 0; i < j->b->n; i++) {
		const struct commit_op *op = &j->b->ops[i];
		struct hold hold;
		const char *path = op->row.entry.rec.path;
		if (j->held[i] || !ends_dir(op))
			continue;
		int r = store_hold_beneath(j->b->env->store, path, &hold, err);
		if (r <= 0) {
			if (r < 0)
				return r;
			continue;
		}
		r = store_hold_add(j->b->env->store, &hold.id, hold.side, hold.cause, hold.reason,
				   &path, 1, err);
		if (r < 0)
			return r;
		refuse(j, i, &hold);
	}
	return 0;
}

static void take_out_held(struct judging *j)
{
	size_t kept = 0;
	for (size_t i = 0; i < j->b->n; i++) {
		if (!j->held[i])
			j->b->ops[kept++] = j->b->ops[i];
	}
	j->b->n = kept;
}

/* Before the trees were equal for the first time, what is replicated here is the beginning of
 * something, and a share of it says nothing. What was here before goes to the salvage. */
static bool is_first_sync(const struct batch *b)
{
	struct store_state state;
	store_state(b->env->store, &state);
	return state.barrier_clock_ns == 0;
}

/* What came since then may be the new names of what goes now: in the last minute; and, since names
 * come before deletions, after the last barrier, however long ago. */
static uint64_t find_after_seq(const struct batch *b)
{
	struct brake_view view;
	struct store_state state;
	holds_view(b->env->holds, HOLD_LOSS, &view);
	store_state(b->env->store, &state);
	return state.barrier_seq < view.after_seq ? state.barrier_seq : view.after_seq;
}

int batch_brake(struct batch *b, struct err *err)
{
	struct holds *holds = b->env->holds;
	holds_see(holds);
	bool losses = !holds_are_off(holds, HOLD_LOSS);
	bool any_rewrites = !holds_are_off(holds, HOLD_REWRITE);
	if ((!losses && !any_rewrites) || is_first_sync(b))
		return 0;
	struct judging j = {.b = b};
	j.after_seq = find_after_seq(b);
	AUTO_FREE bool *held = x_calloc(b->n ? b->n : 1, sizeof(*held));
	j.held = held;
	find_lost(&j);
	int r = losses ? find_arrivals(&j, err) : 0;
	if (r == 0 && losses)
		r = judge(&j, HOLD_LOSS, err);
	if (r == 0 && any_rewrites)
		r = judge(&j, HOLD_REWRITE, err);
	if (r == 0)
		r = keep_dirs(&j, err);
	if (r == 0)
		take_out_held(&j);
	HASH_CLEAR(hh, j.lost);
	free(j.lost_paths);
	arrivals_release(&j.arrivals);
	return r;
}

/* ---- afterwards ------------------------------------------------------------------------------ */

void batch_brake_done(const struct batch *b)
{
	struct holds *holds = b->env->holds;
	uint64_t lost = 0, rewritten = 0;
	size_t n = 0;
	bool any_held = store_note_count(b->env->store, NOTE_BRAKE) > 0;
	AUTO_FREE const char **paths = x_calloc(b->n ? b->n : 1, sizeof(*paths));
	for (size_t i = 0; i < b->n; i++) {
		const struct commit_op *op = &b->ops[i];
		struct hold hold;
		if (op->state != OP_PERFORMED)
			continue;
		const char *path = op->row.entry.rec.path;
		*(cause_of(op) == HOLD_LOSS ? &lost : &rewritten) += op->costs;
		if (any_held && store_hold_of(b->env->store, path, &hold, NULL) > 0)
			paths[n++] = path;
		if (any_held && ends_dir(op))
			store_hold_release_beneath(b->env->store, path, NULL);
	}
	holds_count(holds, HOLD_LOSS, lost);
	holds_count(holds, HOLD_REWRITE, rewritten);
	store_hold_release(b->env->store, paths, n, NULL);
}
