/* readiness.c - the judgement said and heard: messages, answers, and the clockwork of what it needs
 * to know. */
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
#include "agent/node/readiness_internal.h"
#include "agent/sync/job.h"
#include "protocol/messages.h"

#define LOOK_EVERY_MS 3000
#define PROBE_EVERY_MS 60000
#define PROBE_AGAIN_MS 3000 /* when it failed */

struct look_job {
	struct job job;
	struct node *node;
	struct readiness_ask ask;
	struct readiness_look result;
};

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
	struct judgement j = readiness_judge(s->node);
	say(s, j.own);
	judgement_release(&j);
}

void readiness_heartbeat(struct session *s, int64_t their_clock_ns)
{
	s->readiness.skews_ns[s->readiness.n_skews % READINESS_SKEWS] =
		their_clock_ns - clock_real_ns();
	s->readiness.real_minus_boot_ns = clock_real_ns() - (int64_t)clock_boot_ns();
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
	struct judgement j = readiness_judge(node);
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
	return json_pack(
		"{s:s, s:o, s:o, s:o, s:o}", "node", s->peer, "ready",
		known ? json_boolean(theirs->total == 0) : json_null(), "not_ready", reasons,
		"version", known ? control_text(theirs->version) : json_null(), "clock_skew_s",
		known && s->readiness.n_skews > 0 ? json_real((double)readiness_skew_ns(s) / 1e9)
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

void readiness_salvage_shown(struct node *node, const struct salvage_row *rows, size_t n)
{
	struct err err = {0};
	uint64_t unseen = 0;
	store_salvage_unseen(node->store, &unseen, NULL);
	if (unseen > 0 && store_salvage_see(node->store, rows, n, &err) < 0)
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
	bool expiring = readiness_expires_soon(s, &certificate);
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
	struct judgement j = readiness_judge(node);
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
