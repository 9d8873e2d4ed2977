/* capture_read.c - reading one object so that what is recorded held still while it was read. */
#include "agent/sync/capture_private.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "agent/base/clock.h"
#include "agent/fs/copy.h"
#include "agent/fs/gate.h"
#include "agent/sync/current.h"

#define GATES_OF_CONTENT (GATE_XML | GATE_JSON)

enum capture_outcome capture_why(struct capture_item *item, enum capture_outcome outcome,
				 const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(item->why, sizeof(item->why), fmt, ap);
	va_end(ap);
	return outcome;
}

static enum capture_outcome system_says(struct capture_item *item, int error)
{
	char text[80];
	return capture_why(item, CAPTURE_UNREADABLE, "%s", strerror_r(error, text, sizeof(text)));
}

enum capture_outcome capture_not_opened(struct look *look, int error)
{
	error = error < 0 ? -error : error;
	if (errno_is_absence(error))
		return CAPTURE_AGAIN;
	return system_says(look->item, error);
}

/* ---- time stamps ---------------------------------------------------------------------------- */

/* Could it be written once more with the same time stamps? Here the clock that stamps is ours: a
 * stamp far in the future (a restored file) is not given again soon. A server's clock may be ahead
 * of ours, so there the future is young; but mtime can be set at will, and ctime cannot. */
static bool is_racy(const struct root *root, const struct file_stat *st)
{
	int64_t now = clock_real_ns();
	int64_t mtime_age = now - st->mtime_ns, ctime_age = now - st->ctime_ns;
	int64_t granularity = root->remote ? RACY_REMOTE_NS : RACY_LOCAL_NS;
	if (ctime_age < granularity && (root->remote || ctime_age > -granularity))
		return true;
	return mtime_age < granularity && mtime_age > -granularity;
}

/* ---- the record ----------------------------------------------------------------------------- */

static void begin_entry(struct look *look)
{
	struct index_entry *entry = &look->item->entry;
	*entry = (struct index_entry){.inst = look->now};
	BUG_ON(meta_to_record(&entry->rec, &look->st, &look->env->policy) < 0);
	entry->rec.path = x_strdup(look->item->path);
	if (look->judgement.verdict == PROFILE_PASSAGE)
		entry->rec.mtime_ns = RECORD_NO_MTIME;
}

/* @return CAPTURE_CHANGED, or what went wrong */
static enum capture_outcome add_xattrs(struct look *look, int fd)
{
	struct buf xattrs = {0};
	struct err err = {0};
	struct record *rec = &look->item->entry.rec;
	int r = meta_read_xattrs(&xattrs, fd, &err);
	if (r == 0 && xattrs.len > 0) {
		rec->xattrs = x_memdup(xattrs.data, xattrs.len);
		rec->xattrs_len = (uint32_t)xattrs.len;
	}
	buf_release(&xattrs);
	if (r == -E2BIG) /* the last good version stays at the peers */
		return capture_why(look->item, CAPTURE_HELD, "has %s: remove some", err.msg);
	return r < 0 ? capture_why(look->item, CAPTURE_UNREADABLE, "%s", err.msg) : CAPTURE_CHANGED;
}

/* Stats again what was opened. @return true when it is no longer what look->now says */
static bool has_moved_on(struct look *look, int fd)
{
	struct stat st;
	struct file_stat now;
	if (fstat(fd, &st) < 0)
		return true;
	file_stat_from(&now, &st);
	return !file_stat_equal(&now, &look->now);
}

/* From here on look->now is what was opened, which need not be what was seen under the name. */
static bool adopt_opened(struct look *look, int fd, unsigned kind)
{
	if (fstat(fd, &look->st) < 0 || (look->st.st_mode & S_IFMT) != kind)
		return false;
	file_stat_from(&look->now, &look->st);
	return true;
}

/* ---- directories and links ------------------------------------------------------------------ */

enum capture_outcome capture_read_dir(struct look *look)
{
	AUTO_CLOSE int fd =
		root_open(look->root, look->sub, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
	if (fd < 0)
		return capture_not_opened(look, fd);
	if (!adopt_opened(look, fd, S_IFDIR))
		return CAPTURE_AGAIN;
	begin_entry(look);
	look->item->entry.flags = is_racy(look->root, &look->now) ? ENTRY_RACY : 0;
	return add_xattrs(look, fd);
}

/* A link cannot be rewritten, so it is never racy, and its descriptor pins it. */
enum capture_outcome capture_read_symlink(struct look *look)
{
	char target[RECORD_TARGET_MAX + 1];
	AUTO_CLOSE int fd = root_open(look->root, look->sub, O_PATH | O_NOFOLLOW, 0);
	if (fd < 0)
		return capture_not_opened(look, fd);
	if (!adopt_opened(look, fd, S_IFLNK))
		return CAPTURE_AGAIN;
	ssize_t n = readlinkat(fd, "", target, sizeof(target));
	if (n < 0)
		return system_says(look->item, errno);
	if (n == 0 || n > RECORD_TARGET_MAX)
		return capture_why(look->item, CAPTURE_HELD,
				   "a link to nothing or to more than %d bytes", RECORD_TARGET_MAX);
	begin_entry(look);
	look->item->entry.rec.target = x_memdup(target, (size_t)n);
	look->item->entry.rec.target_len = (uint32_t)n;
	return CAPTURE_CHANGED;
}

/* ---- files ---------------------------------------------------------------------------------- */

/* O_NONBLOCK: a FIFO put there meanwhile must not stop the worker. */
static int open_file(const struct look *look)
{
	int flags = O_RDONLY | O_NOFOLLOW | O_NONBLOCK;
	int fd = root_open(look->root, look->sub, flags | O_NOATIME, 0);
	if (fd == -EPERM) /* not its owner */
		fd = root_open(look->root, look->sub, flags, 0);
	return fd;
}

static bool is_suspect(const struct look *look)
{
	return file_is_suspect(&look->now, look->item->vouched_ns);
}

/* Did these very bytes stand elsewhere, as those of a directory that was renamed? What may have
 * been written to through memory has kept its stamps, but not its bytes. *gated: and passed the
 * gates of this path. */
static bool is_known_inode(struct look *look, uint8_t hash[HASH_LEN], bool *gated)
{
	struct index_entry found;
	*gated = false;
	if (look->item->force_read || is_suspect(look) || look->root->remote ||
	    store_find_inode(look->env->store, &look->now, &found, NULL) < 0)
		return false;
	unsigned asked = look->judgement.attributes & GATES_OF_CONTENT;
	unsigned passed = profile_judge(look->env->profile, found.rec.path, false).attributes;
	memcpy(hash, found.rec.hash, HASH_LEN);
	*gated = (asked & ~passed) == 0;
	index_entry_release(&found);
	return true;
}

/* The whole of a small file in memory. @return 0, -EAGAIN when it is not as long as it was, errno
 */
static int read_small(struct look *look, int fd)
{
	size_t size = (size_t)look->now.size, at = 0;
	look->content = x_calloc(1, size + 1);
	while (at <= size) {
		ssize_t n = pread(fd, look->content + at, size + 1 - at, (off_t)at);
		if (n < 0 && errno != EINTR)
			return -errno;
		if (n == 0)
			break;
		at += n > 0 ? (size_t)n : 0;
	}
	return at == size ? 0 : -EAGAIN;
}

static int read_and_hash(struct look *look, int fd, struct err *err)
{
	struct record *rec = &look->item->entry.rec;
	struct recent *recent = look->env->recent;
	if (!recent || !recent_has_room(recent, rec->size))
		return hash_content(rec->hash, fd, rec->size, look->env->bytes_hashed, err);
	int r = read_small(look, fd);
	if (r < 0)
		return err_sys(err, -r, "read content");
	hash_bytes(rec->hash, look->content, (size_t)rec->size);
	if (look->env->bytes_hashed)
		__atomic_add_fetch(look->env->bytes_hashed, rec->size, __ATOMIC_RELAXED);
	return 0;
}

/* What is read because nobody can tell whether it is still mapped and written to: its dirty pages
 * are handed to the disk first, which closes them to their writer, so that whatever he writes from
 * here on moves the mtime. Not waited for; a file system that does not do it is no worse off. */
static void begin_writeback(const struct look *look, int fd)
{
	if (is_suspect(look))
		sync_file_range(fd, 0, 0, SYNC_FILE_RANGE_WRITE);
}

/* @return CAPTURE_CHANGED, or what went wrong */
static enum capture_outcome add_hash(struct look *look, int fd, bool *gated)
{
	struct record *rec = &look->item->entry.rec;
	struct err err = {0};
	if (is_known_inode(look, rec->hash, gated))
		return CAPTURE_CHANGED;
	if (look->env->files_hashed)
		__atomic_add_fetch(look->env->files_hashed, 1, __ATOMIC_RELAXED);
	begin_writeback(look, fd);
	int r = read_and_hash(look, fd, &err);
	if (r == -EAGAIN)
		return CAPTURE_AGAIN;
	return r < 0 ? capture_why(look->item, CAPTURE_UNREADABLE, "%s", err.msg) : CAPTURE_CHANGED;
}

static bool was_file(const struct look *look)
{
	return look->live && look->old.rec.kind == RECORD_FILE;
}

static bool is_emptied(const struct look *look)
{
	return look->judgement.attributes & GATE_NOT_EMPTIED && look->now.size == 0 &&
	       was_file(look) && look->old.rec.size > 0;
}

/* What is already at the peers is not judged again: it is too late, and rules may have changed. */
static enum capture_outcome check_gates(struct look *look, int fd)
{
	const struct record *rec = &look->item->entry.rec;
	char why[GATE_WHY_MAX];
	int r = 0;
	if (was_file(look) && memcmp(look->old.rec.hash, rec->hash, HASH_LEN) == 0)
		return CAPTURE_CHANGED;
	if (look->judgement.attributes & GATE_XML)
		r = gate_check_xml(fd, rec->size, why);
	if (r == 0 && look->judgement.attributes & GATE_JSON)
		r = gate_check_json(fd, rec->size, why);
	if (r == -EBADMSG)
		return capture_why(look->item, CAPTURE_HELD, "%s", why);
	if (r == -EAGAIN)
		return CAPTURE_AGAIN;
	return r < 0 ? system_says(look->item, -r) : CAPTURE_CHANGED;
}

static enum capture_outcome read_opened(struct look *look, int fd)
{
	bool gated;
	begin_entry(look);
	look->item->entry.flags = is_racy(look->root, &look->now) ? ENTRY_RACY : 0;
	enum capture_outcome outcome = add_hash(look, fd, &gated);
	if (outcome == CAPTURE_CHANGED && !gated)
		outcome = check_gates(look, fd);
	if (outcome == CAPTURE_CHANGED)
		outcome = add_xattrs(look, fd);
	/* Whatever was found is of no worth if it was written meanwhile: neither a hash nor a
	 * verdict. */
	return has_moved_on(look, fd) ? CAPTURE_AGAIN : outcome;
}

/* Only what is new is going to be sent. */
static void hand_on(struct look *look, enum capture_outcome outcome)
{
	const struct record *rec = &look->item->entry.rec;
	bool is_new = !was_file(look) || memcmp(look->old.rec.hash, rec->hash, HASH_LEN) != 0;
	if (look->content && outcome == CAPTURE_CHANGED && is_new)
		recent_put(look->env->recent, rec->hash, STEAL(look->content), (size_t)rec->size);
	free(STEAL(look->content));
}

enum capture_outcome capture_read_file(struct look *look)
{
	AUTO_CLOSE int fd = open_file(look);
	if (fd < 0)
		return capture_not_opened(look, fd);
	if (!adopt_opened(look, fd, S_IFREG))
		return CAPTURE_AGAIN;
	if (is_emptied(look))
		return capture_why(look->item, CAPTURE_HELD,
				   "is empty; its last version has %llu bytes",
				   (unsigned long long)look->old.rec.size);
	enum capture_outcome outcome = read_opened(look, fd);
	hand_on(look, outcome);
	return outcome;
}
