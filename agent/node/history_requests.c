/* history_requests.c - `history` and `restore`, asked of a running agent. */
#include "agent/node/history_answers.h"
#include "agent/node/node_internal.h"

#include <errno.h>
#include <string.h>

#include "agent/base/clock.h"
#include "agent/base/quote.h"
#include "agent/sync/job.h"
#include "protocol/relpath.h"

#define RESTORES_MAX 2 /* at a time: each takes a worker for as long as it runs */

void history_request(struct node *node, struct control_call *call, const json_t *args)
{
	struct err err = {0};
	const char *text = json_string_value(json_object_get(args, "path"));
	AUTO_FREE char *path = text ? unquote_utf8(text) : NULL;
	const char *wrong = path ? relpath_wrong(path, strlen(path), true) : "is missing";
	if (wrong) {
		control_fail(call, EXIT_USAGE, "paths are relative to the tree", "the path %s",
			     wrong);
		return;
	}
	json_t *answer = history_answer(node->history, node->store, path, &err);
	if (answer)
		control_done(call, EXIT_DONE, answer);
	else
		control_fail(call, EXIT_NO, NULL, "%s", err.msg);
}

/* ---- restoring ------------------------------------------------------------------------------ */

struct restore_job {
	struct job job;
	struct node *node;
	struct restore_job *next;
	struct control_call *call; /* NULL: the command hung up, and the restoring ends */
	struct restore_order order;
	struct restore_progress progress;
	struct restore_result result;
	int error;
	struct err err;
};

static void restore_work(struct job *job)
{
	struct restore_job *r = container_of(job, struct restore_job, job);
	r->error = restore_run(&r->result, &r->order, &r->progress, &r->err);
}

static void answer(struct restore_job *r)
{
	const char *remedy;
	control_call_set_data(r->call, NULL);
	if (r->error < 0) {
		int code = restore_exit_code(r->error, &remedy);
		control_fail(r->call, code, remedy, "%s", r->err.msg);
		return;
	}
	bool good = r->result.n_failures == 0 && (r->order.version || r->result.digest_matches);
	control_done(r->call, good ? EXIT_DONE : EXIT_NO, restore_answer(&r->result));
}

static void restore_done(struct job *job)
{
	struct restore_job *r = container_of(job, struct restore_job, job);
	struct node *node = r->node;
	struct restore_job **at = &node->restores;
	while (*at != r)
		at = &(*at)->next;
	*at = r->next;
	if (r->call)
		answer(r);
	restore_result_release(&r->result);
	restore_order_release(&r->order);
	free(r);
	node_closed_one(node);
}

static size_t count_restores(const struct node *node)
{
	size_t n = 0;
	for (const struct restore_job *r = node->restores; r; r = r->next)
		n++;
	return n;
}

void restore_request(struct node *node, struct control_call *call, const json_t *args)
{
	struct err err = {0};
	struct restore_order order;
	int e = restore_order_read(&order, args, &err);
	if (e == 0 && count_restores(node) >= RESTORES_MAX)
		e = err_set(&err, -EBUSY, "other trees are being restored");
	if (e < 0) {
		control_fail(call, e == -EBUSY ? EXIT_NO : EXIT_USAGE, NULL, "%s", err.msg);
		restore_order_release(&order);
		return;
	}
	struct restore_job *r = x_calloc(1, sizeof(*r));
	r->node = node;
	r->call = call;
	r->order = order;
	r->order.history = node->history;
	r->order.store = node->store;
	r->order.tree = node->tree;
	r->order.policy = node->commit.policy;
	r->next = node->restores;
	node->restores = r;
	control_call_set_data(call, &r->call);
	node->closing++;
	job_start(&node->loop, &r->job, restore_work, restore_done);
}

void history_requests_tick(struct node *node)
{
	for (struct restore_job *r = node->restores; r; r = r->next) {
		if (!r->call)
			r->progress.cancelled = true;
		else
			control_progress(r->call,
					 json_pack("{s:s, s:I, s:I}", "phase", "restoring", "files",
						   (json_int_t)r->progress.files, "bytes",
						   (json_int_t)r->progress.bytes));
	}
}

void history_requests_stop(struct node *node)
{
	for (struct restore_job *r = node->restores; r; r = r->next) {
		r->progress.cancelled = true;
		if (r->call) {
			control_call_set_data(r->call, NULL);
			control_fail(STEAL(r->call), EXIT_NOT_RUNNING,
				     "what was restored so far is incomplete: remove it",
				     "the agent is stopping");
		}
	}
}
