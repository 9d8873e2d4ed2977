#include "agent/node/loss_job.h"

#include "agent/base/log.h"
#include "agent/sync/job.h"

struct loss_job {
	struct job job;
	struct loss_job_order order;
	struct loss *losses;
	struct loose loose;
	int result;
	struct err err;
};

static void judge_work(struct job *job)
{
	struct loss_job *l = container_of(job, struct loss_job, job);
	const struct loss_query query = {.losses = l->losses,
					 .n = l->order.n,
					 .burst_seq = l->order.burst_seq,
					 .may_hold = l->order.may_hold};
	l->result = holds_judge_losses(l->order.holds, &query, &l->loose, &l->err);
}

static void judge_done(struct job *job)
{
	struct loss_job *l = container_of(job, struct loss_job, job);
	l->order.done(l->order.owner, l->losses, l->order.n, &l->loose, l->result, &l->err);
	for (size_t i = 0; i < l->order.n; i++)
		free(l->order.paths[i]);
	free(l->order.paths);
	free(l->losses);
	loose_release(&l->loose);
	free(l);
}

void loss_job_start(const struct loss_job_order *order)
{
	struct loss_job *l = x_calloc(1, sizeof(*l));
	l->order = *order;
	l->losses = x_calloc(order->n, sizeof(*l->losses));
	for (size_t i = 0; i < order->n; i++)
		l->losses[i].path = order->paths[i];
	job_start(order->loop, &l->job, judge_work, judge_done);
}

struct sweep_job {
	struct job job;
	const struct capture_env *env;
	void (*done)(void *owner);
	void *owner;
	int result;
	struct err err;
};

static void sweep_work(struct job *job)
{
	struct sweep_job *s = container_of(job, struct sweep_job, job);
	s->result = capture_brake_sweep(s->env, &s->err);
}

static void sweep_done(struct job *job)
{
	struct sweep_job *s = container_of(job, struct sweep_job, job);
	if (s->result < 0)
		log_error("brake", "action=\"look again after the next scan\" err=\"%s\"",
			  s->err.msg);
	s->done(s->owner);
	free(s);
}

void sweep_job_start(uv_loop_t *loop, const struct capture_env *env, void (*done)(void *owner),
		     void *owner)
{
	struct sweep_job *s = x_calloc(1, sizeof(*s));
	s->env = env;
	s->done = done;
	s->owner = owner;
	job_start(loop, &s->job, sweep_work, sweep_done);
}
