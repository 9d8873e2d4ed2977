/* delta_job.c - a delta pulled from librsync in pieces.
 *
 * Three traps of its delta job shape the loop. It swallows all input it is given into a buffer of
 * its own, so that new input must wait until the last call left room in the output (else the whole
 * file ends up in memory and is moved about at each call). It goes through unmatched data ten times
 * slower than a network would take it. And a file's author can make every byte cost the hash of a
 * block: one block that has the weak sum of a constant run is enough. So the matching is fed in
 * small pieces and stopped where it does not pay: before anything matched, the delta is given up;
 * after that, the rest goes as one literal that we write ourselves. */
#include "agent/sync/delta.h"

#include <errno.h>
#include <librsync.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "agent/sync/delta_format.h"

#define READ_LEN (64u * 1024)
#define SLICE_LEN (1024u * 1024)       /* input per step: 2 ms matched, 20 ms unmatched */
#define WINDOW_LEN (16u * 1024 * 1024) /* input over which matches are counted */
#define MATCHED_MIN_PERCENT 5
#define CPU_GRACE_NS (200ull * 1000 * 1000) /* no judgement on less */
#define FEED_COST \
	(64u * 1024 * 1024) /* bytes that one call of librsync may hash, at worst: 0.1 s */
#define FEED_MIN 4096u	    /* smaller pieces cost more calls than they save */
#define FEED_MAX (16u * 1024)
#define LITERAL_HELD (64u * 1024) /* at least what librsync gathers before it writes a literal */
#define CPU_BYTES_PER_S (20ull * 1000 * 1000)

enum job_phase {
	JOB_MATCHING, /* librsync gets the file */
	JOB_CLOSING,  /* librsync is told that the file ends here; it does not */
	JOB_TAIL,     /* the rest as one literal */
	JOB_DONE,
};

struct delta_job {
	enum job_phase phase;
	rs_signature_t *sumset;
	rs_job_t *rs;
	int fd;
	uint64_t size;
	uint64_t offset;    /* read so far */
	uint64_t fed;	    /* and given to librsync */
	size_t feed_len;    /* at most so much at once */
	uint64_t uncounted; /* bytes of literals that librsync may hold back from its statistics */
	char *in;	    /* READ_LEN */
	size_t in_at, in_len;
	bool out_was_full;
	uint64_t cpu_ns; /* spent in librsync */
	struct {
		uint64_t fed, literal, cpu_ns;
	} window;	 /* as things stood when it began */
	uint8_t head[9]; /* of the tail's literal */
	size_t head_at;
};

static int rs_failed(rs_result result, struct err *err)
{
	return err_set(err, result == RS_MEM_ERROR ? -ENOMEM : -EIO, "librsync: %s",
		       rs_strerror(result));
}

static int load_signature(rs_signature_t **out, const uint8_t *sig, size_t len, struct err *err)
{
	rs_job_t *job = rs_loadsig_begin(out);
	if (!job)
		return err_set(err, -ENOMEM, "librsync began no signature");
	rs_buffers_t io = {.next_in = (char *)sig, .avail_in = len, .eof_in = 1};
	rs_result result = rs_job_iter(job, &io);
	rs_job_free(job);
	/* Anything else than "done" must end here: its next calls assert. */
	if (result == RS_DONE)
		result = rs_build_hash_table(*out);
	return result == RS_DONE ? 0 : rs_failed(result, err);
}

int delta_job_new(struct delta_job **out, const uint8_t *sig, size_t len, uint64_t basis_size,
		  int fd, uint64_t size, struct err *err)
{
	if (basis_size > DELTA_SIZE_MAX || size > DELTA_SIZE_MAX)
		return err_set(err, -EFBIG, "too large for a delta: it will be sent whole");
	int r = delta_signature_check(sig, len, basis_size);
	if (r == -E2BIG)
		return err_set(err, r, "the basis has colliding blocks: it will be sent whole");
	if (r < 0)
		return err_set(err, r, "not a signature of the basis: it will be sent whole");
	AUTO(delta_job) *job = x_calloc(1, sizeof(*job));
	job->fd = fd;
	job->size = size;
	job->uncounted = LITERAL_HELD + delta_block_len(basis_size);
	job->feed_len = FEED_COST / delta_block_len(basis_size);
	job->feed_len = job->feed_len < FEED_MIN   ? FEED_MIN
			: job->feed_len > FEED_MAX ? FEED_MAX
						   : job->feed_len;
	job->in = x_calloc(1, READ_LEN);
	r = load_signature(&job->sumset, sig, len, err);
	if (r < 0)
		return r;
	job->rs = rs_delta_begin(job->sumset);
	if (!job->rs)
		return err_set(err, -ENOMEM, "librsync began no delta");
	*out = STEAL(job);
	return 0;
}

void delta_job_free(struct delta_job *job)
{
	if (!job)
		return;
	if (job->rs)
		rs_job_free(job->rs);
	if (job->sumset)
		rs_free_sumset(job->sumset);
	free(job->in);
	free(job);
}

/* Reads up to len bytes at the offset; at the announced end makes sure that the file ends there
 * too.
 * @return bytes (> 0 unless the announced end was reached before), or negative errno */
static int64_t read_on(struct delta_job *job, void *out, size_t len, struct err *err)
{
	uint64_t left = job->size - job->offset;
	char beyond;
	ssize_t n;
	do {
		n = pread(job->fd, out, left < len ? (size_t)left : len, (off_t)job->offset);
	} while (n < 0 && errno == EINTR);
	if (n < 0)
		return err_sys(err, errno, "read for a delta");
	if (n == 0 && left > 0)
		return err_set(err, -EAGAIN, "the file became shorter while it was read");
	job->offset += (uint64_t)n;
	if (job->offset == job->size && pread(job->fd, &beyond, 1, (off_t)job->size) == 1)
		return err_set(err, -EAGAIN, "the file became longer while it was read");
	return n;
}

static uint64_t thread_cpu_ns(void)
{
	struct timespec t;
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (uint64_t)t.tv_sec * 1000000000ull + (uint64_t)t.tv_nsec;
}

static bool is_unmatched(uint64_t literal, uint64_t of)
{
	return literal > of / 100 * (100 - MATCHED_MIN_PERCENT);
}

/* Matching goes no further: nothing came of it, or at least not lately. */
static int stop_matching(struct delta_job *job, uint64_t literal, const char *why, struct err *err)
{
	if (is_unmatched(literal + job->uncounted, job->fed))
		return err_set(err, -ECANCELED, "%s: it will be sent whole", why);
	job->phase = JOB_CLOSING;
	job->offset = job->fed; /* the tail begins with what was read and not given away */
	job->in_len = 0;
	return 0;
}

/* Is it worth going on? Literals are counted, not copies: librsync merges neighbouring copies and
 * counts them only when a literal ends them, which for an unchanged file is never. */
static int judge(struct delta_job *job, struct err *err)
{
	uint64_t literal = (uint64_t)rs_job_statistics(job->rs)->lit_bytes;
	uint64_t fed = job->fed - job->window.fed;
	uint64_t cpu_ns = job->cpu_ns - job->window.cpu_ns;
	if (job->phase != JOB_MATCHING || job->fed == job->size)
		return 0;
	if (cpu_ns > CPU_GRACE_NS && fed < cpu_ns / 1000 * CPU_BYTES_PER_S / 1000000)
		return stop_matching(job, literal, "the delta takes too much time", err);
	if (fed < WINDOW_LEN)
		return 0;
	if (is_unmatched(literal - job->window.literal, fed))
		return stop_matching(job, literal, "hardly anything matched", err);
	job->window.fed = job->fed;
	job->window.literal = literal;
	job->window.cpu_ns = job->cpu_ns;
	return 0;
}

/* librsync has ended. Where the file goes on, its END command is taken back and a literal begun. */
static int end_matching(struct delta_job *job, struct buf *out, size_t made, struct err *err)
{
	if (job->fed == job->size) {
		job->phase = JOB_DONE;
		return 0;
	}
	/* END is the last thing librsync writes, in the same call that reports the end. */
	if (made == 0 || out->data[out->len - 1] != DELTA_OP_END)
		return err_set(err, -EIO, "librsync ended a delta in an unexpected way");
	out->len--;
	job->head[0] = DELTA_OP_LITERAL_N8;
	put_be64(job->head + 1, job->size - job->fed);
	job->phase = JOB_TAIL;
	return 0;
}

static int read_more(struct delta_job *job, struct err *err)
{
	int64_t n = read_on(job, job->in, READ_LEN, err);
	job->in_at = 0;
	job->in_len = n > 0 ? (size_t)n : 0;
	return n < 0 ? (int)n : 0;
}

static int match(struct delta_job *job, struct buf *out, size_t max, struct err *err)
{
	if (job->phase == JOB_MATCHING && job->in_len == 0) {
		int r = read_more(job, err);
		if (r < 0)
			return r;
	}
	size_t feed = job->out_was_full		    ? 0
		      : job->in_len < job->feed_len ? job->in_len
						    : job->feed_len;
	rs_buffers_t io = {.next_in = job->in + job->in_at,
			   .avail_in = feed,
			   .eof_in = job->phase == JOB_CLOSING ||
				     (job->offset == job->size && feed == job->in_len),
			   .next_out = (char *)buf_extend(out, max),
			   .avail_out = max};
	uint64_t before = thread_cpu_ns();
	rs_result result = rs_job_iter(job->rs, &io);
	job->cpu_ns += thread_cpu_ns() - before;
	job->fed += feed - io.avail_in;
	job->in_at += feed - io.avail_in;
	job->in_len -= feed - io.avail_in;
	job->out_was_full = io.avail_out == 0;
	out->len -= io.avail_out;
	if (result == RS_DONE)
		return end_matching(job, out, max - io.avail_out, err);
	return result == RS_BLOCKED ? judge(job, err) : rs_failed(result, err);
}

static int tail(struct delta_job *job, struct buf *out, size_t max, struct err *err)
{
	if (job->head_at < sizeof(job->head)) {
		buf_append(out, &job->head[job->head_at++], 1);
		return 0;
	}
	if (job->offset == job->size) {
		buf_append(out, &(uint8_t){DELTA_OP_END}, 1);
		job->phase = JOB_DONE;
		return 0;
	}
	size_t len = max < READ_LEN ? max : READ_LEN;
	int64_t n = read_on(job, buf_extend(out, len), len, err);
	out->len -= len - (n > 0 ? (size_t)n : 0);
	return n < 0 ? (int)n : 0;
}

int delta_job_step(struct delta_job *job, struct buf *out, size_t max, struct err *err)
{
	size_t limit = out->len + max;
	uint64_t done = 0; /* of the slice: what librsync took, or the tail gave */
	while (job->phase != JOB_DONE && out->len < limit && done < SLICE_LEN) {
		uint64_t before = job->phase == JOB_TAIL ? job->offset : job->fed;
		size_t room = limit - out->len;
		int r = job->phase == JOB_TAIL ? tail(job, out, room, err)
					       : match(job, out, room, err);
		if (r < 0)
			return r;
		done += (job->phase == JOB_TAIL ? job->offset : job->fed) - before;
	}
	return job->phase == JOB_DONE ? 0 : 1;
}
