/* frame.h - cutting a byte stream into frames. Pure; incremental: feed it whatever arrived. */
#ifndef PROTOCOL_FRAME_H
#define PROTOCOL_FRAME_H

#include <stddef.h>
#include <stdint.h>

#include "protocol/wire.h"

struct frame {
	uint8_t type;
	const uint8_t *body; /* borrowed until the next call on the reader */
	uint32_t len;
};

struct frame_reader {
	uint8_t *buffer; /* grows up to one frame of the largest size legal now */
	size_t len, cap;
	size_t used; /* bytes of the buffer already given out */
};

void frame_reader_init(struct frame_reader *fr);
void frame_reader_release(struct frame_reader *fr);

/**
 * Adds bytes that arrived. Copies them. What is held is bounded by the caller's habit: after each
 * feed it takes frames until frame_next() says 0 or fails, so that less than one frame stays
 * behind.
 * @return 0 or -ENOMEM
 */
int frame_feed(struct frame_reader *fr, const void *data, size_t len);

/**
 * The next whole frame. Type, phase, sender and size are judged by the header alone, before the
 * body is waited for.
 * @param phase   PHASE_HELLO or PHASE_LIVE
 * @param sender  who the peer is: FROM_ACTIVE, FROM_PASSIVE or FROM_NEITHER, or FROM_EITHER to
 * accept any
 * @return 1 with *out set, 0 when more bytes are needed, -EBADMSG for an unknown type, -EPROTO for
 * one that is out of phase or from the wrong side, -EMSGSIZE above the type's limit; out->type and
 * out->len are set in every case but 0. A failure stays: nothing is consumed, the link is to be
 * closed
 */
int frame_next(struct frame_reader *fr, struct frame *out, unsigned phase, unsigned sender);

/* Writes the 5 bytes that stand before a body. */
void frame_header(uint8_t out[WIRE_HEADER_LEN], uint8_t type, uint32_t body_len);

#endif
