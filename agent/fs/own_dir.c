#include "agent/fs/own_dir.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/base/fault.h"
#include "agent/fs/beneath.h"
#include "protocol/relpath.h"

#define MARKER_HEAD "artifact-sync root 1\n"
#define MARKER_LEN (sizeof(MARKER_HEAD) - 1 + 2 * ROOT_ID_LEN + 1)

static void marker_text(char out[MARKER_LEN + 1], const uint8_t id[ROOT_ID_LEN])
{
	char *at = stpcpy(out, MARKER_HEAD);
	for (size_t i = 0; i < ROOT_ID_LEN; i++)
		at += sprintf(at, "%02x", id[i]);
	strcpy(at, "\n");
}

int own_dir_read_marker(uint8_t id[ROOT_ID_LEN], int own_fd)
{
	char text[MARKER_LEN + 1], again[MARKER_LEN + 1];
	AUTO_CLOSE int fd = open_beneath(own_fd, "marker", O_RDONLY | O_NOFOLLOW | O_NONBLOCK, 0);
	if (fd < 0)
		return fd;
	ssize_t n = read(fd, text, sizeof(text));
	if (n < 0)
		return -errno;
	if (n != MARKER_LEN)
		return -EBADMSG;
	text[n] = '\0';
	uint8_t read_id[ROOT_ID_LEN];
	for (size_t i = 0; i < ROOT_ID_LEN; i++) {
		unsigned byte = 0;
		sscanf(text + sizeof(MARKER_HEAD) - 1 + 2 * i, "%2x", &byte);
		read_id[i] = (uint8_t)byte;
	}
	/* Written back and compared, so that only what we write is ever read. */
	marker_text(again, read_id);
	if (strcmp(text, again) != 0)
		return -EBADMSG;
	memcpy(id, read_id, ROOT_ID_LEN);
	return 0;
}

static int write_marker(int own_fd, struct err *err)
{
	uint8_t id[ROOT_ID_LEN];
	char text[MARKER_LEN + 1];
	if (getrandom(id, sizeof(id), 0) != sizeof(id))
		return err_sys(err, errno, "ask the system for random bytes");
	marker_text(text, id);
	int hit = fault_point("write marker");
	if (hit)
		return err_sys(err, hit, "write marker.new");
	unlinkat(own_fd, "marker.new", 0); /* left by a crash */
	AUTO_CLOSE int fd = open_beneath(own_fd, "marker.new", O_WRONLY | O_CREAT | O_EXCL, 0600);
	if (fd < 0)
		return err_sys(err, -fd, "create marker.new");
	if (write(fd, text, MARKER_LEN) != MARKER_LEN || fsync(fd) < 0)
		return err_sys(err, errno ? errno : EIO, "write marker.new");
	hit = fault_point("name marker");
	if (hit || renameat(own_fd, "marker.new", own_fd, "marker") < 0)
		return err_sys(err, hit ? hit : errno, "name marker");
	return 0;
}

/* Opens a directory of ours, made 0700 when it is missing, and closed to others if it was not. */
static int open_private_dir(int dirfd, const char *name, bool create, struct err *err)
{
	if (create && mkdirat(dirfd, name, 0700) < 0 && errno != EEXIST)
		return err_sys(err, errno, "make %s: let the agent's user write there", name);
	AUTO_CLOSE int fd = open_beneath(dirfd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
	if (fd < 0)
		return err_sys(err, -fd, "open %s", name);
	struct stat st;
	if (fstat(fd, &st) < 0)
		return err_sys(err, errno, "stat %s", name);
	/* It may belong to another user on a file server that maps ids; then it stays as it is. */
	if ((st.st_mode & 0077) && fchmod(fd, 0700) < 0 && errno != EPERM)
		return err_sys(err, errno, "close %s to others", name);
	return STEAL_FD(fd);
}

static int sync_dir(int fd, const char *name, struct err *err)
{
	int hit = fault_point("sync directory");
	if (hit || fsync(fd) < 0)
		return err_sys(err, hit ? hit : errno, "sync %s", name);
	return 0;
}

int own_dir_prepare(int root_fd, struct err *err)
{
	static const char *const parts[] = {"stage", "salvage"};
	uint8_t id[ROOT_ID_LEN];
	AUTO_CLOSE int own = open_private_dir(root_fd, RELPATH_OWN_DIR, true, err);
	if (own < 0)
		return own;
	for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
		AUTO_CLOSE int part = open_private_dir(own, parts[i], true, err);
		if (part < 0)
			return part;
	}
	int r = own_dir_read_marker(id, own);
	if (r == -EBADMSG)
		return err_set(err, r, RELPATH_OWN_DIR "/marker is not a marker: move it away");
	if (r == -ENOENT)
		r = write_marker(own, err);
	else if (r < 0)
		return err_sys(err, -r, "read " RELPATH_OWN_DIR "/marker");
	if (r == 0)
		r = sync_dir(own, RELPATH_OWN_DIR, err);
	return r < 0 ? r : sync_dir(root_fd, "the directory", err);
}

static int open_parts(struct own_dir *dir, int root_fd, struct err *err)
{
	dir->fd = open_private_dir(root_fd, RELPATH_OWN_DIR, false, err);
	if (dir->fd < 0)
		return dir->fd;
	int r = own_dir_read_marker(dir->id, dir->fd);
	if (r == -EBADMSG)
		return err_set(err, r, RELPATH_OWN_DIR "/marker is not a marker");
	if (r < 0)
		return err_sys(err, -r, "read " RELPATH_OWN_DIR "/marker");
	dir->stage_fd = open_private_dir(dir->fd, "stage", true, err);
	if (dir->stage_fd < 0)
		return dir->stage_fd;
	dir->salvage_fd = open_private_dir(dir->fd, "salvage", true, err);
	return dir->salvage_fd < 0 ? dir->salvage_fd : 0;
}

int own_dir_open(struct own_dir *out, int root_fd, struct err *err)
{
	struct own_dir dir = OWN_DIR_CLOSED;
	int r = open_parts(&dir, root_fd, err);
	if (r < 0)
		own_dir_close(&dir);
	else
		*out = dir;
	return r;
}

void own_dir_close(struct own_dir *dir)
{
	int *fds[] = {&dir->fd, &dir->stage_fd, &dir->salvage_fd};
	for (size_t i = 0; i < ARRAY_LEN(fds); i++) {
		if (*fds[i] >= 0)
			close(*fds[i]);
		*fds[i] = -1;
	}
}
