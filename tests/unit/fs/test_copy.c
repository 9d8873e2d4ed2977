/* Copies: the same bytes, the same holes, the same hash; a file that shrinks is noticed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>
#include <cmocka.h>

#include "agent/base/fault.h"
#include "agent/fs/copy.h"
#include "tests/unit/fs/scratch.h"

static int enter(void **state)
{
	*state = scratch_enter();
	return 0;
}

static int leave(void **state)
{
	scratch_leave(*state);
	return 0;
}

/* Bytes that differ at every place, so that a piece in the wrong place shows. */
static void fill(const char *path, size_t len)
{
	AUTO_FREE uint8_t *bytes = malloc(len + 1);
	uint32_t x = 12345;
	for (size_t i = 0; i < len; i++) {
		x = x * 1664525 + 1013904223;
		bytes[i] = (uint8_t)(x >> 24);
	}
	put_bytes(path, bytes, len);
}

static void hash_of(uint8_t hash[HASH_LEN], const char *path, uint64_t size)
{
	AUTO_CLOSE int fd = open(path, O_RDONLY);
	assert_int_equal(hash_content(hash, fd, size, NULL, NULL), 0);
}

static int copy(const char *from, const char *to, uint64_t size, bool clone, uint8_t *hash)
{
	struct err err = {0};
	AUTO_CLOSE int in = open(from, O_RDONLY);
	AUTO_CLOSE int out = open(to, O_RDWR | O_CREAT, 0600);
	assert_true(in >= 0 && out >= 0);
	return hash ? copy_content_hashed(hash, in, out, size, clone, &err)
		    : copy_content(in, out, size, clone, &err);
}

static void bytes_and_hash_agree(void **state)
{
	static const size_t sizes[] = {0,      1, 4096, COPY_PIECE - 1, COPY_PIECE, COPY_PIECE + 1,
				       3000000};
	for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
		uint8_t want[HASH_LEN], got[HASH_LEN], while_copying[HASH_LEN];
		fill("in", sizes[i]);
		put_file("out", "longer than nothing, to be replaced");
		hash_of(want, "in", sizes[i]);
		for (int clone = 0; clone < 2; clone++) {
			assert_int_equal(copy("in", "out", sizes[i], clone, NULL), 0);
			assert_int_equal(stat_of("out").size, sizes[i]);
			hash_of(got, "out", sizes[i]);
			assert_memory_equal(got, want, HASH_LEN);
			assert_int_equal(copy("in", "out", sizes[i], clone, while_copying), 0);
			hash_of(got, "out", sizes[i]);
			assert_memory_equal(got, want, HASH_LEN);
			assert_memory_equal(while_copying, want, HASH_LEN);
		}
	}
}

static void only_the_announced_length_is_copied(void **state)
{
	uint8_t want[HASH_LEN], got[HASH_LEN];
	fill("in", 100000);
	hash_of(want, "in", 60000);
	for (int clone = 0; clone < 2; clone++) {
		assert_int_equal(copy("in", "out", 60000, clone, got), 0);
		assert_int_equal(stat_of("out").size, 60000);
		assert_memory_equal(got, want, HASH_LEN);
		assert_int_equal(copy("in", "out", 100001, clone, NULL), -EAGAIN);
		assert_int_equal(copy("in", "out", 100001, clone, got), -EAGAIN);
	}
	AUTO_CLOSE int fd = open("in", O_RDONLY);
	assert_int_equal(hash_content(got, fd, 100001, NULL, NULL), -EAGAIN);
}

static uint64_t blocks_of(const char *path)
{
	struct stat st;
	assert_int_equal(stat(path, &st), 0);
	return (uint64_t)st.st_blocks * 512;
}

static void holes_stay_holes(void **state)
{
	uint8_t want[HASH_LEN], got[HASH_LEN];
	uint64_t size = 64 << 20;
	AUTO_CLOSE int fd = open("in", O_RDWR | O_CREAT, 0600);
	assert_int_equal(pwrite(fd, "begin", 5, 1 << 20), 5);
	assert_int_equal(pwrite(fd, "middle", 6, (32 << 20) + 17), 6);
	assert_int_equal(ftruncate(fd, (off_t)size), 0);
	if (blocks_of("in") > 1 << 20)
		skip();
	hash_of(want, "in", size);
	fill("out", 5 << 20); /* what was data there must become a hole */
	assert_int_equal(copy("in", "out", size, false, NULL), 0);
	assert_true(blocks_of("out") < 1 << 20);
	hash_of(got, "out", size);
	assert_memory_equal(got, want, HASH_LEN);
	assert_int_equal(copy("in", "other", size, false, got), 0);
	assert_true(blocks_of("other") < 1 << 20);
	assert_memory_equal(got, want, HASH_LEN);
	hash_of(got, "other", size);
	assert_memory_equal(got, want, HASH_LEN);
}

static void a_disk_that_fails_is_reported(void **state)
{
	fill("in", 2000000);
	for (int hashed = 0; hashed < 2; hashed++) {
		for (long nth = 1;; nth++) {
			struct fault fault = {.nth = nth, .err = ENOSPC};
			uint8_t hash[HASH_LEN];
			fault_arm(&fault);
			int r = copy("in", "out", 2000000, false, hashed ? hash : NULL);
			fault_disarm();
			assert_int_equal(r, fault.fired ? -ENOSPC : 0);
			if (!fault.fired)
				break;
		}
	}
}

static void what_was_read_is_counted(void **state)
{
	uint8_t hash[HASH_LEN];
	uint64_t counter = 5;
	fill("in", 700000);
	AUTO_CLOSE int fd = open("in", O_RDONLY);
	assert_int_equal(hash_content(hash, fd, 700000, &counter, NULL), 0);
	assert_int_equal(counter, 700005);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(bytes_and_hash_agree, enter, leave),
		cmocka_unit_test_setup_teardown(only_the_announced_length_is_copied, enter, leave),
		cmocka_unit_test_setup_teardown(holes_stay_holes, enter, leave),
		cmocka_unit_test_setup_teardown(a_disk_that_fails_is_reported, enter, leave),
		cmocka_unit_test_setup_teardown(what_was_read_is_counted, enter, leave),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
