/* sim - runs simulated worlds; see README.md.
 *
 *     sim [--seed N] [--steps M] [--worlds K] [--mutate NAME] [--trace] [--list-mutations]
 *
 * Without a seed it takes one of the system's and prints it. With --worlds it runs that many, of M
 * steps each, whose seeds follow from the first. */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "world.h"

static uint64_t system_seed(void)
{
	uint64_t seed;
	if (getrandom(&seed, sizeof(seed), 0) != sizeof(seed))
		abort();
	return seed >> 16;
}

static enum mutation find_mutation(const char *name)
{
	for (int i = 0; i < MUTATIONS; i++) {
		if (strcmp(mutation_names[i], name) == 0)
			return i;
	}
	fprintf(stderr, "no mutation is called \"%s\": see --list-mutations\n", name);
	exit(2);
}

static uint64_t number(const char *text)
{
	char *end;
	uint64_t value = strtoull(text, &end, 0);
	if (*text == '\0' || *end != '\0') {
		fprintf(stderr, "\"%s\" is not a number\n", text);
		exit(2);
	}
	return value;
}

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

static void run(uint64_t seed, uint64_t steps, enum mutation mutation, bool traced)
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
	static const struct option options[] = {{"seed", required_argument, NULL, 's'},
						{"steps", required_argument, NULL, 'n'},
						{"worlds", required_argument, NULL, 'w'},
						{"mutate", required_argument, NULL, 'm'},
						{"trace", no_argument, NULL, 't'},
						{"list-mutations", no_argument, NULL, 'l'},
						{0}};
	uint64_t seed = system_seed(), steps = 100000, worlds = 1;
	enum mutation mutation = MUTATE_NOTHING;
	bool traced = false;
	for (int c; (c = getopt_long(argc, argv, "", options, NULL)) != -1;) {
		switch (c) {
		case 's': seed = number(optarg); break;
		case 'n': steps = number(optarg); break;
		case 'w': worlds = number(optarg); break;
		case 'm': mutation = find_mutation(optarg); break;
		case 't': traced = true; break;
		case 'l':
			for (int i = 1; i < MUTATIONS; i++)
				puts(mutation_names[i]);
			return 0;
		default: return 2;
		}
	}
	for (uint64_t i = 0; i < worlds; i++)
		run(seed + i, steps, mutation, traced);
	return 0;
}
