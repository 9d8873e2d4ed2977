#include "tests/unit/watch/child_harness.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/base/alloc.h"
#include "agent/base/hash_table.h"

#define DEADLINE_MS 30000 /* for one record; a loaded machine is slow, a lost one never comes */

struct mirror_entry {
	UT_hash_handle hh;
	struct stat st;
	bool there; /* used while comparing */
	char path[];
};

/* ---- the mirror ---- */

static struct mirror_entry *mirror_find(struct harness *h, const char *path)
{
	struct mirror_entry *entry;
	HASH_FIND_STR(h->mirror, path, entry);
	return entry;
}

static bool at_or_beneath(const char *path, const char *dir)
{
	size_t len = strlen(dir);
	return len == 0 || (strncmp(path, dir, len) == 0 && (path[len] == '/' || !path[len]));
}

static void mirror_remove(struct harness *h, const char *dir)
{
	struct mirror_entry *entry, *next;
	HASH_ITER (hh, h->mirror, entry, next) {
		if (at_or_beneath(entry->path, dir)) {
			HASH_DEL(h->mirror, entry);
			free(entry);
		}
	}
}

static void mirror_put(struct harness *h, const char *path, const struct stat *st)
{
	struct mirror_entry *entry = mirror_find(h, path);
	if (!entry) {
		entry = x_calloc(1, sizeof(*entry) + strlen(path) + 1);
		strcpy(entry->path, path);
		HASH_ADD_STR(h->mirror, path, entry);
	}
	entry->st = *st;
}

static bool is_own(const char *path)
{
	return strstr(path, ".artifact-sync") != NULL;
}

static void mirror_look_at(struct harness *h, const char *path)
{
	struct stat st;
	if (is_own(path))
		fail_msg("a record about our own directory: %s", path);
	struct mirror_entry *entry = mirror_find(h, path);
	if (lstat(harness_path(h, path), &st) < 0) {
		/* An agent would find what is beneath in its index. */
		mirror_remove(h, path);
		return;
	}
	if (entry && S_ISDIR(entry->st.st_mode) && !S_ISDIR(st.st_mode))
		mirror_remove(h, path);
	mirror_put(h, path, &st);
}

static struct harness *walking; /* nftw() has no argument for its caller */
static void (*walk_each)(struct harness *h, const char *path, const struct stat *st);

static int on_walked(const char *absolute, const struct stat *st, int type, struct FTW *ftw)
{
	const char *path = absolute + strlen(walking->tree);
	path += *path == '/';
	if (type != FTW_NS && !is_own(path))
		walk_each(walking, path, st);
	return 0;
}

static void walk_tree(struct harness *h, const char *rel,
		      void (*each)(struct harness *h, const char *path, const struct stat *st))
{
	walking = h;
	walk_each = each;
	nftw(harness_path(h, rel), on_walked, 32, FTW_PHYS);
}

static void mirror_scan(struct harness *h, const char *path)
{
	mirror_remove(h, path);
	walk_tree(h, path, mirror_put);
}

static bool same(const struct stat *a, const struct stat *b)
{
	return a->st_ino == b->st_ino && a->st_mode == b->st_mode && a->st_size == b->st_size &&
	       a->st_mtim.tv_sec == b->st_mtim.tv_sec && a->st_mtim.tv_nsec == b->st_mtim.tv_nsec;
}

static int differences;

static void complain(const char *what, const char *path)
{
	if (differences++ < 10)
		print_message("%s: %s\n", what, path);
}

static void compare_one(struct harness *h, const char *path, const struct stat *st)
{
	struct mirror_entry *entry = mirror_find(h, path);
	if (!entry) {
		complain("missed", path);
		return;
	}
	entry->there = true;
	if (!same(&entry->st, st))
		complain("stale", path);
}

int harness_differences(struct harness *h)
{
	struct mirror_entry *entry, *next;
	differences = 0;
	HASH_ITER (hh, h->mirror, entry, next) {
		entry->there = false;
	}
	walk_tree(h, "", compare_one);
	HASH_ITER (hh, h->mirror, entry, next) {
		if (!entry->there)
			complain("gone, but nobody said so", entry->path);
	}
	return differences;
}

/* ---- records ---- */

static void log_line(struct harness *h, const char *fmt, ...)
{
	va_list ap;
	char line[WATCH_PATH_MAX + WATCH_TEXT_MAX + 64];
	va_start(ap, fmt);
	int n = vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	h->log = x_realloc(h->log, h->log_len + (size_t)n + 1, 1);
	memcpy(h->log + h->log_len, line, (size_t)n + 1);
	h->log_len += (size_t)n;
}

static void handle(struct harness *h)
{
	const struct watch_record *r = &h->last;
	h->n_records++;
	switch (r->type) {
	case WATCH_READY: log_line(h, "READY\n"); break;
	case WATCH_CHANGED:
		log_line(h, "CHANGED %s %s\n", r->path, r->hint == WATCH_OPEN ? "open" : "settled");
		mirror_look_at(h, r->path);
		break;
	case WATCH_SUBTREE:
		log_line(h, "SUBTREE %s %s\n", r->path, r->text);
		mirror_scan(h, r->path);
		break;
	case WATCH_FENCE:
		log_line(h, "FENCE\n");
		assert_int_equal(r->nonce, h->nonce);
		h->fence_was_complete = r->complete;
		break;
	case WATCH_ROOT_SUSPECT: log_line(h, "ROOT_SUSPECT %d\n", r->root); break;
	case WATCH_COUNTS: h->counts = *r; break;
	}
}

/* @return the type of the record taken, 0 when there is none yet */
static int take_one(struct harness *h, int timeout_ms)
{
	for (;;) {
		long n = watch_pipe_get(&h->last, h->received.data, h->received.len);
		assert_true(n >= 0);
		if (n > 0) {
			buf_consume(&h->received, (size_t)n);
			handle(h);
			return h->last.type;
		}
		struct pollfd fd = {.fd = h->records, .events = POLLIN};
		if (poll(&fd, 1, timeout_ms) == 0)
			return 0;
		uint8_t bytes[4096]; /* small, so that taking one off the front costs little */
		ssize_t got = read(h->records, bytes, sizeof(bytes));
		if (got <= 0)
			fail_msg("the child is gone");
		buf_append(&h->received, bytes, (size_t)got);
	}
}

void harness_take_available(struct harness *h)
{
	while (take_one(h, 0))
		;
}

void harness_take_until(struct harness *h, enum watch_record_type type)
{
	for (;;) {
		int got = take_one(h, DEADLINE_MS);
		if (got == 0)
			fail_msg("no record of type %d; log:\n%.3000s", type, h->log ? h->log : "");
		if (got == (int)type)
			return;
	}
}

void harness_fence(struct harness *h)
{
	uint8_t command[WATCH_COMMAND_LEN];
	watch_pipe_put_command(command, ++h->nonce);
	assert_int_equal(write(h->commands, command, sizeof(command)), sizeof(command));
	harness_take_until(h, WATCH_FENCE);
}

void harness_forget(struct harness *h)
{
	free(h->log);
	h->log = NULL;
	h->log_len = 0;
}

bool harness_saw(const struct harness *h, const char *line)
{
	char text[WATCH_PATH_MAX + WATCH_TEXT_MAX + 64];
	snprintf(text, sizeof(text), "\n%s\n", line);
	if (!h->log)
		return false;
	return strncmp(h->log, text + 1, strlen(text) - 1) == 0 || strstr(h->log, text);
}

static bool line_covers(char *line, const char *path)
{
	char *rest = strchr(line, ' ');
	if (!rest)
		return false;
	*rest++ = '\0';
	char *end = strcmp(line, "SUBTREE") == 0 ? strchr(rest, ' ') : strrchr(rest, ' ');
	if (!end)
		return false;
	*end = '\0';
	if (strcmp(line, "CHANGED") == 0)
		return strcmp(rest, path) == 0;
	return strcmp(line, "SUBTREE") == 0 && at_or_beneath(path, rest);
}

bool harness_saw_path(const struct harness *h, const char *path)
{
	AUTO_FREE char *copy = x_strdup(h->log ? h->log : "");
	char *state = NULL;
	for (char *line = strtok_r(copy, "\n", &state); line; line = strtok_r(NULL, "\n", &state)) {
		if (line_covers(line, path))
			return true;
	}
	return false;
}

/* ---- the child ---- */

void harness_init(struct harness *h)
{
	*h = (struct harness){.root_fd = -1, .commands = -1, .records = -1};
	strcpy(h->dir, "/tmp/watch-test-XXXXXX");
	assert_non_null(mkdtemp(h->dir));
	snprintf(h->tree, sizeof(h->tree), "%s/outside", h->dir);
	assert_int_equal(mkdir(h->tree, 0755), 0);
	snprintf(h->tree, sizeof(h->tree), "%s/tree", h->dir);
	assert_int_equal(mkdir(h->tree, 0755), 0);
	h->root_fd = open(h->tree, O_RDONLY | O_DIRECTORY);
	assert_true(h->root_fd >= 0);
}

static bool put_text(const char *path, const char *text)
{
	AUTO_CLOSE int fd = open(path, O_WRONLY);
	return fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);
}

/* In the child-to-be: a namespace of its own, in which the limit is lowered. */
static bool lower_limit(const char *limit, unsigned value)
{
	char path[80], text[16];
	char map[32];
	snprintf(map, sizeof(map), "0 %u 1", geteuid());
	if (unshare(CLONE_NEWUSER) < 0 || !put_text("/proc/self/uid_map", map))
		return false;
	snprintf(path, sizeof(path), "/proc/sys/user/%s", limit);
	snprintf(text, sizeof(text), "%u", value);
	return put_text(path, text);
}

#define NOT_ALLOWED 77

static void start(struct harness *h, const char *limit, unsigned value)
{
	int in[2], out[2];
	char argument[16];
	assert_int_equal(pipe2(in, O_CLOEXEC), 0);
	assert_int_equal(pipe2(out, O_CLOEXEC), 0);
	snprintf(argument, sizeof(argument), "%d:", h->root_fd);
	h->pid = fork();
	assert_true(h->pid >= 0);
	if (h->pid == 0) {
		dup2(in[0], 0);
		dup2(out[1], 1);
		if (limit && !lower_limit(limit, value))
			_exit(NOT_ALLOWED);
		execl(WATCH_CHILD, WATCH_CHILD, argument, NULL);
		_exit(126);
	}
	close(in[0]);
	close(out[1]);
	h->commands = in[1];
	h->records = out[0];
}

void harness_start(struct harness *h)
{
	start(h, NULL, 0);
	harness_take_until(h, WATCH_READY);
}

bool harness_start_limited(struct harness *h, const char *limit, unsigned value)
{
	int status;
	start(h, limit, value);
	struct pollfd fd = {.fd = h->records, .events = POLLIN};
	poll(&fd, 1, DEADLINE_MS);
	/* Only the end closes the pipe without a word; it may be seen before it can be waited for.
	 */
	if (waitpid(h->pid, &status, fd.revents & POLLIN ? WNOHANG : 0) == h->pid) {
		h->pid = 0;
		assert_int_equal(WEXITSTATUS(status), NOT_ALLOWED);
		return false;
	}
	harness_take_until(h, WATCH_READY);
	return true;
}

int harness_stop(struct harness *h)
{
	int status = 0;
	close(h->commands);
	h->commands = -1;
	if (h->pid > 0)
		waitpid(h->pid, &status, 0);
	h->pid = 0;
	return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

void harness_release(struct harness *h)
{
	if (h->pid > 0) {
		kill(h->pid, SIGCONT);
		assert_int_equal(harness_stop(h), 0);
	}
	if (h->records >= 0)
		close(h->records);
	close(h->root_fd);
	mirror_remove(h, "");
	harness_forget(h);
	buf_release(&h->received);
	remove_all(h->dir);
}

/* ---- helpers ---- */

const char *harness_path(const struct harness *h, const char *rel)
{
	static char paths[8][WATCH_PATH_MAX + 100];
	static unsigned next;
	char *path = paths[next++ % 8];
	snprintf(path, sizeof(paths[0]), "%s%s%s", h->tree, *rel ? "/" : "", rel);
	return path;
}

void make_directories(struct harness *h, const char *rel)
{
	char part[WATCH_PATH_MAX + 1];
	for (size_t i = 1; i <= strlen(rel); i++) {
		if (rel[i] && rel[i] != '/')
			continue;
		snprintf(part, i + 1, "%s", rel);
		if (mkdir(harness_path(h, part), 0755) < 0 && errno != EEXIST)
			fail_msg("mkdir %s: %s", part, strerror(errno));
	}
}

void write_file(struct harness *h, const char *rel, const char *text)
{
	AUTO_CLOSE int fd = open(harness_path(h, rel), O_WRONLY | O_CREAT | O_APPEND, 0644);
	if (fd < 0 || write(fd, text, strlen(text)) < 0)
		fail_msg("write %s: %s", rel, strerror(errno));
}

void move(struct harness *h, const char *from, const char *to)
{
	if (rename(harness_path(h, from), harness_path(h, to)) < 0)
		fail_msg("rename %s %s: %s", from, to, strerror(errno));
}

static int on_remove(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	remove(path);
	return 0;
}

void remove_all(const char *absolute)
{
	nftw(absolute, on_remove, 32, FTW_PHYS | FTW_DEPTH);
}

long resident_kb(pid_t pid)
{
	char path[32], line[128];
	long kb = -1;
	snprintf(path, sizeof(path), "/proc/%d/status", pid);
	FILE *f = fopen(path, "re");
	while (f && fgets(line, sizeof(line), f))
		sscanf(line, "VmRSS: %ld", &kb);
	if (f)
		fclose(f);
	return kb;
}
