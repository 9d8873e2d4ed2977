/* Making deltas: signatures against librsync's own, hostile signatures, deltas through librsync's
 * patch, and the rules by which matching is given up. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <errno.h>
#include <cmocka.h>
#include <librsync.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "agent/base/buf.h"
#include "agent/base/clock.h"
#include "agent/sync/delta.h"
#include "tests/unit/sync/delta_help.h"

#define MiB (1024 * 1024)

static void block_length_follows_the_rule(void **state)
{
	static const struct {
		uint64_t size;
		uint32_t block;
	} rows[] = {
		{0, 4096},
		{1, 4096},
		{4096ull * 4096, 4096},
		{4096ull * 4096 + 1, 8192},
		{1ull << 30, 32768},
		{4ull << 30, 65536},
		{8ull << 30, 128 * 1024},
		{10ull << 30, 160 * 1024},
		{DELTA_SIZE_MAX, 1024 * 1024},
		{UINT64_MAX, 1024 * 1024},
	};
	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		assert_int_equal(delta_block_len(rows[i].size), rows[i].block);
	for (uint64_t size = 1; size <= DELTA_SIZE_MAX; size = size * 9 / 8 + 1) {
		uint32_t block = delta_block_len(size);
		assert_int_equal(block % 4096, 0);
		assert_true((size + block - 1) / block <= DELTA_BLOCKS_MAX);
		assert_int_equal(delta_signature_len(size), 12 + (size + block - 1) / block * 20);
	}
	assert_int_equal(delta_signature_len(0), 12);
}

static uint8_t *signature_of(const uint8_t *bytes, size_t len, size_t *sig_len)
{
	uint8_t *sig = NULL;
	struct err err = {0};
	AUTO_CLOSE int fd = memory_file(bytes, len);
	assert_int_equal(delta_signature(&sig, sig_len, fd, len, &err), 0);
	return sig;
}

static void signature_is_librsyncs(void **state)
{
	static const size_t sizes[] = {0, 1, 4095, 4096, 4097, 300000, 3 * MiB + 5};
	struct random rng = random_new("signature");
	for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
		size_t len, size = sizes[i];
		AUTO_FREE uint8_t *bytes = random_bytes(&rng, size);
		AUTO_FREE uint8_t *sig = signature_of(bytes, size, &len);
		AUTO_FREE uint8_t *reference = x_calloc(1, len + 100);
		rs_job_t *job = rs_sig_begin(delta_block_len(size), 16, RS_RK_BLAKE2_SIG_MAGIC);
		rs_buffers_t io = {.next_in = (char *)bytes,
				   .avail_in = size,
				   .eof_in = 1,
				   .next_out = (char *)reference,
				   .avail_out = len + 100};
		assert_int_equal(rs_job_iter(job, &io), RS_DONE);
		rs_job_free(job);
		assert_int_equal(io.avail_out, 100);
		assert_memory_equal(sig, reference, len);
		assert_int_equal(delta_signature_check(sig, len, size), 0);
	}
}

static void signature_needs_the_whole_file(void **state)
{
	uint8_t *sig = NULL;
	size_t len;
	struct err err = {0};
	AUTO_FREE uint8_t *bytes = x_calloc(1, 600000);
	AUTO_CLOSE int fd = memory_file(bytes, 600000);
	assert_int_equal(delta_signature(&sig, &len, fd, 600001, &err), -EAGAIN);
	assert_int_equal(delta_signature(&sig, &len, fd, 599999, &err), -EAGAIN);
	assert_int_equal(delta_signature(&sig, &len, fd, 0, &err), -EAGAIN);
	assert_int_equal(delta_signature(&sig, &len, fd, DELTA_SIZE_MAX + 1, &err), -EFBIG);
	assert_int_equal(delta_signature(&sig, &len, -1, 1, &err), -EBADF);
	assert_null(sig);
}

static void foreign_signatures_are_refused(void **state)
{
	enum { SIZE = 100000 };
	size_t len;
	struct random rng = random_new("foreign signatures");
	AUTO_FREE uint8_t *bytes = random_bytes(&rng, SIZE);
	AUTO_FREE uint8_t *sig = signature_of(bytes, SIZE, &len);
	for (size_t i = 0; i < 12; i++) { /* magic, block length, strong length */
		for (int bit = 0; bit < 8; bit++) {
			sig[i] ^= 1u << bit;
			assert_int_equal(delta_signature_check(sig, len, SIZE), -EBADMSG);
			sig[i] ^= 1u << bit;
		}
	}
	for (size_t cut = 0; cut < len; cut++)
		assert_int_equal(delta_signature_check(sig, cut, SIZE), -EBADMSG);
	assert_int_equal(delta_signature_check(sig, len, SIZE + 4096), -EBADMSG);
	assert_int_equal(delta_signature_check(sig, len, DELTA_SIZE_MAX + 1), -EBADMSG);
	assert_int_equal(delta_signature_check(sig, len, SIZE), 0);
	struct delta_job *job = NULL;
	struct err err = {0};
	assert_int_equal(delta_job_new(&job, sig, len - 1, SIZE, 0, 10, &err), -EBADMSG);
	assert_int_equal(delta_job_new(&job, sig, len, SIZE, 0, DELTA_SIZE_MAX + 1, &err), -EFBIG);
	assert_null(job);
}

/* A Thue-Morse string of 128 bytes and its complement have the same weak sum whatever the two
 * values are, so blocks made of such units collide all. */
static void colliding_block(uint8_t block[4096], uint32_t number)
{
	for (unsigned unit = 0; unit < 32; unit++)
		for (unsigned i = 0; i < 128; i++)
			block[unit * 128 + i] =
				'a' + ((__builtin_popcount(i) ^ (number >> unit)) & 1);
}

static void constructed_collisions_are_noticed(void **state)
{
	size_t len;
	AUTO_FREE uint8_t *bytes = x_calloc(1, 1000 * 4096);
	for (uint32_t i = 0; i < 64; i++)
		colliding_block(bytes + i * 4096, i);
	for (uint32_t i = 64; i < 1000; i++) /* equal ones do no harm */
		colliding_block(bytes + i * 4096, 1);
	AUTO_FREE uint8_t *usable = signature_of(bytes, 1000 * 4096, &len);
	assert_memory_equal(usable + 12, usable + 12 + 20, 4);
	assert_memory_not_equal(usable + 12, usable + 12 + 20, 20);
	assert_int_equal(delta_signature_check(usable, len, 1000 * 4096), 0);

	colliding_block(bytes + 999 * 4096, 64);
	AUTO_FREE uint8_t *unusable = signature_of(bytes, 1000 * 4096, &len);
	assert_int_equal(delta_signature_check(unusable, len, 1000 * 4096), -E2BIG);
	struct delta_job *job = NULL;
	struct err err = {0};
	assert_int_equal(delta_job_new(&job, unusable, len, 1000 * 4096, 0, 10, &err), -E2BIG);
	assert_null(job);
}

/* Makes a delta in steps of `max`. @return what the last step returned */
static int make_delta(struct buf *out, const uint8_t *basis, size_t basis_len, const uint8_t *now,
		      size_t now_len, size_t max)
{
	size_t sig_len;
	struct err err = {0};
	AUTO_FREE uint8_t *sig = signature_of(basis, basis_len, &sig_len);
	AUTO_CLOSE int fd = memory_file(now, now_len);
	AUTO(delta_job) *job = NULL;
	assert_int_equal(delta_job_new(&job, sig, sig_len, basis_len, fd, now_len, &err), 0);
	int r;
	do {
		size_t before = out->len;
		r = delta_job_step(job, out, max, &err);
		assert_true(out->len - before <= max);
	} while (r == 1);
	return r;
}

/* Both judges: librsync's patch and our parser. */
static void assert_delta_makes(const struct buf *delta, const uint8_t *basis, size_t basis_len,
			       const uint8_t *now, size_t now_len)
{
	struct buf made = {0};
	assert_int_equal(patch_with_librsync(&made, basis, basis_len, delta->data, delta->len),
			 RS_DONE);
	assert_int_equal(made.len, now_len);
	if (now_len > 0)
		assert_memory_equal(made.data, now, now_len);
	buf_release(&made);
	assert_int_equal(patch_with_parser(&made, basis, basis_len, now_len, delta->data,
					   delta->len, delta->len),
			 0);
	assert_int_equal(made.len, now_len);
	if (now_len > 0)
		assert_memory_equal(made.data, now, now_len);
	buf_release(&made);
}

static void random_edits_survive_the_round_trip(void **state)
{
	static const size_t steps[] = {1, 7, 4096, 65536, 1000000};
	struct random rng = random_new("edits");
	for (unsigned round = 0; round < 60; round++) {
		size_t basis_len = random_below(&rng, 300000), now_len;
		AUTO_FREE uint8_t *basis = random_bytes(&rng, basis_len);
		AUTO_FREE uint8_t *now = random_edit(&rng, basis, basis_len, &now_len);
		struct buf delta = {0};
		size_t step = round % 10 == 0 ? steps[round / 10 % 5] : steps[2 + round % 3];
		assert_int_equal(make_delta(&delta, basis, basis_len, now, now_len, step), 0);
		assert_delta_makes(&delta, basis, basis_len, now, now_len);
		buf_release(&delta);
	}
}

static void small_change_makes_small_delta(void **state)
{
	struct random rng = random_new("small change");
	AUTO_FREE uint8_t *basis = random_bytes(&rng, 8 * MiB);
	AUTO_FREE uint8_t *now = x_memdup(basis, 8 * MiB);
	struct buf delta = {0};
	now[5 * MiB] ^= 1;
	assert_int_equal(make_delta(&delta, basis, 8 * MiB, now, 8 * MiB, 65536), 0);
	assert_true(delta.len < 5000);
	assert_delta_makes(&delta, basis, 8 * MiB, now, 8 * MiB);
	buf_release(&delta);
}

static void unmatched_file_is_given_up(void **state)
{
	struct random rng = random_new("unmatched");
	AUTO_FREE uint8_t *basis = random_bytes(&rng, 18 * MiB);
	AUTO_FREE uint8_t *now = random_bytes(&rng, 18 * MiB);
	struct buf delta = {0};
	assert_int_equal(make_delta(&delta, basis, 18 * MiB, now, 18 * MiB, 65536), -ECANCELED);
	assert_true(delta.len < 17 * MiB);
	buf_release(&delta);
}

/* What matched is kept; the rest goes as one literal. In every step size, since the end of
 * librsync's part must be taken back. */
static void unmatched_rest_becomes_a_literal(void **state)
{
	static const size_t steps[] = {13, 4096, 65536};
	struct random rng = random_new("unmatched rest");
	size_t len = 40 * MiB;
	AUTO_FREE uint8_t *basis = random_bytes(&rng, len);
	AUTO_FREE uint8_t *now = random_bytes(&rng, len);
	memcpy(now, basis, 17 * MiB + 12345);
	for (size_t i = 0; i < ARRAY_LEN(steps); i++) {
		struct buf delta = {0};
		uint64_t began = clock_mono_ns();
		assert_int_equal(make_delta(&delta, basis, len, now, len, steps[i]), 0);
		print_message("step %zu: %.0f MB/s\n", steps[i],
			      (double)len * 1000 / (double)(clock_mono_ns() - began));
		assert_true(delta.len < len - 17 * MiB + 100);
		assert_delta_makes(&delta, basis, len, now, len);
		buf_release(&delta);
	}
}

/* One block that has the weak sum of a constant run makes librsync hash a block for every byte. */
static void costly_matching_is_given_up(void **state)
{
	size_t len = 20 * MiB;
	AUTO_FREE uint8_t *basis = x_calloc(1, len);
	AUTO_FREE uint8_t *now = x_calloc(1, len);
	struct random rng = random_new("costly");
	AUTO_FREE uint8_t *noise = random_bytes(&rng, len);
	memset(now, 'c', len);
	memcpy(basis, noise, len);
	memset(basis, 'c', 8192);
	for (unsigned i = 0; i < 128; i++)
		basis[i] += __builtin_popcount(i) & 1 ? 1 : -1;
	struct buf delta = {0};
	uint64_t began = clock_mono_ms();
	int r = make_delta(&delta, basis, len, now, len, 65536);
	print_message("given up after %d ms\n", (int)(clock_mono_ms() - began));
	assert_int_equal(r, -ECANCELED);
	assert_true(delta.len < 4 * MiB);
	buf_release(&delta);

	memcpy(now, noise, len / 2);
	memcpy(basis + 8192, noise + 8192, len - 8192);
	assert_int_equal(make_delta(&delta, basis, len, now, len, 65536), 0);
	assert_delta_makes(&delta, basis, len, now, len);
	buf_release(&delta);
}

/* librsync keeps all it is given; a link that drains slowly must not make us hold the file. */
static void memory_stays_bounded(void **state)
{
	struct rusage before, after;
	struct random rng = random_new("memory");
	AUTO_FREE uint8_t *basis = random_bytes(&rng, 15 * MiB);
	AUTO_FREE uint8_t *now = random_bytes(&rng, 15 * MiB);
	size_t sig_len;
	struct err err = {0};
	AUTO_FREE uint8_t *sig = signature_of(basis, 15 * MiB, &sig_len);
	AUTO_CLOSE int fd = memory_file(now, 15 * MiB);
	AUTO(delta_job) *job = NULL;
	struct buf piece = {0};
	getrusage(RUSAGE_SELF, &before);
	assert_int_equal(delta_job_new(&job, sig, sig_len, 15 * MiB, fd, 15 * MiB, &err), 0);
	int r;
	while ((r = delta_job_step(job, &piece, 1000, &err)) == 1)
		piece.len = 0;
	assert_int_equal(r, 0);
	getrusage(RUSAGE_SELF, &after);
	assert_true(after.ru_maxrss - before.ru_maxrss < 4 * 1024);
	buf_release(&piece);
}

static void changing_file_is_noticed(void **state)
{
	struct random rng = random_new("changing");
	AUTO_FREE uint8_t *bytes = random_bytes(&rng, 200000);
	size_t sig_len;
	struct err err = {0};
	struct buf delta = {0};
	AUTO_FREE uint8_t *sig = signature_of(bytes, 200000, &sig_len);
	for (int grow = 0; grow < 2; grow++) {
		AUTO_CLOSE int fd = memory_file(bytes, 200000);
		AUTO(delta_job) *job = NULL;
		assert_int_equal(delta_job_new(&job, sig, sig_len, 200000, fd, 200000, &err), 0);
		assert_int_equal(ftruncate(fd, grow ? 200001 : 199999), 0);
		int r;
		while ((r = delta_job_step(job, &delta, 65536, &err)) == 1)
			;
		assert_int_equal(r, -EAGAIN);
	}
	buf_release(&delta);
}

int main(void)
{
	delta_init();
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(block_length_follows_the_rule),
		cmocka_unit_test(memory_stays_bounded),
		cmocka_unit_test(signature_is_librsyncs),
		cmocka_unit_test(signature_needs_the_whole_file),
		cmocka_unit_test(foreign_signatures_are_refused),
		cmocka_unit_test(constructed_collisions_are_noticed),
		cmocka_unit_test(random_edits_survive_the_round_trip),
		cmocka_unit_test(small_change_makes_small_delta),
		cmocka_unit_test(unmatched_file_is_given_up),
		cmocka_unit_test(unmatched_rest_becomes_a_literal),
		cmocka_unit_test(costly_matching_is_given_up),
		cmocka_unit_test(changing_file_is_noticed),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
