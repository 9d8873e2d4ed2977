/* One rate for all who send. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "agent/base/alloc.h"
#include "agent/sync/pace.h"

#define FRAME 1000
#define RATE 100000 /* bytes per second: five frames in each slice */

static void without_a_limit_everybody_sends(void **state)
{
	struct pace pace = {0};
	int one, other;
	for (int i = 0; i < 1000; i++) {
		assert_true(pace_may_send(&pace, &one, 1));
		pace_spend(&pace, FRAME);
		assert_true(pace_may_send(&pace, &other, 1));
		pace_spend(&pace, FRAME);
	}
}

/* Three that always want more and ask as senders do: until refused, and again a slice later, always
 * in the same order. */
static void all_together_stay_below_it_and_nobody_starves(void **state)
{
	struct pace pace = {0};
	uint64_t sent[3] = {0}, total = 0;
	pace_configure(&pace, RATE);
	for (uint64_t now = 1000; now < 11000; now += PACE_SLICE_MS) {
		for (size_t i = 0; i < ARRAY_LEN(sent); i++) {
			while (pace_may_send(&pace, &sent[i], now + i)) {
				pace_spend(&pace, FRAME);
				sent[i] += FRAME;
			}
		}
	}
	for (size_t i = 0; i < ARRAY_LEN(sent); i++) {
		total += sent[i];
		assert_in_range(sent[i], 10 * RATE / 3 - 10 * FRAME, 10 * RATE / 3 + 10 * FRAME);
	}
	assert_in_range(total, 10 * RATE - 10 * FRAME, 10 * RATE + FRAME);
}

static void who_does_not_come_back_holds_up_nobody(void **state)
{
	struct pace pace = {0};
	int gone, here;
	uint64_t now = 1000;
	pace_configure(&pace, RATE);
	assert_true(pace_may_send(&pace, &here, now));
	pace_spend(&pace, 5 * FRAME);
	assert_false(pace_may_send(&pace, &gone, now));
	assert_false(pace_may_send(&pace, &here, now));
	assert_false(pace_may_send(&pace, &here, now + PACE_SLICE_MS));
	assert_true(pace_may_send(&pace, &here, now + 4 * PACE_SLICE_MS));
	pace_spend(&pace, 5 * FRAME);
	assert_false(pace_may_send(&pace, &gone, now + 4 * PACE_SLICE_MS));
	pace_leave(&pace, &gone);
	assert_true(pace_may_send(&pace, &here, now + 5 * PACE_SLICE_MS));
}

static void another_rate_holds_at_once(void **state)
{
	struct pace pace = {0};
	int who;
	pace_configure(&pace, 1);
	assert_true(pace_may_send(&pace, &who, 1000));
	pace_spend(&pace, 100 * FRAME); /* a frame is not cut */
	assert_false(pace_may_send(&pace, &who, 1000 + 10 * PACE_SLICE_MS));
	pace_configure(&pace, RATE);
	assert_true(pace_may_send(&pace, &who, 1000 + 11 * PACE_SLICE_MS));
	pace_configure(&pace, 0);
	pace_spend(&pace, 100 * FRAME);
	assert_true(pace_may_send(&pace, &who, 1000 + 11 * PACE_SLICE_MS));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(without_a_limit_everybody_sends),
		cmocka_unit_test(all_together_stay_below_it_and_nobody_starves),
		cmocka_unit_test(who_does_not_come_back_holds_up_nobody),
		cmocka_unit_test(another_rate_holds_at_once),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
