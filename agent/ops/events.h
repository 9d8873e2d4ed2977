/* events.h - what the agent did that is worth telling, kept where `artifact-sync events` finds it:
 * the log's lines of level info and above, one JSON object a line in <state_dir>/events.jsonl.
 * Members: time (RFC 3339, UTC, milliseconds), level, module, text, and `fields` when the text is
 * nothing but key=value.
 *
 * A convenience; the ledger is the proof. Nothing is synced, and what cannot be written is lost.
 * Past EVENTS_MAX the file becomes events.jsonl.1, and the one that was called so is gone. */
#ifndef OPS_EVENTS_H
#define OPS_EVENTS_H

#include <jansson.h>
#include <stdint.h>

#include "agent/base/err.h"
#include "agent/base/log.h"

#define EVENTS_NAME "events.jsonl"
#define EVENTS_OLD_NAME "events.jsonl.1"
#define EVENTS_MAX (4u << 20)	    /* bytes of one file */
#define EVENTS_LINE_MAX (16u << 10) /* bytes; a line of the log has at most 2 KiB */

/* ---- writing: one process, the one that has the state directory's lock ------------------------
 */

struct events;

/**
 * Opens the file, or makes it (0600), and takes away a last line that a crash left unfinished.
 * @return 0 with *out, or negative errno
 */
int events_open(struct events **out, const char *state_dir, struct err *err);
void events_close(struct events *events); /* NULL is a no-op; it is no sink any more */

/* A log_sink, with a struct events. Thread: any, one at a time. */
int events_take(void *events, const struct log_line *line, struct err *err);

/* ---- reading: anybody who may, with or without an agent; blocking -----------------------------
 */

struct events_reader {
	char *state_dir;
	int fd;	     /* -1: none is open */
	int left_fd; /* the file before, still open so that it is known again */
	int64_t at;  /* where the next line begins */
	char *data;  /* what was read from there on */
	size_t begin, len;
	uint64_t bad; /* lines that are no event; the caller may set it to 0 */
};

void events_reader_init(struct events_reader *reader, const char *state_dir);
void events_reader_release(struct events_reader *reader);

/**
 * The next one, the oldest first; across files, also when they are exchanged meanwhile.
 * @param out  a new reference; only with 1
 * @return 1; 0: there is no other yet, ask again later; negative errno
 */
int events_next(struct events_reader *reader, json_t **out, struct err *err);

#endif
