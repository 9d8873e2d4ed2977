/* receiver.h - the passive's end of one session: frames -> staged records -> batches -> answers.
 * protocol/inbound decides what is legal and when a batch closes; workers stage and commit; one
 * commit runs at a time. Memory is bounded: past RECEIVER_QUEUE_HIGH bytes not yet staged the link
 * is paused. Thread: the loop. */
#ifndef SYNC_RECEIVER_H
#define SYNC_RECEIVER_H

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "agent/base/err.h"
#include "agent/net/link.h"
#include "agent/sync/commit.h"
#include "agent/sync/stage.h"
#include "protocol/frame.h"
#include "protocol/wire.h"

#define RECEIVER_QUEUE_HIGH (8u << 20) /* bytes received and not yet staged */
#define RECEIVER_QUEUE_LOW (2u << 20)

struct receiver;
struct refusals;

struct receiver_events {
	void *owner;
	/* A barrier was judged. The store already knows a matched one. */
	void (*barrier)(void *owner, const struct wire_barrier *barrier, uint8_t outcome);
	/* Records became durable. */
	void (*committed)(void *owner, uint64_t records, uint64_t bytes);
	/* The peer broke the protocol: close the link for this reason. */
	void (*violated)(void *owner, uint16_t bye_reason, const char *text);
	/* After receiver_close(): no job of the receiver is running; *rx is gone. */
	void (*closed)(void *owner);
};

struct receiver_setup {
	uv_loop_t *loop;
	struct link *link;     /* used until receiver_close() */
	struct commit_env env; /* tree, store, profile, policy: borrowed until closed */
	struct receiver_events events;
};

struct receiver *receiver_new(const struct receiver_setup *setup);

/* RECORD, DATA, BARRIER, SIGNATURE_ASK. A violation is reported through events. */
void receiver_frame(struct receiver *rx, const struct frame *frame);

/* The link is gone: staged objects are discarded, running jobs are awaited, then events.closed. */
void receiver_close(struct receiver *rx);

/* What the salvage notes of what is displaced from now on; a literal. */
void receiver_set_salvage_why(struct receiver *rx, const char *why);

/* What could not be taken and will be offered again. */
const struct refusals *receiver_refusals(const struct receiver *rx);

/* Records received and not yet answered. */
size_t receiver_unanswered(const struct receiver *rx);

#endif
