/* salvage_put.c - into the salvage: row, manifest, move, row. */
#include "agent/sync/salvage_private.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "agent/base/clock.h"
#include "agent/fs/beneath.h"
#include "agent/fs/copy.h"
#include "agent/fs/listing.h"
#include "agent/fs/publish.h"
#include "protocol/relpath.h"

/* Sorts by time and can be typed: 20260101T000000.000000000-1a2b3c. */
static void make_id(char out[SALVAGE_ID_MAX], int64_t now_ns)
{
	time_t seconds = now_ns / 1000000000;
	struct tm tm;
	char when[20];
	uint8_t random[3];
	BUG_ON(getrandom(random, sizeof(random), 0) != sizeof(random));
	gmtime_r(&seconds, &tm);
	strftime(when, sizeof(when), "%Y%m%dT%H%M%S", &tm);
	snprintf(out, SALVAGE_ID_MAX, "%s.%09" PRId64 "-%02x%02x%02x", when, now_ns % 1000000000,
		 random[0], random[1], random[2]);
}

static int look_at_temp(struct file_stat *out, const struct root *root, const char *temp,
			struct err *err)
{
	struct stat st;
	int r = stat_name(root->stage_fd, temp, &st);
	if (r < 0)
		return err_sys(err, -r, "look at what is to be saved");
	file_stat_from(out, &st);
	return 0;
}

/* ---- how much it is --------------------------------------------------------------------------
 */

/* Directories still to be looked into, as paths beneath a descriptor. */
struct places {
	char **paths;
	size_t n, cap;
};

static void add_place(struct places *places, char *path)
{
	GROW(places->paths, places->cap, places->n + 1);
	places->paths[places->n++] = path;
}

static void measure(struct places *places, const char *dir, const struct listing *list,
		    uint64_t *bytes)
{
	for (size_t i = 0; i < list->n; i++) {
		const struct listing_entry *entry = &list->entries[i];
		if (S_ISREG(entry->stat.mode))
			*bytes += entry->stat.size;
		else if (S_ISDIR(entry->stat.mode) && !entry->is_mount)
			add_place(places, x_asprintf("%s/%s", dir, listing_name(list, i)));
	}
}

/* What cannot be listed counts as nothing: it was moved as a whole and is safe either way. */
uint64_t salvage_bytes_in(int dirfd, const char *name)
{
	struct places places = {0};
	uint64_t bytes = 0;
	add_place(&places, x_strdup(name));
	while (places.n > 0) {
		AUTO_FREE char *dir = places.paths[--places.n];
		struct listing list = {0};
		AUTO_CLOSE int fd =
			open_beneath(dirfd, dir, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
		if (fd >= 0)
			listing_read(&list, fd, NULL);
		measure(&places, dir, &list, &bytes);
		listing_release(&list);
	}
	free(places.paths);
	return bytes;
}

/* ---- what it is ------------------------------------------------------------------------------
 */

/* A file that cannot be read is saved all the same. The bytes are read also where the index could
 * name a hash: it may be of others with the same stat, and who compares it with what is replicated
 * would throw the only copy away. */
static void identify(const struct salvage_order *order, struct salvage_row *row)
{
	if (!S_ISREG(row->stat.mode)) {
		row->bytes = S_ISDIR(row->stat.mode)
				     ? salvage_bytes_in(order->root->stage_fd, order->temp)
				     : 0;
		return;
	}
	row->bytes = row->stat.size;
	AUTO_CLOSE int fd = open_beneath(order->root->stage_fd, order->temp,
					 O_RDONLY | O_NOFOLLOW | O_NONBLOCK, 0);
	row->has_hash = fd >= 0 && hash_content(row->hash, fd, row->stat.size, NULL, NULL) == 0;
}

/* ---- the move --------------------------------------------------------------------------------
 */

int salvage_has_room(struct store *store, uint64_t max_bytes, uint64_t bytes, struct err *err)
{
	uint64_t used = store_salvage_bytes(store);
	if (max_bytes == 0 || (used <= max_bytes && bytes <= max_bytes - used))
		return 0;
	return err_set(err, -ENOBUFS,
		       "the salvage is full (%" PRIu64 " of %" PRIu64 " bytes, this has %" PRIu64
		       "): %sraise limits.salvage_bytes",
		       used, max_bytes, bytes, used > 0 ? "salvage purge makes room, or " : "");
}

/* Whatever fails leaves it where it was. */
static int move(struct store *store, const struct salvage_order *order,
		const struct salvage_row *row, struct err *err)
{
	struct file_stat still;
	int r = salvage_write_manifest(order->root, row, err);
	if (r == 0)
		r = stage_to_salvage(order->root, order->temp, row->id, relpath_name(row->path),
				     err);
	if (r < 0 && look_at_temp(&still, order->root, order->temp, NULL) == 0)
		salvage_forget(store, order->root, row, NULL); /* else salvage_recover() does */
	return r;
}

int salvage_put(struct store *store, const struct salvage_order *order, struct err *err)
{
	struct salvage_row row = {.path = (char *)order->path,
				  .root_at = order->root->at,
				  .why = (char *)(order->why ? order->why : "drift"),
				  .when_ns = clock_real_ns(),
				  .epoch = order->epoch};
	make_id(row.id, row.when_ns);
	int r = look_at_temp(&row.stat, order->root, order->temp, err);
	if (r < 0)
		return r;
	identify(order, &row);
	r = salvage_has_room(store, order->max_bytes, row.bytes, err);
	if (r == 0)
		r = store_salvage_begin(store, &row, err);
	if (r == 0)
		r = move(store, order, &row, err);
	if (r == 0) /* what is not recorded now is later: the object is safe */
		store_salvage_end(store, row.id, NULL);
	return r;
}
