/* artifact-sync drill - would this node really be able to take over? */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "agent/cli/drill_hook.h"
#include "agent/cli/drill_switchover.h"
#include "agent/cli/report.h"
#include "agent/cli/text.h"
#include "agent/ops/drill_report.h"

#define HOOK_WORDS_MAX 60

struct drill_options {
	const char *hook, *report;
	uint64_t timeout_s;
	bool switchover;
};

static const struct option_row options[] = {
	{.name = "switchover",
	 .type = OPTION_FLAG,
	 .off = offsetof(struct drill_options, switchover),
	 .help = "No rehearsal: exchange the roles, run the hook on this node's own tree, and "
		 "exchange them back"},
	{.name = "hook",
	 .arg = "PROGRAM",
	 .type = OPTION_TEXT,
	 .off = offsetof(struct drill_options, hook),
	 .help = "Run this against the clone, with the ARGs that follow; what begins with a dash "
		 "among them stands behind --"},
	{.name = "hook-timeout",
	 .arg = "SECONDS",
	 .type = OPTION_NUMBER,
	 .off = offsetof(struct drill_options, timeout_s),
	 .min = 1,
	 .max = 86400,
	 .def = 300,
	 .help = "End the hook, as failed, after this time (default: 300)"},
	{.name = "report",
	 .arg = "FILE",
	 .type = OPTION_TEXT,
	 .off = offsetof(struct drill_options, report),
	 .help = "Write the report here, too: as JSON when the name ends in .json, else as a page "
		 "of "
		 "HTML"},
	{.name = NULL},
};

/* One drill as the command sees it. The hook runs within the report of progress that says that the
 * clone is there: the agent waits, and the open connection tells it that the command lives. */
struct drill {
	const struct cli *cli;
	const struct conf *conf;
	char *argv[HOOK_WORDS_MAX + 2]; /* argv[0] NULL: no hook */
	uint32_t timeout_s;
};

/* ---- the hook ------------------------------------------------------------------------------- */

static json_t *hook_request(const json_t *report, const struct drill_hook_result *result)
{
	return json_pack("{s:s, s:s, s:s, s:b, s:o, s:o, s:I}", "verb", "drill", "action", "hook",
			 "id", member_text(report, "id", ""), "ok", result->ok, "text",
			 control_text(result->text), "output", control_text(result->output), "ms",
			 (json_int_t)result->ms);
}

static char *fact(const char *name, const char *value)
{
	return x_asprintf("ARTIFACT_SYNC_%s=%s", name, value);
}

static void run_hook(struct drill *d, const json_t *report)
{
	struct drill_hook_result result;
	struct control_answer answer;
	struct err err = {0};
	char seq[24];
	snprintf(seq, sizeof(seq), "%" PRIu64, member_count(report, "seq"));
	char *facts[] = {fact("DRILL_TREE", member_text(report, "tree", "")),
			 fact("DRILL_ID", member_text(report, "id", "")),
			 fact("TREE", d->conf->tree),
			 fact("NODE", member_text(report, "node", "")),
			 fact("GROUP", member_text(report, "group", "")),
			 fact("SEQ", seq),
			 fact("DIGEST", member_text(report, "digest", "")),
			 fact("RECOVERY_POINT", member_text(report, "recovery_point", "")),
			 NULL};
	if (drill_hook_run(&result, d->argv, (const char *const *)facts, d->timeout_s, &err) < 0)
		snprintf(result.text, sizeof(result.text), "could not be run: %.150s", err.msg);
	for (size_t i = 0; facts[i]; i++)
		free(facts[i]);
	/* If that fails the agent is gone, which the question that is still open will say. */
	control_ask(&answer, d->conf->state_dir, hook_request(report, &result), 0, NULL, NULL,
		    &err);
	control_answer_release(&answer);
}

static void on_progress(void *arg, const json_t *report)
{
	struct drill *d = arg;
	char files[TEXT_MAX];
	bool hook = strcmp(member_text(report, "phase", ""), "hook") == 0;
	if (!d->cli->json)
		fprintf(stderr,
			hook ? "The clone is there; the hook runs.\n" : "cloned: %s files\n",
			text_count(files, member_count(report, "files")));
	if (hook)
		run_hook(d, report);
}

/* ---- the report ----------------------------------------------------------------------------- */

static int write_report(const struct cli *cli, const char *path, const json_t *report)
{
	size_t len = strlen(path);
	bool json = len > 5 && strcmp(path + len - 5, ".json") == 0;
	AUTO_FREE char *text =
		json ? json_dumps(report, JSON_INDENT(1)) : drill_report_html(report);
	FILE *f = fopen(path, "we");
	bool good = f && fputs(text, f) >= 0 && (!json || fputc('\n', f) != EOF) && fflush(f) == 0;
	int error = errno;
	if (f && fclose(f) != 0)
		good = false;
	if (good)
		return EXIT_DONE;
	return cli_fail(cli, EXIT_NO,
			"The agent has kept it beneath drills/ in the state directory.",
			"%s could not be written: %s", path, strerror(error));
}

static void print_list(const json_t *list)
{
	size_t i;
	const json_t *item;
	json_array_foreach((json_t *)list, i, item)
	{
		AUTO_FREE char *safe =
			text_safe(json_is_string(item) ? json_string_value(item) : "?");
		printf("  %s\n", safe);
	}
}

static void print_output(const json_t *hook)
{
	const char *output = member_text(hook, "output", "");
	AUTO_FREE char *copy = x_strdup(output);
	char *rest = NULL;
	for (char *line = strtok_r(copy, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
		AUTO_FREE char *safe = text_safe(line);
		printf("  | %s\n", safe);
	}
}

static void print_result(const struct cli *cli, const json_t *report)
{
	const char *verdict = member_text(report, "verdict", "?");
	const json_t *clone = json_object_get(report, "clone");
	const json_t *hook = json_object_get(report, "hook");
	double taken = member_number(report, "recovery_time_s", -1);
	char text[TEXT_MAX], files[TEXT_MAX];
	bool passed = strcmp(verdict, "passed") == 0;
	printf("Drill %s%s%s.\n", colour_code(passed ? COLOUR_GOOD : COLOUR_BAD, cli->colour),
	       verdict, colour_code(COLOUR_NONE, cli->colour));
	print_list(json_object_get(report, "reasons"));
	printf("  recovery point  %s, %s ago when the drill began\n",
	       member_text(report, "recovery_point", "unknown"),
	       text_seconds(text, member_number(report, "rpo_seconds", 0)));
	if (strcmp(member_text(report, "kind", ""), "switchover") == 0 && taken >= 0)
		printf("  reverse         done in %s\n", text_seconds(text, taken));
	if (json_is_object(clone))
		printf("  clone           %s files in %s (%s), %s\n",
		       text_count(files, member_count(clone, "files")),
		       text_seconds(text, member_number(clone, "seconds", 0)),
		       member_text(clone, "how", "?"),
		       json_is_true(json_object_get(report, "verified")) ? "verified by its digest"
									 : "NOT verified");
	if (json_is_object(hook))
		printf("  hook            %s after %s\n", member_text(hook, "text", "?"),
		       text_seconds(text, member_number(hook, "ms", 0) / 1000));
	print_output(hook);
}

/* ---- the command ---------------------------------------------------------------------------- */

static int take_argv(struct drill *d, const struct drill_options *o, char **operands, int n)
{
	struct err err = {0};
	if (!o->hook && n > 0)
		return cli_fail(d->cli, EXIT_USAGE, "artifact-sync drill --hook PROGRAM [ARG...]",
				"\"%s\" is an argument of no hook", operands[0]);
	if (!o->hook)
		return EXIT_DONE;
	d->argv[0] = drill_hook_find(o->hook, &err);
	if (!d->argv[0])
		return cli_fail(d->cli, EXIT_USAGE, "Name a program that can be started.", "%s",
				err.msg);
	for (int i = 0; i < n; i++)
		d->argv[i + 1] = operands[i];
	return EXIT_DONE;
}

static json_t *begin_request(const struct drill *d)
{
	json_t *request = json_pack("{s:s, s:s, s:I}", "verb", "drill", "action", "begin",
				    "hook_timeout_s", (json_int_t)d->timeout_s);
	json_t *argv = json_array();
	for (size_t i = 0; d->argv[i]; i++)
		json_array_append_new(argv, control_path(d->argv[i]));
	if (d->argv[0])
		json_object_set(request, "hook", argv);
	json_decref(argv);
	return request;
}

static int hold(struct drill *d, json_t **report)
{
	struct control_answer answer = {0};
	struct err err = {0};
	int code;
	int r = control_ask(&answer, d->conf->state_dir, begin_request(d), 0, on_progress, d, &err);
	AUTO_FREE char *unit = cli_unit(d->cli);
	AUTO_FREE char *remedy = x_asprintf("Start it: systemctl start %s.", unit);
	if (r == -ENOENT || r == -ECONNREFUSED)
		code = cli_fail(d->cli, EXIT_NOT_RUNNING, remedy, "the agent does not run");
	else if (r < 0)
		code = cli_fail(d->cli, EXIT_NO, "See the agent's log.", "%s", err.msg);
	else if (!answer.result)
		code = cli_fail(d->cli, answer.code, answer.remedy, "%s",
				answer.error ? answer.error : "the agent gave no answer");
	else
		code = answer.code;
	*report = json_incref(answer.result);
	control_answer_release(&answer);
	return code;
}

static int run(const struct cli *cli, const void *given, char **operands, int n)
{
	const struct drill_options *o = given;
	AUTO(conf) *conf = NULL;
	json_t *report = NULL;
	struct drill d = {.cli = cli, .timeout_s = (uint32_t)o->timeout_s};
	int code = cli_load(cli, &conf);
	if (code == EXIT_DONE)
		code = take_argv(&d, o, operands, n);
	d.conf = conf;
	const struct drill_switchover there_and_back = {
		.cli = cli, .conf = conf, .argv = d.argv, .hook_timeout_s = d.timeout_s};
	if (code == EXIT_DONE)
		code = o->switchover ? drill_switchover(&there_and_back, &report)
				     : hold(&d, &report);
	free(d.argv[0]);
	if (!report)
		return code;
	if (cli->json)
		cli_print_json(cli, report);
	else
		print_result(cli, report);
	if (o->report) {
		int written = write_report(cli, o->report, report);
		code = code == EXIT_DONE ? written : code;
	}
	json_decref(report);
	return code;
}

const struct cmd cmd_drill = {
	.name = "drill",
	.operands = "[ARG...]",
	.max_operands = HOOK_WORDS_MAX,
	.summary = "Rehearse a failover on a clone of the passive's tree, and keep the verdict",
	.help = "Run it on the passive node. The tree as both nodes agreed on it last is cloned "
		"into "
		"a directory of its own (sharing blocks where the file system can), while "
		"replication goes on. Every file is compared with its SHA-256 and the whole with "
		"the "
		"digest. Then the hook runs, with your rights: it finds the clone in "
		"ARTIFACT_SYNC_DRILL_TREE, may write to it, and starts a server on it, say. It has "
		"an "
		"environment of its own, also ARTIFACT_SYNC_{DRILL_ID,TREE,NODE,GROUP,SEQ,DIGEST,"
		"RECOVERY_POINT}; the last 4 KiB of its output are kept. How long it takes is the "
		"recovery time. The clone is removed, also when this command is ended.\n\n"
		"With --switchover, on either node, the roles are really exchanged and exchanged "
		"back, "
		"with the hooks of the configuration; refused unless both nodes are ready. The "
		"hook "
		"runs in between, on this node's own tree. A switchover that is ended in the "
		"middle "
		"leaves the roles exchanged: `artifact-sync reverse' exchanges them back.\n\n"
		"The report (a page of HTML, and JSON) is kept in drills/ of the state directory, "
		"the "
		"newest 30; status shows the last. Exit code 0 when the drill passed, else 1.\n\n"
		"Examples:\n"
		"  artifact-sync drill --hook /usr/local/bin/try-is --report /srv/www/drill.html\n"
		"  artifact-sync drill --json | jq -r .verdict",
	.options = options,
	.options_size = sizeof(struct drill_options),
	.run = run,
};
