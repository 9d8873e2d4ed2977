/* artifact-sync ledger - who was active when, and why; and whether anybody changed that record. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "agent/cli/report.h"
#include "agent/cli/text.h"

#define VERIFY_TIMEOUT_S 120

static void print_entries(const json_t *entries)
{
	size_t i;
	const json_t *e;
	bool colours = isatty(STDOUT_FILENO);
	struct table table = {
		.heading = {"Line", "Time", "Epoch", "Active", "From", "Kind", "Change", "Lost",
			    "Reason"},
		.right = {true, false, true, false, false, false, true, true, false, false}};
	json_array_foreach((json_t *)entries, i, e)
	{
		bool bad = json_object_get(e, "bad") != NULL;
		table_add(&table, bad ? COLOUR_BAD : COLOUR_NONE, "%zu%s", i + 1, bad ? "!" : "");
		AUTO_FREE char *time = text_safe(member_text(e, "time", "?"));
		AUTO_FREE char *active = text_safe(member_text(e, "active", "?"));
		AUTO_FREE char *from = text_safe(member_text(e, "from", ""));
		AUTO_FREE char *kind = text_safe(member_text(e, "kind", "?"));
		AUTO_FREE char *by = text_safe(member_text(e, "operator", ""));
		AUTO_FREE char *reason = text_safe(member_text(e, "reason", ""));
		table_add(&table, COLOUR_NONE, "%s", time);
		table_add(&table, COLOUR_NONE, "%" PRIu64, member_count(e, "epoch"));
		table_add(&table, COLOUR_NONE, "%s", active);
		table_add(&table, COLOUR_NONE, "%s", from);
		table_add(&table, COLOUR_NONE, "%s", kind);
		table_add(&table, COLOUR_NONE, "%" PRIu64, member_count(e, "seq"));
		table_add(&table, COLOUR_NONE, "%zu", json_array_size(json_object_get(e, "lost")));
		table_add(&table, COLOUR_NONE, "%s", by);
		table_add(&table, COLOUR_NONE, "%s", reason);
	}
	table_print(&table, stdout, 0, colours);
}

/* Every line that does not verify: what it says is not what was written, or stands elsewhere. */
static void print_bad(const json_t *result)
{
	size_t i;
	const json_t *e;
	if (json_is_true(json_object_get(result, "good")))
		return;
	if (member_count(result, "bad_line") == 0)
		printf("The ledger was changed: %s\n", member_text(result, "why", "?"));
	json_array_foreach(json_object_get(result, "entries"), i, e)
	{
		if (json_object_get(e, "bad"))
			printf("The ledger was changed, line %zu: %s\n", i + 1,
			       member_text(e, "bad", "?"));
	}
}

static void print_waiting(const json_t *result)
{
	uint64_t waiting = member_count(result, "waiting");
	if (waiting > 0)
		printf("%" PRIu64 " more wait to be written: a change of roles is under way, or "
		       "`artifact-sync status' says why.\n",
		       waiting);
}

static void print_verdict(const json_t *result)
{
	if (json_is_true(json_object_get(result, "good")))
		printf("%" PRIu64
		       " entries: each is signed by this node and follows the one before.\n",
		       member_count(result, "lines"));
}

static void print_verified(const struct cli *cli, const json_t *result, int code)
{
	print_verdict(result);
	print_bad(result);
	print_waiting(result);
}

static void print_ledger(const struct cli *cli, const json_t *result, int code)
{
	print_entries(json_object_get(result, "entries"));
	print_bad(result);
	print_waiting(result);
}

static int run(const struct cli *cli, const void *given, char **operands, int n)
{
	bool verifies = n > 0;
	(void)given;
	if (verifies && strcmp(operands[0], "verify") != 0)
		return cli_fail(cli, EXIT_USAGE, "It is `ledger' or `ledger verify'.",
				"\"%s\" is not understood", operands[0]);
	struct question q = {.request = json_pack("{s:s}", "verb", "ledger"),
			     .timeout_s = VERIFY_TIMEOUT_S};
	return cli_ask_and_print(cli, &q, verifies ? print_verified : print_ledger);
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
		"Both exit 1 when a line was changed, taken out or added, or an epoch is not told "
		"of; bad lines are "
		"marked with `!', and what is wrong with each is said.\n\n"
		"Examples:\n"
		"  artifact-sync ledger\n"
		"  artifact-sync ledger verify",
	.run = run,
};
