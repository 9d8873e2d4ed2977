/* holds_private.h - shared by holds.c (counting, holding, deciding) and losses.c (what is lost).
 * Nobody else includes it. */
#ifndef SYNC_HOLDS_PRIVATE_H
#define SYNC_HOLDS_PRIVATE_H

#include <pthread.h>

#include "agent/sync/brake.h"
#include "agent/sync/holds.h"

struct last_hold {
	uint64_t id; /* 0: none in this run */
	uint64_t grown_ms;
};

struct holds {
	struct store *store;
	enum hold_side side;
	bool peer_approvals;
	struct last_hold last[2]; /* of losses, of rewrites */
	pthread_mutex_t judging;  /* groups of captures are judged one after another */
	pthread_mutex_t lock;	  /* the brakes */
	struct brake loss, rewrite;
};

#endif
