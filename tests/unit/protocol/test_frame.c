/* The frame reader, fed in every split, and what it refuses by the header alone. The cursors
 * beneath. */
#include "testing.h"

#include "protocol/frame.h"
#include "protocol/rd.h"
#include "protocol/wr.h"
#include "samples.h"

static uint8_t stream[8 * 1024];
static size_t stream_len;
static struct {
	uint8_t type;
	size_t at, len;
} expected[8];

/* A few messages of different lengths, one of them without a body. */
static size_t make_stream(void)
{
	static const char *const names[] = {"record_inline", "need", "range_list", "bye"};
	stream_len = 0;
	size_t n = 0;
	for (size_t k = 0; k < COUNT(names); k++) {
		for (size_t i = 0; i < n_samples; i++) {
			if (strcmp(samples[i].name, names[k]) != 0)
				continue;
			size_t len = samples[i].build(stream + stream_len + WIRE_HEADER_LEN,
						      sizeof(stream) - stream_len);
			frame_header(stream + stream_len, samples[i].type, (uint32_t)len);
			expected[n].type = samples[i].type;
			expected[n].at = stream_len + WIRE_HEADER_LEN;
			expected[n++].len = len;
			stream_len += WIRE_HEADER_LEN + len;
		}
	}
	frame_header(stream + stream_len, WIRE_DEEP_ASK, 0);
	expected[n].type = WIRE_DEEP_ASK;
	expected[n].len = 0;
	expected[n++].at = stream_len += WIRE_HEADER_LEN;
	return n;
}

static size_t drain(struct frame_reader *fr, size_t seen)
{
	struct frame frame;
	int r;
	while ((r = frame_next(fr, &frame, PHASE_LIVE, FROM_EITHER)) == 1) {
		assert_int_equal(frame.type, expected[seen].type);
		assert_int_equal(frame.len, expected[seen].len);
		assert_memory_equal(frame.body, stream + expected[seen].at, frame.len);
		seen++;
	}
	assert_int_equal(r, 0);
	return seen;
}

static void every_split_yields_the_same_frames(void **state)
{
	size_t n = make_stream();
	assert_int_equal(n, 5);
	for (size_t first = 0; first <= stream_len; first++) {
		struct frame_reader fr;
		frame_reader_init(&fr);
		size_t seen = 0;
		assert_int_equal(frame_feed(&fr, stream, first), 0);
		seen = drain(&fr, seen);
		assert_int_equal(frame_feed(&fr, stream + first, stream_len - first), 0);
		seen = drain(&fr, seen);
		assert_int_equal(seen, n);
		frame_reader_release(&fr);
	}
	for (size_t step = 1; step < 40; step++) {
		struct frame_reader fr;
		frame_reader_init(&fr);
		size_t seen = 0;
		for (size_t at = 0; at < stream_len; at += step) {
			size_t len = stream_len - at < step ? stream_len - at : step;
			assert_int_equal(frame_feed(&fr, stream + at, len), 0);
			seen = drain(&fr, seen);
		}
		assert_int_equal(seen, n);
		frame_reader_release(&fr);
	}
}

static void memory_stays_near_one_frame(void **state)
{
	struct frame_reader fr;
	struct frame frame;
	uint8_t one[WIRE_HEADER_LEN + 1000] = {0};
	frame_header(one, WIRE_DATA, 1000);
	frame_reader_init(&fr);
	for (int i = 0; i < 10000; i++) {
		assert_int_equal(frame_feed(&fr, one, sizeof(one)), 0);
		assert_int_equal(frame_next(&fr, &frame, PHASE_LIVE, FROM_ACTIVE), 1);
	}
	assert_true(fr.cap <= 8192);
	frame_reader_release(&fr);
}

static void headers_are_judged_before_the_body_comes(void **state)
{
	const struct {
		uint8_t type;
		uint32_t len;
		unsigned phase, sender;
		int result;
	} table[] = {
		{WIRE_HELLO, 128 * 1024, PHASE_HELLO, FROM_ACTIVE, 0},
		{WIRE_HELLO, 128 * 1024 + 1, PHASE_HELLO, FROM_ACTIVE, -EMSGSIZE},
		{WIRE_HELLO, 10, PHASE_LIVE, FROM_ACTIVE, -EPROTO},
		{WIRE_RECORD, 10, PHASE_HELLO, FROM_EITHER, -EPROTO},
		{WIRE_RECORD, WIRE_FRAME_MAX, PHASE_LIVE, FROM_ACTIVE, 0},
		{WIRE_RECORD, WIRE_FRAME_MAX + 1, PHASE_LIVE, FROM_ACTIVE, -EMSGSIZE},
		{WIRE_RECORD, UINT32_MAX, PHASE_LIVE, FROM_ACTIVE, -EMSGSIZE},
		{WIRE_RECORD, 10, PHASE_LIVE, FROM_PASSIVE, -EPROTO},
		{WIRE_ACK, 10, PHASE_LIVE, FROM_ACTIVE, -EPROTO},
		{WIRE_ACK, 10, PHASE_LIVE, FROM_PASSIVE, 0},
		{WIRE_BYE, 10, PHASE_HELLO, FROM_PASSIVE, 0},
		{WIRE_BYE, 10, PHASE_LIVE, FROM_ACTIVE, 0},
		{0, 0, PHASE_LIVE, FROM_EITHER, -EBADMSG},
		{0x7f, 0, PHASE_LIVE, FROM_EITHER, -EBADMSG},
	};
	for (size_t i = 0; i < COUNT(table); i++) {
		uint8_t header[WIRE_HEADER_LEN];
		struct frame_reader fr;
		struct frame frame;
		frame_header(header, table[i].type, table[i].len);
		frame_reader_init(&fr);
		frame_feed(&fr, header, WIRE_HEADER_LEN - 1);
		assert_int_equal(frame_next(&fr, &frame, table[i].phase, table[i].sender), 0);
		frame_feed(&fr, header + WIRE_HEADER_LEN - 1, 1);
		for (int twice = 0; twice < 2; twice++) {
			int r = frame_next(&fr, &frame, table[i].phase, table[i].sender);
			if (r != table[i].result)
				fail_msg("row %zu: %d", i, r);
		}
		assert_int_equal(frame.type, table[i].type);
		assert_int_equal(frame.len, table[i].len);
		frame_reader_release(&fr);
	}
}

static void a_failed_cursor_stays_failed_and_yields_zero(void **state)
{
	const uint8_t bytes[] = {1, 2, 3, 4, 5, 6, 7, 8};
	struct rd r;
	rd_init(&r, bytes, sizeof(bytes));
	assert_int_equal(rd_u16(&r, "a"), 0x0102);
	assert_int_equal(rd_u8(&r, "b"), 3);
	assert_int_equal(rd_u64(&r, "c"), 0);
	assert_int_equal(rd_u8(&r, "d"), 0);
	uint8_t copy[2] = {9, 9};
	rd_copy(&r, copy, 2, "e");
	assert_int_equal(copy[0] | copy[1], 0);
	uint32_t len = 7;
	assert_null(rd_bytes(&r, &len, 10, "f"));
	assert_int_equal(len, 0);
	assert_string_equal(rd_text(&r, 10, "g"), "");
	assert_int_equal(rd_end(&r), -EBADMSG);
	assert_string_equal(r.field, "c");
}

static void text_and_bytes_are_bounded(void **state)
{
	const struct {
		uint8_t bytes[8];
		size_t len;
		int result;
	} table[] = {
		{{0, 2, 'a', 'b', 0}, 5, 0},
		{{0, 0, 0}, 3, 0},
		{{0, 2, 'a', 'b'}, 4, -EBADMSG},      /* the NUL is missing */
		{{0, 2, 'a', 'b', 'c'}, 5, -EBADMSG}, /* another byte in its place */
		{{0, 2, 'a', 0, 0}, 5, -EBADMSG},     /* one inside */
		{{0, 4, 'a', 'b', 'c', 'd', 0}, 7, -EMSGSIZE},
		{{0xff, 0xff, 'a'}, 3, -EMSGSIZE},
		{{0}, 1, -EBADMSG},
	};
	for (size_t i = 0; i < COUNT(table); i++) {
		struct rd r;
		rd_init(&r, table[i].bytes, table[i].len);
		rd_text(&r, 3, "text");
		if (rd_end(&r) != table[i].result)
			fail_msg("row %zu: %d", i, r.error);
	}
	const uint8_t huge[] = {0xff, 0xff, 0xff, 0xff, 1};
	struct rd r;
	uint32_t len;
	rd_init(&r, huge, sizeof(huge));
	assert_null(rd_bytes(&r, &len, UINT32_MAX, "bytes"));
	assert_int_equal(r.error, -EBADMSG);
}

static void a_writer_never_passes_its_end(void **state)
{
	uint8_t out[8];
	struct wr w;
	memset(out, 0xee, sizeof(out));
	wr_init(&w, out, 7);
	wr_u32(&w, 1);
	wr_text(&w, "abc"); /* 6 bytes into 3 */
	assert_int_equal(w.error, -ENOBUFS);
	wr_u8(&w, 1); /* would fit, but the message is broken */
	assert_int_equal(wr_len(&w), 6);
	assert_int_equal(w.wanted, 11);
	assert_int_equal(out[6], 0xee);
	assert_int_equal(out[7], 0xee);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_split_yields_the_same_frames),
		cmocka_unit_test(memory_stays_near_one_frame),
		cmocka_unit_test(headers_are_judged_before_the_body_comes),
		cmocka_unit_test(a_failed_cursor_stays_failed_and_yields_zero),
		cmocka_unit_test(text_and_bytes_are_bounded),
		cmocka_unit_test(a_writer_never_passes_its_end),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
