#include "agent/sync/job.h"

#include "agent/base/alloc.h"

static void on_work(uv_work_t *request)
{
	struct job *job = container_of(request, struct job, request);
	job->work(job);
}

static void on_done(uv_work_t *request, int status)
{
	/* Jobs are never cancelled: owners wait for theirs before they close. */
	(void)status;
	struct job *job = container_of(request, struct job, request);
	job->done(job);
}

void job_start(uv_loop_t *loop, struct job *job, void (*work)(struct job *),
	       void (*done)(struct job *))
{
	job->work = work;
	job->done = done;
	BUG_ON(uv_queue_work(loop, &job->request, on_work, on_done) != 0);
}
