/* artifact-sync reverse - the passive node becomes the active one. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "agent/cli/report.h"
#include "agent/cli/reverse_text.h"

#define GRACE_S 10 /* for the agent's own deadline to reach us */
#define TIMEOUT_DEFAULT_S 120

struct reverse_options {
	bool dry_run, failover, accept_data_loss, yes;
	const char *reason, *to;
	uint64_t timeout_s;
};

static const struct option_row options[] = {
	{.name = "dry-run",
	 .type = OPTION_FLAG,
	 .off = offsetof(struct reverse_options, dry_run),
	 .help = "Only say whether it is possible, how long it takes, and what would be lost"},
	{.name = "failover",
	 .type = OPTION_FLAG,
	 .off = offsetof(struct reverse_options, failover),
	 .help = "On the passive node: the active one is lost, take over without it"},
	{.name = "accept-data-loss",
	 .type = OPTION_FLAG,
	 .off = offsetof(struct reverse_options, accept_data_loss),
	 .help = "Also when something is known to be held back or missing; --yes does not say "
		 "that"},
	{.name = "yes",
	 .type = OPTION_FLAG,
	 .off = offsetof(struct reverse_options, yes),
	 .help = "Do not ask"},
	{.name = "reason",
	 .arg = "TEXT",
	 .type = OPTION_TEXT,
	 .off = offsetof(struct reverse_options, reason),
	 .help = "For the ledger of both nodes"},
	{.name = "to",
	 .arg = "NODE",
	 .type = OPTION_TEXT,
	 .off = offsetof(struct reverse_options, to),
	 .help = "On the active node of more than two: who takes over"},
	{.name = "timeout",
	 .arg = "SECONDS",
	 .type = OPTION_NUMBER,
	 .off = offsetof(struct reverse_options, timeout_s),
	 .min = 1,
	 .max = 604800,
	 .def = TIMEOUT_DEFAULT_S,
	 .help = "Take everything back after this time (default: 120)"},
	{.name = NULL},
};

static int ask_agent(const struct cli *cli, const struct reverse_options *o, bool dry_run,
		     json_t **result)
{
	json_t *request = json_pack("{s:s, s:b, s:b, s:b, s:f}", "verb", "reverse", "dry_run",
				    dry_run, "failover", o->failover, "accept_data_loss",
				    o->accept_data_loss, "timeout_s", (double)o->timeout_s);
	const char *who = reverse_operator();
	if (o->reason)
		json_object_set_new(request, "reason", control_text(o->reason));
	if (o->to)
		json_object_set_new(request, "to", control_text(o->to));
	if (who)
		json_object_set_new(request, "operator", control_text(who));
	struct question q = {.request = request,
			     .timeout_s = (double)o->timeout_s + GRACE_S,
			     .progress = reverse_say_progress};
	return cli_ask(cli, &q, result);
}

static bool confirm(bool failover)
{
	char line[16];
	fputs(failover ? "Take over without the active node? Type yes: "
		       : "Exchange the roles now? Type yes: ",
	      stdout);
	fflush(stdout);
	return fgets(line, sizeof(line), stdin) && strcmp(line, "yes\n") == 0;
}

/* What is known of it first, then the question. */
static int confirm_at_terminal(const struct cli *cli, const struct reverse_options *o)
{
	json_t *result;
	int code = ask_agent(cli, o, true, &result);
	if (result)
		reverse_print(cli, result, code);
	json_decref(result);
	if (code != EXIT_DONE)
		return code;
	return confirm(o->failover) ? EXIT_DONE
				    : cli_fail(cli, EXIT_REFUSED, NULL, "nothing was changed");
}

static int run(const struct cli *cli, const void *given, char **operands, int n)
{
	const struct reverse_options *o = given;
	json_t *result;
	int code = EXIT_DONE;
	(void)operands;
	(void)n;
	bool asks = !o->yes && !o->dry_run;
	if (asks && !(isatty(STDIN_FILENO) && isatty(STDOUT_FILENO)))
		return cli_fail(cli, EXIT_REFUSED, "Say --yes, or look first with --dry-run.",
				"reverse changes who is active and nobody is here to ask");
	if (asks)
		code = confirm_at_terminal(cli, o);
	if (code != EXIT_DONE)
		return code;
	code = ask_agent(cli, o, o->dry_run, &result);
	return cli_print_answer(cli, result, code, reverse_print);
}

const struct cmd cmd_reverse = {
	.name = "reverse",
	.operands = NULL,
	.summary = "Exchange the roles: the passive node becomes the active one",
	.help = "On either node. Runs before_promote on the passive and before_demote on the "
		"active "
		"node, waits until "
		"everything is on the other side and the digests are equal, hands over, and runs "
		"after_promote and after_demote. Whatever goes wrong before the handover is taken "
		"back. With --failover, on the passive "
		"node when the active one is lost: says what is known to be missing, and takes "
		"over. Without a terminal it needs --yes.\n\n"
		"Exit codes: 1 it failed, or another node took over meanwhile (\"outcome\": "
		"\"superseded\" or \"split\"); 3 refused, with every reason; 5 the other node "
		"cannot be reached, or "
		"the handover was offered and not answered "
		"yet (\"outcome\": \"unresolved\"); 6 the time was up and all is as before.\n\n"
		"Examples:\n"
		"  artifact-sync reverse --dry-run\n"
		"  artifact-sync reverse --reason 'maintenance of region a' --timeout 60\n"
		"  artifact-sync reverse --failover --yes",
	.options = options,
	.options_size = sizeof(struct reverse_options),
	.run = run,
};
