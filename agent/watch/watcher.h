/* watcher.h - the agent's end of artifact-sync-watch: starts it, reads its records, starts it again
 * when it dies. Events are hints: "(path) may have changed". Thread: the loop. */
#ifndef WATCH_WATCHER_H
#define WATCH_WATCHER_H

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "agent/base/err.h"
#include "agent/fs/tree.h"

struct watcher;

enum watch_hint {
	WATCH_SETTLED, /* closed after write, moved, deleted, created, metadata: settle_ms apply */
	WATCH_OPEN,    /* written to and still open */
};

struct watcher_events {
	void *owner;
	/* path is relative to the tree; borrowed for the call */
	void (*changed)(void *owner, const char *path, enum watch_hint hint);
	/* everything at and beneath `path` must be scanned: new directory, overflow, restart of the child, mount */
	void (*subtree)(void *owner, const char *path, const char *why);
	/* all roots are watched as far as the limit allows; also after a restart */
	void (*ready)(void *owner);
	/* answer to watcher_fence(): everything before it has been handed over */
	void (*fenced)(void *owner, uint64_t nonce);
	/* a root vanished, moved or was unmounted: the owner should tree_check() */
	void (*root_suspect)(void *owner, const char *at);
	/* after watcher_close(): nothing of the watcher is in use any more */
	void (*closed)(void *owner);
};

struct watcher_counts {
	uint64_t directories; /* present */
	uint64_t watched;
	uint64_t overflows;
	uint64_t restarts;
	bool running;
	char limit[160];      /* the sysctl to raise, "" while the limit is not reached */
};

/**
 * Starts the child. It is found beside the agent's own program (or $ARTIFACT_SYNC_WATCH).
 * @param tree  borrowed; its root descriptors are inherited by the child; unhealthy roots are not watched
 */
int watcher_start(struct watcher **out, uv_loop_t *loop, const struct tree *tree,
		  const struct watcher_events *events, struct err *err);
/* Roots changed: the child is started anew, and everything is reported as subtree again. */
void watcher_restart(struct watcher *w, const struct tree *tree);
void watcher_fence(struct watcher *w, uint64_t nonce);
void watcher_counts(const struct watcher *w, struct watcher_counts *out);
void watcher_close(struct watcher *w); /* ends the child; events.closed follows, then *w is gone */

#endif
