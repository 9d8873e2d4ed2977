/* roles_steps.c - the queue: one event is one step of the rule table, its actions are carried out
 * one after the other, and what follows beside them from where the machine is. */
#include "agent/node/roles_internal.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/base/log.h"

/* For tests: the agent ends itself immediately before the nth action, or cuts every connection. */
void roles_count_step(struct roles *roles, enum role_action action)
{
	roles->step++;
#ifdef AGENT_FAULTS
	const char *text = getenv("ARTIFACT_SYNC_ROLE_FAULT");
	char *what = NULL;
	long nth = text ? strtol(text, &what, 10) : 0;
	log_info(MODULE_ROLE, "fault: role step %ld %s", roles->step, role_action_name(action));
	if (nth != roles->step)
		return;
	if (strcmp(what, ":kill") == 0)
		kill(getpid(), SIGKILL);
	if (strcmp(what, ":cut") == 0)
		roles_stop_sessions(roles, "fault: cut");
#else
	(void)action;
#endif
}

static void carry_out(struct roles *roles, enum role_action action)
{
	roles_count_step(roles, action);
	switch (action) {
	case ROLE_ACTION_NONE:
	case ROLE_ACTION_COUNT: break;
	case ROLE_ACTION_STORE:
	case ROLE_ACTION_STORE_EPOCH:
	case ROLE_ACTION_STORE_REFUSAL: roles_make_durable(roles, action); break;
	case ROLE_ACTION_BEFORE_DEMOTE:
	case ROLE_ACTION_AFTER_DEMOTE:
	case ROLE_ACTION_BEFORE_PROMOTE:
	case ROLE_ACTION_AFTER_PROMOTE:
	case ROLE_ACTION_ON_FENCED: roles_run_hook(roles, action); break;
	case ROLE_ACTION_SETTLE: roles_settle(roles); break;
	case ROLE_ACTION_RELEASE:
		roles->frozen = false;
		roles_apply_hold(roles);
		break;
	case ROLE_ACTION_LOOK: roles_look(roles, false); break;
	case ROLE_ACTION_SEND_CLAIM: roles_claim(roles); break;
	case ROLE_ACTION_SEND_PROMISE:
	case ROLE_ACTION_SEND_DENIAL: roles_answer_claim(roles, action); break;
	case ROLE_ACTION_WEIGH: roles_weigh(roles); break;
	case ROLE_ACTION_PROVE: roles_look(roles, true); break;
	case ROLE_ACTION_SWITCH: roles_switch(roles); break;
	case ROLE_ACTION_COMPARE: roles_compare(roles); break;
	case ROLE_ACTION_DONE: roles_done(roles); break;
	case ROLE_ACTION_FAILED: roles_tell(roles, roles->attempt.code, NULL); break;
	case ROLE_ACTION_UNRESOLVED: roles_unresolved(roles); break;
	default: roles_send(roles, action); break;
	}
}

static bool asks_for(const struct role_output *out, enum role_action action)
{
	for (size_t i = 0; i < ROLE_ACTIONS_MAX; i++) {
		if (out->actions[i] == action)
			return true;
	}
	return false;
}

/* In and after a look the guard does not run: it begins again if nothing comes of it. */
static bool has_looked(const struct role_machine *m)
{
	return m->phase == ROLE_LOOKING || m->phase == ROLE_WILLING || m->phase == ROLE_PROVING ||
	       m->phase == ROLE_CLAIMING;
}

static bool is_heir(const struct role_machine *m)
{
	return m->phase == ROLE_READYING || m->phase == ROLE_READY || m->phase == ROLE_LOOKING ||
	       m->phase == ROLE_WILLING;
}

/* What a person wanted is overtaken by what others did meanwhile: it is said at once, and all is
 * not as before. An attempt that nobody typed is only there for the ledger. */
static void tell_superseded(struct roles *roles, const struct role_machine *before)
{
	const struct role_machine *m = &roles->machine;
	const struct attempt *a = &roles->attempt;
	bool left = m->role != before->role &&
		    (m->role == WIRE_ROLE_FENCED || m->role == WIRE_ROLE_SPLIT);
	bool follows = roles->event == ROLE_EVENT_SUPERSEDED && m->phase != before->phase;
	if ((!left && !follows) || !(a->typed_here || a->planned))
		return;
	if (m->role == WIRE_ROLE_SPLIT) {
		roles_reason(
			roles, EXIT_NO,
			"this node and %s went on from the same epoch: `artifact-sync resolve'",
			roles->fork_node);
		roles_tell(roles, EXIT_NO, "split");
	} else {
		roles_reason(roles, EXIT_NO, "%s took over meanwhile", roles->victor);
		roles_tell(roles, EXIT_NO, "superseded");
	}
}

/* What follows from where the machine is, beside its actions. */
static void follow(struct roles *roles, const struct role_machine *before)
{
	const struct role_machine *m = &roles->machine;
	roles->switching = asks_for(&roles->output, ROLE_ACTION_SWITCH);
	if (m->phase != before->phase) {
		roles->hook = ROLE_ACTION_NONE;
		roles->hook_n++;
	}
	if (before->role != m->role || before->phase != m->phase) {
		log_info(MODULE_ROLE, "event=%s %s/%s -> %s/%s epoch=%" PRIu64,
			 role_event_name(roles->event), roles_name(before->role),
			 role_phase_name(before->phase), roles_name(m->role),
			 role_phase_name(m->phase), m->offer.number);
		roles_note_phase(roles);
	}
	/* A comparison goes on while it is fenced: not when a split ends that. */
	if (m->phase != before->phase &&
	    (roles->settle.phase < COMPARE_SCAN || m->role != WIRE_ROLE_FENCED))
		roles->settle.phase = SETTLE_NOT;
	if (has_looked(before) && !has_looked(m) && m->role == WIRE_ROLE_PASSIVE)
		roles_looked(roles);
	tell_superseded(roles, before);
	if (roles->event == ROLE_EVENT_CLAIM && m->phase != before->phase)
		roles_reason(roles, EXIT_REFUSED, "claimed: %s takes over and was first",
			     roles->peer);
	bool open = asks_for(&roles->output, ROLE_ACTION_UNRESOLVED);
	if (is_heir(before) && !open && m->role == WIRE_ROLE_PASSIVE && m->phase == ROLE_RESTING)
		roles_tell(roles, roles->attempt.code, NULL);
	if (m->role != before->role &&
	    (m->role == WIRE_ROLE_FENCED || m->role == WIRE_ROLE_SPLIT)) {
		/* What it numbers from here on nobody will have. */
		roles->frozen = true;
		roles->rejoinable = false;
		roles_apply_hold(roles);
		roles_stop_sessions(roles, "this node was superseded");
	}
}

/* Nothing may have been numbered since the last proof: else it would be lost. */
static void doubt_checked(struct roles *roles, struct role_input *in)
{
	const struct role_offer *offer = &roles->machine.offer;
	struct store_state state;
	store_state(roles->node->store, &state);
	if (in->event != ROLE_EVENT_CHECKED || roles->machine.phase != ROLE_CHECKING ||
	    (state.last_seq == offer->base_seq &&
	     memcmp(state.digest, offer->digest, sizeof(offer->digest)) == 0))
		return;
	roles_reason(roles, EXIT_NO, "%s: the index changed after the last proof",
		     roles->node->conf->node);
	roles_say(roles, 0, "the giver's index changed after the last proof");
	in->event = roles->event = ROLE_EVENT_CANCEL;
}

static int complete_input(struct roles *roles, struct role_input *in, struct err *err)
{
	AUTO_FREE struct epoch_entry *lineage = NULL;
	size_t n = 0;
	if (in->event == ROLE_EVENT_CLAIM)
		in->refused = roles_refuses_claim(roles, roles->peer);
	if (in->event != ROLE_EVENT_OFFER && in->event != ROLE_EVENT_ASK)
		return 0;
	int r = store_is_epoch_refused(roles->node->store, in->offer.id, err);
	if (r < 0)
		return r;
	in->refused = r > 0;
	r = store_lineage(roles->node->store, &lineage, &n, err);
	for (size_t i = 0; r == 0 && i < n; i++)
		in->taken |= memcmp(lineage[i].id, in->offer.id, WIRE_ID_LEN) == 0;
	return r;
}

/* What a person asked for, and what something that came before it has made impossible. */
static void tell_overtaken(struct roles *roles)
{
	bool asked = roles->event == ROLE_EVENT_REVERSE || roles->event == ROLE_EVENT_FAILOVER ||
		     roles->event == ROLE_EVENT_RECLAIM || roles->event == ROLE_EVENT_KEEP_US;
	if (!asked)
		return;
	roles_reason(roles, EXIT_REFUSED, "this node is %s by now (%s)",
		     roles_name(roles->machine.role), role_phase_name(roles->machine.phase));
	roles_tell(roles, EXIT_REFUSED, NULL);
}

/* The end of a hook that the machine has left behind says nothing of the one that it asks for now.
 */
static bool is_of_former_hook(const struct roles *roles, const struct role_event_item *item)
{
	bool of_hook =
		item->in.event == ROLE_EVENT_HOOK_DONE || item->in.event == ROLE_EVENT_HOOK_FAILED;
	return of_hook && item->hook_n != roles->hook_n;
}

static void take_event(struct roles *roles)
{
	struct role_event_item *item = roles->events;
	struct role_machine before = roles->machine;
	struct err err = {0};
	roles->events = item->next;
	roles->n_events--;
	if (!roles->events)
		roles->last_event = &roles->events;
	if (is_of_former_hook(roles, item)) {
		free(item);
		return;
	}
	roles->event = item->in.event;
	memcpy(roles->peer, item->peer, sizeof(roles->peer));
	doubt_checked(roles, &item->in);
	int r = complete_input(roles, &item->in, &err);
	if (r < 0) {
		free(item);
		roles_die(roles, "the state could not be read", &err);
		return;
	}
	roles->output = role_step(&roles->machine, &item->in);
	roles->at = 0;
	free(item);
	if (!roles->output.legal) {
		log_error(MODULE_ROLE, "event=%s peer=%s role=%s phase=%s action=ignore",
			  role_event_name(roles->event), roles->peer, roles_name(before.role),
			  role_phase_name(before.phase));
		roles->at = ROLE_ACTIONS_MAX;
		tell_overtaken(roles);
		return;
	}
	roles_note_owed(roles);
	follow(roles, &before);
}

/* One action after the other, each to its end; then the next event. */
void roles_run(struct roles *roles)
{
	if (roles->stepping || !roles->started)
		return;
	roles->stepping = true;
	while (!roles->carrying && !roles->stopping) {
		if (roles->at < ROLE_ACTIONS_MAX &&
		    roles->output.actions[roles->at] != ROLE_ACTION_NONE)
			carry_out(roles, roles->output.actions[roles->at++]);
		else if (roles->events)
			take_event(roles);
		else
			break;
	}
	roles->stepping = false;
}

void roles_push(struct roles *roles, const struct role_input *in, const char *peer)
{
	struct role_event_item *item = x_calloc(1, sizeof(*item));
	item->in = *in;
	item->hook_n = roles->hook_n;
	snprintf(item->peer, sizeof(item->peer), "%s", peer);
	roles->n_events++;
	*roles->last_event = item;
	roles->last_event = &item->next;
	roles_run(roles);
}

void roles_push_event(struct roles *roles, enum role_event event)
{
	const struct role_input in = {.event = event};
	roles_push(roles, &in, "");
}
