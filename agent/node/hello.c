/* hello.c - the handshake of one connection: what is said of this node, how the pair is judged, and
 * who sends from then on. */
#include "agent/node/node_internal.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "agent/base/clock.h"
#include "agent/base/log.h"
#include "protocol/lineage.h"
#include "protocol/messages.h"

#define CHAIN_NOTE_MS 10000 /* the peer's chain is made durable at most this often */

/* ---- what is said of this node -------------------------------------------------------------- */

/* Does the tree hold more than directories, which replication may take over without a loss? */
static bool holds_content(struct store *store)
{
	AUTO(store_cursor) *cursor = NULL;
	const struct index_entry *entry;
	if (store_cursor_open(&cursor, store, "", "", NULL) < 0)
		return true;
	int r;
	while ((r = store_cursor_next(cursor, &entry, NULL)) > 0) {
		if (entry->rec.kind == RECORD_FILE || entry->rec.kind == RECORD_SYMLINK)
			return true;
	}
	return r < 0;
}

/* A passive that was never part of the group and holds files says so: nobody has replicated them.
 */
static uint8_t hello_flags(const struct session *s, const struct store_state *state,
			   size_t n_lineage)
{
	struct store *store = s->node->store;
	uint8_t flags = s->rolled_back ? HELLO_RECONCILING : 0;
	if (n_lineage == 0 && holds_content(store))
		flags |= HELLO_POPULATED;
	if (state->adopt)
		flags |= n_lineage == 0 ? HELLO_ADOPT : HELLO_RECONCILING;
	return flags;
}

static int fill_hello(struct session *s)
{
	struct node *node = s->node;
	struct wire_hello *out = &s->said;
	struct store_state state;
	struct err err = {0};
	size_t n = 0;
	free(STEAL(s->said_lineage));
	int r = store_lineage(node->store, &s->said_lineage, &n, &err);
	if (r < 0) {
		log_error(MODULE_SESSION, "peer=%s err=\"%s\"", s->peer, err.msg);
		return r;
	}
	store_state(node->store, &state);
	*out = (struct wire_hello){.version = WIRE_VERSION, .role = state.role};
	snprintf(out->group, sizeof(out->group), "%s", node->conf->group);
	snprintf(out->node, sizeof(out->node), "%s", node->conf->node);
	snprintf(out->to, sizeof(out->to), "%s", s->peer);
	out->flags = hello_flags(s, &state, n);
	memcpy(out->profile, node->profile_hash, sizeof(out->profile));
	out->chain_n = state.chain_n;
	memcpy(out->chain, state.chain, sizeof(out->chain));
	store_peer_chain(node->store, s->peer, &out->seen_chain_n, out->seen_chain, NULL);
	out->last_seq = state.last_seq;
	out->records = state.records;
	memcpy(out->digest, state.digest, sizeof(out->digest));
	out->n_lineage = (uint16_t)n;
	out->lineage = s->said_lineage;
	return 0;
}

void hello_send(struct session *s)
{
	AUTO_FREE uint8_t *body = x_calloc(1, WIRE_FRAME_MAX);
	if (fill_hello(s) < 0) {
		session_close_link(s, BYE_INTERNAL, "the state could not be read");
		return;
	}
	struct wr w;
	wr_init(&w, body, WIRE_FRAME_MAX);
	wire_encode_hello(&w, &s->said);
	BUG_ON(w.error);
	link_send(s->link, WIRE_HELLO, body, wr_len(&w));
}

/* ---- going live ----------------------------------------------------------------------------- */

static int take_lineage(struct session *s, const struct wire_hello *theirs)
{
	struct err err = {0};
	if (roles_before_lineage(s, theirs, &err) == 0 &&
	    roles_take_lineage(s, theirs, &err) == 0) {
		roles_after_lineage(s, theirs);
		return 0;
	}
	session_close_link(s, BYE_INTERNAL, err.msg);
	return -EIO;
}

static void begin_sending(struct session *s, const struct wire_hello *theirs)
{
	struct err err = {0};
	struct store *store = s->node->store;
	int r = 0;
	struct store_state state;
	store_state(store, &state);
	if (theirs->last_seq > state.last_seq + WIRE_SEQ_LEAP) {
		session_close_link(s, BYE_MALFORMED, "HELLO: last_seq leaps beyond all measure");
		return;
	}
	if (s->outcome == HANDSHAKE_SEND_ALL)
		r = store_unack_all(store, s->peer, &err);
	/* A seq the peer has seen must not be given to another change. */
	if (r == 0)
		r = store_raise_seq(store, theirs->last_seq, &err);
	int compares = r == 0 ? roles_before_sending(s, theirs, &err) : r;
	if (compares < 0) {
		session_close_link(s, BYE_INTERNAL, err.msg);
		return;
	}
	/* Nothing to compare with: a new node holds its own directory at most. */
	if ((s->outcome == HANDSHAKE_SEND && !compares) ||
	    (s->outcome == HANDSHAKE_SEND_ALL && theirs->records <= 1)) {
		session_start_sender(s);
		return;
	}
	s->reconciling = true;
	session_scanned(s);
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

/* Two that do not send to each other know of each other all the same. */
static bool is_idle(enum handshake outcome)
{
	return outcome == HANDSHAKE_IDLE;
}

static void go_live(struct session *s, const struct wire_hello *theirs)
{
	struct node *node = s->node;
	s->live = true;
	s->trouble[0] = '\0';
	s->have_theirs = false;
	s->offers = 0;
	s->beat = s->beat_seen = s->asked_beat = 0;
	s->ranges = range_server_new(&node->loop, s->link, node->store);
	s->profile_differs = memcmp(theirs->profile, node->profile_hash, 32) != 0;
	if (s->profile_differs)
		log_warn(MODULE_SESSION,
			 "peer=%s profile or ownership differ: content flows, but the "
			 "trees cannot be called equal; make `profile`, `rules` and `ownership` "
			 "the same",
			 s->peer);
	if (may_send(s->outcome)) {
		link_go_live(s->link, FROM_PASSIVE);
		begin_sending(s, theirs);
	} else if (is_idle(s->outcome)) {
		link_go_live(s->link, FROM_NEITHER);
	} else {
		link_go_live(s->link, FROM_ACTIVE);
		s->past = history_server_new(&node->loop, s->link, node->history, node->store);
		if (take_lineage(s, theirs) == 0) {
			session_start_receiver(s);
			drift_guard_session(node, s->outcome == HANDSHAKE_RECEIVE);
		}
	}
	s->noted_chain_n = 0;
	s->their_chain_n = theirs->chain_n;
	memcpy(s->their_chain, theirs->chain, sizeof(s->their_chain));
	fingerprints_send(s);
	exposure_live(s);
	canary_live(s);
	readiness_live(s);
	session_tick(s);
	roles_session_live(s);
}

/* From now on the peer's state must not fall behind this one. Not before a barrier matched: until
 * the trees have proven equal, what was remembered is the proof that one of them was put back to
 * an older copy, and a restart must find it again. */
void hello_matched(struct session *s, uint64_t chain_n, const uint8_t chain[HASH_LEN])
{
	uint64_t now = clock_mono_ms();
	s->rolled_back = false;
	if (chain_n <= s->noted_chain_n ||
	    (s->noted_chain_n != 0 && now - s->noted_ms < CHAIN_NOTE_MS))
		return;
	s->noted_chain_n = chain_n;
	s->noted_ms = now;
	store_set_peer_chain(s->node->store, s->peer, chain_n, chain, NULL);
}

/* The numbers of transactions show only that one state is behind another. A restored state that has
 * gone on since then is known by what the peer saw of it: only its own node can tell. */
static bool is_rolled_back(const struct session *s, const struct wire_hello *theirs)
{
	return (s->outcome == HANDSHAKE_SEND || s->outcome == HANDSHAKE_RECEIVE ||
		(is_idle(s->outcome) && !s->rolled_back)) &&
	       !store_chain_was_ours(s->node->store, theirs->seen_chain_n, theirs->seen_chain);
}

int hello_frame(struct session *s, const struct frame *frame)
{
	AUTO_FREE struct epoch_entry *lineage = x_calloc(WIRE_LINEAGE_MAX, sizeof(*lineage));
	struct wire_hello theirs;
	enum wire_reason why = 0;
	char text[WIRE_TEXT_MAX + 1];
	struct rd r;
	rd_init(&r, frame->body, frame->len);
	if (wire_decode_hello(&theirs, lineage, &r) < 0) {
		snprintf(text, sizeof(text), "HELLO: field \"%s\" is malformed",
			 r.field ? r.field : "?");
		session_close_link(s, BYE_MALFORMED, text);
		return -EBADMSG;
	}
	/* With what was said, not with what this node has become since: the other side knows
	 * nothing of that, and both must come to the same. */
	s->outcome = handshake_judge(&s->said, &theirs, &why, text);
	s->peer_role = theirs.role;
	log_info(MODULE_SESSION, "peer=%s address=%s outcome=%s%s%s", s->peer,
		 link_address(s->link), handshake_name(s->outcome), *text ? " " : "", text);
	if (s->outcome == HANDSHAKE_SUPERSEDED)
		roles_superseded(s, &theirs);
	if (s->outcome == HANDSHAKE_REFUSE && why == BYE_SPLIT)
		roles_forked(s, &theirs);
	if (!s->link)
		return -EPROTO;
	if (!may_send(s->outcome) && !may_receive(s->outcome) && !is_idle(s->outcome)) {
		session_close_link(s, s->outcome == HANDSHAKE_REFUSE ? why : BYE_LINEAGE, text);
		return -EPROTO;
	}
	if (is_rolled_back(s, &theirs)) {
		s->rolled_back = true; /* the next HELLO says so to both */
		session_close_link(s, BYE_LINEAGE,
				   "this state was put back from an older copy: it comes back "
				   "and is compared first");
		return -EPROTO;
	}
	go_live(s, &theirs);
	if (s->outcome == HANDSHAKE_IDLE)
		snprintf(s->trouble, sizeof(s->trouble), "%s", text);
	return 0;
}
