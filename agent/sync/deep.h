/* deep.h - reading every file again and comparing it with the index: bit rot, edits that kept the
 * timestamps, a lying disk. In slices on a worker, behind everything else. Thread: the loop. */
#ifndef SYNC_DEEP_H
#define SYNC_DEEP_H

#include <uv.h>

#include "agent/sync/capture.h"

struct deep;

struct deep_events {
	void *owner;
	void (*difference)(void *owner, const char *path, const char *why);
	void (*progress)(void *owner, uint64_t files, uint64_t bytes);
	/* 0, negative errno, or -ECANCELED after deep_close(). *deep is gone. */
	void (*done)(void *owner, int result, const char *why);
};

/* @param env  borrowed until done */
struct deep *deep_start(uv_loop_t *loop, const struct capture_env *env,
			const struct deep_events *events);
void deep_close(struct deep *deep);

#endif
