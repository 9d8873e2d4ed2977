/* roles_requests.c - `reverse', typed on either side: checks, then the machine begins; or the
 * active is asked to. */
#include "agent/node/roles_internal.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include "agent/base/clock.h"
#include "agent/base/log.h"
#include "agent/base/quote.h"

struct session *roles_session(const struct roles *roles, const char *peer)
{
	for (struct session *s = roles->node->sessions; s; s = s->next) {
		if (s->live && s->link && strcmp(s->peer, peer) == 0)
			return s;
	}
	return NULL;
}

static bool flag(const json_t *args, const char *key)
{
	return json_is_true(json_object_get(args, key));
}

static const char *text_of(const json_t *args, const char *key)
{
	const char *text = json_string_value(json_object_get(args, key));
	return text ? text : "";
}

/* A new attempt, typed here. */
void roles_take_args(struct roles *roles, struct control_call *call, const json_t *args)
{
	struct attempt *a = &roles->attempt;
	const json_t *timeout = json_object_get(args, "timeout_s");
	double seconds = json_is_number(timeout) ? json_number_value(timeout) : ROLE_DEADLINE_S;
	roles_attempt_begin(roles);
	a->typed_here = true;
	a->call = call;
	control_call_set_data(call, &a->call);
	if (!(seconds > 0) || seconds > ROLE_DEADLINE_MAX_S)
		seconds = ROLE_DEADLINE_MAX_S;
	a->deadline_ms = a->began_ms + (uint64_t)(seconds * 1000);
	a->accept_loss = flag(args, "accept_data_loss");
	snprintf(a->reason, sizeof(a->reason), "%.*s", WIRE_TEXT_MAX, text_of(args, "reason"));
	snprintf(a->operator, sizeof(a->operator), "%.*s", WIRE_NAME_MAX,
		 text_of(args, "operator"));
}

/* ---- whether ----------------------------------------------------------------------------------
 */

bool roles_is_busy(const struct roles *roles)
{
	return roles->machine.phase != ROLE_RESTING || !roles->attempt.over ||
	       roles->settle.phase != SETTLE_NOT;
}

json_t *roles_refusal(const struct roles *roles, const char *outcome, json_t *reasons)
{
	return json_pack("{s:s, s:s, s:s, s:o, s:[], s:[], s:f}", "outcome", outcome, "node",
			 roles->node->conf->node, "role", roles_name(roles->machine.role),
			 "reasons", reasons, "lost", "timeline", "seconds", 0.0);
}

static void refuse(struct roles *roles, struct control_call *call, enum exit_code code,
		   const char *fmt, ...) __attribute__((format(printf, 4, 5)));
static void refuse(struct roles *roles, struct control_call *call, enum exit_code code,
		   const char *fmt, ...)
{
	char text[ROLE_TEXT_MAX];
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	json_t *reasons = json_array();
	json_array_append_new(reasons, control_text(text));
	control_done(call, code,
		     roles_refusal(roles, code == EXIT_REFUSED ? "refused" : "failed", reasons));
}

/* Who is to take over: the one that was named, or the only one that can. */
static struct session *find_heir(struct roles *roles, const char *named, size_t *n)
{
	struct session *heir = NULL;
	*n = 0;
	for (struct session *s = roles->node->sessions; s; s = s->next) {
		bool can = s->live && s->link && s->peer_role == WIRE_ROLE_PASSIVE;
		if (!can || (*named && strcmp(s->peer, named) != 0))
			continue;
		heir = s;
		(*n)++;
	}
	return heir;
}

static struct session *find_giver(struct roles *roles)
{
	for (struct session *s = roles->node->sessions; s; s = s->next) {
		if (s->live && s->link && s->receiver)
			return s;
	}
	return NULL;
}

/* ---- typed on the active ----------------------------------------------------------------------
 */

void roles_begin(struct roles *roles, struct session *heir)
{
	struct role_input in = {.event = ROLE_EVENT_REVERSE};
	roles->attempt.planned = true;
	snprintf(roles->partner, sizeof(roles->partner), "%s", heir->peer);
	roles_new_offer(roles, &in.offer, heir->peer);
	roles_push(roles, &in, "");
	roles_advance(roles);
}

static void reverse_active(struct roles *roles, struct control_call *call, const json_t *args)
{
	size_t n;
	bool accept = flag(args, "accept_data_loss");
	struct session *heir = find_heir(roles, text_of(args, "to"), &n);
	if (n > 1) {
		refuse(roles, call, EXIT_REFUSED, "%zu nodes could take over: name one with --to",
		       n);
		return;
	}
	if (!heir) {
		refuse(roles, call, EXIT_UNREACHABLE,
		       "no passive node is connected that could take over: `artifact-sync status'");
		return;
	}
	json_t *obstacles = roles_obstacles(roles, heir, accept);
	if (flag(args, "dry_run") || json_array_size(obstacles) > 0) {
		roles_preflight(roles, call, args, heir, obstacles);
		return;
	}
	json_decref(obstacles);
	roles_take_args(roles, call, args);
	roles_begin(roles, heir);
}

/* ---- typed on the passive ---------------------------------------------------------------------
 */

static void reverse_passive(struct roles *roles, struct control_call *call, const json_t *args)
{
	struct attempt *a = &roles->attempt;
	struct session *giver = find_giver(roles);
	if (!giver) {
		refuse(roles, call, EXIT_UNREACHABLE,
		       "the active node is not connected; if it is lost: `artifact-sync reverse "
		       "--failover'");
		return;
	}
	json_t *obstacles = roles_heir_obstacles(roles, giver);
	roles_session_obstacles(obstacles, giver);
	if (flag(args, "dry_run") || json_array_size(obstacles) > 0) {
		roles_preflight(roles, call, args, giver, obstacles);
		return;
	}
	json_decref(obstacles);
	roles_take_args(roles, call, args);
	a->asked = true;
	do
		BUG_ON(getrandom(&a->please, sizeof(a->please), 0) != sizeof(a->please));
	while (a->please == 0);
	snprintf(a->from, sizeof(a->from), "%s", giver->peer);
	snprintf(roles->partner, sizeof(roles->partner), "%s", giver->peer);
	roles_send_word(giver, HANDOVER_PLEASE, NULL, a->accept_loss ? HANDOVER_ACCEPT_LOSS : 0,
			(uint32_t)roles_time_left_ms(roles), a->reason);
	roles_advance(roles);
}

static void decline(struct session *s, const struct wire_handover *please, const json_t *obstacles)
{
	struct wire_handover m = {
		.word = HANDOVER_ABORT, .flags = HANDOVER_BY_RULE, .please = please->please};
	struct role_offer none;
	roles_new_offer(s->node->roles, &none, s->peer);
	m.number = none.number;
	memcpy(m.id, none.id, sizeof(m.id));
	roles_join(m.text, sizeof(m.text), obstacles);
	roles_send_handover(s, &m);
}

/* The other side of it. What stands in the way is said; nothing was begun. */
bool roles_please(struct session *s, const struct wire_handover *m)
{
	struct roles *roles = s->node->roles;
	bool accept = (m->flags & HANDOVER_ACCEPT_LOSS) != 0;
	json_t *obstacles = roles_is_busy(roles) || roles->machine.role != WIRE_ROLE_ACTIVE
				    ? json_pack("[s]", "another change of roles is under way")
				    : roles_obstacles(roles, s, accept);
	if (json_array_size(obstacles) > 0) {
		roles_send_decline(s, obstacles);
		decline(s, m, obstacles);
		json_decref(obstacles);
		return false;
	}
	json_decref(obstacles);
	roles_attempt_begin(roles);
	struct attempt *a = &roles->attempt;
	a->accept_loss = accept;
	a->please = m->please;
	a->deadline_ms =
		a->began_ms + (m->deadline_ms ? m->deadline_ms : 1000ull * ROLE_DEADLINE_S);
	snprintf(a->reason, sizeof(a->reason), "%s", m->text);
	snprintf(a->operator, sizeof(a->operator), "%s", m->operator);
	roles_begin(roles, s);
	return true;
}

/* ---- commands ---------------------------------------------------------------------------------
 */

static void reverse(struct roles *roles, struct control_call *call, const json_t *args)
{
	bool failover = flag(args, "failover");
	if (!roles->node->intake || !roles->started) {
		refuse(roles, call, EXIT_NO, "the agent is not ready yet: `artifact-sync status'");
		return;
	}
	bool offering = roles->machine.phase == ROLE_OFFERING && roles->attempt.over;
	if (roles_is_busy(roles) && !(failover && offering)) {
		refuse(roles, call, EXIT_REFUSED, "another change of roles is under way (%s)",
		       role_phase_name(roles->machine.phase));
		return;
	}
	if (failover)
		roles_failover_request(roles, call, args);
	else if (roles->machine.role == WIRE_ROLE_ACTIVE)
		reverse_active(roles, call, args);
	else if (roles->machine.role == WIRE_ROLE_PASSIVE)
		reverse_passive(roles, call, args);
	else
		refuse(roles, call, EXIT_REFUSED,
		       "this node is %s: `artifact-sync status' says why",
		       roles_name(roles->machine.role));
}

bool roles_request(struct roles *roles, struct control_call *call, const char *verb,
		   const json_t *args)
{
	if (strcmp(verb, "reverse") == 0)
		reverse(roles, call, args);
	else if (strcmp(verb, "resolve") == 0)
		roles_resolve_request(roles, call, args);
	else
		return roles_ledger_request(roles, call, args, verb);
	return true;
}
