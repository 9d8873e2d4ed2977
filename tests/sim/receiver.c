/* receiver.c - frames in, answers out, one commit at a time: after agent/sync/receiver.c. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "protocol/messages.h"
#include "world.h"

#define DURABLE_BATCH_MIN 4

void receiver_start(struct session *s)
{
	struct world *w = s->w;
	struct inbound_limits limits = {.records = UNDER_WAY_MAX,
					.streams = STREAMS_MAX,
					.batch = 1 + below(w, BATCH_ROWS)};
	s->receiver = (struct receiver){.inbound = inbound_new(&limits),
					.known_seq = s->node->store.last_seq};
}

/* What was staged and not committed is of no use to a later session. */
void receiver_release(struct session *s)
{
	struct disk *disk = &s->node->disk;
	for (size_t i = 0; i < SLOTS_MAX && s->receiver.inbound; i++) {
		struct slot *slot = &s->receiver.slots[i];
		if (slot->used && slot->temp && disk_lookup(disk, INO_STAGE, slot->temp))
			disk_unlink(disk, INO_STAGE, slot->temp);
	}
	inbound_free(s->receiver.inbound);
	s->receiver.inbound = NULL;
}

/* ---- answers -------------------------------------------------------------------------------- */

static void flush_acks(struct session *s)
{
	struct receiver *rx = &s->receiver;
	static uint8_t body[8 * SLOTS_MAX + 128];
	struct wire_ack ack = {
		.n = (uint32_t)rx->n_acks, .tickets = rx->acks, .chain_n = s->node->store.chain_n};
	struct wr w;
	if (rx->n_acks == 0 || s->closing)
		return;
	memcpy(ack.chain, s->node->store.chain, sizeof(ack.chain));
	wr_init(&w, body, sizeof(body));
	wire_encode_ack(&w, &ack);
	session_send(s, WIRE_ACK, &w);
	rx->n_acks = 0;
}

static void answer_need(struct session *s, uint32_t ticket, uint8_t reason)
{
	uint8_t body[64];
	struct wire_need need = {.ticket = ticket, .reason = reason};
	struct wr w;
	wr_init(&w, body, sizeof(body));
	wire_encode_need(&w, &need);
	session_send(s, WIRE_NEED, &w);
}

static void answer_refused(struct session *s, uint32_t ticket, uint8_t reason)
{
	uint8_t body[512];
	struct wire_refused refused = {.ticket = ticket, .reason = reason, .text = "no space"};
	struct wr w;
	wr_init(&w, body, sizeof(body));
	wire_encode_refused(&w, &refused);
	session_send(s, WIRE_REFUSED, &w);
}

static void discard(struct session *s, struct slot *slot)
{
	struct disk *disk = &s->node->disk;
	if (slot->temp && disk_lookup(disk, INO_STAGE, slot->temp))
		disk_unlink(disk, INO_STAGE, slot->temp);
	slot->temp = 0;
}

static void answer(struct session *s, struct slot *slot, bool acknowledged)
{
	struct inbound *inbound = s->receiver.inbound;
	if (inbound_is_wanted(inbound, slot->ticket))
		inbound_answered(inbound, slot->ticket, acknowledged);
	slot->used = false;
}

static void deny(struct session *s, struct slot *slot)
{
	trace(s->w, s->node, "  denies %s: %s %d", path_text[slot->path],
	      slot->result == SLOT_NEED ? "need" : "refused", slot->reason);
	s->receiver.denied = true;
	discard(s, slot);
	if (slot->result == SLOT_NEED)
		answer_need(s, slot->ticket, slot->reason);
	else
		answer_refused(s, slot->ticket, slot->reason);
}

/* A denial in the midst of a stream: what still arrives of it is dropped. */
static void deny_early(struct session *s, struct slot *slot)
{
	deny(s, slot);
	inbound_answered(s->receiver.inbound, slot->ticket, false);
	slot->answered = true;
}

void receiver_slot_finished(struct session *s, struct slot *slot)
{
	struct receiver *rx = &s->receiver;
	if (s->closing)
		return;
	bool over = !slot->streamed || slot->last || slot->aborted;
	if (slot->answered) {
		slot->used = !over;
		return;
	}
	if (!over) {
		deny_early(s, slot);
		return;
	}
	if (slot->streamed && !inbound_is_wanted(rx->inbound, slot->ticket))
		slot->result = SLOT_ABORTED;
	switch (slot->result) {
	case SLOT_STAGED: inbound_staged(rx->inbound, slot->ticket); return;
	case SLOT_ALREADY:
		rx->acks[rx->n_acks++] = slot->ticket;
		answer(s, slot, true);
		return;
	case SLOT_NEED:
	case SLOT_REFUSED: deny(s, slot); break;
	case SLOT_ABORTED:
	case SLOT_PENDING: discard(s, slot); break;
	}
	answer(s, slot, false);
}

/* ---- commits -------------------------------------------------------------------------------- */

static struct slot *find_slot(struct session *s, uint32_t ticket)
{
	for (size_t i = 0; i < SLOTS_MAX; i++) {
		if (s->receiver.slots[i].used && s->receiver.slots[i].ticket == ticket)
			return &s->receiver.slots[i];
	}
	return NULL;
}

/* Those staged first that an earlier sync has covered already are a batch of their own, if they are
 * many. */
static size_t batch_max(const struct session *s)
{
	size_t durable = 0;
	for (size_t i = 0; i < SLOTS_MAX; i++) {
		const struct slot *slot = &s->receiver.slots[i];
		durable += slot->used && slot->result == SLOT_STAGED && !slot->working &&
			   slot->staged_at < s->node->synced_at;
	}
	return durable < DURABLE_BATCH_MIN ? BATCH_ROWS : durable;
}

static void start_commit(struct session *s)
{
	uint32_t tickets[BATCH_ROWS];
	struct slot *slots[BATCH_ROWS];
	size_t n = inbound_batch(s->receiver.inbound, tickets, batch_max(s));
	if (n == 0)
		return;
	for (size_t i = 0; i < n; i++) {
		slots[i] = find_slot(s, tickets[i]);
		if (!slots[i])
			world_fail(s->w, "inbound gave a ticket into the batch that has no record");
	}
	s->receiver.committing = true;
	s->w->stats.batches++;
	batch_start(s, slots, n);
}

void receiver_answer_batch(struct session *s)
{
	struct batch *b = &s->node->batch;
	for (size_t i = 0; i < b->n; i++) {
		struct op *op = &b->ops[i];
		struct slot *slot = op->slot;
		bool done = op->state == OP_PERFORMED;
		slot->temp = 0; /* used up, whatever the result */
		if (s->closing)
			continue;
		if (done) {
			s->receiver.acks[s->receiver.n_acks++] = slot->ticket;
		} else {
			slot->result = op->need ? SLOT_NEED : SLOT_REFUSED;
			slot->reason = op->need ? op->need : op->refused;
			deny(s, slot);
		}
		answer(s, slot, done);
	}
}

void receiver_committed(struct session *s)
{
	s->receiver.committing = false;
	receiver_advance(s);
}

/* ---- barriers ------------------------------------------------------------------------------- */

static void send_barrier_done(struct session *s, const struct wire_barrier *barrier,
			      uint8_t outcome)
{
	uint8_t body[128];
	struct wire_barrier_done done = {.id = barrier->id, .outcome = outcome};
	struct wr w;
	memcpy(done.digest, store_digest(&s->node->store), sizeof(done.digest));
	wr_init(&w, body, sizeof(body));
	wire_encode_barrier_done(&w, &done);
	session_send(s, WIRE_BARRIER_DONE, &w);
}

static void barrier_done(struct session *s, uint32_t arg)
{
	(void)arg;
	s->receiver.storing_barrier = false;
	if (s->closing)
		return;
	s->node->store.adopt = false; /* the first sync is over */
	session_matched(s, s->receiver.storing.chain_n, s->receiver.storing.chain);
	send_barrier_done(s, &s->receiver.storing, BARRIER_MATCHED);
	receiver_advance(s);
}

static void barrier_work(struct session *s, uint32_t arg)
{
	(void)arg;
	s->node->store.barrier_seq = s->receiver.storing.seq;
	session_job(s, MS, "barrier-done", barrier_done, 0);
}

/* What the index of the active was when it sent this barrier; NULL when it has forgotten. */
static const struct row *rows_of(struct session *s, uint64_t id)
{
	const struct node *active = &s->w->nodes[s->peer];
	const struct session *theirs = &active->sessions[s->node->number];
	if (!s->link || theirs->link != side_other(s->link))
		return NULL;
	for (size_t i = 0; i < theirs->sender.n_barriers; i++) {
		if (theirs->sender.barriers[i].id == id)
			return theirs->sender.barriers[i].rows;
	}
	return NULL;
}

static void matched(struct session *s, const struct wire_barrier *barrier)
{
	const struct row *rows = rows_of(s, barrier->id);
	s->w->stats.matched++;
	if (rows)
		check_matched(s->w, s->node, &s->w->nodes[s->peer], rows);
	if (rows) /* else it was sent before a crash */
		s->excused = s->w->nodes[s->peer].sessions[s->node->number].excused = false;
	s->receiver.storing = *barrier;
	s->receiver.storing_barrier = true;
	session_job(s, MS, "barrier", barrier_work, 0);
}

/* Without a rollback or a first sync nothing but a bug makes the trees differ. */
static void mismatched(struct session *s, const struct wire_barrier *barrier)
{
	const struct row *rows = rows_of(s, barrier->id);
	s->w->stats.mismatches++;
	for (int i = 0; rows && i < N_PATHS; i++) {
		const struct row *here = &s->node->store.rows[i];
		if (row_is_live(&rows[i]) != row_is_live(here) ||
		    (row_is_live(here) && !row_equal(&rows[i], here)))
			trace(s->w, s->node, "  differs: \"%s\" kind %d seq %llu, there %d %llu",
			      path_text[i], here->kind, (unsigned long long)here->seq, rows[i].kind,
			      (unsigned long long)rows[i].seq);
	}
	if (!s->excused)
		world_fail(s->w, "%s: a barrier does not match, and nothing explains it",
			   s->node->name);
	send_barrier_done(s, barrier, BARRIER_MISMATCH);
}

static void judge_barrier(struct session *s, uint64_t id, bool clean)
{
	struct receiver *rx = &s->receiver;
	size_t i = 0;
	while (i < rx->n_barriers && rx->barriers[i].id != id)
		i++;
	struct wire_barrier barrier = rx->barriers[i];
	memmove(&rx->barriers[i], &rx->barriers[i + 1],
		(rx->n_barriers - i - 1) * sizeof(rx->barriers[0]));
	rx->n_barriers--;
	trace(s->w, s->node, "  barrier %llu %s", (unsigned long long)id,
	      clean ? "clean" : "dropped");
	if (!clean) {
		s->w->stats.dropped++;
		send_barrier_done(s, &barrier, BARRIER_DROPPED);
	} else if (memcmp(store_digest(&s->node->store), barrier.digest, 32) != 0) {
		mismatched(s, &barrier);
	} else {
		matched(s, &barrier);
	}
}

void receiver_advance(struct session *s)
{
	struct receiver *rx = &s->receiver;
	uint64_t id;
	bool clean;
	if (s->closing)
		return;
	if (!rx->committing) {
		while (!rx->storing_barrier &&
		       (id = inbound_reached_barrier(rx->inbound, &clean)) != 0)
			judge_barrier(s, id, clean);
		start_commit(s);
	}
	flush_acks(s);
}

/* ---- frames --------------------------------------------------------------------------------- */

static struct slot *slot_new(struct session *s, const struct wire_record *m)
{
	for (size_t i = 0; i < SLOTS_MAX; i++) {
		struct slot *slot = &s->receiver.slots[i];
		if (slot->used)
			continue;
		*slot = (struct slot){.used = true,
				      .ticket = m->ticket,
				      .op = m->op,
				      .path = path_find(m->record.path),
				      .streamed = m->stream != 0,
				      .n_bytes = m->bytes_len};
		row_of_record(&slot->row, &m->record);
		slot->basis = content_of_hash(m->basis);
		slot->hint = m->hint ? path_find(m->hint) : -1;
		if (m->bytes_len > 0)
			memcpy(slot->bytes, m->bytes, m->bytes_len);
		return slot;
	}
	world_fail(s->w, "inbound let more records in than it was allowed");
}

static void on_record(struct session *s, const struct frame *frame)
{
	struct receiver *rx = &s->receiver;
	struct wire_record m;
	struct rd r;
	rd_init(&r, frame->body, frame->len);
	if (wire_decode_record(&m, &r) < 0)
		session_violated(s, r.field);
	int bad =
		inbound_record(rx->inbound, m.ticket, m.record.path, m.stream != 0, m.record.size);
	if (bad < 0)
		session_violated(s, bad == -EPROTO ? "RECORD: ticket or path" : "RECORD: limit");
	struct slot *slot = slot_new(s, &m);
	if (slot->streamed)
		return;
	if (m.op == OP_META && m.record.kind == RECORD_DIR) {
		slot->result = SLOT_STAGED;
		receiver_slot_finished(s, slot);
	} else {
		rx->todo[rx->n_todo++] = (uint8_t)(slot - rx->slots);
		receiver_stage_todo(s);
	}
	receiver_advance(s);
}

static void on_data(struct session *s, const struct frame *frame)
{
	struct receiver *rx = &s->receiver;
	struct wire_data m;
	struct rd r;
	rd_init(&r, frame->body, frame->len);
	if (wire_decode_data(&m, &r) < 0)
		session_violated(s, "DATA");
	bool aborted = m.flags & DATA_ABORT, last = m.flags & DATA_LAST;
	int bad = aborted ? inbound_abort(rx->inbound, m.stream)
			  : inbound_data(rx->inbound, m.stream, m.raw_len, last);
	struct slot *slot = find_slot(s, m.stream);
	if (bad < 0 || !slot || slot->n_bytes + m.bytes_len > sizeof(slot->bytes))
		session_violated(s, "DATA of no stream, or too much of it");
	slot->aborted |= aborted;
	slot->last |= last;
	slot->fresh = true;
	if (m.bytes_len > 0)
		memcpy(slot->bytes + slot->n_bytes, m.bytes, m.bytes_len);
	slot->n_bytes += m.bytes_len;
	receiver_stage_stream(s, slot);
}

static void on_barrier(struct session *s, const struct frame *frame)
{
	struct receiver *rx = &s->receiver;
	struct wire_barrier m;
	struct rd r;
	rd_init(&r, frame->body, frame->len);
	if (wire_decode_barrier(&m, &r) < 0 || inbound_barrier(rx->inbound, m.id, m.denials) < 0)
		session_violated(s, "BARRIER");
	rx->barriers[rx->n_barriers++] = m;
	receiver_advance(s);
}

static void on_signature_ask(struct session *s, const struct frame *frame)
{
	struct wire_signature_ask m;
	struct rd r;
	rd_init(&r, frame->body, frame->len);
	if (wire_decode_signature_ask(&m, &r) < 0)
		session_violated(s, "SIGNATURE_ASK");
	receiver_serve_signature(s, &m);
}

void receiver_frame(struct session *s, const struct frame *frame)
{
	if (s->closing)
		return;
	switch (frame->type) {
	case WIRE_RECORD: on_record(s, frame); break;
	case WIRE_DATA: on_data(s, frame); break;
	case WIRE_BARRIER: on_barrier(s, frame); break;
	case WIRE_SIGNATURE_ASK: on_signature_ask(s, frame); break;
	default: session_violated(s, wire_rule(frame->type)->name);
	}
}
