/* walk.h - keeps the watches where the directories are. A directory is watched first and listed
 * afterwards, parents before children; then SUBTREE says that everything at and beneath it may have
 * changed. So whatever is made in a directory is either seen by its watch or was there before the
 * SUBTREE, and none of the races of mkdir, rename and rm -r loses a name. */
#ifndef WATCH_CHILD_WALK_H
#define WATCH_CHILD_WALK_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/inotify.h>

#include "agent/watch/child/directories.h"
#include "agent/watch/child/outbox.h"

#define WALK_BREATH 64		 /* directories between two calls of breathe() */
#define WALK_FULL_PAUSE_MS 1000	 /* between two walks of everything, for overflows in a row */
#define WALK_RETRY_MS 60000	 /* until an unwatched directory is tried again */
#define WALK_RETRY_FREED_MS 1000 /* the same once watches were freed */

/* Zeroed, with roots, outbox and breathe set, it is valid. */
struct walk {
	struct directories dirs;
	struct directory *roots[OUTBOX_ROOTS];
	size_t n_roots;
	struct outbox *outbox; /* borrowed */

	/* Called every now and then: drains the kernel's queue. @return false to stop walking */
	bool (*breathe)(void *owner);
	void *owner;
	bool stopped;

	const char *full; /* everything is to be walked, and why; NULL: nothing of the kind */
	uint64_t full_not_before_ms;
	uint64_t retry_ms; /* when bare directories are tried again */
	bool starved;	   /* the watch limit was met: no more attempts in this pass */
	bool limited;	   /* bare directories are bare because of the limit */
	uint64_t overflows;
	uint32_t listings, breaths;
};

void walk_event(struct walk *walk, const struct inotify_event *event);
/* Something was missed, nobody knows where. why is a constant; the first one holds. */
void walk_need_full(struct walk *walk, const char *why);
/**
 * Looks at what is due.
 * @param at_once  do not wait between two walks of everything
 */
void walk_work(struct walk *walk, bool at_once, uint64_t now_ms);
/* A root that is deleted while descriptors of it are open, and ours is, sends no event. */
void walk_check_roots(struct walk *walk);
uint64_t walk_next_due(const struct walk *walk); /* UINT64_MAX when nothing is */
bool walk_is_complete(const struct walk *walk);	 /* everything is watched, nothing was missed */
/* What to raise so that everything can be watched; "" when nothing. */
void walk_limit(const struct walk *walk, char out[WATCH_TEXT_MAX + 1]);

#endif
