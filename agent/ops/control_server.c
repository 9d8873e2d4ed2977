#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <utlist.h>

#include "agent/base/alloc.h"
#include "agent/base/buf.h"
#include "agent/base/log.h"
#include "agent/base/quote.h"
#include "agent/ops/control.h"
#include "agent/ops/door.h"

#define BACKLOG 16

enum call_state {
	CALL_READING,  /* the request is not complete */
	CALL_ASKED,    /* the owner has it */
	CALL_ANSWERED, /* the last line is on its way */
	CALL_CLOSING,
};

struct control_call {
	struct control_server *server;
	uv_pipe_t pipe;
	uv_timer_t deadline; /* of the request */
	int handles;	     /* still known to libuv */
	enum call_state state;
	struct buf in;
	void *data;
	struct control_call *prev, *next;
};

struct control_server {
	uv_loop_t *loop;
	struct door *door; /* NULL: closed */
	int dir_fd;	   /* the state directory */
	struct control_events events;
	struct control_call *calls;
	unsigned n_calls;
	bool closing;
	void (*closed)(void *arg);
	void *closed_arg;
};

struct line {
	uv_write_t request;
	struct control_call *call;
	char *text;
	bool last;
};

/* ---- ending -------------------------------------------------------------------------------- */

static void server_free_when_empty(struct control_server *s)
{
	if (!s->closing || s->door || s->calls)
		return;
	void (*closed)(void *) = s->closed;
	void *arg = s->closed_arg;
	close(s->dir_fd);
	free(s);
	if (closed)
		closed(arg);
}

static void on_call_handle_closed(uv_handle_t *handle)
{
	struct control_call *call = handle->data;
	if (--call->handles > 0)
		return; /* libuv still points into *call */
	struct control_server *s = call->server;
	DL_DELETE(s->calls, call);
	s->n_calls--;
	buf_release(&call->in);
	free(call);
	server_free_when_empty(s);
}

static void call_close(struct control_call *call)
{
	if (call->state == CALL_CLOSING)
		return;
	call->state = CALL_CLOSING;
	uv_close((uv_handle_t *)&call->pipe, on_call_handle_closed);
	uv_close((uv_handle_t *)&call->deadline, on_call_handle_closed);
}

/* ---- answering ------------------------------------------------------------------------------ */

static void on_line_written(uv_write_t *request, int status)
{
	struct line *line = container_of(request, struct line, request);
	if (line->last || status < 0) {
		struct control_call *call = line->call;
		if (call->state == CALL_ASKED && status < 0)
			call->server->events.cancelled(call->server->events.owner, call);
		call_close(call);
	}
	free(line->text);
	free(line);
}

static void call_write(struct control_call *call, json_t *object /* taken */, bool last)
{
	AUTO_FREE char *text = json_dumps(object, JSON_COMPACT | JSON_REAL_PRECISION(12));
	json_decref(object);
	BUG_ON(!text);
	struct line *line = x_calloc(1, sizeof(*line));
	line->call = call;
	line->last = last;
	line->text = x_asprintf("%s\n", text);
	if (last)
		call->state = CALL_ANSWERED;
	uv_buf_t piece = uv_buf_init(line->text, (unsigned)strlen(line->text));
	int r = uv_write(&line->request, (uv_stream_t *)&call->pipe, &piece, 1, on_line_written);
	if (r < 0)
		on_line_written(&line->request, r);
}

void control_progress(struct control_call *call, json_t *progress)
{
	BUG_ON(call->state != CALL_ASKED);
	if (uv_stream_get_write_queue_size((uv_stream_t *)&call->pipe) > CONTROL_QUEUE_MAX) {
		json_decref(progress);
		return;
	}
	json_t *object = json_object();
	json_object_set_new(object, "progress", progress);
	call_write(call, object, false);
}

void control_done(struct control_call *call, enum exit_code code, json_t *result)
{
	BUG_ON(call->state != CALL_ASKED);
	json_t *object = json_object();
	json_object_set_new(object, "done", json_integer(code));
	if (result)
		json_object_set_new(object, "result", result);
	call_write(call, object, true);
}

static void call_refuse(struct control_call *call, enum exit_code code, const char *text,
			const char *remedy)
{
	json_t *object = json_object();
	json_object_set_new(object, "done", json_integer(code));
	json_object_set_new(object, "error", control_text(text));
	if (remedy)
		json_object_set_new(object, "remedy", control_text(remedy));
	call_write(call, object, true);
}

void control_fail(struct control_call *call, enum exit_code code, const char *remedy,
		  const char *fmt, ...)
{
	char text[1024];
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	BUG_ON(call->state != CALL_ASKED);
	call_refuse(call, code, text, remedy);
}

void control_call_set_data(struct control_call *call, void *data)
{
	call->data = data;
}

void *control_call_data(const struct control_call *call)
{
	return call->data;
}

json_t *control_path(const char *path)
{
	AUTO_FREE char *text = quote_utf8(path);
	return json_string(text);
}

json_t *control_text(const char *text)
{
	json_t *json = json_string(text);
	return json ? json : control_path(text);
}

/* ---- asking --------------------------------------------------------------------------------- */

static void call_request(struct control_call *call, size_t len)
{
	json_error_t where;
	json_t *args = json_loadb((const char *)call->in.data, len, JSON_REJECT_DUPLICATES, &where);
	const char *verb = json_string_value(json_object_get(args, "verb"));
	if (!verb) {
		call_refuse(call, EXIT_USAGE,
			    "the request is not a JSON object with a \"verb\" on one line", NULL);
	} else {
		call->state = CALL_ASKED;
		call->server->events.request(call->server->events.owner, call, verb, args);
	}
	json_decref(args);
}

static void call_received(struct control_call *call, size_t len)
{
	if (call->state != CALL_READING) {
		buf_release(&call->in); /* nothing more is expected; reading only tells when it
					   hangs up */
		return;
	}
	const uint8_t *end = memchr(call->in.data + call->in.len - len, '\n', len);
	if (!end && call->in.len <= CONTROL_REQUEST_MAX)
		return;
	uv_timer_stop(&call->deadline);
	if (!end || (size_t)(end - call->in.data) > CONTROL_REQUEST_MAX)
		call_refuse(call, EXIT_USAGE, "the request is too long", NULL);
	else
		call_request(call, (size_t)(end - call->in.data));
}

static void call_hung_up(struct control_call *call)
{
	if (call->state == CALL_ASKED)
		call->server->events.cancelled(call->server->events.owner, call);
	call_close(call);
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *out)
{
	struct control_call *call = handle->data;
	*out = uv_buf_init((char *)buf_extend(&call->in, 4096), 4096);
	call->in.len -= 4096;
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *data)
{
	struct control_call *call = stream->data;
	if (n < 0) {
		call_hung_up(call);
		return;
	}
	call->in.len += (size_t)n;
	if (n > 0)
		call_received(call, (size_t)n);
}

static void on_deadline(uv_timer_t *timer)
{
	struct control_call *call = timer->data;
	call_close(call);
}

/* ---- connecting ------------------------------------------------------------------------------ */

/* The directory's mode keeps others out; this holds where somebody has opened it. */
static bool may_ask(const struct control_call *call)
{
	int fd;
	struct ucred who;
	socklen_t len = sizeof(who);
	if (uv_fileno((const uv_handle_t *)&call->pipe, &fd) < 0 ||
	    getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &len) < 0)
		return false;
	if (who.uid == 0 || who.uid == geteuid())
		return true;
	log_warn("control", "uid=%u pid=%d refused=\"neither root nor the agent's own user\"",
		 who.uid, who.pid);
	return false;
}

static void call_start(struct control_call *call)
{
	if (!may_ask(call)) {
		call_refuse(call, EXIT_REFUSED,
			    "only root and the user whom the agent runs as may ask it",
			    "Run the command with sudo, or as that user.");
		return;
	}
	if (call->server->n_calls > CONTROL_CALLS_MAX) {
		call_refuse(call, EXIT_NO,
			    "the agent is answering as many commands as it can at a time",
			    "Try again, and look for commands that do not end.");
		return;
	}
	uv_timer_start(&call->deadline, on_deadline, CONTROL_REQUEST_TIMEOUT_MS, 0);
	if (uv_read_start((uv_stream_t *)&call->pipe, on_alloc, on_read) < 0)
		call_close(call);
}

static void on_connection(void *owner, int fd)
{
	struct control_server *s = owner;
	struct control_call *call = x_calloc(1, sizeof(*call));
	call->server = s;
	uv_pipe_init(s->loop, &call->pipe, 0);
	uv_timer_init(s->loop, &call->deadline);
	call->pipe.data = call->deadline.data = call;
	call->handles = 2;
	DL_APPEND(s->calls, call);
	s->n_calls++;
	if (uv_pipe_open(&call->pipe, fd) == 0) {
		call_start(call);
	} else {
		close(fd);
		call_close(call);
	}
}

/* Through the descriptor of its directory: an address holds 107 bytes, a state directory's path may
 * be longer (and uv_pipe_bind() cuts it silently). */
static int bind_socket(int dir_fd, struct err *err)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	snprintf(address.sun_path, sizeof(address.sun_path), "/proc/self/fd/%d/%s", dir_fd,
		 CONTROL_SOCKET);
	AUTO_CLOSE int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return err_sys(err, errno, "control socket");
	if (unlinkat(dir_fd, CONTROL_SOCKET, 0) < 0 && errno != ENOENT)
		return err_sys(err, errno, "remove the old control socket");
	if (bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
		return err_sys(err, errno, "bind the control socket");
	if (fchmodat(dir_fd, CONTROL_SOCKET, 0600, 0) < 0)
		return err_sys(err, errno, "set the control socket's mode");
	return STEAL_FD(fd);
}

static void on_door_closed(void *owner)
{
	struct control_server *s = owner;
	s->door = NULL;
	server_free_when_empty(s);
}

int control_server_start(struct control_server **out, uv_loop_t *loop, const char *state_dir,
			 const struct control_events *events, struct err *err)
{
	AUTO_CLOSE int dir_fd = open(state_dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (dir_fd < 0)
		return err_sys(err, errno, "open state directory %.100s", state_dir);
	AUTO_CLOSE int fd = bind_socket(dir_fd, err);
	if (fd < 0)
		return fd;
	struct control_server *s = x_calloc(1, sizeof(*s));
	int r = door_open(&s->door, loop, fd, BACKLOG, on_connection, s, err);
	if (r < 0) {
		free(s);
		return err_wrap(err, "control socket");
	}
	fd = -1; /* the door's */
	s->loop = loop;
	s->events = *events;
	s->dir_fd = STEAL_FD(dir_fd);
	*out = s;
	return 0;
}

static void call_stop(struct control_call *call)
{
	bool asked = call->state == CALL_ASKED;
	if (asked)
		call->server->events.cancelled(call->server->events.owner, call);
	if (asked || call->state == CALL_READING)
		call_refuse(call, EXIT_NOT_RUNNING, "the agent is stopping",
			    "Start it again and repeat the command.");
}

void control_server_close(struct control_server *s, void (*closed)(void *arg), void *arg)
{
	if (s->closing)
		return;
	s->closing = true;
	s->closed = closed;
	s->closed_arg = arg;
	unlinkat(s->dir_fd, CONTROL_SOCKET, 0);
	struct control_call *call, *next;
	DL_FOREACH_SAFE(s->calls, call, next)
	{
		call_stop(call);
	}
	door_close(s->door, on_door_closed);
}
