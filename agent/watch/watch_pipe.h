/* watch_pipe.h - what artifact-sync-watch and the agent say to each other over the child's standard
 * output and input. Both are the same build on the same machine; still every length is judged.
 * Pure: no descriptors. Thread: any.
 *
 * A record (child -> agent), big-endian:  u8 type | u8 root | u32 length | payload of that length
 *   READY         every root is watched as far as the limit allows; also later, after scan-only
 * mode CHANGED       u8 hint | path         the path may have changed SUBTREE       u16 length |
 * path | why   everything at and beneath may have changed FENCE         u64 nonce | u8 complete all
 * that had happened before the command was handed over; complete = 0: what is not watched was not
 * seen ROOT_SUSPECT  the root with that index was deleted, moved or unmounted COUNTS        u64
 * directories | u64 watched | u64 overflows | text: what limits, "" if nothing does A command
 * (agent -> child):  u8 'F' | u64 nonce. End of input ends the child. `root` is the index of the
 * argument the root came with; paths are relative to the tree. */
#ifndef WATCH_WATCH_PIPE_H
#define WATCH_WATCH_PIPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/base/buf.h"

#define WATCH_PATH_MAX 4095 /* bytes of a path in the tree; longer ones are not replicated */
#define WATCH_TEXT_MAX 159  /* bytes of a reason or limit */
#define WATCH_HEADER_LEN 6  /* type, root, length */
#define WATCH_PAYLOAD_MAX (2 + WATCH_PATH_MAX + WATCH_TEXT_MAX)
#define WATCH_COMMAND_LEN 9
#define WATCH_COMMAND_FENCE 'F'

enum watch_record_type {
	WATCH_READY = 1,
	WATCH_CHANGED,
	WATCH_SUBTREE,
	WATCH_FENCE,
	WATCH_ROOT_SUSPECT,
	WATCH_COUNTS,
};

enum watch_hint {
	WATCH_SETTLED, /* closed after write, moved, deleted, created, metadata: settle_ms apply */
	WATCH_OPEN,    /* written to and still open */
};

/* One record; the fields that its type does not have are zero or "". */
struct watch_record {
	enum watch_record_type type;
	uint8_t root;
	uint8_t hint; /* enum watch_hint */
	bool complete;
	uint64_t nonce;
	uint64_t directories, watched, overflows;
	char path[WATCH_PATH_MAX + 1];
	char text[WATCH_TEXT_MAX + 1]; /* why, or the limit */
};

/* Appends the record. A path longer than WATCH_PATH_MAX is a broken invariant; a longer text is
 * cut. */
void watch_pipe_put_simple(struct buf *out, enum watch_record_type type, uint8_t root);
void watch_pipe_put_changed(struct buf *out, uint8_t root, uint8_t hint, const char *path);
void watch_pipe_put_subtree(struct buf *out, uint8_t root, const char *path, const char *why);
void watch_pipe_put_fence(struct buf *out, uint64_t nonce, bool complete);
void watch_pipe_put_counts(struct buf *out, uint64_t directories, uint64_t watched,
			   uint64_t overflows, const char *limit);

/**
 * Reads the record at the front of data.
 * @param out  undefined unless a record was read
 * @return the bytes it took; 0 when more are needed; -EBADMSG when these are no record
 */
long watch_pipe_get(struct watch_record *out, const uint8_t *data, size_t len);

void watch_pipe_put_command(uint8_t out[WATCH_COMMAND_LEN], uint64_t nonce);
/* @return WATCH_COMMAND_LEN, 0 when more bytes are needed, or -EBADMSG */
long watch_pipe_get_command(uint64_t *nonce, const uint8_t *data, size_t len);

#endif
