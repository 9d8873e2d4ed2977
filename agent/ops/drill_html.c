/* drill_html.c - one page about one rehearsal, to be printed, mailed and kept: well-formed XML as
 * well as HTML. Numbers, names and output come from files and hooks, so every text is escaped. */
#include "agent/ops/drill_report.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "agent/base/alloc.h"
#include "agent/base/buf.h"

#define PHASES_MAX 40 /* drawn */
#define CHART_WIDTH 680
#define ROW_HEIGHT 30
#define NAMES_WIDTH 170

struct page {
	struct buf text;
};

__attribute__((format(printf, 2, 3))) static void put(struct page *page, const char *fmt, ...)
{
	char text[1024];
	va_list ap;
	va_start(ap, fmt);
	int n = vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	BUG_ON(n < 0 || (size_t)n >= sizeof(text)); /* of numbers and literals only */
	buf_append(&page->text, text, (size_t)n);
}

/* What XML cannot hold becomes a question mark. */
static void put_text(struct page *page, const char *text)
{
	for (; *text; text++) {
		const unsigned char c = (unsigned char)*text;
		const char *as = c == '<'			     ? "&lt;"
				 : c == '>'			     ? "&gt;"
				 : c == '&'			     ? "&amp;"
				 : c == '"'			     ? "&quot;"
				 : c == '\''			     ? "&#39;"
				 : c < ' ' && c != '\n' && c != '\t' ? "?"
				 : c == 0x7f			     ? "?"
								     : NULL;
		/* U+FFFE and U+FFFF: ef bf be, ef bf bf */
		if (!as && c == 0xef && (unsigned char)text[1] == 0xbf &&
		    (unsigned char)text[2] >= 0xbe) {
			as = "?";
			text += 2;
		}
		buf_append(&page->text, as ? as : text, as ? strlen(as) : 1);
	}
}

static const char *text_of(const json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));
	return text ? text : "";
}

static double number_of(const json_t *object, const char *key, double fallback)
{
	const json_t *value = json_object_get(object, key);
	return json_is_number(value) ? json_number_value(value) : fallback;
}

/* ---- the table ------------------------------------------------------------------------------ */

static void put_row(struct page *page, const char *name, const char *value)
{
	if (!*value)
		return;
	put(page, "<tr><th>%s</th><td>", name);
	put_text(page, value);
	put(page, "</td></tr>\n");
}

static void put_seconds(struct page *page, const char *name, double seconds)
{
	char text[60];
	if (seconds < 0)
		return;
	snprintf(text, sizeof(text), seconds < 10 ? "%.3f s" : "%.1f s", seconds);
	put_row(page, name, text);
}

static void put_count(struct page *page, const char *name, const json_t *object, const char *key)
{
	char text[60];
	if (!json_is_integer(json_object_get(object, key)))
		return;
	snprintf(text, sizeof(text), "%.0f", number_of(object, key, 0));
	put_row(page, name, text);
}

static void put_facts(struct page *page, const json_t *report)
{
	const json_t *barrier = json_object_get(report, "barrier");
	const json_t *clone = json_object_get(report, "clone");
	const json_t *verified = json_object_get(report, "verified");
	put(page, "<table>\n");
	put_row(page, "Node", text_of(report, "node"));
	put_row(page, "Group", text_of(report, "group"));
	put_row(page, "Kind", text_of(report, "kind"));
	put_row(page, "Begun", text_of(report, "time"));
	put_row(page, "Recovery point", text_of(report, "recovery_point"));
	put_seconds(page, "Its age when the drill began", number_of(report, "rpo_seconds", -1));
	put_count(page, "Announced and not there", report, "missing");
	put_seconds(page, "Recovery time (hook)", number_of(report, "recovery_time_s", -1));
	put_seconds(page, "Time to clone", number_of(clone, "seconds", -1));
	put_row(page, "Cloned by", text_of(clone, "how"));
	put_count(page, "Files", clone, "files");
	put_count(page, "Bytes", clone, "bytes");
	put_count(page, "Change", barrier, "seq");
	put_row(page, "Digest", text_of(barrier, "digest"));
	if (json_is_boolean(verified))
		put_row(page, "Verified",
			json_is_true(verified)
				? "every file by its SHA-256, all together by the digest"
				: "NO: what was cloned is not what both nodes agreed on");
	put(page, "</table>\n");
}

/* ---- the timeline --------------------------------------------------------------------------- */

static double end_of(const json_t *phases)
{
	double end = 0;
	size_t i;
	const json_t *phase;
	json_array_foreach((json_t *)phases, i, phase)
	{
		double at = number_of(phase, "start_ms", 0) + number_of(phase, "ms", 0);
		end = at > end ? at : end;
	}
	return end > 0 ? end : 1;
}

static void put_bar(struct page *page, const json_t *phase, size_t row, double end)
{
	double scale = (CHART_WIDTH - NAMES_WIDTH - 90) / end;
	double start = number_of(phase, "start_ms", 0), ms = number_of(phase, "ms", 0);
	double width = ms * scale < 2 ? 2 : ms * scale;
	size_t y = row * ROW_HEIGHT + 8;
	put(page, "<text x=\"0\" y=\"%zu\">", y + 14);
	put_text(page, text_of(phase, "phase"));
	put(page,
	    "</text><rect x=\"%.1f\" y=\"%zu\" width=\"%.1f\" height=\"18\" class=\"%s\"/>"
	    "<text x=\"%.1f\" y=\"%zu\">%.0f ms</text>\n",
	    NAMES_WIDTH + start * scale, y, width,
	    json_is_false(json_object_get(phase, "ok")) ? "bad" : "good",
	    NAMES_WIDTH + start * scale + width + 6, y + 14, ms);
}

static void put_timeline(struct page *page, const json_t *report)
{
	const json_t *phases = json_object_get(report, "timeline");
	size_t n = json_array_size(phases);
	n = n > PHASES_MAX ? PHASES_MAX : n;
	if (n == 0)
		return;
	put(page,
	    "<h2>Timeline</h2>\n<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" "
	    "height=\"%zu\" viewBox=\"0 0 %d %zu\" role=\"img\">\n",
	    CHART_WIDTH, n * ROW_HEIGHT + 10, CHART_WIDTH, n * ROW_HEIGHT + 10);
	for (size_t i = 0; i < n; i++)
		put_bar(page, json_array_get(phases, i), i, end_of(phases));
	put(page, "</svg>\n");
}

/* ---- the rest ------------------------------------------------------------------------------- */

static void put_list(struct page *page, const char *title, const json_t *list)
{
	size_t i;
	const json_t *item;
	if (json_array_size(list) == 0)
		return;
	put(page, "<h2>%s</h2>\n<ul>\n", title);
	json_array_foreach((json_t *)list, i, item)
	{
		put(page, "<li>");
		put_text(page,
			 json_is_string(item) ? json_string_value(item) : text_of(item, "path"));
		put(page, "</li>\n");
	}
	put(page, "</ul>\n");
}

static void put_hook(struct page *page, const json_t *hook)
{
	size_t i;
	const json_t *word;
	if (!json_is_object(hook))
		return;
	put(page, "<h2>Hook</h2>\n<p><code>");
	json_array_foreach(json_object_get(hook, "argv"), i, word)
	{
		put(page, i ? " " : "");
		put_text(page, json_is_string(word) ? json_string_value(word) : "?");
	}
	put(page, "</code>: ");
	put_text(page, text_of(hook, "text"));
	put(page, "</p>\n");
	if (!*text_of(hook, "output"))
		return;
	put(page, "<pre>");
	put_text(page, text_of(hook, "output"));
	put(page, "</pre>\n");
}

static const char style[] =
	"body{font:15px/1.5 system-ui,sans-serif;max-width:720px;margin:2em auto;padding:0 1em;"
	"color:#1b1f24}h1{font-size:1.4em}h2{font-size:1.1em;margin-top:1.5em}"
	"table{border-collapse:collapse}th{text-align:left;font-weight:normal;color:#57606a;"
	"padding:2px 16px 2px 0;vertical-align:top}td{word-break:break-all}"
	"pre{background:#f6f8fa;padding:10px;overflow:auto;white-space:pre-wrap}"
	"svg{font:13px system-ui,sans-serif;max-width:100%;height:auto}"
	".good{fill:#2da44e}.bad{fill:#cf222e}.verdict{padding:2px 10px;border-radius:4px;"
	"color:#fff}.passed{background:#2da44e}.failed{background:#cf222e}";

char *drill_report_html(const json_t *report)
{
	struct page page = {0};
	const char *verdict = text_of(report, "verdict");
	put(&page, "<!DOCTYPE html>\n<html xmlns=\"http://www.w3.org/1999/xhtml\" lang=\"en\">\n"
		   "<head><meta charset=\"utf-8\"/><title>Drill ");
	put_text(&page, text_of(report, "id"));
	put(&page, "</title><style>");
	buf_append(&page.text, style, sizeof(style) - 1);
	put(&page, "</style></head>\n<body>\n<h1>Drill on ");
	put_text(&page, text_of(report, "node"));
	put(&page, " <span class=\"verdict %s\">",
	    strcmp(verdict, "passed") == 0 ? "passed" : "failed");
	put_text(&page, verdict);
	put(&page, "</span></h1>\n");
	put_list(&page, "Why", json_object_get(report, "reasons"));
	put_facts(&page, report);
	put_timeline(&page, report);
	put_hook(&page, json_object_get(report, "hook"));
	put_list(&page, "Announced when the drill began, and not there",
		 json_object_get(report, "missing_paths"));
	put(&page, "</body>\n</html>\n");
	buf_append(&page.text, "", 1);
	return (char *)page.text.data;
}
