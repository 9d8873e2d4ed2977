/* artifact-sync wait - until every peer has everything that happened before the call. */
#include <inttypes.h>
#include <stdio.h>

#include "agent/cli/report.h"
#include "agent/cli/text.h"

struct wait_options {
	uint64_t seq, timeout_s;
};

static const struct option_row options[] = {
	{.name = "seq",
	 .arg = "N",
	 .type = OPTION_NUMBER,
	 .off = offsetof(struct wait_options, seq),
	 .min = 1,
	 .max = INT64_MAX,
	 .help = "Only up to this change, as status of the active node counts them"},
	{.name = "timeout",
	 .arg = "SECONDS",
	 .type = OPTION_NUMBER,
	 .off = offsetof(struct wait_options, timeout_s),
	 .min = 1,
	 .max = CONTROL_DEADLINE_MAX_S,
	 .def = 60,
	 .help = "Give up with exit code 6 after this time (default: 60)"},
	{.name = NULL},
};

static void say_progress(char *out, size_t size, const json_t *report)
{
	char changes[TEXT_MAX], bytes[TEXT_MAX], rate[TEXT_MAX], eta[TEXT_MAX];
	double eta_s = member_number(report, "eta_s", -1);
	snprintf(out, size, "%s: %s changes and %s to go, %s/s, %s",
		 member_text(report, "phase", "waiting"),
		 text_count(changes, member_count(report, "pending_changes")),
		 text_bytes(bytes, member_count(report, "pending_bytes")),
		 text_bytes(rate, (uint64_t)member_number(report, "rate_bytes_per_s", 0)),
		 eta_s < 0 ? "time unknown" : text_seconds(eta, eta_s));
}

static void print_result(const struct cli *cli, const json_t *result, int code)
{
	const json_t *held = json_object_get(result, "held");
	bool active = !json_is_false(json_object_get(result, "active"));
	if (json_array_size(held) > 0)
		printf("Everything else has arrived (up to change %" PRIu64
		       "), but of these the peers have at most an earlier version:\n",
		       member_count(result, "seq"));
	else if (code == EXIT_DONE)
		printf("%s has everything%s up to change %" PRIu64 "; digest %s.\n",
		       active ? "Every peer" : "This node", active ? "" : " of its active",
		       member_count(result, "seq"), member_text(result, "digest", "unknown"));
	print_held(held);
	if (json_array_size(held) > 0)
		puts("  What to do: mend what is held, it is tried again when it changes; let the "
		     "agent's user read what is unreadable; what a brake holds (see "
		     "`artifact-sync status') waits for `artifact-sync approve' or "
		     "`artifact-sync reject'.");
}

static int run(const struct cli *cli, const void *given, char **operands, int n)
{
	const struct wait_options *o = given;
	json_t *request =
		json_pack("{s:s, s:I}", "verb", "wait", "timeout_s", (json_int_t)o->timeout_s);
	if (o->seq)
		json_object_set_new(request, "seq", json_integer((json_int_t)o->seq));
	struct question q = {.request = request,
			     .timeout_s = (double)o->timeout_s + REPLY_GRACE_S,
			     .progress = say_progress};
	return cli_ask_and_print(cli, &q, print_result);
}

const struct cmd cmd_wait = {
	.name = "wait",
	.summary = "Wait until every peer has all that was written before the call",
	.help = "Flushes the watcher first, so that what was written before the call counts, and "
		"ends when every peer has "
		"acknowledged it and the digests are equal. On a passive node: until it has what "
		"its active "
		"node had, or with --seq what that one counts so. Exit code 6 when the time runs "
		"out; 1 "
		"when all else has "
		"arrived but files are held back, which it names.\n\n"
		"Examples:\n"
		"  cp new-store.xml .../userstores/ && artifact-sync wait\n"
		"  artifact-sync wait --timeout 600 --json | jq -r .digest",
	.options = options,
	.options_size = sizeof(struct wait_options),
	.run = run,
};
