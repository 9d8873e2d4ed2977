/* backoff.h - how long to wait before trying again: doubling, bounded, and spread by chance so that
 * two regions that lost each other at one moment do not knock at one moment. Thread: any. */
#ifndef NET_BACKOFF_H
#define NET_BACKOFF_H

#include <stdint.h>

struct backoff {
	uint32_t first_ms, max_ms; /* set by the owner */
	unsigned attempts;	   /* failed in a row */
};

/* @return milliseconds, within a quarter of min(first * 2^attempts, max); counts the attempt */
uint32_t backoff_next(struct backoff *backoff);
void backoff_reset(struct backoff *backoff);

#endif
