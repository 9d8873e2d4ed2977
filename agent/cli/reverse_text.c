#include "agent/cli/reverse_text.h"

#include <inttypes.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/cli/report.h"
#include "agent/cli/text.h"

#define SHOWN_MAX 20

void reverse_say_progress(char *out, size_t size, const json_t *report)
{
	char seconds[TEXT_MAX];
	snprintf(out, size, "%s, %s", member_text(report, "phase", "waiting"),
		 text_seconds(seconds, (double)member_count(report, "ms") / 1000.0));
}

const char *reverse_operator(void)
{
	const char *sudo = getenv("SUDO_USER");
	if (sudo && *sudo)
		return sudo;
	const struct passwd *who = getpwuid(getuid());
	return who ? who->pw_name : NULL;
}

static void print_list(const json_t *list, const char *heading, const char *before)
{
	size_t i;
	const json_t *one;
	if (json_array_size(list) > 0 && *heading)
		puts(heading);
	json_array_foreach((json_t *)list, i, one)
	{
		AUTO_FREE char *text =
			text_safe(json_string_value(one) ? json_string_value(one) : "?");
		if (i == SHOWN_MAX) {
			printf("%s... and %zu more (--json lists them)\n", before,
			       json_array_size(list) - SHOWN_MAX);
			return;
		}
		printf("%s%s\n", before, text);
	}
}

static void print_timeline(const json_t *timeline)
{
	size_t i;
	const json_t *one;
	json_array_foreach((json_t *)timeline, i, one) printf(
		"  %6" PRIu64 " ms  %s\n", member_count(one, "ms"), member_text(one, "phase", "?"));
}

static void print_recovery(const json_t *result)
{
	char seconds[TEXT_MAX];
	double risk = member_number(result, "seconds_at_risk", -1);
	printf("Recovery point: %s", member_text(result, "recovery_point", "none"));
	if (risk >= 0)
		printf("; changes of the last %s may be missing", text_seconds(seconds, risk));
	puts(".");
}

static void print_dry_run(const json_t *result)
{
	char seconds[TEXT_MAX], changes[TEXT_MAX], bytes[TEXT_MAX];
	printf("%s would become active, in about %s, hooks apart; %s changes and %s are still to "
	       "be sent.\n",
	       member_text(result, "heir", "?"),
	       text_seconds(seconds, member_number(result, "estimate_seconds", 0)),
	       text_count(changes, member_count(result, "pending_changes")),
	       text_bytes(bytes, member_count(result, "pending_bytes")));
}

void reverse_print(const struct cli *cli, const json_t *result, int code)
{
	const char *outcome = member_text(result, "outcome", "?");
	const json_t *lost = json_object_get(result, "lost");
	char seconds[TEXT_MAX];
	bool failover = json_is_true(json_object_get(result, "failover"));
	if (strcmp(outcome, "done") == 0)
		printf("%s is active now, in epoch %" PRIu64 ", after %s (change %" PRIu64 ").\n",
		       member_text(result, "active", "?"), member_count(result, "epoch"),
		       text_seconds(seconds, member_number(result, "seconds", 0)),
		       member_count(result, "seq"));
	else if (strcmp(outcome, "possible") == 0 && !failover)
		print_dry_run(result);
	else if (strcmp(outcome, "unresolved") == 0)
		puts("Unresolved: the role may have been offered, and the end of it is not known "
		     "yet; `artifact-sync status' on both nodes shows it.");
	else if (strcmp(outcome, "rolled_back") == 0)
		puts("Rolled back: the roles are as before.");
	else if (strcmp(outcome, "superseded") == 0)
		puts("Superseded: another node took over meanwhile.");
	else if (strcmp(outcome, "split") == 0)
		puts("Split: another node took over from the same epoch.");
	else if (strcmp(outcome, "possible") != 0)
		printf("%s: nothing was changed.\n", *outcome == 'r' ? "Refused" : "Failed");
	if (failover || member_number(result, "seconds_at_risk", -1) >= 0)
		print_recovery(result);
	print_list(json_object_get(result, "reasons"), "", "  ");
	cli_print_hook_output(stdout, result);
	print_list(lost, "Left behind (the salvage of the node that has them keeps them):", "  ");
	print_timeline(json_object_get(result, "timeline"));
}
