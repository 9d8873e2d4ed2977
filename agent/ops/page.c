#include "agent/ops/page.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "agent/base/alloc.h"
#include "agent/ops/html.h"

#define REFRESH_S 5
#define WIDTH 680
#define BOX_WIDTH 200
#define BOX_HEIGHT 64
#define GAP 24

static const char *words_of_bytes(char *out, size_t size, double bytes)
{
	static const char *const units[] = {"bytes", "KiB", "MiB", "GiB", "TiB"};
	size_t unit = 0;
	for (; bytes >= 1024 && unit + 1 < ARRAY_LEN(units); unit++)
		bytes /= 1024;
	snprintf(out, size, unit == 0 ? "%.0f %s" : "%.1f %s", bytes, units[unit]);
	return out;
}

static const char *words_of_seconds(char *out, size_t size, double seconds)
{
	if (seconds < 0)
		snprintf(out, size, "unknown");
	else if (seconds < 1)
		snprintf(out, size, "%.0f ms", seconds * 1000);
	else if (seconds < 120)
		snprintf(out, size, "%.1f s", seconds);
	else
		snprintf(out, size, "%.0f min", seconds / 60);
	return out;
}

static const char *class_of_state(const char *state)
{
	static const char *const middling[] = {"syncing", "paused", "draining"};
	for (size_t i = 0; i < ARRAY_LEN(middling); i++) {
		if (strcmp(state, middling[i]) == 0)
			return "middling";
	}
	return strcmp(state, "in_sync") == 0 ? "passed" : "failed";
}

/* ---- the picture: this node, its peers, and what lies between ---------------------------------
 */

static void put_box(struct html *page, int x, int y, const char *name, const char *role,
		    bool present)
{
	html_put(page,
		 "<rect x=\"%d\" y=\"%d\" width=\"%d\" height=\"%d\" rx=\"6\" fill=\"%s\" "
		 "stroke=\"#57606a\"%s/><text x=\"%d\" y=\"%d\" font-weight=\"bold\">",
		 x, y, BOX_WIDTH, BOX_HEIGHT, strcmp(role, "active") == 0 ? "#dafbe1" : "#f6f8fa",
		 present ? "" : " stroke-dasharray=\"4 3\"", x + 12, y + 26);
	html_text(page, name);
	html_put(page, "</text><text x=\"%d\" y=\"%d\">", x + 12, y + 48);
	html_text(page, *role ? role : "role unknown");
	html_put(page, "</text>\n");
}

static void put_link(struct html *page, int y, const json_t *peer, bool we_send)
{
	char lag[40], bytes[40];
	bool connected = json_is_true(json_object_get(peer, "connected"));
	bool idle = json_is_true(json_object_get(peer, "idle"));
	int from = BOX_WIDTH, to = WIDTH - BOX_WIDTH, tip = we_send ? to : from;
	double changes = html_number_of(peer, "pending_changes", 0);
	const char *colour = !connected					      ? "#cf222e"
			     : json_is_true(json_object_get(peer, "in_sync")) ? "#2da44e"
									      : "#9a6700";
	html_put(page,
		 "<line x1=\"%d\" y1=\"%d\" x2=\"%d\" y2=\"%d\" stroke=\"%s\" "
		 "stroke-width=\"3\"%s/>\n",
		 from, y, to, y, colour, connected ? "" : " stroke-dasharray=\"6 5\"");
	if (connected && !idle)
		html_put(page, "<path d=\"M%d %d l%d -7 v14 z\" fill=\"%s\"/>\n", tip, y,
			 we_send ? -12 : 12, colour);
	html_put(page, "<text x=\"%d\" y=\"%d\" text-anchor=\"middle\">", WIDTH / 2, y - 10);
	if (!connected)
		html_put(page, "not connected");
	else if (idle)
		html_put(page, "nothing flows");
	else if (changes > 0)
		html_put(page, "%.0f changes, %s to go", changes,
			 words_of_bytes(bytes, sizeof(bytes),
					html_number_of(peer, "pending_bytes", 0)));
	else
		html_put(page, "%s",
			 json_is_true(json_object_get(peer, "in_sync")) ? "in sync" : "");
	html_put(page, "</text><text x=\"%d\" y=\"%d\" text-anchor=\"middle\">", WIDTH / 2, y + 22);
	if (we_send && connected)
		html_put(page, "lag %s",
			 words_of_seconds(lag, sizeof(lag),
					  html_number_of(peer, "lag_seconds", -1)));
	html_put(page, "</text>\n");
}

static void put_picture(struct html *page, const json_t *status)
{
	size_t i;
	const json_t *peer, *peers = json_object_get(status, "peers");
	int n = json_array_size(peers) ? (int)json_array_size(peers) : 1;
	int height = n * (BOX_HEIGHT + GAP);
	const char *role = html_text_of(status, "role");
	html_put(page,
		 "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" "
		 "viewBox=\"-2 -2 %d %d\" role=\"img\">\n<title>nodes and connections</title>\n",
		 WIDTH, height, WIDTH + 4, height + 4);
	put_box(page, 0, (height - GAP - BOX_HEIGHT) / 2, html_text_of(status, "node"), role, true);
	json_array_foreach((json_t *)peers, i, peer)
	{
		int y = (int)i * (BOX_HEIGHT + GAP);
		put_box(page, WIDTH - BOX_WIDTH, y, html_text_of(peer, "node"),
			html_text_of(peer, "role"),
			json_is_true(json_object_get(peer, "connected")));
		put_link(page, y + BOX_HEIGHT / 2, peer, strcmp(role, "active") == 0);
	}
	html_put(page, "</svg>\n");
}

/* ---- the facts ------------------------------------------------------------------------------ */

__attribute__((format(printf, 3, 4))) static void put_fact(struct html *page, const char *name,
							   const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	AUTO_FREE char *text = x_vasprintf(fmt, ap);
	va_end(ap);
	html_row(page, name, text);
}

static double count_of(const json_t *object, const char *key)
{
	return html_number_of(object, key, 0);
}

static void put_facts(struct html *page, const json_t *status)
{
	char text[40];
	const json_t *watch = json_object_get(status, "watch");
	const json_t *drill = json_object_get(status, "last_drill");
	html_put(page, "<table>\n");
	html_row(page, "Group", html_text_of(status, "group"));
	html_row(page, "Tree", html_text_of(status, "tree"));
	put_fact(page, "Epoch", "%.0f", count_of(status, "epoch"));
	put_fact(page, "Files", "%.0f, %s", count_of(status, "files"),
		 words_of_bytes(text, sizeof(text), count_of(status, "bytes")));
	put_fact(page, "Last change", "%.0f", count_of(status, "seq"));
	html_row(page, "Digest", html_text_of(status, "digest"));
	html_row(page, "Recovery point", html_text_of(status, "recovery_point"));
	html_row(page, "Its age",
		 words_of_seconds(text, sizeof(text), html_number_of(status, "rpo_seconds", -1)));
	put_fact(page, "Directories watched", "%.0f of %.0f", count_of(watch, "watched"),
		 count_of(watch, "directories"));
	put_fact(page, "Drift", "%.0f paths", count_of(status, "drift"));
	put_fact(page, "Salvage", "%.0f entries, %s", count_of(status, "salvage"),
		 words_of_bytes(text, sizeof(text), count_of(status, "salvage_bytes")));
	if (json_is_object(drill))
		put_fact(page, "Last drill", "%s, %s", html_text_of(drill, "time"),
			 html_text_of(drill, "verdict"));
	html_row(page, "Ready to reverse",
		 json_is_true(json_object_get(status, "ready")) ? "yes" : "no");
	html_row(page, "Version", html_text_of(status, "version"));
	html_put(page, "</table>\n");
}

char *page_html(const json_t *status)
{
	struct html page = {0};
	const char *state = html_text_of(status, "state");
	AUTO_FREE char *title = x_asprintf("%s: %s", html_text_of(status, "node"), state);
	html_begin(&page, title, REFRESH_S);
	html_put(&page, "<h1>");
	html_text(&page, html_text_of(status, "node"));
	html_put(&page, " <span class=\"verdict %s\">", class_of_state(state));
	html_text(&page, state);
	html_put(&page, "</span></h1>\n");
	put_picture(&page, status);
	html_list(&page, "Problems", json_object_get(status, "problems"));
	html_list(&page, "Held", json_object_get(status, "held"));
	html_list(&page, "Why a reverse is not possible now", json_object_get(status, "not_ready"));
	put_facts(&page, status);
	html_put(&page, "<p><a href=\"/metrics\">metrics</a>, <a "
			"href=\"/api/v1/status\">status as JSON</a></p>\n");
	return html_end(&page);
}
