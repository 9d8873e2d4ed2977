/* engine.c - what agent/node/roles_steps.c does: events wait, each is one step of the real table,
 * whose actions are carried out one after the other before the next event is looked at. */
#include "roles.h"

#include <string.h>

/* ---- start ---------------------------------------------------------------------------------- */

static void begin_life(struct world *w, struct node *n)
{
	struct durable disk = n->disk;
	*n = (struct node){.at_index = n->at_index, .up = true, .disk = disk};
	n->name[0] = (char)('a' + n->at_index);
	n->boot = ++w->next_boot;
	n->attempt.over = true;
	n->next_action = ROLE_ACTIONS_MAX;
	n->partner = n->peer = n->promised_to = -1;
	n->machine = disk.machine;
	n->machine.phase = ROLE_RESTING;
	uint64_t last = disk.lineage[disk.n_lineage - 1].number; /* as store_role() */
	if (last > n->machine.number && w->mutation != MUTATE_NUMBER_FORGOTTEN)
		n->machine.number = last;
	if (w->mutation == MUTATE_OFFER_FORGOTTEN)
		n->machine.has_offer = false;
	if (w->mutation == MUTATE_HOOK_FORGOTTEN)
		n->machine.due = ROLE_ACTION_NONE;
}

void engine_boot(struct world *w, struct node *n)
{
	begin_life(w, n);
	n->output = role_start(&n->machine);
	n->next_action = 0;
	if (n->output.actions[0] == ROLE_ACTION_STORE) {
		durable_set_machine(n, &n->machine);
		n->next_action = 1;
	}
	n->frozen =
		(n->machine.phase == ROLE_OFFERING && w->mutation != MUTATE_THAWED_BY_RESTART) ||
		n->machine.role == WIRE_ROLE_FENCED || n->machine.role == WIRE_ROLE_SPLIT;
	tell(w, "%s starts: %u %s", n->name, n->machine.role, role_phase_name(n->machine.phase));
	world_at(w, below(w, 500 * MS), H_TICK, n, 0, 0);
	for (unsigned peer = 0; peer < w->n_nodes; peer++) {
		if (peer != n->at_index)
			world_at(w, late(w, 100 * MS), H_DIAL, n, peer, 0);
	}
	engine_run(w, n);
}

/* Nobody is told that this node may write before that is durable; that it may not, at once. */
uint8_t engine_role(const struct node *n)
{
	enum wire_role role = n->machine.role;
	return role == WIRE_ROLE_ACTIVE || role == WIRE_ROLE_PASSIVE ? n->disk.machine.role : role;
}

/* ---- actions -------------------------------------------------------------------------------- */

static void stop_sessions(struct world *w, struct node *n)
{
	for (unsigned peer = 0; peer < w->n_nodes; peer++)
		links_close(w, n, peer);
}

static void switch_role(struct world *w, struct node *n)
{
	stop_sessions(w, n);
	if (n->machine.role == WIRE_ROLE_ACTIVE || n->machine.role == WIRE_ROLE_PASSIVE)
		data_thaw(w, n);
	n->switching = false;
	links_resume(w, n);
}

static void unresolved(struct world *w, struct node *n)
{
	w->figures.unresolved++;
	n->attempt.over = true;
}

static void carry_out(struct world *w, struct node *n, enum role_action action)
{
	tell(w, "%s: %s", n->name, role_action_name(action));
	switch (action) {
	case ROLE_ACTION_NONE:
	case ROLE_ACTION_COUNT: break;
	case ROLE_ACTION_STORE:
	case ROLE_ACTION_STORE_EPOCH:
	case ROLE_ACTION_STORE_REFUSAL: durable_begin(w, n, action); break;
	case ROLE_ACTION_BEFORE_DEMOTE:
	case ROLE_ACTION_AFTER_DEMOTE:
	case ROLE_ACTION_BEFORE_PROMOTE:
	case ROLE_ACTION_AFTER_PROMOTE:
	case ROLE_ACTION_ON_FENCED: hooks_run(w, n, action); break;
	case ROLE_ACTION_SETTLE: proofs_settle(w, n); break;
	case ROLE_ACTION_RELEASE: data_thaw(w, n); break;
	case ROLE_ACTION_LOOK: proofs_look(w, n, false); break;
	case ROLE_ACTION_SEND_CLAIM: proofs_claim(w, n); break;
	case ROLE_ACTION_SEND_PROMISE:
		n->promised_to = n->peer;
		n->promised_until = w->now + PROMISE_TIME;
		words_say(w, n, (unsigned)n->peer, ROLE_EVENT_CLAIMED, &n->output.offer);
		break;
	case ROLE_ACTION_SEND_DENIAL:
		words_say(w, n, (unsigned)n->peer, ROLE_EVENT_UNFIT, &n->output.offer);
		break;
	case ROLE_ACTION_WEIGH: proofs_weigh(w, n); break;
	case ROLE_ACTION_PROVE: proofs_look(w, n, true); break;
	case ROLE_ACTION_SWITCH: switch_role(w, n); break;
	case ROLE_ACTION_COMPARE: proofs_compare(w, n); break;
	case ROLE_ACTION_DONE:
	case ROLE_ACTION_FAILED: n->attempt.over = true; break;
	case ROLE_ACTION_UNRESOLVED: unresolved(w, n); break;
	default: words_send(w, n, action); break;
	}
}

static void mutate_output(struct world *w, struct node *n)
{
	enum role_action *actions = n->output.actions;
	bool stores = actions[0] == ROLE_ACTION_STORE || actions[0] == ROLE_ACTION_STORE_EPOCH ||
		      actions[0] == ROLE_ACTION_STORE_REFUSAL;
	bool sends = actions[1] >= ROLE_ACTION_SEND_PREPARE && actions[1] <= ROLE_ACTION_SEND_ABORT;
	if (w->mutation != MUTATE_SEND_BEFORE_STORE || !stores || !sends)
		return;
	enum role_action first = actions[0];
	actions[0] = actions[1];
	actions[1] = first;
}

/* ---- events --------------------------------------------------------------------------------- */

static bool asks_for(const struct role_output *out, enum role_action action)
{
	for (size_t i = 0; i < ROLE_ACTIONS_MAX; i++) {
		if (out->actions[i] == action)
			return true;
	}
	return false;
}

/* What follows from where the machine is, beside its actions. */
static void follow(struct world *w, struct node *n, const struct role_machine *was)
{
	const struct role_machine *m = &n->machine;
	n->switching = asks_for(&n->output, ROLE_ACTION_SWITCH);
	if (m->phase != was->phase && w->mutation != MUTATE_STALE_HOOK) {
		n->hook = ROLE_ACTION_NONE;
		n->hook_n++;
	}
	if (m->phase != was->phase && (n->proof < COMPARE_SCAN || m->role != WIRE_ROLE_FENCED))
		n->proof = PROOF_NONE;
	bool waited = was->phase == ROLE_READYING || was->phase == ROLE_READY ||
		      was->phase == ROLE_LOOKING || was->phase == ROLE_WILLING;
	bool open = asks_for(&n->output, ROLE_ACTION_UNRESOLVED);
	if (waited && !open && m->role == WIRE_ROLE_PASSIVE && m->phase == ROLE_RESTING)
		n->attempt.over = true;
	if (m->role != was->role && (m->role == WIRE_ROLE_FENCED || m->role == WIRE_ROLE_SPLIT)) {
		n->frozen = true;
		n->rejoinable = false;
		stop_sessions(w, n);
	}
}

static void count(struct world *w, const struct node *n, const struct role_machine *was)
{
	struct figures *f = &w->figures;
	const struct role_machine *m = &n->machine;
	f->returned += m->phase == ROLE_RETURNING && was->phase != ROLE_RETURNING;
	f->splits += m->role == WIRE_ROLE_SPLIT && was->role != WIRE_ROLE_SPLIT;
	f->rejoins += n->event == ROLE_EVENT_RECONCILED;
	f->cancels += n->event == ROLE_EVENT_CANCEL && m->phase != was->phase;
}

/* Nothing may have been numbered since the last proof: else it would be lost. */
static void doubt_checked(const struct node *n, struct role_input *in)
{
	uint8_t digest[32];
	data_put_digest(digest, data_digest(n));
	if (in->event == ROLE_EVENT_CHECKED && n->machine.phase == ROLE_CHECKING &&
	    (n->disk.last_seq != n->machine.offer.base_seq ||
	     memcmp(digest, n->machine.offer.digest, sizeof(digest)) != 0))
		in->event = ROLE_EVENT_CANCEL;
}

static bool follows_an_active(const struct world *w, const struct node *n)
{
	bool found = false;
	for (unsigned peer = 0; peer < w->n_nodes; peer++)
		found |= n->sessions[peer].live && n->sessions[peer].receiver;
	return found;
}

static void complete_input(const struct world *w, const struct node *n, int peer,
			   struct role_input *in)
{
	if (in->event == ROLE_EVENT_CLAIM)
		in->refused = proofs_promised(w, n, peer) || follows_an_active(w, n);
	if (in->event != ROLE_EVENT_OFFER && in->event != ROLE_EVENT_ASK)
		return;
	in->refused = bit(n->disk.refused, id_number(in->offer.id));
	for (size_t i = 0; i < n->disk.n_lineage; i++)
		in->taken |= memcmp(n->disk.lineage[i].id, in->offer.id, WIRE_ID_LEN) == 0;
}

static bool is_of_a_person(enum role_event event)
{
	return event == ROLE_EVENT_REVERSE || event == ROLE_EVENT_FAILOVER ||
	       event == ROLE_EVENT_RECLAIM || event == ROLE_EVENT_KEEP_US;
}

static void take_event(struct world *w, struct node *n)
{
	struct queued q = n->queue[0];
	struct role_machine was = n->machine;
	memmove(n->queue, n->queue + 1, --n->n_queue * sizeof(n->queue[0]));
	bool of_hook = q.in.event == ROLE_EVENT_HOOK_DONE || q.in.event == ROLE_EVENT_HOOK_FAILED;
	if (of_hook && q.hook_n != n->hook_n && w->mutation != MUTATE_STALE_HOOK)
		return;
	doubt_checked(n, &q.in);
	complete_input(w, n, q.peer, &q.in);
	n->event = q.in.event;
	n->peer = q.peer;
	n->output = role_step(&n->machine, &q.in);
	n->next_action = 0;
	tell(w, "%s: %s: %u %s -> %u %s", n->name, role_event_name(n->event), was.role,
	     role_phase_name(was.phase), n->machine.role, role_phase_name(n->machine.phase));
	if (n->output.legal) {
		mutate_output(w, n);
		count(w, n, &was);
		follow(w, n, &was);
		return;
	}
	n->next_action = ROLE_ACTIONS_MAX;
	if (!is_of_a_person(n->event))
		fail(w, "%s: nobody can have caused %s of %s in role %u, %s", n->name,
		     role_event_name(n->event), q.peer < 0 ? "itself" : w->nodes[q.peer].name,
		     was.role, role_phase_name(was.phase));
	w->figures.overtaken++;
	n->attempt.over = true;
}

void engine_run(struct world *w, struct node *n)
{
	if (n->stepping)
		return;
	n->stepping = true;
	while (!n->carrying) {
		if (n->next_action < ROLE_ACTIONS_MAX &&
		    n->output.actions[n->next_action] != ROLE_ACTION_NONE)
			carry_out(w, n, n->output.actions[n->next_action++]);
		else if (n->n_queue > 0)
			take_event(w, n);
		else
			break;
	}
	n->stepping = false;
}

void engine_push(struct world *w, struct node *n, const struct role_input *in, int peer)
{
	if (n->n_queue == QUEUE_MAX)
		fail(w, "%s: %d events wait", n->name, QUEUE_MAX);
	n->queue[n->n_queue++] = (struct queued){*in, peer, n->hook_n};
	engine_run(w, n);
}

void engine_push_event(struct world *w, struct node *n, enum role_event event)
{
	const struct role_input in = {.event = event};
	engine_push(w, n, &in, -1);
}

/* ---- sessions ------------------------------------------------------------------------------- */

static bool is_partner(const struct world *w, const struct node *n, unsigned peer)
{
	enum role_phase phase = n->machine.phase;
	bool giver = phase >= ROLE_PREPARING && phase <= ROLE_OFFERING;
	return giver ? strcmp(w->nodes[peer].name, n->machine.offer.node) == 0
		     : n->partner == (int)peer;
}

void engine_session_lost(struct world *w, struct node *n, unsigned peer, bool asked_promise)
{
	const struct role_input in = {.event = ROLE_EVENT_LINK_LOST};
	if (n->up && n->machine.phase == ROLE_CLAIMING && asked_promise) {
		n->proof = PROOF_NONE;
		engine_push_event(w, n, ROLE_EVENT_UNFIT);
	}
	if (!n->up || !is_partner(w, n, peer))
		return;
	if (n->attempt.asked) {
		n->attempt.asked = false;
		n->attempt.over = true;
	}
	engine_push(w, n, &in, (int)peer);
}

void engine_matched(struct world *w, struct node *n, unsigned peer)
{
	struct session *s = &n->sessions[peer];
	const struct role_input in = {.event = ROLE_EVENT_RECONCILED};
	if (s->sender) {
		s->peer_role = s->peer_role == WIRE_ROLE_FENCED ? WIRE_ROLE_PASSIVE : s->peer_role;
		n->disk.unknown[peer] = false;
	}
	if (s->receiver && n->machine.role == WIRE_ROLE_FENCED &&
	    n->machine.phase == ROLE_REJOINING) {
		n->proof = PROOF_NONE;
		engine_push(w, n, &in, (int)peer);
	}
	proofs_advance(w, n);
}

/* ---- clockwork ------------------------------------------------------------------------------ */

static void watch_deadline(struct world *w, struct node *n)
{
	struct attempt *a = &n->attempt;
	if (a->over)
		return;
	if (!a->counted && w->now >= a->deadline) {
		a->counted = true;
		a->asked = false;
		engine_push_event(w, n, ROLE_EVENT_CANCEL);
	}
	if (a->counted && !role_may_cancel(&n->machine) && n->machine.phase != ROLE_OFFERING)
		a->over = true;
}

void engine_tick(struct world *w, struct node *n)
{
	proofs_advance(w, n);
	watch_deadline(w, n);
	hooks_due(w, n);
}
