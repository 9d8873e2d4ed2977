/* Roots: what is reached through them, what is not, and how a root that is lost is noticed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/mount.h>
#include <cmocka.h>

#include "agent/base/fault.h"
#include "agent/fs/publish.h"
#include "agent/fs/tree.h"
#include "agent/fs/writers.h"
#include "tests/unit/fs/scratch.h"

static int enter(void **state)
{
	*state = scratch_enter();
	make_dir("tree");
	return 0;
}

static int leave(void **state)
{
	scratch_leave(*state);
	return 0;
}

static int open_error(const struct root *root, const char *sub, int flags)
{
	int fd = root_open(root, sub, flags, 0);
	if (fd >= 0)
		close(fd);
	return fd < 0 ? fd : 0;
}

static void paths_do_not_lead_out(void **state)
{
	AUTO(tree) *tree = open_prepared("tree");
	const struct root *root = &tree->roots[0];
	struct stat st;
	make_dir("tree/a");
	put_file("tree/a/f", "x");
	put_file("outside", "secret");
	assert_int_equal(symlink("../outside", "tree/out"), 0);
	assert_int_equal(symlink("a", "tree/in"), 0);
	assert_int_equal(open_error(root, "a/f", O_RDONLY), 0);
	assert_int_equal(open_error(root, "", O_RDONLY | O_DIRECTORY), 0);
	assert_int_equal(open_error(root, "../outside", O_RDONLY), -EXDEV);
	assert_int_equal(open_error(root, "/etc/passwd", O_RDONLY), -EXDEV);
	assert_int_equal(open_error(root, "out", O_RDONLY), -ELOOP);
	assert_int_equal(open_error(root, "in/f", O_RDONLY), -ELOOP);
	assert_int_equal(root_stat(root, "in/f", &st), -ELOOP);
	assert_int_equal(root_stat(root, "in", &st), 0);
	assert_true(S_ISLNK(st.st_mode));
	assert_int_equal(root_stat(root, "nothing", &st), -ENOENT);
	assert_int_equal(root_stat(root, "a/f/g", &st), -ENOTDIR);
}

static void the_parent_is_opened_and_the_name_found(void **state)
{
	AUTO(tree) *tree = open_prepared("tree");
	const char *name;
	make_dir("tree/a");
	AUTO_CLOSE int top = root_open_parent(&tree->roots[0], "x", &name);
	assert_true(top >= 0);
	assert_string_equal(name, "x");
	AUTO_CLOSE int below = root_open_parent(&tree->roots[0], "a/y", &name);
	assert_true(below >= 0);
	assert_string_equal(name, "y");
	assert_int_equal(root_open_parent(&tree->roots[0], "", &name), -EINVAL);
	assert_int_equal(root_open_parent(&tree->roots[0], "b/y", &name), -ENOENT);
}

static void only_these_errors_mean_absence(void **state)
{
	assert_true(errno_is_absence(ENOENT) && errno_is_absence(-ENOTDIR) &&
		    errno_is_absence(ELOOP));
	assert_false(errno_is_absence(EACCES) || errno_is_absence(EIO) ||
		     errno_is_absence(-ESTALE) || errno_is_absence(EXDEV) || errno_is_absence(0));
}

static void a_root_without_marker_is_unhealthy(void **state)
{
	struct err err = {0};
	AUTO(tree) *tree = NULL;
	char why[ROOT_WHY_MAX];
	assert_int_equal(tree_open(&tree, "tree", NULL, 0, NULL, &err), 0);
	assert_false(tree_is_healthy(tree));
	assert_non_null(strstr(root_why(&tree->roots[0], why), "marker"));
	assert_int_equal(open_error(&tree->roots[0], "", O_RDONLY), -ESTALE);
	assert_int_equal(tree_prepare("tree", NULL, 0, &err), 0);
	assert_true(tree_check(tree));
	assert_true(tree_is_healthy(tree));
	assert_string_equal(root_why(&tree->roots[0], why), "");
	assert_false(tree_check(tree));
}

static void an_existing_marker_is_kept(void **state)
{
	struct err err = {0};
	AUTO_FREE char *before = NULL;
	assert_int_equal(tree_prepare("tree", NULL, 0, &err), 0);
	before = get_file("tree/.artifact-sync/marker");
	assert_int_equal(tree_prepare("tree", NULL, 0, &err), 0);
	assert_true(file_is("tree/.artifact-sync/marker", before));
	put_file("tree/.artifact-sync/marker", "something else\n");
	assert_int_equal(tree_prepare("tree", NULL, 0, &err), -EBADMSG);
}

static void preparing_survives_any_failure(void **state)
{
	for (long nth = 1;; nth++) {
		struct fault fault = {.nth = nth, .err = ENOSPC};
		struct err err = {0};
		fault_arm(&fault);
		int r = tree_prepare("tree", NULL, 0, &err);
		fault_disarm();
		assert_int_equal(r, fault.fired ? -ENOSPC : 0);
		if (!fault.fired)
			break;
		/* What it left is either no marker or a whole one. */
		AUTO(tree) *tree = NULL;
		assert_int_equal(tree_open(&tree, "tree", NULL, 0, NULL, &err), 0);
		assert_int_equal(tree_is_healthy(tree), exists("tree/.artifact-sync/marker"));
		remove_all("tree/.artifact-sync");
	}
}

static void a_swapped_directory_is_noticed(void **state)
{
	AUTO(tree) *tree = open_prepared("tree");
	struct root *root = &tree->roots[0];
	char why[ROOT_WHY_MAX];
	struct stat st;
	int number = root->fd;
	assert_int_equal(root_verify(root, why), 0);
	assert_int_equal(rename("tree", "away"), 0);
	make_dir("tree");
	assert_int_equal(root_verify(root, why), -ESTALE);
	assert_true(tree_check(tree));
	assert_false(root->healthy);
	assert_int_equal(root_stat(root, "x", &st), -ESTALE);
	/* Another root's marker does not do. */
	struct err err = {0};
	assert_int_equal(tree_prepare("tree", NULL, 0, &err), 0);
	assert_false(tree_check(tree));
	assert_non_null(strstr(root_why(root, why), "another root"));
	/* The right one does, and takes over the number. */
	remove_all("tree");
	assert_int_equal(rename("away", "tree"), 0);
	put_file("tree/x", "");
	assert_true(tree_check(tree));
	assert_true(root->healthy);
	assert_int_equal(root->fd, number);
	assert_int_equal(root_stat(root, "x", &st), 0);
}

static void a_removed_marker_is_noticed(void **state)
{
	AUTO(tree) *tree = open_prepared("tree");
	assert_int_equal(unlink("tree/.artifact-sync/marker"), 0);
	assert_int_equal(root_verify(&tree->roots[0], NULL), -ESTALE);
	assert_true(tree_check(tree));
	assert_false(tree_is_healthy(tree));
}

static void expected_ids_are_insisted_on(void **state)
{
	struct err err = {0};
	AUTO(tree) *tree = open_prepared("tree");
	uint8_t ids[1][ROOT_ID_LEN];
	const struct tree_claim claim = {.ids = (const uint8_t(*)[ROOT_ID_LEN])ids};
	memcpy(ids[0], tree->roots[0].id, ROOT_ID_LEN);
	AUTO(tree) *same = NULL;
	assert_int_equal(tree_open(&same, "tree", NULL, 0, &claim, &err), 0);
	assert_true(tree_is_healthy(same));
	ids[0][0] ^= 1;
	AUTO(tree) *other = NULL;
	assert_int_equal(tree_open(&other, "tree", NULL, 0, &claim, &err), 0);
	assert_false(tree_is_healthy(other));
}

static void a_claimed_root_is_refused_to_others(void **state)
{
	const struct tree_claim first = {.holder = "the first"}, second = {.holder = "the second"};
	struct err err = {0};
	char why[ROOT_WHY_MAX];
	assert_int_equal(tree_prepare("tree", NULL, 0, &err), 0);
	put_file("tree/.artifact-sync/stage/in-flight", "x");
	struct tree *one = NULL;
	assert_int_equal(tree_open(&one, "tree", NULL, 0, &first, &err), 0);
	AUTO(tree) *two = NULL;
	assert_int_equal(tree_open(&two, "tree", NULL, 0, &second, &err), -EBUSY);
	assert_non_null(strstr(err.msg, "the first"));
	assert_true(file_is("tree/.artifact-sync/holder", "the first\n"));
	/* It comes back as it was while it is still locked by the same tree. */
	assert_int_equal(rename("tree", "aside"), 0);
	assert_true(tree_check(one));
	assert_int_equal(rename("aside", "tree"), 0);
	assert_true(tree_check(one));
	assert_string_equal(root_why(&one->roots[0], why), "");
	assert_int_equal(tree_open(&two, "tree", NULL, 0, &second, &err), -EBUSY);
	tree_free(one);
	assert_int_equal(tree_open(&two, "tree", NULL, 0, &second, &err), 0);
	assert_true(tree_is_healthy(two));
}

static void followed_links_are_roots_of_their_own(void **state)
{
	struct err err = {0};
	char *follow[] = {"tenants", "a/deep"};
	const char *sub;
	make_dir("elsewhere");
	make_dir("other");
	make_dir("tree/a");
	assert_int_equal(symlink("../elsewhere", "tree/tenants"), 0);
	assert_int_equal(symlink("../../other", "tree/a/deep"), 0);
	assert_int_equal(tree_prepare("tree", follow, 2, &err), 0);
	assert_true(exists("elsewhere/.artifact-sync/marker"));
	AUTO(tree) *tree = NULL;
	assert_int_equal(tree_open(&tree, "tree", follow, 2, NULL, &err), 0);
	assert_true(tree_is_healthy(tree));
	assert_ptr_equal(tree_resolve(tree, "tenants/1/x", &sub), &tree->roots[1]);
	assert_string_equal(sub, "1/x");
	assert_ptr_equal(tree_resolve(tree, "tenants", &sub), &tree->roots[1]);
	assert_string_equal(sub, "");
	assert_ptr_equal(tree_resolve(tree, "tenants2", &sub), &tree->roots[0]);
	assert_string_equal(sub, "tenants2");
	assert_ptr_equal(tree_resolve(tree, "", &sub), &tree->roots[0]);
	assert_string_equal(sub, "");
	assert_ptr_equal(tree_resolve(tree, "a/deep/q", &sub), &tree->roots[2]);
	/* A link that leads nowhere makes its root unhealthy and no other. */
	assert_int_equal(rename("elsewhere", "gone"), 0);
	assert_true(tree_check(tree));
	assert_true(tree->roots[0].healthy && tree->roots[2].healthy);
	assert_false(tree->roots[1].healthy);
}

static void a_mount_in_the_tree_is_not_entered(void **state)
{
	struct stat st;
	AUTO(tree) *tree = open_prepared("tree");
	make_dir("tree/m");
	make_dir("same");
	put_file("same/f", "x");
	if (!may_mount())
		skip();
	/* A bind mount has the same device number: only the kernel's walk tells. */
	assert_int_equal(mount("same", "tree/m", NULL, MS_BIND, NULL), 0);
	int at = root_stat(&tree->roots[0], "m", &st);
	int beneath = root_stat(&tree->roots[0], "m/f", &st);
	assert_int_equal(umount("tree/m"), 0);
	assert_int_equal(at, -EXDEV);
	assert_int_equal(beneath, -EXDEV);
}

static void a_directory_mounted_over_is_noticed(void **state)
{
	AUTO(tree) *tree = open_prepared("tree");
	if (!may_mount())
		skip();
	assert_int_equal(mount("none", "tree", "tmpfs", 0, NULL), 0);
	int r = root_verify(&tree->roots[0], NULL);
	bool changed = tree_check(tree);
	assert_int_equal(umount("tree"), 0);
	assert_int_equal(r, -ESTALE);
	assert_true(changed);
	assert_true(tree_check(tree));
	assert_true(tree_is_healthy(tree));
}

static void our_directory_is_private(void **state)
{
	static const char *const dirs[] = {"tree/.artifact-sync", "tree/.artifact-sync/stage",
					   "tree/.artifact-sync/salvage"};
	tree_free(open_prepared("tree"));
	for (size_t i = 0; i < ARRAY_LEN(dirs); i++)
		assert_int_equal(stat_of(dirs[i]).mode & 07777, 0700);
	assert_int_equal(chmod("tree/.artifact-sync/stage", 0755), 0);
	tree_free(open_prepared("tree"));
	assert_int_equal(stat_of("tree/.artifact-sync/stage").mode & 07777, 0700);
	assert_int_equal(count_entries("tree/.artifact-sync/stage"), 0); /* probing cleans up */
}

static void who_holds_a_file_open_for_writing_is_noticed(void **state)
{
	AUTO(tree) *tree = open_prepared("tree");
	const struct root *root = &tree->roots[0];
	(void)state;
	put_file("tree/f", "x");
	assert_int_equal(link("tree/f", "tree/other"), 0);
	assert_int_equal(mkfifo("tree/fifo", 0600), 0);
	assert_int_equal(symlink("f", "tree/link"), 0);
	assert_false(root_may_have_writer(root, "f"));
	int reader = open("tree/f", O_RDONLY), writer = open("tree/other", O_WRONLY);
	assert_true(reader >= 0 && writer >= 0);
	assert_true(root_may_have_writer(root, "f")); /* under whatever name */
	close(writer);
	assert_false(root_may_have_writer(root, "f"));
	close(reader);
	assert_false(root_may_have_writer(root, "nothing"));
	assert_false(root_may_have_writer(root, ""));
	assert_false(root_may_have_writer(root, "fifo"));
	assert_false(root_may_have_writer(root, "link"));
}

int main(void)
{
	may_mount(); /* before anything is opened: descriptors stay in the namespace they are from
		      */
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(paths_do_not_lead_out, enter, leave),
		cmocka_unit_test_setup_teardown(the_parent_is_opened_and_the_name_found, enter,
						leave),
		cmocka_unit_test(only_these_errors_mean_absence),
		cmocka_unit_test_setup_teardown(a_root_without_marker_is_unhealthy, enter, leave),
		cmocka_unit_test_setup_teardown(an_existing_marker_is_kept, enter, leave),
		cmocka_unit_test_setup_teardown(preparing_survives_any_failure, enter, leave),
		cmocka_unit_test_setup_teardown(a_swapped_directory_is_noticed, enter, leave),
		cmocka_unit_test_setup_teardown(a_removed_marker_is_noticed, enter, leave),
		cmocka_unit_test_setup_teardown(expected_ids_are_insisted_on, enter, leave),
		cmocka_unit_test_setup_teardown(a_claimed_root_is_refused_to_others, enter, leave),
		cmocka_unit_test_setup_teardown(followed_links_are_roots_of_their_own, enter,
						leave),
		cmocka_unit_test_setup_teardown(a_mount_in_the_tree_is_not_entered, enter, leave),
		cmocka_unit_test_setup_teardown(a_directory_mounted_over_is_noticed, enter, leave),
		cmocka_unit_test_setup_teardown(our_directory_is_private, enter, leave),
		cmocka_unit_test_setup_teardown(who_holds_a_file_open_for_writing_is_noticed, enter,
						leave),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
