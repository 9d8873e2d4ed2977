/* Somebody writes to a file while its metadata is put on, or when it has just been published. What
 * he wrote is never taken for what was installed: it is found to be drift, and saved. And somebody
 * reads the version that a batch is displacing. */
#include "commit_help.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "agent/base/hash.h"
#include "agent/conf/profile.h"
#include "agent/history/history.h"
#include "agent/sync/mend.h"
#include "calls.h"

static struct node node;
static struct profile *profile;

static const struct line replicated[] = {
	{OP_META, "", RECORD_DIR, NULL, 0755, S(900)},
	{OP_WHOLE, "f", RECORD_FILE, "replicated", 0644, S(1000)},
	{OP_WHOLE, "twin", RECORD_FILE, "replicated", 0644, S(1000)},
	{OP_META, "l", RECORD_SYMLINK, "target", 0, S(1000)},
};

static int begin(void **state)
{
	(void)state;
	node = (struct node){0};
	node_make(&node);
	assert_fine(profile_new(&profile, "all", NULL, 0, true, &node.err), &node.err);
	node.env.profile = profile;
	commit_lines(&node, replicated, ARRAY_LEN(replicated));
	return 0;
}

static int end(void **state)
{
	(void)state;
	profile_free(profile);
	node_remove(&node);
	return 0;
}

static char *path_in_tree(const char *path)
{
	return x_asprintf("%s/%s", node.tree_dir, path);
}

static void let_age(void)
{
	const struct timespec wait = {.tv_nsec = 25000000};
	nanosleep(&wait, NULL);
}

/* ---- what somebody does ------------------------------------------------------------------------
 */

static void write_with(int flags, const char *text)
{
	AUTO_FREE char *path = path_in_tree("f");
	AUTO_CLOSE int fd = open(path, O_WRONLY | flags);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
}

static void append(void)
{
	write_with(O_APPEND, " FOREIGN");
}

static void overwrite(void)
{
	write_with(0, "FOREIGN!!!");
}

static void replace_link(void)
{
	AUTO_FREE char *path = path_in_tree("l");
	assert_int_equal(unlink(path), 0);
	assert_int_equal(symlink("FOREIGN", path), 0);
}

static const struct moment {
	const char *name;
	bool after;
	void (*act)(void);
	const char *written;
} moments[] = {
	{"fchmod", false, append, "replicated FOREIGN"},
	{"fchmod", false, overwrite, "FOREIGN!!!"},
	{"fchmod", true, overwrite, "FOREIGN!!!"},
	{"futimens", false, append, "replicated FOREIGN"},
	{"futimens", true, append, "replicated FOREIGN"},
	{"futimens", true, overwrite, "FOREIGN!!!"},
	{"fsync", false, append, "replicated FOREIGN"},
	{"fsync", false, overwrite, "FOREIGN!!!"},
	{"fsync", true, overwrite, "FOREIGN!!!"},
};

/* ---- what becomes of it ------------------------------------------------------------------------
 */

static enum mend_result mend_path(const char *path)
{
	struct mend_item item = {.path = x_strdup(path), .nobody_to_ask = true};
	let_age();
	mend_run(&node.env, &item, 1);
	enum mend_result result = item.result;
	mend_item_release(&item);
	return result;
}

static bool is_vouched_for(const char *path)
{
	struct index_entry entry;
	struct stat st;
	struct file_stat now;
	AUTO_FREE char *full = path_in_tree(path);
	assert_int_equal(lstat(full, &st), 0);
	file_stat_from(&now, &st);
	assert_fine(store_get(node.store, path, &entry, &node.err), &node.err);
	bool same = file_stat_equal(&entry.inst, &now);
	index_entry_release(&entry);
	return same;
}

static void assert_saved(const struct moment *moment, size_t i)
{
	AUTO_FREE char *there = read_local(&node, "f");
	assert_string_equal(there, moment->written);
	if (is_vouched_for("f"))
		fail_msg("moment %zu: what was written at %s passes for installed", i,
			 moment->name);
	assert_int_equal(mend_path("f"), MEND_DONE);
	AUTO_FREE char *content = read_local(&node, "f");
	assert_string_equal(content, "replicated");
	assert_true(is_in_salvage(&node, moment->written));
	assert_consistent(&node);
}

static void while_a_batch_puts_metadata_on(void **state)
{
	for (size_t i = 0; i < ARRAY_LEN(moments); i++) {
		const struct line meta = {OP_META,	"f",  RECORD_FILE,
					  "replicated", 0600, S(1000 + (int64_t)i)};
		calls_meanwhile(moments[i].name, "/f", moments[i].after, moments[i].act);
		commit_lines(&node, &meta, 1);
		assert_true(calls_happened());
		assert_saved(&moments[i], i);
		end(state);
		begin(state);
	}
}

static void while_mending_puts_metadata_on(void **state)
{
	for (size_t i = 0; i < ARRAY_LEN(moments); i++) {
		AUTO_FREE char *path = path_in_tree("f");
		assert_int_equal(chmod(path, 0600), 0);
		calls_meanwhile(moments[i].name, "/f", moments[i].after, moments[i].act);
		assert_int_equal(mend_path("f"), MEND_AGAIN);
		assert_true(calls_happened());
		assert_saved(&moments[i], i);
		end(state);
		begin(state);
	}
}

static void when_nobody_writes_it_is_vouched_for(void **state)
{
	(void)state;
	const struct line meta = {OP_META, "f", RECORD_FILE, "replicated", 0600, S(1001)};
	AUTO_FREE char *path = path_in_tree("f");
	commit_lines(&node, &meta, 1);
	assert_true(is_vouched_for("f"));
	assert_int_equal(chmod(path, 0666), 0);
	assert_int_equal(mend_path("f"), MEND_DONE);
	assert_true(is_vouched_for("f"));
	assert_int_equal(store_salvage_count(node.store), 0);
	assert_consistent(&node);
}

static void another_link_while_its_time_is_put_back(void **state)
{
	(void)state;
	const struct timespec times[2] = {{.tv_sec = 5}, {.tv_sec = 5}};
	AUTO_FREE char *path = path_in_tree("l");
	assert_int_equal(utimensat(AT_FDCWD, path, times, AT_SYMLINK_NOFOLLOW), 0);
	calls_meanwhile("utimensat", "/l", false, replace_link);
	assert_int_equal(mend_path("l"), MEND_AGAIN);
	assert_true(calls_happened());
	assert_false(is_vouched_for("l"));
	assert_int_equal(mend_path("l"), MEND_DONE);
	assert_consistent(&node);
	assert_int_equal(salvage_files(&node), 1);
}

/* Between its name and the index. */
static void when_it_has_just_been_published(void **state)
{
	(void)state;
	const struct line next[] = {{OP_WHOLE, "f", RECORD_FILE, "replicated", 0600, S(2000)}};
	const struct moment moment = {"renameat2", true, overwrite, "FOREIGN!!!"};
	calls_meanwhile("renameat2", "/f", true, overwrite);
	commit_lines(&node, next, 1);
	assert_true(calls_happened());
	assert_saved(&moment, 0);
}

/* ---- a stat that vouches for what it should not ------------------------------------------------
 */

static void take_for_installed(const char *path)
{
	struct index_entry entry;
	struct stat st;
	AUTO_FREE char *full = path_in_tree(path);
	assert_int_equal(lstat(full, &st), 0);
	assert_fine(store_get(node.store, path, &entry, &node.err), &node.err);
	file_stat_from(&entry.inst, &st);
	assert_fine(store_set_installed(node.store, &entry, 1, &node.err), &node.err);
	index_entry_release(&entry);
}

static void what_has_not_the_size_of_its_record_is_never_discarded(void **state)
{
	(void)state;
	const struct line next[] = {{OP_WHOLE, "f", RECORD_FILE, "the next", 0644, S(2000)},
				    {OP_DELETE, "twin", RECORD_ABSENT, NULL, 0, 0}};
	append();
	take_for_installed("f");
	write_local(&node, "twin", "another FOREIGN");
	take_for_installed("twin");
	commit_lines(&node, next, 2);
	assert_true(is_in_salvage(&node, "replicated FOREIGN"));
	assert_true(is_in_salvage(&node, "another FOREIGN"));
	assert_consistent(&node);
}

/* Where a file takes the place of the directory it is in. */
static void nor_with_its_directory(void **state)
{
	(void)state;
	const struct line before[] = {{OP_META, "d", RECORD_DIR, NULL, 0755, S(900)},
				      {OP_WHOLE, "d/f", RECORD_FILE, "in d", 0644, S(1000)}};
	const struct line file = {OP_WHOLE, "d", RECORD_FILE, "a file now", 0644, S(2000)};
	commit_lines(&node, before, 2);
	write_local(&node, "d/f", "FOREIGN in d");
	take_for_installed("d/f");
	commit_lines(&node, &file, 1);
	assert_int_equal(salvage_files(&node), 1);
	AUTO_FREE char *command =
		x_asprintf("grep -rq 'FOREIGN in d' %s/.artifact-sync/salvage", node.tree_dir);
	assert_int_equal(system(command), 0);
}

/* ---- a reader of what is displaced ------------------------------------------------------------
 */

static struct history *history;
static pthread_t reader;
static atomic_int reader_thread;
static atomic_bool reader_ended;

static void *read_displaced(void *unused)
{
	static const char content[] = "replicated";
	uint8_t hash[HASH_LEN];
	struct err err = {0};
	(void)unused;
	reader_thread = (int)syscall(SYS_gettid);
	hash_bytes(hash, content, strlen(content));
	int fd = history_open_content(history, hash, strlen(content), "f", &err);
	reader_ended = true;
	return (void *)(intptr_t)fd;
}

static bool reader_waits(void)
{
	AUTO_FREE char *name = x_asprintf("/proc/self/task/%d/syscall", reader_thread);
	AUTO_CLOSE int fd = open(name, O_RDONLY);
	char text[32] = "";
	return fd >= 0 && read(fd, text, sizeof(text) - 1) > 0 && atol(text) == SYS_futex;
}

/* Goes on when the reader has its answer, or waits for this thread. */
static void begin_to_read(void)
{
	assert_int_equal(pthread_create(&reader, NULL, read_displaced, NULL), 0);
	while (!reader_ended && !reader_waits())
		sched_yield();
}

/* Between its name and the index the old version is in stage/, where nobody looks for it. */
static void what_is_displaced_can_be_read_when_it_is_kept(void **state)
{
	const struct history_keep keep = {.days = 7, .bytes = 1 << 20};
	const struct line before = {OP_WHOLE, "f", RECORD_FILE, "replicated", 0644, S(1500)};
	const struct line next = {OP_WHOLE, "f", RECORD_FILE, "the next", 0644, S(2000)};
	struct store_state now;
	void *fd;
	(void)state;
	node.env.history = history = history_new(node.store, node.tree, &keep);
	commit_lines(&node, &before, 1);
	store_state(node.store, &now);
	assert_fine(store_note_barrier(node.store, now.last_seq, 1, 1, now.digest, &node.err),
		    &node.err);
	calls_meanwhile("store_journal_end", "", false, begin_to_read);
	commit_lines(&node, &next, 1);
	assert_true(calls_happened());
	assert_int_equal(pthread_join(reader, &fd), 0);
	assert_true((int)(intptr_t)fd >= 0);
	close((int)(intptr_t)fd);
	history_free(STEAL(history));
	node.env.history = NULL;
}

#define NODE(test) cmocka_unit_test_setup_teardown(test, begin, end)

int main(void)
{
	const struct CMUnitTest tests[] = {
		NODE(while_a_batch_puts_metadata_on),
		NODE(while_mending_puts_metadata_on),
		NODE(when_nobody_writes_it_is_vouched_for),
		NODE(another_link_while_its_time_is_put_back),
		NODE(when_it_has_just_been_published),
		NODE(what_has_not_the_size_of_its_record_is_never_discarded),
		NODE(nor_with_its_directory),
		NODE(what_is_displaced_can_be_read_when_it_is_kept),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
