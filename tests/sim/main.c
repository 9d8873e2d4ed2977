/* sim - runs simulated worlds; see README.md, and command.c for the options. */
#include <stdio.h>

#include "command.h"
#include "world.h"

static void report(const struct world *w)
{
	const struct stats *s = &w->stats;
	printf("seed %llu: %llu steps, %.0f s, %d nodes, %llu rounds, %llu changes, %llu sessions "
	       "(%llu replaced), %llu acks, %llu batches, %llu crashes (%llu in a batch, %llu "
	       "rolled "
	       "forward), %llu cuts, %llu rollbacks, %llu reconciliations, barriers %llu matched "
	       "%llu dropped %llu mismatched, %llu needs, %llu refusals, %llu aborts, %llu given "
	       "up, "
	       "%llu saved\n",
	       (unsigned long long)w->seed, (unsigned long long)w->steps, (double)w->now / SECOND,
	       w->n_nodes, (unsigned long long)s->rounds, (unsigned long long)s->users,
	       (unsigned long long)s->sessions, (unsigned long long)s->replaced,
	       (unsigned long long)s->acks, (unsigned long long)s->batches,
	       (unsigned long long)s->crashes, (unsigned long long)s->crashes_in_batch,
	       (unsigned long long)s->rolled_forward, (unsigned long long)s->cuts,
	       (unsigned long long)s->rollbacks, (unsigned long long)s->reconciliations,
	       (unsigned long long)s->matched, (unsigned long long)s->dropped,
	       (unsigned long long)s->mismatches, (unsigned long long)s->needs,
	       (unsigned long long)s->refusals, (unsigned long long)s->aborts,
	       (unsigned long long)s->give_ups, (unsigned long long)s->salvaged);
	fflush(stdout);
}

static void run(uint64_t seed, uint64_t steps, int mutation, bool traced)
{
	static struct world w;
	world_init(&w, seed);
	w.mutation = mutation;
	w.trace = traced;
	world_run(&w, steps);
	report(&w);
	world_release(&w);
}

int main(int argc, char **argv)
{
	return command_main(argc, argv, mutation_names, MUTATIONS, run);
}
