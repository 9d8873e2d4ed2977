/* delta_signature.c - making signatures, and judging those that come from a peer or the cache
 * before librsync sees them: it accepts any header, aborts the process when memory runs out, and
 * builds its hash table in quadratic time from sums that a file's author can make collide at will.
 */
#include "agent/sync/delta.h"

#include <assert.h>
#include <errno.h>
#include <librsync.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/sync/delta_format.h"

static_assert(SIGNATURE_MAGIC == RS_RK_BLAKE2_SIG_MAGIC, "the fixed format is librsync's default");

#define BLOCK_STEP 4096u /* blocks of whole pages can be cloned */
#define BLOCK_USUAL_MAX (128u * 1024)
#define COLLISIONS_MAX \
	64 /* distinct blocks of one weak sum; 16,000 take librsync half a second to index */
#define READ_LEN (256u * 1024)

static void discard_trace(rs_loglevel level, const char *text)
{
	(void)level;
	(void)text; /* lines that a peer can trigger; results are judged, not read from a log */
}

void delta_init(void)
{
	rs_trace_set_level(RS_LOG_CRIT);
	rs_trace_to(discard_trace);
}

static uint64_t round_up(uint64_t v, uint64_t step)
{
	return (v + step - 1) / step * step;
}

/* The smallest multiple of BLOCK_STEP whose square reaches size. */
static uint64_t square_block(uint64_t size)
{
	uint64_t block = BLOCK_STEP;
	while (block < BLOCK_USUAL_MAX && block * block < size)
		block += BLOCK_STEP;
	return block;
}

uint32_t delta_block_len(uint64_t size)
{
	if (size > DELTA_SIZE_MAX)
		size = DELTA_SIZE_MAX;
	uint64_t block = square_block(size);
	uint64_t fewest = round_up((size + DELTA_BLOCKS_MAX - 1) / DELTA_BLOCKS_MAX, BLOCK_STEP);
	return (uint32_t)(block > fewest ? block : fewest);
}

static uint64_t block_count(uint64_t size)
{
	uint32_t block = delta_block_len(size);
	return size / block + (size % block != 0);
}

size_t delta_signature_len(uint64_t size)
{
	uint64_t capped = size > DELTA_SIZE_MAX ? DELTA_SIZE_MAX : size;
	return SIGNATURE_HEADER_LEN + block_count(capped) * SIGNATURE_ENTRY_LEN;
}

/* Fills the buffer unless the file ends. @return bytes read, or negative errno */
static ssize_t read_full(int fd, uint8_t *out, size_t len, uint64_t offset)
{
	size_t done = 0;
	while (done < len) {
		ssize_t n = pread(fd, out + done, len - done, (off_t)(offset + done));
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			break;
		done += (size_t)n;
	}
	return (ssize_t)done;
}

/* Reads the next piece; at the end makes sure that the file ends there too. */
static int read_piece(int fd, uint8_t *piece, size_t *n, uint64_t offset, uint64_t size,
		      struct err *err)
{
	uint8_t beyond;
	uint64_t left = size - offset;
	*n = left < READ_LEN ? (size_t)left : READ_LEN;
	ssize_t got = read_full(fd, piece, *n, offset);
	if (got >= 0 && (size_t)got == *n && left == *n) {
		ssize_t more = read_full(fd, &beyond, 1, size);
		got = more > 0 ? (ssize_t)*n + 1 : more < 0 ? more : got;
	}
	if (got < 0)
		return err_sys(err, (int)-got, "read for a signature");
	if ((size_t)got != *n)
		return err_set(err, -EAGAIN, "the file changed its length while it was read");
	return 0;
}

static int signature_run(rs_job_t *job, rs_buffers_t *io, int fd, uint64_t size, struct err *err)
{
	AUTO_FREE uint8_t *piece = x_calloc(1, READ_LEN);
	uint64_t offset = 0;
	rs_result result = RS_BLOCKED;
	while (result == RS_BLOCKED) {
		size_t n;
		int r = read_piece(fd, piece, &n, offset, size, err);
		if (r < 0)
			return r;
		offset += n;
		io->next_in = (char *)piece;
		io->avail_in = n;
		io->eof_in = offset == size;
		result = rs_job_iter(job, io);
		/* The output has its exact length, so a stop short of the end is our mistake. */
		if (result == RS_BLOCKED && (io->avail_in > 0 || io->eof_in))
			return err_set(err, -EIO, "librsync stopped within a signature");
	}
	if (result != RS_DONE)
		return err_set(err, result == RS_MEM_ERROR ? -ENOMEM : -EIO, "librsync: %s",
			       rs_strerror(result));
	return 0;
}

int delta_signature(uint8_t **out, size_t *len, int fd, uint64_t size, struct err *err)
{
	if (size > DELTA_SIZE_MAX)
		return err_set(err, -EFBIG, "too large for a signature: it will be sent whole");
	size_t exact = delta_signature_len(size);
	AUTO_FREE uint8_t *sig = x_calloc(1, exact);
	rs_job_t *job =
		rs_sig_begin(delta_block_len(size), SIGNATURE_STRONG_LEN, RS_RK_BLAKE2_SIG_MAGIC);
	if (!job)
		return err_set(err, -ENOMEM, "librsync began no signature");
	rs_buffers_t io = {.next_out = (char *)sig, .avail_out = exact};
	int r = signature_run(job, &io, fd, size, err);
	rs_job_free(job);
	if (r < 0)
		return r;
	if (io.avail_out != 0)
		return err_set(err, -EIO, "librsync made a signature of an unexpected length");
	*out = STEAL(sig);
	*len = exact;
	return 0;
}

static int compare_entries(const void *a, const void *b)
{
	return memcmp(a, b, SIGNATURE_ENTRY_LEN);
}

/* Entries begin with the weak sum, so sorted whole they stand grouped by it, equal ones side by
 * side. */
static int check_collisions(const uint8_t *entries, size_t n)
{
	AUTO_FREE uint8_t *sorted = x_memdup(entries, n * SIGNATURE_ENTRY_LEN);
	unsigned distinct = 1;
	qsort(sorted, n, SIGNATURE_ENTRY_LEN, compare_entries);
	for (size_t i = 1; i < n; i++) {
		const uint8_t *now = sorted + i * SIGNATURE_ENTRY_LEN;
		const uint8_t *before = now - SIGNATURE_ENTRY_LEN;
		if (memcmp(now, before, 4) != 0)
			distinct = 1;
		else if (memcmp(now, before, SIGNATURE_ENTRY_LEN) != 0)
			distinct++;
		if (distinct > COLLISIONS_MAX)
			return -E2BIG;
	}
	return 0;
}

int delta_signature_check(const uint8_t *sig, size_t len, uint64_t basis_size)
{
	if (basis_size > DELTA_SIZE_MAX || len != delta_signature_len(basis_size))
		return -EBADMSG;
	if (get_be32(sig) != SIGNATURE_MAGIC || get_be32(sig + 4) != delta_block_len(basis_size) ||
	    get_be32(sig + 8) != SIGNATURE_STRONG_LEN)
		return -EBADMSG;
	return check_collisions(sig + SIGNATURE_HEADER_LEN, block_count(basis_size));
}
