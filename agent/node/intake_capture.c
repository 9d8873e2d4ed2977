/* intake_capture.c - what is due is handed to workers, which read and index it; afterwards each
 * item is done, looked at again, or waits. */
#include "agent/node/intake_private.h"

#include <inttypes.h>
#include <string.h>

#include "agent/base/clock.h"
#include "agent/base/log.h"
#include "agent/base/quote.h"
#include "agent/base/trouble.h"
#include "agent/sync/capture_brake.h"
#include "agent/sync/job.h"
#include "agent/sync/suspect.h"

#define CAPTURE_PATHS \
	512 /* paths one of them takes at most: one transaction, some 20 ms of small files */
#define AGAIN_MS 100		/* a file that changed while it was read */
#define STORE_WAIT_FIRST_MS 500 /* after a change could not be indexed */
#define STORE_WAIT_MAX_MS 10000
#define RACY_MS 25 /* past the granularity of timestamps */
#define LINKED_MAX                                                                               \
	256 /* hard links of one group's files that are looked at at once; a scan finds the rest \
	     */

struct capture_job {
	struct job job;
	struct intake *in;
	enum intake_mode mode;
	uint64_t oldest_ms;
	bool apply_gone; /* deletions are applied, too */
	bool from_scan;
	size_t n;
	struct capture_item items[CAPTURE_PATHS];
	bool orphan[CAPTURE_PATHS]; /* its directory is not indexed: yet, or any longer */
	enum suspicion suspicion[CAPTURE_PATHS];
	enum capture_stop stop[CAPTURE_PATHS];
	bool overtaken[CAPTURE_PATHS];
	bool came_back;		  /* something that was held */
	uint64_t links_serial;	  /* in->links.serial when it was started */
	unsigned started;	  /* in->started when it was started */
	bool alone;		  /* no other was under way then */
	char *linked[LINKED_MAX]; /* other names of files that changed */
	size_t n_linked;
	size_t n_versions;
	bool stored; /* something was, or was tried to be */
	size_t changed;
	int result;
	struct err err;
};

/* ---- capturing ------------------------------------------------------------------------------ */

static bool is_indexing(enum intake_mode mode)
{
	return mode == INTAKE_INDEX || mode == INTAKE_FOREIGN;
}

/* worker */
static size_t collect(struct capture_job *c, struct captured *out)
{
	size_t n = 0;
	bool indexes = is_indexing(c->mode);
	for (size_t i = 0; i < c->n; i++) {
		struct capture_item *item = &c->items[i];
		bool changed = item->outcome == CAPTURE_CHANGED && indexes;
		if (c->stop[i] != CAPTURE_GOES)
			continue;
		c->n_versions += changed;
		if (changed)
			out[n++] = (struct captured){.kind = CAPTURED_VERSION,
						     .entry = &item->entry,
						     .orphan = &c->orphan[i]};
		else if (item->outcome == CAPTURE_SAME && indexes)
			out[n++] = (struct captured){.kind = CAPTURED_SAME, .entry = &item->entry};
		else if (item->outcome == CAPTURE_DROPPED)
			out[n++] = (struct captured){.kind = CAPTURED_DROPPED, .path = item->path};
	}
	for (size_t i = 0; i < c->n && c->apply_gone && indexes; i++) {
		if (c->items[i].outcome == CAPTURE_GONE)
			out[n++] = (struct captured){.kind = CAPTURED_GONE,
						     .path = c->items[i].path,
						     .approved = c->items[i].approved};
	}
	return n;
}

static void log_note_failed(const char *path, const struct err *err)
{
	char q[QUOTED_MAX];
	log_error("capture", "path=%s action=\"status does not show it as it is\" err=\"%s\"",
		  quote_path(q, path), err->msg);
}

static void write_note(struct capture_job *c, enum note_kind kind, const struct capture_item *item,
		       bool applies)
{
	struct err err = {0};
	struct store *store = c->in->setup.env.store;
	int r = applies ? store_note(store, kind, item->path, item->why, &err)
			: store_unnote(store, kind, item->path, &err);
	if (r < 0)
		log_note_failed(item->path, &err);
}

/* worker: paths that cannot go on are noted, and the notes of those that went on are withdrawn. */
static void write_notes(struct capture_job *c)
{
	for (size_t i = 0; i < c->n; i++) {
		const struct capture_item *item = &c->items[i];
		write_note(c, NOTE_HELD, item, item->outcome == CAPTURE_HELD);
		write_note(c, NOTE_UNREADABLE, item, item->outcome == CAPTURE_UNREADABLE);
	}
}

/* worker: a passive reads nothing of its own tree but what it only compares. A path that was noted
 * and is as installed by now is no drift any longer. */
static void guard_one(struct capture_job *c, size_t i, const struct index_entry *entry)
{
	struct file_stat now;
	struct capture_item *item = &c->items[i];
	const struct capture_env *env = &c->in->setup.env;
	struct err err = {0};
	item->outcome = CAPTURE_NOTHING;
	c->suspicion[i] = suspect_judge(&now, env->tree, env->profile, item->path, entry);
	switch (c->suspicion[i]) {
	case SUSPECT_CAPTURE: capture_run(env, item, 1); break;
	case SUSPECT_NOT:
		if (store_unnote(env->store, NOTE_DRIFT, item->path, &err) < 0)
			log_note_failed(item->path, &err);
		break;
	case SUSPECT_UNKNOWN: /* the scan raises the alarm */
	case SUSPECT_TIME:
	case SUSPECT_DRIFT: break;
	}
}

static void guard(struct capture_job *c)
{
	struct index_entry entries[CAPTURE_PATHS] = {0};
	bool known[CAPTURE_PATHS];
	struct store *store = c->in->setup.env.store;
	store_begin_reads(store);
	for (size_t i = 0; i < c->n; i++)
		known[i] = store_get(store, c->items[i].path, &entries[i], NULL) == 0;
	store_end_reads(store);
	for (size_t i = 0; i < c->n; i++) {
		guard_one(c, i, known[i] ? &entries[i] : NULL);
		if (known[i])
			index_entry_release(&entries[i]);
	}
}

static void capture_work(struct job *job)
{
	struct capture_job *c = container_of(job, struct capture_job, job);
	struct captured captured[CAPTURE_PATHS];
	if (c->mode == INTAKE_GUARD)
		guard(c);
	else
		capture_run(&c->in->setup.env, c->items, c->n);
	if (c->mode == INTAKE_INDEX)
		c->result = capture_brake(c->in->setup.holds, c->in->setup.env.store, c->items,
					  c->n, c->apply_gone, c->stop, &c->err);
	if (c->result < 0)
		return;
	size_t n = collect(c, captured);
	c->stored = n > 0;
	if (n > 0)
		c->result = store_capture(c->in->setup.env.store, captured, n,
					  c->mode == INTAKE_FOREIGN, &c->changed, &c->err);
	if (c->mode == INTAKE_INDEX) {
		write_notes(c);
		c->n_linked =
			links_find(c->in->setup.env.store, c->items, c->n, c->linked, LINKED_MAX);
		if (c->result >= 0)
			c->came_back = capture_brake_release(c->in->setup.env.store, c->items, c->n,
							     c->apply_gone, c->stop);
	}
}

/* ---- what becomes of the items --------------------------------------------------------------- */

/* What was indexed beneath a directory went with it. Another capture, or this one, may have indexed
 * what came beneath the same name after the directory was seen to be gone: looked for again. */
static void look_beneath(struct capture_job *c, size_t i)
{
	struct intake *in = c->in;
	const struct capture_item *item = &c->items[i];
	bool gone = item->outcome == CAPTURE_GONE && c->apply_gone;
	bool replaced = item->outcome == CAPTURE_CHANGED && item->entry.rec.kind != RECORD_DIR;
	bool alone = c->alone && c->started == in->started && gone && c->n_versions == 0;
	if (item->was_dir && (gone || replaced) && c->stop[i] == CAPTURE_GOES && !alone)
		dirty_set_add_subtree(in->dirty, item->path, clock_mono_ms());
}

/* Found by an event; what a scan finds it says itself. */
static void note_odd(struct intake *in, const struct capture_item *item)
{
	(item->special ? odd_add : odd_remove)(&in->special, item->path);
	(item->setid ? odd_add : odd_remove)(&in->setid, item->path);
}

static void take_outcome(struct capture_job *c, size_t i)
{
	struct intake *in = c->in;
	const struct capture_item *item = &c->items[i];
	uint64_t now = clock_mono_ms();
	char q[QUOTED_MAX];
	struct path_entry *gone = path_entry_find(in->gone, item->path);
	bool waits = item->outcome == CAPTURE_GONE || c->stop[i] == CAPTURE_WAITS;
	note_odd(in, item);
	if (c->suspicion[i] == SUSPECT_DRIFT || c->suspicion[i] == SUSPECT_TIME)
		in->setup.events.suspect(in->setup.events.owner, item->path,
					 c->suspicion[i] == SUSPECT_DRIFT);
	if (gone && (!waits || c->apply_gone))
		path_entry_drop(&in->gone, gone);
	if (waits && !c->apply_gone)
		intake_add_gone(in, item->path, c->oldest_ms);
	if (c->stop[i] != CAPTURE_GOES)
		return;
	switch (item->outcome) {
	case CAPTURE_CHANGED:
		if (c->overtaken[i] || recent_links_concern(&in->links, item, c->links_serial))
			intake_mark_dirty_at(in, item->path, now, c->oldest_ms);
		if (c->orphan[i]) {
			intake_add_parents(in, item->path, c->oldest_ms);
			dirty_set_add_at(in->dirty, item->path, now + 1, c->oldest_ms);
		}
		__attribute__((fallthrough));
	case CAPTURE_SAME:
		if (item->entry.flags & ENTRY_RACY)
			dirty_set_add_at(in->dirty, item->path, now + RACY_MS, now);
		break;
	case CAPTURE_AGAIN:
		dirty_set_add_at(in->dirty, item->path, now + AGAIN_MS, c->oldest_ms);
		break;
	case CAPTURE_UNREADABLE:
		log_warn("capture", "path=%s action=retry err=\"%s\"", quote_path(q, item->path),
			 item->why);
		dirty_set_add_at(in->dirty, item->path, now + UNREADABLE_MS, now);
		break;
	case CAPTURE_HELD:
		log_warn("capture", "path=%s action=hold reason=\"%s\"", quote_path(q, item->path),
			 item->why);
		break;
	case CAPTURE_COMPARED:
		in->setup.events.compared(in->setup.events.owner, item->path, item->entry.rec.hash);
		break;
	case CAPTURE_GONE:
	case CAPTURE_NOTHING:
	case CAPTURE_DROPPED:
	case CAPTURE_SPECIAL: break;
	}
}

/* What came and went while nothing could be indexed left no trace by which its hard links and what
 * stood beneath it could be found. */
static void make_up_for_unstored(struct intake *in)
{
	in->unstored = false;
	in->store_wait_ms = in->resume_ms = 0;
	intake_queue_scan(in, x_strdup(""), in->vouched_ns, clock_mono_ms());
}

/* The database said no (full disk, I/O error): nothing of the group is indexed, all is looked at
 * again. */
static void retry_all(struct capture_job *c)
{
	struct intake *in = c->in;
	uint64_t now = clock_mono_ms();
	if (now >= in->resume_ms) {
		in->store_wait_ms =
			in->store_wait_ms == 0 ? STORE_WAIT_FIRST_MS : 2 * in->store_wait_ms;
		if (in->store_wait_ms > STORE_WAIT_MAX_MS)
			in->store_wait_ms = STORE_WAIT_MAX_MS;
		in->resume_ms = now + in->store_wait_ms;
		log_error("capture", "action=retry in_ms=%" PRIu64 " err=\"%s\"", in->store_wait_ms,
			  c->err.msg);
	}
	in->unstored = true;
	for (size_t i = 0; i < c->n; i++)
		dirty_set_add_at(in->dirty, c->items[i].path, now, c->oldest_ms);
}

static void capture_done(struct job *job)
{
	struct capture_job *c = container_of(job, struct capture_job, job);
	struct intake *in = c->in;
	in->captures--;
	in->scan_captures -= c->from_scan;
	for (size_t i = 0; i < c->n; i++) {
		struct path_entry *entry = path_entry_find(in->under_way, c->items[i].path);
		BUG_ON(!entry);
		c->overtaken[i] = entry->overtaken;
		path_entry_drop(&in->under_way, entry);
	}
	if (c->stored)
		trouble_result("indexing changes", c->result, &c->err);
	if (c->result < 0)
		retry_all(c);
	else if (c->stored && in->unstored && !in->closing)
		make_up_for_unstored(in);
	for (size_t i = 0; i < c->n; i++) {
		if (c->result >= 0 && !in->closing)
			take_outcome(c, i);
		if (c->result >= 0 && !in->closing)
			look_beneath(c, i);
	}
	recent_links_add(&in->links, c->items, c->n);
	for (size_t i = 0; i < c->n; i++)
		capture_item_release(&c->items[i]);
	for (size_t i = 0; i < c->n_linked; i++) {
		intake_mark_dirty_at(in, c->linked[i], clock_mono_ms(), c->oldest_ms);
		free(c->linked[i]);
	}
	if (c->came_back)
		intake_want_sweep(in);
	if (c->changed > 0 && !in->closing)
		in->setup.events.indexed(in->setup.events.owner, c->changed);
	free(c);
	intake_job_ended(in);
}

/* ---- choosing what to capture --------------------------------------------------------------- */

static bool add_item(struct capture_job *c, char *path, uint64_t now)
{
	struct intake *in = c->in;
	if (path_entry_find(in->under_way, path)) {
		dirty_set_add_at(in->dirty, path, now + 5, c->oldest_ms);
		free(path);
		return false;
	}
	path_entry_add(&in->under_way, path, c->oldest_ms);
	c->items[c->n++].path = path;
	return true;
}

/* What an event names is read even when its stat is the indexed one: the kernel stamps a write when
 * it begins, so a read in the midst of a long one can be torn without a trace, and the event of its
 * end is all that tells. */
static void take_dirty(struct capture_job *c, uint64_t now)
{
	struct intake *in = c->in;
	char *path;
	bool subtree;
	while (c->n < CAPTURE_PATHS && dirty_set_take(in->dirty, &path, &subtree, now)) {
		if (subtree)
			intake_queue_scan(in, path, in->lost_after_ns, c->oldest_ms);
		else if (add_item(c, path, now))
			c->items[c->n - 1].force_read = true;
	}
	if (dirty_set_size(in->dirty) == 0)
		in->lost_after_ns = 0;
}

static void take_backlog(struct capture_job *c, uint64_t now)
{
	struct intake *in = c->in;
	if (in->backlog_since_ms < c->oldest_ms)
		c->oldest_ms = in->backlog_since_ms;
	while (c->n < CAPTURE_PATHS && in->backlog_at < in->n_backlog) {
		char *path = in->backlog[in->backlog_at++];
		if (sets_of(in) &&
		    intake_sets_add(sets_of(in), path, SET_FOUND, in->backlog_since_ms)) {
			free(path);
			continue;
		}
		enum profile_verdict verdict = profile_verdict(in->setup.env.profile, path, false);
		/* A passive compares fingerprints, and forgets what its profile no longer wants. */
		bool ours = in->setup.mode != INTAKE_COMPARE || verdict == PROFILE_COMPARE ||
			    verdict == PROFILE_LEAVE;
		/* Still being written to, as the watcher knows: its time has not come. */
		if (dirty_set_is_open(in->dirty, path) || !ours)
			free(path);
		else if (add_item(c, path, now))
			c->items[c->n - 1].vouched_ns = in->scan_vouched_ns;
	}
	if (in->backlog_at == in->n_backlog)
		in->backlog_at = in->n_backlog = 0;
}

/* Deletions whose time has come: the watcher has handed over everything before them, and nothing is
 * under way that may show where the content went; or they have waited long enough. They are looked
 * at again. */
static void take_gone(struct capture_job *c, uint64_t now, bool quiet)
{
	struct intake *in = c->in;
	struct path_entry *e, *tmp;
	HASH_ITER (hh, in->gone, e, tmp) {
		bool due = intake_gone_is_due(e, now, quiet) && e->judged;
		if (!due || c->n == CAPTURE_PATHS || path_entry_find(in->under_way, e->path))
			continue;
		if (e->since_ms < c->oldest_ms)
			c->oldest_ms = e->since_ms;
		add_item(c, x_strdup(e->path), now);
	}
}

bool intake_start_capture(struct intake *in)
{
	uint64_t now = clock_mono_ms();
	bool quiet = intake_is_quiet(in);
	struct capture_job *c = x_calloc(1, sizeof(*c));
	c->in = in;
	c->mode = in->setup.mode;
	c->oldest_ms = dirty_set_oldest(in->dirty);
	if (in->gone) {
		intake_judge_gone(in, now, quiet);
		take_gone(c, now, quiet);
	}
	c->apply_gone = c->n > 0;
	if (c->n == 0)
		take_dirty(c, now);
	if (c->n == 0) {
		take_backlog(c, now);
		c->from_scan = c->n > 0;
	}
	if (c->n == 0) {
		free(c);
		return false;
	}
	c->alone = in->captures == 0;
	c->started = ++in->started;
	c->links_serial = in->links.serial;
	in->captures++;
	in->scan_captures += c->from_scan;
	in->jobs++;
	job_start(in->setup.loop, &c->job, capture_work, capture_done);
	return true;
}
