#include "agent/cli/drill_hook.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/base/alloc.h"
#include "agent/base/clock.h"

/* ---- which program -------------------------------------------------------------------------- */

static char *absolute(const char *path)
{
	AUTO_FREE char *here = *path == '/' ? NULL : getcwd(NULL, 0);
	return here ? x_asprintf("%s/%s", here, path) : x_strdup(path);
}

static char *search(const char *program)
{
	const char *path = getenv("PATH");
	AUTO_FREE char *copy = x_strdup(path ? path : "/usr/local/bin:/usr/bin:/bin");
	char *rest = NULL;
	for (char *dir = strtok_r(copy, ":", &rest); dir; dir = strtok_r(NULL, ":", &rest)) {
		AUTO_FREE char *candidate = x_asprintf("%s/%s", dir, program);
		if (*dir == '/' && access(candidate, X_OK) == 0)
			return STEAL(candidate);
	}
	return NULL;
}

char *drill_hook_find(const char *program, struct err *err)
{
	AUTO_FREE char *found = strchr(program, '/') ? absolute(program) : search(program);
	if (!found) {
		err_set(err, -ENOENT, "there is no program %.150s in PATH", program);
		return NULL;
	}
	if (access(found, X_OK) < 0) {
		err_sys(err, errno, "start %.200s", found);
		return NULL;
	}
	return STEAL(found);
}

/* ---- running it ----------------------------------------------------------------------------- */

static void fill_request(struct hook_request *request, const char *const *facts, uint32_t timeout_s)
{
	*request = (struct hook_request){.deadline_ms = timeout_s * 1000};
	for (; *facts; facts++) {
		size_t len = strlen(*facts) + 1;
		if (len > HOOK_FACTS_LEN - request->facts_len)
			break;
		memcpy(request->facts + request->facts_len, *facts, len);
		request->facts_len += (uint32_t)len;
	}
}

static void explain(struct drill_hook_result *out, const struct hook_reply *reply,
		    uint32_t timeout_s)
{
	size_t size = sizeof(out->text);
	switch (reply->end) {
	case HOOK_EXITED: snprintf(out->text, size, "exited with %d", reply->value); break;
	case HOOK_KILLED: snprintf(out->text, size, "was killed by signal %d", reply->value); break;
	case HOOK_TIMED_OUT: snprintf(out->text, size, "did not end in %u s", timeout_s); break;
	default:
		snprintf(out->text, size, "could not be started: %s", strerror(reply->value));
		break;
	}
	out->ok = reply->end == HOOK_EXITED && reply->value == 0;
	uint32_t len = reply->output_len > HOOK_OUTPUT_MAX ? HOOK_OUTPUT_MAX : reply->output_len;
	for (uint32_t i = 0; i < len; i++)
		out->output[i] = (char)(reply->output[i] ? reply->output[i] : ' ');
	out->output[len] = '\0';
}

static int ask(int socket, struct hook_request *request, struct hook_reply *reply, struct err *err)
{
	if (send(socket, request, sizeof(*request), MSG_NOSIGNAL) < 0)
		return err_sys(err, errno, "ask the hook's runner");
	for (;;) {
		ssize_t n = recv(socket, reply, sizeof(*reply), 0);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < (ssize_t)offsetof(struct hook_reply, output))
			return err_sys(err, n < 0 ? errno : EPIPE, "hear the hook's runner");
		return 0;
	}
}

/* Nothing else of the command's stays open in it: above all not the connection to the agent, whose
 * end says that the command has ended. */
_Noreturn static void be_runner(int socket, char *const *argv)
{
	char *const *const argvs[HOOKS_MAX] = {argv};
	setsid(); /* a ^C at the terminal reaches the command, whose end it notices */
	if (dup2(socket, STDERR_FILENO + 1) < 0 || close_range(STDERR_FILENO + 2, ~0u, 0) < 0)
		_exit(126);
	hook_runner_main(STDERR_FILENO + 1, argvs);
}

int drill_hook_run(struct drill_hook_result *out, char *const *argv, const char *const *facts,
		   uint32_t timeout_s, struct err *err)
{
	AUTO_FREE struct hook_request *request = x_calloc(1, sizeof(*request));
	AUTO_FREE struct hook_reply *reply = x_calloc(1, sizeof(*reply));
	int pair[2];
	*out = (struct drill_hook_result){0};
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return err_sys(err, errno, "start the hook's runner");
	fflush(NULL); /* what is buffered belongs to one of the two */
	uint64_t began = clock_mono_ms();
	pid_t runner = fork();
	if (runner == 0)
		be_runner(pair[1], argv);
	int error = errno;
	close(pair[1]);
	if (runner < 0) {
		close(pair[0]);
		return err_sys(err, error, "start the hook's runner");
	}
	fill_request(request, facts, timeout_s);
	int r = ask(pair[0], request, reply, err);
	out->ms = clock_mono_ms() - began;
	close(pair[0]);
	waitpid(runner, NULL, 0);
	if (r == 0)
		explain(out, reply, timeout_s);
	return r;
}
