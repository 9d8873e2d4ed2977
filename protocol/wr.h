/* wr.h - writing a message body into a caller's buffer, with a sticky error. Pure. */
#ifndef PROTOCOL_WR_H
#define PROTOCOL_WR_H

#include <stddef.h>
#include <stdint.h>

struct wr {
	uint8_t *start;
	uint8_t *at;
	uint8_t *end;
	size_t wanted; /* bytes written, or that would have been had there been room */
	int error;     /* 0, -ENOBUFS: buffer too small, -EMSGSIZE: above a limit of the message */
};

void wr_init(struct wr *w, void *buffer, size_t size);
void wr_u8(struct wr *w, uint8_t v);
void wr_u16(struct wr *w, uint16_t v);
void wr_u32(struct wr *w, uint32_t v);
void wr_u64(struct wr *w, uint64_t v);
void wr_raw(struct wr *w, const void *data, size_t len);
void wr_bytes(struct wr *w, const void *data, uint32_t len); /* u32 length, bytes */
void wr_text(struct wr *w, const char *text);		     /* u16 length, bytes, NUL */
void wr_fail(struct wr *w, int error);			     /* the first error stays */
size_t wr_len(const struct wr *w);

#endif
