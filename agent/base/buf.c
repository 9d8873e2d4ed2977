#include "agent/base/buf.h"

#include <string.h>

#include "agent/base/alloc.h"

void buf_release(struct buf *buf)
{
	free(buf->data);
	*buf = (struct buf){0};
}

uint8_t *buf_extend(struct buf *buf, size_t len)
{
	GROW(buf->data, buf->cap, buf->len + len);
	uint8_t *place = buf->data + buf->len;
	buf->len += len;
	return place;
}

void buf_append(struct buf *buf, const void *data, size_t len)
{
	if (len > 0)
		memcpy(buf_extend(buf, len), data, len);
}

void buf_consume(struct buf *buf, size_t len)
{
	BUG_ON(len > buf->len);
	buf->len -= len;
	if (buf->len > 0)
		memmove(buf->data, buf->data + len, buf->len);
}
