/* ranking.h - a binary heap whose items know their place, so that any of them can be moved or taken
 * out in O(log n). An item has one key and one place per ranking it is part of. Pure. */
#ifndef WATCH_RANKING_H
#define WATCH_RANKING_H

#include <stddef.h>
#include <stdint.h>

#define RANKINGS 2 /* rankings one item can be part of */

/* Embedded in its owner. */
struct ranked {
	uint64_t key[RANKINGS];
	size_t place[RANKINGS];
};

struct ranking {
	unsigned which; /* the index into key[] and place[] that is ours, < RANKINGS */
	struct ranked **items;
	size_t n, cap;
};

void ranking_release(struct ranking *ranking);
void ranking_add(struct ranking *ranking, struct ranked *item, uint64_t key);
void ranking_move(struct ranking *ranking, struct ranked *item, uint64_t key);
void ranking_remove(struct ranking *ranking, struct ranked *item);
struct ranked *ranking_least(const struct ranking *ranking); /* NULL when empty */

#endif
