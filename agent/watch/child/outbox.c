#include "agent/watch/child/outbox.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include <utlist.h>

#include "agent/base/alloc.h"
#include "agent/base/hash_table.h"

struct outbox_item {
	struct outbox_item *prev, *next; /* in queue or resting */
	UT_hash_handle hh;		 /* CHANGED and SUBTREE only */
	enum watch_record_type type;
	uint8_t root, hint;
	bool resting;
	bool again; /* resting, and written to since */
	bool complete;
	uint64_t rested_ms; /* when the rest ends */
	uint64_t nonce;
	struct buf counts; /* COUNTS, encoded as it was */
	const char *why;
	char path[];
};

static struct outbox_item *item_new(enum watch_record_type type, uint8_t root, const char *path)
{
	size_t len = strlen(path);
	struct outbox_item *item = x_calloc(1, sizeof(*item) + len + 1);
	item->type = type;
	item->root = root;
	memcpy(item->path, path, len);
	return item;
}

static void unrest(struct outbox *box, struct outbox_item *item)
{
	box->n_again -= item->again;
	item->resting = item->again = false;
	DL_DELETE(box->resting, item);
}

static void item_free(struct outbox *box, struct outbox_item *item)
{
	if (item->type == WATCH_CHANGED || item->type == WATCH_SUBTREE)
		HASH_DEL(box->by_path, item);
	if (item->resting)
		unrest(box, item);
	else
		DL_DELETE(box->queue, item);
	buf_release(&item->counts);
	free(item);
}

void outbox_release(struct outbox *box)
{
	while (box->queue)
		item_free(box, box->queue);
	while (box->resting)
		item_free(box, box->resting);
	buf_release(&box->encoded);
	*box = (struct outbox){0};
}

/* Ahead of everything, above all of the fences: what is dropped here happened before them. */
static void collapse(struct outbox *box)
{
	struct outbox_item *item, *next;
	HASH_ITER (hh, box->by_path, item, next) {
		item_free(box, item);
	}
	item = item_new(WATCH_SUBTREE, 0, "");
	item->why = "backlog";
	HASH_ADD_KEYPTR(hh, box->by_path, item->path, 0, item);
	DL_PREPEND(box->queue, item);
	box->whole = true;
}

static struct outbox_item *find(struct outbox *box, const char *path)
{
	struct outbox_item *item;
	HASH_FIND_STR(box->by_path, path, item);
	return item;
}

static struct outbox_item *add_path(struct outbox *box, enum watch_record_type type, uint8_t root,
				    const char *path)
{
	struct outbox_item *item = item_new(type, root, path);
	HASH_ADD_KEYPTR(hh, box->by_path, item->path, strlen(item->path), item);
	DL_APPEND(box->queue, item);
	return item;
}

void outbox_changed(struct outbox *box, uint8_t root, const char *path, uint8_t hint)
{
	if (box->whole)
		return;
	struct outbox_item *item = find(box, path);
	if (!item) {
		add_path(box, WATCH_CHANGED, root, path)->hint = hint;
		if (HASH_COUNT(box->by_path) > OUTBOX_PATHS)
			collapse(box);
		return;
	}
	if (item->type == WATCH_SUBTREE)
		return;
	if (item->resting && hint == WATCH_OPEN) {
		box->n_again += !item->again;
		item->again = true;
		return;
	}
	if (item->resting) {
		unrest(box, item);
		DL_APPEND(box->queue, item);
	}
	item->hint = hint;
}

void outbox_subtree(struct outbox *box, uint8_t root, const char *path, const char *why)
{
	if (box->whole)
		return;
	struct outbox_item *item = find(box, path);
	if (!item)
		item = add_path(box, WATCH_SUBTREE, root, path);
	if (item->resting) {
		unrest(box, item);
		DL_APPEND(box->queue, item);
	}
	item->type = WATCH_SUBTREE;
	item->why = why;
	box->whole = path[0] == '\0';
	if (HASH_COUNT(box->by_path) > OUTBOX_PATHS)
		collapse(box);
}

static void add_mark(struct outbox *box, enum watch_record_type type, uint8_t root)
{
	struct outbox_item *item = item_new(type, root, "");
	DL_APPEND(box->queue, item);
}

void outbox_suspect(struct outbox *box, uint8_t root)
{
	if (!box->suspect[root])
		add_mark(box, WATCH_ROOT_SUSPECT, root);
	box->suspect[root] = true;
}

void outbox_ready(struct outbox *box)
{
	add_mark(box, WATCH_READY, 0);
}

/* Ends the rest of those whose time it is, or of all. */
static void wake(struct outbox *box, uint64_t now_ms)
{
	struct outbox_item *item, *next;
	DL_FOREACH_SAFE(box->resting, item, next)
	{
		if (item->rested_ms > now_ms)
			return;
		if (!item->again) {
			item_free(box, item);
			continue;
		}
		unrest(box, item);
		DL_APPEND(box->queue, item);
	}
}

void outbox_fence(struct outbox *box, uint64_t nonce, bool complete)
{
	wake(box, UINT64_MAX);
	add_mark(box, WATCH_FENCE, 0);
	struct outbox_item *item = box->queue->prev;
	item->nonce = nonce;
	item->complete = complete;
	box->n_fences++;
}

void outbox_counts(struct outbox *box, uint64_t directories, uint64_t watched, uint64_t overflows,
		   const char *limit)
{
	struct outbox_item *last = box->queue ? box->queue->prev : NULL;
	if (!last || last->type != WATCH_COUNTS) {
		add_mark(box, WATCH_COUNTS, 0);
		last = box->queue->prev;
	}
	last->counts.len = 0;
	watch_pipe_put_counts(&last->counts, directories, watched, overflows, limit);
}

static void encode(struct outbox *box, struct outbox_item *item)
{
	struct buf *out = &box->encoded;
	switch (item->type) {
	case WATCH_CHANGED: watch_pipe_put_changed(out, item->root, item->hint, item->path); break;
	case WATCH_SUBTREE:
		watch_pipe_put_subtree(out, item->root, item->path, item->why);
		if (item->path[0] == '\0')
			box->whole = false;
		break;
	case WATCH_FENCE:
		watch_pipe_put_fence(out, item->nonce, item->complete);
		box->n_fences--;
		break;
	case WATCH_COUNTS: buf_append(out, item->counts.data, item->counts.len); break;
	case WATCH_ROOT_SUSPECT:
		watch_pipe_put_simple(out, item->type, item->root);
		box->suspect[item->root] = false;
		break;
	case WATCH_READY: watch_pipe_put_simple(out, item->type, item->root); break;
	}
}

static void encode_some(struct outbox *box, uint64_t now_ms)
{
	while (box->queue && box->encoded.len < OUTBOX_ENCODED_MAX) {
		struct outbox_item *item = box->queue;
		encode(box, item);
		if (item->type == WATCH_CHANGED && item->hint == WATCH_OPEN) {
			DL_DELETE(box->queue, item);
			DL_APPEND(box->resting, item);
			item->resting = true;
			item->rested_ms = now_ms + OUTBOX_REST_MS;
		} else {
			item_free(box, item);
		}
	}
}

int outbox_pump(struct outbox *box, int fd, uint64_t now_ms)
{
	wake(box, now_ms);
	for (;;) {
		encode_some(box, now_ms);
		if (box->encoded.len == 0)
			return 0;
		ssize_t n = write(fd, box->encoded.data, box->encoded.len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return errno == EAGAIN ? 0 : -errno;
		buf_consume(&box->encoded, (size_t)n);
	}
}

bool outbox_is_waiting(const struct outbox *box)
{
	return box->queue || box->encoded.len > 0;
}

uint64_t outbox_next_due(const struct outbox *box)
{
	return box->n_again > 0 ? box->resting->rested_ms : UINT64_MAX;
}
