/* artifact-sync role - which role does this node have, and may the server start? */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "agent/cli/report.h"

struct role_options {
	const char *require;
	bool unconfirmed;
};

static const char *const roles[] = {"active", "passive", NULL};

static const struct option_row options[] = {
	{.name = "require",
	 .arg = "active|passive",
	 .type = OPTION_TEXT,
	 .off = offsetof(struct role_options, require),
	 .choices = roles,
	 .help = "Exit 1 unless the role is this one; active must also be confirmed"},
	{.name = "unconfirmed",
	 .type = OPTION_FLAG,
	 .off = offsetof(struct role_options, unconfirmed),
	 .help = "With --require active: be content with what this node believes itself"},
	{.name = NULL},
};

/* An active that no peer has confirmed since it started may have been superseded while it was away.
 */
static const char *why_not(const struct role_options *o, const char *role, bool confirmed)
{
	if (!o->require)
		return NULL;
	if (strcmp(o->require, role) != 0)
		return "the role is another one";
	if (strcmp(role, "active") == 0 && !confirmed && !o->unconfirmed)
		return "no peer has confirmed since the agent started that this node still is the "
		       "active one";
	return NULL;
}

static void say_no(const struct cli *cli, const struct role_options *o, const json_t *result,
		   const char *no)
{
	bool same = strcmp(o->require, member_text(result, "role", "")) == 0;
	if (cli->json)
		return;
	fprintf(stderr, "artifact-sync: --require %s: %s (role %s, epoch %" PRIu64 ")\n",
		o->require, no, member_text(result, "role", "unknown"),
		member_count(result, "epoch"));
	fprintf(stderr, "  What to do: %s\n",
		same ? "Start the peers' agents and see that they can be reached; or, when you "
		       "know that no other node "
		       "is active, add --unconfirmed."
		     : "`artifact-sync reverse' exchanges the roles.");
}

static int run(const struct cli *cli, const void *given, char **operands, int n)
{
	const struct role_options *o = given;
	struct question q = {.request = json_pack("{s:s}", "verb", "role"),
			     .timeout_s = REPLY_TIMEOUT_S};
	json_t *result;
	int code = cli_ask(cli, &q, &result);
	if (!result)
		return code;
	const char *role = member_text(result, "role", "unknown");
	bool confirmed = json_is_true(json_object_get(result, "confirmed"));
	const char *no = why_not(o, role, confirmed);
	if (cli->json)
		cli_print_json(cli, result);
	else
		puts(role);
	if (no)
		say_no(cli, o, result, no);
	json_decref(result);
	return no ? EXIT_NO : code;
}

const struct cmd cmd_role = {
	.name = "role",
	.summary = "Print the role; with --require, a guard for the server's own unit",
	.help = "Prints active, passive, draining, fenced or split. With --require it is a guard: "
		"draining, fenced and "
		"split satisfy neither role, and an active one must have been confirmed by a peer "
		"since its agent "
		"started, because a node that was away may have been superseded.\n\n"
		"Examples:\n"
		"  artifact-sync role\n"
		"  ExecStartPre=/usr/bin/artifact-sync role --require active     (in the server's "
		"unit)",
	.options = options,
	.options_size = sizeof(struct role_options),
	.run = run,
};
