/* messages_compare.c - how the two sides compare: barriers, digest ranges, fingerprints, deep
 * verification. */
#include <errno.h>
#include <string.h>

#include "protocol/messages_private.h"

void wire_encode_one_announced(struct wr *w, const struct wire_announced *m)
{
	wr_text(w, m->path);
	wr_u8(w, m->kind);
	wr_u64(w, m->seq);
	wr_u64(w, m->size);
}

int wire_next_announced(struct wire_announced *out, struct rd *r)
{
	if (r->error || r->at == r->end)
		return r->error;
	out->path = rd_path(r, true, "announced.path");
	out->kind = rd_u8(r, "announced.kind");
	rd_check(r, out->kind >= RECORD_FILE && out->kind <= RECORD_ABSENT, "announced.kind");
	out->seq = rd_counter(r, "announced.seq");
	rd_check(r, out->seq > 0, "announced.seq");
	out->size = rd_u64(r, "announced.size");
	rd_check(r, out->size <= INT64_MAX, "announced.size");
	return r->error ? r->error : 1;
}

void wire_encode_announce(struct wr *w, const struct wire_announce *m)
{
	wr_u64(w, m->changes);
	wr_u64(w, m->bytes);
	wr_u64(w, m->seq);
	wr_u16(w, m->n);
	wr_bytes(w, m->entries, m->entries_len);
}

static void check_announced(struct rd *r, const struct wire_announce *list)
{
	struct wire_announced entry;
	struct rd entries;
	uint32_t n = 0;
	int more;
	rd_init(&entries, list->entries, list->entries_len);
	while ((more = wire_next_announced(&entry, &entries)) == 1)
		n++;
	if (more < 0)
		rd_fail(r, more, entries.field);
	rd_check(r, n == list->n, "n");
}

int wire_decode_announce(struct wire_announce *out, struct rd *r)
{
	memset(out, 0, sizeof(*out));
	out->changes = rd_counter(r, "changes");
	out->bytes = rd_u64(r, "bytes");
	rd_check(r, out->bytes <= INT64_MAX, "bytes");
	out->seq = rd_counter(r, "seq");
	out->n = rd_u16(r, "n");
	out->entries = rd_bytes(r, &out->entries_len, WIRE_FRAME_MAX, "entries");
	if (rd_end(r) == 0)
		check_announced(r, out);
	return r->error;
}

void wire_encode_barrier(struct wr *w, const struct wire_barrier *m)
{
	wr_u64(w, m->id);
	wr_u64(w, m->seq);
	wr_u64(w, (uint64_t)m->clock_ns);
	wr_u64(w, (uint64_t)m->sent_ns);
	wr_u64(w, m->records);
	wr_u32(w, m->denials);
	wr_raw(w, m->digest, sizeof(m->digest));
	wr_u64(w, m->chain_n);
	wr_raw(w, m->chain, sizeof(m->chain));
}

int wire_decode_barrier(struct wire_barrier *out, struct rd *r)
{
	memset(out, 0, sizeof(*out));
	out->id = rd_counter(r, "id");
	rd_check(r, out->id != 0, "id");
	out->seq = rd_counter(r, "seq");
	out->clock_ns = (int64_t)rd_u64(r, "clock_ns");
	out->sent_ns = (int64_t)rd_u64(r, "sent_ns");
	out->records = rd_counter(r, "records");
	out->denials = rd_u32(r, "denials");
	rd_copy(r, out->digest, sizeof(out->digest), "digest");
	out->chain_n = rd_counter(r, "chain_n");
	rd_copy(r, out->chain, sizeof(out->chain), "chain");
	return rd_end(r);
}

void wire_encode_barrier_done(struct wr *w, const struct wire_barrier_done *m)
{
	wr_u64(w, m->id);
	wr_u8(w, m->outcome);
	wr_raw(w, m->digest, sizeof(m->digest));
}

int wire_decode_barrier_done(struct wire_barrier_done *out, struct rd *r)
{
	memset(out, 0, sizeof(*out));
	out->id = rd_counter(r, "id");
	rd_check(r, out->id != 0, "id");
	out->outcome = rd_u8(r, "outcome");
	rd_check(r, out->outcome >= BARRIER_MATCHED && out->outcome <= BARRIER_DROPPED, "outcome");
	rd_copy(r, out->digest, sizeof(out->digest), "digest");
	return rd_end(r);
}

void wire_encode_range_ask(struct wr *w, const struct wire_range_ask *m)
{
	wr_u32(w, m->id);
	wr_text(w, m->lo);
	wr_text(w, m->hi);
	wr_u64(w, m->records);
	wr_raw(w, m->digest, sizeof(m->digest));
}

int wire_decode_range_ask(struct wire_range_ask *out, struct rd *r)
{
	memset(out, 0, sizeof(*out));
	out->id = rd_u32(r, "id");
	out->lo = rd_path(r, true, "lo");
	out->hi = rd_path(r, true, "hi");
	rd_check(r, out->hi[0] == '\0' || strcmp(out->lo, out->hi) < 0, "hi");
	out->records = rd_counter(r, "records");
	rd_copy(r, out->digest, sizeof(out->digest), "digest");
	return rd_end(r);
}

void wire_encode_range_split(struct wr *w, const struct wire_range_split *m)
{
	if (m->n > WIRE_RANGES_MAX)
		wr_fail(w, -EMSGSIZE);
	wr_u32(w, m->id);
	wr_u16(w, m->n);
	for (size_t i = 0; i < m->n && !w->error; i++) {
		wr_text(w, m->ranges[i].hi);
		wr_u64(w, m->ranges[i].records);
		wr_raw(w, m->ranges[i].digest, sizeof(m->ranges[i].digest));
	}
}

int wire_decode_range_split(struct wire_range_split *out,
			    struct wire_subrange ranges[WIRE_RANGES_MAX], struct rd *r)
{
	memset(out, 0, sizeof(*out));
	out->id = rd_u32(r, "id");
	out->n = rd_u16(r, "n");
	if (out->n > WIRE_RANGES_MAX)
		rd_fail(r, -EMSGSIZE, "n");
	const char *before = "";
	for (size_t i = 0; i < out->n && !r->error; i++) {
		ranges[i].hi = rd_path(r, true, "hi");
		/* Each ends behind the one before; only the last may be open-ended. */
		rd_check(r, ranges[i].hi[0] ? strcmp(before, ranges[i].hi) < 0 : i + 1 == out->n,
			 "hi");
		before = ranges[i].hi;
		ranges[i].records = rd_counter(r, "records");
		rd_copy(r, ranges[i].digest, sizeof(ranges[i].digest), "digest");
	}
	out->ranges = ranges;
	return rd_end(r);
}

void wire_encode_range_list(struct wr *w, const struct wire_range_list *m)
{
	wr_u32(w, m->id);
	wr_u8(w, m->flags);
	wr_u16(w, m->n);
	wr_bytes(w, m->records, m->records_len);
}

int wire_decode_range_list(struct wire_range_list *out, struct rd *r)
{
	memset(out, 0, sizeof(*out));
	out->id = rd_u32(r, "id");
	out->flags = rd_u8(r, "flags");
	rd_check(r, !(out->flags & ~RANGE_LAST), "flags");
	out->n = rd_u16(r, "n");
	out->records = rd_bytes(r, &out->records_len, WIRE_FRAME_MAX, "records");
	if (rd_end(r) == 0)
		wire_check_records(r, out->records, out->records_len, out->n, false);
	return r->error;
}

void wire_encode_one_fingerprint(struct wr *w, const char *path, const uint8_t hash[32])
{
	wr_text(w, path);
	wr_raw(w, hash, 32);
}

int wire_next_fingerprint(const char **path, uint8_t hash[32], struct rd *r)
{
	if (r->error || r->at == r->end)
		return r->error;
	*path = rd_path(r, false, "fingerprint.path");
	rd_copy(r, hash, 32, "fingerprint.hash");
	return r->error ? r->error : 1;
}

void wire_encode_fingerprints(struct wr *w, const struct wire_fingerprints *m)
{
	wr_u8(w, m->flags);
	wr_u16(w, m->n);
	wr_bytes(w, m->entries, m->entries_len);
}

static void check_fingerprints(struct rd *r, const struct wire_fingerprints *list)
{
	struct rd entries;
	rd_init(&entries, list->entries, list->entries_len);
	const char *path;
	uint8_t hash[32];
	uint32_t n = 0;
	int more;
	while ((more = wire_next_fingerprint(&path, hash, &entries)) == 1)
		n++;
	if (more < 0)
		rd_fail(r, more, entries.field);
	rd_check(r, n == list->n, "n");
}

int wire_decode_fingerprints(struct wire_fingerprints *out, struct rd *r)
{
	memset(out, 0, sizeof(*out));
	out->flags = rd_u8(r, "flags");
	rd_check(r, !(out->flags & ~FINGERPRINTS_LAST), "flags");
	out->n = rd_u16(r, "n");
	out->entries = rd_bytes(r, &out->entries_len, WIRE_FRAME_MAX, "entries");
	if (rd_end(r) == 0)
		check_fingerprints(r, out);
	return r->error;
}

void wire_encode_deep_ask(struct wr *w, const struct wire_deep_ask *m)
{
	wr_u32(w, m->id);
}

int wire_decode_deep_ask(struct wire_deep_ask *out, struct rd *r)
{
	memset(out, 0, sizeof(*out));
	out->id = rd_u32(r, "id");
	return rd_end(r);
}

void wire_encode_one_difference(struct wr *w, const char *path, const char *text)
{
	wr_text(w, path);
	wr_text(w, text);
}

int wire_next_difference(const char **path, const char **text, struct rd *r)
{
	if (r->error || r->at == r->end)
		return r->error;
	*path = rd_path(r, true, "difference.path");
	*text = rd_text(r, WIRE_TEXT_MAX, "difference.text");
	return r->error ? r->error : 1;
}

void wire_encode_deep_reply(struct wr *w, const struct wire_deep_reply *m)
{
	wr_u32(w, m->id);
	wr_u8(w, m->flags);
	wr_u64(w, m->files);
	wr_u64(w, m->bytes);
	wr_u16(w, m->n);
	wr_bytes(w, m->entries, m->entries_len);
}

static void check_differences(struct rd *r, const struct wire_deep_reply *list)
{
	struct rd entries;
	rd_init(&entries, list->entries, list->entries_len);
	const char *path, *text;
	uint32_t n = 0;
	int more;
	while ((more = wire_next_difference(&path, &text, &entries)) == 1)
		n++;
	if (more < 0)
		rd_fail(r, more, entries.field);
	rd_check(r, n == list->n, "n");
}

int wire_decode_deep_reply(struct wire_deep_reply *out, struct rd *r)
{
	memset(out, 0, sizeof(*out));
	out->id = rd_u32(r, "id");
	out->flags = rd_u8(r, "flags");
	rd_check(r, !(out->flags & ~(DEEP_LAST | DEEP_FAILED)), "flags");
	out->files = rd_counter(r, "files");
	out->bytes = rd_counter(r, "bytes");
	out->n = rd_u16(r, "n");
	out->entries = rd_bytes(r, &out->entries_len, WIRE_FRAME_MAX, "entries");
	if (rd_end(r) == 0)
		check_differences(r, out);
	return r->error;
}
