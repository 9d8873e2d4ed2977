/* inbound.h - what the passive accepts and when a batch closes. Pure: no clock, disk, socket,
 * thread.
 *
 * Each RECORD gets a slot from its arrival until it is answered (ACK, NEED, REFUSED) or aborted by
 * the sender. A record is staged by the agent; all that is staged when the previous commit ends is
 * the next batch. A barrier closes the intake before it: records behind it are batched only when
 * all before it are answered and the barrier has been judged.
 *
 * Members of a consistency set enter a batch together: when as many as were announced are there,
 * all of them staged. A set of which one was denied before that is dead: nothing of it is batched
 * any more, and what has come of it and still comes waits, unanswered, for the sender's SET_ABORT.
 */
#ifndef PROTOCOL_INBOUND_H
#define PROTOCOL_INBOUND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct inbound;

struct inbound_limits {
	uint32_t records; /* most unanswered records; more is the peer's violation: WIRE_RECORDS_MAX
			   */
	uint32_t streams; /* most open streams; likewise: WIRE_STREAMS_MAX */
	uint32_t batch;	  /* most records in one batch; at least WIRE_SET_MAX where sets come */
	uint32_t sets;	  /* most sets that have not ended; likewise: WIRE_SETS_MAX */
};

/* @return NULL when memory is exhausted */
struct inbound *inbound_new(const struct inbound_limits *limits);
void inbound_free(struct inbound *ib);

/**
 * A RECORD arrived.
 * @param streamed  its content follows in DATA frames
 * @param size      of the file; the stream may carry a little more (a delta of nothing but
 * literals), see inbound_data()
 * @return 0, -EPROTO for a ticket that does not come after the last one or a path that is still
 * unanswered, -EMSGSIZE over a limit, -ENOMEM
 */
int inbound_record(struct inbound *ib, uint32_t ticket, const char *path, bool streamed,
		   uint64_t size);

/**
 * The record that arrived last is a member of a set. Called before anything else is done with it.
 * @param n  how many members the set has in all; each says the same
 * @return 0, -EPROTO when another number was announced or more come than that, -EMSGSIZE over a
 * limit, -ENOMEM
 */
int inbound_member(struct inbound *ib, uint32_t ticket, uint32_t set, uint32_t n);

/**
 * SET_ABORT arrived: what is there of the set is forgotten, without an answer. One that has ended,
 * or is being committed, takes no notice.
 * @param out  room for WIRE_SET_MAX: receives the tickets that were forgotten
 * @return how many
 */
size_t inbound_set_abort(struct inbound *ib, uint32_t set, uint32_t *out);

/* The ticket was batched and left out of the commit, because another member of its set could not go
 * on: its set is dead. */
void inbound_left_out(struct inbound *ib, uint32_t ticket);

/**
 * A DATA frame of raw_len bytes (after decompression) arrived. Not for DATA_ABORT.
 * @return 0, -EPROTO for a stream that is not open, -EMSGSIZE when the stream exceeds the size
 * announced by more than an eighth and 64 KiB (the exact cap is staging's)
 */
int inbound_data(struct inbound *ib, uint32_t stream, uint32_t raw_len, bool last);

/* DATA_ABORT arrived: the stream is over and its record forgotten, without an answer.
 * @return 0, -EPROTO for a stream that is not open */
int inbound_abort(struct inbound *ib, uint32_t stream);

/* Is the ticket unanswered? When not, nothing more may be answered, and DATA that still arrives for
 * it is dropped: it was answered early, or its sender aborted it. */
bool inbound_is_wanted(const struct inbound *ib, uint32_t ticket);

/* Ready to be committed; a stream after its end only. A directory is to be staged at once when it
 * arrives, a deletion before whatever arrived after it and is no stream: so no record overtakes the
 * directory or the deletion that it depends on. (A stream depends on no deletion that is under
 * way: outbound.h.) */
void inbound_staged(struct inbound *ib, uint32_t ticket);

/* An ACK (acknowledged), or a NEED or REFUSED (not) was sent, for a ticket that is wanted. Their
 * number is compared with BARRIER.denials. */
void inbound_answered(struct inbound *ib, uint32_t ticket, bool acknowledged);

/* A BARRIER arrived. @return 0, -EMSGSIZE when WIRE_BARRIERS_MAX wait, -EPROTO for an id that
 * does not grow */
int inbound_barrier(struct inbound *ib, uint64_t id, uint32_t denials);

/**
 * The next batch: every staged ticket that may go now, in order of arrival, a set where its first
 * member stands. A set that does not fit ends the batch. They stay in their slots until
 * inbound_answered().
 * @param out  receives at most `max` tickets
 * @return how many; 0 when nothing may go
 */
size_t inbound_batch(struct inbound *ib, uint32_t *out, size_t max);

/**
 * The barrier that can be judged now: everything before it is answered, nothing behind it has
 * been batched.
 * @param clean  false when a record before it was not acknowledged, or a NEED or REFUSED crossed it
 * on the link: it must be dropped
 * @return its id and removes it; 0 when there is none
 */
uint64_t inbound_reached_barrier(struct inbound *ib, bool *clean);

size_t inbound_unanswered(const struct inbound *ib);

#endif
