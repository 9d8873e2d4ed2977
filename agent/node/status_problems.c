/* status_problems.c - what somebody should look at: `problems` of `status --json`, each with what
 * to do about it. */
#include "agent/node/node_internal.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#include "agent/base/clock.h"
#include "agent/base/quote.h"

#define SALVAGE_WARN_PERCENT 80 /* so full, there is still time to make room */
#define STALE_SCANS 2		/* a scan older than so many intervals is a problem */

static void add_problem(json_t *problems, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
static void add_problem(json_t *problems, const char *fmt, ...)
{
	char text[600];
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	AUTO_FREE char *utf8 = quote_utf8(text);
	json_array_append_new(problems, json_string(utf8));
}

static void add_notes(struct node *node, json_t *problems, enum note_kind kind, const char *what)
{
	struct note *notes = NULL;
	size_t n = 0;
	char q[QUOTED_MAX];
	if (store_note_count(node->store, kind) == 0)
		return;
	store_notes(node->store, kind, &notes, &n, NULL);
	for (size_t i = 0; i < n && i < 10; i++) {
		const char *remedy = troubles_remedy(notes[i].reason);
		add_problem(problems, "%s: %s: %s%s%s", what, quote_path(q, notes[i].path),
			    notes[i].reason, remedy ? "; " : "", remedy ? remedy : "");
	}
	if (n > 10)
		add_problem(problems, "%s: and %zu more paths", what, n - 10);
	notes_free(notes, n);
}

/* Two passives have nothing to say to each other while a third one gives, or may come back to. */
static bool nothing_flows(const struct node *node)
{
	for (const struct session *s = node->sessions; s; s = s->next) {
		if (!session_is_idle(s))
			return false;
	}
	return true;
}

static void add_session_problems(struct node *node, const struct session *s, json_t *problems)
{
	if (!s->live) {
		const char *why = *s->trouble	? s->trouble
				  : node->peers ? peers_last_error(node->peers, s->peer)
						: "";
		add_problem(problems, "disconnected: %s: %s", s->peer,
			    *why ? why : "not connected yet");
	}
	if (session_is_idle(s) && nothing_flows(node))
		add_problem(problems, "idle: %s: nothing flows: %s", s->peer, s->trouble);
	if (s->profile_differs)
		add_problem(problems,
			    "profile-differs: %s replicates by other rules or ownership; make "
			    "`profile`, `rules`, `ownership` and `setid` the same on both",
			    s->peer);
	if (s->mismatch)
		add_problem(problems,
			    "mismatch: the digests of this node and %s differ; reconciling",
			    s->peer);
	if (s->live && s->have_theirs && s->theirs.drift > 0)
		add_problem(problems,
			    "peer-drift: %" PRIu32 " replicated paths were changed on %s by "
			    "somebody else; its status names them",
			    s->theirs.drift, s->peer);
	if (s->live && s->have_theirs && !(s->theirs.flags & BEAT_HEALTHY))
		add_problem(problems,
			    "peer-unhealthy: %s says that a directory of its tree is not there",
			    s->peer);
}

static void add_salvage_problem(struct node *node, json_t *problems)
{
	uint64_t used = store_salvage_bytes(node->store), max = node->salvage_max;
	if (max != 0 && used >= max / 100 * SALVAGE_WARN_PERCENT)
		add_problem(problems,
			    "salvage-full: %" PRIu64 " of %" PRIu64
			    " bytes (limits.salvage_bytes) are used; when it is full, nothing "
			    "local is replaced any longer: artifact-sync salvage purge makes room",
			    used, max);
}

static void add_watch_problems(struct node *node, json_t *problems)
{
	struct watcher_counts watch;
	struct intake_counts counts;
	char q[QUOTED_MAX];
	if (node->watcher) {
		watcher_counts(node->watcher, &watch);
		if (watch.limit[0])
			add_problem(problems, "watch-limit: %s", watch.limit);
		if (watch.waiting_ms >= WATCH_LATE_MS)
			add_problem(problems,
				    "watch-late: artifact-sync-watch has not answered for %" PRIu64
				    " s; after %d s it is started again (is the disk of the tree "
				    "slow, or the process stopped?)",
				    watch.waiting_ms / 1000, WATCHER_SILENT_MS / 1000);
	}
	if (!node->intake)
		return;
	intake_counts(node->intake, &counts);
	if (counts.scan.unreadable > 0)
		add_problem(problems,
			    "unreadable: %" PRIu64
			    " directories, first %s; let the agent's user read "
			    "them; nothing beneath them "
			    "is deleted",
			    counts.scan.unreadable, counts.scan.first_unreadable);
	if (counts.scan.too_long > 0)
		add_problem(problems,
			    "too-long: %" PRIu64 " paths, first %s, have more than %d bytes and "
			    "are not replicated; move them up, or leave them out with a rule",
			    counts.scan.too_long, quote_path(q, counts.scan.too_long_first.path),
			    WIRE_PATH_MAX);
	if (counts.scan.foreign_mounts > 0)
		add_problem(problems,
			    "mount: %" PRIu64 " mounts are not entered, first %s; name them in "
			    "`follow`",
			    counts.scan.foreign_mounts, counts.scan.first_mount);
	if (node_is_active(node) && counts.scanned_ms != 0 &&
	    clock_mono_ms() - counts.scanned_ms >
		    1000ull * STALE_SCANS * node_scan_interval_s(node))
		add_problem(problems, "scan-late: the last whole scan ended %" PRIu64 " s ago",
			    (clock_mono_ms() - counts.scanned_ms) / 1000);
}

static void add_odd_problems(struct node *node, json_t *problems)
{
	char q[QUOTED_MAX];
	if (!node->intake)
		return;
	const struct odd *special = intake_special(node->intake);
	const struct odd *setid = intake_setid(node->intake);
	if (special->n > 0)
		add_problem(problems,
			    "special: %" PRIu64
			    " FIFOs, sockets or devices are not replicated, first %s; leave them "
			    "out with a rule, and this is silent",
			    odd_count(special), quote_path(q, special->path[0]));
	if (setid->n > 0 && !node->capture.policy.allow_setid)
		add_problem(problems,
			    "setid: %" PRIu64
			    " paths have setuid or setgid bits and arrive without, first %s; set "
			    "`setid` to true on every node to replicate the bits, or take them "
			    "away (chmod ug-s)",
			    odd_count(setid), quote_path(q, setid->path[0]));
}

static json_t *list_problems(struct node *node)
{
	json_t *problems = json_array();
	char q[QUOTED_MAX];
	for (size_t i = 0; i < node->tree->n; i++) {
		const struct root *root = &node->tree->roots[i];
		const char *remedy = root->healthy ? NULL : troubles_remedy(root->why);
		if (!root->healthy)
			add_problem(problems, "unhealthy: %s: %s%s%s",
				    quote_path(q, root->location), root->why, remedy ? "; " : "",
				    remedy ? remedy : "");
	}
	if (!node->sessions)
		add_problem(problems, "no-peer: artifact-sync pair adds one");
	for (const struct session *s = node->sessions; s; s = s->next)
		add_session_problems(node, s, problems);
	add_notes(node, problems, NOTE_HELD, "held");
	holds_add_problems(node, problems);
	add_notes(node, problems, NOTE_UNREADABLE, "unreadable");
	add_notes(node, problems, NOTE_REFUSED, "refused");
	add_notes(node, problems, NOTE_DRIFT, "drift");
	add_notes(node, problems, NOTE_SET, "set-too-large");
	add_salvage_problem(node, problems);
	add_watch_problems(node, problems);
	roles_add_problems(node->roles, problems);
	troubles_add_problems(node, problems);
	fingerprints_add_problems(node, problems);
	if (http_trouble(node))
		add_problem(problems, "http: nothing listens under http.listen: %s",
			    http_trouble(node));
	return problems;
}

json_t *status_problems_json(struct node *node)
{
	json_t *problems = list_problems(node);
	add_odd_problems(node, problems);
	return problems;
}

bool status_has_problems(struct node *node)
{
	json_t *problems = list_problems(node);
	bool has = json_array_size(problems) > 0;
	json_decref(problems);
	return has;
}
