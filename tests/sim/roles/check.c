/* check.c - what must hold at every step, at the begin of every epoch, and when faults have ended.
 */
#include "roles.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define CALM_TIME (1200 * SECOND)
#define CALM_STEPS 60000

/* Would it write now, or after a power failure in this very moment? */
static bool is_active(const struct node *n)
{
	const struct role_machine *d = &n->disk.machine;
	return d->role == WIRE_ROLE_ACTIVE || (d->role == WIRE_ROLE_DRAINING && !d->has_offer) ||
	       (n->up && engine_role(n) == WIRE_ROLE_ACTIVE);
}

static const struct epoch_entry *last_epoch(const struct node *n)
{
	return &n->disk.lineage[n->disk.n_lineage - 1];
}

static void check_acknowledged(const struct world *w, const struct node *n)
{
	for (unsigned k = 0; k < KEYS; k++) {
		if (n->disk.index[k].token < w->acknowledged[k])
			fail(w,
			     "%s is active, and of key %u it has change %" PRIu64
			     ", where change %" PRIu64 " was acknowledged",
			     n->name, k, n->disk.index[k].token, w->acknowledged[k]);
	}
}

void check_step(const struct world *w)
{
	for (unsigned i = 0; i < w->n_nodes; i++) {
		const struct node *a = &w->nodes[i];
		if (!is_active(a))
			continue;
		if (!w->forced)
			check_acknowledged(w, a);
		for (unsigned j = i + 1; j < w->n_nodes; j++) {
			const struct node *b = &w->nodes[j];
			if (!is_active(b))
				continue;
			if (!w->forced)
				fail(w, "%s and %s are active, and nobody forced it", a->name,
				     b->name);
			if (memcmp(last_epoch(a)->id, last_epoch(b)->id, WIRE_ID_LEN) == 0)
				fail(w, "%s and %s are active in one epoch", a->name, b->name);
		}
	}
}

/* ---- promises ------------------------------------------------------------------------------- */

static bool offers(const struct node *n, const struct role_offer *offer)
{
	const struct role_machine *d = &n->disk.machine;
	return d->role == WIRE_ROLE_DRAINING && d->has_offer &&
	       memcmp(d->offer.id, offer->id, WIRE_ID_LEN) == 0;
}

/* A planned reverse: the heir has all that the giver has. */
static void check_handed_over(const struct world *w, const struct node *heir,
			      const struct role_offer *offer)
{
	const struct node *giver = NULL;
	for (unsigned i = 0; i < w->n_nodes; i++) {
		if (offers(&w->nodes[i], offer))
			giver = &w->nodes[i];
	}
	if (!giver && !w->forced)
		fail(w, "%s takes epoch %" PRIu64 ", which nobody offers durably", heir->name,
		     offer->number);
	for (unsigned k = 0; giver && k < KEYS; k++) {
		const struct version *has = &heir->disk.index[k], *had = &giver->disk.index[k];
		if (has->token != had->token || has->foreign)
			fail(w, "%s takes over without change %" PRIu64 " of %s", heir->name,
			     had->token, giver->name);
	}
}

/* Whoever can be reached has not taken over, either: a split needs a cut. */
void check_alone(const struct world *w, const struct node *n)
{
	for (unsigned peer = 0; peer < w->n_nodes; peer++) {
		const struct node *p = &w->nodes[peer];
		if (n->sessions[peer].live && p->up && is_active(p))
			fail(w, "%s fails over while it is connected with %s, which is active",
			     n->name, p->name);
	}
}

void check_epoch(struct world *w, const struct node *n, const struct role_offer *offer,
		 enum role_event event)
{
	uint64_t id = id_number(offer->id);
	w->figures.epochs++;
	if (bit(w->begun, id))
		fail(w, "%s begins epoch %" PRIu64 ", which has begun", n->name, offer->number);
	if (bit(w->refused, id))
		fail(w, "%s takes epoch %" PRIu64 ", which was refused", n->name, offer->number);
	set_bit(w->begun, id);
	if (event == ROLE_EVENT_OFFER) {
		w->figures.taken++;
		check_handed_over(w, n, offer);
		return;
	}
	w->figures.failovers += event != ROLE_EVENT_KEEP_US;
	w->forced = true;
}

void check_refusal(struct world *w, const struct node *n, const uint8_t id[WIRE_ID_LEN])
{
	if (bit(w->begun, id_number(id)))
		fail(w, "%s refuses an epoch that was taken", n->name);
	if (!bit(n->disk.refused, id_number(id)))
		fail(w, "%s says that it refuses, and a power failure would undo that", n->name);
	set_bit(w->refused, id_number(id));
}

/* ---- when faults have ended ----------------------------------------------------------------- */

static bool follows(const struct world *w, const struct node *n, const struct node *active)
{
	const struct session *s = &n->sessions[active->at_index];
	const struct session *theirs = &active->sessions[n->at_index];
	return w->nodes[n->at_index].up && n->machine.role == WIRE_ROLE_PASSIVE && s->live &&
	       s->receiver && theirs->live && theirs->sender && theirs->matched &&
	       !theirs->mismatch && !theirs->reconciling && data_digest(n) == data_digest(active) &&
	       n->disk.n_lineage == active->disk.n_lineage &&
	       memcmp(last_epoch(n)->id, last_epoch(active)->id, WIRE_ID_LEN) == 0;
}

static bool is_idle(const struct node *n)
{
	return n->up && n->machine.phase == ROLE_RESTING && n->machine.due == ROLE_ACTION_NONE &&
	       n->disk.machine.due == ROLE_ACTION_NONE && n->disk.machine.role == n->machine.role &&
	       n->n_queue == 0 && !n->carrying && n->proof == PROOF_NONE && !n->frozen;
}

static bool rests(const struct world *w)
{
	const struct node *active = NULL;
	for (unsigned i = 0; i < w->n_nodes; i++) {
		if (!is_idle(&w->nodes[i]))
			return false;
		if (w->nodes[i].machine.role == WIRE_ROLE_ACTIVE)
			active = &w->nodes[i];
	}
	for (unsigned i = 0; active && i < w->n_nodes; i++) {
		if (&w->nodes[i] != active && !follows(w, &w->nodes[i], active))
			return false;
	}
	return active != NULL;
}

bool check_rests(const struct world *w)
{
	return rests(w);
}

void check_calm(struct world *w)
{
	if (w->now - w->calm_since > CALM_TIME || w->steps - w->calm_steps > CALM_STEPS)
		fail(w, "after %.0f s and %" PRIu64 " steps of calm the group does not rest",
		     (double)(w->now - w->calm_since) / SECOND, w->steps - w->calm_steps);
}

static void dump_session(const struct world *w, const struct node *n, unsigned peer)
{
	const struct session *s = &n->sessions[peer];
	if (!s->live)
		return;
	printf("; %s: %s%s%s%s%s%s", w->nodes[peer].name, handshake_name(s->outcome),
	       s->sender ? " sends" : "", s->reconciling ? " compares" : "",
	       s->want_barrier ? " wants a barrier" : "", s->barrier_out ? " barrier out" : "",
	       s->matched ? " matched" : "");
	for (unsigned k = 0; s->sender && k < KEYS; k++)
		printf(" %" PRIu64 "/%" PRIu64, n->disk.acked[peer][k], n->disk.index[k].seq);
}

void check_dump(const struct world *w)
{
	static const char *const roles[] = {"?",	"active", "passive",
					    "draining", "fenced", "split"};
	for (unsigned i = 0; i < w->n_nodes; i++) {
		const struct node *n = &w->nodes[i];
		const struct durable *d = &n->disk;
		printf("  %s %s %s/%s stored %s due %u last seq %" PRIu64
		       " queue %zu%s%s%s, lineage",
		       n->name, n->up ? "up" : "down", roles[n->machine.role],
		       role_phase_name(n->machine.phase), roles[d->machine.role], n->machine.due,
		       d->last_seq, n->n_queue, n->carrying ? " stores" : "",
		       n->frozen ? " frozen" : "",
		       n->proof	      ? " proves"
		       : n->have_fork ? " knows a fork"
				      : "");
		for (size_t e = d->n_lineage > 6 ? d->n_lineage - 6 : 0; e < d->n_lineage; e++)
			printf(" %" PRIu64 "%s(%" PRIu64 ")", d->lineage[e].number,
			       d->lineage[e].node, id_number(d->lineage[e].id));
		printf(", index");
		for (unsigned k = 0; k < KEYS; k++)
			printf(" %" PRIu64 "%s", d->index[k].token, d->index[k].foreign ? "f" : "");
		for (unsigned p = 0; p < w->n_nodes; p++)
			dump_session(w, n, p);
		putchar('\n');
	}
}
