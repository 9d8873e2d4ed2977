/* intake.c - set up, told, run and closed: what is dirty comes in here, and whatever comes back
 * starts what can be started next. intake_capture.c reads, intake_scan.c walks the tree and
 * intake_gone.c holds deletions back. */
#include "agent/node/intake_private.h"

#include "agent/base/clock.h"
#include "protocol/relpath.h"

#define DIRTY_MAX 100000 /* entries; past it they collapse into subtrees */
#define CAPTURE_JOBS 3	 /* workers reading at once; one is left for the rest */

static void note_idle(struct intake *in);

static void on_timer(uv_timer_t *timer)
{
	intake_run(timer->data);
}

/* ---- consistency sets ----------------------------------------------------------------------- */

static void on_set_indexed(void *owner, size_t changed)
{
	struct intake *in = owner;
	if (!in->closing)
		in->setup.events.indexed(in->setup.events.owner, changed);
}

static void on_set_dirty(void *owner, const char *path, uint64_t since_ms)
{
	intake_add_parents(owner, path, since_ms);
	intake_mark_dirty_at(owner, path, clock_mono_ms(), since_ms);
}

static void on_set_lost(void *owner)
{
	intake_queue_scan(owner, x_strdup(""), ((struct intake *)owner)->vouched_ns,
			  clock_mono_ms());
}

static void on_set_came_back(void *owner)
{
	intake_want_sweep(owner);
}

static void on_set_job_ended(void *owner)
{
	intake_job_ended(owner);
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
		.quiet = intake_is_quiet(in),
		.burst_seq = in->idle_seq,
	};
	if (sets && !scans_a_part(in) && intake_sets_run(sets, &moment))
		in->jobs++;
}

/* Deletions and scans under way have waited for sets, too. */
uint64_t intake_oldest_dirty(const struct intake *in)
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
	intake_queue_scan(in, x_strdup(""), 0, clock_mono_ms());
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

void intake_mark_dirty_at(struct intake *in, const char *path, uint64_t due_ms, uint64_t since_ms)
{
	if (!sets_of(in) || !intake_sets_add(sets_of(in), path, SET_FOUND, since_ms))
		dirty_set_add_at(in->dirty, path, due_ms, since_ms);
}

void intake_add_parents(struct intake *in, const char *path, uint64_t since_ms)
{
	AUTO_FREE char *parent = x_strdup(path);
	size_t len;
	while ((len = relpath_parent_len(parent)) > 0) {
		parent[len] = '\0';
		intake_mark_dirty_at(in, parent, since_ms, since_ms);
	}
	dirty_set_add_at(in->dirty, "", since_ms, since_ms);
}

bool intake_is_quiet(const struct intake *in)
{
	return in->captures == 0 && !in->scan && !in->stepping && in->n_tops == 0 &&
	       in->backlog_at == in->n_backlog &&
	       dirty_set_next_due(in->dirty) > clock_mono_ms() + in->setup.settle_ms;
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

void intake_run(struct intake *in)
{
	if (in->closing)
		return;
	if (!in->held) {
		if (in->rescan_ms != 0 && clock_mono_ms() >= in->rescan_ms) {
			in->rescan_ms = 0;
			intake_queue_scan(in, x_strdup(""), in->lost_after_ns, in->rescan_since_ms);
		}
		while (clock_mono_ms() >= in->resume_ms && in->captures < CAPTURE_JOBS &&
		       intake_start_capture(in))
			;
		intake_step_scan(in);
		run_sets(in);
		intake_report_scanned(in);
		intake_sweep(in);
	}
	in->counts.waiting = dirty_set_size(in->dirty) + in->n_backlog - in->backlog_at +
			     (sets_of(in) ? set_queue_size(intake_sets_queue(sets_of(in))) : 0);
	if (in->counts.waiting == 0 && in->jobs == 0 && !in->gone && !in->scan && in->n_tops == 0)
		note_idle(in);
	set_timer(in);
}

uint64_t intake_oldest(const struct intake *in)
{
	uint64_t oldest = intake_oldest_dirty(in);
	uint64_t others[] = {
		path_entry_oldest(in->under_way),
		path_entry_oldest(in->gone),
		in->scan || in->stepping ? in->scan_since_ms : UINT64_MAX,
		in->n_backlog > in->backlog_at ? in->backlog_since_ms : UINT64_MAX,
		in->n_tops > 0 ? in->tops_since_ms : UINT64_MAX,
		in->rescan_ms != 0 ? in->rescan_since_ms : UINT64_MAX,
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

const struct odd *intake_special(const struct intake *in)
{
	return &in->special;
}

const struct odd *intake_setid(const struct intake *in)
{
	return &in->setid;
}

/* ---- closing -------------------------------------------------------------------------------- */

static void on_timer_closed(uv_handle_t *handle)
{
	struct intake *in = handle->data;
	dirty_set_free(in->dirty);
	intake_sets_free(in->sets);
	path_entry_drop_all(&in->under_way);
	path_entry_drop_all(&in->gone);
	for (size_t i = 0; i < in->n_tops; i++)
		free(in->tops[i].path);
	for (size_t i = in->backlog_at; i < in->n_backlog; i++)
		free(in->backlog[i]);
	free(in->tops);
	free(in->backlog);
	scan_free(in->scan);
	odd_release(&in->special);
	odd_release(&in->setid);
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

void intake_job_ended(struct intake *in)
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
