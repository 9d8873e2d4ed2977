#include "agent/ops/hooks.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/base/alloc.h"
#include "agent/base/log.h"

#define QUEUE_MAX 16

struct asked {
	unsigned index;
	bool none; /* not configured: nothing was asked of the runner */
};

struct hooks {
	int socket;
	pid_t pid;
	bool configured[HOOKS_MAX];
	uv_poll_t poll;
	uv_idle_t soon; /* results that need no runner */
	int handles;
	struct asked queue[QUEUE_MAX];
	size_t n;
	void (*done)(void *owner, unsigned index, const struct hook_result *result);
	void *owner;
	void (*closed)(void *owner);
	void *closed_owner;
};

int hooks_fork(struct hooks **out, char *const *const argvs[HOOKS_MAX], struct err *err)
{
	int pair[2];
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return err_sys(err, errno, "make the socket of the hook runner");
	pid_t pid = fork();
	if (pid == 0) {
		close(pair[0]);
		hook_runner_main(pair[1], argvs);
	}
	int error = errno;
	close(pair[1]);
	if (pid < 0) {
		close(pair[0]);
		return err_sys(err, error, "fork the hook runner");
	}
	struct hooks *hooks = x_calloc(1, sizeof(*hooks));
	hooks->socket = pair[0];
	hooks->pid = pid;
	for (unsigned i = 0; i < HOOKS_MAX; i++)
		hooks->configured[i] = argvs[i] != NULL;
	*out = hooks;
	return 0;
}

/* ---- results ----------------------------------------------------------------------------------
 */

/* One line: what a hook prints is for people, and a log line must stay one. */
static void describe_output(char *out, size_t size, const struct hook_reply *reply)
{
	size_t from = 0, n = 0;
	while (reply->output_len - from > size - 1)
		from++;
	for (size_t i = from; i < reply->output_len && n + 1 < size; i++) {
		unsigned char c = (unsigned char)reply->output[i];
		out[n++] = c < 0x20 || c == 0x7f ? ' ' : (char)c;
	}
	while (n > 0 && out[n - 1] == ' ')
		n--;
	out[n] = '\0';
}

static void describe(struct hook_result *out, const struct hook_reply *reply)
{
	char output[160];
	const char *verb = "exited with";
	describe_output(output, sizeof(output), reply);
	if (reply->end == HOOK_KILLED)
		verb = "was ended by signal";
	for (uint32_t i = 0; i < reply->output_len; i++)
		out->output[i] = (char)(reply->output[i] ? reply->output[i] : ' ');
	out->done = reply->end == HOOK_EXITED && reply->value == 0;
	if (reply->end == HOOK_NOT_STARTED)
		snprintf(out->text, sizeof(out->text), "could not be started: %s",
			 strerror(reply->value));
	else if (reply->end == HOOK_TIMED_OUT)
		snprintf(out->text, sizeof(out->text), "took longer than its deadline%s%s",
			 *output ? ": " : "", output);
	else
		snprintf(out->text, sizeof(out->text), "%s %d%s%s", verb, reply->value,
			 *output ? ": " : "", output);
}

static void tell_first(struct hooks *hooks, const struct hook_result *result)
{
	unsigned index = hooks->queue[0].index;
	memmove(&hooks->queue[0], &hooks->queue[1], --hooks->n * sizeof(hooks->queue[0]));
	hooks->done(hooks->owner, index, result);
}

/* Those that need no runner, as far as none that does is before them. */
static void on_soon(uv_idle_t *idle)
{
	struct hooks *hooks = idle->data;
	uv_idle_stop(idle);
	while (hooks->n > 0 && hooks->queue[0].none && !hooks->closed) {
		struct hook_result result = {.done = true, .text = "none is configured"};
		tell_first(hooks, &result);
	}
}

static void tell_soon(struct hooks *hooks)
{
	uv_idle_start(&hooks->soon, on_soon);
}

/* Without its runner no hook can be run any more; each says so. */
static void runner_lost(struct hooks *hooks)
{
	struct hook_result result = {.text = "the hook runner has ended: restart the agent"};
	uv_poll_stop(&hooks->poll);
	log_error("hooks", "the hook runner has ended remedy=\"restart the agent\"");
	while (hooks->n > 0 && !hooks->closed)
		tell_first(hooks, &result);
}

static void on_reply(uv_poll_t *poll, int status, int events)
{
	struct hooks *hooks = poll->data;
	struct hook_reply reply;
	struct hook_result result = {0};
	(void)status;
	(void)events;
	ssize_t n = recv(hooks->socket, &reply, sizeof(reply), MSG_DONTWAIT);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n != sizeof(reply) || hooks->n == 0 || reply.output_len > HOOK_OUTPUT_MAX) {
		runner_lost(hooks);
		return;
	}
	describe(&result, &reply);
	tell_first(hooks, &result);
	if (!hooks->closed)
		tell_soon(hooks);
}

void hooks_open(struct hooks *hooks, uv_loop_t *loop,
		void (*done)(void *owner, unsigned index, const struct hook_result *result),
		void *owner)
{
	hooks->done = done;
	hooks->owner = owner;
	uv_poll_init(loop, &hooks->poll, hooks->socket);
	uv_idle_init(loop, &hooks->soon);
	hooks->poll.data = hooks->soon.data = hooks;
	hooks->handles = 2;
	uv_poll_start(&hooks->poll, UV_READABLE, on_reply);
}

/* ---- asking -----------------------------------------------------------------------------------
 */

static void add_facts(struct hook_request *request, const char *const *facts)
{
	for (size_t n = 0; facts && facts[n] && n < HOOK_FACTS_MAX; n++) {
		size_t len = strlen(facts[n]) + 1;
		if (len > HOOK_FACTS_LEN - request->facts_len)
			continue;
		memcpy(request->facts + request->facts_len, facts[n], len);
		request->facts_len += (uint32_t)len;
	}
}

void hooks_run(struct hooks *hooks, unsigned index, const char *const *facts, uint32_t deadline_ms)
{
	BUG_ON(index >= HOOKS_MAX || hooks->n == QUEUE_MAX);
	struct asked *asked = &hooks->queue[hooks->n++];
	*asked = (struct asked){.index = index, .none = !hooks->configured[index]};
	if (asked->none) {
		tell_soon(hooks);
		return;
	}
	struct hook_request request = {.index = index, .deadline_ms = deadline_ms};
	add_facts(&request, facts);
	log_info("hooks", "hook=%u action=run deadline_ms=%u", index, deadline_ms);
	/* The runner takes one after the other; so few fit the socket's buffer easily. */
	if (send(hooks->socket, &request, sizeof(request), MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
		runner_lost(hooks);
}

/* ---- closing ----------------------------------------------------------------------------------
 */

static void finish(struct hooks *hooks)
{
	close(hooks->socket);
	/* It ends a hook that still runs, and then itself; a service manager does not wait for
	 * less.
	 */
	while (waitpid(hooks->pid, NULL, 0) < 0 && errno == EINTR)
		;
	void (*closed)(void *) = hooks->closed;
	void *owner = hooks->closed_owner;
	free(hooks);
	closed(owner);
}

static void on_handle_closed(uv_handle_t *handle)
{
	struct hooks *hooks = handle->data;
	if (--hooks->handles == 0)
		finish(hooks);
}

void hooks_close(struct hooks *hooks, void (*closed)(void *owner), void *owner)
{
	hooks->closed = closed;
	hooks->closed_owner = owner;
	if (hooks->handles == 0) {
		finish(hooks);
		return;
	}
	uv_close((uv_handle_t *)&hooks->poll, on_handle_closed);
	uv_close((uv_handle_t *)&hooks->soon, on_handle_closed);
}
