#include "agent/fs/beneath.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "agent/fs/tree.h"

/* The kernel answers EAGAIN when a rename somewhere in the system made it lose track; it says
 * nothing about our path. */
#define OPEN_ATTEMPTS 32

int open_beneath(int dirfd, const char *sub, int flags, unsigned mode)
{
	struct open_how how = {
		.flags = (uint64_t)(unsigned)flags | O_CLOEXEC,
		.mode = flags & O_CREAT ? mode : 0,
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS |
			   RESOLVE_NO_XDEV,
	};
	long fd = -1;
	for (int attempt = 0; attempt < OPEN_ATTEMPTS; attempt++) {
		fd = syscall(SYS_openat2, dirfd, *sub ? sub : ".", &how, sizeof(how));
		if (fd >= 0 || (errno != EAGAIN && errno != EINTR))
			break;
	}
	return fd < 0 ? -errno : (int)fd;
}

int stat_name(int dirfd, const char *name, struct stat *out)
{
	return fstatat(dirfd, name, out, AT_SYMLINK_NOFOLLOW) < 0 ? -errno : 0;
}

int root_open(const struct root *root, const char *sub, int flags, unsigned mode)
{
	if (!root->healthy)
		return -ESTALE; /* not an absence: nobody may conclude a deletion from it */
	return open_beneath(root->fd, sub, flags, mode);
}

int root_open_parent(const struct root *root, const char *sub, const char **name)
{
	const char *slash = strrchr(sub, '/');
	if (!slash) {
		*name = sub;
		return *sub ? root_open(root, "", O_PATH | O_DIRECTORY, 0) : -EINVAL;
	}
	char parent[PATH_MAX];
	size_t len = (size_t)(slash - sub);
	if (len >= sizeof(parent))
		return -ENAMETOOLONG;
	memcpy(parent, sub, len);
	parent[len] = '\0';
	*name = slash + 1;
	return root_open(root, parent, O_PATH | O_DIRECTORY, 0);
}

int root_stat(const struct root *root, const char *sub, struct stat *out)
{
	/* Through a descriptor rather than fstatat(): only so does the kernel say that the last
	 * component is a mount, even one of the same file system. */
	int fd = root_open(root, sub, O_PATH | O_NOFOLLOW, 0);
	if (fd < 0)
		return fd;
	int r = fstat(fd, out) < 0 ? -errno : 0;
	close(fd);
	return r;
}

bool errno_is_absence(int error)
{
	error = error < 0 ? -error : error;
	return error == ENOENT || error == ENOTDIR || error == ELOOP;
}
