/* roles.h - what the agent does so that roles change hands: it runs the rule table of
 * protocol/role.h. Events (words of the peer, lost sessions, commands, hooks that ended) are
 * queued; each is one step of the table, whose actions are carried out one after the other before
 * the next event is looked at. What must be durable is so, on a worker, before anything is said or
 * done after it; if it cannot be made durable the agent ends. For the files of node/. Thread: the
 * loop.
 *
 * roles.c          start, stop, deadlines
 * roles_steps.c    the queue: one event, its step of the table, the actions
 * roles_store.c    what becomes durable
 * roles_hooks.c    the operator's programs
 * roles_words.c    HANDOVER, in both directions
 * roles_settle.c   giver: everything is at the heir. Heir: the tree is what the index says
 * roles_switch.c   sessions, intake and guard in the new role; rejoining
 * roles_force.c    failover, and the end of a split
 * roles_claim.c    passives agree which of them fails over
 * roles_check.c    what stands in the way of a reverse
 * roles_requests.c the commands `reverse` and `resolve`
 * roles_report.c   what they are answered, and what status shows
 * roles_ledger.c   the ledger */
#ifndef NODE_ROLES_H
#define NODE_ROLES_H

#include <jansson.h>
#include <stdbool.h>

#include "agent/base/err.h"
#include "agent/ops/control.h"
#include "protocol/frame.h"
#include "protocol/wire.h"

struct node;
struct roles;
struct session;

/* Forks the hook runner: before the first thread. @return 0 or negative errno */
int roles_new(struct roles **out, struct node *node, struct err *err);
/* The store is open: what a start asks of the machine becomes durable before anybody is spoken to.
 * @return 0 or negative errno */
int roles_load(struct roles *roles, struct err *err);
void roles_start(struct roles *roles);		/* the loop runs */
void roles_intake_started(struct roles *roles); /* what a crash left behind is settled */
void roles_stop(struct roles *roles);
void roles_free(struct roles *roles);

enum wire_role roles_role(const struct roles *roles);
/* A peer has met this role's epoch since the agent started. */
bool roles_is_confirmed(const struct roles *roles);
const char *roles_name(enum wire_role role); /* "active", "draining" */

size_t roles_epochs(const struct roles *roles);	      /* in the lineage, of WIRE_LINEAGE_MAX */
bool roles_holds_intake(const struct roles *roles);   /* nothing may get a seq now */
bool roles_holds_sessions(const struct roles *roles); /* they begin in a moment, in the new role */
/* Why nobody may be spoken to for now; NULL when they may. */
const char *roles_refuses_sessions(const struct roles *roles);

/* A frame: @return 0, -EBADMSG, -EPROTO when this word is not expected from this side */
int roles_frame(struct session *s, const struct frame *frame);
int roles_obstacles_frame(struct session *s, const struct frame *frame); /* 0 or -EBADMSG */
void roles_session_live(struct session *s);
void roles_session_lost(struct session *s, uint16_t reason);
/* A handshake came to SUPERSEDED, or to a split. The session is closed by the caller. */
void roles_superseded(struct session *s, const struct wire_hello *theirs);
void roles_forked(struct session *s, const struct wire_hello *theirs);
/* This node takes the giver's lineage over: what it has above is nobody else's. @return 0 or
 * negative errno */
int roles_before_lineage(struct session *s, const struct wire_hello *theirs, struct err *err);
/* Stores it, with what the ledger is to say of it. @return 0 or negative errno */
int roles_take_lineage(struct session *s, const struct wire_hello *theirs, struct err *err);
/* And when that is stored. */
void roles_after_lineage(struct session *s, const struct wire_hello *theirs);
/* As a giver: must the peer be compared before anything is sent? What is known of it is brought up
 * to date. @return 1, 0 or negative errno */
int roles_before_sending(struct session *s, const struct wire_hello *theirs, struct err *err);
void roles_matched(struct session *s, uint64_t seq); /* a barrier has, in either direction */
void roles_advance(struct roles *roles);	     /* something may have become true */
/* Somebody changed a replicated path of a passive's. */
void roles_drifted(struct roles *roles, const char *path);
void roles_tick(struct roles *roles); /* each second */

/* What would refuse a change of roles on this node for its own sake, whichever way: sentences. */
void roles_add_own_obstacles(struct roles *roles, json_t *list);

/* @return true when the verb is one of these */
bool roles_request(struct roles *roles, struct control_call *call, const char *verb,
		   const json_t *args);
void roles_role_request(struct roles *roles, struct control_call *call);
void roles_add_problems(const struct roles *roles, json_t *problems);
void roles_add_status(const struct roles *roles, json_t *status); /* what an owed hook printed */
/* "split", "fenced", "draining", or NULL */
const char *roles_state(const struct roles *roles);

#endif
