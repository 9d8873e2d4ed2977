#include "agent/sync/holds_private.h"

#include <inttypes.h>
#include <stdio.h>

#include "agent/base/clock.h"
#include "agent/base/log.h"

struct holds *holds_new(struct store *store)
{
	struct holds *holds = x_calloc(1, sizeof(*holds));
	holds->store = store;
	holds->side = HOLD_OURS;
	pthread_mutex_init(&holds->lock, NULL);
	pthread_mutex_init(&holds->judging, NULL);
	return holds;
}

void holds_free(struct holds *holds)
{
	if (!holds)
		return;
	pthread_mutex_destroy(&holds->lock);
	pthread_mutex_destroy(&holds->judging);
	free(holds);
}

static struct brake *brake_of(struct holds *holds, enum hold_cause cause)
{
	return cause == HOLD_LOSS ? &holds->loss : &holds->rewrite;
}

void holds_configure(struct holds *holds, const struct holds_limits *limits)
{
	pthread_mutex_lock(&holds->lock);
	holds->loss.percent = limits->max_delete;
	holds->rewrite.percent = limits->max_rewrite;
	pthread_mutex_unlock(&holds->lock);
	__atomic_store_n(&holds->peer_approvals, limits->peer_approvals, __ATOMIC_RELAXED);
}

bool holds_trust_peers(const struct holds *holds)
{
	return __atomic_load_n(&holds->peer_approvals, __ATOMIC_RELAXED);
}

bool holds_is_approved(struct holds *holds, const char *path, enum hold_cause cause)
{
	struct hold hold;
	return store_hold_of(holds->store, path, &hold, NULL) > 0 && hold.cause == cause &&
	       hold.state == HOLD_APPROVED;
}

int holds_take_side(struct holds *holds, enum hold_side side, struct err *err)
{
	holds->side = side;
	return store_holds_clear(holds->store, side == HOLD_OURS ? HOLD_PEERS : HOLD_OURS, err);
}

bool holds_are_off(const struct holds *holds, enum hold_cause cause)
{
	const struct brake *brake = cause == HOLD_LOSS ? &holds->loss : &holds->rewrite;
	return __atomic_load_n(&brake->percent, __ATOMIC_RELAXED) == 0 &&
	       store_note_count(holds->store, NOTE_BRAKE) == 0;
}

/* ---- counting ------------------------------------------------------------------------------- */

void holds_see(struct holds *holds)
{
	struct store_state state;
	uint64_t now = clock_mono_ms();
	store_state(holds->store, &state);
	pthread_mutex_lock(&holds->lock);
	brake_see(&holds->loss, now, state.files, state.last_seq);
	brake_see(&holds->rewrite, now, state.files, state.last_seq);
	pthread_mutex_unlock(&holds->lock);
}

void holds_view(struct holds *holds, enum hold_cause cause, struct brake_view *out)
{
	struct store_state state;
	uint64_t now = clock_mono_ms();
	store_state(holds->store, &state);
	pthread_mutex_lock(&holds->lock);
	const struct brake *brake = brake_of(holds, cause);
	out->counted = brake_counted(brake, now);
	out->base = brake_base(brake, now, state.files);
	out->after_seq = brake_seq(brake, now, state.last_seq);
	pthread_mutex_unlock(&holds->lock);
}

bool holds_too_much(struct holds *holds, enum hold_cause cause, uint64_t more)
{
	struct store_state state;
	uint64_t now = clock_mono_ms();
	store_state(holds->store, &state);
	pthread_mutex_lock(&holds->lock);
	const struct brake *brake = brake_of(holds, cause);
	bool too_much = brake_holds(brake, now, state.files, more) ||
			(cause == HOLD_LOSS && brake_empties(brake, now, state.files, more));
	pthread_mutex_unlock(&holds->lock);
	return too_much;
}

void holds_count(struct holds *holds, enum hold_cause cause, uint64_t n)
{
	pthread_mutex_lock(&holds->lock);
	brake_count(brake_of(holds, cause), clock_mono_ms(), n);
	pthread_mutex_unlock(&holds->lock);
}

uint64_t holds_held(struct holds *holds)
{
	struct hold *list = NULL;
	size_t n = 0;
	uint64_t held = 0;
	if (store_note_count(holds->store, NOTE_BRAKE) == 0)
		return 0;
	store_holds(holds->store, &list, &n, NULL);
	for (size_t i = 0; i < n; i++)
		held += list[i].state == HOLD_APPROVED ? 0 : list[i].paths;
	free(list);
	return held;
}

/* ---- holding -------------------------------------------------------------------------------- */

/* What goes on joins: one careless command is one decision.
 * @return the hold that grew within the last minute and is still to be decided; 0 without one */
static uint64_t joinable(struct holds *holds, enum hold_cause cause)
{
	struct hold hold;
	const struct last_hold *last = &holds->last[cause == HOLD_REWRITE];
	bool recent = last->id != 0 && clock_mono_ms() - last->grown_ms < 1000 * BRAKE_WINDOW_S;
	bool open = recent && store_hold_get(holds->store, last->id, &hold, NULL) == 0 &&
		    hold.state == HOLD_CLOSED;
	return open ? last->id : 0;
}

static void say_why(struct holds *holds, enum hold_cause cause, char out[HOLD_REASON_MAX])
{
	struct brake_view view;
	holds_view(holds, cause, &view);
	snprintf(
		out, HOLD_REASON_MAX, "%" PRIu64 " of %" PRIu64 " files %s within a minute (%s %u)",
		view.counted, view.base, cause == HOLD_LOSS ? "deleted or emptied" : "rewritten",
		cause == HOLD_LOSS ? "max_delete" : "max_rewrite", brake_of(holds, cause)->percent);
}

int holds_add(struct holds *holds, enum hold_cause cause, const char *const *paths, size_t n_paths,
	      uint64_t n, struct hold *out, struct err *err)
{
	uint64_t growing = joinable(holds, cause);
	if (out->id == 0)
		out->id = growing;
	bool is_new = out->id == 0;
	holds_count(holds, cause, n);
	/* What is added to one of an earlier hour is not its reason. */
	if (out->id == growing || store_hold_get(holds->store, out->id, out, NULL) < 0) {
		say_why(holds, cause, out->reason);
		out->state = HOLD_CLOSED;
	}
	int r = store_hold_add(holds->store, &out->id, holds->side, cause, out->reason, paths,
			       n_paths, err);
	if (r < 0)
		return r;
	holds->last[cause == HOLD_REWRITE] = (struct last_hold){out->id, clock_mono_ms()};
	if (is_new)
		log_warn("brake",
			 "hold=%" PRIu64 " reason=\"%s\" action=\"wait for artifact-sync approve\"",
			 out->id, out->reason);
	return 0;
}

int holds_decide(struct holds *holds, const struct hold *hold, enum hold_state state,
		 struct err *err)
{
	int r = store_hold_decide(holds->store, hold->id, state, err);
	if (r < 0)
		return r;
	pthread_mutex_lock(&holds->lock);
	brake_forgive(brake_of(holds, hold->cause));
	pthread_mutex_unlock(&holds->lock);
	log_info("brake", "hold=%" PRIu64 " paths=%" PRIu64 " decision=%s", hold->id, hold->paths,
		 state == HOLD_APPROVED ? "approved" : "rejected");
	return 0;
}

/* ---- rewrites ------------------------------------------------------------------------------- */

static int judge_rewrites(struct holds *holds, const char *const *paths, size_t n, bool *held,
			  struct err *err)
{
	AUTO_FREE const char **open = x_calloc(n ? n : 1, sizeof(*open));
	AUTO_FREE size_t *at = x_calloc(n ? n : 1, sizeof(*at));
	size_t n_open = 0;
	struct hold hold = {0};
	for (size_t i = 0; i < n; i++) {
		int r = store_hold_of(holds->store, paths[i], &hold, err);
		if (r < 0)
			return r;
		bool known = r > 0 && hold.cause == HOLD_REWRITE;
		held[i] = known && hold.state != HOLD_APPROVED;
		if (!known) {
			at[n_open] = i;
			open[n_open++] = paths[i];
		}
	}
	if (!holds_too_much(holds, HOLD_REWRITE, n_open)) {
		holds_count(holds, HOLD_REWRITE, n_open);
		return 0;
	}
	hold.id = 0;
	int r = holds_add(holds, HOLD_REWRITE, open, n_open, n_open, &hold, err);
	for (size_t i = 0; r == 0 && i < n_open; i++)
		held[at[i]] = true;
	return r;
}

int holds_judge_rewrites(struct holds *holds, const char *const *paths, size_t n, bool *held,
			 struct err *err)
{
	pthread_mutex_lock(&holds->judging);
	int r = judge_rewrites(holds, paths, n, held, err);
	pthread_mutex_unlock(&holds->judging);
	return r;
}
