/* sender_pages.c - what is pending is read from the index page by page, on a worker, and offered to
 * the window. */
#include "agent/sync/sender_internal.h"

#include <errno.h>
#include <stdlib.h>

#include "agent/base/log.h"
#include "agent/base/trouble.h"

struct refill_job {
	struct job job;
	struct sender *sd;
	uint64_t after, covered;
	size_t max, n, room;
	struct pending *page;
	char *wanted;  /* this set alone, no page */
	size_t listed; /* of the page, in all: n may be less for want of room */
	struct set_page *sets;
	int result;
	struct err err;
};

static void refill_work(struct job *job)
{
	struct refill_job *refill = container_of(job, struct refill_job, job);
	struct store_state state;
	if (refill->wanted) {
		refill->result =
			set_page_read(&refill->sets, refill->sd, refill->wanted, 0, &refill->err);
		return;
	}
	/* Read before the page: a record indexed in between is in the page or will be in the next.
	 */
	store_state(refill->sd->setup.store, &state);
	refill->covered = state.last_seq;
	refill->result = store_pending(refill->sd->setup.store, refill->sd->peer, refill->after,
				       refill->page, refill->max, &refill->listed, &refill->err);
	refill->n = refill->listed;
	if (refill->result == 0)
		refill->result = set_pages_read(&refill->sets, refill->sd, refill->page, &refill->n,
						refill->room, &refill->err);
}

unsigned sender_offer_flags(const struct pending *p)
{
	bool streamed = p->kind == RECORD_FILE && p->size > WIRE_CHUNK_MAX;
	return (streamed ? OUTBOUND_STREAMED : 0) |
	       (p->kind == RECORD_FILE || p->kind == RECORD_SYMLINK ? OUTBOUND_LEAF : 0) |
	       (p->kind == RECORD_ABSENT ? OUTBOUND_DELETION : 0);
}

int sender_offer(struct sender *sd, const struct pending *p)
{
	int r = outbound_offer(sd->outbound, p->path, p->seq, p->size, sender_offer_flags(p));
	BUG_ON(r == -ENOMEM);
	return r;
}

static int offer_row(struct sender *sd, const struct refill_job *refill, size_t i)
{
	const struct set_page *set = set_page_of(sd, refill->sets, refill->page[i].path);
	if (sd->sets_held && (set || refill->page[i].kind == RECORD_ABSENT))
		return 0;
	if (set && i == set->row && set_page_offer(sd, set) == -EAGAIN)
		return -EAGAIN;
	return set && !set->too_large ? 0 : sender_offer(sd, &refill->page[i]);
}

static void offer_page(struct sender *sd, struct refill_job *refill)
{
	for (size_t i = 0; i < refill->n; i++) {
		if (offer_row(sd, refill, i) == -EAGAIN) {
			refill->n = i;
			break;
		}
	}
	/* Cut short: what follows comes when something has been answered, and the page is read from
	 * its beginning again, for within it the order is not that of seq alone. */
	if (refill->n < refill->listed) {
		sd->page_blocked = true;
		return;
	}
	/* The last entry is never one of the ancestors that were put before their descendants. */
	if (refill->n > 0)
		sd->cursor = refill->page[refill->n - 1].seq;
	/* Only an empty page is the last one: one is cut short, too, where a record and the
	 * directories above it do not fit in what is left. */
	if (refill->n == 0) {
		sd->covered = refill->covered;
		if (sd->cursor < refill->covered)
			sd->cursor = refill->covered;
		struct store_state state;
		store_state(sd->setup.store, &state);
		sd->more = state.last_seq > sd->covered;
		if (sd->in_pass && !sd->sets_held)
			outbound_end_pass(sd->outbound);
		sd->in_pass = false;
	}
}

/* Its rows stand before the cursor: one that is too large is to be met again. */
static void offer_wanted(struct sender *sd, const struct set_page *set)
{
	if (!sd->sets_held) /* held meanwhile: it stays wanted */
		set_page_offer(sd, set);
	if (set->too_large)
		sd->more = sd->restart = true;
}

static void refill_done(struct job *job)
{
	struct refill_job *refill = container_of(job, struct refill_job, job);
	struct sender *sd = refill->sd;
	sd->refilling = false;
	trouble_result("reading what is to be sent", refill->result, &refill->err);
	if (refill->result < 0) {
		log_error("sender", "peer=%s action=retry err=\"%s\"", sd->peer, refill->err.msg);
		sender_retry_later(sd);
		sd->more = false;
		sd->wanted_failed = true;
	} else if (!sd->closing && (refill->wanted || !sd->restart)) {
		if (refill->wanted)
			offer_wanted(sd, refill->sets);
		else
			offer_page(sd, refill);
	}
	for (size_t i = 0; i < refill->listed; i++)
		free(refill->page[i].path);
	set_pages_free(refill->sets);
	free(refill->page);
	free(refill->wanted);
	free(refill);
	sender_job_ended(sd);
}

void sender_refill(struct sender *sd)
{
	size_t room = outbound_room(sd->outbound);
	if (!sd->more || sd->refilling || sd->page_blocked || room < PAGE_RECORDS)
		return;
	struct refill_job *job = x_calloc(1, sizeof(*job));
	if (sd->restart) {
		sd->cursor = sd->covered = 0;
		sd->in_pass = true;
		outbound_begin_pass(sd->outbound);
	}
	sd->restart = false;
	job->sd = sd;
	job->after = sd->cursor;
	job->max = PAGE_RECORDS;
	job->room = room;
	job->page = x_calloc(PAGE_RECORDS, sizeof(*job->page));
	sd->refilling = true;
	sd->jobs++;
	job_start(sd->setup.loop, &job->job, refill_work, refill_done);
}

/* Does not wait for room, and goes before the next page. */
void sender_refill_wanted(struct sender *sd)
{
	const char *wanted = outbound_wanted(sd->outbound);
	if (!wanted || sd->refilling || sd->sets_held || sd->wanted_failed)
		return;
	struct refill_job *job = x_calloc(1, sizeof(*job));
	job->sd = sd;
	job->wanted = x_strdup(wanted);
	sd->refilling = true;
	sd->jobs++;
	job_start(sd->setup.loop, &job->job, refill_work, refill_done);
}

void sender_kick(struct sender *sd, bool from_start)
{
	sd->more = true;
	sd->restart |= from_start;
	sd->wanted_failed &= !from_start;
	sender_pump(sd);
}

void sender_hold_sets(struct sender *sd, bool hold)
{
	sd->sets_held = hold;
	/* What was offered before may be half of what differs. */
	if (!hold)
		sender_kick(sd, true);
}
