/* What is durable when: the calls of a batch, and of a move to the salvage, in the order in which
 * they were made. Power that fails in between must find nothing promised that is not on the disk;
 * which no test that only kills the process can show, since the kernel forgets nothing then. */
#include "commit_help.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "calls.h"

#define OWN "/.artifact-sync"
#define SET_MAX 512

static struct node node;
static char tree[256]; /* as /proc names it */

static int begin(void **state)
{
	(void)state;
	node = (struct node){0};
	node_make(&node);
	assert_non_null(realpath(node.tree_dir, tree));
	return 0;
}

static int end(void **state)
{
	(void)state;
	node_remove(&node);
	return 0;
}

/* ---- what a power cut would leave --------------------------------------------------------------
 */

/* Paths of directories whose names are not durable. */
struct dirs {
	char path[SET_MAX][256];
	size_t n;
};

struct disk {
	ino_t synced[SET_MAX]; /* files whose content is */
	size_t n_synced;
	struct dirs loose;
	const char *journal; /* the last transaction of a batch that began or ended */
	size_t moved, journals;
};

static bool is_within(const char *path, const char *dir)
{
	size_t len = strlen(dir);
	return strncmp(path, dir, len) == 0 && (path[len] == '/' || path[len] == '\0');
}

static size_t find_loose(const struct disk *disk, const char *path)
{
	for (size_t i = 0; i < disk->loose.n; i++) {
		if (strcmp(disk->loose.path[i], path) == 0)
			return i;
	}
	return SIZE_MAX;
}

static void loosen_parent(struct disk *disk, const char *path)
{
	char parent[256];
	snprintf(parent, sizeof(parent), "%s", path);
	*strrchr(parent, '/') = '\0';
	if (find_loose(disk, parent) != SIZE_MAX)
		return;
	assert_true(disk->loose.n < SET_MAX);
	memcpy(disk->loose.path[disk->loose.n++], parent, sizeof(parent));
}

static void fasten(struct disk *disk, const char *path)
{
	size_t i = find_loose(disk, path);
	if (i != SIZE_MAX)
		memcpy(disk->loose.path[i], disk->loose.path[--disk->loose.n], 256);
}

static bool is_synced(const struct disk *disk, ino_t ino)
{
	for (size_t i = 0; i < disk->n_synced; i++) {
		if (disk->synced[i] == ino)
			return true;
	}
	return false;
}

static void add_synced(struct disk *disk, ino_t ino)
{
	assert_true(disk->n_synced < SET_MAX);
	disk->synced[disk->n_synced++] = ino;
}

static bool is_sync(const struct call *call)
{
	return strcmp(call->name, "fsync") == 0 || strcmp(call->name, "fdatasync") == 0;
}

static bool is_move(const struct call *call)
{
	return strncmp(call->name, "renameat", 8) == 0 || strcmp(call->name, "linkat") == 0;
}

/* All that is staged and all loose names at once. */
static void sync_everything(struct disk *disk, const struct commit_item *items, size_t n)
{
	disk->loose.n = 0;
	for (size_t i = 0; i < n; i++) {
		add_synced(disk, items[i].staged.stat.ino);
		add_synced(disk, items[i].entry.inst.ino);
	}
}

static void follow(struct disk *disk, const struct call *call)
{
	if (is_sync(call)) {
		add_synced(disk, call->ino);
		fasten(disk, call->from);
	} else if (is_move(call) || strcmp(call->name, "mkdirat") == 0) {
		loosen_parent(disk, call->to);
	}
	if (strncmp(call->name, "renameat", 8) == 0 || strcmp(call->name, "unlinkat") == 0)
		loosen_parent(disk, call->from);
}

/* ---- a batch -----------------------------------------------------------------------------------
 */

static void assert_staged_is_durable(const struct disk *disk, const struct commit_item *items,
				     size_t n)
{
	char stage[300];
	snprintf(stage, sizeof(stage), "%s" OWN "/stage", tree);
	for (size_t i = 0; i < n; i++) {
		bool file = S_ISREG(items[i].staged.stat.mode);
		if (*items[i].staged.temp && file && !is_synced(disk, items[i].staged.stat.ino))
			fail_msg("\"%s\" is journaled, and its content not durable",
				 items[i].entry.rec.path);
	}
	if (find_loose(disk, stage) != SIZE_MAX)
		fail_msg("the journal speaks of names in stage/ that are not durable");
}

static void assert_tree_is_durable(const struct disk *disk)
{
	char own[300];
	snprintf(own, sizeof(own), "%s" OWN, tree);
	for (size_t i = 0; i < disk->loose.n; i++) {
		const char *path = disk->loose.path[i];
		if (is_within(path, tree) && !is_within(path, own))
			fail_msg("the index speaks of names in %s that are not durable", path);
	}
}

static void assert_metadata_is_durable(const struct disk *disk, const struct commit_item *items,
				       size_t n)
{
	for (size_t i = 0; i < n; i++) {
		bool meta = items[i].op == OP_META && items[i].entry.rec.kind == RECORD_FILE;
		if (meta && !is_synced(disk, items[i].entry.inst.ino))
			fail_msg("the index speaks of metadata of \"%s\" that is not durable",
				 items[i].entry.rec.path);
	}
}

static bool is_in_own(const char *path)
{
	char own[300];
	snprintf(own, sizeof(own), "%s" OWN, tree);
	return is_within(path, own);
}

static void assert_only_within_a_batch(struct disk *disk, const struct call *call)
{
	if (!is_move(call) || (is_in_own(call->from) && is_in_own(call->to)))
		return;
	disk->moved++;
	if (!disk->journal || strcmp(disk->journal, "store_journal_begin") != 0)
		fail_msg("%s to %s outside of a journaled batch", call->name, call->to);
}

/* Commits, and follows what it did. @return how many names were moved */
static size_t commit_watched(const struct line *lines, size_t n)
{
	const struct call *calls;
	struct disk *disk = x_calloc(1, sizeof(*disk));
	char staged[300];
	snprintf(staged, sizeof(staged), "%s" OWN "/stage/t", tree);
	calls_note();
	struct commit_item *items = items_make(&node, lines, n);
	loosen_parent(disk, staged); /* they are made with calls that are not noted */
	assert_fine(commit_run(&node.env, items, n, &node.err), &node.err);
	size_t n_calls = calls_noted(&calls);
	for (size_t i = 0; i < n_calls; i++) {
		const struct call *call = &calls[i];
		bool begins = strcmp(call->name, "store_journal_begin") == 0;
		bool ends = strcmp(call->name, "store_journal_end") == 0;
		if (begins)
			assert_staged_is_durable(disk, items, n);
		if (ends) {
			assert_tree_is_durable(disk);
			assert_metadata_is_durable(disk, items, n);
		}
		if (begins || ends)
			disk->journal = call->name;
		disk->journals += begins || ends;
		assert_only_within_a_batch(disk, call);
		if (strcmp(call->name, "syncfs") == 0)
			sync_everything(disk, items, n);
		follow(disk, call);
	}
	assert_int_equal(disk->journals, 2);
	for (size_t i = 0; i < n; i++)
		assert_int_equal(items[i].result, COMMIT_DONE);
	items_free(items, n);
	size_t moved = disk->moved;
	free(disk);
	return moved;
}

#define FILE_LINE(path, content)                                    \
	{                                                           \
		OP_WHOLE, path, RECORD_FILE, content, 0644, S(1000) \
	}
#define DIR_LINE(path)                                        \
	{                                                     \
		OP_META, path, RECORD_DIR, NULL, 0755, S(900) \
	}
#define DELETE_LINE(path)                                  \
	{                                                  \
		OP_DELETE, path, RECORD_ABSENT, NULL, 0, 0 \
	}

static void a_small_batch_is_durable_step_by_step(void **state)
{
	(void)state;
	const struct line first[] = {DIR_LINE(""), DIR_LINE("d"), FILE_LINE("d/1", "one"),
				     FILE_LINE("2", "two"), FILE_LINE("3", "three")};
	const struct line second[] = {FILE_LINE("d/1", "another one"),
				      DELETE_LINE("2"),
				      DIR_LINE("e"),
				      FILE_LINE("e/4", "four"),
				      {OP_META, "3", RECORD_FILE, "three", 0600, S(1001)}};
	assert_int_equal(commit_watched(first, ARRAY_LEN(first)), 3);
	assert_int_equal(commit_watched(second, ARRAY_LEN(second)), 3);
	assert_consistent(&node);
}

static void and_so_is_a_large_one(void **state)
{
	(void)state;
	enum { N = 100 };
	static char paths[N][16];
	struct line lines[N + 11];
	size_t n = 0;
	lines[n++] = (struct line)DIR_LINE("");
	for (size_t i = 0; i < 10; i++) {
		sprintf(paths[i], "d%zu", i);
		lines[n++] = (struct line)DIR_LINE(paths[i]);
	}
	for (size_t i = 10; i < N; i++) {
		sprintf(paths[i], "d%zu/%zu", i % 10, i);
		lines[n++] = (struct line)FILE_LINE(paths[i], paths[i]);
	}
	lines[n++] = (struct line){OP_META, "l", RECORD_SYMLINK, "target", 0, S(1)};
	assert_int_equal(commit_watched(lines, n), N - 10 + 1);
	assert_consistent(&node);
}

/* Links are made by the steps that stand for an exchange. */
static void and_where_names_cannot_be_exchanged(void **state)
{
	(void)state;
	const struct line first[] = {DIR_LINE(""), FILE_LINE("1", "one"), FILE_LINE("2", "two")};
	const struct line second[] = {FILE_LINE("1", "another one"), DELETE_LINE("2")};
	node.tree->roots[0].can_exchange = false;
	commit_watched(first, ARRAY_LEN(first));
	commit_watched(second, ARRAY_LEN(second));
	assert_consistent(&node);
}

/* ---- the salvage -------------------------------------------------------------------------------
 */

static size_t index_of(const struct call *calls, size_t n, const char *name, const char *part,
		       size_t from)
{
	for (size_t i = from; i < n; i++) {
		if (strcmp(calls[i].name, name) == 0 &&
		    (!part || strstr(calls[i].from, part) || strstr(calls[i].to, part)))
			return i;
	}
	fail_msg("no %s of %s behind call %zu", name, part ? part : "", from);
	return 0;
}

static bool is_synced_between(const struct call *calls, size_t from, size_t to, ino_t ino,
			      const char *path)
{
	for (size_t i = from; i < to; i++) {
		if (is_sync(&calls[i]) && (calls[i].ino == ino || strcmp(calls[i].from, path) == 0))
			return true;
	}
	return false;
}

/* Row, content, manifest, name, both directories, row. */
static void what_is_saved_is_durable_before_the_row_says_so(void **state)
{
	(void)state;
	const struct line line = FILE_LINE("f", "replicated");
	const struct call *calls;
	struct salvage_row *rows;
	size_t n_rows;
	char salvage[300], dir[400], object[420];
	write_local(&node, "f", "mine");
	calls_note();
	commit_lines(&node, &line, 1);
	size_t n = calls_noted(&calls);
	assert_fine(store_salvage_list(node.store, &rows, &n_rows, &node.err), &node.err);
	assert_int_equal(n_rows, 1);
	snprintf(salvage, sizeof(salvage), "%s" OWN "/salvage", tree);
	snprintf(dir, sizeof(dir), "%s/%s", salvage, rows[0].id);
	salvage_rows_free(rows, n_rows);

	size_t begun = index_of(calls, n, "store_salvage_begin", NULL, 0);
	size_t moved = index_of(calls, n, "renameat", dir, begun);
	size_t ended = index_of(calls, n, "store_salvage_end", NULL, moved);
	size_t indexed = index_of(calls, n, "store_journal_end", NULL, ended);
	snprintf(object, sizeof(object), "%s/f", dir);
	assert_string_equal(calls[moved].to, object);
	assert_true(is_synced_between(calls, begun, moved, calls[moved].ino, ""));
	assert_true(index_of(calls, n, "fsync", ".json", begun) < moved);
	assert_true(is_synced_between(calls, moved, ended, 0, dir));
	assert_true(is_synced_between(calls, moved, ended, 0, salvage));
	assert_true(indexed > ended);
}

/* The power failed when the object had its name and the manifest had not. */
static void a_row_whose_manifest_is_lost_gets_one_before_it_is_complete(void **state)
{
	(void)state;
	struct salvage_row row = {.path = "f", .root_at = "", .why = "drift", .bytes = 4};
	const struct call *calls;
	char salvage[300], dir[400], object[420];
	strcpy(row.id, "20260101T000000.000000000-000000");
	snprintf(salvage, sizeof(salvage), "%s" OWN "/salvage", tree);
	snprintf(dir, sizeof(dir), "%s/%s", salvage, row.id);
	snprintf(object, sizeof(object), "%s/f", dir);
	assert_int_equal(mkdir(dir, 0700), 0);
	write_local(&node, object + strlen(tree) + 1, "mine");
	struct stat st;
	assert_int_equal(stat(object, &st), 0);
	file_stat_from(&row.stat, &st);
	assert_fine(store_salvage_begin(node.store, &row, &node.err), &node.err);
	calls_note();
	assert_fine(commit_recover(&node.env, &node.err), &node.err);
	size_t n = calls_noted(&calls);
	size_t ended = index_of(calls, n, "store_salvage_end", NULL, 0);
	assert_true(is_synced_between(calls, 0, ended, 0, dir));
	assert_true(is_synced_between(calls, 0, ended, 0, salvage));
	assert_true(is_in_salvage(&node, "mine"));
	assert_consistent(&node);
}

#define NODE(test) cmocka_unit_test_setup_teardown(test, begin, end)

int main(void)
{
	const struct CMUnitTest tests[] = {
		NODE(a_small_batch_is_durable_step_by_step),
		NODE(and_so_is_a_large_one),
		NODE(and_where_names_cannot_be_exchanged),
		NODE(what_is_saved_is_durable_before_the_row_says_so),
		NODE(a_row_whose_manifest_is_lost_gets_one_before_it_is_complete),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
