/* source.h - the sender's reading side: the content of one indexed version, or the news that it is
 * not there any longer. Beneath its root, between two looks at its stat. Blocking; run on a worker;
 * one source by one thread at a time. */
#ifndef SYNC_SOURCE_H
#define SYNC_SOURCE_H

#include <stddef.h>
#include <stdint.h>

#include "agent/base/alloc.h"
#include "agent/base/buf.h"
#include "agent/base/err.h"
#include "agent/fs/tree.h"
#include "agent/store/store.h"
#include "agent/sync/delta.h"

struct source;

/**
 * Opens what stands at entry->rec.path.
 * @param entry  a file's; borrowed during the call
 * @return 0; -EAGAIN when that is not what the entry says was installed (another version, gone, its
 * root away): the newer version will be captured; another errno when it cannot be read
 */
int source_open(struct source **out, const struct tree *tree, const struct index_entry *entry,
		struct err *err);
void source_free(struct source *source);
DEFINE_AUTO(source)

/**
 * The next bytes of the content.
 * @return how many (> 0), 0 at the end, -EAGAIN when the file became shorter, errno
 */
int64_t source_read(struct source *source, void *out, size_t max, struct err *err);

/* Begins a delta of the content; the job must be freed before the source. Errors: delta_job_new().
 */
int source_delta(struct delta_job **out, const struct source *source, const uint8_t *sig,
		 size_t sig_len, uint64_t basis_size, struct err *err);

/* The signature of the content, for the cache. Errors: delta_signature(). Then source_finish(). */
int source_signature(uint8_t **out, size_t *len, const struct source *source, struct err *err);

/* Call when all has been read, before the receiver is told that it has all.
 * @return 0, or -EAGAIN when the file changed meanwhile: what was read is of no version */
int source_finish(const struct source *source, struct err *err);

/**
 * Reads a whole small file, with the same looks before and after, and compares the hash.
 * @param out  the content is appended; unchanged on failure
 * @return 0, -EFBIG above max, -EAGAIN, errno
 */
int source_small(struct buf *out, const struct tree *tree, const struct index_entry *entry,
		 size_t max, struct err *err);

#endif
