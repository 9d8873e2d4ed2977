/* job.h - blocking work off the loop: a struct of copies goes to a worker and comes back. The
 * worker sees nothing but the job. Thread: job_start() and done on the loop, work on a worker. */
#ifndef SYNC_JOB_H
#define SYNC_JOB_H

#include <uv.h>

struct job {
	uv_work_t request;
	void (*work)(struct job *job);
	void (*done)(struct job *job); /* may free the job */
};

/* Embed a struct job in the owner's job struct and recover it with container_of(). */
void job_start(uv_loop_t *loop, struct job *job, void (*work)(struct job *),
	       void (*done)(struct job *));

#endif
