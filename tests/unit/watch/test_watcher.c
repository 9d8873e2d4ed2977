/* The agent's end: starts the child, hands on what it says, survives its death, and ends. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/base/alloc.h"
#include "agent/base/clock.h"
#include "agent/base/log.h"
#include "agent/watch/watcher.h"

#define DEADLINE_MS 20000

struct fixture {
	uv_loop_t loop;
	uv_timer_t deadline;
	char dir[64];
	struct root roots[2];
	struct tree tree;
	struct watcher *w;
	int n_ready, n_subtrees_of_all, n_fenced, n_suspect, n_closed;
	uint64_t fenced;
	bool complete;
	char suspect[64];
	char changed[256]; /* the last path */
	char subtree[256];
	enum watch_hint hint;
	const char *wanted; /* until changed is that */
	bool seen_wanted;
};

static void on_changed(void *owner, const char *path, enum watch_hint hint)
{
	struct fixture *f = owner;
	snprintf(f->changed, sizeof(f->changed), "%s", path);
	f->hint = hint;
	f->seen_wanted = f->seen_wanted || (f->wanted && strcmp(path, f->wanted) == 0);
}

static void on_subtree(void *owner, const char *path, const char *why)
{
	struct fixture *f = owner;
	assert_true(strlen(why) > 0);
	f->n_subtrees_of_all += path[0] == '\0';
	snprintf(f->subtree, sizeof(f->subtree), "%s", path);
}

static void on_ready(void *owner)
{
	struct fixture *f = owner;
	f->n_ready++;
}

static void on_fenced(void *owner, uint64_t nonce, bool complete)
{
	struct fixture *f = owner;
	f->n_fenced++;
	f->fenced = nonce;
	f->complete = complete;
}

static void on_root_suspect(void *owner, const char *at)
{
	struct fixture *f = owner;
	f->n_suspect++;
	snprintf(f->suspect, sizeof(f->suspect), "%s", at);
}

static void on_closed(void *owner)
{
	struct fixture *f = owner;
	f->n_closed++;
}

static const struct watcher_events handlers = {
	.changed = on_changed,
	.subtree = on_subtree,
	.ready = on_ready,
	.fenced = on_fenced,
	.root_suspect = on_root_suspect,
	.closed = on_closed,
};

static void on_deadline(uv_timer_t *timer)
{
	fail_msg("nothing happened for %d ms", DEADLINE_MS);
}

/* Runs the loop until *count reaches n. */
static void run_until(struct fixture *f, const int *count, int n)
{
	uv_timer_start(&f->deadline, on_deadline, DEADLINE_MS, 0);
	while (*count < n)
		uv_run(&f->loop, UV_RUN_ONCE);
	uv_timer_stop(&f->deadline);
}

static void fence(struct fixture *f, uint64_t nonce)
{
	int before = f->n_fenced;
	watcher_fence(f->w, nonce);
	assert_int_equal(f->n_fenced, before); /* never from inside */
	run_until(f, &f->n_fenced, before + 1);
	assert_true(f->fenced == nonce);
}

static void add_root(struct fixture *f, const char *name, char *at)
{
	char path[128];
	snprintf(path, sizeof(path), "%s/%s", f->dir, name);
	assert_int_equal(mkdir(path, 0755), 0);
	struct root *root = &f->roots[f->tree.n++];
	root->at = at;
	root->fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	root->healthy = root->fd >= 0;
}

static void make_file(struct fixture *f, const char *rel)
{
	char path[128];
	snprintf(path, sizeof(path), "%s/%s", f->dir, rel);
	AUTO_CLOSE int fd = open(path, O_WRONLY | O_CREAT, 0644);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, "x", 1), 1);
}

static int set_up(void **state)
{
	struct fixture *f = x_calloc(1, sizeof(*f));
	log_init(LOG_FORMAT_TEXT, LOG_LEVEL_ERROR);
	setenv("ARTIFACT_SYNC_WATCH", WATCH_CHILD, 1);
	uv_loop_init(&f->loop);
	uv_timer_init(&f->loop, &f->deadline);
	strcpy(f->dir, "/tmp/watcher-test-XXXXXX");
	assert_non_null(mkdtemp(f->dir));
	f->tree.roots = f->roots;
	add_root(f, "tree", "");
	add_root(f, "linked", "deployment/tenants");
	*state = f;
	return 0;
}

static void start(struct fixture *f)
{
	struct err err = {0};
	struct watcher_events events = handlers;
	events.owner = f;
	assert_int_equal(watcher_start(&f->w, &f->loop, &f->tree, &events, &err), 0);
	assert_int_equal(f->n_ready, 0);
	run_until(f, &f->n_ready, 1);
}

static int set_up_started(void **state)
{
	set_up(state);
	start(*state);
	return 0;
}

static int on_remove(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	return remove(path);
}

static int tear_down(void **state)
{
	struct fixture *f = *state;
	if (f->w) {
		watcher_close(f->w);
		run_until(f, &f->n_closed, 1);
	}
	uv_close((uv_handle_t *)&f->deadline, NULL);
	uv_run(&f->loop, UV_RUN_DEFAULT);
	assert_int_equal(uv_loop_close(&f->loop), 0);
	for (size_t i = 0; i < f->tree.n; i++)
		close(f->roots[i].fd);
	nftw(f->dir, on_remove, 16, FTW_PHYS | FTW_DEPTH);
	free(f);
	return 0;
}

/* Our only child process. */
static pid_t child_pid(void)
{
	char path[64];
	int pid = 0;
	snprintf(path, sizeof(path), "/proc/self/task/%d/children", getpid());
	FILE *file = fopen(path, "re");
	assert_non_null(file);
	assert_int_equal(fscanf(file, "%d", &pid), 1);
	fclose(file);
	return pid;
}

static void changes_arrive_with_their_path_in_the_tree(void **state)
{
	struct fixture *f = *state;
	struct watcher_counts counts;
	assert_int_equal(f->n_subtrees_of_all, 2); /* the child's and ours */
	f->wanted = "f";
	make_file(f, "tree/f");
	fence(f, 1);
	assert_true(f->seen_wanted && f->complete);
	f->seen_wanted = false;
	f->wanted = "deployment/tenants/f";
	make_file(f, "linked/f");
	fence(f, UINT64_MAX);
	assert_true(f->seen_wanted);
	watcher_counts(f->w, &counts);
	assert_true(counts.running && counts.complete);
	assert_int_equal(counts.directories, 2);
	assert_int_equal(counts.restarts, 0);
	assert_string_equal(counts.limit, "");
}

static void a_dead_child_is_started_again_and_all_is_dirty(void **state)
{
	struct fixture *f = *state;
	struct watcher_counts counts;
	for (int round = 1; round <= 3; round++) {
		int subtrees = f->n_subtrees_of_all;
		pid_t pid = child_pid();
		kill(pid, SIGKILL);
		run_until(f, &f->n_ready, 1 + round);
		assert_true(f->n_subtrees_of_all > subtrees);
		assert_int_not_equal(child_pid(), pid);
		watcher_counts(f->w, &counts);
		assert_int_equal(counts.restarts, round);
		assert_true(counts.complete);
	}
	f->wanted = "f";
	make_file(f, "tree/f");
	fence(f, 5);
	assert_true(f->seen_wanted && f->complete);
}

static void fences_under_way_are_answered_when_the_child_dies(void **state)
{
	struct fixture *f = *state;
	kill(child_pid(), SIGSTOP);
	watcher_fence(f->w, 1);
	watcher_fence(f->w, 2);
	int subtrees = f->n_subtrees_of_all;
	kill(child_pid(), SIGKILL);
	run_until(f, &f->n_fenced, 2);
	assert_true(f->n_subtrees_of_all > subtrees);
	assert_false(f->complete);
	fence(f, 3); /* nobody is there yet */
	assert_false(f->complete);
	run_until(f, &f->n_ready, 2);
	fence(f, 4);
	assert_true(f->complete);
}

static void a_lost_root_is_named(void **state)
{
	struct fixture *f = *state;
	char path[128];
	snprintf(path, sizeof(path), "%s/linked", f->dir);
	assert_int_equal(rmdir(path), 0);
	run_until(f, &f->n_suspect, 1);
	assert_string_equal(f->suspect, "deployment/tenants");
	/* The owner looks, finds it unhealthy, and goes on with the rest. */
	f->roots[1].healthy = false;
	watcher_restart(f->w, &f->tree);
	run_until(f, &f->n_ready, 2);
	fence(f, 1);
	struct watcher_counts counts;
	watcher_counts(f->w, &counts);
	assert_int_equal(counts.directories, 1);
	assert_int_equal(counts.restarts, 0);
}

static void without_a_healthy_root_nothing_is_watched(void **state)
{
	struct fixture *f = *state;
	struct watcher_counts counts;
	f->roots[0].healthy = f->roots[1].healthy = false;
	watcher_restart(f->w, &f->tree);
	fence(f, 1);
	assert_false(f->complete);
	watcher_counts(f->w, &counts);
	assert_false(counts.running || counts.complete);
	assert_true(strlen(counts.limit) > 0);
	f->roots[0].healthy = true;
	watcher_restart(f->w, &f->tree);
	run_until(f, &f->n_ready, 2);
	fence(f, 2);
	assert_true(f->complete);
}

static void a_restart_answers_fences(void **state)
{
	struct fixture *f = *state;
	kill(child_pid(), SIGSTOP);
	watcher_fence(f->w, 1);
	watcher_restart(f->w, &f->tree);
	run_until(f, &f->n_fenced, 1);
	assert_false(f->complete);
	run_until(f, &f->n_ready, 2);
}

static void a_missing_program_is_an_error_at_the_start(void **state)
{
	struct fixture *f = *state;
	struct err err = {0};
	struct watcher_events events = handlers;
	events.owner = f;
	setenv("ARTIFACT_SYNC_WATCH", "/nowhere/artifact-sync-watch", 1);
	assert_int_equal(watcher_start(&f->w, &f->loop, &f->tree, &events, &err), -ENOENT);
	assert_non_null(strstr(err.msg, "/nowhere/artifact-sync-watch"));
	assert_non_null(strstr(err.msg, "ARTIFACT_SYNC_WATCH"));
	assert_null(f->w);
	unsetenv("ARTIFACT_SYNC_WATCH"); /* then it is looked for beside this program */
	assert_int_equal(watcher_start(&f->w, &f->loop, &f->tree, &events, &err), -ENOENT);
	assert_non_null(strstr(err.msg, "tests/unit/watch"));
}

static void a_child_that_talks_nonsense_is_replaced(void **state)
{
	struct fixture *f = *state;
	struct watcher_counts counts = {0};
	setenv("ARTIFACT_SYNC_WATCH", "/bin/echo", 1); /* prints its arguments */
	struct err err = {0};
	struct watcher_events events = handlers;
	events.owner = f;
	assert_int_equal(watcher_start(&f->w, &f->loop, &f->tree, &events, &err), 0);
	uv_timer_start(&f->deadline, on_deadline, DEADLINE_MS, 0);
	while (counts.restarts < 2) {
		uv_run(&f->loop, UV_RUN_ONCE);
		watcher_counts(f->w, &counts);
	}
	uv_timer_stop(&f->deadline);
	assert_false(counts.running);
	fence(f, 1);
	assert_false(f->complete);
}

static void it_ends_at_once_even_with_a_stopped_child(void **state)
{
	struct fixture *f = *state;
	uint64_t took = UINT64_MAX;
	/* Whoever is held up is so now and then, and one that waits for the child each time. */
	for (int round = 0; took >= 1000 && round < 5; round++) {
		if (round > 0) {
			f->n_ready = f->n_closed = 0;
			start(f);
		}
		kill(child_pid(), SIGSTOP);
		watcher_fence(f->w, 1);
		uint64_t begin = clock_mono_ms();
		watcher_close(f->w);
		f->w = NULL;
		run_until(f, &f->n_closed, 1);
		took = clock_mono_ms() - begin;
		assert_int_equal(f->n_fenced, 0); /* no event follows but closed */
		print_message("%d ms\n", (int)took);
	}
	assert_true(took < 1000);
}

#define STARTED(test) cmocka_unit_test_setup_teardown(test, set_up_started, tear_down)
#define NOT_STARTED(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		STARTED(changes_arrive_with_their_path_in_the_tree),
		STARTED(a_dead_child_is_started_again_and_all_is_dirty),
		STARTED(fences_under_way_are_answered_when_the_child_dies),
		STARTED(a_lost_root_is_named),
		STARTED(without_a_healthy_root_nothing_is_watched),
		STARTED(a_restart_answers_fences),
		NOT_STARTED(a_missing_program_is_an_error_at_the_start),
		NOT_STARTED(a_child_that_talks_nonsense_is_replaced),
		STARTED(it_ends_at_once_even_with_a_stopped_child),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
