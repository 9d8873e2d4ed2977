/* status.c - what is shown: the object of `status --json`, which scripts rely on. */
#include "agent/node/node_internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "agent/base/clock.h"
#include "agent/base/quote.h"

#define SYNCING_GOOD_MS 60000

static json_t *text_json(const char *bytes)
{
	AUTO_FREE char *text = quote_utf8(bytes);
	return json_string(text);
}

static json_t *seconds_json(double seconds)
{
	return seconds < 0 ? json_null() : json_real(seconds);
}

/* ---- state ---------------------------------------------------------------------------------- */

static bool all_in_sync(const struct node *node)
{
	size_t n = 0;
	for (const struct session *s = node->sessions; s; s = s->next) {
		if (!node_is_active(node) && !s->receiver)
			continue; /* another passive: nothing flows between the two */
		if (!session_is_in_sync(s))
			return false;
		n++;
	}
	return n > 0;
}

static bool any_live(const struct node *node)
{
	for (const struct session *s = node->sessions; s; s = s->next) {
		if (s->live && s->receiver)
			return true;
	}
	return false;
}

static bool all_live(const struct node *node)
{
	for (const struct session *s = node->sessions; s; s = s->next) {
		if (!s->live || session_is_idle(s))
			return false;
	}
	return node->sessions != NULL;
}

const char *status_paused_on(const struct node *node)
{
	if (node->paused)
		return node->conf->node;
	for (const struct session *s = node->sessions; s; s = s->next) {
		if (s->live && s->have_theirs && (s->theirs.flags & BEAT_PAUSED))
			return s->peer;
	}
	return NULL;
}

static uint64_t watch_waiting_ms(const struct node *node)
{
	struct watcher_counts watch = {0};
	if (node->watcher)
		watcher_counts(node->watcher, &watch);
	return watch.waiting_ms;
}

/* Hints and scans under way mean that the index may be behind the tree. Younger ones are the normal
 * life of a busy tree: the last barrier covers what was before them. */
static bool tree_is_known(const struct node *node)
{
	struct intake_counts counts;
	if (!node->intake)
		return false;
	intake_counts(node->intake, &counts);
	if (!node_is_active(node))
		return counts.scanned_ms != 0;
	return counts.scanned_ms != 0 && !counts.scanning && watch_waiting_ms(node) < WATCH_LATE_MS;
}

static uint64_t held_here(const struct node *node)
{
	return store_note_count(node->store, NOTE_HELD) + holds_held(node->holds);
}

static uint64_t held_count(const struct node *node)
{
	uint64_t held = held_here(node);
	for (const struct session *s = node->sessions; s; s = s->next)
		held += s->live && s->have_theirs ? s->theirs.held : 0;
	return held;
}

static bool peer_is_unhealthy(const struct node *node)
{
	for (const struct session *s = node->sessions; s; s = s->next) {
		if (s->live && s->have_theirs && !(s->theirs.flags & BEAT_HEALTHY))
			return true;
	}
	return false;
}

const char *status_state(struct node *node)
{
	if (roles_state(node->roles))
		return roles_state(node->roles);
	if (!node_is_healthy(node))
		return "unhealthy";
	if (status_paused_on(node))
		return "paused";
	if (held_count(node) > 0)
		return "held";
	if (!(node_is_active(node) ? all_live(node) : any_live(node)))
		return "disconnected";
	bool in_sync = all_in_sync(node) && tree_is_known(node) && !peer_is_unhealthy(node) &&
		       left_out_count(node) == 0;
	return in_sync ? "in_sync" : "syncing";
}

void status_line(struct node *node, char *out, size_t size)
{
	struct store_state state;
	store_state(node->store, &state);
	snprintf(out, size, "%s, %s, seq %" PRIu64 ", %" PRIu64 " files",
		 roles_name(roles_role(node->roles)), status_state(node), state.last_seq,
		 state.files);
}

void status_tick(struct node *node)
{
	if (strcmp(status_state(node), "syncing") != 0)
		node->syncing_since_ms = 0;
	else if (node->syncing_since_ms == 0)
		node->syncing_since_ms = clock_mono_ms();
}

bool status_is_good(struct node *node)
{
	const char *state = status_state(node);
	if (strcmp(state, "syncing") != 0)
		return strcmp(state, "in_sync") == 0;
	return !status_has_problems(node) &&
	       (node->syncing_since_ms == 0 ||
		clock_mono_ms() - node->syncing_since_ms < SYNCING_GOOD_MS);
}

/* ---- the parts ------------------------------------------------------------------------------ */

/* How far behind: the age of what waits, or how long the last change took; unknown before the first
 * proof. */
static double session_lag(const struct session *s)
{
	if (s->matched_ms == 0 && s->behind_since_ms == 0)
		return -1;
	if (s->behind_since_ms != 0)
		return s->matched_ms == 0 && s->lag_s < 0
			       ? -1
			       : (double)(clock_mono_ms() - s->behind_since_ms) / 1000.0;
	/* A canary that came later says what a change would take now. */
	double canary = canary_lag_s(s, s->caught_up_ms);
	return canary >= 0 ? canary : s->lag_s;
}

static json_t *session_json(const struct node *node, const struct session *s)
{
	bool active = node_is_active(node);
	double lag = active ? session_lag(s) : -1;
	return json_pack(
		"{s:s, s:b, s:b, s:o, s:I, s:I, s:I, s:o, s:o, s:b, s:b, s:f, s:I, s:I, s:o}",
		"node", s->peer, "connected", s->live, "idle", session_is_idle(s), "role",
		s->live ? json_string(roles_name(s->peer_role)) : json_null(), "acked_seq",
		(json_int_t)s->pending.acked_seq, "pending_changes", (json_int_t)s->pending.changes,
		"pending_bytes", (json_int_t)s->pending.bytes, "lag_seconds", seconds_json(lag),
		"rtt_ms", seconds_json(s->rtt_ms), "in_sync",
		session_is_in_sync(s) && left_out_count(node) == 0, "reconciling",
		s->reconciling || s->reconcile != NULL, "rate_bytes_per_s", s->rate, "mismatches",
		(json_int_t)s->mismatches, "reconciliations", (json_int_t)s->reconciliations,
		"canary", active ? canary_json(s) : json_null());
}

static json_t *roots_json(const struct node *node)
{
	json_t *roots = json_array();
	for (size_t i = 0; i < node->tree->n; i++) {
		const struct root *root = &node->tree->roots[i];
		json_t *one = json_pack("{s:o, s:b, s:b}", "path", text_json(root->at), "healthy",
					root->healthy, "remote", root->remote);
		if (!root->healthy)
			json_object_set_new(one, "why", text_json(root->why));
		json_array_append_new(roots, one);
	}
	return roots;
}

static json_t *held_json(struct node *node)
{
	struct note *notes = NULL;
	size_t n = 0;
	json_t *list = json_array();
	char when[CLOCK_TEXT_MAX];
	store_notes(node->store, NOTE_HELD, &notes, &n, NULL);
	for (size_t i = 0; i < n; i++)
		json_array_append_new(list,
				      json_pack("{s:o, s:o, s:s}", "path", text_json(notes[i].path),
						"reason", text_json(notes[i].reason), "since",
						clock_text(when, notes[i].since_ns)));
	notes_free(notes, n);
	holds_add_held(node, list);
	return list;
}

static json_t *watch_json(const struct node *node)
{
	struct watcher_counts watch = {0};
	if (node->watcher)
		watcher_counts(node->watcher, &watch);
	return json_pack("{s:I, s:I, s:I, s:I, s:b}", "directories", (json_int_t)watch.directories,
			 "watched", (json_int_t)watch.watched, "overflows",
			 (json_int_t)watch.overflows, "restarts", (json_int_t)watch.restarts,
			 "running", watch.running);
}

static json_t *work_json(const struct node *node)
{
	struct intake_counts counts = {0};
	uint64_t in = node->link_bytes_in, out = node->link_bytes_out, content = 0;
	if (node->intake)
		intake_counts(node->intake, &counts);
	for (const struct session *s = node->sessions; s; s = s->next) {
		if (s->link) {
			in += link_bytes_in(s->link);
			out += link_bytes_out(s->link);
		}
		if (s->sender) {
			struct sender_counts sent;
			sender_counts(s->sender, &sent);
			content += sent.content_bytes;
		}
	}
	return json_pack(
		"{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:b, s:I}", "files_hashed",
		(json_int_t)counts.files_hashed, "bytes_hashed", (json_int_t)counts.bytes_hashed,
		"bytes_sent", (json_int_t)out, "bytes_received", (json_int_t)in,
		"content_bytes_sent", (json_int_t)content, "dirty_paths",
		(json_int_t)counts.waiting, "special_files",
		(json_int_t)(node->intake ? odd_count(intake_special(node->intake)) : 0),
		"scanning", counts.scanning, "scan_entries", (json_int_t)counts.scan_entries);
}

static json_t *progress_json(const struct node *node)
{
	uint64_t changes = 0, bytes = 0;
	double rate = 0;
	for (const struct session *s = node->sessions; s; s = s->next) {
		changes += s->pending.changes;
		bytes += s->pending.bytes;
		rate += s->rate;
	}
	return json_pack("{s:I, s:I, s:f, s:o}", "pending_changes", (json_int_t)changes,
			 "pending_bytes", (json_int_t)bytes, "rate_bytes_per_s", rate, "eta_s",
			 bytes > 0 && rate > 1 ? json_real((double)bytes / rate) : json_null());
}

/* How far back `restore' leads. */
static json_t *history_json(const struct node *node)
{
	struct history_counts counts;
	struct history_barrier oldest;
	char text[CLOCK_TEXT_MAX];
	store_history_counts(node->store, &counts);
	bool any = counts.barriers > 0 && store_history_oldest(node->store, &oldest, NULL) == 0;
	return json_pack("{s:I, s:I, s:o}", "versions", (json_int_t)counts.versions, "bytes",
			 (json_int_t)counts.bytes, "oldest",
			 any ? json_string(clock_text(text, oldest.first_ns)) : json_null());
}

/* The recovery point: on the passive its own, on the active the peer's. Its age there is counted
 * with the receiver's own clock since receipt, so that clocks that differ do not make it look
 * fresh. */
static void add_recovery(const struct node *node, json_t *out)
{
	int64_t at = node->recovery_ns;
	double age = -1;
	char text[CLOCK_TEXT_MAX];
	if (!node_is_active(node)) {
		if (node->recovery_boot_ns != 0)
			age = (double)(clock_boot_ns() - node->recovery_boot_ns) / 1e9;
		else if (at != 0)
			age = (double)(clock_real_ns() - at) / 1e9;
	} else {
		at = 0;
		for (const struct session *s = node->sessions; s; s = s->next) {
			if (s->recovery_ns != 0 && (at == 0 || s->recovery_ns < at))
				at = s->recovery_ns;
		}
		if (at != 0)
			age = (double)(clock_real_ns() - at) / 1e9;
	}
	json_object_set_new(out, "recovery_point",
			    at ? json_string(clock_text(text, at)) : json_null());
	json_object_set_new(out, "rpo_seconds", seconds_json(age < 0 && at != 0 ? 0 : age));
}

json_t *status_json(struct node *node)
{
	const struct conf *conf = node->conf;
	struct store_state state;
	struct epoch_entry *lineage = NULL;
	size_t n_lineage = 0;
	char hex[HASH_HEX_MAX];
	store_state(node->store, &state);
	store_lineage(node->store, &lineage, &n_lineage, NULL);
	json_t *peers = json_array();
	for (struct session *s = node->sessions; s; s = s->next) {
		if (state.role == WIRE_ROLE_ACTIVE)
			store_pending_summary(node->store, s->peer, &s->pending, NULL);
		json_array_append_new(peers, session_json(node, s));
	}
	json_t *problems = status_problems_json(node);
	json_t *out = json_pack(
		"{s:s, s:s, s:s, s:I, s:o, s:s, s:I, s:s, s:I, s:I, s:o}", "node", conf->node,
		"group", conf->group, "role", roles_name(roles_role(node->roles)), "epoch",
		(json_int_t)(n_lineage ? lineage[n_lineage - 1].number : 0), "tree",
		text_json(conf->tree), "state", status_state(node), "seq",
		(json_int_t)state.last_seq, "digest", hash_hex(hex, state.digest), "files",
		(json_int_t)state.files, "bytes", (json_int_t)state.bytes, "peers", peers);
	free(lineage);
	add_recovery(node, out);
	json_object_set_new(out, "watch", watch_json(node));
	json_object_set_new(out, "held", held_json(node));
	json_object_set_new(out, "held_count", json_integer((json_int_t)held_here(node)));
	json_object_set_new(out, "holds", holds_json(node));
	json_object_set_new(out, "roots", roots_json(node));
	json_object_set_new(out, "drift", json_integer((json_int_t)drift_guard_count(node)));
	json_object_set_new(out, "drift_total", json_integer((json_int_t)node->drifted));
	json_object_set_new(out, "salvage",
			    json_integer((json_int_t)store_salvage_count(node->store)));
	json_object_set_new(out, "history", history_json(node));
	json_object_set_new(out, "salvage_bytes",
			    json_integer((json_int_t)store_salvage_bytes(node->store)));
	json_t *not_ready = readiness_reasons(node);
	json_object_set_new(out, "ready", json_boolean(json_array_size(not_ready) == 0));
	json_object_set_new(out, "not_ready", not_ready);
	json_object_set_new(out, "problems", problems);
	roles_add_status(node->roles, out);
	json_object_set_new(out, "last_verify",
			    node->last_verify ? json_incref(node->last_verify) : json_null());
	drills_add_status(node, out);
	json_object_set_new(out, "work", work_json(node));
	json_object_set_new(out, "progress", progress_json(node));
	json_object_set_new(out, "records", json_integer((json_int_t)state.records));
	json_object_set_new(out, "version", json_string(AGENT_VERSION));
	json_object_set_new(out, "uptime_s",
			    json_real((double)(clock_mono_ms() - node->started_ms) / 1000.0));
	return out;
}
