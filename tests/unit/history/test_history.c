/* What commits displace: kept, found again byte for byte, pruned; and a crash or a failing disk
 * anywhere in between. */
#include "tests/unit/sync/commit_help.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "agent/base/clock.h"
#include "agent/base/fault.h"
#include "agent/fs/copy.h"
#include "agent/history/history.h"

#define FILES 12
#define ROUNDS 60
#define VERSIONS_MAX 200
#define PLENTY (1ull << 40)

static struct node node;
static struct history *history;
static uint64_t dice;

static uint64_t roll(uint64_t sides)
{
	dice ^= dice << 13;
	dice ^= dice >> 7;
	dice ^= dice << 17;
	return dice % sides;
}

static void seed_dice(void)
{
	const char *given = getenv("ARTIFACT_SYNC_SEED");
	dice = given ? strtoull(given, NULL, 0) : clock_mono_ns() | 1;
	print_message("seed %llu\n", (unsigned long long)dice);
}

static void open_with(uint32_t days, uint64_t bytes)
{
	const struct history_keep keep = {.days = days, .bytes = bytes};
	node_open(&node);
	history = history_new(node.store, node.tree, &keep);
	node.env.history = history;
}

static void close_all(void)
{
	history_free(STEAL(history));
	node_close(&node);
}

static int begin(void **state)
{
	node = (struct node){0};
	node_make(&node);
	node_close(&node);
	open_with(7, PLENTY);
	return 0;
}

static int end(void **state)
{
	history_free(STEAL(history));
	node_remove(&node);
	return 0;
}

static void put(const char *path, const char *content, int64_t mtime)
{
	struct line line = {OP_WHOLE, path, RECORD_FILE, content, 0640, mtime};
	commit_lines(&node, &line, 1);
}

static void take_away(const char *path)
{
	struct line line = {OP_DELETE, path, RECORD_ABSENT, NULL, 0, 0};
	commit_lines(&node, &line, 1);
}

static void barrier(int64_t clock_ns)
{
	struct store_state state;
	store_state(node.store, &state);
	assert_fine(store_note_barrier(node.store, state.last_seq, clock_ns, clock_ns, state.digest,
				       &node.err),
		    &node.err);
}

static char *content_of(const struct record *rec)
{
	char *text = x_calloc(1, rec->size + 1);
	int fd = history_open_content(history, rec->hash, rec->size, rec->path, &node.err);
	if (fd < 0) {
		free(text);
		return NULL;
	}
	assert_int_equal(pread(fd, text, rec->size, 0), rec->size);
	close(fd);
	return text;
}

static size_t versions_of(const char *path, struct history_version *out)
{
	size_t n;
	assert_fine(store_history_versions(node.store, path, out, VERSIONS_MAX, &n, &node.err),
		    &node.err);
	return n;
}

static void release_versions(struct history_version *versions, size_t n)
{
	for (size_t i = 0; i < n; i++)
		history_version_release(&versions[i]);
}

static void history_dir(char out[160], unsigned prefix)
{
	snprintf(out, 160, "%s/.artifact-sync/history/%02x", node.tree_dir, prefix);
}

/* Objects in history/, all of them private. */
static size_t count_objects(void)
{
	size_t n = 0;
	for (unsigned prefix = 0; prefix < 256; prefix++) {
		char path[160];
		struct stat st;
		history_dir(path, prefix);
		DIR *dir = opendir(path);
		if (!dir)
			continue;
		assert_int_equal(fstat(dirfd(dir), &st), 0);
		assert_int_equal(st.st_mode & 07777, 0700);
		for (struct dirent *e; (e = readdir(dir));) {
			if (e->d_name[0] == '.')
				continue;
			assert_int_equal(fstatat(dirfd(dir), e->d_name, &st, 0), 0);
			assert_int_equal(st.st_mode & 07777, 0600);
			n++;
		}
		closedir(dir);
	}
	return n;
}

static void prune_all(void)
{
	int r;
	do {
		r = history_prune(history, true, &node.err);
		assert_fine(r, &node.err);
	} while (r > 0);
}

/* ---- versions ---------------------------------------------------------------------------------
 */

static void a_hundred_versions_come_back_byte_for_byte(void **state)
{
	char text[VERSIONS_MAX][24];
	struct history_version versions[VERSIONS_MAX];
	put("f", "0", S(1));
	barrier(S(1));
	for (int i = 1; i <= 100; i++) {
		sprintf(text[i - 1], "%d", i - 1);
		sprintf(text[i], "%d", i);
		put("f", text[i], S(i + 1));
	}
	take_away("f");
	sprintf(text[100], "100");
	size_t n = versions_of("f", versions);
	assert_int_equal(n, 101);
	for (size_t i = 0; i < n; i++) {
		const struct record *rec = &versions[i].entry.rec;
		AUTO_FREE char *content = content_of(rec);
		assert_non_null(content);
		assert_string_equal(content, text[100 - i]);
		assert_int_equal(rec->mode, 0640);
		assert_true(rec->mtime_ns == S(101 - i));
		assert_string_equal(history_where(history, rec), "kept");
	}
	release_versions(versions, n);
	assert_int_equal(count_objects(), 101);
	struct history_counts counts;
	store_history_counts(node.store, &counts);
	assert_int_equal(counts.versions, 101);
	assert_int_equal(counts.bytes, 10 + 90 * 2 + 3);
	assert_consistent(&node);
}

static void before_the_first_barrier_nothing_is_kept(void **state)
{
	put("f", "one", S(1));
	put("f", "two", S(2));
	assert_int_equal(count_objects(), 0);
	struct history_version versions[VERSIONS_MAX];
	assert_int_equal(versions_of("f", versions), 0);
}

static void switched_off_nothing_is_kept_and_the_way_back_ends(void **state)
{
	struct history_barrier found;
	put("f", "one", S(1));
	barrier(S(1));
	put("f", "two", S(2));
	assert_int_equal(count_objects(), 1);
	close_all();
	open_with(0, PLENTY);
	put("f", "three", S(3));
	barrier(S(9));
	assert_int_equal(count_objects(), 1);
	assert_int_equal(store_history_barrier(node.store, S(99), &found, NULL), -ENOENT);
	prune_all();
	assert_int_equal(count_objects(), 0);
	struct history_version versions[VERSIONS_MAX];
	assert_int_equal(versions_of("f", versions), 0);
	assert_false(history_exceeds(history));
}

static void metadata_alone_keeps_no_content(void **state)
{
	struct history_version versions[VERSIONS_MAX];
	put("f", "one", S(1));
	barrier(S(1));
	struct line meta = {OP_META, "f", RECORD_FILE, "one", 0600, S(2)};
	commit_lines(&node, &meta, 1);
	put("f", "one", S(3)); /* whole, with the same bytes */
	assert_int_equal(count_objects(), 0);
	size_t n = versions_of("f", versions);
	assert_int_equal(n, 2);
	assert_int_equal(versions[1].entry.rec.mode, 0640);
	assert_string_equal(history_where(history, &versions[1].entry.rec), "current");
	int fd = history_open_content(history, versions[1].entry.rec.hash, 3, "f", &node.err);
	assert_true(fd >= 0);
	close(fd);
	release_versions(versions, n);
	put("f", "two", S(4));
	assert_int_equal(count_objects(), 1);
}

static void what_others_changed_goes_to_the_salvage_not_to_history(void **state)
{
	struct history_version versions[VERSIONS_MAX];
	put("f", "one", S(1));
	barrier(S(1));
	write_local(&node, "f", "local");
	put("f", "two", S(2));
	assert_true(is_in_salvage(&node, "local"));
	assert_int_equal(count_objects(), 0);
	size_t n = versions_of("f", versions);
	assert_int_equal(n, 1);
	assert_string_equal(history_where(history, &versions[0].entry.rec), "missing");
	assert_null(content_of(&versions[0].entry.rec));
	release_versions(versions, n);
}

static void another_name_of_the_inode_does_not_rewrite_history(void **state)
{
	char file[200], other[200];
	struct history_version versions[VERSIONS_MAX];
	put("f", "one", S(1));
	barrier(S(1));
	snprintf(file, sizeof(file), "%s/f", node.tree_dir);
	snprintf(other, sizeof(other), "%s/other", node.dir);
	assert_int_equal(link(file, other), 0);
	/* The link changed the ctime: that is drift, unless it is taken note of. */
	struct index_entry e;
	struct stat st;
	assert_fine(store_get(node.store, "f", &e, &node.err), &node.err);
	assert_int_equal(lstat(file, &st), 0);
	file_stat_from(&e.inst, &st);
	assert_fine(store_set_installed(node.store, &e, 1, &node.err), &node.err);
	index_entry_release(&e);
	put("f", "two", S(2));
	int fd = open(other, O_WRONLY);
	assert_int_equal(pwrite(fd, "bad", 3, 0), 3);
	close(fd);
	size_t n = versions_of("f", versions);
	AUTO_FREE char *content = content_of(&versions[0].entry.rec);
	assert_non_null(content);
	assert_string_equal(content, "one");
	release_versions(versions, n);
	assert_int_equal(count_objects(), 1);
	assert_consistent(&node);
}

static void a_damaged_object_is_not_given(void **state)
{
	char hex[HASH_HEX_MAX], path[300], dir[160];
	struct history_version versions[VERSIONS_MAX];
	put("f", "one", S(1));
	barrier(S(1));
	put("f", "two", S(2));
	size_t n = versions_of("f", versions);
	history_dir(dir, versions[0].entry.rec.hash[0]);
	snprintf(path, sizeof(path), "%s/%s", dir, hash_hex(hex, versions[0].entry.rec.hash));
	int fd = open(path, O_WRONLY);
	assert_int_equal(pwrite(fd, "0ne", 3, 0), 3);
	close(fd);
	assert_null(content_of(&versions[0].entry.rec));
	/* But the live file is, when it has these bytes again. */
	put("f", "one", S(3));
	fd = history_open_content(history, versions[0].entry.rec.hash, 3, "f", &node.err);
	assert_true(fd >= 0);
	close(fd);
	/* And the bytes that come by once more take its place. */
	put("f", "four", S(4));
	char *content = content_of(&versions[0].entry.rec);
	assert_non_null(content);
	assert_string_equal(content, "one");
	free(content);
	release_versions(versions, n);
}

/* ---- the tree at a barrier --------------------------------------------------------------------
 */

/* What the index held, in the order of paths. */
struct snapshot {
	struct store_state state;
	struct index_entry *entries;
	size_t n;
};

static void take_snapshot(struct snapshot *out)
{
	size_t cap = 0;
	const struct index_entry *e;
	AUTO(store_cursor) *cursor = NULL;
	*out = (struct snapshot){0};
	store_state(node.store, &out->state);
	assert_fine(store_cursor_open(&cursor, node.store, "", "", &node.err), &node.err);
	while (store_cursor_next(cursor, &e, &node.err) > 0) {
		if (e->rec.kind == RECORD_ABSENT)
			continue;
		GROW(out->entries, cap, out->n + 1);
		index_entry_copy(&out->entries[out->n++], e);
	}
}

static void release_entries(struct index_entry *entries, size_t n)
{
	for (size_t i = 0; i < n; i++)
		index_entry_release(&entries[i]);
}

/* Reads the tree of a barrier in pages of an odd size, one way or the other. */
static size_t read_tree(uint64_t txn, bool backwards, struct index_entry *out, size_t max)
{
	size_t total = 0, n;
	AUTO_FREE char *bound = x_strdup("");
	do {
		struct history_range range = {.lo = backwards ? "" : bound,
					      .hi = backwards ? bound : "",
					      .backwards = backwards};
		assert_fine(
			store_history_page(node.store, txn, &range, out + total, 3, &n, &node.err),
			&node.err);
		total += n;
		assert_true(total + 3 < max);
		if (n > 0) {
			free(bound);
			bound = x_asprintf(backwards ? "%s" : "%s\x01", out[total - 1].rec.path);
		}
		/* The least path of all is the tree's own, and nothing is before it. */
	} while (n == 3 && !(backwards && *bound == '\0'));
	return total;
}

static void assert_tree_at(int64_t clock_ns, const struct snapshot *expected)
{
	struct history_barrier found;
	struct index_entry tree[100];
	assert_fine(store_history_barrier(node.store, clock_ns, &found, &node.err), &node.err);
	assert_memory_equal(found.digest, expected->state.digest, HASH_LEN);
	assert_int_equal(found.records, expected->state.records);
	for (int backwards = 0; backwards < 2; backwards++) {
		size_t n = read_tree(found.txn, backwards, tree, ARRAY_LEN(tree));
		assert_int_equal(n, expected->n);
		for (size_t i = 0; i < n; i++) {
			const struct record *rec = &tree[backwards ? n - 1 - i : i].rec;
			if (!record_equal(rec, &expected->entries[i].rec, true))
				fail_msg("\"%s\" is not what \"%s\" was", rec->path,
					 expected->entries[i].rec.path);
			if (rec->kind == RECORD_FILE) {
				AUTO_FREE char *content = content_of(rec);
				assert_non_null(content);
			}
		}
		release_entries(tree, n);
	}
}

static bool is_live(const char *path)
{
	struct index_entry e = {0};
	bool live = store_get(node.store, path, &e, NULL) == 0 && e.rec.kind != RECORD_ABSENT;
	index_entry_release(&e);
	return live;
}

static void change_something(int round)
{
	char path[8], content[32];
	sprintf(path, "%s%d", roll(2) ? "d/" : "", (int)roll(FILES / 2));
	sprintf(content, "%d of %d", (int)roll(4), round / 3);
	bool live = is_live(path);
	if (live && roll(3) == 0)
		take_away(path);
	else
		put(path, content, S(round) + (int64_t)roll(1000));
}

static void the_tree_of_every_barrier_can_be_read_again(void **state)
{
	struct snapshot was[ROUNDS];
	seed_dice();
	const struct line dirs[] = {{OP_META, "", RECORD_DIR, NULL, 0755, S(1)},
				    {OP_META, "d", RECORD_DIR, NULL, 0750, S(2)}};
	commit_lines(&node, dirs, 2);
	for (int i = 0; i < ROUNDS; i++) {
		for (uint64_t n = roll(4); n > 0; n--)
			change_something(i);
		barrier(S(1000 + i * 10));
		take_snapshot(&was[i]);
		if (i % 16 == 7) {
			close_all();
			open_with(7, PLENTY);
		}
	}
	for (int i = 0; i < ROUNDS; i++)
		assert_tree_at(S(1000 + i * 10) + (int64_t)roll(S(9)), &was[i]);
	assert_int_equal(store_history_barrier(node.store, S(999), NULL, NULL), -ENOENT);
	for (int i = 0; i < ROUNDS; i++) {
		release_entries(was[i].entries, was[i].n);
		free(was[i].entries);
	}
	assert_consistent(&node);
}

/* ---- pruning ----------------------------------------------------------------------------------
 */

static void the_oldest_goes_first(void **state)
{
	char text[40], filler[1001];
	struct history_version versions[VERSIONS_MAX];
	struct history_barrier found;
	memset(filler, 'x', 1000);
	filler[1000] = '\0';
	for (int i = 0; i <= 20; i++) {
		memcpy(filler, text, (size_t)sprintf(text, "%04d", i));
		put("f", filler, S(i));
		barrier(S(i + 1));
	}
	const struct history_keep less = {.days = 7, .bytes = 5 * (1000 + HISTORY_ROW_BYTES)};
	history_configure(history, &less);
	assert_true(history_exceeds(history));
	prune_all();
	assert_false(history_exceeds(history));
	size_t n = versions_of("f", versions);
	assert_int_equal(n, 5);
	AUTO_FREE char *oldest = content_of(&versions[4].entry.rec);
	assert_int_equal(memcmp(oldest, "0015", 4), 0);
	assert_int_equal(count_objects(), 5);
	/* Back to the barrier whose successors are all there, and no further. */
	assert_fine(store_history_oldest(node.store, &found, &node.err), &node.err);
	assert_true(found.first_ns == S(16));
	assert_int_equal(store_history_barrier(node.store, S(16) - 1, &found, NULL), -ENOENT);
	release_versions(versions, n);
	/* By age: everything was replaced before tomorrow. */
	struct kept_object *freed;
	bool more;
	const struct history_limits tomorrow = {.oldest_ns = clock_real_ns() + S(86400),
						.max_bytes = PLENTY};
	assert_fine(store_history_prune(node.store, &tomorrow, 3, &freed, &n, &more, &node.err),
		    &node.err);
	assert_int_equal(n, 3);
	assert_true(more);
	kept_objects_free(freed, n);
	assert_int_equal(versions_of("f", versions), 2);
	release_versions(versions, 2);
}

static void content_that_a_younger_version_needs_stays(void **state)
{
	struct history_version versions[VERSIONS_MAX];
	put("f", "same", S(1));
	barrier(S(1));
	put("f", "other", S(2));
	put("f", "same", S(3));
	put("f", "third", S(4));
	assert_int_equal(count_objects(), 2);
	const struct history_keep less = {.days = 7, .bytes = 4 + HISTORY_ROW_BYTES};
	history_configure(history, &less);
	prune_all();
	size_t n = versions_of("f", versions);
	assert_int_equal(n, 1);
	AUTO_FREE char *content = content_of(&versions[0].entry.rec);
	assert_string_equal(content, "same");
	assert_int_equal(count_objects(), 1);
	release_versions(versions, n);
}

static void what_is_larger_than_all_that_may_be_kept_is_not_kept(void **state)
{
	const struct history_keep little = {.days = 7, .bytes = 5};
	put("f", "longer than that", S(1));
	barrier(S(1));
	history_configure(history, &little);
	put("f", "5byte", S(2));
	assert_int_equal(count_objects(), 0);
	put("f", "next", S(3));
	assert_int_equal(count_objects(), 1);
}

static void orphans_are_swept(void **state)
{
	char dir[160], path[300];
	put("f", "one", S(1));
	barrier(S(1));
	put("f", "two", S(2));
	for (unsigned prefix = 0; prefix < 256; prefix += 85) {
		history_dir(dir, prefix);
		mkdir(dir, 0700);
		snprintf(path, sizeof(path), "%s/%02x%062x", dir, prefix, 1);
		int fd = open(path, O_WRONLY | O_CREAT, 0600);
		assert_true(fd >= 0);
		close(fd);
	}
	assert_int_equal(count_objects(), 1 + 4);
	prune_all();
	assert_int_equal(count_objects(), 1);
}

/* ---- crashes and failing disks -----------------------------------------------------------------
 */

/* A batch that replaces, deletes, changes kinds, displaces the same bytes twice. */
static const struct line before[] = {
	{OP_META, "", RECORD_DIR, NULL, 0755, S(1)},
	{OP_META, "d", RECORD_DIR, NULL, 0755, S(2)},
	{OP_WHOLE, "d/1", RECORD_FILE, "one", 0400, S(3)},
	{OP_WHOLE, "d/2", RECORD_FILE, "twin", 0644, S(4)},
	{OP_WHOLE, "3", RECORD_FILE, "twin", 0644, S(5)},
	{OP_META, "l", RECORD_SYMLINK, "3", 0, S(6)},
	{OP_WHOLE, "gone", RECORD_FILE, "gone", 0644, S(7)},
};
static const struct line after[] = {
	{OP_WHOLE, "d/1", RECORD_FILE, "ONE", 0644, S(30)},
	{OP_WHOLE, "d/2", RECORD_FILE, "TWO", 0644, S(40)},
	{OP_WHOLE, "3", RECORD_FILE, "THREE", 0644, S(50)},
	{OP_META, "l", RECORD_SYMLINK, "d", 0, S(60)},
	{OP_DELETE, "gone", RECORD_ABSENT, NULL, 0, 0},
};

static void lay_out(void)
{
	open_with(7, PLENTY);
	commit_lines(&node, before, ARRAY_LEN(before));
	barrier(S(100));
}

static void assert_version(const char *path, const char *content)
{
	struct history_version versions[VERSIONS_MAX];
	size_t n = versions_of(path, versions);
	assert_int_equal(n, 1);
	AUTO_FREE char *found = content_of(&versions[0].entry.rec);
	if (!found || strcmp(found, content) != 0)
		fail_msg("the version \"%s\" of %s is lost (%s)", content, path,
			 found ? found : "nothing");
	release_versions(versions, n);
}

/* What the catalogue promises is there, and what is there is in the catalogue. */
static void assert_promises_hold(void)
{
	struct history_counts counts;
	store_history_counts(node.store, &counts);
	if (counts.versions == 0) {
		assert_int_equal(count_objects(), 0);
		return;
	}
	assert_version("d/1", "one");
	assert_version("d/2", "twin");
	assert_version("3", "twin");
	assert_version("gone", "gone");
	assert_int_equal(count_objects(), 3);
	assert_int_equal(counts.bytes, 3 + 4 + 4);
}

static void die_in(void (*act)(void), long nth, bool *fired)
{
	int status;
	pid_t child = fork();
	assert_true(child >= 0);
	if (child == 0) {
		struct fault fault = {.nth = nth};
		lay_out();
		fault_arm(&fault);
		act();
		_exit(0);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	*fired = WIFSIGNALED(status);
	assert_true(*fired ? WTERMSIG(status) == SIGKILL : WEXITSTATUS(status) == 0);
}

static void commit_after(void)
{
	struct commit_item *items = items_make(&node, after, ARRAY_LEN(after));
	commit_run(&node.env, items, ARRAY_LEN(after), &node.err);
	history_settle(history, &node.err);
}

static void a_crash_anywhere_loses_nothing_that_was_promised(void **state)
{
	bool fired = true;
	long nth, with_history = 0;
	for (nth = nth_first(); fired; nth += nth_step()) {
		node = (struct node){0};
		node_make(&node);
		node_close(&node);
		die_in(commit_after, nth, &fired);
		open_with(7, PLENTY);
		assert_fine(commit_recover(&node.env, &node.err), &node.err);
		assert_promises_hold();
		with_history += count_objects() > 0;
		struct kept_object *unsettled;
		size_t n;
		assert_fine(store_kept_unsettled(node.store, &unsettled, &n, &node.err), &node.err);
		assert_int_equal(n, 0);
		kept_objects_free(unsettled, n);
		prune_all();
		assert_promises_hold();
		if (with_history)
			assert_consistent(&node);
		end(NULL);
	}
	print_message("%ld places to die, %ld of them behind the journal\n", nth - 1 - nth_step(),
		      with_history);
	assert_true(nth > 40 && with_history > 20 / nth_step());
}

static void commit_and_prune(void)
{
	const struct history_keep none = {.days = 7, .bytes = 0};
	commit_after();
	history_configure(history, &none);
	while (history_prune(history, true, &node.err) > 0)
		;
}

static void a_crash_while_pruning_leaves_no_orphan_for_ever(void **state)
{
	bool fired = true;
	long nth;
	for (nth = 19 + nth_first(); fired; nth += nth_step()) {
		node = (struct node){0};
		node_make(&node);
		node_close(&node);
		die_in(commit_and_prune, nth, &fired);
		open_with(7, 0);
		assert_fine(commit_recover(&node.env, &node.err), &node.err);
		prune_all();
		assert_int_equal(count_objects(), 0);
		struct history_counts counts;
		store_history_counts(node.store, &counts);
		assert_int_equal(counts.versions + counts.bytes, 0);
		end(NULL);
	}
	print_message("%ld places to die\n", nth - 20 - nth_step());
	assert_true(nth > 40);
}

static void a_failing_disk_loses_nothing_that_was_promised(void **state)
{
	bool fired = true;
	long nth;
	for (nth = nth_first(); fired; nth += nth_step()) {
		struct fault fault = {.nth = nth, .err = nth % 2 ? EIO : ENOSPC};
		node = (struct node){0};
		node_make(&node);
		node_close(&node);
		lay_out();
		struct commit_item *items = items_make(&node, after, ARRAY_LEN(after));
		fault_arm(&fault);
		commit_run(&node.env, items, ARRAY_LEN(after), &node.err);
		history_settle(history, &node.err);
		fault_disarm();
		fired = fault.fired;
		items_free(items, ARRAY_LEN(after));
		/* Another attempt of what failed as a whole or in part; then as after a start. */
		items = items_make(&node, after, ARRAY_LEN(after));
		assert_fine(commit_run(&node.env, items, ARRAY_LEN(after), &node.err), &node.err);
		items_free(items, ARRAY_LEN(after));
		close_all();
		open_with(7, PLENTY);
		assert_fine(commit_recover(&node.env, &node.err), &node.err);
		assert_promises_hold();
		assert_consistent(&node);
		end(NULL);
	}
	print_message("%ld calls failed\n", nth - 1 - nth_step());
	assert_true(nth > 25);
}

/* ---- on the active -----------------------------------------------------------------------------
 */

static void become_active(void)
{
	const struct epoch_entry first = {.number = 3, .id = {7}, .node = "a"};
	assert_fine(store_set_lineage(node.store, &first, 1, &node.err), &node.err);
	assert_fine(store_set_role(node.store, WIRE_ROLE_ACTIVE, &node.err), &node.err);
}

static void commit_as_active(void)
{
	become_active();
	struct commit_item *items = items_make(&node, after, ARRAY_LEN(after));
	for (size_t i = 0; i < ARRAY_LEN(after); i++) {
		items[i].entry.rec.epoch = 0;
		items[i].entry.rec.seq = 1;
	}
	commit_run(&node.env, items, ARRAY_LEN(after), &node.err);
}

/* What a rewind installs is numbered, also where a crash came between and it was rolled forward. */
static void what_the_active_installs_is_numbered(void **state)
{
	bool fired = true;
	size_t rolled = 0;
	for (long nth = 4 + nth_first(); fired; nth += nth_step()) {
		struct pending pending[20];
		size_t n;
		node = (struct node){0};
		node_make(&node);
		node_close(&node);
		die_in(commit_as_active, nth, &fired);
		open_with(7, PLENTY);
		assert_fine(commit_recover(&node.env, &node.err), &node.err);
		assert_consistent(&node);
		AUTO_FREE char *now = read_local(&node, "d/1");
		assert_fine(store_pending(node.store, "b", 7, pending, 20, &n, &node.err),
			    &node.err);
		bool came = strcmp(now, "ONE") == 0;
		rolled += came && fired;
		assert_true(came ? n >= ARRAY_LEN(after) : n == 0);
		for (size_t i = 0; i < n; i++) {
			struct index_entry e;
			assert_fine(store_get(node.store, pending[i].path, &e, &node.err),
				    &node.err);
			assert_true(e.rec.kind == RECORD_DIR || e.rec.epoch == 3);
			index_entry_release(&e);
			free(pending[i].path);
		}
		end(NULL);
	}
	assert_true(rolled > 5 / nth_step());
}

static void what_no_peer_has_goes_to_the_salvage(void **state)
{
	open_with(7, PLENTY);
	put("f", "proven", S(1));
	put("g", "unproven", S(1));
	become_active();
	struct index_entry e;
	assert_fine(store_get(node.store, "f", &e, &node.err), &node.err);
	const struct acked ack = {.path = "f", .seq = e.rec.seq, .kind = RECORD_FILE};
	assert_fine(store_ack(node.store, "b", &ack, 1, &node.err), &node.err);
	index_entry_release(&e);
	node.env.peer = "b";
	put("f", "earlier", S(2));
	put("g", "earlier", S(2));
	assert_false(is_in_salvage(&node, "proven"));
	assert_true(is_in_salvage(&node, "unproven"));
}

static int begin_closed(void **state)
{
	node = (struct node){0};
	node_make(&node);
	node_close(&node);
	return 0;
}

#define NODE(test) cmocka_unit_test_setup_teardown(test, begin, end)

int main(void)
{
	const struct CMUnitTest tests[] = {
		NODE(a_hundred_versions_come_back_byte_for_byte),
		NODE(before_the_first_barrier_nothing_is_kept),
		NODE(switched_off_nothing_is_kept_and_the_way_back_ends),
		NODE(metadata_alone_keeps_no_content),
		NODE(what_others_changed_goes_to_the_salvage_not_to_history),
		NODE(another_name_of_the_inode_does_not_rewrite_history),
		NODE(a_damaged_object_is_not_given),
		NODE(the_tree_of_every_barrier_can_be_read_again),
		NODE(the_oldest_goes_first),
		NODE(content_that_a_younger_version_needs_stays),
		NODE(what_is_larger_than_all_that_may_be_kept_is_not_kept),
		NODE(orphans_are_swept),
		cmocka_unit_test(what_the_active_installs_is_numbered),
		cmocka_unit_test_setup_teardown(what_no_peer_has_goes_to_the_salvage, begin_closed,
						end),
		cmocka_unit_test(a_crash_anywhere_loses_nothing_that_was_promised),
		cmocka_unit_test(a_crash_while_pruning_leaves_no_orphan_for_ever),
		cmocka_unit_test(a_failing_disk_loses_nothing_that_was_promised),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
