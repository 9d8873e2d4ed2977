/* artifact-sync rewind - an earlier state becomes the current one. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "agent/base/clock.h"
#include "agent/cli/report.h"
#include "agent/cli/text.h"
#include "agent/cli/when.h"

#define WAIT_S 60
#define SHOWN_MAX 20

struct rewind_options {
	const char *to;
	bool dry_run, yes;
};

static const struct option_row options[] = {
	{.name = "to",
	 .arg = "TIME",
	 .type = OPTION_TEXT,
	 .off = offsetof(struct rewind_options, to),
	 .required = true,
	 .help = "The state that both nodes agreed on last at or before this time: as status "
		 "prints times, or \"2026-01-31 12:30\" in this machine's time zone, or "
		 "\"-15min\""},
	{.name = "dry-run",
	 .type = OPTION_FLAG,
	 .off = offsetof(struct rewind_options, dry_run),
	 .help = "Only list what would change"},
	{.name = "yes",
	 .type = OPTION_FLAG,
	 .off = offsetof(struct rewind_options, yes),
	 .help = "Do not ask"},
	{.name = NULL},
};

static void say_progress(char *out, size_t size, const json_t *report)
{
	char files[TEXT_MAX], bytes[TEXT_MAX];
	snprintf(out, size, "%s: %s files, %s", member_text(report, "phase", "rewinding"),
		 text_count(files, member_count(report, "files")),
		 text_bytes(bytes, member_count(report, "bytes")));
}

static void say_wait(char *out, size_t size, const json_t *report)
{
	snprintf(out, size, "waiting until the trees are equal: %" PRIu64 " changes to go",
		 member_count(report, "pending_changes"));
}

/* What is newer than the last proof might be nowhere else. */
static int wait_in_sync(const struct cli *cli)
{
	struct question q = {.request =
				     json_pack("{s:s, s:i}", "verb", "wait", "timeout_s", WAIT_S),
			     .timeout_s = WAIT_S + 5,
			     .progress = say_wait};
	json_t *result;
	int code = cli_ask(cli, &q, &result);
	if (code == EXIT_NO && result)
		code = cli_fail(cli, EXIT_REFUSED, "Mend the files that `status' lists as held.",
				"files are held back: their content is nowhere else");
	json_decref(result);
	return code;
}

static int ask_agent(const struct cli *cli, int64_t at_ns, bool dry_run, json_t **result)
{
	struct question q = {.request = json_pack("{s:s, s:I, s:b}", "verb", "rewind", "at_ns",
						  (json_int_t)at_ns, "dry_run", dry_run),
			     .progress = say_progress};
	return cli_ask(cli, &q, result);
}

static void print_paths(const json_t *list, const char *reason_key)
{
	size_t i;
	const json_t *one;
	json_array_foreach((json_t *)list, i, one)
	{
		AUTO_FREE char *path = text_safe(member_text(one, "path", "?"));
		if (i == SHOWN_MAX) {
			printf("  ... and %zu more (--json lists them)\n",
			       json_array_size(list) - SHOWN_MAX);
			return;
		}
		printf("  %-9s %s\n", member_text(one, reason_key, "?"), path);
	}
}

static void print_result(const struct cli *cli, const json_t *result, int code)
{
	const json_t *barrier = json_object_get(result, "barrier");
	uint64_t changes = member_count(result, "changes"), failed = member_count(result, "failed");
	bool dry = json_is_true(json_object_get(result, "dry_run"));
	char count[TEXT_MAX];
	printf("State of %s (unchanged until %s), change %" PRIu64 ".\n",
	       member_text(barrier, "time", "?"), member_text(barrier, "until", "?"),
	       member_count(barrier, "seq"));
	printf("%s paths %s.\n", text_count(count, changes),
	       dry	 ? "would change"
	       : changes ? "were changed"
			 : "differ: nothing was done");
	print_paths(json_object_get(result, "paths"), "what");
	if (failed > 0) {
		printf("%" PRIu64 " of them could not be:\n", failed);
		print_paths(json_object_get(result, "failures"), "reason");
	}
	if (!dry && changes > 0)
		puts(json_is_true(json_object_get(result, "digest_matches"))
			     ? "The tree is the one that both nodes agreed on then. `artifact-sync "
			       "wait' waits for the passive node."
			     : "The tree has changed beyond that meanwhile, or rules have: "
			       "`artifact-sync verify' compares.");
}

static bool confirm(void)
{
	char line[16];
	fputs("Make this the current state of the tree on all nodes? Type yes: ", stdout);
	fflush(stdout);
	return fgets(line, sizeof(line), stdin) && strcmp(line, "yes\n") == 0;
}

/* The list first, then the question. */
static int confirm_at_terminal(const struct cli *cli, int64_t at_ns)
{
	json_t *result;
	int code = ask_agent(cli, at_ns, true, &result);
	if (!result)
		return code;
	print_result(cli, result, code);
	bool any = member_count(result, "changes") > 0;
	json_decref(result);
	if (!any)
		return EXIT_NO;
	return confirm() ? EXIT_DONE : cli_fail(cli, EXIT_REFUSED, NULL, "nothing was changed");
}

static int run(const struct cli *cli, const void *given, char **operands, int n)
{
	const struct rewind_options *o = given;
	int64_t at_ns;
	json_t *result;
	(void)operands;
	(void)n;
	if (!when_parse(&at_ns, o->to, clock_real_ns()))
		return cli_fail(cli, EXIT_USAGE,
				"Times are like 2026-01-31T12:30:00Z, \"2026-01-31 12:30\" or "
				"-15min.",
				"\"%s\" is not understood as a time", o->to);
	bool asks = !o->yes && !o->dry_run;
	if (asks && !(isatty(STDIN_FILENO) && isatty(STDOUT_FILENO)))
		return cli_fail(cli, EXIT_REFUSED, "Say --yes, or look first with --dry-run.",
				"rewind changes the tree on all nodes and nobody is here to ask");
	int code = wait_in_sync(cli);
	if (code == EXIT_DONE && asks)
		code = confirm_at_terminal(cli, at_ns);
	if (code != EXIT_DONE)
		return code;
	code = ask_agent(cli, at_ns, o->dry_run, &result);
	return cli_print_answer(cli, result, code, print_result);
}

const struct cmd cmd_rewind = {
	.name = "rewind",
	.operands = NULL,
	.summary = "Make an earlier state of the tree the current one, on all nodes",
	.help = "On the active node. Waits until the trees are proven equal, asks the passive node "
		"what the paths that changed since TIME were, fetches the content that is not "
		"here, "
		"and publishes everything as one batch: a crash leaves the state before or after "
		"it. The changes are numbered and replicated like any; what they replace can be "
		"had "
		"again in the same way. Without a terminal it needs --yes.\n\n"
		"Examples:\n"
		"  artifact-sync rewind --to -15min --dry-run\n"
		"  artifact-sync rewind --to '2026-01-31 12:30' --yes && artifact-sync wait",
	.options = options,
	.options_size = sizeof(struct rewind_options),
	.run = run,
};
