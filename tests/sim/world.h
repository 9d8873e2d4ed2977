/* world.h - a world: nodes, the network between them, a clock, a queue of events, chance, and what
 * must hold. A step is one event; events that come due for a node that has crashed since are
 * dropped and do not count. Everything follows from the seed. */
#ifndef SIM_WORLD_H
#define SIM_WORLD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "node.h"
#include "random.h"

#define MS 1000ull /* the clock counts microseconds */
#define SECOND (1000 * MS)

#define CONNECTIONS_MAX 24

struct event {
	uint64_t due, order;
	const char *name;
	struct node *node; /* NULL: the world's own */
	uint32_t incarnation;
	int peer;
	uint32_t arg;
	void (*run)(struct world *w, struct node *node, int peer, uint32_t arg);
	session_run *job; /* instead of run: something of the session with `peer` */
};

/* Breaking the modelled order on purpose: each must be found. */
enum mutation {
	MUTATE_NOTHING,
	MUTATE_ACK_BEFORE_SYNC,	  /* the answer goes before the touched directories are synced */
	MUTATE_NO_STAGE_SYNC,	  /* staged data is not synced before the journal */
	MUTATE_NO_STAGE_DIR_SYNC, /* the staging directory is not synced before the journal */
	MUTATE_JOURNAL_LATE,	  /* the journal is written after the first name */
	MUTATE_INDEX_BEFORE_SYNC, /* the index says so before the directories are durable */
	MUTATE_COUNT_GIVE_UP,	  /* a delta given up locally is counted as a denial */
	MUTATE_FORGET_CROSSING,	  /* a denial that crosses an abort is not counted */
	MUTATE_KEPT_FOR_EVER,	  /* a kept directory stays when what kept it is gone */
	MUTATE_TRUST_NUMBERS, /* a rolled-back state is known by its number of transactions alone */
	MUTATE_OVERWRITE,     /* what is displaced is thrown away unlooked at */
	MUTATE_BARRIER_EARLY, /* a barrier is sent while something is refused */
	MUTATE_SHORT_PAGE,    /* a page that is not full is taken for the last */
	MUTATE_JUDGE_LATER, /* a HELLO is judged with what the node is by now, not with what it said
			     */
	MUTATE_SYNC_CHILDREN_FIRST, /* touched directories are synced from the bottom */
	MUTATE_SYNC_COVERS_LATER,   /* a sync is believed to cover what was written while it ran */
	MUTATIONS
};
extern const char *const mutation_names[MUTATIONS];

/* How much goes wrong in a round; in 1000 cases. */
struct weather {
	uint32_t deny;	     /* stagings and operations that fail at the passive */
	uint32_t early;	     /* of them, those that are answered before the stream has ended */
	uint32_t give_up;    /* deltas that do not pay */
	uint32_t race;	     /* files that the tenant changes while they are read */
	uint32_t lose_event; /* changes that nobody reports; a scan finds them */
	uint32_t sudden;     /* events of a node in a batch that a power failure comes before */
	uint64_t fault_gap;  /* mean time between faults, us */
	uint64_t user_gap;   /* between changes in the tree */
	uint32_t crash, cut, dial, rollback; /* weights among the faults */
};

struct stats {
	uint64_t rounds, crashes, crashes_in_batch, cuts, rollbacks, users, acks, batches,
		rolled_forward, matched, dropped, mismatches, needs, refusals, aborts, give_ups,
		reconciliations, salvaged, sessions, replaced;
};

struct world {
	uint64_t seed;
	struct random random;
	uint64_t now, steps;
	uint64_t order;
	struct event *queue; /* a heap */
	size_t n_queue, cap_queue;
	int n_nodes;
	struct node nodes[NODES_MAX];
	struct connection connections[CONNECTIONS_MAX];
	uint32_t last_connection;
	/* contents: which paths of the active had each */
	uint64_t next_content;
	uint64_t *content_paths;
	size_t cap_contents;
	uint32_t last_temp;
	int64_t last_mtime;
	bool calm;
	uint64_t calm_since, calm_steps, round_ends;
	struct weather weather;
	enum mutation mutation;
	bool epochs; /* the active begins a new one now and then; nobody is put back to a copy */
	bool trace;
	struct stats stats;
};

extern struct world *the_world; /* for messages of what cannot reach it otherwise */

void world_init(struct world *w, uint64_t seed);
void world_release(struct world *w);
void world_run(struct world *w, uint64_t steps);

uint32_t below(struct world *w, uint32_t n);
bool chance(struct world *w, uint32_t in_1000); /* while it is calm: never */
/* A delay around `usual`, sometimes many times longer. */
uint64_t delay(struct world *w, uint64_t usual);
void later(struct world *w, struct node *node, uint64_t in, const char *name,
	   void (*run)(struct world *w, struct node *node, int peer, uint32_t arg), int peer,
	   uint32_t arg);

/* A fresh content; `path` may show it from now on. */
uint64_t world_content(struct world *w);
void world_had(struct world *w, uint64_t content, int path);
bool world_ever_had(const struct world *w, uint64_t content, int path);

__attribute__((format(printf, 2, 3), noreturn)) void world_fail(const struct world *w,
								const char *fmt, ...);
__attribute__((format(printf, 3, 4))) void trace(const struct world *w, const struct node *node,
						 const char *fmt, ...);

/* faults.c: what the users of the tree and fate do */
void faults_begin_round(struct world *w);
/* Somebody may write to the file that is just being read. */
void faults_race(struct world *w, struct node *node, int path);

/* check.c */
void check_acknowledged(struct world *w, struct node *active);
void check_after_recovery(struct world *w, struct node *node);
void check_local_content(struct world *w, struct node *node);
void check_step(struct world *w);
void check_matched(struct world *w, struct node *passive, const struct node *active,
		   const struct row expected[N_PATHS]);
bool check_converged(struct world *w);
void check_explain(const struct world *w); /* why it has not converged */

#endif
