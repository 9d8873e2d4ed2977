#include "agent/fs/probe.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "agent/base/alloc.h"
#include "agent/fs/beneath.h"
#include "agent/fs/publish.h"

/* f_type of file systems that have a server elsewhere. linux/magic.h lacks half of them. */
static const unsigned remote_types[] = {
	0x6969,	    /* NFS */
	0x517b,	    /* SMB */
	0xff534d42, /* CIFS */
	0xfe534d42, /* SMB2 */
	0x65735546, /* FUSE, virtiofs */
	0x01021997, /* 9p */
	0x00c36400, /* Ceph */
	0x5346414f, /* AFS */
	0x6b414653, /* kAFS */
	0x0bd00bd0, /* Lustre */
	0x01161970, /* GFS2 */
	0x7461636f, /* OCFS2 */
	0x47504653, /* GPFS */
	0x73757245, /* Coda */
};

bool probe_is_remote(int fd)
{
	struct statfs fs;
	if (fstatfs(fd, &fs) < 0)
		return true; /* the careful answer: scanned often, never trusted by inode */
	for (size_t i = 0; i < ARRAY_LEN(remote_types); i++) {
		if ((unsigned)fs.f_type == remote_types[i])
			return true;
	}
	return false;
}

static int make_probe(int stage_fd, char name[STAGE_NAME_MAX])
{
	stage_name(name);
	return open_beneath(stage_fd, name, O_RDWR | O_CREAT | O_EXCL, 0600);
}

bool probe_can_exchange(int stage_fd, bool *sure)
{
	char a[STAGE_NAME_MAX], b[STAGE_NAME_MAX];
	AUTO_CLOSE int a_fd = make_probe(stage_fd, a);
	AUTO_CLOSE int b_fd = make_probe(stage_fd, b);
	bool can =
		a_fd >= 0 && b_fd >= 0 && renameat2(stage_fd, a, stage_fd, b, RENAME_EXCHANGE) == 0;
	*sure &= a_fd >= 0 && b_fd >= 0;
	unlinkat(stage_fd, a, 0);
	unlinkat(stage_fd, b, 0);
	return can;
}

bool probe_can_clone(int stage_fd, bool *sure)
{
	static const char block[4096] = "artifact-sync";
	char a[STAGE_NAME_MAX], b[STAGE_NAME_MAX];
	AUTO_CLOSE int a_fd = make_probe(stage_fd, a);
	AUTO_CLOSE int b_fd = make_probe(stage_fd, b);
	struct file_clone_range range = {.src_fd = a_fd, .src_length = sizeof(block)};
	bool ready = a_fd >= 0 && b_fd >= 0 &&
		     write(a_fd, block, sizeof(block)) == (ssize_t)sizeof(block);
	bool can = ready && ioctl(b_fd, FICLONERANGE, &range) == 0;
	*sure &= ready;
	unlinkat(stage_fd, a, 0);
	unlinkat(stage_fd, b, 0);
	return can;
}
