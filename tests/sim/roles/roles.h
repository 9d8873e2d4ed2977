/* roles.h - worlds of two or three nodes that run protocol/role and the handshake as the agent does
 * (agent/node/roles*.c, hello.c), with everything around them simulated. README.md of tests/sim has
 * the overview.
 *
 * world.c    events, chance, rounds of weather and calm
 * links.c    connections: in order, late, cut, replaced
 * hello.c    the handshake, and what is settled in it
 * data.c     the index, records, acknowledgements, barriers, the comparison
 * engine.c   events of the machine, one step after the other, and its actions
 * durable.c  what is stored, transaction by transaction; power failures
 * proofs.c   settle, look, compare; hooks
 * words.c    HANDOVER in both directions
 * people.c   who writes, types reverse, failover, resolve; what fate does
 * check.c    what must hold */
#ifndef SIM_ROLES_H
#define SIM_ROLES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "../random.h"
#include "protocol/lineage.h"
#include "protocol/role.h"

#define NODES_MAX 3
#define KEYS 4
#define LINEAGE_SIM_MAX 64
#define EPOCHS_PER_ROUND 12
#define QUEUE_MAX 64
#define CONNECTIONS_MAX 64
#define IDS_MAX 4096
#define MS 1000u
#define SECOND (1000u * MS)
#define PROMISE_TIME (10 * SECOND)

/* What is broken on purpose in the engine that carries the table out. */
#define MUTATION_LIST(X)                          \
	X(NOTHING, "nothing")                     \
	X(SEND_BEFORE_STORE, "send-before-store") \
	X(TAKEN_NOT_DURABLE, "taken-not-durable") \
	X(REFUSED_FORGOTTEN, "refused-forgotten") \
	X(OFFER_FORGOTTEN, "offer-forgotten")     \
	X(NOT_FROZEN, "not-frozen")               \
	X(THAWED_BY_RESTART, "thawed-by-restart") \
	X(HOOK_FORGOTTEN, "hook-forgotten")       \
	X(NEVER_ASKED, "never-asked")             \
	X(FORK_NOT_CUT, "fork-not-cut")           \
	X(STALE_HOOK, "stale-hook")               \
	X(TWO_GIVERS, "two-givers")               \
	X(NUMBER_FORGOTTEN, "number-forgotten")   \
	X(PLEASE_FORGOTTEN, "please-forgotten")
enum mutation {
#define X(name, text) MUTATE_##name,
	MUTATION_LIST(X)
#undef X
		MUTATIONS
};
extern const char *const mutation_names[MUTATIONS];

struct version {
	uint64_t seq,
		token; /* tokens grow over the whole world: a later change has a greater one */
	bool foreign;  /* nobody else's: not in the digest, displaced by the active's */
};

/* What a power failure leaves. */
struct durable {
	struct role_machine machine; /* role, number, due; offer while has_offer */
	struct epoch_entry lineage[LINEAGE_SIM_MAX];
	size_t n_lineage;
	uint8_t refused[IDS_MAX / 8]; /* bit of an id: see id_number() */
	struct version index[KEYS];
	uint64_t last_seq;
	uint64_t acked[NODES_MAX][KEYS];
	bool unknown[NODES_MAX]; /* its position must be found out by comparing */
};

struct hello {
	struct wire_hello wire;
	struct epoch_entry lineage[LINEAGE_SIM_MAX];
};

enum message_kind {
	M_HELLO,
	M_END,
	M_WORD,
	M_RECORD,
	M_ACK,
	M_BARRIER,
	M_MATCH,
	M_COMPARE,
	M_HAVE
};

struct message {
	struct message *next;
	enum message_kind kind;
	uint64_t arrives;
	struct hello *hello;	 /* M_HELLO */
	enum role_event word;	 /* M_WORD; REVERSE stands for PLEASE, CLAIMED for PROMISE, UNFIT
				    for DENIAL */
	struct role_offer offer; /* M_WORD */
	uint64_t please;	 /* M_WORD: PLEASE, PREPARE, ABORT */
	unsigned key;
	struct version version; /* M_RECORD, M_ACK */
	uint64_t seq, digest;	/* M_BARRIER, M_MATCH */
	bool match;
	struct version have[KEYS];
};

struct end {
	unsigned node;
	enum { END_COMING, END_OPEN, END_CLOSED } state;
	struct message *first, **last; /* on their way to it */
	uint64_t latest;
};

struct connection {
	uint64_t id; /* 0: free */
	bool broken;
	struct end ends[2];
};

struct session {
	uint64_t connection, next; /* 0: none; next: waits until the role has changed */
	struct hello said;
	enum handshake outcome;
	uint8_t peer_role;
	bool live, sender, receiver, reconciling;
	uint64_t theirs_last_seq;
	uint64_t sent[KEYS], sent_token[KEYS];
	bool asked_promise;
	bool want_barrier, barrier_out, matched, mismatch;
	uint64_t matched_seq;
	unsigned offers;
};

struct queued {
	struct role_input in;
	int peer;	 /* -1: nobody said it */
	uint64_t hook_n; /* which hook's end it may be */
};

struct attempt {
	bool over, asked, counted, planned, typed_here;
	uint64_t deadline, please;
};

enum proof {
	PROOF_NONE,
	SETTLE_FENCE,
	SETTLE_PEERS,
	FORCE_ASK,
	FORCE_LOOK,
	FORCE_FINAL,
	LOOK,
	COMPARE_SCAN,
	COMPARE_REJOIN
};

struct node {
	unsigned at_index;
	char name[2];
	bool up;
	uint64_t boot; /* which life: events of former ones are void */
	struct durable disk;
	/* all below is lost with the power */
	struct role_machine machine;
	struct queued queue[QUEUE_MAX];
	size_t n_queue;
	struct role_output output;
	size_t next_action;
	enum role_event event;
	int peer;    /* who said it */
	int partner; /* giver: the heir. Heir: the giver */
	bool carrying, stepping, switching, frozen, rejoinable;
	struct attempt attempt;
	enum proof proof;
	uint64_t proof_n;
	/* what is being stored */
	enum role_action storing;
	struct role_machine store_machine;
	struct role_offer store_offer;
	struct epoch_entry store_epoch;
	enum role_event store_event;
	bool cut, store_cut, positions_lost[NODES_MAX];
	size_t cut_to, store_cut_to;
	unsigned stage;
	/* hooks */
	enum role_action hook;
	unsigned hooks_waiting;
	bool hook_failed;
	uint64_t hook_n; /* grows with each hook, and when the phase leaves one behind */
	uint64_t hook_again, hook_wait, hook_free;
	int promised_to;
	uint64_t promised_until;
	/* a split */
	bool have_fork;
	uint8_t fork_end[WIRE_ID_LEN];
	uint64_t fork_seq;
	uint64_t unindexed[KEYS]; /* written into the tree while nothing gets a seq */
	struct session sessions[NODES_MAX];
};

enum happening {
	H_TICK,	  /* of a node */
	H_ARRIVE, /* a connection, which end */
	H_ADMIT,
	H_DIAL,
	H_STORE,
	H_PROOF,
	H_FORCED, /* what had begun to arrive is settled: the failover may begin */
	H_HOOK,
	H_WRITE, /* of the world, from here on */
	H_PERSON,
	H_FATE,
	H_BOOT,
};

struct event {
	uint64_t at, order;
	enum happening what;
	unsigned node;
	uint64_t boot, a, b;
};

struct weather {
	uint32_t crash, cut, hook_fails, hook_hangs, dirty, held, reverse, failover, resolve;
	uint64_t delay, calm_at;
	unsigned epochs; /* that may still be begun in this round */
};

struct figures {
	uint64_t rounds, worlds, reverses, taken, returned, refusals, failovers, splits, resolves,
		rejoins, crashes, crashes_in_store, cuts, replaced, sessions, writes, epochs,
		cancels, unresolved, overtaken;
};

struct world {
	uint64_t seed, now, steps, order, next_boot;
	struct random random;
	enum mutation mutation;
	bool trace, calm;
	uint64_t calm_since, calm_steps;
	bool decided;
	int keep; /* whom the person of this calm decides for, while that is possible */
	struct weather weather;
	unsigned n_nodes;
	struct node nodes[NODES_MAX];
	struct connection connections[CONNECTIONS_MAX];
	uint64_t next_connection;
	uint64_t apart_until[NODES_MAX][NODES_MAX];
	struct event *heap;
	size_t n_heap, cap_heap;
	struct figures figures;
	/* what an onlooker knows */
	uint64_t next_token, next_id, next_please;
	uint64_t acknowledged[KEYS]; /* tokens */
	bool forced;		     /* a person has begun an epoch alone since the last rest */
	uint8_t begun[IDS_MAX / 8], refused[IDS_MAX / 8];
};

/* world.c */
void world_run(struct world *w, uint64_t seed, uint64_t steps, enum mutation mutation, bool trace);
void world_at(struct world *w, uint64_t in, enum happening what, const struct node *n, uint64_t a,
	      uint64_t b);
uint32_t below(struct world *w, uint32_t n);
bool fate(struct world *w, uint32_t in_1000); /* never in a calm */
uint64_t late(struct world *w, uint64_t usual);
void tell(const struct world *w, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void fail(const struct world *w, const char *fmt, ...)
	__attribute__((format(printf, 2, 3), noreturn));
void new_offer(struct world *w, const struct node *n, struct role_offer *out, unsigned heir);
uint64_t id_number(const uint8_t id[WIRE_ID_LEN]);
bool bit(const uint8_t *bits, uint64_t n);
void set_bit(uint8_t *bits, uint64_t n);

/* links.c */
struct connection *connection_find(struct world *w, uint64_t id);
void links_dial(struct world *w, struct node *n, unsigned peer);
void links_admit(struct world *w, uint64_t id, unsigned end);
void links_arrive(struct world *w, uint64_t id, unsigned end);
void links_send(struct world *w, struct node *n, unsigned peer, const struct message *m);
void links_close(struct world *w, struct node *n, unsigned peer); /* if there is one */
void links_cut(struct world *w, struct connection *c);
void links_resume(struct world *w, struct node *n);
void links_power_off(struct world *w, struct node *n);
void links_release(struct world *w);

/* hello.c */
void hello_send(struct world *w, struct node *n, unsigned peer);
void hello_take(struct world *w, struct node *n, unsigned peer, const struct hello *theirs);

/* data.c */
uint64_t data_digest(const struct node *n);
void data_put_digest(uint8_t out[32], uint64_t digest);
void data_pump(struct world *w, struct node *n, unsigned peer);
void data_pump_all(struct world *w, struct node *n);
void data_compare(struct world *w, struct node *n, unsigned peer);
void data_take(struct world *w, struct node *n, unsigned peer, const struct message *m);
void data_write(struct world *w, struct node *n, unsigned key);
void data_thaw(struct world *w, struct node *n); /* what was written meanwhile is indexed */
void data_ack_all(struct node *n, unsigned peer, uint64_t up_to);
void data_disown(struct node *n, uint64_t base_seq, int survivor);
void data_claim(struct node *n);

/* engine.c */
void engine_boot(struct world *w, struct node *n);
void engine_push(struct world *w, struct node *n, const struct role_input *in, int peer);
void engine_push_event(struct world *w, struct node *n, enum role_event event);
void engine_run(struct world *w, struct node *n);
void engine_tick(struct world *w, struct node *n);
void engine_session_lost(struct world *w, struct node *n, unsigned peer, bool asked_promise);
void engine_matched(struct world *w, struct node *n, unsigned peer);
uint8_t engine_role(const struct node *n); /* what is said of it */

/* durable.c */
void durable_begin(struct world *w, struct node *n, enum role_action action);
void durable_stage(struct world *w, struct node *n);
void durable_set_machine(struct node *n, const struct role_machine *m);

/* proofs.c */
void proofs_settle(struct world *w, struct node *n);
void proofs_look(struct world *w, struct node *n, bool forced);
void proofs_weigh(struct world *w, struct node *n);
void proofs_compare(struct world *w, struct node *n);
void proofs_go_on(struct world *w, struct node *n, uint64_t proof_n);
void proofs_forced(struct world *w, struct node *n); /* the tree is whole: as of now */
void proofs_reclaim(struct world *w, struct node *n);
bool people_may_force(const struct world *w, const struct node *n);
bool people_spend_epoch(struct world *w);
void proofs_claim(struct world *w, struct node *n);
void proofs_claim_session(struct world *w, struct node *n, unsigned peer);
bool proofs_promised(const struct world *w, const struct node *n, int but);
void proofs_advance(struct world *w, struct node *n);
void hooks_run(struct world *w, struct node *n, enum role_action action);
void hooks_end(struct world *w, struct node *n, bool done);
void hooks_due(struct world *w, struct node *n);

/* words.c */
void words_send(struct world *w, struct node *n, enum role_action action);
void words_say(struct world *w, struct node *n, unsigned peer, enum role_event word,
	       const struct role_offer *offer);
void words_take(struct world *w, struct node *n, unsigned peer, const struct message *m);

/* people.c */
void people_write(struct world *w);
void people_act(struct world *w);
void people_fate(struct world *w);
void people_weather(struct world *w);
bool people_busy(const struct node *n);
void people_attempt(struct world *w, struct node *n, bool typed_here);
void people_hand_over(struct world *w, struct node *n, unsigned heir);
void power_off(struct world *w, struct node *n);

/* check.c */
void check_alone(const struct world *w, const struct node *n);
void check_step(const struct world *w);
void check_epoch(struct world *w, const struct node *n, const struct role_offer *offer,
		 enum role_event event);
void check_refusal(struct world *w, const struct node *n, const uint8_t id[WIRE_ID_LEN]);
bool check_rests(const struct world *w);
void check_calm(struct world *w);
void check_dump(const struct world *w);

#endif
