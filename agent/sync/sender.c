/* sender.c - the window and its clock: what goes next, the barriers, and when to try again. */
#include "agent/sync/sender_internal.h"

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
#define READING "reading files to send them" /* a trouble */

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

void sender_violated(struct sender *sd, uint16_t reason, const char *text)
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
	if (pace_may_send(sd->setup.pace, sd, clock_mono_ms()))
		return true;
	if (sd->timer_open && !uv_is_active((uv_handle_t *)&sd->timer))
		uv_timer_start(&sd->timer, on_timer, PACE_SLICE_MS, 0);
	return false;
}

void sender_spend(struct sender *sd, size_t bytes)
{
	pace_spend(sd->setup.pace, bytes);
}

void sender_set_window(struct sender *sd, uint64_t bytes)
{
	outbound_set_bytes(sd->outbound, bytes);
	sender_pump(sd);
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
	 * barrier would say so as if it were a discovery. And until the acknowledgements are noted
	 * the notes still tell of refusals that are over: what asks for a proof reads both. */
	if (!sd->want_barrier || sd->paused || sd->sets_held || outbound_wanted(sd->outbound) ||
	    sender_has_acks_to_store(sd) || sd->retry_ms != 0 || sd->more || sd->refilling ||
	    sd->n_barriers == ARRAY_LEN(sd->barriers) || !outbound_is_drained(sd->outbound))
		return;
	store_state(sd->setup.store, &state);
	if (state.last_seq != sd->covered) {
		sd->more = true; /* indexed a moment ago: goes before the barrier */
		sender_refill(sd);
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
	struct sent_barrier *sent = &sd->barriers[sd->n_barriers++];
	*sent = (struct sent_barrier){
		.id = barrier.id, .seq = barrier.seq, .clock_ns = barrier.clock_ns};
	memcpy(sent->digest, barrier.digest, sizeof(sent->digest));
}

void sender_on_barrier_done(struct sender *sd, const struct frame *frame)
{
	struct wire_barrier_done m;
	struct rd r;
	rd_init(&r, frame->body, frame->len);
	if (wire_decode_barrier_done(&m, &r) < 0 || sd->n_barriers == 0 ||
	    sd->barriers[0].id != m.id) {
		sender_violated(sd, BYE_MALFORMED, "BARRIER_DONE: not the barrier that is awaited");
		return;
	}
	const struct sent_barrier barrier = sd->barriers[0];
	memmove(&sd->barriers[0], &sd->barriers[1], --sd->n_barriers * sizeof(sd->barriers[0]));
	if (m.outcome == BARRIER_MATCHED)
		sd->retry_wait_ms = RETRY_FIRST_MS; /* nothing waits for another attempt */
	sd->setup.events.barrier_done(sd->setup.events.owner, &barrier, m.outcome);
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
	sender_refill_wanted(sd);
	sender_refill(sd);
	sender_prepare_group(sd);
	sender_step_streams(sd);
	send_barrier_if_drained(sd);
}

void sender_writable(struct sender *sd)
{
	sender_pump(sd);
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
	pace_leave(sd->setup.pace, sd);
	finish_close(sd);
}
