/* The page and the metrics, from objects that no agent would make: nothing of a text from elsewhere
 * is taken for markup or for another sample, and what is unknown is not told as a number. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "agent/base/alloc.h"
#include "agent/ops/metrics.h"
#include "agent/ops/page.h"

#define NASTY "<b>\"&'\\\n{}\x01"

static json_t *status_with(const char *text)
{
	json_t *status = json_pack("{s:s, s:s, s:s, s:s, s:[s], s:[s], s:[{s:s, s:s}]}", "node",
				   text, "group", text, "state", text, "tree", text, "problems",
				   text, "not_ready", text, "held", "path", text, "reason", text);
	json_t *peer = json_pack("{s:s, s:b, s:s, s:n, s:f}", "node", text, "connected", 1, "role",
				 text, "lag_seconds", "rtt_ms", 2.5);
	json_object_set_new(status, "peers", json_pack("[o]", peer));
	return status;
}

static void a_page_escapes_every_text(void **state)
{
	json_t *status = status_with(NASTY);
	AUTO_FREE char *page = page_html(status);
	assert_null(strstr(page, "<b>"));
	assert_null(strstr(page, "\"&'"));
	assert_null(strchr(page, '\x01'));
	assert_non_null(strstr(page, "&lt;b&gt;&quot;&amp;&#39;"));
	assert_non_null(strstr(page, "</html>"));
	json_decref(status);
}

static void a_page_needs_nothing(void **state)
{
	json_t *status = json_object();
	AUTO_FREE char *page = page_html(status);
	assert_non_null(strstr(page, "</html>"));
	AUTO_FREE char *metrics = metrics_text(status);
	assert_non_null(strstr(metrics, "artifact_sync_info{node=\"\","));
	json_decref(status);
}

static void labels_are_escaped(void **state)
{
	json_t *status = status_with("a\"b\\c\nd");
	AUTO_FREE char *metrics = metrics_text(status);
	assert_non_null(strstr(metrics, "artifact_sync_info{node=\"a\\\"b\\\\c\\nd\","));
	assert_non_null(
		strstr(metrics, "\nartifact_sync_peer_connected{peer=\"a\\\"b\\\\c\\nd\"} 1\n"));
	json_decref(status);
}

static void what_is_unknown_has_no_sample(void **state)
{
	json_t *status = status_with("a");
	json_object_set_new(status, "rpo_seconds", json_null());
	json_object_set_new(status, "recovery_point", json_string("2026-01-01T00:00:01.250Z"));
	json_object_set_new(status, "last_verify", json_null());
	json_object_set_new(status, "seq", json_integer(123456789012));
	AUTO_FREE char *metrics = metrics_text(status);
	assert_null(strstr(metrics, "rpo_seconds"));
	assert_null(strstr(metrics, "lag_seconds"));
	assert_null(strstr(metrics, "last_verify"));
	assert_non_null(strstr(metrics,
			       "\nartifact_sync_recovery_point_timestamp_seconds 1767225601.25\n"));
	assert_non_null(strstr(metrics, "\nartifact_sync_seq 123456789012\n"));
	assert_non_null(strstr(metrics, "\nartifact_sync_peer_rtt_seconds{peer=\"a\"} 0.0025\n"));
	assert_non_null(strstr(metrics, "\nartifact_sync_problems 1\n"));
	json_decref(status);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_page_escapes_every_text),
		cmocka_unit_test(a_page_needs_nothing),
		cmocka_unit_test(labels_are_escaped),
		cmocka_unit_test(what_is_unknown_has_no_sample),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
