/* durable.c - what agent/node/roles_store.c makes durable: a few transactions, one after the other,
 * the power failing before, between or after them. */
#include "roles.h"

#include <string.h>

enum stage { STAGE_CUT, STAGE_POSITIONS, STAGE_MACHINE, STAGE_CLAIM, STAGE_DONE };

void durable_set_machine(struct node *n, const struct role_machine *m)
{
	n->disk.machine = *m;
	n->disk.machine.phase = ROLE_RESTING;
}

static bool begins(const struct node *n)
{
	return n->storing == ROLE_ACTION_STORE_EPOCH && strcmp(n->store_epoch.node, n->name) == 0;
}

static void fill_epoch(struct world *w, struct node *n)
{
	const struct role_offer *offer = &n->machine.offer;
	const struct durable *d = &n->disk;
	n->store_epoch = (struct epoch_entry){.number = offer->number, .base_seq = offer->base_seq};
	memcpy(n->store_epoch.id, offer->id, WIRE_ID_LEN);
	memcpy(n->store_epoch.parent, d->lineage[d->n_lineage - 1].id, WIRE_ID_LEN);
	strcpy(n->store_epoch.node, offer->node);
	if (n->event == ROLE_EVENT_KEEP_US)
		memcpy(n->store_epoch.ends, n->fork_end, WIRE_ID_LEN);
	for (unsigned peer = 0; peer < w->n_nodes; peer++) {
		bool giver = n->attempt.planned && n->partner == (int)peer;
		n->positions_lost[peer] = !giver; /* the giver's tree was proven to be ours */
	}
}

static void next_stage(struct world *w, struct node *n)
{
	n->stage++;
	world_at(w, late(w, 3 * MS), H_STORE, n, 0, 0);
}

void durable_begin(struct world *w, struct node *n, enum role_action action)
{
	n->carrying = true;
	n->storing = action;
	n->store_machine = n->machine;
	n->store_offer = n->output.offer;
	n->store_event = n->event;
	n->store_cut = n->cut;
	n->store_cut_to = n->cut_to;
	n->cut = false;
	if (action == ROLE_ACTION_STORE_EPOCH)
		fill_epoch(w, n);
	n->stage = STAGE_CUT;
	world_at(w, late(w, 3 * MS), H_STORE, n, 0, 0);
}

/* ---- the transactions ----------------------------------------------------------------------- */

static void note_positions(struct world *w, struct node *n)
{
	for (unsigned peer = 0; peer < w->n_nodes && begins(n); peer++)
		n->disk.unknown[peer] |= n->positions_lost[peer];
}

static void store_epoch(struct world *w, struct node *n)
{
	struct durable *d = &n->disk;
	const struct epoch_entry *epoch = &n->store_epoch;
	if (w->mutation == MUTATE_TAKEN_NOT_DURABLE && n->store_event == ROLE_EVENT_OFFER)
		return;
	durable_set_machine(n, &n->store_machine);
	if (memcmp(d->lineage[d->n_lineage - 1].id, epoch->id, WIRE_ID_LEN) == 0)
		return;
	if (d->n_lineage == LINEAGE_SIM_MAX)
		fail(w, "%s: the lineage is full", n->name);
	d->lineage[d->n_lineage++] = *epoch;
	if (epoch->base_seq > d->last_seq)
		d->last_seq = epoch->base_seq;
	if (lineage_check(d->lineage, d->n_lineage) < 0)
		fail(w, "%s: its lineage contradicts itself in epoch %u", n->name,
		     (unsigned)epoch->number);
	if (begins(n))
		check_epoch(w, n, &n->store_machine.offer, n->store_event);
}

static void store_it(struct world *w, struct node *n)
{
	switch (n->storing) {
	case ROLE_ACTION_STORE: durable_set_machine(n, &n->store_machine); break;
	case ROLE_ACTION_STORE_EPOCH: store_epoch(w, n); break;
	default:
		w->figures.refusals++;
		if (w->mutation != MUTATE_REFUSED_FORGOTTEN)
			set_bit(n->disk.refused, id_number(n->store_offer.id));
		break;
	}
}

void durable_stage(struct world *w, struct node *n)
{
	switch ((enum stage)n->stage) {
	case STAGE_CUT:
		if (n->store_cut && n->store_cut_to < n->disk.n_lineage)
			n->disk.n_lineage = n->store_cut_to;
		break;
	case STAGE_POSITIONS: note_positions(w, n); break;
	case STAGE_MACHINE: store_it(w, n); break;
	case STAGE_CLAIM:
		if (begins(n))
			data_claim(n);
		break;
	case STAGE_DONE:
		n->carrying = false;
		engine_run(w, n);
		return;
	}
	next_stage(w, n);
}
