/* The role machine: the table itself, and then every state that two nodes can come to in planned
 * reverses while messages, hooks, the link and the nodes themselves fail at any step. The agent is
 * modelled as role.h asks: actions one after the other, a crash between any two of them, and only
 * what was stored outlives it. In every state at most one node is active, and from every state the
 * group comes to rest with exactly one once the faults end. */
#include "testing.h"

#include <stdlib.h>
#include <string.h>

#include "protocol/role.h"

#define ATTEMPTS 3
#define QUEUE 6
#define STATES_MAX 4000000

struct durable {
	uint8_t role, due, number, has_offer, offer;
	uint8_t lineage, refused; /* bits of attempts */
};

struct one {
	struct durable disk;
	uint8_t role, phase, due, number, has_offer, offer; /* the machine */
	uint8_t todo[ROLE_ACTIONS_MAX], about;
	uint8_t working; /* action under way that ends in an event */
	uint8_t lost;	 /* the end of the session waits to be told */
};

struct message {
	uint8_t event, offer;
};

struct world {
	struct one nodes[2];
	struct message queues[2][QUEUE]; /* to each node */
	uint8_t n[2];
	uint8_t live, attempts, with_failover, forced;
};

/* ---- one node ------------------------------------------------------------------------------- */

static struct role_offer offer_of(uint8_t attempt)
{
	struct role_offer offer = {.number = attempt ? attempt + 1 : 0, .base_seq = 7};
	memset(offer.id, attempt, sizeof(offer.id));
	return offer;
}

static struct role_machine load(const struct one *o)
{
	return (struct role_machine){.role = o->role,
				     .phase = o->phase,
				     .due = o->due,
				     .number = o->number,
				     .has_offer = o->has_offer,
				     .offer = offer_of(o->offer)};
}

static void save(struct one *o, const struct role_machine *m, const struct role_output *out)
{
	o->role = m->role;
	o->phase = m->phase;
	o->due = m->due;
	o->number = (uint8_t)m->number;
	o->has_offer = m->has_offer;
	o->offer = m->offer.id[0];
	for (size_t i = 0; i < ROLE_ACTIONS_MAX; i++)
		o->todo[i] = out->actions[i];
	o->about = out->offer.id[0];
}

static bool is_busy(const struct one *o)
{
	return o->todo[0] != ROLE_ACTION_NONE;
}

/* An event interrupts what is under way: its end is no longer reported. */
static void happens(struct one *o, enum role_event event, uint8_t attempt)
{
	struct role_machine m = load(o);
	struct role_input in = {.event = event,
				.offer = offer_of(attempt),
				.refused = (o->disk.refused >> attempt) & 1,
				.taken = (o->disk.lineage >> attempt) & 1};
	if (event == ROLE_EVENT_SETTLED || event == ROLE_EVENT_CLEAN)
		in.offer = offer_of(o->offer);
	struct role_output out = role_step(&m, &in);
	if (!out.legal)
		fail_msg("illegal: role %d phase %s event %s", o->role, role_phase_name(o->phase),
			 role_event_name(event));
	uint8_t before = o->working;
	bool moved = m.phase != o->phase || m.role != o->role;
	save(o, &m, &out);
	o->working = moved ? 0 : before;
}

static void restart(struct one *o)
{
	struct role_machine m = {.role = o->disk.role,
				 .due = o->disk.due,
				 .number = o->disk.number,
				 .has_offer = o->disk.has_offer,
				 .offer = offer_of(o->disk.offer)};
	struct role_output out = role_start(&m);
	o->working = o->lost = 0;
	save(o, &m, &out);
}

/* ---- the world ------------------------------------------------------------------------------ */

static void cut(struct world *w)
{
	if (!w->live)
		return;
	w->live = 0;
	w->n[0] = w->n[1] = 0;
	memset(w->queues, 0, sizeof(w->queues));
	w->nodes[0].lost = w->nodes[1].lost = 1;
}

static void follows(struct one *o, uint8_t lineage)
{
	o->disk.lineage = lineage;
	if (!is_busy(o))
		happens(o, ROLE_EVENT_SUPERSEDED, 0);
}

/* What each learns from the other's lineage. */
static void connect(struct world *w)
{
	w->live = 1;
	for (int i = 0; i < 2; i++) {
		struct one *us = &w->nodes[i], *them = &w->nodes[1 - i];
		uint8_t ours = us->disk.lineage, theirs = them->disk.lineage;
		if (ours == theirs)
			happens(us, ROLE_EVENT_LINK_LIVE, 0);
		else if ((ours & theirs) != ours && (ours & theirs) != theirs)
			happens(us, ROLE_EVENT_FORKED, 0);
		else if ((ours & theirs) == ours && us->has_offer && (theirs >> us->offer & 1))
			happens(us, ROLE_EVENT_INHERITED, us->offer);
		else if ((ours & theirs) == ours &&
			 (us->role == WIRE_ROLE_ACTIVE || us->role == WIRE_ROLE_DRAINING))
			happens(us, ROLE_EVENT_SUPERSEDED, 0);
		else if ((ours & theirs) == ours && us->role == WIRE_ROLE_PASSIVE)
			follows(us, theirs);
	}
}

static void post(struct world *w, int to, enum role_event event, uint8_t attempt)
{
	if (!w->live)
		return;
	assert_true(w->n[to] < QUEUE);
	w->queues[to][w->n[to]++] = (struct message){event, attempt};
}

static enum role_event message_of(enum role_action action)
{
	switch (action) {
	case ROLE_ACTION_SEND_PREPARE: return ROLE_EVENT_PREPARE;
	case ROLE_ACTION_SEND_READY: return ROLE_EVENT_READY;
	case ROLE_ACTION_SEND_UNREADY: return ROLE_EVENT_UNREADY;
	case ROLE_ACTION_SEND_CHECK: return ROLE_EVENT_CHECK;
	case ROLE_ACTION_SEND_CHECKED: return ROLE_EVENT_CHECKED;
	case ROLE_ACTION_SEND_UNCHECKED: return ROLE_EVENT_UNCHECKED;
	case ROLE_ACTION_SEND_OFFER: return ROLE_EVENT_OFFER;
	case ROLE_ACTION_SEND_TAKEN: return ROLE_EVENT_TAKEN;
	case ROLE_ACTION_SEND_REFUSED: return ROLE_EVENT_REFUSED;
	case ROLE_ACTION_SEND_ASK: return ROLE_EVENT_ASK;
	case ROLE_ACTION_SEND_ABORT: return ROLE_EVENT_ABORT;
	default: return ROLE_EVENT_COUNT;
	}
}

static void store(struct one *o, enum role_action action)
{
	if (action == ROLE_ACTION_STORE_REFUSAL) {
		o->disk.refused |= (uint8_t)(1 << o->about);
		return;
	}
	o->disk.role = o->role;
	o->disk.due = o->due;
	o->disk.number = o->number;
	o->disk.has_offer = o->has_offer;
	o->disk.offer = o->offer;
	if (action == ROLE_ACTION_STORE_EPOCH)
		o->disk.lineage |= (uint8_t)(1 << o->offer);
}

static void act(struct world *w, int i)
{
	struct one *o = &w->nodes[i];
	enum role_action action = o->todo[0];
	memmove(o->todo, o->todo + 1, ROLE_ACTIONS_MAX - 1);
	o->todo[ROLE_ACTIONS_MAX - 1] = ROLE_ACTION_NONE;
	switch (action) {
	case ROLE_ACTION_STORE:
	case ROLE_ACTION_STORE_EPOCH:
	case ROLE_ACTION_STORE_REFUSAL: store(o, action); break;
	case ROLE_ACTION_BEFORE_DEMOTE:
	case ROLE_ACTION_AFTER_DEMOTE:
	case ROLE_ACTION_BEFORE_PROMOTE:
	case ROLE_ACTION_AFTER_PROMOTE:
	case ROLE_ACTION_ON_FENCED:
	case ROLE_ACTION_SETTLE:
	case ROLE_ACTION_LOOK:
	case ROLE_ACTION_WEIGH:
	case ROLE_ACTION_PROVE:
	case ROLE_ACTION_SEND_CLAIM:
	case ROLE_ACTION_COMPARE: o->working = action; break;
	case ROLE_ACTION_SWITCH: cut(w); break;
	default:
		if (message_of(action) != ROLE_EVENT_COUNT)
			post(w, 1 - i, message_of(action), o->about);
	}
	/* A failover while the line is cut makes a second active, but never of the same epoch. */
	assert_false(w->nodes[0].disk.role == WIRE_ROLE_ACTIVE &&
		     w->nodes[1].disk.role == WIRE_ROLE_ACTIVE &&
		     (!w->forced || w->nodes[0].disk.lineage == w->nodes[1].disk.lineage));
}

/* Of a failover: while the other is connected nothing comes of it. */
static void ends_weighing(struct world *w, struct one *o, bool well)
{
	enum role_action what = o->working;
	o->working = 0;
	if (!well || (w->live && what != ROLE_ACTION_PROVE) ||
	    (w->attempts == ATTEMPTS && what == ROLE_ACTION_WEIGH))
		happens(o, ROLE_EVENT_UNFIT, 0);
	else if (what == ROLE_ACTION_WEIGH)
		happens(o, ROLE_EVENT_WEIGHED, ++w->attempts);
	else if (what == ROLE_ACTION_PROVE)
		happens(o, ROLE_EVENT_PROVEN, 0);
	else
		happens(o, ROLE_EVENT_CLAIMED, o->offer);
}

static void ends(struct one *o, bool well)
{
	enum role_action what = o->working;
	o->working = 0;
	if (what == ROLE_ACTION_SETTLE)
		happens(o, well ? ROLE_EVENT_SETTLED : ROLE_EVENT_UNSETTLED, 0);
	else if (what == ROLE_ACTION_LOOK)
		happens(o, well ? ROLE_EVENT_CLEAN : ROLE_EVENT_DIRTY, 0);
	else if (what == ROLE_ACTION_COMPARE)
		happens(o, ROLE_EVENT_RECONCILED, 0);
	else
		happens(o, well ? ROLE_EVENT_HOOK_DONE : ROLE_EVENT_HOOK_FAILED, 0);
}

static void deliver(struct world *w, int i)
{
	struct message m = w->queues[i][0];
	memmove(&w->queues[i][0], &w->queues[i][1], (QUEUE - 1) * sizeof(m));
	w->queues[i][--w->n[i]] = (struct message){0};
	happens(&w->nodes[i], m.event, m.offer);
}

/* ---- what may happen next ------------------------------------------------------------------- */

enum {
	ACT,
	TELL,
	RETRY,
	DELIVER,
	END_WELL,
	END_BADLY,
	CRASH,
	CANCEL,
	REVERSE,
	FAILOVER,
	CUT,
	CONNECT,
	MOVES
};

static bool both_quiet(const struct world *w)
{
	return !is_busy(&w->nodes[0]) && !is_busy(&w->nodes[1]);
}

static bool may_compare(const struct world *w, int i)
{
	return w->live && w->nodes[1 - i].role == WIRE_ROLE_ACTIVE;
}

/* A person forces it: on a passive that has lost its active, or on a node that has lost its heir.
 */
static bool may_fail_over(const struct world *w, int i)
{
	const struct one *o = &w->nodes[i];
	return !w->live && !o->lost && w->attempts < ATTEMPTS && w->with_failover &&
	       ((o->role == WIRE_ROLE_PASSIVE && o->phase == ROLE_RESTING) ||
		(o->role == WIRE_ROLE_DRAINING && o->phase == ROLE_OFFERING));
}

/* @return false when the move is not possible here */
static bool move(struct world *w, int what, int i)
{
	struct one *o = &w->nodes[i];
	if (is_busy(o) && what != ACT && what != CRASH)
		return false;
	switch (what) {
	case ACT:
		if (!is_busy(o))
			return false;
		act(w, i);
		return true;
	case TELL:
		if (!o->lost)
			return false;
		o->lost = 0;
		happens(o, ROLE_EVENT_LINK_LOST, 0);
		return true;
	case RETRY: /* a hook that failed: by the clock */
		if (o->due == ROLE_ACTION_NONE || o->working != 0 ||
		    (o->phase != ROLE_RESTING && o->phase != ROLE_FENCING))
			return false;
		o->working = o->due;
		return true;
	case DELIVER:
		if (w->n[i] == 0)
			return false;
		deliver(w, i);
		return true;
	case END_WELL:
	case END_BADLY:
		if (o->working == 0 || (o->working == ROLE_ACTION_COMPARE && !may_compare(w, i)))
			return false;
		if (o->working == ROLE_ACTION_COMPARE)
			o->disk.lineage = w->nodes[1 - i].disk.lineage;
		if (o->working == ROLE_ACTION_WEIGH || o->working == ROLE_ACTION_PROVE ||
		    o->working == ROLE_ACTION_SEND_CLAIM)
			ends_weighing(w, o, what == END_WELL);
		else
			ends(o, what == END_WELL);
		return true;
	case CRASH:
		cut(w);
		restart(o);
		return true;
	case CANCEL: happens(o, ROLE_EVENT_CANCEL, 0); return true;
	case REVERSE:
		if (o->role != WIRE_ROLE_ACTIVE || o->phase != ROLE_RESTING || !w->live ||
		    w->attempts == ATTEMPTS)
			return false;
		happens(o, ROLE_EVENT_REVERSE, ++w->attempts);
		return true;
	case FAILOVER:
		if (!may_fail_over(w, i))
			return false;
		w->forced = 1;
		if (o->phase == ROLE_OFFERING)
			happens(o, ROLE_EVENT_RECLAIM, ++w->attempts);
		else
			happens(o, ROLE_EVENT_FAILOVER, 0);
		return true;
	case CUT:
		if (i == 1 || !w->live || !both_quiet(w))
			return false;
		cut(w);
		return true;
	case CONNECT:
		if (i == 1 || w->live || !both_quiet(w) || w->nodes[0].lost || w->nodes[1].lost)
			return false;
		connect(w);
		return true;
	}
	return false;
}

/* No more faults: everything that can go on goes on, to its good end. */
enum { AS_BEFORE, SWAPPED, SPLIT, ENDS };

static int come_to_rest(struct world *w)
{
	static const int order[] = {ACT, TELL, DELIVER, END_WELL, RETRY, CONNECT};
	for (int steps = 0; steps < 200; steps++) {
		bool moved = false;
		for (size_t k = 0; k < COUNT(order) && !moved; k++)
			moved = move(w, order[k], 0) || move(w, order[k], 1);
		if (!moved)
			break;
	}
	uint8_t a = w->nodes[0].disk.role, b = w->nodes[1].disk.role;
	assert_true(w->nodes[0].phase == ROLE_RESTING && w->nodes[1].phase == ROLE_RESTING);
	if (a == WIRE_ROLE_SPLIT && b == WIRE_ROLE_SPLIT && w->forced)
		return SPLIT; /* a person decides */
	assert_true((a == WIRE_ROLE_ACTIVE && b == WIRE_ROLE_PASSIVE) ||
		    (a == WIRE_ROLE_PASSIVE && b == WIRE_ROLE_ACTIVE));
	return b == WIRE_ROLE_ACTIVE ? SWAPPED : AS_BEFORE;
}

/* ---- every state ---------------------------------------------------------------------------- */

struct space {
	struct world *states;
	uint32_t *table;
	size_t n, mask;
};

static uint64_t hash_world(const struct world *w)
{
	uint64_t hash = 0xcbf29ce484222325u;
	for (size_t i = 0; i < sizeof(*w); i++)
		hash = (hash ^ ((const uint8_t *)w)[i]) * 0x100000001b3u;
	return hash ^ hash >> 29;
}

static void add_state(struct space *s, const struct world *w)
{
	size_t at = hash_world(w) & s->mask;
	while (s->table[at] != 0) {
		if (memcmp(&s->states[s->table[at] - 1], w, sizeof(*w)) == 0)
			return;
		at = (at + 1) & s->mask;
	}
	assert_true(s->n < STATES_MAX);
	s->states[s->n++] = *w;
	s->table[at] = (uint32_t)s->n;
}

static void explore(bool with_failover, size_t ends[ENDS])
{
	struct space s = {.mask = (1u << 23) - 1};
	s.states = malloc(STATES_MAX * sizeof(*s.states));
	s.table = calloc(s.mask + 1, sizeof(*s.table));
	assert_true(s.states && s.table);
	struct world w = {.live = 1, .with_failover = with_failover};
	for (int i = 0; i < 2; i++) {
		struct durable disk = {.role = i ? WIRE_ROLE_PASSIVE : WIRE_ROLE_ACTIVE,
				       .number = 1,
				       .lineage = 1};
		w.nodes[i].disk = disk;
		restart(&w.nodes[i]);
	}
	add_state(&s, &w);
	memset(ends, 0, ENDS * sizeof(*ends));
	for (size_t at = 0; at < s.n; at++) {
		for (int k = 0; k < MOVES * 2; k++) {
			w = s.states[at];
			if (move(&w, k / 2, k % 2))
				add_state(&s, &w);
		}
		w = s.states[at];
		ends[come_to_rest(&w)]++;
	}
	print_message("%zu states; from %zu of them the roles stay, from %zu they are swapped, "
		      "from %zu a person decides\n",
		      s.n, ends[AS_BEFORE], ends[SWAPPED], ends[SPLIT]);
	free(s.states);
	free(s.table);
}

static void planned_reverses_end_in_one_active_whatever_fails(void **state)
{
	size_t ends[ENDS];
	explore(false, ends);
	assert_true(ends[AS_BEFORE] > 10000 && ends[SWAPPED] > 10000 && ends[SPLIT] == 0);
}

static void failovers_end_in_one_active_or_a_split_that_both_see(void **state)
{
	size_t ends[ENDS];
	explore(true, ends);
	assert_true(ends[AS_BEFORE] > 10000 && ends[SWAPPED] > 10000 && ends[SPLIT] > 0);
}

/* ---- the table ------------------------------------------------------------------------------ */

static void rules_are_sound(void **state)
{
	size_t n;
	const struct role_rule *rules = role_rules(&n);
	for (size_t i = 0; i < n; i++) {
		bool stored = false;
		for (size_t k = 0; k < ROLE_ACTIONS_MAX; k++) {
			enum role_action action = rules[i].actions[k];
			stored |= action == ROLE_ACTION_STORE || action == ROLE_ACTION_STORE_EPOCH;
			/* What the other side is told has been made durable before. */
			if (action == ROLE_ACTION_SEND_OFFER || action == ROLE_ACTION_SEND_TAKEN)
				assert_true(stored);
			assert_true(action != ROLE_ACTION_SEND_REFUSED ||
				    rules[i].actions[0] == ROLE_ACTION_STORE_REFUSAL);
		}
		/* No change of role without a durable word of it, and before anything else. */
		if (rules[i].role != 0)
			assert_true(rules[i].actions[0] == ROLE_ACTION_STORE ||
				    rules[i].actions[0] == ROLE_ACTION_STORE_EPOCH);
		/* Whoever begins or takes over an epoch says so in the lineage. */
		bool taken = rules[i].event == ROLE_EVENT_TAKEN ||
			     rules[i].event == ROLE_EVENT_INHERITED;
		if (taken && rules[i].role != 0)
			assert_int_equal(rules[i].actions[0], ROLE_ACTION_STORE_EPOCH);
	}
}

static struct role_machine node_in(enum wire_role role, enum role_phase phase, uint8_t attempt)
{
	return (struct role_machine){
		.role = role, .phase = phase, .number = attempt + 1u, .offer = offer_of(attempt)};
}

static void an_offer_is_taken_only_if_it_is_the_one_looked_at(void **state)
{
	struct role_input in = {.event = ROLE_EVENT_OFFER, .offer = offer_of(1)};
	for (int wrong = 0; wrong <= 6; wrong++) {
		struct role_machine m = node_in(WIRE_ROLE_PASSIVE, ROLE_WILLING, 1);
		struct role_input one = in;
		one.refused = wrong == 1;
		one.offer.id[3] ^= wrong == 2;
		one.offer.base_seq += wrong == 3;
		one.offer.digest[9] ^= wrong == 4;
		one.offer.number += wrong == 5;
		m.phase = wrong == 6 ? ROLE_READY : m.phase;
		struct role_output out = role_step(&m, &one);
		assert_true(out.legal);
		assert_int_equal(m.role, wrong ? WIRE_ROLE_PASSIVE : WIRE_ROLE_ACTIVE);
		assert_int_equal(out.actions[0],
				 wrong ? ROLE_ACTION_STORE_REFUSAL : ROLE_ACTION_STORE_EPOCH);
		assert_memory_equal(&out.offer, &one.offer, sizeof(one.offer));
	}
}

static void an_offered_node_waits_for_the_durable_word(void **state)
{
	struct role_machine m = node_in(WIRE_ROLE_DRAINING, ROLE_RESTING, 1);
	m.has_offer = true;
	assert_int_equal(role_start(&m).actions[0], ROLE_ACTION_NONE);
	assert_int_equal(m.phase, ROLE_OFFERING);
	struct role_input in = {.event = ROLE_EVENT_CANCEL};
	assert_int_equal(role_step(&m, &in).actions[0], ROLE_ACTION_UNRESOLVED);
	assert_false(role_may_cancel(&m));
	in.event = ROLE_EVENT_LINK_LIVE;
	assert_int_equal(role_step(&m, &in).actions[0], ROLE_ACTION_SEND_ASK);
	in = (struct role_input){.event = ROLE_EVENT_REFUSED, .offer = offer_of(2)};
	assert_int_equal(role_step(&m, &in).actions[0], ROLE_ACTION_NONE); /* another attempt's */
	assert_int_equal(m.role, WIRE_ROLE_DRAINING);
	in.offer = offer_of(1);
	role_step(&m, &in);
	assert_int_equal(m.role, WIRE_ROLE_ACTIVE);
	assert_false(m.has_offer);
}

static void a_node_that_knows_better_fences_itself(void **state)
{
	for (int phase = 0; phase < ROLE_PHASES; phase++) {
		struct role_machine m = node_in(WIRE_ROLE_ACTIVE, (enum role_phase)phase, 1);
		struct role_input in = {.event = ROLE_EVENT_SUPERSEDED};
		assert_true(role_step(&m, &in).legal);
		assert_int_equal(m.role, WIRE_ROLE_FENCED);
		assert_int_equal(m.due, ROLE_ACTION_ON_FENCED);
		in.event = ROLE_EVENT_HOOK_FAILED;
		role_step(&m, &in);
		assert_int_equal(m.phase, ROLE_FENCING);
		in.event = ROLE_EVENT_HOOK_DONE;
		role_step(&m, &in);
		assert_int_equal(m.phase, ROLE_REJOINING);
		in.event = ROLE_EVENT_RECONCILED;
		role_step(&m, &in);
		assert_int_equal(m.role, WIRE_ROLE_PASSIVE);
	}
}

static void a_split_waits_for_a_person(void **state)
{
	struct role_machine kept = node_in(WIRE_ROLE_ACTIVE, ROLE_RESTING, 1), lost = kept;
	struct role_input in = {.event = ROLE_EVENT_FORKED};
	role_step(&kept, &in);
	role_step(&lost, &in);
	assert_int_equal(kept.role, WIRE_ROLE_SPLIT);
	assert_true(role_step(&kept, &in).legal); /* again, at each attempt to connect */
	in = (struct role_input){.event = ROLE_EVENT_KEEP_US, .offer = offer_of(5)};
	struct role_output out = role_step(&kept, &in);
	assert_int_equal(out.actions[0], ROLE_ACTION_STORE_EPOCH);
	assert_int_equal(kept.role, WIRE_ROLE_ACTIVE);
	assert_int_equal(kept.number, 6);
	in = (struct role_input){.event = ROLE_EVENT_FORK_LOST};
	role_step(&lost, &in);
	assert_int_equal(lost.role, WIRE_ROLE_FENCED);
}

static struct role_output step(struct role_machine *m, enum role_event event, uint8_t attempt)
{
	struct role_input in = {.event = event, .offer = offer_of(attempt)};
	return role_step(m, &in);
}

static bool asks_for(const struct role_output *out, enum role_action action)
{
	bool found = false;
	for (size_t i = 0; i < ROLE_ACTIONS_MAX; i++)
		found |= out->actions[i] == action;
	return found;
}

/* Who was told that the roles stay must not see them change: the refusal is durable first. */
static void a_willing_heir_that_gives_up_refuses_for_ever(void **state)
{
	static const enum role_event ends[] = {ROLE_EVENT_LINK_LOST, ROLE_EVENT_CANCEL};
	for (size_t i = 0; i < COUNT(ends); i++) {
		struct role_machine m = node_in(WIRE_ROLE_PASSIVE, ROLE_WILLING, 1);
		struct role_output out = step(&m, ends[i], 0);
		assert_int_equal(out.actions[0], ROLE_ACTION_STORE_REFUSAL);
		assert_memory_equal(out.offer.id, offer_of(1).id, WIRE_ID_LEN);
		assert_true(asks_for(&out, ROLE_ACTION_UNRESOLVED));
		assert_int_equal(step(&m, ROLE_EVENT_OFFER, 1).actions[1],
				 ROLE_ACTION_SEND_REFUSED);
	}
	/* And the giver says when it has gone back. */
	struct role_machine giver = node_in(WIRE_ROLE_DRAINING, ROLE_OFFERING, 1);
	struct role_output out = step(&giver, ROLE_EVENT_REFUSED, 1);
	assert_int_equal(out.actions[0], ROLE_ACTION_STORE);
	assert_int_equal(out.actions[1], ROLE_ACTION_SEND_ABORT);
}

/* Up to the epoch itself a failover can be given up, and what it prepared is undone. */
static void a_failover_can_be_given_up_until_it_is_one(void **state)
{
	static const enum role_event ends[] = {ROLE_EVENT_CANCEL, ROLE_EVENT_UNFIT,
					       ROLE_EVENT_SUPERSEDED, ROLE_EVENT_HOOK_FAILED};
	static const enum role_phase phases[] = {ROLE_WEIGHING, ROLE_FORCING, ROLE_PROVING,
						 ROLE_CLAIMING};
	for (size_t p = 0; p < COUNT(phases); p++) {
		for (size_t e = 0; e < COUNT(ends); e++) {
			struct role_machine m = node_in(WIRE_ROLE_PASSIVE, phases[p], 1);
			if (ends[e] == ROLE_EVENT_HOOK_FAILED && phases[p] != ROLE_FORCING)
				continue;
			assert_true(role_may_cancel(&m));
			struct role_output out = step(&m, ends[e], 0);
			assert_int_equal(m.phase, ROLE_RESTING);
			assert_true(asks_for(&out, ROLE_ACTION_FAILED));
			assert_int_equal(asks_for(&out, ROLE_ACTION_AFTER_DEMOTE),
					 phases[p] != ROLE_WEIGHING);
		}
	}
}

/* What is begun is what was weighed last, and what comes when it was given up begins nothing. */
static void a_failover_begins_what_was_proven_last(void **state)
{
	struct role_machine m = node_in(WIRE_ROLE_PASSIVE, ROLE_RESTING, 1);
	assert_int_equal(step(&m, ROLE_EVENT_FAILOVER, 0).actions[0], ROLE_ACTION_WEIGH);
	assert_int_equal(step(&m, ROLE_EVENT_WEIGHED, 2).actions[0], ROLE_ACTION_BEFORE_PROMOTE);
	assert_int_equal(step(&m, ROLE_EVENT_HOOK_DONE, 0).actions[0], ROLE_ACTION_PROVE);
	assert_int_equal(step(&m, ROLE_EVENT_PROVEN, 0).actions[0], ROLE_ACTION_SEND_CLAIM);
	struct role_machine given_up = m;
	struct role_input in = {.event = ROLE_EVENT_CLAIMED, .offer = offer_of(2)};
	in.offer.base_seq = 99;
	assert_int_equal(role_step(&m, &in).actions[0], ROLE_ACTION_STORE_EPOCH);
	assert_true(m.role == WIRE_ROLE_ACTIVE && m.offer.base_seq == 99);
	step(&given_up, ROLE_EVENT_CANCEL, 0);
	assert_int_equal(role_step(&given_up, &in).actions[0], ROLE_ACTION_NONE);
	assert_true(given_up.role == WIRE_ROLE_PASSIVE && given_up.offer.base_seq != 99);
}

static void of_two_that_claim_one_goes_on(void **state)
{
	struct role_machine b = node_in(WIRE_ROLE_PASSIVE, ROLE_CLAIMING, 1), c = b;
	memcpy(b.offer.node, "b", 2);
	memcpy(c.offer.node, "c", 2);
	struct role_input of_b = {.event = ROLE_EVENT_CLAIM, .offer = b.offer};
	struct role_input of_c = {.event = ROLE_EVENT_CLAIM, .offer = c.offer};
	struct role_output out = role_step(&b, &of_c);
	assert_int_equal(out.actions[0], ROLE_ACTION_STORE); /* its number is never begun here */
	assert_int_equal(out.actions[1], ROLE_ACTION_SEND_PROMISE);
	assert_int_equal(b.phase, ROLE_RESTING);
	assert_int_equal(role_step(&c, &of_b).actions[0], ROLE_ACTION_SEND_DENIAL);
	assert_int_equal(c.phase, ROLE_CLAIMING);
	/* a number goes before a name */
	of_b.offer.number++;
	assert_int_equal(role_step(&c, &of_b).actions[1], ROLE_ACTION_SEND_PROMISE);
	assert_int_equal(c.number, of_b.offer.number);
}

static void a_claim_is_granted_by_a_passive_that_has_nobody_else(void **state)
{
	for (int phase = 0; phase < ROLE_PHASES; phase++) {
		struct role_machine m = node_in(WIRE_ROLE_PASSIVE, (enum role_phase)phase, 1);
		struct role_input in = {.event = ROLE_EVENT_CLAIM, .offer = offer_of(2)};
		bool may =
			phase == ROLE_RESTING || (phase >= ROLE_WEIGHING && phase <= ROLE_CLAIMING);
		struct role_machine before = m;
		in.refused = true;
		assert_int_equal(role_step(&m, &in).actions[0], ROLE_ACTION_SEND_DENIAL);
		assert_int_equal(m.phase, before.phase);
		in.refused = false;
		struct role_output out = role_step(&m, &in);
		assert_int_equal(out.actions[0], may ? ROLE_ACTION_STORE : ROLE_ACTION_SEND_DENIAL);
		assert_memory_equal(out.offer.id, in.offer.id, WIRE_ID_LEN);
	}
	struct role_machine active = node_in(WIRE_ROLE_ACTIVE, ROLE_RESTING, 1);
	assert_int_equal(step(&active, ROLE_EVENT_CLAIM, 2).actions[0], ROLE_ACTION_SEND_DENIAL);
}

static void what_nobody_may_cause_is_refused(void **state)
{
	struct role_machine m = node_in(WIRE_ROLE_ACTIVE, ROLE_RESTING, 1), before = m;
	static const enum role_event events[] = {ROLE_EVENT_OFFER, ROLE_EVENT_PREPARE,
						 ROLE_EVENT_FAILOVER, ROLE_EVENT_RECLAIM,
						 ROLE_EVENT_SETTLED};
	for (size_t i = 0; i < COUNT(events); i++) {
		struct role_input in = {.event = events[i], .offer = offer_of(2)};
		assert_false(role_step(&m, &in).legal);
		assert_true(m.role == before.role && m.phase == before.phase &&
			    m.number == before.number);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(rules_are_sound),
		cmocka_unit_test(an_offer_is_taken_only_if_it_is_the_one_looked_at),
		cmocka_unit_test(an_offered_node_waits_for_the_durable_word),
		cmocka_unit_test(a_node_that_knows_better_fences_itself),
		cmocka_unit_test(a_split_waits_for_a_person),
		cmocka_unit_test(what_nobody_may_cause_is_refused),
		cmocka_unit_test(of_two_that_claim_one_goes_on),
		cmocka_unit_test(a_claim_is_granted_by_a_passive_that_has_nobody_else),
		cmocka_unit_test(a_willing_heir_that_gives_up_refuses_for_ever),
		cmocka_unit_test(a_failover_can_be_given_up_until_it_is_one),
		cmocka_unit_test(a_failover_begins_what_was_proven_last),
		cmocka_unit_test(planned_reverses_end_in_one_active_whatever_fails),
		cmocka_unit_test(failovers_end_in_one_active_or_a_split_that_both_see),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
