/* stage_output.h - one file in stage/ while it is being filled: capped by the announced size,
 * hashed as it grows, sparse where the content is zero, cloned where the file system can. Shared by
 * stage*.c only. */
#ifndef SYNC_STAGE_OUTPUT_H
#define SYNC_STAGE_OUTPUT_H

#include <stdbool.h>
#include <stdint.h>

#include "agent/base/err.h"
#include "agent/base/hash.h"
#include "agent/sync/stage.h"

struct stage_output {
	const struct root *root;
	char temp[STAGE_NAME_MAX]; /* "" = there is no file to discard */
	int fd;
	uint64_t size;	       /* announced: not a byte more is written */
	uint64_t at;	       /* produced so far, with the zeros below */
	uint64_t zeros;	       /* the last so many bytes are zero and not yet written */
	struct hasher *hasher; /* NULL: the caller has verified the bytes */
	uint8_t *copied;       /* buffer, made at the first copy */
	unsigned clones;
	bool clone_failed;
};

/**
 * Creates the file (0600, new).
 * @param hashed  false when the caller has compared the hash of what it is going to write
 * @return 0; -ESTALE while the root is unhealthy; errno. stage_output_release() in any case
 */
int stage_output_open(struct stage_output *o, const struct root *root, uint64_t size, bool hashed,
		      struct err *err);

/* @return 0, -EBADMSG beyond the announced size, errno */
int stage_output_write(struct stage_output *o, const uint8_t *bytes, size_t len, struct err *err);

/* Appends len bytes that `fd` holds from `from` on. @return 0, -EBADMSG beyond the announced size
 * or when fd ends before, errno */
int stage_output_copy(struct stage_output *o, int fd, uint64_t from, uint64_t len, struct err *err);

/* Compares length and hash with the record's, puts its metadata on and hands the object over.
 * @return 0, -EBADMSG when length or hash differ, errno */
int stage_output_finish(struct staged *out, struct stage_output *o, const struct record *record,
			const struct meta_policy *policy, struct err *err);

/* What is noted of an object when nothing is written to it any more. */
void stage_made(struct staged *out, const struct stat *st);

/* Closes; discards the file unless it was handed over. */
void stage_output_release(struct stage_output *o);

#endif
