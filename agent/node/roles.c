/* roles.c - start, stop and deadlines; roles.h says where the rest is. */
#include "agent/node/roles_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "agent/base/clock.h"
#include "agent/base/log.h"

/* ---- start ---------------------------------------------------------------------------------- */

int roles_new(struct roles **out, struct node *node, struct err *err)
{
	struct hooks *hooks;
	int r = roles_fork_hooks(&hooks, node->conf, err);
	if (r < 0)
		return r;
	struct roles *roles = x_calloc(1, sizeof(*roles));
	roles->node = node;
	roles->hooks = hooks;
	roles->last_event = &roles->events;
	roles->at = ROLE_ACTIONS_MAX;
	roles->attempt.over = true;
	roles->attempt.at_risk_s = -1;
	*out = roles;
	return 0;
}

void roles_free(struct roles *roles)
{
	if (!roles)
		return;
	for (struct role_event_item *item = roles->events, *next; item; item = next) {
		next = item->next;
		free(item);
	}
	roles_attempt_release(roles);
	roles_preflight_free(roles);
	json_decref(roles->hook_output);
	free(roles);
}

/* A node that was handing over and has not offered yet is the active again, before it speaks. */
int roles_load(struct roles *roles, struct err *err)
{
	int r = store_role(roles->node->store, &roles->machine, err);
	if (r < 0)
		return r;
	roles->output = role_start(&roles->machine);
	roles->at = 0;
	r = roles_load_owed(roles, err);
	if (r == 0 && roles->output.actions[0] == ROLE_ACTION_STORE) {
		struct role_change change = {.machine = &roles->machine, .owed = &roles->owed};
		roles_count_step(roles, ROLE_ACTION_STORE);
		r = store_change_role(roles->node->store, &change, err);
		roles->at = 1;
	}
	roles->frozen = roles->machine.phase == ROLE_OFFERING ||
			roles->machine.role == WIRE_ROLE_FENCED ||
			roles->machine.role == WIRE_ROLE_SPLIT;
	return r;
}

static void on_timer(uv_timer_t *timer)
{
	roles_advance(timer->data);
}

void roles_start(struct roles *roles)
{
	struct node *node = roles->node;
	uv_timer_init(&node->loop, &roles->timer);
	roles->timer.data = roles;
	roles->timer_open = true;
	hooks_open(roles->hooks, &node->loop, roles_on_hook, roles);
	roles->started = true;
	roles_run(roles);
}

void roles_intake_started(struct roles *roles)
{
	roles_apply_hold(roles);
	roles_ledger_start(roles);
	roles_advance(roles);
}

/* Nobody is told that this node may write before that is durable; that it may not, at once. */
enum wire_role roles_role(const struct roles *roles)
{
	struct store_state state;
	enum wire_role role = roles->machine.role;
	if (role != WIRE_ROLE_ACTIVE && role != WIRE_ROLE_PASSIVE)
		return role;
	store_state(roles->node->store, &state);
	return (enum wire_role)state.role;
}

const char *roles_name(enum wire_role role)
{
	static const char *const names[] = {"unknown",	"active", "passive",
					    "draining", "fenced", "split"};
	return (size_t)role < ARRAY_LEN(names) ? names[role] : "unknown";
}

/* A number above all that this node has recorded, promised, refused or seen. */
void roles_new_offer(const struct roles *roles, struct role_offer *out, const char *heir)
{
	static const uint8_t none[WIRE_ID_LEN];
	*out = (struct role_offer){.number = roles->machine.number + 1};
	snprintf(out->node, sizeof(out->node), "%s", heir);
	do
		BUG_ON(getrandom(out->id, sizeof(out->id), 0) != sizeof(out->id));
	while (memcmp(out->id, none, sizeof(none)) == 0);
}

/* ---- stop ----------------------------------------------------------------------------------- */

static void on_timer_closed(uv_handle_t *handle)
{
	struct roles *roles = handle->data;
	roles->timer_open = false;
	node_closed_one(roles->node);
}

static void on_hooks_closed(void *owner)
{
	struct roles *roles = owner;
	roles->hooks = NULL;
	node_closed_one(roles->node);
}

/* The machine is ahead of the disk while something is stored, and for good when that failed. */
static bool is_begun(const struct roles *roles)
{
	AUTO_FREE struct epoch_entry *lineage = NULL;
	size_t n = 0;
	bool found = false;
	if (store_lineage(roles->node->store, &lineage, &n, NULL) < 0)
		return false;
	for (size_t i = 0; i < n; i++)
		found |= memcmp(lineage[i].id, roles->machine.offer.id, WIRE_ID_LEN) == 0;
	return found;
}

static void tell_swapped(struct roles *roles)
{
	const struct attempt *a = &roles->attempt;
	bool alone = a->failover || a->resolve;
	if (is_begun(roles)) {
		roles_reason(roles, EXIT_DONE,
			     "this agent ended: the hook after the change is owed until its next "
			     "start");
		roles_tell(roles, EXIT_DONE, "done");
	} else if (alone && !roles->carrying) {
		roles_tell(roles, EXIT_NO, "failed");
	} else {
		roles_tell(roles, EXIT_UNREACHABLE, "unresolved");
	}
}

/* What a person is told when the agent ends before the attempt does: what its next start, or the
 * other side, will find. */
static void tell_ended(struct roles *roles)
{
	const struct attempt *a = &roles->attempt;
	const struct role_machine *m = &roles->machine;
	struct store_state state;
	store_state(roles->node->store, &state);
	if (m->phase == ROLE_RISING || m->phase == ROLE_RETIRING || a->waits_for_scan ||
	    a->waits_for_partner) {
		tell_swapped(roles);
	} else if (a->waits_for_giver) {
		roles_tell(roles, EXIT_UNREACHABLE, "unresolved");
	} else if (m->role == WIRE_ROLE_DRAINING || state.role == WIRE_ROLE_DRAINING) {
		roles_reason(roles, EXIT_UNREACHABLE,
			     m->phase == ROLE_OFFERING
				     ? "this agent ended while the answer to its offer was awaited"
				     : "this agent ended while it was draining: at its next start "
				       "this node is active again");
		roles_tell(roles, EXIT_UNREACHABLE, "unresolved");
	} else {
		roles_tell(roles, m->phase == ROLE_WILLING ? EXIT_UNREACHABLE : EXIT_NOT_RUNNING,
			   m->phase == ROLE_WILLING ? "unresolved" : "rolled_back");
	}
}

void roles_stop(struct roles *roles)
{
	struct node *node = roles->node;
	roles->stopping = true;
	if (!roles->attempt.over)
		tell_ended(roles);
	if (roles->timer_open) {
		node->closing++;
		uv_close((uv_handle_t *)&roles->timer, on_timer_closed);
	}
	if (roles->hooks) {
		node->closing++;
		hooks_close(roles->hooks, on_hooks_closed, roles);
	}
}

/* Going on could mean two writers. The next start reads what is durable. */
void roles_die(struct roles *roles, const char *what, const struct err *err)
{
	log_error(MODULE_ROLE, "action=\"the agent ends\" what=\"%s\" err=\"%s\"", what, err->msg);
	roles->node->failed = true;
	roles_reason(roles, EXIT_NO, "%s: %.150s", what, err->msg);
	roles->stopping = true;
	node_stop(roles->node);
}

/* ---- clockwork ------------------------------------------------------------------------------ */

uint64_t roles_time_left_ms(const struct roles *roles)
{
	uint64_t now = clock_mono_ms(), deadline = roles->attempt.deadline_ms;
	if (roles->attempt.over || deadline == 0)
		return UINT64_MAX;
	return deadline > now ? deadline - now : 0;
}

void roles_set_timer(struct roles *roles, uint64_t ms)
{
	if (!roles->timer_open || roles->stopping)
		return;
	uint64_t due = uv_is_active((uv_handle_t *)&roles->timer)
			       ? uv_timer_get_due_in(&roles->timer)
			       : UINT64_MAX;
	if (ms < due)
		uv_timer_start(&roles->timer, on_timer, ms, 0);
}

static void watch_deadline(struct roles *roles)
{
	struct attempt *a = &roles->attempt;
	bool gone = a->typed_here && !a->call;
	if (a->over || a->counted || (!gone && roles_time_left_ms(roles) > 0))
		return;
	const char *why = gone ? "the command was given up" : "the time given was up";
	a->counted = true;
	log_warn(MODULE_ROLE, "phase=%s err=\"%s\"", role_phase_name(roles->machine.phase), why);
	if (role_may_cancel(&roles->machine) || a->asked)
		roles_reason(roles, EXIT_TIMED_OUT, "%s while %s", why,
			     a->asked ? "the active was asked"
				      : role_phase_name(roles->machine.phase));
	a->asked = false;
	roles_say(roles, HANDOVER_LATE, "%s", why);
	roles_push_event(roles, ROLE_EVENT_CANCEL);
	roles_report_advance(roles);
}

void roles_advance(struct roles *roles)
{
	if (roles->stopping || !roles->started)
		return;
	roles_force_advance(roles);
	roles_settle_advance(roles);
	watch_deadline(roles);
	roles_run_due_hook(roles);
	roles_report_advance(roles);
	uint64_t left = roles_time_left_ms(roles);
	if (left != UINT64_MAX && !roles->attempt.counted)
		roles_set_timer(roles, left + 1);
}

void roles_tick(struct roles *roles)
{
	roles_advance(roles);
}
