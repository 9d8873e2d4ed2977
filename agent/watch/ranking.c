#include "agent/watch/ranking.h"

#include "agent/base/alloc.h"

void ranking_release(struct ranking *r)
{
	free(r->items);
	*r = (struct ranking){.which = r->which};
}

static uint64_t key_at(const struct ranking *r, size_t place)
{
	return r->items[place]->key[r->which];
}

static void put(struct ranking *r, struct ranked *item, size_t place)
{
	r->items[place] = item;
	item->place[r->which] = place;
}

static void swap(struct ranking *r, size_t a, size_t b)
{
	struct ranked *item = r->items[a];
	put(r, r->items[b], a);
	put(r, item, b);
}

static void rise(struct ranking *r, size_t place)
{
	while (place > 0 && key_at(r, place) < key_at(r, (place - 1) / 2)) {
		swap(r, place, (place - 1) / 2);
		place = (place - 1) / 2;
	}
}

static void sink(struct ranking *r, size_t place)
{
	for (;;) {
		size_t child = 2 * place + 1;
		if (child >= r->n)
			return;
		if (child + 1 < r->n && key_at(r, child + 1) < key_at(r, child))
			child++;
		if (key_at(r, place) <= key_at(r, child))
			return;
		swap(r, place, child);
		place = child;
	}
}

void ranking_add(struct ranking *r, struct ranked *item, uint64_t key)
{
	GROW(r->items, r->cap, r->n + 1);
	item->key[r->which] = key;
	put(r, item, r->n++);
	rise(r, r->n - 1);
}

void ranking_move(struct ranking *r, struct ranked *item, uint64_t key)
{
	item->key[r->which] = key;
	rise(r, item->place[r->which]);
	sink(r, item->place[r->which]);
}

void ranking_remove(struct ranking *r, struct ranked *item)
{
	size_t place = item->place[r->which];
	BUG_ON(place >= r->n || r->items[place] != item);
	struct ranked *last = r->items[--r->n];
	if (last == item)
		return;
	put(r, last, place);
	ranking_move(r, last, last->key[r->which]);
}

struct ranked *ranking_least(const struct ranking *r)
{
	return r->n > 0 ? r->items[0] : NULL;
}
