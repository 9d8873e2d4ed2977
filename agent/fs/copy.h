/* copy.h - content from one descriptor to another, by the cheapest way the file system has, holes
 * kept; and its SHA-256. Offsets of the descriptors are neither used nor moved. Nothing is made
 * durable. Blocking; thread: any. */
#ifndef FS_COPY_H
#define FS_COPY_H

#include <stdbool.h>
#include <stdint.h>

#include "agent/base/err.h"
#include "agent/base/hash.h"

#define COPY_PIECE (256 * 1024) /* bytes read at a time: well past where the size still matters */

/**
 * Makes out_fd hold the first `size` bytes of in_fd and nothing else: cloned, or with
 * copy_file_range, or read and written.
 * @param can_clone  root.can_clone of the root both are in; false when they may differ
 * @return 0; -EAGAIN when in_fd is shorter than size; another errno. After a failure out_fd holds
 *         anything
 */
int copy_content(int in_fd, int out_fd, uint64_t size, bool can_clone, struct err *err);

/* The same, and the SHA-256 of what out_fd then holds. */
int copy_content_hashed(uint8_t hash[HASH_LEN], int in_fd, int out_fd, uint64_t size,
			bool can_clone, struct err *err);

/**
 * SHA-256 of the first `size` bytes.
 * @param counter  may be NULL; bytes read are added atomically as the work goes on
 * @return 0; -EAGAIN when the file is shorter; another errno
 */
int hash_content(uint8_t hash[HASH_LEN], int fd, uint64_t size, uint64_t *counter, struct err *err);

#endif
