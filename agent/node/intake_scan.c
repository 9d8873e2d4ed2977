/* intake_scan.c - scans: what is to be walked, the walk in steps, and the backlog it leaves for the
 * captures; and the sweep over what a brake holds, which a scan sets off. */
#include "agent/node/intake_private.h"

#include "agent/base/clock.h"
#include "agent/base/log.h"
#include "agent/base/trouble.h"
#include "agent/node/loss_job.h"
#include "agent/sync/job.h"
#include "protocol/relpath.h"

#define BACKLOG_LOW 512 /* the scan goes on when fewer of its paths wait */
#define SCAN_PATHS 1024

/* ---- what is held ---------------------------------------------------------------------------- */

void intake_want_sweep(struct intake *in)
{
	if (in->sweep_ms == 0 && in->setup.mode == INTAKE_INDEX &&
	    store_note_count(in->setup.env.store, NOTE_BRAKE) > 0)
		in->sweep_ms = clock_mono_ms();
}

static void on_swept(void *owner)
{
	struct intake *in = owner;
	in->sweeping = false;
	intake_job_ended(in);
}

void intake_sweep(struct intake *in)
{
	if (in->sweep_ms == 0 || in->sweeping)
		return;
	in->sweeping = true;
	in->sweep_since_ms = in->sweep_ms;
	in->sweep_ms = 0;
	in->jobs++;
	sweep_job_start(in->setup.loop, &in->setup.env, on_swept, in);
}

/* ---- scanning ------------------------------------------------------------------------------- */

/* The earlier of the two: it doubts more. */
static int64_t less_vouched(int64_t a, int64_t b)
{
	return a == 0 || (b != 0 && b < a) ? b : a;
}

/* @param path  taken */
void intake_queue_scan(struct intake *in, char *path, int64_t vouched_ns, uint64_t since_ms)
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

/* What could not be opened for want of descriptors may be anything: the scan has to be made again.
 */
static int judge_scan(const struct intake *in, int result, struct err *err)
{
	const struct scan_counts *counts = in->scan ? scan_counts(in->scan) : NULL;
	if (result < 0 || !counts || counts->starved == 0)
		return result;
	return err_set(err, -EMFILE, "%.190s", counts->first_unreadable);
}

static void end_scan(struct intake *in, int result, struct err *err)
{
	result = judge_scan(in, result, err);
	if (result < 0) {
		log_warn("scan", "action=retry err=\"%s\"", err->msg);
		trouble_is("scanning", err);
		if (in->rescan_ms == 0)
			in->rescan_since_ms = in->scan_since_ms;
		in->rescan_ms = clock_mono_ms() + UNREADABLE_MS;
		in->lost_after_ns = less_vouched(in->lost_after_ns, in->scan_vouched_ns);
	}
	if (in->scan && in->scan_is_whole && result == 0) {
		trouble_over("scanning");
		in->counts.scan = *scan_counts(in->scan);
		in->counts.scan_entries = in->counts.scan.entries;
		scan_take_odd(in->scan, &in->special, &in->setid);
		in->whole_ended = true;
		in->whole_since_ms = in->scan_since_ms;
		in->whole_begun_ms = in->scan_begun_ms;
		in->whole_since_real_ns = in->scan_since_real_ns;
	}
	scan_free(in->scan);
	in->scan = NULL;
}

/* A scan has ended when what it found is indexed, too: only then is the index the tree. */
void intake_report_scanned(struct intake *in)
{
	if (!in->whole_ended || in->scan_captures > 0 || in->backlog_at < in->n_backlog ||
	    intake_oldest_dirty(in) <= in->whole_since_ms)
		return;
	in->whole_ended = false;
	intake_want_sweep(in);
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
	intake_job_ended(in);
}

/* What is being captured is not in the index yet. If it is gone from the tree by now, the scan
 * finds it in neither and is silent; so it is looked at once more when it is indexed. */
static void overtake(struct intake *in, const char *top)
{
	for (struct path_entry *e = in->under_way; e; e = e->hh.next)
		e->overtaken |= relpath_is_within(e->path, top);
}

void intake_step_scan(struct intake *in)
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
