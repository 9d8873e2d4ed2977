/* stage_dir.c - the objects in stage/: made, discarded, handed to the salvage. */
#include "agent/fs/publish.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/base/fault.h"
#include "agent/fs/beneath.h"

static uint64_t run_id; /* random: which run of the agent made a name */
static _Atomic uint64_t names_made;
static pthread_once_t run_once = PTHREAD_ONCE_INIT;

static void choose_run(void)
{
	BUG_ON(getrandom(&run_id, sizeof(run_id), 0) != sizeof(run_id));
}

void stage_name(char out[STAGE_NAME_MAX])
{
	pthread_once(&run_once, choose_run);
	snprintf(out, STAGE_NAME_MAX, "t-%016" PRIx64 "%016" PRIx64, run_id, ++names_made);
}

int stage_create(char temp[STAGE_NAME_MAX], const struct root *root, struct err *err)
{
	stage_name(temp);
	int hit = fault_point("create in stage");
	if (!hit && !root->healthy)
		hit = ESTALE;
	int fd = hit ? -hit : open_beneath(root->stage_fd, temp, O_RDWR | O_CREAT | O_EXCL, 0600);
	return fd < 0 ? err_sys(err, -fd, "create a file in stage") : fd;
}

/* ---- discarding ----------------------------------------------------------------------------- */

/* Directories still to be emptied, all of them directly in stage/. */
struct discards {
	char (*names)[STAGE_NAME_MAX];
	size_t n, cap;
};

static void discards_add(struct discards *list, const char *name)
{
	GROW(list->names, list->cap, list->n + 1);
	snprintf(list->names[list->n++], STAGE_NAME_MAX, "%s", name);
}

/* A subdirectory is moved up into stage/ first: no depth of the tree then needs a stack or a path.
 */
static int discard_child(struct discards *list, int stage_fd, int dirfd, const char *name)
{
	char up[STAGE_NAME_MAX];
	if (unlinkat(dirfd, name, 0) == 0 || errno == ENOENT)
		return 0;
	if (errno != EISDIR && errno != EPERM)
		return -errno;
	stage_name(up);
	/* Moving a directory elsewhere changes its "..", which needs the right to write in it. */
	if (renameat(dirfd, name, stage_fd, up) < 0 &&
	    (errno != EACCES || fchmodat(dirfd, name, 0700, AT_SYMLINK_NOFOLLOW) < 0 ||
	     renameat(dirfd, name, stage_fd, up) < 0))
		return -errno;
	discards_add(list, up);
	return 0;
}

static int empty_dir(struct discards *list, int stage_fd, int fd)
{
	DIR *dir = fdopendir(fd);
	if (!dir) {
		close(fd);
		return -ENOMEM;
	}
	int r = 0;
	struct dirent *entry;
	while (r == 0 && (entry = readdir(dir))) {
		if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
			r = discard_child(list, stage_fd, dirfd(dir), entry->d_name);
	}
	closedir(dir);
	return r;
}

static int discard_dir(struct discards *list, int stage_fd, const char *name)
{
	int hit = fault_point("discard directory");
	if (hit)
		return -hit;
	int fd = open_beneath(stage_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
	if (fd == -EACCES && fchmodat(stage_fd, name, 0700, AT_SYMLINK_NOFOLLOW) == 0)
		fd = open_beneath(stage_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
	if (fd < 0)
		return fd == -ENOENT ? 0 : fd;
	/* What was moved here may have been closed to its owner: 0500 forbids to empty it. */
	fchmod(fd, 0700);
	int r = empty_dir(list, stage_fd, fd);
	if (r < 0)
		return r;
	return unlinkat(stage_fd, name, AT_REMOVEDIR) < 0 && errno != ENOENT ? -errno : 0;
}

int stage_discard(const struct root *root, const char *temp, struct err *err)
{
	struct discards list = {0};
	int hit = fault_point("discard");
	if (hit)
		return err_sys(err, hit, "discard %s", temp);
	if (unlinkat(root->stage_fd, temp, 0) == 0 || errno == ENOENT)
		return 0;
	int r = errno == EISDIR || errno == EPERM ? 0 : -errno;
	discards_add(&list, temp);
	while (r == 0 && list.n > 0) {
		char name[STAGE_NAME_MAX];
		memcpy(name, list.names[--list.n], sizeof(name));
		r = discard_dir(&list, root->stage_fd, name);
	}
	free(list.names);
	return r < 0 ? err_sys(err, -r, "discard %s", temp) : 0;
}

/* ---- to the salvage ------------------------------------------------------------------------- */

static bool is_component(const char *name)
{
	return *name && !strchr(name, '/') && strcmp(name, ".") != 0 && strcmp(name, "..") != 0;
}

static int sync_fd(int fd)
{
	int hit = fault_point("sync for salvage");
	if (hit)
		return -hit;
	return fsync(fd) < 0 ? -errno : 0;
}

/* What nobody replicated has this one copy. What we may not open is synced with all else. */
static int sync_content(struct root *root, const char *temp)
{
	struct stat st;
	int r = stat_name(root->stage_fd, temp, &st);
	if (r < 0 || !S_ISREG(st.st_mode))
		return r;
	AUTO_CLOSE int fd =
		open_beneath(root->stage_fd, temp, O_RDONLY | O_NOFOLLOW | O_NONBLOCK, 0);
	if (fd == -EACCES || fd == -EPERM)
		return root_sync_all(root, NULL);
	return fd < 0 ? fd : sync_fd(fd);
}

/* Not stage/: in the midst of a batch that would make durable that objects have left it, and not
 * that they have arrived, where a directory that is new has still to be synced itself. A name
 * that a crash brings back there is saved once more. */
static int sync_move(const struct root *root, int dir)
{
	int r = sync_fd(dir);
	return r == 0 ? sync_fd(root->salvage_fd) : r;
}

static int move_to_salvage(struct root *root, const char *temp, int dir, const char *name)
{
	struct stat st;
	int r = sync_content(root, temp);
	if (r == -ENOENT && stat_name(dir, name, &st) == 0)
		return sync_move(root, dir); /* moved before a crash */
	if (r < 0)
		return r;
	int hit = fault_point("move to salvage");
	if (hit)
		return -hit;
	if (stat_name(dir, name, &st) == 0)
		return -EEXIST;
	if (renameat(root->stage_fd, temp, dir, name) < 0)
		return -errno;
	r = sync_move(root, dir);
	if (r < 0) /* the caller keeps it where it knows it */
		renameat(dir, name, root->stage_fd, temp);
	return r;
}

int stage_to_salvage(struct root *root, const char *temp, const char *id, const char *name,
		     struct err *err)
{
	if (!is_component(id) || !is_component(name))
		return err_set(err, -EINVAL, "not a name for the salvage");
	int hit = fault_point("make directory in salvage");
	if (hit || (mkdirat(root->salvage_fd, id, 0700) < 0 && errno != EEXIST))
		return err_sys(err, hit ? hit : errno, "make salvage/%s", id);
	AUTO_CLOSE int dir =
		open_beneath(root->salvage_fd, id, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
	int r = dir < 0 ? dir : move_to_salvage(root, temp, dir, name);
	return r < 0 ? err_sys(err, -r, "move to salvage/%s", id) : 0;
}
