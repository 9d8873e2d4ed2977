/* prune.c - the end of kept versions: the oldest first, by age and by what they take; and of
 * objects that nobody knows (of a crash between catalogue and disk, of a state directory that was
 * put back or made anew). */
#include "agent/history/history_private.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "agent/base/clock.h"
#include "agent/base/log.h"
#include "agent/fs/publish.h"

#define PRUNE_ROWS 256
#define ROOM_BYTES (512ull << 20) /* left free on a disk that holds versions, ... */
#define ROOM_PERCENT 10		  /* ... or so much of a small one */
#define SWEEP_NAMES \
	4096 /* of one directory at a time; what is left over waits for the next round */
#define NS_PER_DAY (86400ll * 1000000000)

/* The present goes before the past: how much of a root's file system is kept free of versions. */
static uint64_t room_missing(const struct root *root)
{
	struct statvfs fs;
	if (!root->healthy || fstatvfs(root->own_fd, &fs) < 0)
		return 0;
	uint64_t spare = (uint64_t)fs.f_blocks * fs.f_frsize / 100 * ROOM_PERCENT;
	uint64_t left = (uint64_t)fs.f_bavail * fs.f_frsize;
	spare = spare < ROOM_BYTES ? spare : ROOM_BYTES;
	return left < spare ? spare - left : 0;
}

/* What versions may take: as much as is configured, or as leaves the disk its room. */
static uint64_t bytes_allowed(const struct history *h, const struct history_keep *keep,
			      bool *give_way)
{
	struct history_counts now;
	uint64_t missing = 0;
	store_history_counts(h->store, &now);
	for (size_t i = 0; i < h->tree->n; i++) {
		uint64_t here = room_missing(&h->tree->roots[i]);
		missing = here > missing ? here : missing;
	}
	uint64_t used = now.bytes + now.versions * HISTORY_ROW_BYTES;
	uint64_t fits = missing == 0 ? UINT64_MAX : used > missing ? used - missing : 0;
	*give_way = fits < keep->bytes;
	return keep->days == 0 ? 0 : *give_way ? fits : keep->bytes;
}

bool history_exceeds(const struct history *h)
{
	struct history_keep keep;
	struct history_counts now;
	bool give_way;
	history_read_keep(h, &keep);
	store_history_counts(h->store, &now);
	return now.bytes + now.versions * HISTORY_ROW_BYTES > bytes_allowed(h, &keep, &give_way);
}

static int remove_freed(struct history *h, const struct kept_object *freed, size_t n,
			struct err *err)
{
	int first = 0;
	for (size_t i = 0; i < n; i++) {
		const struct root *root = history_root_at(h, freed[i].root_at);
		if (!root)
			continue;
		if (*freed[i].temp) /* promised, and perhaps never taken from there */
			stage_discard_or_later(root, freed[i].temp, NULL);
		int r = root->healthy ? objects_remove(root, freed[i].hash, err) : 0;
		first = first < 0 ? first : r; /* what stays is an orphan, and swept */
	}
	return first;
}

/* @return 1 there is more, 0, negative errno */
static int prune_rows(struct history *h, bool by_age, struct err *err)
{
	struct history_keep keep;
	struct kept_object *freed;
	size_t n;
	bool more, give_way = false;
	history_read_keep(h, &keep);
	struct history_limits limits = {.oldest_ns = INT64_MAX};
	if (keep.days > 0) {
		limits.oldest_ns = by_age ? clock_real_ns() - keep.days * NS_PER_DAY : INT64_MIN;
		limits.max_bytes = bytes_allowed(h, &keep, &give_way);
	}
	int r = store_history_prune(h->store, &limits, PRUNE_ROWS, &freed, &n, &more, err);
	if (r < 0)
		return r;
	r = remove_freed(h, freed, n, err);
	kept_objects_free(freed, n);
	if (n > 0 && give_way)
		log_warn(MODULE_HISTORY, "action=prune err=\"the disk is nearly full: the oldest "
					 "versions give way\"");
	else if (n > 0)
		log_debug(MODULE_HISTORY, "pruned=%zu", n);
	return r < 0 ? r : more;
}

/* ---- orphans ----------------------------------------------------------------------------------
 */

static int judge_name(struct history *h, const struct root *root, int dir, const char *name,
		      struct err *err)
{
	uint8_t hash[HASH_LEN];
	int known =
		hash_from_hex(hash, name) < 0 ? 0 : store_kept_find(h->store, hash, root->at, err);
	if (known != 0)
		return known < 0 ? known : 0;
	log_info(MODULE_HISTORY,
		 "object=%.70s action=remove why=\"the catalogue does not know it\"", name);
	return unlinkat(dir, name, 0) < 0 && errno != ENOENT
		       ? err_sys(err, errno, "remove a kept version that nobody knows")
		       : 0;
}

static int sweep_dir(struct history *h, const struct root *root, uint8_t prefix, struct err *err)
{
	int fd = objects_open_dir(root, prefix, false);
	if (fd < 0)
		return fd == -ENOENT ? 0 : err_sys(err, -fd, "open history/");
	DIR *dir = fdopendir(fd);
	if (!dir) {
		close(fd);
		return err_sys(err, ENOMEM, "read history/");
	}
	int r = 0;
	struct dirent *e;
	for (size_t n = 0; r == 0 && n < SWEEP_NAMES && (e = readdir(dir)); n++) {
		if (e->d_name[0] != '.')
			r = judge_name(h, root, dirfd(dir), e->d_name, err);
	}
	closedir(dir);
	return r;
}

/* One directory of one root. @return 1 there are more in this round, 0 the round is over */
static int sweep(struct history *h, struct err *err)
{
	const struct root *root = &h->tree->roots[h->sweep_root];
	int r = root->healthy ? sweep_dir(h, root, (uint8_t)h->sweep_at, err) : 0;
	if (++h->sweep_at == PREFIXES) {
		h->sweep_at = 0;
		h->sweep_root = (h->sweep_root + 1) % h->tree->n;
	}
	return r < 0 ? r : h->sweep_at != 0 || h->sweep_root != 0;
}

int history_prune(struct history *h, bool by_age, struct err *err)
{
	pthread_mutex_lock(&h->lock);
	/* Rows at the beginning of a round, which may be many steps; then the directories. */
	int r = h->sweep_at == 0 && h->sweep_root == 0 ? prune_rows(h, by_age, err) : 0;
	if (r == 0)
		r = sweep(h, err);
	pthread_mutex_unlock(&h->lock);
	return r;
}
