/* artifact-sync events - what the agent did: the lines of its log that it keeps. Read from the
 * state directory, so that it works also when there is no agent to ask. */
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "agent/cli/report.h"
#include "agent/cli/text.h"
#include "agent/ops/events.h"

#define NEWEST 100
#define FOLLOW_MS 200

struct events_options {
	bool follow;
	bool all;
	uint64_t number;
};

static const struct option_row options[] = {
	{.name = "follow",
	 .type = OPTION_FLAG,
	 .off = offsetof(struct events_options, follow),
	 .help = "Go on with what comes, until Ctrl-C; an agent that restarts is waited for"},
	{.name = "number",
	 .arg = "N",
	 .type = OPTION_NUMBER,
	 .off = offsetof(struct events_options, number),
	 .min = 0,
	 .max = UINT32_MAX,
	 .def = NEWEST,
	 .help = "How many of the newest"},
	{.name = "all",
	 .type = OPTION_FLAG,
	 .off = offsetof(struct events_options, all),
	 .help = "All that are kept"},
	{.name = NULL},
};

static volatile sig_atomic_t interrupted;

static void on_interrupt(int signum)
{
	(void)signum;
	interrupted = 1;
}

/* Without SA_RESTART: it ends the pause. */
static void catch_interrupt(void)
{
	struct sigaction action = {.sa_handler = on_interrupt};
	sigaction(SIGINT, &action, NULL);
}

/* ---- printing ---------------------------------------------------------------------------------
 */

static enum colour colour_of(const char *level)
{
	return strcmp(level, "error") == 0  ? COLOUR_BAD
	       : strcmp(level, "warn") == 0 ? COLOUR_WARN
					    : COLOUR_GOOD;
}

/* Columns of a fixed width, since nobody knows how wide what comes will be. */
static void print_row(const struct cli *cli, enum colour colour, const char *const column[4])
{
	char *safe[4];
	for (size_t i = 0; i < ARRAY_LEN(safe); i++)
		safe[i] = text_safe(column[i]);
	printf("%-24s  %s%-5s%s  %-9s  %s\n", safe[0], colour_code(colour, cli->colour), safe[1],
	       colour_code(COLOUR_NONE, cli->colour), safe[2], safe[3]);
	for (size_t i = 0; i < ARRAY_LEN(safe); i++)
		free(safe[i]);
}

static void print_heading(const struct cli *cli)
{
	if (!cli->json)
		print_row(cli, COLOUR_NONE,
			  (const char *const[]){"TIME", "LEVEL", "MODULE", "TEXT"});
}

static void print_event(const struct cli *cli, const json_t *event)
{
	if (cli->json) {
		cli_print_json(cli, event);
		return;
	}
	const char *level = member_text(event, "level", "?");
	const char *const column[4] = {member_text(event, "time", "?"), level,
				       member_text(event, "module", "?"),
				       member_text(event, "text", "")};
	print_row(cli, colour_of(level), column);
}

static void tell_bad(struct events_reader *reader)
{
	if (reader->bad > 0)
		fprintf(stderr, "artifact-sync: lines that are no events, left out: %" PRIu64 "\n",
			reader->bad);
	reader->bad = 0;
}

/* ---- reading ----------------------------------------------------------------------------------
 */

/* @return 0 with the newest in *out, the oldest of them first; negative errno */
static int read_newest(json_t *out, struct events_reader *reader, uint64_t number, struct err *err)
{
	json_t *event;
	int r;
	while ((r = events_next(reader, &event, err)) > 0) {
		json_array_append_new(out, event);
		if (json_array_size(out) > number)
			json_array_remove(out, 0);
	}
	return r;
}

static int print_newest(const struct cli *cli, struct events_reader *reader,
			const struct events_options *o, struct err *err)
{
	size_t i;
	json_t *event, *newest = json_array();
	int r = read_newest(newest, reader, o->all ? UINT64_MAX : o->number, err);
	if (r == 0 && (json_array_size(newest) > 0 || o->follow))
		print_heading(cli);
	else if (r == 0 && !cli->json)
		puts("No event is kept yet: the agent begins with it when it starts.");
	json_array_foreach(newest, i, event) print_event(cli, event);
	json_decref(newest);
	tell_bad(reader);
	return r;
}

static int follow(const struct cli *cli, struct events_reader *reader, struct err *err)
{
	const struct timespec pause = {.tv_nsec = FOLLOW_MS * 1000000};
	json_t *event;
	int r = 0;
	while (r == 0 && !interrupted) {
		if (fflush(stdout) != 0)
			return 0; /* nobody reads any more: cli_main() sees it, too */
		nanosleep(&pause, NULL);
		while (!interrupted && (r = events_next(reader, &event, err)) > 0) {
			print_event(cli, event);
			json_decref(event);
		}
		tell_bad(reader);
	}
	return r < 0 ? r : 0;
}

static int run(const struct cli *given_cli, const void *given, char **operands, int n)
{
	const struct events_options *o = given;
	struct cli cli = *given_cli;
	struct events_reader reader;
	struct err err = {0};
	AUTO(conf) *conf = NULL;
	(void)operands;
	(void)n;
	int code = cli_load(&cli, &conf);
	if (code != EXIT_DONE)
		return code;
	cli.lines = true;
	if (o->follow)
		catch_interrupt();
	events_reader_init(&reader, conf->state_dir);
	int r = print_newest(&cli, &reader, o, &err);
	if (r == 0 && o->follow)
		r = follow(&cli, &reader, &err);
	events_reader_release(&reader);
	if (r == 0)
		return EXIT_DONE;
	return cli_fail(&cli, EXIT_NO,
			r == -EACCES ? "Run the command with sudo, or as the user that the agent "
				       "runs as."
				     : NULL,
			"%s", err.msg);
}

const struct cmd cmd_events = {
	.name = "events",
	.summary = "What the agent did: drift, holds, roles, sessions, troubles",
	.help = "The newest come last. They are the lines of the agent's log of level info, warn "
		"and error (as far as the key log lets them through), kept in the state "
		"directory: the newest 4 MiB at least. Works also while the agent does not run. "
		"With --json each is an object on a line of its own: time, level, module, text, "
		"and fields when the text is key=value throughout. It is a convenience; the "
		"ledger is the proof.\n\n"
		"Examples:\n"
		"  artifact-sync events\n"
		"  artifact-sync events --follow\n"
		"  artifact-sync events --all --json | jq -r 'select(.module == \"drift\") | "
		".fields.path'",
	.options = options,
	.options_size = sizeof(struct events_options),
	.run = run,
};
