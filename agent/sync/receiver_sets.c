/* receiver_sets.c - consistency sets on the passive: what the sender has given up is taken out of
 * staging again. */
#include "agent/sync/receiver_internal.h"

#include "agent/fs/tree.h"

struct unstage_job {
	struct job job;
	struct receiver *rx;
	struct slot *slots; /* through next_todo */
};

/* worker */
static void unstage_work(struct job *job)
{
	struct unstage_job *unstage = container_of(job, struct unstage_job, job);
	for (struct slot *slot = unstage->slots; slot; slot = slot->next_todo) {
		const char *sub;
		if (slot->item.staged.temp[0] == '\0')
			continue;
		struct root *root =
			tree_resolve(unstage->rx->setup.env.tree, slot->item.entry.rec.path, &sub);
		stage_discard(root, slot->item.staged.temp, NULL);
	}
}

static void unstage_done(struct job *job)
{
	struct unstage_job *unstage = container_of(job, struct unstage_job, job);
	struct receiver *rx = unstage->rx;
	for (struct slot *slot = unstage->slots, *next; slot; slot = next) {
		next = slot->next_todo;
		slot_free(slot);
	}
	free(unstage);
	rx->other_jobs--;
	receiver_advance(rx);
}

static void start_unstaging(struct receiver *rx)
{
	if (!rx->aborted)
		return;
	struct unstage_job *unstage = x_calloc(1, sizeof(*unstage));
	unstage->rx = rx;
	unstage->slots = STEAL(rx->aborted);
	rx->other_jobs++;
	job_start(rx->setup.loop, &unstage->job, unstage_work, unstage_done);
}

static void take_out(struct slot *slot)
{
	struct receiver *rx = slot->rx;
	HASH_DEL(rx->slots, slot);
	slot->next_todo = rx->aborted;
	rx->aborted = slot;
}

void receiver_discard_slot(struct slot *slot)
{
	struct receiver *rx = slot->rx;
	take_out(slot);
	start_unstaging(rx);
}

/* Nothing else will touch it: it is staged, or was left out of a commit. A worker writes the result
 * before it gives the slot back. */
static bool is_at_rest(const struct slot *slot)
{
	return !slot->working && slot->result == SLOT_STAGED;
}

void receiver_on_set_abort(struct receiver *rx, const struct wire_set_abort *m)
{
	uint32_t tickets[WIRE_SET_MAX];
	size_t n = inbound_set_abort(rx->inbound, m->set, tickets);
	for (size_t i = 0; i < n; i++) {
		struct slot *slot;
		HASH_FIND(hh, rx->slots, &tickets[i], sizeof(uint32_t), slot);
		if (!slot)
			continue;
		slot->set_aborted = true;
		if (is_at_rest(slot))
			take_out(slot);
	}
	start_unstaging(rx);
	rx->fresh = true;
	receiver_advance(rx);
}
