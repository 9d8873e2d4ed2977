#include "agent/cli/control_client.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "agent/base/alloc.h"
#include "agent/base/buf.h"
#include "agent/base/clock.h"
#include "agent/ops/control.h"

#define PIECE 65536

void control_answer_release(struct control_answer *answer)
{
	json_decref(answer->result);
	free(answer->error);
	free(answer->remedy);
	*answer = (struct control_answer){0};
}

/* Through the directory's descriptor, as the server does: the path may be longer than an address.
 */
static int dial(const char *state_dir, struct err *err)
{
	AUTO_CLOSE int dir = open(state_dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (dir < 0)
		return err_sys(err, errno, "open state directory %.120s", state_dir);
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	snprintf(address.sun_path, sizeof(address.sun_path), "/proc/self/fd/%d/%s", dir,
		 CONTROL_SOCKET);
	AUTO_CLOSE int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return err_sys(err, errno, "socket");
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
		return err_sys(err, errno, "connect to the agent in %.120s", state_dir);
	return STEAL_FD(fd);
}

static int wait_for(int fd, short events, uint64_t deadline_ms, struct err *err)
{
	for (;;) {
		uint64_t now = clock_mono_ms();
		if (deadline_ms && now >= deadline_ms)
			return err_set(err, -ETIMEDOUT, "the agent did not answer in time");
		uint64_t left = deadline_ms ? deadline_ms - now : 60000;
		struct pollfd p = {.fd = fd, .events = events};
		int n = poll(&p, 1, left > 60000 ? 60000 : (int)left);
		if (n > 0)
			return 0;
		if (n < 0 && errno != EINTR)
			return err_sys(err, errno, "wait for the agent");
	}
}

static int send_line(int fd, json_t *request, uint64_t deadline_ms, struct err *err)
{
	AUTO_FREE char *text = json_dumps(request, JSON_COMPACT);
	json_decref(request);
	if (!text)
		return err_set(err, -EINVAL, "an argument is not valid UTF-8");
	AUTO_FREE char *line = x_asprintf("%s\n", text);
	for (size_t left = strlen(line), at = 0; left > 0;) {
		int r = wait_for(fd, POLLOUT, deadline_ms, err);
		if (r < 0)
			return r;
		ssize_t n = send(fd, line + at, left, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (n < 0 && errno != EAGAIN)
			return err_sys(err, errno, "ask the agent");
		at += n > 0 ? (size_t)n : 0;
		left -= n > 0 ? (size_t)n : 0;
	}
	return 0;
}

/* Appends a piece of the answer. @return 1 when buf holds a whole line, whose length is *len */
static int receive_line(int fd, struct buf *buf, size_t *len, uint64_t deadline_ms, struct err *err)
{
	for (size_t searched = 0;;) {
		const uint8_t *end =
			buf->len ? memchr(buf->data + searched, '\n', buf->len - searched) : NULL;
		if (end) {
			*len = (size_t)(end - buf->data);
			return 1;
		}
		searched = buf->len;
		if (buf->len > CONTROL_ANSWER_MAX)
			return err_set(err, -EBADMSG, "the agent's answer is too long");
		int r = wait_for(fd, POLLIN, deadline_ms, err);
		if (r < 0)
			return r;
		ssize_t n = recv(fd, buf_extend(buf, PIECE), PIECE, 0);
		buf->len -= n > 0 ? PIECE - (size_t)n : PIECE;
		if (n < 0)
			return err_sys(err, errno, "hear the agent");
		if (n == 0)
			return err_set(err, -EPIPE, "the agent ended before it answered");
	}
}

static char *text_of(const json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));
	return text ? x_strdup(text) : NULL;
}

/* @return 1 when that was the answer, 0 when it was a report */
static int take_line(struct control_answer *out, const char *line, size_t len,
		     void (*progress)(void *, const json_t *), void *arg, struct err *err)
{
	json_t *object = json_loadb(line, len, 0, NULL);
	const json_t *done = json_object_get(object, "done");
	const json_t *report = json_object_get(object, "progress");
	int r = 0;
	if (json_is_integer(done)) {
		out->code = (int)json_integer_value(done);
		out->result = json_incref(json_object_get(object, "result"));
		out->error = text_of(object, "error");
		out->remedy = text_of(object, "remedy");
		r = 1;
	} else if (!report) {
		r = err_set(err, -EBADMSG,
			    "the agent's answer is not understood; is it of another version?");
	} else if (progress) {
		progress(arg, report);
	}
	json_decref(object);
	return r;
}

int control_ask(struct control_answer *out, const char *state_dir, json_t *request,
		uint64_t deadline_ms, void (*progress)(void *arg, const json_t *report), void *arg,
		struct err *err)
{
	*out = (struct control_answer){0};
	AUTO_CLOSE int fd = dial(state_dir, err);
	if (fd < 0) {
		json_decref(request);
		return fd;
	}
	int r = send_line(fd, request, deadline_ms, err);
	struct buf buf = {0};
	while (r == 0) {
		size_t len = 0;
		r = receive_line(fd, &buf, &len, deadline_ms, err);
		if (r < 0)
			break;
		r = take_line(out, (const char *)buf.data, len, progress, arg, err);
		buf_consume(&buf, len + 1);
	}
	buf_release(&buf);
	return r < 0 ? r : 0;
}

int control_is_running(const char *state_dir, struct err *err)
{
	struct err why = {0};
	AUTO_CLOSE int fd = dial(state_dir, &why);
	if (fd >= 0)
		return 1;
	if (fd == -ENOENT || fd == -ECONNREFUSED)
		return 0;
	return err_set(err, fd, "%s", why.msg);
}
