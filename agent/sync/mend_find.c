/* mend_find.c - where the replicated bytes of a drifted path can be had on this node: in other
 * files of the tree. Large ones are indexed by their hash. For small ones the whole index is
 * walked, once for all paths of a job, and only where nobody else can be asked: that is dearer than
 * to have them sent. And among
 * the earlier versions that are kept. */
#include "agent/sync/mend_private.h"

#include <errno.h>
#include <string.h>

#include "agent/history/history.h"

static bool is_small(const struct record *rec)
{
	return rec->kind == RECORD_FILE && rec->size < STORE_SIGNED_MIN;
}

static bool needs_copy(const struct mend *m)
{
	return m->way == WAY_COMMIT && m->live && !m->item->report_only && m->item->nobody_to_ask &&
	       is_small(&m->entry.rec);
}

static void add_copy(struct mend *m, const struct index_entry *entry)
{
	if (record_same_content(&m->entry.rec, &entry->rec) &&
	    strcmp(m->item->path, entry->rec.path) != 0 && m->n_copies < MEND_COPIES_MAX)
		m->copies[m->n_copies++] = x_strdup(entry->rec.path);
}

/* By size, so that a row is compared with few. */
static int by_size(const void *pa, const void *pb)
{
	const struct mend *a = *(struct mend *const *)pa, *b = *(struct mend *const *)pb;
	uint64_t x = a->entry.rec.size, y = b->entry.rec.size;
	return x < y ? -1 : x > y;
}

static size_t first_of_size(struct mend *const *wanted, size_t n, uint64_t size)
{
	size_t lo = 0;
	for (size_t hi = n; lo < hi;) {
		size_t middle = lo + (hi - lo) / 2;
		if (wanted[middle]->entry.rec.size < size)
			lo = middle + 1;
		else
			hi = middle;
	}
	return lo;
}

static void walk(const struct commit_env *env, struct mend *const *wanted, size_t n)
{
	AUTO(store_cursor) *cursor = NULL;
	const struct index_entry *entry;
	if (store_cursor_open(&cursor, env->store, "", "", NULL) < 0)
		return; /* they wait for the active */
	while (store_cursor_next(cursor, &entry, NULL) > 0) {
		if (!is_small(&entry->rec))
			continue;
		for (size_t i = first_of_size(wanted, n, entry->rec.size);
		     i < n && wanted[i]->entry.rec.size == entry->rec.size; i++)
			add_copy(wanted[i], entry);
	}
}

void mend_find_copies(const struct commit_env *env, struct mend *mends, size_t n)
{
	AUTO_FREE struct mend **wanted = x_calloc(n, sizeof(struct mend *));
	size_t count = 0;
	for (size_t i = 0; i < n; i++) {
		if (needs_copy(&mends[i]))
			wanted[count++] = &mends[i];
	}
	if (count == 0)
		return;
	qsort(wanted, count, sizeof(struct mend *), by_size);
	walk(env, wanted, count);
}

static int add_large(struct mend *m, struct err *err)
{
	return is_small(&m->entry.rec)
		       ? 0
		       : store_content_paths(m->env->store, m->entry.rec.hash, m->copies,
					     MEND_COPIES_MAX, &m->n_copies, err);
}

/* A version that came back was kept when it was replaced. */
static int stage_from_history(struct mend *m, const struct stage_env *env, struct err *err)
{
	const struct record *rec = &m->entry.rec;
	struct history *history = m->env->history;
	AUTO_CLOSE int fd =
		history ? history_open_content(history, rec->hash, rec->size, NULL, NULL) : -ENOENT;
	if (fd < 0 || stage_copy(&m->commit.staged, env, rec, fd, NULL) < 0)
		return err_set(err, -ENOENT, "the replicated bytes are nowhere on this node");
	return 0;
}

int mend_stage_content(struct mend *m, struct err *err)
{
	const struct stage_env env = {.tree = m->env->tree, .policy = m->env->policy};
	int r = add_large(m, err);
	if (r < 0)
		return r;
	for (size_t i = 0; i < m->n_copies; i++) {
		bool other = strcmp(m->copies[i], m->item->path) != 0;
		if (other &&
		    stage_ref(&m->commit.staged, &env, &m->entry.rec, m->copies[i], NULL) == 0)
			return 0;
	}
	return stage_from_history(m, &env, err);
}
