/* command.h - the command line of a simulation: which worlds are run, and with what broken. */
#ifndef SIM_COMMAND_H
#define SIM_COMMAND_H

#include <stdbool.h>
#include <stdint.h>

/**
 * All of main().
 * @param mutations  their names, of which the first is none
 * @param run  one world, to its end; one that fails does not come back
 * @return what main() returns
 */
int command_main(int argc, char **argv, const char *const *mutations, int n_mutations,
		 void (*run)(uint64_t seed, uint64_t steps, int mutation, bool traced));

#endif
