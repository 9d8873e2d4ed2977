/* Scans: everything that differs is reported, parents first; nothing is concluded from what could
 * not be looked at. */
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
#include <sys/resource.h>
#include <sys/stat.h>
#include <cmocka.h>

#include "agent/base/clock.h"
#include "agent/base/fault.h"
#include "tests/unit/sync/world.h"

static int leave(void **state)
{
	world_free(*state);
	return 0;
}

static int enter(void **state)
{
	*state = world_new(NULL);
	return 0;
}

#define assert_scan(w, top, want)                            \
	do {                                                 \
		AUTO_FREE char *paths_ = scan_paths(w, top); \
		assert_string_equal(paths_, want);           \
	} while (0)

static void make_some(void)
{
	make_dir("tree/a");
	make_dir("tree/a-b");
	make_dir("tree/a/deep");
	put_file("tree/a/c", "1");
	put_file("tree/a/deep/d", "2");
	put_file("tree/a-b/e", "3");
	put_file("tree/a.f", "4");
	put_file("tree/z", "5");
}

static void new_paths_come_in_the_order_of_the_index(void **state)
{
	struct world *w = *state;
	make_some();
	assert_scan(w, "", ".\na\na-b\na-b/e\na.f\na/c\na/deep\na/deep/d\nz\n");
	assert_int_equal(w->counts.entries, 9);
	assert_int_equal(w->counts.directories, 4);
	assert_int_equal(w->counts.unreadable, 0);
	let_age();
	assert_int_equal(index_all(w), 9);
	assert_indexed(w);
}

static void changes_are_reported_and_only_they(void **state)
{
	struct world *w = *state;
	make_some();
	let_age();
	index_all(w);
	put_file("tree/a/deep/d", "changed");
	assert_int_equal(chmod("tree/z", 0600), 0);
	assert_int_equal(chmod("tree/a-b", 0700), 0);
	assert_scan(w, "", "a-b\na/deep/d\nz\n");
	assert_int_equal(symlink("z", "tree/new"), 0);
	assert_scan(w, "", ".\na-b\na/deep/d\nnew\nz\n");
	let_age();
	assert_int_equal(index_all(w), 5);
	assert_indexed(w);
}

static void a_racy_entry_is_reported_until_it_was_read_again(void **state)
{
	struct world *w = *state;
	put_file("tree/f", "1");
	struct capture_item item = capture_path(w, "f");
	if (!(item.entry.flags & ENTRY_RACY)) {
		capture_item_release(&item);
		skip(); /* the machine was too busy to be quick */
	}
	capture_item_release(&item);
	index_all(w);
	let_age();
	AUTO_FREE char *again = scan_paths(w, "");
	assert_non_null(strstr(again, "f\n"));
	assert_int_equal(index_all(w), 0); /* the same version: no seq */
	assert_indexed(w);
}

static void what_vanished_is_reported_once(void **state)
{
	struct world *w = *state;
	make_some();
	let_age();
	index_all(w);
	remove_all("tree/a");
	assert_int_equal(unlink("tree/z"), 0);
	assert_scan(w, "", ".\na\nz\n");
	let_age();
	assert_int_equal(index_all(w), 6); /* a, a/c, a/deep, a/deep/d, z and the tree's own */
	assert_indexed(w);
	put_file("tree/a", "now a file");
	let_age();
	index_all(w);
	assert_indexed(w);
}

static void a_directory_in_the_place_of_a_file_and_back(void **state)
{
	struct world *w = *state;
	make_some();
	let_age();
	index_all(w);
	remove_all("tree/a");
	put_file("tree/a", "file");
	remove_all("tree/z");
	make_dir("tree/z");
	put_file("tree/z/in", "x");
	assert_scan(w, "", ".\na\nz\nz/in\n");
	let_age();
	index_all(w);
	assert_indexed(w);
	struct index_entry entry = entry_of(w, "a/c");
	assert_int_equal(entry.rec.kind, RECORD_ABSENT);
	index_entry_release(&entry);
}

static void a_part_is_scanned_with_its_unknown_ancestors(void **state)
{
	struct world *w = *state;
	make_some();
	assert_scan(w, "a", ".\na\na/c\na/deep\na/deep/d\n");
	assert_scan(w, "a/deep", ".\na\na/deep\na/deep/d\n");
	assert_scan(w, "a/c", ".\na\na/c\n");
	assert_scan(w, "nothing/here", "");
	let_age();
	index_all(w);
	assert_scan(w, "a", "");
	put_file("tree/a/c", "changed");
	put_file("tree/a-b/e", "changed");
	remove_all("tree/a/deep");
	assert_scan(w, "a", "a\na/c\na/deep\n");
	remove_all("tree/a");
	assert_scan(w, "a/deep", "a/deep\n");
	assert_scan(w, "a", "a\n");
	char *out;
	assert_int_equal(scan_result(w, "../x", &out), -EINVAL);
	free(out);
}

static void our_own_directory_is_never_seen(void **state)
{
	struct world *w = *state;
	put_file("tree/.artifact-sync/stage/t-1", "x");
	make_dir("tree/a");
	make_dir("tree/a/.artifact-sync");
	put_file("tree/a/.artifact-sync/f", "x");
	assert_scan(w, "", ".\na\n");
}

static void special_files_are_counted(void **state)
{
	struct world *w = *state;
	put_file("tree/was", "x");
	let_age();
	index_all(w);
	assert_int_equal(mkfifo("tree/fifo", 0600), 0);
	assert_int_equal(unlink("tree/was"), 0);
	assert_int_equal(mkfifo("tree/was", 0600), 0);
	assert_scan(w, "", ".\nwas\n");
	assert_int_equal(w->counts.special, 2);
	put_file("tree/su", "x");
	assert_int_equal(chmod("tree/su", 04755), 0);
	assert_scan(w, "", ".\nsu\nwas\n");
	assert_int_equal(w->counts.setid, 1);
}

/* Which of the listings fails is counted, so that each directory's turn comes. */
static void an_unreadable_directory_deletes_nothing(void **state)
{
	struct world *w = *state;
	make_some();
	let_age();
	index_all(w);
	static const char *const silent[] = {"", "a-b", "a",
					     "a/deep"}; /* in the order they are entered */
	for (long nth = 1; nth <= 4; nth++) {
		struct fault fault = {.nth = nth, .err = EIO};
		fault_arm(&fault);
		AUTO_FREE char *paths = scan_paths(w, "");
		fault_disarm();
		assert_true(fault.fired);
		assert_string_equal(paths, "");
		assert_int_equal(w->counts.unreadable, 1);
		char want[64];
		snprintf(want, sizeof(want), "\"%s\": list the directory: Input/output error",
			 silent[nth - 1]);
		assert_string_equal(w->counts.first_unreadable, want);
	}
	/* What can be looked at is. */
	put_file("tree/z", "changed");
	remove_all("tree/a-b/e");
	struct fault fault = {.nth = 3, .err = ESTALE};
	fault_arm(&fault);
	AUTO_FREE char *paths = scan_paths(w, "");
	fault_disarm();
	assert_string_equal(paths, "a-b\na-b/e\nz\n");
}

/* Nothing found and nothing wanting would be: there is nothing. */
static void a_scan_without_descriptors_says_so(void **state)
{
	static const char *const tops[] = {"", "a", "a/deep"};
	struct world *w = *state;
	struct rlimit before;
	make_some();
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
	int lowest = dup(0);
	close(lowest);
	for (size_t i = 0; i < ARRAY_LEN(tops); i++) {
		AUTO_FREE char *whole = scan_paths(w, tops[i]);
		unsigned starved = 0;
		bool complete = false;
		for (rlim_t n = (rlim_t)lowest; !complete; n++) {
			char *paths;
			const struct rlimit few = {n, before.rlim_max};
			assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
			int r = scan_result(w, tops[i], &paths);
			assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
			complete = r == 0 && strcmp(paths, whole) == 0;
			assert_true(complete || r < 0 || w->counts.starved > 0);
			starved += !complete;
			free(paths);
		}
		assert_true(starved > 0);
	}
}

static void a_lost_root_ends_the_scan(void **state)
{
	struct world *w = *state;
	char *out;
	make_some();
	let_age();
	index_all(w);
	assert_int_equal(rename("tree", "away"), 0);
	make_dir("tree");
	remove_all("away/a");
	assert_int_equal(scan_result(w, "", &out), -ESTALE);
	assert_string_equal(out, "");
	free(out);
	tree_check(w->tree);
	assert_int_equal(scan_result(w, "", &out), -ESTALE);
	free(out);
}

static void a_mount_that_is_not_followed_is_not_entered(void **state)
{
	struct world *w = *state;
	if (!may_mount())
		skip();
	make_some();
	let_age();
	index_all(w);
	/* The same device number, and empty: everything beneath looks deleted. */
	make_dir("empty");
	put_file("other", "not ours");
	assert_int_equal(mount("empty", "tree/a", NULL, MS_BIND, NULL), 0);
	assert_int_equal(mount("other", "tree/z", NULL, MS_BIND, NULL), 0);
	AUTO_FREE char *paths = scan_paths(w, "");
	enum capture_outcome at = outcome_of(w, "a"), beneath = outcome_of(w, "a/c"),
			     file = outcome_of(w, "z");
	AUTO_FREE char *part = scan_paths(w, "a");
	assert_int_equal(umount("tree/a"), 0);
	assert_int_equal(umount("tree/z"), 0);
	assert_string_equal(paths, "");
	assert_string_equal(part, "");
	assert_int_equal(w->counts.foreign_mounts, 1); /* of the part; the whole had two */
	/* One that nobody wants is no alarm. */
	static const char *const rules[] = {"- m", NULL};
	make_dir("tree/m");
	world_set_rules(w, rules);
	assert_int_equal(mount("empty", "tree/m", NULL, MS_BIND, NULL), 0);
	AUTO_FREE char *left_out = scan_paths(w, "");
	assert_int_equal(umount("tree/m"), 0);
	assert_string_equal(left_out, ".\n");
	assert_int_equal(w->counts.foreign_mounts, 0);
	assert_int_equal(at, CAPTURE_UNREADABLE);
	assert_int_equal(beneath, CAPTURE_UNREADABLE);
	assert_int_equal(file, CAPTURE_UNREADABLE);
}

static void what_the_profile_leaves_out_is_not_entered(void **state)
{
	static const char *const rules[] = {"- logs", "- **/*.tmp", NULL};
	struct world *w = *state;
	make_some();
	make_dir("tree/logs");
	put_file("tree/logs/l", "x");
	put_file("tree/a/x.tmp", "x");
	let_age();
	index_all(w);
	assert_indexed(w);
	world_set_rules(w, rules);
	assert_scan(w, "", "a/x.tmp\nlogs\n");
	assert_int_equal(w->counts.directories, 4);
	assert_int_equal(index_all(w), 0); /* dropped without a tombstone */
	struct index_entry entry;
	assert_int_equal(store_get(w->store, "logs/l", &entry, NULL), -ENOENT);
	assert_indexed(w);
	put_file("tree/logs/l2", "x");
	assert_scan(w, "", "");
}

static void a_passage_is_compared_without_its_times(void **state)
{
	static const char *const rules[] = {"+ conf/sub/*.xml", "- **", NULL};
	struct world *w = *state;
	world_set_rules(w, rules);
	make_dir("tree/conf");
	make_dir("tree/conf/sub");
	make_dir("tree/other");
	put_file("tree/conf/sub/f.xml", "<a/>");
	let_age();
	assert_scan(w, "", ".\nconf\nconf/sub\nconf/sub/f.xml\n");
	index_all(w);
	put_file("tree/conf/sub/log", "x");
	put_file("tree/conf/log", "x");
	assert_scan(w, "", "");
	struct index_entry entry = entry_of(w, "conf/sub");
	assert_true(entry.rec.mtime_ns == RECORD_NO_MTIME);
	index_entry_release(&entry);
	assert_int_equal(chmod("tree/conf/sub", 0700), 0);
	assert_scan(w, "", "conf/sub\n");
}

static void compared_files_are_reported_each_time(void **state)
{
	static const char *const rules[] = {"= keys/*", NULL};
	struct world *w = *state;
	make_dir("tree/keys");
	put_file("tree/keys/k", "secret");
	let_age();
	world_set_rules(w, rules);
	index_all(w);
	assert_scan(w, "", "keys/k\n");
	struct capture_item item = capture_path(w, "keys/k");
	uint8_t hash[HASH_LEN];
	hash_bytes(hash, "secret", 6);
	assert_int_equal(item.outcome, CAPTURE_COMPARED);
	assert_memory_equal(item.entry.rec.hash, hash, HASH_LEN);
	capture_item_release(&item);
}

static void followed_roots_are_entered_and_silent_when_lost(void **state)
{
	char *follow[] = {"tenants"};
	struct world *w = world_with_follow(NULL, follow, 1);
	put_file("elsewhere0/t", "1");
	put_file("tree/u", "2");
	let_age();
	assert_scan(w, "", ".\ntenants\ntenants/t\nu\n");
	index_all(w);
	assert_indexed(w);
	struct index_entry entry = entry_of(w, "tenants");
	assert_int_equal(entry.rec.kind, RECORD_DIR);
	index_entry_release(&entry);
	put_file("elsewhere0/t2", "3");
	assert_scan(w, "tenants", "tenants\ntenants/t2\n");
	/* Its target is gone: nothing beneath it is deleted, nor it itself. */
	assert_int_equal(rename("elsewhere0", "away"), 0);
	assert_int_equal(outcome_of(w, "tenants/t"), CAPTURE_NOTHING); /* still open: still there */
	tree_check(w->tree);
	assert_scan(w, "", "");
	assert_int_equal(outcome_of(w, "tenants"), CAPTURE_UNREADABLE);
	assert_int_equal(outcome_of(w, "tenants/t"), CAPTURE_UNREADABLE);
	char *out;
	assert_int_equal(scan_result(w, "tenants", &out), -ESTALE);
	free(out);
	/* Even the link being removed changes nothing. */
	assert_int_equal(unlink("tree/tenants"), 0);
	assert_scan(w, "", ".\n"); /* the tree's own mtime */
	world_free(w);
}

static void a_vanished_way_to_a_root_is_no_deletion(void **state)
{
	char *follow[] = {"link"};
	struct world *w = world_with_follow(NULL, follow, 1);
	put_file("elsewhere0/t", "1");
	let_age();
	index_all(w);
	world_free(w);
	w = world_with_follow(NULL, NULL, 0);
	make_dir("tree/a");
	make_dir("outside");
	assert_int_equal(symlink("../../outside", "tree/a/link"), 0);
	char *inner[] = {"a/link"};
	struct err err = {0};
	tree_free(w->tree);
	assert_int_equal(tree_prepare("tree", inner, 1, &err), 0);
	assert_int_equal(tree_open(&w->tree, "tree", inner, 1, NULL, &err), 0);
	w->env.tree = w->tree;
	put_file("outside/t", "1");
	let_age();
	index_all(w);
	assert_indexed(w);
	remove_all("tree/a");
	assert_scan(w, "", ".\n");
	assert_int_equal(w->counts.unreadable, 1);
	assert_int_equal(outcome_of(w, "a"), CAPTURE_UNREADABLE);
	world_free(w);
}

static void a_kept_directory_is_no_change(void **state)
{
	struct world *w = *state;
	static const char *const rules[] = {"- **/*.log", NULL};
	struct err err = {0};
	world_set_rules(w, rules);
	make_dir("tree/a");
	make_dir("tree/a/b");
	put_file("tree/a/b/x.log", "local");
	let_age();
	index_all(w);
	/* As the passive does it: deleted by the active, kept for the log. */
	static const char *const dirs[] = {"a", "a/b"};
	for (size_t i = 0; i < 2; i++) {
		struct index_entry entry = entry_of(w, dirs[i]), dead = {0};
		dead.rec =
			(struct record){.path = entry.rec.path, .kind = RECORD_ABSENT, .epoch = 1};
		dead.rec.seq = 100 + i;
		dead.inst = entry.inst;
		dead.flags = ENTRY_KEPT;
		struct installed done = {.entry = &dead};
		assert_int_equal(store_journal_end(w->store, &done, 1, NULL, 0, &err), 0);
		index_entry_release(&entry);
	}
	assert_scan(w, "", "");
	put_file("tree/a/b/y.log", "local");
	assert_scan(w, "", "");
	assert_int_equal(outcome_of(w, "a/b"), CAPTURE_NOTHING);
	put_file("tree/a/b/ours", "x");
	assert_scan(w, "", "a\na/b\na/b/ours\n");
	let_age();
	assert_int_equal(index_all(w), 3);
	assert_indexed(w);
}

static void names_that_no_record_can_hold_are_counted(void **state)
{
	struct world *w = *state;
	char name[201];
	memset(name, 'd', 200);
	name[200] = '\0';
	AUTO_CLOSE int home = open(".", O_RDONLY | O_DIRECTORY);
	assert_int_equal(chdir("tree"), 0);
	for (int i = 0; i < 22; i++) {
		make_dir(name);
		assert_int_equal(chdir(name), 0);
	}
	assert_int_equal(fchdir(home), 0);
	free(scan_paths(w, ""));
	assert_int_equal(w->counts.too_long, 1);
	assert_int_equal(w->counts.entries, 22);
	/* remove(3) cannot reach it either. */
	for (int i = 22; i > 0; i--) {
		assert_int_equal(chdir("tree"), 0);
		for (int k = 1; k < i; k++)
			assert_int_equal(chdir(name), 0);
		assert_int_equal(rmdir(name), 0);
		assert_int_equal(fchdir(home), 0);
	}
}

/* ---- random trees --------------------------------------------------------------------------- */

static const char *const names[] = {"a", "a-b", "a.b", "a0",	   "a b",
				    "b", "b-",	"B",   "\xc3\xa4", "a\n"};

static void random_path(char out[128])
{
	char *at = stpcpy(out, "tree");
	for (int depth = 1 + rand() % 3; depth > 0; depth--)
		at += sprintf(at, "/%s", names[(size_t)rand() % ARRAY_LEN(names)]);
}

static void random_change(void)
{
	char path[128], other[128];
	random_path(path);
	switch (rand() % 8) {
	case 0:
	case 1:
	case 2: mkdir(path, 0755); break;
	case 3:
	case 4: {
		AUTO_CLOSE int fd = open(path, O_WRONLY | O_CREAT, 0644);
		if (fd >= 0)
			assert_int_equal(write(fd, path, (size_t)(rand() % 100)) >= 0, 1);
		break;
	}
	case 5: remove_all(path); break;
	case 6: {
		int r = symlink("x", path);
		(void)r;
		break;
	}
	default: random_path(other); rename(path, other);
	}
}

/* After each burst one scan and capture must bring the index to the tree, whatever happened. */
static void random_changes_are_all_found(void **state)
{
	struct world *w = *state;
	unsigned seed = (unsigned)clock_real_ns();
	print_message("seed %u\n", seed);
	srand(seed);
	for (int burst = 0; burst < 60; burst++) {
		for (int i = rand() % 40; i >= 0; i--)
			random_change();
		let_age();
		index_all(w);
		assert_indexed(w);
	}
}

static void a_large_directory_is_scanned_in_slices(void **state)
{
	struct world *w = *state;
	const int files = 30000;
	make_dir("tree/big");
	AUTO_CLOSE int dir = open("tree/big", O_RDONLY | O_DIRECTORY);
	for (int i = 0; i < files; i++) {
		char name[16];
		sprintf(name, "f%d", i);
		AUTO_CLOSE int fd = openat(dir, name, O_WRONLY | O_CREAT, 0644);
		assert_true(fd >= 0);
	}
	let_age();
	assert_int_equal(index_all(w), files + 2);
	struct scan *scan;
	struct err err = {0};
	char **paths;
	size_t n;
	uint64_t start = clock_mono_ns();
	assert_int_equal(scan_begin(&scan, w->tree, w->store, w->profile, "", &err), 0);
	assert_int_equal(scan_step(scan, 1000, &paths, &n, &err), 1);
	assert_int_equal(n, 0);
	free(paths);
	assert_int_equal(scan_step(scan, 1000, &paths, &n, &err), 0);
	free(paths);
	uint64_t took = clock_mono_ns() - start;
	print_message("%.0f entries/s\n", (double)files * 1e9 / (double)took);
	scan_free(scan);
}

int main(void)
{
	may_mount(); /* before anything is opened */
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(new_paths_come_in_the_order_of_the_index, enter,
						leave),
		cmocka_unit_test_setup_teardown(changes_are_reported_and_only_they, enter, leave),
		cmocka_unit_test_setup_teardown(a_racy_entry_is_reported_until_it_was_read_again,
						enter, leave),
		cmocka_unit_test_setup_teardown(what_vanished_is_reported_once, enter, leave),
		cmocka_unit_test_setup_teardown(a_directory_in_the_place_of_a_file_and_back, enter,
						leave),
		cmocka_unit_test_setup_teardown(a_part_is_scanned_with_its_unknown_ancestors, enter,
						leave),
		cmocka_unit_test_setup_teardown(our_own_directory_is_never_seen, enter, leave),
		cmocka_unit_test_setup_teardown(special_files_are_counted, enter, leave),
		cmocka_unit_test_setup_teardown(a_scan_without_descriptors_says_so, enter, leave),
		cmocka_unit_test_setup_teardown(an_unreadable_directory_deletes_nothing, enter,
						leave),
		cmocka_unit_test_setup_teardown(a_lost_root_ends_the_scan, enter, leave),
		cmocka_unit_test_setup_teardown(a_mount_that_is_not_followed_is_not_entered, enter,
						leave),
		cmocka_unit_test_setup_teardown(what_the_profile_leaves_out_is_not_entered, enter,
						leave),
		cmocka_unit_test_setup_teardown(a_passage_is_compared_without_its_times, enter,
						leave),
		cmocka_unit_test_setup_teardown(compared_files_are_reported_each_time, enter,
						leave),
		cmocka_unit_test(followed_roots_are_entered_and_silent_when_lost),
		cmocka_unit_test(a_vanished_way_to_a_root_is_no_deletion),
		cmocka_unit_test_setup_teardown(a_kept_directory_is_no_change, enter, leave),
		cmocka_unit_test_setup_teardown(names_that_no_record_can_hold_are_counted, enter,
						leave),
		cmocka_unit_test_setup_teardown(random_changes_are_all_found, enter, leave),
		cmocka_unit_test_setup_teardown(a_large_directory_is_scanned_in_slices, enter,
						leave),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
