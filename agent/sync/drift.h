/* drift.h - the passive is read-only: what somebody else changed in its tree is put back, or only
 * reported. Suspects come in from the watcher and from scans; a worker judges and mends them
 * (mend.h) in turns with the commits of the active's records, and drift_book.h remembers how often.
 * Bytes that are nowhere here are asked of the active. Thread: the loop. */
#ifndef SYNC_DRIFT_H
#define SYNC_DRIFT_H

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "agent/sync/commit.h"

struct drift;

struct drift_events {
	void *owner;
	/* The active shall send this path again. @return false when there is nobody to ask now */
	bool (*resend)(void *owner, const char *path);
	bool (*reachable)(void *owner); /* could it be asked now? */
	/* Everything beneath is to be looked at: "" is the tree. */
	void (*look)(void *owner, const char *path);
	/* Somebody else changed this path; it is put back, reported, could not be put back, or
	 * waits for its bytes. Once for each change that is found. */
	void (*drifted)(void *owner, const char *path);
	/* The number of paths that differ may be another now. */
	void (*counted)(void *owner);
	/* After drift_close(): no job is running; *d is gone. */
	void (*closed)(void *owner);
};

struct drift_setup {
	uv_loop_t *loop;
	struct commit_env env; /* borrowed until closed */
	bool report_only;
	struct drift_events events;
};

/* It begins held: see drift_hold(). */
struct drift *drift_new(const struct drift_setup *setup);
void drift_configure(struct drift *d, bool report_only); /* what is noted is looked at again */

/* What the salvage notes of what is displaced from now on; a literal. */
void drift_set_salvage_why(struct drift *d, const char *why);

/* A path may not be as installed: it will be looked at.
 * @param hurry  false: it may be nothing but the time of a directory */
void drift_suspect(struct drift *d, const char *path, bool hurry);
/* While held nothing is judged; suspects wait. For a node whose index is not to be trusted. */
void drift_hold(struct drift *d, bool hold);
/* What the index does not have is left alone: nobody has said yet that the active's profile is
 * ours.
 */
void drift_spare_added(struct drift *d, bool spare);
void drift_arrived(struct drift *d);   /* records became durable */
void drift_connected(struct drift *d); /* the active can be asked; what was asked before is void */

/* Replicated paths known not to be as they should. */
uint64_t drift_count(const struct drift *d);
/* Nothing is being judged or mended, and nothing is due; what is only reported does not count. */
bool drift_is_calm(const struct drift *d);
/* The same, but for paths whose bytes are nowhere here; all of them are noted, and there is nobody
 * who could be asked. */
bool drift_only_waits(const struct drift *d);
void drift_close(struct drift *d);

#endif
