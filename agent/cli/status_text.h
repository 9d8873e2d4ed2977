/* status_text.h - the agent's status object as a page for people. */
#ifndef CLI_STATUS_TEXT_H
#define CLI_STATUS_TEXT_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

/* How fast one peer catches up, worked out from one status to the next. */
struct status_rate {
	uint64_t at_ms;		/* 0: nothing known yet */
	uint64_t pending_bytes; /* of all peers together */
	double bytes_per_s;	/* smoothed */
};

/* Takes a new status into account. What is added meanwhile slows it down, as it does the catching
 * up. */
void status_rate_add(struct status_rate *rate, const json_t *status, uint64_t now_ms);
/* Seconds until nothing is pending; negative when that cannot be told. */
double status_rate_eta(const struct status_rate *rate);

/* @param rate  NULL when there is only one status */
void status_print(FILE *out, const json_t *status, const struct status_rate *rate, bool colours);

#endif
