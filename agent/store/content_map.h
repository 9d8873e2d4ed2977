/* content_map.h - where content was acknowledged, by the beginning of its hash: a hint in memory
 * that whoever follows it must check. An index of hashes on disk would be rewritten as a whole by
 * every transaction of a first sync, since hashes come in no order; here a miss costs a few bytes
 * on the wire and nothing else. Not locked: the caller does that. */
#ifndef STORE_CONTENT_MAP_H
#define STORE_CONTENT_MAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/base/hash.h"

struct content_map {
	struct content_slot
		*slots; /* open addressing; a power of two, at most three quarters full */
	size_t n, cap;
};

/* The latest place of this content. `seq` > 0. */
void content_map_put(struct content_map *map, const uint8_t hash[HASH_LEN], uint64_t seq);
/* @return the seq that it was put with, or another's whose hash begins alike; 0: none */
uint64_t content_map_get(const struct content_map *map, const uint8_t hash[HASH_LEN]);
void content_map_release(struct content_map *map);

#endif
