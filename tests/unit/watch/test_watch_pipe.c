/* The format between the watching child and the agent: every record comes back as it went in, every
 * truncation asks for more, and what no encoder writes is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <errno.h>
#include <time.h>
#include <cmocka.h>

#include "agent/base/alloc.h"
#include "agent/watch/watch_pipe.h"

/* One of each, one after the other. */
static void put_all(struct buf *buf)
{
	watch_pipe_put_simple(buf, WATCH_READY, 0);
	watch_pipe_put_changed(buf, 3, 1, "a\nb/\xff");
	watch_pipe_put_subtree(buf, 2, "", "overflow");
	watch_pipe_put_fence(buf, 0x0102030405060708u, true);
	watch_pipe_put_simple(buf, WATCH_ROOT_SUSPECT, 63);
	watch_pipe_put_counts(buf, 1, 1u << 20, 3, "sysctl x=1");
}

static void every_record_survives_the_pipe(void **state)
{
	struct buf buf = {0};
	struct watch_record r;
	put_all(&buf);
	size_t at = 0;
	long n[6];
	for (int i = 0; i < 6; i++) {
		n[i] = watch_pipe_get(&r, buf.data + at, buf.len - at);
		assert_true(n[i] > 0);
		assert_int_equal(r.type, i + 1);
		at += (size_t)n[i];
		if (i == 1) {
			assert_string_equal(r.path, "a\nb/\xff");
			assert_int_equal(r.hint, 1);
			assert_int_equal(r.root, 3);
		} else if (i == 2) {
			assert_string_equal(r.path, "");
			assert_string_equal(r.text, "overflow");
		} else if (i == 3) {
			assert_true(r.nonce == 0x0102030405060708u && r.complete);
		} else if (i == 4) {
			assert_int_equal(r.root, 63);
		} else if (i == 5) {
			assert_true(r.directories == 1 && r.watched == 1u << 20 &&
				    r.overflows == 3);
			assert_string_equal(r.text, "sysctl x=1");
		}
	}
	assert_int_equal(at, buf.len);
	buf_release(&buf);
}

static void a_truncated_record_asks_for_more(void **state)
{
	struct buf buf = {0};
	struct watch_record r;
	put_all(&buf);
	for (size_t at = 0; at < buf.len;) {
		long whole = watch_pipe_get(&r, buf.data + at, buf.len - at);
		assert_true(whole > 0);
		for (size_t part = 0; part < (size_t)whole; part++) {
			/* A copy of its own size, so that a sanitizer sees a read beyond it. */
			AUTO_FREE uint8_t *copy = x_memdup(buf.data + at, part);
			assert_int_equal(watch_pipe_get(&r, copy, part), 0);
		}
		at += (size_t)whole;
	}
	buf_release(&buf);
}

static void the_longest_record_fits(void **state)
{
	char path[WATCH_PATH_MAX + 1], why[WATCH_TEXT_MAX + 100];
	struct buf buf = {0};
	struct watch_record r;
	memset(path, 'p', sizeof(path));
	path[WATCH_PATH_MAX] = '\0';
	memset(why, 'w', sizeof(why));
	why[sizeof(why) - 1] = '\0';
	watch_pipe_put_subtree(&buf, 0, path, why);
	assert_int_equal(watch_pipe_get(&r, buf.data, buf.len), buf.len);
	assert_string_equal(r.path, path);
	assert_int_equal(strlen(r.text), WATCH_TEXT_MAX);
	buf_release(&buf);
}

static void nonsense_is_refused(void **state)
{
	static const struct {
		uint8_t bytes[40];
		size_t len;
	} bad[] = {
		{{0, 0, 0, 0, 0, 0}, 6}, /* no such type */
		{{7, 0, 0, 0, 0, 0}, 6},
		{{1, 0, 0, 0, 0, 1, 0}, 7},	    /* READY carries nothing */
		{{2, 0, 0, 0, 0, 0}, 6},	    /* CHANGED without a hint */
		{{2, 0, 0, 0, 0, 2, 2, 'a'}, 8},    /* no such hint */
		{{2, 0, 0, 0, 0, 3, 0, 'a', 0}, 9}, /* NUL in a path */
		{{3, 0, 0, 0, 0, 1, 0}, 7},	    /* SUBTREE shorter than its length */
		{{3, 0, 0, 0, 0, 3, 0, 9, 'a'}, 9}, /* the path ends beyond the record */
		{{4, 0, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0}, 14},
		{{6, 0, 0, 0, 0, 1, 0}, 7},
		{{2, 0, 0xff, 0, 0, 0}, 6}, /* refused before it is waited for */
	};
	struct watch_record r;
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		assert_int_equal(watch_pipe_get(&r, bad[i].bytes, bad[i].len), -EBADMSG);
}

static void random_bytes_do_no_harm(void **state)
{
	unsigned seed = (unsigned)time(NULL);
	print_message("seed %u\n", seed);
	srand(seed);
	for (int i = 0; i < 20000; i++) {
		size_t len = (size_t)rand() % 64;
		AUTO_FREE uint8_t *bytes = x_calloc(len, 1);
		struct watch_record r;
		for (size_t k = 0; k < len; k++)
			bytes[k] = (uint8_t)(k < 5 && k > 1 ? 0 : rand() % (k == 0 ? 8 : 256));
		long n = watch_pipe_get(&r, bytes, len);
		assert_true(n <= (long)len);
	}
}

static void commands_come_back(void **state)
{
	uint8_t bytes[WATCH_COMMAND_LEN];
	uint64_t nonce = 0;
	watch_pipe_put_command(bytes, UINT64_MAX - 5);
	for (size_t part = 0; part < sizeof(bytes); part++)
		assert_int_equal(watch_pipe_get_command(&nonce, bytes, part), 0);
	assert_int_equal(watch_pipe_get_command(&nonce, bytes, sizeof(bytes)), sizeof(bytes));
	assert_true(nonce == UINT64_MAX - 5);
	assert_int_equal(watch_pipe_get_command(&nonce, (const uint8_t *)"G", 1), -EBADMSG);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_record_survives_the_pipe),
		cmocka_unit_test(a_truncated_record_asks_for_more),
		cmocka_unit_test(the_longest_record_fits),
		cmocka_unit_test(nonsense_is_refused),
		cmocka_unit_test(random_bytes_do_no_harm),
		cmocka_unit_test(commands_come_back),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
