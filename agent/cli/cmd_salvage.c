/* artifact-sync salvage - what was moved out of the way instead of being destroyed. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "agent/base/clock.h"
#include "agent/cli/report.h"
#include "agent/cli/salvage_diff.h"
#include "agent/cli/text.h"

#define DAY_NS (INT64_C(86400) * 1000000000)
#define SALVAGE_IDS_MAX 60 /* in one command */
#define ASK_TIMEOUT_S 600  /* an object may be a directory of any size */

struct salvage_options {
	const char *to;
	uint64_t older_than;
	bool all, yes;
};

static const struct option_row options[] = {
	{.name = "to",
	 .arg = "PATH",
	 .type = OPTION_TEXT,
	 .off = offsetof(struct salvage_options, to),
	 .help = "With restore: copy it here, a new absolute path (default: where it was, on an "
		 "active node only)"},
	{.name = "older-than",
	 .arg = "DAYS",
	 .type = OPTION_NUMBER,
	 .off = offsetof(struct salvage_options, older_than),
	 .min = 1,
	 .max = 36500,
	 .help = "With purge: all that was saved so long ago"},
	{.name = "all",
	 .type = OPTION_FLAG,
	 .off = offsetof(struct salvage_options, all),
	 .help = "With purge: everything"},
	{.name = "yes",
	 .type = OPTION_FLAG,
	 .off = offsetof(struct salvage_options, yes),
	 .help = "With purge: do not ask"},
	{.name = NULL},
};

/* A time as the agent gives it: text, or nanoseconds. */
static void time_cell(struct table *table, const json_t *entry)
{
	char text[CLOCK_TEXT_MAX];
	const json_t *when = json_object_get(entry, "when");
	if (json_is_integer(when))
		table_add(table, COLOUR_NONE, "%s", clock_text(text, json_integer_value(when)));
	else
		table_add(table, COLOUR_NONE, "%s", member_text(entry, "when", "?"));
}

static void print_list(const struct cli *cli, const json_t *result, int code)
{
	const json_t *entries = json_object_get(result, "entries");
	if (json_array_size(entries) == 0) {
		puts("The salvage is empty: nothing local had to make way.");
		return;
	}
	struct table table = {.heading = {"ID", "WHEN", "WHY", "KIND", "SIZE", "PATH", NULL},
			      .right = {[4] = true}};
	size_t i;
	const json_t *e;
	json_array_foreach((json_t *)entries, i, e)
	{
		char size[TEXT_MAX];
		table_add(&table, COLOUR_NONE, "%s", member_text(e, "id", "?"));
		time_cell(&table, e);
		table_add(&table, COLOUR_NONE, "%s", member_text(e, "why", "?"));
		table_add(&table, COLOUR_NONE, "%s", member_text(e, "kind", "?"));
		table_add(&table, COLOUR_NONE, "%s", text_bytes(size, member_count(e, "size")));
		table_add(&table, COLOUR_NONE, "%s", member_text(e, "path", "?"));
	}
	table_print(&table, stdout, 0, cli->colour);
	char used[TEXT_MAX], limit[TEXT_MAX];
	uint64_t max = member_count(result, "limit_bytes");
	printf("\n%s of %s are used.", text_bytes(used, member_count(result, "bytes")),
	       max ? text_bytes(limit, max) : "any number");
	puts("\n`artifact-sync salvage show ID' says where its content is; `salvage restore ID "
	     "--to PATH' copies it.");
}

/* Whatever the agent says of it, a line each. */
static void print_entry(const struct cli *cli, const json_t *entry, int code)
{
	struct table table = {.heading = {"", "", NULL}, .no_heading = true};
	const char *key;
	const json_t *value;
	json_object_foreach((json_t *)entry, key, value)
	{
		table_add(&table, COLOUR_DIM, "%s", key);
		const char *text = json_string_value(value);
		AUTO_FREE char *other =
			text ? NULL : json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT);
		table_add(&table, COLOUR_NONE, "%s", text ? text : other);
	}
	table_print(&table, stdout, 0, cli->colour);
}

/* ---- list, show, restore --------------------------------------------------------------------- */

static int ask(const struct cli *cli, json_t *request, json_t **result)
{
	struct question q = {.request = request, .timeout_s = ASK_TIMEOUT_S};
	return cli_ask(cli, &q, result);
}

static json_t *request_of(const char *action, char *const *operands, int n)
{
	json_t *request = json_pack("{s:s, s:s}", "verb", "salvage", "action", action);
	if (n > 1)
		json_object_set_new(request, "id", control_text(operands[1]));
	return request;
}

static int run_list(const struct cli *cli, const struct salvage_options *o, char **operands, int n)
{
	json_t *result;
	int code = ask(cli, request_of("list", operands, n), &result);
	return cli_print_answer(cli, result, code, print_list);
}

static int run_show(const struct cli *cli, const struct salvage_options *o, char **operands, int n)
{
	json_t *result;
	int code = ask(cli, request_of("show", operands, n), &result);
	return cli_print_answer(cli, result, code, print_entry);
}

static void print_restored(const struct cli *cli, const json_t *result, int code)
{
	AUTO_FREE char *safe = text_safe(member_text(result, "restored", "?"));
	printf("Restored to %s. It is no longer in the salvage.\n", safe);
}

static int run_restore(const struct cli *cli, const struct salvage_options *o, char **operands,
		       int n)
{
	json_t *result;
	if (o->to && o->to[0] != '/')
		return cli_fail(cli, EXIT_USAGE, NULL,
				"--to must be an absolute path (begin with /)");
	json_t *request = request_of("restore", operands, n);
	if (o->to)
		json_object_set_new(request, "to", control_path(o->to));
	int code = ask(cli, request, &result);
	return cli_print_answer(cli, result, code, print_restored);
}

static int run_diff(const struct cli *cli, const struct salvage_options *o, char **operands, int n)
{
	json_t *result;
	int code = ask(cli, request_of("show", operands, n), &result);
	if (result)
		code = salvage_diff(cli, result);
	json_decref(result);
	return code;
}

/* ---- purge ----------------------------------------------------------------------------------- */

/* Which entries a request would remove: how many, and how much. */
static uint64_t survey(const json_t *list, const json_t *request, uint64_t *bytes)
{
	const json_t *ids = json_object_get(request, "ids"), *e, *id;
	int64_t before = json_integer_value(json_object_get(request, "before_ns"));
	char limit[CLOCK_TEXT_MAX];
	uint64_t n = 0;
	size_t i, k;
	clock_text(limit, before);
	json_array_foreach(json_object_get(list, "entries"), i, e)
	{
		/* Times of one form, in UTC, sort as texts. */
		bool meant = before != 0 && strcmp(member_text(e, "when", "~"), limit) < 0;
		json_array_foreach((json_t *)ids, k, id) meant |=
			strcmp(member_text(e, "id", ""), json_string_value(id)) == 0;
		n += meant;
		*bytes += meant ? member_count(e, "size") : 0;
	}
	return n;
}

static bool says_yes(uint64_t n, uint64_t bytes)
{
	char answer[16], size[TEXT_MAX];
	printf("Remove %" PRIu64 " entries of the salvage (%s) for good? There is no other copy of "
	       "them. [y/N] ",
	       n, text_bytes(size, bytes));
	fflush(stdout);
	return fgets(answer, sizeof(answer), stdin) && (*answer == 'y' || *answer == 'Y');
}

/* @return EXIT_DONE when it may go on, or what to end with */
static int confirm(const struct cli *cli, const json_t *request)
{
	json_t *list;
	uint64_t bytes = 0;
	if (!isatty(STDIN_FILENO) || cli->json)
		return cli_fail(cli, EXIT_USAGE, "Add --yes when that is what you want.",
				"purge removes content of which there is no other copy, and there "
				"is nobody to ask");
	int code = ask(cli, request_of("list", NULL, 0), &list);
	if (!list)
		return code;
	uint64_t n = survey(list, request, &bytes);
	json_decref(list);
	if (n == 0) {
		puts("Nothing in the salvage is meant by that.");
		return EXIT_NO;
	}
	if (says_yes(n, bytes))
		return EXIT_DONE;
	puts("Nothing was removed.");
	return EXIT_NO;
}

static json_t *purge_request(const struct salvage_options *o, char **operands, int n)
{
	json_t *ids = json_array();
	for (int i = 1; i < n; i++)
		json_array_append_new(ids, control_text(operands[i]));
	json_t *request =
		json_pack("{s:s, s:s, s:o}", "verb", "salvage", "action", "purge", "ids", ids);
	if (o->all || o->older_than)
		json_object_set_new(
			request, "before_ns",
			json_integer(clock_real_ns() - (int64_t)o->older_than * DAY_NS));
	return request;
}

static void print_purged(const struct cli *cli, const json_t *result, int code)
{
	char size[TEXT_MAX];
	printf("Removed %" PRIu64 " entries (%s).\n", member_count(result, "purged"),
	       text_bytes(size, member_count(result, "bytes")));
}

static int run_purge(const struct cli *cli, const struct salvage_options *o, char **operands, int n)
{
	json_t *result = NULL;
	if ((n > 1) + o->all + (o->older_than > 0) != 1)
		return cli_fail(cli, EXIT_USAGE, "`artifact-sync salvage list' prints the IDs.",
				"purge needs IDs, --older-than or --all, and only one of them");
	json_t *request = purge_request(o, operands, n);
	int code = o->yes ? EXIT_DONE : confirm(cli, request);
	if (code == EXIT_DONE)
		code = ask(cli, json_incref(request), &result);
	json_decref(request);
	return cli_print_answer(cli, result, code, print_purged);
}

/* ---- the command ----------------------------------------------------------------------------- */

static const struct action {
	const char *name;
	int min, max; /* operands behind the name */
	int (*run)(const struct cli *cli, const struct salvage_options *o, char **operands, int n);
} actions[] = {
	{"list", 0, 0, run_list},
	{"show", 1, 1, run_show},
	{"diff", 1, 1, run_diff},
	{"restore", 1, 1, run_restore},
	{"purge", 0, SALVAGE_IDS_MAX, run_purge},
};

static int check(const struct cli *cli, const struct action *action,
		 const struct salvage_options *o, int n)
{
	bool purges = strcmp(action->name, "purge") == 0;
	if (o->to && strcmp(action->name, "restore") != 0)
		return cli_fail(cli, EXIT_USAGE, NULL, "--to belongs to salvage restore");
	if ((o->all || o->yes || o->older_than) && !purges)
		return cli_fail(cli, EXIT_USAGE, NULL,
				"--all, --older-than and --yes belong to salvage purge");
	if (n - 1 >= action->min && n - 1 <= action->max)
		return EXIT_DONE;
	return cli_fail(cli, EXIT_USAGE,
			action->min ? "`artifact-sync salvage list' prints the IDs." : NULL,
			action->min ? "salvage %s needs one ID" : "salvage %s takes no ID",
			action->name);
}

static int run(const struct cli *cli, const void *given, char **operands, int n)
{
	static char list[] = "list";
	static char *only_list[] = {list, NULL};
	if (n == 0) {
		operands = only_list;
		n = 1;
	}
	for (size_t i = 0; i < ARRAY_LEN(actions); i++) {
		if (strcmp(operands[0], actions[i].name) != 0)
			continue;
		int code = check(cli, &actions[i], given, n);
		return code != EXIT_DONE ? code : actions[i].run(cli, given, operands, n);
	}
	return cli_fail(cli, EXIT_USAGE,
			"There are `salvage list', `show ID', `diff ID', `restore ID' and `purge "
			"ID...'.",
			"salvage does not know \"%s\"", operands[0]);
}

const struct cmd cmd_salvage = {
	.name = "salvage",
	.operands = "[list]\nshow ID\ndiff ID\nrestore ID\npurge ID...\npurge --older-than "
		    "DAYS\npurge --all",
	.max_operands = SALVAGE_IDS_MAX + 1,
	.summary = "What was moved out of the way instead of being destroyed",
	.help = "Content that had to make way and was never replicated is moved, not deleted: "
		"files found at the first "
		"pairing, changes made on a passive node, what a superseded node had of its own. "
		"diff compares it with what stands in its place now, and ends with 1 when they "
		"differ. Nothing is removed by itself: purge does it, for good, and asks before. "
		"At "
		"most limits.salvage_bytes are kept; when it is full, nothing local is replaced "
		"any "
		"longer.\n\n"
		"Examples:\n"
		"  artifact-sync salvage\n"
		"  artifact-sync salvage diff 20260101T000000.000000000-1a2b3c\n"
		"  artifact-sync salvage restore 20260101T000000.000000000-1a2b3c --to "
		"/tmp/old-store.xml\n"
		"  artifact-sync salvage purge --older-than 30 --yes",
	.options = options,
	.options_size = sizeof(struct salvage_options),
	.run = run,
};
