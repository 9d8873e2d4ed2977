/* intake_sets_work.c - the worker's part: all members of a set are read, looked at once more, and
 * indexed in one transaction, unless something keeps one of them from it. */
#include "agent/node/intake_sets_private.h"

#include <stdio.h>
#include <string.h>

#include "agent/base/quote.h"
#include "agent/node/intake_links.h"
#include "protocol/relpath.h"

#define JOB_PATHS 4096
#define AGAIN_MS 100

static int compare_items(const void *a, const void *b)
{
	return strcmp(((const struct capture_item *)a)->path,
		      ((const struct capture_item *)b)->path);
}

static void add_item(struct sets_job *j, char *path, bool event)
{
	GROW(j->items, j->cap, j->n + 1);
	j->items[j->n++] = (struct capture_item){.path = path, .force_read = event};
}

/* What has changed and what is indexed, each once. */
static void unite(struct sets_job *j, struct part *part)
{
	struct capture_item *items = j->items + part->first;
	size_t n = j->n - part->first, kept = 0;
	qsort(items, n, sizeof(*items), compare_items);
	for (size_t i = 0; i < n; i++) {
		if (kept > 0 && strcmp(items[kept - 1].path, items[i].path) == 0) {
			items[kept - 1].force_read |= items[i].force_read;
			capture_item_release(&items[i]);
		} else {
			items[kept++] = items[i];
		}
	}
	part->n = kept;
	j->n = part->first + kept;
}

/* worker: a set is all its members, also those of which no event spoke: it is their state of one
 * moment that is indexed. */
static int gather(struct sets_job *j, struct part *part)
{
	AUTO_FREE char **members = x_calloc(WIRE_SET_MAX + 1, sizeof(char *));
	size_t n = 0;
	part->first = j->n;
	part->too_large = part->due.too_large;
	if (!part->too_large) {
		int r = store_members(j->sets->env.store, part->due.set, members, WIRE_SET_MAX + 1,
				      &n, &j->err);
		part->too_large = n > WIRE_SET_MAX;
		for (size_t i = 0; i < n; i++) {
			if (part->too_large || r < 0)
				free(members[i]);
			else
				add_item(j, members[i], false);
		}
		if (r < 0)
			return r;
	}
	for (size_t i = 0; i < part->due.n; i++)
		add_item(j, x_strdup(part->due.paths[i]), part->due.events[i]);
	unite(j, part);
	part->too_large |= part->n > WIRE_SET_MAX;
	return 0;
}

/* worker: a record must not be indexed before the directory it is in. */
static bool has_parent(const struct sets_job *j, const struct part *part, size_t i)
{
	struct index_entry entry = {0};
	const char *path = j->items[i].path;
	size_t len = relpath_parent_len(path);
	if (*path == '\0')
		return true;
	for (size_t k = i; k-- > part->first;) {
		const struct capture_item *item = &j->items[k];
		if (strncmp(item->path, path, len) == 0 && item->path[len] == '\0' &&
		    item->outcome == CAPTURE_CHANGED && !j->left[k])
			return item->entry.rec.kind == RECORD_DIR;
	}
	AUTO_FREE char *parent = x_strndup(path, len);
	bool there = store_get(j->sets->env.store, parent, &entry, NULL) == 0 &&
		     entry.rec.kind == RECORD_DIR;
	index_entry_release(&entry);
	return there;
}

/* worker: the stat that the captured content was read under, again. The kernel may not have told us
 * yet of a member that changed while the others were read. */
static bool is_still(const struct capture_env *env, const struct capture_item *item)
{
	struct index_entry have = {0};
	const struct file_stat *expected = &item->entry.inst;
	struct file_stat now;
	struct stat st;
	const char *sub;
	const struct root *root = tree_resolve(env->tree, item->path, &sub);
	int r = root_stat(root, sub, &st);
	if (item->outcome == CAPTURE_GONE)
		return errno_is_absence(r);
	if (item->outcome == CAPTURE_NOTHING) {
		if (store_get(env->store, item->path, &have, NULL) < 0)
			return true; /* nothing that is ours */
		expected = &have.inst;
	} else if (item->outcome != CAPTURE_CHANGED && item->outcome != CAPTURE_SAME) {
		return true;
	}
	file_stat_from(&now, &st);
	bool same = expected->mode == 0 ? errno_is_absence(r)
					: r == 0 && file_stat_equal(&now, expected);
	index_entry_release(&have);
	return same;
}

void part_wait_again(struct part *part, uint64_t ms)
{
	if (part->end == SET_HELD)
		return;
	part->end = SET_AGAIN;
	part->again_in_ms = ms > part->again_in_ms ? ms : part->again_in_ms;
}

/* worker: what keeps one member from the index. @return true when it can go */
static bool judge_item(struct sets_job *j, struct part *part, size_t i, size_t at)
{
	const struct capture_item *item = &j->items[i];
	switch (item->outcome) {
	case CAPTURE_HELD: part->end = SET_HELD; return false;
	case CAPTURE_UNREADABLE: part_wait_again(part, UNREADABLE_MS); return false;
	case CAPTURE_AGAIN: part_wait_again(part, AGAIN_MS); return false;
	case CAPTURE_CHANGED:
		if (has_parent(j, part, i))
			return true;
		free(j->parents[at]);
		j->parents[at] = x_strndup(item->path, relpath_parent_len(item->path));
		part_wait_again(part, AGAIN_MS);
		return false;
	default: return true;
	}
}

/* worker */
static void judge(struct sets_job *j, size_t at)
{
	struct part *part = &j->parts[at];
	bool all = true;
	for (size_t i = part->first; i < part->first + part->n; i++) {
		j->left[i] = !judge_item(j, part, i, at);
		all &= !j->left[i];
	}
	if (part->too_large)
		return; /* what can go goes */
	for (size_t i = part->first; all && i < part->first + part->n; i++) {
		if (!is_still(&j->sets->env, &j->items[i])) {
			part_wait_again(part, AGAIN_MS);
			all = false;
		}
	}
	for (size_t i = part->first; i < part->first + part->n; i++)
		j->left[i] = !all;
}

/* worker: versions before deletions, so that moved content can be referred to. */
static size_t collect(const struct sets_job *j, struct captured *out)
{
	size_t n = 0;
	for (size_t i = 0; i < j->n; i++) {
		const struct capture_item *item = &j->items[i];
		if (j->left[i])
			continue;
		if (item->outcome == CAPTURE_CHANGED)
			out[n++] =
				(struct captured){.kind = CAPTURED_VERSION, .entry = &item->entry};
		else if (item->outcome == CAPTURE_SAME)
			out[n++] = (struct captured){.kind = CAPTURED_SAME, .entry = &item->entry};
		else if (item->outcome == CAPTURE_DROPPED)
			out[n++] = (struct captured){.kind = CAPTURED_DROPPED, .path = item->path};
	}
	for (size_t i = 0; i < j->n; i++) {
		if (j->items[i].outcome == CAPTURE_GONE && !j->left[i])
			out[n++] = (struct captured){.kind = CAPTURED_GONE,
						     .path = j->items[i].path,
						     .approved = j->items[i].approved};
	}
	return n;
}

/* worker: who looks at the status learns which file it is and what waits for it. */
static void note(struct store *store, enum note_kind kind, bool wrong,
		 const struct capture_item *item, const struct part *part)
{
	char q[QUOTED_MAX];
	if (wrong && part->too_large) {
		store_note(store, kind, item->path, item->why, NULL);
	} else if (wrong) {
		AUTO_FREE char *why = x_asprintf("%s; it holds back its set %.200s", item->why,
						 quote_path(q, part->due.set));
		store_note(store, kind, item->path, why, NULL);
	} else if (store_note_count(store, kind) > 0) {
		store_unnote(store, kind, item->path, NULL);
	}
}

/* worker */
static void write_notes(const struct sets_job *j)
{
	struct store *store = j->sets->env.store;
	for (size_t p = 0; p < j->n_parts; p++) {
		const struct part *part = &j->parts[p];
		for (size_t i = part->first; i < part->first + part->n; i++) {
			const struct capture_item *item = &j->items[i];
			note(store, NOTE_HELD, item->outcome == CAPTURE_HELD, item, part);
			note(store, NOTE_UNREADABLE, item->outcome == CAPTURE_UNREADABLE, item,
			     part);
		}
		if (part->too_large)
			store_note(store, NOTE_SET, part->due.set,
				   "it has more members than one batch takes (2000): they travel "
				   "one by one",
				   NULL);
		else if (store_note_count(store, NOTE_SET) > 0)
			store_unnote(store, NOTE_SET, part->due.set, NULL);
	}
}

void sets_work(struct job *job)
{
	struct sets_job *j = container_of(job, struct sets_job, job);
	for (size_t p = 0; p < j->n_parts && j->result == 0; p++) {
		j->parts[p].skipped = p > 0 && j->n >= JOB_PATHS;
		if (j->parts[p].skipped)
			j->parts[p].end = SET_AGAIN;
		else
			j->result = gather(j, &j->parts[p]);
	}
	j->left = x_calloc(j->n + 1, sizeof(*j->left));
	j->stop = x_calloc(j->n + 1, sizeof(*j->stop));
	if (j->result < 0)
		return;
	capture_run(&j->sets->env, j->items, j->n);
	for (size_t p = 0; p < j->n_parts; p++) {
		if (!j->parts[p].skipped)
			judge(j, p);
	}
	j->result = sets_ask_brakes(j);
	if (j->result < 0)
		return;
	AUTO_FREE struct captured *captured = x_calloc(j->n + 1, sizeof(*captured));
	size_t n = collect(j, captured);
	if (n > 0)
		j->result =
			store_capture(j->sets->env.store, captured, n, false, &j->changed, &j->err);
	if (j->result >= 0)
		sets_release_held(j);
	write_notes(j);
	j->n_linked = links_find(j->sets->env.store, j->items, j->n, j->linked, LINKED_MAX);
}
