#include "agent/fs/writers.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>

#include "agent/base/alloc.h"
#include "agent/fs/tree.h"

bool root_may_have_writer(const struct root *root, const char *sub)
{
	struct stat st;
	AUTO_CLOSE int fd = root_open(root, sub, O_RDONLY | O_NONBLOCK | O_NOFOLLOW | O_NOCTTY, 0);
	if (fd < 0)
		return !errno_is_absence(-fd);
	if (fstat(fd, &st) < 0)
		return true;
	if (!S_ISREG(st.st_mode))
		return false;
	/* Who opens it for writing while the lease is held waits until it is given back, a moment
	 * later, and the holder is sent a signal: SIGIO would end us, SIGURG is ignored. */
	if (fcntl(fd, F_SETSIG, SIGURG) < 0 || fcntl(fd, F_SETLEASE, F_RDLCK) < 0)
		return true;
	fcntl(fd, F_SETLEASE, F_UNLCK);
	return false;
}
