/* When a path is due, what a subtree swallows, and that a random life agrees with a plain list. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <cmocka.h>

#include "agent/base/alloc.h"
#include "agent/base/clock.h"
#include "agent/watch/dirty_set.h"

#define SETTLE 25
#define MOST 1000

static int set_up(void **state)
{
	*state = dirty_set_new(SETTLE, MOST, 1000);
	return 0;
}

static int tear_down(void **state)
{
	dirty_set_free(*state);
	return 0;
}

/* Takes one and compares. */
static void assert_taken(struct dirty_set *set, uint64_t now, const char *path, bool subtree)
{
	char *got = NULL;
	bool is_subtree;
	assert_true(dirty_set_take(set, &got, &is_subtree, now));
	assert_string_equal(got, path);
	assert_int_equal(is_subtree, subtree);
	free(got);
}

static void assert_none(struct dirty_set *set, uint64_t now)
{
	char *got = NULL;
	bool is_subtree;
	assert_false(dirty_set_take(set, &got, &is_subtree, now));
}

static void a_settled_path_is_due_after_quiet(void **state)
{
	struct dirty_set *set = *state;
	assert_true(dirty_set_next_due(set) == UINT64_MAX && dirty_set_oldest(set) == UINT64_MAX);
	dirty_set_add(set, "a/b", false, 100);
	dirty_set_add(set, "a/b", false, 110);
	assert_int_equal(dirty_set_next_due(set), 110 + SETTLE);
	assert_int_equal(dirty_set_oldest(set), 100);
	assert_none(set, 110 + SETTLE - 1);
	assert_taken(set, 110 + SETTLE, "a/b", false);
	assert_int_equal(dirty_set_size(set), 0);
}

static void a_busy_path_cannot_starve(void **state)
{
	struct dirty_set *set = *state;
	for (uint64_t now = 0; now < MOST; now += 10)
		dirty_set_add(set, "busy", false, now);
	assert_int_equal(dirty_set_next_due(set), MOST);
}

static void an_open_path_waits_until_it_settles(void **state)
{
	struct dirty_set *set = *state;
	dirty_set_add(set, "f", true, 100);
	assert_int_equal(dirty_set_next_due(set), 100 + MOST);
	dirty_set_add(set, "f", false, 300);
	assert_int_equal(dirty_set_next_due(set), 300 + SETTLE);
	dirty_set_add(set, "f", true, 310); /* the later hint holds */
	assert_int_equal(dirty_set_next_due(set), 100 + MOST);
	dirty_set_add(set, "f", false, 100 + MOST - 1);
	assert_int_equal(dirty_set_next_due(set), 100 + MOST);
}

static void add_at_keeps_the_earlier_time(void **state)
{
	struct dirty_set *set = *state;
	dirty_set_add_at(set, "racy", 500, 100);
	assert_int_equal(dirty_set_next_due(set), 500);
	dirty_set_add_at(set, "racy", 800, 100);
	assert_int_equal(dirty_set_next_due(set), 500);
	dirty_set_add_at(set, "racy", 200, 100);
	assert_int_equal(dirty_set_next_due(set), 200);
	dirty_set_add(set, "racy", false, 120);
	assert_int_equal(dirty_set_next_due(set), 120 + SETTLE);
}

static void flush_makes_due_what_is_settled(void **state)
{
	struct dirty_set *set = *state;
	dirty_set_add(set, "open", true, 10);
	dirty_set_add(set, "settled", false, 10);
	dirty_set_add_at(set, "again", 900, 10);
	dirty_set_flush(set, false, 11);
	char *path;
	bool subtree;
	for (int i = 0; i < 2; i++) {
		assert_true(dirty_set_take(set, &path, &subtree, 11));
		assert_string_not_equal(path, "open");
		free(path);
	}
	assert_none(set, 11);
	dirty_set_flush(set, true, 12);
	assert_taken(set, 12, "open", false);
}

static void a_subtree_swallows_and_keeps_the_age(void **state)
{
	struct dirty_set *set = *state;
	dirty_set_add(set, "a", false, 5);
	dirty_set_add(set, "a/b", false, 6);
	dirty_set_add(set, "a/b/c", false, 4);
	dirty_set_add(set, "a/bc", false, 7);
	dirty_set_add_subtree(set, "a/b/c/d", 8);
	dirty_set_add_subtree(set, "a/b", 9);
	assert_int_equal(dirty_set_size(set), 3);
	assert_int_equal(dirty_set_oldest(set), 4);
	dirty_set_add(set, "a/b/x/y", true, 10);
	dirty_set_add_at(set, "a/b", 1, 10);
	dirty_set_add_subtree(set, "a/b/x", 10);
	assert_int_equal(dirty_set_size(set), 3);
	assert_true(dirty_set_has_before(set, 4));
	assert_false(dirty_set_has_before(set, 3));
	assert_taken(set, 100, "a", false);
	assert_taken(set, 100, "a/bc", false);
	assert_int_equal(dirty_set_next_due(set), 9 + SETTLE);
	assert_taken(set, 100, "a/b", true);
	dirty_set_add(set, "a/b/x", false, 100); /* taken: no longer swallowed */
	assert_int_equal(dirty_set_size(set), 1);
	assert_taken(set, 200, "a/b/x", false);
}

static void the_tree_itself_is_a_path(void **state)
{
	struct dirty_set *set = *state;
	dirty_set_add(set, "", false, 1);
	dirty_set_add(set, "x", false, 1);
	assert_taken(set, 1 + SETTLE, "", false);
	dirty_set_add_subtree(set, "", 2);
	assert_int_equal(dirty_set_size(set), 1);
	assert_taken(set, 100, "", true);
	assert_none(set, UINT64_MAX);
}

static void waiting_for_a_fence_ends(void **state)
{
	struct dirty_set *set = *state;
	dirty_set_add(set, "before", false, 50);
	dirty_set_add(set, "after", false, 51);
	assert_true(dirty_set_has_before(set, 50));
	assert_taken(set, 50 + SETTLE, "before", false);
	assert_false(dirty_set_has_before(set, 50));
	assert_true(dirty_set_has_before(set, 51));
}

static void past_the_limit_it_collapses(void **state)
{
	struct dirty_set *set = dirty_set_new(SETTLE, MOST, 100);
	char name[64];
	for (int i = 0; i < 101; i++) {
		snprintf(name, sizeof(name), "d%d/e/f%d", i % 10, i);
		dirty_set_add(set, name, false, (uint64_t)i);
	}
	assert_int_equal(dirty_set_size(set), 10);
	assert_int_equal(dirty_set_oldest(set), 0);
	char *path;
	bool subtree;
	while (dirty_set_take(set, &path, &subtree, 5000)) {
		assert_true(subtree && strlen(path) == 4 && strcmp(path + 2, "/e") == 0);
		free(path);
	}
	for (int i = 0; i < 1000; i++) { /* one wide directory: nothing but the tree is left */
		snprintf(name, sizeof(name), "f%d", i);
		dirty_set_add(set, name, true, 6000);
		assert_true(dirty_set_size(set) <= 100);
	}
	assert_taken(set, 6000 + MOST, "", true);
	assert_none(set, UINT64_MAX);
	dirty_set_free(set);
}

static void count_open(void *arg, const char *path, bool open)
{
	int *counts = arg;
	counts[open]++;
	assert_true(strcmp(path, "x/y") == 0 || strcmp(path, "z") == 0);
}

static void each_entry_is_shown(void **state)
{
	struct dirty_set *set = *state;
	int counts[2] = {0};
	dirty_set_add(set, "x/y", true, 1);
	dirty_set_add(set, "z", false, 1);
	dirty_set_each(set, count_open, counts);
	assert_int_equal(counts[0], 1);
	assert_int_equal(counts[1], 1);
}

/* The same rules in the plainest form: an array that is searched from end to end. */
struct plain {
	struct {
		char path[16];
		bool used, subtree, open;
		uint64_t first, due;
	} e[64];
};

static bool within(const char *path, const char *dir)
{
	size_t len = strlen(dir);
	return len == 0 || (strncmp(path, dir, len) == 0 && (path[len] == '/' || !path[len]));
}

static int plain_find(struct plain *p, const char *path)
{
	int spare = -1;
	for (int i = 0; i < 64; i++) {
		if (p->e[i].used && p->e[i].subtree && within(path, p->e[i].path))
			return -1;
		if (p->e[i].used && strcmp(p->e[i].path, path) == 0)
			return i;
		if (!p->e[i].used)
			spare = i;
	}
	assert_true(spare >= 0);
	return spare;
}

static void plain_add(struct plain *p, const char *path, bool open, uint64_t now)
{
	int i = plain_find(p, path);
	if (i < 0)
		return;
	if (!p->e[i].used)
		p->e[i].first = now;
	uint64_t latest = p->e[i].first + MOST;
	p->e[i].used = true;
	p->e[i].open = open;
	p->e[i].due = open || now + SETTLE > latest ? latest : now + SETTLE;
	strcpy(p->e[i].path, path);
}

static void plain_add_subtree(struct plain *p, const char *path, uint64_t now)
{
	uint64_t first = now;
	if (plain_find(p, path) < 0)
		return;
	for (int i = 0; i < 64; i++) {
		if (p->e[i].used && within(p->e[i].path, path)) {
			first = p->e[i].first < first ? p->e[i].first : first;
			memset(&p->e[i], 0, sizeof(p->e[i]));
		}
	}
	plain_add(p, path, false, now);
	int i = plain_find(p, path);
	p->e[i].first = first;
	p->e[i].due = now + SETTLE;
	p->e[i].subtree = true;
}

/* Takes what both say is due; with several at the same time the order is free. */
static void take_both(struct dirty_set *set, struct plain *p, uint64_t now)
{
	char *path;
	bool subtree;
	while (dirty_set_take(set, &path, &subtree, now)) {
		int found = -1;
		for (int i = 0; i < 64; i++) {
			if (p->e[i].used && strcmp(p->e[i].path, path) == 0)
				found = i;
		}
		assert_true(found >= 0);
		assert_int_equal(p->e[found].subtree, subtree);
		assert_true(p->e[found].due <= now);
		memset(&p->e[found], 0, sizeof(p->e[found]));
		free(path);
	}
}

static void assert_same(struct dirty_set *set, const struct plain *p)
{
	uint64_t due = UINT64_MAX, first = UINT64_MAX;
	size_t n = 0;
	for (int i = 0; i < 64; i++) {
		if (p->e[i].used) {
			n++;
			due = p->e[i].due < due ? p->e[i].due : due;
			first = p->e[i].first < first ? p->e[i].first : first;
		}
	}
	assert_int_equal(dirty_set_size(set), n);
	assert_true(dirty_set_next_due(set) == due);
	assert_true(dirty_set_oldest(set) == first);
}

static void a_random_life_agrees_with_a_plain_list(void **state)
{
	struct dirty_set *set = *state;
	struct plain plain = {0};
	unsigned seed = (unsigned)time(NULL);
	uint64_t now = 1;
	print_message("seed %u\n", seed);
	srand(seed);
	for (int i = 0; i < 100000; i++) {
		char path[16] = "";
		int depth = rand() % 4;
		for (int k = 0; k < depth; k++)
			sprintf(path + strlen(path), "%s%c", k ? "/" : "", 'a' + rand() % 3);
		int what = rand() % 10;
		now += (uint64_t)(rand() % 8);
		if (what == 0) {
			dirty_set_add_subtree(set, path, now);
			plain_add_subtree(&plain, path, now);
		} else if (what < 8) {
			dirty_set_add(set, path, what < 4, now);
			plain_add(&plain, path, what < 4, now);
		} else {
			take_both(set, &plain, now);
		}
		assert_same(set, &plain);
	}
}

/* Quadratic behaviour would take minutes; the bound is generous for a loaded machine. */
static void a_hundred_thousand_entries_are_fast(void **state)
{
	struct dirty_set *set = dirty_set_new(SETTLE, MOST, 200000);
	uint64_t begin = clock_mono_ms();
	char name[64];
	for (int round = 0; round < 3; round++) {
		for (int i = 0; i < 100000; i++) {
			snprintf(name, sizeof(name), "dir%d/sub%d/file%d", i % 100, i % 1000, i);
			dirty_set_add(set, name, i % 3 == 0, (uint64_t)(i / 100));
		}
	}
	assert_int_equal(dirty_set_size(set), 100000);
	for (int i = 0; i < 100; i++) {
		snprintf(name, sizeof(name), "dir%d", i);
		if (i % 2)
			dirty_set_add_subtree(set, name, 2000);
	}
	assert_int_equal(dirty_set_size(set), 50050);
	dirty_set_flush(set, true, 2000);
	char *path;
	bool subtree;
	while (dirty_set_take(set, &path, &subtree, 5000))
		free(path);
	assert_int_equal(dirty_set_size(set), 0);
	print_message("%d ms\n", (int)(clock_mono_ms() - begin));
	assert_true(clock_mono_ms() - begin < 20000);
	dirty_set_free(set);
}

#define WITH_SET(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		WITH_SET(a_settled_path_is_due_after_quiet),
		WITH_SET(a_busy_path_cannot_starve),
		WITH_SET(an_open_path_waits_until_it_settles),
		WITH_SET(add_at_keeps_the_earlier_time),
		WITH_SET(flush_makes_due_what_is_settled),
		WITH_SET(a_subtree_swallows_and_keeps_the_age),
		WITH_SET(the_tree_itself_is_a_path),
		WITH_SET(waiting_for_a_fence_ends),
		cmocka_unit_test(past_the_limit_it_collapses),
		WITH_SET(each_entry_is_shown),
		WITH_SET(a_random_life_agrees_with_a_plain_list),
		cmocka_unit_test(a_hundred_thousand_entries_are_fast),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
