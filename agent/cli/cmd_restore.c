/* artifact-sync restore - an earlier state, into a directory of its own. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "agent/base/clock.h"
#include "agent/cli/history_offline.h"
#include "agent/cli/text.h"
#include "agent/cli/when.h"

struct restore_options {
	const char *at, *to;
	uint64_t version;
};

static const struct option_row options[] = {
	{.name = "at",
	 .arg = "TIME",
	 .type = OPTION_TEXT,
	 .off = offsetof(struct restore_options, at),
	 .help = "The tree as it was proven equal last at or before this time: as status prints "
		 "times, or \"2026-01-31 12:30\" in this machine's time zone, or \"-15min\""},
	{.name = "version",
	 .arg = "N",
	 .type = OPTION_NUMBER,
	 .off = offsetof(struct restore_options, version),
	 .min = 1,
	 .max = INT64_MAX,
	 .help = "This version of the one PATH, as history lists them"},
	{.name = "to",
	 .arg = "DIR",
	 .type = OPTION_TEXT,
	 .off = offsetof(struct restore_options, to),
	 .required = true,
	 .help = "Write it into this directory, which must be empty or not there"},
	{.name = NULL},
};

static void say_progress(char *out, size_t size, const json_t *report)
{
	char files[TEXT_MAX], bytes[TEXT_MAX];
	snprintf(out, size, "restored: %s files, %s",
		 text_count(files, member_count(report, "files")),
		 text_bytes(bytes, member_count(report, "bytes")));
}

static void print_failures(const json_t *result)
{
	size_t i;
	const json_t *failure;
	const json_t *failures = json_object_get(result, "failures");
	uint64_t failed = member_count(result, "failed");
	json_array_foreach((json_t *)failures, i, failure)
	{
		AUTO_FREE char *path = text_safe(member_text(failure, "path", "?"));
		AUTO_FREE char *reason = text_safe(member_text(failure, "reason", "?"));
		printf("  not restored: %s: %s\n", path, reason);
	}
	if (failed > json_array_size(failures))
		printf("  ... and %" PRIu64 " more\n", failed - json_array_size(failures));
}

static void print_proof(const struct cli *cli, const json_t *result)
{
	const json_t *barrier = json_object_get(result, "barrier");
	bool good = json_is_true(json_object_get(result, "digest_matches"));
	if (!json_is_object(barrier))
		return;
	printf("State of %s (unchanged until %s), change %" PRIu64 ".\n",
	       member_text(barrier, "time", "?"), member_text(barrier, "until", "?"),
	       member_count(barrier, "seq"));
	printf("Digest %s: %s%s%s.\n", member_text(barrier, "digest", "?"),
	       colour_code(good ? COLOUR_GOOD : COLOUR_BAD, cli->colour),
	       good ? "it is the one that both nodes agreed on then" : "NOT what was restored",
	       colour_code(COLOUR_NONE, cli->colour));
}

static void print_result(const struct cli *cli, const json_t *result, const char *to)
{
	char files[TEXT_MAX], bytes[TEXT_MAX];
	AUTO_FREE char *safe = text_safe(to);
	printf("%s files (%s), %" PRIu64 " directories and %" PRIu64 " links restored to %s.\n",
	       text_count(files, member_count(result, "files")),
	       text_bytes(bytes, member_count(result, "bytes")),
	       member_count(result, "directories"), member_count(result, "links"), safe);
	print_proof(cli, result);
	print_failures(result);
}

static char *absolute(const char *path)
{
	AUTO_FREE char *here = *path == '/' ? NULL : getcwd(NULL, 0);
	return here ? x_asprintf("%s/%s", here, path) : x_strdup(path);
}

static json_t *make_request(const struct cli *cli, const struct restore_options *o, const char *to,
			    char **operands, int n, int *code)
{
	int64_t at_ns = 0;
	AUTO(conf) *conf = NULL;
	*code = cli_load(cli, &conf);
	if (*code != EXIT_DONE)
		return NULL;
	*code = EXIT_USAGE;
	if (!o->at == !o->version) {
		cli_fail(cli, EXIT_USAGE, "`artifact-sync history PATH' lists versions.",
			 "restore needs either --at or --version");
		return NULL;
	}
	if (o->version && n != 1) {
		cli_fail(cli, EXIT_USAGE, NULL, "--version is one of exactly one PATH");
		return NULL;
	}
	if (o->at && !when_parse(&at_ns, o->at, clock_real_ns())) {
		cli_fail(cli, EXIT_USAGE,
			 "Times are like 2026-01-31T12:30:00Z, \"2026-01-31 12:30\" or -15min.",
			 "\"%s\" is not understood as a time", o->at);
		return NULL;
	}
	json_t *paths = json_array();
	for (int i = 0; i < n; i++)
		json_array_append_new(paths, history_path(conf, operands[i]));
	return json_pack("{s:s, s:I, s:I, s:o, s:o}", "verb", "restore", "at_ns", (json_int_t)at_ns,
			 "version", (json_int_t)o->version, "to", control_path(to), "paths", paths);
}

static int run(const struct cli *cli, const void *given, char **operands, int n)
{
	const struct restore_options *o = given;
	int code;
	AUTO_FREE char *to = absolute(o->to);
	struct question q = {.request = make_request(cli, o, to, operands, n, &code),
			     .progress = say_progress};
	if (!q.request)
		return code;
	json_t *result;
	code = history_ask(cli, &q, &result);
	if (!result)
		return code;
	if (cli->json)
		cli_print_json(cli, result);
	else
		print_result(cli, result, to);
	json_decref(result);
	return code;
}

const struct cmd cmd_restore = {
	.name = "restore",
	.operands = "--at TIME --to DIR [PATH...]\n--version N --to DIR PATH",
	.max_operands = 60,
	.summary = "Write an earlier state of the tree, or of some paths, into a directory",
	.help = "Rebuilds the tree as both nodes agreed on it last at or before TIME. Every file "
		"is "
		"compared with its SHA-256, and the whole with the digest recorded then: exit code "
		"1 when something is missing or the digest differs. With PATHs only these, with "
		"what is beneath them. The tree itself is not touched. Ask the passive node: it "
		"keeps the earlier versions. Works also while the agent does not run.\n\n"
		"Examples:\n"
		"  artifact-sync restore --at -15min --to /tmp/before\n"
		"  artifact-sync restore --at '2026-01-31 12:30' --to /tmp/before conf tenants/1\n"
		"  artifact-sync restore --version 4711 --to /tmp/one conf/deployment.toml",
	.options = options,
	.options_size = sizeof(struct restore_options),
	.run = run,
};
