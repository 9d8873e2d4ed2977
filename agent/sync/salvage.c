#include "agent/sync/salvage_private.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/base/fault.h"
#include "agent/base/log.h"
#include "agent/base/quote.h"
#include "agent/fs/beneath.h"
#include "agent/fs/copy.h"
#include "agent/fs/publish.h"
#include "protocol/relpath.h"

/* ---- finding ----------------------------------------------------------------------------------
 */

const struct root *salvage_root(const struct tree *tree, const char *at)
{
	for (size_t i = 0; i < tree->n; i++) {
		if (strcmp(tree->roots[i].at, at) == 0)
			return &tree->roots[i];
	}
	return NULL;
}

char *salvage_location(const struct tree *tree, const struct salvage_row *row)
{
	const struct root *root = salvage_root(tree, row->root_at);
	if (!root)
		return NULL;
	return x_asprintf("%s/" RELPATH_OWN_DIR "/salvage/%s/%s", root->location, row->id,
			  relpath_name(row->path));
}

/* salvage/<id>, opened. */
static int open_dir_of(const struct root *root, const char *id)
{
	return open_beneath(root->salvage_fd, id, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
}

/* @return 1 it is in the salvage, 0 it is not, negative errno */
static int has_arrived(const struct root *root, const struct salvage_row *row)
{
	struct stat st;
	AUTO_CLOSE int dir = open_dir_of(root, row->id);
	int r = dir < 0 ? dir : stat_name(dir, relpath_name(row->path), &st);
	return r == 0 ? 1 : r == -ENOENT ? 0 : r;
}

/* ---- after a start ----------------------------------------------------------------------------
 */

static int recover_row(struct store *store, const struct tree *tree, const struct salvage_row *row,
		       struct err *err)
{
	const struct root *root = salvage_root(tree, row->root_at);
	if (!root || !root->healthy)
		return 0;
	int r = has_arrived(root, row);
	if (row->complete && r != 0)
		return 0;
	if (r < 0)
		return err_sys(err, -r, "look at salvage/%s", row->id);
	if (r == 0) {
		if (row->complete)
			log_warn("salvage",
				 "id=%s action=forget reason=\"it is not there any longer\"",
				 row->id);
		return salvage_forget(store, root, row, err);
	}
	r = salvage_write_manifest(root, row, err);
	if (r < 0)
		return r;
	AUTO_CLOSE int dir = open_dir_of(root, row->id);
	int fault = fault_point("sync salvage");
	if (fault || fsync(dir) < 0 || fsync(root->salvage_fd) < 0)
		return err_sys(err, fault ? fault : errno, "sync salvage/%s", row->id);
	return store_salvage_end(store, row->id, err);
}

int salvage_recover(struct store *store, const struct tree *tree, struct err *err)
{
	struct salvage_row *rows;
	size_t n;
	int r = store_salvage_list(store, &rows, &n, err);
	if (r < 0)
		return r;
	for (size_t i = 0; r == 0 && i < n; i++)
		r = recover_row(store, tree, &rows[i], err);
	salvage_rows_free(rows, n);
	return r;
}

/* ---- giving back ------------------------------------------------------------------------------
 */

struct giving {
	int from_dir;	  /* salvage/<id> */
	const char *name; /* in it */
	int to_dir;
	const char *to_name;
};

/* Bytes, attributes, owner where allowed, mode, times. */
static int copy_file(int in, int out, const struct stat *st, struct err *err)
{
	struct buf xattrs = {0};
	struct record record = {0};
	struct meta_policy policy = {.ownership = OWNERSHIP_PRESERVE, .allow_setid = true};
	int r = copy_content(in, out, (uint64_t)st->st_size, false, err);
	if (r == 0)
		r = meta_read_xattrs(&xattrs, in, err);
	if (r == 0)
		r = meta_to_record(&record, st, &policy);
	record.xattrs = xattrs.data;
	record.xattrs_len = (uint32_t)xattrs.len;
	if (r == 0)
		r = meta_apply(out, &record, record.mtime_ns, &policy, err);
	if (r == 0 && fsync(out) < 0)
		r = err_sys(err, errno, "sync the copy");
	buf_release(&xattrs);
	return r;
}

static int copy_link(const struct giving *g, const struct stat *st, struct err *err)
{
	char target[PATH_MAX];
	ssize_t len = readlinkat(g->from_dir, g->name, target, sizeof(target) - 1);
	if (len < 0)
		return err_sys(err, errno, "read the link");
	target[len] = '\0';
	if (symlinkat(target, g->to_dir, g->to_name) < 0)
		return err_sys(err, errno, "create the link");
	struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, st->st_mtim};
	utimensat(g->to_dir, g->to_name, times, AT_SYMLINK_NOFOLLOW);
	return 0;
}

static int copy_object(const struct giving *g, struct err *err)
{
	struct stat st;
	int r = stat_name(g->from_dir, g->name, &st);
	if (r < 0)
		return err_sys(err, -r, "look at the saved object");
	if (S_ISLNK(st.st_mode))
		return copy_link(g, &st, err);
	if (!S_ISREG(st.st_mode))
		return err_set(err, -EXDEV,
			       "a directory is given back only within its own file system: copy it "
			       "from where `salvage show` says it is");
	AUTO_CLOSE int in =
		open_beneath(g->from_dir, g->name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK, 0);
	if (in < 0)
		return err_sys(err, -in, "open the saved file");
	AUTO_CLOSE int out = openat(g->to_dir, g->to_name,
				    O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (out < 0)
		return err_sys(err, errno, "create the copy");
	r = copy_file(in, out, &st, err);
	if (r < 0)
		unlinkat(g->to_dir, g->to_name, 0);
	return r;
}

/* A rename where that is possible, else a copy, of which the original is removed when it is
 * durable. */
static int give(const struct giving *g, struct err *err)
{
	int fault = fault_point("restore from salvage");
	if (fault)
		return err_sys(err, fault, "restore from the salvage");
	if (renameat2(g->from_dir, g->name, g->to_dir, g->to_name, RENAME_NOREPLACE) == 0)
		return 0;
	if (errno != EXDEV && errno != EINVAL && errno != ENOSYS)
		return err_sys(err, errno, "restore from the salvage");
	int r = copy_object(g, err);
	if (r < 0)
		return r;
	if (fsync(g->to_dir) < 0)
		return err_sys(err, errno, "sync the directory");
	unlinkat(g->from_dir, g->name, 0);
	return 0;
}

/* Beneath its root, so that no link leads elsewhere. */
static int open_former_place(const struct tree *tree, const struct salvage_row *row,
			     struct giving *g, char **out, struct err *err)
{
	char q[QUOTED_MAX];
	const char *sub;
	const struct root *root = tree_resolve(tree, row->path, &sub);
	g->to_dir = root_open_parent(root, sub, &g->to_name);
	if (g->to_dir < 0)
		return err_sys(err, -g->to_dir, "open the directory of %s",
			       quote_path(q, row->path));
	*out = x_asprintf("%s/%s", root->location, sub);
	return 0;
}

static int open_new_place(const char *to, struct giving *g, char **out, struct err *err)
{
	char q[QUOTED_MAX];
	const char *slash = strrchr(to, '/');
	if (*to != '/' || !slash[1])
		return err_set(err, -EINVAL, "%s is not an absolute path of a file",
			       quote_path(q, to));
	AUTO_FREE char *dir = x_strndup(to, slash == to ? 1 : (size_t)(slash - to));
	g->to_dir = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	g->to_name = slash + 1;
	if (g->to_dir < 0)
		return err_sys(err, errno, "open %s", quote_path(q, dir));
	*out = x_strdup(to);
	return 0;
}

/* The descriptor of a directory opened for its path only cannot be synced. */
static int sync_place(int dir, struct err *err)
{
	AUTO_CLOSE int fd = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 || fsync(fd) < 0)
		return err_sys(err, errno, "sync the directory");
	return 0;
}

int salvage_restore(char **out, struct store *store, const struct tree *tree,
		    const struct salvage_row *row, const char *to, struct err *err)
{
	const struct root *root = salvage_root(tree, row->root_at);
	if (!root || !root->healthy)
		return err_set(err, -ESTALE, "the root that holds it is not there");
	AUTO_CLOSE int from = open_dir_of(root, row->id);
	if (from < 0)
		return err_sys(err, -from, "open salvage/%s", row->id);
	struct giving g = {.from_dir = from, .name = relpath_name(row->path)};
	AUTO_FREE char *place = NULL;
	int r = to ? open_new_place(to, &g, &place, err)
		   : open_former_place(tree, row, &g, &place, err);
	if (r < 0)
		return r;
	r = give(&g, err);
	if (r == 0)
		r = sync_place(g.to_dir, err);
	close(g.to_dir);
	if (r < 0)
		return r;
	r = salvage_forget(store, root, row, err);
	if (r == 0)
		*out = STEAL(place);
	return r;
}

/* ---- removing ---------------------------------------------------------------------------------
 */

/* By a rename into stage/, which every start empties: half of a directory is never left under its
 * name. */
int salvage_purge(struct store *store, const struct tree *tree, const struct salvage_row *row,
		  struct err *err)
{
	char temp[STAGE_NAME_MAX];
	const struct root *root = salvage_root(tree, row->root_at);
	if (!root || !root->healthy)
		return err_set(err, -ESTALE, "the root that holds it is not there");
	stage_name(temp);
	int fault = fault_point("purge");
	if (!fault && renameat(root->salvage_fd, row->id, root->stage_fd, temp) < 0)
		fault = errno;
	if (fault && fault != ENOENT)
		return err_sys(err, fault, "remove salvage/%s", row->id);
	if (fsync(root->salvage_fd) < 0)
		return err_sys(err, errno, "sync the salvage");
	int r = salvage_forget(store, root, row, err);
	return r < 0 || fault ? r : stage_discard(root, temp, err);
}
