/* The program: options, the command, its exit code. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/cli/cmd.h"
#include "agent/cli/options.h"
#include "agent/cli/usage_json.h"

#define OPERANDS_MAX 64

const struct cmd *const cmds[] = {
#define X(verb) &cmd_##verb,
	CMDS(X)
#undef X
		NULL,
};

static bool shows_colours(void)
{
	const char *term = getenv("TERM");
	const char *no_color = getenv("NO_COLOR"); /* https://no-color.org */
	return isatty(STDOUT_FILENO) && term && strcmp(term, "dumb") != 0 &&
	       !(no_color && *no_color);
}

int cli_main(int argc, char **argv)
{
	const char *environment = getenv("ARTIFACT_SYNC_CONFIG");
	struct cli cli = {.config = environment && *environment ? environment : CONF_DEFAULT_PATH,
			  .colour = shows_colours()};
	int next;
	usage_json_begin(argc, argv);
	const struct cmd *cmd = options_parse_program(&cli, argc, argv, &next);
	BUG_ON(cmd->max_operands > OPERANDS_MAX);
	char *operands[OPERANDS_MAX + 1] = {NULL};
	AUTO_FREE void *options = x_calloc(1, cmd->options_size ? cmd->options_size : 1);
	int n = options_parse_command(&cli, cmd, argc - next + 1, argv + next - 1, options,
				      operands);
	usage_json_end();
	int code = cmd->run(&cli, options, operands, n);
	/* A full disk or a closed pipe must not look like success. */
	if (fflush(stdout) != 0 && code == EXIT_DONE)
		code = EXIT_NO;
	return code;
}
