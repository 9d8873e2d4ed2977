/* artifact-sync verify - are the trees equal? */
#include <inttypes.h>
#include <stdio.h>

#include "agent/cli/report.h"
#include "agent/cli/text.h"

struct verify_options {
	bool deep;
	uint64_t timeout_s;
};

static const struct option_row options[] = {
	{.name = "deep",
	 .type = OPTION_FLAG,
	 .off = offsetof(struct verify_options, deep),
	 .help = "Read every file again on both sides, instead of comparing what the nodes have "
		 "recorded"},
	{.name = "timeout",
	 .arg = "SECONDS",
	 .type = OPTION_NUMBER,
	 .off = offsetof(struct verify_options, timeout_s),
	 .min = 1,
	 .max = CONTROL_DEADLINE_MAX_S,
	 .def = 3600,
	 .help = "Give up with exit code 6 after this time (default: 3600)"},
	{.name = NULL},
};

static void say_progress(char *out, size_t size, const json_t *report)
{
	char files[TEXT_MAX], bytes[TEXT_MAX];
	snprintf(out, size, "%s: %s files, %s", member_text(report, "phase", "comparing"),
		 text_count(files, member_count(report, "files")),
		 text_bytes(bytes, member_count(report, "bytes")));
}

static void print_result(const struct cli *cli, const json_t *result, int code)
{
	char count[TEXT_MAX];
	const json_t *differences = json_object_get(result, "differences");
	text_count(count, member_count(result, "records"));
	if (json_is_true(json_object_get(result, "equal"))) {
		printf("%sEqual%s: %s paths, digest %s.\n", colour_code(COLOUR_GOOD, cli->colour),
		       colour_code(COLOUR_NONE, cli->colour), count,
		       member_text(result, "digest", "unknown"));
		return;
	}
	printf("%sDifferent%s: %zu of %s paths.\n", colour_code(COLOUR_BAD, cli->colour),
	       colour_code(COLOUR_NONE, cli->colour), json_array_size(differences), count);
	struct table table = {.heading = {"WHAT", "WHERE", "PATH", NULL}};
	size_t i;
	const json_t *d;
	json_array_foreach((json_t *)differences, i, d)
	{
		table_add(&table, COLOUR_NONE, "%s", member_text(d, "what", "?"));
		table_add(&table, COLOUR_NONE, "%s", member_text(d, "where", ""));
		table_add(&table, COLOUR_NONE, "%s", member_text(d, "path", "?"));
	}
	table_print(&table, stdout, 2, cli->colour);
	puts("  What to do: `artifact-sync status' says whether they are about to be mended. What "
	     "stays different on\n"
	     "  disk is copied again when the passive node scans its tree.");
}

static int run(const struct cli *cli, const void *given, char **operands, int n)
{
	const struct verify_options *o = given;
	struct question q = {.request = json_pack("{s:s, s:b, s:I}", "verb", "verify", "deep",
						  o->deep, "timeout_s", (json_int_t)o->timeout_s),
			     .timeout_s = (double)o->timeout_s + REPLY_GRACE_S,
			     .progress = say_progress};
	return cli_ask_and_print(cli, &q, print_result);
}

const struct cmd cmd_verify = {
	.name = "verify",
	.summary = "Compare both trees and list what differs",
	.help = "Compares what both nodes have recorded, range by range, which takes a moment "
		"whatever the size of the tree. "
		"With --deep both sides also read every file again and compare it with their "
		"record: this finds what "
		"changed behind the file system's back. Exit code 0 when equal, 1 when "
		"different.\n\n"
		"Examples:\n"
		"  artifact-sync verify\n"
		"  artifact-sync verify --deep --json > verified.json",
	.options = options,
	.options_size = sizeof(struct verify_options),
	.run = run,
};
