#include "agent/cli/report.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "agent/base/clock.h"
#include "agent/cli/text.h"

#define CONF_SUFFIX ".json"

/* 0.3 is printed as 0.3 */
#define REAL_DIGITS JSON_REAL_PRECISION(12)

void cli_print_json(const struct cli *cli, const json_t *object)
{
	json_dumpf(object, stdout, (cli->lines ? JSON_COMPACT : JSON_INDENT(2)) | REAL_DIGITS);
	putchar('\n');
}

int cli_fail(const struct cli *cli, enum exit_code code, const char *remedy, const char *fmt, ...)
{
	char text[1024];
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	fflush(stdout);
	if (cli->json) {
		json_t *object =
			json_pack("{s:o, s:i}", "error", control_text(text), "exit_code", code);
		if (remedy)
			json_object_set_new(object, "remedy", control_text(remedy));
		cli_print_json(cli, object);
		json_decref(object);
		return code;
	}
	AUTO_FREE char *safe = text_safe(text);
	fprintf(stderr, "artifact-sync: %s\n", safe);
	AUTO_FREE char *safe_remedy = text_safe(remedy ? remedy : "");
	if (remedy)
		fprintf(stderr, "  What to do: %s\n", safe_remedy);
	return code;
}

int cli_load(const struct cli *cli, struct conf **out)
{
	struct err err = {0};
	int r = conf_load(out, cli->config, &err);
	if (r == 0)
		return EXIT_DONE;
	const char *remedy = "Mend that line; `man artifact-sync.json' describes every key.";
	if (r == -ENOENT)
		remedy = "Name the file with --config, or make one with `artifact-sync init'.";
	else if (r == -EACCES)
		remedy = "Run the command with sudo, or as the user that the agent runs as.";
	return cli_fail(cli, EXIT_USAGE, remedy, "%s", err.msg);
}

char *cli_unit(const struct cli *cli)
{
	const char *slash = strrchr(cli->config, '/'), *name = slash ? slash + 1 : cli->config;
	size_t len = strlen(name), suffix = strlen(CONF_SUFFIX);
	if (len > suffix && strcmp(name + len - suffix, CONF_SUFFIX) == 0)
		len -= suffix;
	return x_asprintf("artifact-sync@%.*s", (int)len, name);
}

struct progress_line {
	void (*say)(char *out, size_t size, const json_t *report);
	bool shown;
};

static void on_progress(void *arg, const json_t *report)
{
	struct progress_line *line = arg;
	char text[200];
	line->say(text, sizeof(text), report);
	AUTO_FREE char *safe = text_safe(text);
	fprintf(stderr, "\r\033[K%s", safe);
	line->shown = true;
}

static int failed(const struct cli *cli, const struct conf *conf, int error, const struct err *err)
{
	switch (error) {
	case -ENOENT:
	case -ECONNREFUSED: {
		AUTO_FREE char *unit = cli_unit(cli);
		AUTO_FREE char *remedy =
			x_asprintf("Start it: `systemctl start %s', or in the foreground "
				   "`artifact-sync agent --config %s'.",
				   unit, cli->config);
		return cli_fail(cli, EXIT_NOT_RUNNING, remedy,
				"the agent of node %s is not running", conf->node);
	}
	case -EACCES:
	case -EPERM:
		return cli_fail(cli, EXIT_NO,
				"Run the command with sudo, or as the user that the agent runs as.",
				"%s", err->msg);
	case -ETIMEDOUT:
		return cli_fail(cli, EXIT_NO,
				"Look at the agent's log; it answers nobody while its disk hangs.",
				"%s", err->msg);
	default: return cli_fail(cli, EXIT_NO, "Look at the agent's log.", "%s", err->msg);
	}
}

int cli_ask(const struct cli *cli, const struct question *question, json_t **result)
{
	AUTO(conf) *conf = NULL;
	*result = NULL;
	int code = cli_load(cli, &conf);
	if (code != EXIT_DONE) {
		json_decref(question->request);
		return code;
	}
	struct progress_line line = {.say = question->progress};
	bool watched = question->progress && !cli->json && isatty(STDERR_FILENO);
	uint64_t deadline = question->timeout_s > 0
				    ? clock_mono_ms() + (uint64_t)(question->timeout_s * 1000)
				    : 0;
	struct control_answer answer;
	struct err err = {0};
	int r = control_ask(&answer, conf->state_dir, question->request, deadline,
			    watched ? on_progress : NULL, &line, &err);
	if (line.shown)
		fputs("\r\033[K", stderr);
	if (r < 0)
		return failed(cli, conf, r, &err);
	code = answer.code;
	if (answer.error)
		cli_fail(cli, code, answer.remedy, "%s", answer.error);
	else
		*result = json_incref(answer.result);
	control_answer_release(&answer);
	return code;
}

int cli_print_answer(const struct cli *cli, json_t *result, int code,
		     void (*print)(const struct cli *cli, const json_t *result, int code))
{
	if (result && cli->json)
		cli_print_json(cli, result);
	else if (result)
		print(cli, result, code);
	json_decref(result);
	return code;
}

int cli_ask_and_print(const struct cli *cli, const struct question *question,
		      void (*print)(const struct cli *cli, const json_t *result, int code))
{
	json_t *result;
	int code = cli_ask(cli, question, &result);
	return cli_print_answer(cli, result, code, print);
}

const char *member_text(const json_t *object, const char *key, const char *fallback)
{
	const char *text = json_string_value(json_object_get(object, key));
	return text ? text : fallback;
}

double member_number(const json_t *object, const char *key, double fallback)
{
	const json_t *value = json_object_get(object, key);
	return json_is_number(value) ? json_number_value(value) : fallback;
}

uint64_t member_count(const json_t *object, const char *key)
{
	json_int_t n = json_integer_value(json_object_get(object, key));
	return n > 0 ? (uint64_t)n : 0;
}

void cli_print_hook_output(FILE *out, const json_t *result)
{
	const json_t *hook = json_object_get(result, "hook_output");
	const char *text = json_string_value(json_object_get(hook, "output"));
	if (!text || !*text)
		return;
	fprintf(out, "  What %s on %s printed (the last of it):\n",
		member_text(hook, "hook", "the hook"), member_text(hook, "node", "this node"));
	while (*text) {
		size_t len = strcspn(text, "\n");
		AUTO_FREE char *line = x_asprintf("%.*s", (int)len, text);
		AUTO_FREE char *safe = text_safe(line);
		fprintf(out, "    | %s\n", safe);
		text += len + (text[len] == '\n');
	}
}

void print_held(const json_t *held)
{
	size_t i;
	const json_t *each;
	json_array_foreach((json_t *)held, i, each)
	{
		AUTO_FREE char *path = text_safe(member_text(each, "path", "?"));
		AUTO_FREE char *reason = text_safe(member_text(each, "reason", ""));
		printf("  %s: %s%s%s\n", member_text(each, "what", "held"), path,
		       *reason ? ": " : "", reason);
	}
}
