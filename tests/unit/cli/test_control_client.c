/* A command asks: answers in any pieces, agents that are not there, fall silent, end, or talk
 * nonsense. The agent is a thread that accepts one connection, reads a line and writes what the
 * test gave it. */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include <cmocka.h>

#include "agent/base/clock.h"
#include "agent/cli/control_client.h"
#include "agent/ops/control.h"

struct agent {
	char dir[40];
	int fd;
	const char *answer;
	size_t piece; /* bytes per write */
	bool silent;  /* after the answer: waits until the command hangs up */
	char heard[200];
	pthread_t thread;
};

static void *agent_thread(void *arg)
{
	struct agent *a = arg;
	int fd = accept(a->fd, NULL, NULL);
	for (size_t len = 0; len + 1 < sizeof(a->heard) && !strchr(a->heard, '\n');) {
		ssize_t n = recv(fd, a->heard + len, sizeof(a->heard) - 1 - len, 0);
		if (n <= 0)
			break;
		len += (size_t)n;
	}
	for (const char *at = a->answer; *at;) {
		size_t n = strlen(at) < a->piece ? strlen(at) : a->piece;
		if (send(fd, at, n, MSG_NOSIGNAL) < 0)
			break;
		at += n;
	}
	char c;
	if (a->silent)
		(void)!recv(fd, &c, 1, 0);
	close(fd);
	return NULL;
}

static void agent_start(struct agent *a, const char *answer, size_t piece, bool silent)
{
	*a = (struct agent){.answer = answer, .piece = piece, .silent = silent};
	strcpy(a->dir, "/tmp/test-client.XXXXXX");
	assert_non_null(mkdtemp(a->dir));
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	snprintf(address.sun_path, sizeof(address.sun_path), "%s/%s", a->dir, CONTROL_SOCKET);
	a->fd = socket(AF_UNIX, SOCK_STREAM, 0);
	assert_int_equal(bind(a->fd, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(listen(a->fd, 1), 0);
	assert_int_equal(pthread_create(&a->thread, NULL, agent_thread, a), 0);
}

static void agent_remove(struct agent *a)
{
	char path[80];
	snprintf(path, sizeof(path), "%s/%s", a->dir, CONTROL_SOCKET);
	close(a->fd);
	unlink(path);
	rmdir(a->dir);
}

static void agent_stop(struct agent *a)
{
	pthread_join(a->thread, NULL);
	agent_remove(a);
}

static void on_progress(void *arg, const json_t *report)
{
	*(int *)arg += (int)json_integer_value(json_object_get(report, "n"));
}

static int ask(struct control_answer *out, const struct agent *a, uint64_t timeout_ms, int *sum,
	       struct err *err)
{
	return control_ask(out, a->dir, json_pack("{s:s}", "verb", "x"),
			   clock_mono_ms() + timeout_ms, on_progress, sum, err);
}

static void answers_come_in_any_pieces(void **state)
{
	static const char answer[] = "{\"progress\":{\"n\":1}}\n{\"progress\":{\"n\":2}}\n{"
				     "\"done\":3,\"result\":{\"a\":1}}\n";
	for (size_t piece = 1; piece <= sizeof(answer); piece += piece < 8 ? 1 : 17) {
		struct agent a;
		struct control_answer out;
		int sum = 0;
		agent_start(&a, answer, piece, true);
		assert_int_equal(ask(&out, &a, 10000, &sum, NULL), 0);
		assert_int_equal(out.code, 3);
		assert_int_equal(sum, 3);
		assert_int_equal(json_integer_value(json_object_get(out.result, "a")), 1);
		assert_null(out.error);
		control_answer_release(&out);
		agent_stop(&a);
		assert_string_equal(a.heard, "{\"verb\":\"x\"}\n");
	}
}

static void a_failure_comes_with_its_remedy(void **state)
{
	struct agent a;
	struct control_answer out;
	int sum = 0;
	agent_start(&a, "{\"done\":5,\"error\":\"e\",\"remedy\":\"r\"}\n", 100, true);
	assert_int_equal(ask(&out, &a, 10000, &sum, NULL), 0);
	assert_int_equal(out.code, 5);
	assert_string_equal(out.error, "e");
	assert_string_equal(out.remedy, "r");
	control_answer_release(&out);
	assert_null(out.error);
	agent_stop(&a);
}

static void what_is_no_answer_is_an_error(void **state)
{
	static const struct {
		const char *answer;
		bool silent;
		int error;
	} cases[] = {
		{"", false, -EPIPE},
		{"{\"done\":0}", false, -EPIPE},
		{"nonsense\n", true, -EBADMSG},
		{"{}\n", true, -EBADMSG},
		{"{\"done\":\"0\"}\n", true, -EBADMSG},
		{"[]\n", true, -EBADMSG},
		{"{\"done\":0}", true, -ETIMEDOUT},
		{"{\"progress\":{}}\n", true, -ETIMEDOUT},
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct agent a;
		struct control_answer out;
		struct err err = {0};
		int sum = 0;
		agent_start(&a, cases[i].answer, 100, cases[i].silent);
		int r = ask(&out, &a, cases[i].error == -ETIMEDOUT ? 50 : 10000, &sum, &err);
		if (r != cases[i].error || !err.msg[0])
			fail_msg("%s: %d", cases[i].answer, r);
		assert_null(out.result);
		agent_stop(&a);
	}
}

static void an_agent_that_is_not_there_is_noticed(void **state)
{
	struct agent a;
	struct control_answer out;
	struct err err = {0};
	assert_int_equal(control_ask(&out, "/nonexistent", json_object(), 0, NULL, NULL, &err),
			 -ENOENT);
	assert_int_equal(control_is_running("/nonexistent", &err), 0);
	agent_start(&a, "", 1, false);
	assert_int_equal(control_is_running(a.dir, &err), 1);
	pthread_join(a.thread, NULL);
	close(a.fd); /* as after a crash: the socket's name stays */
	assert_int_equal(control_is_running(a.dir, &err), 0);
	assert_int_equal(control_ask(&out, a.dir, json_object(), 0, NULL, NULL, &err),
			 -ECONNREFUSED);
	a.fd = -1;
	agent_remove(&a);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(answers_come_in_any_pieces),
		cmocka_unit_test(a_failure_comes_with_its_remedy),
		cmocka_unit_test(what_is_no_answer_is_an_error),
		cmocka_unit_test(an_agent_that_is_not_there_is_noticed),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
