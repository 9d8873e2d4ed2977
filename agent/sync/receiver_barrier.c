/* receiver_barrier.c - barriers: what the active has and what is here, compared at one moment; one
 * that matched is the recovery point. */
#include "agent/sync/receiver_internal.h"

#include <inttypes.h>
#include <string.h>

#include "agent/base/clock.h"
#include "agent/base/log.h"
#include "agent/base/trouble.h"
#include "protocol/messages.h"

#define BARRIER_STORE_MS 10000 /* an unchanged barrier's clock is made durable this often */

struct barrier_job {
	struct job job;
	struct receiver *rx;
	struct wire_barrier barrier;
	int result;
	struct err err;
};

static void send_barrier_done(struct receiver *rx, const struct wire_barrier *barrier,
			      uint8_t outcome)
{
	uint8_t body[128];
	struct store_state state;
	store_state(rx->setup.env.store, &state);
	struct wire_barrier_done done = {.id = barrier->id, .outcome = outcome};
	memcpy(done.digest, state.digest, sizeof(done.digest));
	struct wr w;
	wr_init(&w, body, sizeof(body));
	wire_encode_barrier_done(&w, &done);
	link_send(rx->setup.link, WIRE_BARRIER_DONE, body, wr_len(&w));
	rx->setup.events.barrier(rx->setup.events.owner, barrier, outcome);
}

static void barrier_work(struct job *job)
{
	struct barrier_job *b = container_of(job, struct barrier_job, job);
	b->result = store_note_barrier(b->rx->setup.env.store, b->barrier.seq, b->barrier.clock_ns,
				       b->barrier.sent_ns, b->barrier.digest, &b->err);
}

static void barrier_done(struct job *job)
{
	struct barrier_job *b = container_of(job, struct barrier_job, job);
	struct receiver *rx = b->rx;
	rx->other_jobs--;
	rx->storing_barrier = false;
	rx->fresh = true; /* what waited behind the barrier may go */
	trouble_result("the recovery point", b->result, &b->err);
	if (b->result < 0)
		log_error("receiver", "barrier=%" PRIu64 " action=drop err=\"%s\"", b->barrier.seq,
			  b->err.msg);
	if (!rx->closing)
		send_barrier_done(rx, &b->barrier,
				  b->result < 0 ? BARRIER_DROPPED : BARRIER_MATCHED);
	free(b);
	receiver_advance(rx);
}

static void store_barrier(struct receiver *rx, const struct wire_barrier *barrier)
{
	struct barrier_job *b = x_calloc(1, sizeof(*b));
	b->rx = rx;
	b->barrier = *barrier;
	rx->other_jobs++;
	rx->storing_barrier = true;
	rx->barrier_stored_ms = clock_mono_ms();
	job_start(rx->setup.loop, &b->job, barrier_work, barrier_done);
}

/* Everything before the barrier is answered and nothing behind it is in the tree: the digest of
 * this moment is the one to compare. */
void receiver_judge_barrier(struct receiver *rx, uint64_t id, bool clean)
{
	struct store_state state;
	size_t i = 0;
	while (i < rx->n_barriers && rx->barriers[i].id != id)
		i++;
	BUG_ON(i == rx->n_barriers);
	struct wire_barrier barrier = rx->barriers[i];
	memmove(&rx->barriers[i], &rx->barriers[i + 1],
		(rx->n_barriers - i - 1) * sizeof(rx->barriers[0]));
	rx->n_barriers--;
	rx->fresh = true;

	store_state(rx->setup.env.store, &state);
	bool equal = memcmp(state.digest, barrier.digest, sizeof(barrier.digest)) == 0;
	bool known = state.barrier_seq == barrier.seq && state.barrier_clock_ns != 0 &&
		     clock_mono_ms() - rx->barrier_stored_ms < BARRIER_STORE_MS;
	/* What was refused may have been a version that was here already, offered once more. */
	if (clean && equal)
		refusals_settle_all(rx->refusals);
	if (!clean)
		send_barrier_done(rx, &barrier, BARRIER_DROPPED);
	else if (!equal)
		send_barrier_done(rx, &barrier, BARRIER_MISMATCH);
	else if (known)
		send_barrier_done(rx, &barrier, BARRIER_MATCHED);
	else
		store_barrier(rx, &barrier);
}
