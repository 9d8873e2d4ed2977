#include "agent/sync/capture_brake.h"

#define SWEEP_PAGE 256 /* held paths looked at at a time */

static int stop_rewrites(struct holds *holds, const struct capture_item *items, size_t n,
			 enum capture_stop *stops, struct err *err)
{
	AUTO_FREE const char **paths = x_calloc(n, sizeof(*paths));
	AUTO_FREE size_t *at = x_calloc(n, sizeof(*at));
	AUTO_FREE bool *held = x_calloc(n, sizeof(*held));
	size_t n_rewrites = 0;
	for (size_t i = 0; i < n; i++) {
		if (items[i].outcome != CAPTURE_CHANGED || !items[i].rewrites)
			continue;
		at[n_rewrites] = i;
		paths[n_rewrites++] = items[i].path;
	}
	if (n_rewrites == 0)
		return 0;
	int r = holds_judge_rewrites(holds, paths, n_rewrites, held, err);
	for (size_t i = 0; r == 0 && i < n_rewrites; i++) {
		if (held[i])
			stops[at[i]] = CAPTURE_STOPS;
	}
	return r;
}

/* The peers learn of it with the record. */
static void mark_approved(struct holds *holds, struct capture_item *items, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		struct capture_item *item = &items[i];
		bool gone = item->outcome == CAPTURE_GONE;
		if (!gone && item->outcome != CAPTURE_CHANGED)
			continue;
		item->approved = holds_is_approved(holds, item->path,
						   item->rewrites ? HOLD_REWRITE : HOLD_LOSS);
		if (!gone && item->approved)
			item->entry.flags |= ENTRY_APPROVED;
	}
}

int capture_brake(struct holds *holds, struct store *store, struct capture_item *items, size_t n,
		  bool judged, enum capture_stop *stops, struct err *err)
{
	bool losses = !judged && !holds_are_off(holds, HOLD_LOSS);
	holds_see(holds);
	for (size_t i = 0; i < n; i++)
		stops[i] = losses && items[i].outcome == CAPTURE_CHANGED && items[i].loses
				   ? CAPTURE_WAITS
				   : CAPTURE_GOES;
	if (store_note_count(store, NOTE_BRAKE) > 0)
		mark_approved(holds, items, n);
	if (n == 0 || holds_are_off(holds, HOLD_REWRITE))
		return 0;
	return stop_rewrites(holds, items, n, stops, err);
}

/* Is what the index has of it now what the disk has? */
static bool is_settled(const struct capture_item *item, bool judged, enum capture_stop stop)
{
	switch (item->outcome) {
	case CAPTURE_GONE: return judged;
	case CAPTURE_AGAIN:
	case CAPTURE_UNREADABLE: return false;
	default: return stop == CAPTURE_GOES;
	}
}

bool capture_brake_release(struct store *store, const struct capture_item *items, size_t n,
			   bool judged, const enum capture_stop *stops)
{
	if (n == 0 || store_note_count(store, NOTE_BRAKE) == 0)
		return false;
	AUTO_FREE const char **paths = x_calloc(n, sizeof(*paths));
	size_t n_paths = 0;
	bool back = false;
	for (size_t i = 0; i < n; i++) {
		struct hold hold;
		if (!is_settled(&items[i], judged, stops[i]))
			continue;
		bool gone = items[i].outcome == CAPTURE_GONE;
		if (gone || items[i].loses)
			store_hold_release_beneath(store, items[i].path, NULL);
		if (store_hold_of(store, items[i].path, &hold, NULL) <= 0)
			continue;
		back |= !gone;
		paths[n_paths++] = items[i].path;
	}
	store_hold_release(store, paths, n_paths, NULL);
	return back;
}

/* ---- what came back unchanged ---------------------------------------------------------------- */

static int sweep_page(const struct capture_env *env, const struct note *notes, size_t n,
		      struct err *err)
{
	AUTO_FREE struct capture_item *items = x_calloc(n, sizeof(*items));
	AUTO_FREE const char **paths = x_calloc(n, sizeof(*paths));
	size_t n_paths = 0;
	for (size_t i = 0; i < n; i++)
		items[i].path = x_strdup(notes[i].path);
	capture_run(env, items, n);
	for (size_t i = 0; i < n; i++) {
		if (items[i].outcome == CAPTURE_NOTHING)
			paths[n_paths++] = notes[i].path;
	}
	int r = store_hold_release(env->store, paths, n_paths, err);
	for (size_t i = 0; i < n; i++)
		capture_item_release(&items[i]);
	return r;
}

static int sweep_hold(const struct capture_env *env, uint64_t id, struct err *err)
{
	struct note notes[SWEEP_PAGE];
	AUTO_FREE char *after = x_strdup("");
	size_t n;
	/* The tree's own directory, which is "", is never gone. */
	int r = store_hold_paths(env->store, id, after, notes, SWEEP_PAGE, &n, err);
	while (r == 0 && n > 0) {
		r = sweep_page(env, notes, n, err);
		free(after);
		after = x_strdup(notes[n - 1].path);
		for (size_t i = 0; i < n; i++)
			free(notes[i].path);
		n = 0;
		if (r == 0)
			r = store_hold_paths(env->store, id, after, notes, SWEEP_PAGE, &n, err);
	}
	return r;
}

int capture_brake_sweep(const struct capture_env *env, struct err *err)
{
	AUTO_FREE struct hold *holds = NULL;
	size_t n = 0;
	int r = store_holds(env->store, &holds, &n, err);
	for (size_t i = 0; r == 0 && i < n; i++)
		r = sweep_hold(env, holds[i].id, err);
	return r;
}
