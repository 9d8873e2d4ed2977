/* The brake alone: what is counted, against what, and for how long. Times are given. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "agent/sync/brake.h"

#define AT(seconds) ((uint64_t)(seconds)*1000 + 1000000)

static void more_than_the_share_is_too_much(void **state)
{
	struct brake brake = {.percent = 20};
	assert_false(brake_holds(&brake, AT(0), 100, 20));
	assert_true(brake_holds(&brake, AT(0), 100, 21));
	brake_count(&brake, AT(0), 15);
	assert_false(brake_holds(&brake, AT(1), 100, 5));
	assert_true(brake_holds(&brake, AT(1), 100, 6));
	assert_false(brake_holds(&brake, AT(1), 100, 0));
}

static void ten_files_may_always_go(void **state)
{
	struct brake brake = {.percent = 20};
	assert_false(brake_holds(&brake, AT(0), 10, 10));
	assert_true(brake_holds(&brake, AT(0), 11, 11));
	brake_count(&brake, AT(0), 10);
	assert_true(brake_holds(&brake, AT(0), 20, 1));
}

static void without_a_share_there_is_no_brake(void **state)
{
	struct brake brake = {0};
	assert_false(brake_holds(&brake, AT(0), 100, 100));
	assert_false(brake_empties(&brake, AT(0), 100, 100));
}

static void a_small_tree_is_not_emptied_either(void **state)
{
	struct brake brake = {.percent = 50};
	assert_true(brake_empties(&brake, AT(0), 3, 3));
	assert_false(brake_empties(&brake, AT(0), 3, 2));
	assert_false(brake_empties(&brake, AT(0), 2, 2));
	/* The last one of several that went within the minute. */
	brake_see(&brake, AT(0), 8, 0);
	assert_true(brake_empties(&brake, AT(1), 1, 1));
	assert_false(brake_empties(&brake, AT(61), 1, 1));
	assert_false(brake_empties(&brake, AT(1), 0, 0));
}

static void what_is_spread_over_more_than_a_minute_flows(void **state)
{
	struct brake brake = {.percent = 20};
	for (int second = 0; second < 600; second += 4) {
		/* One every four seconds is fifteen in a minute, of a hundred. */
		assert_false(brake_holds(&brake, AT(second), 100, 1));
		brake_see(&brake, AT(second), 100, 7);
		brake_count(&brake, AT(second), 1);
		assert_true(brake_counted(&brake, AT(second)) <= 15);
	}
	for (int second = 600; second < 660; second++) {
		bool held = brake_holds(&brake, AT(second), 100, 1);
		if (held)
			return; /* ... and one a second is not */
		brake_count(&brake, AT(second), 1);
	}
	fail_msg("sixty in a minute of a hundred were let through");
}

static void the_minute_slides(void **state)
{
	struct brake brake = {.percent = 20};
	brake_count(&brake, AT(0), 20);
	assert_true(brake_holds(&brake, AT(59), 100, 1));
	assert_false(brake_holds(&brake, AT(60), 100, 1));
	assert_int_equal(brake_counted(&brake, AT(60)), 0);
	/* The slot of the second is used again an hour later. */
	brake_count(&brake, AT(3600), 3);
	assert_int_equal(brake_counted(&brake, AT(3600)), 3);
}

static void the_share_is_of_the_most_the_tree_had(void **state)
{
	struct brake brake = {.percent = 20};
	brake_see(&brake, AT(0), 1000, 5);
	brake_count(&brake, AT(0), 150);
	brake_see(&brake, AT(1), 850, 155);
	assert_int_equal(brake_base(&brake, AT(2), 850), 1000);
	assert_false(brake_holds(&brake, AT(2), 850, 50));
	assert_true(brake_holds(&brake, AT(2), 850, 51));
	/* Unpacked a moment ago, and tidied up: not a share of nothing. */
	struct brake fresh = {.percent = 20};
	brake_see(&fresh, AT(0), 0, 0);
	assert_false(brake_holds(&fresh, AT(1), 100, 15));
	assert_int_equal(brake_base(&brake, AT(61), 850), 850);
}

static void it_remembers_where_the_minute_began(void **state)
{
	struct brake brake = {.percent = 20};
	assert_int_equal(brake_seq(&brake, AT(0), 9), 9);
	brake_see(&brake, AT(0), 10, 9);
	brake_see(&brake, AT(0), 11, 10);
	brake_see(&brake, AT(30), 20, 20);
	assert_int_equal(brake_seq(&brake, AT(31), 30), 9);
	assert_int_equal(brake_seq(&brake, AT(60), 30), 20);
	assert_int_equal(brake_seq(&brake, AT(90), 30), 30);
}

static void what_was_approved_counts_no_longer(void **state)
{
	struct brake brake = {.percent = 20};
	brake_see(&brake, AT(0), 100, 9);
	brake_count(&brake, AT(0), 90);
	brake_forgive(&brake);
	assert_false(brake_holds(&brake, AT(1), 10, 1));
	assert_int_equal(brake_base(&brake, AT(1), 10), 100);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(more_than_the_share_is_too_much),
		cmocka_unit_test(ten_files_may_always_go),
		cmocka_unit_test(without_a_share_there_is_no_brake),
		cmocka_unit_test(a_small_tree_is_not_emptied_either),
		cmocka_unit_test(what_is_spread_over_more_than_a_minute_flows),
		cmocka_unit_test(the_minute_slides),
		cmocka_unit_test(the_share_is_of_the_most_the_tree_had),
		cmocka_unit_test(it_remembers_where_the_minute_began),
		cmocka_unit_test(what_was_approved_counts_no_longer),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
