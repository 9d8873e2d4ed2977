#include "agent/store/content_map.h"

#include <stdlib.h>
#include <string.h>

#include "agent/base/alloc.h"

#define FIRST_CAP 1024

struct content_slot {
	uint64_t key; /* the first bytes of a SHA-256: spread evenly by themselves */
	uint64_t seq; /* 0: free */
};

static uint64_t key_of(const uint8_t hash[HASH_LEN])
{
	uint64_t key;
	memcpy(&key, hash, sizeof(key));
	return key;
}

static struct content_slot *find(const struct content_map *map, uint64_t key)
{
	size_t i = key & (map->cap - 1);
	while (map->slots[i].seq != 0 && map->slots[i].key != key)
		i = (i + 1) & (map->cap - 1);
	return &map->slots[i];
}

static void grow(struct content_map *map)
{
	struct content_map old = *map;
	map->cap = old.cap ? 2 * old.cap : FIRST_CAP;
	map->slots = x_calloc(map->cap, sizeof(*map->slots));
	for (size_t i = 0; i < old.cap; i++) {
		if (old.slots[i].seq != 0)
			*find(map, old.slots[i].key) = old.slots[i];
	}
	free(old.slots);
}

void content_map_put(struct content_map *map, const uint8_t hash[HASH_LEN], uint64_t seq)
{
	if (4 * (map->n + 1) > 3 * map->cap)
		grow(map);
	struct content_slot *slot = find(map, key_of(hash));
	map->n += slot->seq == 0;
	*slot = (struct content_slot){.key = key_of(hash), .seq = seq};
}

uint64_t content_map_get(const struct content_map *map, const uint8_t hash[HASH_LEN])
{
	return map->cap ? find(map, key_of(hash))->seq : 0;
}

void content_map_release(struct content_map *map)
{
	free(map->slots);
	*map = (struct content_map){0};
}
