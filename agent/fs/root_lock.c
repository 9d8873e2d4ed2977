#include "agent/fs/root_lock.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "agent/base/alloc.h"
#include "agent/fs/beneath.h"
#include "protocol/relpath.h"

#define MARKER RELPATH_OWN_DIR "/marker"
#define HOLDER RELPATH_OWN_DIR "/holder"
#define NAP_NS 20000000 /* between two attempts; an agent that was killed may leave the lock */
#define NAPS 100	/* to a child for the moment until that begins its own program */

static int open_marker(int root_fd, int how)
{
	return open_beneath(root_fd, MARKER, how | O_NOFOLLOW | O_NONBLOCK, 0);
}

static void replace(int *lock_fd, int fd)
{
	if (*lock_fd >= 0)
		close(*lock_fd);
	*lock_fd = fd;
}

static bool is_taken(int error)
{
	return error == EWOULDBLOCK || error == EINTR;
}

/* @return 0 or positive errno */
static int try_fd(int fd)
{
	const struct timespec nap = {.tv_nsec = NAP_NS};
	for (int i = 0;; i++) {
		if (flock(fd, LOCK_EX | LOCK_NB) == 0)
			return 0;
		if (!is_taken(errno) || i == NAPS)
			return errno;
		nanosleep(&nap, NULL);
	}
}

/* A descriptor for writing would keep others from mounting the file system read-only; over NFS
 * nothing else can be locked.
 * @return 0 or positive errno */
static int try_lock(int *fd, int root_fd)
{
	int error = try_fd(*fd);
	if (error != EBADF)
		return error;
	int writable = open_marker(root_fd, O_RDWR);
	if (writable < 0)
		return -writable;
	replace(fd, writable);
	return try_fd(*fd);
}

static bool is_same_file(int one, int other)
{
	struct stat a, b;
	return one >= 0 && fstat(one, &a) == 0 && fstat(other, &b) == 0 && a.st_dev == b.st_dev &&
	       a.st_ino == b.st_ino;
}

/* For people only: that it cannot be written takes nothing from the lock. In the place of the word
 * before, which a full disk has room for. */
static void leave_word(int root_fd, const char *holder)
{
	AUTO_FREE char *line = x_asprintf("%s\n", holder);
	size_t len = strlen(line);
	AUTO_CLOSE int fd =
		open_beneath(root_fd, HOLDER, O_WRONLY | O_CREAT | O_NOFOLLOW | O_NONBLOCK, 0600);
	if (fd >= 0 && pwrite(fd, line, len, 0) == (ssize_t)len && ftruncate(fd, (off_t)len) < 0)
		return; /* with the end of a longer one behind its first line */
}

const char *root_lock_holder(char out[ROOT_HOLDER_MAX], int root_fd)
{
	AUTO_CLOSE int fd = open_beneath(root_fd, HOLDER, O_RDONLY | O_NOFOLLOW | O_NONBLOCK, 0);
	ssize_t n = fd < 0 ? 0 : read(fd, out, ROOT_HOLDER_MAX - 1);
	out[n > 0 ? n : 0] = '\0';
	out[strcspn(out, "\n")] = '\0';
	for (char *c = out; *c; c++) {
		if (*c < ' ' || *c > '~' || *c == '"')
			*c = '?';
	}
	return out;
}

int root_lock_take(int *lock_fd, bool *supported, int root_fd, const char *holder, struct err *err)
{
	char whose[ROOT_HOLDER_MAX];
	AUTO_CLOSE int fd = open_marker(root_fd, O_RDONLY);
	*supported = true;
	if (fd < 0)
		return err_sys(err, -fd, "open " MARKER);
	if (is_same_file(*lock_fd, fd))
		return 0;
	int error = try_lock(&fd, root_fd);
	/* The same file under another device number, mounted anew, is locked by ourselves. */
	if (is_taken(error) && *lock_fd >= 0) {
		replace(lock_fd, -1);
		error = try_lock(&fd, root_fd);
	}
	if (is_taken(error))
		return err_set(err, -EBUSY, "another agent has this directory: %s",
			       *root_lock_holder(whose, root_fd) ? whose : "it left no name");
	*supported = error == 0;
	replace(lock_fd, STEAL_FD(fd));
	leave_word(root_fd, holder);
	return 0;
}
