/* messages_session.c - HELLO, BYE, HEARTBEAT: what is said about the session itself. */
#include <errno.h>
#include <string.h>

#include "protocol/messages.h"

/* Copies a text field of at most `max` bytes into out[max + 1]. */
static void read_text(struct rd *r, char *out, size_t max, const char *field)
{
	const char *text = rd_text(r, max, field);
	memcpy(out, text, strlen(text) + 1);
}

static void read_name(struct rd *r, char out[WIRE_NAME_MAX + 1], const char *field)
{
	read_text(r, out, WIRE_NAME_MAX, field);
	rd_check(r, wire_name_is_legal(out), field);
}

static void encode_epoch(struct wr *w, const struct epoch_entry *entry)
{
	wr_u64(w, entry->number);
	wr_raw(w, entry->id, WIRE_ID_LEN);
	wr_raw(w, entry->parent, WIRE_ID_LEN);
	wr_u64(w, entry->base_seq);
	wr_raw(w, entry->ends, WIRE_ID_LEN);
	wr_text(w, entry->node);
}

static void decode_epoch(struct epoch_entry *out, struct rd *r)
{
	memset(out, 0, sizeof(*out));
	out->number = rd_counter(r, "lineage.number");
	rd_copy(r, out->id, WIRE_ID_LEN, "lineage.id");
	rd_copy(r, out->parent, WIRE_ID_LEN, "lineage.parent");
	out->base_seq = rd_counter(r, "lineage.base_seq");
	rd_copy(r, out->ends, WIRE_ID_LEN, "lineage.ends");
	read_name(r, out->node, "lineage.node");
}

void wire_encode_hello(struct wr *w, const struct wire_hello *m)
{
	wr_u32(w, WIRE_MAGIC);
	wr_u16(w, m->version);
	wr_text(w, m->group);
	wr_text(w, m->node);
	wr_text(w, m->to);
	wr_u8(w, m->role);
	wr_u8(w, m->flags);
	wr_raw(w, m->profile, sizeof(m->profile));
	wr_u64(w, m->chain_n);
	wr_raw(w, m->chain, sizeof(m->chain));
	wr_u64(w, m->seen_chain_n);
	wr_raw(w, m->seen_chain, sizeof(m->seen_chain));
	wr_u64(w, m->last_seq);
	wr_u64(w, m->records);
	wr_raw(w, m->digest, sizeof(m->digest));
	wr_u16(w, m->n_lineage);
	if (m->n_lineage > WIRE_LINEAGE_MAX)
		wr_fail(w, -EMSGSIZE);
	for (size_t i = 0; i < m->n_lineage && !w->error; i++)
		encode_epoch(w, &m->lineage[i]);
}

static void decode_lineage(struct wire_hello *out, struct epoch_entry *lineage, struct rd *r)
{
	out->n_lineage = rd_u16(r, "n_lineage");
	if (out->n_lineage > WIRE_LINEAGE_MAX)
		rd_fail(r, -EMSGSIZE, "n_lineage");
	for (size_t i = 0; i < out->n_lineage && !r->error; i++)
		decode_epoch(&lineage[i], r);
	out->lineage = lineage;
}

int wire_decode_hello(struct wire_hello *out, struct epoch_entry *lineage, struct rd *r)
{
	memset(out, 0, sizeof(*out));
	rd_check(r, rd_u32(r, "magic") == WIRE_MAGIC, "magic");
	out->version = rd_u16(r, "version");
	if (!r->error && out->version != WIRE_VERSION)
		return 0; /* what follows has a meaning only that version knows */
	read_name(r, out->group, "group");
	read_name(r, out->node, "node");
	read_name(r, out->to, "to");
	out->role = rd_u8(r, "role");
	rd_check(r, out->role >= WIRE_ROLE_ACTIVE && out->role <= WIRE_ROLE_SPLIT, "role");
	out->flags = rd_u8(r, "flags");
	rd_check(r, !(out->flags & ~(HELLO_POPULATED | HELLO_ADOPT | HELLO_RECONCILING)), "flags");
	rd_copy(r, out->profile, sizeof(out->profile), "profile");
	out->chain_n = rd_counter(r, "chain_n");
	rd_copy(r, out->chain, sizeof(out->chain), "chain");
	out->seen_chain_n = rd_counter(r, "seen_chain_n");
	rd_copy(r, out->seen_chain, sizeof(out->seen_chain), "seen_chain");
	out->last_seq = rd_counter(r, "last_seq");
	out->records = rd_counter(r, "records");
	rd_copy(r, out->digest, sizeof(out->digest), "digest");
	decode_lineage(out, lineage, r);
	return rd_end(r);
}

void wire_encode_bye(struct wr *w, const struct wire_bye *m)
{
	wr_u16(w, m->reason);
	wr_text(w, m->text);
}

int wire_decode_bye(struct wire_bye *out, struct rd *r)
{
	memset(out, 0, sizeof(*out));
	out->reason = rd_u16(r, "reason"); /* a later version may know more reasons */
	read_text(r, out->text, WIRE_TEXT_MAX, "text");
	return rd_end(r);
}

void wire_encode_heartbeat(struct wr *w, const struct wire_heartbeat *m)
{
	wr_u64(w, m->nonce);
	wr_u64(w, m->echo);
	wr_u32(w, m->echo_delay_us);
	wr_u16(w, m->flags);
	wr_u32(w, m->scan_age_s);
	wr_u32(w, m->scan_interval_s);
	wr_u64(w, m->last_seq);
	wr_u64(w, (uint64_t)m->clock_ns);
	wr_u64(w, (uint64_t)m->recovery_ns);
	wr_u32(w, m->held);
	wr_u32(w, m->drift);
	wr_u32(w, m->salvage);
}

int wire_decode_heartbeat(struct wire_heartbeat *out, struct rd *r)
{
	memset(out, 0, sizeof(*out));
	out->nonce = rd_u64(r, "nonce");
	out->echo = rd_u64(r, "echo");
	out->echo_delay_us = rd_u32(r, "echo_delay_us");
	out->flags = rd_u16(r, "flags");
	rd_check(r, !(out->flags & ~(BEAT_HEALTHY | BEAT_PAUSED | BEAT_SCANNING | BEAT_ASK)),
		 "flags");
	out->scan_age_s = rd_u32(r, "scan_age_s");
	out->scan_interval_s = rd_u32(r, "scan_interval_s");
	out->last_seq = rd_counter(r, "last_seq");
	out->clock_ns = (int64_t)rd_u64(r, "clock_ns");
	out->recovery_ns = (int64_t)rd_u64(r, "recovery_ns");
	out->held = rd_u32(r, "held");
	out->drift = rd_u32(r, "drift");
	out->salvage = rd_u32(r, "salvage");
	return rd_end(r);
}

void wire_encode_readiness(struct wr *w, const struct wire_readiness *m)
{
	wr_text(w, m->version);
	wr_u16(w, m->total);
	wr_u8(w, m->n);
	if (m->n > WIRE_UNREADY_MAX)
		wr_fail(w, -EMSGSIZE);
	for (size_t i = 0; i < m->n && !w->error; i++)
		wr_text(w, m->reasons[i]);
}

int wire_decode_readiness(struct wire_readiness *out, struct rd *r)
{
	memset(out, 0, sizeof(*out));
	read_text(r, out->version, WIRE_NAME_MAX, "version");
	out->total = rd_u16(r, "total");
	out->n = rd_u8(r, "n");
	if (out->n > WIRE_UNREADY_MAX)
		rd_fail(r, -EMSGSIZE, "n");
	rd_check(r, out->n <= out->total && (out->n > 0) == (out->total > 0), "n");
	for (size_t i = 0; i < out->n && !r->error; i++)
		read_text(r, out->reasons[i], WIRE_UNREADY_TEXT_MAX, "reasons");
	return rd_end(r);
}

void wire_encode_canary(struct wr *w, const struct wire_canary *m)
{
	wr_u64(w, m->nonce);
	wr_raw(w, m->hash, sizeof(m->hash));
	wr_raw(w, m->bytes, sizeof(m->bytes));
}

int wire_decode_canary(struct wire_canary *out, struct rd *r)
{
	memset(out, 0, sizeof(*out));
	out->nonce = rd_counter(r, "nonce");
	rd_check(r, out->nonce > 0, "nonce");
	rd_copy(r, out->hash, sizeof(out->hash), "hash");
	rd_copy(r, out->bytes, sizeof(out->bytes), "bytes");
	return rd_end(r);
}

void wire_encode_canary_done(struct wr *w, const struct wire_canary_done *m)
{
	wr_u64(w, m->nonce);
	wr_u8(w, m->failed);
	wr_text(w, m->text);
}

int wire_decode_canary_done(struct wire_canary_done *out, struct rd *r)
{
	memset(out, 0, sizeof(*out));
	out->nonce = rd_counter(r, "nonce");
	rd_check(r, out->nonce > 0, "nonce");
	out->failed = rd_u8(r, "failed");
	rd_check(r, out->failed <= 1, "failed");
	read_text(r, out->text, WIRE_TEXT_MAX, "text");
	return rd_end(r);
}

void wire_encode_handover(struct wr *w, const struct wire_handover *m)
{
	wr_u8(w, m->word);
	wr_u8(w, m->flags);
	wr_u32(w, m->deadline_ms);
	wr_u64(w, m->number);
	wr_raw(w, m->id, WIRE_ID_LEN);
	wr_u64(w, m->please);
	wr_u64(w, m->base_seq);
	wr_raw(w, m->digest, sizeof(m->digest));
	wr_text(w, m->text);
	wr_text(w, m->operator);
}

int wire_decode_handover(struct wire_handover *out, struct rd *r)
{
	memset(out, 0, sizeof(*out));
	out->word = rd_u8(r, "word");
	rd_check(r, out->word >= HANDOVER_PREPARE && out->word <= HANDOVER_WORD_MAX, "word");
	out->flags = rd_u8(r, "flags");
	rd_check(r, (out->flags & ~HANDOVER_FLAGS) == 0, "flags");
	out->deadline_ms = rd_u32(r, "deadline_ms");
	out->number = rd_counter(r, "number");
	rd_check(r, (out->number == 0) == (out->word == HANDOVER_PLEASE), "number");
	rd_copy(r, out->id, WIRE_ID_LEN, "id");
	out->please = rd_u64(r, "please");
	rd_check(r, out->please != 0 || out->word != HANDOVER_PLEASE, "please");
	out->base_seq = rd_counter(r, "base_seq");
	rd_copy(r, out->digest, sizeof(out->digest), "digest");
	read_text(r, out->text, WIRE_TEXT_MAX, "text");
	read_text(r, out->operator, WIRE_NAME_MAX, "operator");
	rd_check(r, !*out->operator|| out->word == HANDOVER_PLEASE || out->word == HANDOVER_PREPARE,
		 "operator");
	return rd_end(r);
}

void wire_encode_obstacles(struct wr *w, const struct wire_obstacles *m)
{
	wr_u8(w, m->kind);
	wr_u8(w, m->flags);
	wr_u64(w, m->nonce);
	wr_u16(w, m->total);
	wr_u8(w, m->n);
	if (m->n > WIRE_OBSTACLES_MAX)
		wr_fail(w, -EMSGSIZE);
	for (size_t i = 0; i < m->n && !w->error; i++)
		wr_text(w, m->reasons[i]);
}

int wire_decode_obstacles(struct wire_obstacles *out, struct rd *r)
{
	memset(out, 0, sizeof(*out));
	out->kind = rd_u8(r, "kind");
	rd_check(r, out->kind >= OBSTACLES_ASK && out->kind <= OBSTACLES_DECLINE, "kind");
	out->flags = rd_u8(r, "flags");
	rd_check(r,
		 out->flags == 0 ||
			 (out->kind == OBSTACLES_ASK && out->flags == OBSTACLES_ACCEPT_LOSS),
		 "flags");
	out->nonce = rd_u64(r, "nonce");
	rd_check(r, (out->nonce == 0) == (out->kind == OBSTACLES_DECLINE), "nonce");
	out->total = rd_u16(r, "total");
	rd_check(r, out->total == 0 || out->kind != OBSTACLES_ASK, "total");
	out->n = rd_u8(r, "n");
	if (out->n > WIRE_OBSTACLES_MAX)
		rd_fail(r, -EMSGSIZE, "n");
	rd_check(r, out->n <= out->total && (out->n > 0) == (out->total > 0), "n");
	for (size_t i = 0; i < out->n && !r->error; i++)
		read_text(r, out->reasons[i], WIRE_UNREADY_TEXT_MAX, "reasons");
	return rd_end(r);
}
