/* words.c - HANDOVER as in agent/node/roles_words.c, and the request that a passive sends. */
#include "roles.h"

#include <string.h>

#define OFFERS_MAX 8

static const struct {
	enum role_event event;
	bool giver; /* says it */
	enum role_action action;
} words[] = {
	{ROLE_EVENT_PREPARE, true, ROLE_ACTION_SEND_PREPARE},
	{ROLE_EVENT_READY, false, ROLE_ACTION_SEND_READY},
	{ROLE_EVENT_UNREADY, false, ROLE_ACTION_SEND_UNREADY},
	{ROLE_EVENT_CHECK, true, ROLE_ACTION_SEND_CHECK},
	{ROLE_EVENT_CHECKED, false, ROLE_ACTION_SEND_CHECKED},
	{ROLE_EVENT_UNCHECKED, false, ROLE_ACTION_SEND_UNCHECKED},
	{ROLE_EVENT_OFFER, true, ROLE_ACTION_SEND_OFFER},
	{ROLE_EVENT_TAKEN, false, ROLE_ACTION_SEND_TAKEN},
	{ROLE_EVENT_REFUSED, false, ROLE_ACTION_SEND_REFUSED},
	{ROLE_EVENT_ASK, true, ROLE_ACTION_SEND_ASK},
	{ROLE_EVENT_ABORT, true, ROLE_ACTION_SEND_ABORT},
};

void words_say(struct world *w, struct node *n, unsigned peer, enum role_event word,
	       const struct role_offer *offer)
{
	struct message m = {.kind = M_WORD, .word = word};
	if (!n->sessions[peer].live)
		return; /* the loss of its session is an event that waits in the queue */
	if (word == ROLE_EVENT_REVERSE || word == ROLE_EVENT_PREPARE)
		m.please = n->attempt.please;
	m.offer.number = offer->number;
	memcpy(m.offer.id, offer->id, WIRE_ID_LEN);
	if (word == ROLE_EVENT_CHECK || word == ROLE_EVENT_OFFER) {
		m.offer.base_seq = offer->base_seq;
		memcpy(m.offer.digest, offer->digest, sizeof(m.offer.digest));
	}
	links_send(w, n, peer, &m);
}

void words_send(struct world *w, struct node *n, enum role_action action)
{
	size_t i = 0;
	while (words[i].action != action)
		i++;
	int to = n->peer >= 0 ? n->peer : n->partner;
	for (unsigned peer = 0; peer < w->n_nodes && words[i].giver; peer++) {
		if (strcmp(w->nodes[peer].name, n->machine.offer.node) == 0)
			to = (int)peer;
	}
	if (action == ROLE_ACTION_SEND_REFUSED)
		check_refusal(w, n, n->output.offer.id);
	if (to >= 0)
		words_say(w, n, (unsigned)to, words[i].event, &n->output.offer);
}

/* ---- receiving ------------------------------------------------------------------------------ */

static void decline(struct world *w, struct node *n, unsigned peer, uint64_t please)
{
	struct message m = {.kind = M_WORD, .word = ROLE_EVENT_ABORT, .please = please};
	new_offer(w, n, &m.offer, peer);
	links_send(w, n, peer, &m);
}

static void on_please(struct world *w, struct node *n, unsigned peer, uint64_t please)
{
	if (people_busy(n) || n->machine.role != WIRE_ROLE_ACTIVE ||
	    n->machine.due == ROLE_ACTION_ON_FENCED) {
		decline(w, n, peer, please);
		return;
	}
	people_attempt(w, n, false);
	n->attempt.please = please;
	people_hand_over(w, n, peer);
}

static bool is_wanted(const struct node *n, unsigned peer, uint64_t please)
{
	return n->attempt.asked && n->attempt.please == please && n->partner == (int)peer;
}

static void on_prepare(struct world *w, struct node *n, unsigned peer, const struct role_input *in,
		       uint64_t please)
{
	struct attempt *a = &n->attempt;
	bool given_up = please != 0 && !is_wanted(n, peer, please);
	if (given_up && w->mutation != MUTATE_PLEASE_FORGOTTEN) {
		words_say(w, n, peer, ROLE_EVENT_UNREADY, &in->offer);
		return;
	}
	if (given_up)
		fail(w, "%s was told that nothing came of it, and begins it", n->name);
	if (n->machine.phase != ROLE_RESTING || n->machine.due == ROLE_ACTION_ON_FENCED) {
		words_say(w, n, peer, ROLE_EVENT_UNREADY, &in->offer);
		return;
	}
	if (!a->asked)
		people_attempt(w, n, false);
	a->asked = false;
	a->planned = true;
	n->partner = (int)peer;
	engine_push(w, n, in, (int)peer);
}

/* @return true when there is nothing for the machine in it */
static bool is_beside(struct world *w, struct node *n, unsigned peer, const struct role_input *in,
		      bool giver, uint64_t please)
{
	if (!giver)
		return strcmp(w->nodes[peer].name, n->machine.offer.node) != 0;
	if (in->event == ROLE_EVENT_PREPARE) {
		on_prepare(w, n, peer, in, please);
		return true;
	}
	if (in->event == ROLE_EVENT_ABORT && is_wanted(n, peer, please)) {
		n->attempt.asked = false;
		n->attempt.over = true;
		return true;
	}
	return in->event != ROLE_EVENT_OFFER && in->event != ROLE_EVENT_ASK &&
	       n->partner != (int)peer;
}

static void on_promise(struct world *w, struct node *n, unsigned peer, const struct message *m)
{
	struct session *s = &n->sessions[peer];
	if (n->machine.phase != ROLE_CLAIMING || !s->asked_promise ||
	    memcmp(m->offer.id, n->machine.offer.id, WIRE_ID_LEN) != 0)
		return;
	s->asked_promise = false;
	if (m->word == ROLE_EVENT_UNFIT) {
		n->proof = PROOF_NONE;
		engine_push_event(w, n, ROLE_EVENT_UNFIT);
	}
	proofs_advance(w, n);
}

void words_take(struct world *w, struct node *n, unsigned peer, const struct message *m)
{
	struct session *s = &n->sessions[peer];
	struct role_input in = {.event = m->word, .offer = m->offer};
	size_t i = 0;
	if (m->word == ROLE_EVENT_REVERSE) {
		if (!s->sender && !s->reconciling)
			fail(w, "%s asks %s, which does not send to it", w->nodes[peer].name,
			     n->name);
		on_please(w, n, peer, m->please);
		return;
	}
	if (m->word == ROLE_EVENT_CLAIM) {
		strcpy(in.offer.node, w->nodes[peer].name);
		engine_push(w, n, &in, (int)peer);
		return;
	}
	if (m->word == ROLE_EVENT_CLAIMED || m->word == ROLE_EVENT_UNFIT) {
		on_promise(w, n, peer, m);
		return;
	}
	while (words[i].event != m->word)
		i++;
	if (words[i].giver != s->receiver)
		fail(w, "%s says %s to %s against the handshake", w->nodes[peer].name,
		     role_event_name(m->word), n->name);
	strcpy(in.offer.node, words[i].giver ? n->name : w->nodes[peer].name);
	if (is_beside(w, n, peer, &in, words[i].giver, m->please))
		return;
	bool refusable = m->word == ROLE_EVENT_OFFER || m->word == ROLE_EVENT_ASK;
	if (refusable && ++s->offers > OFFERS_MAX)
		fail(w, "%s offers more than %d times in a session", w->nodes[peer].name,
		     OFFERS_MAX);
	engine_push(w, n, &in, (int)peer);
}
