/* verify.c - `verify`: after a barrier that all peers have reached, both indexes are compared range
 * by range; with --deep both sides read every file again, too. */
#include "agent/node/node_internal.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "agent/base/clock.h"
#include "agent/base/quote.h"
#include "protocol/messages.h"

#define DIFFERENCES_MAX 1000 /* listed; more are counted as truncated */
#define ROUNDS_MAX 5	     /* a tree that changes while it is compared is compared again */

/* @param where  whose disk or index, for a finding of one side; NULL: the two differ */
static void add_difference(struct request *q, const char *path, const char *what, const char *where)
{
	if (json_array_size(q->differences) >= DIFFERENCES_MAX)
		return;
	AUTO_FREE char *name = quote_utf8(path);
	AUTO_FREE char *text = quote_utf8(what);
	json_array_append_new(q->differences,
			      json_pack("{s:s, s:s, s:s}", "path", name, "what", text, "where",
					where ? where : q->session->peer));
}

static void finish(struct request *q)
{
	struct store_state state;
	char hex[HASH_HEX_MAX], when[CLOCK_TEXT_MAX];
	bool equal = json_array_size(q->differences) == 0;
	store_state(q->node->store, &state);
	if (q->failed) {
		request_fail(q, EXIT_NO, "artifact-sync status shows whether the peer is connected",
			     q->why);
		return;
	}
	json_decref(q->node->last_verify);
	q->node->last_verify = json_pack(
		"{s:s, s:b, s:b, s:I}", "time", clock_text(when, clock_real_ns()), "equal", equal,
		"deep", q->deep, "differences", (json_int_t)json_array_size(q->differences));
	if (q->call)
		control_done(STEAL(q->call), equal ? EXIT_DONE : EXIT_NO,
			     json_pack("{s:b, s:b, s:I, s:s, s:I, s:I, s:O}", "equal", equal,
				       "deep", q->deep, "records", (json_int_t)state.records,
				       "digest", hash_hex(hex, state.digest), "files_read",
				       (json_int_t)(q->files + q->files_there), "bytes_read",
				       (json_int_t)(q->bytes + q->bytes_there), "differences",
				       q->differences));
	request_free(q);
}

static void finish_when_done(struct request *q)
{
	if (!q->compare && !q->deep_here && !q->deep_there)
		finish(q);
}

void verify_close(struct request *q)
{
	q->failed = true;
	q->deep_there = false;
	if (q->deep_here)
		deep_close(q->deep_here);
	if (q->compare)
		compare_close(q->compare); /* on_ranges_done() goes on */
	else if (!q->deep_here && !q->call)
		request_free(q);
}

/* ---- deep ----------------------------------------------------------------------------------- */

static void on_deep_difference(void *owner, const char *path, const char *why)
{
	struct request *q = owner;
	add_difference(q, path, why, q->node->conf->node);
}

static void on_deep_progress(void *owner, uint64_t files, uint64_t bytes)
{
	struct request *q = owner;
	q->files = files;
	q->bytes = bytes;
}

static void on_deep_done(void *owner, int result, const char *why)
{
	struct request *q = owner;
	q->deep_here = NULL;
	if (result < 0 && !q->failed) {
		q->failed = true;
		snprintf(q->why, sizeof(q->why), "reading this side failed: %.150s", why);
	}
	finish_when_done(q);
}

static void begin_deep(struct request *q)
{
	uint8_t body[64];
	struct deep_events events = {.owner = q,
				     .difference = on_deep_difference,
				     .progress = on_deep_progress,
				     .done = on_deep_done};
	struct wire_deep_ask ask = {.id = session_compare_id(q->session)};
	struct wr w;
	q->phase = REQUEST_DEEP;
	q->deep_id = ask.id;
	q->deep_there = true;
	wr_init(&w, body, sizeof(body));
	wire_encode_deep_ask(&w, &ask);
	link_send(q->session->link, WIRE_DEEP_ASK, body, wr_len(&w));
	q->deep_here = deep_start(&q->node->loop, &q->node->capture, &events);
}

/* ---- ranges --------------------------------------------------------------------------------- */

static void begin_ranges(struct request *q);

static void on_difference(void *owner, const char *path, const char *what)
{
	add_difference(owner, path, what, NULL);
}

static void on_ranges_done(void *owner, int result, const char *why)
{
	struct request *q = owner;
	struct store_state state;
	q->compare = NULL;
	if (result < 0 && !q->failed) {
		q->failed = true;
		snprintf(q->why, sizeof(q->why), "comparing failed: %.150s", why);
	}
	store_state(q->node->store, &state);
	bool moved = state.last_seq != q->began_seq;
	if (q->failed) {
		finish_when_done(q);
	} else if (json_array_size(q->differences) > 0 && moved && ++q->rounds < ROUNDS_MAX) {
		json_array_clear(q->differences);
		q->phase = REQUEST_PEERS; /* what changed meanwhile must arrive first */
		q->target = state.last_seq;
		q->peers_ms = clock_mono_ms();
		q->barriers = q->node->barrier_count;
		requests_tick(q->node);
	} else if (q->deep) {
		begin_deep(q);
	} else {
		finish(q);
	}
}

static void begin_ranges(struct request *q)
{
	struct store_state state;
	struct compare_events events = {
		.owner = q, .difference = on_difference, .done = on_ranges_done};
	store_state(q->node->store, &state);
	q->phase = REQUEST_RANGES;
	q->began_seq = state.last_seq;
	q->compare = compare_start(&q->node->loop, q->session->link, q->node->store,
				   q->session->peer, COMPARE_LIST, q->node->profile,
				   session_compare_id(q->session), &events);
}

void verify_begin(struct request *q)
{
	/* The active compares with its peer; a passive with whoever sends to it. */
	struct session *s = q->node->sessions;
	while (s && (!s->live || session_is_idle(s)))
		s = s->next;
	if (!s) {
		request_fail(q, EXIT_UNREACHABLE, "artifact-sync status shows why",
			     "no peer is connected");
		return;
	}
	q->session = s;
	begin_ranges(q);
}

static bool on_deep_reply(struct request *q, const struct frame *frame)
{
	struct wire_deep_reply m;
	struct rd r, entries;
	const char *path, *text;
	rd_init(&r, frame->body, frame->len);
	if (wire_decode_deep_reply(&m, &r) < 0 || m.id != q->deep_id || !q->deep_there)
		return false;
	rd_init(&entries, m.entries, m.entries_len);
	while (wire_next_difference(&path, &text, &entries) > 0)
		add_difference(q, path, text, q->session->peer);
	if (m.files > 0) {
		q->files_there = m.files;
		q->bytes_there = m.bytes;
	}
	if (m.flags & DEEP_LAST) {
		q->deep_there = false;
		if (m.flags & DEEP_FAILED) {
			q->failed = true;
			snprintf(q->why, sizeof(q->why), "%s could not read its tree",
				 q->session->peer);
		}
		finish_when_done(q);
	}
	return true;
}

bool verify_frame(struct session *s, const struct frame *frame)
{
	for (struct request *q = s->node->requests; q; q = q->next) {
		if (q->session != s)
			continue;
		if (frame->type == WIRE_DEEP_REPLY ? on_deep_reply(q, frame)
						   : q->compare && compare_frame(q->compare, frame))
			return true;
	}
	return false;
}

void verify_session_lost(struct session *s)
{
	for (struct request *q = s->node->requests, *next; q; q = next) {
		next = q->next;
		if (q->session != s || q->phase < REQUEST_RANGES)
			continue;
		request_fail(q, EXIT_UNREACHABLE, "verify again when it is back",
			     "the connection was lost while comparing");
	}
}
