/* outbox.h - what the agent has yet to be told. One entry per path, whatever happens to it while
 * the pipe is full, so that draining the kernel's queue never waits for the agent; past
 * OUTBOX_PATHS everything becomes one "the whole tree". First in, first out, so a fence stays
 * behind what it closes. A file that is written to again and again is reported at most every
 * OUTBOX_REST_MS. */
#ifndef WATCH_CHILD_OUTBOX_H
#define WATCH_CHILD_OUTBOX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/base/buf.h"
#include "agent/watch/watch_pipe.h"

#define OUTBOX_PATHS 65536	       /* distinct paths kept at once */
#define OUTBOX_REST_MS 50	       /* between two OPEN records of one path */
#define OUTBOX_ENCODED_MAX (64u << 10) /* bytes encoded ahead of the pipe */
#define OUTBOX_ROOTS 256

struct outbox_item;

/* Zeroed it is valid and empty. */
struct outbox {
	struct outbox_item *by_path;
	struct outbox_item *queue;   /* to be written, in this order */
	struct outbox_item *resting; /* written as OPEN a moment ago, oldest first */
	size_t n_again;		     /* resting ones that were written to again */
	size_t n_fences;	     /* in the queue */
	bool whole;		     /* SUBTREE "" is in the queue: it covers what comes */
	bool suspect[OUTBOX_ROOTS];  /* ROOT_SUSPECT is in the queue */
	struct buf encoded;
};

void outbox_release(struct outbox *box);
void outbox_changed(struct outbox *box, uint8_t root, const char *path, uint8_t hint);
void outbox_subtree(struct outbox *box, uint8_t root, const char *path,
		    const char *why); /* a constant */
void outbox_suspect(struct outbox *box, uint8_t root);
void outbox_ready(struct outbox *box);
void outbox_fence(struct outbox *box, uint64_t nonce, bool complete);
void outbox_counts(struct outbox *box, uint64_t directories, uint64_t watched, uint64_t overflows,
		   const char *limit);

/**
 * Writes what the pipe takes without waiting.
 * @return 0, or -errno when the agent is gone
 */
int outbox_pump(struct outbox *box, int fd, uint64_t now_ms);
/* Is something waiting for the pipe to take it? */
bool outbox_is_waiting(const struct outbox *box);
/* When a rest ends that something waits for; UINT64_MAX when none does. */
uint64_t outbox_next_due(const struct outbox *box);

#endif
