/* inbound.h - what the passive accepts and when a batch closes. Pure: no clock, disk, socket, thread.
 *
 * Each RECORD gets a slot from its arrival until it is answered (ACK, NEED, REFUSED). A record is
 * staged by the agent; all that is staged when the previous commit ends is the next batch. A
 * barrier closes the intake before it: records behind it are batched only when all before it
 * are answered and the barrier has been judged. */
#ifndef PROTOCOL_INBOUND_H
#define PROTOCOL_INBOUND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct inbound;

struct inbound_limits {
	uint32_t records; /* most unanswered records; more is the peer's violation */
	uint32_t streams; /* most open streams; likewise */
	uint32_t batch;   /* most records in one batch */
};

struct inbound *inbound_new(const struct inbound_limits *limits);
void inbound_free(struct inbound *ib);

/**
 * A RECORD arrived.
 * @param streamed  its content follows in DATA frames
 * @param size      bytes announced for the stream
 * @return 0, -EPROTO for a ticket that is not the successor of the last one, -EMSGSIZE over a limit
 */
int inbound_record(struct inbound *ib, uint32_t ticket, bool streamed, uint64_t size);

/**
 * A DATA frame of raw_len bytes (after decompression) arrived.
 * @return 0, -EPROTO for a stream that is not open
 */
int inbound_data(struct inbound *ib, uint32_t stream, uint32_t raw_len, bool last);

void inbound_staged(struct inbound *ib, uint32_t ticket);   /* ready to be committed */
void inbound_answered(struct inbound *ib, uint32_t ticket, bool acknowledged); /* ACK sent; or NEED, REFUSED, aborted */

/* A BARRIER arrived. @return 0, -EMSGSIZE when more than 16 wait */
int inbound_barrier(struct inbound *ib, uint64_t id);

/**
 * The next batch: every staged ticket that may go now, in order of arrival. They stay in their slots
 * until inbound_answered().
 * @param out  receives at most `max` tickets
 * @return how many; 0 when nothing may go
 */
size_t inbound_batch(struct inbound *ib, uint32_t *out, size_t max);

/**
 * The barrier that can be judged now: everything before it is answered, nothing behind it has
 * been batched.
 * @param clean  false when a record before it was not acknowledged: it must be dropped
 * @return its id and removes it; 0 when there is none
 */
uint64_t inbound_reached_barrier(struct inbound *ib, bool *clean);

size_t inbound_unanswered(const struct inbound *ib);

#endif
