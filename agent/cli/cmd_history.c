/* artifact-sync history - the earlier versions of a path. */
#include <stdio.h>
#include <string.h>

#include "agent/cli/history_offline.h"
#include "agent/cli/text.h"

static void add_version(struct table *t, const json_t *v, bool current)
{
	char size[TEXT_MAX];
	const char *kind = member_text(v, "kind", "?");
	const char *content = current ? "current" : member_text(v, "content", "");
	bool file = strcmp(kind, "file") == 0;
	if (current)
		table_add(t, COLOUR_GOOD, "current");
	else
		table_add(t, COLOUR_NONE, "%" JSON_INTEGER_FORMAT,
			  json_integer_value(json_object_get(v, "version")));
	table_add(t, COLOUR_NONE, "%s", current ? "" : member_text(v, "until", "?"));
	table_add(t, COLOUR_NONE, "%s", kind);
	table_add(t, COLOUR_NONE, "%s", file ? text_bytes(size, member_count(v, "size")) : "");
	table_add(t, COLOUR_NONE, "%s", member_text(v, "mtime", ""));
	table_add(t, COLOUR_NONE, "%.12s", member_text(v, "hash", ""));
	table_add(t, strcmp(content, "missing") == 0 ? COLOUR_BAD : COLOUR_NONE, "%s", content);
}

static void print_versions(const struct cli *cli, const json_t *result, int code)
{
	const json_t *current = json_object_get(result, "current");
	const json_t *versions = json_object_get(result, "versions");
	struct table t = {.heading = {"VERSION", "UNTIL", "KIND", "SIZE", "MODIFIED", "SHA-256",
				      "CONTENT", NULL},
			  .right = {[0] = true, [3] = true}};
	size_t i;
	const json_t *v;
	if (json_array_size(versions) == 0) {
		puts("No earlier version is kept. (The passive node keeps them; `history' in "
		     "`artifact-sync status --json' says since when.)");
		return;
	}
	if (json_is_object(current))
		add_version(&t, current, true);
	json_array_foreach((json_t *)versions, i, v) add_version(&t, v, false);
	table_print(&t, stdout, 0, cli->colour);
	if (json_is_true(json_object_get(result, "truncated")))
		puts("... and older ones.");
	puts("\n`artifact-sync restore --version VERSION --to DIR PATH' writes one into a "
	     "directory.");
}

static int run(const struct cli *cli, const void *given, char **operands, int n)
{
	(void)given;
	(void)n;
	AUTO(conf) *conf = NULL;
	int code = cli_load(cli, &conf);
	if (code != EXIT_DONE)
		return code;
	struct question q = {.request = json_pack("{s:s, s:o}", "verb", "history", "path",
						  history_path(conf, operands[0])),
			     .timeout_s = REPLY_TIMEOUT_S};
	json_t *result;
	code = history_ask(cli, &q, &result);
	return cli_print_answer(cli, result, code, print_versions);
}

const struct cmd cmd_history = {
	.name = "history",
	.operands = "PATH",
	.min_operands = 1,
	.max_operands = 1,
	.summary = "The earlier versions of a path that are kept",
	.help = "A passive node keeps what it replaces and deletes, as long as history.keep_days "
		"and history.keep_bytes allow. The newest comes first; UNTIL says when it was "
		"replaced. CONTENT is kept, current (the file there has it) or missing. Works "
		"also while the agent does not run.\n\n"
		"Examples:\n"
		"  artifact-sync history conf/deployment.toml\n"
		"  artifact-sync history --json conf/deployment.toml | jq '.versions[0].hash'",
	.run = run,
};
