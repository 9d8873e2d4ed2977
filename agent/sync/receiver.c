/* receiver.c - frames in, answers out, one commit at a time. */
#include "agent/sync/receiver_internal.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "agent/base/clock.h"
#include "agent/base/log.h"
#include "agent/base/trouble.h"
#include "protocol/messages.h"

#define BARRIER_STORE_MS 10000 /* an unchanged barrier's clock is made durable this often */

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

static void violated(struct receiver *rx, uint16_t reason, const char *text)
{
	if (rx->violated || rx->closing)
		return;
	rx->violated = true;
	rx->setup.events.violated(rx->setup.events.owner, reason, text);
}

static void bad_frame(struct receiver *rx, const char *type, const struct rd *r)
{
	char text[120];
	snprintf(text, sizeof(text), "%s: field \"%s\" is malformed", type,
		 r->field ? r->field : "?");
	violated(rx, BYE_MALFORMED, text);
}

static void queue_bytes(struct receiver *rx, uint64_t bytes)
{
	rx->queued += bytes;
	if (rx->queued > RECEIVER_QUEUE_HIGH && !rx->paused) {
		rx->paused = true;
		link_pause(rx->setup.link);
	}
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

static void flush_acks(struct receiver *rx)
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

static void answer_ack(struct receiver *rx, uint32_t ticket)
{
	GROW(rx->acks, rx->cap_acks, rx->n_acks + 1);
	rx->acks[rx->n_acks++] = ticket;
}

static void answer_need(struct receiver *rx, uint32_t ticket, uint8_t reason)
{
	uint8_t body[64];
	struct wire_need need = {.ticket = ticket, .reason = reason};
	struct wr w;
	wr_init(&w, body, sizeof(body));
	wire_encode_need(&w, &need);
	link_send(rx->setup.link, WIRE_NEED, body, wr_len(&w));
}

static void answer_refused(struct receiver *rx, uint32_t ticket, const char *path, uint8_t reason,
			   int error, const char *text)
{
	uint8_t body[512];
	struct wire_refused refused = {.ticket = ticket, .reason = reason};
	snprintf(refused.text, sizeof(refused.text), "%s", text);
	struct wr w;
	wr_init(&w, body, sizeof(body));
	wire_encode_refused(&w, &refused);
	link_send(rx->setup.link, WIRE_REFUSED, body, wr_len(&w));
	refusals_add(rx->refusals, path, error, text);
}

/* The slot has been answered, one way or the other, and is gone. */
static void drop_slot(struct receiver *rx, struct slot *slot, bool acknowledged)
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
		answer_ack(rx, slot->ticket);
		drop_slot(rx, slot, true);
		return;
	case SLOT_NEED: answer_need(rx, slot->ticket, slot->reason); break;
	case SLOT_REFUSED:
		answer_refused(rx, slot->ticket, slot->item.entry.rec.path, slot->reason,
			       slot->error, slot->text);
		break;
	case SLOT_ABORTED:
	case SLOT_PENDING: break;
	}
	drop_slot(rx, slot, false);
}

/* ---- commits -------------------------------------------------------------------------------- */

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
	answer_ack(rx, ticket);
}

static void answer_denial(struct receiver *rx, struct commit_job *commit, size_t i)
{
	struct commit_item *item = &commit->items[i];
	uint32_t ticket = commit->tickets[i];
	const char *path = item->entry.rec.path;
	/* Not asked for again at once: what failed for all of them will fail again a moment later.
	 */
	if (commit->result < 0)
		answer_refused(rx, ticket, path, REFUSED_FAILED, -commit->result, commit->err.msg);
	else if (item->result == COMMIT_NEED)
		answer_need(rx, ticket, item->reason);
	else
		answer_refused(rx, ticket, path, item->reason, item->error, item->text);
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
	flush_acks(rx);
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
			drop_slot(rx, slot, done);
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

static void start_commit(struct receiver *rx)
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

/* ---- barriers ------------------------------------------------------------------------------- */

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
static void judge_barrier(struct receiver *rx, uint64_t id, bool clean)
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
	if (!clean)
		send_barrier_done(rx, &barrier, BARRIER_DROPPED);
	else if (!equal)
		send_barrier_done(rx, &barrier, BARRIER_MISMATCH);
	else if (known)
		send_barrier_done(rx, &barrier, BARRIER_MATCHED);
	else
		store_barrier(rx, &barrier);
}

static void finish_close(struct receiver *rx);

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
			judge_barrier(rx, id, clean);
		start_commit(rx);
	}
	flush_acks(rx);
}

/* ---- frames --------------------------------------------------------------------------------- */

static struct slot *slot_new(struct receiver *rx, const struct wire_record *m)
{
	struct slot *slot = x_calloc(1, sizeof(*slot));
	struct index_entry borrowed = {.rec = m->record};
	slot->rx = rx;
	slot->ticket = m->ticket;
	slot->streamed = m->stream != 0;
	slot->last = &slot->first;
	slot->item.op = m->op;
	slot->item.set = m->set;
	index_entry_copy(&slot->item.entry, &borrowed);
	slot->raw_len = m->raw_len;
	slot->compressed = m->compressed;
	memcpy(slot->basis, m->basis, sizeof(slot->basis));
	if (m->hint)
		slot->hint = x_strdup(m->hint);
	if (m->bytes_len > 0) {
		slot->bytes = x_memdup(m->bytes, m->bytes_len);
		slot->bytes_len = m->bytes_len;
	}
	return slot;
}

/* The peer never names policy: what our own profile leaves out is not taken, whoever sends it. A
 * deletion does not say what it deletes: it is ours when the path would be as a file or as a
 * directory. */
static bool is_wanted(const struct receiver *rx, const struct wire_record *m)
{
	const struct profile *profile = rx->setup.env.profile;
	const char *path = m->record.path;
	bool deletion = m->op == OP_DELETE || m->op == OP_ABSENT;
	bool may_be_dir = deletion || m->record.kind == RECORD_DIR;
	bool may_be_other = deletion || m->record.kind != RECORD_DIR;
	enum profile_verdict as_dir =
		may_be_dir ? profile_verdict(profile, path, true) : PROFILE_LEAVE;
	if (as_dir == PROFILE_REPLICATE || as_dir == PROFILE_PASSAGE)
		return true;
	return may_be_other && profile_verdict(profile, path, false) == PROFILE_REPLICATE;
}

static void on_record(struct receiver *rx, const struct frame *frame)
{
	struct wire_record m;
	struct rd r;
	struct slot *slot;
	rd_init(&r, frame->body, frame->len);
	if (wire_decode_record(&m, &r) < 0) {
		bad_frame(rx, "RECORD", &r);
		return;
	}
	if (meta_check_xattrs(m.record.xattrs, m.record.xattrs_len) < 0) {
		violated(rx, BYE_MALFORMED, "RECORD: field \"record.xattrs\" is malformed");
		return;
	}
	if (m.record.seq > rx->known_seq + WIRE_SEQ_LEAP) {
		violated(rx, BYE_MALFORMED, "RECORD: seq leaps beyond all measure");
		return;
	}
	if (inbound_record(rx->inbound, m.ticket, m.record.path, m.stream != 0, m.record.size) <
	    0) {
		violated(rx, BYE_MALFORMED, "RECORD: ticket out of order, or too many under way");
		return;
	}
	HASH_FIND(hh, rx->slots, &m.ticket, sizeof(uint32_t), slot);
	if (slot) {
		violated(rx, BYE_MALFORMED, "RECORD: the ticket is still in use");
		return;
	}
	if (m.set != 0 && inbound_member(rx->inbound, m.ticket, m.set, m.set_n) < 0) {
		violated(rx, BYE_MALFORMED,
			 "RECORD: more members of a set than announced, or sets");
		return;
	}
	slot = slot_new(rx, &m);
	HASH_ADD(hh, rx->slots, ticket, sizeof(uint32_t), slot);
	queue_bytes(rx, slot->bytes_len);
	if (!is_wanted(rx, &m)) {
		slot->result = SLOT_REFUSED;
		slot->reason = REFUSED_PROFILE;
		snprintf(slot->text, sizeof(slot->text), "left out by this node's profile");
	}
	if (slot->streamed)
		return; /* answered when its last DATA is here */
	if (slot->result != SLOT_PENDING) {
		receiver_unqueue(rx, slot->bytes_len);
		slot->bytes_len = 0;
		receiver_slot_finished(slot);
		receiver_advance(rx);
		return;
	}
	/* Nothing is to be done for a directory, and what is in it must not overtake it. */
	if (m.op == OP_META && m.record.kind == RECORD_DIR) {
		slot->result = SLOT_STAGED;
		receiver_slot_finished(slot);
		receiver_advance(rx);
		return;
	}
	receiver_add_todo(rx, slot);
	receiver_stage_todo(rx);
	receiver_advance(rx);
}

static void on_data(struct receiver *rx, const struct frame *frame)
{
	struct wire_data m;
	struct rd r;
	struct slot *slot;
	rd_init(&r, frame->body, frame->len);
	if (wire_decode_data(&m, &r) < 0) {
		bad_frame(rx, "DATA", &r);
		return;
	}
	bool aborted = (m.flags & DATA_ABORT) != 0;
	int bad = aborted ? inbound_abort(rx->inbound, m.stream)
			  : inbound_data(rx->inbound, m.stream, m.raw_len,
					 (m.flags & DATA_LAST) != 0);
	HASH_FIND(hh, rx->slots, &m.stream, sizeof(uint32_t), slot);
	if (bad < 0 || !slot || !slot->streamed) {
		violated(rx, BYE_MALFORMED,
			 bad == -EMSGSIZE ? "DATA: more than was announced"
					  : "DATA: no such stream is open");
		return;
	}
	struct chunk *chunk = x_calloc(1, sizeof(*chunk) + m.bytes_len);
	chunk->flags = m.flags;
	chunk->raw_len = m.raw_len;
	chunk->len = m.bytes_len;
	if (m.bytes_len > 0)
		memcpy(chunk->bytes, m.bytes, m.bytes_len);
	*slot->last = chunk;
	slot->last = &chunk->next;
	queue_bytes(rx, CHUNK_COST(chunk));
	receiver_stage_stream(slot);
}

static void on_set_abort(struct receiver *rx, const struct frame *frame)
{
	struct wire_set_abort m;
	struct rd r;
	rd_init(&r, frame->body, frame->len);
	if (wire_decode_set_abort(&m, &r) < 0)
		bad_frame(rx, "SET_ABORT", &r);
	else
		receiver_on_set_abort(rx, &m);
}

static void on_barrier(struct receiver *rx, const struct frame *frame)
{
	struct wire_barrier m;
	struct rd r;
	rd_init(&r, frame->body, frame->len);
	if (wire_decode_barrier(&m, &r) < 0) {
		bad_frame(rx, "BARRIER", &r);
		return;
	}
	if (rx->n_barriers == BARRIERS_MAX || inbound_barrier(rx->inbound, m.id, m.denials) < 0) {
		violated(rx, BYE_MALFORMED, "BARRIER: too many at once");
		return;
	}
	rx->barriers[rx->n_barriers++] = m;
	receiver_advance(rx);
}

static void on_signature_ask(struct receiver *rx, const struct frame *frame)
{
	struct wire_signature_ask m;
	struct rd r;
	rd_init(&r, frame->body, frame->len);
	if (wire_decode_signature_ask(&m, &r) < 0)
		bad_frame(rx, "SIGNATURE_ASK", &r);
	else if (rx->other_jobs > WIRE_QUESTIONS_MAX)
		violated(rx, BYE_MALFORMED, "SIGNATURE_ASK: too many at once");
	else
		receiver_serve_signature(rx, &m);
}

void receiver_frame(struct receiver *rx, const struct frame *frame)
{
	if (rx->violated || rx->closing)
		return;
	switch (frame->type) {
	case WIRE_RECORD: on_record(rx, frame); break;
	case WIRE_DATA: on_data(rx, frame); break;
	case WIRE_SET_ABORT: on_set_abort(rx, frame); break;
	case WIRE_BARRIER: on_barrier(rx, frame); break;
	case WIRE_SIGNATURE_ASK: on_signature_ask(rx, frame); break;
	default: violated(rx, BYE_OUT_OF_PHASE, "not expected while receiving");
	}
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
