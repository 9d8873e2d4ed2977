/* readiness.c - the judgement: what stands in the way of a reverse, here and on the other side. */
#include "agent/node/readiness.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "agent/base/clock.h"
#include "agent/base/log.h"
#include "agent/base/quote.h"
#include "agent/base/trouble.h"
#include "agent/node/node_internal.h"
#include "agent/sync/job.h"
#include "protocol/messages.h"

#define LOOK_EVERY_MS 3000
#define PROBE_EVERY_MS 60000
#define PROBE_AGAIN_MS 5000	 /* when it failed */
#define SKEW_MAX_NS 5000000000ll /* clocks that differ by more make recovery points misleading */
#define CERTIFICATE_SOON_S (7 * 86400ll) /* time to renew it before it is needed */
#define NAMED_MAX 64			 /* reasons; more are counted as one */

struct readiness {
	struct readiness_look here; /* the last one that ended */
	uint64_t looked_ms;	    /* began; 0 = never */
	bool looking, looked;
};

struct look_job {
	struct job job;
	struct node *node;
	struct readiness_ask ask;
	struct readiness_look result;
};

/* What is being said: `own` is what this node can tell by itself, and travels. */
struct judgement {
	json_t *all, *own;
};

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

static void judge_here(struct judgement *j, struct node *node)
{
	const struct readiness *r = node->readiness;
	judge_role(j, node);
	judge_roots(j, node);
	if (!node->intake || !r->looked)
		add(j, true, "starting: the agent has not looked at everything yet; wait a moment");
	if (node->paused)
		add(j, true, "paused: replication is paused; artifact-sync resume, here");
	judge_notes(j, node, NOTE_HELD, "held", "mend them; each is tried again when it changes");
	judge_notes(j, node, NOTE_DRIFT, "drift",
		    "undo what was changed in the passive's tree, or make the same change on the "
		    "active");
	judge_notes(j, node, NOTE_REFUSED, "refused", "mend the cause on the peer");
	judge_notes(j, node, NOTE_UNREADABLE, "unreadable", "let the agent's user read them");
	judge_salvage(j, node);
	judge_watch(j, node);
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
static bool expires_soon(const struct session *s, struct link_certificate *out)
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
	if (!expires_soon(s, &certificate))
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
static int64_t skew_of(const struct session *s)
{
	int64_t skew = INT64_MIN;
	for (unsigned i = 0; i < s->readiness.n_skews && i < READINESS_SKEWS; i++)
		skew = s->readiness.skews_ns[i] > skew ? s->readiness.skews_ns[i] : skew;
	return skew == INT64_MIN ? 0 : skew;
}

static void judge_clock(struct judgement *j, const struct session *s)
{
	int64_t skew = skew_of(s);
	if (skew <= SKEW_MAX_NS && skew >= -SKEW_MAX_NS)
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

static struct judgement judge(struct node *node)
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

static void judgement_release(struct judgement *j)
{
	json_decref(j->all);
	json_decref(j->own);
}

/* ---- saying so ------------------------------------------------------------------------------ */

static void fill_message(struct wire_readiness *m, const json_t *own)
{
	size_t n = json_array_size(own);
	snprintf(m->version, sizeof(m->version), "%s", AGENT_VERSION);
	m->total = (uint16_t)(n < UINT16_MAX ? n : UINT16_MAX);
	m->n = (uint8_t)(n < WIRE_UNREADY_MAX ? n : WIRE_UNREADY_MAX);
	for (size_t i = 0; i < m->n; i++)
		snprintf(m->reasons[i], sizeof(m->reasons[i]), "%s",
			 json_string_value(json_array_get(own, i)));
}

static void say(struct session *s, const json_t *own)
{
	AUTO_FREE struct wire_readiness *m = x_calloc(1, sizeof(*m));
	AUTO_FREE uint8_t *body = x_calloc(1, wire_rule(WIRE_READINESS)->body_max);
	AUTO_FREE char *text = json_dumps(own, JSON_COMPACT);
	if (!s->live || !s->link || (s->readiness.sent && strcmp(s->readiness.sent, text) == 0))
		return;
	struct wr w;
	fill_message(m, own);
	wr_init(&w, body, wire_rule(WIRE_READINESS)->body_max);
	wire_encode_readiness(&w, m);
	BUG_ON(w.error);
	link_send(s->link, WIRE_READINESS, body, wr_len(&w));
	free(s->readiness.sent);
	s->readiness.sent = STEAL(text);
}

void readiness_live(struct session *s)
{
	s->readiness.heard = false;
	s->readiness.n_skews = 0;
	free(STEAL(s->readiness.sent));
	struct judgement j = judge(s->node);
	say(s, j.own);
	judgement_release(&j);
}

void readiness_heartbeat(struct session *s, int64_t their_clock_ns)
{
	s->readiness.skews_ns[s->readiness.n_skews % READINESS_SKEWS] =
		their_clock_ns - clock_real_ns();
	if (++s->readiness.n_skews == 2 * READINESS_SKEWS)
		s->readiness.n_skews = READINESS_SKEWS;
}

int readiness_frame(struct session *s, const struct frame *frame)
{
	struct rd r;
	rd_init(&r, frame->body, frame->len);
	if (wire_decode_readiness(&s->readiness.theirs, &r) < 0)
		return -EBADMSG;
	s->readiness.heard = true;
	return 0;
}

void readiness_session_free(struct session *s)
{
	free(s->readiness.sent);
}

json_t *readiness_reasons(struct node *node)
{
	struct judgement j = judge(node);
	json_decref(j.own);
	return j.all;
}

static json_t *peer_json(const struct session *s)
{
	const struct wire_readiness *theirs = &s->readiness.theirs;
	bool known = s->live && s->readiness.heard;
	json_t *reasons = json_array();
	for (size_t i = 0; known && i < theirs->n; i++)
		json_array_append_new(reasons, control_text(theirs->reasons[i]));
	return json_pack("{s:s, s:o, s:o, s:o, s:o}", "node", s->peer, "ready",
			 known ? json_boolean(theirs->total == 0) : json_null(), "not_ready",
			 reasons, "version", known ? control_text(theirs->version) : json_null(),
			 "clock_skew_s",
			 known && s->readiness.n_skews > 0 ? json_real((double)skew_of(s) / 1e9)
							   : json_null());
}

json_t *readiness_json(struct node *node)
{
	json_t *reasons = readiness_reasons(node), *peers = json_array();
	for (const struct session *s = node->sessions; s; s = s->next)
		json_array_append_new(peers, peer_json(s));
	return json_pack("{s:b, s:o, s:o}", "ready", json_array_size(reasons) == 0, "not_ready",
			 reasons, "peers", peers);
}

void readiness_salvage_shown(struct node *node, const char *id)
{
	struct err err = {0};
	uint64_t unseen = 0;
	store_salvage_unseen(node->store, &unseen, NULL);
	if (unseen > 0 && store_salvage_see(node->store, id, &err) < 0)
		log_warn("node", "err=\"%s\" action=\"the salvage counts as not looked at\"",
			 err.msg);
}

/* ---- clockwork ------------------------------------------------------------------------------ */

static void look_work(struct job *job)
{
	struct look_job *l = container_of(job, struct look_job, job);
	readiness_look(&l->result, &l->ask);
}

static void look_done(struct job *job)
{
	struct look_job *l = container_of(job, struct look_job, job);
	struct node *node = l->node;
	node->readiness->here = l->result;
	node->readiness->looking = false;
	node->readiness->looked = true;
	free(l);
	node_closed_one(node);
}

static void look(struct node *node)
{
	/* What was configured at the start: hooks are run by a process that knows no other, and
	 * these strings outlive the job. */
	const struct conf *conf = node->conf;
	struct look_job *l = x_calloc(1, sizeof(*l));
	struct watcher_counts watch = {0};
	if (node->watcher)
		watcher_counts(node->watcher, &watch);
	l->node = node;
	l->ask = (struct readiness_ask){
		.tree = conf->tree,
		.state_dir = conf->state_dir,
		.follow = conf->follow,
		.n_follow = conf->n_follow,
		.hooks = {conf->hook_before_demote, conf->hook_after_demote,
			  conf->hook_before_promote, conf->hook_after_promote, conf->hook_on_fenced,
			  conf->hook_on_drift},
		.owners = node->capture.policy.ownership != OWNERSHIP_IGNORE,
		.directories = watch.directories,
	};
	node->readiness->looking = true;
	node->readiness->looked_ms = clock_mono_ms();
	node->closing++;
	job_start(&node->loop, &l->job, look_work, look_done);
}

static void probe(struct node *node, struct session *s)
{
	const struct peers_probe *probe = peers_probed(node->peers, s->peer);
	uint64_t now = clock_mono_ms();
	struct link_certificate certificate;
	if (!probe || probe->running || !s->live || !s->link)
		return;
	bool expiring = expires_soon(s, &certificate);
	/* The direction that the connection came is proven by it. */
	if (link_was_dialled(s->link) && !expiring)
		return;
	if (probe->began_ms == 0 ||
	    now - probe->began_ms >= (probe->good && !expiring ? PROBE_EVERY_MS : PROBE_AGAIN_MS))
		peers_probe(node->peers, s->peer);
}

void readiness_start(struct node *node)
{
	node->readiness = x_calloc(1, sizeof(*node->readiness));
}

void readiness_tick(struct node *node)
{
	struct readiness *r = node->readiness;
	if (!r->looking && (r->looked_ms == 0 || clock_mono_ms() - r->looked_ms >= LOOK_EVERY_MS))
		look(node);
	struct judgement j = judge(node);
	for (struct session *s = node->sessions; s; s = s->next) {
		if (node->peers)
			probe(node, s);
		say(s, j.own);
	}
	judgement_release(&j);
}

void readiness_free(struct node *node)
{
	free(node->readiness);
}
