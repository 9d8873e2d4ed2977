#include "agent/node/intake_sets.h"

#include "agent/node/intake_links.h"

#include <stdio.h>
#include <string.h>

#include "agent/base/clock.h"
#include "agent/base/log.h"
#include "agent/base/quote.h"
#include "agent/base/trouble.h"
#include "agent/sync/capture_brake.h"
#include "agent/sync/job.h"
#include "protocol/relpath.h"

#define PATHS_MAX 100000 /* known to have changed, of all sets */
#define JOB_SETS 64	 /* read in one job, and indexed in one transaction */
#define JOB_PATHS 4096
#define LINKED_MAX 256
#define AGAIN_MS 100
#define UNREADABLE_MS 10000
#define RACY_MS 25
#define LATER_MS 1000	  /* after which losses are judged again */
#define HOLD_MAX_MS 60000 /* they wait no longer for quiet, unless a scan is on */

struct intake_sets {
	uv_loop_t *loop;
	struct capture_env env;
	struct holds *holds;
	struct intake_sets_events events;
	struct set_queue *queue;
	bool working, closing;
};

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

/* ---- a job ---------------------------------------------------------------------------------- */

/* One set, its items beside each other. */
struct part {
	struct due_set due;
	size_t first, n;
	bool too_large; /* each member for itself */
	bool skipped;	/* the job was full */
	enum set_end end;
	uint64_t again_in_ms;
};

struct sets_job {
	struct job job;
	struct intake_sets *sets;
	struct part parts[JOB_SETS];
	size_t n_parts;
	struct capture_item *items;
	size_t n, cap;
	struct intake_sets_moment moment;
	bool *left;		 /* of each item: not indexed now */
	enum capture_stop *stop; /* of each item: what the brakes say */
	bool came_back;
	char *parents[JOB_SETS]; /* directories above that must be indexed first */
	char *linked[LINKED_MAX];
	size_t n_linked, changed;
	int result;
	struct err err;
};

static int compare_items(const void *a, const void *b)
{
	return strcmp(((const struct capture_item *)a)->path,
		      ((const struct capture_item *)b)->path);
}

static void add_item(struct sets_job *j, char *path, bool event)
{
	GROW(j->items, j->cap, j->n + 1);
	j->items[j->n++] = (struct capture_item){.path = path, .force_read = event};
}

/* What has changed and what is indexed, each once. */
static void unite(struct sets_job *j, struct part *part)
{
	struct capture_item *items = j->items + part->first;
	size_t n = j->n - part->first, kept = 0;
	qsort(items, n, sizeof(*items), compare_items);
	for (size_t i = 0; i < n; i++) {
		if (kept > 0 && strcmp(items[kept - 1].path, items[i].path) == 0) {
			items[kept - 1].force_read |= items[i].force_read;
			capture_item_release(&items[i]);
		} else {
			items[kept++] = items[i];
		}
	}
	part->n = kept;
	j->n = part->first + kept;
}

/* worker: a set is all its members, also those of which no event spoke: it is their state of one
 * moment that is indexed. */
static int gather(struct sets_job *j, struct part *part)
{
	AUTO_FREE char **members = x_calloc(WIRE_SET_MAX + 1, sizeof(char *));
	size_t n = 0;
	part->first = j->n;
	part->too_large = part->due.too_large;
	if (!part->too_large) {
		int r = store_members(j->sets->env.store, part->due.set, members, WIRE_SET_MAX + 1,
				      &n, &j->err);
		part->too_large = n > WIRE_SET_MAX;
		for (size_t i = 0; i < n; i++) {
			if (part->too_large || r < 0)
				free(members[i]);
			else
				add_item(j, members[i], false);
		}
		if (r < 0)
			return r;
	}
	for (size_t i = 0; i < part->due.n; i++)
		add_item(j, x_strdup(part->due.paths[i]), part->due.events[i]);
	unite(j, part);
	part->too_large |= part->n > WIRE_SET_MAX;
	return 0;
}

/* worker: a record must not be indexed before the directory it is in. */
static bool has_parent(const struct sets_job *j, const struct part *part, size_t i)
{
	struct index_entry entry = {0};
	const char *path = j->items[i].path;
	size_t len = relpath_parent_len(path);
	if (*path == '\0')
		return true;
	for (size_t k = i; k-- > part->first;) {
		const struct capture_item *item = &j->items[k];
		if (strncmp(item->path, path, len) == 0 && item->path[len] == '\0' &&
		    item->outcome == CAPTURE_CHANGED && !j->left[k])
			return item->entry.rec.kind == RECORD_DIR;
	}
	AUTO_FREE char *parent = x_strndup(path, len);
	bool there = store_get(j->sets->env.store, parent, &entry, NULL) == 0 &&
		     entry.rec.kind == RECORD_DIR;
	index_entry_release(&entry);
	return there;
}

/* worker: the stat that the captured content was read under, again. The kernel may not have told us
 * yet of a member that changed while the others were read. */
static bool is_still(const struct capture_env *env, const struct capture_item *item)
{
	struct index_entry have = {0};
	const struct file_stat *expected = &item->entry.inst;
	struct file_stat now;
	struct stat st;
	const char *sub;
	const struct root *root = tree_resolve(env->tree, item->path, &sub);
	int r = root_stat(root, sub, &st);
	if (item->outcome == CAPTURE_GONE)
		return errno_is_absence(r);
	if (item->outcome == CAPTURE_NOTHING) {
		if (store_get(env->store, item->path, &have, NULL) < 0)
			return true; /* nothing that is ours */
		expected = &have.inst;
	} else if (item->outcome != CAPTURE_CHANGED && item->outcome != CAPTURE_SAME) {
		return true;
	}
	file_stat_from(&now, &st);
	bool same = expected->mode == 0 ? errno_is_absence(r)
					: r == 0 && file_stat_equal(&now, expected);
	index_entry_release(&have);
	return same;
}

static void wait_again(struct part *part, uint64_t ms)
{
	if (part->end == SET_HELD)
		return;
	part->end = SET_AGAIN;
	part->again_in_ms = ms > part->again_in_ms ? ms : part->again_in_ms;
}

/* worker: what keeps one member from the index. @return true when it can go */
static bool judge_item(struct sets_job *j, struct part *part, size_t i, size_t at)
{
	const struct capture_item *item = &j->items[i];
	switch (item->outcome) {
	case CAPTURE_HELD: part->end = SET_HELD; return false;
	case CAPTURE_UNREADABLE: wait_again(part, UNREADABLE_MS); return false;
	case CAPTURE_AGAIN: wait_again(part, AGAIN_MS); return false;
	case CAPTURE_CHANGED:
		if (has_parent(j, part, i))
			return true;
		free(j->parents[at]);
		j->parents[at] = x_strndup(item->path, relpath_parent_len(item->path));
		wait_again(part, AGAIN_MS);
		return false;
	default: return true;
	}
}

/* worker */
static void judge(struct sets_job *j, size_t at)
{
	struct part *part = &j->parts[at];
	bool all = true;
	for (size_t i = part->first; i < part->first + part->n; i++) {
		j->left[i] = !judge_item(j, part, i, at);
		all &= !j->left[i];
	}
	if (part->too_large)
		return; /* what can go goes */
	for (size_t i = part->first; all && i < part->first + part->n; i++) {
		if (!is_still(&j->sets->env, &j->items[i])) {
			wait_again(part, AGAIN_MS);
			all = false;
		}
	}
	for (size_t i = part->first; i < part->first + part->n; i++)
		j->left[i] = !all;
}

/* ---- the brakes ------------------------------------------------------------------------------ */

/* A set that is too large goes member by member, and so do its brakes. */
static void stop_item(struct sets_job *j, struct part *part, size_t i, enum capture_stop stop)
{
	j->stop[i] = stop;
	if (part->too_large) {
		j->left[i] = true;
		return;
	}
	if (stop == CAPTURE_STOPS)
		part->end = SET_HELD;
	else
		wait_again(part, LATER_MS);
	for (size_t k = part->first; k < part->first + part->n; k++)
		j->left[k] = true;
}

static bool is_loss(const struct sets_job *j, size_t i)
{
	const struct capture_item *item = &j->items[i];
	return !j->left[i] &&
	       (item->outcome == CAPTURE_GONE || (item->outcome == CAPTURE_CHANGED && item->loses));
}

/* What comes with the same transaction is not in the index yet. */
static size_t find_coming(const struct sets_job *j, const struct record **out)
{
	size_t n = 0;
	for (size_t i = 0; i < j->n; i++) {
		const struct capture_item *item = &j->items[i];
		if (!j->left[i] && item->outcome == CAPTURE_CHANGED &&
		    item->entry.rec.kind == RECORD_FILE)
			out[n++] = &item->entry.rec;
	}
	return n;
}

static uint64_t oldest_part(const struct sets_job *j)
{
	uint64_t oldest = UINT64_MAX;
	for (size_t p = 0; p < j->n_parts; p++) {
		if (j->parts[p].due.since_ms < oldest)
			oldest = j->parts[p].due.since_ms;
	}
	return oldest;
}

/* @param whose  of each loss: its item */
static void take_verdicts(struct sets_job *j, const struct loss *losses, const size_t *whose,
			  size_t n)
{
	for (size_t p = 0, k = 0; p < j->n_parts; p++) {
		struct part *part = &j->parts[p];
		for (; k < n && whose[k] < part->first + part->n; k++) {
			if (losses[k].verdict != LOSS_FREE)
				stop_item(j, part, whose[k],
					  losses[k].verdict == LOSS_HELD ? CAPTURE_STOPS
									 : CAPTURE_WAITS);
		}
	}
}

static int judge_losses(struct sets_job *j)
{
	AUTO_FREE struct loss *losses = x_calloc(j->n + 1, sizeof(*losses));
	AUTO_FREE size_t *whose = x_calloc(j->n + 1, sizeof(*whose));
	AUTO_FREE const struct record **coming = x_calloc(j->n + 1, sizeof(*coming));
	struct loose loose = {0}; /* each that is a member is judged for itself */
	size_t n = 0;
	for (size_t i = 0; i < j->n; i++) {
		if (!is_loss(j, i))
			continue;
		whose[n] = i;
		losses[n++].path = j->items[i].path;
	}
	if (n == 0 || holds_are_off(j->sets->holds, HOLD_LOSS))
		return 0;
	bool waited = !j->moment.scanning && clock_mono_ms() - oldest_part(j) > HOLD_MAX_MS;
	const struct loss_query query = {.losses = losses,
					 .n = n,
					 .coming = coming,
					 .n_coming = find_coming(j, coming),
					 .burst_seq = j->moment.burst_seq,
					 .may_hold = j->moment.quiet || waited};
	int r = holds_judge_losses(j->sets->holds, &query, &loose, &j->err);
	loose_release(&loose);
	if (r == 0)
		take_verdicts(j, losses, whose, n);
	return r;
}

static int judge_rewrites(struct sets_job *j, struct part *part)
{
	AUTO_FREE struct capture_item *items = x_calloc(part->n + 1, sizeof(*items));
	AUTO_FREE size_t *whose = x_calloc(part->n + 1, sizeof(*whose));
	AUTO_FREE enum capture_stop *stops = x_calloc(part->n + 1, sizeof(*stops));
	size_t n = 0;
	for (size_t i = part->first; i < part->first + part->n; i++) {
		if (j->left[i])
			continue;
		whose[n] = i;
		items[n++] = j->items[i]; /* and back */
	}
	int r = capture_brake(j->sets->holds, j->sets->env.store, items, n, true, stops, &j->err);
	for (size_t k = 0; k < n; k++)
		j->items[whose[k]] = items[k];
	for (size_t k = 0; r == 0 && k < n; k++) {
		if (stops[k] != CAPTURE_GOES)
			stop_item(j, part, whose[k], stops[k]);
	}
	return r;
}

/* worker: only of what would be indexed now, or a set that is put off would count each time. */
static int ask_brakes(struct sets_job *j)
{
	int r = judge_losses(j);
	for (size_t p = 0; r == 0 && p < j->n_parts; p++)
		r = judge_rewrites(j, &j->parts[p]);
	return r;
}

/* worker: what is indexed, and what stands there as before. */
static void release_held(struct sets_job *j)
{
	for (size_t i = 0; i < j->n; i++) {
		bool waits = j->left[i] && (j->items[i].outcome == CAPTURE_GONE ||
					    j->items[i].outcome == CAPTURE_CHANGED);
		const enum capture_stop stop = CAPTURE_GOES;
		if (!waits &&
		    capture_brake_release(j->sets->env.store, &j->items[i], 1, true, &stop))
			j->came_back = true;
	}
}

/* worker: versions before deletions, so that moved content can be referred to. */
static size_t collect(const struct sets_job *j, struct captured *out)
{
	size_t n = 0;
	for (size_t i = 0; i < j->n; i++) {
		const struct capture_item *item = &j->items[i];
		if (j->left[i])
			continue;
		if (item->outcome == CAPTURE_CHANGED)
			out[n++] =
				(struct captured){.kind = CAPTURED_VERSION, .entry = &item->entry};
		else if (item->outcome == CAPTURE_SAME)
			out[n++] = (struct captured){.kind = CAPTURED_SAME, .entry = &item->entry};
		else if (item->outcome == CAPTURE_DROPPED)
			out[n++] = (struct captured){.kind = CAPTURED_DROPPED, .path = item->path};
	}
	for (size_t i = 0; i < j->n; i++) {
		if (j->items[i].outcome == CAPTURE_GONE && !j->left[i])
			out[n++] = (struct captured){.kind = CAPTURED_GONE,
						     .path = j->items[i].path,
						     .approved = j->items[i].approved};
	}
	return n;
}

/* worker: who looks at the status learns which file it is and what waits for it. */
static void note(struct store *store, enum note_kind kind, bool wrong,
		 const struct capture_item *item, const struct part *part)
{
	char q[QUOTED_MAX];
	if (wrong && part->too_large) {
		store_note(store, kind, item->path, item->why, NULL);
	} else if (wrong) {
		AUTO_FREE char *why = x_asprintf("%s; it holds back its set %.200s", item->why,
						 quote_path(q, part->due.set));
		store_note(store, kind, item->path, why, NULL);
	} else if (store_note_count(store, kind) > 0) {
		store_unnote(store, kind, item->path, NULL);
	}
}

/* worker */
static void write_notes(const struct sets_job *j)
{
	struct store *store = j->sets->env.store;
	for (size_t p = 0; p < j->n_parts; p++) {
		const struct part *part = &j->parts[p];
		for (size_t i = part->first; i < part->first + part->n; i++) {
			const struct capture_item *item = &j->items[i];
			note(store, NOTE_HELD, item->outcome == CAPTURE_HELD, item, part);
			note(store, NOTE_UNREADABLE, item->outcome == CAPTURE_UNREADABLE, item,
			     part);
		}
		if (part->too_large)
			store_note(store, NOTE_SET, part->due.set,
				   "it has more members than one batch takes (2000): they travel "
				   "one by one",
				   NULL);
		else if (store_note_count(store, NOTE_SET) > 0)
			store_unnote(store, NOTE_SET, part->due.set, NULL);
	}
}

static void sets_work(struct job *job)
{
	struct sets_job *j = container_of(job, struct sets_job, job);
	for (size_t p = 0; p < j->n_parts && j->result == 0; p++) {
		j->parts[p].skipped = p > 0 && j->n >= JOB_PATHS;
		if (j->parts[p].skipped)
			j->parts[p].end = SET_AGAIN;
		else
			j->result = gather(j, &j->parts[p]);
	}
	j->left = x_calloc(j->n + 1, sizeof(*j->left));
	j->stop = x_calloc(j->n + 1, sizeof(*j->stop));
	if (j->result < 0)
		return;
	capture_run(&j->sets->env, j->items, j->n);
	for (size_t p = 0; p < j->n_parts; p++) {
		if (!j->parts[p].skipped)
			judge(j, p);
	}
	j->result = ask_brakes(j);
	if (j->result < 0)
		return;
	AUTO_FREE struct captured *captured = x_calloc(j->n + 1, sizeof(*captured));
	size_t n = collect(j, captured);
	if (n > 0)
		j->result =
			store_capture(j->sets->env.store, captured, n, false, &j->changed, &j->err);
	if (j->result >= 0)
		release_held(j);
	write_notes(j);
	j->n_linked = links_find(j->sets->env.store, j->items, j->n, j->linked, LINKED_MAX);
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
