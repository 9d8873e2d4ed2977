/* outbound.h - what the active sends next. Pure: no clock, disk, socket or thread. It knows which
 * records a peer still needs (as far as they have been offered), which are under way, and when
 * everything offered has been sent, so that a barrier can be put behind it.
 *
 * The store offers records in the order of seq, ancestors before descendants. The machine keeps
 * that order, except that
 *  - records carried by a stream take turns with small ones and have a window of bytes of their
 * own: a large file never delays a small one;
 *  - a path is never under way twice: its newer version waits for the answer;
 *  - a record waits while a directory above it is pending that was offered before it, or that was
 *    no directory in the version before, and one in a stream until it has been sent;
 *  - what is no directory (a deletion above all) waits until nothing beneath it is pending, and a
 *    file or link until nothing beneath it is under way, either. */
#ifndef PROTOCOL_OUTBOUND_H
#define PROTOCOL_OUTBOUND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct outbound;

struct outbound_limits {
	uint32_t records; /* most records under way; at most WIRE_RECORDS_MAX */
	uint64_t bytes; /* most bytes of content under way, for small and for streamed records each;
			 * one record may exceed it alone, and a streamed one counts as
			 * bytes/streams at most */
	uint32_t streams; /* most streams open at once; fewer than `records`, so that small ones
			     have room */
	uint32_t pending; /* most records offered and not yet begun */
	uint32_t sets;	  /* most consistency sets under way; at most WIRE_SETS_MAX */
};

#define OUTBOUND_STREAMED 0x1 /* larger than one chunk: content goes in DATA frames */
#define OUTBOUND_LEAF 0x2     /* a file or a link: nothing can be beneath it */
/* A tombstone (a leaf, too). It is sent as such, with item.seq, even if the path is there again by
 * now, and never abandoned: the deletion of a directory above it may be waiting for it. */
#define OUTBOUND_DELETION 0x4

#define OUTBOUND_ATTEMPTS_MAX 8

struct outbound_item {
	uint64_t seq;
	uint64_t size;	  /* bytes of content expected on the wire; 0 for metadata and deletes */
	uint32_t ticket;  /* 0 until begun */
	bool streamed;	  /* larger than one chunk */
	bool leaf;	  /* OUTBOUND_LEAF or OUTBOUND_DELETION */
	bool deletion;	  /* OUTBOUND_DELETION */
	uint8_t need;	  /* NEED_* when it was not taken as offered, 0 = none: how to send it */
	uint8_t attempts; /* how often it was needed again */
	uint32_t set;	  /* its consistency set, new at each begin; 0 = by itself */
	uint32_t set_n;	  /* members of that set in all */
	const char *path; /* the machine's, valid until the item is acknowledged or dropped */
};

/* @return NULL when memory is exhausted */
struct outbound *outbound_new(const struct outbound_limits *limits);
void outbound_free(struct outbound *ob);
/* Another limit of bytes: what is under way stays so, and nothing begins until it fits. */
void outbound_set_bytes(struct outbound *ob, uint64_t bytes);

/**
 * Offers a record the peer needs. A newer version of a pending path replaces it and keeps its
 * place in the order, unless that was a deletion's; of one under way it waits until that is
 * answered.
 * @param flags  OUTBOUND_*
 * A member of a set that waits takes the set out, one of a set under way is -EAGAIN.
 * @return 0, -EAGAIN when `pending` is full (offer nothing more, go on with this one later:
 * the order counts), -ENOMEM, -EALREADY when this seq or a newer one of the path is known
 */
int outbound_offer(struct outbound *ob, const char *path, uint64_t seq, uint64_t size,
		   unsigned flags);
size_t outbound_room(const struct outbound *ob); /* how many more may be offered now */

struct outbound_offer {
	const char *path;
	uint64_t seq, size;
	unsigned flags; /* OUTBOUND_* */
};

/**
 * Offers all that the peer still needs of a consistency set, as of one moment, non-deletions first.
 * They are begun one after another with a common item.set, when none of them has to wait for
 * anything outside the set. What is offered replaces what was offered before under this key, and by
 * itself under these paths.
 * @param n  at most WIRE_SET_MAX and limits.records; 0: nothing is, and what waits for it need not
 * @return 0; -EALREADY when all of it is known; -EBUSY while a set of this key is under way (see
 * outbound_wanted()); -EAGAIN when `pending` is full, or a path is in another set under way;
 * -E2BIG; -ENOMEM (what was offered under this key is gone then)
 */
int outbound_offer_set(struct outbound *ob, const char *key, const struct outbound_offer *offers,
		       size_t n);

/**
 * The next record to begin under the window, which is thereby under way and has its ticket. RECORDs
 * go onto the link in the order of their tickets; a ticket abandoned before its RECORD was sent
 * leaves a gap.
 * @return NULL when nothing may begin now
 */
const struct outbound_item *outbound_begin(struct outbound *ob);

/* The key of a set that ended after its next version was -EBUSY, NULL: none. It is to be offered
 * now, whatever else is: what depends on that version waits, and fills `pending`. */
const char *outbound_wanted(const struct outbound *ob);

/* Around offering everything from the first seq on: a set that did not go and is not offered again
 * within (its paths are nobody's business any more) is dropped. */
void outbound_begin_pass(struct outbound *ob);
void outbound_end_pass(struct outbound *ob);

/* All bytes of the ticket have been handed to the link. */
void outbound_sent(struct outbound *ob, uint32_t ticket);

/* The record under way with this ticket, or NULL. */
const struct outbound_item *outbound_find(const struct outbound *ob, uint32_t ticket);

/* A set ends as a whole: with one member needed again, or otherwise, all are pending again, with
 * one refused all are dropped, with one abandoned all wait for outbound_offer_set(). Tickets of its
 * other members end with that, so whoever calls looks at item.set before, ends the open streams of
 * the set with DATA_ABORT and sends SET_ABORT. (The peer may have denied the very ticket that is
 * given up here, and then it waits for that.) Only outbound_done() ends one member alone. */

/* The four ways in which a ticket ends. Its item is gone afterwards; a stream still open is to be
 * ended with DATA_ABORT at once. Each returns -ENOENT for a ticket that is not under way, which is
 * normal for an answer that crossed outbound_abandon() and is to be ignored. */

/* ACK. @return 0, -ENOENT */
int outbound_done(struct outbound *ob, uint32_t ticket);

/* REFUSED. @return 0, -ENOENT */
int outbound_refused(struct outbound *ob, uint32_t ticket);

/* NEED: back to pending, ahead of the rest, to be begun with item.need set; with NEED_PARENT only
 * once no directory above it is pending, so offer that one now. A newer version, if there is one,
 * goes in its stead.
 * @return 0, -ENOENT, -ELOOP after OUTBOUND_ATTEMPTS_MAX attempts (it is dropped; treat as
 * refused), -EINVAL for a need that is none of NEED_* */
int outbound_needed(struct outbound *ob, uint32_t ticket, uint8_t need);

/* The sender itself gives up this way of sending it (a delta that saves nothing): like
 * NEED_CONTENT, but the receiver denied nothing, and so no denial is counted.
 * @return 0, -ENOENT, -ELOOP */
int outbound_otherwise(struct outbound *ob, uint32_t ticket);

/* The source changed while it was read, or is gone: the newer version will be offered. Not for a
 * deletion, and only before
 * its RECORD was sent or while its stream is open: what has been sent whole will be answered.
 * @return 0, -ENOENT */
int outbound_abandon(struct outbound *ob, uint32_t ticket);

/* How many NEED and REFUSED have come: goes into BARRIER.denials. */
uint32_t outbound_denials(const struct outbound *ob);

/* Everything offered has been sent to its last byte, nothing waits. A BARRIER put on the link now
 * stands behind it all. It speaks for the whole tree only if every record up to the store's last
 * seq has been offered, and the store counts as many records without acknowledgement as are under
 * way: else one was refused or abandoned. */
bool outbound_is_drained(const struct outbound *ob);

/* Nothing pending, nothing under way. */
bool outbound_is_idle(const struct outbound *ob);

size_t outbound_pending(const struct outbound *ob);
size_t outbound_under_way(const struct outbound *ob);

#endif
