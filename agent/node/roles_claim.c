/* roles_claim.c - two passives that can reach each other do not both fail over: each asks the
 * others for a promise first, which is durable as the number of its epoch. Who cannot be reached
 * cannot be asked. */
#include "agent/node/roles_internal.h"

#include <stdio.h>
#include <string.h>

#include "agent/base/clock.h"
#include "agent/base/quote.h"

#define PROMISE_MS 10000 /* by then its epoch is here, or nothing has come of it */

const char *roles_promised(const struct roles *roles)
{
	return clock_mono_ms() < roles->promised_until_ms ? roles->promised_to : NULL;
}

/* ---- the one that is about to take over -------------------------------------------------------
 */

static void ask_for_promise(struct roles *roles, struct session *s)
{
	if (!s->live || !s->link || s->receiver)
		return;
	s->asked_promise = true;
	roles_send_word(s, HANDOVER_CLAIM, &roles->machine.offer, 0, 0, roles->attempt.reason);
}

void roles_claim(struct roles *roles)
{
	roles->settle = (struct settle){.phase = FORCE_FINAL, .for_failover = true};
	for (struct session *s = roles->node->sessions; s; s = s->next) {
		s->asked_promise = false;
		ask_for_promise(roles, s);
	}
	roles_ask_others(roles);
}

void roles_claim_session(struct roles *roles, struct session *s)
{
	s->asked_promise = false;
	if (roles->machine.phase == ROLE_CLAIMING)
		ask_for_promise(roles, s);
}

/* It may have ended because that node has just begun its own epoch. */
void roles_claim_lost(struct roles *roles, struct session *s)
{
	if (roles->machine.phase != ROLE_CLAIMING || !s->asked_promise)
		return;
	s->asked_promise = false;
	roles_reason(
		roles, EXIT_UNREACHABLE,
		"claimed: the connection with %s was lost when it was asked for its promise: try "
		"again",
		s->peer);
	roles_unfit(roles, EXIT_UNREACHABLE);
}

static void on_answer(struct session *s, const struct wire_handover *m)
{
	struct roles *roles = s->node->roles;
	if (roles->machine.phase != ROLE_CLAIMING || !s->asked_promise ||
	    memcmp(m->id, roles->machine.offer.id, WIRE_ID_LEN) != 0)
		return;
	s->asked_promise = false;
	if (m->word == HANDOVER_DENIAL) {
		AUTO_FREE char *text = quote_utf8(m->text);
		roles_reason(roles, EXIT_REFUSED, "%s: %.400s", s->peer, text);
		roles_unfit(roles, EXIT_REFUSED);
	}
	roles_advance(roles);
}

/* ---- the others -------------------------------------------------------------------------------
 */

static const struct session *find_active(const struct roles *roles)
{
	for (const struct session *s = roles->node->sessions; s; s = s->next) {
		if (s->live && s->link && roles_is_healthy_active(s))
			return s;
	}
	return NULL;
}

bool roles_refuses_claim(const struct roles *roles, const char *peer)
{
	const char *promised = roles_promised(roles);
	return (promised && strcmp(promised, peer) != 0) || find_active(roles);
}

static void say_why(const struct roles *roles, char *out, size_t size)
{
	const struct session *active = find_active(roles);
	const char *promised = roles_promised(roles);
	if (roles->machine.role != WIRE_ROLE_PASSIVE)
		snprintf(out, size, "this node is %s", roles_name(roles->machine.role));
	else if (active)
		snprintf(out, size, "%s is active and connected here", active->peer);
	else if (promised)
		snprintf(out, size, "%s is about to take over", promised);
	else
		snprintf(out, size, "another change of roles is under way (%s)",
			 role_phase_name(roles->machine.phase));
}

void roles_answer_claim(struct roles *roles, enum role_action action)
{
	struct session *s = roles_session(roles, roles->peer);
	char why[WIRE_TEXT_MAX + 1] = "";
	bool granted = action == ROLE_ACTION_SEND_PROMISE;
	if (granted) {
		snprintf(roles->promised_to, sizeof(roles->promised_to), "%s", roles->peer);
		roles->promised_until_ms = clock_mono_ms() + PROMISE_MS;
	} else {
		say_why(roles, why, sizeof(why));
	}
	if (s)
		roles_send_word(s, granted ? HANDOVER_PROMISE : HANDOVER_DENIAL,
				&roles->output.offer, 0, 0, why);
}

bool roles_claim_frame(struct session *s, const struct wire_handover *m)
{
	struct role_input in = {.event = ROLE_EVENT_CLAIM, .offer.number = m->number};
	if (m->word == HANDOVER_PROMISE || m->word == HANDOVER_DENIAL) {
		on_answer(s, m);
		return true;
	}
	if (m->word != HANDOVER_CLAIM)
		return false;
	memcpy(in.offer.id, m->id, sizeof(in.offer.id));
	snprintf(in.offer.node, sizeof(in.offer.node), "%s", s->peer);
	roles_push(s->node->roles, &in, s->peer);
	return true;
}
