#include "agent/sync/stage_output.h"

#include <errno.h>
#include <linux/fs.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/base/alloc.h"
#include "agent/base/fault.h"

#define PAGE 4096u	       /* what clones and holes align to */
#define HOLE_MIN (64u * 1024)  /* shorter runs of zeros are written: each hole is an extent more */
#define CLONE_MIN (64u * 1024) /* likewise for clones */
#define CLONES_MAX 10000       /* a delta of many small ranges must not shred the file */
#define COPY_LEN (256u * 1024)

static const uint8_t zero_bytes[HOLE_MIN];

int stage_output_open(struct stage_output *o, const struct root *root, uint64_t size, bool hashed,
		      struct err *err)
{
	*o = (struct stage_output){.root = root, .fd = -1, .size = size};
	o->fd = stage_create(o->temp, root, err);
	if (o->fd < 0) {
		o->temp[0] = '\0';
		return o->fd;
	}
	if (hashed)
		o->hasher = hasher_new();
	return 0;
}

void stage_output_release(struct stage_output *o)
{
	if (o->fd >= 0)
		close(o->fd);
	if (o->temp[0])
		stage_discard_or_later(o->root, o->temp, NULL);
	hasher_free(o->hasher);
	free(o->copied);
	*o = (struct stage_output){.fd = -1};
}

static int write_at(struct stage_output *o, const uint8_t *bytes, size_t len, uint64_t at,
		    struct err *err)
{
	int fault = fault_point("stage-write");
	if (fault)
		return err_sys(err, fault, "write to staging");
	while (len > 0) {
		ssize_t n = pwrite(o->fd, bytes, len, (off_t)at);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return err_sys(err, errno, "write to staging");
		bytes += n;
		len -= (size_t)n;
		at += (uint64_t)n;
	}
	return 0;
}

/* Data or the end follows a run of zeros: a long one stays a hole. */
static int settle_zeros(struct stage_output *o, struct err *err)
{
	uint64_t zeros = o->zeros;
	o->zeros = 0;
	if (zeros == 0 || zeros >= HOLE_MIN)
		return 0;
	return write_at(o, zero_bytes, (size_t)zeros, o->at - zeros, err);
}

static int put_data(struct stage_output *o, const uint8_t *bytes, size_t len, struct err *err)
{
	if (len == 0)
		return 0;
	int r = settle_zeros(o, err);
	if (r == 0)
		r = write_at(o, bytes, len, o->at, err);
	o->at += len;
	return r;
}

static bool is_zero(const uint8_t *bytes, size_t len)
{
	return bytes[0] == 0 && memcmp(bytes, bytes + 1, len - 1) == 0;
}

/* Writes what is not zero in as few calls as possible, page by page of the output. */
static int put_sparse(struct stage_output *o, const uint8_t *bytes, size_t len, struct err *err)
{
	size_t data =
		0; /* bytes + data .. bytes + i is yet to be written; o->at is where it goes */
	for (size_t i = 0, n; i < len; i += n) {
		size_t to_page_end = PAGE - (o->at + (i - data)) % PAGE;
		n = len - i < to_page_end ? len - i : to_page_end;
		if (!is_zero(bytes + i, n))
			continue;
		int r = put_data(o, bytes + data, i - data, err);
		if (r < 0)
			return r;
		data = i + n;
		o->zeros += n;
		o->at += n;
	}
	return put_data(o, bytes + data, len - data, err);
}

int stage_output_write(struct stage_output *o, const uint8_t *bytes, size_t len, struct err *err)
{
	if (len > o->size - o->at)
		return err_set(err, -EBADMSG, "more content than the announced size");
	if (o->hasher)
		hasher_add(o->hasher, bytes, len);
	return put_sparse(o, bytes, len, err);
}

/* @return bytes read, 0 at the end of the file, negative errno */
static int64_t read_piece(struct stage_output *o, int fd, uint64_t from, uint64_t len,
			  struct err *err)
{
	ssize_t n;
	if (!o->copied)
		o->copied = x_calloc(1, COPY_LEN);
	do {
		n = pread(fd, o->copied, len < COPY_LEN ? (size_t)len : COPY_LEN, (off_t)from);
	} while (n < 0 && errno == EINTR);
	return n < 0 ? err_sys(err, errno, "read the bytes to be copied") : n;
}

static int copy_bytes(struct stage_output *o, int fd, uint64_t from, uint64_t len, struct err *err)
{
	while (len > 0) {
		int64_t n = read_piece(o, fd, from, len, err);
		if (n <= 0) /* whichever it is, these bytes cannot be had here: they must be sent */
			return err_set(err, -EBADMSG,
				       "the file that is copied from cannot be read");
		int r = stage_output_write(o, o->copied, (size_t)n, err);
		if (r < 0)
			return r;
		from += (uint64_t)n;
		len -= (uint64_t)n;
	}
	return 0;
}

/* Hashes a range that was just cloned. It is read from our own file: what it was cloned from may
 * have changed since, and then the hash would vouch for bytes that are not there. */
static int hash_cloned(struct stage_output *o, uint64_t len, struct err *err)
{
	uint64_t end = o->at + len;
	while (o->at < end) {
		int64_t n = read_piece(o, o->fd, o->at, end - o->at, err);
		if (n <= 0)
			return n < 0 ? (int)n : err_set(err, -EIO, "a cloned range ends too early");
		if (o->hasher)
			hasher_add(o->hasher, o->copied, (size_t)n);
		o->at += (uint64_t)n;
	}
	return 0;
}

/* @return 1 cloned, 0 not possible: copy the bytes, negative errno */
static int clone_range(struct stage_output *o, int fd, uint64_t from, uint64_t len, struct err *err)
{
	struct file_clone_range range = {
		.src_fd = fd, .src_offset = from, .src_length = len, .dest_offset = o->at};
	int fault = fault_point("stage-clone");
	if (fault)
		return err_sys(err, fault, "clone into staging");
	int r = settle_zeros(o, err);
	if (r < 0)
		return r;
	if (ioctl(o->fd, FICLONERANGE, &range) < 0) {
		o->clone_failed = true; /* whatever it was, writing the bytes will tell */
		return 0;
	}
	o->clones++;
	r = hash_cloned(o, len, err);
	return r < 0 ? r : 1;
}

int stage_output_copy(struct stage_output *o, int fd, uint64_t from, uint64_t len, struct err *err)
{
	if (len > o->size - o->at)
		return err_set(err, -EBADMSG, "more content than the announced size");
	uint64_t head = (PAGE - o->at % PAGE) % PAGE;
	uint64_t middle = len > head ? (len - head) / PAGE * PAGE : 0;
	if (!o->root->can_clone || o->clone_failed || o->clones >= CLONES_MAX ||
	    middle < CLONE_MIN || from % PAGE != o->at % PAGE)
		return copy_bytes(o, fd, from, len, err);
	int r = copy_bytes(o, fd, from, head, err);
	if (r < 0)
		return r;
	r = clone_range(o, fd, from + head, middle, err);
	if (r == 0)
		r = copy_bytes(o, fd, from + head, middle, err);
	if (r < 0)
		return r;
	return copy_bytes(o, fd, from + head + middle, len - head - middle, err);
}

/* The last bytes of the file; a hole at the end needs its length set. */
static int settle_end(struct stage_output *o, struct err *err)
{
	if (o->zeros < HOLE_MIN)
		return settle_zeros(o, err);
	int fault = fault_point("stage-write");
	if (fault)
		return err_sys(err, fault, "set the length of a staged file");
	if (ftruncate(o->fd, (off_t)o->size) < 0)
		return err_sys(err, errno, "set the length of a staged file");
	return 0;
}

int stage_output_finish(struct staged *out, struct stage_output *o, const struct record *record,
			const struct meta_policy *policy, struct err *err)
{
	struct stat st;
	uint8_t hash[HASH_LEN];
	if (o->at != o->size)
		return err_set(err, -EBADMSG, "less content than the announced size");
	if (o->hasher) {
		hasher_end(o->hasher, hash);
		if (memcmp(hash, record->hash, HASH_LEN) != 0)
			return err_set(err, -EBADMSG, "the content has not the announced hash");
	}
	int r = settle_end(o, err);
	if (r < 0)
		return r;
	/* Last: every write would move the modification time. */
	r = meta_apply(o->fd, record, record->mtime_ns, policy, err);
	if (r < 0)
		return r;
	if (fstat(o->fd, &st) < 0)
		return err_sys(err, errno, "look at a staged file");
	memcpy(out->temp, o->temp, sizeof(out->temp));
	stage_made(out, &st);
	o->temp[0] = '\0';
	return 0;
}
