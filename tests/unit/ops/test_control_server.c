/* The control socket: requests in any pieces, answers now or later, commands that hang up, an agent
 * that stops. Client and server share one thread; each step turns the loop until what it waits for
 * has happened. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
#include <cmocka.h>

#include "agent/base/alloc.h"
#include "agent/ops/control.h"

#define TURNS_MAX 10000

struct fixture {
	char dir[200];
	char top[40];
	uv_loop_t loop;
	struct control_server *server;
	struct control_call *call; /* the last that asked "later" */
	int requests, cancelled;
	bool closed;
};

static void on_request(void *owner, struct control_call *call, const char *verb, const json_t *args)
{
	struct fixture *f = owner;
	f->requests++;
	if (strcmp(verb, "echo") == 0) {
		control_progress(call, json_pack("{s:i}", "step", 1));
		control_done(call, EXIT_DONE, json_deep_copy(args));
	} else if (strcmp(verb, "fail") == 0) {
		control_fail(call, EXIT_REFUSED, "Do it otherwise.", "rule %d says no", 7);
	} else {
		f->call = call;
		control_call_set_data(call, f);
	}
}

static void on_cancelled(void *owner, struct control_call *call)
{
	struct fixture *f = owner;
	assert_ptr_equal(control_call_data(call), f);
	f->cancelled++;
	f->call = NULL;
}

static void on_closed(void *arg)
{
	((struct fixture *)arg)->closed = true;
}

/* A path far longer than a socket's address holds. */
static int start(void **state)
{
	struct fixture *f = x_calloc(1, sizeof(*f));
	*state = f;
	strcpy(f->top, "/tmp/test-control.XXXXXX");
	assert_non_null(mkdtemp(f->top));
	snprintf(f->dir, sizeof(f->dir), "%s/%0130d", f->top, 0);
	assert_int_equal(mkdir(f->dir, 0700), 0);
	uv_loop_init(&f->loop);
	const struct control_events events = {
		.owner = f, .request = on_request, .cancelled = on_cancelled};
	struct err err = {0};
	if (control_server_start(&f->server, &f->loop, f->dir, &events, &err) < 0)
		fail_msg("%s", err.msg);
	return 0;
}

static int stop(void **state)
{
	struct fixture *f = *state;
	if (f->server)
		control_server_close(f->server, on_closed, f);
	uv_run(&f->loop, UV_RUN_DEFAULT);
	assert_true(f->closed);
	assert_int_equal(uv_loop_close(&f->loop), 0);
	assert_int_equal(rmdir(f->dir), 0); /* the socket is gone */
	rmdir(f->top);
	free(f);
	return 0;
}

static int dial(struct fixture *f)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	assert_int_equal(chdir(f->dir), 0);
	strcpy(address.sun_path, CONTROL_SOCKET);
	assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	return fd;
}

static void say(int fd, const char *text)
{
	assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
}

#define turn_until(f, condition)                           \
	do {                                               \
		int turns_ = 0;                            \
		while (!(condition)) {                     \
			uv_run(&(f)->loop, UV_RUN_NOWAIT); \
			assert_true(++turns_ < TURNS_MAX); \
		}                                          \
	} while (0)

/* Everything up to the end of the connection, then closes. */
static char *hear(struct fixture *f, int fd)
{
	char *text = x_calloc(1, 1 << 16);
	size_t len = 0;
	for (int turns = 0; turns < TURNS_MAX; turns++) {
		uv_run(&f->loop, UV_RUN_NOWAIT);
		ssize_t n = recv(fd, text + len, (1 << 16) - 1 - len, 0);
		if (n == 0)
			break;
		len += n > 0 ? (size_t)n : 0;
		assert_true(n > 0 || errno == EAGAIN);
	}
	close(fd);
	return text;
}

static void a_request_is_answered(void **state)
{
	struct fixture *f = *state;
	int fd = dial(f);
	say(fd, "{\"verb\":\"echo\",\"x\":[1]}\n");
	AUTO_FREE char *text = hear(f, fd);
	assert_string_equal(text, "{\"progress\":{\"step\":1}}\n{\"done\":0,\"result\":{\"verb\":"
				  "\"echo\",\"x\":[1]}}\n");
	struct stat st;
	assert_int_equal(stat(CONTROL_SOCKET, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
}

static void a_failure_carries_its_remedy(void **state)
{
	struct fixture *f = *state;
	int fd = dial(f);
	say(fd, "{\"verb\":\"fail\"}\n");
	AUTO_FREE char *text = hear(f, fd);
	assert_string_equal(
		text,
		"{\"done\":3,\"error\":\"rule 7 says no\",\"remedy\":\"Do it otherwise.\"}\n");
}

static void a_request_may_come_byte_by_byte(void **state)
{
	struct fixture *f = *state;
	int fd = dial(f);
	for (const char *c = "{\"verb\":\"fail\"}\n"; *c; c++) {
		assert_int_equal(f->requests, 0);
		char one[2] = {*c, 0};
		say(fd, one);
		for (int i = 0; i < 3; i++)
			uv_run(&f->loop, UV_RUN_NOWAIT);
	}
	AUTO_FREE char *text = hear(f, fd);
	assert_non_null(strstr(text, "rule 7"));
}

static void what_is_no_request_is_refused(void **state)
{
	static const char *const wrong[] = {"\n",
					    "x\n",
					    "[]\n",
					    "{}\n",
					    "{\"verb\":1}\n",
					    "{\"verb\":\"a\",\"verb\":\"b\"}\n",
					    "{\"verb\":\"echo\"} {}\n",
					    "{\"verb\":\"\xff\"}\n"};
	struct fixture *f = *state;
	for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
		int fd = dial(f);
		say(fd, wrong[i]);
		AUTO_FREE char *text = hear(f, fd);
		if (strncmp(text, "{\"done\":2,\"error\":", 18) != 0)
			fail_msg("%s: %s", wrong[i], text);
	}
	assert_int_equal(f->requests, 0);
}

static void a_request_without_end_is_cut_off(void **state)
{
	struct fixture *f = *state;
	int fd = dial(f);
	char piece[4096];
	memset(piece, ' ', sizeof(piece));
	for (size_t sent = 0; sent <= CONTROL_REQUEST_MAX + sizeof(piece);) {
		ssize_t n = send(fd, piece, sizeof(piece), MSG_NOSIGNAL);
		sent += n > 0 ? (size_t)n : 0;
		uv_run(&f->loop, UV_RUN_NOWAIT);
		if (n < 0 && errno == EPIPE)
			break;
	}
	AUTO_FREE char *text = x_calloc(1, 200);
	ssize_t n = 0;
	turn_until(f, (n = recv(fd, text, 199, 0)) > 0 || errno != EAGAIN);
	assert_non_null(strstr(text, "too long"));
	close(fd);
}

static void hanging_up_cancels(void **state)
{
	struct fixture *f = *state;
	int fd = dial(f);
	say(fd, "{\"verb\":\"later\"}\n");
	turn_until(f, f->call);
	close(fd);
	turn_until(f, f->cancelled == 1);
	fd = dial(f); /* and hanging up before having asked is nobody's business */
	say(fd, "{\"verb\"");
	uv_run(&f->loop, UV_RUN_NOWAIT);
	close(fd);
	for (int i = 0; i < 5; i++)
		uv_run(&f->loop, UV_RUN_NOWAIT);
	assert_int_equal(f->cancelled, 1);
}

static void many_ask_at_once(void **state)
{
	struct fixture *f = *state;
	int waiting[CONTROL_CALLS_MAX];
	for (int i = 0; i < CONTROL_CALLS_MAX; i++) {
		waiting[i] = dial(f);
		say(waiting[i], "{\"verb\":\"later\"}\n");
		turn_until(f, f->requests == i + 1);
	}
	int fd = dial(f);
	AUTO_FREE char *text = hear(f, fd);
	assert_non_null(strstr(text, "\"done\":1"));
	control_done(f->call, EXIT_DONE, NULL);
	AUTO_FREE char *last = hear(f, waiting[CONTROL_CALLS_MAX - 1]);
	assert_string_equal(last, "{\"done\":0}\n");
	for (int i = 0; i < CONTROL_CALLS_MAX - 1; i++)
		close(waiting[i]);
	turn_until(f, f->cancelled == CONTROL_CALLS_MAX - 1);
}

#define FEW 80 /* descriptors */
#define RESERVED 4

/* Four at a time, whatever happens; the fifth is answered when one of them has gone. */
static void a_process_without_descriptors_is_asked(void **state)
{
	struct fixture *f = *state;
	struct rlimit before, few = {.rlim_cur = FEW};
	int asking[RESERVED + 1], used[FEW], n = 0;
	for (int i = 0; i <= RESERVED; i++) {
		asking[i] = dial(f);
		say(asking[i], "{\"verb\":\"later\"}\n");
	}
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
	few.rlim_max = before.rlim_max;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
	while ((used[n] = dup(asking[0])) >= 0)
		n++;
	assert_int_equal(errno, EMFILE);
	turn_until(f, f->requests == RESERVED);
	for (int i = 0; i < 100; i++)
		uv_run(&f->loop, UV_RUN_NOWAIT);
	assert_int_equal(f->requests, RESERVED);
	close(asking[1]);
	while (f->requests <= RESERVED) /* its descriptor is free; looked for now and then */
		uv_run(&f->loop, UV_RUN_ONCE);
	while (n > 0)
		close(used[--n]);
	for (int i = 0; i <= RESERVED; i++) {
		if (i != 1)
			close(asking[i]);
	}
	turn_until(f, f->cancelled == RESERVED + 1);
	setrlimit(RLIMIT_NOFILE, &before);
}

static void a_slow_command_misses_progress_only(void **state)
{
	struct fixture *f = *state;
	int fd = dial(f);
	say(fd, "{\"verb\":\"later\"}\n");
	turn_until(f, f->call);
	char big[10001];
	memset(big, 'x', sizeof(big) - 1);
	big[sizeof(big) - 1] = '\0';
	for (int i = 0; i < 1000; i++)
		control_progress(f->call, json_pack("{s:s}", "x", big));
	control_done(f->call, EXIT_NO, NULL);
	size_t total = 0;
	char text[65536] = "";
	size_t len = 0;
	for (ssize_t n = 1; n != 0;) {
		uv_run(&f->loop, UV_RUN_NOWAIT);
		n = recv(fd, text, sizeof(text), 0);
		len = n > 0 ? (size_t)n : len;
		total += n > 0 ? (size_t)n : 0;
	}
	assert_true(total < 2 * CONTROL_QUEUE_MAX);
	assert_memory_equal(text + len - 11, "{\"done\":1}\n", 11);
	close(fd);
}

static void stopping_answers_everybody(void **state)
{
	struct fixture *f = *state;
	int asked = dial(f), silent = dial(f);
	say(asked, "{\"verb\":\"later\"}\n");
	turn_until(f, f->call);
	control_server_close(f->server, on_closed, f);
	f->server = NULL;
	assert_int_equal(f->cancelled, 1);
	AUTO_FREE char *text = hear(f, asked);
	assert_non_null(strstr(text, "\"done\":4"));
	AUTO_FREE char *other = hear(f, silent);
	assert_non_null(strstr(other, "stopping"));
}

static void a_socket_left_behind_is_replaced(void **state)
{
	struct fixture *f = *state;
	const struct control_events events = {
		.owner = f, .request = on_request, .cancelled = on_cancelled};
	struct control_server *second = NULL;
	assert_int_equal(control_server_start(&second, &f->loop, f->dir, &events, NULL), 0);
	int fd = dial(f);
	say(fd, "{\"verb\":\"echo\"}\n");
	AUTO_FREE char *text = hear(f, fd);
	assert_non_null(strstr(text, "\"done\":0"));
	control_server_close(second, NULL, NULL);
	struct err err = {0};
	assert_int_equal(control_server_start(&second, &f->loop, "/nonexistent", &events, &err),
			 -ENOENT);
}

static void texts_are_always_valid(void **state)
{
	json_t *path = control_path("a\xff\\b");
	assert_string_equal(json_string_value(path), "a\\xff\\\\b");
	json_decref(path);
	json_t *text = control_text("path \"\\xff\" ok");
	assert_string_equal(json_string_value(text), "path \"\\xff\" ok");
	json_decref(text);
	text = control_text("cut \xc3");
	assert_string_equal(json_string_value(text), "cut \\xc3");
	json_decref(text);
}

#define with_server(test) cmocka_unit_test_setup_teardown(test, start, stop)

int main(void)
{
	const struct CMUnitTest tests[] = {
		with_server(a_request_is_answered),
		with_server(a_failure_carries_its_remedy),
		with_server(a_request_may_come_byte_by_byte),
		with_server(what_is_no_request_is_refused),
		with_server(a_request_without_end_is_cut_off),
		with_server(hanging_up_cancels),
		with_server(many_ask_at_once),
		with_server(a_process_without_descriptors_is_asked),
		with_server(a_slow_command_misses_progress_only),
		with_server(stopping_answers_everybody),
		with_server(a_socket_left_behind_is_replaced),
		cmocka_unit_test(texts_are_always_valid),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
