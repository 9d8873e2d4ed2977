#include "tests/unit/sync/world.h"

#include <errno.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "agent/base/clock.h"

static void check(int r, const struct err *err)
{
	if (r < 0)
		fail_msg("%d: %s", r, err->msg);
}

static void open_store(struct world *w)
{
	const struct epoch_entry first = {.number = 1, .id = {7}, .node = "a"};
	const struct store_state initial = {.node = "a", .group = "g", .role = WIRE_ROLE_ACTIVE};
	struct err err = {0};
	make_dir("state");
	check(store_create("state", &initial, &first, &err), &err);
	check(store_open(&w->store, "state", &err), &err);
}

void world_set_rules(struct world *w, const char *const *rules)
{
	struct err err = {0};
	size_t n = 0;
	while (rules && rules[n])
		n++;
	profile_free(w->profile);
	check(profile_new(&w->profile, "all", rules, n, true, &err), &err);
	w->env.profile = w->profile;
}

struct world *world_with_follow(const char *const *rules, char *const *follow, size_t n_follow)
{
	struct world *w = x_calloc(1, sizeof(*w));
	struct err err = {0};
	w->dir = scratch_enter();
	make_dir("tree");
	for (size_t i = 0; i < n_follow; i++) {
		AUTO_FREE char *elsewhere = x_asprintf("elsewhere%zu", i);
		AUTO_FREE char *target = x_asprintf("../%s", elsewhere);
		AUTO_FREE char *link = x_asprintf("tree/%s", follow[i]);
		make_dir(elsewhere);
		assert_int_equal(symlink(target, link), 0);
	}
	check(tree_prepare("tree", follow, n_follow, &err), &err);
	check(tree_open(&w->tree, "tree", follow, n_follow, NULL, &err), &err);
	assert_true(tree_is_healthy(w->tree));
	open_store(w);
	world_set_rules(w, rules);
	w->env.tree = w->tree;
	w->env.store = w->store;
	w->env.bytes_hashed = &w->bytes_hashed;
	return w;
}

struct world *world_new(const char *const *rules)
{
	return world_with_follow(rules, NULL, 0);
}

void world_free(struct world *w)
{
	tree_free(w->tree);
	store_close(w->store);
	profile_free(w->profile);
	scratch_leave(w->dir);
	free(w);
}

/* ---- scanning ------------------------------------------------------------------------------- */

struct paths {
	char **path;
	size_t n, cap;
};

static int scan_all(struct world *w, const char *top, struct paths *out)
{
	struct scan *scan;
	struct err err = {0};
	int r = scan_begin(&scan, w->tree, w->store, w->profile, top, &err);
	if (r < 0)
		return r;
	do {
		char **paths;
		size_t n;
		r = scan_step(scan, 7, &paths, &n, &err); /* small, so that steps are crossed */
		for (size_t i = 0; i < n; i++) {
			GROW(out->path, out->cap, out->n + 1);
			out->path[out->n++] = paths[i];
		}
		free(paths);
	} while (r > 0);
	w->counts = *scan_counts(scan);
	scan_free(scan);
	return r;
}

static void paths_release(struct paths *paths)
{
	for (size_t i = 0; i < paths->n; i++)
		free(paths->path[i]);
	free(paths->path);
}

int scan_result(struct world *w, const char *top, char **out)
{
	struct paths paths = {0};
	int r = scan_all(w, top, &paths);
	size_t len = 1;
	for (size_t i = 0; i < paths.n; i++)
		len += strlen(paths.path[i]) + 2;
	char *at = *out = x_calloc(1, len);
	for (size_t i = 0; i < paths.n; i++)
		at += sprintf(at, "%s\n", *paths.path[i] ? paths.path[i] : ".");
	paths_release(&paths);
	return r;
}

char *scan_paths(struct world *w, const char *top)
{
	char *out;
	assert_int_equal(scan_result(w, top, &out), 0);
	return out;
}

/* ---- capturing ------------------------------------------------------------------------------ */

struct capture_item capture_path(struct world *w, const char *path)
{
	struct capture_item item = {.path = x_strdup(path)};
	capture_run(&w->env, &item, 1);
	return item;
}

enum capture_outcome outcome_of(struct world *w, const char *path)
{
	struct capture_item item = capture_path(w, path);
	enum capture_outcome outcome = item.outcome;
	capture_item_release(&item);
	return outcome;
}

static size_t store_items(struct world *w, struct capture_item *items, size_t n)
{
	AUTO_FREE struct captured *captured = x_calloc(n, sizeof(*captured));
	struct err err = {0};
	size_t k = 0, changed = 0;
	for (size_t i = 0; i < n; i++) {
		struct captured one = {.entry = &items[i].entry, .path = items[i].path};
		switch (items[i].outcome) {
		case CAPTURE_CHANGED: one.kind = CAPTURED_VERSION; break;
		case CAPTURE_SAME: one.kind = CAPTURED_SAME; break;
		case CAPTURE_GONE: one.kind = CAPTURED_GONE; break;
		case CAPTURE_DROPPED: one.kind = CAPTURED_DROPPED; break;
		default: continue;
		}
		captured[k++] = one;
	}
	if (k > 0)
		check(store_capture(w->store, captured, k, false, &changed, &err), &err);
	return changed;
}

size_t index_all(struct world *w)
{
	struct paths paths = {0};
	assert_int_equal(scan_all(w, "", &paths), 0);
	struct capture_item *items = x_calloc(paths.n, sizeof(*items));
	size_t n = paths.n;
	for (size_t i = 0; i < n; i++)
		items[i].path = x_strdup(paths.path[i]);
	paths_release(&paths);
	capture_add_parents(&w->env, &items, &n);
	capture_run(&w->env, items, n);
	size_t changed = store_items(w, items, n);
	for (size_t i = 0; i < n; i++)
		capture_item_release(&items[i]);
	free(items);
	return changed;
}

void let_age(void)
{
	int64_t until = clock_real_ns() + RACY_LOCAL_NS + 5 * 1000 * 1000;
	while (clock_real_ns() < until)
		sched_yield();
}

void assert_indexed(struct world *w)
{
	AUTO_FREE char *reported = scan_paths(w, "");
	assert_string_equal(reported, "");
	struct store_cursor *cursor;
	const struct index_entry *entry;
	struct err err = {0};
	int r;
	check(store_cursor_open(&cursor, w->store, "", "", &err), &err);
	while ((r = store_cursor_next(cursor, &entry, &err)) > 0) {
		char why[160];
		if (entry->rec.kind == RECORD_ABSENT)
			continue;
		r = capture_verify(&w->env, entry, why);
		if (r != 0)
			fail_msg("%s: %s", entry->rec.path, why);
	}
	check(r, &err);
	store_cursor_free(cursor);
}

struct index_entry entry_of(struct world *w, const char *path)
{
	struct index_entry entry;
	struct err err = {0};
	check(store_get(w->store, path, &entry, &err), &err);
	return entry;
}
