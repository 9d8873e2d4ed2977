/* canary.h - how long a change takes from one disk to the other, measured while there is none:
 * every CANARY_EVERY_MS while everything is acknowledged. By the active's monotonic clock, from
 * before the write to the answer. Thread: the loop; the steps are jobs. */
#ifndef NODE_CANARY_H
#define NODE_CANARY_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "protocol/wire.h"

#define CANARY_EVERY_MS 10000

struct session;
struct frame;

/* Of one peer. Valid when zeroed. */
struct session_canary {
	unsigned connection; /* counts them: an answer to an earlier one is none */
	uint64_t nonce;	     /* of the last one begun in it */
	/* the active */
	uint64_t sent_ms;	      /* when it was begun, monotonic; 0 = none is under way */
	uint64_t began_us;	      /* likewise */
	uint64_t ended_ms;	      /* the last one, well or not */
	uint64_t measured_ms, lag_us; /* the last that went well: when, and how long; 0 = never */
	char trouble[256];	      /* why the last one failed; "" = it did not */
	/* the passive */
	bool committing;	/* a job is */
	unsigned committing_of; /* for which connection */
	bool waits;		/* the first of a new connection, for that job */
	struct wire_canary waiting;
};

void canary_live(struct session *s);
void canary_tick(struct session *s);
int canary_frame(struct session *s,
		 const struct frame *frame); /* both messages; 0, -EBADMSG, -EPROTO */

/* {"lag_seconds":, "age_seconds":, "error":} or null */
json_t *canary_json(const struct session *s);
/* What is known of the lag by it, seconds: measured after `since_ms`, or longer because one is
 * under way; < 0 = nothing. */
double canary_lag_s(const struct session *s, uint64_t since_ms);

#endif
