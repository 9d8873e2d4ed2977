/* artifact-sync pause, artifact-sync resume - stop sending for a while. */
#include <stdio.h>

#include "agent/cli/report.h"

static int ask(const struct cli *cli, const char *verb,
	       void (*print)(const struct cli *cli, const json_t *result, int code))
{
	struct question q = {.request = json_pack("{s:s}", "verb", verb),
			     .timeout_s = REPLY_TIMEOUT_S};
	return cli_ask_and_print(cli, &q, print);
}

static void print_paused(const struct cli *cli, const json_t *result, int code)
{
	bool active = json_is_true(json_object_get(result, "active"));
	if (code != EXIT_DONE)
		return;
	puts(active ? "Paused: changes are recorded and not sent. `artifact-sync resume' sends "
		      "them;\n"
		      "until then `artifact-sync exposure' lists what only this node has."
		    : "Paused: the active node records its changes and does not send them here.\n"
		      "`artifact-sync resume' fetches them; until then `artifact-sync exposure' "
		      "lists\n"
		      "what has been announced and is missing here.");
}

static void print_resumed(const struct cli *cli, const json_t *result, int code)
{
	if (code == EXIT_DONE)
		puts("Resumed. `artifact-sync status --watch' shows how it catches up.");
}

static int run_pause(const struct cli *cli, const void *options, char **operands, int n)
{
	return ask(cli, "pause", print_paused);
}

static int run_resume(const struct cli *cli, const void *options, char **operands, int n)
{
	return ask(cli, "resume", print_resumed);
}

const struct cmd cmd_pause = {
	.name = "pause",
	.summary = "Stop replicating for a while; changes are recorded",
	.help = "Changes go on being recorded and nothing is lost, but a passive node falls behind "
		"until "
		"`artifact-sync resume'. It lasts until then or until the agent is started "
		"again.\n\n"
		"Example, around work on the line:\n"
		"  artifact-sync pause && ... ; artifact-sync resume",
	.run = run_pause,
};

const struct cmd cmd_resume = {
	.name = "resume",
	.summary = "Go on after pause",
	.help = "Sends what was recorded in the meantime.\n\n"
		"Example:\n"
		"  artifact-sync resume && artifact-sync wait --timeout 60",
	.run = run_resume,
};
