/* intake_sets_brakes.c - what the brakes say of the sets that would be indexed now. One member that
 * is stopped stops its set. Runs on the worker. */
#include "agent/node/intake_sets_private.h"

#include "agent/base/clock.h"

#define LATER_MS 1000	  /* after which losses are judged again */
#define HOLD_MAX_MS 60000 /* they wait no longer for quiet, unless a scan is on */

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
		part_wait_again(part, LATER_MS);
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

int sets_ask_brakes(struct sets_job *j)
{
	int r = judge_losses(j);
	for (size_t p = 0; r == 0 && p < j->n_parts; p++)
		r = judge_rewrites(j, &j->parts[p]);
	return r;
}

void sets_release_held(struct sets_job *j)
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
