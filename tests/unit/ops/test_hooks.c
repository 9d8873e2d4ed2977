/* Hooks with a real runner and real programs: results, order, output, environment, deadlines, and
 * the end of everything they have started. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/base/clock.h"
#include "agent/ops/hooks.h"

#define SH(script)                                      \
	(char *const[])                                 \
	{                                               \
		"/bin/sh", "-c", (char *)(script), NULL \
	}

struct seen {
	unsigned order[16];
	struct hook_result results[16];
	size_t n;
	bool closed;
};

static void on_done(void *owner, unsigned index, const struct hook_result *result)
{
	struct seen *seen = owner;
	seen->order[seen->n] = index;
	seen->results[seen->n++] = *result;
}

static void on_closed(void *owner)
{
	((struct seen *)owner)->closed = true;
}

struct rig {
	uv_loop_t loop;
	struct hooks *hooks;
	struct seen seen;
};

static void begin(struct rig *rig, char *const *const argvs[HOOKS_MAX])
{
	struct err err = {0};
	memset(rig, 0, sizeof(*rig));
	assert_int_equal(hooks_fork(&rig->hooks, argvs, &err), 0);
	assert_int_equal(uv_loop_init(&rig->loop), 0);
	hooks_open(rig->hooks, &rig->loop, on_done, &rig->seen);
}

static void wait_for(struct rig *rig, size_t n)
{
	while (rig->seen.n < n)
		uv_run(&rig->loop, UV_RUN_ONCE);
}

static void end(struct rig *rig)
{
	hooks_close(rig->hooks, on_closed, &rig->seen);
	uv_run(&rig->loop, UV_RUN_DEFAULT);
	assert_true(rig->seen.closed);
	assert_int_equal(uv_loop_close(&rig->loop), 0);
}

static void results_come_in_order_and_say_why(void **state)
{
	char *const *const argvs[HOOKS_MAX] = {
		SH("exit 0"), SH("echo cannot stop wso2is; echo 'second\tline' >&2; exit 3"), NULL,
		SH("kill -9 $$"), (char *const[]){"/nowhere/at/all", NULL}};
	struct rig rig;
	(void)state;
	begin(&rig, argvs);
	for (unsigned i = 0; i < 5; i++)
		hooks_run(rig.hooks, i, NULL, 10000);
	wait_for(&rig, 5);
	for (unsigned i = 0; i < 5; i++)
		assert_int_equal(rig.seen.order[i], i);
	assert_true(rig.seen.results[0].done);
	assert_false(rig.seen.results[1].done);
	assert_string_equal(rig.seen.results[1].text,
			    "exited with 3: cannot stop wso2is second line");
	assert_true(rig.seen.results[2].done); /* none is configured */
	assert_false(rig.seen.results[3].done);
	assert_string_equal(rig.seen.results[3].text, "was ended by signal 9");
	assert_false(rig.seen.results[4].done);
	assert_non_null(strstr(rig.seen.results[4].text, "No such file or directory"));
	end(&rig);
}

static void facts_are_all_of_the_environment(void **state)
{
	char *const *const argvs[HOOKS_MAX] = {SH("env | grep -v -e ^PWD= -e ^OLDPWD= -e ^_= -e "
						  "^SHLVL= | sort | tr '\\n' ' '; exit 1")};
	const char *const facts[] = {"ARTIFACT_SYNC_EPOCH=7", "ARTIFACT_SYNC_REASON=a b;c", NULL};
	struct rig rig;
	(void)state;
	setenv("SECRET_OF_THE_AGENT", "1", 1);
	begin(&rig, argvs);
	hooks_run(rig.hooks, 0, facts, 10000);
	wait_for(&rig, 1);
	assert_null(strstr(rig.seen.results[0].text, "SECRET"));
	assert_non_null(strstr(rig.seen.results[0].text,
			       "ARTIFACT_SYNC_EPOCH=7 ARTIFACT_SYNC_REASON=a b;c HOME=/ LANG="));
	end(&rig);
}

static void output_is_bounded_and_the_last_of_it_is_kept(void **state)
{
	char *const *const argvs[HOOKS_MAX] = {SH(
		"i=0; while [ $i -lt 20000 ]; do echo 0123456789; i=$((i+1)); done; echo the end; "
		"exit 2")};
	struct rig rig;
	(void)state;
	begin(&rig, argvs);
	hooks_run(rig.hooks, 0, NULL, 60000);
	wait_for(&rig, 1);
	const char *text = rig.seen.results[0].text;
	assert_string_equal(text + strlen(text) - 7, "the end");
	end(&rig);
}

/* The process whose number is in the file is not there any more, or waits to be reaped. */
static bool is_gone(const char *pid_file)
{
	char path[64], state = 'Z';
	int pid = 0;
	FILE *file = fopen(pid_file, "r");
	if (!file || fscanf(file, "%d", &pid) != 1)
		return false;
	fclose(file);
	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	file = fopen(path, "r");
	if (!file)
		return true;
	if (fscanf(file, "%*d %*s %c", &state) != 1)
		state = 'Z';
	fclose(file);
	return state == 'Z' || state == 'X';
}

static void wait_until_gone(const char *pid_file)
{
	uint64_t until = clock_mono_ms() + 30000;
	while (!is_gone(pid_file))
		assert_true(clock_mono_ms() < until);
}

/* With a longer deadline when it has not come as far as to start something. */
static void run_into_deadline(const char *script, const char *pid_file)
{
	char *const *const argvs[HOOKS_MAX] = {SH(script)};
	struct stat st = {0};
	for (unsigned ms = 300; st.st_size == 0 && ms < 30000; ms *= 4) {
		struct rig rig;
		begin(&rig, argvs);
		hooks_run(rig.hooks, 0, NULL, ms);
		wait_for(&rig, 1);
		assert_false(rig.seen.results[0].done);
		assert_non_null(strstr(rig.seen.results[0].text, "longer than its deadline"));
		assert_int_equal(stat(pid_file, &st), 0);
		if (st.st_size > 0)
			wait_until_gone(pid_file);
		end(&rig);
	}
	assert_true(st.st_size > 0);
}

static void a_deadline_ends_all_that_was_started(void **state)
{
	char pid_file[] = "/tmp/artifact-sync-test-hookXXXXXX", script[200];
	(void)state;
	int fd = mkstemp(pid_file);
	snprintf(script, sizeof(script), "trap '' TERM; sleep 1000 & echo $! > %s; wait; wait",
		 pid_file);
	run_into_deadline(script, pid_file);
	close(fd);
	unlink(pid_file);
}

static void a_deadline_ends_what_has_left_its_group(void **state)
{
	char pid_file[] = "/tmp/artifact-sync-test-hookXXXXXX", script[200];
	(void)state;
	int fd = mkstemp(pid_file);
	/* a daemon: its own session, and its parent is gone */
	snprintf(script, sizeof(script),
		 "(setsid sh -c 'echo $$ > %s; exec sleep 1000' &); exec sleep 1000", pid_file);
	run_into_deadline(script, pid_file);
	close(fd);
	unlink(pid_file);
}

/* A hook that starts a server, and ends: neither that nor a later hook's deadline ends the server.
 */
static void what_a_hook_that_ended_has_started_stays(void **state)
{
	char pid_file[] = "/tmp/artifact-sync-test-hookXXXXXX", script[200];
	int pid = 0;
	(void)state;
	int fd = mkstemp(pid_file);
	snprintf(script, sizeof(script), "sleep 1000 >/dev/null 2>&1 & echo $! > %s", pid_file);
	char *const *const argvs[HOOKS_MAX] = {SH(script), SH("exec sleep 1000")};
	struct rig rig;
	begin(&rig, argvs);
	hooks_run(rig.hooks, 0, NULL, 10000);
	hooks_run(rig.hooks, 1, NULL, 100);
	wait_for(&rig, 2);
	assert_true(rig.seen.results[0].done);
	assert_false(rig.seen.results[1].done);
	end(&rig);
	FILE *file = fopen(pid_file, "r");
	assert_int_equal(fscanf(file, "%d", &pid), 1);
	fclose(file);
	assert_false(is_gone(pid_file));
	kill(pid, SIGKILL);
	close(fd);
	unlink(pid_file);
}

static void closing_ends_a_hook_that_runs(void **state)
{
	char pid_file[] = "/tmp/artifact-sync-test-hookXXXXXX", script[200];
	(void)state;
	int fd = mkstemp(pid_file);
	snprintf(script, sizeof(script), "echo $$ > %s; exec sleep 1000", pid_file);
	char *const *const argvs[HOOKS_MAX] = {SH(script)};
	struct rig rig;
	begin(&rig, argvs);
	hooks_run(rig.hooks, 0, NULL, 600000);
	char byte;
	while (pread(fd, &byte, 1, 1) != 1)
		; /* until it runs */
	end(&rig);
	assert_int_equal(rig.seen.n, 0);
	wait_until_gone(pid_file);
	close(fd);
	unlink(pid_file);
}

static void closing_before_opening(void **state)
{
	char *const *const argvs[HOOKS_MAX] = {NULL};
	struct hooks *hooks;
	struct seen seen = {0};
	(void)state;
	assert_int_equal(hooks_fork(&hooks, argvs, NULL), 0);
	hooks_close(hooks, on_closed, &seen);
	assert_true(seen.closed);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(results_come_in_order_and_say_why),
		cmocka_unit_test(facts_are_all_of_the_environment),
		cmocka_unit_test(output_is_bounded_and_the_last_of_it_is_kept),
		cmocka_unit_test(a_deadline_ends_all_that_was_started),
		cmocka_unit_test(a_deadline_ends_what_has_left_its_group),
		cmocka_unit_test(what_a_hook_that_ended_has_started_stays),
		cmocka_unit_test(closing_ends_a_hook_that_runs),
		cmocka_unit_test(closing_before_opening),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
