/* role.h - who may write: the rules by which a node changes its role. Pure: a table of
 * (role, phase, event) -> (role, phase, actions). It does no I/O and has no clock; whoever runs it
 * (the agent, the simulator) carries out the actions in their order, each one to its end before the
 * next, and reports what came of them as events. docs/PROTOCOL.md, "Handing over", tells the same
 * in prose, and tests/model in Promela.
 *
 * Two sides take part in a planned reverse: the *giver* (active, then draining) and the *heir*
 * (passive, then active). The giver's offer is durable before it is sent; the heir answers it with
 * exactly one durable word, taken or refused; taken is the point where the group has a new active.
 */
#ifndef PROTOCOL_ROLE_H
#define PROTOCOL_ROLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "protocol/wire.h"

/* Only OFFERING and what follows from the role outlive a restart: role_start(). */
enum role_phase {
	ROLE_RESTING,
	/* the giver */
	ROLE_PREPARING, /* active: the heir is asked to get ready */
	ROLE_DEMOTING,	/* draining: before_demote runs */
	ROLE_SETTLING,	/* draining: until all that is in the tree is proven to be at the heir */
	ROLE_CHECKING,	/* draining: the heir looks at its own tree */
	ROLE_OFFERING,	/* draining, the offer is durable: only the heir's durable word ends this */
	ROLE_RETURNING, /* active again: after_promote runs, told that it is a rollback */
	ROLE_RETIRING,	/* passive: a last scan, and after_demote */
	/* the heir */
	ROLE_READYING, /* passive: before_promote runs */
	ROLE_READY,    /* passive: waits until the giver has settled */
	ROLE_LOOKING,  /* passive: its tree is scanned against its index */
	ROLE_WILLING,  /* passive: would take the offer of what it has looked at */
	ROLE_RISING,   /* active: after_promote runs */
	/* alone */
	ROLE_WEIGHING,	/* passive: what the others have, and what a failover would lose */
	ROLE_FORCING,	/* passive: before_promote runs */
	ROLE_PROVING,	/* passive: its tree is scanned */
	ROLE_CLAIMING,	/* passive: whoever else could take over is asked for its promise not to */
	ROLE_FENCING,	/* fenced: until on_fenced has ended well nothing in the tree is touched */
	ROLE_REJOINING, /* fenced: compares with the survivor; passive when a barrier has matched */
	ROLE_PHASES
};
const char *role_phase_name(enum role_phase phase); /* "resting", "preparing" */

/* clang-format off */
#define ROLE_EVENTS(X)                                                                             \
	/* a person, or the time they gave */                                                      \
	X(REVERSE)	/* hand over to `attempt`'s heir */                                        \
	X(CANCEL)	/* the deadline, or the person, gave up */                                 \
	X(FAILOVER)	/* this node is to go on without the active */                             \
	X(RECLAIM)	/* the heir is given up for lost: begin the epoch in `offer` */            \
	X(KEEP_US)	/* a split is decided for this node: begin the epoch in `offer` */         \
	/* the other side's words */                                                               \
	X(PREPARE) X(READY) X(UNREADY) X(CHECK) X(CHECKED) X(UNCHECKED)                            \
	X(OFFER) X(TAKEN) X(REFUSED) X(ASK) X(ABORT)                                               \
	X(CLAIM)	/* another passive is about to begin the epoch in `offer` */               \
	/* the session */                                                                          \
	X(LINK_LOST)	/* it ended, or its peer was replaced */                                   \
	X(LINK_LIVE)	/* a new one with the heir has begun; it has not taken the offer */        \
	X(SUPERSEDED)	/* the peer's lineage goes on after ours, and not by our offer */          \
	X(INHERITED)	/* the peer's lineage goes on with our offer */                            \
	X(FORKED)	/* both lineages go on after the last common epoch */                      \
	X(FORK_LOST)	/* and a person has decided for the peer's */                              \
	/* what came of actions */                                                                 \
	X(HOOK_DONE) X(HOOK_FAILED)                                                                \
	X(SETTLED)	/* all acknowledged, digest proven at `base_seq`, nothing indexed since */ \
	X(UNSETTLED)	/* it cannot be: something is held or still being written */               \
	X(CLEAN)	/* the tree is what the index says */                                      \
	X(DIRTY)	/* it is not, and could not be mended */                                   \
	X(RECONCILED)	/* a barrier has matched */                                                \
	X(WEIGHED)	/* nothing stands in the way of a failover; it would begin `offer` */      \
	X(UNFIT)	/* something does, or has come up since */                                 \
	X(PROVEN)	/* the tree is what the index says */                                      \
	X(CLAIMED)	/* who can be reached has promised; all weighed again: begin `offer` */
/* clang-format on */
enum role_event {
#define X(name) ROLE_EVENT_##name,
	ROLE_EVENTS(X)
#undef X
		ROLE_EVENT_COUNT
};
const char *role_event_name(enum role_event event); /* "REVERSE", "LINK_LOST" */

/* clang-format off */
#define ROLE_ACTIONS(X)                                                                            \
	X(NONE)                                                                                    \
	X(STORE)	 /* role, number and offer of the machine become durable */                \
	X(STORE_EPOCH)	 /* the same, and `offer` is the lineage's new last epoch, at once */      \
	X(STORE_REFUSAL) /* the id that was offered or asked for is refused, for ever */           \
	X(SEND_PREPARE) X(SEND_READY) X(SEND_UNREADY) X(SEND_CHECK) X(SEND_CHECKED)                \
	X(SEND_UNCHECKED) X(SEND_OFFER) X(SEND_TAKEN) X(SEND_REFUSED) X(SEND_ASK) X(SEND_ABORT)    \
	X(SEND_CLAIM)	 /* to every passive; then as WEIGH: CLAIMED or UNFIT */                   \
	X(SEND_PROMISE) X(SEND_DENIAL)                                                             \
	X(BEFORE_DEMOTE) X(AFTER_DEMOTE) X(BEFORE_PROMOTE) X(AFTER_PROMOTE) X(ON_FENCED)           \
	X(SETTLE)	 /* fence, whole scan, acknowledgements, barrier: SETTLED or UNSETTLED */  \
	X(RELEASE)	 /* changes are indexed again */                                           \
	X(LOOK)		 /* drift guard stops, open mends end, whole scan: CLEAN or DIRTY */       \
	X(WEIGH)	 /* ask the other passives, count the losses: WEIGHED or UNFIT */          \
	X(PROVE)	 /* as LOOK: PROVEN or UNFIT */                                            \
	X(SWITCH)	 /* sessions end and begin anew in the new role */                         \
	X(COMPARE)	 /* scan, then the reconciliation with the survivor: RECONCILED */         \
	X(DONE)		 /* tell the person: the roles are swapped */                              \
	X(FAILED)	 /* tell the person: it did not happen, all is as before */                \
	X(UNRESOLVED)	 /* tell the person: offered, or it may be, and the end is not known yet */
/* clang-format on */
enum role_action {
#define X(name) ROLE_ACTION_##name,
	ROLE_ACTIONS(X)
#undef X
		ROLE_ACTION_COUNT
};
const char *role_action_name(enum role_action action); /* "STORE_EPOCH" */

#define ROLE_ACTIONS_MAX 5

/* An epoch that is offered, or begun. */
struct role_offer {
	uint64_t number;
	uint8_t id[WIRE_ID_LEN];
	uint64_t base_seq;
	uint8_t digest[32];	      /* of the giver's index at base_seq */
	char node[WIRE_NAME_MAX + 1]; /* who begins it: the heir. Nobody else is asked for it */
};

/* The machine. What is durable of it: role, number, due, and offer while has_offer. */
struct role_machine {
	enum wire_role role;
	enum role_phase phase;
	uint64_t number; /* greatest epoch number recorded, offered, refused or seen */
	bool has_offer;	 /* the giver: durable; else it is the one that is being prepared */
	struct role_offer offer;
	enum role_action due; /* AFTER_PROMOTE, AFTER_DEMOTE or ON_FENCED until it was reported
				 done: tried again by the clock and after a restart; NONE */
};

/* What an event carries besides its name. Zero where it carries nothing. */
struct role_input {
	enum role_event event;
	/* PREPARE, CHECK, OFFER, TAKEN, REFUSED, ASK, REVERSE, RECLAIM, WEIGHED, CLAIM, CLAIMED,
	 * KEEP_US; SETTLED: base_seq and digest; CLEAN: base_seq and digest of our index */
	struct role_offer offer;
	bool refused; /* OFFER, ASK: this id was refused before, durably. CLAIM: another was
			 promised, or there is an active */
	bool taken;   /* ASK: this id is in our lineage */
};

struct role_output {
	enum role_action actions[ROLE_ACTIONS_MAX]; /* in this order; NONE ends them */
	struct role_offer offer;		    /* what they are about */
	bool legal; /* false: nobody who keeps to the rules can have caused this event now; nothing
		       changed */
};

/**
 * After a start, from what is durable. A draining node without an offer returns to active; with one
 * it waits for the heir's word; a fenced one begins with on_fenced again.
 */
struct role_output role_start(struct role_machine *m);

/* One step. The machine changes as the actions assume; if STORE* cannot be made durable the agent
 * must end rather than go on. */
struct role_output role_step(struct role_machine *m, const struct role_input *in);

/* Is this one of the phases in which a deadline may still undo everything? */
bool role_may_cancel(const struct role_machine *m);

/* Every rule, for tests and for the manual. */
struct role_rule {
	unsigned roles;	 /* bits of enum wire_role */
	unsigned phases; /* bits of enum role_phase */
	enum role_event event;
	enum wire_role role;   /* 0: stays */
	enum role_phase phase; /* ROLE_PHASES: stays */
	enum role_action actions[ROLE_ACTIONS_MAX];
};
const struct role_rule *role_rules(size_t *n);

#endif
