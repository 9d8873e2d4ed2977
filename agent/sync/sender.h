/* sender.h - the active's end of one session: what the peer has not acknowledged, read from the
 * index in pages, turned into frames on workers, paced by the link. protocol/outbound decides the
 * order and the window; sync/plan the encoding. Memory is bounded by the window, whatever the tree
 * holds. Thread: the loop. */
#ifndef SYNC_SENDER_H
#define SYNC_SENDER_H

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "agent/base/err.h"
#include "agent/fs/tree.h"
#include "agent/net/link.h"
#include "agent/store/store.h"
#include "protocol/frame.h"
#include "protocol/wire.h"

struct pace;
struct sender;
struct recent;

/* What was put into a barrier. */
struct sent_barrier {
	uint64_t id, seq;
	int64_t clock_ns;
	uint8_t digest[32];
};

struct sender_events {
	void *owner;
	/* Versions became acknowledged, durably so on both sides. */
	void (*acked)(void *owner, size_t records);
	/* The clock to put into a barrier: everything older is in the index now (real time, ns). */
	int64_t (*barrier_clock)(void *owner);
	/* The peer judged a barrier: BARRIER_*. */
	void (*barrier_done)(void *owner, const struct sent_barrier *barrier, uint8_t outcome);
	/* What was indexed is no longer what is on disk: look at the path again. */
	void (*source_changed)(void *owner, const char *path);
	void (*violated)(void *owner, uint16_t bye_reason, const char *text);
	/* After sender_close(): no job is running, *sd is gone. */
	void (*closed)(void *owner);
};

struct sender_setup {
	uv_loop_t *loop;
	struct link *link; /* used until sender_close() */
	struct tree *tree; /* borrowed until closed, like the store */
	struct store *store;
	struct recent *recent;	       /* may be NULL */
	const struct profile *profile; /* says what is a consistency set; borrowed */
	const char *peer;	       /* copied */
	uint64_t window_bytes;
	struct pace *pace; /* of all senders together; borrowed */
	struct sender_events events;
};

struct sender_counts {
	uint64_t records;	/* sent */
	uint64_t content_bytes; /* bytes of files that crossed the wire, as they crossed */
	uint64_t refused;	/* records the peer would not take, in this session */
};

struct sender *sender_new(const struct sender_setup *setup);

void sender_set_window(struct sender *sd, uint64_t bytes);

/* The index has new records, or acknowledgements were withdrawn (`from_start`). */
void sender_kick(struct sender *sd, bool from_start);

/* What was refused is offered again at once. */
void sender_retry_now(struct sender *sd);

/* A BARRIER shall follow as soon as everything indexed has been sent. Asking again before it was
 * sent changes nothing. */
void sender_want_barrier(struct sender *sd);
/* What was refused or abandoned is offered again at once: why it was may be over. */
void sender_retry_now(struct sender *sd);
/* For how long, in ms, small changes alone have kept a wanted barrier from being sent; 0 while none
 * is wanted or a large file is on its way. */
uint64_t sender_barrier_starved_ms(const struct sender *sd);

/* A paused sender begins nothing; what is under way ends. */
/* While what the peer has is still being found out, path by path: sets wait, of which only a part
 * may be known to differ, and deletions, which may be above members. Everything else flows. */
void sender_hold_sets(struct sender *sd, bool hold);
void sender_pause(struct sender *sd, bool pause);

/* ACK, NEED, REFUSED, BARRIER_DONE, SIGNATURE, RESEND. A violation is reported through events. */
void sender_frame(struct sender *sd, const struct frame *frame);
void sender_writable(struct sender *sd);
void sender_counts(const struct sender *sd, struct sender_counts *out);
/* Everything indexed is sent and answered, as far as this session knows. */
bool sender_is_idle(const struct sender *sd);
/* The same, but for what is refused again and again, since before that moment, and taken none of.
 */
bool sender_waits_to_retry(const struct sender *sd, uint64_t since_ms);

void sender_close(struct sender *sd);

#endif
