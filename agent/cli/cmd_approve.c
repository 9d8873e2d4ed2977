/* artifact-sync approve, artifact-sync reject - what the brakes hold. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "agent/cli/report.h"
#include "agent/cli/text.h"

static int parse_id(const struct cli *cli, const char *text, json_int_t *id)
{
	char *end;
	errno = 0;
	long long n = strtoll(text, &end, 10);
	if (*text < '0' || *text > '9' || *end || errno || n < 1)
		return cli_fail(cli, EXIT_USAGE, "`artifact-sync status' lists the holds.",
				"\"%s\" is not the number of a hold", text);
	*id = n;
	return EXIT_DONE;
}

static void print_decision(const json_t *hold, bool approve)
{
	AUTO_FREE char *reason = text_safe(member_text(hold, "reason", ""));
	AUTO_FREE char *remedy = text_safe(member_text(hold, "remedy", ""));
	printf("Hold %" PRIu64 " is %s: %" PRIu64 " paths (%s).\n", member_count(hold, "id"),
	       approve ? "approved" : "rejected", member_count(hold, "paths"), reason);
	if (approve)
		puts("`artifact-sync wait' ends when it has happened.");
	else
		printf("  %s\n", remedy);
}

static void print_approved(const struct cli *cli, const json_t *result, int code)
{
	if (code == EXIT_DONE)
		print_decision(result, true);
}

static void print_rejected(const struct cli *cli, const json_t *result, int code)
{
	if (code == EXIT_DONE)
		print_decision(result, false);
}

static int ask(const struct cli *cli, const char *verb, char **operands, int n,
	       void (*print)(const struct cli *cli, const json_t *result, int code))
{
	json_int_t id = 0;
	if (n > 0 && parse_id(cli, operands[0], &id) != EXIT_DONE)
		return EXIT_USAGE;
	struct question q = {.request = json_pack("{s:s}", "verb", verb),
			     .timeout_s = REPLY_TIMEOUT_S};
	if (n > 0)
		json_object_set_new(q.request, "hold", json_integer(id));
	return cli_ask_and_print(cli, &q, print);
}

static int run_approve(const struct cli *cli, const void *options, char **operands, int n)
{
	return ask(cli, "approve", operands, n, print_approved);
}

static int run_reject(const struct cli *cli, const void *options, char **operands, int n)
{
	return ask(cli, "reject", operands, n, print_rejected);
}

const struct cmd cmd_approve = {
	.name = "approve",
	.operands = "[ID]",
	.max_operands = 1,
	.summary = "Let happen what a brake holds",
	.help = "When more than max_delete per cent of the files are deleted or emptied within a "
		"minute, or more than max_rewrite per cent rewritten, the node holds them and goes "
		"on with everything else; `artifact-sync status' shows each hold with its number. "
		"On the active node a hold keeps its own changes from the peers, on a passive one "
		"it "
		"refuses those of the active: run the command on the node that holds. What is "
		"approved on the active is not asked again on a passive, unless peer_approvals is "
		"false there. Without a "
		"number the only hold is meant. What joined a hold is approved with it; an "
		"approval "
		"that met nothing within an hour is void.\n\n"
		"Example:\n"
		"  artifact-sync status && artifact-sync approve 3 && artifact-sync wait",
	.run = run_approve,
};

const struct cmd cmd_reject = {
	.name = "reject",
	.operands = "[ID]",
	.max_operands = 1,
	.summary = "Undo, or refuse for good, what a brake holds",
	.help = "On the active node: the held deletions or rewrites are not replicated, and what "
		"the peers still have is put back into the tree, fetched from there where it is "
		"nowhere here; what stands in its place goes to the salvage. It goes on by itself "
		"after a restart or when a peer is there again, and status names what could not be "
		"put back. What had gone before it was too much is not part of the hold.\n\n"
		"On a passive node: it goes on refusing them, and status goes on naming them until "
		"the files are back on the active one.\n\n"
		"`artifact-sync approve' with the same number lets the rest happen after all.\n\n"
		"Example:\n"
		"  artifact-sync reject 3 && artifact-sync wait",
	.run = run_reject,
};
