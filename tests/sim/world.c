#include "world.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct world *the_world;

const char *const mutation_names[MUTATIONS] = {
	[MUTATE_NOTHING] = "nothing",
	[MUTATE_ACK_BEFORE_SYNC] = "ack-before-sync",
	[MUTATE_NO_STAGE_SYNC] = "no-stage-sync",
	[MUTATE_NO_STAGE_DIR_SYNC] = "no-stage-dir-sync",
	[MUTATE_JOURNAL_LATE] = "journal-late",
	[MUTATE_INDEX_BEFORE_SYNC] = "index-before-sync",
	[MUTATE_COUNT_GIVE_UP] = "count-give-up",
	[MUTATE_FORGET_CROSSING] = "forget-crossing",
	[MUTATE_KEPT_FOR_EVER] = "kept-for-ever",
	[MUTATE_TRUST_NUMBERS] = "trust-numbers",
	[MUTATE_OVERWRITE] = "overwrite",
	[MUTATE_JUDGE_LATER] = "judge-later",
	[MUTATE_SYNC_CHILDREN_FIRST] = "sync-children-first",
	[MUTATE_SYNC_COVERS_LATER] = "sync-covers-later",
	[MUTATE_SHORT_PAGE] = "short-page",
	[MUTATE_BARRIER_EARLY] = "barrier-early",
};

/* ---- chance --------------------------------------------------------------------------------- */

uint32_t below(struct world *w, uint32_t n)
{
	return random_below(&w->random, n);
}

bool chance(struct world *w, uint32_t in_1000)
{
	return in_1000 > 0 && !w->calm && random_chance(&w->random, in_1000);
}

uint64_t delay(struct world *w, uint64_t usual)
{
	uint32_t kind = below(w, 64);
	uint64_t in = 1 + usual * (1 + below(w, 1000)) / 500;
	return kind == 0 ? in * 60 : kind < 5 ? in * 8 : in;
}

/* ---- contents ------------------------------------------------------------------------------- */

uint64_t world_content(struct world *w)
{
	if (w->next_content == w->cap_contents) {
		size_t cap = 2 * w->cap_contents + 1024;
		w->content_paths = realloc(w->content_paths, cap * sizeof(uint64_t));
		memset(w->content_paths + w->cap_contents, 0,
		       (cap - w->cap_contents) * sizeof(uint64_t));
		w->cap_contents = cap;
	}
	return w->next_content++;
}

void world_had(struct world *w, uint64_t content, int path)
{
	w->content_paths[content] |= 1ull << path;
}

bool world_ever_had(const struct world *w, uint64_t content, int path)
{
	return content < w->next_content && (w->content_paths[content] >> path & 1);
}

/* ---- events --------------------------------------------------------------------------------- */

static bool is_before(const struct event *a, const struct event *b)
{
	return a->due != b->due ? a->due < b->due : a->order < b->order;
}

static void push(struct world *w, const struct event *event)
{
	if (w->n_queue == w->cap_queue) {
		w->cap_queue = 2 * w->cap_queue + 256;
		w->queue = realloc(w->queue, w->cap_queue * sizeof(*w->queue));
	}
	size_t at = w->n_queue++;
	for (; at > 0 && is_before(event, &w->queue[(at - 1) / 2]); at = (at - 1) / 2)
		w->queue[at] = w->queue[(at - 1) / 2];
	w->queue[at] = *event;
}

static struct event pop(struct world *w)
{
	struct event first = w->queue[0], last = w->queue[--w->n_queue];
	size_t at = 0, child;
	while ((child = 2 * at + 1) < w->n_queue) {
		if (child + 1 < w->n_queue && is_before(&w->queue[child + 1], &w->queue[child]))
			child++;
		if (!is_before(&w->queue[child], &last))
			break;
		w->queue[at] = w->queue[child];
		at = child;
	}
	w->queue[at] = last;
	return first;
}

void session_job(struct session *s, uint64_t usual, const char *name, session_run *job,
		 uint32_t arg)
{
	struct event event = {.due = s->w->now + delay(s->w, usual),
			      .order = s->w->order++,
			      .name = name,
			      .node = s->node,
			      .incarnation = s->node->incarnation,
			      .peer = s->peer,
			      .arg = arg,
			      .job = job};
	s->jobs++;
	push(s->w, &event);
}

void later(struct world *w, struct node *node, uint64_t in, const char *name,
	   void (*run)(struct world *w, struct node *node, int peer, uint32_t arg), int peer,
	   uint32_t arg)
{
	struct event event = {.due = w->now + in,
			      .order = w->order++,
			      .name = name,
			      .node = node,
			      .incarnation = node ? node->incarnation : 0,
			      .peer = peer,
			      .arg = arg,
			      .run = run};
	push(w, &event);
}

static void step(struct world *w)
{
	struct event event = pop(w);
	w->now = event.due;
	if (event.node && event.node->incarnation != event.incarnation)
		return;
	w->steps++;
	/* Most of what a crash can break is under way for a moment only. */
	bool fragile = event.node && event.node->batch.phase != BATCH_IDLE;
	if (event.node && event.node->up &&
	    chance(w, fragile ? w->weather.sudden : w->weather.sudden / 8)) {
		node_crash(w, event.node);
		return;
	}
	trace(w, event.node, "%s peer %d arg %u", event.name, event.peer, event.arg);
	if (event.job)
		session_run_job(&event.node->sessions[event.peer], event.job, event.arg);
	else
		event.run(w, event.node, event.peer, event.arg);
	check_step(w);
}

/* ---- rounds --------------------------------------------------------------------------------- */

#define CALM_TIME_MAX (400 * SECOND) /* several retries at their longest pause */
#define CALM_STEPS_MAX 60000

/* Faults end: everything must become equal. Then the next round. */
static void calm_down(struct world *w)
{
	w->calm = true;
	w->calm_since = w->now;
	w->calm_steps = w->steps;
	trace(w, NULL, "---- calm");
	for (int i = 0; i < w->n_nodes; i++) {
		struct node *node = &w->nodes[i];
		if (node->up && node_is_active(node))
			intake_scan(w, node);
	}
}

static void begin_round(struct world *w)
{
	w->calm = false;
	w->stats.rounds++;
	w->round_ends = w->steps + 300 + below(w, 3000);
	trace(w, NULL, "---- round %llu", (unsigned long long)w->stats.rounds);
	faults_begin_round(w);
}

static void turn_rounds(struct world *w)
{
	if (!w->calm && w->steps >= w->round_ends) {
		calm_down(w);
	} else if (w->calm && w->steps % 16 == 0 && check_converged(w)) {
		begin_round(w);
	} else if (w->calm && (w->now - w->calm_since > CALM_TIME_MAX ||
			       w->steps - w->calm_steps > CALM_STEPS_MAX)) {
		check_explain(w);
		world_fail(w, "not everything became equal within %llu s and %llu steps of calm",
			   (unsigned long long)((w->now - w->calm_since) / SECOND),
			   (unsigned long long)(w->steps - w->calm_steps));
	}
}

void world_init(struct world *w, uint64_t seed)
{
	*w = (struct world){.seed = seed, .random = {seed}, .next_content = 0};
	the_world = w;
	paths_init();
	world_content(w); /* 0 is the empty one, which any path may have */
	w->content_paths[0] = ALL_PATHS;
	w->last_temp = PATH_NAMES_END;
	w->n_nodes = 2 + (int)below(w, 2);
	w->epochs = below(w, 3) == 0;
	uint32_t populated = below(w, 4); /* bits: which passive has local files */
	for (int i = 0; i < w->n_nodes; i++)
		node_create(w, i, i == 0, i > 0 && (populated >> (i - 1) & 1));
	for (int i = 0; i < w->n_nodes; i++)
		later(w, &w->nodes[i], delay(w, 50 * MS), "start", node_start, 0, 0);
	begin_round(w);
}

/* Ends when everything has become equal after the last of the steps. */
void world_run(struct world *w, uint64_t steps)
{
	uint64_t round = w->stats.rounds;
	while (w->steps < steps || w->stats.rounds == round) {
		if (w->n_queue == 0)
			world_fail(w, "nothing will ever happen any more");
		if (w->steps < steps)
			round = w->stats.rounds;
		step(w);
		turn_rounds(w);
	}
}

void world_release(struct world *w)
{
	for (int i = 0; i < w->n_nodes; i++)
		node_release(&w->nodes[i]);
	network_release(w);
	free(w->queue);
	free(w->content_paths);
}

/* ---- words ---------------------------------------------------------------------------------- */

void trace(const struct world *w, const struct node *node, const char *fmt, ...)
{
	va_list args;
	if (!w->trace)
		return;
	printf("%8llu %12.6f %s ", (unsigned long long)w->steps, (double)w->now / SECOND,
	       node ? node->name : "-");
	va_start(args, fmt);
	vprintf(fmt, args);
	va_end(args);
	putchar('\n');
}

void world_fail(const struct world *w, const char *fmt, ...)
{
	va_list args;
	fflush(stdout);
	fprintf(stderr, "FAILED seed %llu step %llu time %.3f s: ", (unsigned long long)w->seed,
		(unsigned long long)w->steps, (double)w->now / SECOND);
	va_start(args, fmt);
	vfprintf(stderr, fmt, args);
	va_end(args);
	fprintf(stderr, "\nagain: sim --seed %llu --steps %llu%s%s\n", (unsigned long long)w->seed,
		(unsigned long long)w->steps + 1, w->mutation ? " --mutate " : "",
		w->mutation ? mutation_names[w->mutation] : "");
	exit(1);
}
