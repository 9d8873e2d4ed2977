#include "agent/sync/drift.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "agent/base/clock.h"
#include "agent/base/log.h"
#include "agent/base/quote.h"
#include "agent/sync/drift_book.h"
#include "agent/sync/job.h"
#include "agent/sync/mend.h"
#include "protocol/relpath.h"
#include "protocol/wire.h"

#define GROUP_PATHS 256	     /* judged in one job */
#define TIDY_MS 10000	     /* the book is tidied, and ... */
#define NOTED_MS 60000	     /* ... what is noted is looked at again: it may match by now */
#define NOTED_MAX 1000	     /* so many of them */
#define WAITING_NOTE_MS 1500 /* one that waits longer for its bytes is a problem to be shown */

struct drift {
	struct drift_setup setup;
	struct drift_book *book;
	uv_timer_t timer;
	bool timer_open;
	bool held, spare_added, closing;
	bool mending; /* one job at a time */
	uint64_t tidy_ms, noted_ms;
};

struct mend_job {
	struct job job;
	struct drift *d;
	struct commit_env env;
	size_t n;
	struct mend_item items[GROUP_PATHS];
	bool left[GROUP_PATHS];	  /* put back too often */
	bool shown[GROUP_PATHS];  /* waits for its bytes long enough to be noted */
	bool is_new[GROUP_PATHS]; /* is not noted yet: nobody was told */
};

static void drift_run(struct drift *d);

static void on_timer(uv_timer_t *timer)
{
	drift_run(timer->data);
}

struct drift *drift_new(const struct drift_setup *setup)
{
	struct drift *d = x_calloc(1, sizeof(*d));
	d->setup = *setup;
	d->book = drift_book_new();
	d->held = true;
	d->timer_open = true;
	uv_timer_init(setup->loop, &d->timer);
	d->timer.data = d;
	return d;
}

/* ---- notes: what is shown, and survives a restart ---------------------------------------------
 */

static void reason_of(char out[320], const struct mend_job *job, size_t i)
{
	const struct mend_item *item = &job->items[i];
	const char *then = job->left[i] ? "; put back 3 times within a minute and changed again, "
					  "so it is left for an hour or until it matches: find out "
					  "who writes here"
			   : item->result == MEND_CONTENT
				   ? "; its replicated bytes are nowhere on this node: waits for "
				     "the active to send them"
			   : item->result == MEND_FAILED ? "; could not be put back: "
							 : "; left as it is (drift: report)";
	snprintf(out, 320, "%.79s%s%.120s", *item->what ? item->what : "not as installed", then,
		 item->result == MEND_FAILED ? item->why : "");
}

static bool is_noteworthy(const struct mend_job *job, size_t i)
{
	enum mend_result result = job->items[i].result;
	return result == MEND_REPORTED || result == MEND_FAILED ||
	       (result == MEND_CONTENT && job->shown[i]);
}

/* worker */
static void write_notes(struct mend_job *job)
{
	struct err err = {0};
	struct store *store = job->env.store;
	char reason[320], q[QUOTED_MAX];
	for (size_t i = 0; i < job->n; i++) {
		const struct mend_item *item = &job->items[i];
		uint64_t before = store_note_count(store, NOTE_DRIFT);
		int r = 0;
		if (is_noteworthy(job, i)) {
			reason_of(reason, job, i);
			r = store_note(store, NOTE_DRIFT, item->path, reason, &err);
			job->is_new[i] = store_note_count(store, NOTE_DRIFT) > before;
		} else if (item->result == MEND_MATCHES || item->result == MEND_QUIET ||
			   item->result == MEND_DONE) {
			r = store_unnote(store, NOTE_DRIFT, item->path, &err);
			job->is_new[i] = store_note_count(store, NOTE_DRIFT) == before;
		}
		if (r < 0)
			log_error("drift", "path=%s action=\"go on without the note\" err=\"%s\"",
				  quote_path(q, item->path), err.msg);
	}
}

/* ---- what became of them ----------------------------------------------------------------------
 */

static void tell_drifted(const struct mend_job *job, size_t i)
{
	const struct drift_events *events = &job->d->setup.events;
	if (!job->d->closing)
		events->drifted(events->owner, job->items[i].path);
}

static void log_outcome(const struct mend_job *job, size_t i)
{
	const struct mend_item *item = &job->items[i];
	char q[QUOTED_MAX];
	quote_path(q, item->path);
	switch (item->result) {
	case MEND_DONE:
		if (job->is_new[i])
			tell_drifted(job, i);
		log_warn("drift", "path=%s what=\"%s\" action=%s", q, item->what,
			 item->was_added ? "moved-to-salvage" : "put-back");
		break;
	case MEND_REPORTED:
		if (job->is_new[i])
			tell_drifted(job, i);
		if (job->is_new[i] || job->left[i])
			log_warn("drift", "path=%s what=\"%s\" action=%s", q, item->what,
				 job->left[i] ? "left why=\"put back 3 times within a minute\""
					      : "report");
		break;
	case MEND_CONTENT:
		if (!job->is_new[i])
			break;
		tell_drifted(job, i);
		log_warn("drift", "path=%s what=\"%s\" action=wait-for-the-active", q, item->what);
		break;
	case MEND_FAILED: /* each is logged with the others that failed for its reason */
		if (job->is_new[i])
			tell_drifted(job, i);
		break;
	case MEND_MATCHES:
	case MEND_QUIET:
	case MEND_AGAIN:
	case MEND_AWAY:
	case MEND_PARENT: break;
	}
}

/* A full disk fails all of them for one reason: it is said once. */
static void log_failures(const struct mend_job *job)
{
	char q[QUOTED_MAX];
	for (size_t i = 0, next; i < job->n; i = next) {
		const struct mend_item *item = &job->items[i];
		size_t others = 0;
		next = i + 1;
		if (item->result != MEND_FAILED)
			continue;
		for (; next < job->n && job->items[next].result == MEND_FAILED &&
		       strcmp(job->items[next].why, item->why) == 0;
		     next++)
			others++;
		log_error("drift", "path=%s what=\"%s\" action=retry others=%zu err=\"%s\"",
			  quote_path(q, item->path), item->what, others, item->why);
	}
}

static void suspect_parent(struct drift *d, const char *path)
{
	AUTO_FREE char *parent = x_strndup(path, relpath_parent_len(path));
	drift_book_suspect(d->book, parent, true, clock_mono_ms());
}

/* A bounded number at a time. */
static void ask_for_bytes(struct drift *d)
{
	const char *paths[WIRE_RESENDS_MAX];
	if (d->held)
		return;
	size_t n = drift_book_ask(d->book, paths, ARRAY_LEN(paths), clock_mono_ms());
	for (size_t i = 0; i < n; i++) {
		if (!d->setup.events.resend(d->setup.events.owner, paths[i])) {
			drift_book_forget_asked(d->book); /* there is nobody */
			return;
		}
	}
}

static void take_outcome(struct drift *d, const struct mend_job *job, size_t i)
{
	const struct mend_item *item = &job->items[i];
	uint64_t now = clock_mono_ms();
	char q[QUOTED_MAX];
	switch (item->result) {
	case MEND_MATCHES:
		if (!drift_book_matches(d->book, item->path, now))
			break;
		if (job->is_new[i])
			tell_drifted(job, i);
		log_warn("drift", "path=%s action=put-back with=\"what the active sent\"",
			 quote_path(q, item->path));
		break;
	case MEND_QUIET: drift_book_quiet(d->book, item->path, now); break;
	case MEND_DONE:
		drift_book_put_back(d->book, item->path, now);
		if (item->new_dir)
			d->setup.events.look(d->setup.events.owner, item->path);
		if (item->was_added)
			suspect_parent(d, item->path);
		break;
	case MEND_REPORTED: drift_book_reported(d->book, item->path, now); break;
	case MEND_CONTENT: drift_book_wants(d->book, item->path, now); break;
	case MEND_PARENT: suspect_parent(d, item->path); __attribute__((fallthrough));
	case MEND_AGAIN: drift_book_again(d->book, item->path, now); break;
	case MEND_AWAY: drift_book_away(d->book, item->path, now); break;
	case MEND_FAILED: drift_book_failed(d->book, item->path, now); break;
	}
}

/* ---- jobs -------------------------------------------------------------------------------------
 */

static void mend_work(struct job *work)
{
	struct mend_job *job = container_of(work, struct mend_job, job);
	mend_run(&job->env, job->items, job->n);
	write_notes(job);
}

static void finish_close(struct drift *d);

static void mend_done(struct job *work)
{
	struct mend_job *job = container_of(work, struct mend_job, job);
	struct drift *d = job->d;
	d->mending = false;
	log_failures(job);
	for (size_t i = 0; i < job->n; i++) {
		log_outcome(job, i);
		if (!d->closing)
			take_outcome(d, job, i);
		mend_item_release(&job->items[i]);
	}
	free(job);
	if (d->closing) {
		finish_close(d);
		return;
	}
	ask_for_bytes(d);
	d->setup.events.counted(d->setup.events.owner);
	drift_run(d);
}

static void start_mending(struct drift *d, uint64_t now)
{
	struct drift_taken taken[GROUP_PATHS];
	size_t n = drift_book_take(d->book, taken, GROUP_PATHS, now);
	if (n == 0)
		return;
	struct mend_job *job = x_calloc(1, sizeof(*job));
	bool nobody = !d->setup.events.reachable(d->setup.events.owner);
	for (size_t i = 0; i < n; i++) {
		job->items[i].path = x_strdup(taken[i].path);
		job->items[i].report_only = d->setup.report_only || taken[i].left;
		job->items[i].spare_added = d->spare_added;
		job->items[i].nobody_to_ask = nobody;
		job->left[i] = taken[i].left;
		job->shown[i] = taken[i].waiting_ms > WAITING_NOTE_MS;
	}
	job->n = n;
	job->d = d;
	job->env = d->setup.env;
	d->mending = true;
	job_start(d->setup.loop, &job->job, mend_work, mend_done);
}

/* ---- the wheel --------------------------------------------------------------------------------
 */

static void suspect_noted(struct drift *d, uint64_t now)
{
	struct note *notes = NULL;
	size_t n = 0;
	struct err err = {0};
	d->noted_ms = now + NOTED_MS;
	if (store_note_count(d->setup.env.store, NOTE_DRIFT) == 0)
		return;
	if (store_notes(d->setup.env.store, NOTE_DRIFT, &notes, &n, &err) < 0)
		log_error("drift", "action=retry err=\"%s\"", err.msg);
	for (size_t i = 0; i < n && i < NOTED_MAX; i++)
		drift_book_suspect(d->book, notes[i].path, true, now);
	notes_free(notes, n);
}

static void tidy(struct drift *d, uint64_t now)
{
	d->tidy_ms = now + TIDY_MS;
	if (drift_book_tidy(d->book, now))
		d->setup.events.look(d->setup.events.owner, "");
}

static void drift_run(struct drift *d)
{
	uint64_t now = clock_mono_ms();
	if (d->closing || d->held)
		return;
	if (now >= d->noted_ms)
		suspect_noted(d, now);
	if (now >= d->tidy_ms)
		tidy(d, now);
	if (!d->mending)
		start_mending(d, now);
	uint64_t due = d->tidy_ms < d->noted_ms ? d->tidy_ms : d->noted_ms;
	uint64_t next = d->mending ? UINT64_MAX : drift_book_next(d->book);
	due = next < due ? next : due;
	uv_timer_start(&d->timer, on_timer, due > now ? due - now : 1, 0);
}

void drift_suspect(struct drift *d, const char *path, bool hurry)
{
	char q[QUOTED_MAX];
	if (!drift_book_suspect(d->book, path, hurry, clock_mono_ms()))
		log_debug("drift", "path=%s action=scan-later why=\"too many at once\"",
			  quote_path(q, path));
	/* A group of suspects comes in one turn of the loop: they are taken together. */
	if (!d->closing && !d->held && !d->mending)
		uv_timer_start(&d->timer, on_timer, 0, 0);
}

void drift_configure(struct drift *d, bool report_only)
{
	d->setup.report_only = report_only;
	drift_book_show_again(d->book);
	d->noted_ms = 0;
	drift_run(d);
}

void drift_set_salvage_why(struct drift *d, const char *why)
{
	d->setup.env.salvage_why = why;
}

void drift_hold(struct drift *d, bool hold)
{
	if (d->held && !hold)
		d->noted_ms = 0;
	d->held = hold;
	if (!hold)
		drift_run(d);
}

void drift_spare_added(struct drift *d, bool spare)
{
	d->spare_added = spare;
}

void drift_arrived(struct drift *d)
{
	if (drift_book_open(d->book) == 0)
		return;
	drift_book_arrived(d->book, clock_mono_ms());
	drift_run(d);
}

void drift_connected(struct drift *d)
{
	drift_book_forget_asked(d->book);
	ask_for_bytes(d);
}

/* Those that wait for their bytes are noted only when they have waited for a while. */
uint64_t drift_count(const struct drift *d)
{
	uint64_t noted = store_note_count(d->setup.env.store, NOTE_DRIFT);
	size_t open = drift_book_open(d->book);
	return noted > open ? noted : open;
}

bool drift_is_calm(const struct drift *d)
{
	return !d->held && !d->mending && drift_book_open(d->book) == 0 &&
	       drift_book_next(d->book) > clock_mono_ms();
}

bool drift_only_waits(const struct drift *d)
{
	size_t open = drift_book_open(d->book);
	return !d->held && !d->mending && open > 0 && drift_book_next(d->book) > clock_mono_ms() &&
	       store_note_count(d->setup.env.store, NOTE_DRIFT) >= open &&
	       !d->setup.events.reachable(d->setup.events.owner);
}

/* ---- closing ----------------------------------------------------------------------------------
 */

static void on_timer_closed(uv_handle_t *handle)
{
	struct drift *d = handle->data;
	struct drift_events events = d->setup.events;
	drift_book_free(d->book);
	free(d);
	events.closed(events.owner);
}

static void finish_close(struct drift *d)
{
	if (d->mending || !d->timer_open)
		return;
	d->timer_open = false;
	uv_close((uv_handle_t *)&d->timer, on_timer_closed);
}

void drift_close(struct drift *d)
{
	d->closing = true;
	finish_close(d);
}
