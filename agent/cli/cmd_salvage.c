/* artifact-sync salvage - what was moved out of the way instead of being destroyed. */
#include <stdio.h>
#include <string.h>

#include "agent/base/clock.h"
#include "agent/cli/report.h"
#include "agent/cli/text.h"

struct salvage_options {
	const char *to;
};

static const struct option_row options[] = {
	{.name = "to",
	 .arg = "PATH",
	 .type = OPTION_TEXT,
	 .off = offsetof(struct salvage_options, to),
	 .help = "With restore: copy it here, a new absolute path (default: where it was, on an "
		 "active node only)"},
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

static void print_list(const struct cli *cli, const json_t *result)
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
	puts("\n`artifact-sync salvage show ID' says where its content is; `salvage restore ID "
	     "--to PATH' copies it.");
}

/* Whatever the agent says of it, a line each. */
static void print_entry(const struct cli *cli, const json_t *entry)
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

static json_t *make_request(const struct cli *cli, const struct salvage_options *o, char **operands,
			    int n, int *code)
{
	const char *action = n > 0 ? operands[0] : "list";
	bool list = strcmp(action, "list") == 0;
	bool restore = strcmp(action, "restore") == 0;
	*code = EXIT_USAGE;
	if (!list && !restore && strcmp(action, "show") != 0) {
		cli_fail(cli, EXIT_USAGE,
			 "There are `salvage list', `salvage show ID' and `salvage restore ID'.",
			 "salvage does not know \"%s\"", action);
		return NULL;
	}
	if (n != (list ? 1 : 2) && n != 0) {
		cli_fail(cli, EXIT_USAGE,
			 list ? NULL : "`artifact-sync salvage list' prints the IDs.",
			 list ? "salvage list takes no ID" : "salvage %s needs an ID", action);
		return NULL;
	}
	if (o->to && (!restore || o->to[0] != '/')) {
		cli_fail(cli, EXIT_USAGE, NULL,
			 restore ? "--to must be an absolute path (begin with /)"
				 : "--to belongs to salvage restore");
		return NULL;
	}
	json_t *request = json_pack("{s:s, s:s}", "verb", "salvage", "action", action);
	if (n > 1)
		json_object_set_new(request, "id", control_text(operands[1]));
	if (o->to)
		json_object_set_new(request, "to", control_path(o->to));
	return request;
}

static int run(const struct cli *cli, const void *given, char **operands, int n)
{
	int code;
	struct question q = {.request = make_request(cli, given, operands, n, &code),
			     .timeout_s = 600};
	if (!q.request)
		return code;
	json_t *result;
	code = cli_ask(cli, &q, &result);
	if (!result)
		return code;
	const char *restored = member_text(result, "restored", NULL);
	if (cli->json)
		cli_print_json(cli, result);
	else if (json_object_get(result, "entries"))
		print_list(cli, result);
	else if (restored) {
		AUTO_FREE char *safe = text_safe(restored);
		printf("Restored to %s. The salvage keeps its copy.\n", safe);
	} else {
		print_entry(cli, result);
	}
	json_decref(result);
	return code;
}

const struct cmd cmd_salvage = {
	.name = "salvage",
	.operands = "[list]\nshow ID\nrestore ID",
	.max_operands = 2,
	.summary = "What was moved out of the way instead of being destroyed",
	.help = "Content that had to make way and was never replicated is moved, not deleted: "
		"files found at the first "
		"pairing, changes made on a passive node, what a superseded node had of its "
		"own.\n\n"
		"Examples:\n"
		"  artifact-sync salvage\n"
		"  artifact-sync salvage show 20260101T000000-01\n"
		"  artifact-sync salvage restore 20260101T000000-01 --to /tmp/old-store.xml",
	.options = options,
	.options_size = sizeof(struct salvage_options),
	.run = run,
};
