/* Applying deltas: ours against librsync's judgement of its own format, every truncation and split,
 * and the inputs that make librsync's patch misbehave. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <errno.h>
#include <cmocka.h>
#include <librsync.h>

#include "agent/base/alloc.h"
#include "agent/base/buf.h"
#include "agent/sync/delta.h"
#include "tests/unit/sync/delta_help.h"

/* A delta as librsync itself makes it, with its own choice of block length and sums. */
static void librsync_delta(struct buf *out, const uint8_t *basis, size_t basis_len,
			   const uint8_t *now, size_t now_len, size_t block, rs_magic_number magic)
{
	struct buf sig = {0};
	rs_signature_t *sumset;
	rs_buffers_t io = {.next_in = (char *)basis, .avail_in = basis_len, .eof_in = 1};
	size_t room = basis_len / block * 40 + 1000;
	io.next_out = (char *)buf_extend(&sig, room);
	io.avail_out = room;
	rs_job_t *job = rs_sig_begin(block, 8, magic);
	assert_int_equal(rs_job_iter(job, &io), RS_DONE);
	rs_job_free(job);
	io = (rs_buffers_t){
		.next_in = (char *)sig.data, .avail_in = room - io.avail_out, .eof_in = 1};
	job = rs_loadsig_begin(&sumset);
	assert_int_equal(rs_job_iter(job, &io), RS_DONE);
	rs_job_free(job);
	assert_int_equal(rs_build_hash_table(sumset), RS_DONE);
	room = now_len * 2 + 1000;
	io = (rs_buffers_t){.next_in = (char *)now,
			    .avail_in = now_len,
			    .eof_in = 1,
			    .next_out = (char *)buf_extend(out, room),
			    .avail_out = room};
	job = rs_delta_begin(sumset);
	assert_int_equal(rs_job_iter(job, &io), RS_DONE);
	out->len -= io.avail_out;
	rs_job_free(job);
	rs_free_sumset(sumset);
	buf_release(&sig);
}

static void deltas_of_librsync_are_understood(void **state)
{
	static const rs_magic_number magics[] = {RS_RK_BLAKE2_SIG_MAGIC, RS_BLAKE2_SIG_MAGIC,
						 RS_MD4_SIG_MAGIC};
	struct random rng = random_new("librsync's deltas");
	for (unsigned round = 0; round < 60; round++) {
		size_t basis_len = random_below(&rng, 100000), now_len;
		AUTO_FREE uint8_t *basis = random_bytes(&rng, basis_len);
		AUTO_FREE uint8_t *now = random_edit(&rng, basis, basis_len, &now_len);
		struct buf delta = {0}, made = {0};
		librsync_delta(&delta, basis, basis_len, now, now_len,
			       64 + random_below(&rng, 4000), magics[round % 3]);
		assert_int_equal(patch_with_parser(&made, basis, basis_len, now_len, delta.data,
						   delta.len, 1 + random_below(&rng, 70000)),
				 0);
		assert_int_equal(made.len, now_len);
		if (now_len > 0)
			assert_memory_equal(made.data, now, now_len);
		buf_release(&made);
		buf_release(&delta);
	}
}

static void mixed_delta(struct buf *delta, uint8_t basis[5000], uint8_t now[5000],
			struct random *rng)
{
	AUTO_FREE uint8_t *noise = random_bytes(rng, 10000);
	memcpy(basis, noise, 5000);
	memcpy(now, noise + 5000, 5000);
	memcpy(now + 100, basis + 2000, 2000); /* literal, copy, literal */
	memcpy(now + 2300, basis, 1000);       /* copy */
	librsync_delta(delta, basis, 5000, now, 5000, 100, RS_RK_BLAKE2_SIG_MAGIC);
}

static void every_split_gives_the_same(void **state)
{
	uint8_t basis[5000], now[5000];
	struct buf delta = {0};
	struct random rng = random_new("splits");
	mixed_delta(&delta, basis, now, &rng);
	for (size_t step = 1; step <= delta.len; step++) {
		struct buf made = {0};
		assert_int_equal(
			patch_with_parser(&made, basis, 5000, 5000, delta.data, delta.len, step),
			0);
		assert_memory_equal(made.data, now, 5000);
		buf_release(&made);
	}
	buf_release(&delta);
}

static void every_truncation_is_noticed(void **state)
{
	uint8_t basis[5000], now[5000];
	struct buf delta = {0};
	struct random rng = random_new("truncations");
	mixed_delta(&delta, basis, now, &rng);
	for (size_t cut = 0; cut < delta.len; cut++) {
		struct buf made = {0};
		assert_int_equal(patch_with_parser(&made, basis, 5000, 5000, delta.data, cut, 64),
				 -EBADMSG);
		buf_release(&made);
	}
	buf_release(&delta);
}

/* Whatever a changed byte does, the output stays within its size and both agree on what is legal.
 */
static void every_changed_byte_is_survived(void **state)
{
	uint8_t basis[5000], now[5000];
	struct buf delta = {0};
	struct random rng = random_new("changed bytes");
	mixed_delta(&delta, basis, now, &rng);
	for (size_t i = 0; i < delta.len; i++) {
		struct buf made = {0};
		uint8_t kept = delta.data[i];
		delta.data[i] ^= (uint8_t)(1 + random_below(&rng, 255));
		int r = patch_with_parser(&made, basis, 5000, 5000, delta.data, delta.len, 33);
		assert_true(r == 0 || r == -EBADMSG || r == -EFBIG);
		assert_true(r != 0 || made.len == 5000);
		delta.data[i] = kept;
		buf_release(&made);
	}
	buf_release(&delta);
}

#define MAGIC "\x72\x73\x02\x36"
#define ROW(bytes, result)                                   \
	{                                                    \
		MAGIC bytes, sizeof(MAGIC bytes) - 1, result \
	}

static void hostile_deltas_are_refused(void **state)
{
	static const uint8_t basis[1000];
	/* The basis has 1000 bytes, the output must have 10. */
	static const struct {
		const char *bytes;
		size_t len;
		int result;
	} rows[] = {
		ROW("\x45\x00\x0a\x00", 0),
		ROW("\x0a"
		    "0123456789\x00",
		    0),
		ROW("\x41\x0a"
		    "0123456789\x00",
		    0),
		ROW("\x44\x00\x00\x00\x00\x00\x00\x00\x0a"
		    "0123456789\x00",
		    0),
		ROW("\x54\x00\x00\x00\x00\x00\x00\x03\xde\x00\x00\x00\x00\x00\x00\x00\x0a\x00", 0),
		ROW("", -EBADMSG),
		ROW("\x00", -EBADMSG), /* too short an output */
		ROW("\x45\x00\x09\x00", -EBADMSG),
		ROW("\x45\x00\x0a", -EBADMSG),	       /* no END */
		ROW("\x45\x00\x0a\x00\x00", -EBADMSG), /* bytes after END */
		ROW("\x45\x00\x0b\x00", -EFBIG),       /* too long an output */
		ROW("\x45\x00\x05\x45\x00\x06\x00", -EFBIG),
		ROW("\x0b"
		    "0123456789a\x00",
		    -EFBIG),
		ROW("\x45\x00\x00\x00", -EBADMSG),     /* COPY of nothing */
		ROW("\x49\x03\xdf\x0a\x00", -EBADMSG), /* one byte beyond the basis */
		ROW("\x49\x03\xe8\x01\x00", -EBADMSG), /* at its end */
		ROW("\x49\xff\xff\x01\x00", -EBADMSG),
		ROW("\x51\x7f\xff\xff\xff\xff\xff\xff\xfa\x0a\x00", -EBADMSG), /* 2^63 - 6 */
		ROW("\x51\xff\xff\xff\xff\xff\xff\xff\xff\x01\x00", -EBADMSG), /* negative */
		ROW("\x54\x00\x00\x00\x00\x00\x00\x00\x01\xff\xff\xff\xff\xff\xff\xff\xff\x00",
		    -EBADMSG),
		ROW("\x41\x00\x00", -EBADMSG),			     /* LITERAL of nothing */
		ROW("\x44\x40\x00\x00\x00\x00\x00\x00\x00", -EFBIG), /* 2^62 */
		ROW("\x44\xff\xff\xff\xff\xff\xff\xff\xff", -EFBIG), /* negative */
		ROW("\x55", -EBADMSG),				     /* reserved */
		ROW("\xff", -EBADMSG),
		{"\x72\x73\x02\x37\x45\x00\x0a\x00", 8, -EBADMSG}, /* another magic */
		{"rs", 2, -EBADMSG},
		{"", 0, -EBADMSG},
	};
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		for (size_t step = 1; step <= rows[i].len + 1; step++) {
			struct buf made = {0};
			int r = patch_with_parser(&made, basis, 1000, 10,
						  (const uint8_t *)rows[i].bytes, rows[i].len,
						  step);
			if (r != rows[i].result)
				fail_msg("row %zu in steps of %zu: %d", i, step, r);
			buf_release(&made);
		}
	}
}

static void failure_stays(void **state)
{
	struct buf made = {0};
	struct delta_sink none = {0};
	AUTO(delta_parser) *parser = delta_parser_new(0, 0, &none);
	assert_int_equal(delta_parser_feed(parser, (const uint8_t *)MAGIC "\x55", 5), -EBADMSG);
	assert_int_equal(delta_parser_feed(parser, (const uint8_t *)"\x00", 1), -EBADMSG);
	assert_int_equal(delta_parser_end(parser), -EBADMSG);
	buf_release(&made);
}

static int no_space(void *owner, const uint8_t *bytes, size_t len)
{
	return -ENOSPC;
}

static void failure_of_the_sink_ends_it(void **state)
{
	struct delta_sink full = {.literal = no_space};
	AUTO(delta_parser) *parser = delta_parser_new(0, 1, &full);
	assert_int_equal(delta_parser_feed(parser, (const uint8_t *)MAGIC "\x01x", 6), -ENOSPC);
	assert_int_equal(delta_parser_feed(parser, (const uint8_t *)"\x00", 1), -ENOSPC);
	assert_int_equal(delta_parser_end(parser), -EBADMSG);
}

int main(void)
{
	delta_init();
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(deltas_of_librsync_are_understood),
		cmocka_unit_test(every_split_gives_the_same),
		cmocka_unit_test(every_truncation_is_noticed),
		cmocka_unit_test(every_changed_byte_is_survived),
		cmocka_unit_test(hostile_deltas_are_refused),
		cmocka_unit_test(failure_stays),
		cmocka_unit_test(failure_of_the_sink_ends_it),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
