#include "protocol/frame.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

void frame_reader_init(struct frame_reader *fr)
{
	memset(fr, 0, sizeof(*fr));
}

void frame_reader_release(struct frame_reader *fr)
{
	free(fr->buffer);
	memset(fr, 0, sizeof(*fr));
}

/* Room for `len` more bytes behind what has not been given out, which moves to the front. */
static int make_room(struct frame_reader *fr, size_t len)
{
	if (fr->used > 0) {
		memmove(fr->buffer, fr->buffer + fr->used, fr->len - fr->used);
		fr->len -= fr->used;
		fr->used = 0;
	}
	if (len > SIZE_MAX / 2 - fr->len)
		return -ENOMEM;
	if (fr->cap - fr->len >= len)
		return 0;
	size_t cap = fr->cap ? fr->cap : 4096;
	while (cap - fr->len < len)
		cap *= 2;
	uint8_t *buffer = realloc(fr->buffer, cap);
	if (!buffer)
		return -ENOMEM;
	fr->buffer = buffer;
	fr->cap = cap;
	return 0;
}

int frame_feed(struct frame_reader *fr, const void *data, size_t len)
{
	if (len == 0)
		return 0;
	int r = make_room(fr, len);
	if (r < 0)
		return r;
	memcpy(fr->buffer + fr->len, data, len);
	fr->len += len;
	return 0;
}

static int judge(const struct frame *frame, unsigned phase, unsigned sender)
{
	const struct wire_rule *rule = wire_rule(frame->type);
	if (!rule)
		return -EBADMSG;
	if (!(rule->phases & phase) || !(rule->senders & sender))
		return -EPROTO;
	return frame->len > rule->body_max ? -EMSGSIZE : 0;
}

int frame_next(struct frame_reader *fr, struct frame *out, unsigned phase, unsigned sender)
{
	if (fr->len - fr->used < WIRE_HEADER_LEN)
		return 0;
	const uint8_t *at = fr->buffer + fr->used;
	out->len = (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
	out->type = at[4];
	out->body = NULL;
	int r = judge(out, phase, sender);
	if (r < 0)
		return r;
	if (fr->len - fr->used - WIRE_HEADER_LEN < out->len)
		return 0;
	out->body = at + WIRE_HEADER_LEN;
	fr->used += WIRE_HEADER_LEN + out->len;
	return 1;
}

void frame_header(uint8_t out[WIRE_HEADER_LEN], uint8_t type, uint32_t body_len)
{
	out[0] = (uint8_t)(body_len >> 24);
	out[1] = (uint8_t)(body_len >> 16);
	out[2] = (uint8_t)(body_len >> 8);
	out[3] = (uint8_t)body_len;
	out[4] = type;
}
