/* watcher.h - the agent's end of artifact-sync-watch: starts it, reads its records, starts it again
 * when it dies. Events are hints: "(path) may have changed". Thread: the loop. */
#ifndef WATCH_WATCHER_H
#define WATCH_WATCHER_H

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "agent/base/err.h"
#include "agent/fs/tree.h"
#include "agent/watch/watch_pipe.h" /* enum watch_hint */

struct watcher;

struct watcher_events {
	void *owner;
	/* path is relative to the tree; borrowed for the call */
	void (*changed)(void *owner, const char *path, enum watch_hint hint);
	/* everything at and beneath `path` must be scanned: start, new directory, overflow, restart
	 * of the child, mount */
	void (*subtree)(void *owner, const char *path, const char *why);
	/* all roots are watched as far as the limit allows, and subtree("") was said; also after a
	 * restart */
	void (*ready)(void *owner);
	/* Answer to watcher_fence(): everything before it has been handed over. complete = false:
	 * not all is watched (limit, the child just died, inotify does not
	 * work): what happened in the rest is found by a scan only. */
	void (*fenced)(void *owner, uint64_t nonce, bool complete);
	/* a root vanished, moved or was unmounted: the owner should tree_check() */
	void (*root_suspect)(void *owner, const char *at);
	/* after watcher_close(): nothing of the watcher is in use any more */
	void (*closed)(void *owner);
};

#define WATCHER_SILENT_MS 60000 /* a walk over a cold disk takes long, but it tells as it goes */

struct watcher_counts {
	uint64_t directories; /* present */
	uint64_t watched;
	uint64_t overflows; /* since watcher_start(), in all children */
	uint64_t restarts;
	uint64_t waiting_ms; /* the oldest fence has waited so long; 0 = none does */
	bool running;	     /* there is a child and it is ready */
	bool complete;	     /* running, and every directory of every healthy root is watched */
	char limit[160];     /* why not, with the sysctl to raise; "" while all is watched */
};

/**
 * Starts the child. It is found beside the agent's own program (or $ARTIFACT_SYNC_WATCH). A child
 * that dies is started again, after 100 ms at first and 10 s at last; one that says nothing for
 * WATCHER_SILENT_MS although it was asked is ended and started again.
 * @param tree    borrowed for the call: its root descriptors are duplicated for the child;
 * unhealthy roots are not watched
 * @param events  copied; called from the loop only, never from inside watcher_start() or _fence()
 * @return 0; -ENOENT or -EACCES when the child's program cannot be run, with what to do
 */
int watcher_start(struct watcher **out, uv_loop_t *loop, const struct tree *tree,
		  const struct watcher_events *events, struct err *err);
/* Roots changed: the child is started anew, and everything is reported as subtree again. Fences
 * that are under way are answered as incomplete. */
void watcher_restart(struct watcher *w, const struct tree *tree);
void watcher_fence(struct watcher *w, uint64_t nonce);
void watcher_counts(const struct watcher *w, struct watcher_counts *out);
/* Ends the child; no event follows but events.closed, and then *w is gone. */
void watcher_close(struct watcher *w);

#endif
