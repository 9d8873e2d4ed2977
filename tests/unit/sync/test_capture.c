/* Captures: what a path has become, and never a record of something that was half there. */
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
#include <sched.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>
#include <cmocka.h>

#include "agent/base/clock.h"
#include "tests/unit/sync/world.h"

static int enter(void **state)
{
	*state = world_new(NULL);
	return 0;
}

static int leave(void **state)
{
	world_free(*state);
	return 0;
}

static void index_aged(struct world *w)
{
	let_age();
	index_all(w);
}

static void a_file_becomes_a_record(void **state)
{
	struct world *w = *state;
	put_file("tree/f", "content");
	assert_int_equal(chmod("tree/f", 0640), 0);
	let_age();
	struct capture_item item = capture_path(w, "f");
	uint8_t hash[HASH_LEN];
	hash_bytes(hash, "content", 7);
	assert_int_equal(item.outcome, CAPTURE_CHANGED);
	assert_string_equal(item.entry.rec.path, "f");
	assert_int_equal(item.entry.rec.kind, RECORD_FILE);
	assert_int_equal(item.entry.rec.mode, 0640);
	assert_int_equal(item.entry.rec.size, 7);
	assert_memory_equal(item.entry.rec.hash, hash, HASH_LEN);
	assert_int_equal(item.entry.rec.seq, 0);
	assert_int_equal(item.entry.flags, 0);
	struct file_stat st = stat_of("tree/f");
	assert_true(file_stat_equal(&item.entry.inst, &st));
	assert_true(item.entry.rec.mtime_ns == st.mtime_ns);
	assert_int_equal(w->bytes_hashed, 7);
	capture_item_release(&item);
	index_all(w);
	assert_int_equal(outcome_of(w, "f"), CAPTURE_NOTHING);
}

static void links_and_directories_become_records(void **state)
{
	struct world *w = *state;
	make_dir("tree/d");
	assert_int_equal(symlink("../somewhere/else", "tree/l"), 0);
	let_age();
	struct capture_item item = capture_path(w, "l");
	assert_int_equal(item.outcome, CAPTURE_CHANGED);
	assert_int_equal(item.entry.rec.kind, RECORD_SYMLINK);
	assert_int_equal(item.entry.rec.target_len, 17);
	assert_memory_equal(item.entry.rec.target, "../somewhere/else", 17);
	capture_item_release(&item);
	item = capture_path(w, "d");
	assert_int_equal(item.outcome, CAPTURE_CHANGED);
	assert_int_equal(item.entry.rec.kind, RECORD_DIR);
	assert_int_equal(item.entry.rec.size, 0);
	assert_true(item.entry.rec.mtime_ns == stat_of("tree/d").mtime_ns);
	capture_item_release(&item);
	item = capture_path(w, "");
	assert_int_equal(item.outcome, CAPTURE_CHANGED);
	assert_int_equal(item.entry.rec.kind, RECORD_DIR);
	capture_item_release(&item);
}

static void absence_is_told_from_ignorance(void **state)
{
	struct world *w = *state;
	assert_int_equal(outcome_of(w, "never"), CAPTURE_NOTHING);
	make_dir("tree/d");
	put_file("tree/d/f", "x");
	index_aged(w);
	remove_all("tree/d");
	assert_int_equal(outcome_of(w, "d"), CAPTURE_GONE);
	assert_int_equal(outcome_of(w, "d/f"), CAPTURE_GONE);
	put_file("tree/d", "a file now");
	assert_int_equal(outcome_of(w, "d/f"), CAPTURE_GONE);
	assert_int_equal(unlink("tree/d"), 0);
	/* The same absence in a root that lost its marker. */
	assert_int_equal(unlink("tree/.artifact-sync/marker"), 0);
	struct capture_item item = capture_path(w, "d");
	assert_int_equal(item.outcome, CAPTURE_UNREADABLE);
	assert_non_null(strstr(item.why, "marker"));
	capture_item_release(&item);
	tree_check(w->tree);
	assert_int_equal(outcome_of(w, "d"), CAPTURE_UNREADABLE);
	assert_int_equal(outcome_of(w, "never"), CAPTURE_UNREADABLE);
}

static void a_swapped_root_deletes_nothing(void **state)
{
	struct world *w = *state;
	put_file("tree/f", "x");
	index_aged(w);
	assert_int_equal(rename("tree", "away"), 0);
	make_dir("tree");
	assert_int_equal(unlink("away/f"), 0);
	assert_int_equal(outcome_of(w, "f"), CAPTURE_UNREADABLE);
}

static void a_special_file_is_no_file(void **state)
{
	struct world *w = *state;
	put_file("tree/f", "x");
	index_aged(w);
	assert_int_equal(mkfifo("tree/new", 0600), 0);
	assert_int_equal(outcome_of(w, "new"), CAPTURE_SPECIAL);
	assert_int_equal(unlink("tree/f"), 0);
	assert_int_equal(mkfifo("tree/f", 0600), 0);
	assert_int_equal(outcome_of(w, "f"), CAPTURE_GONE);
}

static void metadata_alone_is_a_change(void **state)
{
	struct world *w = *state;
	put_file("tree/f", "x");
	index_aged(w);
	assert_int_equal(chmod("tree/f", 0600), 0);
	assert_int_equal(outcome_of(w, "f"), CAPTURE_CHANGED);
	index_aged(w);
	struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, {.tv_sec = 1000000000}};
	assert_int_equal(utimensat(AT_FDCWD, "tree/f", times, 0), 0);
	assert_int_equal(outcome_of(w, "f"), CAPTURE_CHANGED);
	index_aged(w);
	if (setxattr("tree/f", "user.a", "1", 1, 0) == 0)
		assert_int_equal(outcome_of(w, "f"), CAPTURE_CHANGED);
	index_aged(w);
	/* Owner: only where it is preserved. */
	if (geteuid() != 0)
		return;
	assert_int_equal(chown("tree/f", 4711, 4711), 0);
	assert_int_equal(outcome_of(w, "f"), CAPTURE_SAME);
	w->env.policy.ownership = OWNERSHIP_PRESERVE;
	assert_int_equal(outcome_of(w, "f"), CAPTURE_CHANGED);
}

static void content_is_read_whatever_the_times_say(void **state)
{
	struct world *w = *state;
	put_file("tree/f", "one");
	index_aged(w);
	struct stat before;
	assert_int_equal(stat("tree/f", &before), 0);
	put_file("tree/f", "two");
	struct timespec times[2] = {before.st_atim, before.st_mtim};
	assert_int_equal(utimensat(AT_FDCWD, "tree/f", times, 0), 0);
	assert_int_equal(outcome_of(w, "f"), CAPTURE_CHANGED);
}

static void equal_content_only_updates_the_stat(void **state)
{
	struct world *w = *state;
	put_file("tree/f", "one");
	index_aged(w);
	struct stat before;
	assert_int_equal(stat("tree/f", &before), 0);
	put_file("tree/f", "one");
	struct timespec times[2] = {before.st_atim, before.st_mtim};
	assert_int_equal(utimensat(AT_FDCWD, "tree/f", times, 0), 0);
	let_age();
	struct capture_item item = capture_path(w, "f");
	assert_int_equal(item.outcome, CAPTURE_SAME);
	struct file_stat now = stat_of("tree/f");
	assert_true(file_stat_equal(&item.entry.inst, &now));
	assert_true(item.entry.rec.seq != 0);
	capture_item_release(&item);
	index_all(w);
	assert_int_equal(outcome_of(w, "f"), CAPTURE_NOTHING);
}

static void a_forced_read_trusts_no_stat(void **state)
{
	struct world *w = *state;
	put_file("tree/f", "one");
	index_aged(w);
	uint64_t before = w->bytes_hashed;
	struct capture_item item = {.path = x_strdup("f"), .force_read = true};
	capture_run(&w->env, &item, 1);
	assert_int_equal(item.outcome, CAPTURE_NOTHING);
	assert_int_equal(w->bytes_hashed, before + 3);
	/* As if the stat had not changed although the content did. */
	struct index_entry entry = entry_of(w, "f");
	put_file("tree/f", "two");
	struct err err = {0};
	let_age();
	entry.inst = stat_of("tree/f");
	assert_int_equal(store_set_installed(w->store, &entry, 1, &err), 0);
	index_entry_release(&entry);
	assert_int_equal(outcome_of(w, "f"), CAPTURE_NOTHING);
	capture_item_release(&item);
	item = (struct capture_item){.path = x_strdup("f"), .force_read = true};
	capture_run(&w->env, &item, 1);
	assert_int_equal(item.outcome, CAPTURE_CHANGED);
	capture_item_release(&item);
}

static void a_young_file_is_racy_and_read_again(void **state)
{
	struct world *w = *state;
	for (int attempt = 0; attempt < 50; attempt++) {
		put_file("tree/f", "one");
		int64_t written = clock_real_ns();
		struct capture_item item = capture_path(w, "f");
		bool quick = clock_real_ns() - written < RACY_LOCAL_NS / 2;
		unsigned flags = item.entry.flags;
		capture_item_release(&item);
		if (!quick)
			continue;
		assert_int_equal(flags, ENTRY_RACY);
		index_all(w);
		let_age();
		uint64_t before = w->bytes_hashed;
		item = capture_path(w, "f");
		assert_int_equal(item.outcome, CAPTURE_SAME);
		assert_int_equal(item.entry.flags, 0);
		assert_true(w->bytes_hashed > before);
		capture_item_release(&item);
		return;
	}
	skip();
}

static void a_time_in_the_future_is_not_racy(void **state)
{
	struct world *w = *state;
	put_file("tree/f", "one");
	struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, {.tv_sec = 4000000000}};
	assert_int_equal(utimensat(AT_FDCWD, "tree/f", times, 0), 0);
	let_age();
	struct capture_item item = capture_path(w, "f");
	assert_int_equal(item.entry.flags, 0);
	capture_item_release(&item);
	w->tree->roots[0].remote = true; /* a server's granularity is coarser, its clock another */
	item = capture_path(w, "f");
	assert_int_equal(item.entry.flags, ENTRY_RACY);
	capture_item_release(&item);
}

static void files_beneath_a_renamed_directory_are_not_read(void **state)
{
	struct world *w = *state;
	make_dir("tree/old");
	put_file("tree/old/f", "some content");
	put_file("tree/old/g.xml", "<a/>");
	index_aged(w);
	uint64_t before = w->bytes_hashed;
	assert_int_equal(rename("tree/old", "tree/new"), 0);
	let_age();
	assert_int_equal(index_all(w), 7); /* three of the old, three of the new, the tree */
	assert_int_equal(w->bytes_hashed, before);
	assert_indexed(w); /* and what was believed is true */
	before = w->bytes_hashed;
	/* Never on a remote file system, whose inode numbers and times are a server's. */
	w->tree->roots[0].remote = true;
	assert_int_equal(rename("tree/new", "tree/old"), 0);
	index_all(w);
	assert_true(w->bytes_hashed > before);
}

static void attributes_travel_beneath_a_renamed_directory(void **state)
{
	struct world *w = *state;
	make_dir("tree/old");
	put_file("tree/old/f", "x");
	if (setxattr("tree/old/f", "user.a", "1", 1, 0) < 0)
		skip();
	index_aged(w);
	assert_int_equal(rename("tree/old", "tree/new"), 0);
	struct capture_item item = capture_path(w, "new/f");
	assert_int_equal(item.outcome, CAPTURE_CHANGED);
	assert_int_equal(item.entry.rec.xattrs_len, 13);
	capture_item_release(&item);
}

static void gates_hold_what_is_broken(void **state)
{
	static const char *const rules[] = {NULL};
	struct world *w = *state;
	struct err err = {0};
	world_set_rules(w, rules);
	profile_free(w->profile);
	static const char *const all[] = {"+ **"};
	assert_int_equal(profile_new(&w->profile, "wso2is", all, 1, true, &err), 0);
	w->env.profile = w->profile;
	put_file("tree/a.xml", "<a>\n<b>");
	struct capture_item item = capture_path(w, "a.xml");
	assert_int_equal(item.outcome, CAPTURE_HELD);
	assert_non_null(strstr(item.why, "line 2"));
	assert_null(item.entry.rec.path);
	capture_item_release(&item);
	put_file("tree/a.xml", "<a>\n<b/></a>");
	put_file("tree/b.json", "{\"a\":1}");
	put_file("tree/c.txt", "<a>");
	index_aged(w);
	assert_indexed(w);
	put_file("tree/b.json", "{\"a\":");
	assert_int_equal(outcome_of(w, "b.json"), CAPTURE_HELD);
	put_file("tree/a.xml", "");
	item = capture_path(w, "a.xml");
	assert_int_equal(item.outcome, CAPTURE_HELD);
	assert_non_null(strstr(item.why, "is empty; its last version has 12 bytes"));
	capture_item_release(&item);
	/* The last good version is still what is indexed. */
	struct index_entry entry = entry_of(w, "a.xml");
	assert_int_equal(entry.rec.size, 12);
	index_entry_release(&entry);
}

static void a_rename_into_a_gated_name_is_judged(void **state)
{
	static const char *const rules[] = {NULL};
	struct world *w = *state;
	world_set_rules(w, rules);
	make_dir("tree/x");
	make_dir("tree/x/userstores");
	make_dir("tree/plain");
	put_file("tree/plain/a.xml", "<broken");
	index_aged(w);
	remove_all("tree/x/userstores");
	assert_int_equal(rename("tree/plain", "tree/x/userstores"), 0);
	uint64_t before = w->bytes_hashed;
	assert_int_equal(outcome_of(w, "x/userstores/a.xml"), CAPTURE_HELD);
	assert_int_equal(w->bytes_hashed, before); /* known bytes, but another gate */
}

static void what_is_already_out_is_not_judged_again(void **state)
{
	struct world *w = *state;
	make_dir("tree/userstores");
	put_file("tree/userstores/a.tmp", "<broken");
	index_aged(w);
	/* Indexed under a gated name, as by an older profile. */
	struct index_entry entry = entry_of(w, "userstores/a.tmp");
	assert_int_equal(rename("tree/userstores/a.tmp", "tree/userstores/a.xml"), 0);
	free((char *)entry.rec.path);
	entry.rec.path = x_strdup("userstores/a.xml");
	struct captured one = {.kind = CAPTURED_VERSION, .entry = &entry};
	size_t changed;
	struct err err = {0};
	assert_int_equal(store_capture(w->store, &one, 1, false, &changed, &err), 0);
	index_entry_release(&entry);
	assert_int_equal(chmod("tree/userstores/a.xml", 0600), 0);
	assert_int_equal(outcome_of(w, "userstores/a.xml"), CAPTURE_CHANGED);
}

static void installed_values_are_not_the_sources(void **state)
{
	struct world *w = *state;
	put_file("tree/f", "x");
	index_aged(w);
	/* As a passive has it: the record has the source's time and owner, the file has ours. */
	struct index_entry entry = entry_of(w, "f");
	entry.rec.mtime_ns -= 1000000000;
	entry.rec.uid = 4711;
	entry.rec.mode = 0604;
	struct installed done = {.entry = &entry};
	struct err err = {0};
	assert_int_equal(store_journal_end(w->store, &done, 1, NULL, 0, &err), 0);
	assert_int_equal(outcome_of(w, "f"), CAPTURE_NOTHING);
	assert_int_equal(link("tree/f", "elsewhere"), 0); /* ctime alone */
	assert_int_equal(outcome_of(w, "f"), CAPTURE_SAME);
	assert_int_equal(chmod("tree/f", 0600), 0);
	struct capture_item item = capture_path(w, "f");
	assert_int_equal(item.outcome, CAPTURE_CHANGED);
	assert_int_equal(item.entry.rec.mode, 0600);
	assert_true(item.entry.rec.mtime_ns == entry.rec.mtime_ns);
	assert_int_equal(item.entry.rec.uid, 4711);
	capture_item_release(&item);
	index_entry_release(&entry);
}

static void the_profile_decides_what_is_dropped(void **state)
{
	static const char *const rules[] = {"- left", "= compared", NULL};
	struct world *w = *state;
	put_file("tree/left", "x");
	put_file("tree/compared", "x");
	put_file("tree/gone", "x");
	index_aged(w);
	world_set_rules(w, rules);
	assert_int_equal(outcome_of(w, "left"), CAPTURE_DROPPED);
	assert_int_equal(outcome_of(w, "compared"), CAPTURE_DROPPED);
	assert_int_equal(unlink("tree/left"), 0);
	assert_int_equal(outcome_of(w, "left"), CAPTURE_DROPPED); /* narrowing never deletes */
	index_all(w);
	assert_int_equal(outcome_of(w, "left"), CAPTURE_NOTHING);
	put_file("tree/left", "x");
	assert_int_equal(outcome_of(w, "left"), CAPTURE_NOTHING);
	assert_int_equal(outcome_of(w, "compared"), CAPTURE_COMPARED);
}

static void set_id_bits_follow_the_policy(void **state)
{
	struct world *w = *state;
	put_file("tree/f", "x");
	assert_int_equal(chmod("tree/f", 06755), 0);
	struct capture_item item = capture_path(w, "f");
	assert_int_equal(item.entry.rec.mode, 0755);
	capture_item_release(&item);
	w->env.policy.allow_setid = true;
	item = capture_path(w, "f");
	assert_int_equal(item.entry.rec.mode, 06755);
	capture_item_release(&item);
}

static void parents_come_along(void **state)
{
	struct world *w = *state;
	make_dir("tree/a");
	make_dir("tree/a/b");
	put_file("tree/a/b/f", "x");
	put_file("tree/z", "x");
	size_t n = 3;
	struct capture_item *items = x_calloc(n, sizeof(*items));
	items[0].path = x_strdup("z");
	items[1].path = x_strdup("a/b/f");
	items[2].path = x_strdup("z");
	items[2].force_read = true;
	capture_add_parents(&w->env, &items, &n);
	static const char *const want[] = {"", "a", "a/b", "a/b/f", "z"};
	assert_int_equal(n, ARRAY_LEN(want));
	for (size_t i = 0; i < n; i++)
		assert_string_equal(items[i].path, want[i]);
	assert_true(items[4].force_read);
	assert_false(items[3].force_read);
	capture_run(&w->env, items, n);
	for (size_t i = 0; i < n; i++) {
		assert_int_equal(items[i].outcome, CAPTURE_CHANGED);
		capture_item_release(&items[i]);
	}
	free(items);
}

/* ---- a writer who does not wait ------------------------------------------------------------- */

#define WRITTEN 300000 /* bytes: several pieces, so that a read can be overtaken */

static _Atomic bool writing;
static _Atomic uint64_t longest_ns; /* one write took */
static _Atomic unsigned long writes;

/* Rewrites the file in place with one letter after another: any capture that is not AGAIN must be
 * of one letter. */
static void *keep_rewriting(void *arg)
{
	static char block[WRITTEN];
	for (char letter = 'a'; writing; letter = letter == 'z' ? 'a' : (char)(letter + 1)) {
		memset(block, letter, sizeof(block));
		AUTO_CLOSE int fd = open("tree/f", O_WRONLY);
		uint64_t began = clock_mono_ns();
		assert_int_equal(pwrite(fd, block, sizeof(block), 0), (ssize_t)sizeof(block));
		uint64_t took = clock_mono_ns() - began;
		if (took > longest_ns)
			longest_ns = took;
		writes++;
	}
	return arg;
}

static bool is_one_letter(const uint8_t hash[HASH_LEN])
{
	static uint8_t hashes[26][HASH_LEN];
	static bool made;
	AUTO_FREE char *block = x_calloc(1, WRITTEN);
	for (int i = 0; i < 26 && !made; i++) {
		memset(block, 'a' + i, WRITTEN);
		hash_bytes(hashes[i], block, WRITTEN);
	}
	made = true;
	for (int i = 0; i < 26; i++) {
		if (memcmp(hashes[i], hash, HASH_LEN) == 0)
			return true;
	}
	return false;
}

/* A torn read whose time stamps did not move is possible: that is what the racy flag is for.
 * Without the flag it must never happen, unless one write lasted longer than a time stamp is
 * young: the kernel sets it when the write begins, and only the event of its end tells then. */
static void a_torn_file_is_never_taken_for_whole(void **state)
{
	struct world *w = *state;
	pthread_t writer;
	unsigned again = 0, racy = 0;
	AUTO_FREE char *block = x_calloc(1, WRITTEN + 1);
	memset(block, 'a', WRITTEN);
	put_file("tree/f", block);
	writing = true;
	longest_ns = 0;
	assert_int_equal(pthread_create(&writer, NULL, keep_rewriting, NULL), 0);
	for (int i = 0; i < 500; i++) {
		struct capture_item item = capture_path(w, "f");
		again += item.outcome == CAPTURE_AGAIN;
		if (item.outcome == CAPTURE_CHANGED) {
			racy += item.entry.flags & ENTRY_RACY;
			bool sure =
				!(item.entry.flags & ENTRY_RACY) && longest_ns < RACY_LOCAL_NS / 2;
			if (sure && !is_one_letter(item.entry.rec.hash)) {
				/* The write under way has not been measured yet. */
				for (unsigned long n = writes; writes < n + 2;)
					sched_yield();
				assert_true(longest_ns >= RACY_LOCAL_NS / 2);
			}
		}
		capture_item_release(&item);
	}
	writing = false;
	pthread_join(writer, NULL);
	print_message("%u changed meanwhile, %u racy\n", again, racy / ENTRY_RACY);
	assert_true(again + racy > 0);
	let_age();
	struct capture_item item = capture_path(w, "f");
	assert_int_equal(item.outcome, CAPTURE_CHANGED);
	assert_true(is_one_letter(item.entry.rec.hash));
	capture_item_release(&item);
}

#define LARGE (16 << 20)

struct overtaker {
	const uint64_t *bytes_hashed;
	uint64_t from;
	int fd;
	_Atomic bool done;
};

/* Waits until the first piece was read, then changes the beginning and the end. */
static void *overtake(void *arg)
{
	struct overtaker *o = arg;
	while (__atomic_load_n(o->bytes_hashed, __ATOMIC_RELAXED) == o->from)
		sched_yield();
	assert_int_equal(pwrite(o->fd, "b", 1, 0), 1);
	assert_int_equal(pwrite(o->fd, "b", 1, LARGE - 1), 1);
	o->done = true;
	return NULL;
}

/* The file is old when the reading begins, so only the second stat can tell. */
static void a_write_during_the_read_is_noticed(void **state)
{
	struct world *w = *state;
	AUTO_FREE char *block = x_calloc(1, LARGE + 1);
	for (int attempt = 0; attempt < 20; attempt++) {
		memset(block, 'a', LARGE);
		put_file("tree/f", block);
		let_age();
		AUTO_CLOSE int fd = open("tree/f", O_WRONLY);
		struct overtaker o = {&w->bytes_hashed, w->bytes_hashed, fd, false};
		pthread_t thread;
		assert_int_equal(pthread_create(&thread, NULL, overtake, &o), 0);
		struct capture_item item = capture_path(w, "f");
		bool during = o.done;
		enum capture_outcome outcome = item.outcome;
		capture_item_release(&item);
		pthread_join(thread, NULL);
		if (!during)
			continue; /* the other thread was not let run */
		assert_int_equal(outcome, CAPTURE_AGAIN);
		return;
	}
	skip();
}

static void deep_verification_names_the_difference(void **state)
{
	struct world *w = *state;
	char why[160];
	put_file("tree/f", "one");
	assert_int_equal(symlink("t", "tree/l"), 0);
	index_aged(w);
	struct index_entry entry = entry_of(w, "f"), link = entry_of(w, "l");
	assert_int_equal(capture_verify(&w->env, &entry, why), 0);
	assert_int_equal(capture_verify(&w->env, &link, why), 0);
	put_file("tree/f", "two");
	assert_int_equal(capture_verify(&w->env, &entry, why), 1);
	assert_string_equal(why, "content differs");
	put_file("tree/f", "one");
	assert_int_equal(chmod("tree/f", 0600), 0);
	assert_int_equal(capture_verify(&w->env, &entry, why), 1);
	assert_string_equal(why, "mode differs");
	assert_int_equal(unlink("tree/f"), 0);
	assert_int_equal(capture_verify(&w->env, &entry, why), 1);
	assert_string_equal(why, "it is missing");
	make_dir("tree/f");
	assert_int_equal(capture_verify(&w->env, &entry, why), 1);
	assert_string_equal(why, "it is another kind of thing");
	index_entry_release(&entry);
	index_entry_release(&link);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_file_becomes_a_record, enter, leave),
		cmocka_unit_test_setup_teardown(links_and_directories_become_records, enter, leave),
		cmocka_unit_test_setup_teardown(absence_is_told_from_ignorance, enter, leave),
		cmocka_unit_test_setup_teardown(a_swapped_root_deletes_nothing, enter, leave),
		cmocka_unit_test_setup_teardown(a_special_file_is_no_file, enter, leave),
		cmocka_unit_test_setup_teardown(metadata_alone_is_a_change, enter, leave),
		cmocka_unit_test_setup_teardown(content_is_read_whatever_the_times_say, enter,
						leave),
		cmocka_unit_test_setup_teardown(equal_content_only_updates_the_stat, enter, leave),
		cmocka_unit_test_setup_teardown(a_forced_read_trusts_no_stat, enter, leave),
		cmocka_unit_test_setup_teardown(a_young_file_is_racy_and_read_again, enter, leave),
		cmocka_unit_test_setup_teardown(a_time_in_the_future_is_not_racy, enter, leave),
		cmocka_unit_test_setup_teardown(files_beneath_a_renamed_directory_are_not_read,
						enter, leave),
		cmocka_unit_test_setup_teardown(attributes_travel_beneath_a_renamed_directory,
						enter, leave),
		cmocka_unit_test_setup_teardown(gates_hold_what_is_broken, enter, leave),
		cmocka_unit_test_setup_teardown(a_rename_into_a_gated_name_is_judged, enter, leave),
		cmocka_unit_test_setup_teardown(what_is_already_out_is_not_judged_again, enter,
						leave),
		cmocka_unit_test_setup_teardown(installed_values_are_not_the_sources, enter, leave),
		cmocka_unit_test_setup_teardown(the_profile_decides_what_is_dropped, enter, leave),
		cmocka_unit_test_setup_teardown(set_id_bits_follow_the_policy, enter, leave),
		cmocka_unit_test_setup_teardown(parents_come_along, enter, leave),
		cmocka_unit_test_setup_teardown(a_torn_file_is_never_taken_for_whole, enter, leave),
		cmocka_unit_test_setup_teardown(a_write_during_the_read_is_noticed, enter, leave),
		cmocka_unit_test_setup_teardown(deep_verification_names_the_difference, enter,
						leave),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
