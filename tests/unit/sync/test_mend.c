/* A tree in which somebody else has worked is put right, wherever the mending dies or a disk call
 * fails: in the end it is what the index says, and what was foreign is in the salvage. */
#include "commit_help.h"

#include <pthread.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "agent/base/fault.h"
#include "agent/conf/profile.h"
#include "agent/sync/mend.h"

#define FILE_LINE(path, content)                                    \
	{                                                           \
		OP_WHOLE, path, RECORD_FILE, content, 0644, S(1000) \
	}
#define DIR_LINE(path)                                        \
	{                                                     \
		OP_META, path, RECORD_DIR, NULL, 0755, S(900) \
	}

static struct node node;
static struct profile *profile;

/* Each content is there twice, so that all can be had here. */
static const struct line replicated[] = {
	DIR_LINE(""),
	DIR_LINE("twins"),
	DIR_LINE("d"),
	DIR_LINE("d/e"),
	FILE_LINE("a", "content a"),
	FILE_LINE("twins/a", "content a"),
	FILE_LINE("b", "content b"),
	FILE_LINE("twins/b", "content b"),
	FILE_LINE("c", "content c"),
	FILE_LINE("twins/c", "content c"),
	FILE_LINE("m", "content m"),
	FILE_LINE("d/e/f", "content f"),
	FILE_LINE("twins/f", "content f"),
	{OP_META, "l", RECORD_SYMLINK, "target", 0, S(1000)},
};

static const char *const foreign[] = {"foreign a", "foreign inside b", "foreign instead of e",
				      "foreign new", "foreign in new"};

static void use_profile(void)
{
	assert_fine(profile_new(&profile, "all", NULL, 0, true, &node.err), &node.err);
	node.env.profile = profile;
}

static void begin(bool steps)
{
	node = (struct node){.cannot_exchange = steps};
	node_make(&node);
	use_profile();
	commit_lines(&node, replicated, ARRAY_LEN(replicated));
}

static void end(void)
{
	profile_free(profile);
	node_remove(&node);
}

static void shell(const char *command)
{
	char whole[1024];
	snprintf(whole, sizeof(whole), "cd %s && { %s; }", node.tree_dir, command);
	assert_int_equal(system(whole), 0);
}

static void intrude(void)
{
	shell("printf 'foreign a' > a");
	shell("rm b && mkdir b && printf 'foreign inside b' > b/x");
	shell("rm c");
	shell("chmod 600 m && touch m");
	shell("rm -r d/e && printf 'foreign instead of e' > d/e");
	shell("ln -sfn elsewhere l");
	shell("printf 'foreign new' > new");
	shell("mkdir -p n/n && printf 'foreign in new' > n/n/x");
}

static const char *const suspects[] = {"",  "a", "b", "b/x", "c",     "d",   "d/e",  "d/e/f",
				       "l", "m", "n", "n/n", "n/n/x", "new", "twins"};

static void let_age(void)
{
	const struct timespec wait = {.tv_nsec = 25000000};
	nanosleep(&wait, NULL);
}

/* @return how many are not settled */
static size_t mend_once(void)
{
	struct mend_item items[ARRAY_LEN(suspects)] = {0};
	size_t open = 0;
	for (size_t i = 0; i < ARRAY_LEN(suspects); i++)
		items[i] = (struct mend_item){.path = x_strdup(suspects[i]), .nobody_to_ask = true};
	mend_run(&node.env, items, ARRAY_LEN(suspects));
	for (size_t i = 0; i < ARRAY_LEN(suspects); i++) {
		open += items[i].result != MEND_MATCHES;
		mend_item_release(&items[i]);
	}
	return open;
}

static void mend_until_settled(void)
{
	for (int i = 0; i < 10; i++) {
		let_age();
		if (mend_once() == 0)
			return;
	}
	fail_msg("ten looks are not enough");
}

static void assert_right(long nth)
{
	char command[256];
	for (size_t i = 0; i < ARRAY_LEN(replicated); i++) {
		if (!is_line_true(&node, &replicated[i]))
			fail_msg("%ld: \"%s\" is not as replicated", nth, replicated[i].path);
	}
	assert_consistent(&node);
	for (size_t i = 0; i < ARRAY_LEN(foreign); i++) {
		snprintf(command, sizeof(command), "grep -rqx '%s' %s/.artifact-sync/salvage",
			 foreign[i], node.tree_dir);
		if (system(command) != 0)
			fail_msg("%ld: \"%s\" is lost", nth, foreign[i]);
	}
	shell("test ! -e new -a ! -e n");
}

static void it_is_put_right(void **state)
{
	(void)state;
	for (int steps = 0; steps < 2; steps++) {
		begin(steps);
		intrude();
		mend_until_settled();
		assert_right(0);
		end();
	}
}

static enum mend_result mend_path(const char *path, bool report_only, char what[80])
{
	struct mend_item item = {
		.path = x_strdup(path), .report_only = report_only, .nobody_to_ask = true};
	let_age();
	mend_run(&node.env, &item, 1);
	enum mend_result result = item.result;
	memcpy(what, item.what, sizeof(item.what));
	mend_item_release(&item);
	return result;
}

static void it_is_only_reported(void **state)
{
	(void)state;
	static const struct {
		const char *path, *what;
	} expected[] = {{"a", "content"},	   {"b", "directory took"}, {"c", "missing"},
			{"m", "0644 became 0600"}, {"d/e", "file took"},    {"l", "elsewhere"},
			{"new", "nobody"},	   {"n", "nobody"}};
	char what[80];
	begin(false);
	intrude();
	for (size_t i = 0; i < ARRAY_LEN(expected); i++) {
		assert_int_equal(mend_path(expected[i].path, true, what), MEND_REPORTED);
		assert_non_null(strstr(what, expected[i].what));
	}
	AUTO_FREE char *content = read_local(&node, "new");
	assert_string_equal(content, "foreign new");
	assert_int_equal(store_salvage_count(node.store), 0);
	end();
}

static void a_stat_that_means_nothing_is_taken_over(void **state)
{
	(void)state;
	char what[80];
	struct index_entry entry;
	struct stat st;
	char full[512];
	begin(false);
	shell("cp -p a ../a && mv ../a a");
	assert_int_equal(mend_path("a", true, what), MEND_MATCHES);
	assert_fine(store_get(node.store, "a", &entry, &node.err), &node.err);
	snprintf(full, sizeof(full), "%s/a", node.tree_dir);
	assert_int_equal(lstat(full, &st), 0);
	assert_int_equal(entry.inst.ino, st.st_ino);
	index_entry_release(&entry);
	assert_int_equal(store_salvage_count(node.store), 0);
	assert_int_equal(mend_path("", false, what), MEND_QUIET);
	assert_consistent(&node);
	end();
}

static int64_t ctime_of(const char *path)
{
	struct stat st;
	char full[512];
	snprintf(full, sizeof(full), "%s/%s", node.tree_dir, path);
	assert_int_equal(lstat(full, &st), 0);
	return meta_ns(&st.st_ctim);
}

/* Not for a moment: it would be found missing. */
static void what_the_salvage_has_no_room_for_is_not_moved(void **state)
{
	(void)state;
	static const char *const paths[] = {"a", "b", "d/e", "new", "n"};
	const uint64_t max = 5;
	char what[80];
	begin(false);
	intrude();
	node.env.salvage_max = &max;
	for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
		int64_t before = ctime_of(paths[i]);
		assert_int_equal(mend_path(paths[i], false, what), MEND_FAILED);
		assert_true(ctime_of(paths[i]) == before); /* a rename would change it */
	}
	node.env.salvage_max = NULL;
	mend_until_settled();
	assert_right(0);
	end();
}

/* As an agent that may read only what its user may. The file is its own, or another's. */
static void what_cannot_be_read_is_saved_all_the_same(void **state)
{
	(void)state;
	char what[80];
	if (geteuid() != 0)
		skip();
	for (int others = 0; others < 2; others++) {
		begin(false);
		shell("chown -R 65534 ..");
		shell(others ? "printf 'foreign a' > x && chmod 600 x && mv x a"
			     : "printf 'foreign and longer' > a && chmod 0 a");
		assert_int_equal(seteuid(65534), 0);
		enum mend_result result = mend_path("a", false, what);
		assert_int_equal(seteuid(0), 0);
		assert_int_equal(result, MEND_DONE);
		assert_true(is_line_true(&node, &replicated[4]));
		assert_true(is_in_salvage(&node, others ? "foreign a" : "foreign and longer"));
		end();
	}
}

static void bytes_that_are_nowhere_are_asked_for(void **state)
{
	(void)state;
	char what[80];
	begin(false);
	shell("rm a && printf 'other con' > twins/a");
	assert_int_equal(mend_path("a", false, what), MEND_CONTENT);
	assert_null(read_local(&node, "a"));
	end();
}

/* Somebody replaces the version that is to be put back while it is staged: the index decides. */
static void an_older_version_is_never_put_back(void **state)
{
	(void)state;
	struct index_entry old;
	struct line newer = FILE_LINE("a", "the next version");
	begin(false);
	assert_fine(store_get(node.store, "a", &old, &node.err), &node.err);
	struct commit_item *items = items_make(&node, &replicated[4], 1);
	index_entry_release(&items[0].entry);
	index_entry_copy(&items[0].entry, &old);
	items[0].mend = COMMIT_PUT_BACK;
	commit_lines(&node, &newer, 1);
	shell("rm a");
	assert_fine(commit_run(&node.env, items, 1, &node.err), &node.err);
	assert_int_equal(items[0].result, COMMIT_NEED);
	assert_int_equal(items[0].reason, NEED_LOOK);
	assert_null(read_local(&node, "a"));
	items_free(items, 1);
	index_entry_release(&old);
	end();
}

static void a_tombstone_stays_one(void **state)
{
	(void)state;
	char what[80];
	struct index_entry entry;
	const struct line gone = {OP_DELETE, "a", RECORD_ABSENT, NULL, 0, 0};
	begin(false);
	commit_lines(&node, &gone, 1);
	shell("printf 'foreign a' > a");
	assert_int_equal(mend_path("a", false, what), MEND_DONE);
	assert_true(is_in_salvage(&node, "foreign a"));
	assert_fine(store_get(node.store, "a", &entry, &node.err), &node.err);
	assert_int_equal(entry.rec.kind, RECORD_ABSENT);
	assert_int_equal(entry.rec.seq, node.seq);
	index_entry_release(&entry);
	end();
}

/* Its own deletion found something in it. */
static void a_kept_directory_goes_with_what_kept_it(void **state)
{
	(void)state;
	char what[80];
	struct index_entry entry;
	const struct line gone[] = {{OP_DELETE, "d/e/f", RECORD_ABSENT, NULL, 0, 0},
				    {OP_DELETE, "d/e", RECORD_ABSENT, NULL, 0, 0}};
	begin(false);
	shell("printf 'foreign' > d/e/x");
	commit_lines(&node, gone, 2);
	shell("test -d d/e");
	assert_int_equal(mend_path("d/e/x", false, what), MEND_DONE);
	shell("test ! -e d/e");
	assert_fine(store_get(node.store, "d/e", &entry, &node.err), &node.err);
	assert_int_equal(entry.rec.kind, RECORD_ABSENT);
	assert_int_equal(entry.flags, 0);
	index_entry_release(&entry);
	end();
}

static _Atomic bool stop;

static void *mend_all_the_time(void *arg)
{
	(void)arg;
	while (!stop)
		mend_once();
	return NULL;
}

/* Between a batch's journal and its index everything in it looks like drift, and both versions'
 * bytes are here to be put back. */
static void publishing_is_never_drift(void **state)
{
	(void)state;
	struct commit_turn turn;
	pthread_t thread;
	const struct line versions[2][3] = {
		{FILE_LINE("a", "content b"), FILE_LINE("b", "content c"),
		 FILE_LINE("c", "content a")},
		{FILE_LINE("a", "content a"), FILE_LINE("b", "content b"),
		 FILE_LINE("c", "content c")}};
	begin(false);
	commit_turn_init(&turn);
	node.env.turn = &turn;
	stop = false;
	assert_int_equal(pthread_create(&thread, NULL, mend_all_the_time, NULL), 0);
	for (int i = 0; i < 100; i++)
		commit_lines(&node, versions[i % 2], 3);
	stop = true;
	pthread_join(thread, NULL);
	assert_int_equal(store_salvage_count(node.store), 0);
	assert_consistent(&node);
	commit_turn_release(&turn);
	end();
}

static void die_at(long nth, bool *fired)
{
	node_close(&node);
	pid_t child = fork();
	assert_true(child >= 0);
	if (child == 0) {
		struct fault fault = {.nth = nth};
		node_open(&node);
		node.env.profile = profile;
		intrude();
		let_age();
		fault_arm(&fault);
		mend_once();
		_exit(0);
	}
	int status;
	assert_int_equal(waitpid(child, &status, 0), child);
	*fired = WIFSIGNALED(status);
	assert_true(*fired ? WTERMSIG(status) == SIGKILL : WEXITSTATUS(status) == 0);
	node_open(&node);
	node.env.profile = profile;
}

static void it_may_die_anywhere(void **state)
{
	(void)state;
	bool fired = true;
	long nth;
	for (nth = nth_first(); fired; nth += nth_step()) {
		begin(nth % 4 == 0);
		die_at(nth, &fired);
		assert_fine(commit_recover(&node.env, &node.err), &node.err);
		mend_until_settled();
		assert_right(nth);
		end();
	}
	print_message("%ld places to die\n", nth - 1 - nth_step());
	assert_true(nth > 30);
}

static void any_disk_call_may_fail(void **state)
{
	(void)state;
	bool fired = true;
	long nth;
	for (nth = nth_first(); fired; nth += nth_step()) {
		struct fault fault = {.nth = nth, .err = nth % 2 ? EIO : ENOSPC};
		begin(nth % 4 == 0);
		intrude();
		let_age();
		fault_arm(&fault);
		mend_once();
		fault_disarm();
		fired = fault.fired;
		mend_until_settled();
		assert_fine(commit_recover(&node.env, &node.err), &node.err);
		assert_right(nth);
		end();
	}
	print_message("%ld calls failed\n", nth - 1 - nth_step());
	assert_true(nth > 30);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(it_is_put_right),
		cmocka_unit_test(it_is_only_reported),
		cmocka_unit_test(a_stat_that_means_nothing_is_taken_over),
		cmocka_unit_test(what_the_salvage_has_no_room_for_is_not_moved),
		cmocka_unit_test(what_cannot_be_read_is_saved_all_the_same),
		cmocka_unit_test(bytes_that_are_nowhere_are_asked_for),
		cmocka_unit_test(an_older_version_is_never_put_back),
		cmocka_unit_test(a_tombstone_stays_one),
		cmocka_unit_test(a_kept_directory_goes_with_what_kept_it),
		cmocka_unit_test(publishing_is_never_drift),
		cmocka_unit_test(it_may_die_anywhere),
		cmocka_unit_test(any_disk_call_may_fail),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
