/* The passive's side: a journaled batch, its end, and the digest that both ways of filling an index
 * share. */
#include "tests/unit/store/store_help.h"

#include <stdio.h>
#include <time.h>

#include "agent/base/fault.h"

static void rows_come_back_as_written(void **state)
{
	struct fixture *f = *state;
	struct journal_row rows[2] = {{.op = JOURNAL_PUBLISH, .temp_ino = 99, .keep_foreign = true},
				      {.op = JOURNAL_RMDIR}};
	rows[0].entry = a_link("l", "target");
	rows[0].entry.rec.seq = 7;
	rows[0].install_mtime_ns = -3;
	strcpy(rows[0].temp, "t-1");
	rows[1].entry.rec = (struct record){.path = "d", .kind = RECORD_ABSENT, .seq = 8};
	assert_ok(store_journal_begin(f->store, rows, 2, &f->err), &f->err);
	assert_int_equal(store_journal_begin(f->store, rows, 2, &f->err), -EEXIST);
	fixture_reopen(f);
	struct journal_row *got;
	size_t n;
	assert_ok(store_journal_load(f->store, &got, &n, &f->err), &f->err);
	assert_int_equal(n, 2);
	assert_int_equal(got[0].op, JOURNAL_PUBLISH);
	assert_string_equal(got[0].temp, "t-1");
	assert_int_equal(got[0].temp_ino, 99);
	assert_true(got[0].install_mtime_ns == -3);
	assert_true(got[0].keep_foreign);
	assert_memory_equal(got[0].entry.rec.target, "target", 6);
	assert_true(file_stat_equal(&got[0].entry.inst, &rows[0].entry.inst));
	assert_int_equal(got[1].op, JOURNAL_RMDIR);
	assert_int_equal(got[1].entry.rec.kind, RECORD_ABSENT);
	assert_int_equal(got[1].entry.rec.seq, 8);
	journal_rows_free(got, n);
	assert_ok(store_journal_end(f->store, NULL, 0, NULL, 0, &f->err), &f->err);
	assert_ok(store_journal_load(f->store, &got, &n, &f->err), &f->err);
	assert_int_equal(n, 0);
	journal_rows_free(got, n);
}

static void the_end_of_a_batch_is_one_step(void **state)
{
	struct fixture *f = *state;
	struct index_entry d = a_dir("d"), x = a_file("d/x", 1), old = a_file("old", 1);
	d.rec.seq = 1;
	x.rec.seq = 2;
	old.rec.seq = 3;
	struct installed first[] = {{&d, false}, {&x, false}, {&old, false}};
	assert_ok(store_journal_end(f->store, first, 3, NULL, 0, &f->err), &f->err);

	struct index_entry gone = {.rec = {.path = "d/x", .kind = RECORD_ABSENT, .seq = 9}};
	struct index_entry unknown = {.rec = {.path = "u", .kind = RECORD_ABSENT, .seq = 4}};
	struct index_entry never = {.rec = {.path = "old", .kind = RECORD_ABSENT}};
	struct index_entry touched = a_dir("d");
	touched.rec.seq = 1;
	touched.inst.mtime_ns = 1234;
	struct installed second[] = {{&gone, false}, {&unknown, false}, {&never, true}};
	struct journal_row row = {.op = JOURNAL_REMOVE, .entry = gone};
	assert_ok(store_journal_begin(f->store, &row, 1, &f->err), &f->err);
	bool fired = true;
	for (long nth = 1; fired; nth++) {
		struct fault fault = {.nth = nth, .err = EIO};
		fault_arm(&fault);
		int r = store_journal_end(f->store, second, 3, &touched, 1, &f->err);
		fault_disarm();
		fired = fault.fired;
		assert_int_equal(r, fired ? -EIO : 0);
		struct journal_row *rows;
		size_t n;
		assert_ok(store_journal_load(f->store, &rows, &n, &f->err), &f->err);
		assert_int_equal(n, fired ? 1 : 0);
		journal_rows_free(rows, n);
		assert_int_equal(kind_of(f, "d/x"), fired ? RECORD_FILE : RECORD_ABSENT);
		assert_int_equal(kind_of(f, "old"), fired ? RECORD_FILE : 0);
	}
	assert_int_equal(kind_of(f, "u"), RECORD_ABSENT);
	struct index_entry e;
	assert_ok(store_get(f->store, "d", &e, &f->err), &f->err);
	assert_int_equal(e.inst.mtime_ns, 1234);
	index_entry_release(&e);
	assert_ok(store_find_inode(f->store, &x.inst, &e, &f->err), &f->err);
	assert_memory_equal(e.rec.hash, x.rec.hash, HASH_LEN);
	index_entry_release(&e);
	struct store_state now;
	store_state(f->store, &now);
	assert_int_equal(now.last_seq, 9);
	assert_digest_holds(f);
}

/* The active publishes, too (a rewind, a rejected hold), and captures beside it. */
static void what_was_captured_during_a_batch_is_not_lost(void **state)
{
	struct fixture *f = *state;
	struct index_entry dir, file, got;
	capture_dir(f, "d");
	capture_file(f, "d/x", 1);
	assert_ok(store_get(f->store, "d", &dir, &f->err), &f->err);
	assert_ok(store_get(f->store, "d/x", &file, &f->err), &f->err);
	dir.inst.mtime_ns = 1234;
	struct installed done = {.entry = &file};
	assert_ok(store_journal_end(f->store, &done, 1, &dir, 1, &f->err), &f->err);
	assert_int_equal(seq_of(f, "d/x"), file.rec.seq);
	assert_ok(store_get(f->store, "d", &got, &f->err), &f->err);
	assert_int_equal(got.inst.mtime_ns, 1234);
	index_entry_release(&got);

	struct index_entry between = a_dir("d");
	between.rec.mtime_ns = between.inst.mtime_ns = 5678;
	capture_one(f, a_version(&between));
	capture_file(f, "d/x", 2);
	uint64_t newest = seq_of(f, "d/x");
	assert_ok(store_journal_end(f->store, &done, 1, &dir, 1, &f->err), &f->err);
	assert_int_equal(seq_of(f, "d/x"), newest + 1);
	assert_ok(store_get(f->store, "d", &got, &f->err), &f->err);
	assert_int_equal(got.inst.mtime_ns, 5678);
	index_entry_release(&got);
	index_entry_release(&dir);
	index_entry_release(&file);
	assert_digest_holds(f);
}

static void only_stats_change_with_set_installed(void **state)
{
	struct fixture *f = *state;
	struct index_entry e = a_file("x", 1), got;
	struct captured item = a_version(&e);
	size_t changed;
	assert_ok(store_capture(f->store, &item, 1, true, &changed, &f->err), &f->err);
	struct store_state before, after;
	store_state(f->store, &before);
	e.inst.ino = 5;
	e.rec.mode = 0;
	e.flags = ENTRY_RACY;
	struct index_entry unknown = a_file("unknown", 1);
	struct index_entry both[] = {e, unknown};
	assert_ok(store_set_installed(f->store, both, 2, &f->err), &f->err);
	assert_ok(store_get(f->store, "x", &got, &f->err), &f->err);
	assert_int_equal(got.inst.ino, 5);
	assert_int_equal(got.rec.mode, 0644);
	assert_int_equal(got.flags, ENTRY_RACY | ENTRY_FOREIGN);
	index_entry_release(&got);
	assert_int_equal(kind_of(f, "unknown"), 0);
	store_state(f->store, &after);
	assert_memory_equal(&before, &after, sizeof(after));
}

static void what_was_beneath_a_displaced_directory_leaves_the_index(void **state)
{
	struct fixture *f = *state;
	struct index_entry d = a_dir("d"), x = a_file("d/x", 1), file = a_file("d", 1),
			   y = a_dir("d0");
	struct installed first[] = {{&d, false}, {&x, false}, {&y, false}};
	assert_ok(store_journal_end(f->store, first, 3, NULL, 0, &f->err), &f->err);
	struct installed second = {&file, false};
	assert_ok(store_journal_end(f->store, &second, 1, NULL, 0, &f->err), &f->err);
	assert_int_equal(kind_of(f, "d"), RECORD_FILE);
	assert_int_equal(kind_of(f, "d/x"), 0);
	assert_int_equal(kind_of(f, "d0"), RECORD_DIR);
	assert_digest_holds(f);
}

/* The deletion of d/x was refused, d is kept for it, and then a file comes at d. */
static void what_was_beneath_a_kept_directory_leaves_the_index(void **state)
{
	struct fixture *f = *state;
	struct index_entry d = a_dir("d"), x = a_file("d/x", 1), file = a_file("d", 1);
	struct index_entry kept = {.rec = {.path = "d", .kind = RECORD_ABSENT, .seq = 9},
				   .flags = ENTRY_KEPT};
	struct installed first[] = {{&d, false}, {&x, false}};
	struct installed second = {&kept, false}, third = {&file, false};
	assert_ok(store_journal_end(f->store, first, 2, NULL, 0, &f->err), &f->err);
	assert_ok(store_journal_end(f->store, &second, 1, NULL, 0, &f->err), &f->err);
	assert_int_equal(kind_of(f, "d/x"), RECORD_FILE);
	assert_ok(store_journal_end(f->store, &third, 1, NULL, 0, &f->err), &f->err);
	assert_int_equal(kind_of(f, "d/x"), 0);
	assert_digest_holds(f);
}

/* One store is filled by capturing, the other by installing what the first holds, in random
 * histories: they must agree at every step. */
static void both_ways_of_filling_an_index_agree(void **state)
{
	struct fixture *a = *state, *b;
	fixture_passive((void **)&b);
	unsigned seed = (unsigned)time(NULL);
	print_message("seed %u\n", seed);
	srandom(seed);
	const char *names[] = {"", "a", "a/b", "a/b/c", "a/d", "e"};
	uint64_t after = 0;
	for (int i = 0; i < 200; i++) {
		const char *path = names[(size_t)random() % ARRAY_LEN(names)];
		random() % 3 == 0   ? capture_loss(a, path)
		: random() % 2 == 0 ? capture_dir(a, path)
				    : capture_file(a, path, (uint64_t)random() % 4);
		struct pending page[64];
		size_t n;
		assert_ok(store_pending(a->store, "b", after, page, 64, &n, &a->err), &a->err);
		for (size_t k = 0; k < n; k++) {
			struct index_entry e;
			assert_ok(store_get(a->store, page[k].path, &e, &a->err), &a->err);
			struct installed done = {&e, false};
			assert_ok(store_journal_end(b->store, &done, 1, NULL, 0, &b->err), &b->err);
			index_entry_release(&e);
			ack_current(a, "b", page[k].path);
			free(page[k].path);
		}
		struct store_state sa, sb;
		store_state(a->store, &sa);
		store_state(b->store, &sb);
		assert_memory_equal(sa.digest, sb.digest, HASH_LEN);
		assert_int_equal(sa.records, sb.records);
		assert_int_equal(sa.bytes, sb.bytes);
		assert_int_equal(sa.last_seq, sb.last_seq);
	}
	assert_digest_holds(b);
	fixture_end((void **)&b);
}

#define ACTIVE(test) cmocka_unit_test_setup_teardown(test, fixture_active, fixture_end)
#define PASSIVE(test) cmocka_unit_test_setup_teardown(test, fixture_passive, fixture_end)

int main(void)
{
	const struct CMUnitTest tests[] = {
		PASSIVE(rows_come_back_as_written),
		PASSIVE(the_end_of_a_batch_is_one_step),
		PASSIVE(what_was_beneath_a_displaced_directory_leaves_the_index),
		PASSIVE(what_was_beneath_a_kept_directory_leaves_the_index),
		ACTIVE(what_was_captured_during_a_batch_is_not_lost),
		PASSIVE(only_stats_change_with_set_installed),
		ACTIVE(both_ways_of_filling_an_index_agree),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
