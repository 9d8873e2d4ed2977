/* roles_internal.h - shared by roles*.c; nobody else includes it. Thread: the loop, except where
 * marked. */
#ifndef NODE_ROLES_INTERNAL_H
#define NODE_ROLES_INTERNAL_H

#include "agent/base/hash.h"
#include "agent/node/node_internal.h"
#include "agent/node/roles.h"
#include "agent/ops/hooks.h"
#include "agent/sync/job.h"
#include "protocol/messages.h"
#include "protocol/role.h"

#define MODULE_ROLE "role"
#define ROLE_DEADLINE_S 120	   /* of a reverse whose command says nothing else */
#define ROLE_DEADLINE_MAX_S 604800 /* a week */
#define ROLE_TEXT_MAX 512

/* An event that waits for its turn. */
struct role_event_item {
	struct role_event_item *next;
	struct role_input in;
	char peer[WIRE_NAME_MAX + 1]; /* who said it; "" when nobody did */
	uint64_t hook_n;	      /* which hook's end it may be */
};

/* The attempt under way on this node, typed here or at the other side; also what the ledger and
 * the command are told of it in the end. */
struct attempt {
	struct control_call *call; /* NULL: typed at the other side, or the command is gone */
	bool typed_here, planned, failover, resolve, accept_loss, dry_run;
	bool asked;	 /* PLEASE was sent and not answered yet */
	uint64_t please; /* which one; the giver: the one that it serves; 0: none */
	bool over;	 /* the person was answered */
	bool declined;	 /* by the other side, which has named each of its reasons */
	bool counted;	 /* the deadline has passed */
	uint64_t began_ms, deadline_ms;
	char reason[WIRE_TEXT_MAX + 1];
	char operator[WIRE_NAME_MAX + 1];
	char from[WIRE_NAME_MAX + 1]; /* who was active before */
	enum exit_code code;	      /* when it does not come about */
	bool blamed;		      /* `code` is that of a reason, not what a person accepts */
	json_t *timeline, *lost, *reasons;
	json_t *hook_output; /* of the first hook that failed here; NULL */
	int64_t recovery_ns;
	double at_risk_s; /* < 0: unknown */
	/* an answer that waits until the last scan of the former active has ended */
	bool waits_for_scan, waits_for_partner;
	uint64_t scan_since_ms;
	int64_t switched_ns;
	bool waits_for_giver;	 /* the heir has refused what may be offered: is it active again? */
	uint64_t waits_until_ms; /* for that, or for after_promote of a rollback */
};

enum settle_phase {
	SETTLE_NOT,
	SETTLE_FENCE, /* the watcher hands over what it has; a scan walks the tree */
	SETTLE_INDEX, /* until that is indexed */
	SETTLE_STOP,  /* nothing new is begun; what workers have comes back */
	FORCE_ASK,    /* before a failover: until the other passives have said what they have */
	FORCE_ENTER,  /* until what had begun to arrive is in the tree, whole */
	FORCE_FINAL,  /* until the others have promised, and nobody sends to this node */
	SETTLE_PEERS, /* until it is acknowledged and a barrier has matched */
	LOOK_SCAN,    /* the heir, and a failover: the same on the passive */
	LOOK_MEND,
	LOOK_CLOSE,	/* until what is known of the giver is stored */
	COMPARE_SCAN,	/* a superseded node: what is in its tree */
	COMPARE_REJOIN, /* until a barrier has matched */
};

struct settle {
	enum settle_phase phase;
	uint64_t began_ms, nonce, fenced_ms, open_since_ms;
	enum { WRITER_UNKNOWN, WRITER_ASKED, WRITER_THERE } writer;
	uint8_t writer_of[HASH_LEN]; /* of the path that was looked at */
	bool for_failover;
};

/* What a worker makes durable. */
struct role_store_job {
	struct job job;
	struct roles *roles;
	enum role_action action;
	struct role_machine machine;
	struct epoch_entry epoch;
	bool begins;		 /* the epoch is this node's own */
	struct role_offer offer; /* a refusal */
	bool cut;		 /* the fork is given up first */
	size_t cut_to;
	const char *peers[CONF_PEERS_MAX]; /* whose positions are not known any more; borrowed */
	size_t n_peers;
	struct hook_facts owed; /* of the machine's `due` */
	char *entry;		/* of the ledger; NULL: this is no change of roles */
	uint64_t entry_n;
	int result;
	struct err err;
};

/* A command that waits for what the other side says stands in the way. */
struct preflight {
	struct preflight *next;
	struct control_call *call;    /* NULL: it is gone */
	char peer[WIRE_NAME_MAX + 1]; /* who was asked */
	char heir[WIRE_NAME_MAX + 1];
	uint64_t nonce, until_ms;
	json_t *obstacles; /* here; then of both */
	bool dry_run;
};

struct roles {
	struct node *node;
	struct hooks *hooks;
	struct role_machine machine;
	struct role_event_item *events, **last_event;
	size_t n_events;
	struct role_output output; /* of the step whose actions are being carried out */
	size_t at;
	enum role_event event;	      /* that led to it */
	char peer[WIRE_NAME_MAX + 1]; /* who said it */
	bool carrying;		      /* an action is on a worker */
	bool started, stopping, stepping;
	char partner[WIRE_NAME_MAX + 1]; /* giver: the heir. Heir: the giver */
	char word[WIRE_TEXT_MAX + 1];	 /* the sentence of the next word that is sent */
	uint8_t word_flags;
	/* hooks */
	enum role_action hook; /* the last one asked for; NONE: it was answered */
	uint64_t hook_n;       /* grows with each hook, and when the machine leaves one behind */
	unsigned hooks_waiting;
	bool hook_failed;
	char hook_text[320];
	json_t *hook_output; /* all that is kept of what the last one that failed printed */
	uint64_t hook_again_ms, hook_wait_ms;
	struct hook_facts owed; /* what the machine's `due` is told, each time */
	bool drift_hook;	/* on_drift runs */
	uint64_t drift_hook_ms;
	bool partner_ended; /* its after-hook of this attempt has */
	struct settle settle;
	bool frozen;	 /* nothing may get a seq */
	bool rejoinable; /* superseded, and the tree has been looked at */
	bool switching;	 /* the role changes in a moment */
	struct attempt attempt;
	struct preflight *preflights;
	uv_timer_t timer; /* the deadline, and everything that is looked at again */
	bool timer_open;
	long step; /* actions so far: for tests that end the agent before one */
	/* a split */
	bool have_fork;
	uint8_t fork_end[WIRE_ID_LEN]; /* the last epoch of the other's */
	uint64_t fork_number, fork_seq;
	char fork_node[WIRE_NAME_MAX + 1];
	char victor[WIRE_NAME_MAX + 1]; /* whose epoch superseded this node: not always who tells */
	bool cut;
	size_t cut_to;
	/* who takes over, as it has claimed: nobody else is to, until then */
	char promised_to[WIRE_NAME_MAX + 1];
	uint64_t promised_until_ms;
	/* the ledger */
	uint64_t entry_open; /* number of the entry that may still be completed; 0: none */
	bool ledger_running, ledger_again;
	uint64_t ledger_again_ms;
	char ledger_bad[300];	  /* what the last look found wrong with it; "": nothing */
	char ledger_failing[256]; /* why entries wait; "": they do not */
	bool followed;		  /* an epoch was taken over from an active, and not yet proven */
};

/* roles.c */
void roles_new_offer(const struct roles *roles, struct role_offer *out, const char *heir);
uint64_t roles_time_left_ms(const struct roles *roles); /* of the attempt; UINT64_MAX: none */
void roles_set_timer(struct roles *roles, uint64_t ms); /* at the latest then */
void roles_die(struct roles *roles, const char *what, const struct err *err);

/* roles_steps.c */
void roles_push(struct roles *roles, const struct role_input *in, const char *peer);
void roles_push_event(struct roles *roles, enum role_event event);
void roles_run(struct roles *roles);
void roles_count_step(struct roles *roles, enum role_action action);

/* roles_store.c */
void roles_make_durable(struct roles *roles, enum role_action action);

/* roles_hooks.c */
int roles_fork_hooks(struct hooks **out, const struct conf *conf, struct err *err);
void roles_on_hook(void *owner, unsigned index, const struct hook_result *result);
void roles_run_hook(struct roles *roles, enum role_action action);
void roles_run_due_hook(struct roles *roles); /* when its time has come */
/* What a hook that the step asks for, and that is owed from now on, is told however often it runs.
 */
void roles_note_owed(struct roles *roles);
int roles_load_owed(struct roles *roles, struct err *err); /* after role_start() */

/* roles_words.c */
void roles_send(struct roles *roles, enum role_action action);
void roles_send_handover(struct session *s, const struct wire_handover *m);
void roles_send_word(struct session *s, uint8_t word, const struct role_offer *offer, uint8_t flags,
		     uint32_t deadline_ms, const char *text);
/* How the after-hook of the last change ended here, when it has. */
void roles_send_ended(struct roles *roles, struct session *s);
void roles_send_ended_to_all(struct roles *roles);
void roles_say(struct roles *roles, uint8_t flags, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* roles_settle.c */
void roles_settle(struct roles *roles);
void roles_look(struct roles *roles, bool for_failover);
void roles_compare(struct roles *roles);
void roles_note_given_up(struct roles *roles, enum note_kind kind); /* as lost */
void roles_settle_advance(struct roles *roles);
void roles_looked(struct roles *roles); /* the look led to nothing: the guard begins again */

/* roles_switch.c */
void roles_switch(struct roles *roles);
void roles_stop_sessions(struct roles *roles, const char *why);
void roles_resume_sessions(struct roles *roles);
void roles_apply_hold(struct roles *roles);

/* roles_check.c. @return an array of sentences; empty: nothing stands in the way */
json_t *roles_obstacles(struct roles *roles, const struct session *heir, bool accept_loss);
json_t *roles_heir_obstacles(struct roles *roles, const struct session *giver);
void roles_add_epochs(const struct roles *roles, json_t *list, size_t reserve); /* are any left? */
void roles_session_obstacles(json_t *list, const struct session *s);
void roles_add(json_t *list, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void roles_join(char *out, size_t size, const json_t *list); /* for a word: sentences in one */

/* roles_force.c */
void roles_failover_request(struct roles *roles, struct control_call *call, const json_t *args);
void roles_weigh(struct roles *roles);
void roles_ask_others(struct roles *roles);
void roles_unfit(struct roles *roles, enum exit_code code);
bool roles_is_healthy_active(const struct session *s);
void roles_force_advance(struct roles *roles);
void roles_failover_looked(struct roles *roles, bool clean, const char *why);
void roles_resolve_request(struct roles *roles, struct control_call *call, const json_t *args);

/* roles_claim.c */
void roles_claim(struct roles *roles);
void roles_claim_session(struct roles *roles, struct session *s); /* one that has come meanwhile */
void roles_claim_lost(struct roles *roles, struct session *s);
void roles_answer_claim(struct roles *roles, enum role_action action);
bool roles_claim_frame(struct session *s, const struct wire_handover *m); /* @return was it one? */
bool roles_refuses_claim(const struct roles *roles, const char *peer);
/* Who is about to take over; NULL: nobody that is known. */
const char *roles_promised(const struct roles *roles);

/* roles_requests.c */
struct session *roles_session(const struct roles *roles, const char *peer); /* live, or NULL */
bool roles_please(struct session *s, const struct wire_handover *m);
void roles_begin(struct roles *roles, struct session *heir);
void roles_take_args(struct roles *roles, struct control_call *call, const json_t *args);

bool roles_is_busy(const struct roles *roles);
json_t *roles_refusal(const struct roles *roles, const char *outcome, json_t *reasons);

/* roles_preflight.c */
/* Answers the command with what stands in the way here (taken) and at the other side. */
void roles_preflight(struct roles *roles, struct control_call *call, const json_t *args,
		     const struct session *s, json_t *obstacles);
void roles_preflight_advance(struct roles *roles); /* who has not answered in time, or is gone */
void roles_preflight_free(struct roles *roles);
/* Each reason by itself, before the word that declines. Borrowed. */
void roles_send_decline(struct session *s, const json_t *obstacles);

/* roles_report.c */
void roles_attempt_begin(struct roles *roles);
void roles_note_phase(struct roles *roles);
void roles_reason(struct roles *roles, enum exit_code code, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
void roles_tell(struct roles *roles, enum exit_code code, const char *outcome);
void roles_done(struct roles *roles);
void roles_unresolved(struct roles *roles);
void roles_giver_is_back(struct roles *roles, const char *peer); /* it says so itself */
void roles_report_advance(struct roles *roles);
void roles_attempt_release(struct roles *roles);

/* roles_ledger.c */
/**
 * What the ledger is to say of a change of roles, before it is durable.
 * @param begins  the epoch that it begins, or takes note of; NULL: the lineage's last, which this
 * node follows
 * @return heap; NULL when there is nothing to say
 */
char *roles_ledger_entry(struct roles *roles, const struct epoch_entry *begins);
void roles_ledger_write(struct roles *roles);	 /* all but the open one */
void roles_ledger_complete(struct roles *roles); /* what the attempt knows by now; it is written */
void roles_ledger_proven(struct roles *roles);	 /* the tree is the active's; it is written */
void roles_ledger_start(struct roles *roles); /* what the run before has left, and a look at it */
void roles_ledger_advance(struct roles *roles);
void roles_ledger_add_problems(const struct roles *roles, json_t *problems);
bool roles_ledger_request(struct roles *roles, struct control_call *call, const json_t *args,
			  const char *verb);

#endif
