#include "agent/node/roles_internal.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "agent/base/clock.h"
#include "agent/base/log.h"

#define HOOK_MS 300000	   /* a hook takes no longer; a server may take minutes to stop */
#define HOOK_MIN_MS 1000   /* whatever is left of the person's time */
#define HOOK_FIRST_MS 2000 /* one that is owed is run again after so long, and then ... */
#define HOOK_LAST_MS 60000 /* ... less and less often */
#define HOOKS_WAITING_MAX 8

enum hook_index { BEFORE_DEMOTE, AFTER_DEMOTE, BEFORE_PROMOTE, AFTER_PROMOTE, ON_FENCED };

static void on_hook_done(void *owner, unsigned index, const struct hook_result *result);

/* ---- start ---------------------------------------------------------------------------------- */

int roles_new(struct roles **out, struct node *node, struct err *err)
{
	const struct conf *conf = node->conf;
	char *const *const argvs[HOOKS_MAX] = {[BEFORE_DEMOTE] = conf->hook_before_demote,
					       [AFTER_DEMOTE] = conf->hook_after_demote,
					       [BEFORE_PROMOTE] = conf->hook_before_promote,
					       [AFTER_PROMOTE] = conf->hook_after_promote,
					       [ON_FENCED] = conf->hook_on_fenced};
	struct hooks *hooks;
	int r = hooks_fork(&hooks, argvs, err);
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
	free(roles);
}

/* For tests: the agent ends itself immediately before the nth action, or cuts every connection. */
static void count_step(struct roles *roles, enum role_action action)
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

/* A person may be waiting at the other side to hear how the hook after the last change ended, of
 * which this run knows only whether it is still owed. */
static int remember_end(struct roles *roles, struct err *err)
{
	AUTO_FREE struct epoch_entry *lineage = NULL;
	size_t n = 0;
	int r = store_lineage(roles->node->store, &lineage, &n, err);
	if (r < 0 || n < 2)
		return r;
	roles->ended_offer.number = lineage[n - 1].number;
	memcpy(roles->ended_offer.id, lineage[n - 1].id, sizeof(roles->ended_offer.id));
	roles->ended_owed =
		roles->machine.due == ROLE_ACTION_NONE && roles->machine.phase == ROLE_RESTING;
	return 0;
}

static void end_after_restart(struct roles *roles, const struct hook_result *result)
{
	if (*roles->partner || roles->ended_offer.number == 0 ||
	    roles->machine.phase != ROLE_RESTING)
		return;
	snprintf(roles->ended, sizeof(roles->ended), "%.230s", result->done ? "" : result->text);
	roles->ended_owed = true;
	roles_send_ended(roles);
}

/* A node that was handing over and has not offered yet is the active again, before it speaks. */
int roles_load(struct roles *roles, struct err *err)
{
	int r = store_role(roles->node->store, &roles->machine, err);
	if (r < 0)
		return r;
	roles->output = role_start(&roles->machine);
	roles->at = 0;
	r = remember_end(roles, err);
	if (r < 0)
		return r;
	if (roles->output.actions[0] == ROLE_ACTION_STORE) {
		count_step(roles, ROLE_ACTION_STORE);
		r = store_set_machine(roles->node->store, &roles->machine, NULL, err);
		roles->at = 1;
	}
	roles->frozen = roles->machine.phase == ROLE_OFFERING ||
			roles->machine.role == WIRE_ROLE_FENCED ||
			roles->machine.role == WIRE_ROLE_SPLIT;
	snprintf(roles->hook_facts_reason, sizeof(roles->hook_facts_reason), "%s",
		 roles->machine.role == WIRE_ROLE_FENCED  ? "superseded"
		 : roles->machine.phase == ROLE_RETURNING ? "rollback"
							  : "restart");
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
	hooks_open(roles->hooks, &node->loop, on_hook_done, roles);
	roles->started = true;
	roles_run(roles);
}

void roles_intake_started(struct roles *roles)
{
	roles_apply_hold(roles);
	roles_ledger_write(roles);
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

void roles_stop(struct roles *roles)
{
	struct node *node = roles->node;
	roles->stopping = true;
	if (!roles->attempt.over)
		roles_tell(roles, EXIT_NOT_RUNNING, "unresolved");
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
					    "after_promote", "on_fenced"};
	return names[index];
}

/* Only the last one asked for is an answer to where the machine is now. */
static void on_hook_done(void *owner, unsigned index, const struct hook_result *result)
{
	struct roles *roles = owner;
	roles->hooks_waiting--;
	if (!result->done)
		log_error("hooks", "hook=%s err=\"%s\"", hook_name(index), result->text);
	else
		log_debug("hooks", "hook=%s done=\"%s\"", hook_name(index), result->text);
	if (roles->hooks_waiting > 0 || roles->hook == ROLE_ACTION_NONE)
		return;
	roles->hook = ROLE_ACTION_NONE;
	roles->hook_failed = !result->done;
	end_after_restart(roles, result);
	if (result->done) {
		roles->hook_wait_ms = 0;
		roles_push_event(roles, ROLE_EVENT_HOOK_DONE);
		return;
	}
	snprintf(roles->hook_text, sizeof(roles->hook_text), "%s %.250s", hook_name(index),
		 result->text);
	roles->hook_wait_ms = roles->hook_wait_ms ? 2 * roles->hook_wait_ms : HOOK_FIRST_MS;
	if (roles->hook_wait_ms > HOOK_LAST_MS)
		roles->hook_wait_ms = HOOK_LAST_MS;
	roles->hook_again_ms = clock_mono_ms() + roles->hook_wait_ms;
	roles_reason(roles, EXIT_NO, "%s: %s", roles->node->conf->node, roles->hook_text);
	roles_say(roles, 0, "%.230s", roles->hook_text);
	roles_push_event(roles, ROLE_EVENT_HOOK_FAILED);
}

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

static uint32_t hook_deadline_ms(const struct roles *roles, enum role_action action)
{
	bool before = action == ROLE_ACTION_BEFORE_DEMOTE || action == ROLE_ACTION_BEFORE_PROMOTE;
	uint64_t left = before ? roles_time_left_ms(roles) : HOOK_MS;
	left = left < HOOK_MIN_MS ? HOOK_MIN_MS : left;
	return (uint32_t)(left < HOOK_MS ? left : HOOK_MS);
}

static void run_hook(struct roles *roles, enum role_action action)
{
	const struct conf *conf = roles->node->conf;
	const char *reason = why_hook(roles, action);
	AUTO_FREE char *why = x_asprintf("ARTIFACT_SYNC_REASON=%s", reason);
	AUTO_FREE char *name = x_asprintf("ARTIFACT_SYNC_HOOK=%s", hook_name(hook_of(action)));
	AUTO_FREE char *self = x_asprintf("ARTIFACT_SYNC_NODE=%s", conf->node);
	AUTO_FREE char *peer = x_asprintf("ARTIFACT_SYNC_PEER=%s", roles->partner);
	AUTO_FREE char *tree = x_asprintf("ARTIFACT_SYNC_TREE=%s", conf->tree);
	AUTO_FREE char *role = x_asprintf("ARTIFACT_SYNC_ROLE=%s", roles_name(roles->machine.role));
	AUTO_FREE char *epoch =
		x_asprintf("ARTIFACT_SYNC_EPOCH=%" PRIu64, roles->machine.offer.number);
	const char *facts[] = {why, name, self, peer, tree, role, epoch, NULL};
	roles->hook = action;
	roles->hook_failed = false;
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
static void run_due_hook(struct roles *roles)
{
	const struct role_machine *m = &roles->machine;
	bool waits = m->phase == ROLE_RESTING || m->phase == ROLE_FENCING;
	if (m->due == ROLE_ACTION_NONE || !waits || roles->hook != ROLE_ACTION_NONE ||
	    roles->carrying || roles->events || !roles->started ||
	    clock_mono_ms() < roles->hook_again_ms)
		return;
	count_step(roles, m->due);
	run_hook(roles, m->due);
}

/* ---- what is durable ------------------------------------------------------------------------ */

/* worker: which peers are to be compared first, before the epoch can be seen by any. */
static int begin_epoch(struct role_store_job *s, struct store *store)
{
	size_t changed;
	int r = 0;
	if (s->begins && s->n_peers > 0)
		r = store_note_many(store, NOTE_RECONCILE, s->peers, s->n_peers,
				    "its position is not known in the epoch that began", &s->err);
	if (r == 0)
		r = store_set_machine(store, &s->machine, &s->epoch, &s->err);
	if (r == -EEXIST)
		r = store_set_machine(store, &s->machine, NULL, &s->err);
	if (r == 0 && s->begins)
		r = store_claim_foreign(store, &changed, &s->err);
	return r;
}

static void store_work(struct job *job)
{
	struct role_store_job *s = container_of(job, struct role_store_job, job);
	struct store *store = s->roles->node->store;
	if (s->cut)
		s->result = store_cut_lineage(store, s->cut_to, &s->err);
	if (s->result < 0)
		return;
	if (s->action == ROLE_ACTION_STORE)
		s->result = store_set_machine(store, &s->machine, NULL, &s->err);
	else if (s->action == ROLE_ACTION_STORE_EPOCH)
		s->result = begin_epoch(s, store);
	else
		s->result = store_refuse_epoch(store, s->offer.id, &s->err);
}

static void store_done(struct job *job)
{
	struct role_store_job *s = container_of(job, struct role_store_job, job);
	struct roles *roles = s->roles;
	roles->carrying = false;
	node_closed_one(roles->node);
	if (s->result < 0 && !roles->stopping)
		roles_die(roles, "the role could not be made durable", &s->err);
	free(s);
	roles_run(roles);
}

static void fill_epoch(struct roles *roles, struct role_store_job *s)
{
	const struct role_offer *offer = &roles->machine.offer;
	AUTO_FREE struct epoch_entry *lineage = NULL;
	struct err err = {0};
	size_t n = 0;
	if (store_lineage(roles->node->store, &lineage, &n, &err) < 0)
		log_error(MODULE_ROLE, "err=\"%s\"", err.msg);
	s->epoch = (struct epoch_entry){.number = offer->number, .base_seq = offer->base_seq};
	memcpy(s->epoch.id, offer->id, sizeof(s->epoch.id));
	snprintf(s->epoch.node, sizeof(s->epoch.node), "%s", offer->node);
	if (n > 0)
		memcpy(s->epoch.parent, lineage[n - 1].id, sizeof(s->epoch.parent));
	if (roles->event == ROLE_EVENT_KEEP_US)
		memcpy(s->epoch.ends, roles->fork_end, sizeof(s->epoch.ends));
	s->begins = strcmp(offer->node, roles->node->conf->node) == 0;
	for (const struct session *each = roles->node->sessions;
	     each && s->n_peers < CONF_PEERS_MAX; each = each->next) {
		bool giver = roles->attempt.planned && strcmp(each->peer, roles->partner) == 0;
		if (!giver) /* whose tree was proven equal at base_seq */
			s->peers[s->n_peers++] = each->peer;
	}
}

static void make_durable(struct roles *roles, enum role_action action)
{
	struct role_store_job *s = x_calloc(1, sizeof(*s));
	s->roles = roles;
	s->action = action;
	s->machine = roles->machine;
	s->offer = roles->output.offer;
	s->cut = roles->cut;
	s->cut_to = roles->cut_to;
	roles->cut = false;
	if (action == ROLE_ACTION_STORE_EPOCH)
		fill_epoch(roles, s);
	roles->carrying = true;
	roles->node->closing++;
	job_start(&roles->node->loop, &s->job, store_work, store_done);
}

/* ---- steps ---------------------------------------------------------------------------------- */

static void carry_out(struct roles *roles, enum role_action action)
{
	count_step(roles, action);
	switch (action) {
	case ROLE_ACTION_NONE:
	case ROLE_ACTION_COUNT: break;
	case ROLE_ACTION_STORE:
	case ROLE_ACTION_STORE_EPOCH:
	case ROLE_ACTION_STORE_REFUSAL: make_durable(roles, action); break;
	case ROLE_ACTION_BEFORE_DEMOTE:
	case ROLE_ACTION_AFTER_DEMOTE:
	case ROLE_ACTION_BEFORE_PROMOTE:
	case ROLE_ACTION_AFTER_PROMOTE:
	case ROLE_ACTION_ON_FENCED: run_hook(roles, action); break;
	case ROLE_ACTION_SETTLE: roles_settle(roles); break;
	case ROLE_ACTION_RELEASE:
		roles->frozen = false;
		roles_apply_hold(roles);
		break;
	case ROLE_ACTION_LOOK: roles_look(roles, false); break;
	case ROLE_ACTION_SWITCH: roles_switch(roles); break;
	case ROLE_ACTION_COMPARE: roles_compare(roles); break;
	case ROLE_ACTION_DONE: roles_done(roles); break;
	case ROLE_ACTION_FAILED: roles_tell(roles, roles->attempt.code, NULL); break;
	case ROLE_ACTION_UNRESOLVED: roles_tell(roles, EXIT_UNREACHABLE, "unresolved"); break;
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

static bool is_looking(const struct role_machine *m)
{
	return m->phase == ROLE_LOOKING || m->phase == ROLE_WILLING;
}

/* What follows from where the machine is, beside its actions. */
static void follow(struct roles *roles, const struct role_machine *before)
{
	const struct role_machine *m = &roles->machine;
	roles->switching = asks_for(&roles->output, ROLE_ACTION_SWITCH);
	if (before->role != m->role || before->phase != m->phase) {
		log_info(MODULE_ROLE, "event=%s %s/%s -> %s/%s epoch=%" PRIu64,
			 role_event_name(roles->event), roles_name(before->role),
			 role_phase_name(before->phase), roles_name(m->role),
			 role_phase_name(m->phase), m->offer.number);
		roles_note_phase(roles);
	}
	if (m->phase != before->phase && roles->settle.phase < COMPARE_SCAN)
		roles->settle.phase = SETTLE_NOT;
	if (is_looking(before) && !is_looking(m) && m->role == WIRE_ROLE_PASSIVE)
		roles_looked(roles);
	bool waited = role_may_cancel(before) && before->role == WIRE_ROLE_PASSIVE &&
		      before->phase != ROLE_FORCING;
	if (waited && m->role == WIRE_ROLE_PASSIVE && m->phase == ROLE_RESTING)
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

static int complete_input(struct roles *roles, struct role_input *in, struct err *err)
{
	AUTO_FREE struct epoch_entry *lineage = NULL;
	size_t n = 0;
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
		     roles->event == ROLE_EVENT_KEEP_US;
	if (!asked)
		return;
	roles_reason(roles, EXIT_REFUSED, "this node is %s by now (%s)",
		     roles_name(roles->machine.role), role_phase_name(roles->machine.phase));
	roles_tell(roles, EXIT_REFUSED, NULL);
}

static void take_event(struct roles *roles)
{
	struct role_event_item *item = roles->events;
	struct role_machine before = roles->machine;
	struct err err = {0};
	roles->events = item->next;
	if (!roles->events)
		roles->last_event = &roles->events;
	roles->event = item->in.event;
	memcpy(roles->peer, item->peer, sizeof(roles->peer));
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
	snprintf(item->peer, sizeof(item->peer), "%s", peer);
	*roles->last_event = item;
	roles->last_event = &item->next;
	roles_run(roles);
}

void roles_push_event(struct roles *roles, enum role_event event)
{
	const struct role_input in = {.event = event};
	roles_push(roles, &in, "");
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
	run_due_hook(roles);
	roles_report_advance(roles);
	uint64_t left = roles_time_left_ms(roles);
	if (left != UINT64_MAX && !roles->attempt.counted)
		roles_set_timer(roles, left + 1);
}

void roles_tick(struct roles *roles)
{
	roles_advance(roles);
}
