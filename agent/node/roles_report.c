/* roles_report.c - what a person is told of a change of roles: while it runs, when it ends, and in
 * status for as long as something of it is still open. */
#include "agent/node/roles_internal.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "agent/base/clock.h"
#include "agent/base/log.h"

#define LOST_MAX 1000	 /* paths named */
#define ROLLBACK_MS 5000 /* beyond its deadline the command waits so long for after_promote */
#define GIVER_MS 3000	 /* for it to say that it is active again */

void roles_attempt_release(struct roles *roles)
{
	struct attempt *a = &roles->attempt;
	json_decref(a->timeline);
	json_decref(a->lost);
	json_decref(a->reasons);
	json_decref(a->hook_output);
	*a = (struct attempt){.over = true, .at_risk_s = -1};
	roles->partner_ended = false;
}

/* On the active: the oldest of what its peers have proven. */
static int64_t recovery_of(const struct node *node)
{
	int64_t at = node->recovery_ns;
	if (!node_is_active(node))
		return at;
	at = 0;
	for (const struct session *s = node->sessions; s; s = s->next) {
		if (s->recovery_ns != 0 && (at == 0 || s->recovery_ns < at))
			at = s->recovery_ns;
	}
	return at;
}

void roles_attempt_begin(struct roles *roles)
{
	struct attempt *a = &roles->attempt;
	roles_attempt_release(roles);
	a->over = false;
	a->began_ms = clock_mono_ms();
	a->timeline = json_array();
	a->lost = json_array();
	a->reasons = json_array();
	a->code = EXIT_NO;
	a->recovery_ns = recovery_of(roles->node);
	if (node_is_active(roles->node))
		snprintf(a->from, sizeof(a->from), "%s", roles->node->conf->node);
}

void roles_note_phase(struct roles *roles)
{
	struct attempt *a = &roles->attempt;
	uint64_t ms = clock_mono_ms() - a->began_ms;
	const char *phase = role_phase_name(roles->machine.phase);
	if (a->over)
		return;
	json_array_append_new(a->timeline,
			      json_pack("{s:s, s:I}", "phase", phase, "ms", (json_int_t)ms));
	if (a->call)
		control_progress(a->call, json_pack("{s:s, s:I, s:O}", "phase", phase, "ms",
						    (json_int_t)ms, "timeline", a->timeline));
}

/* The first reason decides what the command exits with; the others follow from it. */
void roles_reason(struct roles *roles, enum exit_code code, const char *fmt, ...)
{
	struct attempt *a = &roles->attempt;
	char text[ROLE_TEXT_MAX];
	va_list ap;
	if (a->over)
		return;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	if (!a->blamed)
		a->code = code;
	a->blamed = true;
	json_array_append_new(a->reasons, control_text(text));
	log_warn(MODULE_ROLE, "reason=\"%s\"", text);
}

static const char *outcome_of(const struct attempt *a, enum exit_code code)
{
	switch (code) {
	case EXIT_DONE: return "done";
	case EXIT_REFUSED: return "refused";
	case EXIT_TIMED_OUT:
	case EXIT_UNREACHABLE: return "rolled_back";
	default: return json_array_size(a->timeline) > 1 ? "rolled_back" : "failed";
	}
}

/* Whose epoch it is: the last of the lineage. */
static void add_epoch(const struct roles *roles, json_t *out)
{
	AUTO_FREE struct epoch_entry *lineage = NULL;
	size_t n = 0;
	store_lineage(roles->node->store, &lineage, &n, NULL);
	json_object_set_new(out, "epoch", json_integer(n ? (json_int_t)lineage[n - 1].number : 0));
	json_object_set_new(out, "active", n ? json_string(lineage[n - 1].node) : json_null());
}

static json_t *report_json(const struct roles *roles, const char *outcome)
{
	const struct attempt *a = &roles->attempt;
	struct store_state state;
	char hex[HASH_HEX_MAX], when[CLOCK_TEXT_MAX];
	store_state(roles->node->store, &state);
	json_t *out = json_pack(
		"{s:s, s:s, s:s, s:s, s:f, s:I, s:s, s:o, s:o, s:O, s:O, s:O}", "outcome", outcome,
		"node", roles->node->conf->node, "role", roles_name(roles_role(roles)), "from",
		a->from, "seconds", (double)(clock_mono_ms() - a->began_ms) / 1000.0, "seq",
		(json_int_t)(a->planned && roles->machine.offer.base_seq
				     ? roles->machine.offer.base_seq
				     : state.last_seq),
		"digest", hash_hex(hex, state.digest), "recovery_point",
		a->recovery_ns ? json_string(clock_text(when, a->recovery_ns)) : json_null(),
		"seconds_at_risk", a->at_risk_s < 0 ? json_null() : json_real(a->at_risk_s), "lost",
		a->lost, "reasons", a->reasons, "timeline", a->timeline);
	json_object_set_new(out, "failover", json_boolean(a->failover));
	json_object_set_new(out, "hook_output",
			    a->hook_output ? json_incref(a->hook_output) : json_null());
	add_epoch(roles, out);
	return out;
}

void roles_tell(struct roles *roles, enum exit_code code, const char *outcome)
{
	struct attempt *a = &roles->attempt;
	if (a->over)
		return;
	outcome = outcome ? outcome : outcome_of(a, code);
	log_info(MODULE_ROLE, "outcome=%s role=%s ms=%" PRIu64, outcome,
		 roles_name(roles->machine.role), clock_mono_ms() - a->began_ms);
	if (a->call) {
		json_t *report = report_json(roles, outcome);
		control_call_set_data(a->call, NULL);
		control_done(STEAL(a->call), code, report);
	}
	a->over = true;
}

/* ---- the end of one that came about --------------------------------------------------------- */

static bool is_named(const json_t *paths, const char *path)
{
	size_t i;
	const json_t *one;
	json_array_foreach((json_t *)paths, i, one)
	{
		if (strcmp(json_string_value(one), path) == 0)
			return true;
	}
	return false;
}

/* What was held when it was left behind, and was then found in the tree, is one path. */
static void name_lost(struct attempt *a, const char *path)
{
	json_t *name = control_path(path);
	if (!is_named(a->lost, json_string_value(name)))
		json_array_append(a->lost, name);
	json_decref(name);
}

/* What the former active found in its tree when everything had been handed over. */
static void name_divergence(struct roles *roles)
{
	struct attempt *a = &roles->attempt;
	struct salvage_row *rows = NULL;
	size_t n = 0;
	store_salvage_list(roles->node->store, &rows, &n, NULL);
	for (size_t i = 0; i < n && json_array_size(a->lost) < LOST_MAX; i++) {
		if (rows[i].when_ns >= a->switched_ns)
			name_lost(a, rows[i].path);
	}
	salvage_rows_free(rows, n);
}

static bool tree_is_looked_at(const struct roles *roles)
{
	const struct node *node = roles->node;
	struct intake_counts counts;
	if (!node->intake)
		return false;
	intake_counts(node->intake, &counts);
	return counts.scan_begun_ms >= roles->attempt.scan_since_ms && node->drift &&
	       drift_is_calm(node->drift);
}

static void name_who_may_follow(struct roles *roles)
{
	for (const struct session *s = roles->node->sessions; s; s = s->next) {
		if (!s->live && !s->link && strcmp(s->peer, roles->partner) != 0 &&
		    strcmp(s->peer, roles->attempt.from) != 0 &&
		    strcmp(s->peer, roles->machine.offer.node) != 0)
			roles_reason(roles, EXIT_DONE,
				     "%s is not connected: it may still follow the old active",
				     s->peer);
	}
}

static void finish(struct roles *roles)
{
	struct node *node = roles->node;
	if (roles->machine.role == WIRE_ROLE_PASSIVE && roles->attempt.planned) {
		name_divergence(roles);
		node->commit.salvage_why = "drift";
		if (node->drift)
			drift_set_salvage_why(node->drift, "drift");
	}
	name_who_may_follow(roles);
	roles_ledger_complete(roles);
	roles_tell(roles, EXIT_DONE, "done");
}

void roles_done(struct roles *roles)
{
	struct attempt *a = &roles->attempt;
	struct node *node = roles->node;
	if (roles->hook_failed)
		roles_reason(roles, EXIT_DONE, "%s: it is run again until it ends well",
			     roles->hook_text);
	if (roles->event == ROLE_EVENT_RECONCILED) {
		struct session *s = roles_session(roles, roles->partner);
		node->commit.salvage_why = "drift";
		if (s && s->receiver)
			receiver_set_salvage_why(s->receiver, "drift");
		drift_guard_barrier(node, true);
		roles_attempt_begin(roles); /* for the ledger: what it rejoined */
	}
	roles_send_ended_to_all(roles);
	a->waits_for_scan = roles->machine.role == WIRE_ROLE_PASSIVE && a->planned && !a->over;
	a->waits_for_partner = a->planned && a->typed_here && !a->over;
	if (!a->waits_for_scan && !a->waits_for_partner)
		finish(roles);
	roles_advance(roles);
}

/* The giver: nobody knows before the heir is back. The heir: the giver may say in a moment that it
 * has gone back. */
void roles_unresolved(struct roles *roles)
{
	struct attempt *a = &roles->attempt;
	if (roles->machine.role != WIRE_ROLE_PASSIVE || !a->typed_here) {
		roles_tell(roles, EXIT_UNREACHABLE, "unresolved");
		return;
	}
	a->waits_for_giver = !a->over;
	a->waits_until_ms = clock_mono_ms() + GIVER_MS;
	roles_set_timer(roles, GIVER_MS);
}

void roles_giver_is_back(struct roles *roles, const char *peer)
{
	struct attempt *a = &roles->attempt;
	if (!a->waits_for_giver || strcmp(peer, roles->partner) != 0)
		return;
	a->waits_for_giver = false;
	roles_tell(roles, a->code, NULL);
}

static void advance_unresolved(struct roles *roles)
{
	struct attempt *a = &roles->attempt;
	if (clock_mono_ms() < a->waits_until_ms)
		return;
	a->waits_for_giver = false;
	roles_reason(
		roles, EXIT_UNREACHABLE,
		"%s has refused for ever what may have been offered to it: if it was, %s stays "
		"draining until it hears that",
		roles->node->conf->node, roles->partner);
	roles_tell(roles, EXIT_UNREACHABLE, "unresolved");
}

/* It has come about: what is still waited for are facts that the person wants to hear. */
static void advance_done(struct roles *roles)
{
	struct attempt *a = &roles->attempt;
	const char *self = roles->node->conf->node;
	a->waits_for_scan &= !tree_is_looked_at(roles);
	a->waits_for_partner &= !roles->partner_ended;
	if (a->counted && a->waits_for_scan)
		roles_reason(roles, EXIT_DONE,
			     "the last look at the tree of %s has not ended: what it finds goes to "
			     "the salvage",
			     self);
	if (a->counted && a->waits_for_partner)
		roles_reason(roles, EXIT_DONE, "the hook after the change has not ended on %s yet",
			     roles->partner);
	if (a->counted || (!a->waits_for_scan && !a->waits_for_partner))
		finish(roles);
	else if (a->waits_for_scan)
		roles_set_timer(roles, 20);
}

/* All is as before when the server runs again: after_promote says so, or it is said that it has not
 * ended. It may take minutes. */
static void advance_returning(struct roles *roles)
{
	struct attempt *a = &roles->attempt;
	uint64_t now = clock_mono_ms();
	if (a->waits_until_ms == 0)
		a->waits_until_ms = now + ROLLBACK_MS;
	if (now < a->waits_until_ms) {
		roles_set_timer(roles, a->waits_until_ms - now + 1);
		return;
	}
	roles_reason(roles, a->code,
		     "after_promote (rollback) has not ended on %s yet: its server may not run",
		     roles->node->conf->node);
	roles_tell(roles, a->code, NULL);
}

static bool is_stepping(const struct roles *roles)
{
	return roles->carrying || roles->events ||
	       (roles->at < ROLE_ACTIONS_MAX &&
		roles->output.actions[roles->at] != ROLE_ACTION_NONE);
}

void roles_report_advance(struct roles *roles)
{
	struct attempt *a = &roles->attempt;
	roles_ledger_advance(roles);
	roles_preflight_advance(roles);
	if (a->over)
		return;
	if (a->waits_for_scan || a->waits_for_partner) {
		advance_done(roles);
		return;
	}
	if (a->waits_for_giver) {
		advance_unresolved(roles);
		return;
	}
	if (!a->counted || role_may_cancel(&roles->machine) || is_stepping(roles))
		return;
	/* The deadline has passed, and nothing can be undone any more, or nothing was begun. */
	switch (roles->machine.phase) {
	case ROLE_RESTING:
		if (roles->settle.phase == SETTLE_NOT)
			roles_tell(roles, a->code, NULL);
		break;
	case ROLE_RISING:
	case ROLE_RETIRING:
		roles_reason(roles, EXIT_DONE, "the hook %s has not ended yet",
			     roles->machine.role == WIRE_ROLE_ACTIVE ? "after_promote"
								     : "after_demote");
		roles_ledger_complete(roles);
		roles_tell(roles, EXIT_DONE, "done");
		break;
	case ROLE_RETURNING: advance_returning(roles); break;
	default: break;
	}
}

/* ---- status --------------------------------------------------------------------------------- */

const char *roles_state(const struct roles *roles)
{
	switch (roles_role(roles)) {
	case WIRE_ROLE_SPLIT: return "split";
	case WIRE_ROLE_FENCED: return "fenced";
	case WIRE_ROLE_DRAINING: return "draining";
	default: return NULL;
	}
}

/* All are here, and none of them gives: a state was put back to one from before a change of roles.
 */
static bool nobody_is_active(const struct roles *roles)
{
	size_t n = 0;
	if (roles->machine.role != WIRE_ROLE_PASSIVE)
		return false;
	for (const struct session *s = roles->node->sessions; s; s = s->next, n++) {
		if (!s->live || s->receiver || s->peer_role != WIRE_ROLE_PASSIVE)
			return false;
	}
	return n > 0;
}

void roles_add_problems(const struct roles *roles, json_t *problems)
{
	const struct role_machine *m = &roles->machine;
	const char *refuses = roles_refuses_sessions(roles);
	if (m->role == WIRE_ROLE_SPLIT)
		roles_add(problems,
			  "split: this node and %s went on from the same epoch; decide with "
			  "`artifact-sync resolve --keep NODE'",
			  *roles->fork_node ? roles->fork_node : "another one");
	if (nobody_is_active(roles))
		roles_add(problems,
			  "no-active: every node that is connected is passive; decide which one "
			  "goes on: `artifact-sync reverse --failover' there");
	if (m->role == WIRE_ROLE_FENCED)
		roles_add(problems, "fenced: %s",
			  refuses ? refuses : "superseded: is compared with the active node");
	if (m->phase == ROLE_OFFERING)
		roles_add(problems,
			  "unresolved: epoch %" PRIu64
			  " was offered to %s, which has not answered; "
			  "if it is lost for ever: `artifact-sync reverse --failover "
			  "--accept-data-loss' here",
			  m->offer.number, m->offer.node);
	if (m->due != ROLE_ACTION_NONE && roles->hook_failed)
		roles_add(problems, "hook: %s; it is run again until it ends well",
			  roles->hook_text);
	roles_ledger_add_problems(roles, problems);
}

void roles_add_status(const struct roles *roles, json_t *status)
{
	bool owed = roles->machine.due != ROLE_ACTION_NONE && roles->hook_output;
	json_object_set_new(status, "hook_output",
			    owed ? json_incref(roles->hook_output) : json_null());
}

bool roles_is_confirmed(const struct roles *roles)
{
	const struct session *s = roles->node->sessions;
	while (s && s->matched_ms == 0)
		s = s->next;
	return s != NULL;
}

void roles_role_request(struct roles *roles, struct control_call *call)
{
	struct node *node = roles->node;
	struct epoch_entry *lineage = NULL;
	size_t n = 0;
	store_lineage(node->store, &lineage, &n, NULL);
	control_done(call, EXIT_DONE,
		     json_pack("{s:s, s:I, s:b, s:s}", "role", roles_name(roles_role(roles)),
			       "epoch", (json_int_t)(n ? lineage[n - 1].number : 0), "confirmed",
			       roles_is_confirmed(roles), "phase",
			       role_phase_name(roles->machine.phase)));
	free(lineage);
}
