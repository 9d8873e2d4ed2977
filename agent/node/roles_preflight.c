/* roles_preflight.c - what stands in the way of a planned reverse, on both sides: asked of the
 * other one for a dry run, and so that a refusal names every reason there is and not the first
 * side's only. Nothing is begun by it. */
#include "agent/node/roles_internal.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include "agent/base/clock.h"
#include "agent/base/log.h"
#include "agent/base/quote.h"

#define ANSWER_MS 5000 /* longer takes only a node that is not well */

/* ---- saying -----------------------------------------------------------------------------------
 */

static void say(struct session *s, struct wire_obstacles *m, const json_t *list)
{
	uint32_t max = wire_rule(WIRE_OBSTACLES)->body_max;
	AUTO_FREE uint8_t *body = x_calloc(1, max);
	size_t n = json_array_size(list);
	struct wr w;
	m->total = (uint16_t)(n < UINT16_MAX ? n : UINT16_MAX);
	m->n = (uint8_t)(n < WIRE_OBSTACLES_MAX ? n : WIRE_OBSTACLES_MAX);
	for (size_t i = 0; i < m->n; i++)
		snprintf(m->reasons[i], sizeof(m->reasons[i]), "%s",
			 json_string_value(json_array_get(list, i)));
	wr_init(&w, body, max);
	wire_encode_obstacles(&w, m);
	BUG_ON(w.error);
	link_send(s->link, WIRE_OBSTACLES, body, wr_len(&w));
}

void roles_send_decline(struct session *s, const json_t *obstacles)
{
	AUTO_FREE struct wire_obstacles *m = x_calloc(1, sizeof(*m));
	m->kind = OBSTACLES_DECLINE;
	say(s, m, obstacles);
}

static void answer_question(struct session *s, const struct wire_obstacles *question)
{
	struct roles *roles = s->node->roles;
	AUTO_FREE struct wire_obstacles *m = x_calloc(1, sizeof(*m));
	bool accept = (question->flags & OBSTACLES_ACCEPT_LOSS) != 0;
	json_t *list;
	if (roles_is_busy(roles))
		list = json_pack("[s]", "busy: another change of roles is under way");
	else if (roles->machine.role == WIRE_ROLE_ACTIVE)
		list = roles_obstacles(roles, s, accept);
	else
		list = roles_heir_obstacles(roles, s);
	m->kind = OBSTACLES_ANSWER;
	m->nonce = question->nonce;
	say(s, m, list);
	json_decref(list);
}

/* ---- the answer to the person -----------------------------------------------------------------
 */

static void add_estimate(json_t *out, struct roles *roles, const struct session *s)
{
	struct intake_counts counts = {0};
	struct store_state state;
	store_state(roles->node->store, &state);
	if (roles->node->intake)
		intake_counts(roles->node->intake, &counts);
	double rtt_s = s->rtt_ms < 0 ? 0 : s->rtt_ms / 1000.0;
	double scan_s = (double)(counts.scanned_ms - counts.scan_begun_ms) / 1000.0;
	json_object_set_new(out, "estimate_seconds",
			    json_real(10 * rtt_s + 3 * scan_s + 0.2 +
				      (s->rate > 1 ? (double)s->pending.bytes / s->rate : 0)));
	json_object_set_new(out, "pending_changes", json_integer((json_int_t)s->pending.changes));
	json_object_set_new(out, "pending_bytes", json_integer((json_int_t)s->pending.bytes));
	json_object_set_new(out, "files", json_integer((json_int_t)state.files));
}

static void answer(struct roles *roles, struct preflight *p)
{
	const struct session *s = roles_session(roles, p->peer);
	bool clear = json_array_size(p->obstacles) == 0;
	json_t *out =
		roles_refusal(roles, clear ? "possible" : "refused", json_incref(p->obstacles));
	if (p->dry_run) {
		json_object_set_new(out, "dry_run", json_true());
		json_object_set_new(out, "heir", json_string(p->heir));
	}
	if (p->dry_run && s)
		add_estimate(out, roles, s);
	control_call_set_data(p->call, NULL);
	control_done(STEAL(p->call), clear ? EXIT_DONE : EXIT_REFUSED, out);
}

static void end(struct roles *roles, struct preflight **at)
{
	struct preflight *p = *at;
	if (p->call)
		answer(roles, p);
	*at = p->next;
	json_decref(p->obstacles);
	free(p);
}

/* What both sides see is named once. */
static bool is_named(const json_t *list, const char *text)
{
	static const char differs[] = "profile-differs:";
	size_t i;
	const json_t *one;
	json_array_foreach((json_t *)list, i, one)
	{
		const char *have = json_string_value(one);
		if (strcmp(have, text) == 0 || (strncmp(have, differs, strlen(differs)) == 0 &&
						strncmp(text, differs, strlen(differs)) == 0))
			return true;
	}
	return false;
}

static void add_theirs(struct preflight *p, const struct session *s, const struct wire_obstacles *m)
{
	for (size_t i = 0; i < m->n; i++) {
		AUTO_FREE char *text = quote_utf8(m->reasons[i]);
		if (!is_named(p->obstacles, text))
			roles_add(p->obstacles, "%s: %s", s->peer, text);
	}
	if (m->total > m->n)
		roles_add(p->obstacles, "%s: and %u more; `artifact-sync ready' there", s->peer,
			  m->total - m->n);
}

/* ---- asking ----------------------------------------------------------------------------------
 */

static bool flag(const json_t *args, const char *key)
{
	return json_is_true(json_object_get(args, key));
}

void roles_preflight(struct roles *roles, struct control_call *call, const json_t *args,
		     const struct session *s, json_t *obstacles)
{
	AUTO_FREE struct wire_obstacles *m = x_calloc(1, sizeof(*m));
	struct preflight *p = x_calloc(1, sizeof(*p));
	do
		BUG_ON(getrandom(&p->nonce, sizeof(p->nonce), 0) != sizeof(p->nonce));
	while (p->nonce == 0);
	snprintf(p->peer, sizeof(p->peer), "%s", s->peer);
	snprintf(p->heir, sizeof(p->heir), "%s",
		 roles->machine.role == WIRE_ROLE_ACTIVE ? s->peer : roles->node->conf->node);
	p->obstacles = obstacles;
	p->dry_run = flag(args, "dry_run");
	p->until_ms = clock_mono_ms() + ANSWER_MS;
	p->call = call;
	control_call_set_data(call, &p->call);
	p->next = roles->preflights;
	roles->preflights = p;
	m->kind = OBSTACLES_ASK;
	m->flags = flag(args, "accept_data_loss") ? OBSTACLES_ACCEPT_LOSS : 0;
	m->nonce = p->nonce;
	say(roles_session(roles, s->peer), m, NULL);
	roles_set_timer(roles, ANSWER_MS + 1);
}

void roles_preflight_advance(struct roles *roles)
{
	uint64_t now = clock_mono_ms();
	for (struct preflight **at = &roles->preflights; *at;) {
		struct preflight *p = *at;
		bool lost = !roles_session(roles, p->peer);
		if (p->call && !lost && now < p->until_ms) {
			at = &p->next;
			continue;
		}
		roles_add(p->obstacles, "unknown: %s has not said what stands in its way%s",
			  p->peer, lost ? ": the connection was lost" : "");
		end(roles, at);
	}
}

void roles_preflight_free(struct roles *roles)
{
	while (roles->preflights) {
		struct preflight *p = roles->preflights;
		roles->preflights = p->next;
		json_decref(p->obstacles);
		free(p);
	}
}

/* ---- hearing ----------------------------------------------------------------------------------
 */

/* Of the reverse that is under way here, by the side that was asked to take part in it. */
static void take_decline(struct session *s, const struct wire_obstacles *m)
{
	struct roles *roles = s->node->roles;
	struct attempt *a = &roles->attempt;
	bool asked = a->asked && strcmp(s->peer, roles->partner) == 0;
	bool prepares = roles->machine.phase == ROLE_PREPARING &&
			strcmp(s->peer, roles->machine.offer.node) == 0;
	if (a->over || !(asked || prepares))
		return;
	for (size_t i = 0; i < m->n; i++) {
		AUTO_FREE char *text = quote_utf8(m->reasons[i]);
		roles_reason(roles, EXIT_REFUSED, "%s: %s", s->peer, text);
	}
	if (m->total > m->n)
		roles_reason(roles, EXIT_REFUSED, "%s: and %u more; `artifact-sync ready' there",
			     s->peer, m->total - m->n);
	a->declined = m->n > 0;
}

static void take_answer(struct session *s, const struct wire_obstacles *m)
{
	struct roles *roles = s->node->roles;
	struct preflight **at = &roles->preflights;
	while (*at && ((*at)->nonce != m->nonce || strcmp((*at)->peer, s->peer) != 0))
		at = &(*at)->next;
	if (!*at)
		return; /* nobody waits for it any more */
	add_theirs(*at, s, m);
	end(roles, at);
}

int roles_obstacles_frame(struct session *s, const struct frame *frame)
{
	AUTO_FREE struct wire_obstacles *m = x_calloc(1, sizeof(*m));
	struct rd r;
	rd_init(&r, frame->body, frame->len);
	if (wire_decode_obstacles(m, &r) < 0)
		return -EBADMSG;
	switch (m->kind) {
	case OBSTACLES_ASK: answer_question(s, m); break;
	case OBSTACLES_ANSWER: take_answer(s, m); break;
	default: take_decline(s, m); break;
	}
	return 0;
}
