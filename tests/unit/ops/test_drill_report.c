/* Reports of drills: kept durably, the newest, never half of one; and a page that no text can
 * break. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/base/alloc.h"
#include "agent/base/fault.h"
#include "agent/ops/drill_report.h"

static char place[] = "/tmp/drill-report-XXXXXX";

static int make_place(void **state)
{
	(void)state;
	memcpy(place, "/tmp/drill-report-XXXXXX", sizeof(place));
	return mkdtemp(place) ? 0 : -1;
}

static int remove_place(void **state)
{
	AUTO_FREE char *command = x_asprintf("rm -rf %s", place);
	(void)state;
	return system(command);
}

static json_t *report(const char *id, const char *verdict)
{
	return json_pack("{s:s, s:s, s:s, s:[s], s:[{s:s, s:i, s:i, s:b}]}", "id", id, "verdict",
			 verdict, "node", "b", "reasons", "because", "timeline", "phase", "clone",
			 "start_ms", 0, "ms", 5, "ok", 1);
}

static int keep(const char *id, const char *verdict)
{
	json_t *one = report(id, verdict);
	int r = drill_report_keep(place, one, NULL);
	json_decref(one);
	return r;
}

static void the_newest_are_kept_and_counted(void **state)
{
	struct drill_record record;
	char id[DRILL_ID_MAX];
	drill_report_load(&record, place);
	assert_null(record.last);
	for (int i = 0; i < DRILL_REPORTS_MAX + 5; i++) {
		snprintf(id, sizeof(id), "20260101T0000%02d.000Z-0000", i);
		assert_int_equal(keep(id, i % 2 ? "failed" : "passed"), 0);
	}
	drill_report_load(&record, place);
	assert_string_equal(json_string_value(json_object_get(record.last, "id")), id);
	assert_int_equal(record.kept, DRILL_REPORTS_MAX);
	assert_int_equal(record.passed + record.failed, DRILL_REPORTS_MAX);
	assert_int_equal(record.passed, DRILL_REPORTS_MAX / 2);
	json_decref(record.last);
}

static void ids_name_no_other_file(void **state)
{
	const char *const bad[] = {
		"",	   "..",  "../x",  "a/b",
		".hidden", "x y", "UPPER", "0123456789012345678901234567890123456789"};
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		assert_int_equal(keep(bad[i], "passed"), -EINVAL);
	char a[DRILL_ID_MAX], b[DRILL_ID_MAX];
	drill_report_id(a, 1700000000123456789);
	drill_report_id(b, 1700000000124000000);
	assert_int_equal(keep(a, "passed"), 0);
	assert_true(strcmp(a, b) < 0);
}

static void too_much_is_refused(void **state)
{
	AUTO_FREE char *text = x_calloc(1, DRILL_REPORT_BYTES_MAX + 1);
	memset(text, 'x', DRILL_REPORT_BYTES_MAX);
	json_t *one = report("20260101T000000.000Z-0000", "passed");
	json_object_set_new(one, "more", json_string(text));
	assert_int_equal(drill_report_keep(place, one, NULL), -EINVAL);
	json_decref(one);
}

/* The nth disk call fails: the report is whole or not there, and the earlier ones stay. */
static void a_failing_disk_leaves_no_half(void **state)
{
	assert_int_equal(keep("20260101T000000.000Z-0000", "passed"), 0);
	for (long nth = 1;; nth++) {
		struct fault f = {.nth = nth, .err = ENOSPC};
		struct drill_record record;
		fault_arm(&f);
		int r = keep("20260102T000000.000Z-0000", "failed");
		fault_disarm();
		assert_int_equal(r, f.fired ? -ENOSPC : 0);
		drill_report_load(&record, place);
		assert_int_equal(record.kept, f.fired ? 1 : 2);
		json_decref(record.last);
		if (!f.fired)
			break;
	}
}

static void no_text_breaks_the_page(void **state)
{
	static const char evil[] = "</h1><script>alert('x')</script>&amp;\"\x01\x1b[31m\x7f"
				   "\xef\xbf\xbf";
	json_t *one = report("20260101T000000.000Z-0000", "passed");
	json_object_set_new(one, "node", json_string(evil));
	json_object_set_new(one, "reasons", json_pack("[s]", evil));
	json_object_set_new(
		one, "hook",
		json_pack("{s:[s], s:s, s:s}", "argv", evil, "text", evil, "output", evil));
	AUTO_FREE char *page = drill_report_html(one);
	json_decref(one);
	assert_null(strstr(page, "<script"));
	assert_non_null(strstr(page, "&lt;script&gt;alert(&#39;x&#39;)"));
	for (const unsigned char *c = (const unsigned char *)page; *c; c++)
		assert_true(*c >= ' ' || *c == '\n' || *c == '\t');
	assert_null(strstr(page, "\xef\xbf\xbf"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(the_newest_are_kept_and_counted, make_place,
						remove_place),
		cmocka_unit_test_setup_teardown(ids_name_no_other_file, make_place, remove_place),
		cmocka_unit_test_setup_teardown(too_much_is_refused, make_place, remove_place),
		cmocka_unit_test_setup_teardown(a_failing_disk_leaves_no_half, make_place,
						remove_place),
		cmocka_unit_test(no_text_breaks_the_page),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
