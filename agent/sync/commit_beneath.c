/* What stood beneath a directory that something else took the place of. Its deletions come first;
 * but one may have been refused, and be offered again only later. What is there exactly as it was
 * installed is nobody's own: it goes with its directory, and not to the salvage. */
#include "agent/sync/commit_private.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "agent/fs/beneath.h"
#include "agent/fs/listing.h"

#define DEPTH_MAX 200
#define ENTRIES_MAX 20000 /* looked at; a larger one is rather kept than walked */

struct beneath {
	const struct batch *b;
	size_t left;
};

static bool is_dir_as_indexed(struct beneath *look, int parent, const char *name, const char *path,
			      unsigned depth);

static bool is_as_indexed(struct beneath *look, int parent, const char *name, const char *path,
			  const struct file_stat *now, unsigned depth)
{
	struct index_entry entry;
	if (store_get(look->b->env->store, path, &entry, NULL) < 0)
		return false;
	bool ours = !(entry.flags & ENTRY_FOREIGN);
	/* A deleted one that had to stay is looked into: what kept it may be ours. */
	bool kept = entry.rec.kind == RECORD_ABSENT && entry.flags & ENTRY_KEPT;
	bool dir = (entry.rec.kind == RECORD_DIR || kept) && S_ISDIR(now->mode);
	bool same = entry.rec.kind != RECORD_ABSENT && file_stat_equal(&entry.inst, now) &&
		    (entry.rec.kind != RECORD_FILE || entry.rec.size == now->size);
	index_entry_release(&entry);
	if (ours && dir)
		return is_dir_as_indexed(look, parent, name, path, depth);
	return ours && same;
}

static bool is_dir_as_indexed(struct beneath *look, int parent, const char *name, const char *path,
			      unsigned depth)
{
	struct listing list = {0};
	AUTO_CLOSE int fd = open_beneath(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
	bool same = fd >= 0 && depth < DEPTH_MAX && listing_read(&list, fd, NULL) == 0 &&
		    list.n <= look->left;
	look->left -= same ? list.n : 0;
	for (size_t i = 0; same && i < list.n; i++) {
		const struct listing_entry *e = &list.entries[i];
		AUTO_FREE char *child = x_asprintf("%s/%s", path, listing_name(&list, i));
		same = !e->error && !e->is_mount &&
		       is_as_indexed(look, fd, listing_name(&list, i), child, &e->stat, depth + 1);
	}
	listing_release(&list);
	return same;
}

bool displaced_is_replicated(const struct batch *b, const struct commit_op *op)
{
	struct beneath look = {.b = b, .left = ENTRIES_MAX};
	return is_dir_as_indexed(&look, op->root->stage_fd, op->row.temp, op->row.entry.rec.path,
				 0);
}
