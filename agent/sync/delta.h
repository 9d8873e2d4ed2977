/* delta.h - librsync, tamed: signatures and deltas over descriptors, with the limits and the
 * defences that hostile or unlucky data call for; and a parser of our own for applying one. Format
 * fixed to RS_RK_BLAKE2_SIG_MAGIC with 16-byte strong sums: the whole-file SHA-256 is the judge.
 * Blocking; run on a worker, one job or parser by one thread at a time. */
#ifndef SYNC_DELTA_H
#define SYNC_DELTA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/base/alloc.h"
#include "agent/base/buf.h"
#include "agent/base/err.h"

#define DELTA_MIN_SIZE (64 * 1024) /* bytes; below this a delta costs more than the bytes */
#define DELTA_SIZE_MAX \
	(64ull << 30) /* bytes; above it blocks would exceed 1 MiB, which a job holds in memory */
#define DELTA_BLOCKS_MAX 65536 /* librsync indexes them in one call that nothing can interrupt */

void delta_init(void); /* once, before the threads: quietens librsync */

/* clamp(multiple of 4096 >= sqrt(size), 4 KiB, 128 KiB), larger where the block count would exceed
 * DELTA_BLOCKS_MAX. Sizes above DELTA_SIZE_MAX count as that. */
uint32_t delta_block_len(uint64_t size);
/* Exact length of a signature of a file of that size. */
size_t delta_signature_len(uint64_t size);

/**
 * Computes the signature of what fd holds from 0 to size.
 * @param out  heap bytes, the caller frees
 * @return 0, -EAGAIN when the file is not `size` long, -EFBIG above DELTA_SIZE_MAX, errno
 */
int delta_signature(uint8_t **out, size_t *len, int fd, uint64_t size, struct err *err);

/* Is it a signature that a file of `basis_size` has, in our fixed format, without constructed
 * weak-sum collisions?
 * @return 0, -EBADMSG (malformed), -E2BIG (more than 64 blocks share a weak sum: no delta) */
int delta_signature_check(const uint8_t *sig, size_t len, uint64_t basis_size);

/* A delta being generated: pulled in pieces as the link drains. */
struct delta_job;
/**
 * @param sig, len  checked by delta_signature_check() here; not kept
 * @param fd        borrowed until free; read from 0 with pread
 * @return 0, what delta_signature_check() says, -EFBIG when either size is above DELTA_SIZE_MAX,
 * -ENOMEM
 */
int delta_job_new(struct delta_job **out, const uint8_t *sig, size_t len, uint64_t basis_size,
		  int fd, uint64_t size, struct err *err);
/**
 * Appends up to `max` bytes of delta to out. A step reads about 1 MiB at most, so that no worker is
 * kept long: it may return 1 and have appended nothing.
 * @return 1 more to come, 0 complete, -EAGAIN the file changed length, -ECANCELED not worth it (the
 *         first 16 MiB matched less than 5 %, or below 20 MB of input per second of CPU): send
 * whole; errno. After a negative result the job is over.
 */
int delta_job_step(struct delta_job *job, struct buf *out, size_t max, struct err *err);
void delta_job_free(struct delta_job *job);
DEFINE_AUTO(delta_job)

/* Applying: an incremental parser of the delta format. */
struct delta_parser;
struct delta_sink {
	/* return 0 or negative errno, which ends the parse */
	int (*literal)(void *owner, const uint8_t *bytes, size_t len);
	int (*copy)(void *owner, uint64_t from,
		    uint64_t len); /* judged: within basis_size and the output cap */
	void *owner;
};
/* @param sink  copied */
struct delta_parser *delta_parser_new(uint64_t basis_size, uint64_t output_size,
				      const struct delta_sink *sink);
/* The first failure stays: later calls return it again.
 * @return 0, -EBADMSG malformed or bytes after the end, -EFBIG more output than announced, the
 * sink's error */
int delta_parser_feed(struct delta_parser *p, const uint8_t *bytes, size_t len);
/* @return 0 when the END command was seen and output_size bytes were produced, else -EBADMSG */
int delta_parser_end(const struct delta_parser *p);
void delta_parser_free(struct delta_parser *p);
DEFINE_AUTO(delta_parser)

#endif
