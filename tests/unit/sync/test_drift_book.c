/* How often a path is put back, when it is left, whose bytes are asked for: by tables of times. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "agent/sync/drift_book.h"

static struct drift_book *book;

static int setup(void **state)
{
	(void)state;
	book = drift_book_new();
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	drift_book_free(book);
	return 0;
}

/* Suspected and taken at `now`. */
static struct drift_taken take(const char *path, uint64_t now)
{
	struct drift_taken taken[4];
	assert_true(drift_book_suspect(book, path, true, now));
	assert_int_equal(drift_book_take(book, taken, 4, now), 1);
	assert_string_equal(taken[0].path, path);
	return taken[0];
}

static size_t count_due(uint64_t now)
{
	static struct drift_taken taken[DRIFT_PATHS_MAX];
	return drift_book_take(book, taken, DRIFT_PATHS_MAX, now);
}

static void three_times_within_a_minute_and_then_it_is_left(void **state)
{
	(void)state;
	for (uint64_t at = 1000; at <= 3000; at += 1000) {
		assert_false(take("f", at).left);
		drift_book_put_back(book, "f", at);
	}
	assert_true(take("f", 4000).left);
	drift_book_reported(book, "f", 4000);
	/* However often it changes, it is not read all the time. */
	assert_true(drift_book_suspect(book, "f", true, 4001));
	assert_int_equal(drift_book_next(book), 4000 + DRIFT_SHOWN_MS);
	assert_int_equal(count_due(4000 + DRIFT_SHOWN_MS), 1);
	drift_book_reported(book, "f", 9001);
	assert_int_equal(count_due(3000 + DRIFT_LEFT_MS - 1), 0);
	assert_int_equal(drift_book_next(book), 3000 + DRIFT_LEFT_MS);
	/* The hour is over: it begins anew, without anybody's suspicion. */
	struct drift_taken again;
	assert_int_equal(drift_book_take(book, &again, 1, 3000 + DRIFT_LEFT_MS), 1);
	assert_false(again.left);
}

static void slowly_it_goes_on_for_ever(void **state)
{
	(void)state;
	for (uint64_t at = 1000; at < 20 * DRIFT_REVERTS_MS; at += DRIFT_REVERTS_MS / 2) {
		assert_false(take("f", at).left);
		drift_book_put_back(book, "f", at);
	}
}

static void left_until_it_matches(void **state)
{
	(void)state;
	for (uint64_t at = 1000; at <= 3000; at += 1000) {
		take("f", at);
		drift_book_put_back(book, "f", at);
	}
	assert_true(take("f", 4000).left);
	assert_false(drift_book_matches(book, "f", 4000));
	assert_false(take("f", 5000).left);
}

static void what_the_active_sends_counts_as_put_back(void **state)
{
	(void)state;
	const char *asked[2];
	for (uint64_t at = 1000; at <= 3000; at += 1000) {
		assert_false(take("f", at).left);
		drift_book_wants(book, "f", at);
		assert_int_equal(drift_book_open(book), 1);
		assert_int_equal(drift_book_ask(book, asked, 2, at), 1);
		drift_book_arrived(book, at + 100);
		struct drift_taken taken;
		assert_int_equal(drift_book_take(book, &taken, 1, at + 100), 1);
		assert_int_equal(taken.waiting_ms, 100);
		assert_true(drift_book_matches(book, "f", at + 100));
		assert_int_equal(drift_book_open(book), 0);
	}
	assert_true(take("f", 4000).left);
}

static void one_that_is_suspected_while_it_is_judged_is_judged_again(void **state)
{
	(void)state;
	take("f", 1000);
	assert_true(drift_book_suspect(book, "f", true, 1001));
	assert_int_equal(count_due(1001), 0);
	drift_book_matches(book, "f", 1002);
	assert_int_equal(count_due(1002), 1);
}

static void one_that_changes_all_the_time_is_read_less_and_less_often(void **state)
{
	(void)state;
	struct drift_taken taken;
	uint64_t now = 1000, wait = DRIFT_AGAIN_MS;
	take("f", now);
	for (int i = 0; i < 12; i++) {
		assert_true(drift_book_suspect(book, "f", true, now));
		drift_book_again(book, "f", now);
		assert_int_equal(drift_book_next(book), now + wait);
		now += wait;
		wait = 2 * wait < DRIFT_AGAIN_MAX_MS ? 2 * wait : DRIFT_AGAIN_MAX_MS;
		assert_int_equal(drift_book_take(book, &taken, 1, now), 1);
	}
}

/* The attempt itself is seen by the watcher, and so is whoever goes on writing. */
static void what_fails_is_tried_less_and_less_often(void **state)
{
	(void)state;
	uint64_t now = 1000, wait = DRIFT_FAILED_MS;
	take("f", now);
	for (int i = 0; i < 10; i++) {
		assert_true(drift_book_suspect(book, "f", true, now)); /* while it is tried */
		drift_book_failed(book, "f", now);
		assert_true(drift_book_suspect(book, "f", true, now + 1));
		assert_true(drift_book_suspect(book, "f", false, now + 2));
		assert_int_equal(drift_book_next(book), now + wait);
		now += wait;
		wait = 2 * wait < DRIFT_FAILED_MAX_MS ? 2 * wait : DRIFT_FAILED_MAX_MS;
		assert_int_equal(count_due(now), 1);
		if (i != 5)
			continue;
		drift_book_again(book, "f", now); /* that it changed means nothing */
		now += DRIFT_AGAIN_MS;
		assert_int_equal(count_due(now), 1);
	}
	drift_book_put_back(book, "f", now);
	take("f", now);
	drift_book_failed(book, "f", now);
	assert_int_equal(drift_book_next(book), now + DRIFT_FAILED_MS);
}

static void what_failed_is_tried_at_once_when_the_configuration_changed(void **state)
{
	(void)state;
	take("f", 1000);
	drift_book_failed(book, "f", 1000);
	drift_book_show_again(book);
	assert_true(drift_book_suspect(book, "f", true, 1001));
	assert_int_equal(drift_book_next(book), 1001);
}

static void a_root_that_is_back_is_not_waited_for(void **state)
{
	(void)state;
	take("f", 1000);
	drift_book_away(book, "f", 1000);
	assert_int_equal(drift_book_next(book), 1000 + DRIFT_AWAY_MS);
	assert_true(drift_book_suspect(book, "f", true, 1001));
	assert_int_equal(drift_book_next(book), 1001);
}

static void few_are_asked_for_at_a_time(void **state)
{
	(void)state;
	const char *asked[3];
	char name[16];
	for (int i = 0; i < 10; i++) {
		snprintf(name, sizeof(name), "f%d", i);
		take(name, 1000);
		drift_book_wants(book, name, 1000);
	}
	assert_int_equal(drift_book_ask(book, asked, 3, 1000), 3);
	assert_int_equal(drift_book_ask(book, asked, 3, 1001), 0);
	assert_int_equal(drift_book_ask(book, asked, 3, 1000 + DRIFT_ASK_MS), 3);
	drift_book_forget_asked(book);
	assert_int_equal(drift_book_ask(book, asked, 3, 1001 + DRIFT_ASK_MS), 3);
}

static void one_that_waits_is_looked_at_less_and_less_often(void **state)
{
	(void)state;
	struct drift_taken taken;
	uint64_t now = 1000, last = 0;
	take("f", now);
	for (int i = 0; i < 10; i++) {
		drift_book_wants(book, "f", now);
		uint64_t next = drift_book_next(book);
		assert_true(next - now >= last && next - now <= DRIFT_WANT_MAX_MS);
		last = next - now;
		now = next;
		assert_int_equal(drift_book_take(book, &taken, 1, now), 1);
	}
	assert_int_equal(last, DRIFT_WANT_MAX_MS);
}

static void the_time_of_a_busy_directory_is_put_back_less_and_less_often(void **state)
{
	(void)state;
	struct drift_taken taken;
	uint64_t now = 1000, wait = DRIFT_QUIET_MS;
	take("d", now);
	for (int i = 0; i < 4; i++) {
		drift_book_quiet(book, "d", now);
		assert_true(drift_book_suspect(book, "d", false, now + 1));
		assert_int_equal(drift_book_next(book), now + wait);
		now += wait;
		wait *= 2;
		assert_int_equal(drift_book_take(book, &taken, 1, now), 1);
	}
	drift_book_quiet(book, "d", now);
	assert_true(drift_book_suspect(book, "d", true, now + 1));
	assert_int_equal(drift_book_next(book), now + 1);
	assert_int_equal(drift_book_take(book, &taken, 1, now + 1), 1);
	drift_book_matches(book, "d", now + 1);
	/* A quiet time later it is put back at once. */
	now += 10 * DRIFT_QUIET_MAX_MS;
	take("d", now);
	drift_book_quiet(book, "d", now);
	assert_true(drift_book_suspect(book, "d", false, now));
	assert_int_equal(drift_book_next(book), now + DRIFT_QUIET_MS);
}

static void what_does_not_fit_is_scanned_for(void **state)
{
	(void)state;
	char name[16];
	for (int i = 0; i < DRIFT_PATHS_MAX; i++) {
		snprintf(name, sizeof(name), "f%d", i);
		assert_true(drift_book_suspect(book, name, true, 1000));
	}
	assert_false(drift_book_suspect(book, "one more", true, 1000));
	assert_false(drift_book_tidy(book, 1000));
	assert_int_equal(count_due(1000), DRIFT_PATHS_MAX);
	for (int i = 0; i < DRIFT_PATHS_MAX; i++) {
		snprintf(name, sizeof(name), "f%d", i);
		drift_book_matches(book, name, 1000);
	}
	uint64_t later = 1000 + DRIFT_QUIET_MAX_MS;
	assert_true(drift_book_tidy(book, later));
	assert_false(drift_book_tidy(book, later));
	assert_true(drift_book_suspect(book, "one more", true, later));
}

static void what_was_put_back_is_remembered_for_a_minute(void **state)
{
	(void)state;
	const uint64_t at = 10 * DRIFT_QUIET_MAX_MS;
	for (uint64_t k = 0; k < DRIFT_REVERTS_MAX - 1; k++) {
		take("f", at + k);
		drift_book_put_back(book, "f", at + k);
	}
	drift_book_tidy(book, at + DRIFT_REVERTS_MS / 2);
	take("f", at + DRIFT_REVERTS_MS / 2);
	drift_book_put_back(book, "f", at + DRIFT_REVERTS_MS / 2);
	assert_true(take("f", at + DRIFT_REVERTS_MS / 2).left);
}

#define BOOK(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		BOOK(three_times_within_a_minute_and_then_it_is_left),
		BOOK(slowly_it_goes_on_for_ever),
		BOOK(left_until_it_matches),
		BOOK(what_the_active_sends_counts_as_put_back),
		BOOK(one_that_is_suspected_while_it_is_judged_is_judged_again),
		BOOK(one_that_changes_all_the_time_is_read_less_and_less_often),
		BOOK(what_fails_is_tried_less_and_less_often),
		BOOK(what_failed_is_tried_at_once_when_the_configuration_changed),
		BOOK(a_root_that_is_back_is_not_waited_for),
		BOOK(few_are_asked_for_at_a_time),
		BOOK(one_that_waits_is_looked_at_less_and_less_often),
		BOOK(the_time_of_a_busy_directory_is_put_back_less_and_less_often),
		BOOK(what_does_not_fit_is_scanned_for),
		BOOK(what_was_put_back_is_remembered_for_a_minute),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
