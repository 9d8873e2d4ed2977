/* messages_history.c - earlier states and kept content. */
#include <errno.h>
#include <string.h>

#include "protocol/messages_private.h"

void wire_encode_history_ask(struct wr *w, const struct wire_history_ask *m)
{
	wr_u32(w, m->id);
	wr_u8(w, m->flags);
	wr_u64(w, m->barrier);
	wr_u64(w, (uint64_t)m->at_ns);
	wr_text(w, m->after);
}

int wire_decode_history_ask(struct wire_history_ask *out, struct rd *r)
{
	memset(out, 0, sizeof(*out));
	out->id = rd_u32(r, "id");
	out->flags = rd_u8(r, "flags");
	rd_check(r, !(out->flags & ~HISTORY_AFTER), "flags");
	out->barrier = rd_counter(r, "barrier");
	out->at_ns = (int64_t)rd_u64(r, "at_ns");
	out->after = rd_path(r, true, "after");
	rd_check(r, out->flags & HISTORY_AFTER || out->after[0] == '\0', "after");
	return rd_end(r);
}

void wire_encode_history_list(struct wr *w, const struct wire_history_list *m)
{
	wr_u32(w, m->id);
	wr_u8(w, m->flags);
	wr_u64(w, m->barrier);
	wr_u64(w, m->seq);
	wr_u64(w, (uint64_t)m->first_ns);
	wr_u64(w, (uint64_t)m->last_ns);
	wr_raw(w, m->digest, sizeof(m->digest));
	wr_u16(w, m->n);
	wr_bytes(w, m->records, m->records_len);
}

int wire_decode_history_list(struct wire_history_list *out, struct rd *r)
{
	memset(out, 0, sizeof(*out));
	out->id = rd_u32(r, "id");
	out->flags = rd_u8(r, "flags");
	rd_check(r, !(out->flags & ~(HISTORY_LAST | HISTORY_NONE)), "flags");
	out->barrier = rd_counter(r, "barrier");
	out->seq = rd_counter(r, "seq");
	out->first_ns = (int64_t)rd_u64(r, "first_ns");
	out->last_ns = (int64_t)rd_u64(r, "last_ns");
	rd_copy(r, out->digest, sizeof(out->digest), "digest");
	out->n = rd_u16(r, "n");
	/* A page that is neither the last nor moves on would be asked for without end. */
	rd_check(r, out->flags & HISTORY_NONE ? out->n == 0 : out->n > 0 || out->flags, "n");
	out->records = rd_bytes(r, &out->records_len, WIRE_FRAME_MAX, "records");
	if (rd_end(r) == 0)
		wire_check_records(r, out->records, out->records_len, out->n, true);
	return r->error;
}

void wire_encode_content_ask(struct wr *w, const struct wire_content_ask *m)
{
	wr_u32(w, m->id);
	wr_raw(w, m->hash, sizeof(m->hash));
	wr_u64(w, m->size);
	wr_u64(w, m->offset);
	wr_u32(w, m->len);
	wr_text(w, m->path);
}

int wire_decode_content_ask(struct wire_content_ask *out, struct rd *r)
{
	memset(out, 0, sizeof(*out));
	out->id = rd_u32(r, "id");
	rd_copy(r, out->hash, sizeof(out->hash), "hash");
	out->size = rd_u64(r, "size");
	rd_check(r, out->size <= INT64_MAX, "size");
	out->offset = rd_u64(r, "offset");
	rd_check(r, out->offset <= out->size, "offset");
	out->len = rd_u32(r, "len");
	if (out->len > WIRE_WINDOW_MAX)
		rd_fail(r, -EMSGSIZE, "len");
	rd_check(r, out->len <= out->size - out->offset, "len");
	out->path = rd_path(r, false, "path");
	return rd_end(r);
}

void wire_encode_content(struct wr *w, const struct wire_content *m)
{
	if (m->bytes_len > WIRE_CHUNK_MAX)
		wr_fail(w, -EMSGSIZE);
	wr_u32(w, m->id);
	wr_u8(w, m->flags);
	wr_u64(w, m->offset);
	wr_bytes(w, m->bytes, m->bytes_len);
}

int wire_decode_content(struct wire_content *out, struct rd *r)
{
	memset(out, 0, sizeof(*out));
	out->id = rd_u32(r, "id");
	out->flags = rd_u8(r, "flags");
	rd_check(r, !(out->flags & ~CONTENT_NONE), "flags");
	out->offset = rd_u64(r, "offset");
	out->bytes = rd_bytes(r, &out->bytes_len, WIRE_CHUNK_MAX, "bytes");
	rd_check(r, !(out->flags & CONTENT_NONE) == (out->bytes_len > 0), "bytes");
	return rd_end(r);
}
