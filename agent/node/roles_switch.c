/* roles_switch.c - the node in its new role: sessions begin anew, the intake numbers changes or
 * only looks, the guard begins or ends. And what is settled with a peer in the handshake when one
 * of the two has changed its role since they met. */
#include "agent/node/roles_internal.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "agent/base/clock.h"
#include "agent/base/log.h"

#define NUMBER_LEAP (1ull << 40) /* more is a lie that would use the numbers up */

/* ---- sessions ------------------------------------------------------------------------------- */

void roles_stop_sessions(struct roles *roles, const char *why)
{
	struct node *node = roles->node;
	for (struct session *s = node->sessions; s; s = s->next) {
		if (s->link)
			link_close(s->link, BYE_ROLE, why);
		/* One of the two dials at once; if both did, the connections would cross. */
		if (node->peers && roles->machine.role != WIRE_ROLE_PASSIVE)
			peers_redial(node->peers, s->peer);
	}
}

bool roles_holds_sessions(const struct roles *roles)
{
	return roles && roles->switching;
}

const char *roles_refuses_sessions(const struct roles *roles)
{
	if (roles->machine.role != WIRE_ROLE_FENCED || roles->rejoinable)
		return NULL;
	return roles->machine.phase == ROLE_FENCING
		       ? "superseded: waits until its hook on_fenced has ended well"
		       : "superseded: looks at its own tree first";
}

/* What was proven, was proven of another role. */
static void forget_proofs(struct session *s)
{
	s->matched_ms = s->matched_seq = 0;
	s->recovery_ns = 0;
	s->lag_s = -1;
	s->mismatch = false;
	s->noted_chain_n = 0;
	s->behind_since_ms = clock_mono_ms();
}

/* What is said of paths of the role that is over. */
static void forget_giving(struct store *store)
{
	store_forget_notes(store, NOTE_HELD, NULL);
	store_forget_notes(store, NOTE_REFUSED, NULL);
	store_forget_notes(store, NOTE_UNREADABLE, NULL);
	store_forget_notes(store, NOTE_SET, NULL);
}

/* ---- intake and guard ----------------------------------------------------------------------- */

bool roles_holds_intake(const struct roles *roles)
{
	return roles && roles->frozen;
}

void roles_apply_hold(struct roles *roles)
{
	if (roles->node->intake)
		node_hold_intake(roles->node);
}

static void watch(struct node *node)
{
	if (!node->watcher)
		node_start_watcher(node);
	intake_scan(node->intake);
}

static void become_active(struct roles *roles)
{
	struct node *node = roles->node;
	drift_guard_stop(node);
	node->commit.salvage_why = "drift";
	store_forget_notes(node->store, NOTE_DRIFT, NULL);
	holds_take_side(node->holds, HOLD_OURS, NULL);
	intake_set_mode(node->intake, INTAKE_INDEX);
	roles->frozen = false;
	roles_apply_hold(roles);
	watch(node);
}

/* Its tree was proven equal at base_seq, which is its recovery point; what is found in it from now
 * on is nobody else's. */
static void become_passive(struct roles *roles, int64_t proven_ns)
{
	struct node *node = roles->node;
	const struct role_offer *offer = &roles->machine.offer;
	struct err err = {0};
	if (store_set_barrier(node->store, offer->base_seq, proven_ns, offer->digest, &err) < 0)
		log_error(MODULE_ROLE, "action=\"guard from the next barrier on\" err=\"%s\"",
			  err.msg);
	node->recovery_ns = proven_ns;
	node->recovery_boot_ns = clock_boot_ns();
	node->commit.salvage_why = "divergence";
	node->met = false;
	forget_giving(node->store);
	holds_take_side(node->holds, HOLD_PEERS, NULL);
	intake_set_mode(node->intake, INTAKE_GUARD);
	roles->frozen = false;
	roles_apply_hold(roles);
	if (drift_guard_applies(node))
		drift_guard_start(node);
	roles->attempt.switched_ns = clock_real_ns();
	roles->attempt.scan_since_ms = clock_mono_ms();
	watch(node);
}

static void become_fenced(struct roles *roles)
{
	drift_guard_stop(roles->node);
	forget_giving(roles->node->store);
	roles->node->commit.salvage_why = "divergence";
}

void roles_switch(struct roles *roles)
{
	struct node *node = roles->node;
	const struct session *heir = roles_session(roles, roles->machine.offer.node);
	int64_t proven_ns = heir && heir->recovery_ns ? heir->recovery_ns : clock_real_ns();
	roles_stop_sessions(roles, "the roles change");
	for (struct session *s = node->sessions; s; s = s->next)
		forget_proofs(s);
	switch (roles->machine.role) {
	case WIRE_ROLE_ACTIVE:
		if (node->intake)
			become_active(roles);
		break;
	case WIRE_ROLE_PASSIVE:
		if (node->intake)
			become_passive(roles, proven_ns);
		break;
	default: become_fenced(roles); break;
	}
	roles->switching = false;
	roles_resume_sessions(roles);
}

void roles_resume_sessions(struct roles *roles)
{
	for (struct session *s = roles->node->sessions; s; s = s->next)
		session_resume(s);
}

/* ---- the handshake -------------------------------------------------------------------------- */

static void note_number(struct roles *roles, const struct wire_hello *theirs)
{
	uint64_t number = theirs->n_lineage ? theirs->lineage[theirs->n_lineage - 1].number : 0;
	if (number > roles->machine.number && number - roles->machine.number < NUMBER_LEAP)
		roles->machine.number = number;
}

static bool contains(const struct wire_hello *hello, const uint8_t id[WIRE_ID_LEN])
{
	for (size_t i = 0; i < hello->n_lineage; i++) {
		if (memcmp(hello->lineage[i].id, id, WIRE_ID_LEN) == 0)
			return true;
	}
	return false;
}

static size_t common_epochs(const struct session *s, const struct wire_hello *theirs,
			    enum lineage_relation *relation)
{
	size_t common;
	*relation = lineage_compare(s->said_lineage, s->said.n_lineage, theirs->lineage,
				    theirs->n_lineage, &common);
	return common;
}

static void note_victor(struct session *s, const struct wire_hello *theirs)
{
	struct roles *roles = s->node->roles;
	snprintf(roles->victor, sizeof(roles->victor), "%s",
		 theirs->n_lineage ? theirs->lineage[theirs->n_lineage - 1].node : s->peer);
}

void roles_superseded(struct session *s, const struct wire_hello *theirs)
{
	struct roles *roles = s->node->roles;
	enum lineage_relation relation;
	size_t common = common_epochs(s, theirs, &relation);
	struct role_input in = {.event = ROLE_EVENT_SUPERSEDED};
	note_number(roles, theirs);
	note_victor(s, theirs);
	snprintf(roles->partner, sizeof(roles->partner), "%s", s->peer);
	if (relation == LINEAGE_FORK) {
		/* Cut before the role is stored: a crash between the two is found superseded. */
		in.event = ROLE_EVENT_FORK_LOST;
		roles->cut = true;
		roles->cut_to = common;
	} else if (roles->machine.role == WIRE_ROLE_SPLIT) {
		in.event = ROLE_EVENT_FORK_LOST;
	} else if (roles->machine.has_offer && contains(theirs, roles->machine.offer.id)) {
		in.event = ROLE_EVENT_INHERITED;
	} else if (roles->machine.role == WIRE_ROLE_FENCED) {
		return;
	}
	if (roles->attempt.over) {
		roles_attempt_begin(roles);
		roles->attempt.planned = in.event == ROLE_EVENT_INHERITED;
	}
	roles_push(roles, &in, s->peer);
}

void roles_forked(struct session *s, const struct wire_hello *theirs)
{
	struct roles *roles = s->node->roles;
	enum lineage_relation relation;
	common_epochs(s, theirs, &relation);
	note_number(roles, theirs);
	/* Its side has given the fork up: a person can decide, and there is nothing to end. */
	if (relation == LINEAGE_OURS_LONGER && roles->machine.role == WIRE_ROLE_SPLIT &&
	    !roles->have_fork) {
		roles->have_fork = true;
		roles->fork_seq = theirs->last_seq;
		snprintf(roles->fork_node, sizeof(roles->fork_node), "%s", s->peer);
	}
	if (relation != LINEAGE_FORK)
		return;
	const struct epoch_entry *last = &theirs->lineage[theirs->n_lineage - 1];
	roles->have_fork = true;
	roles->fork_number = last->number;
	roles->fork_seq = theirs->last_seq;
	memcpy(roles->fork_end, last->id, sizeof(roles->fork_end));
	snprintf(roles->fork_node, sizeof(roles->fork_node), "%s", s->peer);
	if (roles->machine.role != WIRE_ROLE_SPLIT)
		roles_push_event(roles, ROLE_EVENT_FORKED);
}

void roles_session_live(struct session *s)
{
	struct roles *roles = s->node->roles;
	const struct role_input in = {.event = ROLE_EVENT_LINK_LIVE};
	if (s->sender && roles->machine.phase == ROLE_OFFERING &&
	    strcmp(s->peer, roles->machine.offer.node) == 0)
		roles_push(roles, &in, s->peer);
	roles_claim_session(roles, s);
	if (s->receiver && s->peer_role == WIRE_ROLE_ACTIVE)
		roles_giver_is_back(roles, s->peer);
	roles_send_ended(roles, s);
}

static bool is_partner(const struct roles *roles, const char *peer)
{
	enum role_phase phase = roles->machine.phase;
	bool giver = phase == ROLE_PREPARING || phase == ROLE_DEMOTING || phase == ROLE_SETTLING ||
		     phase == ROLE_CHECKING || phase == ROLE_OFFERING;
	return strcmp(peer, giver ? roles->machine.offer.node : roles->partner) == 0;
}

void roles_session_lost(struct session *s, uint16_t reason)
{
	struct roles *roles = s->node->roles;
	const struct role_input in = {.event = ROLE_EVENT_LINK_LOST};
	(void)reason;
	if (!roles->stopping)
		roles_claim_lost(roles, s);
	if (roles->stopping || !is_partner(roles, s->peer))
		return;
	bool without = roles->attempt.failover; /* whom it does not wait for */
	if ((role_may_cancel(&roles->machine) && !without) || roles->attempt.asked)
		roles_reason(roles, EXIT_UNREACHABLE, "the connection with %s was lost (%.200s)",
			     s->peer, s->trouble);
	if (roles->attempt.asked) {
		roles->attempt.asked = false;
		roles_tell(roles, EXIT_UNREACHABLE, NULL);
	}
	roles_push(roles, &in, s->peer);
}

/* The giver's lineage goes on where ours did not: what we numbered above the first epoch that we
 * lack was never given by it, and of what a superseded node numbered before, the survivor has what
 * it acknowledged. */
int roles_before_lineage(struct session *s, const struct wire_hello *theirs, struct err *err)
{
	struct roles *roles = s->node->roles;
	enum lineage_relation relation;
	size_t changed = 0, common = common_epochs(s, theirs, &relation);
	note_number(roles, theirs);
	bool takes =
		roles->machine.role == WIRE_ROLE_PASSIVE || roles->machine.role == WIRE_ROLE_FENCED;
	if (!takes || (roles->carrying && relation == LINEAGE_THEIRS_LONGER))
		return err_set(err, -EBUSY, "this node changes its role in this moment");
	if (relation != LINEAGE_THEIRS_LONGER)
		return 0;
	roles->followed = true;
	if (roles->attempt.over)
		roles_attempt_release(roles); /* it is not what the ledger is to say of this one */
	bool fenced = s->said.role == WIRE_ROLE_FENCED;
	uint64_t base_seq = theirs->lineage[common].base_seq;
	int r = 0;
	if (fenced || s->said.last_seq > base_seq)
		r = store_disown_above(s->node->store, base_seq, fenced ? s->peer : NULL, &changed,
				       err);
	if (changed > 0 || fenced)
		s->node->commit.salvage_why = "divergence";
	if (changed > 0)
		log_warn(MODULE_ROLE,
			 "peer=%s base_seq=%" PRIu64
			 " paths=%zu what=\"the active never had them\" "
			 "action=\"to the salvage where it has something else\"",
			 s->peer, base_seq, changed);
	return r;
}

/* Whoever else was met as the active, or with the lineage of before, is met anew; and what was
 * under way here with it, or by a person, is overtaken. */
void roles_after_lineage(struct session *s, const struct wire_hello *theirs)
{
	struct roles *roles = s->node->roles;
	const struct role_input in = {.event = ROLE_EVENT_SUPERSEDED};
	enum lineage_relation relation;
	common_epochs(s, theirs, &relation);
	if (relation != LINEAGE_THEIRS_LONGER)
		return;
	roles->promised_until_ms = 0;
	note_victor(s, theirs);
	for (struct session *other = s->node->sessions; other; other = other->next) {
		if (other != s && other->link)
			link_close(other->link, BYE_ROLE, "this node follows a new epoch");
	}
	if (roles->machine.role == WIRE_ROLE_PASSIVE)
		roles_push(roles, &in, s->peer);
}

static bool is_noted(struct store *store, const char *peer)
{
	struct note *notes = NULL;
	size_t n = 0;
	bool found = false;
	if (store_note_count(store, NOTE_RECONCILE) == 0)
		return false;
	store_notes(store, NOTE_RECONCILE, &notes, &n, NULL);
	for (size_t i = 0; i < n; i++)
		found |= strcmp(notes[i].path, peer) == 0;
	notes_free(notes, n);
	return found;
}

/* In an epoch that began here, what another node has is known only by comparing: it was given by
 * the active before. Where its digest is ours it has everything; else at most what it was given
 * above the epoch's begin can be missing, or be other, and the comparison finds it. */
int roles_before_sending(struct session *s, const struct wire_hello *theirs, struct err *err)
{
	struct store *store = s->node->store;
	struct store_state state;
	note_number(s->node->roles, theirs);
	if (!is_noted(store, s->peer))
		return 0;
	store_state(store, &state);
	bool equal = memcmp(theirs->digest, state.digest, HASH_LEN) == 0 &&
		     theirs->records == state.records && theirs->role != WIRE_ROLE_FENCED;
	uint64_t base_seq = s->said.n_lineage ? s->said_lineage[s->said.n_lineage - 1].base_seq : 0;
	int r = store_ack_all(store, s->peer, equal ? state.last_seq : base_seq, err);
	return r < 0 ? r : !equal;
}

void roles_matched(struct session *s, uint64_t seq)
{
	struct roles *roles = s->node->roles;
	const struct role_input in = {.event = ROLE_EVENT_RECONCILED};
	struct err err = {0};
	if (s->sender && s->peer_role == WIRE_ROLE_FENCED)
		s->peer_role = WIRE_ROLE_PASSIVE; /* as its own side judges the same barrier */
	if (s->sender && is_noted(s->node->store, s->peer))
		store_unnote(s->node->store, NOTE_RECONCILE, s->peer, &err);
	if (s->receiver && roles->machine.role == WIRE_ROLE_FENCED &&
	    roles->machine.phase == ROLE_REJOINING) {
		size_t changed = 0;
		/* Equal in every record: what is still marked as ours alone is not. */
		if (store_own_foreign(s->node->store, seq, &changed, &err) < 0) {
			log_error(MODULE_ROLE, "action=\"with the next barrier\" err=\"%s\"",
				  err.msg);
			return;
		}
		roles->settle.phase = SETTLE_NOT;
		roles_push(roles, &in, s->peer);
	}
	if (roles->followed && roles->machine.role == WIRE_ROLE_PASSIVE) {
		roles->followed = false;
		s->node->commit.salvage_why = "drift";
		if (s->receiver)
			receiver_set_salvage_why(s->receiver, "drift");
		roles_ledger_proven(roles);
	}
	roles_advance(roles);
}
