#include "agent/fs/copy.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/base/alloc.h"
#include "agent/base/fault.h"

/* The kernel copies this much before it looks at signals; a worker should not vanish for minutes.
 */
#define RANGE_PIECE (16u << 20)

struct copying {
	int in_fd, out_fd;
	uint64_t size;
	struct hasher *hasher; /* NULL: no hash wanted */
	uint8_t *piece;	       /* COPY_PIECE bytes, allocated when first needed */
	bool no_range;	       /* copy_file_range does not work here */
};

static uint8_t *piece_of(struct copying *c)
{
	if (!c->piece)
		c->piece = x_calloc(1, COPY_PIECE);
	return c->piece;
}

static int write_all(int fd, const uint8_t *data, size_t len, uint64_t at)
{
	int hit = fault_point("write content");
	if (hit)
		return -hit;
	while (len > 0) {
		ssize_t n = pwrite(fd, data, len, (off_t)at);
		if (n < 0 && errno != EINTR)
			return -errno;
		if (n > 0) {
			data += n;
			len -= (size_t)n;
			at += (uint64_t)n;
		}
	}
	return 0;
}

/* @return bytes copied, -EAGAIN at the end of the file, or another errno */
static ssize_t copy_by_hand(struct copying *c, uint64_t at, uint64_t len)
{
	size_t want = len < COPY_PIECE ? (size_t)len : COPY_PIECE;
	ssize_t n = pread(c->in_fd, piece_of(c), want, (off_t)at);
	if (n <= 0)
		return n < 0 ? -errno : -EAGAIN;
	if (c->hasher)
		hasher_add(c->hasher, c->piece, (size_t)n);
	int r = write_all(c->out_fd, c->piece, (size_t)n, at);
	return r < 0 ? r : n;
}

/* @return bytes copied, 0 when it has to be done by hand, or negative errno */
static ssize_t copy_in_kernel(struct copying *c, uint64_t at, uint64_t len)
{
	loff_t from = (loff_t)at, to = (loff_t)at;
	size_t want = len < RANGE_PIECE ? (size_t)len : RANGE_PIECE;
	if (c->no_range || c->hasher)
		return 0;
	int hit = fault_point("copy range");
	if (hit)
		return -hit;
	ssize_t n = copy_file_range(c->in_fd, &from, c->out_fd, &to, want, 0);
	/* 0 may be the end or a file system that does not really have it; by hand we find out. A
	 * failure of the disk comes again there, with its own name. */
	if (n <= 0)
		c->no_range = true;
	return n > 0 ? n : 0;
}

static int copy_data(struct copying *c, uint64_t at, uint64_t end)
{
	while (at < end) {
		ssize_t n = copy_in_kernel(c, at, end - at);
		if (n == 0)
			n = copy_by_hand(c, at, end - at);
		if (n < 0)
			return (int)n;
		at += (uint64_t)n;
	}
	return 0;
}

static void hash_zeros(struct copying *c, uint64_t len)
{
	static const uint8_t zeros[16 * 1024];
	if (!c->hasher)
		return;
	while (len > 0) {
		size_t n = len < sizeof(zeros) ? (size_t)len : sizeof(zeros);
		hasher_add(c->hasher, zeros, n);
		len -= n;
	}
}

/* Where the next data begins at or after `at` and where it ends, both within the size. A file
 * system that does not know says all of it. */
static void next_data(const struct copying *c, uint64_t at, uint64_t *data, uint64_t *end)
{
	off_t from = lseek(c->in_fd, (off_t)at, SEEK_DATA);
	bool unknown = from < 0 && errno != ENXIO;
	*data = unknown ? at : from < 0 || (uint64_t)from > c->size ? c->size : (uint64_t)from;
	off_t to = unknown || from < 0 ? -1 : lseek(c->in_fd, from, SEEK_HOLE);
	*end = to < 0 || (uint64_t)to > c->size ? c->size : (uint64_t)to;
}

static int copy_extents(struct copying *c)
{
	for (uint64_t at = 0; at < c->size;) {
		uint64_t data, end;
		next_data(c, at, &data, &end);
		hash_zeros(c, data - at);
		int r = copy_data(c, data, end);
		if (r < 0)
			return r;
		at = end;
	}
	return 0;
}

/* SEEK_DATA answers "no more data" beyond the end too: a file that is too short must not become
 * one that ends in a hole. */
static int check_length(int fd, uint64_t size)
{
	struct stat st;
	if (fstat(fd, &st) < 0)
		return -errno;
	return (uint64_t)st.st_size < size ? -EAGAIN : 0;
}

static int copy_whole(struct copying *c)
{
	int r = check_length(c->in_fd, c->size);
	if (r < 0)
		return r;
	/* Emptied first, so that what is a hole there is one here. */
	int hit = fault_point("truncate");
	if (hit || ftruncate(c->out_fd, 0) < 0)
		return hit ? -hit : -errno;
	r = copy_extents(c);
	if (r == 0 && ftruncate(c->out_fd, (off_t)c->size) < 0)
		r = -errno;
	return r < 0 ? r : check_length(c->in_fd, c->size);
}

/* @return 0, -EOPNOTSUPP when it has to be copied, or another errno */
static int clone_whole(int in_fd, int out_fd, uint64_t size)
{
	int hit = fault_point("clone");
	if (hit)
		return -hit;
	if (ioctl(out_fd, FICLONE, in_fd) < 0)
		return -EOPNOTSUPP; /* whatever it was: copying says it better or succeeds */
	int r = check_length(out_fd, size);
	if (r == 0 && ftruncate(out_fd, (off_t)size) < 0)
		r = -errno;
	return r;
}

static int copy_any(uint8_t *hash, int in_fd, int out_fd, uint64_t size, bool can_clone)
{
	if (can_clone) {
		int r = clone_whole(in_fd, out_fd, size);
		if (r == 0 && hash)
			return hash_content(hash, out_fd, size, NULL, NULL);
		if (r != -EOPNOTSUPP)
			return r;
	}
	struct copying c = {.in_fd = in_fd, .out_fd = out_fd, .size = size};
	c.hasher = hash ? hasher_new() : NULL;
	int r = copy_whole(&c);
	if (r == 0 && hash)
		hasher_end(c.hasher, hash);
	hasher_free(c.hasher);
	free(c.piece);
	return r;
}

int copy_content(int in_fd, int out_fd, uint64_t size, bool can_clone, struct err *err)
{
	int r = copy_any(NULL, in_fd, out_fd, size, can_clone);
	return r < 0 ? err_sys(err, -r, "copy content") : 0;
}

int copy_content_hashed(uint8_t hash[HASH_LEN], int in_fd, int out_fd, uint64_t size,
			bool can_clone, struct err *err)
{
	int r = copy_any(hash, in_fd, out_fd, size, can_clone);
	return r < 0 ? err_sys(err, -r, "copy content") : 0;
}

static int hash_pieces(struct hasher *hasher, int fd, uint64_t size, uint64_t *counter)
{
	AUTO_FREE uint8_t *piece = x_calloc(1, size < COPY_PIECE ? size : COPY_PIECE);
	for (uint64_t at = 0; at < size;) {
		size_t want = size - at < COPY_PIECE ? (size_t)(size - at) : COPY_PIECE;
		ssize_t n = pread(fd, piece, want, (off_t)at);
		if (n <= 0)
			return n < 0 ? -errno : -EAGAIN;
		hasher_add(hasher, piece, (size_t)n);
		if (counter)
			__atomic_fetch_add(counter, (uint64_t)n, __ATOMIC_RELAXED);
		at += (uint64_t)n;
	}
	return 0;
}

int hash_content(uint8_t hash[HASH_LEN], int fd, uint64_t size, uint64_t *counter, struct err *err)
{
	struct hasher *hasher = hasher_new();
	int r = hash_pieces(hasher, fd, size, counter);
	if (r == 0)
		hasher_end(hasher, hash);
	hasher_free(hasher);
	return r < 0 ? err_sys(err, -r, "read content") : 0;
}
