/* messages_records.c - RECORD, DATA and what answers them: ACK, NEED, REFUSED; SIGNATURE and its
 * question. */
#include <errno.h>
#include <string.h>

#include "protocol/messages_private.h"

static void limit(struct wr *w, uint64_t value, uint64_t max)
{
	if (value > max)
		wr_fail(w, -EMSGSIZE);
}

/* Which fields follow is said by the kind, so that a field without meaning has no place to carry a
 * value. */
void wire_encode_one_record(struct wr *w, const struct record *m)
{
	wr_text(w, m->path);
	wr_u8(w, (uint8_t)m->kind);
	wr_u64(w, m->epoch);
	wr_u64(w, m->seq);
	if (m->kind == RECORD_ABSENT)
		return;
	wr_u32(w, m->uid);
	wr_u32(w, m->gid);
	wr_u64(w, (uint64_t)m->mtime_ns);
	limit(w, m->xattrs_len, RECORD_XATTRS_MAX);
	wr_bytes(w, m->xattrs, m->xattrs_len);
	if (m->kind == RECORD_SYMLINK) {
		limit(w, m->target_len, RECORD_TARGET_MAX);
		wr_bytes(w, m->target, m->target_len);
		return;
	}
	wr_u32(w, m->mode);
	if (m->kind == RECORD_FILE) {
		wr_u64(w, m->size);
		wr_raw(w, m->hash, RECORD_HASH_LEN);
	}
}

static void decode_target(struct record *out, struct rd *r)
{
	out->target = rd_bytes(r, &out->target_len, RECORD_TARGET_MAX, "record.target");
	if (r->error)
		return;
	rd_check(r, out->target_len > 0 && !memchr(out->target, '\0', out->target_len),
		 "record.target");
}

static void decode_one_record(struct record *out, struct rd *r)
{
	memset(out, 0, sizeof(*out));
	out->path = rd_path(r, true, "record.path");
	out->kind = rd_u8(r, "record.kind");
	rd_check(r, out->kind >= RECORD_FILE && out->kind <= RECORD_ABSENT, "record.kind");
	/* The tree itself is a directory for ever: nobody replaces or removes it. */
	rd_check(r, out->path[0] || out->kind == RECORD_DIR, "record.kind");
	out->epoch = rd_counter(r, "record.epoch");
	out->seq = rd_counter(r, "record.seq");
	if (r->error || out->kind == RECORD_ABSENT)
		return;
	out->uid = rd_u32(r, "record.uid");
	out->gid = rd_u32(r, "record.gid");
	out->mtime_ns = (int64_t)rd_u64(r, "record.mtime_ns");
	out->xattrs = rd_bytes(r, &out->xattrs_len, RECORD_XATTRS_MAX, "record.xattrs");
	if (out->kind == RECORD_SYMLINK) {
		decode_target(out, r);
		return;
	}
	out->mode = rd_u32(r, "record.mode");
	rd_check(r, !(out->mode & ~07777u), "record.mode");
	if (out->kind == RECORD_FILE) {
		out->size = rd_u64(r, "record.size");
		rd_check(r, out->size <= INT64_MAX, "record.size"); /* off_t must hold it */
		rd_copy(r, out->hash, RECORD_HASH_LEN, "record.hash");
	}
}

int wire_next_record(struct record *out, struct rd *r)
{
	if (r->error || r->at == r->end)
		return r->error;
	decode_one_record(out, r);
	return r->error ? r->error : 1;
}

void wire_check_records(struct rd *r, const uint8_t *records, uint32_t len, uint32_t n,
			bool tombstones)
{
	struct rd entries;
	rd_init(&entries, records, len);
	struct record record;
	const char *before = NULL;
	uint32_t found = 0;
	int more;
	while ((more = wire_next_record(&record, &entries)) == 1) {
		rd_check(&entries, tombstones || record.kind != RECORD_ABSENT, "record.kind");
		rd_check(&entries, !before || strcmp(before, record.path) < 0, "record.path");
		before = record.path;
		found++;
	}
	if (more < 0)
		rd_fail(r, more, entries.field);
	rd_check(r, found == n, "n");
}

static void encode_inline(struct wr *w, const struct wire_record *m)
{
	limit(w, m->raw_len, WIRE_RAW_MAX);
	limit(w, m->bytes_len, WIRE_CHUNK_MAX);
	wr_u32(w, m->raw_len);
	wr_u8(w, m->compressed);
	wr_bytes(w, m->bytes, m->bytes_len);
}

void wire_encode_record(struct wr *w, const struct wire_record *m)
{
	wr_u8(w, m->op);
	wr_u32(w, m->ticket);
	wr_u32(w, m->stream);
	wr_u8(w, m->flags);
	wr_u32(w, m->set);
	if (m->set != 0)
		wr_u16(w, m->set_n);
	wire_encode_one_record(w, &m->record);
	if (m->op == OP_WHOLE && m->stream == 0)
		encode_inline(w, m);
	else if (m->op == OP_DELTA)
		wr_raw(w, m->basis, sizeof(m->basis));
	else if (m->op == OP_REF)
		wr_text(w, m->hint);
}

/* Chunk lengths: what is not compressed is as long as it says, and what is has at least a byte. */
static void check_chunk(struct rd *r, bool compressed, uint32_t raw_len, uint32_t bytes_len)
{
	if (raw_len > WIRE_RAW_MAX)
		rd_fail(r, -EMSGSIZE, "raw_len");
	rd_check(r, compressed ? bytes_len > 0 && raw_len > 0 : bytes_len == raw_len, "raw_len");
}

static void decode_inline(struct wire_record *out, struct rd *r)
{
	out->raw_len = rd_u32(r, "raw_len");
	rd_check(r, out->raw_len == out->record.size, "raw_len");
	out->compressed = rd_u8(r, "compressed");
	rd_check(r, out->compressed <= 1, "compressed");
	out->bytes = rd_bytes(r, &out->bytes_len, WIRE_CHUNK_MAX, "bytes");
	check_chunk(r, out->compressed, out->raw_len, out->bytes_len);
}

/* Does the operation go with the record's kind and the stream? */
static bool op_is_sound(const struct wire_record *m)
{
	switch (m->op) {
	case OP_WHOLE: return m->record.kind == RECORD_FILE;
	case OP_DELTA: return m->record.kind == RECORD_FILE && m->stream != 0;
	case OP_REF: return m->record.kind == RECORD_FILE && m->stream == 0;
	case OP_META: return m->record.kind != RECORD_ABSENT && m->stream == 0;
	case OP_DELETE:
	case OP_ABSENT: return m->record.kind == RECORD_ABSENT && m->stream == 0;
	default: return false;
	}
}

int wire_decode_record(struct wire_record *out, struct rd *r)
{
	memset(out, 0, sizeof(*out));
	out->op = rd_u8(r, "op");
	out->ticket = rd_u32(r, "ticket");
	rd_check(r, out->ticket != 0, "ticket");
	out->stream = rd_u32(r, "stream");
	rd_check(r, out->stream == 0 || out->stream == out->ticket, "stream");
	out->flags = rd_u8(r, "flags");
	rd_check(r, !(out->flags & ~RECORD_APPROVED), "flags");
	out->set = rd_u32(r, "set");
	if (out->set != 0) {
		out->set_n = rd_u16(r, "set_n");
		rd_check(r, out->set_n >= 2 && out->set_n <= WIRE_SET_MAX, "set_n");
	}
	if (r->error)
		return r->error;
	decode_one_record(&out->record, r);
	rd_check(r, op_is_sound(out), "op");
	rd_check(r, (out->record.seq == 0) == (out->op == OP_ABSENT), "record.seq");
	if (r->error)
		return r->error;
	if (out->op == OP_WHOLE && out->stream == 0)
		decode_inline(out, r);
	else if (out->op == OP_DELTA)
		rd_copy(r, out->basis, sizeof(out->basis), "basis");
	else if (out->op == OP_REF)
		out->hint = rd_path(r, false, "hint");
	return rd_end(r);
}

void wire_encode_data(struct wr *w, const struct wire_data *m)
{
	limit(w, m->raw_len, WIRE_RAW_MAX);
	limit(w, m->bytes_len, WIRE_CHUNK_MAX);
	wr_u32(w, m->stream);
	wr_u8(w, m->flags);
	wr_u32(w, m->raw_len);
	wr_bytes(w, m->bytes, m->bytes_len);
}

int wire_decode_data(struct wire_data *out, struct rd *r)
{
	memset(out, 0, sizeof(*out));
	out->stream = rd_u32(r, "stream");
	rd_check(r, out->stream != 0, "stream");
	out->flags = rd_u8(r, "flags");
	rd_check(r, !(out->flags & ~(DATA_LAST | DATA_COMPRESSED | DATA_ABORT)), "flags");
	rd_check(r, !(out->flags & DATA_ABORT) || out->flags == DATA_ABORT, "flags");
	out->raw_len = rd_u32(r, "raw_len");
	out->bytes = rd_bytes(r, &out->bytes_len, WIRE_CHUNK_MAX, "bytes");
	check_chunk(r, out->flags & DATA_COMPRESSED, out->raw_len, out->bytes_len);
	rd_check(r, !(out->flags & DATA_ABORT) || out->bytes_len == 0, "bytes");
	return rd_end(r);
}

void wire_encode_set_abort(struct wr *w, const struct wire_set_abort *m)
{
	wr_u32(w, m->set);
}

int wire_decode_set_abort(struct wire_set_abort *out, struct rd *r)
{
	memset(out, 0, sizeof(*out));
	out->set = rd_u32(r, "set");
	rd_check(r, out->set != 0, "set");
	return rd_end(r);
}

void wire_encode_ack(struct wr *w, const struct wire_ack *m)
{
	limit(w, m->n, WIRE_ACKS_MAX);
	wr_u64(w, m->chain_n);
	wr_raw(w, m->chain, sizeof(m->chain));
	wr_u32(w, m->n);
	for (uint32_t i = 0; i < m->n && !w->error; i++)
		wr_u32(w, m->tickets[i]);
}

int wire_decode_ack(struct wire_ack *out, uint32_t tickets[WIRE_ACKS_MAX], struct rd *r)
{
	memset(out, 0, sizeof(*out));
	out->chain_n = rd_counter(r, "chain_n");
	rd_copy(r, out->chain, sizeof(out->chain), "chain");
	out->n = rd_u32(r, "n");
	if (out->n > WIRE_ACKS_MAX)
		rd_fail(r, -EMSGSIZE, "n");
	for (uint32_t i = 0; i < out->n && !r->error; i++) {
		tickets[i] = rd_u32(r, "tickets");
		rd_check(r, tickets[i] != 0, "tickets");
	}
	out->tickets = tickets;
	return rd_end(r);
}

void wire_encode_need(struct wr *w, const struct wire_need *m)
{
	wr_u32(w, m->ticket);
	wr_u8(w, m->reason);
}

int wire_decode_need(struct wire_need *out, struct rd *r)
{
	memset(out, 0, sizeof(*out));
	out->ticket = rd_u32(r, "ticket");
	rd_check(r, out->ticket != 0, "ticket");
	out->reason = rd_u8(r, "reason");
	rd_check(r, out->reason >= NEED_CONTENT && out->reason <= NEED_VERIFY, "reason");
	return rd_end(r);
}

void wire_encode_refused(struct wr *w, const struct wire_refused *m)
{
	wr_u32(w, m->ticket);
	wr_u8(w, m->reason);
	wr_text(w, m->text);
}

int wire_decode_refused(struct wire_refused *out, struct rd *r)
{
	memset(out, 0, sizeof(*out));
	out->ticket = rd_u32(r, "ticket");
	rd_check(r, out->ticket != 0, "ticket");
	out->reason = rd_u8(r, "reason");
	rd_check(r, out->reason >= REFUSED_PROFILE && out->reason <= REFUSED_HELD, "reason");
	const char *text = rd_text(r, WIRE_TEXT_MAX, "text");
	memcpy(out->text, text, strlen(text) + 1);
	return rd_end(r);
}

void wire_encode_signature_ask(struct wr *w, const struct wire_signature_ask *m)
{
	wr_u32(w, m->id);
	wr_text(w, m->path);
	wr_raw(w, m->hash, sizeof(m->hash));
}

int wire_decode_signature_ask(struct wire_signature_ask *out, struct rd *r)
{
	memset(out, 0, sizeof(*out));
	out->id = rd_u32(r, "id");
	out->path = rd_path(r, false, "path");
	rd_copy(r, out->hash, sizeof(out->hash), "hash");
	return rd_end(r);
}

void wire_encode_signature(struct wr *w, const struct wire_signature *m)
{
	limit(w, m->bytes_len, WIRE_CHUNK_MAX);
	wr_u32(w, m->id);
	wr_u8(w, m->flags);
	wr_bytes(w, m->bytes, m->bytes_len);
}

int wire_decode_signature(struct wire_signature *out, struct rd *r)
{
	memset(out, 0, sizeof(*out));
	out->id = rd_u32(r, "id");
	out->flags = rd_u8(r, "flags");
	rd_check(r, !(out->flags & ~(SIGNATURE_LAST | SIGNATURE_NONE)), "flags");
	out->bytes = rd_bytes(r, &out->bytes_len, WIRE_CHUNK_MAX, "bytes");
	rd_check(r, !(out->flags & SIGNATURE_NONE) || out->bytes_len == 0, "bytes");
	return rd_end(r);
}

void wire_encode_resend(struct wr *w, const struct wire_resend *m)
{
	wr_text(w, m->path);
}

int wire_decode_resend(struct wire_resend *out, struct rd *r)
{
	memset(out, 0, sizeof(*out));
	out->path = rd_path(r, false, "path");
	return rd_end(r);
}
