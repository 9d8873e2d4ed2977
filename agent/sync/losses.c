/* losses.c - what is lost where paths have vanished: files beneath them that came nowhere else. The
 * index is walked once to count, again to see how much was only moved, and a third time when it is
 * to be held: nothing here grows with the tree but the names of what is held. */
#include "agent/sync/holds_private.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "agent/sync/arrivals.h"
#include "protocol/relpath.h"

#define HOLD_CHUNK 65536 /* paths in one transaction: some ten megabytes of names */

struct judging {
	struct holds *holds;
	const struct loss_query *query;
	struct loss **open; /* sorted by path; none is beneath another */
	size_t n_open;
	uint64_t after_seq;
	uint64_t files, moved;	  /* found lost, and of them found elsewhere */
	struct arrivals arrivals; /* once it is worth looking */
	bool have_arrivals;
	/* holding */
	uint64_t hold; /* 0: to be chosen */
	struct loose *loose;
	char **paths;
	size_t n_paths, cap_paths;
	uint64_t held_files;
	bool any_held;
};

typedef int visit_fn(struct judging *j, const struct index_entry *entry, struct err *err);

void loose_release(struct loose *loose)
{
	for (size_t i = 0; i < loose->n; i++)
		free(loose->paths[i]);
	free(loose->paths);
	*loose = (struct loose){0};
}

/* ---- walking -------------------------------------------------------------------------------- */

static int each_beneath(struct judging *j, const char *path, visit_fn *visit, struct err *err)
{
	AUTO(store_cursor) *cursor = NULL;
	const struct index_entry *entry;
	AUTO_FREE char *lo = *path ? x_asprintf("%s/", path) : x_strdup("");
	AUTO_FREE char *hi = *path ? x_asprintf("%s0", path) : x_strdup("");
	int r = store_cursor_open(&cursor, j->holds->store, lo, hi, err);
	while (r == 0 && (r = store_cursor_next(cursor, &entry, err)) > 0) {
		r = 0;
		if (entry->rec.kind != RECORD_ABSENT)
			r = visit(j, entry, err);
	}
	return r;
}

/* Everything live at a path and beneath it. */
static int each_lost(struct judging *j, const char *path, visit_fn *visit, struct err *err)
{
	struct index_entry entry;
	int r = store_get(j->holds->store, path, &entry, err);
	if (r == -ENOENT)
		return 0;
	if (r < 0)
		return r;
	if (entry.rec.kind != RECORD_ABSENT)
		r = visit(j, &entry, err);
	if (r == 0 && entry.rec.kind == RECORD_DIR)
		r = each_beneath(j, path, visit, err);
	index_entry_release(&entry);
	return r;
}

/* What was decided of it before: @return 1 with *approved when something was */
static int look_up(struct judging *j, const struct index_entry *entry, bool *approved,
		   struct err *err)
{
	struct hold hold;
	int r = store_hold_of(j->holds->store, entry->rec.path, &hold, err);
	if (r > 0 && hold.cause != HOLD_LOSS)
		return 0;
	*approved = r > 0 && hold.state == HOLD_APPROVED;
	return r;
}

static int count(struct judging *j, const struct index_entry *entry, struct err *err)
{
	if (entry->rec.kind != RECORD_FILE)
		return 0;
	bool approved;
	int r = look_up(j, entry, &approved, err);
	j->files += r == 0;
	return r < 0 ? r : 0;
}

/* ---- moves ---------------------------------------------------------------------------------- */

static int compare_paths(const void *a, const void *b)
{
	return strcmp((*(struct loss *const *)a)->path, (*(struct loss *const *)b)->path);
}

/* The loss at or above a path. */
static struct loss *covering(const struct judging *j, const char *path)
{
	AUTO_FREE char *above = x_strdup(path);
	while (true) {
		struct loss key = {.path = above};
		const struct loss *wanted = &key;
		struct loss **found = j->n_open == 0
					      ? NULL
					      : bsearch(&wanted, j->open, j->n_open,
							sizeof(struct loss *), compare_paths);
		if (found)
			return *found;
		if (*above == '\0')
			return NULL;
		above[relpath_parent_len(above)] = '\0';
	}
}

static void add_arrival(void *arg, const char *path, const uint8_t hash[HASH_LEN])
{
	struct judging *j = arg;
	struct hold hold;
	/* What is held is in the index, and in no tree. */
	if (!covering(j, path) && store_hold_of(j->holds->store, path, &hold, NULL) == 0)
		arrivals_add(&j->arrivals, hash);
}

/* What came since the changes began; from the beginning, for each walk over the losses. */
static int load_arrivals(struct judging *j, struct err *err)
{
	int r = 0;
	if (!j->have_arrivals) {
		r = store_files_since(j->holds->store, j->after_seq, add_arrival, j, err);
		for (size_t i = 0; i < j->query->n_coming; i++)
			add_arrival(j, j->query->coming[i]->path, j->query->coming[i]->hash);
		arrivals_seal(&j->arrivals);
		j->have_arrivals = r == 0;
	}
	arrivals_rewind(&j->arrivals);
	return r;
}

static bool has_moved(struct judging *j, const struct index_entry *entry)
{
	return entry->rec.kind == RECORD_FILE && arrivals_take(&j->arrivals, entry->rec.hash);
}

static int count_moved(struct judging *j, const struct index_entry *entry, struct err *err)
{
	bool approved;
	int r = look_up(j, entry, &approved, err);
	if (r == 0)
		j->moved += has_moved(j, entry);
	return r < 0 ? r : 0;
}

static int each_open(struct judging *j, visit_fn *visit, struct err *err)
{
	int r = 0;
	for (size_t i = 0; r == 0 && i < j->n_open; i++)
		r = each_lost(j, j->open[i]->path, visit, err);
	return r;
}

/* ---- holding -------------------------------------------------------------------------------- */

static void free_paths(struct judging *j)
{
	for (size_t i = 0; i < j->n_paths; i++)
		free(j->paths[i]);
	j->n_paths = 0;
}

static int flush_held(struct judging *j, struct err *err)
{
	struct hold hold = {.id = j->hold};
	if (j->n_paths == 0)
		return 0;
	int r = holds_add(j->holds, HOLD_LOSS, (const char *const *)j->paths, j->n_paths,
			  j->held_files, &hold, err);
	j->held_files = 0;
	free_paths(j);
	return r;
}

/* @return 1 when it need not be held; *known when it is held already */
static int may_go(struct judging *j, const struct index_entry *entry, bool *known, struct err *err)
{
	bool approved;
	int r = look_up(j, entry, &approved, err);
	*known = r > 0 && !approved;
	if (r != 0)
		return r < 0 ? r : approved;
	return has_moved(j, entry);
}

static int find_held(struct judging *j, const struct index_entry *entry, struct err *err)
{
	bool known;
	int r = entry->rec.kind == RECORD_FILE ? may_go(j, entry, &known, err) : 1;
	if (r == 0)
		j->any_held = true;
	return r < 0 ? r : 0;
}

static int hold_one(struct judging *j, const struct index_entry *entry, struct err *err)
{
	bool known;
	int r = may_go(j, entry, &known, err);
	if (r < 0 || known)
		return r < 0 ? r : 0;
	if (r > 0) {
		GROW(j->loose->paths, j->loose->cap, j->loose->n + 1);
		j->loose->paths[j->loose->n++] = x_strdup(entry->rec.path);
		return 0;
	}
	GROW(j->paths, j->cap_paths, j->n_paths + 1);
	j->paths[j->n_paths++] = x_strdup(entry->rec.path);
	j->held_files += entry->rec.kind == RECORD_FILE;
	return j->n_paths == HOLD_CHUNK ? flush_held(j, err) : 0;
}

/* A directory of which nothing is lost goes as a whole; of another the moved files alone. Twice
 * over in the same order, so that both times the same files are taken for moved. */
static int hold_losses(struct judging *j, struct err *err)
{
	int r = load_arrivals(j, err);
	for (size_t i = 0; r == 0 && i < j->n_open; i++) {
		j->any_held = false;
		r = each_lost(j, j->open[i]->path, find_held, err);
		j->open[i]->verdict = j->any_held ? LOSS_HELD : LOSS_FREE;
	}
	arrivals_rewind(&j->arrivals);
	for (size_t i = 0; r == 0 && i < j->n_open; i++)
		r = each_lost(j, j->open[i]->path,
			      j->open[i]->verdict == LOSS_HELD ? hold_one : find_held, err);
	return r;
}

static int hold_open(struct judging *j, struct err *err)
{
	int r = hold_losses(j, err);
	if (r == 0)
		r = flush_held(j, err);
	free_paths(j);
	free(j->paths);
	j->paths = NULL;
	j->cap_paths = 0;
	return r;
}

/* ---- judging -------------------------------------------------------------------------------- */

static void decide_open(struct judging *j, enum loss_verdict verdict)
{
	for (size_t i = 0; i < j->n_open; i++)
		j->open[i]->verdict = verdict;
}

/* A few are not worth looking where they went, unless they would be too much. */
static bool is_worth_looking(struct judging *j)
{
	return j->files > BRAKE_FLOOR || holds_too_much(j->holds, HOLD_LOSS, j->files);
}

static int judge_open(struct judging *j, bool may_hold, struct err *err)
{
	int r = each_open(j, count, err);
	if (r == 0 && is_worth_looking(j)) {
		r = load_arrivals(j, err);
		if (r == 0 && j->arrivals.n > 0)
			r = each_open(j, count_moved, err);
	}
	if (r < 0)
		return r;
	uint64_t lost = j->files - j->moved;
	bool too_much = holds_too_much(j->holds, HOLD_LOSS, lost);
	if (too_much && may_hold)
		return hold_open(j, err);
	decide_open(j, too_much ? LOSS_LATER : LOSS_FREE);
	holds_count(j->holds, HOLD_LOSS, too_much ? 0 : lost);
	return 0;
}

/* Held already, or approved, or with something held beneath it, which it must not take along.
 * @return 1 when that decides it */
static int judge_known(struct judging *j, struct loss *loss, struct err *err)
{
	struct hold hold, beneath;
	int r = store_hold_of(j->holds->store, loss->path, &hold, err);
	int below = r < 0 ? r : store_hold_beneath(j->holds->store, loss->path, &beneath, err);
	if (r < 0 || below < 0)
		return r < 0 ? r : below;
	bool known = r > 0 && hold.cause == HOLD_LOSS;
	if (known && hold.state != HOLD_APPROVED) {
		loss->verdict = LOSS_HELD;
		return 1;
	}
	if (below > 0) {
		struct judging one = *j;
		one.open = &loss;
		one.n_open = 1;
		one.hold = beneath.id;
		one.arrivals = (struct arrivals){0};
		one.have_arrivals = false;
		r = hold_open(&one, err);
		arrivals_release(&one.arrivals);
		loss->verdict = LOSS_HELD; /* even when all the rest of it has moved */
		return r < 0 ? r : 1;
	}
	if (known)
		loss->verdict = LOSS_FREE;
	return known;
}

/* What is beneath another loss shares its fate: it goes with it, or was held or let loose with it.
 */
static void drop_covered(struct judging *j, struct loss **covered, size_t *n_covered)
{
	size_t n = 0;
	for (size_t i = 0; i < j->n_open; i++) {
		const char *path = j->open[i]->path;
		AUTO_FREE char *above = x_strndup(path, relpath_parent_len(path));
		if (*path && covering(j, above))
			covered[(*n_covered)++] = j->open[i];
	}
	for (size_t i = 0, k = 0; i < j->n_open; i++) {
		if (k < *n_covered && covered[k] == j->open[i])
			k++;
		else
			j->open[n++] = j->open[i];
	}
	j->n_open = n;
}

static int judge_all(struct judging *j, struct err *err)
{
	const struct loss_query *query = j->query;
	AUTO_FREE struct loss **open = x_calloc(query->n + 1, sizeof(*open));
	AUTO_FREE struct loss **covered = x_calloc(query->n + 1, sizeof(*covered));
	size_t n_covered = 0;
	j->open = open;
	for (size_t i = 0; i < query->n; i++) {
		int r = judge_known(j, &query->losses[i], err);
		if (r < 0)
			return r;
		if (r == 0)
			open[j->n_open++] = &query->losses[i];
	}
	qsort(open, j->n_open, sizeof(struct loss *), compare_paths);
	drop_covered(j, covered, &n_covered);
	int r = judge_open(j, query->may_hold, err);
	arrivals_release(&j->arrivals);
	for (size_t i = 0; r == 0 && i < n_covered; i++)
		covered[i]->verdict = covering(j, covered[i]->path)->verdict;
	return r;
}

int holds_judge_losses(struct holds *holds, const struct loss_query *query, struct loose *loose,
		       struct err *err)
{
	struct brake_view view;
	struct judging j = {.holds = holds, .query = query, .loose = loose};
	pthread_mutex_lock(&holds->judging);
	holds_see(holds);
	holds_view(holds, HOLD_LOSS, &view);
	j.after_seq = view.after_seq < query->burst_seq ? view.after_seq : query->burst_seq;
	int r = judge_all(&j, err);
	pthread_mutex_unlock(&holds->judging);
	return r;
}
