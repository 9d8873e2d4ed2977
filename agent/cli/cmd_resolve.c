/* artifact-sync resolve - two nodes went on from the same epoch: which of them is kept. */
#include <stdio.h>
#include <string.h>

#include "agent/cli/report.h"
#include "agent/cli/reverse_text.h"

#define GRACE_S 10

struct resolve_options {
	const char *keep, *reason;
	bool accept_data_loss;
	uint64_t timeout_s;
};

static const struct option_row options[] = {
	{.name = "keep",
	 .arg = "NODE",
	 .type = OPTION_TEXT,
	 .off = offsetof(struct resolve_options, keep),
	 .required = true,
	 .help = "The node whose tree goes on; run the command there"},
	{.name = "accept-data-loss",
	 .type = OPTION_FLAG,
	 .off = offsetof(struct resolve_options, accept_data_loss),
	 .help = "Also when the other node is lost for ever and cannot be met again; if it comes "
		 "back all the same, that is a split once more"},
	{.name = "reason",
	 .arg = "TEXT",
	 .type = OPTION_TEXT,
	 .off = offsetof(struct resolve_options, reason),
	 .help = "For the ledger"},
	{.name = "timeout",
	 .arg = "SECONDS",
	 .type = OPTION_NUMBER,
	 .off = offsetof(struct resolve_options, timeout_s),
	 .min = 1,
	 .max = 604800,
	 .def = 120,
	 .help = "How long to wait for its hook after_promote (default: 120)"},
	{.name = NULL},
};

static int run(const struct cli *cli, const void *given, char **operands, int n)
{
	const struct resolve_options *o = given;
	const char *who = reverse_operator();
	(void)operands;
	(void)n;
	json_t *request = json_pack("{s:s, s:o, s:b, s:f}", "verb", "resolve", "keep",
				    control_text(o->keep), "accept_data_loss", o->accept_data_loss,
				    "timeout_s", (double)o->timeout_s);
	if (o->reason)
		json_object_set_new(request, "reason", control_text(o->reason));
	if (who)
		json_object_set_new(request, "operator", control_text(who));
	struct question q = {.request = request,
			     .timeout_s = (double)o->timeout_s + GRACE_S,
			     .progress = reverse_say_progress};
	return cli_ask_and_print(cli, &q, reverse_print);
}

const struct cmd cmd_resolve = {
	.name = "resolve",
	.operands = NULL,
	.summary = "End a split: decide which node's tree goes on",
	.help = "When two nodes have both been active since they last agreed, both stop and say "
		"`split'. Run this on the node whose tree is to go on: it becomes active in an "
		"epoch "
		"that ends the other's. "
		"The other one rejoins as soon as they meet; what only it has goes to its "
		"salvage.\n\n"
		"Examples:\n"
		"  artifact-sync resolve --keep region-b --reason 'region a was cut off'",
	.options = options,
	.options_size = sizeof(struct resolve_options),
	.run = run,
};
