/* artifact-sync-watch against a real kernel: whatever is done to the tree, after a fence an agent
 * that looked only where it was told to look knows the tree. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "agent/base/alloc.h"
#include "agent/base/clock.h"
#include "tests/unit/watch/child_harness.h"

static int set_up(void **state)
{
	static struct harness harness;
	harness_init(&harness);
	*state = &harness;
	return 0;
}

static int set_up_started(void **state)
{
	set_up(state);
	harness_start(*state);
	return 0;
}

static int tear_down(void **state)
{
	harness_release(*state);
	return 0;
}

static void assert_nothing_lost(struct harness *h)
{
	harness_fence(h);
	assert_true(h->fence_was_complete);
	assert_int_equal(harness_differences(h), 0);
}

static void what_is_there_at_the_start_is_watched(void **state)
{
	struct harness *h = *state;
	make_directories(h, "a/b/c");
	make_directories(h, "d");
	harness_start(h);
	assert_true(harness_saw(h, "SUBTREE  watching begins"));
	assert_int_equal(h->counts.directories, 5);
	assert_int_equal(h->counts.watched, 5);
	assert_string_equal(h->counts.text, "");
	harness_forget(h);
	write_file(h, "a/b/c/f", "x");
	harness_fence(h);
	assert_true(harness_saw_path(h, "a/b/c/f"));
	assert_true(harness_saw(h, "CHANGED a/b/c settled"));
	assert_nothing_lost(h);
}

static void hints_tell_open_from_settled(void **state)
{
	struct harness *h = *state;
	int fd = open(harness_path(h, "slow"), O_WRONLY | O_CREAT, 0644);
	harness_fence(h);
	assert_true(harness_saw(h, "CHANGED slow settled"));
	harness_forget(h);
	assert_int_equal(write(fd, "x", 1), 1);
	harness_fence(h);
	assert_true(harness_saw(h, "CHANGED slow open"));
	harness_forget(h);
	assert_int_equal(write(fd, "x", 1), 1);
	harness_fence(h); /* a fence does not wait for the rest of a busy path */
	assert_true(harness_saw(h, "CHANGED slow open"));
	harness_forget(h);
	close(fd);
	harness_fence(h);
	assert_true(harness_saw(h, "CHANGED slow settled"));
	assert_nothing_lost(h);
}

static void a_file_that_is_linked_in_is_settled(void **state)
{
	struct harness *h = *state;
	char proc[32];
	int fd = open(h->tree, O_WRONLY | O_TMPFILE, 0644);
	if (fd < 0)
		skip(); /* not on this file system */
	assert_int_equal(write(fd, "x", 1), 1);
	snprintf(proc, sizeof(proc), "/proc/self/fd/%d", fd);
	assert_int_equal(linkat(AT_FDCWD, proc, AT_FDCWD, harness_path(h, "f"), AT_SYMLINK_FOLLOW),
			 0);
	close(fd);
	harness_fence(h);
	assert_true(harness_saw(h, "CHANGED f settled"));
	assert_nothing_lost(h);
}

static void our_own_directory_is_not_seen(void **state)
{
	struct harness *h = *state;
	make_directories(h, ".artifact-sync/stage");
	write_file(h, ".artifact-sync/stage/f", "x");
	write_file(h, "f", "x");
	assert_nothing_lost(h); /* the mirror refuses records about it */
	assert_true(harness_saw(h, "CHANGED f settled"));
	assert_int_equal(h->counts.directories, 1);
}

static void strange_names_come_through(void **state)
{
	struct harness *h = *state;
	char name[256];
	memset(name, 'n', 255);
	name[255] = '\0';
	make_directories(h, "a\nb");
	write_file(h, "a\nb/\xff\x01", "x");
	write_file(h, name, "x");
	assert_nothing_lost(h);
}

/* mkdir -p a/b/c; > a/b/c/f, over and over: the classic race of every recursive watcher. */
static void no_file_is_lost_in_new_directories(void **state)
{
	struct harness *h = *state;
	pid_t writer = fork();
	if (writer == 0) {
		for (int i = 0; i < 1500; i++) {
			char path[64];
			snprintf(path, sizeof(path), "d%d/b/c", i);
			make_directories(h, path);
			strcat(path, "/f");
			write_file(h, path, "x");
		}
		_exit(0);
	}
	while (waitpid(writer, NULL, WNOHANG) == 0)
		harness_take_available(h);
	assert_nothing_lost(h);
	assert_int_equal(h->counts.watched, 1 + 3 * 1500);
}

static void a_renamed_directory_reports_its_new_name(void **state)
{
	struct harness *h = *state;
	make_directories(h, "old/deep/er");
	make_directories(h, "other");
	harness_fence(h);
	move(h, "old", "other/new");
	harness_fence(h);
	assert_true(harness_saw_path(h, "old/deep"));
	assert_true(harness_saw_path(h, "other/new/deep"));
	harness_forget(h);
	write_file(h, "other/new/deep/er/f", "x");
	harness_fence(h);
	assert_true(harness_saw(h, "CHANGED other/new/deep/er/f settled"));
	assert_false(harness_saw_path(h, "old/deep/er/f"));
	make_directories(h, "old/deep/er"); /* the old name is another directory now */
	write_file(h, "old/deep/er/g", "x");
	assert_nothing_lost(h);
	assert_int_equal(h->counts.watched, 8);
}

static void exchanged_directories_change_places(void **state)
{
	struct harness *h = *state;
	make_directories(h, "a/x");
	make_directories(h, "b/y/z");
	harness_fence(h);
	assert_int_equal(renameat2(AT_FDCWD, harness_path(h, "a"), AT_FDCWD, harness_path(h, "b"),
				   RENAME_EXCHANGE),
			 0);
	assert_nothing_lost(h);
	harness_forget(h);
	write_file(h, "a/y/z/f", "x");
	write_file(h, "b/x/g", "x");
	harness_fence(h);
	assert_true(harness_saw(h, "CHANGED a/y/z/f settled"));
	assert_true(harness_saw(h, "CHANGED b/x/g settled"));
	assert_nothing_lost(h);
}

static void a_directory_moved_out_is_let_go_and_moved_in_is_taken(void **state)
{
	struct harness *h = *state;
	make_directories(h, "a/b/c");
	write_file(h, "a/b/c/f", "x");
	assert_nothing_lost(h);
	assert_int_equal(h->counts.watched, 4);
	move(h, "a", "../outside/a");
	assert_nothing_lost(h);
	assert_int_equal(h->counts.watched, 1);
	harness_forget(h);
	write_file(h, "../outside/a/b/c/g", "x");
	harness_fence(h);
	assert_false(harness_saw_path(h, "a/b/c/g"));
	move(h, "../outside/a", "back");
	harness_fence(h);
	harness_forget(h);
	write_file(h, "back/b/c/g", "x");
	harness_fence(h);
	assert_true(harness_saw(h, "CHANGED back/b/c/g settled"));
	assert_nothing_lost(h);
	assert_int_equal(h->counts.watched, 4);
}

static void what_is_removed_is_reported_name_by_name(void **state)
{
	struct harness *h = *state;
	char name[32];
	for (int i = 0; i < 50; i++) {
		snprintf(name, sizeof(name), "a/d%d/e", i);
		make_directories(h, name);
		strcat(name, "/f");
		write_file(h, name, "x");
	}
	assert_nothing_lost(h);
	harness_forget(h);
	remove_all(harness_path(h, "a"));
	assert_nothing_lost(h);
	assert_true(harness_saw_path(h, "a/d7/e/f"));
	assert_int_equal(h->counts.watched, 1);
}

static void a_directory_that_becomes_a_link_is_let_go(void **state)
{
	struct harness *h = *state;
	make_directories(h, "a/b");
	make_directories(h, "target");
	harness_fence(h);
	remove_all(harness_path(h, "a"));
	assert_int_equal(symlink("target", harness_path(h, "a")), 0);
	assert_nothing_lost(h);
	assert_int_equal(h->counts.watched, 2);
}

/* ---- a storm ---- */

static unsigned roll(unsigned *seed, unsigned sides)
{
	return (unsigned)rand_r(seed) % sides;
}

/* A random path of one to four short components, so that paths meet often. */
static const char *random_path(const struct harness *h, unsigned *seed)
{
	char rel[32] = "";
	unsigned depth = 1 + roll(seed, 4);
	for (unsigned i = 0; i < depth; i++)
		sprintf(rel + strlen(rel), "%s%c", i ? "/" : "", 'a' + (char)roll(seed, 4));
	return harness_path(h, rel);
}

static void random_write(const char *path, unsigned *seed)
{
	AUTO_CLOSE int fd =
		open(path, O_WRONLY | O_CREAT | O_APPEND | (roll(seed, 4) ? 0 : O_TRUNC), 0644);
	if (fd >= 0 && write(fd, "storm", roll(seed, 6)) < 0)
		return;
}

/* One change; most fail because something is in the way, which is fine. */
static void random_change(const struct harness *h, unsigned *seed)
{
	const char *path = random_path(h, seed), *other = random_path(h, seed);
	char outside[100];
	snprintf(outside, sizeof(outside), "%s/outside/%u", h->dir, roll(seed, 3));
	switch (roll(seed, 14)) {
	case 0:
	case 1:
	case 2:
	case 3: mkdir(path, 0755); break;
	case 4:
	case 5:
	case 6: random_write(path, seed); break;
	case 7: rename(path, other); break;
	case 8: renameat2(AT_FDCWD, path, AT_FDCWD, other, RENAME_EXCHANGE); break;
	case 9: rename(path, outside); break;
	case 10: rename(outside, path); break;
	case 11: chmod(path, roll(seed, 2) ? 0755 : 0700); break;
	case 12: unlink(path); break;
	case 13:
		if (roll(seed, 8) == 0)
			remove_all(path);
		else
			rmdir(path);
		break;
	}
}

/* Three processes at once. With `overflow` the child is held until the first of them is done, and
 * more has happened than the kernel remembers. */
static void storm(struct harness *h, unsigned seed, int changes, bool overflow)
{
	pid_t writers[3];
	for (unsigned i = 0; i < ARRAY_LEN(writers); i++) {
		writers[i] = fork();
		if (writers[i] == 0) {
			unsigned own = seed + i;
			for (int n = 0; n < changes; n++)
				random_change(h, &own);
			_exit(0);
		}
	}
	if (overflow) {
		kill(h->pid, SIGSTOP);
		for (int i = 0; i < 9000; i++) /* three events each, of 16384 */
			write_file(h, i % 2 ? "one" : "other", "x");
		waitpid(writers[0], NULL, 0);
		kill(h->pid, SIGCONT);
	}
	for (unsigned i = overflow ? 1 : 0; i < ARRAY_LEN(writers); i++) {
		while (waitpid(writers[i], NULL, WNOHANG) == 0)
			harness_take_available(h);
	}
}

static void a_storm_loses_nothing(void **state)
{
	struct harness *h = *state;
	unsigned seed = (unsigned)time(NULL);
	for (unsigned round = 0; round < 4; round++) {
		bool overflow = round == 3;
		print_message("seed %u round %u\n", seed, round);
		storm(h, seed + 100 * round, 6000, overflow);
		assert_nothing_lost(h);
		harness_forget(h);
	}
	print_message("%d records, %d overflows\n", (int)h->n_records, (int)h->counts.overflows);
	assert_true(h->counts.overflows > 0);
}

/* ---- limits ---- */

static void an_overflow_is_a_scan_of_everything(void **state)
{
	struct harness *h = *state;
	make_directories(h, "a/b");
	harness_fence(h);
	harness_forget(h);
	kill(h->pid, SIGSTOP);
	for (int i = 0; i < 9000; i++) { /* CREATE, MODIFY, CLOSE_WRITE each, of 16384 */
		char name[32];
		snprintf(name, sizeof(name), "a/b/f%d", i);
		write_file(h, name, "x");
	}
	make_directories(h, "a/late/er");
	kill(h->pid, SIGCONT);
	assert_nothing_lost(h);
	assert_true(harness_saw(h, "SUBTREE  overflow"));
	assert_int_equal(h->counts.overflows, 1);
	harness_forget(h);
	write_file(h, "a/late/er/f", "x"); /* a directory whose creation was never announced */
	assert_nothing_lost(h);
	assert_true(harness_saw(h, "CHANGED a/late/er/f settled"));
}

static void past_the_watch_limit_it_says_what_to_raise(void **state)
{
	struct harness *h = *state;
	char name[32];
	for (int i = 0; i < 30; i++) {
		snprintf(name, sizeof(name), "d%02d", i);
		make_directories(h, name);
	}
	if (!harness_start_limited(h, "max_inotify_watches", 20))
		skip(); /* no user namespaces here */
	assert_int_equal(h->counts.directories, 31);
	assert_int_equal(h->counts.watched, 20);
	assert_non_null(strstr(h->counts.text, "11 of 31"));
	assert_non_null(strstr(h->counts.text, "sysctl fs.inotify.max_user_watches="));
	harness_fence(h);
	assert_false(h->fence_was_complete);
	/* Remove 15 of them, among them watched ones: the rest takes over their watches. */
	for (int i = 0; i < 15; i++) {
		snprintf(name, sizeof(name), "d%02d", i);
		remove_all(harness_path(h, name));
	}
	while (h->counts.watched != 16 || h->counts.directories != 16)
		harness_take_until(h, WATCH_COUNTS);
	assert_string_equal(h->counts.text, "");
	harness_forget(h);
	for (int i = 15; i < 30; i++) {
		snprintf(name, sizeof(name), "d%02d/f", i);
		write_file(h, name, "x");
	}
	assert_nothing_lost(h);
}

static void without_inotify_it_says_so_and_lives_on(void **state)
{
	struct harness *h = *state;
	if (!harness_start_limited(h, "max_inotify_instances", 0))
		skip();
	assert_non_null(strstr(h->counts.text, "sysctl fs.inotify.max_user_instances="));
	assert_int_equal(h->counts.watched, 0);
	harness_fence(h);
	assert_false(h->fence_was_complete);
}

static void an_unreadable_directory_is_not_watched_but_retried(void **state)
{
	struct harness *h = *state;
	if (geteuid() == 0)
		skip(); /* nothing is unreadable */
	make_directories(h, "a");
	chmod(harness_path(h, "a"), 0);
	harness_start(h);
	assert_int_equal(h->counts.watched, 1);
	chmod(harness_path(h, "a"), 0755);
	harness_fence(h);
	assert_true(h->fence_was_complete);
}

/* ---- the pipe ---- */

static void a_fence_comes_after_what_was_before_it(void **state)
{
	struct harness *h = *state;
	char name[32];
	for (int i = 0; i < 200; i++) {
		snprintf(name, sizeof(name), "d%d", i);
		make_directories(h, name);
		strcat(name, "/f");
		write_file(h, name, "x");
		harness_fence(h);
		assert_true(harness_saw_path(h, name));
		harness_forget(h);
	}
}

static void a_busy_file_does_not_flood_the_pipe(void **state)
{
	struct harness *h = *state;
	uint64_t begin = clock_mono_ms(), before = h->n_records;
	int fd = open(harness_path(h, "log"), O_WRONLY | O_CREAT, 0644);
	for (int i = 0; i < 50000; i++) {
		assert_int_equal(pwrite(fd, "x", 1, 0), 1);
		if (i % 100 == 0)
			harness_take_available(h);
	}
	close(fd);
	harness_fence(h);
	uint64_t periods = (clock_mono_ms() - begin) / 50;
	assert_true(h->n_records - before < periods + 10);
	assert_nothing_lost(h);
}

/* Nobody reads while more names change than are kept: draining goes on, and one word says it all.
 */
static void a_backlog_collapses_instead_of_growing(void **state)
{
	struct harness *h = *state;
	make_directories(h, "d");
	harness_fence(h);
	uint64_t before = h->n_records;
	for (int i = 0; i < 80000; i++) {
		char name[32];
		snprintf(name, sizeof(name), "d/a-rather-long-name-%d", i);
		assert_int_equal(mknod(harness_path(h, name), S_IFREG | 0644, 0), 0);
	}
	assert_nothing_lost(h);
	assert_true(h->n_records - before < 70000);
	assert_true(harness_saw(h, "SUBTREE  backlog") || h->counts.overflows > 0);
}

/* ---- the end ---- */

static void a_lost_root_is_suspect(void **state)
{
	struct harness *h = *state;
	move(h, "", "../moved");
	harness_take_until(h, WATCH_ROOT_SUSPECT);
	harness_fence(h);
	harness_forget(h);
	char moved[100];
	snprintf(moved, sizeof(moved), "%s/moved", h->dir);
	remove_all(moved);
	harness_take_until(h, WATCH_ROOT_SUSPECT);
}

static void it_ends_when_its_input_does(void **state)
{
	struct harness *h = *state;
	for (int i = 0; i < 2000; i++) {
		char name[32];
		snprintf(name, sizeof(name), "d%d", i);
		make_directories(h, name);
	}
	harness_fence(h);
	uint64_t begin = clock_mono_ms();
	assert_int_equal(harness_stop(h), 0);
	print_message("%d ms\n", (int)(clock_mono_ms() - begin));
	assert_true(clock_mono_ms() - begin < 10000);
}

#if defined(__SANITIZE_ADDRESS__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SANITIZED 1
#endif
#endif
#ifndef SANITIZED
#define SANITIZED 0 /* a sanitizer keeps what was freed for a while */
#endif

/* A hundred at a time, each of which is watched before it goes. */
static void make_and_remove(struct harness *h, int times)
{
	char name[32];
	for (int i = 0; i < times; i += 100) {
		for (int k = 0; k < 100; k++) {
			snprintf(name, sizeof(name), "d%d", i + k);
			make_directories(h, name);
		}
		harness_fence(h);
		assert_int_equal(h->counts.watched, 101);
		for (int k = 0; k < 100; k++) {
			snprintf(name, sizeof(name), "d%d", i + k);
			assert_int_equal(rmdir(harness_path(h, name)), 0);
		}
		harness_fence(h);
		harness_forget(h);
	}
}

static void directories_that_come_and_go_cost_nothing(void **state)
{
	struct harness *h = *state;
	make_and_remove(h, 2000);
	long before = resident_kb(h->pid);
	make_and_remove(h, 8000);
	long after = resident_kb(h->pid);
	print_message("%ld KiB, after 8000 more %ld KiB\n", before, after);
	assert_true(SANITIZED || after - before < 200);
	assert_int_equal(h->counts.watched, 1);
}

/* ---- mounts; in a namespace of our own, so these come last ---- */

static bool put_text(const char *path, const char *text)
{
	AUTO_CLOSE int fd = open(path, O_WRONLY);
	return fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);
}

static bool can_mount(void)
{
	char map[32];
	snprintf(map, sizeof(map), "0 %u 1", geteuid());
	if (unshare(CLONE_NEWNS) < 0 &&
	    (unshare(CLONE_NEWUSER | CLONE_NEWNS) < 0 || !put_text("/proc/self/uid_map", map)))
		return false;
	return mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0;
}

static void a_mount_beneath_the_tree_is_noticed(void **state)
{
	if (!can_mount())
		skip();
	set_up(state);
	struct harness *h = *state;
	make_directories(h, "a/b");
	harness_start(h);
	harness_forget(h);
	assert_int_equal(mount("none", harness_path(h, "a"), "tmpfs", 0, NULL), 0);
	harness_take_until(h, WATCH_ROOT_SUSPECT);
	harness_take_until(h, WATCH_SUBTREE);
	assert_true(harness_saw(h, "SUBTREE  mount"));
	harness_fence(h);
	assert_int_equal(h->counts.directories, 1); /* another file system is not ours to watch */
	harness_forget(h);
	assert_int_equal(umount(harness_path(h, "a")), 0);
	harness_take_until(h, WATCH_SUBTREE);
	harness_fence(h);
	assert_int_equal(h->counts.watched, 3);
	harness_forget(h);
	write_file(h, "a/b/f", "x"); /* came back without any event of its own */
	harness_fence(h);
	assert_true(harness_saw(h, "CHANGED a/b/f settled"));
	tear_down(state);
}

#define STARTED(test) cmocka_unit_test_setup_teardown(test, set_up_started, tear_down)
#define NOT_STARTED(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		NOT_STARTED(what_is_there_at_the_start_is_watched),
		STARTED(hints_tell_open_from_settled),
		STARTED(a_file_that_is_linked_in_is_settled),
		STARTED(our_own_directory_is_not_seen),
		STARTED(strange_names_come_through),
		STARTED(no_file_is_lost_in_new_directories),
		STARTED(a_renamed_directory_reports_its_new_name),
		STARTED(exchanged_directories_change_places),
		STARTED(a_directory_moved_out_is_let_go_and_moved_in_is_taken),
		STARTED(what_is_removed_is_reported_name_by_name),
		STARTED(a_directory_that_becomes_a_link_is_let_go),
		STARTED(a_storm_loses_nothing),
		STARTED(an_overflow_is_a_scan_of_everything),
		NOT_STARTED(past_the_watch_limit_it_says_what_to_raise),
		NOT_STARTED(without_inotify_it_says_so_and_lives_on),
		NOT_STARTED(an_unreadable_directory_is_not_watched_but_retried),
		STARTED(a_fence_comes_after_what_was_before_it),
		STARTED(a_busy_file_does_not_flood_the_pipe),
		STARTED(a_backlog_collapses_instead_of_growing),
		STARTED(a_lost_root_is_suspect),
		STARTED(it_ends_when_its_input_does),
		STARTED(directories_that_come_and_go_cost_nothing),
		cmocka_unit_test(a_mount_beneath_the_tree_is_noticed),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
