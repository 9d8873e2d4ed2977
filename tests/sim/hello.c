/* hello.c - the handshake of one connection, after agent/node/hello.c. */
#include <stdio.h>
#include <string.h>

#include "protocol/messages.h"
#include "world.h"

static bool holds_content(const struct store *store)
{
	for (int path = 0; path < N_PATHS; path++) {
		if (store->rows[path].kind == RECORD_FILE ||
		    store->rows[path].kind == RECORD_SYMLINK)
			return true;
	}
	return false;
}

static uint8_t hello_flags(const struct session *s)
{
	const struct store *store = &s->node->store;
	uint8_t flags = s->rolled_back ? HELLO_RECONCILING : 0;
	if (store->n_lineage == 0 && holds_content(store))
		flags |= HELLO_POPULATED;
	if (store->adopt)
		flags |= store->n_lineage == 0 ? HELLO_ADOPT : HELLO_RECONCILING;
	return flags;
}

static void fill_hello(struct session *s, struct wire_hello *out)
{
	struct store *store = &s->node->store;
	const struct peer_rows *peer = &store->peers[s->peer];
	*out = (struct wire_hello){.version = WIRE_VERSION,
				   .group = "simulated",
				   .role = store->role,
				   .flags = hello_flags(s),
				   .chain_n = store->chain_n,
				   .seen_chain_n = peer->chain_n,
				   .last_seq = store->last_seq,
				   .records = store->records,
				   .n_lineage = store->n_lineage,
				   .lineage = s->said_lineage};
	memcpy(s->said_lineage, store->lineage, sizeof(store->lineage));
	snprintf(out->node, sizeof(out->node), "%s", s->node->name);
	snprintf(out->to, sizeof(out->to), "%s", s->w->nodes[s->peer].name);
	memcpy(out->chain, store->chain, sizeof(out->chain));
	memcpy(out->seen_chain, peer->chain, sizeof(out->seen_chain));
	memcpy(out->digest, store_digest(store), sizeof(out->digest));
}

void hello_send(struct session *s)
{
	static uint8_t body[WIRE_FRAME_MAX];
	struct wr w;
	fill_hello(s, &s->said);
	wr_init(&w, body, sizeof(body));
	wire_encode_hello(&w, &s->said);
	session_send(s, WIRE_HELLO, &w);
}

static bool may_send(enum handshake outcome)
{
	return outcome == HANDSHAKE_SEND || outcome == HANDSHAKE_SEND_ALL ||
	       outcome == HANDSHAKE_RECONCILE_SEND;
}

static bool may_receive(enum handshake outcome)
{
	return outcome == HANDSHAKE_RECEIVE || outcome == HANDSHAKE_RECEIVE_ALL ||
	       outcome == HANDSHAKE_RECONCILE_RECEIVE;
}

static void begin_sending(struct session *s, const struct wire_hello *theirs)
{
	struct store *store = &s->node->store;
	if (s->outcome == HANDSHAKE_SEND_ALL)
		store_unack(store, s->peer, ALL_PATHS);
	store_raise_seq(store, theirs->last_seq);
	if (s->outcome == HANDSHAKE_SEND ||
	    (s->outcome == HANDSHAKE_SEND_ALL && theirs->records <= 1)) {
		session_start_sender(s);
		return;
	}
	s->reconciling = true;
	session_scanned(s);
}

static void go_live(struct session *s, const struct wire_hello *theirs)
{
	struct store *store = &s->node->store;
	s->live = s->link->live = true;
	s->link->live_at = s->w->now;
	s->beat = s->beat_seen = 0;
	s->matched = false;
	s->noted_chain_n = 0;
	s->backoff = 0;
	if (may_send(s->outcome)) {
		s->link->from = FROM_PASSIVE;
		begin_sending(s, theirs);
	} else {
		s->link->from = FROM_ACTIVE;
		store_set_lineage(store, theirs->lineage, theirs->n_lineage);
		receiver_start(s);
	}
	s->their_chain_n = theirs->chain_n;
	memcpy(s->their_chain, theirs->chain, sizeof(s->their_chain));
}

/* What the peer saw of this node, before it was put back to an older copy. */
static bool is_rolled_back(struct session *s, const struct wire_hello *theirs)
{
	return (s->outcome == HANDSHAKE_SEND || s->outcome == HANDSHAKE_RECEIVE) &&
	       !store_chain_was_ours(&s->node->store, theirs->seen_chain_n, theirs->seen_chain);
}

static enum handshake mirror(enum handshake outcome)
{
	static const enum handshake mirrored[] = {
		[HANDSHAKE_SEND] = HANDSHAKE_RECEIVE,
		[HANDSHAKE_RECEIVE] = HANDSHAKE_SEND,
		[HANDSHAKE_SEND_ALL] = HANDSHAKE_RECEIVE_ALL,
		[HANDSHAKE_RECEIVE_ALL] = HANDSHAKE_SEND_ALL,
		[HANDSHAKE_RECONCILE_SEND] = HANDSHAKE_RECONCILE_RECEIVE,
		[HANDSHAKE_RECONCILE_RECEIVE] = HANDSHAKE_RECONCILE_SEND,
		[HANDSHAKE_SUPERSEDED] = HANDSHAKE_SUPERSEDES,
		[HANDSHAKE_SUPERSEDES] = HANDSHAKE_SUPERSEDED,
		[HANDSHAKE_IDLE] = HANDSHAKE_IDLE,
		[HANDSHAKE_REFUSE] = HANDSHAKE_REFUSE,
	};
	return mirrored[outcome];
}

/* Nobody is told the outcome: the other side must have come to the mirror image. */
static void check_symmetry(struct session *s)
{
	const struct session *other = &s->w->nodes[s->peer].sessions[s->node->number];
	if (other->link == side_other(s->link) && other->live &&
	    other->outcome != mirror(s->outcome))
		world_fail(s->w, "the handshake came to %s at %s and to %s at %s",
			   handshake_name(s->outcome), s->node->name,
			   handshake_name(other->outcome), other->node->name);
}

void hello_frame(struct session *s, const struct frame *frame)
{
	static struct epoch_entry lineage[WIRE_LINEAGE_MAX];
	struct wire_hello theirs;
	enum wire_reason why = 0;
	char text[WIRE_TEXT_MAX + 1];
	struct rd r;
	rd_init(&r, frame->body, frame->len);
	if (wire_decode_hello(&theirs, lineage, &r) < 0)
		session_violated(s, "HELLO");
	if (s->w->mutation == MUTATE_JUDGE_LATER)
		fill_hello(s, &s->said);
	s->outcome = handshake_judge(&s->said, &theirs, &why, text);
	trace(s->w, s->node, "  %s: %s", handshake_name(s->outcome), text);
	if (!may_send(s->outcome) && !may_receive(s->outcome)) {
		if (s->outcome != HANDSHAKE_IDLE)
			world_fail(s->w, "%s: the handshake came to %s: %s", s->node->name,
				   handshake_name(s->outcome), text);
		s->backoff = 1;
		side_close(s->w, s->link, BYE_LINEAGE, text);
		return;
	}
	if (is_rolled_back(s, &theirs)) {
		if (s->w->mutation == MUTATE_TRUST_NUMBERS)
			world_fail(s->w, "%s was put back to an older copy, and %s does not notice",
				   s->node->name, s->w->nodes[s->peer].name);
		s->rolled_back = true; /* the next HELLO says so to both */
		side_close(s->w, s->link, BYE_LINEAGE,
			   "this state was put back from an older copy");
		return;
	}
	go_live(s, &theirs);
	check_symmetry(s);
}
