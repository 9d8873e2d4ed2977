/* receiver_frames.c - frames in: each is decoded, judged, and becomes a slot, a piece of one, or a
 * question. What breaks the rules ends the connection. */
#include "agent/sync/receiver_internal.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "protocol/messages.h"

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
	slot->item.approved = m->flags & RECORD_APPROVED;
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
	if (m->op == OP_DELETE || m->op == OP_ABSENT)
		return profile_may_replicate(profile, path);
	bool is_dir = m->record.kind == RECORD_DIR;
	enum profile_verdict verdict = profile_verdict(profile, path, is_dir);
	return verdict == PROFILE_REPLICATE || (is_dir && verdict == PROFILE_PASSAGE);
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
