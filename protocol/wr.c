#include "protocol/wr.h"

#include <errno.h>
#include <string.h>

void wr_init(struct wr *w, void *buffer, size_t size)
{
	w->start = buffer;
	w->at = w->start;
	w->end = size ? w->start + size : w->start; /* NULL + 0 is undefined in C */
	w->wanted = 0;
	w->error = 0;
}

void wr_fail(struct wr *w, int error)
{
	if (!w->error)
		w->error = error;
}

void wr_raw(struct wr *w, const void *data, size_t len)
{
	w->wanted += len;
	if (!w->error && (size_t)(w->end - w->at) < len)
		wr_fail(w, -ENOBUFS);
	if (w->error || len == 0)
		return;
	memcpy(w->at, data, len);
	w->at += len;
}

static void number(struct wr *w, uint64_t v, size_t len)
{
	uint8_t bytes[8];
	for (size_t i = 0; i < len; i++)
		bytes[i] = (uint8_t)(v >> (8 * (len - 1 - i)));
	wr_raw(w, bytes, len);
}

void wr_u8(struct wr *w, uint8_t v)
{
	number(w, v, 1);
}

void wr_u16(struct wr *w, uint16_t v)
{
	number(w, v, 2);
}

void wr_u32(struct wr *w, uint32_t v)
{
	number(w, v, 4);
}

void wr_u64(struct wr *w, uint64_t v)
{
	number(w, v, 8);
}

void wr_bytes(struct wr *w, const void *data, uint32_t len)
{
	wr_u32(w, len);
	wr_raw(w, data, len);
}

void wr_text(struct wr *w, const char *text)
{
	size_t len = strlen(text);
	if (len > UINT16_MAX) {
		wr_fail(w, -EMSGSIZE);
		return;
	}
	wr_u16(w, (uint16_t)len);
	wr_raw(w, text, len + 1);
}

size_t wr_len(const struct wr *w)
{
	return (size_t)(w->at - w->start);
}
