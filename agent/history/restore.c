/* restore.c - one pass in the order of paths makes everything, a second one backwards gives the
 * directories their metadata, when nothing in them changes any more. */
#include "agent/history/restore.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/base/fault.h"
#include "agent/fs/beneath.h"
#include "agent/fs/copy.h"
#include "protocol/relpath.h"

#define PAGE_RECORDS 256 /* with attributes of the greatest size 12 MiB */

struct restoring {
	const struct restore_order *order;
	struct restore_progress *progress;
	struct restore_result *out;
	int dir;     /* order->to */
	bool *found; /* by paths: something was there */
	struct digest set;
	uint64_t records;
	uint8_t *scratch; /* RECORD_ELEMENT_MAX */
};

void restore_result_release(struct restore_result *result)
{
	for (size_t i = 0; i < RESTORE_FAILURES_MAX; i++) {
		free(result->failures[i].path);
		free(result->failures[i].why);
	}
	*result = (struct restore_result){0};
}

static void note_failure(struct restoring *r, const char *path, const char *why)
{
	if (r->out->n_failures < RESTORE_FAILURES_MAX)
		r->out->failures[r->out->n_failures] =
			(struct restore_failure){x_strdup(path), x_strdup(why)};
	r->out->n_failures++;
}

/* ---- where it goes ----------------------------------------------------------------------------
 */

static int path_of_fd(char out[PATH_MAX], int fd)
{
	char name[40];
	snprintf(name, sizeof(name), "/proc/self/fd/%d", fd);
	ssize_t len = readlink(name, out, PATH_MAX - 1);
	if (len < 0)
		return -errno;
	out[len] = '\0';
	return 0;
}

/* There it would be replicated, or be drift. */
static bool is_within_tree(const struct restoring *r)
{
	char ours[PATH_MAX], root[PATH_MAX];
	if (path_of_fd(ours, r->dir) < 0)
		return false;
	for (size_t i = 0; i < r->order->tree->n; i++) {
		const struct root *one = &r->order->tree->roots[i];
		size_t len = one->fd >= 0 && path_of_fd(root, one->fd) == 0 ? strlen(root) : 0;
		if (len > 0 && strncmp(ours, root, len) == 0 &&
		    (ours[len] == '/' || ours[len] == '\0'))
			return true;
	}
	return false;
}

static int check_empty(int fd, const char *name, struct err *err)
{
	int copy = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = copy < 0 ? NULL : fdopendir(copy);
	if (!dir) {
		if (copy >= 0)
			close(copy);
		return err_sys(err, errno, "read %s", name);
	}
	int n = 0;
	while (n <= 2 && readdir(dir))
		n++;
	closedir(dir);
	return n <= 2 ? 0 : err_set(err, -EEXIST, "%s is not empty", name);
}

static int open_target(struct restoring *r, struct err *err)
{
	const char *to = r->order->to;
	if (*to != '/')
		return err_set(err, -EINVAL, "%s is not an absolute path", to);
	bool made = mkdir(to, 0700) == 0;
	if (!made && errno != EEXIST)
		return err_sys(err, errno, "make %s", to);
	r->dir = open(to, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (r->dir < 0)
		return err_sys(err, errno, "open %s", to);
	if (r->order->rehearsal || !is_within_tree(r))
		return check_empty(r->dir, to, err);
	if (made)
		rmdir(to);
	return err_set(err, -EPERM, "%s lies within the replicated tree", to);
}

/* ---- one record -------------------------------------------------------------------------------
 */

static int open_parent(const struct restoring *r, const char *path)
{
	AUTO_FREE char *parent = x_strndup(path, relpath_parent_len(path));
	return open_beneath(r->dir, parent, O_PATH | O_DIRECTORY, 0);
}

static int write_file(const struct restoring *r, const struct record *rec, int in, int out,
		      struct err *err)
{
	uint8_t hash[HASH_LEN];
	int c = copy_content_hashed(hash, in, out, rec->size, true, err);
	if (c == 0 && memcmp(hash, rec->hash, HASH_LEN) != 0)
		c = err_set(err, -EBADMSG, "what was written has another hash");
	return c < 0 ? c : meta_apply(out, rec, rec->mtime_ns, &r->order->policy, err);
}

static int put_file(struct restoring *r, const struct record *rec, int parent, struct err *err)
{
	AUTO_CLOSE int in =
		history_open_content(r->order->history, rec->hash, rec->size, rec->path, err);
	if (in < 0)
		return in;
	int hit = fault_point("restore file");
	AUTO_CLOSE int out = hit ? -1
				 : openat(parent, relpath_name(rec->path),
					  O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (out < 0)
		return err_sys(err, hit ? hit : errno, "create the file");
	int w = write_file(r, rec, in, out, err);
	if (w < 0) {
		unlinkat(parent, relpath_name(rec->path), 0);
		return w;
	}
	r->out->files++;
	r->out->bytes += rec->size;
	r->progress->files++;
	r->progress->bytes += rec->size;
	return 0;
}

static int put_link(struct restoring *r, const struct record *rec, int parent, struct err *err)
{
	AUTO_FREE char *target = x_strndup((const char *)rec->target, rec->target_len);
	if (symlinkat(target, parent, relpath_name(rec->path)) < 0)
		return err_sys(err, errno, "create the link");
	r->out->links++;
	return meta_apply_symlink(parent, relpath_name(rec->path), rec, &r->order->policy, err);
}

static int put_dir(struct restoring *r, const struct record *rec, int parent, struct err *err)
{
	if (mkdirat(parent, relpath_name(rec->path), 0700) < 0)
		return err_sys(err, errno, "make the directory");
	r->out->directories++;
	return 0;
}

static int put_record(struct restoring *r, const struct record *rec, struct err *err)
{
	if (*rec->path == '\0')
		return 0; /* r->dir itself */
	AUTO_CLOSE int parent = open_parent(r, rec->path);
	if (parent < 0)
		return err_sys(err, -parent, "open the directory it stands in");
	switch (rec->kind) {
	case RECORD_FILE: return put_file(r, rec, parent, err);
	case RECORD_SYMLINK: return put_link(r, rec, parent, err);
	case RECORD_DIR: return put_dir(r, rec, parent, err);
	default: return err_set(err, -ENOENT, "there was nothing");
	}
}

/* ---- the tree of a barrier --------------------------------------------------------------------
 */

/* What was asked for, and the directories on the way to it. */
static bool is_selected(struct restoring *r, const struct record *rec)
{
	const struct restore_order *order = r->order;
	bool selected = order->n_paths == 0;
	for (size_t i = 0; i < order->n_paths; i++) {
		const char *path = order->paths[i];
		if (relpath_is_within(rec->path, path))
			selected = r->found[i] = true;
		else if (*rec->path && rec->kind == RECORD_DIR &&
			 relpath_is_within(path, rec->path))
			selected = true;
	}
	return selected;
}

static void count_element(struct restoring *r, const struct record *rec)
{
	uint8_t element[DIGEST_STATE_LEN];
	size_t len =
		record_element(r->scratch, RECORD_ELEMENT_MAX, rec, r->out->barrier.with_owner);
	hash_expand(element, sizeof(element), r->scratch, len);
	digest_add(&r->set, element);
	r->records++;
}

/* An error of the whole ends everything; one of a path is noted, and the digest will not match. */
static int restore_one(struct restoring *r, const struct record *rec, struct err *err)
{
	struct err why = {0};
	if (is_selected(r, rec) && put_record(r, rec, &why) < 0) {
		note_failure(r, rec->path, why.msg);
		if (why.code == -ENOSPC || why.code == -EDQUOT || why.code == -EROFS)
			return err_set(err, why.code, "%s", why.msg);
		return 0;
	}
	count_element(r, rec);
	return 0;
}

static int finish_dir(struct restoring *r, const struct record *rec, struct err *err)
{
	struct err why = {0};
	(void)err;
	if (rec->kind != RECORD_DIR || !is_selected(r, rec))
		return 0;
	AUTO_CLOSE int fd = open_beneath(r->dir, rec->path, O_RDONLY | O_DIRECTORY, 0);
	int m = fd < 0 ? err_sys(&why, -fd, "open the directory")
		       : meta_apply(fd, rec, rec->mtime_ns, &r->order->policy, &why);
	if (m < 0 && fd >= 0) /* one that could not be made is named already */
		note_failure(r, rec->path, why.msg);
	return 0;
}

typedef int record_verb(struct restoring *r, const struct record *rec, struct err *err);

static int act_on_page(struct restoring *r, record_verb *act, struct index_entry *page, size_t n,
		       struct err *err)
{
	int result = 0;
	for (size_t i = 0; result == 0 && i < n; i++) {
		result = act(r, &page[i].rec, err);
		if (result == 0 && r->progress->cancelled)
			result = err_set(err, -ECANCELED, "cancelled");
	}
	return result;
}

static int walk(struct restoring *r, record_verb *act, bool backwards, struct err *err)
{
	struct index_entry page[PAGE_RECORDS];
	AUTO_FREE char *bound = x_strdup("");
	size_t n;
	int result;
	do {
		const struct history_range range = {.lo = backwards ? "" : bound,
						    .hi = backwards ? bound : "",
						    .backwards = backwards};
		result = store_history_page(r->order->store, r->out->barrier.txn, &range, page,
					    PAGE_RECORDS, &n, err);
		if (result == 0)
			result = act_on_page(r, act, page, n, err);
		if (n > 0) {
			free(bound);
			bound = x_asprintf(backwards ? "%s" : "%s\x01", page[n - 1].rec.path);
		}
		for (size_t i = 0; i < n; i++)
			index_entry_release(&page[i]);
		/* Nothing stands before the tree's own path, which as a bound would mean none. */
	} while (result == 0 && n == PAGE_RECORDS && *bound);
	return result;
}

static void judge_digest(struct restoring *r)
{
	uint8_t saved[DIGEST_STATE_LEN];
	struct restore_result *out = r->out;
	digest_save(saved, &r->set);
	hash_bytes(out->digest, saved, sizeof(saved));
	out->digest_matches = memcmp(out->digest, out->barrier.digest, HASH_LEN) == 0 &&
			      r->records == out->barrier.records;
}

static int restore_barrier(struct restoring *r, struct err *err)
{
	const struct restore_order *order = r->order;
	AUTO_FREE bool *found = r->found = x_calloc(order->n_paths, sizeof(*found));
	AUTO_FREE uint8_t *scratch = x_calloc(1, RECORD_ELEMENT_MAX);
	r->scratch = scratch;
	int result = walk(r, restore_one, false, err);
	if (result == 0)
		result = walk(r, finish_dir, true, err);
	for (size_t i = 0; result == 0 && i < order->n_paths; i++) {
		if (!found[i])
			note_failure(r, order->paths[i], "was not there at that time");
	}
	judge_digest(r);
	return result;
}

/* ---- one version ------------------------------------------------------------------------------
 */

static int make_parents(struct restoring *r, const char *path, struct err *err)
{
	AUTO_FREE char *at = x_strdup(path);
	for (char *slash = strchr(at, '/'); slash; slash = strchr(slash + 1, '/')) {
		*slash = '\0';
		int dir = open_parent(r, at);
		int made = dir < 0 ? dir : mkdirat(dir, relpath_name(at), 0700) < 0 ? -errno : 0;
		if (dir >= 0)
			close(dir);
		if (made < 0)
			return err_sys(err, -made, "make a directory");
		*slash = '/';
	}
	return 0;
}

static int restore_version(struct restoring *r, struct history_version *version, struct err *err)
{
	struct err why = {0};
	const struct record *rec = &version->entry.rec;
	int result = make_parents(r, rec->path, err);
	if (result == 0 && put_record(r, rec, &why) < 0)
		note_failure(r, rec->path, why.msg);
	else if (result == 0 && rec->kind == RECORD_DIR) {
		AUTO_CLOSE int fd = open_beneath(r->dir, rec->path, O_RDONLY | O_DIRECTORY, 0);
		if (fd < 0 || meta_apply(fd, rec, rec->mtime_ns, &r->order->policy, &why) < 0)
			note_failure(r, rec->path, fd < 0 ? "cannot be opened" : why.msg);
	}
	return result;
}

/* ---- all of it --------------------------------------------------------------------------------
 */

static int sync_target(const struct restoring *r, struct err *err)
{
	if (r->order->rehearsal)
		return 0;
	int hit = fault_point("sync restored");
	if (hit || syncfs(r->dir) < 0)
		return err_sys(err, hit ? hit : errno, "sync %s", r->order->to);
	return 0;
}

static int find(struct restoring *r, struct history_version *version, struct err *err)
{
	const struct restore_order *order = r->order;
	if (order->version == 0)
		return store_history_barrier(order->store, order->at_ns, &r->out->barrier, err);
	BUG_ON(order->n_paths != 1);
	return store_history_version(order->store, order->paths[0], order->version, version, err);
}

int restore_run(struct restore_result *out, const struct restore_order *order,
		struct restore_progress *progress, struct err *err)
{
	struct restoring r = {.order = order, .progress = progress, .out = out, .dir = -1};
	struct history_version version = {0};
	/* Before anything is made: asking for a time that is not kept leaves no trace. */
	int result = find(&r, &version, err);
	if (result == 0)
		result = open_target(&r, err);
	if (result == 0)
		result = order->version ? restore_version(&r, &version, err)
					: restore_barrier(&r, err);
	if (result == 0)
		result = sync_target(&r, err);
	history_version_release(&version);
	if (r.dir >= 0)
		close(r.dir);
	return result;
}
