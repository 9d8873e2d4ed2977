#include "agent/ops/hook_runner.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/base/clock.h"

#define GRACE_MS 2000	    /* between SIGTERM and SIGKILL */
#define PROCESSES_MAX 32768 /* of the host that are looked at */
#define POLL_MS 20	    /* a hook that has closed its output is looked at so often */

/* What a hook finds beside its facts; nothing of the agent's own environment. */
static const char *const plain_environment[] = {
	"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8",
	"HOME=/"};

struct running {
	pid_t pid;
	int output; /* -1: at its end */
	int socket;
	uint64_t kill_ms; /* when the next signal is due */
	int signal;	  /* which */
	bool timed_out, agent_gone;
};

/* ---- the hook's side --------------------------------------------------------------------------
 */

static size_t build_environment(char *environment[HOOK_FACTS_MAX + 4], struct hook_request *request)
{
	size_t n = 0, max = HOOK_FACTS_MAX + 3;
	for (size_t i = 0; i < sizeof(plain_environment) / sizeof(plain_environment[0]); i++)
		environment[n++] = (char *)plain_environment[i];
	request->facts[HOOK_FACTS_LEN - 1] = '\0';
	for (size_t at = 0; at < request->facts_len && at < HOOK_FACTS_LEN && n < max;
	     at += strlen(request->facts + at) + 1)
		environment[n++] = request->facts + at;
	environment[n] = NULL;
	return n;
}

_Noreturn static void become(char *const *argv, struct hook_request *request, int output)
{
	char *environment[HOOK_FACTS_MAX + 4];
	sigset_t none;
	build_environment(environment, request);
	setpgid(0, 0);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	for (int i = 1; i < NSIG; i++)
		signal(i, SIG_DFL);
	int null = open("/dev/null", O_RDONLY);
	if (null < 0 || dup2(null, 0) < 0 || dup2(output, 1) < 0 || dup2(output, 2) < 0)
		_exit(126);
	for (int fd = 3; fd < 1024; fd++)
		close(fd);
	if (chdir("/") < 0)
		_exit(126);
	execve(argv[0], argv, environment);
	dprintf(2, "%s: %s", argv[0], strerror(errno));
	_exit(127);
}

/* ---- beside it --------------------------------------------------------------------------------
 */

/* The last bytes are the ones that say why it failed. */
static void keep_output(struct hook_reply *reply, const char *bytes, size_t len)
{
	if (len > HOOK_OUTPUT_MAX) {
		bytes += len - HOOK_OUTPUT_MAX;
		len = HOOK_OUTPUT_MAX;
	}
	size_t keep = reply->output_len;
	if (keep > HOOK_OUTPUT_MAX - len)
		keep = HOOK_OUTPUT_MAX - len;
	memmove(reply->output, reply->output + reply->output_len - keep, keep);
	memcpy(reply->output + keep, bytes, len);
	reply->output_len = (uint32_t)(keep + len);
}

/* @return false when there is nothing more now */
static bool read_output(struct running *run, struct hook_reply *reply)
{
	char bytes[4096];
	ssize_t n = read(run->output, bytes, sizeof(bytes));
	if (n > 0) {
		keep_output(reply, bytes, (size_t)n);
	} else if (n == 0 || (errno != EINTR && errno != EAGAIN)) {
		close(run->output);
		run->output = -1;
	}
	return n > 0;
}

/* ---- what it has started ----------------------------------------------------------------------
 */

/* @return the parent of a process; 0 when it is not there any more */
static pid_t parent_of(const char *pid)
{
	char path[64], text[512];
	snprintf(path, sizeof(path), "/proc/%.20s/stat", pid);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return 0;
	ssize_t n = read(fd, text, sizeof(text) - 1);
	close(fd);
	text[n > 0 ? n : 0] = '\0';
	const char *end = strrchr(text, ')'); /* a name may hold blanks and brackets */
	int parent = 0;
	return end && sscanf(end + 1, " %*c %d", &parent) == 1 ? parent : 0;
}

struct process {
	pid_t pid, parent;
	bool ours;
};

static size_t list_processes(struct process *list, size_t max)
{
	size_t n = 0;
	DIR *dir = opendir("/proc");
	const struct dirent *entry;
	while (dir && n < max && (entry = readdir(dir))) {
		pid_t pid = (pid_t)strtol(entry->d_name, NULL, 10);
		if (pid > 0)
			list[n++] =
				(struct process){.pid = pid, .parent = parent_of(entry->d_name)};
	}
	if (dir)
		closedir(dir);
	return n;
}

static bool is_ours(const struct process *list, size_t n, pid_t pid)
{
	for (size_t i = 0; i < n; i++) {
		if (list[i].pid == pid)
			return list[i].ours;
	}
	return false;
}

/* Everything beneath this process: the hook, and what has left its process group or its session, or
 * lost its parent, for this process is the one that such a child falls to. */
static void signal_all(int signal)
{
	static struct process list[PROCESSES_MAX];
	size_t n = list_processes(list, PROCESSES_MAX);
	pid_t self = getpid();
	for (bool found = true; found;) {
		found = false;
		for (size_t i = 0; i < n; i++) {
			bool child = list[i].parent == self || is_ours(list, n, list[i].parent);
			if (list[i].ours || !child)
				continue;
			list[i].ours = found = true;
			kill(list[i].pid, signal);
		}
	}
}

/* Until nothing is left; one that the kernel cannot end now ends when it can. */
static void end_all(void)
{
	for (int i = 0; i < GRACE_MS / POLL_MS; i++) {
		pid_t pid;
		signal_all(SIGKILL);
		while ((pid = waitpid(-1, NULL, WNOHANG)) > 0)
			;
		if (pid < 0 && errno == ECHILD)
			return;
		poll(NULL, 0, POLL_MS);
	}
}

/* ---- watching over it -------------------------------------------------------------------------
 */

static void begin_to_end(struct running *run)
{
	run->signal = SIGTERM;
	run->kill_ms = clock_mono_ms();
}

static void kill_if_due(struct running *run)
{
	if (clock_mono_ms() < run->kill_ms)
		return;
	run->timed_out |= !run->agent_gone;
	kill(-run->pid, run->signal);
	signal_all(run->signal);
	run->signal = SIGKILL;
	run->kill_ms = clock_mono_ms() + GRACE_MS;
}

static void wait_a_little(struct running *run, struct hook_reply *reply)
{
	struct pollfd fds[] = {{.fd = run->output, .events = POLLIN},
			       {.fd = run->agent_gone ? -1 : run->socket, .events = 0}};
	poll(fds, 2, POLL_MS);
	if (run->output >= 0 && fds[0].revents)
		read_output(run, reply);
	if (fds[1].revents & (POLLHUP | POLLERR)) {
		run->agent_gone = true;
		begin_to_end(run);
	}
}

/* Children that lost their parent fall to this process and are taken along. */
static bool has_ended(const struct running *run, int *status)
{
	pid_t pid;
	while ((pid = waitpid(-1, status, WNOHANG)) > 0) {
		if (pid == run->pid)
			return true;
	}
	return false;
}

static void watch_over(struct running *run, struct hook_reply *reply)
{
	int status = 0;
	while (!has_ended(run, &status)) {
		wait_a_little(run, reply);
		kill_if_due(run);
	}
	/* What it has left behind keeps nobody waiting: a daemon that it started may hold the pipe.
	 */
	while (run->output >= 0 && read_output(run, reply))
		;
	/* A hook that has ended by itself may have started a server: that stays. */
	if (run->timed_out || run->agent_gone)
		end_all();
	reply->end = run->timed_out	 ? HOOK_TIMED_OUT
		     : WIFEXITED(status) ? HOOK_EXITED
					 : HOOK_KILLED;
	reply->value = WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status);
}

static void not_started(struct hook_reply *reply, int error)
{
	reply->end = HOOK_NOT_STARTED;
	reply->value = error;
}

static void run_hook(int socket, char *const *argv, struct hook_request *request,
		     struct hook_reply *reply)
{
	int pipe_fds[2];
	if (!argv) {
		not_started(reply, ENOENT);
		return;
	}
	if (pipe2(pipe_fds, O_CLOEXEC | O_NONBLOCK) < 0) {
		not_started(reply, errno);
		return;
	}
	fcntl(pipe_fds[1], F_SETFL, 0); /* the hook writes as it is used to */
	pid_t pid = fork();
	if (pid == 0)
		become(argv, request, pipe_fds[1]);
	int error = errno;
	close(pipe_fds[1]);
	if (pid < 0) {
		close(pipe_fds[0]);
		not_started(reply, error);
		return;
	}
	setpgid(pid, pid); /* whoever comes first */
	struct running run = {.pid = pid,
			      .output = pipe_fds[0],
			      .socket = socket,
			      .signal = SIGTERM,
			      .kill_ms = clock_mono_ms() + request->deadline_ms};
	watch_over(&run, reply);
	if (run.output >= 0)
		close(run.output);
}

/* Each hook has a process of its own above it, which is the parent of all that it leaves behind: so
 * what one hook has started is told from what another one has. When the hook has ended that process
 * ends, too, and what is left goes to whoever takes orphans. */
_Noreturn static void keep(int socket, char *const *argv, struct hook_request *request)
{
	static struct hook_reply reply;
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	run_hook(socket, argv, request, &reply);
	_exit(send(socket, &reply, sizeof(reply), MSG_NOSIGNAL) < 0);
}

/* @return whether there is still somebody who wants to hear of it */
static bool run_kept(int socket, char *const *argv, struct hook_request *request)
{
	static struct hook_reply reply;
	int status = 0, error = EIO;
	pid_t pid = fork();
	if (pid == 0)
		keep(socket, argv, request);
	if (pid < 0)
		error = errno;
	while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	if (pid > 0 && WIFEXITED(status))
		return WEXITSTATUS(status) == 0;
	not_started(&reply, error); /* it was killed before it could say what came of the hook */
	return send(socket, &reply, sizeof(reply), MSG_NOSIGNAL) >= 0;
}

_Noreturn void hook_runner_main(int socket, char *const *const argvs[HOOKS_MAX])
{
	static struct hook_request request;
	prctl(PR_SET_NAME, "as-hooks");
	signal(SIGINT, SIG_IGN); /* the agent ends us by closing the socket */
	signal(SIGTERM, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
	signal(SIGPIPE, SIG_IGN);
	signal(SIGCHLD, SIG_DFL);
	for (;;) {
		ssize_t n = recv(socket, &request, sizeof(request), 0);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < (ssize_t)offsetof(struct hook_request, facts))
			_exit(0);
		/* An index that is not in the list has no program, like one that is not
		 * configured. */
		bool known = request.index < HOOKS_MAX;
		if (!run_kept(socket, known ? argvs[request.index] : NULL, &request))
			_exit(0);
	}
}
