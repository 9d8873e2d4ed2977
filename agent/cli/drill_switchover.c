#include "agent/cli/drill_switchover.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>

#include "agent/base/clock.h"
#include "agent/cli/drill_hook.h"
#include "agent/cli/report.h"
#include "agent/cli/reverse_text.h"
#include "agent/ops/drill_report.h"

#define REVERSE_TIMEOUT_S 120
#define SETTLE_MS 60000 /* for both to be in sync again after a reverse */
#define LOOK_MS 100
#define REASONS_MAX 20

struct switchover {
	const struct drill_switchover *setup;
	json_t *report, *timeline, *reasons;
	uint64_t began_ms;
	bool failed, refused;
};

__attribute__((format(printf, 2, 3))) static void fail(struct switchover *s, const char *fmt, ...)
{
	char text[500];
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	s->failed = true;
	if (json_array_size(s->reasons) < REASONS_MAX)
		json_array_append_new(s->reasons, control_text(text));
}

static void note_phase(struct switchover *s, const char *name, uint64_t began_ms, bool ok)
{
	json_array_append_new(s->timeline,
			      json_pack("{s:s, s:I, s:I, s:b}", "phase", name, "start_ms",
					(json_int_t)(began_ms - s->began_ms), "ms",
					(json_int_t)(clock_mono_ms() - began_ms), "ok", ok));
}

static void say(const struct switchover *s, const char *what)
{
	if (!s->setup->cli->json)
		fprintf(stderr, "%s\n", what);
}

/* @return the result, or NULL with what went wrong among the reasons */
static json_t *ask(struct switchover *s, json_t *request, int *code)
{
	struct control_answer answer = {0};
	struct err err = {0};
	json_t *result = NULL;
	if (control_ask(&answer, s->setup->conf->state_dir, request, 0, NULL, NULL, &err) < 0)
		fail(s, "%s", err.msg);
	else if (!answer.result)
		fail(s, "%s", answer.error ? answer.error : "the agent gave no answer");
	else
		result = json_incref(answer.result);
	*code = answer.code;
	control_answer_release(&answer);
	return result;
}

/* ---- the steps ------------------------------------------------------------------------------ */

static void take_reasons(struct switchover *s, const char *what, const json_t *result)
{
	size_t i;
	const json_t *reason;
	fail(s, "the %s ended as %s", what, member_text(result, "outcome", "unknown"));
	json_array_foreach(json_object_get(result, "reasons"), i, reason)
	{
		if (json_is_string(reason))
			fail(s, "%s: %.400s", what, json_string_value(reason));
	}
}

/* @return done, and the result among the report's members */
static bool reverse(struct switchover *s, const char *what)
{
	uint64_t began = clock_mono_ms();
	const char *who = reverse_operator();
	int code;
	json_t *request = json_pack("{s:s, s:b, s:b, s:b, s:i, s:s}", "verb", "reverse", "dry_run",
				    false, "failover", false, "accept_data_loss", false,
				    "timeout_s", REVERSE_TIMEOUT_S, "reason", "drill");
	if (who)
		json_object_set_new(request, "operator", control_text(who));
	json_t *result = ask(s, request, &code);
	bool done = result && strcmp(member_text(result, "outcome", ""), "done") == 0;
	if (result && !done)
		take_reasons(s, what, result);
	note_phase(s, what, began, done);
	json_object_set_new(s->report, what, result ? result : json_null());
	return done;
}

static bool is_in_sync(struct switchover *s)
{
	int code;
	json_t *status = ask(s, json_pack("{s:s}", "verb", "status"), &code);
	bool good = status && strcmp(member_text(status, "state", ""), "in_sync") == 0;
	if (good)
		json_object_set_new(s->report, "digest",
				    json_string(member_text(status, "digest", "")));
	json_decref(status);
	return good;
}

static bool settle(struct switchover *s, const char *what)
{
	uint64_t began = clock_mono_ms();
	bool good = false;
	while (!s->failed && !(good = is_in_sync(s)) && clock_mono_ms() - began < SETTLE_MS)
		poll(NULL, 0, LOOK_MS);
	if (!good)
		fail(s, "%s: the nodes were not in sync again within %d s; artifact-sync status",
		     what, SETTLE_MS / 1000);
	note_phase(s, what, began, good);
	return good;
}

static void hook(struct switchover *s)
{
	const struct drill_switchover *setup = s->setup;
	struct drill_hook_result result;
	struct err err = {0};
	uint64_t began = clock_mono_ms();
	AUTO_FREE char *tree = x_asprintf("ARTIFACT_SYNC_DRILL_TREE=%s", setup->conf->tree);
	AUTO_FREE char *node = x_asprintf("ARTIFACT_SYNC_NODE=%s", setup->conf->node);
	AUTO_FREE char *group = x_asprintf("ARTIFACT_SYNC_GROUP=%s", setup->conf->group);
	AUTO_FREE char *id =
		x_asprintf("ARTIFACT_SYNC_DRILL_ID=%s", member_text(s->report, "id", ""));
	const char *const facts[] = {tree, node, group, id, "ARTIFACT_SYNC_DRILL_KIND=switchover",
				     NULL};
	if (drill_hook_run(&result, setup->argv, facts, setup->hook_timeout_s, &err) < 0)
		snprintf(result.text, sizeof(result.text), "could not be run: %.150s", err.msg);
	if (!result.ok)
		fail(s, "the hook %s", result.text);
	note_phase(s, "hook", began, result.ok);
	json_t *argv = json_array();
	for (size_t i = 0; setup->argv[i]; i++)
		json_array_append_new(argv, control_path(setup->argv[i]));
	json_object_set_new(s->report, "hook",
			    json_pack("{s:o, s:b, s:o, s:o, s:I}", "argv", argv, "ok", result.ok,
				      "text", control_text(result.text), "output",
				      control_text(result.output), "ms", (json_int_t)result.ms));
}

/* ---- all of it ------------------------------------------------------------------------------ */

/* A rehearsal must not be what breaks it. */
static int refuse_unless_ready(struct switchover *s)
{
	const struct cli *cli = s->setup->cli;
	int code;
	json_t *ready = ask(s, json_pack("{s:s}", "verb", "ready"), &code);
	const json_t *reasons = json_object_get(ready, "not_ready");
	const char *first = json_string_value(json_array_get(reasons, 0));
	AUTO_FREE char *unit = cli_unit(cli);
	AUTO_FREE char *remedy = x_asprintf("Start it: systemctl start %s.", unit);
	if (!ready)
		code = cli_fail(cli, code ? (enum exit_code)code : EXIT_NOT_RUNNING, remedy, "%s",
				json_string_value(json_array_get(s->reasons, 0)));
	else if (json_array_size(reasons) > 0)
		code = cli_fail(cli, EXIT_REFUSED, "`artifact-sync ready' lists every reason.",
				"a reverse is not possible now: %s%s", first ? first : "?",
				json_array_size(reasons) > 1 ? " (and others)" : "");
	json_decref(ready);
	return code;
}

static void begin_report(struct switchover *s)
{
	char id[DRILL_ID_MAX], text[CLOCK_TEXT_MAX];
	const struct conf *conf = s->setup->conf;
	int code;
	json_t *status = ask(s, json_pack("{s:s}", "verb", "status"), &code);
	json_t *point = json_object_get(status, "recovery_point");
	json_t *age = json_object_get(status, "rpo_seconds");
	drill_report_id(id, clock_real_ns());
	s->report = json_pack("{s:s, s:s, s:s, s:s, s:s, s:o, s:o}", "id", id, "kind", "switchover",
			      "node", conf->node, "group", conf->group, "time",
			      clock_text(text, clock_real_ns()), "recovery_point",
			      point ? json_incref(point) : json_null(), "rpo_seconds",
			      age ? json_incref(age) : json_null());
	json_decref(status);
}

/* There, the hook, and back. Whatever fails there, the way back is tried. */
static void exchange_twice(struct switchover *s)
{
	say(s, "Exchanging the roles.");
	uint64_t began = clock_mono_ms();
	if (!reverse(s, "reverse")) {
		const json_t *result = json_object_get(s->report, "reverse");
		s->refused = strcmp(member_text(result, "outcome", ""), "refused") == 0;
		return;
	}
	json_object_set_new(s->report, "recovery_time_s",
			    json_real((double)(clock_mono_ms() - began) / 1000));
	bool there = settle(s, "in sync again");
	if (there && s->setup->argv[0]) {
		say(s, "The roles are exchanged; the hook runs.");
		hook(s);
	}
	say(s, "Exchanging them back.");
	bool back = reverse(s, "failback");
	bool failed = s->failed;
	s->failed = false; /* what was seen before does not end the waiting */
	bool settled = back && settle(s, "in sync after the failback");
	s->failed |= failed || !settled;
	json_object_set_new(s->report, "verified", json_boolean(there && settled));
}

static void keep(struct switchover *s)
{
	int code;
	json_object_set_new(s->report, "verdict", json_string(s->failed ? "failed" : "passed"));
	json_object_set(s->report, "reasons", s->reasons);
	json_object_set(s->report, "timeline", s->timeline);
	json_object_set_new(s->report, "seconds",
			    json_real((double)(clock_mono_ms() - s->began_ms) / 1000));
	json_decref(ask(s,
			json_pack("{s:s, s:s, s:O}", "verb", "drill", "action", "record", "report",
				  s->report),
			&code));
}

int drill_switchover(const struct drill_switchover *setup, json_t **report)
{
	struct switchover s = {.setup = setup,
			       .timeline = json_array(),
			       .reasons = json_array(),
			       .began_ms = clock_mono_ms()};
	*report = NULL;
	int code = refuse_unless_ready(&s);
	if (code == EXIT_DONE) {
		begin_report(&s);
		exchange_twice(&s);
		keep(&s);
		code = s.refused ? EXIT_REFUSED : s.failed ? EXIT_NO : EXIT_DONE;
		*report = json_incref(s.report);
	}
	json_decref(s.report);
	json_decref(s.timeline);
	json_decref(s.reasons);
	return code;
}
