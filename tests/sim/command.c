/* command.c - the options that the simulations share:
 *
 *     [--seed N] [--steps M] [--worlds K] [--mutate NAME] [--trace] [--list-mutations]
 *
 * Without a seed it takes one of the system's and prints it. With --worlds it runs that many, of M
 * steps each, whose seeds follow from the first. */
#include "command.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

static uint64_t system_seed(void)
{
	uint64_t seed;
	if (getrandom(&seed, sizeof(seed), 0) != sizeof(seed))
		abort();
	return seed >> 16;
}

static int find_mutation(const char *name, const char *const *mutations, int n)
{
	for (int i = 0; i < n; i++) {
		if (strcmp(mutations[i], name) == 0)
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

int command_main(int argc, char **argv, const char *const *mutations, int n_mutations,
		 void (*run)(uint64_t seed, uint64_t steps, int mutation, bool traced))
{
	static const struct option options[] = {{"seed", required_argument, NULL, 's'},
						{"steps", required_argument, NULL, 'n'},
						{"worlds", required_argument, NULL, 'w'},
						{"mutate", required_argument, NULL, 'm'},
						{"trace", no_argument, NULL, 't'},
						{"list-mutations", no_argument, NULL, 'l'},
						{0}};
	uint64_t seed = system_seed(), steps = 100000, worlds = 1;
	int mutation = 0;
	bool traced = false;
	for (int c; (c = getopt_long(argc, argv, "", options, NULL)) != -1;) {
		switch (c) {
		case 's': seed = number(optarg); break;
		case 'n': steps = number(optarg); break;
		case 'w': worlds = number(optarg); break;
		case 'm': mutation = find_mutation(optarg, mutations, n_mutations); break;
		case 't': traced = true; break;
		case 'l':
			for (int i = 1; i < n_mutations; i++)
				puts(mutations[i]);
			return 0;
		default: return 2;
		}
	}
	for (uint64_t i = 0; i < worlds; i++)
		run(seed + i, steps, mutation, traced);
	return 0;
}
