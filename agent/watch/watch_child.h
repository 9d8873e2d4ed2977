/* watch_child.h - one running artifact-sync-watch: process, pipes, records. It is used once; who
 * wants another starts another (watcher.c). Thread: the loop. */
#ifndef WATCH_WATCH_CHILD_H
#define WATCH_WATCH_CHILD_H

#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "agent/base/err.h"
#include "agent/watch/watch_pipe.h"

struct watch_child;

struct watch_child_root {
	int fd; /* inherited by the child; may be closed after the start */
	char *at;
};

struct watch_child_events {
	void *owner;
	void (*record)(void *owner, const struct watch_record *record);
	/* it died, or said what is no record; once, and nothing follows. It is to be ended still.
	 */
	void (*died)(void *owner, const char *why);
	/* after watch_child_end(): *child is gone */
	void (*ended)(void *owner);
};

/**
 * @param program  its path
 * @return 0, or negative errno with *out NULL; nothing is called then
 */
int watch_child_start(struct watch_child **out, uv_loop_t *loop, const char *program,
		      const struct watch_child_root *roots, size_t n_roots,
		      const struct watch_child_events *events, struct err *err);
void watch_child_fence(struct watch_child *child, uint64_t nonce);
/* Kills it. Nothing but ended() is called from now on; may be called from inside record(). */
void watch_child_end(struct watch_child *child);

#endif
