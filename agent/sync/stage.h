/* stage.h - turning a record and its bytes into a verified object in stage/ of the root it belongs
 * to. Length is capped by the announced size before each write, the SHA-256 must match, metadata is
 * put on the descriptor; nothing here makes data durable (commit does, for the whole batch).
 * Blocking; run on a worker; one stage_stream by one thread at a time. A failure leaves no object
 * behind. */
#ifndef SYNC_STAGE_H
#define SYNC_STAGE_H

#include "agent/base/err.h"
#include "agent/fs/meta.h"
#include "agent/fs/publish.h"
#include "agent/fs/tree.h"
#include "protocol/record.h"

struct stage_env {
	struct tree *tree;
	struct meta_policy policy;
};

struct staged {
	char temp[STAGE_NAME_MAX]; /* "" = nothing was staged (directory, metadata, deletion) */
	struct file_stat stat;	   /* when it was made; all zero without one */
	uint64_t written_ns;	   /* clock_mono_ns() after the last write to it */
};

/* Has a syncfs begun since that succeeded? Then it need not be synced again. */
static inline bool staged_is_durable(const struct staged *staged, const struct root *root)
{
	return staged->written_ns < root->synced_ns || !*staged->temp;
}

/* Has a syncfs failed since it was written? Then it may not be what was written, and no later sync
 * would say so. */
static inline bool staged_is_spoilt(const struct staged *staged, const struct root *root)
{
	return *staged->temp && staged->written_ns <= root->unsynced_ns;
}

/* A file whose content is at hand. @return 0; -EBADMSG: length or hash differs from the record;
 * errno */
int stage_bytes(struct staged *out, const struct stage_env *env, const struct record *record,
		const void *bytes, size_t len, struct err *err);

/* A symbolic link. */
int stage_symlink(struct staged *out, const struct stage_env *env, const struct record *record,
		  struct err *err);

/* A file with the bytes found at `hint`: cloned where possible, else copied; hash verified.
 * @return 0; -ENOENT: not there or not those bytes (answer NEED_CONTENT) */
int stage_ref(struct staged *out, const struct stage_env *env, const struct record *record,
	      const char *hint, struct err *err);

/* The same, from an open file. @return 0; -ENOENT: not those bytes */
int stage_copy(struct staged *out, const struct stage_env *env, const struct record *record, int fd,
	       struct err *err);

/* A file that arrives in pieces. */
struct stage_stream;
/**
 * @param env, record  what is needed of them is copied; env->tree must outlive the stream
 * @param basis  NULL for whole content; else the expected hash of what is at record->path now: a
 * delta follows, and its COPY commands read from there. The hash is not compared: that of the
 * result is the judge.
 * @return 0; -ENOENT when no regular file can be opened and read there (answer NEED_CONTENT);
 * -ESTALE while the root is unhealthy; errno
 */
int stage_stream_open(struct stage_stream **out, const struct stage_env *env,
		      const struct record *record, const uint8_t *basis, struct err *err);
/* @return 0; -EBADMSG for a delta that is malformed or exceeds the announced size; errno */
int stage_stream_write(struct stage_stream *s, const void *bytes, size_t len, struct err *err);
/* Verifies length, delta end and hash, applies metadata. The stream is over whatever is returned.
 */
int stage_stream_finish(struct staged *out, struct stage_stream *s, struct err *err);
void stage_stream_free(struct stage_stream *s); /* discards the object unless finished */

/* Removes from stage/ of every healthy root what `keep` does not claim (NULL: everything). It is
 * asked with names as they stand there, so also with the `<temp>~` of publish_recover(). At start,
 * after roll-forward. */
int stage_clean(struct tree *tree, bool (*keep)(const char *temp, void *arg), void *arg,
		struct err *err);

#endif
