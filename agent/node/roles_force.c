/* roles_force.c - what a person decides when the other side cannot be asked: failover, the exit of
 * a giver whose heir is lost, and which side of a split goes on. Each is told first what is known
 * to be lost by it. */
#include "agent/node/roles_internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "agent/base/clock.h"
#include "agent/base/log.h"
#include "agent/base/quote.h"

#define LOST_MAX 1000
#define AGAIN_MS 20

/* ---- what would be lost -----------------------------------------------------------------------
 */

static uint64_t announced_seq(const struct node *node)
{
	uint64_t seq = exposure_seen_seq(node);
	for (const struct session *s = node->sessions; s; s = s->next)
		seq = s->theirs.last_seq > seq ? s->theirs.last_seq : seq;
	return seq;
}

/* Seconds of the active's changes that may be nowhere here: until now, since it may live on. */
static double at_risk_s(const struct node *node)
{
	if (node->recovery_boot_ns != 0)
		return (double)(clock_boot_ns() - node->recovery_boot_ns) / 1e9;
	if (node->recovery_ns != 0)
		return (double)(clock_real_ns() - node->recovery_ns) / 1e9;
	return -1;
}

/* One that cannot send, because its tree is not there, is no better than one that is away. */
bool roles_is_healthy_active(const struct session *s)
{
	return s->receiver && (!s->have_theirs || (s->theirs.flags & BEAT_HEALTHY));
}

static void add_lost(struct roles *roles, json_t *losses, json_t *lost)
{
	struct node *node = roles->node;
	struct store_state state;
	struct note *notes = NULL;
	size_t n = 0;
	store_state(node->store, &state);
	uint64_t announced = announced_seq(node);
	if (state.adopt || state.barrier_clock_ns == 0)
		roles_add(losses, "first-sync: this node has never been equal to the active");
	if (node->distrusted)
		roles_add(losses,
			  "unproven: this node's tree was not equal to the active's when it "
			  "was compared last");
	if (announced > state.last_seq)
		roles_add(losses,
			  "missing: changes up to %" PRIu64 " were announced and %" PRIu64
			  " is the last that is here",
			  announced, state.last_seq);
	for (const struct session *s = node->sessions; s; s = s->next) {
		if (s->live && s->receiver && !roles_is_healthy_active(s))
			roles_add(losses,
				  "unhealthy-active: %s is connected, and a directory of its tree "
				  "is not there: what it had not sent is missing",
				  s->peer);
		if (s->have_theirs && s->theirs.held > 0)
			roles_add(losses,
				  "held: %" PRIu32 " paths were held back on %s: their last good "
				  "version is here",
				  s->theirs.held, s->peer);
	}
	exposure_add_missing(node, lost, LOST_MAX);
	if (json_array_size(lost) > 0)
		roles_add(losses, "missing: %zu paths were announced and are not here",
			  json_array_size(lost));
	store_notes(node->store, NOTE_DRIFT, &notes, &n, NULL);
	if (n > 0)
		roles_add(losses, "drift: %zu paths were changed here by somebody else", n);
	notes_free(notes, n);
}

/* ---- whether ----------------------------------------------------------------------------------
 */

static void add_obstacles(struct roles *roles, json_t *list)
{
	struct node *node = roles->node;
	struct store_state state;
	store_state(node->store, &state);
	if (!node_is_healthy(node))
		roles_add(list, "unhealthy: a directory of the tree is not there");
	roles_add_epochs(roles, list, 0);
	if (roles_promised(roles))
		roles_add(
			list,
			"promised: %s is about to take over; if nothing comes of it, try again in "
			"some seconds",
			roles_promised(roles));
	for (const struct session *s = node->sessions; s; s = s->next) {
		if (!s->live)
			continue;
		if (roles_is_healthy_active(s))
			roles_add(list,
				  "active-connected: %s is active and connected: `artifact-sync "
				  "reverse' hands over without loss",
				  s->peer);
		else if (!s->receiver && s->have_theirs && s->theirs.last_seq > state.last_seq)
			roles_add(list,
				  "not-the-newest: %s has changes up to %" PRIu64 ", this node "
				  "up to %" PRIu64 ": run it there",
				  s->peer, s->theirs.last_seq, state.last_seq);
	}
}

static void answer(struct roles *roles, struct control_call *call, enum exit_code code,
		   const char *outcome, json_t *reasons, json_t *lost)
{
	struct node *node = roles->node;
	struct store_state state;
	char hex[HASH_HEX_MAX], when[CLOCK_TEXT_MAX];
	double risk = at_risk_s(node);
	store_state(node->store, &state);
	control_done(call, code,
		     json_pack("{s:s, s:s, s:s, s:b, s:o, s:o, s:[], s:f, s:I, s:I, s:s, s:o, s:o}",
			       "outcome", outcome, "node", node->conf->node, "role",
			       roles_name(roles->machine.role), "failover", true, "reasons",
			       reasons, "lost", lost, "timeline", "seconds", 0.0, "seq",
			       (json_int_t)state.last_seq, "announced_seq",
			       (json_int_t)announced_seq(node), "digest",
			       hash_hex(hex, state.digest), "recovery_point",
			       node->recovery_ns ? json_string(clock_text(when, node->recovery_ns))
						 : json_null(),
			       "seconds_at_risk", risk < 0 ? json_null() : json_real(risk)));
}

static void name_last_active(const struct roles *roles, char out[WIRE_NAME_MAX + 1])
{
	AUTO_FREE struct epoch_entry *lineage = NULL;
	size_t n = 0;
	if (store_lineage(roles->node->store, &lineage, &n, NULL) == 0 && n > 0)
		snprintf(out, WIRE_NAME_MAX + 1, "%s", lineage[n - 1].node);
}

/* The giver's own exit: the heir may have taken; the lineages would say so, as a split. */
static void leave_offering(struct roles *roles, struct control_call *call, const json_t *args)
{
	struct role_input in = {.event = ROLE_EVENT_RECLAIM};
	struct store_state state;
	bool accepts = json_is_true(json_object_get(args, "accept_data_loss"));
	json_t *reasons = json_array();
	if (!accepts || json_is_true(json_object_get(args, "dry_run"))) {
		roles_add(reasons,
			  "offered: %s may have taken epoch %" PRIu64 " over and act already; "
			  "--accept-data-loss goes on here all the same, and that is a split then",
			  roles->machine.offer.node, roles->machine.offer.number);
		answer(roles, call, accepts ? EXIT_DONE : EXIT_REFUSED,
		       accepts ? "possible" : "refused", reasons, json_array());
		return;
	}
	json_decref(reasons);
	roles_take_args(roles, call, args);
	roles->attempt.failover = true;
	roles_new_offer(roles, &in.offer, roles->node->conf->node);
	store_state(roles->node->store, &state);
	in.offer.base_seq = state.last_seq;
	memcpy(in.offer.digest, state.digest, sizeof(in.offer.digest));
	roles_push(roles, &in, "");
}

void roles_failover_request(struct roles *roles, struct control_call *call, const json_t *args)
{
	if (roles->machine.phase == ROLE_OFFERING) {
		leave_offering(roles, call, args);
		return;
	}
	roles_take_args(roles, call, args);
	struct attempt *a = &roles->attempt;
	a->failover = true;
	a->dry_run = json_is_true(json_object_get(args, "dry_run"));
	name_last_active(roles, a->from);
	if (roles->machine.role != WIRE_ROLE_PASSIVE) {
		roles_reason(roles, EXIT_REFUSED,
			     "role: failover is for a passive node, and this one is %s",
			     roles_name(roles->machine.role));
		roles_tell(roles, EXIT_REFUSED, NULL);
		return;
	}
	roles_push_event(roles, ROLE_EVENT_FAILOVER);
	roles_advance(roles);
}

/* What the others have is asked for, not remembered: an answer of a second ago may be too old. */
void roles_ask_others(struct roles *roles)
{
	for (struct session *s = roles->node->sessions; s; s = s->next) {
		if (s->live && s->link && !s->receiver)
			heartbeat_ask(s);
	}
	roles_set_timer(roles, 1);
}

void roles_weigh(struct roles *roles)
{
	roles->settle = (struct settle){.phase = FORCE_ASK, .for_failover = true};
	roles_ask_others(roles);
}

static bool all_have_answered(const struct roles *roles)
{
	for (const struct session *s = roles->node->sessions; s; s = s->next) {
		if (s->live && s->link && (s->asked_beat != 0 || s->asked_promise))
			return false;
	}
	return true;
}

/* What stands in the way, and what would be lost, as of now. @return may it go on? */
static bool weigh(struct roles *roles)
{
	struct attempt *a = &roles->attempt;
	json_t *obstacles = json_array(), *losses = json_array();
	json_array_clear(a->reasons);
	json_array_clear(a->lost);
	add_obstacles(roles, obstacles);
	add_lost(roles, losses, a->lost);
	roles_note_given_up(roles, NOTE_DRIFT); /* what it replaced is nowhere any more */
	a->at_risk_s = at_risk_s(roles->node);
	a->recovery_ns = roles->node->recovery_ns;
	bool accepts = a->accept_loss || json_array_size(losses) == 0;
	bool fit = json_array_size(obstacles) == 0 && accepts;
	if (!accepts)
		roles_add(losses, "loss: --accept-data-loss goes on all the same");
	json_array_extend(a->reasons, obstacles);
	json_array_extend(a->reasons, losses);
	json_decref(obstacles);
	json_decref(losses);
	return fit;
}

void roles_unfit(struct roles *roles, enum exit_code code)
{
	roles->settle.phase = SETTLE_NOT;
	roles->attempt.code = code;
	roles_push_event(roles, ROLE_EVENT_UNFIT);
}

static void weighed(struct roles *roles)
{
	struct role_input in = {.event = ROLE_EVENT_WEIGHED};
	bool fit = weigh(roles);
	if (!fit || roles->attempt.dry_run) {
		roles_tell(roles, fit ? EXIT_DONE : EXIT_REFUSED, fit ? "possible" : "refused");
		roles_unfit(roles, EXIT_REFUSED);
		return;
	}
	roles->settle.phase = SETTLE_NOT;
	roles_new_offer(roles, &in.offer, roles->node->conf->node);
	roles_push(roles, &in, "");
}

/* Whoever was active, and cannot send, is not to begin to while this node becomes active. */
static bool is_sent_to(struct roles *roles)
{
	bool sent_to = false;
	for (struct session *s = roles->node->sessions; s; s = s->next) {
		if (!s->receiver || !s->link)
			continue;
		link_close(s->link, BYE_ROLE, "this node takes over");
		sent_to = true;
	}
	return sent_to;
}

/* An active may have come back while before_promote ran, and sent what is not in the report. */
static void claimed(struct roles *roles)
{
	struct role_input in = {.event = ROLE_EVENT_CLAIMED, .offer = roles->machine.offer};
	struct store_state state;
	if (!weigh(roles)) {
		roles_unfit(roles, EXIT_REFUSED);
		return;
	}
	if (is_sent_to(roles)) {
		roles_set_timer(roles, AGAIN_MS);
		return;
	}
	roles->settle.phase = SETTLE_NOT;
	store_state(roles->node->store, &state);
	uint64_t announced = announced_seq(roles->node);
	in.offer.base_seq = announced > state.last_seq ? announced : state.last_seq;
	memcpy(in.offer.digest, state.digest, sizeof(in.offer.digest));
	roles_push(roles, &in, "");
}

void roles_force_advance(struct roles *roles)
{
	if (!all_have_answered(roles))
		return;
	if (roles->settle.phase == FORCE_ASK)
		weighed(roles);
	else if (roles->settle.phase == FORCE_FINAL)
		claimed(roles);
}

/* ---- once the tree is known -------------------------------------------------------------------
 */

/* A batch that is journaled is in the tree, whole, before this node acts. */
struct settle_job {
	struct job job;
	struct roles *roles;
	int result;
	struct err err;
};

static void settle_work(struct job *job)
{
	struct settle_job *s = container_of(job, struct settle_job, job);
	s->result = commit_enter(&s->roles->node->commit, &s->err);
	if (s->result == 0)
		commit_leave(&s->roles->node->commit);
}

static void settle_done(struct job *job)
{
	struct settle_job *s = container_of(job, struct settle_job, job);
	struct roles *roles = s->roles;
	int result = s->result;
	struct err err = s->err;
	free(s);
	node_closed_one(roles->node);
	if (roles->stopping || roles->settle.phase != FORCE_ENTER)
		return;
	if (result < 0) {
		roles_reason(roles, EXIT_NO,
			     "what had begun to arrive could not be settled: %.200s", err.msg);
		roles_unfit(roles, EXIT_NO);
		return;
	}
	roles->settle.phase = SETTLE_NOT;
	roles_push_event(roles, ROLE_EVENT_PROVEN);
}

void roles_failover_looked(struct roles *roles, bool clean, const char *why)
{
	if (!clean) {
		roles_reason(roles, EXIT_REFUSED, "%s", why);
		roles_unfit(roles, EXIT_REFUSED);
		return;
	}
	struct settle_job *s = x_calloc(1, sizeof(*s));
	roles->settle.phase = FORCE_ENTER;
	s->roles = roles;
	roles->node->closing++;
	job_start(&roles->node->loop, &s->job, settle_work, settle_done);
}

/* ---- split --------------------------------------------------------------------------------------
 */

void roles_resolve_request(struct roles *roles, struct control_call *call, const json_t *args)
{
	const char *keep = json_string_value(json_object_get(args, "keep"));
	const char *self = roles->node->conf->node;
	bool accepts = json_is_true(json_object_get(args, "accept_data_loss"));
	struct role_input in = {.event = ROLE_EVENT_KEEP_US};
	struct store_state state;
	json_t *reasons = json_array();
	enum exit_code code = EXIT_REFUSED;
	if (roles->machine.role != WIRE_ROLE_SPLIT)
		roles_add(reasons, "not-split: this node is %s: there is nothing to decide",
			  roles_name(roles->machine.role));
	else if (!keep || strcmp(keep, self) != 0)
		roles_add(reasons, "elsewhere: run `artifact-sync resolve --keep %s' on %s",
			  keep ? keep : "NODE", keep ? keep : "NODE");
	else if (!roles->have_fork && !accepts) {
		roles_add(reasons, "unknown: the other side of the split has not been met since "
				   "this agent started; if it is lost for ever: "
				   "--accept-data-loss");
		code = EXIT_UNREACHABLE;
	}
	roles_add_epochs(roles, reasons, 0);
	if (json_array_size(reasons) > 0) {
		answer(roles, call, code, "refused", reasons, json_array());
		return;
	}
	json_decref(reasons);
	roles_take_args(roles, call, args);
	roles->attempt.resolve = true;
	if (!roles->have_fork) /* this epoch ends nobody's: who comes back is in a split again */
		roles_reason(roles, EXIT_DONE,
			     "the other side was not met: if it comes back it is a split again");
	snprintf(roles->attempt.from, sizeof(roles->attempt.from), "%s", roles->fork_node);
	snprintf(roles->partner, sizeof(roles->partner), "%s", roles->fork_node);
	roles_new_offer(roles, &in.offer, self);
	store_state(roles->node->store, &state);
	/* What the other numbered is not given again. */
	in.offer.base_seq = roles->fork_seq > state.last_seq ? roles->fork_seq : state.last_seq;
	memcpy(in.offer.digest, state.digest, sizeof(in.offer.digest));
	roles_push(roles, &in, "");
}
