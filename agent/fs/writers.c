#include "agent/fs/writers.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>

#include "agent/base/alloc.h"

/* A read lease is only given on a file that nobody has open for writing. It is given back at once;
 * who opens the file for writing between the two waits for that, and the signal by which the kernel
 * asks for it back would end the process. */
int root_is_written(const struct root *root, const char *sub)
{
	struct stat st;
	AUTO_CLOSE int fd = root_open(root, sub, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC, 0);
	if (fd < 0)
		return errno_is_absence(fd) ? 0 : fd;
	if (fstat(fd, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode))
		return 0;
	signal(SIGIO, SIG_IGN);
	if (fcntl(fd, F_SETLEASE, F_RDLCK) < 0)
		return errno == EAGAIN ? 1 : -errno;
	fcntl(fd, F_SETLEASE, F_UNLCK);
	return 0;
}
