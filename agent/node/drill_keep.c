/* drill_keep.c - what is remembered of rehearsals: what status shows, reports that the command has
 * made itself, and what a crash left of one. */
#include "agent/node/drill_internal.h"

#include <errno.h>

#include "agent/base/log.h"
#include "agent/node/node_internal.h"
#include "agent/sync/job.h"

void drills_take_record(struct drills *drills, struct drill_record *record)
{
	json_decref(drills->record.last);
	drills->record = *record;
	*record = (struct drill_record){0};
}

/* ---- reports of the command's own ------------------------------------------------------------ */

struct record_job {
	struct job job;
	struct node *node;
	struct control_call *call;
	json_t *report;
	struct drill_record record;
	int error;
	struct err err;
};

static void record_work(struct job *job)
{
	struct record_job *r = container_of(job, struct record_job, job);
	r->error = drill_report_keep(r->node->conf->state_dir, r->report, &r->err);
	drill_report_load(&r->record, r->node->conf->state_dir);
}

static void record_done(struct job *job)
{
	struct record_job *r = container_of(job, struct record_job, job);
	struct node *node = r->node;
	drills_take_record(node->drills, &r->record);
	node->drills->sweeping = false;
	if (r->call) {
		control_call_set_data(r->call, NULL);
		if (r->error < 0)
			control_fail(r->call, EXIT_NO, NULL, "%s", r->err.msg);
		else
			control_done(r->call, EXIT_DONE, json_pack("{s:b}", "kept", true));
	}
	json_decref(r->report);
	free(r);
	node_closed_one(node);
}

void drills_record_request(struct node *node, struct control_call *call, const json_t *args)
{
	json_t *report = json_object_get(args, "report");
	if (!drill_report_is_legal(report) || node->drills->running || node->drills->sweeping) {
		control_fail(call, EXIT_NO, NULL,
			     "this is no report of a drill, or another drill is running");
		return;
	}
	struct record_job *r = x_calloc(1, sizeof(*r));
	r->node = node;
	r->call = call;
	r->report = json_incref(report);
	control_call_set_data(call, &r->call);
	node->drills->sweeping = true; /* one writes reports at a time */
	node->closing++;
	job_start(&node->loop, &r->job, record_work, record_done);
}

/* ---- beginning, end, status ------------------------------------------------------------------ */

struct sweep_job {
	struct job job;
	struct node *node;
	struct drill_record record;
	struct err err;
};

static void sweep_work(struct job *job)
{
	struct sweep_job *s = container_of(job, struct sweep_job, job);
	drills_clear(s->node, &s->err);
	drill_report_load(&s->record, s->node->conf->state_dir);
}

static void sweep_done(struct job *job)
{
	struct sweep_job *s = container_of(job, struct sweep_job, job);
	struct node *node = s->node;
	if (s->err.code < 0 && s->err.code != -ESTALE)
		log_warn("drill", "err=\"%s\" action=\"the next drill tries again\"", s->err.msg);
	node->drills->sweeping = false;
	drills_take_record(node->drills, &s->record);
	free(s);
	node_closed_one(node);
}

void drills_start(struct node *node)
{
	struct sweep_job *s = x_calloc(1, sizeof(*s));
	s->node = node;
	node->drills = x_calloc(1, sizeof(*node->drills));
	node->drills->sweeping = true;
	node->closing++;
	job_start(&node->loop, &s->job, sweep_work, sweep_done);
}

void drills_free(struct node *node)
{
	if (!node->drills)
		return;
	json_decref(node->drills->record.last);
	free(node->drills);
}

void drills_add_status(const struct node *node, json_t *status)
{
	const struct drill_record *record = &node->drills->record;
	static const char *const shown[] = {
		"id",	    "kind",	      "time",	     "verdict",
		"reasons",  "recovery_point", "rpo_seconds", "recovery_time_s",
		"verified", "seconds"};
	json_t *last = record->last ? json_object() : json_null();
	for (size_t i = 0; record->last && i < ARRAY_LEN(shown); i++) {
		json_t *value = json_object_get(record->last, shown[i]);
		json_object_set(last, shown[i], value ? value : json_null());
	}
	json_object_set_new(status, "last_drill", last);
	json_object_set_new(status, "drills",
			    json_pack("{s:i, s:i, s:i, s:b}", "kept", (int)record->kept, "passed",
				      (int)record->passed, "failed", (int)record->failed, "running",
				      node->drills->running != NULL));
}
