/* receiver.c - set up, answers out, what can go on goes on, closed. */
#include "agent/sync/receiver_internal.h"

#include <stdio.h>
#include <string.h>

#include "protocol/messages.h"

static void finish_close(struct receiver *rx);

struct receiver *receiver_new(const struct receiver_setup *setup)
{
	struct receiver *rx = x_calloc(1, sizeof(*rx));
	struct inbound_limits limits = {.records = WIRE_RECORDS_MAX,
					.streams = WIRE_STREAMS_MAX,
					.batch = BATCH_MAX,
					.sets = WIRE_SETS_MAX};
	rx->setup = *setup;
	rx->todo_last = &rx->todo;
	struct store_state state;
	/* On two cores a second one only fights the commit for the staging directory's lock. */
	rx->stage_jobs_max = uv_available_parallelism() > 2 ? STAGE_JOBS_MAX : 1;
	store_state(setup->env.store, &state);
	rx->known_seq = state.last_seq;
	rx->refusals = refusals_new();
	rx->inbound = inbound_new(&limits);
	BUG_ON(!rx->inbound);
	return rx;
}

void receiver_set_salvage_why(struct receiver *rx, const char *why)
{
	rx->setup.env.salvage_why = why;
}

const struct refusals *receiver_refusals(const struct receiver *rx)
{
	return rx->refusals;
}

size_t receiver_unanswered(const struct receiver *rx)
{
	return inbound_unanswered(rx->inbound);
}

void slot_free(struct slot *slot)
{
	commit_item_release(&slot->item);
	for (struct chunk *chunk = slot->first, *next; chunk; chunk = next) {
		next = chunk->next;
		free(chunk);
	}
	stage_stream_free(slot->stream);
	free(slot->hint);
	free(slot->bytes);
	free(slot);
}

void receiver_unqueue(struct receiver *rx, uint64_t bytes)
{
	BUG_ON(bytes > rx->queued);
	rx->queued -= bytes;
	if (rx->paused && rx->queued < RECEIVER_QUEUE_LOW && !rx->closing) {
		rx->paused = false;
		link_resume(rx->setup.link);
	}
}

/* ---- answers -------------------------------------------------------------------------------- */

void receiver_flush_acks(struct receiver *rx)
{
	uint8_t body[8 * WIRE_ACKS_MAX + 64];
	struct store_state state;
	if (rx->n_acks == 0 || rx->closing)
		return;
	store_state(rx->setup.env.store, &state);
	for (size_t at = 0; at < rx->n_acks; at += WIRE_ACKS_MAX) {
		size_t n = rx->n_acks - at < WIRE_ACKS_MAX ? rx->n_acks - at : WIRE_ACKS_MAX;
		struct wire_ack ack = {.n = (uint32_t)n, .tickets = rx->acks + at};
		ack.chain_n = state.chain_n;
		memcpy(ack.chain, state.chain, sizeof(ack.chain));
		struct wr w;
		wr_init(&w, body, sizeof(body));
		wire_encode_ack(&w, &ack);
		link_send(rx->setup.link, WIRE_ACK, body, wr_len(&w));
	}
	rx->n_acks = 0;
}

void receiver_answer_ack(struct receiver *rx, uint32_t ticket)
{
	GROW(rx->acks, rx->cap_acks, rx->n_acks + 1);
	rx->acks[rx->n_acks++] = ticket;
}

void receiver_answer_need(struct receiver *rx, uint32_t ticket, uint8_t reason)
{
	uint8_t body[64];
	struct wire_need need = {.ticket = ticket, .reason = reason};
	struct wr w;
	wr_init(&w, body, sizeof(body));
	wire_encode_need(&w, &need);
	link_send(rx->setup.link, WIRE_NEED, body, wr_len(&w));
}

void receiver_answer_refused(struct receiver *rx, uint32_t ticket, const char *path, uint8_t reason,
			     int error, const char *text)
{
	uint8_t body[512];
	struct wire_refused refused = {.ticket = ticket, .reason = reason};
	snprintf(refused.text, sizeof(refused.text), "%s", text);
	struct wr w;
	wr_init(&w, body, sizeof(body));
	wire_encode_refused(&w, &refused);
	link_send(rx->setup.link, WIRE_REFUSED, body, wr_len(&w));
	/* What a brake holds may be many thousands; it was said when that began, and status counts
	 * it. */
	if (reason != REFUSED_HELD)
		refusals_add(rx->refusals, path, error, text);
}

/* The slot has been answered, one way or the other, and is gone. */
void receiver_drop_slot(struct receiver *rx, struct slot *slot, bool acknowledged)
{
	/* An aborted one is forgotten already, and nobody waits for an answer. */
	if (inbound_is_wanted(rx->inbound, slot->ticket))
		inbound_answered(rx->inbound, slot->ticket, acknowledged);
	HASH_DEL(rx->slots, slot);
	slot_free(slot);
}

void receiver_slot_finished(struct slot *slot)
{
	struct receiver *rx = slot->rx;
	if (rx->closing)
		return; /* receiver_close() disposes of it */
	if (slot->set_aborted) {
		receiver_discard_slot(slot);
		return;
	}
	if (slot->streamed && !inbound_is_wanted(rx->inbound, slot->ticket))
		slot->result = SLOT_ABORTED;
	switch (slot->result) {
	case SLOT_STAGED:
		inbound_staged(rx->inbound, slot->ticket);
		rx->fresh = true;
		return;
	case SLOT_ALREADY:
		rx->fresh |= slot->item.set != 0; /* the rest of its set may be complete now */
		receiver_answer_ack(rx, slot->ticket);
		receiver_drop_slot(rx, slot, true);
		return;
	case SLOT_NEED: receiver_answer_need(rx, slot->ticket, slot->reason); break;
	case SLOT_REFUSED:
		receiver_answer_refused(rx, slot->ticket, slot->item.entry.rec.path, slot->reason,
					slot->error, slot->text);
		break;
	case SLOT_ABORTED:
	case SLOT_PENDING: break;
	}
	receiver_drop_slot(rx, slot, false);
}

void receiver_advance(struct receiver *rx)
{
	if (rx->closing) {
		finish_close(rx);
		return;
	}
	if (!rx->committing) {
		bool clean;
		uint64_t id;
		/* Answered in order: the next is judged when this one is durable. */
		while (!rx->storing_barrier &&
		       (id = inbound_reached_barrier(rx->inbound, &clean)) != 0)
			receiver_judge_barrier(rx, id, clean);
		receiver_start_commit(rx);
	}
	receiver_flush_acks(rx);
}

/* ---- closing -------------------------------------------------------------------------------- */

struct discard_job {
	struct job job;
	struct receiver *rx;
};

/* worker: nothing staged in this session will ever be committed; a later session sends it again. */
static void discard_work(struct job *job)
{
	struct receiver *rx = container_of(job, struct discard_job, job)->rx;
	struct slot *slot, *tmp;
	HASH_ITER (hh, rx->slots, slot, tmp) {
		const char *sub;
		if (slot->item.staged.temp[0] == '\0' || !slot->item.entry.rec.path)
			continue;
		struct root *root =
			tree_resolve(rx->setup.env.tree, slot->item.entry.rec.path, &sub);
		stage_discard_or_later(root, slot->item.staged.temp, NULL);
	}
}

static void discard_done(struct job *job)
{
	struct discard_job *discard = container_of(job, struct discard_job, job);
	struct receiver *rx = discard->rx;
	struct slot *slot, *tmp;
	HASH_ITER (hh, rx->slots, slot, tmp) {
		HASH_DEL(rx->slots, slot);
		slot_free(slot);
	}
	inbound_free(rx->inbound);
	refusals_free(rx->refusals);
	free(rx->acks);
	free(discard);
	struct receiver_events events = rx->setup.events;
	free(rx);
	events.closed(events.owner);
}

static void finish_close(struct receiver *rx)
{
	if (rx->committing || rx->stage_jobs > 0 || rx->stream_jobs > 0 || rx->other_jobs > 0)
		return;
	struct discard_job *discard = x_calloc(1, sizeof(*discard));
	discard->rx = rx;
	rx->other_jobs++; /* finish_close() starts it once */
	job_start(rx->setup.loop, &discard->job, discard_work, discard_done);
}

void receiver_close(struct receiver *rx)
{
	if (rx->closing)
		return;
	rx->closing = true;
	finish_close(rx);
}
