/* sim_roles - runs worlds in which roles change hands; see ../README.md.
 *
 *     sim_roles [--seed N] [--steps M] [--worlds K] [--mutate NAME] [--trace] [--list-mutations]
 *
 * Without a seed it takes one of the system's and prints it. With --worlds it runs that many, of M
 * steps each, whose seeds follow from the first. */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "roles.h"

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
	const struct {
		const char *name;
		uint64_t n;
	} figures[] = {
		{"groups", w->figures.worlds},
		{"rounds", w->figures.rounds},
		{"changes", w->figures.writes},
		{"sessions", w->figures.sessions},
		{"replaced", w->figures.replaced},
		{"reverses", w->figures.reverses},
		{"taken", w->figures.taken},
		{"returned", w->figures.returned},
		{"refusals", w->figures.refusals},
		{"unresolved", w->figures.unresolved},
		{"cancelled", w->figures.cancels},
		{"failovers", w->figures.failovers},
		{"splits", w->figures.splits},
		{"resolved", w->figures.resolves},
		{"rejoined", w->figures.rejoins},
		{"epochs", w->figures.epochs},
		{"overtaken", w->figures.overtaken},
		{"crashes", w->figures.crashes},
		{"of them while storing", w->figures.crashes_in_store},
		{"cuts", w->figures.cuts},
	};
	printf("seed %llu: %llu steps, %.0f s", (unsigned long long)w->seed,
	       (unsigned long long)w->steps, (double)w->now / SECOND);
	for (size_t i = 0; i < sizeof(figures) / sizeof(figures[0]); i++)
		printf(", %llu %s", (unsigned long long)figures[i].n, figures[i].name);
	putchar('\n');
	fflush(stdout);
}

static void run(uint64_t seed, uint64_t steps, enum mutation mutation, bool traced)
{
	static struct world w;
	world_run(&w, seed, steps, mutation, traced);
	report(&w);
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
