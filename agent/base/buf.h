/* buf.h - a byte buffer that grows up to a limit its owner sets. Thread: one at a time. */
#ifndef BASE_BUF_H
#define BASE_BUF_H

#include <stddef.h>
#include <stdint.h>

struct buf {
	uint8_t *data;
	size_t len;
	size_t cap;
};

/* A zeroed struct buf is empty and valid. */
void buf_release(struct buf *buf); /* frees the bytes; the struct is empty again */
uint8_t *buf_extend(struct buf *buf,
		    size_t len); /* room for len more bytes, counted in; the place */
void buf_append(struct buf *buf, const void *data, size_t len);
void buf_consume(struct buf *buf, size_t len); /* drops len bytes from the front */

#endif
