/* Moments as people type them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <time.h>
#include <cmocka.h>

#include "agent/base/alloc.h"
#include "agent/base/clock.h"
#include "agent/cli/when.h"

#define S 1000000000ll
#define NOW (1767270600 * S) /* 2026-01-01T12:30:00Z */

static void expect(const char *text, int64_t ns)
{
	int64_t got = -1;
	if (!when_parse(&got, text, NOW))
		fail_msg("\"%s\" is not understood", text);
	if (got != ns)
		fail_msg("\"%s\" is %lld, not %lld", text, (long long)got, (long long)ns);
}

static void dates(void **state)
{
	expect("2026-01-01T12:30:00Z", NOW);
	expect("2026-01-01t12:30:00z", NOW);
	expect("2026-01-01T14:30:00+02:00", NOW);
	expect("2026-01-01T07:00:00-05:30", NOW);
	expect("2026-01-01T12:30:00.250Z", NOW + 250999999);
	expect("2026-01-01T12:30:00.123456789Z", NOW + 123456789);
	expect("1970-01-01 00:00Z", 0);
}

static void without_a_zone_they_are_local(void **state)
{
	setenv("TZ", "UTC-2", 1); /* two hours east */
	tzset();
	expect("2026-01-01 14:30", NOW);
	expect("2026-01-01 14:30:05", NOW + 5 * S);
	expect("2026-01-01T14:30:05.5", NOW + 5 * S + 599999999);
	expect("2026-01-01T12:30Z", NOW);
	setenv("TZ", "UTC", 1);
	tzset();
}

static void back_from_now(void **state)
{
	expect("now", NOW);
	expect("-15min", NOW - 900 * S);
	expect("15min ago", NOW - 900 * S);
	expect("15 minutes ago", NOW - 900 * S);
	expect("-2h", NOW - 7200 * S);
	expect("1 Day Ago", NOW - 86400 * S);
	expect("-90s", NOW - 90 * S);
}

static void anything_else_is_refused(void **state)
{
	static const char *const wrong[] = {
		"",
		"-",
		"-15",
		"15min",
		"-15m",
		"min ago",
		" ago",
		"-99999999d",
		"--1h",
		"2026-01-01",
		"12:30",
		"2026-02-30 12:30",
		"2026-13-01 12:30",
		"2026-01-01 24:00Z",
		"2026-01-01 12:60Z",
		"2026-01-01T12:30:60Z",
		"2026-01-01T12:30:00.Z",
		"2026-01-01T12:30:00 CET",
		"2026-01-01T12:30:00+2",
		"2026-01-01T12:30:00Zx",
		"26-01-01 12:30",
		"1969-12-31 23:59Z",
		"yesterday",
	};
	for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
		int64_t got;
		if (when_parse(&got, wrong[i], NOW))
			fail_msg("\"%s\" was taken for %lld", wrong[i], (long long)got);
	}
}

static void what_is_printed_includes_itself(void **state)
{
	for (int64_t ns = NOW; ns < NOW + 5000000; ns += 333333) {
		char text[CLOCK_TEXT_MAX];
		int64_t got;
		assert_true(when_parse(&got, clock_text(text, ns), NOW));
		assert_true(got >= ns && got - ns < 1000000);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(dates),
		cmocka_unit_test(without_a_zone_they_are_local),
		cmocka_unit_test(back_from_now),
		cmocka_unit_test(anything_else_is_refused),
		cmocka_unit_test(what_is_printed_includes_itself),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
