/* Publishing: what stood there is displaced, never lost; any failing call leaves the old or the
 * new; both with and without RENAME_EXCHANGE. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <cmocka.h>

#include "agent/base/fault.h"
#include "agent/fs/publish.h"
#include "tests/unit/fs/scratch.h"

#define STAGE "tree/.artifact-sync/stage/"
#define SALVAGE "tree/.artifact-sync/salvage/"

struct setting {
	char *dir;
	struct tree *tree;
	struct root *root;
};
static struct setting at;

static int enter(void **state)
{
	at.dir = scratch_enter();
	make_dir("tree");
	at.tree = open_prepared("tree");
	at.root = &at.tree->roots[0];
	return 0;
}

static int enter_without_exchange(void **state)
{
	enter(state);
	at.root->can_exchange = false;
	return 0;
}

static int leave(void **state)
{
	tree_free(at.tree);
	scratch_leave(at.dir);
	return 0;
}

static const char *staged(const char *temp)
{
	static char path[200];
	snprintf(path, sizeof(path), STAGE "%s", temp);
	return path;
}

static void stage_file(char temp[STAGE_NAME_MAX], const char *content)
{
	struct err err = {0};
	AUTO_CLOSE int fd = stage_create(temp, at.root, &err);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, content, strlen(content)), strlen(content));
}

static bool stage_is_empty(void)
{
	return count_entries("tree/.artifact-sync/stage") == 0;
}

static int publish(enum displaced *out, const char *temp, const char *sub,
		   const struct file_stat *expected)
{
	struct err err = {0};
	return publish_name(out, at.root, temp, sub, expected, &err);
}

static void a_free_name_is_taken(void **state)
{
	char temp[STAGE_NAME_MAX];
	enum displaced what;
	stage_file(temp, "new");
	assert_int_equal(publish(&what, temp, "f", NULL), 0);
	assert_int_equal(what, DISPLACED_NOTHING);
	assert_true(file_is("tree/f", "new"));
	assert_true(stage_is_empty());
}

static void what_was_expected_is_displaced(void **state)
{
	char temp[STAGE_NAME_MAX];
	enum displaced what;
	put_file("tree/f", "old");
	struct file_stat old = stat_of("tree/f");
	stage_file(temp, "new");
	assert_int_equal(publish(&what, temp, "f", &old), 0);
	assert_int_equal(what, DISPLACED_EXPECTED);
	assert_true(file_is("tree/f", "new"));
	assert_true(file_is(staged(temp), "old"));
}

static void foreign_content_lands_in_stage(void **state)
{
	char temp[STAGE_NAME_MAX];
	enum displaced what;
	put_file("tree/f", "old");
	struct file_stat old = stat_of("tree/f");
	put_file("tree/f", "local");
	stage_file(temp, "new");
	assert_int_equal(publish(&what, temp, "f", &old), 0);
	assert_int_equal(what, DISPLACED_UNKNOWN);
	assert_true(file_is("tree/f", "new"));
	assert_true(file_is(staged(temp), "local"));
	/* ... and when nothing at all was expected. */
	stage_file(temp, "newer");
	assert_int_equal(publish(&what, temp, "f", NULL), 0);
	assert_int_equal(what, DISPLACED_UNKNOWN);
	assert_true(file_is(staged(temp), "new"));
}

static void an_expected_object_may_be_gone(void **state)
{
	char temp[STAGE_NAME_MAX];
	enum displaced what;
	put_file("tree/f", "old");
	struct file_stat old = stat_of("tree/f");
	assert_int_equal(unlink("tree/f"), 0);
	stage_file(temp, "new");
	assert_int_equal(publish(&what, temp, "f", &old), 0);
	assert_int_equal(what, DISPLACED_NOTHING);
}

static void a_change_of_ctime_alone_is_foreign(void **state)
{
	char temp[STAGE_NAME_MAX];
	enum displaced what;
	put_file("tree/f", "old");
	struct file_stat old = stat_of("tree/f");
	old.ctime_ns--; /* contents rewritten and mtime put back look like this */
	stage_file(temp, "new");
	assert_int_equal(publish(&what, temp, "f", &old), 0);
	assert_int_equal(what, DISPLACED_UNKNOWN);
}

static void links_are_published_and_displaced(void **state)
{
	char temp[STAGE_NAME_MAX], target[16] = "";
	enum displaced what;
	stage_name(temp);
	assert_int_equal(symlink("nowhere", staged(temp)), 0);
	put_file("tree/f", "old");
	struct file_stat old = stat_of("tree/f");
	assert_int_equal(publish(&what, temp, "f", &old), 0);
	assert_int_equal(what, DISPLACED_EXPECTED);
	assert_int_equal(readlink("tree/f", target, sizeof(target)), 7);
	old = stat_of("tree/f");
	assert_int_equal(publish(&what, temp, "f", &old), 0);
	assert_int_equal(what, DISPLACED_EXPECTED);
	assert_true(file_is("tree/f", "old"));
	assert_true(S_ISLNK(stat_of(staged(temp)).mode));
}

static void a_full_directory_is_never_as_expected(void **state)
{
	char temp[STAGE_NAME_MAX], path[300];
	enum displaced what;
	make_dir("tree/d");
	put_file("tree/d/local", "mine");
	struct file_stat dir = stat_of("tree/d");
	stage_file(temp, "new");
	assert_int_equal(publish(&what, temp, "d", &dir), 0);
	assert_int_equal(what, DISPLACED_UNKNOWN);
	snprintf(path, sizeof(path), "%s/local", staged(temp));
	assert_true(file_is(path, "mine"));
	make_dir("tree/e");
	dir = stat_of("tree/e");
	stage_file(temp, "new");
	assert_int_equal(publish(&what, temp, "e", &dir), 0);
	assert_int_equal(what, DISPLACED_EXPECTED);
}

static void what_is_missing_is_named(void **state)
{
	char temp[STAGE_NAME_MAX];
	enum displaced what;
	stage_file(temp, "new");
	put_file("tree/f", "x");
	assert_int_equal(publish(&what, temp, "no/f", NULL), -ENOENT);
	assert_int_equal(publish(&what, temp, "f/g", NULL), -ENOENT);
	assert_int_equal(publish(&what, "t-none", "f", NULL), -ENODATA);
	assert_int_equal(publish(&what, "t-none", "new", NULL), -ENODATA);
	assert_true(file_is("tree/f", "x"));
	assert_true(file_is(staged(temp), "new"));
}

static void a_link_on_the_way_is_not_followed(void **state)
{
	char temp[STAGE_NAME_MAX];
	enum displaced what;
	make_dir("outside");
	assert_int_equal(symlink("../outside", "tree/d"), 0);
	stage_file(temp, "new");
	assert_int_equal(publish(&what, temp, "d/f", NULL), -ENOENT);
	assert_false(exists("outside/f"));
}

static void directories_are_made(void **state)
{
	char temp[STAGE_NAME_MAX];
	enum displaced what;
	struct err err = {0};
	const struct new_dir dir = {.mode = 06055}; /* as it is to be, but open to us */
	stage_name(temp);
	assert_int_equal(publish_dir(&what, at.root, temp, "d", &dir, &err), 0);
	assert_int_equal(what, DISPLACED_NOTHING);
	assert_int_equal(stat_of("tree/d").mode, S_IFDIR | 0755);
	struct file_stat before = stat_of("tree/d");
	assert_int_equal(publish_dir(&what, at.root, temp, "d", &dir, &err), 0);
	assert_int_equal(what, DISPLACED_NOTHING);
	struct file_stat after = stat_of("tree/d");
	assert_true(file_stat_equal(&before, &after));
	assert_true(stage_is_empty());
	assert_int_equal(publish_dir(&what, at.root, temp, "no/d", &dir, &err), -ENOENT);
	assert_int_equal(publish_dir(&what, at.root, temp, "", &dir, &err), 0);
	put_file("tree/f", "local");
	assert_int_equal(publish_dir(&what, at.root, temp, "f", &dir, &err), 0);
	assert_int_equal(what, DISPLACED_UNKNOWN);
	assert_int_equal(stat_of("tree/f").mode, S_IFDIR | 0755);
	assert_true(file_is(staged(temp), "local"));
}

static void a_removal_is_a_move(void **state)
{
	char temp[STAGE_NAME_MAX];
	enum displaced what;
	struct err err = {0};
	put_file("tree/f", "old");
	struct file_stat old = stat_of("tree/f");
	stage_name(temp);
	assert_int_equal(publish_removal(&what, at.root, temp, "f", &old, &err), 0);
	assert_int_equal(what, DISPLACED_EXPECTED);
	assert_true(file_is(staged(temp), "old"));
	assert_false(exists("tree/f"));
	assert_int_equal(publish_removal(&what, at.root, temp, "f", &old, &err), 0);
	assert_int_equal(what, DISPLACED_NOTHING);
	assert_int_equal(publish_removal(&what, at.root, temp, "no/f", &old, &err), 0);
	assert_int_equal(what, DISPLACED_NOTHING);
	put_file("tree/f", "local");
	assert_int_equal(publish_removal(&what, at.root, temp, "f", NULL, &err), -EEXIST);
	assert_true(file_is("tree/f", "local")); /* the name in stage was taken: nothing happened */
	stage_name(temp);
	assert_int_equal(publish_removal(&what, at.root, temp, "f", &old, &err), 0);
	assert_int_equal(what, DISPLACED_UNKNOWN);
	assert_true(file_is(staged(temp), "local"));
}

static void only_empty_directories_are_removed(void **state)
{
	struct err err = {0};
	make_dir("tree/d");
	put_file("tree/d/local", "mine");
	assert_int_equal(publish_rmdir(at.root, "d", &err), -ENOTEMPTY);
	assert_int_equal(unlink("tree/d/local"), 0);
	assert_int_equal(publish_rmdir(at.root, "d", &err), 0);
	assert_int_equal(publish_rmdir(at.root, "d", &err), 0);
	assert_int_equal(publish_rmdir(at.root, "no/d", &err), 0);
	put_file("tree/d", "x");
	assert_int_equal(publish_rmdir(at.root, "d", &err), -ENOTDIR);
}

static void whatever_is_staged_is_discarded(void **state)
{
	struct err err = {0};
	assert_int_equal(stage_discard(at.root, "none", &err), 0);
	put_file(STAGE "f", "x");
	assert_int_equal(stage_discard(at.root, "f", &err), 0);
	/* Deeper than any path and any stack of descriptors. */
	AUTO_CLOSE int home = open(".", O_RDONLY | O_DIRECTORY);
	make_dir(STAGE "d");
	assert_int_equal(chdir(STAGE "d"), 0);
	for (int i = 0; i < 3000; i++) {
		make_dir("sub");
		if (i % 500 == 0)
			put_file("file", "x");
		assert_int_equal(chdir("sub"), 0);
	}
	assert_int_equal(fchdir(home), 0);
	assert_int_equal(stage_discard(at.root, "d", &err), 0);
	assert_true(stage_is_empty());
}

static void the_salvage_takes_what_was_displaced(void **state)
{
	struct err err = {0};
	put_file(STAGE "t-1", "mine");
	assert_int_equal(stage_to_salvage(at.root, "t-1", "20260101-1", "a b.xml", &err), 0);
	assert_true(file_is(SALVAGE "20260101-1/a b.xml", "mine"));
	/* Again, as after a crash that came before it was recorded. */
	assert_int_equal(stage_to_salvage(at.root, "t-1", "20260101-1", "a b.xml", &err), 0);
	put_file(STAGE "t-2", "another");
	assert_int_equal(stage_to_salvage(at.root, "t-2", "20260101-1", "a b.xml", &err), -EEXIST);
	assert_true(file_is(STAGE "t-2", "another"));
	assert_int_equal(stage_to_salvage(at.root, "t-3", "x", "y", &err), -ENOENT);
	assert_int_equal(stage_to_salvage(at.root, "t-2", "../x", "y", &err), -EINVAL);
	assert_int_equal(stage_to_salvage(at.root, "t-2", "x", "..", &err), -EINVAL);
	make_dir(STAGE "t-d");
	put_file(STAGE "t-d/f", "deep");
	assert_int_equal(stage_to_salvage(at.root, "t-d", "2", "d", &err), 0);
	assert_true(file_is(SALVAGE "2/d/f", "deep"));
}

/* As somebody who may read only what its user may. */
static void the_salvage_takes_what_cannot_be_read(void **state)
{
	struct err err = {0};
	bool is_root = geteuid() == 0;
	put_file(STAGE "t", "mine");
	assert_int_equal(chmod(STAGE "t", 0), 0);
	assert_true(!is_root || (system("chown -R 65534 .") == 0 && seteuid(65534) == 0));
	int r = stage_to_salvage(at.root, "t", "1", "f", &err);
	assert_true(!is_root || seteuid(0) == 0);
	assert_int_equal(r, 0);
	assert_int_equal(chmod(SALVAGE "1/f", 0600), 0);
	assert_true(file_is(SALVAGE "1/f", "mine"));
}

static void salvaging_survives_any_failure(void **state)
{
	for (long nth = 1;; nth++) {
		struct fault fault = {.nth = nth, .err = EIO};
		struct err err = {0};
		put_file(STAGE "t", "mine");
		fault_arm(&fault);
		int r = stage_to_salvage(at.root, "t", "1", "f", &err);
		fault_disarm();
		assert_int_equal(r, fault.fired ? -EIO : 0);
		assert_int_equal(file_is(STAGE "t", "mine"), fault.fired);
		assert_int_equal(file_is(SALVAGE "1/f", "mine"), !fault.fired);
		if (!fault.fired)
			break;
	}
}

static void publishing_survives_any_failure(void **state)
{
	for (long nth = 1;; nth++) {
		struct fault fault = {.nth = nth, .err = ENOSPC};
		char temp[STAGE_NAME_MAX];
		enum displaced what;
		put_file("tree/f", "old");
		struct file_stat old = stat_of("tree/f");
		stage_file(temp, "new");
		fault_arm(&fault);
		int r = publish(&what, temp, "f", &old);
		fault_disarm();
		assert_int_equal(r, fault.fired ? -ENOSPC : 0);
		assert_true(file_is("tree/f", fault.fired ? "old" : "new"));
		assert_true(file_is(staged(temp), fault.fired ? "new" : "old"));
		assert_int_equal(unlink(staged(temp)), 0);
		assert_true(stage_is_empty());
		if (!fault.fired)
			break;
	}
}

static void taking_a_free_name_survives_any_failure(void **state)
{
	for (long nth = 1;; nth++) {
		struct fault fault = {.nth = nth, .err = ENOSPC};
		char temp[STAGE_NAME_MAX];
		enum displaced what;
		stage_file(temp, "new");
		fault_arm(&fault);
		int r = publish(&what, temp, "f", NULL);
		fault_disarm();
		assert_int_equal(r, fault.fired ? -ENOSPC : 0);
		assert_int_equal(exists("tree/f"), !fault.fired);
		if (!fault.fired)
			break;
		assert_true(file_is(staged(temp), "new"));
		assert_int_equal(unlink(staged(temp)), 0);
	}
	assert_true(stage_is_empty());
}

/* Another process dies at the nth disk call; then what it left is recovered. The old content is
 * somewhere and the new content is somewhere, whole, and the operation is either before or after.
 */
static void a_crash_at_any_step_is_recovered(void **state)
{
	for (long nth = 1;; nth++) {
		struct fault fault = {.nth = nth};
		char temp[STAGE_NAME_MAX];
		enum displaced what;
		struct err err = {0};
		int status;
		put_file("tree/f", "old");
		struct file_stat old = stat_of("tree/f");
		stage_file(temp, "new");
		pid_t child = fork();
		if (child == 0) {
			fault_arm(&fault);
			int r = publish(&what, temp, "f", &old);
			_exit(r == 0 ? 0 : 1);
		}
		assert_int_equal(waitpid(child, &status, 0), child);
		assert_int_equal(publish_recover(at.root, temp, "f", &err), 0);
		bool after = file_is("tree/f", "new");
		assert_true(file_is("tree/f", after ? "new" : "old"));
		assert_true(file_is(staged(temp), after ? "old" : "new"));
		assert_int_equal(unlink(staged(temp)), 0);
		assert_true(stage_is_empty());
		if (WIFEXITED(status))
			break;
		assert_int_equal(WTERMSIG(status), SIGKILL);
	}
}

/* Every state that a crash between two system calls can leave, made by hand. */
static void every_intermediate_state_is_recovered(void **state)
{
	struct err err = {0};
	/* linked */
	put_file("tree/f", "old");
	put_file(STAGE "t", "new");
	assert_int_equal(link("tree/f", STAGE "t~"), 0);
	assert_int_equal(publish_recover(at.root, "t", "f", &err), 0);
	assert_true(file_is("tree/f", "old") && file_is(STAGE "t", "new") && !exists(STAGE "t~"));
	/* moved */
	assert_int_equal(rename("tree/f", STAGE "t~"), 0);
	assert_int_equal(publish_recover(at.root, "t", "f", &err), 0);
	assert_true(file_is("tree/f", "old") && file_is(STAGE "t", "new") && !exists(STAGE "t~"));
	/* moved, and somebody took the name: nothing may be lost */
	assert_int_equal(rename("tree/f", STAGE "t~"), 0);
	put_file("tree/f", "third");
	assert_int_equal(publish_recover(at.root, "t", "f", &err), -EBUSY);
	assert_true(file_is("tree/f", "third") && file_is(STAGE "t", "new") &&
		    file_is(STAGE "t~", "old"));
	/* renamed */
	assert_int_equal(rename(STAGE "t", "tree/f"), 0);
	assert_int_equal(publish_recover(at.root, "t", "f", &err), 0);
	assert_true(file_is("tree/f", "new") && file_is(STAGE "t", "old") && !exists(STAGE "t~"));
	/* a free name, linked and not yet unlinked */
	assert_int_equal(unlink(STAGE "t"), 0);
	assert_int_equal(link("tree/f", STAGE "t"), 0);
	assert_int_equal(publish_recover(at.root, "t", "f", &err), 0);
	assert_true(file_is("tree/f", "new") && !exists(STAGE "t"));
	/* the parent went away after the old object was moved */
	put_file(STAGE "t~", "old");
	put_file(STAGE "t", "new");
	assert_int_equal(publish_recover(at.root, "t", "no/f", &err), -EBUSY);
	assert_true(file_is(STAGE "t~", "old"));
}

static void another_mount_is_reported(void **state)
{
	char temp[STAGE_NAME_MAX];
	enum displaced what;
	if (!may_mount())
		skip();
	make_dir("tree/m");
	make_dir("same");
	stage_file(temp, "new");
	assert_int_equal(mount("same", "tree/m", NULL, MS_BIND, NULL), 0);
	int r = publish(&what, temp, "m/f", NULL);
	assert_int_equal(umount("tree/m"), 0);
	assert_int_equal(r, -EXDEV);
	assert_true(file_is(staged(temp), "new"));
}

/* ---- a writer who does not wait ------------------------------------------------------------- */

#define ROUNDS 2000

static _Atomic bool writing;

/* Replaces the file by rename as fast as it can, with contents that are whole and its own. */
static void *keep_writing(void *arg)
{
	_Atomic unsigned *written = arg;
	char content[32];
	while (writing) {
		snprintf(content, sizeof(content), "local %u", *written);
		put_file("local", content);
		if (rename("local", "tree/f") == 0)
			++*written;
	}
	return NULL;
}

/* No version of the writer's may vanish while it stood under the name when we came: it is either
 * in stage as unknown, or was replaced by the writer himself. And ours is what we published. */
static void a_racing_writer_loses_nothing(void **state)
{
	pthread_t writer;
	_Atomic unsigned written = 0;
	unsigned unknown = 0;
	put_file("tree/f", "start");
	writing = true;
	assert_int_equal(pthread_create(&writer, NULL, keep_writing, (void *)&written), 0);
	while (written == 0)
		sched_yield();
	for (int round = 0; round < ROUNDS; round++) {
		char temp[STAGE_NAME_MAX], name[16];
		enum displaced what;
		struct file_stat expected = stat_of("tree/f");
		snprintf(name, sizeof(name), "ours %d", round);
		stage_file(temp, name);
		int r = publish(&what, temp, "f", &expected);
		assert_true(r == 0 || r == -EAGAIN);
		if (r == 0 && what != DISPLACED_NOTHING) {
			struct file_stat found = stat_of(staged(temp));
			bool same = file_stat_equal_moved(&found, &expected);
			AUTO_FREE char *content = get_file(staged(temp));
			assert_true(strncmp(content, "local ", 6) == 0 ||
				    strncmp(content, "ours", 4) == 0);
			/* What was not what we had looked at is never taken for it. */
			assert_true(same || what == DISPLACED_UNKNOWN);
			unknown += what == DISPLACED_UNKNOWN;
		}
		unlink(staged(temp));
	}
	writing = false;
	pthread_join(writer, NULL);
	assert_true(stage_is_empty());
	if (unknown == 0)
		print_message("the race was never hit\n");
}

static void directories_are_synced(void **state)
{
	struct err err = {0};
	struct fault fault = {.nth = 1, .err = EIO};
	make_dir("tree/d");
	assert_int_equal(root_sync_dir(at.root, "d", &err), 0);
	assert_int_equal(root_sync_dir(at.root, "", &err), 0);
	assert_int_equal(root_sync_dir(at.root, "gone", &err), 0);
	assert_int_equal(root_sync_all(at.root, &err), 0);
	fault_arm(&fault);
	assert_int_equal(root_sync_dir(at.root, "d", &err), -EIO);
	fault_disarm();
}

#define BOTH_WAYS(test)                                                           \
	cmocka_unit_test_setup_teardown(test, enter, leave),                      \
	{                                                                         \
#test " (no exchange)", test, enter_without_exchange, leave, NULL \
	}

int main(void)
{
	may_mount(); /* before anything is opened: descriptors stay in the namespace they are from
		      */
	const struct CMUnitTest tests[] = {
		BOTH_WAYS(a_free_name_is_taken),
		BOTH_WAYS(what_was_expected_is_displaced),
		BOTH_WAYS(foreign_content_lands_in_stage),
		BOTH_WAYS(an_expected_object_may_be_gone),
		BOTH_WAYS(a_change_of_ctime_alone_is_foreign),
		BOTH_WAYS(links_are_published_and_displaced),
		BOTH_WAYS(a_full_directory_is_never_as_expected),
		BOTH_WAYS(what_is_missing_is_named),
		BOTH_WAYS(a_link_on_the_way_is_not_followed),
		BOTH_WAYS(directories_are_made),
		BOTH_WAYS(a_removal_is_a_move),
		BOTH_WAYS(only_empty_directories_are_removed),
		BOTH_WAYS(publishing_survives_any_failure),
		BOTH_WAYS(taking_a_free_name_survives_any_failure),
		BOTH_WAYS(a_crash_at_any_step_is_recovered),
		BOTH_WAYS(another_mount_is_reported),
		BOTH_WAYS(a_racing_writer_loses_nothing),
		{"every_intermediate_state_is_recovered", every_intermediate_state_is_recovered,
		 enter_without_exchange, leave, NULL},
		cmocka_unit_test_setup_teardown(whatever_is_staged_is_discarded, enter, leave),
		cmocka_unit_test_setup_teardown(the_salvage_takes_what_was_displaced, enter, leave),
		cmocka_unit_test_setup_teardown(the_salvage_takes_what_cannot_be_read, enter,
						leave),
		cmocka_unit_test_setup_teardown(salvaging_survives_any_failure, enter, leave),
		cmocka_unit_test_setup_teardown(directories_are_synced, enter, leave),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
