/* The control socket: whatever a local process writes is answered by one line with "done", or by
 * nothing when it never ends a line; the server serves the next one. */
#include <errno.h>
#include <jansson.h>
#include <stdbool.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include <uv.h>

#include "agent/base/log.h"
#include "agent/ops/control.h"
#include "fuzz.h"

static char dir[64];
static uv_loop_t loop;
static struct control_server *server;
static unsigned asked;

static void on_request(void *owner, struct control_call *call, const char *verb, const json_t *args)
{
	asked++;
	CHECK(verb && json_is_object(args));
	if (verb[0] == 'p')
		control_progress(call, json_pack("{s:o}", "text", control_text(verb)));
	if (verb[0] == 'f')
		control_fail(call, EXIT_REFUSED, verb, "%s", verb);
	else
		control_done(call, EXIT_DONE, json_deep_copy(args));
}

static void on_cancelled(void *owner, struct control_call *call)
{
	CHECK(!"answered at once, so never cancelled");
}

static void start(void)
{
	struct control_events events = {.request = on_request, .cancelled = on_cancelled};
	struct err err = {0};
	snprintf(dir, sizeof(dir), "/tmp/fuzz-control-XXXXXX");
	CHECK(mkdtemp(dir) && uv_loop_init(&loop) == 0);
	CHECK(control_server_start(&server, &loop, dir, &events, &err) == 0);
}

static void stop(void)
{
	control_server_close(server, NULL, NULL);
	uv_run(&loop, UV_RUN_DEFAULT);
	uv_loop_close(&loop);
	rmdir(dir);
}

static void turn(void)
{
	for (int i = 0; i < 4; i++)
		uv_run(&loop, UV_RUN_NOWAIT);
}

/* @return bytes that came; *ended when the server has closed */
static size_t take(int fd, char *out, size_t size, bool *ended)
{
	size_t len = 0;
	for (;;) {
		turn();
		ssize_t n = recv(fd, out + len, size - len, MSG_DONTWAIT);
		*ended = n == 0 || (n < 0 && errno == ECONNRESET);
		if (n <= 0)
			return len;
		len += (size_t)n;
		CHECK(len < size);
	}
}

static void check_answer(const char *text, size_t len)
{
	size_t lines = 0;
	for (const char *at = text, *end; at < text + len; at = end + 1) {
		end = memchr(at, '\n', (size_t)(text + len - at));
		CHECK(end);
		json_error_t where;
		json_t *line = json_loadb(at, (size_t)(end - at), 0, &where);
		bool last = end + 1 == text + len;
		CHECK(line && !json_object_get(line, "done") == !last);
		json_decref(line);
		lines++;
	}
	CHECK(lines == 1 || lines == 2);
}

/* Input: how much to write at once, then the bytes. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static char answer[1 << 20];
	struct sockaddr_un to = {.sun_family = AF_UNIX};
	bool ended = false;
	if (size < 1 || size > 80000)
		return 0;
	if (!server) {
		start();
		atexit(stop);
	}
	snprintf(to.sun_path, sizeof(to.sun_path), "%s/%s", dir, CONTROL_SOCKET);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	CHECK(fd >= 0 && connect(fd, (struct sockaddr *)&to, sizeof(to)) == 0);
	size_t step = ((size_t)data[0] + 1) << 4, before = asked;
	for (size_t at = 1; at < size; at += step) {
		size_t n = size - at < step ? size - at : step;
		if (send(fd, data + at, n, MSG_NOSIGNAL) < 0)
			break;
		turn();
	}
	size_t len = take(fd, answer, sizeof(answer), &ended);
	bool whole = memchr(data + 1, '\n', size - 1) || size - 1 > CONTROL_REQUEST_MAX;
	/* Bytes behind the answer may have been lost with the connection, and the answer with them.
	 */
	if (len > 0)
		check_answer(answer, len);
	else
		CHECK(!whole || ended);
	CHECK(whole || (len == 0 && !ended));
	CHECK(asked - before <= 1);
	close(fd);
	turn();
	return 0;
}
