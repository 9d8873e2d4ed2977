#include "agent/watch/watcher.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <utlist.h>

#include "agent/base/alloc.h"
#include "agent/base/log.h"
#include "agent/base/quote.h"
#include "agent/watch/watch_child.h"

#define PROGRAM "artifact-sync-watch"
#define BACKOFF_FIRST_MS 100
#define BACKOFF_LAST_MS 10000
#define STABLE_MS 10000	       /* ready for that long, a child has earned a quick restart */
#define OVERFLOW_TOLD_MS 10000 /* overflows are told of this often */

struct fence {
	struct fence *prev, *next;
	uint64_t nonce;
	uint64_t asked_ms;
};

struct watcher {
	uv_loop_t *loop;
	struct watcher_events events;
	char *program;
	struct watch_child_root *roots; /* descriptors are ours */
	size_t n_roots;
	size_t n_left_out;	   /* healthy roots that could not be duplicated */
	struct watch_child *child; /* NULL while there is none */
	int n_children;		   /* not gone yet, the former ones included */
	struct fence *fences;	   /* under way */
	uv_timer_t starting;	   /* the next child */
	uv_timer_t answering;	   /* fences that no child will answer */
	int n_handles;
	uint64_t backoff_ms;
	uint64_t ready_ms; /* when the child became ready */
	uint64_t heard_ms; /* when it said something last */
	struct watcher_counts counts;
	uint64_t overflows_before; /* of former children */
	uint64_t overflow_told_ms; /* 0: never */
	bool closing;
};

static void start_child(struct watcher *w);

static int find_program(char **out, struct err *err)
{
	const char *given = getenv("ARTIFACT_SYNC_WATCH");
	char self[PATH_MAX];
	AUTO_FREE char *program = NULL;
	if (given && *given) {
		program = x_strdup(given);
	} else {
		ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
		if (n < 0)
			return err_sys(err, errno, "read /proc/self/exe (is /proc mounted?)");
		self[n] = '\0';
		char *slash = strrchr(self, '/');
		program = x_asprintf("%.*s/" PROGRAM, (int)(slash ? slash - self : 0), self);
	}
	if (access(program, X_OK) < 0) {
		char q[QUOTED_MAX];
		int error = errno;
		return err_set(err, -error,
			       "cannot run %.120s: %s; install " PROGRAM
			       " beside artifact-sync, or name "
			       "it in ARTIFACT_SYNC_WATCH",
			       quote_path(q, program), strerror(error));
	}
	*out = STEAL(program);
	return 0;
}

static void forget_roots(struct watcher *w)
{
	for (size_t i = 0; i < w->n_roots; i++) {
		close(w->roots[i].fd);
		free(w->roots[i].at);
	}
	free(w->roots);
	w->roots = NULL;
	w->n_roots = w->n_left_out = 0;
}

/* Duplicates, because the tree may open its roots anew on another thread while a child starts. */
static void take_roots(struct watcher *w, const struct tree *tree)
{
	forget_roots(w);
	w->roots = x_calloc(tree->n, sizeof(*w->roots));
	for (size_t i = 0; i < tree->n; i++) {
		const struct root *root = &tree->roots[i];
		int fd = root->healthy ? fcntl(root->fd, F_DUPFD_CLOEXEC, 3) : -1;
		w->n_left_out += root->healthy && fd < 0;
		if (fd < 0)
			continue;
		w->roots[w->n_roots++] =
			(struct watch_child_root){.fd = fd, .at = x_strdup(root->at)};
	}
}

static void answer(struct watcher *w, struct fence *fence, bool complete)
{
	uint64_t nonce = fence->nonce;
	DL_DELETE(w->fences, fence);
	free(fence);
	w->events.fenced(w->events.owner, nonce, complete);
}

/* The dirty paths it had seen but not told are lost with it; "" covers them. */
static void give_up_fences(struct watcher *w, const char *why)
{
	if (!w->fences)
		return;
	w->events.subtree(w->events.owner, "", why);
	/* Only those there are now: an owner may ask again from inside the answer. */
	struct fence *fence = NULL, *last = w->fences->prev;
	while (fence != last && !w->closing) {
		fence = w->fences;
		answer(w, fence, false);
	}
}

static void on_answering(uv_timer_t *timer)
{
	struct watcher *w = container_of(timer, struct watcher, answering);
	if (!w->child)
		give_up_fences(w, "not watched");
}

static void on_starting(uv_timer_t *timer)
{
	start_child(container_of(timer, struct watcher, starting));
}

static void plan_start(struct watcher *w)
{
	uint64_t now = uv_now(w->loop);
	if (w->counts.running && now - w->ready_ms >= STABLE_MS)
		w->backoff_ms = 0;
	w->backoff_ms = w->backoff_ms == 0		      ? BACKOFF_FIRST_MS
			: w->backoff_ms > BACKOFF_LAST_MS / 2 ? BACKOFF_LAST_MS
							      : 2 * w->backoff_ms;
	uv_timer_start(&w->starting, on_starting, w->backoff_ms, 0);
}

static void drop_child(struct watcher *w)
{
	if (w->child)
		watch_child_end(STEAL(w->child));
	w->overflows_before = w->counts.overflows;
	w->counts.running = w->counts.complete = false;
	w->counts.watched = 0;
}

static void replace_child(struct watcher *w, const char *event, const char *why)
{
	plan_start(w);
	log_warn("watch", "event=%s why=\"%s\" action=restart in_ms=%" PRIu64, event, why,
		 w->backoff_ms);
	drop_child(w);
	w->counts.restarts++;
}

static void on_child_died(void *owner, const char *why)
{
	struct watcher *w = owner;
	replace_child(w, "child-died", why);
	give_up_fences(w, "watcher died");
}

static void maybe_gone(struct watcher *w)
{
	if (!w->closing || w->n_handles > 0 || w->n_children > 0)
		return;
	struct watcher_events events = w->events;
	forget_roots(w);
	while (w->fences) {
		struct fence *fence = w->fences;
		DL_DELETE(w->fences, fence);
		free(fence);
	}
	free(w->program);
	free(w);
	events.closed(events.owner);
}

static void on_child_ended(void *owner)
{
	struct watcher *w = owner;
	w->n_children--;
	maybe_gone(w);
}

/* The kernel's queue was full. The child looks at everything again by itself; who reads the log is
 * to know that limits are too small, not how often they were. */
static void tell_overflow(struct watcher *w, uint64_t before)
{
	uint64_t now = uv_now(w->loop);
	if (w->counts.overflows == before ||
	    (w->overflow_told_ms != 0 && now - w->overflow_told_ms < OVERFLOW_TOLD_MS))
		return;
	w->overflow_told_ms = now;
	log_warn("watch",
		 "event=overflow times=%" PRIu64
		 " action=scan remedy=\"raise fs.inotify.max_queued_events\"",
		 w->counts.overflows);
}

static void on_counts(struct watcher *w, const struct watch_record *record)
{
	bool was_limited = w->counts.limit[0] != '\0';
	uint64_t overflows = w->counts.overflows;
	w->counts.directories = record->directories;
	w->counts.watched = record->watched;
	w->counts.overflows = w->overflows_before + record->overflows;
	snprintf(w->counts.limit, sizeof(w->counts.limit), "%s", record->text);
	tell_overflow(w, overflows);
	if (record->text[0] && !was_limited)
		log_warn("watch", "event=limited action=scan %s", record->text);
	else if (!record->text[0] && was_limited)
		log_info("watch", "event=all-watched directories=%" PRIu64, record->watched);
}

static bool is_complete(const struct watcher *w)
{
	return w->counts.running && !w->counts.limit[0] && w->n_left_out == 0 &&
	       w->counts.watched == w->counts.directories;
}

static void on_ready(struct watcher *w)
{
	w->counts.running = true;
	w->ready_ms = uv_now(w->loop);
	log_info("watch", "event=ready directories=%" PRIu64 " watched=%" PRIu64,
		 w->counts.directories, w->counts.watched);
	/* The child says it too, but not when it cannot watch at all. */
	w->events.subtree(w->events.owner, "", "watching begins");
	if (!w->closing)
		w->events.ready(w->events.owner);
}

static void on_fence(struct watcher *w, const struct watch_record *record)
{
	struct fence *fence;
	DL_SEARCH_SCALAR(w->fences, fence, nonce, record->nonce);
	/* One that was asked for between two children was heard by neither. */
	while (fence && w->fences != fence)
		answer(w, w->fences, false);
	if (fence && w->fences == fence)
		answer(w, fence, record->complete && w->n_left_out == 0);
}

static void on_record(void *owner, const struct watch_record *record)
{
	struct watcher *w = owner;
	const struct watcher_events *events = &w->events;
	w->heard_ms = uv_now(w->loop);
	switch (record->type) {
	case WATCH_READY: on_ready(w); break;
	case WATCH_CHANGED: events->changed(events->owner, record->path, record->hint); break;
	case WATCH_SUBTREE: events->subtree(events->owner, record->path, record->text); break;
	case WATCH_FENCE: on_fence(w, record); break;
	case WATCH_COUNTS: on_counts(w, record); break;
	case WATCH_ROOT_SUSPECT:
		if (record->root < w->n_roots)
			events->root_suspect(events->owner, w->roots[record->root].at);
		break;
	}
}

static void start_child(struct watcher *w)
{
	struct err err = {0};
	const struct watch_child_events events = {
		.owner = w,
		.record = on_record,
		.died = on_child_died,
		.ended = on_child_ended,
	};
	if (w->n_roots == 0) {
		snprintf(w->counts.limit, sizeof(w->counts.limit), "no root is healthy");
		return;
	}
	if (watch_child_start(&w->child, w->loop, w->program, w->roots, w->n_roots, &events, &err) <
	    0) {
		plan_start(w);
		log_error("watch", "event=start-failed err=\"%s\" action=retry in_ms=%" PRIu64,
			  err.msg, w->backoff_ms);
		return;
	}
	w->n_children++;
	w->heard_ms = uv_now(w->loop);
}

int watcher_start(struct watcher **out, uv_loop_t *loop, const struct tree *tree,
		  const struct watcher_events *events, struct err *err)
{
	char *program;
	int r = find_program(&program, err);
	if (r < 0)
		return r;
	struct watcher *w = x_calloc(1, sizeof(*w));
	w->loop = loop;
	w->events = *events;
	w->program = program;
	uv_timer_init(loop, &w->starting);
	uv_timer_init(loop, &w->answering);
	w->starting.data = w->answering.data = w;
	w->n_handles = 2;
	take_roots(w, tree);
	start_child(w);
	*out = w;
	return 0;
}

void watcher_restart(struct watcher *w, const struct tree *tree)
{
	drop_child(w);
	uv_timer_stop(&w->starting);
	w->backoff_ms = 0;
	w->counts.limit[0] = '\0';
	take_roots(w, tree);
	give_up_fences(w, "roots changed");
	if (!w->closing)
		start_child(w);
}

static uint64_t waiting_ms(const struct watcher *w)
{
	return w->fences ? uv_now(w->loop) - w->fences->asked_ms : 0;
}

/* Stopped, or waiting for a dead disk: whatever it is, what it does not tell a scan must find. */
static bool is_silent(const struct watcher *w)
{
	return w->child && waiting_ms(w) > WATCHER_SILENT_MS &&
	       uv_now(w->loop) - w->heard_ms > WATCHER_SILENT_MS;
}

void watcher_fence(struct watcher *w, uint64_t nonce)
{
	if (is_silent(w)) /* its fences are given up with the new one, from the loop */
		replace_child(w, "child-silent", "it was asked and has said nothing for a minute");
	struct fence *fence = x_calloc(1, sizeof(*fence));
	fence->nonce = nonce;
	fence->asked_ms = uv_now(w->loop);
	DL_APPEND(w->fences, fence);
	if (w->child)
		watch_child_fence(w->child, nonce);
	else
		uv_timer_start(&w->answering, on_answering, 0, 0);
}

void watcher_counts(const struct watcher *w, struct watcher_counts *out)
{
	*out = w->counts;
	out->complete = is_complete(w);
	out->waiting_ms = waiting_ms(w);
}

static void on_handle_closed(uv_handle_t *handle)
{
	struct watcher *w = handle->data;
	w->n_handles--;
	maybe_gone(w);
}

void watcher_close(struct watcher *w)
{
	if (w->closing)
		return;
	w->closing = true;
	drop_child(w);
	uv_close((uv_handle_t *)&w->starting, on_handle_closed);
	uv_close((uv_handle_t *)&w->answering, on_handle_closed);
}
