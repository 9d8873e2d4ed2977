/* drill_html.c - one page about one rehearsal, to be printed, mailed and kept. Numbers, names and
 * output come from files and hooks. */
#include "agent/ops/drill_report.h"

#include <stdio.h>
#include <string.h>

#include "agent/base/alloc.h"
#include "agent/ops/html.h"

#define PHASES_MAX 40 /* drawn */
#define CHART_WIDTH 680
#define ROW_HEIGHT 30
#define NAMES_WIDTH 170

/* ---- the table ------------------------------------------------------------------------------ */

static void put_seconds(struct html *page, const char *name, double seconds)
{
	char text[60];
	if (seconds < 0)
		return;
	snprintf(text, sizeof(text), seconds < 10 ? "%.3f s" : "%.1f s", seconds);
	html_row(page, name, text);
}

static void put_count(struct html *page, const char *name, const json_t *object, const char *key)
{
	char text[60];
	if (!json_is_integer(json_object_get(object, key)))
		return;
	snprintf(text, sizeof(text), "%.0f", html_number_of(object, key, 0));
	html_row(page, name, text);
}

static void put_facts(struct html *page, const json_t *report)
{
	const json_t *barrier = json_object_get(report, "barrier");
	const json_t *clone = json_object_get(report, "clone");
	const json_t *verified = json_object_get(report, "verified");
	html_put(page, "<table>\n");
	html_row(page, "Node", html_text_of(report, "node"));
	html_row(page, "Group", html_text_of(report, "group"));
	html_row(page, "Kind", html_text_of(report, "kind"));
	html_row(page, "Begun", html_text_of(report, "time"));
	html_row(page, "Recovery point", html_text_of(report, "recovery_point"));
	put_seconds(page, "Its age when the drill began",
		    html_number_of(report, "rpo_seconds", -1));
	put_count(page, "Announced and not there", report, "missing");
	put_seconds(page, "Recovery time (hook)", html_number_of(report, "recovery_time_s", -1));
	put_seconds(page, "Time to clone", html_number_of(clone, "seconds", -1));
	html_row(page, "Cloned by", html_text_of(clone, "how"));
	put_count(page, "Files", clone, "files");
	put_count(page, "Bytes", clone, "bytes");
	put_count(page, "Change", barrier, "seq");
	html_row(page, "Digest", html_text_of(barrier, "digest"));
	if (json_is_boolean(verified))
		html_row(page, "Verified",
			 json_is_true(verified)
				 ? "every file by its SHA-256, all together by the digest"
				 : "NO: what was cloned is not what both nodes agreed on");
	html_put(page, "</table>\n");
}

/* ---- the timeline --------------------------------------------------------------------------- */

static double end_of(const json_t *phases)
{
	double end = 0;
	size_t i;
	const json_t *phase;
	json_array_foreach((json_t *)phases, i, phase)
	{
		double at = html_number_of(phase, "start_ms", 0) + html_number_of(phase, "ms", 0);
		end = at > end ? at : end;
	}
	return end > 0 ? end : 1;
}

static void put_bar(struct html *page, const json_t *phase, size_t row, double end)
{
	double scale = (CHART_WIDTH - NAMES_WIDTH - 90) / end;
	double start = html_number_of(phase, "start_ms", 0), ms = html_number_of(phase, "ms", 0);
	double width = ms * scale < 2 ? 2 : ms * scale;
	size_t y = row * ROW_HEIGHT + 8;
	html_put(page, "<text x=\"0\" y=\"%zu\">", y + 14);
	html_text(page, html_text_of(phase, "phase"));
	html_put(page,
		 "</text><rect x=\"%.1f\" y=\"%zu\" width=\"%.1f\" height=\"18\" class=\"%s\"/>"
		 "<text x=\"%.1f\" y=\"%zu\">%.0f ms</text>\n",
		 NAMES_WIDTH + start * scale, y, width,
		 json_is_false(json_object_get(phase, "ok")) ? "bad" : "good",
		 NAMES_WIDTH + start * scale + width + 6, y + 14, ms);
}

static void put_timeline(struct html *page, const json_t *report)
{
	const json_t *phases = json_object_get(report, "timeline");
	size_t n = json_array_size(phases);
	n = n > PHASES_MAX ? PHASES_MAX : n;
	if (n == 0)
		return;
	html_put(page,
		 "<h2>Timeline</h2>\n<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" "
		 "height=\"%zu\" viewBox=\"0 0 %d %zu\" role=\"img\">\n",
		 CHART_WIDTH, n * ROW_HEIGHT + 10, CHART_WIDTH, n * ROW_HEIGHT + 10);
	for (size_t i = 0; i < n; i++)
		put_bar(page, json_array_get(phases, i), i, end_of(phases));
	html_put(page, "</svg>\n");
}

/* ---- the rest ------------------------------------------------------------------------------- */

static void put_hook(struct html *page, const json_t *hook)
{
	size_t i;
	const json_t *word;
	if (!json_is_object(hook))
		return;
	html_put(page, "<h2>Hook</h2>\n<p><code>");
	json_array_foreach(json_object_get(hook, "argv"), i, word)
	{
		html_put(page, i ? " " : "");
		html_text(page, json_is_string(word) ? json_string_value(word) : "?");
	}
	html_put(page, "</code>: ");
	html_text(page, html_text_of(hook, "text"));
	html_put(page, "</p>\n");
	if (!*html_text_of(hook, "output"))
		return;
	html_put(page, "<pre>");
	html_text(page, html_text_of(hook, "output"));
	html_put(page, "</pre>\n");
}

char *drill_report_html(const json_t *report)
{
	struct html page = {0};
	const char *verdict = html_text_of(report, "verdict");
	AUTO_FREE char *title = x_asprintf("Drill %s", html_text_of(report, "id"));
	html_begin(&page, title, 0);
	html_put(&page, "<h1>Drill on ");
	html_text(&page, html_text_of(report, "node"));
	html_put(&page, " <span class=\"verdict %s\">",
		 strcmp(verdict, "passed") == 0 ? "passed" : "failed");
	html_text(&page, verdict);
	html_put(&page, "</span></h1>\n");
	html_list(&page, "Why", json_object_get(report, "reasons"));
	put_facts(&page, report);
	put_timeline(&page, report);
	put_hook(&page, json_object_get(report, "hook"));
	html_list(&page, "Announced when the drill began, and not there",
		  json_object_get(report, "missing_paths"));
	return html_end(&page);
}
