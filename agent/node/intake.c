#include "agent/node/intake.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <uthash.h>

#include "agent/base/clock.h"
#include "agent/base/log.h"
#include "agent/base/quote.h"
#include "agent/base/trouble.h"
#include "agent/node/intake_links.h"
#include "agent/node/intake_sets.h"
#include "agent/node/loss_job.h"
#include "agent/sync/capture_brake.h"
#include "agent/sync/job.h"
#include "agent/sync/suspect.h"
#include "agent/watch/dirty_set.h"
#include "protocol/relpath.h"

#define DIRTY_MAX 100000 /* entries; past it they collapse into subtrees */
#define CAPTURE_JOBS 3	 /* workers reading at once; one is left for the rest */
#define CAPTURE_PATHS \
	512 /* paths one of them takes at most: one transaction, some 20 ms of small files */
#define BACKLOG_LOW 512 /* the scan goes on when fewer of its paths wait */
#define SCAN_PATHS 1024
#define AGAIN_MS 100 /* a file that changed while it was read */
#define UNREADABLE_MS 10000
#define STORE_WAIT_FIRST_MS 500 /* after a change could not be indexed */
#define STORE_WAIT_MAX_MS 10000
#define RACY_MS 25 /* past the granularity of timestamps */
#define LINKED_MAX                                                                               \
	256 /* hard links of one group's files that are looked at at once; a scan finds the rest \
	     */
#define GONE_MAX_MS 5000 /* a deletion waits no longer for quiet */
#define HOLD_MAX_MS \
	60000 /* ... nor one of many, which may yet turn out to be a move, unless a scan is on */
#define LATER_MS 1000 /* after which those are judged again */

struct path_entry {
	UT_hash_handle hh;
	uint64_t since_ms;
	bool overtaken; /* in `under_way`: a scan that looks there has begun since */
	/* in `gone` */
	bool fence_passed; /* the watcher has handed over all that was before it */
	bool judged;	   /* the brake lets it go */
	char path[];
};

/* Still to be scanned. */
struct top {
	char *path;
	int64_t vouched_ns; /* 0: no event was lost */
};

struct intake {
	struct intake_setup setup;
	struct dirty_set *dirty;
	struct intake_sets *sets; /* what is in no consistency set goes through `dirty` */
	uv_timer_t timer;
	bool timer_open;
	bool held, closing;
	int jobs, captures;
	unsigned started; /* captures so far */
	struct recent_links links;
	bool unstored;			   /* a capture failed, and none has been stored since */
	uint64_t store_wait_ms, resume_ms; /* nothing is read that could not be indexed */
	/* paths being captured: taken again only when they are back */
	struct path_entry *under_way;
	/* deletions waiting for quiet */
	struct path_entry *gone;
	bool fence_pending;
	bool judging;
	uint64_t judge_ms; /* not before, unless it is quiet */
	bool sweeping;
	uint64_t sweep_since_ms;
	uint64_t sweep_ms; /* since when all that is held is to be looked at; 0: it is not */
	uint64_t idle_seq; /* the last one given when nothing was under way: what was indexed since
			      may be where a path went that is gone now */
	/* scanning */
	struct top *tops;
	size_t n_tops, cap_tops;
	int64_t vouched_ns, lost_after_ns; /* lost_after_ns: 0 = none since the last subtree */
	int64_t scan_vouched_ns;	   /* of the running scan, and of its backlog */
	uint64_t tops_since_ms;
	struct scan *scan;
	bool scan_is_whole, stepping;
	bool whole_ended;   /* a whole scan has walked the tree; its findings are being captured */
	int scan_captures;  /* workers capturing what a scan found */
	uint64_t rescan_ms; /* when to scan again after one that failed; 0: none has */
	uint64_t whole_since_ms;
	int64_t whole_since_real_ns;
	uint64_t scan_since_ms;
	int64_t scan_since_real_ns;
	uint64_t scan_begun_ms, whole_begun_ms; /* when the walk itself began */
	char **backlog;
	size_t n_backlog, cap_backlog, backlog_at;
	uint64_t backlog_since_ms; /* of the oldest scan that found any of it */
	struct intake_counts counts;
};

static void intake_run(struct intake *in);
static bool is_quiet(const struct intake *in);
static void note_idle(struct intake *in);
static void want_sweep(struct intake *in);

/* Only an active numbers changes, and only there does it matter which belong together. */
static struct intake_sets *sets_of(const struct intake *in)
{
	return in->setup.mode == INTAKE_INDEX ? in->sets : NULL;
}

static void on_timer(uv_timer_t *timer)
{
	intake_run(timer->data);
}

static void mark_dirty_at(struct intake *in, const char *path, uint64_t due_ms, uint64_t since_ms);
static void add_parents(struct intake *in, const char *path, uint64_t since_ms);
static void job_ended(struct intake *in);
static void queue_scan(struct intake *in, char *path, int64_t vouched_ns, uint64_t since_ms);

/* ---- consistency sets ----------------------------------------------------------------------- */

static void on_set_indexed(void *owner, size_t changed)
{
	struct intake *in = owner;
	if (!in->closing)
		in->setup.events.indexed(in->setup.events.owner, changed);
}

static void on_set_dirty(void *owner, const char *path, uint64_t since_ms)
{
	add_parents(owner, path, since_ms);
	mark_dirty_at(owner, path, clock_mono_ms(), since_ms);
}

static void on_set_lost(void *owner)
{
	queue_scan(owner, x_strdup(""), ((struct intake *)owner)->vouched_ns, clock_mono_ms());
}

static void on_set_came_back(void *owner)
{
	want_sweep(owner);
}

static void on_set_job_ended(void *owner)
{
	job_ended(owner);
}

/* A scan of a part was asked for because something came or was lost there: perhaps a member. */
static bool scans_a_part(const struct intake *in)
{
	return ((in->scan || in->stepping) && !in->scan_is_whole) ||
	       (in->n_tops > 0 && *in->tops[0].path != '\0') || in->backlog_at < in->n_backlog;
}

static void run_sets(struct intake *in)
{
	struct intake_sets *sets = sets_of(in);
	const struct intake_sets_moment moment = {
		.scanning = in->scan || in->stepping || in->n_tops > 0,
		.quiet = is_quiet(in),
		.burst_seq = in->idle_seq,
	};
	if (sets && !scans_a_part(in) && intake_sets_run(sets, &moment))
		in->jobs++;
}

/* Deletions and scans under way have waited for sets, too. */
static uint64_t oldest_dirty(const struct intake *in)
{
	uint64_t one = dirty_set_oldest(in->dirty);
	uint64_t other =
		sets_of(in) ? set_queue_oldest(intake_sets_queue(sets_of(in))) : UINT64_MAX;
	return one < other ? one : other;
}

struct intake *intake_new(const struct intake_setup *setup)
{
	struct intake *in = x_calloc(1, sizeof(*in));
	in->setup = *setup;
	in->vouched_ns = setup->vouched_ns;
	in->setup.env.files_hashed = &in->counts.files_hashed;
	in->setup.env.bytes_hashed = &in->counts.bytes_hashed;
	in->dirty = dirty_set_new(setup->settle_ms, setup->settle_max_ms, DIRTY_MAX);
	struct intake_sets_events events = {.owner = in,
					    .indexed = on_set_indexed,
					    .dirty = on_set_dirty,
					    .lost = on_set_lost,
					    .came_back = on_set_came_back,
					    .job_ended = on_set_job_ended};
	in->sets = intake_sets_new(setup->loop, &in->setup.env, setup->holds, &events);
	intake_sets_configure(in->sets, setup->set_settle_ms, setup->settle_max_ms);
	uv_timer_init(setup->loop, &in->timer);
	in->timer.data = in;
	in->timer_open = true;
	note_idle(in);
	return in;
}

void intake_configure(struct intake *in, uint32_t settle_ms, uint32_t settle_max_ms,
		      uint32_t set_settle_ms)
{
	intake_sets_configure(in->sets, set_settle_ms, settle_max_ms);
	dirty_set_configure(in->dirty, settle_ms, settle_max_ms);
}

/* ---- sets of paths -------------------------------------------------------------------------- */

static struct path_entry *find_path(struct path_entry *set, const char *path)
{
	struct path_entry *entry;
	HASH_FIND_STR(set, path, entry);
	return entry;
}

static struct path_entry *add_path(struct path_entry **set, const char *path, uint64_t since_ms)
{
	struct path_entry *entry = find_path(*set, path);
	if (entry)
		return entry;
	size_t len = strlen(path);
	entry = x_calloc(1, sizeof(*entry) + len + 1);
	memcpy(entry->path, path, len + 1);
	entry->since_ms = since_ms;
	HASH_ADD_STR(*set, path, entry);
	return entry;
}

static void drop_path(struct path_entry **set, struct path_entry *entry)
{
	HASH_DEL(*set, entry);
	free(entry);
}

static uint64_t oldest_path(struct path_entry *set)
{
	uint64_t oldest = UINT64_MAX;
	for (struct path_entry *e = set; e; e = e->hh.next) {
		if (e->since_ms < oldest)
			oldest = e->since_ms;
	}
	return oldest;
}

/* ---- hints ---------------------------------------------------------------------------------- */

void intake_set_mode(struct intake *in, enum intake_mode mode)
{
	in->setup.mode = mode;
}

/* On a passive nobody else has anything to finish. */
void intake_changed(struct intake *in, const char *path, enum watch_hint hint)
{
	uint64_t now = clock_mono_ms();
	bool open = hint == WATCH_OPEN && in->setup.mode != INTAKE_GUARD;
	if (!sets_of(in) || !intake_sets_add(sets_of(in), path, open ? SET_OPEN : SET_SETTLED, now))
		dirty_set_add(in->dirty, path, open, now);
	intake_run(in);
}

void intake_vouched(struct intake *in, int64_t real_ns)
{
	in->vouched_ns = real_ns;
}

void intake_subtree(struct intake *in, const char *path)
{
	uint64_t now = clock_mono_ms();
	if (in->lost_after_ns == 0 && in->setup.mode == INTAKE_INDEX)
		in->lost_after_ns = in->vouched_ns;
	if (sets_of(in)) /* its set is not quiet before what is beneath has been seen */
		intake_sets_add(sets_of(in), path, SET_SETTLED, now);
	dirty_set_add_subtree(in->dirty, path, now);
	intake_run(in);
}

void intake_scan(struct intake *in)
{
	queue_scan(in, x_strdup(""), 0, clock_mono_ms());
	intake_run(in);
}

void intake_fenced(struct intake *in)
{
	in->fence_pending = false;
	for (struct path_entry *e = in->gone; e; e = e->hh.next)
		e->fence_passed = true;
	intake_run(in);
}

void intake_flush(struct intake *in)
{
	dirty_set_flush(in->dirty, false, clock_mono_ms());
	intake_run(in);
}

void intake_flush_open(struct intake *in)
{
	dirty_set_flush(in->dirty, true, clock_mono_ms());
	intake_run(in);
}

static void note_open(void *arg, const char *path, bool open)
{
	char **found = arg;
	if (open && !*found)
		*found = x_strdup(path);
}

char *intake_open_path(const struct intake *in)
{
	char *found = NULL;
	dirty_set_each(in->dirty, note_open, &found);
	return found;
}

bool intake_is_working(const struct intake *in)
{
	return in->jobs > 0;
}

void intake_hold(struct intake *in, bool hold)
{
	in->held = hold;
	intake_run(in);
}

/* ---- capturing ------------------------------------------------------------------------------ */

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

static void mark_dirty_at(struct intake *in, const char *path, uint64_t due_ms, uint64_t since_ms)
{
	if (!sets_of(in) || !intake_sets_add(sets_of(in), path, SET_FOUND, since_ms))
		dirty_set_add_at(in->dirty, path, due_ms, since_ms);
}

static void add_parents(struct intake *in, const char *path, uint64_t since_ms)
{
	AUTO_FREE char *parent = x_strdup(path);
	size_t len;
	while ((len = relpath_parent_len(parent)) > 0) {
		parent[len] = '\0';
		mark_dirty_at(in, parent, since_ms, since_ms);
	}
	dirty_set_add_at(in->dirty, "", since_ms, since_ms);
}

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

static void add_gone(struct intake *in, const char *path, uint64_t since_ms)
{
	if (find_path(in->gone, path))
		return;
	add_path(&in->gone, path, since_ms);
	if (!in->fence_pending) {
		in->fence_pending = true;
		in->setup.events.fence_wanted(in->setup.events.owner);
	}
}

static void take_outcome(struct capture_job *c, size_t i)
{
	struct intake *in = c->in;
	const struct capture_item *item = &c->items[i];
	uint64_t now = clock_mono_ms();
	char q[QUOTED_MAX];
	struct path_entry *gone = find_path(in->gone, item->path);
	bool waits = item->outcome == CAPTURE_GONE || c->stop[i] == CAPTURE_WAITS;
	if (c->suspicion[i] == SUSPECT_DRIFT || c->suspicion[i] == SUSPECT_TIME)
		in->setup.events.suspect(in->setup.events.owner, item->path,
					 c->suspicion[i] == SUSPECT_DRIFT);
	if (gone && (!waits || c->apply_gone))
		drop_path(&in->gone, gone);
	if (waits && !c->apply_gone)
		add_gone(in, item->path, c->oldest_ms);
	if (c->stop[i] != CAPTURE_GOES)
		return;
	switch (item->outcome) {
	case CAPTURE_CHANGED:
		if (c->overtaken[i] || recent_links_concern(&in->links, item, c->links_serial))
			mark_dirty_at(in, item->path, now, c->oldest_ms);
		if (c->orphan[i]) {
			add_parents(in, item->path, c->oldest_ms);
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
	queue_scan(in, x_strdup(""), in->vouched_ns, clock_mono_ms());
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
		struct path_entry *entry = find_path(in->under_way, c->items[i].path);
		BUG_ON(!entry);
		c->overtaken[i] = entry->overtaken;
		drop_path(&in->under_way, entry);
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
		mark_dirty_at(in, c->linked[i], clock_mono_ms(), c->oldest_ms);
		free(c->linked[i]);
	}
	if (c->came_back)
		want_sweep(in);
	if (c->changed > 0 && !in->closing)
		in->setup.events.indexed(in->setup.events.owner, c->changed);
	free(c);
	job_ended(in);
}

/* ---- choosing what to capture --------------------------------------------------------------- */

static bool is_quiet(const struct intake *in)
{
	return in->captures == 0 && !in->scan && !in->stepping && in->n_tops == 0 &&
	       in->backlog_at == in->n_backlog &&
	       dirty_set_next_due(in->dirty) > clock_mono_ms() + in->setup.settle_ms;
}

/* The earlier of the two: it doubts more. */
static int64_t less_vouched(int64_t a, int64_t b)
{
	return a == 0 || (b != 0 && b < a) ? b : a;
}

/* @param path  taken */
static void queue_scan(struct intake *in, char *path, int64_t vouched_ns, uint64_t since_ms)
{
	struct top top = {.path = path, .vouched_ns = vouched_ns};
	if (in->n_tops == 0)
		in->tops_since_ms = since_ms;
	size_t kept = 0;
	for (size_t i = 0; i < in->n_tops; i++) {
		struct top *other = &in->tops[i];
		if (relpath_is_within(top.path, other->path)) {
			other->vouched_ns = less_vouched(other->vouched_ns, vouched_ns);
			free(path);
			return;
		}
		if (relpath_is_within(other->path, top.path)) {
			top.vouched_ns = less_vouched(top.vouched_ns, other->vouched_ns);
			free(other->path);
		} else {
			in->tops[kept++] = *other;
		}
	}
	in->n_tops = kept;
	GROW(in->tops, in->cap_tops, in->n_tops + 1);
	in->tops[in->n_tops++] = top;
}

/* ---- what is held ---------------------------------------------------------------------------- */

static void want_sweep(struct intake *in)
{
	if (in->sweep_ms == 0 && in->setup.mode == INTAKE_INDEX &&
	    store_note_count(in->setup.env.store, NOTE_BRAKE) > 0)
		in->sweep_ms = clock_mono_ms();
}

static void on_swept(void *owner)
{
	struct intake *in = owner;
	in->sweeping = false;
	job_ended(in);
}

static void sweep(struct intake *in)
{
	if (in->sweep_ms == 0 || in->sweeping)
		return;
	in->sweeping = true;
	in->sweep_since_ms = in->sweep_ms;
	in->sweep_ms = 0;
	in->jobs++;
	sweep_job_start(in->setup.loop, &in->setup.env, on_swept, in);
}

/* ---- judging deletions ---------------------------------------------------------------------- */

static bool is_due(const struct path_entry *e, uint64_t now, bool quiet)
{
	return (quiet && e->fence_passed) || now - e->since_ms > GONE_MAX_MS;
}

static void on_judged(void *owner, const struct loss *losses, size_t n, const struct loose *loose,
		      int result, const struct err *err)
{
	struct intake *in = owner;
	uint64_t now = clock_mono_ms();
	in->judging = false;
	if (result < 0)
		log_error("capture", "deletions=%zu action=retry err=\"%s\"", n, err->msg);
	in->judge_ms = now + LATER_MS;
	for (size_t i = 0; result == 0 && !in->closing && i < n; i++) {
		struct path_entry *e = find_path(in->gone, losses[i].path);
		if (e && losses[i].verdict == LOSS_HELD)
			drop_path(&in->gone, e);
		else if (e)
			e->judged = losses[i].verdict == LOSS_FREE;
	}
	for (size_t i = 0; result == 0 && !in->closing && i < loose->n; i++) {
		struct path_entry *e = add_path(&in->gone, loose->paths[i], now);
		e->judged = e->fence_passed = true;
	}
	job_ended(in);
}

/* All that is due is judged together: a directory that is deleted file by file is one loss. What is
 * judged and not yet applied goes first, or it would be counted as still to be lost. */
static void judge_gone(struct intake *in, uint64_t now, bool quiet)
{
	struct path_entry *e, *tmp, *oldest = NULL;
	size_t n = 0;
	if (in->setup.mode != INTAKE_INDEX || holds_are_off(in->setup.holds, HOLD_LOSS)) {
		HASH_ITER (hh, in->gone, e, tmp)
			e->judged = true;
		return;
	}
	HASH_ITER (hh, in->gone, e, tmp) {
		if (e->judged || in->judging)
			return;
		n += is_due(e, now, quiet);
		if (!oldest || e->since_ms < oldest->since_ms)
			oldest = e;
	}
	if (n == 0 || (!quiet && now < in->judge_ms))
		return;
	char **paths = x_calloc(n, sizeof(*paths));
	size_t k = 0;
	HASH_ITER (hh, in->gone, e, tmp) {
		if (is_due(e, now, quiet))
			paths[k++] = x_strdup(e->path);
	}
	bool scanning =
		in->scan || in->stepping || in->n_tops > 0 || in->n_backlog > in->backlog_at;
	in->judging = true;
	in->jobs++;
	loss_job_start(&(struct loss_job_order){
		.loop = in->setup.loop,
		.holds = in->setup.holds,
		.paths = paths,
		.n = n,
		.burst_seq = in->idle_seq,
		.may_hold = quiet || (!scanning && now - oldest->since_ms > HOLD_MAX_MS),
		.owner = in,
		.done = on_judged});
}

static bool add_item(struct capture_job *c, char *path, uint64_t now)
{
	struct intake *in = c->in;
	if (find_path(in->under_way, path)) {
		dirty_set_add_at(in->dirty, path, now + 5, c->oldest_ms);
		free(path);
		return false;
	}
	add_path(&in->under_way, path, c->oldest_ms);
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
			queue_scan(in, path, in->lost_after_ns, c->oldest_ms);
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
		bool due = is_due(e, now, quiet) && e->judged;
		if (!due || c->n == CAPTURE_PATHS || find_path(in->under_way, e->path))
			continue;
		if (e->since_ms < c->oldest_ms)
			c->oldest_ms = e->since_ms;
		add_item(c, x_strdup(e->path), now);
	}
}

static bool start_capture(struct intake *in)
{
	uint64_t now = clock_mono_ms();
	bool quiet = is_quiet(in);
	struct capture_job *c = x_calloc(1, sizeof(*c));
	c->in = in;
	c->mode = in->setup.mode;
	c->oldest_ms = dirty_set_oldest(in->dirty);
	if (in->gone) {
		judge_gone(in, now, quiet);
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

/* ---- scanning ------------------------------------------------------------------------------- */

struct scan_job {
	struct job job;
	struct intake *in;
	char *top; /* to begin with; NULL: go on */
	int64_t vouched_ns;
	struct scan *scan;
	char **paths;
	size_t n;
	int result;
	struct err err;
};

static void scan_work(struct job *job)
{
	struct scan_job *s = container_of(job, struct scan_job, job);
	const struct capture_env *env = &s->in->setup.env;
	if (s->top) {
		s->result =
			scan_begin(&s->scan, env->tree, env->store, env->profile, s->top, &s->err);
		if (s->result < 0)
			return;
		scan_suspect(s->scan, s->vouched_ns);
	}
	s->result = scan_step(s->scan, SCAN_PATHS, &s->paths, &s->n, &s->err);
}

static void end_scan(struct intake *in, int result, const struct err *err)
{
	if (result < 0) {
		log_warn("scan", "action=retry err=\"%s\"", err->msg);
		trouble_is("scanning", err);
		in->rescan_ms = clock_mono_ms() + UNREADABLE_MS;
		in->lost_after_ns = less_vouched(in->lost_after_ns, in->scan_vouched_ns);
	}
	if (in->scan && in->scan_is_whole && result == 0) {
		trouble_over("scanning");
		in->counts.scan = *scan_counts(in->scan);
		in->counts.scan_entries = in->counts.scan.entries;
		in->whole_ended = true;
		in->whole_since_ms = in->scan_since_ms;
		in->whole_begun_ms = in->scan_begun_ms;
		in->whole_since_real_ns = in->scan_since_real_ns;
	}
	scan_free(in->scan);
	in->scan = NULL;
}

/* A scan has ended when what it found is indexed, too: only then is the index the tree. */
static void report_scanned(struct intake *in)
{
	if (!in->whole_ended || in->scan_captures > 0 || in->backlog_at < in->n_backlog ||
	    oldest_dirty(in) <= in->whole_since_ms)
		return;
	in->whole_ended = false;
	want_sweep(in);
	in->counts.scanned_ms = clock_mono_ms();
	in->counts.scanned_real_ns = in->whole_since_real_ns;
	in->counts.scan_begun_ms = in->whole_begun_ms;
	in->setup.events.scanned(in->setup.events.owner, &in->counts.scan);
}

static void scan_done(struct job *job)
{
	struct scan_job *s = container_of(job, struct scan_job, job);
	struct intake *in = s->in;
	in->stepping = false;
	in->scan = s->scan;
	if (in->n_backlog == 0)
		in->backlog_since_ms = in->scan_since_ms;
	for (size_t i = 0; i < s->n; i++) {
		GROW(in->backlog, in->cap_backlog, in->n_backlog + 1);
		in->backlog[in->n_backlog++] = s->paths[i];
	}
	if (in->scan)
		in->counts.scan_entries = scan_counts(in->scan)->entries;
	if (s->result <= 0)
		end_scan(in, s->result, &s->err);
	free(s->paths);
	free(s->top);
	free(s);
	job_ended(in);
}

/* What is being captured is not in the index yet. If it is gone from the tree by now, the scan
 * finds it in neither and is silent; so it is looked at once more when it is indexed. */
static void overtake(struct intake *in, const char *top)
{
	for (struct path_entry *e = in->under_way; e; e = e->hh.next)
		e->overtaken |= relpath_is_within(e->path, top);
}

static void step_scan(struct intake *in)
{
	if (in->stepping || in->n_backlog - in->backlog_at > BACKLOG_LOW ||
	    (!in->scan && in->n_tops == 0))
		return;
	struct scan_job *s = x_calloc(1, sizeof(*s));
	s->in = in;
	if (!in->scan) {
		s->top = in->tops[--in->n_tops].path;
		bool drained = in->backlog_at == in->n_backlog;
		int64_t vouched_ns = in->tops[in->n_tops].vouched_ns;
		in->scan_vouched_ns =
			drained ? vouched_ns : less_vouched(vouched_ns, in->scan_vouched_ns);
		in->scan_is_whole = *s->top == '\0';
		overtake(in, s->top);
		in->scan_since_ms = in->tops_since_ms;
		in->scan_since_real_ns = clock_real_ns();
		in->scan_begun_ms = clock_mono_ms();
	}
	s->vouched_ns = in->scan_vouched_ns;
	s->scan = in->scan;
	in->stepping = true;
	in->jobs++;
	job_start(in->setup.loop, &s->job, scan_work, scan_done);
}

/* ---- the wheel ------------------------------------------------------------------------------ */

static void set_timer(struct intake *in)
{
	uint64_t now = clock_mono_ms();
	uint64_t due = dirty_set_next_due(in->dirty);
	/* One that is due already waits for a job or a scan to end, not for a time. */
	uint64_t set_due =
		sets_of(in) ? set_queue_next_due(intake_sets_queue(sets_of(in))) : UINT64_MAX;
	if (set_due > now && set_due < due)
		due = set_due;
	if (in->gone && now + 50 < due)
		due = now + 50;
	if (in->rescan_ms != 0 && in->rescan_ms < due)
		due = in->rescan_ms;
	if (in->resume_ms > now)
		due = in->resume_ms;
	if (due == UINT64_MAX || in->held)
		uv_timer_stop(&in->timer);
	else
		uv_timer_start(&in->timer, on_timer, due > now ? due - now : 1, 0);
}

static void note_idle(struct intake *in)
{
	struct store_state state;
	store_state(in->setup.env.store, &state);
	in->idle_seq = state.last_seq;
}

static void intake_run(struct intake *in)
{
	if (in->closing)
		return;
	if (!in->held) {
		if (in->rescan_ms != 0 && clock_mono_ms() >= in->rescan_ms) {
			in->rescan_ms = 0;
			queue_scan(in, x_strdup(""), in->lost_after_ns, clock_mono_ms());
		}
		while (clock_mono_ms() >= in->resume_ms && in->captures < CAPTURE_JOBS &&
		       start_capture(in))
			;
		step_scan(in);
		run_sets(in);
		report_scanned(in);
		sweep(in);
	}
	in->counts.waiting = dirty_set_size(in->dirty) + in->n_backlog - in->backlog_at +
			     (sets_of(in) ? set_queue_size(intake_sets_queue(sets_of(in))) : 0);
	if (in->counts.waiting == 0 && in->jobs == 0 && !in->gone && !in->scan && in->n_tops == 0)
		note_idle(in);
	set_timer(in);
}

uint64_t intake_oldest(const struct intake *in)
{
	uint64_t oldest = oldest_dirty(in);
	uint64_t others[] = {
		oldest_path(in->under_way),
		oldest_path(in->gone),
		in->scan || in->stepping ? in->scan_since_ms : UINT64_MAX,
		in->n_backlog > in->backlog_at ? in->backlog_since_ms : UINT64_MAX,
		in->n_tops > 0 ? in->tops_since_ms : UINT64_MAX,
		in->sweeping ? in->sweep_since_ms : UINT64_MAX,
		in->sweep_ms != 0 ? in->sweep_ms : UINT64_MAX,
	};
	for (size_t i = 0; i < ARRAY_LEN(others); i++)
		oldest = others[i] < oldest ? others[i] : oldest;
	return oldest;
}

bool intake_is_done(const struct intake *in, uint64_t mono_ms)
{
	return intake_oldest(in) > mono_ms;
}

void intake_counts(const struct intake *in, struct intake_counts *out)
{
	*out = in->counts;
	out->scanning = in->scan || in->stepping || in->n_tops > 0 || in->whole_ended;
}

/* ---- closing -------------------------------------------------------------------------------- */

static void free_set(struct path_entry **set)
{
	struct path_entry *e, *tmp;
	HASH_ITER (hh, *set, e, tmp) {
		drop_path(set, e);
	}
}

static void on_timer_closed(uv_handle_t *handle)
{
	struct intake *in = handle->data;
	dirty_set_free(in->dirty);
	intake_sets_free(in->sets);
	free_set(&in->under_way);
	free_set(&in->gone);
	for (size_t i = 0; i < in->n_tops; i++)
		free(in->tops[i].path);
	for (size_t i = in->backlog_at; i < in->n_backlog; i++)
		free(in->backlog[i]);
	free(in->tops);
	free(in->backlog);
	scan_free(in->scan);
	struct intake_events events = in->setup.events;
	free(in);
	events.closed(events.owner);
}

static void finish_close(struct intake *in)
{
	if (in->jobs > 0 || !in->timer_open)
		return;
	in->timer_open = false;
	uv_close((uv_handle_t *)&in->timer, on_timer_closed);
}

static void job_ended(struct intake *in)
{
	in->jobs--;
	if (in->closing)
		finish_close(in);
	else
		intake_run(in);
}

void intake_close(struct intake *in)
{
	in->closing = true;
	intake_sets_close(in->sets);
	finish_close(in);
}
