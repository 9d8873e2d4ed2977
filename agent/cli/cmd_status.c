/* artifact-sync status - how is this node, and how far are its peers? */
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "agent/base/clock.h"
#include "agent/cli/report.h"
#include "agent/cli/status_text.h"

struct status_options {
	bool watch;
	uint64_t count;
};

static const struct option_row options[] = {
	{.name = "watch",
	 .type = OPTION_FLAG,
	 .off = offsetof(struct status_options, watch),
	 .help = "Show it again every second, with rate and remaining time; into a pipe: one line "
		 "of JSON per second"},
	{.name = "count",
	 .arg = "N",
	 .type = OPTION_NUMBER,
	 .off = offsetof(struct status_options, count),
	 .min = 1,
	 .max = UINT32_MAX,
	 .help = "With --watch: end after N times"},
	{.name = NULL},
};

static json_t *request(void)
{
	return json_pack("{s:s}", "verb", "status");
}

static void print_page(const struct cli *cli, const json_t *status, int code)
{
	status_print(stdout, status, NULL, cli->colour);
}

static int once(const struct cli *cli)
{
	struct question q = {.request = request(), .timeout_s = REPLY_TIMEOUT_S};
	return cli_ask_and_print(cli, &q, print_page);
}

static void sleep_until_next_second(uint64_t begun_ms)
{
	uint64_t next = begun_ms + 1000, now = clock_mono_ms();
	struct timespec left = {.tv_nsec = now < next ? (long)(next - now) * 1000000 : 0};
	if (left.tv_nsec >= 1000000000)
		left = (struct timespec){.tv_sec = 1};
	nanosleep(&left, NULL);
}

/* The page is made in memory and written at once, from the top of the screen: no flicker. What a
 * shorter page leaves of a longer one is cleared behind it. */
static void redraw(const struct cli *cli, const json_t *status, const struct status_rate *rate)
{
	char *page = NULL;
	size_t size = 0;
	FILE *memory = open_memstream(&page, &size);
	BUG_ON(!memory);
	status_print(memory, status, rate, cli->colour);
	fclose(memory);
	fputs("\033[H", stdout);
	for (char *line = page, *end; *line; line = end + 1) {
		end = strchr(line, '\n');
		printf("%.*s\033[K\n", (int)(end - line), line);
	}
	fputs("\033[J\nCtrl-C ends this.\033[K\n", stdout);
	free(page);
}

static void print_line(const struct cli *cli, json_t *status, const struct status_rate *rate)
{
	double eta = status_rate_eta(rate);
	json_object_set_new(status, "rate_bytes_per_s",
			    json_integer((json_int_t)rate->bytes_per_s));
	json_object_set_new(status, "eta_s", eta < 0 ? json_null() : json_real(eta));
	cli_print_json(cli, status);
}

/* An agent that goes away is waited for: it may be starting again. One that was not there is not.
 */
static int watch(const struct cli *cli, uint64_t count)
{
	bool page = isatty(STDOUT_FILENO) && !cli->json;
	struct cli asking = *cli;
	asking.json = asking.lines = !page; /* so that a failure is a line of JSON, too */
	struct status_rate rate = {0};
	int code = EXIT_DONE;
	if (page)
		fputs("\033[2J", stdout);
	for (uint64_t i = 0; count == 0 || i < count; i++) {
		uint64_t now = clock_mono_ms();
		if (page)
			fputs("\033[H", stdout);
		struct question q = {.request = request(), .timeout_s = REPLY_TIMEOUT_S};
		json_t *status;
		code = cli_ask(&asking, &q, &status);
		if (code == EXIT_USAGE || (code == EXIT_NOT_RUNNING && i == 0))
			return code;
		if (status) {
			status_rate_add(&rate, status, now);
			page ? redraw(cli, status, &rate) : print_line(&asking, status, &rate);
		} else if (page) {
			fputs("\033[J", stdout);
		}
		json_decref(status);
		if (fflush(stdout) != 0)
			return EXIT_NO; /* nobody reads any more */
		if (count == 0 || i + 1 < count)
			sleep_until_next_second(now);
	}
	return code;
}

static int run(const struct cli *cli, const void *given, char **operands, int n)
{
	const struct status_options *o = given;
	return o->watch ? watch(cli, o->count) : once(cli);
}

const struct cmd cmd_status = {
	.name = "status",
	.summary = "Role, lag, progress and problems; exit 0 when healthy",
	.help = "What this node knows of itself and its peers: whether they are in sync and how "
		"that is known, what is on its "
		"way, the recovery point (what would be left if the active region were lost now), "
		"and what to do about "
		"problems. Exit code 0 when in sync, or catching up for less than a minute; else "
		"1.\n\n"
		"Examples:\n"
		"  artifact-sync status\n"
		"  artifact-sync status --watch\n"
		"  artifact-sync status --json | jq '.peers[] | {node, lag_seconds, "
		"pending_changes}'\n"
		"  artifact-sync status > /dev/null || alert",
	.options = options,
	.options_size = sizeof(struct status_options),
	.run = run,
};
