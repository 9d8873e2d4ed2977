/* mend_look.c - in what a path differs from its record: by its bytes, not by its stat alone. */
#include "agent/sync/mend_private.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/base/clock.h"
#include "agent/fs/copy.h"
#include "agent/fs/listing.h"
#include "agent/sync/capture.h" /* RACY_* */
#include "agent/sync/current.h"

#define BENEATH_MAX                                                                  \
	20000 /* entries of a directory that are looked at before it is moved as one \
	       */
#define DEPTH_MAX 64

static void is_drift(struct mend *m, enum mend_way way, const char *what)
{
	m->way = way;
	snprintf(m->item->what, sizeof(m->item->what), "%s", what);
}

/* ---- metadata ------------------------------------------------------------------------------- */

static bool has_xattrs(const struct mend *m, int fd)
{
	struct buf found = {0};
	const struct record *rec = &m->entry.rec;
	bool same = meta_read_xattrs(&found, fd, NULL) == 0 && found.len == rec->xattrs_len &&
		    (found.len == 0 || memcmp(found.data, rec->xattrs, found.len) == 0);
	buf_release(&found);
	return same;
}

static uint32_t installed_mode(const struct index_entry *entry)
{
	bool known = entry->inst.mode != 0 && entry->inst.ctime_ns != 0;
	return (known ? entry->inst.mode : entry->rec.mode) & 07777;
}

static bool has_owner(const struct mend *m)
{
	const struct file_stat *then = &m->entry.inst;
	return m->env->policy.ownership == OWNERSHIP_IGNORE || then->ctime_ns == 0 ||
	       (m->now.uid == then->uid && m->now.gid == then->gid);
}

static bool has_mtime(const struct mend *m)
{
	if (m->entry.rec.kind == RECORD_DIR && m->entry.rec.mtime_ns == 0)
		return true;
	return m->now.mtime_ns == entry_installed_mtime(&m->entry);
}

/* @param fd  of a file or directory; -1 for a link */
static void look_at_metadata(struct mend *m, int fd)
{
	char what[80];
	bool dir = m->entry.rec.kind == RECORD_DIR;
	enum mend_way way = dir ? WAY_COMMIT : WAY_METADATA;
	uint32_t then = installed_mode(&m->entry), now = m->now.mode & 07777;
	if (fd >= 0 && then != now) {
		snprintf(what, sizeof(what), "mode %04o became %04o", then, now);
		is_drift(m, way, what);
	} else if (!has_owner(m)) {
		is_drift(m, way, "owner changed");
	} else if (fd >= 0 && !has_xattrs(m, fd)) {
		is_drift(m, way, "attributes or ACL changed");
	} else if (!has_mtime(m)) {
		is_drift(m, way, "mtime changed");
		m->only_time = dir;
	} else {
		m->way = WAY_TAKE_OVER;
	}
}

/* ---- content -------------------------------------------------------------------------------- */

/* Written once more within the same tick of the clock it would look the same. */
static bool is_too_young(const struct mend *m)
{
	int64_t age = clock_real_ns() - m->now.ctime_ns;
	int64_t granularity = m->root->remote ? RACY_REMOTE_NS : RACY_LOCAL_NS;
	return age < granularity && age > -granularity;
}

static bool is_still(const struct mend *m, int fd)
{
	struct stat st;
	struct file_stat now;
	if (fstat(fd, &st) < 0)
		return false;
	file_stat_from(&now, &st);
	return file_stat_equal(&now, &m->now);
}

/* What forbids its owner to read it gets its mode back, which is part of the mending. */
static bool open_for_owner(const struct mend *m)
{
	const char *name;
	AUTO_CLOSE int parent = root_open_parent(m->root, m->sub, &name);
	return parent >= 0 && fchmodat(parent, name, installed_mode(&m->entry) | S_IRUSR,
				       AT_SYMLINK_NOFOLLOW) == 0;
}

/* Somebody else's, whom we cannot tell to let us in: whatever it holds, it is not as installed. */
static bool is_closed_to_us(const struct mend *m, int error)
{
	return error == -EACCES && m->entry.rec.kind == RECORD_FILE && !m->item->report_only &&
	       !open_for_owner(m);
}

static void not_opened(struct mend *m, int error)
{
	char text[80];
	if (errno_is_absence(error)) {
		mend_end(m, MEND_AGAIN, "it went away");
		return;
	}
	if (is_closed_to_us(m, error)) {
		is_drift(m, WAY_COMMIT, "it cannot be read any longer");
		return;
	}
	snprintf(m->item->what, sizeof(m->item->what), "it cannot be read any longer");
	mend_end(m, MEND_FAILED, "%s", strerror_r(-error, text, sizeof(text)));
}

static void look_at_file(struct mend *m)
{
	uint8_t hash[HASH_LEN];
	struct err err = {0};
	const struct record *rec = &m->entry.rec;
	if (m->now.size != rec->size) {
		is_drift(m, WAY_COMMIT, "content changed");
		return;
	}
	AUTO_CLOSE int fd = root_open(m->root, m->sub, O_RDONLY | O_NOFOLLOW | O_NONBLOCK, 0);
	if (fd < 0) {
		not_opened(m, fd);
		return;
	}
	if (!is_still(m, fd)) {
		mend_end(m, MEND_AGAIN, "it is changing");
		return;
	}
	int r = hash_content(hash, fd, rec->size, NULL, &err);
	if (r < 0 && r != -EAGAIN)
		mend_end(m, MEND_FAILED, "%s", err.msg);
	else if (r == 0 && memcmp(hash, rec->hash, HASH_LEN) != 0)
		is_drift(m, WAY_COMMIT, "content changed");
	else if (r < 0 || is_too_young(m) || !is_still(m, fd))
		mend_end(m, MEND_AGAIN, "it is changing");
	else
		look_at_metadata(m, fd);
}

static void look_at_link(struct mend *m)
{
	char target[RECORD_TARGET_MAX + 1];
	const struct record *rec = &m->entry.rec;
	AUTO_CLOSE int fd = root_open(m->root, m->sub, O_PATH | O_NOFOLLOW, 0);
	if (fd < 0) {
		not_opened(m, fd);
		return;
	}
	ssize_t len = readlinkat(fd, "", target, sizeof(target));
	if (len < 0 || (size_t)len != rec->target_len ||
	    memcmp(target, rec->target, rec->target_len) != 0)
		is_drift(m, WAY_COMMIT, "the link points elsewhere");
	else
		look_at_metadata(m, -1);
}

static void look_at_dir(struct mend *m)
{
	AUTO_CLOSE int fd = root_open(m->root, m->sub, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
	if (fd < 0)
		not_opened(m, fd);
	else
		look_at_metadata(m, fd);
}

/* ---- what nobody replicated ------------------------------------------------------------------ */

static bool is_ours(const struct mend *m, const struct listing_entry *e, const char *path)
{
	if (e->error || e->is_mount)
		return false;
	bool is_dir = S_ISDIR(e->stat.mode);
	enum profile_verdict verdict = profile_judge(m->env->profile, path, is_dir).verdict;
	return verdict == PROFILE_REPLICATE || (is_dir && verdict == PROFILE_PASSAGE);
}

/* Its deletion, too, will come: the directory's has only been faster. */
static bool is_replicated(const struct mend *m, const char *path)
{
	struct index_entry entry;
	if (store_get(m->env->store, path, &entry, NULL) < 0)
		return false;
	bool live = entry.rec.kind != RECORD_ABSENT && !(entry.flags & ENTRY_FOREIGN);
	index_entry_release(&entry);
	return live;
}

/* Is all that is beneath what the profile would replicate, and nobody did? Then it is moved as one.
 */
static bool all_is_ours(const struct mend *m, const char *path, unsigned depth, size_t *left)
{
	const char *sub;
	struct listing list = {0};
	const struct root *root = tree_resolve(m->env->tree, path, &sub);
	AUTO_CLOSE int fd = root_open(root, sub, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
	bool ours = fd >= 0 && depth < DEPTH_MAX && listing_read(&list, fd, NULL) == 0 &&
		    list.n <= *left;
	*left -= ours ? list.n : 0;
	for (size_t i = 0; ours && i < list.n; i++) {
		AUTO_FREE char *child = x_asprintf("%s/%s", path, listing_name(&list, i));
		ours = is_ours(m, &list.entries[i], child) && !is_replicated(m, child);
		if (ours && S_ISDIR(list.entries[i].stat.mode))
			ours = all_is_ours(m, child, depth + 1, left);
	}
	listing_release(&list);
	return ours;
}

/* A directory with something in it that is none of our business stays; what is ours in it is looked
 * at by itself. */
static void look_at_added(struct mend *m)
{
	size_t left = BENEATH_MAX;
	const char *path = m->item->path;
	m->item->was_added = true;
	if (!S_ISDIR(m->now.mode))
		is_drift(m, WAY_COMMIT, "nobody replicated it");
	else if (!tree_leads_to_root(m->env->tree, path) && all_is_ours(m, path, 0, &left))
		is_drift(m, WAY_COMMIT, "nobody replicated the directory");
	else
		mend_end(m, MEND_MATCHES, "%s", "");
}

/* ---- any of them ----------------------------------------------------------------------------- */

static const char *kind_word(uint32_t mode)
{
	return S_ISDIR(mode)   ? "a directory took its place"
	       : S_ISLNK(mode) ? "a link took its place"
	       : S_ISREG(mode) ? "a file took its place"
			       : "something else took its place";
}

void mend_look(struct mend *m)
{
	enum record_kind kind = current_kind(m->now.mode);
	if (!m->live)
		look_at_added(m);
	else if (m->now.mode == 0)
		is_drift(m, WAY_COMMIT, "it is missing");
	else if (kind != m->entry.rec.kind)
		is_drift(m, WAY_COMMIT, kind_word(m->now.mode));
	else if (kind == RECORD_FILE)
		look_at_file(m);
	else if (kind == RECORD_SYMLINK)
		look_at_link(m);
	else
		look_at_dir(m);
}
