/* When a set of paths is due as a whole, and what comes back of it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "agent/watch/set_queue.h"

#define QUIET 100
#define OPEN 1000

static struct set_queue *queue(size_t limit, size_t set_max)
{
	struct set_queue *q = set_queue_new(limit, set_max);
	set_queue_configure(q, QUIET, OPEN);
	return q;
}

static void add(struct set_queue *q, const char *set, const char *path, enum set_hint hint,
		uint64_t now)
{
	set_queue_add(q, set, path, hint, now, now);
}

static void a_set_is_due_when_all_of_it_is_quiet(void **state)
{
	struct set_queue *q = queue(100, 10);
	struct due_set due;
	add(q, "s", "a", SET_SETTLED, 1000);
	add(q, "s", "b", SET_SETTLED, 1090);
	add(q, "t", "c", SET_SETTLED, 1050);
	assert_int_equal(set_queue_next_due(q), 1150);
	assert_false(set_queue_take(q, &due, false, 1149));
	assert_true(set_queue_take(q, &due, false, 1150));
	assert_string_equal(due.set, "t");
	set_queue_end(q, &due, SET_DONE, 0);
	assert_false(set_queue_take(q, &due, false, 1189));
	assert_true(set_queue_take(q, &due, false, 1190));
	assert_int_equal(due.n, 2);
	assert_true(due.events[0] && due.events[1]);
	assert_int_equal(set_queue_oldest(q), 1000); /* not indexed yet */
	set_queue_end(q, &due, SET_DONE, 0);
	assert_int_equal(set_queue_size(q), 0);
	assert_int_equal(set_queue_oldest(q), UINT64_MAX);
	set_queue_free(q);
}

static void an_open_member_keeps_it(void **state)
{
	struct set_queue *q = queue(100, 10);
	struct due_set due;
	add(q, "s", "a", SET_OPEN, 1000);
	add(q, "s", "b", SET_SETTLED, 1010);
	assert_true(set_queue_is_open(q, "s", "a"));
	assert_false(set_queue_take(q, &due, false, 2009));
	add(q, "s", "a", SET_SETTLED, 2009);
	assert_false(set_queue_take(q, &due, false, 2108));
	assert_true(set_queue_take(q, &due, false, 2109));
	set_queue_end(q, &due, SET_DONE, 0);
	add(q, "s", "a", SET_OPEN, 3000);
	assert_true(set_queue_take(q, &due, false, 4000)); /* open, and nothing happens */
	set_queue_end(q, &due, SET_DONE, 0);
	set_queue_free(q);
}

static void what_a_scan_finds_waits_for_its_end(void **state)
{
	struct set_queue *q = queue(100, 10);
	struct due_set due;
	add(q, "s", "a", SET_FOUND, 1000);
	add(q, "t", "b", SET_SETTLED, 1000);
	assert_true(set_queue_take(q, &due, true, 5000));
	assert_string_equal(due.set, "t");
	set_queue_end(q, &due, SET_DONE, 0);
	assert_false(set_queue_take(q, &due, true, 5000));
	assert_true(set_queue_take(q, &due, false, 5000));
	assert_false(due.events[0]);
	set_queue_end(q, &due, SET_DONE, 0);
	set_queue_free(q);
}

static void a_held_set_waits_for_the_next_event_with_all_its_paths(void **state)
{
	struct set_queue *q = queue(100, 10);
	struct due_set due;
	add(q, "s", "a", SET_SETTLED, 1000);
	add(q, "s", "b", SET_SETTLED, 1000);
	assert_true(set_queue_take(q, &due, false, 1100));
	set_queue_end(q, &due, SET_HELD, 0);
	assert_int_equal(set_queue_size(q), 2);
	assert_int_equal(set_queue_oldest(q), UINT64_MAX);
	assert_int_equal(set_queue_next_due(q), UINT64_MAX);
	assert_false(set_queue_take(q, &due, false, 99999));
	add(q, "s", "a", SET_SETTLED, 100000);
	assert_int_equal(set_queue_oldest(q), 1000);
	assert_true(set_queue_take(q, &due, false, 100100));
	assert_int_equal(due.n, 2);
	add(q, "s", "a", SET_SETTLED, 100101); /* while it is read */
	assert_false(set_queue_take(q, &due, false, 100300));
	set_queue_end(q, &due, SET_HELD, 0);
	assert_true(set_queue_take(q, &due, false, 100300)); /* not held: something happened */
	set_queue_end(q, &due, SET_AGAIN, 100500);
	assert_false(set_queue_take(q, &due, false, 100499));
	assert_true(set_queue_take(q, &due, false, 100500));
	set_queue_end(q, &due, SET_DONE, 0);
	set_queue_free(q);
}

static void too_much_comes_in_parts_or_is_lost(void **state)
{
	struct set_queue *q = queue(5, 3);
	struct due_set due;
	const char *const paths[] = {"a", "b", "c", "d"};
	for (int i = 0; i < 4; i++)
		add(q, "s", paths[i], SET_OPEN, 1000);
	assert_true(set_queue_take(q, &due, true, 1000)); /* nothing to wait for */
	assert_true(due.too_large);
	assert_int_equal(due.n, 3);
	set_queue_end(q, &due, SET_DONE, 0);
	assert_int_equal(set_queue_size(q), 1);
	for (int i = 0; i < 3; i++)
		add(q, "t", paths[i], SET_SETTLED, 1000);
	add(q, "u", "x", SET_SETTLED, 1000);
	add(q, "u", "y", SET_SETTLED, 1000);
	while (set_queue_take(q, &due, false, 2000) && strcmp(due.set, "u") != 0)
		set_queue_end(q, &due, SET_DONE, 0);
	assert_true(due.lost);
	assert_int_equal(due.n, 1);
	set_queue_end(q, &due, SET_DONE, 0);
	set_queue_free(q);
}

static void one_that_never_rests_is_told_of_once(void **state)
{
	struct set_queue *q = queue(100, 10);
	struct due_set due;
	char *set, *path;
	for (uint64_t now = 1000; now < 1000 + 2 * OPEN; now += 50) {
		add(q, "s", "a", SET_SETTLED, now);
		assert_false(set_queue_restless(q, &set, &path, now));
	}
	add(q, "s", "a", SET_SETTLED, 3000);
	assert_true(set_queue_restless(q, &set, &path, 3000));
	assert_string_equal(set, "s");
	assert_string_equal(path, "a");
	free(set);
	free(path);
	assert_false(set_queue_restless(q, &set, &path, 3001));
	assert_int_equal(set_queue_oldest(q), UINT64_MAX); /* like a held one */
	assert_true(set_queue_take(q, &due, false, 3100));
	set_queue_end(q, &due, SET_DONE, 0);
	set_queue_free(q);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_set_is_due_when_all_of_it_is_quiet),
		cmocka_unit_test(an_open_member_keeps_it),
		cmocka_unit_test(what_a_scan_finds_waits_for_its_end),
		cmocka_unit_test(a_held_set_waits_for_the_next_event_with_all_its_paths),
		cmocka_unit_test(too_much_comes_in_parts_or_is_lost),
		cmocka_unit_test(one_that_never_rests_is_told_of_once),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
