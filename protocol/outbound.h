/* outbound.h - what the active sends next. Pure: no clock, disk, socket or thread. It knows which
 * records a peer still needs (as far as they have been offered), which are under way, and when
 * everything offered has been sent, so that a barrier can be put behind it.
 *
 * The store offers records in the order of seq, ancestors before descendants; the machine keeps that
 * order except that records carried by a stream take turns with small ones (a large file never
 * delays a small one), and that a path is never under way twice. */
#ifndef PROTOCOL_OUTBOUND_H
#define PROTOCOL_OUTBOUND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct outbound;

struct outbound_limits {
	uint32_t records;  /* most records under way */
	uint64_t bytes;    /* most bytes of content under way (one record may exceed it alone) */
	uint32_t streams;  /* most streams open at once */
	uint32_t pending;  /* most records offered and not yet begun */
};

struct outbound_item {
	uint64_t seq;
	uint64_t size;      /* bytes of content expected on the wire; 0 for metadata and deletes */
	uint32_t ticket;    /* 0 until begun */
	bool streamed;      /* larger than one chunk */
	uint8_t need;       /* NEED_* of the last refusal to take it as offered, 0 = none: how to send it */
	uint8_t attempts;
	const char *path;   /* owned by the machine, valid until the item is acknowledged or dropped */
};

/* @return NULL when memory is exhausted */
struct outbound *outbound_new(const struct outbound_limits *limits);
void outbound_free(struct outbound *ob);

/**
 * Offers a record the peer needs. A newer version of a pending path replaces it and keeps its
 * place in the order; of one under way it waits until that is answered.
 * @return 0, -EAGAIN when `pending` is full (offer again later), -ENOMEM, -EALREADY when this seq
 *         or a newer one of the path is known
 */
int outbound_offer(struct outbound *ob, const char *path, uint64_t seq, uint64_t size, bool streamed);
size_t outbound_room(const struct outbound *ob); /* how many more may be offered now */

/**
 * The next record to begin under the window, which is thereby under way and has its ticket.
 * @return NULL when nothing may begin now
 */
const struct outbound_item *outbound_begin(struct outbound *ob);

/* All bytes of the ticket have been handed to the link. */
void outbound_sent(struct outbound *ob, uint32_t ticket);

/* The record under way with this ticket, or NULL. */
const struct outbound_item *outbound_find(const struct outbound *ob, uint32_t ticket);

/* Acknowledged or refused for good. @return 0, -ENOENT for a ticket that is not under way */
int outbound_done(struct outbound *ob, uint32_t ticket);

/* The source changed while it was read, or is gone: not under way any longer; the newer version
 * will be offered. */
int outbound_abandon(struct outbound *ob, uint32_t ticket);

/* NEED: back to pending, ahead of the rest, to be begun with item.need set.
 * @return 0, -ENOENT, -ELOOP after 8 attempts (treat as refused) */
int outbound_again(struct outbound *ob, uint32_t ticket, uint8_t need);

/* Everything offered has been sent to its last byte, nothing waits. A BARRIER put on the link now
 * stands behind it all. */
bool outbound_is_drained(const struct outbound *ob);

/* Nothing pending, nothing under way. */
bool outbound_is_idle(const struct outbound *ob);

size_t outbound_pending(const struct outbound *ob);
size_t outbound_under_way(const struct outbound *ob);

#endif
