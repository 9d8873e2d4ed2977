/* data.c - an index of a few keys, and its replication: records in order, acknowledged when
 * durable; barriers with the digest; a comparison of everything. A key is never absent. */
#include "roles.h"

#include <string.h>

uint64_t data_digest(const struct node *n)
{
	uint64_t digest = 0;
	for (unsigned k = 0; k < KEYS; k++) {
		const struct version *v = &n->disk.index[k];
		if (!v->foreign)
			digest += random_mix(v->token * KEYS + k);
	}
	return digest;
}

void data_put_digest(uint8_t out[32], uint64_t digest)
{
	memset(out, 0, 32);
	memcpy(out, &digest, sizeof(digest));
}

/* ---- what the tree comes to hold ------------------------------------------------------------ */

static void number(struct world *w, struct node *n, unsigned key, uint64_t token)
{
	n->disk.index[key] = (struct version){.seq = ++n->disk.last_seq, .token = token};
	data_pump_all(w, n);
}

void data_write(struct world *w, struct node *n, unsigned key)
{
	uint64_t token = w->next_token++;
	w->figures.writes++;
	if (n->frozen)
		n->unindexed[key] = token;
	else
		number(w, n, key, token);
}

void data_thaw(struct world *w, struct node *n)
{
	n->frozen = false;
	for (unsigned k = 0; k < KEYS; k++) {
		if (n->unindexed[k] && engine_role(n) == WIRE_ROLE_ACTIVE)
			number(w, n, k, n->unindexed[k]);
		n->unindexed[k] = 0; /* of a passive: to the salvage */
	}
}

void data_ack_all(struct node *n, unsigned peer, uint64_t up_to)
{
	for (unsigned k = 0; k < KEYS; k++) {
		if (n->disk.index[k].seq <= up_to)
			n->disk.acked[peer][k] = n->disk.index[k].seq;
	}
}

void data_disown(struct node *n, uint64_t base_seq, int survivor)
{
	for (unsigned k = 0; k < KEYS; k++) {
		struct version *v = &n->disk.index[k];
		bool unacked = survivor >= 0 && n->disk.acked[survivor][k] < v->seq;
		if (v->seq > base_seq || unacked)
			*v = (struct version){.token = v->token, .foreign = true};
	}
}

void data_claim(struct node *n)
{
	for (unsigned k = 0; k < KEYS; k++) {
		struct version *v = &n->disk.index[k];
		if (v->foreign)
			*v = (struct version){.seq = ++n->disk.last_seq, .token = v->token};
	}
}

/* ---- sending -------------------------------------------------------------------------------- */

static bool may_number(const struct node *n)
{
	return n->machine.role == WIRE_ROLE_ACTIVE || n->machine.role == WIRE_ROLE_DRAINING;
}

void data_pump(struct world *w, struct node *n, unsigned peer)
{
	struct session *s = &n->sessions[peer];
	bool all = true;
	if (!s->live || !s->sender)
		return;
	for (unsigned k = 0; k < KEYS; k++) {
		const struct version *v = &n->disk.index[k];
		if (v->foreign || v->seq <= n->disk.acked[peer][k])
			continue;
		all = false;
		if (s->sent[k] == v->seq)
			continue;
		s->sent[k] = v->seq;
		s->sent_token[k] = v->token;
		s->want_barrier = true;
		links_send(w, n, peer,
			   &(struct message){.kind = M_RECORD, .key = k, .version = *v});
	}
	if (!all || !s->want_barrier || s->barrier_out)
		return;
	s->want_barrier = false;
	s->barrier_out = true;
	links_send(w, n, peer,
		   &(struct message){
			   .kind = M_BARRIER, .seq = n->disk.last_seq, .digest = data_digest(n)});
}

void data_pump_all(struct world *w, struct node *n)
{
	for (unsigned peer = 0; peer < w->n_nodes; peer++)
		data_pump(w, n, peer);
}

void data_compare(struct world *w, struct node *n, unsigned peer)
{
	n->sessions[peer].sender = false;
	links_send(w, n, peer, &(struct message){.kind = M_COMPARE});
}

static void on_ack(struct world *w, struct node *n, unsigned peer, const struct message *m)
{
	struct session *s = &n->sessions[peer];
	uint64_t *acked = &n->disk.acked[peer][m->key];
	if (m->version.seq > *acked)
		*acked = m->version.seq;
	if (may_number(n) && m->version.token > w->acknowledged[m->key])
		w->acknowledged[m->key] = m->version.token;
	data_pump(w, n, peer);
	if (s->live)
		proofs_advance(w, n);
}

static void on_match(struct world *w, struct node *n, unsigned peer, const struct message *m)
{
	struct session *s = &n->sessions[peer];
	s->barrier_out = false;
	s->mismatch = !m->match;
	if (!m->match) {
		s->reconciling = true;
		data_compare(w, n, peer);
		return;
	}
	s->matched = true;
	s->matched_seq = m->seq;
	engine_matched(w, n, peer);
	if (s->live)
		data_pump(w, n, peer);
}

/* Only what differs is sent. */
static void on_have(struct world *w, struct node *n, unsigned peer, const struct message *m)
{
	struct session *s = &n->sessions[peer];
	for (unsigned k = 0; k < KEYS; k++) {
		const struct version *ours = &n->disk.index[k], *theirs = &m->have[k];
		bool same = !theirs->foreign && theirs->token == ours->token;
		n->disk.acked[peer][k] = same ? ours->seq : 0;
		s->sent[k] = 0;
	}
	s->reconciling = false;
	s->sender = s->want_barrier = true;
	data_pump(w, n, peer);
}

/* ---- receiving ------------------------------------------------------------------------------ */

static void on_record(struct world *w, struct node *n, unsigned peer, const struct message *m)
{
	n->disk.index[m->key] = m->version;
	if (m->version.seq > n->disk.last_seq)
		n->disk.last_seq = m->version.seq;
	links_send(w, n, peer,
		   &(struct message){.kind = M_ACK, .key = m->key, .version = m->version});
}

static void on_barrier(struct world *w, struct node *n, unsigned peer, const struct message *m)
{
	bool match = data_digest(n) == m->digest;
	links_send(w, n, peer, &(struct message){.kind = M_MATCH, .seq = m->seq, .match = match});
	if (match)
		engine_matched(w, n, peer);
}

static void on_compare(struct world *w, struct node *n, unsigned peer)
{
	struct message have = {.kind = M_HAVE};
	memcpy(have.have, n->disk.index, sizeof(have.have));
	links_send(w, n, peer, &have);
}

void data_take(struct world *w, struct node *n, unsigned peer, const struct message *m)
{
	const struct session *s = &n->sessions[peer];
	bool from_active = m->kind == M_RECORD || m->kind == M_BARRIER || m->kind == M_COMPARE;
	if (from_active != s->receiver)
		fail(w, "%s is sent data by %s against the handshake", n->name,
		     w->nodes[peer].name);
	switch (m->kind) {
	case M_RECORD: on_record(w, n, peer, m); break;
	case M_BARRIER: on_barrier(w, n, peer, m); break;
	case M_COMPARE: on_compare(w, n, peer); break;
	case M_ACK: on_ack(w, n, peer, m); break;
	case M_MATCH: on_match(w, n, peer, m); break;
	case M_HAVE: on_have(w, n, peer, m); break;
	default: break;
	}
}
