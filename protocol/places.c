#include "protocol/places.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int places_init(struct places *places, size_t expected)
{
	size_t n = 64;
	while (n < expected && n < SIZE_MAX / 4)
		n *= 2;
	places->buckets = calloc(n, sizeof(struct place *));
	places->mask = n - 1;
	return places->buckets ? 0 : -ENOMEM;
}

void places_release(struct places *places)
{
	for (size_t i = 0; places->buckets && i <= places->mask; i++) {
		struct place *next;
		for (struct place *place = places->buckets[i]; place; place = next) {
			next = place->next;
			free(place);
		}
	}
	free(places->buckets);
	places->buckets = NULL;
}

/* FNV-1a, going on from the parent's. */
static uint64_t hash_name(const struct place *parent, const char *name, size_t len)
{
	uint64_t hash = (parent ? parent->hash : 0xcbf29ce484222325u) ^ '/';
	for (size_t i = 0; i < len; i++)
		hash = (hash ^ (uint8_t)name[i]) * 0x100000001b3u;
	return hash;
}

static struct place **bucket(const struct places *places, uint64_t hash)
{
	return &places->buckets[(hash ^ hash >> 32) & places->mask];
}

static struct place *child(const struct places *places, const struct place *parent,
			   const char *name, size_t len)
{
	uint64_t hash = hash_name(parent, name, len);
	struct place *place = *bucket(places, hash);
	while (place && !(place->hash == hash && place->parent == parent &&
			  place->name_len == len && memcmp(place->name, name, len) == 0))
		place = place->next;
	return place;
}

static struct place *add_child(struct places *places, struct place *parent, const char *name,
			       size_t len)
{
	struct place *place = calloc(1, sizeof(*place) + len + 1);
	if (!place)
		return NULL;
	place->parent = parent;
	place->hash = hash_name(parent, name, len);
	place->name_len = len;
	memcpy(place->name, name, len);
	struct place **head = bucket(places, place->hash);
	place->next = *head;
	*head = place;
	if (parent)
		parent->users++;
	return place;
}

/* Walks down from the tree itself; `places` may be changed only when `make`. A place made and then
 * left without a user (memory ran out further down) is taken back by places_put(). */
static struct place *descend(struct places *places, const char *path, bool make)
{
	struct place *at = child(places, NULL, "", 0);
	if (!at && make)
		at = add_child(places, NULL, "", 0);
	while (at && *path) {
		size_t len = strcspn(path, "/");
		struct place *below = child(places, at, path, len);
		if (!below && make) {
			below = add_child(places, at, path, len);
			if (!below && at->users == 0) {
				at->users = 1;
				places_put(places, at);
			}
		}
		at = below;
		path += len;
		path += *path == '/';
	}
	return at;
}

struct place *places_find(const struct places *places, const char *path)
{
	struct places same = *places; /* not changed: nothing is made */
	return descend(&same, path, false);
}

struct place *places_get(struct places *places, const char *path)
{
	struct place *place = descend(places, path, true);
	if (place)
		place->users++;
	return place;
}

void places_put(struct places *places, struct place *place)
{
	while (place && --place->users == 0) {
		struct place *parent = place->parent;
		struct place **link = bucket(places, place->hash);
		while (*link != place)
			link = &(*link)->next;
		*link = place->next;
		free(place);
		place = parent;
	}
}
