/* own_dir.h - `.artifact-sync/` in a root: the marker that says which root this is, stage/ and
 * salvage/. For tree.c. Blocking; thread: any. */
#ifndef FS_OWN_DIR_H
#define FS_OWN_DIR_H

#include <stdbool.h>
#include <stdint.h>

#include "agent/base/err.h"
#include "agent/fs/tree.h"

struct own_dir {
	int fd, stage_fd, salvage_fd; /* -1 = not open */
	uint8_t id[ROOT_ID_LEN];
};

#define OWN_DIR_CLOSED                                     \
	{                                                  \
		.fd = -1, .stage_fd = -1, .salvage_fd = -1 \
	}

/* Makes what is missing of it, durably; an existing marker stays. */
int own_dir_prepare(int root_fd, struct err *err);

/**
 * Opens it. stage/ and salvage/ are made when only they are missing; the marker never is.
 * @param out  OWN_DIR_CLOSED before; on success open, else unchanged
 * @return 0; -ENOENT without a marker; -EBADMSG for a marker that is none; errno
 */
int own_dir_open(struct own_dir *out, int root_fd, struct err *err);
void own_dir_close(struct own_dir *dir);

/* @return 0, -ENOENT, -EBADMSG, errno */
int own_dir_read_marker(uint8_t id[ROOT_ID_LEN], int own_fd);

#endif
