/* left_out.c - what is in the tree and wanted, and no peer gets although nothing is under way.
 * While there is any of it nobody is in sync; `wait' and `exposure' name it. */
#include "agent/node/node_internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "agent/base/quote.h"

#define LISTED_MAX 1000 /* of each kind */

static struct scan_counts last_scan(const struct node *node)
{
	struct intake_counts counts = {0};
	if (node->intake)
		intake_counts(node->intake, &counts);
	return counts.scan;
}

bool left_out_by_scan(const struct node *node)
{
	const struct scan_counts scan = last_scan(node);
	return scan.unreadable + scan.too_long > 0;
}

uint64_t left_out_count(const struct node *node)
{
	const struct scan_counts scan = last_scan(node);
	/* What a peer refuses is not acknowledged: that keeps the peer from being in sync. */
	return store_note_count(node->store, NOTE_UNREADABLE) + scan.unreadable + scan.too_long;
}

void left_out_add_one(json_t *list, const char *what, const char *path, const char *reason)
{
	AUTO_FREE char *name = quote_utf8(path);
	AUTO_FREE char *why = quote_utf8(reason);
	json_array_append_new(
		list, json_pack("{s:s, s:s, s:s}", "path", name, "what", what, "reason", why));
}

static void add_noted(json_t *list, struct node *node, enum note_kind kind, const char *what)
{
	struct note *notes = NULL;
	size_t n = 0;
	if (store_notes_up_to(node->store, kind, LISTED_MAX, &notes, &n, NULL) < 0)
		return;
	for (size_t i = 0; i < n; i++)
		left_out_add_one(list, what, notes[i].path, notes[i].reason);
	notes_free(notes, n);
}

static bool is_listed(const json_t *list, const char *path)
{
	size_t i;
	const json_t *each;
	AUTO_FREE char *name = quote_utf8(path);
	json_array_foreach((json_t *)list, i, each)
	{
		if (strcmp(json_string_value(json_object_get(each, "path")), name) == 0)
			return true;
	}
	return false;
}

/* The scan counts them and remembers the first. A capture may have named that one. */
static void add_scanned(json_t *list, const struct scan_first *first, uint64_t n, const char *what)
{
	char reason[300];
	if (n == 0 || (n == 1 && is_listed(list, first->path)))
		return;
	snprintf(reason, sizeof(reason), "%s", first->why);
	if (n > 1)
		snprintf(reason, sizeof(reason), "%s, the first of %" PRIu64, first->why, n);
	left_out_add_one(list, what, first->path, reason);
}

json_t *left_out_json(struct node *node)
{
	const struct scan_counts scan = last_scan(node);
	json_t *list = json_array();
	add_noted(list, node, NOTE_HELD, "held");
	add_noted(list, node, NOTE_UNREADABLE, "unreadable");
	add_scanned(list, &scan.unreadable_first, scan.unreadable, "unreadable");
	add_scanned(list, &scan.too_long_first, scan.too_long, "too-long");
	holds_add_paths(node, list);
	return list;
}
