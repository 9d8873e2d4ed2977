/* arrivals.h - contents that came a moment ago, each as often as it came: what vanished elsewhere
 * may have moved there. Eight bytes of the hash tell them apart. Thread: any, one at a time. */
#ifndef SYNC_ARRIVALS_H
#define SYNC_ARRIVALS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/base/alloc.h"
#include "agent/base/hash.h"

#define ARRIVALS_MAX 4000000 /* 64 MB; of more the rest counts as not come */

/* A zeroed one is empty and valid. */
struct arrivals {
	uint64_t *keys; /* sorted and each once after arrivals_seal() */
	uint32_t *came, *left;
	size_t n, cap;
};

void arrivals_add(struct arrivals *arrivals, const uint8_t hash[HASH_LEN]);
void arrivals_seal(struct arrivals *arrivals); /* after the last was added */
/* @return true for as many losses of a content as have come of it */
bool arrivals_take(struct arrivals *arrivals, const uint8_t hash[HASH_LEN]);
void arrivals_rewind(struct arrivals *arrivals); /* as if nothing was taken */
void arrivals_release(struct arrivals *arrivals);

#endif
