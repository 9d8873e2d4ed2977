/* loss_job.h - judging deletions, and looking at what is held, away from the loop. Thread: the
 * loop; the work is a worker's. */
#ifndef NODE_LOSS_JOB_H
#define NODE_LOSS_JOB_H

#include <uv.h>

#include "agent/sync/capture_brake.h"

/* Takes the paths: heap array of heap strings.
 * @param done  called once; losses and loose are borrowed for the call; `result` negative: nothing
 *              was decided, and *err says why */
struct loss_job_order {
	uv_loop_t *loop;
	struct holds *holds;
	char **paths;
	size_t n;
	uint64_t burst_seq;
	bool may_hold;
	void *owner;
	void (*done)(void *owner, const struct loss *losses, size_t n, const struct loose *loose,
		     int result, const struct err *err);
};
void loss_job_start(const struct loss_job_order *order);

/* Looks at all that is held. @param env  borrowed until done */
void sweep_job_start(uv_loop_t *loop, const struct capture_env *env, void (*done)(void *owner),
		     void *owner);

#endif
