/* sender_answers.c - what came back: ACK, NEED, REFUSED, and what the peer asks for. */
#include "agent/sync/sender_internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "agent/base/clock.h"
#include "agent/base/log.h"
#include "agent/base/quote.h"
#include "protocol/messages.h"

#define REFUSAL_LOG_MS 10000 /* the same reason is logged again after that */

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
		sender_violated(sd, BYE_MALFORMED, "ACK is malformed");
		return;
	}
	for (uint32_t i = 0; i < m.n; i++) {
		bool known;
		struct parcel *p = take_sent(sd, m.tickets[i], &known);
		if (!known || (p && parcel_is_streaming(p))) {
			sender_violated(sd, BYE_MALFORMED, "ACK: this ticket was not sent");
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
		sender_violated(sd, BYE_MALFORMED, "NEED is malformed");
		return;
	}
	bool known;
	struct parcel *p = take_sent(sd, m.ticket, &known);
	if (!known) {
		sender_violated(sd, BYE_MALFORMED, "NEED: this ticket was not sent");
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
		sender_violated(sd, BYE_MALFORMED, "REFUSED is malformed");
		return;
	}
	bool known;
	struct parcel *p = take_sent(sd, m.ticket, &known);
	if (!known) {
		sender_violated(sd, BYE_MALFORMED, "REFUSED: this ticket was not sent");
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
		sender_violated(sd, BYE_MALFORMED, "SIGNATURE: malformed, or nothing asked for it");
}

static void on_resend(struct sender *sd, const struct frame *frame)
{
	struct wire_resend m;
	struct rd r;
	rd_init(&r, frame->body, frame->len);
	if (wire_decode_resend(&m, &r) < 0)
		sender_violated(sd, BYE_MALFORMED, "RESEND is malformed");
	else if (sender_on_resend(sd, &m) < 0)
		sender_violated(sd, BYE_OVERSIZED, "RESEND: too many at once");
}

void sender_frame(struct sender *sd, const struct frame *frame)
{
	if (sd->violated || sd->closing)
		return;
	switch (frame->type) {
	case WIRE_ACK: on_ack(sd, frame); break;
	case WIRE_NEED: on_need(sd, frame); break;
	case WIRE_REFUSED: on_refused(sd, frame); break;
	case WIRE_BARRIER_DONE: sender_on_barrier_done(sd, frame); break;
	case WIRE_SIGNATURE: on_signature(sd, frame); break;
	case WIRE_RESEND: on_resend(sd, frame); break;
	default: sender_violated(sd, BYE_OUT_OF_PHASE, "not expected while sending");
	}
}
