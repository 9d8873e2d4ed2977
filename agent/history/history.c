/* history.c - promises, and how they are held. */
#include "agent/history/history_private.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/base/log.h"
#include "agent/base/quote.h"
#include "agent/fs/beneath.h"
#include "agent/fs/copy.h"
#include "agent/fs/publish.h"

#define SETTLE_AT                                                                      \
	4096 /* objects whose place is not known to be durable: what a start looks for \
	      */

struct history *history_new(struct store *store, const struct tree *tree,
			    const struct history_keep *keep)
{
	struct history *h = x_calloc(1, sizeof(*h));
	h->store = store;
	h->tree = tree;
	pthread_mutex_init(&h->lock, NULL);
	pthread_mutex_init(&h->keep_lock, NULL);
	pthread_mutex_init(&h->batch_lock, NULL);
	pthread_cond_init(&h->batch_ended, NULL);
	history_configure(h, keep);
	return h;
}

void history_free(struct history *h)
{
	if (!h)
		return;
	pthread_mutex_destroy(&h->lock);
	pthread_mutex_destroy(&h->keep_lock);
	pthread_mutex_destroy(&h->batch_lock);
	pthread_cond_destroy(&h->batch_ended);
	free(h);
}

void history_configure(struct history *h, const struct history_keep *keep)
{
	pthread_mutex_lock(&h->keep_lock);
	h->keep = *keep;
	pthread_mutex_unlock(&h->keep_lock);
	store_history_record(h->store, keep->days > 0);
}

void history_read_keep(const struct history *h, struct history_keep *out)
{
	struct history *own = (struct history *)h; /* for its mutex */
	pthread_mutex_lock(&own->keep_lock);
	*out = h->keep;
	pthread_mutex_unlock(&own->keep_lock);
}

const struct root *history_root_at(const struct history *h, const char *at)
{
	for (size_t i = 0; i < h->tree->n; i++) {
		if (strcmp(h->tree->roots[i].at, at) == 0)
			return &h->tree->roots[i];
	}
	return NULL;
}

/* ---- keeping ----------------------------------------------------------------------------------
 */

bool history_wants(const struct history *h, const struct root *root, const char *temp)
{
	struct history_keep keep;
	struct stat st;
	if (!h)
		return false;
	history_read_keep(h, &keep);
	return keep.days > 0 && stat_name(root->stage_fd, temp, &st) == 0 && S_ISREG(st.st_mode) &&
	       (uint64_t)st.st_size <= keep.bytes;
}

void history_displacing(struct history *h)
{
	if (!h)
		return;
	pthread_mutex_lock(&h->batch_lock);
	h->batches_begun++;
	pthread_mutex_unlock(&h->batch_lock);
}

void history_displaced(struct history *h)
{
	if (!h)
		return;
	pthread_mutex_lock(&h->batch_lock);
	h->batches_ended++;
	pthread_cond_broadcast(&h->batch_ended);
	pthread_mutex_unlock(&h->batch_lock);
}

/* Those that have begun by now; were it for later ones too, a stream of batches would hold the
 * reader for as long as it lasts. */
static void wait_for_batches(struct history *h)
{
	pthread_mutex_lock(&h->batch_lock);
	uint64_t begun = h->batches_begun;
	while (h->batches_ended < begun)
		pthread_cond_wait(&h->batch_ended, &h->batch_lock);
	pthread_mutex_unlock(&h->batch_lock);
}

void history_begin(struct history *h)
{
	if (h)
		pthread_mutex_lock(&h->lock);
}

static int settle(struct history *h, struct err *err);

void history_end(struct history *h)
{
	struct err err = {0};
	if (!h)
		return;
	if (h->taken >= SETTLE_AT && settle(h, &err) < 0)
		log_warn(MODULE_HISTORY, "action=settle-later err=\"%s\"", err.msg);
	pthread_mutex_unlock(&h->lock);
}

int history_take(struct history *h, const struct root *root, const struct keep_order *order,
		 struct err *err)
{
	int r = objects_put(root, order->temp, order->hash, order->size, err);
	/* The other of two promises in one batch may have had the same bytes. */
	if (r == -ENOENT && objects_have(root, order->hash) > 0)
		r = 0;
	h->taken++;
	h->left |= r < 0;
	return r;
}

/* ---- settling ---------------------------------------------------------------------------------
 */

/* @return 1 in its place, 0 there is nothing to keep, negative errno: still in stage/ */
static int settle_one(struct history *h, const struct kept_object *object, struct err *err)
{
	char hex[HASH_HEX_MAX];
	const struct root *root = history_root_at(h, object->root_at);
	if (!root || !root->healthy)
		return -EAGAIN;
	int have = objects_have(root, object->hash);
	if (have < 0)
		return err_sys(err, -have, "look into history/");
	if (have > 0) {
		stage_discard_or_later(root, object->temp, NULL);
		return 1;
	}
	int r = objects_put(root, object->temp, object->hash, object->size, err);
	if (r != -ENOENT)
		return r < 0 ? r : 1;
	log_warn(MODULE_HISTORY,
		 "hash=%s action=forget err=\"a version that was to be kept is gone: %s\"",
		 hash_hex(hex, object->hash), err->msg);
	return 0;
}

static int sync_roots(struct history *h, const bool used[ROOT_MAX], struct err *err)
{
	int r = 0;
	for (size_t i = 0; r == 0 && i < h->tree->n; i++) {
		if (used[i])
			r = root_sync_all(&h->tree->roots[i], err);
	}
	return r;
}

/* Sorts the objects into those that have their place, those that are gone, and the rest.
 * @param waits  set when one waits for its root, which is no error */
static int settle_objects(struct history *h, struct kept_object *all, size_t n, bool *waits,
			  struct err *err)
{
	bool used[ROOT_MAX] = {false};
	size_t placed = 0, gone = 0;
	int first = 0;
	AUTO_FREE struct kept_object *in_place = x_calloc(n, sizeof(*all));
	AUTO_FREE struct kept_object *lost = x_calloc(n, sizeof(*all));
	for (size_t i = 0; i < n; i++) {
		int r = settle_one(h, &all[i], err);
		if (r > 0) {
			in_place[placed++] = all[i]; /* borrowed */
			used[history_root_at(h, all[i].root_at) - h->tree->roots] = true;
		} else if (r == 0) {
			lost[gone++] = all[i];
		} else if (r == -EAGAIN) {
			*waits = true;
		} else if (first == 0) {
			first = r;
		}
	}
	/* Without that a crash could take the new name and leave the cleared promise. */
	int r = sync_roots(h, used, err);
	if (r == 0)
		r = store_kept_settle(h->store, in_place, placed, err);
	if (r == 0)
		r = store_kept_forget(h->store, lost, gone, err);
	return r < 0 ? r : first;
}

static int settle(struct history *h, struct err *err)
{
	struct kept_object *objects;
	size_t n;
	bool waits = false;
	h->taken = 0;
	h->left = true;
	int r = store_kept_unsettled(h->store, &objects, &n, err);
	if (r == 0 && n > 0) {
		r = settle_objects(h, objects, n, &waits, err);
		kept_objects_free(objects, n);
	}
	h->left = r < 0 || waits;
	return r;
}

int history_settle(struct history *h, struct err *err)
{
	if (!h)
		return 0;
	pthread_mutex_lock(&h->lock);
	int r = settle(h, err);
	pthread_mutex_unlock(&h->lock);
	return r;
}

int history_settle_left(struct history *h, struct err *err)
{
	if (!h)
		return 0;
	pthread_mutex_lock(&h->lock);
	int r = h->left ? settle(h, err) : 0;
	pthread_mutex_unlock(&h->lock);
	return r;
}

/* When that cannot be told it is left where it is. */
bool history_claims(const char *temp, void *history)
{
	struct history *h = history;
	return store_kept_claims(h->store, temp, NULL) != 0;
}

/* ---- reading ----------------------------------------------------------------------------------
 */

/* @return 1 these are the bytes, 0 not, negative errno */
static int is_content(int fd, const uint8_t hash[HASH_LEN], uint64_t size, struct err *err)
{
	uint8_t found[HASH_LEN];
	struct stat st;
	if (fstat(fd, &st) < 0)
		return err_sys(err, errno, "look at a kept version");
	if (!S_ISREG(st.st_mode) || (uint64_t)st.st_size != size)
		return 0;
	int r = hash_content(found, fd, size, NULL, err);
	return r == -EAGAIN ? 0 : r < 0 ? r : memcmp(found, hash, HASH_LEN) == 0;
}

static void report_bad(const struct root *root, const uint8_t hash[HASH_LEN])
{
	char hex[HASH_HEX_MAX], q[QUOTED_MAX];
	log_error(MODULE_HISTORY,
		  "root=%s object=%s err=\"a kept version has other bytes than its name says: "
		  "something wrote to it or the disk is failing\" action=not-used",
		  quote_path(q, root->location), hash_hex(hex, hash));
}

static int open_object(struct history *h, const uint8_t hash[HASH_LEN], uint64_t size,
		       struct err *err)
{
	for (size_t i = 0; i < h->tree->n; i++) {
		const struct root *root = &h->tree->roots[i];
		AUTO_CLOSE int fd = root->healthy ? objects_open(root, hash) : -ENOENT;
		int good = fd < 0 ? 0 : is_content(fd, hash, size, err);
		if (good > 0)
			return STEAL_FD(fd);
		if (fd >= 0)
			report_bad(root, hash);
	}
	return -ENOENT;
}

static int open_live(struct history *h, const char *path, const uint8_t hash[HASH_LEN],
		     uint64_t size, struct err *err)
{
	const char *sub;
	const struct root *root = tree_resolve(h->tree, path, &sub);
	AUTO_CLOSE int fd =
		root->healthy ? root_open(root, sub, O_RDONLY | O_NOFOLLOW | O_NONBLOCK, 0) : -1;
	return fd >= 0 && is_content(fd, hash, size, err) > 0 ? STEAL_FD(fd) : -ENOENT;
}

int history_open_content(struct history *h, const uint8_t hash[HASH_LEN], uint64_t size,
			 const char *path, struct err *err)
{
	int fd = path ? open_live(h, path, hash, size, err) : -ENOENT;
	if (fd < 0)
		fd = open_object(h, hash, size, err);
	/* A batch may be moving it from the one place to the other: it is in stage/ then. */
	if (fd < 0) {
		wait_for_batches(h);
		fd = open_object(h, hash, size, err);
	}
	return fd < 0 ? err_set(err, -ENOENT, "no file here has these bytes any longer") : fd;
}

const char *history_where(struct history *h, const struct record *record)
{
	struct index_entry now;
	if (record->kind != RECORD_FILE)
		return "kept";
	for (size_t i = 0; i < h->tree->n; i++) {
		const struct root *root = &h->tree->roots[i];
		if (root->healthy && objects_have(root, record->hash) > 0)
			return "kept";
	}
	if (store_get(h->store, record->path, &now, NULL) < 0)
		return "missing";
	bool current = record_same_content(&now.rec, record);
	index_entry_release(&now);
	return current ? "current" : "missing";
}
