#include "agent/watch/child/inotify_port.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/select.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <inotifytools/inotifytools.h>

static int current_fd = -1;
static int last_wd;
static bool (*is_known)(void *arg, int wd);
static void *is_known_arg;

__attribute__((visibility("default"))) int inotify_init(void)
{
	int fd = (int)syscall(SYS_inotify_init1, IN_CLOEXEC | IN_NONBLOCK);
	if (fd >= FD_SETSIZE) {
		/* The library's select() would abort the process. */
		close(fd);
		errno = EMFILE;
		fd = -1;
	}
	current_fd = fd;
	return fd;
}

__attribute__((visibility("default"))) int inotify_add_watch(int fd, const char *path,
							     uint32_t mask)
{
	last_wd = (int)syscall(SYS_inotify_add_watch, fd, path, mask);
	if (last_wd > 0 && is_known(is_known_arg, last_wd)) {
		errno = EEXIST;
		return -1;
	}
	return last_wd;
}

__attribute__((visibility("default"))) int inotify_rm_watch(int fd, int wd)
{
	int r = (int)syscall(SYS_inotify_rm_watch, fd, wd);
	/* The kernel ended it before us: told of an error, the library would keep its entry for
	 * ever. */
	return r < 0 && errno == EINVAL ? 0 : r;
}

static int last_error(int otherwise)
{
	int error = inotifytools_error();
	return error > 0 ? error : otherwise;
}

/* A library that was linked statically or calls inotify_init1() would not meet our functions. */
static int self_test(int dirfd)
{
	int error;
	int wd = port_watch(dirfd, IN_DELETE_SELF | IN_ONLYDIR);
	if (wd == -ENOSPC || wd == -EACCES)
		return 0; /* says nothing about the library */
	if (current_fd < 0 || wd <= 0)
		return -ELIBBAD;
	port_unwatch(wd);
	const struct inotify_event *e = port_next(&error);
	bool ended = e && e->wd == wd && (e->mask & IN_IGNORED);
	while (e)
		e = port_next(&error);
	return ended ? 0 : -ELIBBAD;
}

int port_open(int dirfd, bool (*known)(void *arg, int wd), void *arg)
{
	is_known = known;
	is_known_arg = arg;
	current_fd = -1;
	if (!inotifytools_init(0, 0, 0))
		return -last_error(EMFILE);
	int r = self_test(dirfd);
	if (r < 0)
		port_close();
	return r;
}

void port_close(void)
{
	int error;
	/* The library's buffer survives: its rest would be served as events of the next instance.
	 */
	while (port_next(&error))
		;
	inotifytools_cleanup();
	current_fd = -1;
}

int port_fd(void)
{
	return current_fd;
}

int port_watch(int dirfd, uint32_t mask)
{
	char path[48];
	snprintf(path, sizeof(path), "/proc/self/fd/%d/.", dirfd);
	last_wd = -1;
	if (inotifytools_watch_file(path, (int)mask) || last_wd > 0)
		return last_wd;
	return -last_error(EIO);
}

void port_unwatch(int wd)
{
	inotifytools_remove_watch_by_wd(wd);
}

const struct inotify_event *port_next(int *error)
{
	/* Never more than one, and timeout 0: other values spin or block inside the library. */
	const struct inotify_event *e = inotifytools_next_events(0, 1);
	*error = e ? 0 : inotifytools_error();
	if (*error == EINTR || *error == EAGAIN)
		*error = 0;
	return e;
}
