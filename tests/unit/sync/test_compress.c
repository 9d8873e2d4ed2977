/* Chunks that get smaller, chunks that do not, and frames that lie about what they hold. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <errno.h>
#include <pthread.h>
#include <cmocka.h>
#include <zstd.h>

#include "agent/base/alloc.h"
#include "agent/base/buf.h"
#include "agent/sync/compress.h"
#include "protocol/wire.h"
#include "tests/unit/sync/delta_help.h"

static void suffixes_are_known(void **state)
{
	assert_false(compress_pays("repository/components/a.jar"));
	assert_false(compress_pays("A.WAR"));
	assert_false(compress_pays("x/.p12"));
	assert_true(compress_pays("repository/conf/deployment.toml"));
	assert_true(compress_pays("some.jar/file"));
	assert_true(compress_pays("jar"));
	assert_true(compress_pays("a.jar.xml"));
	assert_true(compress_pays(""));
}

static uint8_t *text(size_t len)
{
	uint8_t *bytes = x_calloc(1, len + 1);
	for (size_t i = 0; i < len; i++)
		bytes[i] = "<property name=\"region\">value</property>\n"[i % 41] + (i % 997 == 0);
	return bytes;
}

static void chunks_come_back(void **state)
{
	static const size_t sizes[] = {100, 2000, 65536, WIRE_RAW_MAX};
	for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
		size_t len = sizes[i];
		AUTO_FREE uint8_t *in = text(len);
		AUTO_FREE uint8_t *out = x_calloc(1, len), *back = x_calloc(1, len);
		size_t n = compress_chunk(out, len, in, len, NULL);
		assert_true(n > 0 && n <= len - len / 10);
		assert_int_equal(decompress_chunk(back, len, out, n), 0);
		assert_memory_equal(back, in, len);
	}
}

static void what_does_not_pay_is_left_alone(void **state)
{
	struct random rng = random_new("incompressible");
	AUTO_FREE uint8_t *noise = random_bytes(&rng, 65536);
	AUTO_FREE uint8_t *out = x_calloc(1, 65536);
	AUTO_FREE uint8_t *like_text = text(65536);
	assert_int_equal(compress_chunk(out, 65536, noise, 65536, NULL), 0);
	assert_int_equal(compress_chunk(out, 65536, noise, 3, NULL), 0);
	assert_int_equal(compress_chunk(out, 65536, noise, 0, NULL), 0);
	size_t n = compress_chunk(out, 65536, like_text, 65536, NULL);
	assert_true(n > 100);
	assert_int_equal(compress_chunk(out, n - 1, like_text, 65536, NULL), 0);
	/* 8 % less is not worth the receiver's time: 60,000 random bytes and 5,200 times nothing */
	memset(noise + 60000, 0, 5200);
	assert_int_equal(compress_chunk(out, 65536, noise, 65200, NULL), 0);
	memset(noise + 50000, 0, 15000);
	assert_true(compress_chunk(out, 65536, noise, 65000, NULL) > 0);
}

static void small_binary_content_is_not_tried(void **state)
{
	uint8_t noise[5000];
	for (size_t i = 0; i < sizeof(noise); i++)
		noise[i] = (uint8_t)(i * 151 + i / 3);
	assert_false(compress_looks_worth(noise, 2000));
	assert_true(compress_looks_worth(noise, sizeof(noise))); /* large: zstd is the judge */
	assert_true(compress_looks_worth((const uint8_t *)"<?xml version=\"1.0\"?><a/>", 26));
	static const char text[] = "Gr\xc3\xbc\xc3\x9f"
				   "e aus K\xc3\xb6ln am Rhein";
	assert_true(compress_looks_worth((const uint8_t *)text, sizeof(text) - 1));
	assert_false(compress_looks_worth(noise, 0));
}

static void incompressible_file_is_probed_now_and_then(void **state)
{
	struct random rng = random_new("probes");
	struct compress_history history = {0};
	AUTO_FREE uint8_t *noise = random_bytes(&rng, 65536);
	AUTO_FREE uint8_t *out = x_calloc(1, 65536);
	AUTO_FREE uint8_t *like_text = text(65536);
	assert_true(compress_chunk(out, 65536, like_text, 65536, &history) > 0);
	assert_int_equal(compress_chunk(out, 65536, noise, 65536, &history), 0);
	for (int i = 0; i < 4; i++)
		assert_int_equal(compress_chunk(out, 65536, like_text, 65536, &history), 0);
	assert_true(compress_chunk(out, 65536, like_text, 65536, &history) > 0);
	assert_true(compress_chunk(out, 65536, like_text, 65536, &history) > 0);
	for (int i = 0; i < 1000; i++)
		compress_chunk(out, 65536, noise, 65536, &history);
	int skipped = 0;
	while (compress_chunk(out, 65536, like_text, 65536, &history) == 0)
		skipped++;
	assert_in_range(skipped, 0, 64);
}

static void equal_chunks_make_equal_frames(void **state)
{
	AUTO_FREE uint8_t *in = text(50000);
	AUTO_FREE uint8_t *a = x_calloc(1, 50000), *b = x_calloc(1, 50000);
	size_t n = compress_chunk(a, 50000, in, 50000, NULL);
	assert_int_equal(compress_chunk(b, 50000, in, 50000, NULL), n);
	assert_memory_equal(a, b, n); /* nothing of the first helped the second */
}

static void lying_frames_are_refused(void **state)
{
	enum { LEN = 3000 };
	AUTO_FREE uint8_t *in = text(LEN);
	uint8_t frame[LEN + 100], out[WIRE_RAW_MAX];
	size_t n = compress_chunk(frame, LEN, in, LEN, NULL);
	assert_int_equal(decompress_chunk(out, LEN, frame, n), 0);
	for (size_t cut = 0; cut < n; cut++)
		assert_int_equal(decompress_chunk(out, LEN, frame, cut), -EBADMSG);
	frame[n] = 0;
	assert_int_equal(decompress_chunk(out, LEN, frame, n + 1), -EBADMSG); /* a byte behind it */
	memcpy(frame + n, "\x50\x2a\x4d\x18\0\0\0\0", 8);
	assert_int_equal(decompress_chunk(out, LEN, frame, n + 8),
			 -EBADMSG); /* a skippable frame behind it */
	assert_int_equal(decompress_chunk(out, 1, frame + n, 8), -EBADMSG);
	assert_int_equal(decompress_chunk(out, LEN - 1, frame, n), -EBADMSG);
	assert_int_equal(decompress_chunk(out, LEN + 1, frame, n), -EBADMSG);
	assert_int_equal(decompress_chunk(out, 0, frame, n), -EBADMSG);
	assert_int_equal(decompress_chunk(out, WIRE_RAW_MAX + 1, frame, n), -EBADMSG);
	struct random rng = random_new("damaged frames");
	for (size_t i = 0; i < 20000; i++) {
		size_t at = random_below(&rng, n);
		uint8_t kept = frame[at];
		frame[at] ^= (uint8_t)(1 + random_below(&rng, 255));
		int r = decompress_chunk(out, LEN, frame,
					 n); /* no checksum: the file's hash is the judge */
		assert_true(r == 0 || r == -EBADMSG);
		frame[at] = kept;
	}
}

static void bombs_are_refused(void **state)
{
	size_t len = 64u * 1024 * 1024;
	AUTO_FREE uint8_t *zeros = x_calloc(1, len);
	AUTO_FREE uint8_t *bomb = x_calloc(1, 65536);
	uint8_t out[WIRE_RAW_MAX];
	size_t n = ZSTD_compress(bomb, 65536, zeros, len, 1);
	assert_false(ZSTD_isError(n));
	assert_int_equal(decompress_chunk(out, WIRE_RAW_MAX, bomb, n), -EBADMSG);
	/* the same with no declared size at all */
	ZSTD_CCtx *ctx = ZSTD_createCCtx();
	ZSTD_CCtx_setParameter(ctx, ZSTD_c_contentSizeFlag, 0);
	n = ZSTD_compress2(ctx, bomb, 65536, zeros, 1000);
	ZSTD_freeCCtx(ctx);
	assert_false(ZSTD_isError(n));
	assert_int_equal(decompress_chunk(out, 1000, bomb, n), -EBADMSG);
	/* and with a small declared size in front of much content */
	n = ZSTD_compress(bomb, 65536, zeros, 200000, 1);
	assert_int_equal(ZSTD_getFrameContentSize(bomb, n), 200000);
	bomb[5] = 0, bomb[6] = 1, bomb[7] = 0; /* 4-byte size field behind magic and descriptor */
	assert_int_equal(ZSTD_getFrameContentSize(bomb, n), 256);
	assert_int_equal(decompress_chunk(out, 256, bomb, n), -EBADMSG);
}

static void *compress_in_thread(void *arg)
{
	uint8_t out[1000];
	AUTO_FREE uint8_t *in = text(1000);
	*(size_t *)arg = compress_chunk(out, 1000, in, 1000, NULL);
	return NULL;
}

static void threads_keep_apart_and_leave_nothing(void **state)
{
	for (int i = 0; i < 20; i++) {
		pthread_t thread;
		size_t n = 0;
		assert_int_equal(pthread_create(&thread, NULL, compress_in_thread, &n), 0);
		assert_int_equal(pthread_join(thread, NULL), 0);
		assert_true(n > 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(suffixes_are_known),
		cmocka_unit_test(chunks_come_back),
		cmocka_unit_test(what_does_not_pay_is_left_alone),
		cmocka_unit_test(small_binary_content_is_not_tried),
		cmocka_unit_test(incompressible_file_is_probed_now_and_then),
		cmocka_unit_test(equal_chunks_make_equal_frames),
		cmocka_unit_test(lying_frames_are_refused),
		cmocka_unit_test(bombs_are_refused),
		cmocka_unit_test(threads_keep_apart_and_leave_nothing),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
