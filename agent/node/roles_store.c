/* roles_store.c - what must be durable before the next action: on a worker, or the agent ends. */
#include "agent/node/roles_internal.h"

#include <errno.h>
#include <string.h>

/* worker: which peers are to be compared first, before the epoch can be seen by any. */
static int begin_epoch(struct role_store_job *s, struct store *store, struct role_change *change)
{
	size_t changed;
	change->epoch = &s->epoch;
	int r = 0;
	if (s->begins && s->n_peers > 0)
		r = store_note_many(store, NOTE_RECONCILE, s->peers, s->n_peers,
				    "its position is not known in the epoch that began", &s->err);
	if (r == 0)
		r = store_change_role(store, change, &s->err);
	change->epoch = NULL;
	if (r == -EEXIST)
		r = store_change_role(store, change, &s->err);
	if (r == 0 && s->begins)
		r = store_claim_foreign(store, &changed, &s->err);
	return r;
}

static void store_work(struct job *job)
{
	struct role_store_job *s = container_of(job, struct role_store_job, job);
	struct store *store = s->roles->node->store;
	struct role_change change = {.machine = &s->machine, .owed = &s->owed, .entry = s->entry};
	if (s->result == 0 && s->cut)
		s->result = store_cut_lineage(store, s->cut_to, &s->err);
	if (s->result < 0)
		return;
	if (s->action == ROLE_ACTION_STORE)
		s->result = store_change_role(store, &change, &s->err);
	else if (s->action == ROLE_ACTION_STORE_EPOCH)
		s->result = begin_epoch(s, store, &change);
	else
		s->result = store_refuse_epoch(store, s->offer.id, &s->err);
	s->entry_n = change.entry_n;
}

static void store_done(struct job *job)
{
	struct role_store_job *s = container_of(job, struct role_store_job, job);
	struct roles *roles = s->roles;
	roles->carrying = false;
	node_closed_one(roles->node);
	if (s->result < 0 && !roles->stopping)
		roles_die(roles, "the role could not be made durable", &s->err);
	if (s->result == 0 && s->entry) {
		roles->entry_open = s->entry_n;
		roles_ledger_write(roles); /* what the change before has left open */
	}
	free(s->entry);
	free(s);
	roles_run(roles);
}

static void fill_epoch(struct roles *roles, struct role_store_job *s)
{
	const struct role_offer *offer = &roles->machine.offer;
	AUTO_FREE struct epoch_entry *lineage = NULL;
	size_t n = 0;
	/* An epoch without its parent would be a tree of its own. */
	s->result = store_lineage(roles->node->store, &lineage, &n, &s->err);
	s->epoch = (struct epoch_entry){.number = offer->number, .base_seq = offer->base_seq};
	memcpy(s->epoch.id, offer->id, sizeof(s->epoch.id));
	snprintf(s->epoch.node, sizeof(s->epoch.node), "%s", offer->node);
	if (n > 0)
		memcpy(s->epoch.parent, lineage[n - 1].id, sizeof(s->epoch.parent));
	if (roles->event == ROLE_EVENT_KEEP_US)
		memcpy(s->epoch.ends, roles->fork_end, sizeof(s->epoch.ends));
	s->begins = strcmp(offer->node, roles->node->conf->node) == 0;
	for (const struct session *each = roles->node->sessions;
	     each && s->n_peers < CONF_PEERS_MAX; each = each->next) {
		bool giver = roles->attempt.planned && strcmp(each->peer, roles->partner) == 0;
		if (!giver) /* whose tree was proven equal at base_seq */
			s->peers[s->n_peers++] = each->peer;
	}
}

void roles_make_durable(struct roles *roles, enum role_action action)
{
	struct role_store_job *s = x_calloc(1, sizeof(*s));
	s->roles = roles;
	s->action = action;
	s->machine = roles->machine;
	s->owed = roles->owed;
	s->offer = roles->output.offer;
	s->cut = roles->cut;
	s->cut_to = roles->cut_to;
	roles->cut = false;
	if (action == ROLE_ACTION_STORE_EPOCH) {
		fill_epoch(roles, s);
		s->entry = roles_ledger_entry(roles, &s->epoch);
	} else if (action == ROLE_ACTION_STORE && roles->event == ROLE_EVENT_RECONCILED) {
		s->entry = roles_ledger_entry(roles, NULL);
	}
	roles->carrying = true;
	roles->node->closing++;
	job_start(&roles->node->loop, &s->job, store_work, store_done);
}
