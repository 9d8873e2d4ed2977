/* intake_sets.h - consistency sets on their way to the index: a set is read when it is quiet as a
 * whole, and gets its seqs in one transaction, or waits as a whole. Used by the intake only.
 * Thread: the loop. */
#ifndef NODE_INTAKE_SETS_H
#define NODE_INTAKE_SETS_H

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "agent/sync/capture.h"
#include "agent/sync/holds.h"
#include "agent/watch/set_queue.h"

struct intake_sets;

struct intake_sets_events {
	void *owner;
	void (*indexed)(void *owner, size_t changed);
	/* Also to be looked at: a directory above, another name of a file. It may be a member, too.
	 */
	void (*dirty)(void *owner, const char *path, uint64_t since_ms);
	void (*lost)(void *owner);	/* paths were dropped: scan */
	void (*came_back)(void *owner); /* what a brake held: there may be more */
	void (*job_ended)(void *owner);
};

struct intake_sets *intake_sets_new(uv_loop_t *loop, const struct capture_env *env,
				    struct holds *holds, const struct intake_sets_events *events);
void intake_sets_free(struct intake_sets *sets); /* when no job is under way; NULL is a no-op */
void intake_sets_configure(struct intake_sets *sets, uint32_t quiet_ms, uint32_t open_ms);

/* @return false: the path is in no set, and is not taken */
bool intake_sets_add(struct intake_sets *sets, const char *path, enum set_hint hint,
		     uint64_t since_ms);

/* What is going on beside the sets. */
struct intake_sets_moment {
	bool scanning;	    /* sets with members that a scan found are left alone */
	bool quiet;	    /* all that may show where content went is indexed */
	uint64_t burst_seq; /* the last one given before the changes under way began */
};
/* Starts a job when sets are due. @return true when one was started */
bool intake_sets_run(struct intake_sets *sets, const struct intake_sets_moment *moment);
/* Set before the owner frees it: results are dropped. */
void intake_sets_close(struct intake_sets *sets);
const struct set_queue *intake_sets_queue(const struct intake_sets *sets);

#endif
