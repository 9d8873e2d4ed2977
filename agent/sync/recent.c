/* Kept in order of arrival. What nobody has taken for some seconds never will be (the peer had it
 * already, or it changed once more), and makes room; younger content is not driven out by still
 * younger: when capture is far ahead of the sender, that would leave nothing of what is sent next.
 */
#include "agent/sync/recent.h"

#include <pthread.h>
#include <string.h>

#include "agent/base/clock.h"
#include "agent/base/hash_table.h"

#define STALE_MS 5000

struct item {
	UT_hash_handle hh; /* in order of arrival */
	uint8_t hash[HASH_LEN];
	uint8_t *bytes;
	size_t len;
	uint64_t put_ms;
};

struct recent {
	pthread_mutex_t lock;
	struct item *items;
	size_t bytes;
	int wanted;
};

struct recent *recent_new(void)
{
	struct recent *recent = x_calloc(1, sizeof(*recent));
	pthread_mutex_init(&recent->lock, NULL);
	return recent;
}

static void drop(struct recent *recent, struct item *item)
{
	HASH_DEL(recent->items, item);
	recent->bytes -= item->len;
	free(item->bytes);
	free(item);
}

static void drop_all(struct recent *recent)
{
	struct item *item, *tmp;
	HASH_ITER (hh, recent->items, item, tmp) {
		drop(recent, item);
	}
}

void recent_free(struct recent *recent)
{
	if (!recent)
		return;
	drop_all(recent);
	pthread_mutex_destroy(&recent->lock);
	free(recent);
}

void recent_want(struct recent *recent, bool on)
{
	pthread_mutex_lock(&recent->lock);
	recent->wanted += on ? 1 : -1;
	BUG_ON(recent->wanted < 0);
	if (recent->wanted == 0)
		drop_all(recent);
	pthread_mutex_unlock(&recent->lock);
}

static bool make_room(struct recent *recent, uint64_t size)
{
	uint64_t now = clock_mono_ms();
	if (recent->wanted == 0 || size == 0 || size > RECENT_FILE_MAX)
		return false;
	while (recent->items && recent->bytes + size > RECENT_MAX &&
	       now - recent->items->put_ms > STALE_MS)
		drop(recent, recent->items);
	return recent->bytes + size <= RECENT_MAX;
}

bool recent_has_room(struct recent *recent, uint64_t size)
{
	pthread_mutex_lock(&recent->lock);
	bool room = make_room(recent, size);
	pthread_mutex_unlock(&recent->lock);
	return room;
}

void recent_put(struct recent *recent, const uint8_t hash[HASH_LEN], uint8_t *bytes, size_t len)
{
	struct item *item;
	pthread_mutex_lock(&recent->lock);
	HASH_FIND(hh, recent->items, hash, HASH_LEN, item);
	if (!item && make_room(recent, len)) {
		item = x_calloc(1, sizeof(*item));
		memcpy(item->hash, hash, HASH_LEN);
		item->bytes = STEAL(bytes);
		item->len = len;
		item->put_ms = clock_mono_ms();
		recent->bytes += len;
		HASH_ADD(hh, recent->items, hash, HASH_LEN, item);
	}
	pthread_mutex_unlock(&recent->lock);
	free(bytes);
}

bool recent_take(struct recent *recent, const uint8_t hash[HASH_LEN], struct buf *out)
{
	struct item *item;
	pthread_mutex_lock(&recent->lock);
	HASH_FIND(hh, recent->items, hash, HASH_LEN, item);
	if (item) {
		buf_append(out, item->bytes, item->len);
		drop(recent, item);
	}
	pthread_mutex_unlock(&recent->lock);
	return item != NULL;
}
