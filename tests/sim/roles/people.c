/* people.c - who writes, who types reverse, failover and resolve, and fate: power and cables. */
#include "roles.h"

#include <string.h>

/* Each round has its own weather: some have no power failure at all, some no failover. */
void people_weather(struct world *w)
{
	struct weather *x = &w->weather;
	*x = (struct weather){.delay = (1 + below(w, 40)) * MS, .epochs = EPOCHS_PER_ROUND};
	x->crash = below(w, 2) ? below(w, 60) : 0;
	x->cut = below(w, 3) ? below(w, 120) : 0;
	x->hook_fails = below(w, 2) ? below(w, 300) : 0;
	x->hook_hangs = below(w, 2) ? below(w, 100) : 0;
	x->dirty = below(w, 2) ? below(w, 200) : 0;
	x->held = below(w, 2) ? below(w, 200) : 0;
	x->reverse = 50 + below(w, 400);
	x->failover = below(w, 2) ? below(w, 300) : 0;
	x->resolve = below(w, 2) ? below(w, 300) : 0;
	x->calm_at = w->now + (5 + below(w, 60)) * SECOND;
}

/* ---- writing -------------------------------------------------------------------------------- */

void people_write(struct world *w)
{
	struct node *n = &w->nodes[below(w, w->n_nodes)];
	uint8_t role = n->disk.machine.role;
	world_at(w, late(w, 80 * MS), H_WRITE, NULL, 0, 0);
	if (!w->calm && n->up && (role == WIRE_ROLE_ACTIVE || role == WIRE_ROLE_DRAINING))
		data_write(w, n, below(w, KEYS));
}

/* ---- typing --------------------------------------------------------------------------------- */

void people_attempt(struct world *w, struct node *n, bool typed_here)
{
	uint64_t given = w->calm || below(w, 3) ? 60 * SECOND : (1 + below(w, 20)) * SECOND / 2;
	n->attempt = (struct attempt){.deadline = w->now + given, .typed_here = typed_here};
}

bool people_busy(const struct node *n)
{
	return n->machine.phase != ROLE_RESTING || !n->attempt.over || n->proof != PROOF_NONE;
}

bool people_spend_epoch(struct world *w)
{
	if (w->weather.epochs == 0)
		return false;
	w->weather.epochs--;
	return true;
}

void people_hand_over(struct world *w, struct node *n, unsigned heir)
{
	struct role_input in = {.event = ROLE_EVENT_REVERSE};
	if (!people_spend_epoch(w)) {
		n->attempt.over = true;
		return;
	}
	w->figures.reverses++;
	n->attempt.planned = true;
	n->partner = (int)heir;
	new_offer(w, n, &in.offer, heir);
	engine_push(w, n, &in, -1);
}

static void reverse(struct world *w, struct node *n)
{
	const struct role_offer none = {0};
	unsigned peer = below(w, w->n_nodes);
	const struct session *s = &n->sessions[peer];
	if (people_busy(n) || n->machine.due == ROLE_ACTION_ON_FENCED || !s->live)
		return;
	if (n->machine.role == WIRE_ROLE_ACTIVE && s->peer_role == WIRE_ROLE_PASSIVE) {
		people_attempt(w, n, true);
		people_hand_over(w, n, peer);
	} else if (n->machine.role == WIRE_ROLE_PASSIVE && s->receiver) {
		people_attempt(w, n, true);
		n->attempt.asked = true;
		n->attempt.please = ++w->next_please;
		n->partner = (int)peer;
		words_say(w, n, peer, ROLE_EVENT_REVERSE, &none);
	}
}

/* What is in the way of a failover, as far as it can be seen from here. */
bool people_may_force(const struct world *w, const struct node *n)
{
	if (proofs_promised(w, n, -1))
		return false;
	for (unsigned peer = 0; peer < w->n_nodes; peer++) {
		const struct session *s = &n->sessions[peer];
		if (s->live && (s->receiver || s->theirs_last_seq > n->disk.last_seq))
			return false;
	}
	return true;
}

static void failover(struct world *w, struct node *n)
{
	if (n->machine.phase == ROLE_OFFERING && n->attempt.over && people_spend_epoch(w)) {
		people_attempt(w, n, true);
		proofs_reclaim(w, n);
	} else if (n->machine.role == WIRE_ROLE_PASSIVE && !people_busy(n)) {
		people_attempt(w, n, true);
		engine_push_event(w, n, ROLE_EVENT_FAILOVER);
	}
}

static bool resolve(struct world *w, struct node *n)
{
	struct role_input in = {.event = ROLE_EVENT_KEEP_US};
	if (!n->up || n->machine.role != WIRE_ROLE_SPLIT || !n->have_fork ||
	    (!w->calm && !people_spend_epoch(w)))
		return false;
	w->figures.resolves++;
	people_attempt(w, n, true);
	new_offer(w, n, &in.offer, n->at_index);
	in.offer.base_seq = n->fork_seq > n->disk.last_seq ? n->fork_seq : n->disk.last_seq;
	data_put_digest(in.offer.digest, data_digest(n));
	engine_push(w, n, &in, -1);
	return true;
}

/* In a calm one person decides, and goes on to decide for the same node while that is possible. */
static void resolve_calmly(struct world *w)
{
	if (w->now - w->calm_since < 5 * SECOND)
		return;
	if (resolve(w, &w->nodes[w->keep])) {
		w->decided = true;
		return;
	}
	for (unsigned i = 0; i < w->n_nodes; i++) {
		if (w->decided && (int)i == w->keep &&
		    engine_role(&w->nodes[i]) == WIRE_ROLE_ACTIVE)
			return; /* it has not met every other side yet */
	}
	for (unsigned i = 0; i < w->n_nodes; i++) {
		if (resolve(w, &w->nodes[i])) {
			w->keep = (int)i;
			w->decided = true;
			return;
		}
	}
}

void people_act(struct world *w)
{
	struct node *n = &w->nodes[below(w, w->n_nodes)];
	world_at(w, late(w, 300 * MS), H_PERSON, NULL, 0, 0);
	if (w->calm)
		resolve_calmly(w);
	if (w->calm || !n->up)
		return;
	if (fate(w, w->weather.reverse))
		reverse(w, n);
	else if (fate(w, w->weather.failover))
		failover(w, n);
	else if (fate(w, w->weather.resolve))
		resolve(w, n);
}

/* ---- fate ----------------------------------------------------------------------------------- */

void power_off(struct world *w, struct node *n)
{
	w->figures.crashes++;
	w->figures.crashes_in_store += n->carrying;
	tell(w, "%s: the power fails%s", n->name, n->carrying ? " while it stores" : "");
	n->up = false;
	links_power_off(w, n);
	world_at(w, late(w, below(w, 3) ? 300 * MS : 5 * SECOND), H_BOOT, n, 0, 0);
}

static void cut(struct world *w)
{
	unsigned a = below(w, w->n_nodes), b = below(w, w->n_nodes);
	uint64_t until = w->now + late(w, below(w, 3) ? 300 * MS : 4 * SECOND);
	w->apart_until[a][b] = w->apart_until[b][a] = until;
	for (unsigned i = 0; i < CONNECTIONS_MAX; i++) {
		struct connection *c = &w->connections[i];
		bool theirs = (c->ends[0].node == a && c->ends[1].node == b) ||
			      (c->ends[0].node == b && c->ends[1].node == a);
		if (c->id != 0 && !c->broken && theirs && a != b) {
			w->figures.cuts++;
			links_cut(w, c);
		}
	}
}

void people_fate(struct world *w)
{
	struct node *n = &w->nodes[below(w, w->n_nodes)];
	/* Power fails above all where it hurts. */
	uint32_t harder = n->carrying || n->machine.phase != ROLE_RESTING ? 20 : 1;
	world_at(w, late(w, 50 * MS), H_FATE, NULL, 0, 0);
	if (n->up && fate(w, w->weather.crash * harder / 4))
		power_off(w, n);
	else if (fate(w, w->weather.cut / 2))
		cut(w);
}
