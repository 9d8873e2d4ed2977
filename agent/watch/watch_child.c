#include "agent/watch/watch_child.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "agent/base/alloc.h"

#define READ_SIZE (64u << 10)
#define REAP_MS 2000 /* a process that hangs in a dead file system cannot even be killed */
#define FIRST_ROOT_FD 3

struct watch_child {
	struct watch_child_events events;
	uv_process_t process;
	uv_pipe_t input, output; /* as the child sees them */
	uv_timer_t reaping;
	int n_handles; /* that are not closed yet */
	bool exited;   /* it was reaped */
	bool dead;     /* died() was called */
	bool ending;
	struct buf received;
	struct watch_record record;
	char bytes[READ_SIZE];
};

struct command {
	uv_write_t request;
	uint8_t bytes[WATCH_COMMAND_LEN];
};

static void on_handle_closed(uv_handle_t *handle)
{
	struct watch_child *c = handle->data;
	if (--c->n_handles > 0)
		return; /* libuv still points into *c */
	void (*ended)(void *) = c->events.ended;
	void *owner = c->events.owner;
	bool tell = c->ending;
	buf_release(&c->received);
	free(c);
	if (tell)
		ended(owner);
}

static void close_handle(struct watch_child *c, void *handle)
{
	if (!uv_is_closing(handle))
		uv_close(handle, on_handle_closed);
}

static void close_handles(struct watch_child *c)
{
	close_handle(c, &c->process);
	close_handle(c, &c->input);
	close_handle(c, &c->output);
	close_handle(c, &c->reaping);
}

static void die(struct watch_child *c, const char *why)
{
	if (c->dead || c->ending)
		return;
	c->dead = true;
	uv_read_stop((uv_stream_t *)&c->output);
	c->events.died(c->events.owner, why);
}

static void on_process_exit(uv_process_t *process, int64_t status, int signal)
{
	struct watch_child *c = container_of(process, struct watch_child, process);
	char why[80];
	c->exited = true;
	if (c->ending) {
		close_handles(c);
		return;
	}
	if (signal)
		snprintf(why, sizeof(why), "killed by signal %d", signal);
	else
		snprintf(why, sizeof(why), "exit status %d", (int)status);
	die(c, why);
}

static void on_reap_timeout(uv_timer_t *timer)
{
	close_handles(container_of(timer, struct watch_child, reaping));
}

/* Hands out the whole records; what is left begins the next one. */
static void hand_out(struct watch_child *c)
{
	size_t used = 0;
	long n = 0;
	while (!c->ending && !c->dead) {
		n = watch_pipe_get(&c->record, c->received.data + used, c->received.len - used);
		if (n <= 0)
			break;
		used += (size_t)n;
		c->events.record(c->events.owner, &c->record);
	}
	buf_consume(&c->received, used);
	if (n < 0)
		die(c, "it said what is no record: is it of another version?");
}

static void on_alloc(uv_handle_t *handle, size_t size, uv_buf_t *buf)
{
	struct watch_child *c = handle->data;
	*buf = uv_buf_init(c->bytes, sizeof(c->bytes));
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
	struct watch_child *c = stream->data;
	if (n < 0) {
		/* The exit status says more, and follows. */
		uv_read_stop(stream);
		return;
	}
	buf_append(&c->received, buf->base, (size_t)n);
	hand_out(c);
}

static char **arguments_new(const char *program, const struct watch_child_root *roots, size_t n)
{
	char **arguments = x_calloc(n + 2, sizeof(*arguments));
	arguments[0] = x_strdup(program);
	for (size_t i = 0; i < n; i++)
		arguments[1 + i] = x_asprintf("%zu:%s", FIRST_ROOT_FD + i, roots[i].at);
	return arguments;
}

static void arguments_free(char **arguments)
{
	for (char **a = arguments; *a; a++)
		free(*a);
	free(arguments);
}

static int spawn(struct watch_child *c, uv_loop_t *loop, const char *program,
		 const struct watch_child_root *roots, size_t n_roots)
{
	uv_stdio_container_t *stdio = x_calloc(FIRST_ROOT_FD + n_roots, sizeof(*stdio));
	char **arguments = arguments_new(program, roots, n_roots);
	stdio[0].flags = UV_CREATE_PIPE | UV_READABLE_PIPE;
	stdio[0].data.stream = (uv_stream_t *)&c->input;
	stdio[1].flags = UV_CREATE_PIPE | UV_WRITABLE_PIPE;
	stdio[1].data.stream = (uv_stream_t *)&c->output;
	stdio[2].flags = UV_INHERIT_FD;
	stdio[2].data.fd = 2;
	for (size_t i = 0; i < n_roots; i++) {
		stdio[FIRST_ROOT_FD + i].flags = UV_INHERIT_FD;
		stdio[FIRST_ROOT_FD + i].data.fd = roots[i].fd;
	}
	uv_process_options_t options = {
		.exit_cb = on_process_exit,
		.file = program,
		.args = arguments,
		.stdio = stdio,
		.stdio_count = FIRST_ROOT_FD + (int)n_roots,
	};
	int r = uv_spawn(loop, &c->process, &options);
	arguments_free(arguments);
	free(stdio);
	return r;
}

int watch_child_start(struct watch_child **out, uv_loop_t *loop, const char *program,
		      const struct watch_child_root *roots, size_t n_roots,
		      const struct watch_child_events *events, struct err *err)
{
	struct watch_child *c = x_calloc(1, sizeof(*c));
	*out = NULL;
	c->events = *events;
	uv_pipe_init(loop, &c->input, 0);
	uv_pipe_init(loop, &c->output, 0);
	uv_timer_init(loop, &c->reaping);
	int r = spawn(c, loop, program, roots, n_roots);
	c->process.data = c->input.data = c->output.data = c->reaping.data = c;
	c->n_handles = 4;
	if (r == 0)
		r = uv_read_start((uv_stream_t *)&c->output, on_alloc, on_read);
	if (r < 0) {
		close_handles(c); /* frees it, and tells nobody */
		return err_sys(err, -r, "start %s", program);
	}
	*out = c;
	return 0;
}

static void on_written(uv_write_t *request, int status)
{
	free(container_of(request, struct command, request));
}

void watch_child_fence(struct watch_child *c, uint64_t nonce)
{
	struct command *command = x_calloc(1, sizeof(*command));
	watch_pipe_put_command(command->bytes, nonce);
	uv_buf_t buf = uv_buf_init((char *)command->bytes, sizeof(command->bytes));
	/* A failure means that it is dying, which answers all fences. */
	if (uv_write(&command->request, (uv_stream_t *)&c->input, &buf, 1, on_written) < 0)
		free(command);
}

void watch_child_end(struct watch_child *c)
{
	if (c->ending)
		return;
	c->ending = true;
	uv_read_stop((uv_stream_t *)&c->output);
	if (c->exited) {
		close_handles(c);
		return;
	}
	/* It holds nothing that needs an orderly end. It is reaped before its handle is closed. */
	uv_process_kill(&c->process, SIGKILL);
	uv_timer_start(&c->reaping, on_reap_timeout, REAP_MS, 0);
}
