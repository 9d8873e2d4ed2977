/* roles_hooks.c - the operator's programs: which one, what it is told, what its end means. */
#include "agent/node/roles_internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "agent/base/clock.h"
#include "agent/base/log.h"
#include "agent/base/quote.h"

#define HOOK_MS 300000	   /* a hook takes no longer; a server may take minutes to stop */
#define HOOK_MIN_MS 1000   /* whatever is left of the person's time */
#define HOOK_FIRST_MS 2000 /* one that is owed is run again after so long, and then ... */
#define HOOK_LAST_MS 60000 /* ... less and less often */
#define HOOKS_WAITING_MAX 8
#define OUTPUT_PIECE 400 /* bytes of what a hook printed in one line of the log */
#define LATE_MS 100
#define DRIFT_HOOK_MS 60000 /* however much drifts: at most so often */

enum hook_index { BEFORE_DEMOTE, AFTER_DEMOTE, BEFORE_PROMOTE, AFTER_PROMOTE, ON_FENCED, ON_DRIFT };

int roles_fork_hooks(struct hooks **out, const struct conf *conf, struct err *err)
{
	char *const *const argvs[HOOKS_MAX] = {[BEFORE_DEMOTE] = conf->hook_before_demote,
					       [AFTER_DEMOTE] = conf->hook_after_demote,
					       [BEFORE_PROMOTE] = conf->hook_before_promote,
					       [AFTER_PROMOTE] = conf->hook_after_promote,
					       [ON_FENCED] = conf->hook_on_fenced,
					       [ON_DRIFT] = conf->hook_on_drift};
	return hooks_fork(out, argvs, err);
}

/* ---- hooks ---------------------------------------------------------------------------------- */

static unsigned hook_of(enum role_action action)
{
	return action == ROLE_ACTION_BEFORE_DEMOTE    ? BEFORE_DEMOTE
	       : action == ROLE_ACTION_AFTER_DEMOTE   ? AFTER_DEMOTE
	       : action == ROLE_ACTION_BEFORE_PROMOTE ? BEFORE_PROMOTE
	       : action == ROLE_ACTION_AFTER_PROMOTE  ? AFTER_PROMOTE
						      : ON_FENCED;
}

static const char *hook_name(unsigned index)
{
	static const char *const names[] = {"before_demote", "after_demote", "before_promote",
					    "after_promote", "on_fenced",    "on_drift"};
	return names[index];
}

/* All that was kept of it, a log line for each of its own. */
static void log_output(const char *hook, const char *output)
{
	for (const char *at = output; *at;) {
		char quoted[QUOTED_MAX];
		size_t len = strcspn(at, "\n");
		size_t piece = len < OUTPUT_PIECE ? len : OUTPUT_PIECE;
		if (piece > 0)
			log_warn("hooks", "hook=%s output=%s", hook,
				 quote_bytes(quoted, at, piece));
		at += piece;
		at += *at == '\n';
	}
}

static void note_failure(struct roles *roles, unsigned index, const struct hook_result *result)
{
	struct attempt *a = &roles->attempt;
	log_output(hook_name(index), result->output);
	snprintf(roles->hook_text, sizeof(roles->hook_text), "%s %.250s", hook_name(index),
		 result->text);
	json_decref(roles->hook_output);
	roles->hook_output =
		json_pack("{s:s, s:s, s:o}", "hook", hook_name(index), "node",
			  roles->node->conf->node, "output", control_text(result->output));
	if (!a->over && !a->hook_output)
		a->hook_output = json_incref(roles->hook_output);
}

/* Only the last one asked for is an answer to where the machine is now. */
void roles_on_hook(void *owner, unsigned index, const struct hook_result *result)
{
	struct roles *roles = owner;
	if (index == ON_DRIFT)
		roles->drift_hook = false;
	else
		roles->hooks_waiting--;
	if (!result->done)
		log_error("hooks", "hook=%s err=\"%s\"", hook_name(index), result->text);
	else
		log_debug("hooks", "hook=%s done=\"%s\"", hook_name(index), result->text);
	if (index == ON_DRIFT || roles->hooks_waiting > 0 || roles->hook == ROLE_ACTION_NONE)
		return;
	roles->hook = ROLE_ACTION_NONE;
	roles->hook_failed = !result->done;
	if (result->done) {
		bool was_due = roles->machine.phase == ROLE_RESTING;
		roles->hook_wait_ms = 0;
		json_decref(STEAL(roles->hook_output));
		roles_push_event(roles, ROLE_EVENT_HOOK_DONE);
		if (was_due)
			roles_send_ended_to_all(roles);
		return;
	}
	note_failure(roles, index, result);
	roles->hook_wait_ms = roles->hook_wait_ms ? 2 * roles->hook_wait_ms : HOOK_FIRST_MS;
	if (roles->hook_wait_ms > HOOK_LAST_MS)
		roles->hook_wait_ms = HOOK_LAST_MS;
	roles->hook_again_ms = clock_mono_ms() + roles->hook_wait_ms;
	/* A before-hook is ended when the person's time is up: that may be seen first. */
	bool late = roles_time_left_ms(roles) < LATE_MS;
	roles_reason(roles, late ? EXIT_TIMED_OUT : EXIT_NO, "%s: %s", roles->node->conf->node,
		     roles->hook_text);
	roles_say(roles, late ? HANDOVER_LATE : 0, "%.230s", roles->hook_text);
	roles_push_event(roles, ROLE_EVENT_HOOK_FAILED);
}

/* ---- what a hook is told ----------------------------------------------------------------------
 */

static const char *why_hook(const struct roles *roles, enum role_action action)
{
	const struct attempt *a = &roles->attempt;
	if (action == ROLE_ACTION_ON_FENCED)
		return roles->machine.role == WIRE_ROLE_SPLIT ? "split" : "superseded";
	if (roles->machine.phase == ROLE_RETURNING ||
	    (action == ROLE_ACTION_AFTER_DEMOTE && roles->machine.phase != ROLE_RETIRING))
		return "rollback";
	return a->failover ? "failover" : a->resolve ? "resolve" : "planned";
}

/* The giver's other side is the one that its offer names, also after a restart. */
static const char *peer_of(const struct roles *roles, enum role_action action)
{
	const struct role_machine *m = &roles->machine;
	const char *self = roles->node->conf->node;
	if (action == ROLE_ACTION_ON_FENCED)
		return m->role == WIRE_ROLE_SPLIT ? roles->fork_node : roles->partner;
	if (roles->attempt.failover && *roles->attempt.from)
		return roles->attempt.from;
	return *m->offer.node && strcmp(m->offer.node, self) != 0 ? m->offer.node : roles->partner;
}

/* The epoch that is handed over or begun; the one that goes on when it was not. */
static uint64_t epoch_of(const struct roles *roles, enum role_action action, const char *reason)
{
	AUTO_FREE struct epoch_entry *lineage = NULL;
	size_t n = 0;
	if (action == ROLE_ACTION_ON_FENCED)
		return roles->machine.number; /* the greatest that was heard of */
	if (strcmp(reason, "rollback") != 0)
		return roles->machine.offer.number;
	if (store_lineage(roles->node->store, &lineage, &n, NULL) < 0 || n == 0)
		return 0;
	return lineage[n - 1].number;
}

static void fill_facts(struct hook_facts *out, const struct roles *roles, enum role_action action)
{
	*out = (struct hook_facts){0};
	snprintf(out->reason, sizeof(out->reason), "%s", why_hook(roles, action));
	snprintf(out->peer, sizeof(out->peer), "%s", peer_of(roles, action));
	out->epoch = epoch_of(roles, action, out->reason);
}

static bool is_owed(enum role_action action)
{
	return action == ROLE_ACTION_AFTER_PROMOTE || action == ROLE_ACTION_AFTER_DEMOTE ||
	       action == ROLE_ACTION_ON_FENCED;
}

void roles_note_owed(struct roles *roles)
{
	for (size_t i = 0; i < ROLE_ACTIONS_MAX; i++) {
		if (is_owed(roles->output.actions[i]))
			fill_facts(&roles->owed, roles, roles->output.actions[i]);
	}
}

int roles_load_owed(struct roles *roles, struct err *err)
{
	int r = store_owed(roles->node->store, &roles->owed, err);
	if (r == 0 && (roles->machine.phase == ROLE_RETURNING || !*roles->owed.reason))
		roles_note_owed(roles);
	return r;
}

/* ---- running ----------------------------------------------------------------------------------
 */

static uint32_t hook_deadline_ms(const struct roles *roles, enum role_action action)
{
	bool before = action == ROLE_ACTION_BEFORE_DEMOTE || action == ROLE_ACTION_BEFORE_PROMOTE;
	uint64_t left = before ? roles_time_left_ms(roles) : HOOK_MS;
	left = left < HOOK_MIN_MS ? HOOK_MIN_MS : left;
	return (uint32_t)(left < HOOK_MS ? left : HOOK_MS);
}

/* What another hook printed explains nothing of this one. */
static void forget_output_of_others(struct roles *roles, const char *hook)
{
	const char *of = json_string_value(json_object_get(roles->hook_output, "hook"));
	if (of && strcmp(of, hook) != 0)
		json_decref(STEAL(roles->hook_output));
}

void roles_run_hook(struct roles *roles, enum role_action action)
{
	const struct conf *conf = roles->node->conf;
	struct hook_facts told = roles->owed;
	if (!is_owed(action))
		fill_facts(&told, roles, action);
	AUTO_FREE char *why = x_asprintf("ARTIFACT_SYNC_REASON=%s", told.reason);
	AUTO_FREE char *name = x_asprintf("ARTIFACT_SYNC_HOOK=%s", hook_name(hook_of(action)));
	AUTO_FREE char *self = x_asprintf("ARTIFACT_SYNC_NODE=%s", conf->node);
	AUTO_FREE char *peer = x_asprintf("ARTIFACT_SYNC_PEER=%s", told.peer);
	AUTO_FREE char *tree = x_asprintf("ARTIFACT_SYNC_TREE=%s", conf->tree);
	AUTO_FREE char *role = x_asprintf("ARTIFACT_SYNC_ROLE=%s", roles_name(roles->machine.role));
	AUTO_FREE char *epoch = x_asprintf("ARTIFACT_SYNC_EPOCH=%" PRIu64, told.epoch);
	const char *facts[] = {why, name, self, peer, tree, role, epoch, NULL};
	roles->hook = action;
	roles->hook_n++;
	roles->hook_failed = false;
	forget_output_of_others(roles, hook_name(hook_of(action)));
	if (roles->hooks_waiting >= HOOKS_WAITING_MAX || !roles->hooks) {
		roles->hook = ROLE_ACTION_NONE;
		snprintf(roles->hook_text, sizeof(roles->hook_text),
			 "%s: hooks asked for before have not ended", hook_name(hook_of(action)));
		roles->hook_again_ms = clock_mono_ms() + HOOK_LAST_MS;
		roles_push_event(roles, ROLE_EVENT_HOOK_FAILED);
		return;
	}
	roles->hooks_waiting++;
	hooks_run(roles->hooks, hook_of(action), facts, hook_deadline_ms(roles, action));
}

/* An after-hook or on_fenced that failed, or that a restart cut short. */
void roles_run_due_hook(struct roles *roles)
{
	const struct role_machine *m = &roles->machine;
	bool waits = m->phase == ROLE_RESTING || m->phase == ROLE_FENCING;
	if (m->due == ROLE_ACTION_NONE || !waits || roles->hook != ROLE_ACTION_NONE ||
	    roles->carrying || roles->events || !roles->started ||
	    clock_mono_ms() < roles->hook_again_ms)
		return;
	roles_count_step(roles, m->due);
	roles_run_hook(roles, m->due);
}

/* ---- drift ------------------------------------------------------------------------------------
 */

/* Not part of any change of roles: nobody waits for it. */
void roles_drifted(struct roles *roles, const char *path)
{
	const struct conf *conf = roles->node->conf;
	uint64_t now = clock_mono_ms();
	if (!conf->hook_on_drift || roles->drift_hook || !roles->started || roles->stopping ||
	    !roles->hooks ||
	    (roles->drift_hook_ms != 0 && now - roles->drift_hook_ms < DRIFT_HOOK_MS))
		return;
	AUTO_FREE char *name = x_strdup("ARTIFACT_SYNC_HOOK=on_drift");
	AUTO_FREE char *why = x_strdup("ARTIFACT_SYNC_REASON=drift");
	AUTO_FREE char *self = x_asprintf("ARTIFACT_SYNC_NODE=%s", conf->node);
	AUTO_FREE char *tree = x_asprintf("ARTIFACT_SYNC_TREE=%s", conf->tree);
	AUTO_FREE char *what = x_asprintf("ARTIFACT_SYNC_PATH=%s", path);
	const char *facts[] = {name, why, self, tree, what, NULL};
	roles->drift_hook = true;
	roles->drift_hook_ms = now;
	hooks_run(roles->hooks, ON_DRIFT, facts, HOOK_MS);
}
