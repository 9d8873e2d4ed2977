/* role.c - the table, and the few judgements that a table cannot make: whether an offer is the one
 * that this node has looked at and said yes to, and whose answer it is that comes back. */
#include "protocol/role.h"

#include <string.h>

#define R(role) (1u << WIRE_ROLE_##role)
#define P(phase) (1u << ROLE_##phase)
#define ANY_PHASE ((1u << ROLE_PHASES) - 1)
#define ANY_ROLE (R(ACTIVE) | R(PASSIVE) | R(DRAINING) | R(FENCED) | R(SPLIT))
#define STAY ROLE_PHASES
#define DO(...) .actions = {__VA_ARGS__}
#define A(name) ROLE_ACTION_##name

#define BEFORE_OFFER (P(DEMOTING) | P(SETTLING) | P(CHECKING))
#define HEIR_WAITS (P(READYING) | P(READY) | P(LOOKING) | P(WILLING))
#define FORCED (P(FORCING) | P(PROVING) | P(CLAIMING)) /* before_promote has begun */

/* clang-format off */
static const struct role_rule rules[] = {
	/* ---- the giver: up to the offer everything can be undone ---------------------------- */
	{R(ACTIVE), P(RESTING), ROLE_EVENT_REVERSE, 0, ROLE_PREPARING, DO(A(SEND_PREPARE))},
	{R(ACTIVE), P(PREPARING), ROLE_EVENT_READY, WIRE_ROLE_DRAINING, ROLE_DEMOTING,
		DO(A(STORE), A(BEFORE_DEMOTE))},
	{R(ACTIVE), P(PREPARING), ROLE_EVENT_UNREADY, 0, ROLE_RESTING, DO(A(FAILED))},
	{R(ACTIVE), P(PREPARING), ROLE_EVENT_LINK_LOST, 0, ROLE_RESTING, DO(A(FAILED))},
	{R(ACTIVE), P(PREPARING), ROLE_EVENT_CANCEL, 0, ROLE_RESTING, DO(A(SEND_ABORT), A(FAILED))},

	{R(DRAINING), P(DEMOTING), ROLE_EVENT_HOOK_DONE, 0, ROLE_SETTLING, DO(A(SETTLE))},
	{R(DRAINING), P(SETTLING), ROLE_EVENT_SETTLED, 0, ROLE_CHECKING, DO(A(SEND_CHECK))},
	{R(DRAINING), P(CHECKING), ROLE_EVENT_CHECKED, 0, ROLE_OFFERING, DO(A(STORE), A(SEND_OFFER))},

	{R(DRAINING), P(DEMOTING), ROLE_EVENT_HOOK_FAILED, WIRE_ROLE_ACTIVE, ROLE_RETURNING,
		DO(A(STORE), A(SEND_ABORT), A(RELEASE), A(AFTER_PROMOTE))},
	{R(DRAINING), P(SETTLING), ROLE_EVENT_UNSETTLED, WIRE_ROLE_ACTIVE, ROLE_RETURNING,
		DO(A(STORE), A(SEND_ABORT), A(RELEASE), A(AFTER_PROMOTE))},
	{R(DRAINING), P(CHECKING), ROLE_EVENT_UNCHECKED, WIRE_ROLE_ACTIVE, ROLE_RETURNING,
		DO(A(STORE), A(RELEASE), A(AFTER_PROMOTE))},
	{R(DRAINING), BEFORE_OFFER, ROLE_EVENT_CANCEL, WIRE_ROLE_ACTIVE, ROLE_RETURNING,
		DO(A(STORE), A(SEND_ABORT), A(RELEASE), A(AFTER_PROMOTE))},
	{R(DRAINING), BEFORE_OFFER, ROLE_EVENT_LINK_LOST, WIRE_ROLE_ACTIVE, ROLE_RETURNING,
		DO(A(STORE), A(RELEASE), A(AFTER_PROMOTE))},
	/* ABORT is what the heir may tell its person: that all is as before. */
	{R(DRAINING), BEFORE_OFFER, ROLE_EVENT_UNREADY, WIRE_ROLE_ACTIVE, ROLE_RETURNING,
		DO(A(STORE), A(SEND_ABORT), A(RELEASE), A(AFTER_PROMOTE))},

	/* ---- the giver: from the offer on only the heir's durable word counts ---------------- */
	{R(DRAINING), P(OFFERING), ROLE_EVENT_TAKEN, WIRE_ROLE_PASSIVE, ROLE_RETIRING,
		DO(A(STORE_EPOCH), A(SWITCH), A(AFTER_DEMOTE))},
	{R(DRAINING), P(OFFERING), ROLE_EVENT_INHERITED, WIRE_ROLE_PASSIVE, ROLE_RETIRING,
		DO(A(STORE_EPOCH), A(SWITCH), A(AFTER_DEMOTE))},
	{R(DRAINING), P(OFFERING), ROLE_EVENT_REFUSED, WIRE_ROLE_ACTIVE, ROLE_RETURNING,
		DO(A(STORE), A(SEND_ABORT), A(RELEASE), A(AFTER_PROMOTE))},
	{R(DRAINING), P(OFFERING), ROLE_EVENT_LINK_LOST, 0, ROLE_OFFERING, DO(A(NONE))},
	{R(DRAINING), P(OFFERING), ROLE_EVENT_LINK_LIVE, 0, ROLE_OFFERING, DO(A(SEND_ASK))},
	{R(DRAINING), P(OFFERING), ROLE_EVENT_CANCEL, 0, ROLE_OFFERING, DO(A(UNRESOLVED))},
	/* The heir is lost: a number above the offered one. If it had taken, the lineages say so. */
	{R(DRAINING), P(OFFERING), ROLE_EVENT_RECLAIM, WIRE_ROLE_ACTIVE, ROLE_RISING,
		DO(A(STORE_EPOCH), A(RELEASE), A(SWITCH), A(AFTER_PROMOTE))},

	{R(ACTIVE), P(RETURNING), ROLE_EVENT_HOOK_DONE, 0, ROLE_RESTING, DO(A(STORE), A(FAILED))},
	{R(ACTIVE), P(RETURNING), ROLE_EVENT_HOOK_FAILED, 0, ROLE_RESTING, DO(A(FAILED))},
	{R(PASSIVE), P(RETIRING), ROLE_EVENT_HOOK_DONE, 0, ROLE_RESTING,
		DO(A(STORE), A(DONE))},
	{R(PASSIVE), P(RETIRING), ROLE_EVENT_HOOK_FAILED, 0, ROLE_RESTING, DO(A(DONE))},

	/* ---- the heir ------------------------------------------------------------------------ */
	{R(PASSIVE), P(RESTING), ROLE_EVENT_PREPARE, 0, ROLE_READYING, DO(A(BEFORE_PROMOTE))},
	{R(PASSIVE) | R(FENCED) | R(SPLIT), ANY_PHASE, ROLE_EVENT_PREPARE, 0, STAY,
		DO(A(SEND_UNREADY))},
	{R(PASSIVE), P(READYING), ROLE_EVENT_HOOK_DONE, 0, ROLE_READY, DO(A(SEND_READY))},
	/* What it had begun to prepare is undone. */
	{R(PASSIVE), P(READYING), ROLE_EVENT_HOOK_FAILED, 0, ROLE_RESTING,
		DO(A(SEND_UNREADY), A(AFTER_DEMOTE))},
	{R(PASSIVE), P(READY), ROLE_EVENT_CHECK, 0, ROLE_LOOKING, DO(A(LOOK))},
	{R(PASSIVE), P(LOOKING), ROLE_EVENT_CLEAN, 0, ROLE_WILLING, DO(A(SEND_CHECKED))},
	{R(PASSIVE), P(LOOKING), ROLE_EVENT_DIRTY, 0, ROLE_RESTING,
		DO(A(SEND_UNCHECKED), A(AFTER_DEMOTE))},
	/* It has said that it would: the offer may be durable at the giver. What is told of it is
	 * that it will never be taken, and only the giver knows that it has gone back. */
	{R(PASSIVE), P(WILLING), ROLE_EVENT_LINK_LOST, 0, ROLE_RESTING,
		DO(A(STORE_REFUSAL), A(AFTER_DEMOTE), A(UNRESOLVED))},
	{R(PASSIVE), P(WILLING), ROLE_EVENT_CANCEL, 0, ROLE_RESTING,
		DO(A(STORE_REFUSAL), A(SEND_UNREADY), A(AFTER_DEMOTE), A(UNRESOLVED))},
	{R(PASSIVE), HEIR_WAITS, ROLE_EVENT_ABORT, 0, ROLE_RESTING, DO(A(AFTER_DEMOTE))},
	{R(PASSIVE), HEIR_WAITS, ROLE_EVENT_LINK_LOST, 0, ROLE_RESTING, DO(A(AFTER_DEMOTE))},
	{R(PASSIVE), HEIR_WAITS, ROLE_EVENT_CANCEL, 0, ROLE_RESTING,
		DO(A(SEND_UNREADY), A(AFTER_DEMOTE))},
	/* judged by is_acceptable(): else the rule below it */
	{R(PASSIVE), P(WILLING), ROLE_EVENT_OFFER, WIRE_ROLE_ACTIVE, ROLE_RISING,
		DO(A(STORE_EPOCH), A(SEND_TAKEN), A(SWITCH), A(AFTER_PROMOTE))},
	{R(PASSIVE), ANY_PHASE, ROLE_EVENT_OFFER, 0, STAY, DO(A(STORE_REFUSAL), A(SEND_REFUSED))},
	{R(PASSIVE), ANY_PHASE, ROLE_EVENT_ASK, 0, STAY, DO(A(STORE_REFUSAL), A(SEND_REFUSED))},
	{R(ACTIVE), P(RISING), ROLE_EVENT_HOOK_DONE, 0, ROLE_RESTING, DO(A(STORE), A(DONE))},
	{R(ACTIVE), P(RISING), ROLE_EVENT_HOOK_FAILED, 0, ROLE_RESTING, DO(A(DONE))},

	/* ---- failover ------------------------------------------------------------------------ */
	{R(PASSIVE), P(RESTING), ROLE_EVENT_FAILOVER, 0, ROLE_WEIGHING, DO(A(WEIGH))},
	{R(PASSIVE), P(WEIGHING), ROLE_EVENT_WEIGHED, 0, ROLE_FORCING, DO(A(BEFORE_PROMOTE))},
	{R(PASSIVE), P(FORCING), ROLE_EVENT_HOOK_DONE, 0, ROLE_PROVING, DO(A(PROVE))},
	{R(PASSIVE), P(PROVING), ROLE_EVENT_PROVEN, 0, ROLE_CLAIMING, DO(A(SEND_CLAIM))},
	/* A hook takes minutes: what was true before it is not what the epoch is begun on. */
	{R(PASSIVE), P(CLAIMING), ROLE_EVENT_CLAIMED, WIRE_ROLE_ACTIVE, ROLE_RISING,
		DO(A(STORE_EPOCH), A(SWITCH), A(AFTER_PROMOTE))},
	{R(PASSIVE), P(WEIGHING), ROLE_EVENT_UNFIT, 0, ROLE_RESTING, DO(A(FAILED))},
	{R(PASSIVE), P(WEIGHING), ROLE_EVENT_CANCEL, 0, ROLE_RESTING, DO(A(FAILED))},
	{R(PASSIVE), FORCED, ROLE_EVENT_UNFIT, 0, ROLE_RESTING, DO(A(AFTER_DEMOTE), A(FAILED))},
	{R(PASSIVE), FORCED, ROLE_EVENT_CANCEL, 0, ROLE_RESTING, DO(A(AFTER_DEMOTE), A(FAILED))},
	{R(PASSIVE), FORCED, ROLE_EVENT_HOOK_FAILED, 0, ROLE_RESTING,
		DO(A(AFTER_DEMOTE), A(FAILED))},

	/* Two that can reach each other do not both begin. The promise is a number that this node
	 * never begins with; judged by is_granted(), else the last of these rules. */
	{R(PASSIVE), P(RESTING), ROLE_EVENT_CLAIM, 0, STAY, DO(A(STORE), A(SEND_PROMISE))},
	{R(PASSIVE), P(WEIGHING), ROLE_EVENT_CLAIM, 0, ROLE_RESTING,
		DO(A(STORE), A(SEND_PROMISE), A(FAILED))},
	{R(PASSIVE), FORCED, ROLE_EVENT_CLAIM, 0, ROLE_RESTING,
		DO(A(STORE), A(SEND_PROMISE), A(AFTER_DEMOTE), A(FAILED))},
	{R(FENCED), ANY_PHASE, ROLE_EVENT_CLAIM, 0, STAY, DO(A(STORE), A(SEND_PROMISE))},
	{ANY_ROLE, ANY_PHASE, ROLE_EVENT_CLAIM, 0, STAY, DO(A(SEND_DENIAL))},

	/* ---- superseded ---------------------------------------------------------------------- */
	{R(ACTIVE) | R(DRAINING), ANY_PHASE, ROLE_EVENT_SUPERSEDED, WIRE_ROLE_FENCED, ROLE_FENCING,
		DO(A(STORE), A(ON_FENCED))},
	{R(ACTIVE) | R(DRAINING) | R(PASSIVE) | R(SPLIT), ANY_PHASE, ROLE_EVENT_FORK_LOST,
		WIRE_ROLE_FENCED, ROLE_FENCING, DO(A(STORE), A(ON_FENCED))},
	/* It follows another active by now: what a person wanted of it is overtaken. */
	{R(PASSIVE), P(WEIGHING), ROLE_EVENT_SUPERSEDED, 0, ROLE_RESTING, DO(A(FAILED))},
	{R(PASSIVE), FORCED, ROLE_EVENT_SUPERSEDED, 0, ROLE_RESTING,
		DO(A(AFTER_DEMOTE), A(FAILED))},
	{R(PASSIVE) | R(FENCED) | R(SPLIT), ANY_PHASE, ROLE_EVENT_SUPERSEDED, 0, STAY, DO(A(NONE))},
	/* fenced on behalf of one that has lost a split since: its lineage is cut all the same */
	{R(FENCED), ANY_PHASE, ROLE_EVENT_FORK_LOST, 0, STAY, DO(A(STORE))},
	{R(FENCED), P(FENCING), ROLE_EVENT_HOOK_DONE, 0, ROLE_REJOINING, DO(A(SWITCH), A(COMPARE))},
	{R(FENCED), P(FENCING), ROLE_EVENT_HOOK_FAILED, 0, ROLE_FENCING, DO(A(NONE))},
	{R(FENCED), P(REJOINING), ROLE_EVENT_RECONCILED, WIRE_ROLE_PASSIVE, ROLE_RESTING,
		DO(A(STORE), A(DONE))},

	/* ---- an after-hook that failed, or that a restart cut short, is run again by the clock - */
	{ANY_ROLE, P(RESTING), ROLE_EVENT_HOOK_DONE, 0, STAY, DO(A(STORE))},
	{ANY_ROLE, P(RESTING), ROLE_EVENT_HOOK_FAILED, 0, STAY, DO(A(NONE))},

	/* ---- split: both stop, and a person decides ------------------------------------------- */
	{R(ACTIVE) | R(DRAINING), ANY_PHASE, ROLE_EVENT_FORKED, WIRE_ROLE_SPLIT, ROLE_FENCING,
		DO(A(STORE), A(ON_FENCED))},
	{R(PASSIVE) | R(FENCED), ANY_PHASE, ROLE_EVENT_FORKED, WIRE_ROLE_SPLIT, ROLE_RESTING,
		DO(A(STORE))},
	{R(SPLIT), ANY_PHASE, ROLE_EVENT_FORKED, 0, STAY, DO(A(NONE))},
	{R(SPLIT), P(FENCING), ROLE_EVENT_HOOK_DONE, 0, ROLE_RESTING, DO(A(STORE))},
	{R(SPLIT), P(FENCING), ROLE_EVENT_HOOK_FAILED, 0, ROLE_RESTING, DO(A(NONE))},
	{R(SPLIT), ANY_PHASE, ROLE_EVENT_KEEP_US, WIRE_ROLE_ACTIVE, ROLE_RISING,
		DO(A(STORE_EPOCH), A(SWITCH), A(AFTER_PROMOTE))},

	/* ---- what comes too late, or changes nothing ------------------------------------------- */
	{ANY_ROLE, ANY_PHASE, ROLE_EVENT_LINK_LOST, 0, STAY, DO(A(NONE))},
	{ANY_ROLE, ANY_PHASE, ROLE_EVENT_LINK_LIVE, 0, STAY, DO(A(NONE))},
	{ANY_ROLE, ANY_PHASE, ROLE_EVENT_CANCEL, 0, STAY, DO(A(NONE))},
	{ANY_ROLE, ANY_PHASE, ROLE_EVENT_ABORT, 0, STAY, DO(A(NONE))},
	{ANY_ROLE, ANY_PHASE, ROLE_EVENT_READY, 0, STAY, DO(A(NONE))},
	{ANY_ROLE, ANY_PHASE, ROLE_EVENT_UNREADY, 0, STAY, DO(A(NONE))},
	{ANY_ROLE, ANY_PHASE, ROLE_EVENT_CHECK, 0, STAY, DO(A(NONE))},
	{ANY_ROLE, ANY_PHASE, ROLE_EVENT_CHECKED, 0, STAY, DO(A(NONE))},
	{ANY_ROLE, ANY_PHASE, ROLE_EVENT_UNCHECKED, 0, STAY, DO(A(NONE))},
	{ANY_ROLE, ANY_PHASE, ROLE_EVENT_REFUSED, 0, STAY, DO(A(NONE))},
	{ANY_ROLE, ANY_PHASE, ROLE_EVENT_INHERITED, 0, STAY, DO(A(NONE))},
	{ANY_ROLE, ANY_PHASE, ROLE_EVENT_TAKEN, 0, STAY, DO(A(NONE))},
	{ANY_ROLE, ANY_PHASE, ROLE_EVENT_WEIGHED, 0, STAY, DO(A(NONE))},
	{ANY_ROLE, ANY_PHASE, ROLE_EVENT_UNFIT, 0, STAY, DO(A(NONE))},
	{ANY_ROLE, ANY_PHASE, ROLE_EVENT_PROVEN, 0, STAY, DO(A(NONE))},
	{ANY_ROLE, ANY_PHASE, ROLE_EVENT_CLAIMED, 0, STAY, DO(A(NONE))},
};
/* clang-format on */

const struct role_rule *role_rules(size_t *n)
{
	*n = sizeof(rules) / sizeof(rules[0]);
	return rules;
}

/* ---- what the table cannot judge ---------------------------------------------------------- */

static bool same_id(const struct role_offer *a, const struct role_offer *b)
{
	return memcmp(a->id, b->id, WIRE_ID_LEN) == 0;
}

/* Words of the other side about an attempt that is not the one under way: they crossed its end on
 * the link. */
static bool is_stale(const struct role_machine *m, const struct role_input *in)
{
	switch (in->event) {
	case ROLE_EVENT_READY:
	case ROLE_EVENT_UNREADY:
	case ROLE_EVENT_CHECKED:
	case ROLE_EVENT_UNCHECKED:
	case ROLE_EVENT_TAKEN:
	case ROLE_EVENT_REFUSED:
	case ROLE_EVENT_CHECK:
	case ROLE_EVENT_ABORT: return !same_id(&m->offer, &in->offer);
	default: return false;
	}
}

/* Is it the very offer that this node has looked at its tree for? */
static bool is_acceptable(const struct role_machine *m, const struct role_input *in)
{
	return !in->refused && same_id(&m->offer, &in->offer) &&
	       in->offer.number == m->offer.number && in->offer.number >= m->number &&
	       in->offer.base_seq == m->offer.base_seq &&
	       memcmp(in->offer.digest, m->offer.digest, sizeof(in->offer.digest)) == 0;
}

/* The tree that was looked at must be the one that the giver asked about. */
static bool is_what_was_asked(const struct role_machine *m, const struct role_input *in)
{
	return in->offer.base_seq == m->offer.base_seq &&
	       memcmp(in->offer.digest, m->offer.digest, sizeof(in->offer.digest)) == 0;
}

/* Of two that claim at once the greater number goes on, then the greater name; whoever claims goes
 * before one that has not got so far. */
static bool is_granted(const struct role_machine *m, const struct role_input *in)
{
	const struct role_offer *ours = &m->offer, *theirs = &in->offer;
	if (in->refused || m->phase != ROLE_CLAIMING)
		return !in->refused;
	return theirs->number != ours->number ? theirs->number > ours->number
					      : strcmp(theirs->node, ours->node) > 0;
}

/* A rule that says yes is for what may be said yes to; the one below it is for the rest. */
static bool fits(const struct role_rule *rule, const struct role_machine *m,
		 const struct role_input *in)
{
	if (rule->event == ROLE_EVENT_OFFER && rule->role == WIRE_ROLE_ACTIVE)
		return is_acceptable(m, in);
	if (rule->event == ROLE_EVENT_CLAIM && rule->actions[0] != ROLE_ACTION_SEND_DENIAL)
		return is_granted(m, in);
	return true;
}

static const struct role_rule *find_rule(const struct role_machine *m, const struct role_input *in)
{
	enum role_event event = in->event;
	if (event == ROLE_EVENT_CLEAN && !is_what_was_asked(m, in))
		event = ROLE_EVENT_DIRTY;
	for (size_t i = 0; i < sizeof(rules) / sizeof(rules[0]); i++) {
		const struct role_rule *rule = &rules[i];
		if (rule->event == event && (rule->roles & 1u << m->role) &&
		    (rule->phases & 1u << m->phase) && fits(rule, m, in))
			return rule;
	}
	return NULL;
}

/* ---- steps -------------------------------------------------------------------------------- */

/* After-hooks and on_fenced are owed until they have been reported done. */
static void note_due(struct role_machine *m, const enum role_action actions[ROLE_ACTIONS_MAX])
{
	for (size_t i = 0; i < ROLE_ACTIONS_MAX; i++) {
		if (actions[i] == ROLE_ACTION_AFTER_PROMOTE ||
		    actions[i] == ROLE_ACTION_AFTER_DEMOTE || actions[i] == ROLE_ACTION_ON_FENCED)
			m->due = actions[i];
	}
}

static void take_offer(struct role_machine *m, const struct role_input *in)
{
	switch (in->event) {
	case ROLE_EVENT_REVERSE:
	case ROLE_EVENT_PREPARE:
	case ROLE_EVENT_RECLAIM:
	case ROLE_EVENT_WEIGHED:
	case ROLE_EVENT_CLAIMED:
	case ROLE_EVENT_KEEP_US: m->offer = in->offer; break;
	case ROLE_EVENT_SETTLED:
	case ROLE_EVENT_CHECK:
		m->offer.base_seq = in->offer.base_seq;
		memcpy(m->offer.digest, in->offer.digest, sizeof(m->offer.digest));
		break;
	default: break;
	}
	if (in->offer.number > m->number)
		m->number = in->offer.number;
}

/* What it would have begun is not begun: the offer under way, if any, is another one. */
static bool leads_to_nothing(const struct role_rule *rule)
{
	return rule->phase == STAY &&
	       (rule->event == ROLE_EVENT_PREPARE || rule->event == ROLE_EVENT_WEIGHED ||
		rule->event == ROLE_EVENT_CLAIMED);
}

static bool is_answer_about_theirs(enum role_event event)
{
	return event == ROLE_EVENT_OFFER || event == ROLE_EVENT_ASK || event == ROLE_EVENT_CLAIM;
}

struct role_output role_step(struct role_machine *m, const struct role_input *in)
{
	struct role_output out = {.legal = true, .offer = in->offer};
	if (is_stale(m, in))
		return out;
	if (in->event == ROLE_EVENT_ASK && in->taken) {
		out.actions[0] = ROLE_ACTION_SEND_TAKEN;
		return out;
	}
	const struct role_rule *rule = find_rule(m, in);
	if (!rule) {
		out.legal = false;
		return out;
	}
	bool beside = leads_to_nothing(rule);
	if (!beside)
		take_offer(m, in);
	if (rule->role)
		m->role = rule->role;
	if (rule->phase != STAY)
		m->phase = rule->phase;
	m->has_offer = m->phase == ROLE_OFFERING;
	if (in->event == ROLE_EVENT_HOOK_DONE)
		m->due = ROLE_ACTION_NONE;
	note_due(m, rule->actions);
	memcpy(out.actions, rule->actions, sizeof(out.actions));
	if (!beside && !is_answer_about_theirs(in->event))
		out.offer = m->offer;
	return out;
}

struct role_output role_start(struct role_machine *m)
{
	struct role_output out = {.legal = true, .offer = m->offer};
	size_t n = 0;
	m->phase = ROLE_RESTING;
	if (m->role == WIRE_ROLE_DRAINING && m->has_offer) {
		m->phase = ROLE_OFFERING;
	} else if (m->role == WIRE_ROLE_DRAINING) {
		m->role = WIRE_ROLE_ACTIVE;
		m->phase = ROLE_RETURNING;
		m->due = ROLE_ACTION_AFTER_PROMOTE;
		out.actions[n++] = ROLE_ACTION_STORE;
	} else if (m->role == WIRE_ROLE_FENCED) {
		m->phase = ROLE_FENCING;
		m->due = ROLE_ACTION_ON_FENCED;
	}
	if (m->due != ROLE_ACTION_NONE)
		out.actions[n++] = m->due;
	return out;
}

bool role_may_cancel(const struct role_machine *m)
{
	return (1u << m->phase &
		(P(PREPARING) | BEFORE_OFFER | HEIR_WAITS | P(WEIGHING) | FORCED)) != 0;
}

/* ---- names -------------------------------------------------------------------------------- */

const char *role_phase_name(enum role_phase phase)
{
	static const char *const names[ROLE_PHASES] = {
		[ROLE_RESTING] = "resting",	[ROLE_PREPARING] = "preparing",
		[ROLE_DEMOTING] = "demoting",	[ROLE_SETTLING] = "settling",
		[ROLE_CHECKING] = "checking",	[ROLE_OFFERING] = "offering",
		[ROLE_RETURNING] = "returning", [ROLE_RETIRING] = "retiring",
		[ROLE_READYING] = "readying",	[ROLE_READY] = "ready",
		[ROLE_LOOKING] = "looking",	[ROLE_WILLING] = "willing",
		[ROLE_RISING] = "rising",	[ROLE_WEIGHING] = "weighing",
		[ROLE_FORCING] = "forcing",	[ROLE_PROVING] = "proving",
		[ROLE_CLAIMING] = "claiming",	[ROLE_FENCING] = "fencing",
		[ROLE_REJOINING] = "rejoining",
	};
	return phase < ROLE_PHASES ? names[phase] : "?";
}

const char *role_event_name(enum role_event event)
{
	static const char *const names[ROLE_EVENT_COUNT] = {
#define X(name) [ROLE_EVENT_##name] = #name,
		ROLE_EVENTS(X)
#undef X
	};
	return event < ROLE_EVENT_COUNT ? names[event] : "?";
}

const char *role_action_name(enum role_action action)
{
	static const char *const names[ROLE_ACTION_COUNT] = {
#define X(name) [ROLE_ACTION_##name] = #name,
		ROLE_ACTIONS(X)
#undef X
	};
	return action < ROLE_ACTION_COUNT ? names[action] : "?";
}
