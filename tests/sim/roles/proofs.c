/* proofs.c - what agent/node/roles_settle.c proves before a role changes hands, and the hooks of
 * roles_hooks.c. */
#include "roles.h"

#include <string.h>

#define HOOK_DEADLINE (60 * SECOND)
#define HOOK_FIRST (2 * SECOND)
#define HOOK_LAST (30 * SECOND)
#define HOOKS_WAITING 8

/* ---- proofs --------------------------------------------------------------------------------- */

static void begin(struct world *w, struct node *n, enum proof proof)
{
	n->proof = proof;
	world_at(w, late(w, 30 * MS), H_PROOF, n, ++n->proof_n, 0);
}

void proofs_settle(struct world *w, struct node *n)
{
	begin(w, n, SETTLE_FENCE);
}

void proofs_look(struct world *w, struct node *n, bool forced)
{
	begin(w, n, forced ? FORCE_LOOK : LOOK);
}

void proofs_compare(struct world *w, struct node *n)
{
	data_thaw(w, n);
	begin(w, n, COMPARE_SCAN);
}

/* The tree is indexed: nothing gets a seq from here on. */
static void fenced(struct world *w, struct node *n)
{
	if (fate(w, w->weather.held)) {
		n->proof = PROOF_NONE;
		engine_push_event(w, n, ROLE_EVENT_UNSETTLED);
		return;
	}
	n->frozen = w->mutation != MUTATE_NOT_FROZEN;
	n->proof = SETTLE_PEERS;
	for (unsigned peer = 0; peer < w->n_nodes; peer++)
		n->sessions[peer].want_barrier = true;
	data_pump_all(w, n);
	proofs_advance(w, n);
}

static void looked(struct world *w, struct node *n)
{
	struct role_input in = {.event = ROLE_EVENT_CLEAN,
				.offer.base_seq = n->machine.offer.base_seq};
	const uint8_t *asked = n->machine.offer.digest;
	data_put_digest(in.offer.digest, data_digest(n));
	bool equal = memcmp(in.offer.digest, asked, sizeof(in.offer.digest)) == 0 &&
		     n->disk.last_seq <= in.offer.base_seq;
	n->proof = PROOF_NONE;
	if (!equal || fate(w, w->weather.dirty))
		in.event = ROLE_EVENT_DIRTY;
	if (in.event == ROLE_EVENT_CLEAN && n->partner >= 0) {
		data_ack_all(n, (unsigned)n->partner, in.offer.base_seq);
		n->disk.unknown[n->partner] = false;
	}
	engine_push(w, n, &in, -1);
}

void proofs_weigh(struct world *w, struct node *n)
{
	begin(w, n, FORCE_ASK);
}

static void weighed(struct world *w, struct node *n)
{
	struct role_input in = {.event = ROLE_EVENT_WEIGHED};
	n->proof = PROOF_NONE;
	if (!people_may_force(w, n) || !people_spend_epoch(w))
		in.event = ROLE_EVENT_UNFIT;
	else
		new_offer(w, n, &in.offer, n->at_index);
	engine_push(w, n, &in, -1);
}

void proofs_go_on(struct world *w, struct node *n, uint64_t proof_n)
{
	if (proof_n != n->proof_n)
		return;
	switch (n->proof) {
	case SETTLE_FENCE: fenced(w, n); break;
	case LOOK: looked(w, n); break;
	case FORCE_ASK: weighed(w, n); break;
	case FORCE_LOOK:
		n->proof = PROOF_NONE;
		world_at(w, late(w, 5 * MS), H_FORCED, n, 0, 0);
		break;
	case COMPARE_SCAN:
		n->proof = COMPARE_REJOIN;
		n->rejoinable = true;
		break;
	default: break;
	}
}

static void fill_offer(const struct world *w, const struct node *n, struct role_offer *offer)
{
	offer->base_seq = n->disk.last_seq;
	for (unsigned peer = 0; peer < w->n_nodes; peer++) {
		const struct session *s = &n->sessions[peer];
		if (s->live && s->theirs_last_seq > offer->base_seq)
			offer->base_seq = s->theirs_last_seq;
	}
	data_put_digest(offer->digest, data_digest(n));
}

void proofs_forced(struct world *w, struct node *n)
{
	if (n->machine.phase != ROLE_PROVING)
		return;
	engine_push_event(w, n, fate(w, w->weather.dirty) ? ROLE_EVENT_UNFIT : ROLE_EVENT_PROVEN);
}

/* ---- claims --------------------------------------------------------------------------------- */

bool proofs_promised(const struct world *w, const struct node *n, int but)
{
	return w->now < n->promised_until && n->promised_to != but;
}

void proofs_claim_session(struct world *w, struct node *n, unsigned peer)
{
	struct session *s = &n->sessions[peer];
	s->asked_promise = false;
	if (n->machine.phase != ROLE_CLAIMING || !s->live || s->receiver)
		return;
	s->asked_promise = true;
	words_say(w, n, peer, ROLE_EVENT_CLAIM, &n->machine.offer);
}

void proofs_claim(struct world *w, struct node *n)
{
	n->proof = FORCE_FINAL;
	for (unsigned peer = 0; peer < w->n_nodes; peer++)
		proofs_claim_session(w, n, peer);
	proofs_advance(w, n);
}

/* Whoever can be reached has promised: all is looked at as of now. */
static void claim_ends(struct world *w, struct node *n)
{
	struct role_input in = {.event = ROLE_EVENT_CLAIMED, .offer = n->machine.offer};
	for (unsigned peer = 0; peer < w->n_nodes; peer++) {
		if (n->sessions[peer].live && n->sessions[peer].asked_promise)
			return;
	}
	n->proof = PROOF_NONE;
	if (!people_may_force(w, n))
		in.event = ROLE_EVENT_UNFIT;
	else
		check_alone(w, n);
	fill_offer(w, n, &in.offer);
	engine_push(w, n, &in, -1);
}

/* The heir of a durable offer is given up. */
void proofs_reclaim(struct world *w, struct node *n)
{
	struct role_input in = {.event = ROLE_EVENT_RECLAIM};
	new_offer(w, n, &in.offer, n->at_index);
	fill_offer(w, n, &in.offer);
	engine_push(w, n, &in, -1);
}

/* Every node that follows now has everything, and its tree has proven to be ours. */
static bool peers_have_all(struct world *w, const struct node *n)
{
	bool heir = false;
	for (unsigned peer = 0; peer < w->n_nodes; peer++) {
		const struct session *s = &n->sessions[peer];
		if (!s->live || (!s->sender && !s->reconciling))
			continue;
		heir |= strcmp(w->nodes[peer].name, n->machine.offer.node) == 0;
		bool proven = s->matched && s->matched_seq == n->disk.last_seq && !s->mismatch &&
			      !s->reconciling;
		if (!proven)
			return false;
	}
	return heir;
}

void proofs_advance(struct world *w, struct node *n)
{
	struct role_input in = {.event = ROLE_EVENT_SETTLED, .offer.base_seq = n->disk.last_seq};
	if (n->proof == FORCE_FINAL)
		claim_ends(w, n);
	if (n->proof != SETTLE_PEERS || !peers_have_all(w, n))
		return;
	n->proof = PROOF_NONE;
	data_put_digest(in.offer.digest, data_digest(n));
	engine_push(w, n, &in, -1);
}

/* ---- hooks: one after the other, each to its end or its deadline ------------------------------
 */

static uint64_t time_left(const struct world *w, const struct node *n)
{
	const struct attempt *a = &n->attempt;
	if (a->over)
		return HOOK_DEADLINE;
	uint64_t left = a->deadline > w->now ? a->deadline - w->now : 0;
	return left < SECOND ? SECOND : left < HOOK_DEADLINE ? left : HOOK_DEADLINE;
}

void hooks_run(struct world *w, struct node *n, enum role_action action)
{
	bool before = action == ROLE_ACTION_BEFORE_DEMOTE || action == ROLE_ACTION_BEFORE_PROMOTE;
	bool hangs = fate(w, w->weather.hook_hangs);
	bool done = !hangs && !fate(w, w->weather.hook_fails);
	uint64_t takes = hangs	   ? before ? time_left(w, n) : HOOK_DEADLINE
			 : w->calm ? 20 * MS
				   : late(w, 100 * MS);
	n->hook = action;
	n->hook_n++;
	n->hook_failed = false;
	if (n->hooks_waiting >= HOOKS_WAITING) {
		n->hook = ROLE_ACTION_NONE;
		n->hook_again = w->now + HOOK_LAST;
		engine_push_event(w, n, ROLE_EVENT_HOOK_FAILED);
		return;
	}
	n->hooks_waiting++;
	n->hook_free = (n->hook_free > w->now ? n->hook_free : w->now) + takes;
	world_at(w, n->hook_free - w->now, H_HOOK, n, done, 0);
}

/* Only the last one asked for is an answer to where the machine is now. */
void hooks_end(struct world *w, struct node *n, bool done)
{
	if (--n->hooks_waiting > 0 || n->hook == ROLE_ACTION_NONE)
		return;
	n->hook = ROLE_ACTION_NONE;
	n->hook_failed = !done;
	n->hook_wait = done ? 0 : n->hook_wait ? 2 * n->hook_wait : HOOK_FIRST;
	if (n->hook_wait > HOOK_LAST)
		n->hook_wait = HOOK_LAST;
	n->hook_again = w->now + n->hook_wait;
	engine_push_event(w, n, done ? ROLE_EVENT_HOOK_DONE : ROLE_EVENT_HOOK_FAILED);
}

/* An after-hook or on_fenced that failed, or that a restart cut short. */
void hooks_due(struct world *w, struct node *n)
{
	const struct role_machine *m = &n->machine;
	bool waits = m->phase == ROLE_RESTING || m->phase == ROLE_FENCING;
	if (m->due == ROLE_ACTION_NONE || !waits || n->hook != ROLE_ACTION_NONE || n->carrying ||
	    n->n_queue > 0 || w->now < n->hook_again)
		return;
	hooks_run(w, n, m->due);
}
