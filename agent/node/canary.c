#include "agent/node/canary.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "agent/base/clock.h"
#include "agent/base/log.h"
#include "agent/node/node_internal.h"
#include "agent/sync/canary.h"
#include "agent/sync/job.h"
#include "protocol/messages.h"

struct canary_job {
	struct job job;
	struct session *s;
	unsigned connection;
	struct wire_canary canary;
	int result;
	struct err err;
};

static void start(struct session *s, const struct wire_canary *canary,
		  void (*work)(struct job *job), void (*done)(struct job *job))
{
	struct canary_job *c = x_calloc(1, sizeof(*c));
	c->s = s;
	c->connection = s->canary.connection;
	c->canary = *canary;
	s->node->closing++;
	job_start(&s->node->loop, &c->job, work, done);
}

/* ---- the active ----------------------------------------------------------------------------- */

static void write_work(struct job *job)
{
	struct canary_job *c = container_of(job, struct canary_job, job);
	c->result = canary_write(&c->canary, c->s->node->tree, c->s->node->store, &c->err);
}

static void note_trouble(struct session *s, const char *what, const char *why)
{
	char text[sizeof(s->canary.trouble)];
	snprintf(text, sizeof(text), "%s: %.200s", what, why);
	if (strcmp(text, s->canary.trouble) != 0)
		log_warn("canary", "peer=%s err=\"%s\" action=\"try again\"", s->peer, text);
	memcpy(s->canary.trouble, text, sizeof(text));
	s->canary.ended_ms = clock_mono_ms();
	s->canary.sent_ms = 0;
}

static void write_done(struct job *job)
{
	struct canary_job *c = container_of(job, struct canary_job, job);
	struct session *s = c->s;
	struct node *node = s->node;
	uint8_t body[256];
	struct wr w;
	bool current = s->live && s->link && s->sender && c->connection == s->canary.connection;
	if (current && c->result < 0) {
		note_trouble(s, "a test write here failed", c->err.msg);
	} else if (current) {
		wr_init(&w, body, sizeof(body));
		wire_encode_canary(&w, &c->canary);
		link_send(s->link, WIRE_CANARY, body, wr_len(&w));
	}
	free(c);
	node_closed_one(node);
}

static bool is_due(const struct session *s)
{
	const struct session_canary *c = &s->canary;
	bool paused = s->node->paused || (s->theirs.flags & BEAT_PAUSED);
	return s->live && s->link && s->sender && !s->node->stopping && !paused &&
	       c->sent_ms == 0 && node_is_healthy(s->node) && session_is_in_sync(s) &&
	       (c->ended_ms == 0 || clock_mono_ms() - c->ended_ms >= CANARY_EVERY_MS);
}

void canary_tick(struct session *s)
{
	if (!is_due(s))
		return;
	struct wire_canary canary = {.nonce = ++s->canary.nonce};
	s->canary.sent_ms = clock_mono_ms();
	s->canary.began_us = clock_mono_ns() / 1000;
	start(s, &canary, write_work, write_done);
}

static int on_done(struct session *s, const struct frame *frame)
{
	struct wire_canary_done m;
	struct rd r;
	rd_init(&r, frame->body, frame->len);
	if (wire_decode_canary_done(&m, &r) < 0)
		return -EBADMSG;
	if (!s->sender || s->canary.sent_ms == 0 || m.nonce != s->canary.nonce)
		return -EPROTO;
	if (m.failed) {
		note_trouble(s, "a test write there failed", m.text);
		return 0;
	}
	s->canary.lag_us = clock_mono_ns() / 1000 - s->canary.began_us;
	s->canary.measured_ms = s->canary.ended_ms = clock_mono_ms();
	s->canary.sent_ms = 0;
	s->canary.trouble[0] = '\0';
	return 0;
}

/* ---- the passive ---------------------------------------------------------------------------- */

static void commit_work(struct job *job)
{
	struct canary_job *c = container_of(job, struct canary_job, job);
	c->result = canary_commit(&c->canary, &c->s->node->commit, &c->err);
}

static void answer(struct session *s, const struct canary_job *c)
{
	uint8_t body[512];
	struct wire_canary_done m = {.nonce = c->canary.nonce, .failed = c->result < 0};
	struct wr w;
	snprintf(m.text, sizeof(m.text), "%.*s", WIRE_TEXT_MAX, c->result < 0 ? c->err.msg : "");
	wr_init(&w, body, sizeof(body));
	wire_encode_canary_done(&w, &m);
	link_send(s->link, WIRE_CANARY_DONE, body, wr_len(&w));
}

static void commit(struct session *s, const struct wire_canary *canary);

static void commit_done(struct job *job)
{
	struct canary_job *c = container_of(job, struct canary_job, job);
	struct session *s = c->s;
	struct node *node = s->node;
	s->canary.committing = false;
	if (s->live && s->link && s->receiver && c->connection == s->canary.connection)
		answer(s, c);
	else if (s->canary.waits && !node->stopping)
		commit(s, &s->canary.waiting);
	free(c);
	node_closed_one(node);
}

static void commit(struct session *s, const struct wire_canary *canary)
{
	s->canary.waits = false;
	s->canary.committing = true;
	s->canary.committing_of = s->canary.connection;
	start(s, canary, commit_work, commit_done);
}

static int on_canary(struct session *s, const struct frame *frame)
{
	struct wire_canary m;
	struct rd r;
	rd_init(&r, frame->body, frame->len);
	if (wire_decode_canary(&m, &r) < 0)
		return -EBADMSG;
	bool unanswered = s->canary.waits ||
			  (s->canary.committing && s->canary.committing_of == s->canary.connection);
	if (!s->receiver || m.nonce <= s->canary.nonce || unanswered)
		return -EPROTO;
	s->canary.nonce = m.nonce;
	s->canary.waits = s->canary.committing; /* of the connection before */
	s->canary.waiting = m;
	if (!s->canary.waits)
		commit(s, &m);
	return 0;
}

/* ---- both ----------------------------------------------------------------------------------- */

int canary_frame(struct session *s, const struct frame *frame)
{
	return frame->type == WIRE_CANARY ? on_canary(s, frame) : on_done(s, frame);
}

void canary_live(struct session *s)
{
	s->canary.connection++;
	s->canary.nonce = 0;
	s->canary.sent_ms = 0;
	s->canary.waits = false;
}

double canary_lag_s(const struct session *s, uint64_t since_ms)
{
	const struct session_canary *c = &s->canary;
	double under_way = c->sent_ms ? (double)(clock_mono_ms() - c->sent_ms) / 1000 : -1;
	double measured =
		c->lag_us != 0 && c->measured_ms >= since_ms ? (double)c->lag_us / 1e6 : -1;
	return under_way > measured && under_way > 1 ? under_way : measured;
}

json_t *canary_json(const struct session *s)
{
	const struct session_canary *c = &s->canary;
	if (c->lag_us == 0 && !*c->trouble)
		return json_null();
	return json_pack("{s:f, s:f, s:o}", "lag_seconds", (double)c->lag_us / 1e6, "age_seconds",
			 (double)(clock_mono_ms() - c->measured_ms) / 1000, "error",
			 *c->trouble ? control_text(c->trouble) : json_null());
}
