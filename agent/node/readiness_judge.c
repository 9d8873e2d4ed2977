/* readiness_judge.c - the judgement: what stands in the way of a reverse, here and on the other
 * side. */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "agent/base/clock.h"
#include "agent/base/quote.h"
#include "agent/base/trouble.h"
#include "agent/node/node_internal.h"
#include "agent/node/readiness_internal.h"

#define SAME_DAY_NS 3600000000000ll /* what is kept for days does not mind an hour */
#define SKEW_MAX_NS 5000000000ll    /* clocks that differ by more make recovery points misleading */
#define CERTIFICATE_SOON_S (7 * 86400ll)    /* time to renew it before it is needed */
#define EPOCHS_MANY (WIRE_LINEAGE_MAX - 32) /* years before the last one, as a rule */
#define NAMED_MAX 64			    /* reasons; more are counted as one */

__attribute__((format(printf, 3, 4))) static void add(struct judgement *j, bool own,
						      const char *fmt, ...)
{
	char text[WIRE_UNREADY_TEXT_MAX + 1];
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	/* control_text() mends what was cut within a character. */
	json_t *sentence = control_text(text);
	if (json_array_size(j->all) < NAMED_MAX)
		json_array_append(j->all, sentence);
	if (own)
		json_array_append(j->own, sentence);
	json_decref(sentence);
}

/* ---- what this node can tell by itself ------------------------------------------------------ */

static void judge_role(struct judgement *j, const struct node *node)
{
	struct store_state state;
	store_state(node->store, &state);
	if (state.role == WIRE_ROLE_SPLIT)
		add(j, true, "split: two nodes were active; artifact-sync resolve --keep NODE");
	else if (state.role == WIRE_ROLE_FENCED)
		add(j, true,
		    "fenced: another node took over and this one is being cleaned up; it goes on "
		    "when the hook on_fenced has succeeded");
	else if (state.role == WIRE_ROLE_DRAINING)
		add(j, true, "draining: a reverse is under way; wait for its end");
	if (state.adopt)
		add(j, true,
		    "first-sync: the adopted tree has not been proven equal yet; wait for it, or "
		    "see artifact-sync status");
	else if (state.role == WIRE_ROLE_PASSIVE && state.barrier_clock_ns == 0)
		add(j, true,
		    "first-sync: it is not complete; artifact-sync status --watch shows how far "
		    "it is");
}

static void judge_roots(struct judgement *j, const struct node *node)
{
	char q[QUOTED_MAX];
	for (size_t i = 0; i < node->tree->n; i++) {
		const struct root *root = &node->tree->roots[i];
		if (!root->healthy)
			add(j, true, "unhealthy: %.200s: %.150s; mount it again or mend it",
			    quote_path(q, root->location), root->why);
	}
}

static void judge_notes(struct judgement *j, struct node *node, enum note_kind kind,
			const char *name, const char *remedy)
{
	struct note *notes = NULL;
	size_t n = 0;
	char q[QUOTED_MAX];
	if (store_note_count(node->store, kind) == 0)
		return;
	store_notes(node->store, kind, &notes, &n, NULL);
	if (n > 0)
		add(j, true, "%s: %zu path%s, such as %.150s: %.100s; %s", name, n,
		    n == 1 ? "" : "s", quote_path(q, notes[0].path), notes[0].reason, remedy);
	notes_free(notes, n);
}

static void judge_salvage(struct judgement *j, const struct node *node)
{
	uint64_t unseen = 0;
	if (store_salvage_count(node->store) == 0)
		return;
	store_salvage_unseen(node->store, &unseen, NULL);
	if (unseen > 0)
		add(j, true,
		    "salvage: %" PRIu64 " entries that nobody has looked at; "
		    "artifact-sync salvage list, here",
		    unseen);
}

static void judge_watch(struct judgement *j, const struct node *node)
{
	struct watcher_counts watch = {0};
	struct intake_counts counts = {0};
	if (node->watcher)
		watcher_counts(node->watcher, &watch);
	if (*watch.limit)
		add(j, true, "watches: %s", watch.limit);
	else if (*node->readiness->here.watches)
		add(j, true, "%s", node->readiness->here.watches);
	if (node->intake)
		intake_counts(node->intake, &counts);
	if (counts.scan.unreadable > 0)
		add(j, true,
		    "unreadable: %" PRIu64 " directories, first %.150s; let the agent's user read "
		    "them",
		    counts.scan.unreadable, counts.scan.first_unreadable);
}

static void judge_troubles(struct judgement *j)
{
	struct trouble troubles[TROUBLES_MAX];
	size_t n = trouble_list(troubles);
	for (size_t i = 0; i < n; i++) {
		const char *remedy = troubles_remedy(troubles[i].err.msg);
		add(j, true, "failing: %s: %.200s; %s", troubles[i].what, troubles[i].err.msg,
		    remedy ? remedy : "see the agent's log");
	}
}

/* What `reverse' itself refuses for. A directory that is missing is named already, with why. */
static void judge_obstacles(struct judgement *j, struct node *node)
{
	json_t *list = json_array();
	const json_t *one;
	size_t i;
	roles_add_own_obstacles(node->roles, list);
	json_array_foreach(list, i, one)
	{
		const char *text = json_string_value(one);
		if (strncmp(text, "unhealthy:", strlen("unhealthy:")) != 0)
			add(j, true, "%s", text);
	}
	json_decref(list);
	if (holds_held(node->holds) > 0)
		add(j, true,
		    "held: %" PRIu64 " paths wait for artifact-sync approve or reject, here",
		    holds_held(node->holds));
}

static void judge_here(struct judgement *j, struct node *node)
{
	const struct readiness *r = node->readiness;
	judge_role(j, node);
	judge_roots(j, node);
	judge_obstacles(j, node);
	if (!r->looked)
		add(j, true, "starting: the agent has not looked at everything yet; wait a moment");
	judge_notes(j, node, NOTE_HELD, "held", "mend them; each is tried again when it changes");
	judge_notes(j, node, NOTE_DRIFT, "drift",
		    "undo what was changed in the passive's tree, or make the same change on the "
		    "active");
	judge_notes(j, node, NOTE_REFUSED, "refused", "mend the cause on the peer");
	judge_notes(j, node, NOTE_UNREADABLE, "unreadable", "let the agent's user read them");
	judge_salvage(j, node);
	judge_watch(j, node);
	if (roles_epochs(node->roles) >= EPOCHS_MANY)
		add(j, true, "lineage: %zu of %d epochs are used; init the group anew in time",
		    roles_epochs(node->roles), WIRE_LINEAGE_MAX);
	if (*r->here.space)
		add(j, true, "%s", r->here.space);
	if (*r->here.hooks)
		add(j, true, "%s", r->here.hooks);
	if (*r->here.owners)
		add(j, true, "%s", r->here.owners);
	judge_troubles(j);
}

/* ---- a peer --------------------------------------------------------------------------------- */

/* The connection proves one direction, and the one that was not dialled is tried beside it. */
static void judge_reach(struct judgement *j, const struct session *s)
{
	const struct peers_probe *probe =
		s->node->peers ? peers_probed(s->node->peers, s->peer) : NULL;
	if (!probe || link_was_dialled(s->link))
		return;
	if (probe->ended_ms == 0)
		add(j, true, "reach: connecting to %s has not been tried yet; wait a moment",
		    s->peer);
	else if (!probe->good)
		add(j, true,
		    "reach: this node cannot connect to %s: %.200s; mend `address` of that peer, "
		    "or what is in between, and see that its agent listens there",
		    s->peer, probe->why);
}

/* The newer of what the connection and the last probe were shown: a connection may last for longer
 * than the certificate that it began with. */
bool readiness_expires_soon(const struct session *s, struct link_certificate *out)
{
	const struct peers_probe *probe =
		s->node->peers ? peers_probed(s->node->peers, s->peer) : NULL;
	if (link_certificate(s->link, out) < 0 || out->pinned)
		return false;
	if (probe && probe->good) {
		int64_t now = probe->certificate.seconds -
			      (int64_t)(clock_mono_ms() - probe->ended_ms) / 1000;
		out->seconds = now > out->seconds ? now : out->seconds;
	}
	return out->seconds <= CERTIFICATE_SOON_S &&
	       !(probe && probe->good && probe->certificate.pinned);
}

static void judge_certificate(struct judgement *j, const struct session *s)
{
	struct link_certificate certificate;
	if (!readiness_expires_soon(s, &certificate))
		return;
	if (certificate.seconds < 0)
		add(j, true,
		    "certificate: that of %s has expired, and the next connection is refused; give "
		    "%s a new one and reload its agent",
		    s->peer, s->peer);
	else
		add(j, true,
		    "certificate: that of %s expires in %" PRId64 " hours; give %s a new one and "
		    "reload its agent",
		    s->peer, certificate.seconds / 3600, s->peer);
}

/* A heartbeat that waited in a queue looks like a clock that is behind: of several, the one that
 * was the fastest tells. */
int64_t readiness_skew_ns(const struct session *s)
{
	int64_t skew = INT64_MIN;
	for (unsigned i = 0; i < s->readiness.n_skews && i < READINESS_SKEWS; i++)
		skew = s->readiness.skews_ns[i] > skew ? s->readiness.skews_ns[i] : skew;
	return skew == INT64_MIN ? 0 : skew;
}

static bool is_within(int64_t ns, int64_t limit_ns)
{
	return ns <= limit_ns && ns >= -limit_ns;
}

static bool shares_clock(const struct session *s)
{
	const struct session_readiness *r = &s->readiness;
	int64_t now = clock_real_ns() - (int64_t)clock_boot_ns();
	if (r->n_skews == 0 || !is_within(now - r->real_minus_boot_ns, SAME_DAY_NS))
		return false;
	for (unsigned i = 0; i < r->n_skews && i < READINESS_SKEWS; i++) {
		if (!is_within(r->skews_ns[i], SAME_DAY_NS))
			return false;
	}
	return true;
}

bool readiness_clock_is_shared(const struct node *node)
{
	bool any = false;
	for (const struct session *s = node->sessions; s; s = s->next) {
		if (s->live && !shares_clock(s))
			return false;
		any |= s->live;
	}
	return any;
}

static void judge_clock(struct judgement *j, const struct session *s)
{
	int64_t skew = readiness_skew_ns(s);
	if (is_within(skew, SKEW_MAX_NS))
		return;
	add(j, false,
	    "clock: that of %s is %.1f s %s this node's, so that times of changes cannot be "
	    "compared; set both by NTP (timedatectl)",
	    s->peer, (double)(skew < 0 ? -skew : skew) / 1e9, skew < 0 ? "behind" : "ahead of");
}

static void judge_equality(struct judgement *j, const struct session *s)
{
	if (s->profile_differs)
		add(j, false,
		    "profile-differs: %s replicates by other rules or ownership; make `profile`, "
		    "`rules` and `ownership` the same on both",
		    s->peer);
	if (s->readiness.heard && strcmp(s->readiness.theirs.version, AGENT_VERSION) != 0)
		add(j, false,
		    "version: this node runs %s and %s runs %.64s; install the same on both",
		    AGENT_VERSION, s->peer, s->readiness.theirs.version);
	if (s->mismatch || s->reconciling || s->reconcile)
		add(j, false,
		    "mismatch: the trees of this node and %s are being compared; wait for it, or "
		    "see artifact-sync verify",
		    s->peer);
	else if (s->matched_ms == 0)
		add(j, false,
		    "unproven: the trees of this node and %s have not been proven equal since the "
		    "agent started; artifact-sync wait",
		    s->peer);
}

static void judge_canary(struct judgement *j, const struct session *s)
{
	if (s->sender && *s->canary.trouble)
		add(j, true, "canary: %.250s; mend that disk or database (df, dmesg)",
		    s->canary.trouble);
}

static void judge_theirs(struct judgement *j, const struct session *s)
{
	const struct wire_readiness *theirs = &s->readiness.theirs;
	if (!s->readiness.heard) {
		add(j, false, "unknown: %s has not said yet whether it is ready; wait a moment",
		    s->peer);
		return;
	}
	for (size_t i = 0; i < theirs->n; i++) {
		/* Its words, but nothing that a terminal obeys. */
		AUTO_FREE char *clean = x_strdup(theirs->reasons[i]);
		for (char *c = clean; *c; c++) {
			if ((unsigned char)*c < ' ' || *c == 0x7f)
				*c = '?';
		}
		add(j, false, "%s: %s", s->peer, clean);
	}
	if (theirs->total > theirs->n)
		add(j, false, "%s: and %u more reasons; artifact-sync ready, there", s->peer,
		    theirs->total - theirs->n);
}

static bool gives(const struct session *s)
{
	return s->peer_role == WIRE_ROLE_ACTIVE || s->peer_role == WIRE_ROLE_DRAINING;
}

static void judge_session(struct judgement *j, const struct session *s)
{
	if (!s->live || !s->link) {
		const char *why = *s->trouble	   ? s->trouble
				  : s->node->peers ? peers_last_error(s->node->peers, s->peer)
						   : "";
		add(j, false,
		    "disconnected: %s: %.250s; start its agent, or mend what is in between",
		    s->peer, *why ? why : "not connected yet");
		return;
	}
	judge_reach(j, s);
	judge_certificate(j, s);
	judge_clock(j, s);
	judge_equality(j, s);
	judge_canary(j, s);
	judge_theirs(j, s);
}

/* An active hands over to any of its peers; a passive takes over from the active one. */
static void judge_peers(struct judgement *j, const struct node *node)
{
	const struct session *active = NULL;
	if (!node->sessions)
		add(j, false,
		    "no-peer: none is configured; artifact-sync pair --node NAME --address "
		    "HOST:PORT --fingerprint ...");
	for (const struct session *s = node->sessions; s; s = s->next)
		active = s->live && gives(s) ? s : active;
	if (!node_is_active(node) && active) {
		judge_session(j, active);
		return;
	}
	for (const struct session *s = node->sessions; s; s = s->next)
		judge_session(j, s);
}

struct judgement readiness_judge(struct node *node)
{
	struct judgement j = {.all = json_array(), .own = json_array()};
	judge_here(&j, node);
	judge_peers(&j, node);
	json_t *differing = json_array();
	fingerprints_add_problems(node, differing);
	if (json_array_size(differing) > 0)
		add(&j, false, "%s; make them the same, or take them out of the rules",
		    json_string_value(json_array_get(differing, 0)));
	json_decref(differing);
	return j;
}

void judgement_release(struct judgement *j)
{
	json_decref(j->all);
	json_decref(j->own);
}
