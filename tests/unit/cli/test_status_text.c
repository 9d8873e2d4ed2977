/* The status page: whole, minimal, odd and hostile objects; rate and remaining time. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "agent/base/alloc.h"
#include "agent/cli/status_text.h"

static char *page(const char *json, bool colours)
{
	json_t *status = json_loads(json, 0, NULL);
	assert_non_null(status);
	char *out = NULL;
	size_t size = 0;
	FILE *f = open_memstream(&out, &size);
	status_print(f, status, NULL, colours);
	fclose(f);
	json_decref(status);
	return out;
}

static const char contract[] =
	"{\"node\":\"region-a\",\"group\":\"is\",\"role\":\"active\",\"epoch\":1,\"tree\":\"/"
	"t\",\"state\":\"in_sync\","
	"\"seq\":1234,\"digest\":\"00112233445566778899\",\"files\":1423,\"bytes\":25672275,"
	"\"peers\":[{\"node\":\"region-b\",\"connected\":true,\"role\":\"passive\",\"acked_seq\":"
	"1234,"
	"\"pending_changes\":0,\"pending_bytes\":0,\"lag_seconds\":0.02,\"rtt_ms\":0.3,\"in_sync\":"
	"true}],"
	"\"recovery_point\":\"2026-01-01T00:00:00.000Z\",\"rpo_seconds\":0.4,"
	"\"watch\":{\"directories\":120,\"watched\":120,\"overflows\":0},\"held\":[],"
	"\"roots\":[{\"path\":\"\",\"healthy\":true}],\"drift\":0,\"salvage\":0,\"ready\":true,"
	"\"not_ready\":[],"
	"\"problems\":[],\"last_verify\":null,\"last_drill\":null,\"version\":\"0\",\"uptime_s\":"
	"12.5}";

static void says(const char *text, const char *wanted)
{
	if (!strstr(text, wanted))
		fail_msg("no \"%s\" in:\n%s", wanted, text);
}

static void a_healthy_node_is_a_short_page(void **state)
{
	AUTO_FREE char *text = page(contract, false);
	says(text, "region-a  active, epoch 1, group is   in sync\n");
	says(text, "/t  (1,423 files, 24.5 MiB)");
	says(text, "2026-01-01T00:00:00.000Z, 0.40 s ago");
	says(text, "120 of 120 directories\n");
	says(text, "region-b  passive  in sync        0      0 B  0.02 s  0.3 ms");
	assert_null(strstr(text, "What to do"));
	assert_null(strstr(text, "salvage"));
	assert_null(strchr(text, '\033'));
	AUTO_FREE char *coloured = page(contract, true);
	says(coloured, "\033[32min sync\033[0m");
}

static void every_state_but_in_sync_says_what_to_do(void **state)
{
	static const char *const states[] = {"syncing",	 "disconnected", "paused", "held",
					     "draining", "fenced",	 "split",  "unhealthy"};
	for (size_t i = 0; i < ARRAY_LEN(states); i++) {
		AUTO_FREE char *json = x_asprintf("{\"state\":\"%s\"}", states[i]);
		AUTO_FREE char *text = page(json, false);
		says(text, states[i]);
		says(text, "\nWhat to do: ");
	}
}

/* Fields may be null, missing or of a later version. */
static void odd_objects_are_printed_all_the_same(void **state)
{
	static const char *const odd[] = {
		"{}",
		"[]",
		"{\"state\":\"new-one\",\"peers\":[{}]}",
		"{\"peers\":[{\"node\":null,\"lag_seconds\":null,\"connected\":false}],\"recovery_"
		"point\":null}",
		"{\"held\":[1,null,{\"path\":\"p\"},{\"path\":\"p\",\"reason\":\"r\"}],"
		"\"problems\":[{\"name\":\"n\"}]}",
		"{\"watch\":3,\"roots\":[{\"path\":\"\"}],\"peers\":{}}",
	};
	for (size_t i = 0; i < ARRAY_LEN(odd); i++) {
		AUTO_FREE char *text = page(odd[i], false);
		assert_true(strlen(text) > 10);
	}
}

static void problems_and_names_are_shown_safely(void **state)
{
	AUTO_FREE char *text = page(
		"{\"state\":\"held\",\"held\":[{\"path\":\"a\\u001b[2Jb\\nc\",\"reason\":\"line "
		"3\"}],"
		"\"problems\":[\"one\",{\"text\":\"two\",\"remedy\":\"mend it\"}],\"ready\":false,"
		"\"not_ready\":[\"three\"],\"drift\":2,\"salvage\":4,"
		"\"roots\":[{\"path\":\"tenants\",\"healthy\":false,\"why\":\"not mounted\"}]}",
		false);
	says(text, "! a\\x1b[2Jb\\x0ac: line 3\n");
	says(text, "! one\n");
	says(text, "! two\n      mend it\n");
	says(text, "! three\n");
	says(text, "tenants is unhealthy: not mounted");
	says(text, "2 replicated paths were changed here");
	says(text, "4 entries");
}

/* An active learns from its peers what they have: that it has not heard is not that it never was.
 */
static void an_unknown_recovery_point_is_not_called_none(void **state)
{
	AUTO_FREE char *passive = page("{\"role\":\"passive\",\"recovery_point\":null}", false);
	AUTO_FREE char *draining = page("{\"role\":\"draining\",\"recovery_point\":null}", false);
	says(passive, "never proven equal");
	says(draining, "unknown: no peer has said so since the agent started");
}

static json_t *pending(json_int_t bytes)
{
	return json_pack("{s:[{s:I}]}", "peers", "pending_bytes", bytes);
}

static void the_rate_tells_the_remaining_time(void **state)
{
	struct status_rate rate = {0};
	const json_int_t left[] = {10000000, 9000000, 8000000};
	for (size_t i = 0; i < ARRAY_LEN(left); i++) {
		json_t *status = pending(left[i]);
		status_rate_add(&rate, status, 1000 * (i + 1));
		json_decref(status);
		if (i == 0)
			assert_true(status_rate_eta(&rate) < 0);
	}
	assert_true(rate.bytes_per_s == 1000000);
	assert_true(status_rate_eta(&rate) == 8);
	json_t *none = pending(0);
	status_rate_add(&rate, none, 4000);
	json_decref(none);
	assert_true(status_rate_eta(&rate) == 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_healthy_node_is_a_short_page),
		cmocka_unit_test(every_state_but_in_sync_says_what_to_do),
		cmocka_unit_test(odd_objects_are_printed_all_the_same),
		cmocka_unit_test(problems_and_names_are_shown_safely),
		cmocka_unit_test(an_unknown_recovery_point_is_not_called_none),
		cmocka_unit_test(the_rate_tells_the_remaining_time),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
