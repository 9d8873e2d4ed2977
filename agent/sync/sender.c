/* sender.c - what goes next, what came back. */
#include "agent/sync/sender_internal.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "agent/base/clock.h"
#include "agent/base/log.h"
#include "agent/base/quote.h"
#include "agent/base/trouble.h"
#include "agent/sync/recent.h"
#include "protocol/messages.h"

#define RETRY_FIRST_MS 1000
#define RETRY_MAX_MS 60000
#define RATE_SLICE_MS 50
#define READING "reading files to send them" /* a trouble */
#define REFUSAL_LOG_MS 10000		     /* the same reason is logged again after that */

static void on_timer(uv_timer_t *timer);

struct sender *sender_new(const struct sender_setup *setup)
{
	struct sender *sd = x_calloc(1, sizeof(*sd));
	struct outbound_limits limits = {.records = WIRE_RECORDS_MAX,
					 .bytes = setup->window_bytes,
					 .streams = STREAMS_MAX,
					 .pending = 4 * PAGE_RECORDS,
					 .sets = WIRE_SETS_MAX};
	sd->setup = *setup;
	snprintf(sd->peer, sizeof(sd->peer), "%s", setup->peer);
	sd->outbound = outbound_new(&limits);
	BUG_ON(!sd->outbound);
	sd->frame = x_calloc(1, WIRE_FRAME_MAX);
	sd->retry_wait_ms = RETRY_FIRST_MS;
	uv_timer_init(setup->loop, &sd->timer);
	sd->timer.data = sd;
	sd->timer_open = true;
	if (setup->recent)
		recent_want(setup->recent, true);
	return sd;
}

void sender_counts(const struct sender *sd, struct sender_counts *out)
{
	*out = sd->counts;
}

bool sender_waits_to_retry(const struct sender *sd, uint64_t since_ms)
{
	struct store_state state;
	store_state(sd->setup.store, &state);
	return !sd->more && !sd->refilling && sd->retry_ms != 0 && sd->covered == state.last_seq &&
	       outbound_is_idle(sd->outbound) && sd->refused_ms != 0 && sd->refused_ms < since_ms;
}

bool sender_is_idle(const struct sender *sd)
{
	return !sd->more && !sd->refilling && sd->retry_ms == 0 && outbound_is_idle(sd->outbound);
}

static void violated(struct sender *sd, uint16_t reason, const char *text)
{
	if (sd->violated || sd->closing)
		return;
	sd->violated = true;
	sd->setup.events.violated(sd->setup.events.owner, reason, text);
}

void sender_pause(struct sender *sd, bool pause)
{
	bool resumed = sd->paused && !pause;
	sd->paused = pause;
	if (resumed)
		sender_pump(sd);
}

/* ---- pacing --------------------------------------------------------------------------------- */

bool sender_may_send(struct sender *sd)
{
	if (sd->closing || sd->violated || sd->paused || !link_is_writable(sd->setup.link))
		return false;
	if (sd->setup.rate_bytes_per_s == 0)
		return true;
	uint64_t now = clock_mono_ms();
	int64_t slice = (int64_t)(sd->setup.rate_bytes_per_s * RATE_SLICE_MS / 1000);
	if (now - sd->budget_ms >= RATE_SLICE_MS) {
		sd->budget = sd->budget > 0 ? slice : sd->budget + slice;
		sd->budget_ms = now;
	}
	if (sd->budget <= 0 && sd->timer_open && !uv_is_active((uv_handle_t *)&sd->timer))
		uv_timer_start(&sd->timer, on_timer, RATE_SLICE_MS, 0);
	return sd->budget > 0;
}

void sender_spend(struct sender *sd, size_t bytes)
{
	if (sd->setup.rate_bytes_per_s > 0)
		sd->budget -= (int64_t)bytes;
}

static void on_timer(uv_timer_t *timer)
{
	struct sender *sd = timer->data;
	uint64_t now = clock_mono_ms();
	if (sd->retry_ms != 0 && now >= sd->retry_ms) {
		sd->retry_ms = 0;
		sender_kick(sd, true);
	}
	sender_pump(sd);
	if (sd->retry_ms != 0 && !uv_is_active((uv_handle_t *)timer))
		uv_timer_start(timer, on_timer, sd->retry_ms > now ? sd->retry_ms - now : 1, 0);
}

/* What was refused, or could not be read, is offered again after a while, and then less and less
 * often. */
void sender_retry_later(struct sender *sd)
{
	if (sd->retry_ms != 0 || sd->closing)
		return;
	sd->retry_ms = clock_mono_ms() + sd->retry_wait_ms;
	if (sd->retry_wait_ms < RETRY_MAX_MS)
		sd->retry_wait_ms *= 2;
	if (!uv_is_active((uv_handle_t *)&sd->timer))
		uv_timer_start(&sd->timer, on_timer, sd->retry_ms - clock_mono_ms(), 0);
}

void sender_retry_now(struct sender *sd)
{
	sd->retry_wait_ms = RETRY_FIRST_MS; /* also for answers that are on their way */
	if (sd->closing || sd->retry_ms == 0)
		return;
	sd->retry_ms = 0;
	sender_kick(sd, true);
}

/* ---- pages of the index --------------------------------------------------------------------- */

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

static void refill(struct sender *sd)
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
static void refill_wanted(struct sender *sd)
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

/* ---- barriers ------------------------------------------------------------------------------- */

void sender_want_barrier(struct sender *sd)
{
	if (!sd->want_barrier)
		sd->wanted_ms = clock_mono_ms();
	sd->want_barrier = true;
	sender_pump(sd);
}

uint64_t sender_barrier_starved_ms(const struct sender *sd)
{
	/* What was abandoned because its file has changed since waits for the intake itself:
	 * holding that back would keep the barrier from ever going out. */
	if (sd->n_streams > 0 || sd->sets_held || sd->retry_ms != 0)
		return 0;
	return sd->want_barrier ? clock_mono_ms() - sd->wanted_ms : 0;
}

static void send_barrier_if_drained(struct sender *sd)
{
	struct store_state state;
	uint8_t body[256];
	/* While something is refused or waits to be read again, the trees are not equal, and a
	 * barrier would say so as if it were a discovery. */
	if (!sd->want_barrier || sd->paused || sd->sets_held || outbound_wanted(sd->outbound) ||
	    sd->retry_ms != 0 || sd->more || sd->refilling ||
	    sd->n_barriers == ARRAY_LEN(sd->barriers) || !outbound_is_drained(sd->outbound))
		return;
	store_state(sd->setup.store, &state);
	if (state.last_seq != sd->covered) {
		sd->more = true; /* indexed a moment ago: goes before the barrier */
		refill(sd);
		return;
	}
	struct wire_barrier barrier = {
		.seq = state.last_seq,
		.clock_ns = sd->setup.events.barrier_clock(sd->setup.events.owner),
		.sent_ns = clock_real_ns(),
		.records = state.records,
		.id = ++sd->barrier_id,
		.denials = outbound_denials(sd->outbound)};
	memcpy(barrier.digest, state.digest, sizeof(barrier.digest));
	barrier.chain_n = state.chain_n;
	memcpy(barrier.chain, state.chain, sizeof(barrier.chain));
	struct wr w;
	wr_init(&w, body, sizeof(body));
	wire_encode_barrier(&w, &barrier);
	link_send(sd->setup.link, WIRE_BARRIER, body, wr_len(&w));
	sd->want_barrier = false;
	trouble_over(READING);
	sd->barriers[sd->n_barriers].id = barrier.id;
	sd->barriers[sd->n_barriers].clock_ns = barrier.clock_ns;
	sd->barriers[sd->n_barriers++].seq = barrier.seq;
}

static void on_barrier_done(struct sender *sd, const struct frame *frame)
{
	struct wire_barrier_done m;
	struct rd r;
	rd_init(&r, frame->body, frame->len);
	if (wire_decode_barrier_done(&m, &r) < 0 || sd->n_barriers == 0 ||
	    sd->barriers[0].id != m.id) {
		violated(sd, BYE_MALFORMED, "BARRIER_DONE: not the barrier that is awaited");
		return;
	}
	uint64_t seq = sd->barriers[0].seq;
	int64_t clock_ns = sd->barriers[0].clock_ns;
	memmove(&sd->barriers[0], &sd->barriers[1], --sd->n_barriers * sizeof(sd->barriers[0]));
	if (m.outcome == BARRIER_MATCHED)
		sd->retry_wait_ms = RETRY_FIRST_MS; /* nothing waits for another attempt */
	sd->setup.events.barrier_done(sd->setup.events.owner, seq, clock_ns, m.outcome);
}

/* ---- sending -------------------------------------------------------------------------------- */

struct parcel *parcel_new(struct sender *sd, const struct outbound_item *item)
{
	struct parcel *p = x_calloc(1, sizeof(*p));
	p->sd = sd;
	sd->page_blocked = false; /* there is room again */
	p->begun = item->ticket;
	p->seq = item->seq;
	p->need = item->need;
	p->set = item->set;
	p->set_n = item->set_n;
	p->path = x_strdup(item->path);
	p->streamed = item->streamed;
	return p;
}

void parcel_free(struct parcel *p)
{
	index_entry_release(&p->entry);
	delta_job_free(p->delta);
	source_free(p->source);
	buf_release(&p->body);
	buf_release(&p->pieces);
	buf_release(&p->asked);
	free(p->signature);
	free(p->hint);
	free(p->path);
	free(p);
}

void sender_send_record(struct parcel *p)
{
	struct sender *sd = p->sd;
	struct wire_record m = {.op = p->op, .record = p->entry.rec, .hint = p->hint};
	bool content_follows = p->op == OP_WHOLE || p->op == OP_DELTA;
	m.ticket = p->ticket = ++sd->last_ticket;
	m.stream = p->streamed && content_follows ? p->ticket : 0;
	m.flags = p->entry.flags & ENTRY_APPROVED ? RECORD_APPROVED : 0;
	m.set = p->set;
	m.set_n = (uint16_t)p->set_n;
	memcpy(m.basis, p->basis, sizeof(m.basis));
	m.raw_len = p->raw_len;
	m.compressed = p->compressed;
	m.bytes = p->body.data;
	m.bytes_len = (uint32_t)p->body.len;
	struct wr w;
	wr_init(&w, sd->frame, WIRE_FRAME_MAX);
	wire_encode_record(&w, &m);
	BUG_ON(w.error);
	link_send(sd->setup.link, WIRE_RECORD, sd->frame, wr_len(&w));
	sender_spend(sd, wr_len(&w));
	sd->counts.records++;
	sd->counts.content_bytes += p->body.len;
	buf_release(&p->body);
	HASH_ADD(hh, sd->sent, ticket, sizeof(uint32_t), p);
	if (m.stream == 0)
		outbound_sent(sd->outbound, p->begun);
}

void sender_give_up(struct parcel *p)
{
	struct sender *sd = p->sd;
	char q[QUOTED_MAX];
	uint32_t set = p->set;
	if (p->ticket != 0)
		HASH_DEL(sd->sent, p);
	if (p->result == PARCEL_WASTE) {
		if (outbound_otherwise(sd->outbound, p->begun) < 0)
			sender_retry_later(sd);
	} else {
		outbound_abandon(sd->outbound, p->begun);
		if (p->result == PARCEL_CHANGED)
			sd->setup.events.source_changed(sd->setup.events.owner, p->path);
		if (p->result == PARCEL_FAILED) {
			struct err err = {0};
			err_set(&err, 0, "%.120s: %.120s", quote_path(q, p->path), p->why);
			trouble_is(READING, &err);
			log_warn("sender", "path=%s action=retry err=\"%s\"", q, p->why);
		}
		sender_retry_later(sd);
	}
	parcel_free(p);
	sender_break_set(sd, set);
}

void sender_pump(struct sender *sd)
{
	if (sd->closing || sd->violated)
		return;
	refill_wanted(sd);
	refill(sd);
	sender_prepare_group(sd);
	sender_step_streams(sd);
	send_barrier_if_drained(sd);
}

void sender_writable(struct sender *sd)
{
	sender_pump(sd);
}

/* ---- answers -------------------------------------------------------------------------------- */

/* @return NULL with *known for an answer that crossed our abort on the link: it is ignored */
static struct parcel *take_sent(struct sender *sd, uint32_t ticket, bool *known)
{
	struct parcel *p;
	HASH_FIND(hh, sd->sent, &ticket, sizeof(uint32_t), p);
	*known = ticket != 0 && ticket <= sd->last_ticket;
	if (p)
		HASH_DEL(sd->sent, p);
	return p;
}

static void on_ack(struct sender *sd, const struct frame *frame)
{
	static uint32_t tickets[WIRE_ACKS_MAX]; /* the loop's, too large for its stack */
	struct wire_ack m;
	struct rd r;
	rd_init(&r, frame->body, frame->len);
	if (wire_decode_ack(&m, tickets, &r) < 0) {
		violated(sd, BYE_MALFORMED, "ACK is malformed");
		return;
	}
	for (uint32_t i = 0; i < m.n; i++) {
		bool known;
		struct parcel *p = take_sent(sd, m.tickets[i], &known);
		if (!known || (p && parcel_is_streaming(p))) {
			violated(sd, BYE_MALFORMED, "ACK: this ticket was not sent");
			return;
		}
		if (!p)
			continue;
		outbound_done(sd->outbound, p->begun);
		sender_ack(sd, p);
		parcel_free(p);
		sd->refused_ms = 0;
	}
	sd->chain_n = m.chain_n;
	memcpy(sd->chain, m.chain, sizeof(sd->chain));
	sd->page_blocked = false;
	sender_store_acks(sd);
	sender_pump(sd);
}

/* Every directory above the path was not there after all: what is noted of them is withdrawn. */
static void forget_parents(struct sender *sd, const char *path)
{
	char *parents[WIRE_PATH_MAX / 2 + 1];
	size_t n = 0;
	for (const char *slash = path; (slash = strchr(slash, '/')); slash++)
		parents[n++] = x_strndup(path, (size_t)(slash - path));
	if (n > 0)
		store_unack(sd->setup.store, sd->peer, (const char *const *)parents, n, NULL);
	while (n > 0)
		free(parents[--n]);
	sd->restart = true;
	sd->more = true;
}

static void on_need(struct sender *sd, const struct frame *frame)
{
	struct wire_need m;
	struct rd r;
	rd_init(&r, frame->body, frame->len);
	if (wire_decode_need(&m, &r) < 0) {
		violated(sd, BYE_MALFORMED, "NEED is malformed");
		return;
	}
	bool known;
	struct parcel *p = take_sent(sd, m.ticket, &known);
	if (!known) {
		violated(sd, BYE_MALFORMED, "NEED: this ticket was not sent");
		return;
	}
	if (!p) {
		outbound_needed(sd->outbound, 0, m.reason); /* counted all the same */
		return;
	}
	uint32_t set = p->set;
	sd->page_blocked = false;
	if (m.reason == NEED_PARENT && sd->retry_ms != 0) {
		/* Something was refused, perhaps this very directory: what lies in it goes with it
		 * when all of that is offered again. */
		outbound_refused(sd->outbound, p->begun);
		parcel_end(p);
		sender_break_set(sd, set);
		sender_pump(sd);
		return;
	}
	if (m.reason == NEED_PARENT)
		forget_parents(sd, p->path);
	if (outbound_needed(sd->outbound, p->begun, m.reason) < 0)
		sender_retry_later(
			sd); /* it was tried too often: after a while, from the beginning */
	/* Bytes that did not hash to what was announced may mean that the file here changed
	 * unnoticed. */
	if (m.reason == NEED_VERIFY)
		sd->setup.events.source_changed(sd->setup.events.owner, p->path);
	parcel_end(p);
	sender_break_set(sd, set);
	sender_pump(sd);
}

/* A full disk refuses thousands of paths for one reason, which is the end of what is said of each.
 */
static void log_refusal(struct sender *sd, const char *path, const char *reason)
{
	char q[QUOTED_MAX];
	const char *colon = strrchr(reason, ':'), *why = colon ? colon : reason;
	uint64_t now = clock_mono_ms();
	if (strcmp(why, sd->logged_why) == 0 && now - sd->logged_ms < REFUSAL_LOG_MS) {
		sd->unlogged++;
		return;
	}
	log_warn("sender", "path=%s action=retry-later others=%" PRIu64 " err=\"%s\"",
		 quote_path(q, path), sd->unlogged, reason);
	snprintf(sd->logged_why, sizeof(sd->logged_why), "%.240s", why);
	sd->logged_ms = now;
	sd->unlogged = 0;
}

static void on_refused(struct sender *sd, const struct frame *frame)
{
	struct wire_refused m;
	struct rd r;
	rd_init(&r, frame->body, frame->len);
	if (wire_decode_refused(&m, &r) < 0) {
		violated(sd, BYE_MALFORMED, "REFUSED is malformed");
		return;
	}
	bool known;
	struct parcel *p = take_sent(sd, m.ticket, &known);
	if (!known) {
		violated(sd, BYE_MALFORMED, "REFUSED: this ticket was not sent");
		return;
	}
	outbound_refused(sd->outbound, p ? p->begun : 0);
	if (!p)
		return;
	sd->counts.refused++;
	if (sd->refused_ms == 0)
		sd->refused_ms = clock_mono_ms();
	char reason[WIRE_TEXT_MAX + WIRE_NAME_MAX + 32], quoted[QUOTED_MAX];
	quote_bytes(quoted, m.text, strlen(m.text));
	snprintf(reason, sizeof(reason), "%s refuses it: %.*s", sd->peer,
		 (int)strlen(quoted) - 2 > WIRE_TEXT_MAX ? WIRE_TEXT_MAX : (int)strlen(quoted) - 2,
		 quoted + 1);
	log_refusal(sd, p->path, reason);
	sender_note_refusal(sd, p->path, reason);
	sender_store_acks(sd);
	uint32_t set = p->set;
	sd->page_blocked = false;
	parcel_end(p);
	sender_break_set(sd, set);
	sender_retry_later(sd);
	sender_pump(sd);
}

static void on_signature(struct sender *sd, const struct frame *frame)
{
	struct wire_signature m;
	struct rd r;
	rd_init(&r, frame->body, frame->len);
	if (wire_decode_signature(&m, &r) < 0 || sender_on_signature(sd, &m) < 0)
		violated(sd, BYE_MALFORMED, "SIGNATURE: malformed, or nothing asked for it");
}

static void on_resend(struct sender *sd, const struct frame *frame)
{
	struct wire_resend m;
	struct rd r;
	rd_init(&r, frame->body, frame->len);
	if (wire_decode_resend(&m, &r) < 0)
		violated(sd, BYE_MALFORMED, "RESEND is malformed");
	else if (sender_on_resend(sd, &m) < 0)
		violated(sd, BYE_OVERSIZED, "RESEND: too many at once");
}

void sender_frame(struct sender *sd, const struct frame *frame)
{
	if (sd->violated || sd->closing)
		return;
	switch (frame->type) {
	case WIRE_ACK: on_ack(sd, frame); break;
	case WIRE_NEED: on_need(sd, frame); break;
	case WIRE_REFUSED: on_refused(sd, frame); break;
	case WIRE_BARRIER_DONE: on_barrier_done(sd, frame); break;
	case WIRE_SIGNATURE: on_signature(sd, frame); break;
	case WIRE_RESEND: on_resend(sd, frame); break;
	default: violated(sd, BYE_OUT_OF_PHASE, "not expected while sending");
	}
}

/* ---- closing -------------------------------------------------------------------------------- */

static void on_timer_closed(uv_handle_t *handle)
{
	struct sender *sd = handle->data;
	struct parcel *p, *tmp;
	HASH_ITER (hh, sd->sent, p, tmp) {
		HASH_DEL(sd->sent, p);
		if (p->streamed && p->state != STREAM_SENT)
			continue; /* is in the list of streams, too */
		parcel_free(p);
	}
	for (p = sd->streams; p; p = tmp) {
		tmp = p->next_stream;
		parcel_free(p);
	}
	for (size_t i = 0; i < sd->n_acks; i++)
		free(sd->acks[i].path);
	for (size_t i = 0; i < sd->n_resends; i++)
		free(sd->resends[i]);
	for (size_t i = 0; i < sd->n_unsigned; i++)
		free(sd->unsigned_[i].path);
	free(sd->frame);
	for (size_t i = 0; i < sd->n_refused; i++) {
		free(sd->refused[i].path);
		free(sd->refused[i].reason);
	}
	free(sd->refused);
	free(sd->acks);
	free(sd->unsigned_);
	outbound_free(sd->outbound);
	if (sd->setup.recent)
		recent_want(sd->setup.recent, false);
	struct sender_events events = sd->setup.events;
	free(sd);
	events.closed(events.owner);
}

static void finish_close(struct sender *sd)
{
	if (sd->jobs > 0 || !sd->timer_open)
		return;
	sd->timer_open = false;
	uv_close((uv_handle_t *)&sd->timer, on_timer_closed);
}

void sender_job_ended(struct sender *sd)
{
	sd->jobs--;
	if (sd->closing)
		finish_close(sd);
	else
		sender_pump(sd);
}

void sender_close(struct sender *sd)
{
	if (sd->closing)
		return;
	sd->closing = true;
	finish_close(sd);
}
