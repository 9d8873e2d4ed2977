/* artifact-sync-watch - tells its parent which paths may have changed. A process of its own, so
 * that whatever the watching library does (it aborts, it leaks, its state is static) costs a
 * restart and a scan, and so that the kernel's queue is drained whatever the agent is doing.
 *
 *     artifact-sync-watch FD:AT...
 *
 * FD is an inherited descriptor of a directory and AT its path in the tree. Records go to standard
 * output, commands come from standard input (watch_pipe.h); it ends when its input does. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "agent/base/alloc.h"
#include "agent/base/clock.h"
#include "agent/watch/child/inotify_port.h"
#include "agent/watch/child/watch_limits.h"
#include "agent/watch/child/mounts.h"
#include "agent/watch/child/outbox.h"
#include "agent/watch/child/walk.h"

#define COUNTS_EVERY_MS 1000
#define CHECK_EVERY_MS 1000   /* whether the roots are still there */
#define REOPEN_EVERY_MS 60000 /* after inotify could not be started */
#define FENCES_MAX 1024	      /* unanswered; then commands wait in the pipe */
#define LIBRARY_BUFFER_EVENTS                                              \
	4096 /* 64 KiB of the smallest events, read but not yet handed out \
	      */

/* Static, so that what is still in use at the end is not taken for a leak. */
static struct {
	struct walk walk;
	struct outbox outbox;
	struct mounts *mounts; /* NULL where they cannot be read */
	uint8_t commands[WATCH_COMMAND_LEN * 64];
	size_t n_commands;	      /* bytes */
	bool ended;		      /* the agent is gone or wants us to be */
	bool watching;		      /* inotify works; else everything is up to scans */
	int open_error;		      /* why not */
	uint64_t reopen_ms, check_ms; /* when due */
	uint64_t drain_max; /* events: as many as the kernel holds at once, so one drain sees all */
	struct {
		uint64_t directories, watched, overflows;
		size_t bare;
		bool watching;
	} told; /* the counts the agent knows */
	uint64_t told_ms;
} child;

static const char usage[] =
	"usage: artifact-sync-watch FD:AT... (it is started by artifact-sync, not by hand)";

static void die(const char *text)
{
	fprintf(stderr, "artifact-sync-watch: %s\n", text);
	exit(2);
}

static void read_commands(void)
{
	size_t room = sizeof(child.commands) - child.n_commands;
	if (room == 0)
		return;
	ssize_t n = read(STDIN_FILENO, child.commands + child.n_commands, room);
	if (n > 0)
		child.n_commands += (size_t)n;
	else if (n == 0 || (errno != EAGAIN && errno != EINTR))
		child.ended = true;
}

static void drain(void)
{
	int error = 0;
	for (uint64_t n = 0; child.watching && n < child.drain_max; n++) {
		const struct inotify_event *e = port_next(&error);
		if (!e)
			break;
		walk_event(&child.walk, e);
	}
	if (error)
		walk_need_full(&child.walk, "events could not be read");
}

static void pump(void)
{
	if (outbox_pump(&child.outbox, STDOUT_FILENO, clock_mono_ms()) < 0)
		child.ended = true;
}

static bool breathe(void *owner)
{
	(void)owner;
	read_commands();
	drain();
	pump();
	return !child.ended;
}

static bool counts_are_news(void)
{
	const struct walk *w = &child.walk;
	return child.told.directories != w->dirs.n || child.told.watched != w->dirs.n_watched ||
	       child.told.overflows != w->overflows || child.told.bare != w->dirs.n_bare ||
	       child.told.watching != child.watching;
}

static void tell_counts(bool at_once)
{
	char limit[WATCH_TEXT_MAX + 1];
	const struct walk *w = &child.walk;
	uint64_t now = clock_mono_ms();
	if (!counts_are_news() || (!at_once && now < child.told_ms + COUNTS_EVERY_MS))
		return;
	if (child.watching)
		walk_limit(w, limit);
	else
		limits_of_instances(limit, child.open_error);
	outbox_counts(&child.outbox, w->dirs.n, w->dirs.n_watched, w->overflows, limit);
	child.told.directories = w->dirs.n;
	child.told.watched = w->dirs.n_watched;
	child.told.overflows = w->overflows;
	child.told.bare = w->dirs.n_bare;
	child.told.watching = child.watching;
	child.told_ms = now;
}

static void check_roots(bool at_once)
{
	uint64_t now = clock_mono_ms();
	if (!at_once && now < child.check_ms)
		return;
	walk_check_roots(&child.walk);
	child.check_ms = now + CHECK_EVERY_MS;
}

static void check_mounts(void)
{
	struct walk *w = &child.walk;
	if (!mounts_changed(child.mounts))
		return;
	for (size_t i = 0; i < w->n_roots; i++)
		outbox_suspect(&child.outbox, w->roots[i]->root);
	walk_need_full(w, "mount");
}

/* Everything due is looked at; what the looking itself missed is walked at once for a fence. */
static void work(bool for_fence)
{
	if (!child.watching)
		return;
	drain();
	walk_work(&child.walk, for_fence, clock_mono_ms());
	for (int again = 0; for_fence && child.walk.full && again < 3; again++)
		walk_work(&child.walk, true, clock_mono_ms());
}

static void answer_fences(void)
{
	uint64_t nonce;
	size_t used = 0;
	long n;
	/* The commands were read before this drain, so it hands over all that came before them. */
	work(true);
	check_roots(true);
	tell_counts(true);
	bool complete = child.watching && walk_is_complete(&child.walk);
	while (child.outbox.n_fences < FENCES_MAX &&
	       (n = watch_pipe_get_command(&nonce, child.commands + used,
					   child.n_commands - used)) != 0) {
		if (n < 0)
			die("the agent sent what is no command: the two programs are of different "
			    "builds");
		outbox_fence(&child.outbox, nonce, complete);
		used += (size_t)n;
	}
	child.n_commands -= used;
	memmove(child.commands, child.commands + used, child.n_commands);
}

static bool is_known(void *arg, int wd)
{
	return directory_by_wd(arg, wd) != NULL;
}

/* Starts watching; without inotify the agent is told so, and lives on scans until it works. */
static void try_watching(const char *why)
{
	int r = port_open(child.walk.roots[0]->root_fd, is_known, &child.walk.dirs);
	if (r == -ELIBBAD)
		die("the installed libinotifytools does not work as expected: install version 3.22 "
		    "of the library, and see that /proc is mounted");
	child.watching = r == 0;
	child.open_error = -r;
	child.reopen_ms = clock_mono_ms() + REOPEN_EVERY_MS;
	child.drain_max = limits_read("/proc/sys/fs/inotify/max_queued_events", 16384) +
			  LIBRARY_BUFFER_EVENTS;
	if (child.watching) {
		walk_need_full(&child.walk, why);
		work(true);
	} else {
		child.told.watching = true; /* to be told in any case */
	}
	tell_counts(true);
	outbox_ready(&child.outbox);
}

static uint64_t next_due(void)
{
	uint64_t due = outbox_next_due(&child.outbox);
	uint64_t other = child.watching ? walk_next_due(&child.walk) : child.reopen_ms;
	due = other < due ? other : due;
	due = child.check_ms < due ? child.check_ms : due;
	other = counts_are_news() ? child.told_ms + COUNTS_EVERY_MS : UINT64_MAX;
	return other < due ? other : due;
}

static int wait_ms(void)
{
	uint64_t due = next_due(), now = clock_mono_ms();
	return due <= now ? 0 : due - now > 60000 ? 60000 : (int)(due - now);
}

static void wait_for_something(void)
{
	bool hear = child.n_commands < WATCH_COMMAND_LEN;
	struct pollfd fds[] = {
		{.fd = STDIN_FILENO, .events = hear ? POLLIN : 0},
		{.fd = STDOUT_FILENO, .events = outbox_is_waiting(&child.outbox) ? POLLOUT : 0},
		{.fd = port_fd(), .events = POLLIN},
		{.fd = child.mounts ? mounts_fd(child.mounts) : -1, .events = POLLPRI},
	};
	poll(fds, ARRAY_LEN(fds), wait_ms());
	if (fds[0].revents)
		read_commands();
	if (fds[1].revents & (POLLERR | POLLHUP))
		child.ended = true;
	if (fds[3].revents)
		check_mounts();
}

static void take_root(const char *argument)
{
	char *rest;
	struct walk *w = &child.walk;
	errno = 0;
	long fd = strtol(argument, &rest, 10);
	if (errno || rest == argument || *rest != ':' || fd < 3 || fd > 65535 ||
	    fcntl((int)fd, F_GETFD) < 0 || strlen(rest + 1) > WATCH_PATH_MAX)
		die(usage);
	if (w->n_roots == ARRAY_LEN(w->roots))
		die("more roots than 256");
	uint8_t index = (uint8_t)w->n_roots;
	w->roots[w->n_roots++] = directory_new_root(&w->dirs, (int)fd, index, rest + 1);
}

static void watch_mounts(void)
{
	int fds[OUTBOX_ROOTS];
	for (size_t i = 0; i < child.walk.n_roots; i++)
		fds[i] = child.walk.roots[i]->root_fd;
	child.mounts = mounts_new(fds, child.walk.n_roots);
}

int main(int argc, char **argv)
{
	/* It ends with its input. A signal to the whole group (Ctrl-C, the end of a service) is for
	 * the agent, which still wants to hear from us. */
	const int ignored[] = {SIGINT, SIGTERM, SIGHUP, SIGPIPE};
	for (size_t i = 0; i < ARRAY_LEN(ignored); i++)
		signal(ignored[i], SIG_IGN);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	fcntl(STDIN_FILENO, F_SETFL, fcntl(STDIN_FILENO, F_GETFL) | O_NONBLOCK);
	fcntl(STDOUT_FILENO, F_SETFL, fcntl(STDOUT_FILENO, F_GETFL) | O_NONBLOCK);
	if (argc < 2)
		die(usage);
	child.walk.outbox = &child.outbox;
	child.walk.breathe = breathe;
	for (int i = 1; i < argc; i++)
		take_root(argv[i]);
	watch_mounts();
	try_watching("watching begins");
	while (!child.ended) {
		pump();
		wait_for_something();
		if (!child.watching && clock_mono_ms() >= child.reopen_ms)
			try_watching("watching begins");
		if (child.n_commands >= WATCH_COMMAND_LEN)
			answer_fences();
		else
			work(false);
		check_roots(false);
		tell_counts(false);
	}
	return 0;
}
