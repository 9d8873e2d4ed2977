/* receiver_commit.c - one batch at a time: those that are staged, their commit on a worker, and the
 * answers to each of them. */
#include "agent/sync/receiver_internal.h"

#include <inttypes.h>
#include <stdlib.h>

#include "agent/base/clock.h"
#include "agent/base/log.h"

struct commit_job {
	struct job job;
	struct receiver *rx;
	struct commit_env env;
	size_t n;
	uint32_t *tickets;
	struct commit_item *items;
	uint64_t started_ms;
	int result;
	struct err err;
};

static void commit_work(struct job *job)
{
	struct commit_job *commit = container_of(job, struct commit_job, job);
	commit->result = commit_run(&commit->env, commit->items, commit->n, &commit->err);
}

static void answer_done(struct receiver *rx, uint32_t ticket, const char *path)
{
	refusals_settle(rx->refusals, path);
	receiver_answer_ack(rx, ticket);
}

static void answer_denial(struct receiver *rx, struct commit_job *commit, size_t i)
{
	struct commit_item *item = &commit->items[i];
	uint32_t ticket = commit->tickets[i];
	const char *path = item->entry.rec.path;
	/* Not asked for again at once: what failed for all of them will fail again a moment later.
	 */
	if (commit->result < 0)
		receiver_answer_refused(rx, ticket, path, REFUSED_FAILED, -commit->result,
					commit->err.msg);
	else if (item->result == COMMIT_NEED)
		receiver_answer_need(rx, ticket, item->reason);
	else
		receiver_answer_refused(rx, ticket, path, item->reason, item->error, item->text);
}

static void commit_done(struct job *job)
{
	struct commit_job *commit = container_of(job, struct commit_job, job);
	struct receiver *rx = commit->rx;
	uint64_t records = 0, bytes = 0;
	rx->committing = false;
	log_debug("receiver", "batch=%zu ms=%" PRIu64 " waiting=%zu", commit->n,
		  clock_mono_ms() - commit->started_ms, inbound_unanswered(rx->inbound));
	if (commit->result < 0)
		log_error("receiver", "batch=%zu action=refuse err=\"%s\"", commit->n,
			  commit->err.msg);
	/* Acknowledgements go first: the sender gives up what else it has of a set when it hears of
	 * a member that failed. */
	for (size_t i = 0; i < commit->n && !rx->closing; i++) {
		if (commit->result == 0 && commit->items[i].result == COMMIT_DONE)
			answer_done(rx, commit->tickets[i], commit->items[i].entry.rec.path);
	}
	receiver_flush_acks(rx);
	for (size_t i = 0; i < commit->n; i++) {
		struct slot *slot;
		bool left = commit->result == 0 && commit->items[i].result == COMMIT_LEFT;
		bool done = commit->result == 0 && commit->items[i].result == COMMIT_DONE;
		records += done;
		bytes += done ? commit->items[i].entry.rec.size : 0;
		HASH_FIND(hh, rx->slots, &commit->tickets[i], sizeof(uint32_t), slot);
		if (!rx->closing && !done && !left)
			answer_denial(rx, commit, i);
		if (left)
			inbound_left_out(rx->inbound, commit->tickets[i]);
		else if (slot)
			receiver_drop_slot(rx, slot, done);
		commit_item_release(&commit->items[i]);
	}
	free(commit->items);
	free(commit->tickets);
	free(commit);
	if (!rx->closing && records > 0)
		rx->setup.events.committed(rx->setup.events.owner, records, bytes);
	receiver_advance(rx);
}

/* How many of those staged first are durable already, by the syncfs of an earlier batch. */
static size_t count_durable(const struct receiver *rx)
{
	size_t n = 0;
	const char *sub;
	for (const struct slot *slot = rx->slots; slot; slot = slot->hh.next) {
		const struct commit_item *item = &slot->item;
		/* One without a path was left out of a commit, and waits for SET_ABORT. */
		if (slot->result != SLOT_STAGED || slot->working || !item->entry.rec.path)
			continue;
		if (!staged_is_durable(&item->staged, tree_resolve(rx->setup.env.tree,
								   item->entry.rec.path, &sub)))
			break;
		n++;
	}
	return n;
}

static size_t batch_max(const struct receiver *rx)
{
	size_t durable = count_durable(rx);
	return durable < DURABLE_BATCH_MIN || durable > BATCH_MAX ? BATCH_MAX : durable;
}

void receiver_start_commit(struct receiver *rx)
{
	uint32_t tickets[BATCH_MAX];
	/* Looking through thousands of slots for each frame that arrives would be quadratic. */
	size_t n = rx->fresh ? inbound_batch(rx->inbound, tickets, batch_max(rx)) : 0;
	if (n == 0 && rx->fresh) /* a set larger than what is durable stands first */
		n = inbound_batch(rx->inbound, tickets, BATCH_MAX);
	rx->fresh = n > 0;
	if (n == 0)
		return;
	struct commit_job *commit = x_calloc(1, sizeof(*commit));
	commit->rx = rx;
	commit->env = rx->setup.env;
	commit->n = n;
	commit->tickets = x_memdup(tickets, n * sizeof(*tickets));
	commit->items = x_calloc(n, sizeof(*commit->items));
	for (size_t i = 0; i < n; i++) {
		struct slot *slot;
		HASH_FIND(hh, rx->slots, &tickets[i], sizeof(uint32_t), slot);
		BUG_ON(!slot);
		commit->items[i] = slot->item;
		slot->item = (struct commit_item){0};
	}
	rx->committing = true;
	commit->started_ms = clock_mono_ms();
	job_start(rx->setup.loop, &commit->job, commit_work, commit_done);
}
