/* artifact-sync exposure - what would be lost if the active node died now? */
#include <inttypes.h>
#include <stdio.h>

#include "agent/cli/report.h"
#include "agent/cli/text.h"

static void print_paths(const struct cli *cli, const json_t *paths)
{
	struct table table = {.heading = {"AGE", "SIZE", "PATH", NULL},
			      .right = {true, true, false}};
	size_t i;
	const json_t *path;
	json_array_foreach((json_t *)paths, i, path)
	{
		char age[TEXT_MAX], size[TEXT_MAX];
		table_add(&table, COLOUR_NONE, "%s",
			  text_seconds(age, member_number(path, "age_s", 0)));
		table_add(&table, COLOUR_NONE, "%s", text_bytes(size, member_count(path, "size")));
		table_add(&table, COLOUR_NONE, "%s", member_text(path, "path", "?"));
	}
	table_print(&table, stdout, 2, cli->colour);
}

static void print_headline(const json_t *result, uint64_t changes)
{
	char count[TEXT_MAX], bytes[TEXT_MAX];
	bool announced = json_is_true(json_object_get(result, "announced"));
	text_count(count, changes);
	text_bytes(bytes, member_count(result, "bytes"));
	if (announced)
		printf("%s change%s (%s) %s been announced to this node and %s not on its disk:\n",
		       count, changes == 1 ? "" : "s", bytes, changes == 1 ? "has" : "have",
		       changes == 1 ? "is" : "are");
	else
		printf("If the active node died now, %s change%s (%s) would be lost:\n", count,
		       changes == 1 ? "" : "s", bytes);
}

/* Of these the peers have at most an earlier version, and no record says so. */
static void print_left_out(const json_t *held)
{
	if (json_array_size(held) == 0)
		return;
	printf("%zu path%s held back, unreadable or refused, and would be lost as well:\n",
	       json_array_size(held), json_array_size(held) == 1 ? " is" : "s are");
	print_held(held);
}

static void print_result(const struct cli *cli, const json_t *result, int code)
{
	uint64_t changes = member_count(result, "changes");
	const json_t *paths = json_object_get(result, "paths");
	const json_t *held = json_object_get(result, "held");
	if (changes == 0 && json_array_size(held) > 0) {
		puts("Every recorded change is acknowledged by a peer.");
		print_left_out(held);
		return;
	}
	if (changes == 0) {
		puts(json_is_true(json_object_get(result, "announced"))
			     ? "Nothing: all that was announced to this node is on its disk."
			     : "Nothing: every recorded change is acknowledged by a peer.");
		return;
	}
	print_headline(result, changes);
	print_paths(cli, paths);
	if (json_is_true(json_object_get(result, "truncated")))
		printf("  ... and more; only the first %zu are listed.\n", json_array_size(paths));
	print_left_out(held);
}

static int run(const struct cli *cli, const void *options, char **operands, int n)
{
	struct question q = {.request = json_pack("{s:s}", "verb", "exposure"),
			     .timeout_s = REPLY_TIMEOUT_S};
	return cli_ask_and_print(cli, &q, print_result);
}

const struct cmd cmd_exposure = {
	.name = "exposure",
	.summary = "List what would be lost if the active node died now",
	.help = "The changes that no peer has acknowledged yet, with their age. An acknowledged "
		"change is on the peer's "
		"disk. What was written a moment ago and not yet noticed is not listed; "
		"`artifact-sync wait' flushes that "
		"first. On a passive node: what the active one has announced, and what has not "
		"arrived "
		"or is not committed. The list outlives the connection, so it says what a failover "
		"would "
		"lose; a restart of this agent clears it.\n\n"
		"Examples:\n"
		"  artifact-sync exposure\n"
		"  artifact-sync exposure --json | jq .changes",
	.run = run,
};
