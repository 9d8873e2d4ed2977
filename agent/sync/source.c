#include "agent/sync/source.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/base/hash.h"

struct source {
	int fd;
	struct file_stat expected;
	uint64_t at;
};

static int check_stat(int fd, const struct file_stat *expected, struct err *err)
{
	struct stat st;
	struct file_stat now;
	if (fstat(fd, &st) < 0)
		return err_sys(err, errno, "look at the file");
	file_stat_from(&now, &st);
	if (!file_stat_equal(&now, expected))
		return err_set(err, -EAGAIN, "changed since it was indexed");
	return 0;
}

/* @return a descriptor, or negative errno */
static int open_checked(const struct tree *tree, const struct index_entry *entry, struct err *err)
{
	const char *sub;
	const struct root *root = tree_resolve(tree, entry->rec.path, &sub);
	/* O_NONBLOCK: a FIFO that took the name must not hold the worker. */
	AUTO_CLOSE int fd = root_open(root, sub, O_RDONLY | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC, 0);
	if (fd < 0 && (errno_is_absence(-fd) || fd == -EXDEV))
		return err_set(err, -EAGAIN, "gone since it was indexed");
	if (fd < 0)
		return err_sys(err, -fd, "open the file");
	int r = check_stat(fd, &entry->inst, err);
	return r < 0 ? r : STEAL_FD(fd);
}

int source_open(struct source **out, const struct tree *tree, const struct index_entry *entry,
		struct err *err)
{
	int fd = open_checked(tree, entry, err);
	if (fd < 0)
		return fd;
	struct source *s = x_calloc(1, sizeof(*s));
	s->fd = fd;
	s->expected = entry->inst;
	*out = s;
	return 0;
}

void source_free(struct source *s)
{
	if (!s)
		return;
	close(s->fd);
	free(s);
}

/* @return bytes (> 0), 0 at the end of the file, negative errno */
static int64_t read_at(int fd, void *out, size_t len, uint64_t at, struct err *err)
{
	ssize_t n;
	do {
		n = pread(fd, out, len, (off_t)at);
	} while (n < 0 && errno == EINTR);
	return n < 0 ? err_sys(err, errno, "read the file") : n;
}

int64_t source_read(struct source *s, void *out, size_t max, struct err *err)
{
	uint64_t left = s->expected.size - s->at;
	if (left == 0)
		return 0; /* one that grew is noticed by source_finish() */
	int64_t n = read_at(s->fd, out, left < max ? (size_t)left : max, s->at, err);
	if (n == 0)
		return err_set(err, -EAGAIN, "became shorter while it was read");
	if (n > 0)
		s->at += (uint64_t)n;
	return n;
}

int source_delta(struct delta_job **out, const struct source *s, const uint8_t *sig, size_t sig_len,
		 uint64_t basis_size, struct err *err)
{
	return delta_job_new(out, sig, sig_len, basis_size, s->fd, s->expected.size, err);
}

int source_signature(uint8_t **out, size_t *len, const struct source *s, struct err *err)
{
	return delta_signature(out, len, s->fd, s->expected.size, err);
}

int source_finish(const struct source *s, struct err *err)
{
	return check_stat(s->fd, &s->expected, err);
}

static int read_whole(uint8_t *out, int fd, const struct index_entry *entry, struct err *err)
{
	uint8_t hash[HASH_LEN];
	size_t size = (size_t)entry->inst.size;
	for (size_t at = 0; at < size;) {
		int64_t n = read_at(fd, out + at, size - at, at, err);
		if (n < 0)
			return (int)n;
		if (n == 0)
			return err_set(err, -EAGAIN, "became shorter while it was read");
		at += (size_t)n;
	}
	int r = check_stat(fd, &entry->inst, err);
	if (r < 0)
		return r;
	/* A change within one tick of the file system's clock shows in nothing but this. */
	hash_bytes(hash, out, size);
	if (size != entry->rec.size || memcmp(hash, entry->rec.hash, HASH_LEN) != 0)
		return err_set(err, -EAGAIN, "changed since it was indexed");
	return 0;
}

int source_small(struct buf *out, const struct tree *tree, const struct index_entry *entry,
		 size_t max, struct err *err)
{
	if (entry->inst.size > max)
		return err_set(err, -EFBIG, "larger than %zu bytes", max);
	AUTO_CLOSE int fd = open_checked(tree, entry, err);
	if (fd < 0)
		return fd;
	size_t before = out->len;
	int r = read_whole(buf_extend(out, (size_t)entry->inst.size), fd, entry, err);
	if (r < 0)
		out->len = before;
	return r;
}
