/* Numbers, names and tables as people see them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "agent/base/alloc.h"
#include "agent/cli/text.h"

static void numbers_read_well(void **state)
{
	char t[TEXT_MAX];
	assert_string_equal(text_bytes(t, 0), "0 B");
	assert_string_equal(text_bytes(t, 1023), "1023 B");
	assert_string_equal(text_bytes(t, 1024), "1.0 KiB");
	assert_string_equal(text_bytes(t, 25672275), "24.5 MiB");
	assert_string_equal(text_bytes(t, (1 << 20) - 1), "1.0 MiB");
	assert_string_equal(text_bytes(t, UINT64_MAX), "16384.0 PiB");
	assert_string_equal(text_count(t, 0), "0");
	assert_string_equal(text_count(t, 999), "999");
	assert_string_equal(text_count(t, 1000), "1,000");
	assert_string_equal(text_count(t, 12345678), "12,345,678");
	assert_string_equal(text_count(t, UINT64_MAX), "18,446,744,073,709,551,615");
	assert_string_equal(text_seconds(t, 0.023), "0.02 s");
	assert_string_equal(text_seconds(t, -1), "0.00 s");
	assert_string_equal(text_seconds(t, 59.9), "59 s");
	assert_string_equal(text_seconds(t, 200), "3 min 20 s");
	assert_string_equal(text_seconds(t, 7260), "2 h 1 min");
	assert_string_equal(text_seconds(t, 187200), "2 d 4 h");
}

/* Whatever stands in a name, nothing reaches the terminal that it would obey. */
static void names_cannot_steer_a_terminal(void **state)
{
	AUTO_FREE char *escape = text_safe("a\x1b[31m\nb\x7f\xc2\x9b gr\xc3\xbc\xc3\x9f \\x1b");
	assert_string_equal(escape, "a\\x1b[31m\\x0ab\\x7f\\xc2\\x9b gr\xc3\xbc\xc3\x9f \\x1b");
	AUTO_FREE char *cut = text_safe("\xc2");
	assert_string_equal(cut, "\xc2");
	assert_int_equal(text_width("gr\xc3\xbc\xc3\x9f"), 4);
}

static void tables_are_aligned(void **state)
{
	struct table t = {.heading = {"NAME", "N", NULL}, .right = {false, true}};
	char *out = NULL;
	size_t size = 0;
	FILE *f = open_memstream(&out, &size);
	table_add(&t, COLOUR_NONE, "x");
	table_add(&t, COLOUR_NONE, "1,000");
	table_add(&t, COLOUR_NONE,
		  "gr\xc3\xbc\xc3\x9f"
		  "es");
	table_add(&t, COLOUR_GOOD, "5");
	table_print(&t, f, 1, false);
	fclose(f);
	assert_string_equal(out, " NAME        N\n x       1,000\n gr\xc3\xbc\xc3\x9f"
				 "es      5\n");
	free(out);
	f = open_memstream(&out, &size);
	t.no_heading = true;
	table_add(&t, COLOUR_BAD, "a");
	table_add(&t, COLOUR_NONE, "b");
	table_print(&t, f, 0, true);
	fclose(f);
	assert_string_equal(out, "\033[31ma\033[0m  b\n");
	free(out);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(numbers_read_well),
		cmocka_unit_test(names_cannot_steer_a_terminal),
		cmocka_unit_test(tables_are_aligned),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
