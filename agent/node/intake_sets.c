/* intake_sets.c - the sets that are due go to a worker, one job at a time; afterwards each is done,
 * held, or comes again. */
#include "agent/node/intake_sets_private.h"

#include <stdlib.h>

#include "agent/base/clock.h"
#include "agent/base/log.h"
#include "agent/base/quote.h"
#include "agent/base/trouble.h"

#define PATHS_MAX 100000 /* known to have changed, of all sets */
#define RACY_MS 25

struct intake_sets *intake_sets_new(uv_loop_t *loop, const struct capture_env *env,
				    struct holds *holds, const struct intake_sets_events *events)
{
	struct intake_sets *sets = x_calloc(1, sizeof(*sets));
	sets->loop = loop;
	sets->env = *env;
	sets->holds = holds;
	sets->events = *events;
	sets->queue = set_queue_new(PATHS_MAX, WIRE_SET_MAX);
	return sets;
}

void intake_sets_free(struct intake_sets *sets)
{
	if (!sets)
		return;
	set_queue_free(sets->queue);
	free(sets);
}

void intake_sets_configure(struct intake_sets *sets, uint32_t quiet_ms, uint32_t open_ms)
{
	set_queue_configure(sets->queue, quiet_ms, open_ms);
}

void intake_sets_close(struct intake_sets *sets)
{
	sets->closing = true;
}

const struct set_queue *intake_sets_queue(const struct intake_sets *sets)
{
	return sets->queue;
}

bool intake_sets_add(struct intake_sets *sets, const char *path, enum set_hint hint,
		     uint64_t since_ms)
{
	char set[PROFILE_SET_MAX];
	if (!profile_set(sets->env.profile, path, set))
		return false;
	/* A scan comes across it, too; its events know better. */
	if (!(hint == SET_FOUND && set_queue_is_open(sets->queue, set, path)))
		set_queue_add(sets->queue, set, path, hint, since_ms, clock_mono_ms());
	return true;
}

/* ---- afterwards ----------------------------------------------------------------------------- */

/* Of a set that is too large, only what did not go comes back. */
static void retry_members(struct sets_job *j, struct part *part, uint64_t now)
{
	for (size_t i = part->first; i < part->first + part->n; i++) {
		if (j->left[i] && j->items[i].outcome != CAPTURE_HELD &&
		    j->stop[i] != CAPTURE_STOPS)
			set_queue_add(j->sets->queue, part->due.set, j->items[i].path, SET_FOUND,
				      part->due.since_ms, now);
	}
	part->end = SET_DONE;
}

static void look_at_racy(struct sets_job *j, const struct part *part, uint64_t now)
{
	for (size_t i = part->first; i < part->first + part->n; i++) {
		const struct capture_item *item = &j->items[i];
		bool read = item->outcome == CAPTURE_CHANGED || item->outcome == CAPTURE_SAME;
		if (read && !j->left[i] && (item->entry.flags & ENTRY_RACY))
			set_queue_add(j->sets->queue, part->due.set, item->path, SET_FOUND, now,
				      now + RACY_MS);
	}
}

static void end_part(struct sets_job *j, size_t at)
{
	struct intake_sets *sets = j->sets;
	struct part *part = &j->parts[at];
	uint64_t now = clock_mono_ms();
	char q[QUOTED_MAX];
	bool lost = part->due.lost;
	if (j->result < 0) {
		part->end = SET_AGAIN;
		part->again_in_ms = UNREADABLE_MS / 10;
	} else {
		if (part->end == SET_HELD)
			log_warn("capture", "set=%s action=hold", quote_path(q, part->due.set));
		if (part->too_large)
			retry_members(j, part, now);
		if (part->end == SET_DONE)
			look_at_racy(j, part, now);
	}
	uint64_t since = part->due.since_ms;
	set_queue_end(sets->queue, &part->due, part->end, now + part->again_in_ms);
	if (j->parents[at])
		sets->events.dirty(sets->events.owner, j->parents[at], since);
	if (lost)
		sets->events.lost(sets->events.owner);
}

static void sets_done(struct job *job)
{
	struct sets_job *j = container_of(job, struct sets_job, job);
	struct intake_sets *sets = j->sets;
	uint64_t now = clock_mono_ms();
	sets->working = false;
	if (j->n > 0)
		trouble_result("indexing changes", j->result, &j->err);
	if (j->result < 0)
		log_error("capture", "sets=%zu action=retry err=\"%s\"", j->n_parts, j->err.msg);
	for (size_t p = 0; p < j->n_parts; p++) {
		end_part(j, p);
		free(j->parents[p]);
	}
	for (size_t i = 0; i < j->n; i++)
		capture_item_release(&j->items[i]);
	for (size_t i = 0; i < j->n_linked; i++) {
		sets->events.dirty(sets->events.owner, j->linked[i], now);
		free(j->linked[i]);
	}
	if (j->changed > 0 && !sets->closing)
		sets->events.indexed(sets->events.owner, j->changed);
	if (j->came_back && !sets->closing)
		sets->events.came_back(sets->events.owner);
	free(j->items);
	free(j->left);
	free(j->stop);
	free(j);
	sets->events.job_ended(sets->events.owner);
}

/* ---- sets that never fall quiet ------------------------------------------------------------- */

struct restless_job {
	struct job job;
	struct intake_sets *sets;
	char *set, *path;
};

static void restless_work(struct job *job)
{
	struct restless_job *r = container_of(job, struct restless_job, job);
	char q[QUOTED_MAX];
	AUTO_FREE char *why =
		x_asprintf("its set %.200s changes without a pause: it is read when no member has "
			   "changed for set_settle_ms",
			   quote_path(q, r->set));
	store_note(r->sets->env.store, NOTE_HELD, r->path, why, NULL);
}

static void restless_done(struct job *job)
{
	struct restless_job *r = container_of(job, struct restless_job, job);
	struct intake_sets *sets = r->sets;
	char q[QUOTED_MAX];
	log_warn("capture", "set=%s action=wait err=\"it changes without a pause\"",
		 quote_path(q, r->set));
	sets->working = false;
	free(r->set);
	free(r->path);
	free(r);
	sets->events.job_ended(sets->events.owner);
}

static bool report_restless(struct intake_sets *sets)
{
	char *set, *path;
	if (!set_queue_restless(sets->queue, &set, &path, clock_mono_ms()))
		return false;
	struct restless_job *r = x_calloc(1, sizeof(*r));
	r->sets = sets;
	r->set = set;
	r->path = path;
	sets->working = true;
	job_start(sets->loop, &r->job, restless_work, restless_done);
	return true;
}

/* ---- the wheel ------------------------------------------------------------------------------ */

bool intake_sets_run(struct intake_sets *sets, const struct intake_sets_moment *moment)
{
	if (sets->working || sets->closing)
		return false;
	struct sets_job *j = NULL;
	struct due_set due;
	size_t paths = 0;
	while ((!j || j->n_parts < JOB_SETS) && paths < WIRE_SET_MAX &&
	       set_queue_take(sets->queue, &due, moment->scanning, clock_mono_ms())) {
		if (!j)
			j = x_calloc(1, sizeof(*j));
		paths += due.n;
		j->parts[j->n_parts++] = (struct part){.due = due};
	}
	if (!j)
		return report_restless(sets);
	j->sets = sets;
	j->moment = *moment;
	sets->working = true;
	job_start(sets->loop, &j->job, sets_work, sets_done);
	return true;
}
