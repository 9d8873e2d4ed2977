/* hello.c - the handshake as in agent/node/hello.c, and what roles_switch.c settles in it. The
 * judgement is the real one. */
#include "roles.h"

#include <stdlib.h>
#include <string.h>

void hello_send(struct world *w, struct node *n, unsigned peer)
{
	struct hello *h = &n->sessions[peer].said;
	const struct durable *d = &n->disk;
	struct message m = {.kind = M_HELLO, .hello = malloc(sizeof(*m.hello))};
	if (!m.hello)
		abort();
	*h = (struct hello){.wire = {.version = WIRE_VERSION,
				     .group = "sim",
				     .role = engine_role(n),
				     .last_seq = d->last_seq,
				     .records = KEYS,
				     .n_lineage = (uint16_t)d->n_lineage}};
	strcpy(h->wire.node, n->name);
	strcpy(h->wire.to, w->nodes[peer].name);
	data_put_digest(h->wire.digest, data_digest(n));
	memcpy(h->lineage, d->lineage, sizeof(h->lineage));
	h->wire.lineage = h->lineage;
	*m.hello = *h;
	m.hello->wire.lineage = m.hello->lineage;
	links_send(w, n, peer, &m);
}

/* ---- superseded, forked --------------------------------------------------------------------- */

static void note_number(struct node *n, const struct wire_hello *theirs)
{
	uint64_t number = theirs->n_lineage ? theirs->lineage[theirs->n_lineage - 1].number : 0;
	if (number > n->machine.number)
		n->machine.number = number;
}

static bool contains(const struct wire_hello *h, const uint8_t id[WIRE_ID_LEN])
{
	for (size_t i = 0; i < h->n_lineage; i++) {
		if (memcmp(h->lineage[i].id, id, WIRE_ID_LEN) == 0)
			return true;
	}
	return false;
}

static enum lineage_relation relation(const struct session *s, const struct wire_hello *theirs,
				      size_t *common)
{
	return lineage_compare(s->said.lineage, s->said.wire.n_lineage, theirs->lineage,
			       theirs->n_lineage, common);
}

static void superseded(struct world *w, struct node *n, unsigned peer,
		       const struct wire_hello *theirs)
{
	struct role_input in = {.event = ROLE_EVENT_SUPERSEDED};
	size_t common;
	bool fork = relation(&n->sessions[peer], theirs, &common) == LINEAGE_FORK;
	note_number(n, theirs);
	n->partner = (int)peer;
	if (fork) {
		in.event = ROLE_EVENT_FORK_LOST;
		n->cut = w->mutation != MUTATE_FORK_NOT_CUT;
		n->cut_to = common;
	} else if (n->machine.role == WIRE_ROLE_SPLIT) {
		in.event = ROLE_EVENT_FORK_LOST;
	} else if (n->machine.has_offer && contains(theirs, n->machine.offer.id)) {
		in.event = ROLE_EVENT_INHERITED;
	} else if (n->machine.role == WIRE_ROLE_FENCED) {
		return;
	}
	if (n->attempt.over) {
		people_attempt(w, n, false);
		n->attempt.planned = in.event == ROLE_EVENT_INHERITED;
	}
	engine_push(w, n, &in, (int)peer);
}

static void forked(struct world *w, struct node *n, unsigned peer, const struct wire_hello *theirs)
{
	size_t common;
	note_number(n, theirs);
	enum lineage_relation how = relation(&n->sessions[peer], theirs, &common);
	if (how == LINEAGE_OURS_LONGER && n->machine.role == WIRE_ROLE_SPLIT && !n->have_fork) {
		n->have_fork = true; /* its side has been given up: there is nothing to end */
		n->fork_seq = theirs->last_seq;
	}
	if (how != LINEAGE_FORK)
		return;
	n->have_fork = true;
	n->fork_seq = theirs->last_seq;
	memcpy(n->fork_end, theirs->lineage[theirs->n_lineage - 1].id, WIRE_ID_LEN);
	if (n->machine.role != WIRE_ROLE_SPLIT)
		engine_push_event(w, n, ROLE_EVENT_FORKED);
}

/* ---- going live ----------------------------------------------------------------------------- */

/* Who else was met as the active, or with the lineage of before, is met anew. */
static void leave_the_others(struct world *w, struct node *n, unsigned peer)
{
	const struct role_input in = {.event = ROLE_EVENT_SUPERSEDED};
	for (unsigned other = 0; other < w->n_nodes; other++) {
		if (other != peer)
			links_close(w, n, other);
	}
	if (n->machine.role == WIRE_ROLE_PASSIVE)
		engine_push(w, n, &in, (int)peer);
}

/* What was numbered above the first epoch that is lacking here was never given by its active.
 * @return false when this node has begun to change its role since it said HELLO */
static bool take_lineage(struct world *w, struct node *n, unsigned peer,
			 const struct wire_hello *theirs)
{
	struct session *s = &n->sessions[peer];
	struct durable *d = &n->disk;
	size_t common;
	bool takes = n->machine.role == WIRE_ROLE_PASSIVE || n->machine.role == WIRE_ROLE_FENCED;
	bool longer = relation(s, theirs, &common) == LINEAGE_THEIRS_LONGER;
	n->promised_until = longer ? 0 : n->promised_until;
	note_number(n, theirs);
	if (!takes || (n->carrying && longer))
		return false;
	if (longer) {
		uint64_t base_seq = theirs->lineage[common].base_seq;
		bool fenced = s->said.wire.role == WIRE_ROLE_FENCED;
		if (fenced || s->said.wire.last_seq > base_seq)
			data_disown(n, base_seq, fenced ? (int)peer : -1);
	}
	memcpy(d->lineage, theirs->lineage, theirs->n_lineage * sizeof(d->lineage[0]));
	d->n_lineage = theirs->n_lineage;
	if (d->n_lineage && d->lineage[d->n_lineage - 1].base_seq > d->last_seq)
		d->last_seq = d->lineage[d->n_lineage - 1].base_seq;
	s->receiver = true;
	if (longer && w->mutation != MUTATE_TWO_GIVERS)
		leave_the_others(w, n, peer);
	return true;
}

static bool must_compare(struct node *n, unsigned peer, const struct wire_hello *theirs)
{
	uint8_t digest[32];
	const struct wire_hello *said = &n->sessions[peer].said.wire;
	note_number(n, theirs);
	if (!n->disk.unknown[peer])
		return false;
	data_put_digest(digest, data_digest(n));
	bool equal = memcmp(digest, theirs->digest, sizeof(digest)) == 0 &&
		     theirs->role != WIRE_ROLE_FENCED;
	data_ack_all(n, peer,
		     equal ? n->disk.last_seq : said->lineage[said->n_lineage - 1].base_seq);
	return !equal;
}

static void begin_sending(struct world *w, struct node *n, unsigned peer,
			  const struct wire_hello *theirs)
{
	struct session *s = &n->sessions[peer];
	const struct role_input live = {.event = ROLE_EVENT_LINK_LIVE};
	if (theirs->last_seq > n->disk.last_seq)
		n->disk.last_seq = theirs->last_seq;
	bool compare = must_compare(n, peer, theirs) || s->outcome != HANDSHAKE_SEND;
	if (compare) {
		s->reconciling = true;
		data_compare(w, n, peer);
	} else {
		s->sender = s->want_barrier = true;
		data_pump(w, n, peer);
	}
	if (s->sender && n->machine.phase == ROLE_OFFERING &&
	    strcmp(w->nodes[peer].name, n->machine.offer.node) == 0 &&
	    w->mutation != MUTATE_NEVER_ASKED)
		engine_push(w, n, &live, (int)peer);
}

static void go_live(struct world *w, struct node *n, unsigned peer, const struct wire_hello *theirs)
{
	struct session *s = &n->sessions[peer];
	s->live = true;
	s->theirs_last_seq = theirs->last_seq;
	if (s->outcome == HANDSHAKE_SEND || s->outcome == HANDSHAKE_RECONCILE_SEND) {
		begin_sending(w, n, peer, theirs);
	} else if (s->outcome != HANDSHAKE_IDLE) {
		if (!take_lineage(w, n, peer, theirs))
			links_close(w, n, peer);
	} else {
		proofs_claim_session(w, n, peer);
	}
	engine_run(w, n);
}

void hello_take(struct world *w, struct node *n, unsigned peer, const struct hello *theirs)
{
	struct session *s = &n->sessions[peer];
	enum wire_reason why;
	char text[WIRE_TEXT_MAX + 1];
	s->outcome = handshake_judge(&s->said.wire, &theirs->wire, &why, text);
	s->peer_role = theirs->wire.role;
	tell(w, "%s: with %s it comes to %s: %s", n->name, w->nodes[peer].name,
	     handshake_name(s->outcome), text);
	switch (s->outcome) {
	case HANDSHAKE_SUPERSEDED: superseded(w, n, peer, &theirs->wire); break;
	case HANDSHAKE_REFUSE:
		if (why != BYE_SPLIT)
			fail(w, "%s and %s refuse each other: %s", n->name, w->nodes[peer].name,
			     text);
		forked(w, n, peer, &theirs->wire);
		break;
	case HANDSHAKE_SUPERSEDES: break;
	case HANDSHAKE_SEND_ALL:
	case HANDSHAKE_RECEIVE_ALL: fail(w, "%s has no lineage: %s", n->name, text);
	default: go_live(w, n, peer, &theirs->wire); return;
	}
	links_close(w, n, peer);
}
