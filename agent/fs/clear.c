/* A tree may be deeper than there are descriptors. So no directory is descended into: those in it
 * are moved up beside it, which costs one rename each, and then it is empty of them. */
#include "agent/fs/clear.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/base/alloc.h"
#include "agent/base/quote.h"

#define ROUNDS_MAX 10000 /* each takes away one level of depth */

struct clearing {
	int top;
	uint64_t moved; /* names given so far */
	struct err *err;
};

static int failed(struct clearing *c, int error, const char *what, const char *name)
{
	char q[QUOTED_MAX];
	return err_sys(c->err, error, "%s %.150s", what, quote_path(q, name));
}

static DIR *read_directory(int fd)
{
	int copy = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = copy < 0 ? NULL : fdopendir(copy);
	if (!dir && copy >= 0)
		close(copy);
	return dir;
}

/* Modes were put on by whoever used it. */
static int open_whatever_mode(int at, const char *name)
{
	char link[40];
	AUTO_CLOSE int path = openat(at, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (path < 0)
		return -errno;
	snprintf(link, sizeof(link), "/proc/self/fd/%d", path);
	chmod(link, 0700);
	int fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

/* A directory that cannot be written to cannot be moved either: its ".." is a part of it. */
static int move_up(struct clearing *c, int at, const char *name)
{
	char free_name[40];
	AUTO_CLOSE int made_ours = open_whatever_mode(at, name);
	do {
		snprintf(free_name, sizeof(free_name), "moved-%llu",
			 (unsigned long long)++c->moved);
	} while (faccessat(c->top, free_name, F_OK, AT_SYMLINK_NOFOLLOW) == 0);
	return renameat(at, name, c->top, free_name) < 0 ? failed(c, errno, "move", name) : 0;
}

static int remove_entry(struct clearing *c, int at, const char *name)
{
	if (unlinkat(at, name, 0) == 0 || errno == ENOENT)
		return 0;
	if (errno != EISDIR && errno != EPERM)
		return failed(c, errno, "remove", name);
	if (unlinkat(at, name, AT_REMOVEDIR) == 0)
		return 0;
	return errno == ENOTEMPTY || errno == EEXIST ? move_up(c, at, name)
						     : failed(c, errno, "remove", name);
}

static bool is_itself(const char *name)
{
	return strcmp(name, ".") == 0 || strcmp(name, "..") == 0;
}

/* Everything in it that is no directory goes, directories move up. */
static int flatten(struct clearing *c, const char *name)
{
	AUTO_CLOSE int fd = open_whatever_mode(c->top, name);
	DIR *dir = fd < 0 ? NULL : read_directory(fd);
	const struct dirent *entry;
	int r = 0;
	if (!dir)
		return failed(c, fd < 0 ? -fd : errno, "open", name);
	while (r == 0 && (entry = readdir(dir))) {
		if (!is_itself(entry->d_name))
			r = remove_entry(c, fd, entry->d_name);
	}
	closedir(dir);
	if (r == 0 && unlinkat(c->top, name, AT_REMOVEDIR) < 0 && errno != ENOENT &&
	    errno != ENOTEMPTY && errno != EEXIST) /* not empty: another round */
		r = failed(c, errno, "remove", name);
	return r;
}

/* @return how many entries were met, or negative errno */
static int one_round(struct clearing *c)
{
	DIR *dir = read_directory(c->top);
	const struct dirent *entry;
	int met = 0, r = 0;
	if (!dir)
		return err_sys(c->err, errno, "read the directory");
	while (r == 0 && (entry = readdir(dir))) {
		if (is_itself(entry->d_name))
			continue;
		met = 1;
		if (unlinkat(c->top, entry->d_name, 0) < 0 && errno != ENOENT)
			r = errno == EISDIR || errno == EPERM
				    ? flatten(c, entry->d_name)
				    : failed(c, errno, "remove", entry->d_name);
	}
	closedir(dir);
	return r < 0 ? r : met;
}

int clear_directory(int fd, struct err *err)
{
	struct clearing c = {.top = fd, .err = err};
	int r = 1;
	for (int rounds = 0; r > 0; rounds++) {
		if (rounds == ROUNDS_MAX)
			return err_set(err, -EBUSY, "somebody keeps adding files to it");
		r = one_round(&c);
	}
	return r;
}
