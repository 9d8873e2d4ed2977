/* intake_sets_private.h - what the files of the consistency sets share: a job, from the sets that
 * are due to what becomes of them. Nobody else includes it. */
#ifndef NODE_INTAKE_SETS_PRIVATE_H
#define NODE_INTAKE_SETS_PRIVATE_H

#include "agent/node/intake_sets.h"
#include "agent/sync/capture_brake.h"
#include "agent/sync/job.h"

#define JOB_SETS 64 /* read in one job, and indexed in one transaction */
#define LINKED_MAX 256
#define UNREADABLE_MS 10000

struct intake_sets {
	uv_loop_t *loop;
	struct capture_env env;
	struct holds *holds;
	struct intake_sets_events events;
	struct set_queue *queue;
	bool working, closing;
};

/* One set, its items beside each other. */
struct part {
	struct due_set due;
	size_t first, n;
	bool too_large; /* each member for itself */
	bool skipped;	/* the job was full */
	enum set_end end;
	uint64_t again_in_ms;
};

struct sets_job {
	struct job job;
	struct intake_sets *sets;
	struct part parts[JOB_SETS];
	size_t n_parts;
	struct capture_item *items;
	size_t n, cap;
	struct intake_sets_moment moment;
	bool *left;		 /* of each item: not indexed now */
	enum capture_stop *stop; /* of each item: what the brakes say */
	bool came_back;
	char *parents[JOB_SETS]; /* directories above that must be indexed first */
	char *linked[LINKED_MAX];
	size_t n_linked, changed;
	int result;
	struct err err;
};

/* intake_sets_work.c. worker: reads the sets and indexes those that can go. */
void sets_work(struct job *job);

/* worker: the set, if no member holds it, is read again after `ms` at the earliest. */
void part_wait_again(struct part *part, uint64_t ms);

/* intake_sets_brakes.c. worker: only of what would be indexed now, or a set that is put off would
 * count each time. */
int sets_ask_brakes(struct sets_job *j);
/* worker: what is indexed, and what stands there as before. */
void sets_release_held(struct sets_job *j);

#endif
