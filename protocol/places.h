/* places.h - the tree of paths that outbound has to do with at the moment: which version of each is
 * pending, which is under way, and how many of both are beneath it. Internal to outbound. A place
 * exists as long as it has an item or a place beneath it. Names are the tenant's: one who
 * constructs collisions makes lookups linear in `pending`, no worse. */
#ifndef PROTOCOL_PLACES_H
#define PROTOCOL_PLACES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct outbound_entry;

struct place {
	struct place *parent; /* NULL for the tree itself */
	struct place *next;   /* in its bucket */
	uint64_t hash;
	size_t users; /* places beneath it, and items */
	struct outbound_entry *pending;
	struct outbound_entry *under_way;
	size_t pending_beneath, under_way_beneath;
	size_t sets_beneath; /* members of sets under way beneath it */
	size_t own_beneath;  /* pending beneath it that belong to the set being looked at */
	bool wakes;	     /* somebody waits for a change here */
	size_t name_len;
	char name[];
};

struct places {
	struct place **buckets;
	size_t mask;
};

/* @param expected  about how many places there will be. @return 0, -ENOMEM */
int places_init(struct places *places, size_t expected);
void places_release(struct places *places); /* every place with it */

/* The place of a path, or NULL. */
struct place *places_find(const struct places *places, const char *path);

/* The same, made where it is not there, with one more user. NULL when memory is exhausted. */
struct place *places_get(struct places *places, const char *path);

/* One user fewer; the last one takes the place with it, and so on upwards. */
void places_put(struct places *places, struct place *place);

#endif
