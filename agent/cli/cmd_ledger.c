/* artifact-sync ledger - who was active when, and why; and whether anybody changed that record. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "agent/cli/report.h"
#include "agent/cli/text.h"

#define VERIFY_TIMEOUT_S 120

static void print_entries(const json_t *entries)
{
	size_t i;
	const json_t *e;
	struct table table = {
		.heading = {"Time", "Epoch", "Active", "From", "Kind", "Change", "Lost", "Reason"},
		.right = {false, true, false, false, false, true, true, false}};
	json_array_foreach((json_t *)entries, i, e)
	{
		table_add(&table, COLOUR_NONE, "%s", member_text(e, "time", "?"));
		table_add(&table, COLOUR_NONE, "%" PRIu64, member_count(e, "epoch"));
		table_add(&table, COLOUR_NONE, "%s", member_text(e, "active", "?"));
		table_add(&table, COLOUR_NONE, "%s", member_text(e, "from", ""));
		table_add(&table, COLOUR_NONE, "%s", member_text(e, "kind", "?"));
		table_add(&table, COLOUR_NONE, "%" PRIu64, member_count(e, "seq"));
		table_add(&table, COLOUR_NONE, "%zu", json_array_size(json_object_get(e, "lost")));
		AUTO_FREE char *reason = text_safe(member_text(e, "reason", ""));
		table_add(&table, COLOUR_NONE, "%s", reason);
	}
	table_print(&table, stdout, 0, false);
}

static void print_verdict(const json_t *result)
{
	if (json_is_true(json_object_get(result, "good")))
		printf("%" PRIu64
		       " entries: each is signed by this node and follows the one before.\n",
		       member_count(result, "lines"));
	else
		printf("The ledger was changed, line %" PRIu64 ": %s\n",
		       member_count(result, "bad_line"), member_text(result, "why", "?"));
}

static int run(const struct cli *cli, const void *given, char **operands, int n)
{
	bool verifies = n > 0;
	json_t *result;
	(void)given;
	if (verifies && strcmp(operands[0], "verify") != 0)
		return cli_fail(cli, EXIT_USAGE, "It is `ledger' or `ledger verify'.",
				"\"%s\" is not understood", operands[0]);
	struct question q = {.request = json_pack("{s:s}", "verb", "ledger"),
			     .timeout_s = VERIFY_TIMEOUT_S};
	int code = cli_ask(cli, &q, &result);
	if (!result)
		return code;
	if (cli->json)
		cli_print_json(cli, result);
	else if (verifies)
		print_verdict(result);
	else
		print_entries(json_object_get(result, "entries"));
	json_decref(result);
	return verifies ? code : EXIT_DONE;
}

const struct cmd cmd_ledger = {
	.name = "ledger",
	.operands = "[verify]",
	.max_operands = 1,
	.summary = "Who was active when, and why; with verify: was that record changed?",
	.help = "Each change of roles is an entry on each node that took part: epoch, who, when, "
		"planned or failover, recovery "
		"point, what was lost, who asked for it and why. An entry holds the hash of the "
		"one "
		"before and is signed with the node's key. "
		"`ledger verify' exits 1 when a line was changed, taken out or added.\n\n"
		"Examples:\n"
		"  artifact-sync ledger\n"
		"  artifact-sync ledger verify",
	.run = run,
};
