/* The frame reader and every decoder, fed in pieces. Byte 0 says phase and sender, byte 1 the size
 * of a piece; the rest is the stream. Beyond memory errors: what a decoder accepts must encode to
 * the same bytes. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "protocol/frame.h"
#include "samples.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void judge(const struct frame *frame)
{
	static uint8_t again[WIRE_FRAME_MAX];
	size_t len;
	const char *field;
	uint8_t *body = malloc(frame->len ? frame->len : 1); /* of the exact size */
	if (!body)
		abort();
	memcpy(body, frame->body, frame->len);
	int r = samples_recode(frame->type, body, frame->len, again, &len, &field);
	if (r == 0 ? len != frame->len || memcmp(again, body, len) != 0 : !field)
		abort();
	free(body);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size < 2)
		return 0;
	unsigned phase = data[0] & 1 ? PHASE_LIVE : PHASE_HELLO, sender = data[0] >> 1 & 3;
	size_t piece = (size_t)data[1] + 1;
	struct frame_reader fr;
	struct frame frame;
	frame_reader_init(&fr);
	int r = 0;
	for (size_t at = 2; at < size && r == 0; at += piece) {
		if (frame_feed(&fr, data + at, size - at < piece ? size - at : piece) < 0)
			abort();
		while ((r = frame_next(&fr, &frame, phase, sender)) == 1)
			judge(&frame);
	}
	frame_reader_release(&fr);
	return 0;
}
