/* intake_gone.c - deletions: each waits until nothing is under way that may show the content to
 * have moved, and until the brakes let it go. */
#include "agent/node/intake_private.h"

#include "agent/base/clock.h"
#include "agent/base/log.h"
#include "agent/node/loss_job.h"

#define GONE_MAX_MS 5000 /* a deletion waits no longer for quiet */
#define HOLD_MAX_MS \
	60000 /* ... nor one of many, which may yet turn out to be a move, unless a scan is on */
#define LATER_MS 1000 /* after which those are judged again */

void intake_add_gone(struct intake *in, const char *path, uint64_t since_ms)
{
	if (path_entry_find(in->gone, path))
		return;
	path_entry_add(&in->gone, path, since_ms);
	if (!in->fence_pending) {
		in->fence_pending = true;
		in->setup.events.fence_wanted(in->setup.events.owner);
	}
}

/* ---- judging deletions ---------------------------------------------------------------------- */

bool intake_gone_is_due(const struct path_entry *e, uint64_t now, bool quiet)
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
		struct path_entry *e = path_entry_find(in->gone, losses[i].path);
		if (e && losses[i].verdict == LOSS_HELD)
			path_entry_drop(&in->gone, e);
		else if (e)
			e->judged = losses[i].verdict == LOSS_FREE;
	}
	for (size_t i = 0; result == 0 && !in->closing && i < loose->n; i++) {
		struct path_entry *e = path_entry_add(&in->gone, loose->paths[i], now);
		e->judged = e->fence_passed = true;
	}
	intake_job_ended(in);
}

/* All that is due is judged together: a directory that is deleted file by file is one loss. What is
 * judged and not yet applied goes first, or it would be counted as still to be lost. */
void intake_judge_gone(struct intake *in, uint64_t now, bool quiet)
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
		n += intake_gone_is_due(e, now, quiet);
		if (!oldest || e->since_ms < oldest->since_ms)
			oldest = e;
	}
	if (n == 0 || (!quiet && now < in->judge_ms))
		return;
	char **paths = x_calloc(n, sizeof(*paths));
	size_t k = 0;
	HASH_ITER (hh, in->gone, e, tmp) {
		if (intake_gone_is_due(e, now, quiet))
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
