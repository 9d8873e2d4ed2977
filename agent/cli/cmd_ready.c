/* artifact-sync ready - is a reverse possible now? */
#include <stdio.h>

#include "agent/cli/report.h"
#include "agent/cli/text.h"

static void print_result(const struct cli *cli, const json_t *result, int code)
{
	size_t i;
	const json_t *reason;
	puts(code == EXIT_DONE ? "Ready: a reverse is possible now." : "Not ready for a reverse:");
	json_array_foreach(json_object_get(result, "not_ready"), i, reason)
	{
		const char *text = json_string_value(reason);
		AUTO_FREE char *safe = text_safe(text ? text : "?");
		printf("  %s\n", safe);
	}
}

static int run(const struct cli *cli, const void *options, char **operands, int n)
{
	struct question q = {.request = json_pack("{s:s}", "verb", "ready"),
			     .timeout_s = REPLY_TIMEOUT_S};
	return cli_ask_and_print(cli, &q, print_result);
}

const struct cmd cmd_ready = {
	.name = "ready",
	.summary = "Say whether a reverse is possible now, and if not, why and what to do",
	.help = "Both nodes judge this all the time and tell each other: whether each can connect "
		"to "
		"the other (it is tried), certificates about to expire, free space, watches, hooks "
		"that cannot be started, the right to give owners, clocks, versions, profile and "
		"compare-only files that differ, paths held back, refused, changed on the passive, "
		"salvage that nobody has looked at, a first sync that is not complete, a pause. "
		"Each "
		"reason is a sentence with what to do; those of the other node begin with its "
		"name. "
		"Exit code 0 when there is none, else 1.\n\n"
		"Examples:\n"
		"  artifact-sync ready\n"
		"  artifact-sync ready --json | jq -r '.not_ready[]'",
	.run = run,
};
