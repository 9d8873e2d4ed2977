/* compare.h - finding what differs between this node's index and a peer's, by digest ranges. One engine for
 * `verify` (list the differences) and for reconciliation (let the differences flow: what the peer
 * has is noted, so that each differing path is sent as its cheapest encoding, and what only the peer has gets a tombstone).
 * Also the answering side. Thread: the loop; the digests are made on workers. */
#ifndef SYNC_COMPARE_H
#define SYNC_COMPARE_H

#include <stdbool.h>
#include <uv.h>

#include "agent/conf/profile.h"
#include "agent/net/link.h"
#include "agent/store/store.h"
#include "protocol/frame.h"

struct compare;

enum compare_mode { COMPARE_LIST, COMPARE_RECONCILE };

struct compare_events {
	void *owner;
	/* COMPARE_LIST: one difference; what = "missing there", "missing here", "content", "mode", ... a constant */
	void (*difference)(void *owner, const char *path, const char *what);
	/* The end: 0, or negative errno (-EPROTO: the peer answered nonsense). After compare_close(): -ECANCELED.
	 * *c is gone. */
	void (*done)(void *owner, int result, const char *why);
};

/* @param profile  ours, borrowed: what only the peer has is given up only where it is our business */
struct compare *compare_start(uv_loop_t *loop, struct link *link, struct store *store, const char *peer,
			      enum compare_mode mode, const struct profile *profile, uint32_t first_id,
			      const struct compare_events *events);
/* RANGE_SPLIT, RANGE_LIST. @return true when the frame was for this comparison */
bool compare_frame(struct compare *c, const struct frame *frame);
void compare_close(struct compare *c); /* ends it; `done` follows when its jobs are back */

/* The answering side: RANGE_ASK. */
struct range_server;
struct range_server *range_server_new(uv_loop_t *loop, struct link *link, struct store *store);
/* @return 0, -EBADMSG, -EBUSY when too many are unanswered (a violation) */
int range_server_frame(struct range_server *rs, const struct frame *frame);
void range_server_close(struct range_server *rs, void (*closed)(void *arg), void *arg);

#endif
