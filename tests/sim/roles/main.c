/* sim_roles - runs worlds in which roles change hands; see ../README.md, and ../command.c for the
 * options. */
#include <stdio.h>

#include "../command.h"
#include "roles.h"

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

static void run(uint64_t seed, uint64_t steps, int mutation, bool traced)
{
	static struct world w;
	world_run(&w, seed, steps, mutation, traced);
	report(&w);
}

int main(int argc, char **argv)
{
	return command_main(argc, argv, mutation_names, MUTATIONS, run);
}
