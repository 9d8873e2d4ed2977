/* receiver_stage.c - from a RECORD and its bytes to a staged object: after
 * agent/sync/receiver_stage.c and stage*.c. */
#include <string.h>

#include "protocol/messages.h"
#include "world.h"

static void slot_need(struct slot *slot, uint8_t reason)
{
	slot->result = SLOT_NEED;
	slot->reason = reason;
}

/* Things that go wrong on a disk: no space, a bit that tipped over, a reader that keeps a file. */
static bool goes_wrong(struct session *s, struct slot *slot)
{
	if (!chance(s->w, s->w->weather.deny))
		return false;
	switch (below(s->w, 3)) {
	case 0: slot_need(slot, NEED_VERIFY); break;
	case 1: slot_need(slot, NEED_CONTENT); break;
	default: slot->result = SLOT_REFUSED; slot->reason = REFUSED_FAILED;
	}
	return true;
}

/* After a cut the active sends again what it has no acknowledgement for. */
static bool is_installed(const struct session *s, const struct slot *slot)
{
	const struct row *have = &s->node->store.rows[slot->path];
	return slot->row.seq <= s->receiver.known_seq && have->seq == slot->row.seq &&
	       have->epoch == slot->row.epoch && !(have->flags & ROW_FOREIGN) &&
	       row_equal(have, &slot->row);
}

static void stage_object(struct session *s, struct slot *slot)
{
	struct disk_attrs attrs = {.kind = slot->row.kind,
				   .mode = slot->row.mode,
				   .mtime = slot->row.mtime,
				   .content = slot->row.content};
	slot->temp = ++s->w->last_temp;
	slot->temp_ino = disk_create(&s->node->disk, INO_STAGE, slot->temp, &attrs);
	slot->staged_at = s->w->steps;
	slot->result = SLOT_STAGED;
}

static void stage_content(struct session *s, struct slot *slot, const uint8_t *bytes, uint32_t len)
{
	uint8_t want[32], have[32];
	content_hash(want, slot->row.content);
	content_hash_bytes(have, bytes, len);
	if (memcmp(want, have, sizeof(want)) == 0)
		stage_object(s, slot);
	else
		slot_need(slot, NEED_VERIFY);
}

static void stage_ref(struct session *s, struct slot *slot)
{
	const struct disk *disk = &s->node->disk;
	const struct disk_attrs *there = disk_attrs(disk, disk_at(disk, slot->hint));
	if (there && there->kind == RECORD_FILE && there->content == slot->row.content)
		stage_object(s, slot);
	else
		slot_need(slot, NEED_CONTENT);
}

/* ---- small records -------------------------------------------------------------------------- */

static void stage_small(struct session *s, struct slot *slot)
{
	if (is_installed(s, slot))
		slot->result = SLOT_ALREADY;
	else if (goes_wrong(s, slot))
		return;
	else if (slot->op == OP_WHOLE)
		stage_content(s, slot, slot->bytes, slot->n_bytes);
	else if (slot->op == OP_REF)
		stage_ref(s, slot);
	else if (slot->op == OP_META && slot->row.kind == RECORD_SYMLINK)
		stage_object(s, slot);
	else
		slot->result = SLOT_STAGED;
}

static void small_done(struct session *s, uint32_t arg)
{
	struct receiver *rx = &s->receiver;
	(void)arg;
	rx->staging = false;
	for (size_t i = 0; i < rx->n_group; i++) {
		rx->slots[rx->group[i]].working = false;
		receiver_slot_finished(s, &rx->slots[rx->group[i]]);
	}
	receiver_stage_todo(s);
	receiver_advance(s);
}

static void small_work(struct session *s, uint32_t at)
{
	struct receiver *rx = &s->receiver;
	stage_small(s, &rx->slots[rx->group[at]]);
	if (at + 1 < rx->n_group)
		session_job(s, MS / 2, "stage", small_work, at + 1);
	else
		session_job(s, MS / 2, "stage-done", small_done, 0);
}

static bool is_deletion(const struct slot *slot)
{
	return slot->op == OP_DELETE || slot->op == OP_ABSENT;
}

static struct slot *first_todo(struct receiver *rx)
{
	return rx->n_todo ? &rx->slots[rx->todo[0]] : NULL;
}

static struct slot *take_todo(struct receiver *rx)
{
	struct slot *slot = first_todo(rx);
	memmove(rx->todo, rx->todo + 1, --rx->n_todo);
	return slot;
}

void receiver_stage_todo(struct session *s)
{
	struct receiver *rx = &s->receiver;
	struct slot *slot;
	while (!s->closing && !rx->staging && (slot = first_todo(rx)) && is_deletion(slot)) {
		take_todo(rx);
		slot->result = SLOT_STAGED;
		receiver_slot_finished(s, slot);
	}
	if (s->closing || rx->staging || !first_todo(rx))
		return;
	rx->n_group = 0;
	while (rx->n_group < GROUP_MAX && (slot = first_todo(rx)) && !is_deletion(slot)) {
		take_todo(rx);
		slot->working = true;
		rx->group[rx->n_group++] = (uint8_t)(slot - rx->slots);
	}
	rx->staging = true;
	session_job(s, MS, "stage", small_work, 0);
}

/* ---- streams -------------------------------------------------------------------------------- */

static void finish_stream(struct session *s, struct slot *slot)
{
	const struct disk *disk = &s->node->disk;
	const uint8_t *bytes = slot->bytes;
	uint32_t len = slot->n_bytes;
	if (slot->op == OP_DELTA) {
		const struct disk_attrs *basis = disk_attrs(disk, disk_at(disk, slot->path));
		if (!basis || basis->kind != RECORD_FILE) {
			slot_need(slot, NEED_CONTENT);
			return;
		}
		if (len < 8 || memcmp(bytes, &basis->content, 8) != 0) {
			slot_need(slot, NEED_VERIFY);
			return;
		}
		bytes += 8;
		len -= 8;
	}
	stage_content(s, slot, bytes, len);
}

static void stream_done(struct session *s, uint32_t at)
{
	struct slot *slot = &s->receiver.slots[at];
	slot->working = false;
	bool early = slot->result == SLOT_NEED || slot->result == SLOT_REFUSED;
	if (slot->whole || (early && !slot->answered && !slot->last && !slot->aborted))
		receiver_slot_finished(s, slot);
	if (slot->used && slot->fresh)
		receiver_stage_stream(s, slot);
	receiver_advance(s);
}

/* worker: takes what has arrived. */
static void stream_work(struct session *s, uint32_t at)
{
	struct slot *slot = &s->receiver.slots[at];
	slot->fresh = false;
	slot->whole = slot->last || slot->aborted;
	if (slot->aborted)
		slot->result = SLOT_ABORTED;
	else if (slot->result == SLOT_PENDING && slot->last && is_installed(s, slot))
		slot->result = SLOT_ALREADY;
	else if (slot->result == SLOT_PENDING && slot->last && !goes_wrong(s, slot))
		finish_stream(s, slot);
	else if (slot->result == SLOT_PENDING && !slot->last && chance(s->w, s->w->weather.early))
		goes_wrong(s, slot);
	session_job(s, MS, "stream-done", stream_done, at);
}

void receiver_stage_stream(struct session *s, struct slot *slot)
{
	if (slot->working || !slot->fresh || s->closing)
		return;
	slot->working = true;
	session_job(s, MS, "stream", stream_work, (uint32_t)(slot - s->receiver.slots));
}

/* ---- signatures ----------------------------------------------------------------------------- */

static void signature_work(struct session *s, uint32_t arg)
{
	uint8_t body[128], bytes[32];
	int path = (int)(arg & 0xff);
	const struct row *have = &s->node->store.rows[path];
	struct wire_signature m = {.id = arg >> 8, .flags = SIGNATURE_LAST, .bytes = bytes};
	struct wr w;
	if (s->closing)
		return;
	content_hash(bytes, have->content);
	bool wanted = have->kind == RECORD_FILE && content_size(have->content) > 0 &&
		      have->content == s->node->asked_content[path];
	if (wanted)
		m.bytes_len = sizeof(bytes);
	else
		m.flags |= SIGNATURE_NONE;
	wr_init(&w, body, sizeof(body));
	wire_encode_signature(&w, &m);
	session_send(s, WIRE_SIGNATURE, &w);
}

void receiver_serve_signature(struct session *s, const struct wire_signature_ask *ask)
{
	int path = path_find(ask->path);
	s->node->asked_content[path] = content_of_hash(ask->hash);
	session_job(s, 2 * MS, "signature", signature_work, ask->id << 8 | (uint32_t)path);
}
