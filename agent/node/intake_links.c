#include "agent/node/intake_links.h"

#include <string.h>

/* The file that is there, or 0. */
static uint64_t file_is(const struct capture_item *item)
{
	bool is_file = item->outcome == CAPTURE_CHANGED && item->entry.rec.kind == RECORD_FILE;
	return is_file ? item->entry.inst.ino : 0;
}

/* The file that was there and is not any longer, or 0. */
static uint64_t file_left(const struct capture_item *item)
{
	bool left = item->outcome == CAPTURE_CHANGED || item->outcome == CAPTURE_GONE ||
		    (item->outcome == CAPTURE_NOTHING && !item->was_live);
	return left && item->file_was != file_is(item) ? item->file_was : 0;
}

/* ---- what other workers may have read too early ---------------------------------------------- */

static void add(struct recent_links *recent, uint64_t ino)
{
	recent->inodes[++recent->serial % RECENT_LINKS] = ino;
}

void recent_links_add(struct recent_links *recent, const struct capture_item *items, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		const struct capture_item *item = &items[i];
		if (file_is(item) && item->entry.inst.nlink > 1)
			add(recent, file_is(item));
		if (file_left(item) && item->links_was > 1)
			add(recent, file_left(item));
	}
}

bool recent_links_concern(const struct recent_links *recent, const struct capture_item *item,
			  uint64_t since)
{
	uint64_t ino = file_is(item);
	if (ino == 0 || recent->serial == since)
		return false;
	if (recent->serial - since >= RECENT_LINKS)
		return item->entry.inst.nlink > 1; /* forgotten: all that may */
	for (uint64_t at = since + 1; at <= recent->serial; at++) {
		if (recent->inodes[at % RECENT_LINKS] == ino)
			return true;
	}
	return false;
}

/* ---- other names -------------------------------------------------------------------------------
 */

struct finding {
	struct store *store;
	char **paths;
	size_t n, max;
};

static void find(struct finding *f, const char *path, uint64_t ino, uint64_t links)
{
	const struct index_entry other = {.rec = {.path = path},
					  .inst = {.ino = ino, .nlink = links}};
	size_t n = 0;
	store_linked_paths(f->store, &other, f->paths + f->n, f->max - f->n, &n, NULL);
	f->n += n;
}

static void find_beneath(struct finding *f, const char *dir)
{
	size_t n = 0;
	store_linked_beneath(f->store, dir, f->paths + f->n, f->max - f->n, &n, NULL);
	f->n += n;
}

size_t links_find(struct store *store, const struct capture_item *items, size_t n, char **paths,
		  size_t max)
{
	struct finding f = {.store = store, .paths = paths, .max = max};
	for (size_t i = 0; i < n; i++) {
		const struct capture_item *item = &items[i];
		if (file_is(item) && item->entry.inst.nlink > 1)
			find(&f, item->path, file_is(item), item->entry.inst.nlink);
		if (file_left(item))
			find(&f, item->path, file_left(item), item->links_was);
		bool dir_left =
			item->outcome == CAPTURE_GONE ||
			(item->outcome == CAPTURE_CHANGED && item->entry.rec.kind != RECORD_DIR);
		if (item->was_dir && dir_left)
			find_beneath(&f, item->path);
	}
	return f.n;
}
