#include "agent/cli/status_text.h"

#include <inttypes.h>
#include <string.h>

#include "agent/cli/report.h"
#include "agent/cli/text.h"

#define SHOWN_MAX 10 /* held paths; the rest are counted */

/* ---- rate ------------------------------------------------------------------------------------ */

static uint64_t pending_of_all(const json_t *status)
{
	uint64_t sum = 0;
	size_t i;
	const json_t *peer;
	json_array_foreach(json_object_get(status, "peers"), i, peer) sum +=
		member_count(peer, "pending_bytes");
	return sum;
}

void status_rate_add(struct status_rate *rate, const json_t *status, uint64_t now_ms)
{
	uint64_t pending = pending_of_all(status);
	if (rate->at_ms && now_ms > rate->at_ms) {
		double gone =
			pending < rate->pending_bytes ? (double)(rate->pending_bytes - pending) : 0;
		double now = gone * 1000 / (double)(now_ms - rate->at_ms);
		/* Half of the new measure: steady enough to read, and a stall shows within seconds.
		 */
		rate->bytes_per_s = rate->bytes_per_s > 0 ? (rate->bytes_per_s + now) / 2 : now;
	}
	rate->at_ms = now_ms;
	rate->pending_bytes = pending;
}

double status_rate_eta(const struct status_rate *rate)
{
	if (rate->pending_bytes == 0)
		return 0;
	return rate->bytes_per_s >= 1 ? (double)rate->pending_bytes / rate->bytes_per_s : -1;
}

/* ---- the page -------------------------------------------------------------------------------- */

/* Every state of the contract: how bad it is and what to do next. */
static const struct state_row {
	const char *name, *shown;
	enum colour colour;
	const char *next;
} states[] = {
	{"in_sync", "in sync", COLOUR_GOOD, NULL},
	{"syncing", "syncing", COLOUR_WARN,
	 "Nothing: it is catching up. `artifact-sync status --watch' shows how."},
	{"disconnected", "disconnected", COLOUR_BAD,
	 "See that the peer's agent runs and that its address can be reached; `artifact-sync "
	 "check' on both nodes."},
	{"paused", "paused", COLOUR_WARN, "`artifact-sync resume' when you are done."},
	{"held", "held", COLOUR_BAD,
	 "Mend the files listed as held; held deletions wait for `artifact-sync approve' or "
	 "`reject'."},
	{"draining", "draining", COLOUR_WARN,
	 "A reverse is under way. Wait for it, or see its output."},
	{"fenced", "fenced", COLOUR_BAD,
	 "Another node took over. Stop the server here (hook on_fenced); the agent then rejoins as "
	 "passive."},
	{"split", "split", COLOUR_BAD,
	 "Two nodes were active at the same time. Decide which one stays: `artifact-sync resolve "
	 "--keep NODE'."},
	{"unhealthy", "unhealthy", COLOUR_BAD,
	 "A root is missing or not readable (see roots). Mount it again; the agent goes on by "
	 "itself."},
};

static const struct state_row *state_find(const char *name)
{
	for (size_t i = 0; i < ARRAY_LEN(states); i++) {
		if (strcmp(states[i].name, name) == 0)
			return &states[i];
	}
	return NULL;
}

static void print_head(FILE *out, const json_t *status, bool colours)
{
	const char *state = member_text(status, "state", "unknown");
	const struct state_row *row = state_find(state);
	AUTO_FREE char *node = text_safe(member_text(status, "node", "?"));
	AUTO_FREE char *group = text_safe(member_text(status, "group", "?"));
	fprintf(out, "%s%s%s  %s, epoch %" PRIu64 ", group %s   %s%s%s\n\n",
		colour_code(COLOUR_BOLD, colours), node, colour_code(COLOUR_NONE, colours),
		member_text(status, "role", "?"), member_count(status, "epoch"), group,
		colour_code(row ? row->colour : COLOUR_BAD, colours), row ? row->shown : state,
		colour_code(COLOUR_NONE, colours));
}

static void add_line(struct table *t, enum colour colour, const char *name, const char *value)
{
	table_add(t, COLOUR_DIM, "%s", name);
	table_add(t, colour, "%s", value);
}

static void add_tree(struct table *t, const json_t *status)
{
	char files[TEXT_MAX], bytes[TEXT_MAX];
	AUTO_FREE char *tree = x_asprintf("%s  (%s files, %s)", member_text(status, "tree", "?"),
					  text_count(files, member_count(status, "files")),
					  text_bytes(bytes, member_count(status, "bytes")));
	add_line(t, COLOUR_NONE, "tree", tree);
	AUTO_FREE char *at =
		x_asprintf("change %" PRIu64 ", digest %.16s", member_count(status, "seq"),
			   member_text(status, "digest", "unknown"));
	add_line(t, COLOUR_NONE, "position", at);
}

static void add_recovery(struct table *t, const json_t *status)
{
	const char *point = member_text(status, "recovery_point", NULL);
	double age = member_number(status, "rpo_seconds", -1);
	char ago[TEXT_MAX];
	AUTO_FREE char *text = point ? x_asprintf("%s%s%s", point, age < 0 ? "" : ", ",
						  age < 0 ? "" : text_seconds(ago, age))
				     : NULL;
	AUTO_FREE char *with_ago = text && age >= 0 ? x_asprintf("%s ago", text) : NULL;
	/* The passive's is durable; what its peers have, an active learns anew from them. */
	bool passive = strcmp(member_text(status, "role", ""), "passive") == 0;
	const char *shown = with_ago  ? with_ago
			    : text    ? text
			    : passive ? "none yet: the trees were never proven equal"
				      : "unknown: no peer has said so since the agent started";
	add_line(t, point ? COLOUR_NONE : COLOUR_WARN, "recovery", shown);
}

static void add_watch(struct table *t, const json_t *status)
{
	const json_t *watch = json_object_get(status, "watch");
	uint64_t watched = member_count(watch, "watched"),
		 directories = member_count(watch, "directories");
	uint64_t overflows = member_count(watch, "overflows");
	char a[TEXT_MAX], b[TEXT_MAX];
	AUTO_FREE char *text = x_asprintf("%s of %s directories", text_count(a, watched),
					  text_count(b, directories));
	AUTO_FREE char *full =
		overflows ? x_asprintf("%s, %" PRIu64 " overflows (each was followed by a scan)",
				       text, overflows)
			  : NULL;
	add_line(t, watched < directories ? COLOUR_WARN : COLOUR_NONE, "watching",
		 full ? full : text);
}

static void add_counts(struct table *t, const json_t *status)
{
	uint64_t drift = member_count(status, "drift"), salvage = member_count(status, "salvage");
	if (drift) {
		AUTO_FREE char *text = x_asprintf(
			"%" PRIu64 " replicated paths were changed here by somebody else", drift);
		add_line(t, COLOUR_WARN, "drift", text);
	}
	if (salvage) {
		AUTO_FREE char *text = x_asprintf(
			"%" PRIu64 " entries; `artifact-sync salvage' lists them", salvage);
		add_line(t, COLOUR_NONE, "salvage", text);
	}
}

static void add_roots(struct table *t, const json_t *status)
{
	size_t i;
	const json_t *root;
	json_array_foreach(json_object_get(status, "roots"), i, root)
	{
		if (json_is_true(json_object_get(root, "healthy")))
			continue;
		const char *path = member_text(root, "path", "");
		AUTO_FREE char *text = x_asprintf(
			"%s is unhealthy%s%s", *path ? path : "the tree itself",
			json_object_get(root, "why") ? ": " : "", member_text(root, "why", ""));
		add_line(t, COLOUR_BAD, "root", text);
	}
}

static void add_rate(struct table *t, const struct status_rate *rate)
{
	char speed[TEXT_MAX], eta[TEXT_MAX], left[TEXT_MAX];
	if (!rate || rate->pending_bytes == 0)
		return;
	double seconds = status_rate_eta(rate);
	AUTO_FREE char *text =
		x_asprintf("%s to go at %s/s, %s", text_bytes(left, rate->pending_bytes),
			   text_bytes(speed, (uint64_t)rate->bytes_per_s),
			   seconds < 0 ? "time unknown" : text_seconds(eta, seconds));
	add_line(t, COLOUR_NONE, "progress", text);
}

static void add_peer(struct table *t, const json_t *peer)
{
	bool connected = json_is_true(json_object_get(peer, "connected"));
	bool in_sync = json_is_true(json_object_get(peer, "in_sync"));
	bool idle = json_is_true(json_object_get(peer, "idle"));
	double lag = member_number(peer, "lag_seconds", -1),
	       rtt = member_number(peer, "rtt_ms", -1);
	char changes[TEXT_MAX], bytes[TEXT_MAX], lag_text[TEXT_MAX];
	table_add(t, COLOUR_NONE, "%s", member_text(peer, "node", "?"));
	table_add(t, COLOUR_NONE, "%s", member_text(peer, "role", "unknown"));
	table_add(t,
		  in_sync     ? COLOUR_GOOD
		  : idle      ? COLOUR_NONE
		  : connected ? COLOUR_WARN
			      : COLOUR_BAD,
		  "%s",
		  in_sync     ? "in sync"
		  : idle      ? "standing by"
		  : connected ? "syncing"
			      : "disconnected");
	table_add(t, COLOUR_NONE, "%s", text_count(changes, member_count(peer, "pending_changes")));
	table_add(t, COLOUR_NONE, "%s", text_bytes(bytes, member_count(peer, "pending_bytes")));
	table_add(t, COLOUR_NONE, "%s", lag < 0 ? "-" : text_seconds(lag_text, lag));
	if (rtt < 0)
		table_add(t, COLOUR_NONE, "-");
	else
		table_add(t, COLOUR_NONE, "%.1f ms", rtt);
}

static void print_peers(FILE *out, const json_t *status, bool colours)
{
	const json_t *peers = json_object_get(status, "peers");
	if (json_array_size(peers) == 0) {
		fputs("\n  No peers yet: `artifact-sync pair' adds one.\n", out);
		return;
	}
	struct table t = {
		.heading = {"PEER", "ROLE", "STATE", "CHANGES", "PENDING", "LAG", "RTT", NULL},
		.right = {[3] = true, [4] = true, [5] = true, [6] = true}};
	size_t i;
	const json_t *peer;
	json_array_foreach((json_t *)peers, i, peer) add_peer(&t, peer);
	fputc('\n', out);
	table_print(&t, out, 2, colours);
	json_array_foreach((json_t *)peers, i, peer)
	{
		const char *why = member_text(peer, "error", "");
		AUTO_FREE char *safe = text_safe(why);
		if (*why)
			fprintf(out, "  %s: %s\n", member_text(peer, "node", "?"), safe);
	}
}

/* A text, or an object with text (or name, or path and reason) and perhaps a remedy. */
static void print_item(FILE *out, const json_t *item, enum colour colour, bool colours)
{
	const char *text = json_string_value(item);
	const char *path = member_text(item, "path", NULL);
	const char *said = member_text(item, "text",
				       member_text(item, "reason", member_text(item, "name", "")));
	AUTO_FREE char *line = text ? text_safe(text) : NULL;
	AUTO_FREE char *both =
		text ? NULL
		     : x_asprintf("%s%s%s", path ? path : "", path && *said ? ": " : "", said);
	AUTO_FREE char *safe = both ? text_safe(both) : NULL;
	AUTO_FREE char *remedy = text_safe(member_text(item, "remedy", ""));
	fprintf(out, "  %s!%s %s\n", colour_code(colour, colours),
		colour_code(COLOUR_NONE, colours), line ? line : safe);
	if (*remedy)
		fprintf(out, "      %s\n", remedy);
}

static void print_list(FILE *out, const json_t *status, const char *key, const char *title,
		       bool colours)
{
	const json_t *list = json_object_get(status, key);
	size_t n = json_array_size(list);
	if (n == 0)
		return;
	fprintf(out, "\n%s\n", title);
	for (size_t i = 0; i < n && i < SHOWN_MAX; i++)
		print_item(out, json_array_get(list, i), COLOUR_WARN, colours);
	if (n > SHOWN_MAX)
		fprintf(out, "  ... and %zu more (`artifact-sync status --json' lists all)\n",
			n - SHOWN_MAX);
}

/* What is not in sync and has problems does not become so by waiting. */
static const char *next_step(const json_t *status)
{
	const struct state_row *row = state_find(member_text(status, "state", ""));
	if (row && strcmp(row->name, "syncing") == 0 &&
	    json_array_size(json_object_get(status, "problems")) > 0)
		return "Mend what is listed as a problem; the rest is replicated.";
	return row ? row->next : NULL;
}

void status_print(FILE *out, const json_t *status, const struct status_rate *rate, bool colours)
{
	struct table t = {.heading = {"", "", NULL}, .no_heading = true};
	print_head(out, status, colours);
	add_tree(&t, status);
	add_recovery(&t, status);
	add_watch(&t, status);
	add_counts(&t, status);
	add_roots(&t, status);
	add_rate(&t, rate);
	table_print(&t, out, 2, colours);
	print_peers(out, status, colours);
	print_list(out, status, "held", "Held back (the peers keep the last good version)",
		   colours);
	print_list(out, status, "problems", "Problems", colours);
	cli_print_hook_output(out, status);
	if (json_is_false(json_object_get(status, "ready")))
		print_list(out, status, "not_ready", "Not ready for a reverse", colours);
	const char *next = next_step(status);
	if (next)
		fprintf(out, "\nWhat to do: %s\n", next);
}
