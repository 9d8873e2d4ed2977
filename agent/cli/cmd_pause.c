/* artifact-sync pause, artifact-sync resume - stop sending for a while. */
#include <stdio.h>

#include "agent/cli/report.h"

static int ask(const struct cli *cli, const char *verb, const char *said)
{
	struct question q = {.request = json_pack("{s:s}", "verb", verb),
			     .timeout_s = REPLY_TIMEOUT_S};
	json_t *result;
	int code = cli_ask(cli, &q, &result);
	if (result && cli->json)
		cli_print_json(cli, result);
	else if (result && code == EXIT_DONE)
		puts(said);
	json_decref(result);
	return code;
}

static int run_pause(const struct cli *cli, const void *options, char **operands, int n)
{
	return ask(cli, "pause",
		   "Paused: changes are recorded and not sent. `artifact-sync resume' sends them;\n"
		   "until then `artifact-sync exposure' lists what only this node has.");
}

static int run_resume(const struct cli *cli, const void *options, char **operands, int n)
{
	return ask(cli, "resume",
		   "Resumed. `artifact-sync status --watch' shows how it catches up.");
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
