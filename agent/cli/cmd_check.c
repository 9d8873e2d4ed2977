/* artifact-sync check - opens what the agent will open, and says what is wrong and how to mend it.
 */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "agent/cli/check_report.h"
#include "agent/cli/report.h"
#include "agent/cli/text.h"

static void check_conf(struct check_report *report, const struct cli *cli, const struct conf *conf)
{
	uint32_t uid, gid;
	struct err err = {0};
	check_add(report, FINDING_OK, "configuration", NULL, "%s: node %s of group %s", cli->config,
		  conf->node, conf->group);
	if (conf_owner(conf, &uid, &gid, &err) < 0)
		check_add(report, FINDING_BAD, "configuration",
			  "Use numbers, or make the user and group.", "%s", err.msg);
	if (strcmp(conf->ownership, "ignore") != 0 && geteuid() != 0)
		check_add(report, FINDING_NOTE, "configuration",
			  "Run the agent as root or with the capability CAP_CHOWN, or set "
			  "ownership to \"ignore\".",
			  "ownership \"%s\" needs the right to change owners, which this user may "
			  "lack",
			  conf->ownership);
}

static void check_all(struct check_report *report, const struct cli *cli, const struct conf *conf)
{
	bool running = control_is_running(conf->state_dir, NULL) == 1;
	AUTO(tree) *tree = NULL;
	check_conf(report, cli, conf);
	check_state(report, cli, conf, running);
	check_tree(report, cli, conf, &tree);
	if (tree && tree->roots[0].healthy)
		check_watching(report, conf, tree);
	check_identity(report, conf);
	check_listen(report, "listen", conf->listen, running);
	if (conf->http_listen)
		check_listen(report, "http.listen", conf->http_listen, running);
	check_peers(report, conf);
	check_hooks(report, conf);
}

static void print_text(const struct cli *cli, const struct check_report *report)
{
	static const struct {
		const char *name, *shown;
		enum colour colour;
	} findings[] = {{"ok", "ok", COLOUR_GOOD},
			{"note", "note", COLOUR_WARN},
			{"bad", "BAD", COLOUR_BAD}};
	size_t i;
	const json_t *entry;
	json_array_foreach(report->entries, i, entry)
	{
		const char *name = member_text(entry, "finding", "");
		size_t f = 0;
		while (f + 1 < ARRAY_LEN(findings) && strcmp(findings[f].name, name) != 0)
			f++;
		AUTO_FREE char *text = text_safe(member_text(entry, "text", ""));
		AUTO_FREE char *remedy = text_safe(member_text(entry, "remedy", ""));
		printf("  %s%-4s%s  %-13s  %s\n", colour_code(findings[f].colour, cli->colour),
		       findings[f].shown, colour_code(COLOUR_NONE, cli->colour),
		       member_text(entry, "what", ""), text);
		if (*remedy)
			printf("  %21s%s-> %s%s\n", "", colour_code(COLOUR_BOLD, cli->colour),
			       remedy, colour_code(COLOUR_NONE, cli->colour));
	}
	if (report->bad == 0 && report->notes == 0)
		puts("\nEverything is as it should be.");
	else
		printf("\n%u to mend, %u to note.\n", report->bad, report->notes);
}

static int run(const struct cli *cli, const void *options, char **operands, int n)
{
	AUTO(conf) *conf = NULL;
	int code = cli_load(cli, &conf);
	if (code != EXIT_DONE)
		return code;
	struct check_report report;
	check_report_init(&report);
	check_all(&report, cli, conf);
	if (cli->json) {
		json_t *result = json_pack("{s:b, s:i, s:i, s:O}", "good", report.bad == 0, "bad",
					   (int)report.bad, "notes", (int)report.notes, "checks",
					   report.entries);
		cli_print_json(cli, result);
		json_decref(result);
	} else {
		print_text(cli, &report);
	}
	code = report.bad ? EXIT_NO : EXIT_DONE;
	check_report_release(&report);
	return code;
}

const struct cmd cmd_check = {
	.name = "check",
	.summary = "Say what is wrong with this node and how to mend it",
	.help = "Reads the configuration and opens what the agent will open: tree, state, key, "
		"addresses; looks at the limits of "
		"the kernel, free space, and whether the peers can be reached. Changes nothing. "
		"Exit code 0 when nothing "
		"has to be mended, 1 when something has, 2 when the configuration cannot be "
		"used.\n\n"
		"Examples:\n"
		"  artifact-sync check\n"
		"  artifact-sync check --json | jq '.checks[] | select(.finding == \"bad\")'",
	.run = run,
};
