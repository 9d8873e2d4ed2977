/* options.h - a command line into a struct, by the rows of a command's table. argp does the parsing
 * and the help; what is wrong ends the program with exit code 2, as the contract has it. */
#ifndef CLI_OPTIONS_H
#define CLI_OPTIONS_H

#include "agent/cli/cmd.h"

/* Everything up to and including the command's name. Ends the program on --help, --version and
 * mistakes.
 * @param next  receives the index of the first argument behind the name */
const struct cmd *options_parse_program(struct cli *cli, int argc, char **argv, int *next);

/**
 * What stands behind the command's name. Ends the program on --help and mistakes.
 * @param argv      argv[0] is overwritten with the program's and command's name
 * @param options   cmd->options_size bytes, zeroed
 * @param operands  receives at most cmd->max_operands; borrowed from argv
 * @return how many
 */
int options_parse_command(struct cli *cli, const struct cmd *cmd, int argc, char **argv,
			  void *options, char **operands);

/* Commands, options and configuration keys as JSON, for the test that holds the manual against
 * them. */
json_t *options_dump(void);

#endif
