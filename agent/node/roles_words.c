/* roles_words.c - HANDOVER: from frames to events and from actions to frames. */
#include "agent/node/roles_internal.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "agent/base/clock.h"
#include "agent/base/log.h"
#include "agent/base/quote.h"

#define WORDS_WAITING_MAX 64
#define OFFERS_MAX 8  /* in one session: an honest giver makes one or two */
#define GRACE_MS 2000 /* the side that was asked gives up after the one that asked */

/* Which side says a word, and what it is to the other. */
static const struct {
	uint8_t word;
	bool giver;
	enum role_event event;
	enum role_action action;
} words[] = {
	{HANDOVER_PREPARE, true, ROLE_EVENT_PREPARE, ROLE_ACTION_SEND_PREPARE},
	{HANDOVER_READY, false, ROLE_EVENT_READY, ROLE_ACTION_SEND_READY},
	{HANDOVER_UNREADY, false, ROLE_EVENT_UNREADY, ROLE_ACTION_SEND_UNREADY},
	{HANDOVER_CHECK, true, ROLE_EVENT_CHECK, ROLE_ACTION_SEND_CHECK},
	{HANDOVER_CHECKED, false, ROLE_EVENT_CHECKED, ROLE_ACTION_SEND_CHECKED},
	{HANDOVER_UNCHECKED, false, ROLE_EVENT_UNCHECKED, ROLE_ACTION_SEND_UNCHECKED},
	{HANDOVER_OFFER, true, ROLE_EVENT_OFFER, ROLE_ACTION_SEND_OFFER},
	{HANDOVER_TAKEN, false, ROLE_EVENT_TAKEN, ROLE_ACTION_SEND_TAKEN},
	{HANDOVER_REFUSED, false, ROLE_EVENT_REFUSED, ROLE_ACTION_SEND_REFUSED},
	{HANDOVER_ASK, true, ROLE_EVENT_ASK, ROLE_ACTION_SEND_ASK},
	{HANDOVER_ABORT, true, ROLE_EVENT_ABORT, ROLE_ACTION_SEND_ABORT},
};

static const char *word_name(uint8_t word)
{
	static const char *const names[] = {"?",       "PREPARE",   "READY",  "UNREADY", "CHECK",
					    "CHECKED", "UNCHECKED", "OFFER",  "TAKEN",	 "REFUSED",
					    "ASK",     "ABORT",	    "PLEASE", "ENDED",	 "CLAIM",
					    "PROMISE", "DENIAL"};
	return word < ARRAY_LEN(names) ? names[word] : "?";
}

/* ---- sending -------------------------------------------------------------------------------- */

void roles_say(struct roles *roles, uint8_t flags, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(roles->word, sizeof(roles->word), fmt, ap);
	va_end(ap);
	roles->word_flags = flags;
}

void roles_send_handover(struct session *s, const struct wire_handover *m)
{
	uint8_t body[512];
	struct wr w;
	wr_init(&w, body, sizeof(body));
	wire_encode_handover(&w, m);
	BUG_ON(w.error);
	log_info(MODULE_ROLE, "peer=%s said=%s epoch=%" PRIu64 "%s%s", s->peer, word_name(m->word),
		 m->number, *m->text ? " text=" : "", m->text);
	link_send(s->link, WIRE_HANDOVER, body, wr_len(&w));
}

void roles_send_word(struct session *s, uint8_t word, const struct role_offer *offer, uint8_t flags,
		     uint32_t deadline_ms, const char *text)
{
	struct wire_handover m = {.word = word, .flags = flags, .deadline_ms = deadline_ms};
	if (offer) {
		m.number = offer->number;
		memcpy(m.id, offer->id, sizeof(m.id));
	}
	if (word == HANDOVER_PLEASE || word == HANDOVER_PREPARE)
		m.please = s->node->roles->attempt.please;
	if (word == HANDOVER_CHECK || word == HANDOVER_OFFER) {
		m.base_seq = offer->base_seq;
		memcpy(m.digest, offer->digest, sizeof(m.digest));
	}
	if (word == HANDOVER_PLEASE || word == HANDOVER_PREPARE)
		snprintf(m.operator, sizeof(m.operator), "%s", s->node->roles->attempt.operator);
	snprintf(m.text, sizeof(m.text), "%s", text);
	roles_send_handover(s, &m);
}

static uint32_t deadline_for(const struct roles *roles)
{
	uint64_t left = roles_time_left_ms(roles) + GRACE_MS;
	return left < UINT32_MAX ? (uint32_t)left : UINT32_MAX;
}

void roles_send(struct roles *roles, enum role_action action)
{
	size_t i = 0;
	while (i < ARRAY_LEN(words) && words[i].action != action)
		i++;
	BUG_ON(i == ARRAY_LEN(words));
	const char *to = words[i].giver ? roles->machine.offer.node
			 : *roles->peer ? roles->peer
					: roles->partner;
	struct session *s = roles_session(roles, to);
	bool prepares = action == ROLE_ACTION_SEND_PREPARE;
	const char *text = prepares ? roles->attempt.reason : roles->word;
	uint8_t flags = prepares && roles->attempt.accept_loss ? HANDOVER_ACCEPT_LOSS
			: prepares			       ? 0
							       : roles->word_flags;
	if (s) /* else the loss of its session is an event that waits in the queue */
		roles_send_word(s, words[i].word, &roles->output.offer, flags,
				prepares ? deadline_for(roles) : 0, text);
	roles->word[0] = '\0';
	roles->word_flags = 0;
}

/* Also over each new session: one may be lost with the word in it, or this node's memory of whom it
 * concerns. Who does not wait for it ignores it. */
void roles_send_ended(struct roles *roles, struct session *s)
{
	const struct role_machine *m = &roles->machine;
	char text[WIRE_TEXT_MAX + 1] = "";
	if (m->phase != ROLE_RESTING || m->offer.number == 0 || !s->live || !s->link)
		return;
	if (m->due != ROLE_ACTION_NONE && !roles->hook_failed)
		return; /* it still runs */
	if (m->due != ROLE_ACTION_NONE)
		snprintf(text, sizeof(text), "%.230s", roles->hook_text);
	roles_send_word(s, HANDOVER_ENDED, &m->offer, 0, 0, text);
}

void roles_send_ended_to_all(struct roles *roles)
{
	for (struct session *s = roles->node->sessions; s; s = s->next)
		roles_send_ended(roles, s);
}

/* ---- receiving ------------------------------------------------------------------------------ */

static enum exit_code code_of(uint8_t flags)
{
	return flags & HANDOVER_LATE	  ? EXIT_TIMED_OUT
	       : flags & HANDOVER_BY_RULE ? EXIT_REFUSED
					  : EXIT_NO;
}

/* A word that ends an attempt says why. */
static void take_text(struct roles *roles, const struct session *s, const struct wire_handover *m)
{
	bool ends = m->word == HANDOVER_UNREADY || m->word == HANDOVER_UNCHECKED ||
		    m->word == HANDOVER_ABORT;
	if (!ends || roles->attempt.over || !*m->text || roles->attempt.declined)
		return;
	AUTO_FREE char *text = quote_utf8(m->text);
	roles_reason(roles, code_of(m->flags), "%s: %.400s", s->peer, text);
}

static bool same_id(const struct role_offer *offer, const struct wire_handover *m)
{
	return memcmp(offer->id, m->id, WIRE_ID_LEN) == 0;
}

/* The other side's after-hook: a person is to hear of it where they typed. */
static void on_ended(struct roles *roles, const struct session *s, const struct wire_handover *m)
{
	if (strcmp(s->peer, roles->partner) != 0 || !same_id(&roles->machine.offer, m))
		return;
	AUTO_FREE char *text = quote_utf8(m->text);
	roles->partner_ended = true;
	if (*text)
		roles_reason(roles, EXIT_DONE, "%s: %.400s: it is run again until it ends well",
			     s->peer, text);
	roles_advance(roles);
}

/* It answers what was asked for here, and that is still wanted; nobody is told that all stays as
 * it is and then sees the roles change. */
static bool is_wanted(const struct roles *roles, const struct session *s,
		      const struct wire_handover *m)
{
	const struct attempt *a = &roles->attempt;
	return a->asked && a->please == m->please && strcmp(s->peer, roles->partner) == 0;
}

/* Not whether a person waits here: the giver's PREPARE is what they may be waiting for. */
static bool is_under_way(const struct roles *roles)
{
	return roles->machine.phase != ROLE_RESTING;
}

/* The heir: may this node take over at all? */
static void on_prepare(struct roles *roles, struct session *s, const struct role_input *in,
		       const struct wire_handover *m)
{
	char text[WIRE_TEXT_MAX + 1];
	if (m->please != 0 && !is_wanted(roles, s, m)) {
		roles_send_word(s, HANDOVER_UNREADY, &in->offer, HANDOVER_LATE, 0,
				"who asked for it has given it up");
		return;
	}
	json_t *obstacles = is_under_way(roles)
				    ? json_pack("[s]", "another change of roles is under way")
				    : roles_heir_obstacles(roles, s);
	bool refused = json_array_size(obstacles) > 0;
	roles_join(text, sizeof(text), obstacles);
	if (refused)
		roles_send_decline(s, obstacles);
	json_decref(obstacles);
	if (refused) {
		roles_send_word(s, HANDOVER_UNREADY, &in->offer, HANDOVER_BY_RULE, 0, text);
		return;
	}
	struct attempt *a = &roles->attempt;
	if (!a->asked)
		roles_attempt_begin(roles);
	a->asked = false;
	a->planned = true;
	a->accept_loss |= (m->flags & HANDOVER_ACCEPT_LOSS) != 0;
	if (!a->typed_here) {
		a->deadline_ms = clock_mono_ms() +
				 (m->deadline_ms ? m->deadline_ms : 1000u * ROLE_DEADLINE_S);
		snprintf(a->reason, sizeof(a->reason), "%s", m->text);
		snprintf(a->operator, sizeof(a->operator), "%s", m->operator);
	}
	snprintf(a->from, sizeof(a->from), "%s", s->peer);
	snprintf(roles->partner, sizeof(roles->partner), "%s", s->peer);
	roles_push(roles, in, s->peer);
}

/* @return true when there is nothing for the machine in it */
static bool is_beside(struct roles *roles, struct session *s, const struct role_input *in,
		      const struct wire_handover *m, bool giver)
{
	if (!giver)
		return strcmp(s->peer, roles->machine.offer.node) != 0;
	if (m->word == HANDOVER_PREPARE) {
		on_prepare(roles, s, in, m);
		return true;
	}
	if (m->word == HANDOVER_ABORT && is_wanted(roles, s, m)) {
		take_text(roles, s, m); /* what a person asked for here */
		roles->attempt.asked = false;
		roles_tell(roles, roles->attempt.code, NULL);
		return true;
	}
	if (m->word == HANDOVER_ABORT && same_id(&roles->machine.offer, m))
		roles_giver_is_back(roles, s->peer);
	return m->word != HANDOVER_OFFER && m->word != HANDOVER_ASK &&
	       strcmp(s->peer, roles->partner) != 0;
}

int roles_frame(struct session *s, const struct frame *frame)
{
	struct roles *roles = s->node->roles;
	struct wire_handover m;
	struct rd r;
	rd_init(&r, frame->body, frame->len);
	if (wire_decode_handover(&m, &r) < 0)
		return -EBADMSG;
	AUTO_FREE char *text = quote_utf8(m.text);
	log_info(MODULE_ROLE, "peer=%s says=%s epoch=%" PRIu64 "%s%s", s->peer, word_name(m.word),
		 m.number, *text ? " text=" : "", text);
	if (m.word == HANDOVER_PLEASE)
		return s->sender || s->reconciling ? (roles_please(s, &m), 0) : -EPROTO;
	if (m.word == HANDOVER_ENDED) {
		on_ended(roles, s, &m);
		return 0;
	}
	if (roles->n_events >= WORDS_WAITING_MAX)
		return -EPROTO;
	if (roles_claim_frame(s, &m))
		return 0;
	size_t i = 0;
	while (i < ARRAY_LEN(words) && words[i].word != m.word)
		i++;
	BUG_ON(i == ARRAY_LEN(words));
	if (words[i].giver != (s->receiver != NULL))
		return -EPROTO;
	struct role_input in = {.event = words[i].event,
				.offer = {.number = m.number, .base_seq = m.base_seq}};
	memcpy(in.offer.id, m.id, sizeof(in.offer.id));
	memcpy(in.offer.digest, m.digest, sizeof(in.offer.digest));
	snprintf(in.offer.node, sizeof(in.offer.node), "%s",
		 words[i].giver ? s->node->conf->node : s->peer);
	if (is_beside(roles, s, &in, &m, words[i].giver))
		return 0;
	/* Each refusal is a durable row, and each word waits for those before it. */
	bool refusable = m.word == HANDOVER_OFFER || m.word == HANDOVER_ASK;
	if (refusable && ++s->offers > OFFERS_MAX)
		return -EPROTO;
	take_text(roles, s, &m);
	roles_push(roles, &in, s->peer);
	return 0;
}
