/* Applying a delta: our parser against librsync's patch. What ours accepts, librsync accepts with
 * the same result; what ours refuses has produced no more than was announced. librsync would
 * produce whatever the commands ask for, so its output is cut off here, too. */
#include <errno.h>
#include <librsync.h>

#include "agent/sync/delta.h"
#include "fuzz.h"

#define OUTPUT_MAX 4096

struct output {
	const uint8_t *basis;
	size_t basis_len, len, cap;
	uint8_t bytes[OUTPUT_MAX];
};

static int on_literal(void *owner, const uint8_t *bytes, size_t len)
{
	struct output *out = owner;
	CHECK(len > 0 && len <= out->cap - out->len);
	memcpy(out->bytes + out->len, bytes, len);
	out->len += len;
	return 0;
}

static int on_copy(void *owner, uint64_t from, uint64_t len)
{
	struct output *out = owner;
	CHECK(len > 0 && from <= out->basis_len && len <= out->basis_len - from);
	return on_literal(owner, out->basis + from, len);
}

static int apply_ours(struct output *out, const uint8_t *delta, size_t len, size_t step)
{
	struct delta_sink sink = {on_literal, on_copy, out};
	struct delta_parser *p = delta_parser_new(out->basis_len, out->cap, &sink);
	int r = 0;
	for (size_t at = 0; at < len && r == 0; at += step) {
		size_t n = len - at < step ? len - at : step;
		uint8_t *piece = exact_copy(delta + at, n);
		r = delta_parser_feed(p, piece, n);
		free(piece);
	}
	if (r < 0)
		CHECK(delta_parser_feed(p, delta, len ? 1 : 0) == r);
	int end = delta_parser_end(p);
	CHECK(r == 0 || end < 0);
	delta_parser_free(p);
	return end;
}

static rs_result copy_from_basis(void *owner, rs_long_t pos, size_t *len, void **buf)
{
	const struct output *out = owner;
	if (pos < 0 || (uint64_t)pos >= out->basis_len)
		return RS_INPUT_ENDED;
	if (*len > out->basis_len - (size_t)pos)
		*len = out->basis_len - (size_t)pos;
	memcpy(*buf, out->basis + pos, *len);
	return RS_DONE;
}

/* @return 1 when librsync is done with exactly this output */
static int librsync_agrees(const struct output *ours, const uint8_t *delta, size_t len)
{
	static uint8_t made[OUTPUT_MAX + 1];
	rs_job_t *job = rs_patch_begin(copy_from_basis, (void *)ours);
	rs_buffers_t bufs = {.next_in = (char *)(uintptr_t)delta,
			     .avail_in = len,
			     .eof_in = 1,
			     .next_out = (char *)made,
			     .avail_out = sizeof(made)};
	rs_result r = RS_BLOCKED;
	for (int i = 0; i < 64 && r == RS_BLOCKED; i++)
		r = rs_job_iter(job, &bufs);
	rs_job_free(job);
	return r == RS_DONE && sizeof(made) - bufs.avail_out == ours->len &&
	       memcmp(made, ours->bytes, ours->len) == 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct output out;
	struct input in = input_of(data, size);
	static int quiet;
	if (!quiet++)
		rs_trace_set_level(RS_LOG_EMERG);
	out.cap = (size_t)input_u8(&in) << 4 | (input_u8(&in) & 15);
	size_t step = (size_t)input_u8(&in) + 1;
	out.basis = input_bytes(&in, &out.basis_len, 255);
	out.len = 0;
	int r = apply_ours(&out, in.at, input_left(&in), step);
	CHECK(out.len <= out.cap);
	if (r < 0)
		return 0;
	CHECK(out.len == out.cap);
	CHECK(librsync_agrees(&out, in.at, input_left(&in)));
	return 0;
}
