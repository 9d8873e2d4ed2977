/* session.c - one peer: which connection, who sends and who receives, frames, the clockwork and the
 * orderly end. After agent/node/session.c and agent/net/peers_links.c. */
#include <errno.h>
#include <string.h>

#include "protocol/messages.h"
#include "world.h"

#define TICK SECOND
#define CHAIN_NOTE_TIME (10 * SECOND)
#define HANDSHAKE_TIME (5 * SECOND)

/* ---- frames --------------------------------------------------------------------------------- */

/* Both sides are honest here: a violation is always a bug of one of them. */
void session_violated(struct session *s, const char *what)
{
	world_fail(s->w, "%s sees its peer %s violate the protocol: %s", s->node->name,
		   s->w->nodes[s->peer].name, what);
}

void session_send(struct session *s, uint8_t type, const struct wr *body)
{
	if (body->error)
		world_fail(s->w, "%s cannot encode a %s: %d", s->node->name, wire_rule(type)->name,
			   body->error);
	side_send(s->w, s->link, type, body->start, wr_len(body));
}

static void on_heartbeat(struct session *s, const struct frame *frame)
{
	struct wire_heartbeat m;
	struct rd r;
	rd_init(&r, frame->body, frame->len);
	if (wire_decode_heartbeat(&m, &r) < 0 || m.nonce != s->beat_seen + 1)
		session_violated(s, "HEARTBEAT");
	s->beat_seen = m.nonce;
}

static void heartbeat_send(struct session *s)
{
	uint8_t body[256];
	struct wr w;
	struct wire_heartbeat m = {.nonce = ++s->beat,
				   .echo = s->beat_seen,
				   .last_seq = s->node->store.last_seq,
				   .clock_ns = (int64_t)s->w->now * 1000};
	wr_init(&w, body, sizeof(body));
	wire_encode_heartbeat(&w, &m);
	session_send(s, WIRE_HEARTBEAT, &w);
}

static void on_bye(struct session *s, struct side *side, const struct frame *frame)
{
	struct wire_bye m;
	struct rd r;
	rd_init(&r, frame->body, frame->len);
	if (wire_decode_bye(&m, &r) < 0 || m.reason == BYE_MALFORMED ||
	    m.reason == BYE_OUT_OF_PHASE || m.reason == BYE_OVERSIZED || m.reason == BYE_INTERNAL)
		session_violated(s, "BYE");
	side->open = false;
}

static void on_live_frame(struct session *s, const struct frame *frame)
{
	switch (frame->type) {
	case WIRE_HEARTBEAT: on_heartbeat(s, frame); return;
	case WIRE_RANGE_ASK: range_answer(s, frame); return;
	case WIRE_RANGE_SPLIT:
	case WIRE_RANGE_LIST: compare_frame(s, frame); return;
	default: break;
	}
	if (s->receiver.inbound)
		receiver_frame(s, frame);
	else if (s->sender.outbound)
		sender_frame(s, frame);
	else
		session_violated(s, wire_rule(frame->type)->name);
}

static void on_frame(struct session *s, struct side *side, const struct frame *frame)
{
	trace(s->w, s->node, "  <- %s %s %u", s->w->nodes[s->peer].name,
	      wire_rule(frame->type)->name, frame->len);
	if (frame->type == WIRE_BYE)
		on_bye(s, side, frame);
	else if (s->link != side)
		return;
	else if (frame->type == WIRE_HELLO)
		hello_frame(s, frame);
	else
		on_live_frame(s, frame);
}

static void on_told(struct world *w, struct node *node, int peer, uint32_t arg);

void session_on_bytes(struct world *w, struct side *side)
{
	struct session *s = &side->node->sessions[side->peer];
	struct frame frame;
	int r = 0;
	while (side->open &&
	       (r = frame_next(&side->reader, &frame, side->live ? PHASE_LIVE : PHASE_HELLO,
			       side->live ? side->from : FROM_EITHER)) == 1)
		on_frame(s, side, &frame);
	if (r < 0)
		session_violated(s, wire_rule(frame.type) ? wire_rule(frame.type)->name : "type");
	if (!side->open)
		later(w, side->node, delay(w, MS), "ended", on_told, side->peer,
		      side->connection->id << 1 | (side == &side->connection->sides[1]));
}

/* After a BYE the rest of the connection is of no interest. */
static void on_told(struct world *w, struct node *node, int peer, uint32_t arg)
{
	(void)node;
	(void)peer;
	network_ended(w, arg);
}

/* ---- which connection ----------------------------------------------------------------------- */

static void start_link(struct session *s)
{
	s->link = s->waiting;
	s->waiting = NULL;
	s->w->stats.sessions++;
	side_admit(s->w, s->link);
	hello_send(s);
}

static const char *dialler_of(const struct session *s, const struct side *side)
{
	return side->dialled ? s->node->name : s->w->nodes[s->peer].name;
}

static bool newer_wins(const struct session *s, const struct side *now, const struct side *newer)
{
	if (!now->open || now->dialled == newer->dialled)
		return true;
	if (now->live && s->w->now - now->live_at > HANDSHAKE_TIME)
		return true;
	return strcmp(dialler_of(s, newer), dialler_of(s, now)) < 0;
}

void session_on_proven(struct world *w, struct side *side)
{
	struct session *s = &side->node->sessions[side->peer];
	struct side *now = s->waiting ? s->waiting : s->link;
	if (now && !newer_wins(s, now, side)) {
		side_close(w, side, BYE_REPLACED, "there is another connection");
		return;
	}
	s->waiting = side;
	if (now) {
		w->stats.replaced++;
		side_close(w, now, BYE_REPLACED, "a newer connection took over");
	} else if (!s->closing) {
		start_link(s);
	}
}

static void on_dial(struct world *w, struct node *node, int peer, uint32_t arg)
{
	struct session *s = &node->sessions[peer];
	(void)arg;
	s->dialling = false;
	if (s->link || s->waiting || !node->listening)
		return;
	network_dial(w, node, peer);
	session_dial_later(s);
}

void session_dial_later(struct session *s)
{
	if (s->dialling)
		return;
	s->dialling = true;
	later(s->w, s->node, delay(s->w, s->backoff ? 20 * SECOND : 400 * MS), "dial", on_dial,
	      s->peer, 0);
}

/* ---- the end of a connection ---------------------------------------------------------------- */

static void finish_close(struct session *s)
{
	sender_release(s);
	receiver_release(s);
	compare_stop(s);
	s->closing = false;
	if (s->waiting)
		start_link(s);
	else
		session_dial_later(s);
}

void session_run_job(struct session *s, session_run *run, uint32_t arg)
{
	run(s, arg);
	session_job_ended(s);
}

void session_job_ended(struct session *s)
{
	s->jobs--;
	if (s->closing && s->jobs == 0)
		finish_close(s);
}

void session_on_closed(struct world *w, struct side *side)
{
	struct session *s = &side->node->sessions[side->peer];
	(void)w;
	if (s->waiting == side)
		s->waiting = NULL;
	if (s->link != side) {
		if (!s->link && !s->closing)
			session_dial_later(s);
		return;
	}
	s->link = NULL;
	s->live = s->reconciling = s->matched = false;
	s->closing = true;
	if (s->jobs == 0)
		finish_close(s);
}

/* ---- what the modules say ------------------------------------------------------------------- */

/* A barrier says that the index is the tree; before the first scan has ended that is not known. */
void session_want_barrier(struct session *s)
{
	if (s->sender.outbound && s->node->scanned && !s->closing)
		sender_want_barrier(s);
}

void session_start_sender(struct session *s)
{
	sender_start(s);
	sender_kick(s, true);
	session_want_barrier(s);
}

/* The trees are equal: from now on the peer's state must not fall behind what it was. */
void session_matched(struct session *s, uint64_t chain_n, const uint8_t chain[32])
{
	s->rolled_back = false;
	s->matched = true;
	if (chain_n <= s->noted_chain_n ||
	    (s->noted_chain_n != 0 && s->w->now - s->noted_at < CHAIN_NOTE_TIME))
		return;
	s->noted_chain_n = chain_n;
	s->noted_at = s->w->now;
	store_set_peer_chain(&s->node->store, s->peer, chain_n, chain);
}

void session_on_mismatch(struct session *s)
{
	s->matched = false;
	if (!s->compare.running)
		compare_start(s);
}

void session_reconciled(struct session *s)
{
	s->reconciling = false;
	s->w->stats.reconciliations++;
	if (!s->sender.outbound)
		session_start_sender(s);
	else
		sender_kick(s, true);
	session_want_barrier(s);
}

/* What the index does not know yet would look like something that only the peer has. */
void session_scanned(struct session *s)
{
	if (s->node->scanned && s->live && s->reconciling && !s->compare.running)
		compare_start(s);
	session_want_barrier(s);
}

void session_indexed(struct session *s)
{
	if (!s->sender.outbound || s->closing)
		return;
	sender_kick(s, false);
	session_want_barrier(s);
}

void session_on_writable(struct world *w, struct node *node, int peer, uint32_t arg)
{
	struct session *s = &node->sessions[peer];
	(void)w;
	(void)arg;
	if (s->sender.outbound && !s->closing)
		sender_pump(s);
}

void session_tick(struct world *w, struct node *node, int peer, uint32_t arg)
{
	struct session *s = &node->sessions[peer];
	(void)arg;
	later(w, node, TICK, "tick", session_tick, peer, 0);
	if (!s->live || !s->link)
		return;
	heartbeat_send(s);
	session_want_barrier(s);
}
