/* node_prune.c - what every peer has forgotten needs no tombstone, and what nobody refers to no
 * signature. On a worker, now and then. */
#include "agent/node/node_internal.h"

#include "agent/base/clock.h"
#include "agent/base/log.h"
#include "agent/sync/job.h"

#define PRUNE_STEPS 1000 /* of history at a time: stopping waits for no more than these */

struct prune_job {
	struct job job;
	struct node *node;
	const char *peers[CONF_PEERS_MAX];
	size_t n;
	uint64_t max_age_s;
	bool by_age;
};

/* In steps, so that no commit waits long for its turn. */
static int prune_history(struct node *node, bool by_age, struct err *err)
{
	int r = 1;
	for (int steps = 0; r > 0 && steps < PRUNE_STEPS; steps++)
		r = history_prune(node->history, by_age, err);
	return r < 0 ? r : history_settle(node->history, err);
}

static void prune_work(struct job *job)
{
	struct prune_job *p = container_of(job, struct prune_job, job);
	struct err err = {0};
	size_t pruned;
	if (store_prune_tombstones(p->node->store, p->peers, p->n, p->max_age_s, &pruned, &err) <
		    0 ||
	    store_prune_signatures(p->node->store, &err) < 0 ||
	    prune_history(p->node, p->by_age, &err) < 0)
		log_warn("node", "action=prune-later err=\"%s\"", err.msg);
}

static void prune_done(struct job *job)
{
	struct prune_job *p = container_of(job, struct prune_job, job);
	struct node *node = p->node;
	free(p);
	node->pruning = false;
	node_closed_one(node);
}

void node_prune(struct node *node)
{
	struct prune_job *p = x_calloc(1, sizeof(*p));
	p->node = node;
	for (struct session *s = node->sessions; s && p->n < CONF_PEERS_MAX; s = s->next)
		p->peers[p->n++] = s->peer;
	p->by_age = readiness_clock_is_shared(node);
	p->max_age_s = 86400ull * node_conf(node)->tombstone_days;
	node->prune_due_ms = clock_mono_ms() + PRUNE_MS;
	node->pruning = true;
	node->closing++;
	job_start(&node->loop, &p->job, prune_work, prune_done);
}
