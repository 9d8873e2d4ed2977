/* Batches onto a real tree: what becomes of every kind of change, of what stands in the way, and of
 * a batch in which any disk call fails or the process dies. */
#include "tests/unit/sync/commit_help.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/base/fault.h"

#define FILE_LINE(path, content, mtime)                           \
	{                                                         \
		OP_WHOLE, path, RECORD_FILE, content, 0644, mtime \
	}
#define DIR_LINE(path, mode, mtime)                          \
	{                                                    \
		OP_META, path, RECORD_DIR, NULL, mode, mtime \
	}
#define LINK_LINE(path, target, mtime)                          \
	{                                                       \
		OP_META, path, RECORD_SYMLINK, target, 0, mtime \
	}
#define META_LINE(path, content, mode, mtime)                    \
	{                                                        \
		OP_META, path, RECORD_FILE, content, mode, mtime \
	}
#define DELETE_LINE(path)                                  \
	{                                                  \
		OP_DELETE, path, RECORD_ABSENT, NULL, 0, 0 \
	}
#define ABSENT_LINE(path)                                  \
	{                                                  \
		OP_ABSENT, path, RECORD_ABSENT, NULL, 0, 0 \
	}

static struct node node;

static int begin(void **state)
{
	node = (struct node){0};
	node_make(&node);
	return 0;
}

static int begin_followed(void **state)
{
	static char at[] = "linked";
	node = (struct node){.follow = {at}, .n_follow = 1};
	node_make(&node);
	return 0;
}

static int end(void **state)
{
	node_remove(&node);
	return 0;
}

static struct commit_item *run(const struct line *lines, size_t n)
{
	struct commit_item *items = items_make(&node, lines, n);
	assert_fine(commit_run(&node.env, items, n, &node.err), &node.err);
	return items;
}

/* Commits one line and expects this answer. */
static void expect(struct line line, enum commit_result result, uint8_t reason)
{
	struct commit_item *items = run(&line, 1);
	if (items[0].result != result || (result != COMMIT_DONE && items[0].reason != reason))
		fail_msg("%s: result %d reason %d: %s", line.path, items[0].result, items[0].reason,
			 items[0].text);
	items_free(items, 1);
}

#define EXPECT(result, reason, ...) expect((struct line)__VA_ARGS__, result, reason)

/* ---- the plain changes -------------------------------------------------------------------------
 */

static const struct line small_tree[] = {
	DIR_LINE("", 0755, S(100)),	     DIR_LINE("a", 0750, S(200) + 5),
	FILE_LINE("a/x", "one", S(300) + 7), FILE_LINE("a/y", "", S(-5)),
	LINK_LINE("l", "a/x", S(400)),
};

static void a_tree_comes_with_all_metadata(void **state)
{
	commit_lines(&node, small_tree, ARRAY_LEN(small_tree));
	for (size_t i = 0; i < ARRAY_LEN(small_tree); i++)
		assert_true(is_line_true(&node, &small_tree[i]));
	assert_consistent(&node);
	struct store_state now;
	store_state(node.store, &now);
	assert_int_equal(now.records, 5);
	assert_int_equal(now.last_seq, 5);
	assert_int_equal(salvage_files(&node), 0);
}

static void a_new_version_keeps_the_times_of_directories(void **state)
{
	commit_lines(&node, small_tree, ARRAY_LEN(small_tree));
	const struct line next[] = {FILE_LINE("a/x", "two", S(500)), FILE_LINE("a/new", "n", S(1)),
				    DELETE_LINE("a/y")};
	commit_lines(&node, next, 3);
	assert_true(is_line_true(&node, &next[0]));
	assert_true(is_line_true(&node, &small_tree[1]));
	assert_true(is_line_true(&node, &next[2]));
	assert_consistent(&node);
	assert_int_equal(salvage_files(&node), 0);
}

static void metadata_alone_needs_the_content_to_be_there(void **state)
{
	commit_lines(&node, small_tree, ARRAY_LEN(small_tree));
	struct line meta = META_LINE("a/x", "one", 0600, S(900));
	commit_lines(&node, &meta, 1);
	assert_true(is_line_true(&node, &meta));
	assert_consistent(&node);
	EXPECT(COMMIT_NEED, NEED_CONTENT, META_LINE("a/x", "another", 0600, S(900)));
	EXPECT(COMMIT_NEED, NEED_CONTENT, META_LINE("a/none", "", 0600, S(900)));
	write_local(&node, "a/x", "one");
	EXPECT(COMMIT_NEED, NEED_CONTENT, META_LINE("a/x", "one", 0640, S(901)));
	AUTO_FREE char *content = read_local(&node, "a/x");
	assert_string_equal(content, "one");
}

static void a_directory_that_cannot_be_finished_does_not_stay(void **state)
{
	const struct line dir = DIR_LINE("d", 0755, S(1));
	const uint8_t attribute[] = "\0\x13security.capability\0\0\0\1";
	struct stat st;
	char path[200];
	commit_lines(&node, small_tree, ARRAY_LEN(small_tree));
	struct commit_item *items = items_make(&node, &dir, 1);
	items[0].entry.rec.xattrs = x_memdup(attribute, sizeof(attribute));
	items[0].entry.rec.xattrs_len = sizeof(attribute);
	assert_fine(commit_run(&node.env, items, 1, &node.err), &node.err);
	assert_int_equal(items[0].result, COMMIT_REFUSED);
	items_free(items, 1);
	snprintf(path, sizeof(path), "%s/d", node.tree_dir);
	assert_int_equal(lstat(path, &st), -1);
	assert_consistent(&node);
}

static void kinds_change_into_each_other(void **state)
{
	const struct line before[] = {
		DIR_LINE("", 0755, S(1)),	 DIR_LINE("d", 0755, S(2)),
		FILE_LINE("d/1", "1", S(3)),	 DIR_LINE("d/s", 0755, S(4)),
		FILE_LINE("d/s/2", "2", S(5)),	 FILE_LINE("f", "f", S(6)),
		LINK_LINE("l", "nowhere", S(7)), FILE_LINE("g", "g", S(8)),
	};
	const struct line after[] = {
		DIR_LINE("f", 0700, S(20)),
		FILE_LINE("f/in", "in", S(21)),
		FILE_LINE("l", "file", S(22)),
		DELETE_LINE("d/1"),
		DELETE_LINE("d/s/2"),
		DELETE_LINE("d/s"),
		FILE_LINE("d", "was a dir", S(23)),
		LINK_LINE("g", "f/in", S(24)),
	};
	commit_lines(&node, before, ARRAY_LEN(before));
	commit_lines(&node, after, ARRAY_LEN(after));
	assert_true(is_line_true(&node, &after[0]));
	assert_true(is_line_true(&node, &after[1]));
	assert_true(is_line_true(&node, &after[2]));
	assert_true(is_line_true(&node, &after[6]));
	assert_true(is_line_true(&node, &after[7]));
	assert_consistent(&node);
	assert_int_equal(salvage_files(&node), 0);
	const struct line back[] = {DIR_LINE("d", 0755, S(30)), FILE_LINE("d/1", "1", S(31)),
				    DELETE_LINE("f/in"), LINK_LINE("f", "x", S(32)),
				    DIR_LINE("l", 0711, S(33))};
	commit_lines(&node, back, ARRAY_LEN(back));
	for (size_t i = 0; i < ARRAY_LEN(back); i++)
		assert_true(is_line_true(&node, &back[i]));
	assert_consistent(&node);
	assert_int_equal(salvage_files(&node), 0);
}

static void a_directory_whose_tombstones_are_late_goes_whole(void **state)
{
	commit_lines(&node, small_tree, ARRAY_LEN(small_tree));
	const struct line file = FILE_LINE("a", "now a file", S(9));
	commit_lines(&node, &file, 1);
	assert_true(is_line_true(&node, &file));
	struct index_entry e;
	assert_int_equal(store_get(node.store, "a/x", &e, &node.err), -ENOENT);
	assert_consistent(&node);
	const struct line late[] = {DELETE_LINE("a/x"), DELETE_LINE("a/y")};
	commit_lines(&node, late, 2);
	assert_consistent(&node);
}

static void many_files_go_in_one_batch(void **state)
{
	enum { N = 300 };
	static char paths[N][32];
	struct line lines[N + 10];
	size_t n = 0;
	lines[n++] = (struct line)DIR_LINE("", 0755, S(1));
	for (size_t i = 0; i < 9; i++) {
		sprintf(paths[i], "d%zu", i);
		lines[n++] = (struct line)DIR_LINE(paths[i], 0755, S(2));
	}
	for (size_t i = 9; i < N; i++) {
		sprintf(paths[i], "d%zu/%zu", i % 9, i);
		lines[n++] = (struct line)FILE_LINE(paths[i], paths[i], S(3));
	}
	commit_lines(&node, lines, n);
	assert_consistent(&node);
}

/* ---- what is in the way ------------------------------------------------------------------------
 */

static void local_content_is_saved_and_equal_content_is_not(void **state)
{
	const struct line top = DIR_LINE("", 0755, S(1));
	commit_lines(&node, &top, 1);
	write_local(&node, "unknown", "never seen");
	write_local(&node, "foreign", "foreign bytes");
	write_local(&node, "equal", "the same");
	capture_foreign(&node, "foreign");
	capture_foreign(&node, "equal");
	const struct line next[] = {FILE_LINE("unknown", "1", S(2)),
				    FILE_LINE("foreign", "2", S(2)),
				    FILE_LINE("equal", "the same", S(2))};
	commit_lines(&node, next, 3);
	assert_consistent(&node);
	assert_true(is_in_salvage(&node, "never seen"));
	assert_true(is_in_salvage(&node, "foreign bytes"));
	assert_int_equal(salvage_files(&node), 2);
	assert_int_equal(store_salvage_count(node.store), 2);
	struct store_state now;
	store_state(node.store, &now);
	assert_int_equal(now.foreign, 0);
}

static void drift_is_saved_before_it_is_replaced_or_deleted(void **state)
{
	commit_lines(&node, small_tree, ARRAY_LEN(small_tree));
	write_local(&node, "a/x", "edited here");
	write_local(&node, "a/y", "this, too");
	const struct line next[] = {FILE_LINE("a/x", "two", S(2)), DELETE_LINE("a/y")};
	commit_lines(&node, next, 2);
	assert_consistent(&node);
	assert_true(is_in_salvage(&node, "edited here"));
	assert_true(is_in_salvage(&node, "this, too"));
	write_local(&node, "a/unknown", "deleted there, local here");
	const struct line gone[] = {DELETE_LINE("a/unknown")};
	commit_lines(&node, gone, 1);
	assert_true(is_in_salvage(&node, "deleted there, local here"));
}

static void a_directory_with_local_files_is_kept(void **state)
{
	commit_lines(&node, small_tree, ARRAY_LEN(small_tree));
	write_local(&node, "a/local", "not your business");
	const struct line gone[] = {DELETE_LINE("a/x"), DELETE_LINE("a/y"), DELETE_LINE("a")};
	commit_lines(&node, gone, 3);
	AUTO_FREE char *local = read_local(&node, "a/local");
	assert_string_equal(local, "not your business");
	struct index_entry e;
	assert_fine(store_get(node.store, "a", &e, &node.err), &node.err);
	assert_int_equal(e.rec.kind, RECORD_ABSENT);
	assert_true(e.flags & ENTRY_KEPT);
	index_entry_release(&e);
	assert_consistent(&node);
	const struct line again = DIR_LINE("a", 0700, S(77));
	commit_lines(&node, &again, 1);
	assert_true(is_line_true(&node, &again));
	assert_consistent(&node);
}

/* A deletion that was refused at first is done later than that of the directory above it. */
static void a_kept_directory_goes_with_what_kept_it(void **state)
{
	const struct line tree[] = {DIR_LINE("", 0755, S(1)), DIR_LINE("a", 0755, S(1)),
				    DIR_LINE("a/b", 0755, S(1)), FILE_LINE("a/b/x", "x", S(1)),
				    FILE_LINE("a/b/y", "y", S(1))};
	commit_lines(&node, tree, ARRAY_LEN(tree));
	const struct line above[] = {DELETE_LINE("a/b"), DELETE_LINE("a")};
	commit_lines(&node, above, 2);
	const struct line one[] = {DELETE_LINE("a/b/x")};
	commit_lines(&node, one, 1);
	struct index_entry e;
	assert_fine(store_get(node.store, "a", &e, &node.err), &node.err);
	assert_true(e.flags & ENTRY_KEPT);
	index_entry_release(&e);
	const struct line last[] = {DELETE_LINE("a/b/y")};
	commit_lines(&node, last, 1);
	char path[128];
	snprintf(path, sizeof(path), "%s/a", node.tree_dir);
	assert_int_equal(access(path, F_OK), -1);
	assert_fine(store_get(node.store, "a", &e, &node.err), &node.err);
	assert_int_equal(e.rec.kind, RECORD_ABSENT);
	assert_false(e.flags & ENTRY_KEPT);
	index_entry_release(&e);
	assert_consistent(&node);
}

/* The same batch makes it again: then it stays. */
static void a_kept_directory_that_comes_again_stays(void **state)
{
	const struct line tree[] = {DIR_LINE("", 0755, S(1)), DIR_LINE("a", 0755, S(1)),
				    FILE_LINE("a/x", "x", S(1))};
	commit_lines(&node, tree, ARRAY_LEN(tree));
	const struct line above[] = {DELETE_LINE("a")};
	commit_lines(&node, above, 1);
	const struct line both[] = {DIR_LINE("a", 0700, S(7)), DELETE_LINE("a/x")};
	commit_lines(&node, both, 2);
	assert_true(is_line_true(&node, &both[0]));
	assert_consistent(&node);
}

/* And what takes its place takes that of what kept it, too: none of it is anybody's own. */
static void a_kept_directory_goes_with_the_one_above(void **state)
{
	const struct line tree[] = {DIR_LINE("", 0755, S(1)), DIR_LINE("a", 0755, S(1)),
				    DIR_LINE("a/b", 0755, S(1)), FILE_LINE("a/b/x", "x", S(1))};
	const struct line kept[] = {DELETE_LINE("a/b")};
	const struct line instead[] = {FILE_LINE("a", "a file", S(2)), DELETE_LINE("a/b/x")};
	for (int local = 0; local <= 1; local++) {
		commit_lines(&node, tree, ARRAY_LEN(tree));
		if (local)
			write_local(&node, "a/b/local", "not your business");
		commit_lines(&node, kept, 1);
		commit_lines(&node, &instead[0], 1);
		commit_lines(&node, &instead[1], 1);
		assert_true(is_line_true(&node, &instead[0]));
		assert_consistent(&node);
		assert_int_equal(store_salvage_count(node.store), local);
	}
}

static void what_the_survivor_never_had_goes_to_the_salvage(void **state)
{
	commit_lines(&node, small_tree, ARRAY_LEN(small_tree));
	assert_int_equal(mkdir("/dev/null/x", 0700), -1);
	write_local(&node, "a/mine", "divergent");
	capture_foreign(&node, "a/mine");
	const struct line absent[] = {ABSENT_LINE("a/mine"), ABSENT_LINE("a/x"),
				      ABSENT_LINE("never")};
	commit_lines(&node, absent, 3);
	assert_true(is_in_salvage(&node, "divergent"));
	assert_int_equal(salvage_files(&node), 1); /* a/x was replicated */
	struct index_entry e;
	assert_int_equal(store_get(node.store, "a/mine", &e, &node.err), -ENOENT);
	assert_int_equal(store_get(node.store, "a/x", &e, &node.err), -ENOENT);
	assert_consistent(&node);
}

static void when_the_salvage_fails_nothing_is_replaced(void **state)
{
	char dir[128];
	commit_lines(&node, small_tree, ARRAY_LEN(small_tree));
	write_local(&node, "a/x", "local x");
	write_local(&node, "a/y", "local y");
	write_local(&node, "f", "local f");
	/* A salvage directory that nothing can be made in, also for root: it is gone. */
	sprintf(dir, "%s/.artifact-sync/salvage", node.tree_dir);
	assert_int_equal(rmdir(dir), 0);
	EXPECT(COMMIT_REFUSED, REFUSED_SALVAGE, FILE_LINE("a/x", "two", S(2)));
	EXPECT(COMMIT_REFUSED, REFUSED_SALVAGE, DELETE_LINE("a/y"));
	EXPECT(COMMIT_REFUSED, REFUSED_SALVAGE, DIR_LINE("f", 0755, S(2)));
	AUTO_FREE char *x = read_local(&node, "a/x");
	AUTO_FREE char *y = read_local(&node, "a/y");
	AUTO_FREE char *f = read_local(&node, "f");
	assert_string_equal(x, "local x");
	assert_string_equal(y, "local y");
	assert_string_equal(f, "local f");
	assert_int_equal(store_salvage_count(node.store), 0);
	assert_fine(commit_recover(&node.env, &node.err), &node.err);
	sprintf(dir, "%s/.artifact-sync/stage", node.tree_dir);
	assert_int_equal(rmdir(dir), 0); /* empty */
	assert_int_equal(mkdir(dir, 0700), 0);
}

/* ---- what cannot go on -------------------------------------------------------------------------
 */

static void a_missing_parent_is_asked_for(void **state)
{
	commit_lines(&node, small_tree, ARRAY_LEN(small_tree));
	EXPECT(COMMIT_NEED, NEED_PARENT, FILE_LINE("no/x", "x", S(1)));
	EXPECT(COMMIT_NEED, NEED_PARENT, DIR_LINE("no/d", 0755, S(1)));
	EXPECT(COMMIT_NEED, NEED_PARENT, FILE_LINE("a/x/under-a-file", "x", S(1)));
	EXPECT(COMMIT_NEED, NEED_PARENT, LINK_LINE("l/under-a-link", "x", S(1)));
	EXPECT(COMMIT_DONE, 0, DELETE_LINE("no/y"));
	assert_consistent(&node);
	struct index_entry e;
	assert_int_equal(store_get(node.store, "no/x", &e, &node.err), -ENOENT);
}

/* Of set 1 a parent is missing, of set 2 the content that metadata was sent for: both stay out. */
static void a_set_goes_whole_or_not_at_all(void **state)
{
	const struct line old[] = {
		{OP_META, "", RECORD_DIR, NULL, 0755, S(1)},
		{OP_WHOLE, "a", RECORD_FILE, "old", 0644, S(1)},
		{OP_WHOLE, "b", RECORD_FILE, "old", 0644, S(1)},
		{OP_WHOLE, "c", RECORD_FILE, "old", 0644, S(1)},
	};
	commit_lines(&node, old, ARRAY_LEN(old));
	const struct line new[] = {
		{OP_WHOLE, "a", RECORD_FILE, "new", 0644, S(2)},
		{OP_WHOLE, "none/x", RECORD_FILE, "new", 0644, S(2)},
		{OP_META, "gone", RECORD_FILE, "other", 0600, S(2)},
		{OP_DELETE, "b", RECORD_ABSENT, NULL, 0, 0},
		{OP_META, "d", RECORD_DIR, NULL, 0755, S(2)},
		{OP_WHOLE, "d/x", RECORD_FILE, "new", 0644, S(2)},
		{OP_WHOLE, "c", RECORD_FILE, "new", 0644, S(2)},
	};
	static const uint32_t sets[] = {1, 1, 2, 2, 3, 3, 0};
	struct commit_item *items = items_make(&node, new, ARRAY_LEN(new));
	for (size_t i = 0; i < ARRAY_LEN(new); i++)
		items[i].set = sets[i];
	assert_fine(commit_run(&node.env, items, ARRAY_LEN(new), &node.err), &node.err);
	assert_int_equal(items[0].result, COMMIT_LEFT);
	assert_int_equal(items[1].result, COMMIT_NEED);
	assert_int_equal(items[1].reason, NEED_PARENT);
	assert_int_equal(items[2].result, COMMIT_NEED);
	assert_int_equal(items[3].result, COMMIT_LEFT);
	for (size_t i = 4; i < ARRAY_LEN(new); i++) {
		assert_int_equal(items[i].result, COMMIT_DONE);
		assert_true(is_line_true(&node, &new[i]));
	}
	assert_true(is_line_true(&node, &old[1]));
	assert_true(is_line_true(&node, &old[2]));
	assert_consistent(&node);
	items_free(items, ARRAY_LEN(new));
}

static void a_read_only_directory_is_opened_for_a_moment(void **state)
{
	const struct line before[] = {DIR_LINE("", 0755, S(1)), DIR_LINE("ro", 0555, S(2)),
				      FILE_LINE("ro/x", "1", S(3))};
	commit_lines(&node, before, 3);
	const struct line next[] = {FILE_LINE("ro/x", "2", S(4)), FILE_LINE("ro/y", "y", S(5))};
	commit_lines(&node, next, 2);
	assert_true(is_line_true(&node, &before[1]));
	assert_true(is_line_true(&node, &next[1]));
	const struct line gone[] = {DELETE_LINE("ro/x"), DELETE_LINE("ro/y"), DELETE_LINE("ro")};
	commit_lines(&node, gone, 3);
	assert_consistent(&node);
}

static void a_root_that_is_away_refuses_by_name_and_the_rest_goes_on(void **state)
{
	char from[96], to[112];
	const struct line before[] = {DIR_LINE("", 0755, S(1)), DIR_LINE("linked", 0755, S(2)),
				      FILE_LINE("linked/x", "1", S(3))};
	commit_lines(&node, before, 3);
	sprintf(from, "%s/other", node.dir);
	sprintf(to, "%s/elsewhere", node.dir);
	assert_int_equal(rename(from, to), 0);
	assert_int_equal(mkdir(from, 0755), 0); /* an empty directory, as after an unmount */
	const struct line next[] = {FILE_LINE("here", "1", S(3)), FILE_LINE("linked/x", "2", S(3)),
				    DELETE_LINE("linked/x2")};
	struct commit_item *items = run(next, 3);
	assert_int_equal(items[0].result, COMMIT_DONE);
	for (size_t i = 1; i < 3; i++) {
		assert_int_equal(items[i].result, COMMIT_REFUSED);
		assert_int_equal(items[i].reason, REFUSED_FAILED);
		assert_non_null(strstr(items[i].text, "linked"));
	}
	items_free(items, 3);
	assert_int_equal(rmdir(from), 0);
	assert_int_equal(rename(to, from), 0);
	commit_lines(&node, next, 3);
	AUTO_FREE char *content = read_local(&node, "linked/x");
	assert_string_equal(content, "2");
	EXPECT(COMMIT_REFUSED, REFUSED_KIND, FILE_LINE("linked", "a root", S(1)));
	EXPECT(COMMIT_DONE, 0, DELETE_LINE("linked"));
}

static void the_mtime_moves_on_where_the_profile_says_so(void **state)
{
	struct profile *profile;
	const struct line before[] = {DIR_LINE("", 0755, S(1)), FILE_LINE("p.xml", "1", S(50) + 1)};
	const struct line next = FILE_LINE("p.xml", "2", S(50) + 900000000);
	const struct line third = FILE_LINE("p.xml", "3", S(51) + 3);
	assert_fine(profile_new(&profile, "wso2is", (const char *const[]){"+ p.xml"}, 1, true,
				&node.err),
		    &node.err);
	node.env.profile = profile;
	commit_lines(&node, before, 2);
	struct index_entry e;
	assert_true(profile_judge(profile, "p.xml", false).attributes & RULE_MTIME_STEP);
	commit_lines(&node, &next, 1);
	assert_fine(store_get(node.store, "p.xml", &e, &node.err), &node.err);
	assert_true(e.rec.mtime_ns == S(50) + 900000000);
	assert_true(e.inst.mtime_ns == S(51) + 900000000);
	index_entry_release(&e);
	commit_lines(&node, &third, 1);
	assert_fine(store_get(node.store, "p.xml", &e, &node.err), &node.err);
	assert_true(e.inst.mtime_ns == S(52) + 3);
	index_entry_release(&e);
	profile_free(profile);
}

/* ---- failures and crashes -----------------------------------------------------------------------
 */

static const struct line old_tree[] = {
	DIR_LINE("", 0755, S(100)),	   DIR_LINE("a", 0755, S(101)),
	FILE_LINE("a/x", "old x", S(102)), FILE_LINE("a/y", "moves", S(103)),
	FILE_LINE("b", "b file", S(104)),  DIR_LINE("c", 0755, S(105)),
	FILE_LINE("c/1", "c1", S(106)),	   LINK_LINE("l", "old", S(107)),
	LINK_LINE("s", "link", S(108)),	   DIR_LINE("k", 0755, S(109)),
	FILE_LINE("k/r", "kr", S(110)),	   FILE_LINE("h", "h", S(111)),
	FILE_LINE("m", "meta", S(112)),	   FILE_LINE("n", "n", S(113)),
	DIR_LINE("e", 0755, S(114)),
};

static const struct line new_tree[] = {
	DIR_LINE("", 0711, S(200)),
	DIR_LINE("a", 0700, S(201)),
	FILE_LINE("a/x", "new x", S(202)),
	DELETE_LINE("a/y"),
	FILE_LINE("a/z", "moves", S(103)),
	DIR_LINE("b", 0755, S(204)),
	FILE_LINE("b/in", "in b", S(205)),
	DELETE_LINE("c/1"),
	FILE_LINE("c", "c file", S(206)),
	LINK_LINE("l", "new", S(207)),
	FILE_LINE("s", "s file", S(208)),
	DELETE_LINE("k/r"),
	DELETE_LINE("k"),
	FILE_LINE("h", "h2", S(211)),
	META_LINE("m", "meta", 0600, S(212)),
	DELETE_LINE("n"),
	DELETE_LINE("e"),
	FILE_LINE("f", "f new", S(215)),
	FILE_LINE("g", "g new", S(216)),
	ABSENT_LINE("o"),
};

static const char *const local_files[][2] = {
	{"f", "foreign f"}, {"g", "unknown g"},	      {"h", "drift h"},
	{"o", "foreign o"}, {"k/local", "kept in k"},
};

static void lay_out_old_tree(void)
{
	commit_lines(&node, old_tree, ARRAY_LEN(old_tree));
	for (size_t i = 0; i < ARRAY_LEN(local_files); i++)
		write_local(&node, local_files[i][0], local_files[i][1]);
	capture_foreign(&node, "f");
	capture_foreign(&node, "o");
}

/* Local content is where it was or in the salvage, and only there. */
static void assert_nothing_local_lost(void)
{
	for (size_t i = 0; i < ARRAY_LEN(local_files); i++) {
		AUTO_FREE char *content = read_local(&node, local_files[i][0]);
		bool here = content && strcmp(content, local_files[i][1]) == 0;
		if (!here && !is_in_salvage(&node, local_files[i][1]))
			fail_msg("\"%s\" is lost", local_files[i][1]);
	}
}

static bool is_new(const struct line *line)
{
	if (strcmp(line->path, "k") == 0) { /* kept by what is local in it */
		struct index_entry e = {0};
		store_get(node.store, "k", &e, NULL);
		bool kept = e.rec.kind == RECORD_ABSENT && e.flags & ENTRY_KEPT;
		index_entry_release(&e);
		return kept;
	}
	return is_line_true(&node, line);
}

static bool was_old(const char *path)
{
	for (size_t i = 0; i < ARRAY_LEN(old_tree); i++) {
		if (strcmp(old_tree[i].path, path) != 0)
			continue;
		struct index_entry e = {0};
		store_get(node.store, path, &e, NULL);
		bool same =
			e.rec.kind == old_tree[i].kind && e.rec.mtime_ns == old_tree[i].mtime_ns;
		index_entry_release(&e);
		/* The directories' times and the drifted file are not what they were. */
		return same && (old_tree[i].kind == RECORD_DIR || strcmp(path, "h") == 0 ||
				is_line_true(&node, &old_tree[i]));
	}
	struct index_entry e = {0};
	store_get(node.store, path, &e, NULL);
	bool never = e.rec.seq == 0;
	index_entry_release(&e);
	return never;
}

static size_t count_new(void)
{
	size_t n = 0;
	for (size_t i = 0; i < ARRAY_LEN(new_tree); i++)
		n += is_new(&new_tree[i]);
	return n;
}

static void everything_at_once(void **state)
{
	lay_out_old_tree();
	assert_true(was_old("a/x") && was_old("b") && was_old("f"));
	commit_lines(&node, new_tree, ARRAY_LEN(new_tree));
	for (size_t i = 0; i < ARRAY_LEN(new_tree); i++) {
		if (!is_new(&new_tree[i]))
			fail_msg("\"%s\" is not as the batch says", new_tree[i].path);
	}
	assert_nothing_local_lost();
	assert_int_equal(salvage_files(&node), 4);
	assert_consistent(&node);
}

/* The process dies at the nth disk call of a commit. After the next start the whole batch is there,
 * or nothing of it. */
static void crash_at(long nth, bool steps, bool *fired)
{
	node = (struct node){.cannot_exchange = steps};
	node_make(&node);
	node_close(&node);
	pid_t child = fork();
	assert_true(child >= 0);
	if (child == 0) {
		struct fault fault = {.nth = nth};
		node_open(&node);
		lay_out_old_tree();
		struct commit_item *items = items_make(&node, new_tree, ARRAY_LEN(new_tree));
		fault_arm(&fault);
		commit_run(&node.env, items, ARRAY_LEN(new_tree), &node.err);
		_exit(0);
	}
	int status;
	assert_int_equal(waitpid(child, &status, 0), child);
	*fired = WIFSIGNALED(status);
	assert_true(*fired ? WTERMSIG(status) == SIGKILL : WEXITSTATUS(status) == 0);
	node_open(&node);
}

static void assert_all_or_nothing(long nth)
{
	size_t n = count_new();
	if (n == ARRAY_LEN(new_tree))
		return;
	for (size_t i = 0; n > 0 && i < ARRAY_LEN(new_tree); i++) {
		if (!is_new(&new_tree[i]))
			print_error("\"%s\" is not new\n", new_tree[i].path);
	}
	for (size_t i = 0; i < ARRAY_LEN(new_tree); i++) {
		if (!was_old(new_tree[i].path))
			fail_msg("crash at %ld: \"%s\" is neither old nor all new (%zu new)", nth,
				 new_tree[i].path, n);
	}
}

static void crash_everywhere(bool steps)
{
	bool fired = true;
	long nth;
	for (nth = nth_first(); fired; nth += nth_step()) {
		crash_at(nth, steps, &fired);
		assert_fine(commit_recover(&node.env, &node.err), &node.err);
		assert_all_or_nothing(nth);
		assert_nothing_local_lost();
		if (count_new() == ARRAY_LEN(new_tree))
			assert_consistent(&node);
		node_remove(&node);
	}
	print_message("%ld places to die\n", nth - 1 - nth_step());
	assert_true(nth > 30);
}

static void a_crash_leaves_all_or_nothing(void **state)
{
	crash_everywhere(false);
}

static void nor_does_it_where_names_cannot_be_exchanged(void **state)
{
	crash_everywhere(true);
}

/* Dying again while rolling forward must not make it worse. */
static void a_crash_in_the_roll_forward_is_recovered_too(void **state)
{
	bool fired = true;
	long first = 1, second = 1, places = 0;
	while (fired) {
		bool again = true;
		crash_at(first, false, &fired);
		node_close(&node);
		pid_t child = fork();
		if (child == 0) {
			struct fault fault = {.nth = second};
			node_open(&node);
			fault_arm(&fault);
			commit_recover(&node.env, &node.err);
			_exit(0);
		}
		int status;
		assert_int_equal(waitpid(child, &status, 0), child);
		again = WIFSIGNALED(status);
		node_open(&node);
		assert_fine(commit_recover(&node.env, &node.err), &node.err);
		assert_all_or_nothing(first * 1000 + second);
		assert_nothing_local_lost();
		node_remove(&node);
		places++;
		second = again ? second + 5 : 1; /* all pairs would take minutes */
		first += again ? 0 : 11;
	}
	print_message("%ld pairs of places to die\n", places);
}

/* The nth disk call fails. Whatever is not done is asked for again and then done. */
static void fail_everywhere(bool steps)
{
	bool fired = true;
	long nth;
	for (nth = nth_first(); fired; nth += nth_step()) {
		struct fault fault = {.nth = nth, .err = nth % 2 ? EIO : ENOSPC};
		node = (struct node){.cannot_exchange = steps};
		node_make(&node);
		lay_out_old_tree();
		struct commit_item *items = items_make(&node, new_tree, ARRAY_LEN(new_tree));
		fault_arm(&fault);
		int r = commit_run(&node.env, items, ARRAY_LEN(new_tree), &node.err);
		fault_disarm();
		fired = fault.fired;
		for (size_t i = 0; r == 0 && i < ARRAY_LEN(new_tree); i++) {
			if (items[i].result == COMMIT_DONE && !is_new(&new_tree[i]))
				fail_msg("nth %ld: \"%s\" is acknowledged and not there", nth,
					 new_tree[i].path);
		}
		items_free(items, ARRAY_LEN(new_tree));
		assert_nothing_local_lost();
		items = run(new_tree, ARRAY_LEN(new_tree));
		for (size_t i = 0; i < ARRAY_LEN(new_tree); i++) {
			bool settled =
				items[i].result == COMMIT_DONE ||
				(items[i].result == COMMIT_NEED && new_tree[i].op == OP_META);
			if (!settled)
				fail_msg("nth %ld: \"%s\": %s", nth, new_tree[i].path,
					 items[i].text);
		}
		items_free(items, ARRAY_LEN(new_tree));
		assert_nothing_local_lost();
		assert_fine(commit_recover(&node.env, &node.err), &node.err);
		assert_consistent(&node);
		node_remove(&node);
	}
	print_message("%ld calls failed\n", nth - 1 - nth_step());
	assert_true(nth > 30);
}

static void every_failing_call_is_survived(void **state)
{
	fail_everywhere(false);
}

static void and_where_names_cannot_be_exchanged(void **state)
{
	fail_everywhere(true);
}

/* A sync that fails is told once, to whoever asked; what else was staged then may be lost too. */
static void what_was_staged_before_a_failed_sync_is_asked_for_again(void **state)
{
	static const struct line line[] = {FILE_LINE("ahead", "staged ahead of its batch", 5)};
	struct root *root = &node.tree->roots[0];
	struct commit_item *items = items_make(&node, line, 1);
	struct fault fault = {.nth = 1, .err = EIO};
	fault_arm(&fault);
	assert_int_equal(root_sync_all(root, &node.err), -EIO);
	fault_disarm();
	assert_fine(root_sync_all(root, &node.err), &node.err); /* says nothing of the loss */
	assert_fine(commit_run(&node.env, items, 1, &node.err), &node.err);
	assert_int_equal(items[0].result, COMMIT_NEED);
	assert_int_equal(items[0].reason, NEED_VERIFY);
	items_free(items, 1);
	items = run(line, 1);
	assert_int_equal(items[0].result, COMMIT_DONE);
	items_free(items, 1);
}

/* ---- giving back -------------------------------------------------------------------------------
 */

static void what_was_saved_can_be_had_back(void **state)
{
	struct salvage_row *rows;
	size_t n;
	char to[128];
	commit_lines(&node, small_tree, ARRAY_LEN(small_tree));
	write_local(&node, "a/x", "edited here");
	const struct line gone[] = {DELETE_LINE("a/x")};
	commit_lines(&node, gone, 1);
	assert_fine(store_salvage_list(node.store, &rows, &n, &node.err), &node.err);
	assert_int_equal(n, 1);
	assert_string_equal(rows[0].path, "a/x");
	assert_string_equal(rows[0].why, "drift");
	AUTO_FREE char *out = NULL;
	sprintf(to, "%s/tree/l", node.dir);
	assert_int_equal(salvage_restore(&out, node.store, node.tree, &rows[0], to, &node.err),
			 -EEXIST);
	assert_int_equal(
		salvage_restore(&out, node.store, node.tree, &rows[0], "relative", &node.err),
		-EINVAL);
	sprintf(to, "/dev/shm/salvaged-%d", getpid()); /* another file system */
	assert_fine(salvage_restore(&out, node.store, node.tree, &rows[0], to, &node.err),
		    &node.err);
	assert_string_equal(out, to);
	struct stat st;
	assert_int_equal(stat(to, &st), 0);
	assert_int_equal(st.st_size, 11);
	assert_true(meta_ns(&st.st_mtim) == rows[0].stat.mtime_ns);
	unlink(to);
	assert_int_equal(salvage_files(&node), 0);
	assert_int_equal(store_salvage_count(node.store), 0);
	salvage_rows_free(rows, n);

	write_local(&node, "a/y", "back to its place");
	const struct line also[] = {DELETE_LINE("a/y")};
	commit_lines(&node, also, 1);
	assert_fine(store_salvage_list(node.store, &rows, &n, &node.err), &node.err);
	free(out);
	assert_fine(salvage_restore(&out, node.store, node.tree, &rows[0], NULL, &node.err),
		    &node.err);
	AUTO_FREE char *content = read_local(&node, "a/y");
	assert_string_equal(content, "back to its place");
	salvage_rows_free(rows, n);
}

/* The only entry. Release with salvage_rows_free(row, 1). */
static struct salvage_row *only_row(void)
{
	struct salvage_row *rows;
	size_t n;
	assert_fine(store_salvage_list(node.store, &rows, &n, &node.err), &node.err);
	assert_int_equal(n, 1);
	return rows;
}

static void save_one(const char *content)
{
	const struct line line = FILE_LINE("a", "replicated", S(5));
	write_local(&node, "a", content);
	capture_foreign(&node, "a");
	commit_lines(&node, &line, 1);
}

static void what_is_saved_is_described_beside_it(void **state)
{
	uint8_t hash[HASH_LEN];
	save_one("mine");
	struct salvage_row *row = only_row();
	hash_bytes(hash, "mine", 4);
	assert_true(row->has_hash);
	assert_memory_equal(row->hash, hash, HASH_LEN);
	assert_int_equal(row->bytes, 4);
	assert_int_equal(store_salvage_bytes(node.store), 4);
	salvage_rows_free(row, 1);
	assert_consistent(&node);
}

/* Any call of it fails, or the process dies there: the object is there whole, or gone with all that
 * told of it. */
static void purge_at(long nth, int error, bool *fired)
{
	node = (struct node){0};
	node_make(&node);
	save_one("mine");
	struct salvage_row *row = only_row();
	struct fault fault = {.nth = nth, .err = error};
	if (error) {
		fault_arm(&fault);
		salvage_purge(node.store, node.tree, row, &node.err);
		fault_disarm();
		*fired = fault.fired;
	} else {
		pid_t child = fork();
		if (child == 0) {
			fault_arm(&fault);
			salvage_purge(node.store, node.tree, row, &node.err);
			_exit(fault.fired ? 1 : 0);
		}
		int status;
		assert_int_equal(waitpid(child, &status, 0), child);
		*fired = !WIFEXITED(status) || WEXITSTATUS(status) != 0;
	}
	salvage_rows_free(row, 1);
	node_close(&node);
	node_open(&node);
	assert_fine(commit_recover(&node.env, &node.err), &node.err);
	assert_consistent(&node);
	assert_int_equal(store_salvage_bytes(node.store), 4 * salvage_files(&node));
	assert_true(*fired || salvage_files(&node) == 0);
	node_remove(&node);
}

static void purging_leaves_all_or_nothing(void **state)
{
	bool fired = true;
	for (long nth = 1; fired; nth++)
		purge_at(nth, EIO, &fired);
	fired = true;
	for (long nth = 1; fired; nth++)
		purge_at(nth, 0, &fired);
}

static void what_was_removed_by_hand_is_forgotten(void **state)
{
	char command[256];
	save_one("mine");
	sprintf(command, "rm -r %s/.artifact-sync/salvage/2*", node.tree_dir);
	assert_int_equal(system(command), 0);
	assert_fine(commit_recover(&node.env, &node.err), &node.err);
	assert_int_equal(store_salvage_count(node.store), 0);
	assert_int_equal(store_salvage_bytes(node.store), 0);
	assert_consistent(&node);
}

static void a_full_salvage_refuses_and_replaces_nothing(void **state)
{
	const uint64_t max = 7;
	const struct line lines[] = {FILE_LINE("a", "replicated", S(5)),
				     FILE_LINE("b", "replicated", S(5)), DELETE_LINE("c")};
	write_local(&node, "a", "four");
	write_local(&node, "b", "four, too");
	write_local(&node, "c", "local");
	capture_foreign(&node, "a");
	capture_foreign(&node, "b");
	capture_foreign(&node, "c");
	node.env.salvage_max = &max;
	struct commit_item *items = items_make(&node, lines, 3);
	assert_fine(commit_run(&node.env, items, 3, &node.err), &node.err);
	assert_int_equal(items[0].result, COMMIT_DONE);
	for (int i = 1; i < 3; i++) {
		assert_int_equal(items[i].result, COMMIT_REFUSED);
		assert_int_equal(items[i].reason, REFUSED_SALVAGE);
		assert_non_null(strstr(items[i].text, "raise limits.salvage_bytes"));
	}
	items_free(items, 3);
	AUTO_FREE char *b = read_local(&node, "b");
	AUTO_FREE char *c = read_local(&node, "c");
	assert_string_equal(b, "four, too");
	assert_string_equal(c, "local");
	assert_true(is_in_salvage(&node, "four"));
	assert_int_equal(store_salvage_bytes(node.store), 4);
	assert_int_equal(salvage_files(&node), 1);
}

static void a_directory_counts_with_all_in_it(void **state)
{
	char command[400];
	const struct line line = FILE_LINE("d", "a file now", S(5));
	sprintf(command, "mkdir -p %s/d/e && printf 12345 >%s/d/e/f && printf 123 >%s/d/g",
		node.tree_dir, node.tree_dir, node.tree_dir);
	assert_int_equal(system(command), 0);
	commit_lines(&node, &line, 1);
	assert_int_equal(store_salvage_bytes(node.store), 8);
	assert_consistent(&node);
}

static void an_intent_without_a_move_is_forgotten(void **state)
{
	struct salvage_row row = {.path = "a/b", .root_at = "", .why = "drift"};
	strcpy(row.id, "20260101T000000.000000000-000000");
	assert_fine(store_salvage_begin(node.store, &row, &node.err), &node.err);
	assert_fine(commit_recover(&node.env, &node.err), &node.err);
	struct salvage_row *rows;
	size_t n;
	assert_fine(store_salvage_list(node.store, &rows, &n, &node.err), &node.err);
	assert_int_equal(n, 0);
	salvage_rows_free(rows, n);
}

#define NODE(test) cmocka_unit_test_setup_teardown(test, begin, end)

int main(void)
{
	const struct CMUnitTest tests[] = {
		NODE(a_tree_comes_with_all_metadata),
		NODE(a_new_version_keeps_the_times_of_directories),
		NODE(metadata_alone_needs_the_content_to_be_there),
		NODE(a_directory_that_cannot_be_finished_does_not_stay),
		NODE(kinds_change_into_each_other),
		NODE(a_directory_whose_tombstones_are_late_goes_whole),
		NODE(many_files_go_in_one_batch),
		NODE(local_content_is_saved_and_equal_content_is_not),
		NODE(drift_is_saved_before_it_is_replaced_or_deleted),
		NODE(a_directory_with_local_files_is_kept),
		NODE(a_kept_directory_goes_with_what_kept_it),
		NODE(a_kept_directory_that_comes_again_stays),
		NODE(a_kept_directory_goes_with_the_one_above),
		NODE(what_the_survivor_never_had_goes_to_the_salvage),
		NODE(when_the_salvage_fails_nothing_is_replaced),
		NODE(a_missing_parent_is_asked_for),
		NODE(a_set_goes_whole_or_not_at_all),
		NODE(a_read_only_directory_is_opened_for_a_moment),
		cmocka_unit_test_setup_teardown(
			a_root_that_is_away_refuses_by_name_and_the_rest_goes_on, begin_followed,
			end),
		NODE(the_mtime_moves_on_where_the_profile_says_so),
		NODE(everything_at_once),
		cmocka_unit_test(a_crash_leaves_all_or_nothing),
		cmocka_unit_test(nor_does_it_where_names_cannot_be_exchanged),
		cmocka_unit_test(a_crash_in_the_roll_forward_is_recovered_too),
		cmocka_unit_test(every_failing_call_is_survived),
		cmocka_unit_test(and_where_names_cannot_be_exchanged),
		NODE(what_was_staged_before_a_failed_sync_is_asked_for_again),
		NODE(what_was_saved_can_be_had_back),
		NODE(what_is_saved_is_described_beside_it),
		cmocka_unit_test(purging_leaves_all_or_nothing),
		NODE(what_was_removed_by_hand_is_forgotten),
		NODE(a_full_salvage_refuses_and_replaces_nothing),
		NODE(a_directory_counts_with_all_in_it),
		NODE(an_intent_without_a_move_is_forgotten),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
