#include "agent/fs/tree.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "agent/base/quote.h"
#include "agent/fs/beneath.h"
#include "agent/fs/own_dir.h"
#include "agent/fs/probe.h"
#include "agent/fs/root_lock.h"
#include "protocol/relpath.h"

/* Guards root.why of all trees: written a few times in a run, read for a status line. */
static pthread_mutex_t why_lock = PTHREAD_MUTEX_INITIALIZER;

static const uint8_t no_id[ROOT_ID_LEN];

/* The configured location is the only place where a path string, links included, is followed: it is
 * the operator's word. @return fd or -errno */
static int open_location(const char *location, int flags)
{
	int fd = open(location, flags | O_DIRECTORY | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

static char *location_of(const char *dir, const char *at)
{
	return *at ? x_asprintf("%s/%s", dir, at) : x_strdup(dir);
}

static int prepare_one(const char *location, struct err *err)
{
	char q[QUOTED_MAX];
	AUTO_CLOSE int fd = open_location(location, O_RDONLY);
	if (fd < 0)
		return err_sys(err, -fd, "open %s", quote_path(q, location));
	if (own_dir_prepare(fd, err) < 0)
		return err_wrap(err, "prepare %s", quote_path(q, location));
	return 0;
}

int tree_prepare_followed(const char *dir, const char *at, struct err *err)
{
	AUTO_FREE char *location = location_of(dir, at);
	return prepare_one(location, err);
}

int tree_prepare(const char *dir, char *const *follow, size_t n_follow, struct err *err)
{
	int r = tree_prepare_followed(dir, "", err);
	for (size_t i = 0; r == 0 && i < n_follow; i++)
		r = tree_prepare_followed(dir, follow[i], err);
	return r;
}

/* ---- one root ------------------------------------------------------------------------------- */

static void explain(struct root *root, const char *why)
{
	pthread_mutex_lock(&why_lock);
	snprintf(root->why, sizeof(root->why), "%s", why);
	pthread_mutex_unlock(&why_lock);
}

const char *root_why(const struct root *root, char out[ROOT_WHY_MAX])
{
	pthread_mutex_lock(&why_lock);
	memcpy(out, root->why, ROOT_WHY_MAX);
	pthread_mutex_unlock(&why_lock);
	return out;
}

/* The new descriptor takes over the number that workers may hold. */
static void install(_Atomic int *slot, int fd)
{
	int have = *slot;
	if (have < 0) {
		*slot = fd;
		return;
	}
	while (dup3(fd, have, O_CLOEXEC) < 0)
		BUG_ON(errno != EINTR && errno != EBUSY);
	close(fd);
}

static void probe(struct root *root, int stage_fd)
{
	root->probed = true;
	root->can_exchange = probe_can_exchange(stage_fd, &root->probed);
	root->can_clone = probe_can_clone(stage_fd, &root->probed);
}

static void adopt_handles(struct root *root, int fd, const struct own_dir *own,
			  const struct stat *st)
{
	root->dev = st->st_dev;
	root->ino = st->st_ino;
	memcpy(root->id, own->id, ROOT_ID_LEN);
	root->remote = probe_is_remote(fd);
	probe(root, own->stage_fd);
	install(&root->fd, fd);
	install(&root->own_fd, own->fd);
	install(&root->stage_fd, own->stage_fd);
	install(&root->salvage_fd, own->salvage_fd);
}

/* Before anything is written into it. Without a marker there is nothing to lock, and who opens it
 * says so. */
static int claim_root(struct root *root, int fd, const char *holder, struct err *err)
{
	bool can_lock = true;
	int r = holder ? root_lock_take(&root->lock_fd, &can_lock, fd, holder, err) : 0;
	root->can_lock = can_lock;
	root->taken = r == -EBUSY;
	return root->taken ? r : 0;
}

/* Opens a root that is not healthy. */
static int attach(struct root *root, const char *holder, struct err *err)
{
	AUTO_CLOSE int fd = open_location(root->location, O_RDONLY);
	if (fd < 0)
		return err_sys(err, -fd, "open the directory: mount or create it");
	struct stat st;
	if (fstat(fd, &st) < 0)
		return err_sys(err, errno, "stat the directory");
	int r = claim_root(root, fd, holder, err);
	if (r < 0)
		return r;
	struct own_dir own = OWN_DIR_CLOSED;
	if (own_dir_open(&own, fd, err) < 0)
		return err_wrap(err, "no valid marker (not mounted, or not set up by init)");
	if (memcmp(root->id, no_id, ROOT_ID_LEN) != 0 &&
	    memcmp(root->id, own.id, ROOT_ID_LEN) != 0) {
		own_dir_close(&own);
		return err_set(err, -ESTALE,
			       "its marker is that of another root: mount the right directory");
	}
	adopt_handles(root, STEAL_FD(fd), &own, &st);
	return 0;
}

/* NULL when the root still is what was opened, else what is wrong. */
static const char *root_fault(const struct root *root, int *error)
{
	struct stat st;
	uint8_t id[ROOT_ID_LEN];
	AUTO_CLOSE int fd = open_location(root->location, O_PATH);
	if (fd < 0 || fstat(fd, &st) < 0) {
		*error = fd < 0 ? -fd : errno;
		return "its location cannot be opened";
	}
	if (st.st_dev != root->dev || st.st_ino != root->ino)
		return "another directory is at its location";
	/* Asked for from the root: own_fd would lead to the old directory even after that was moved
	 * away and another put in its place. */
	AUTO_CLOSE int own = open_beneath(root->fd, RELPATH_OWN_DIR, O_PATH | O_DIRECTORY, 0);
	*error = own < 0 ? -own : -own_dir_read_marker(id, own);
	if (*error)
		return "its marker cannot be read";
	if (memcmp(id, root->id, ROOT_ID_LEN) != 0)
		return "its marker has changed";
	return NULL;
}

/* @return 0, -ESTALE, or what this process is short of, which says nothing of the root */
static int root_judge(const struct root *root, char why[ROOT_WHY_MAX])
{
	int error = 0;
	const char *wrong = root_fault(root, &error);
	if (!wrong)
		return 0;
	if (why)
		snprintf(why, ROOT_WHY_MAX, "%s%s%s", wrong, error ? ": " : "",
			 error ? strerrordesc_np(error) : "");
	return error == EMFILE || error == ENFILE || error == ENOMEM ? -error : -ESTALE;
}

int root_verify(const struct root *root, char why[ROOT_WHY_MAX])
{
	if (root->healthy)
		return root_judge(root, why) < 0 ? -ESTALE : 0;
	if (why)
		root_why(root, why);
	return -ESTALE;
}

/* ---- the tree ------------------------------------------------------------------------------- */

static bool root_recheck(struct root *root, const char *holder)
{
	char why[ROOT_WHY_MAX] = "";
	struct err err = {0};
	bool was = root->healthy;
	bool is;
	if (was) {
		int r = root_judge(root, why);
		if (r < 0 && r != -ESTALE)
			return false;
		is = r == 0;
	} else {
		is = attach(root, holder, &err) == 0;
		snprintf(why, sizeof(why), "%.191s", err.msg);
	}
	explain(root, why);
	root->healthy = is;
	if (was && is && !root->probed)
		probe(root, root->stage_fd);
	return was != is;
}

bool tree_check(struct tree *tree)
{
	bool changed = false;
	for (size_t i = 0; i < tree->n; i++)
		changed |= root_recheck(&tree->roots[i], tree->holder);
	return changed;
}

bool tree_is_healthy(const struct tree *tree)
{
	for (size_t i = 0; i < tree->n; i++) {
		if (!tree->roots[i].healthy)
			return false;
	}
	return true;
}

static int refuse_taken(const struct tree *tree, struct err *err)
{
	for (size_t i = 0; i < tree->n; i++) {
		const struct root *root = &tree->roots[i];
		if (root->taken)
			return err_set(err, -EBUSY, "%.80s: %s", root->location, root->why);
	}
	return 0;
}

int tree_open(struct tree **out, const char *dir, char *const *follow, size_t n_follow,
	      const struct tree_claim *claim, struct err *err)
{
	if (n_follow + 1 > ROOT_MAX)
		return err_set(err, -E2BIG, "more than %d followed directories: follow a parent",
			       ROOT_MAX - 1);
	struct tree *tree = x_calloc(1, sizeof(*tree));
	tree->n = n_follow + 1;
	tree->roots = x_calloc(tree->n, sizeof(*tree->roots));
	for (size_t i = 0; i < tree->n; i++) {
		struct root *root = &tree->roots[i];
		root->at = x_strdup(i ? follow[i - 1] : "");
		root->location = location_of(dir, root->at);
		root->leftovers = leftovers_new();
		root->fd = root->own_fd = root->stage_fd = root->salvage_fd = -1;
		root->lock_fd = -1;
		root->can_lock = true;
		if (claim && claim->ids)
			memcpy(root->id, claim->ids[i], ROOT_ID_LEN);
	}
	if (claim && claim->holder)
		tree->holder = x_strdup(claim->holder);
	tree_check(tree);
	int r = refuse_taken(tree, err);
	if (r < 0)
		tree_free(tree);
	else
		*out = tree;
	return r;
}

void tree_free(struct tree *tree)
{
	if (!tree)
		return;
	for (size_t i = 0; i < tree->n; i++) {
		struct root *root = &tree->roots[i];
		_Atomic int *fds[] = {&root->fd, &root->own_fd, &root->stage_fd, &root->salvage_fd};
		for (size_t k = 0; k < ARRAY_LEN(fds); k++) {
			if (*fds[k] >= 0)
				close(*fds[k]);
		}
		if (root->lock_fd >= 0)
			close(root->lock_fd);
		leftovers_free(root->leftovers);
		free(root->at);
		free(root->location);
	}
	free(tree->roots);
	free(tree->holder);
	free(tree);
}

/* What of `path` lies beneath `at`, or NULL when it is not there. */
static const char *remainder_beneath(const char *path, const char *at)
{
	size_t len = strlen(at);
	if (len == 0)
		return path;
	if (strncmp(path, at, len) != 0 || (path[len] != '/' && path[len] != '\0'))
		return NULL;
	return path[len] ? path + len + 1 : path + len;
}

struct root *tree_resolve(const struct tree *tree, const char *path, const char **sub)
{
	struct root *best = &tree->roots[0];
	*sub = path;
	for (size_t i = 1; i < tree->n; i++) {
		struct root *root = &tree->roots[i];
		const char *rest = remainder_beneath(path, root->at);
		if (rest && strlen(root->at) > strlen(best->at)) {
			best = root;
			*sub = rest;
		}
	}
	return best;
}

bool tree_leads_to_root(const struct tree *tree, const char *path)
{
	for (size_t i = 1; i < tree->n; i++) {
		if (remainder_beneath(tree->roots[i].at, path))
			return true;
	}
	return false;
}
