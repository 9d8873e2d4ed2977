/* The index as the active fills it: seqs, tombstones, what counts as the same, digest and counts.
 */
#include "tests/unit/store/store_help.h"

#include <stdio.h>
#include <sys/stat.h>
#include <time.h>

#include "agent/base/fault.h"

static void a_version_gets_the_next_seq_and_the_epoch(void **state)
{
	struct fixture *f = *state;
	assert_int_equal(capture_dir(f, ""), 1);
	assert_int_equal(capture_file(f, "a", 1), 1);
	struct index_entry e;
	assert_ok(store_get(f->store, "a", &e, &f->err), &f->err);
	assert_int_equal(e.rec.seq, 2);
	assert_int_equal(e.rec.epoch, 1);
	assert_int_equal(e.rec.kind, RECORD_FILE);
	assert_string_equal(e.rec.path, "a");
	struct index_entry want = a_file("a", 1);
	assert_memory_equal(e.rec.hash, want.rec.hash, HASH_LEN);
	assert_true(file_stat_equal(&e.inst, &want.inst));
	index_entry_release(&e);
	assert_int_equal(seq_of(f, ""), 1);
	assert_int_equal(store_get(f->store, "b", &e, &f->err), -ENOENT);
	assert_digest_holds(f);
	fixture_reopen(f);
	assert_int_equal(seq_of(f, "a"), 2);
	assert_digest_holds(f);
}

static void every_field_survives(void **state)
{
	struct fixture *f = *state;
	struct index_entry in = a_link("dir/l\xff\n", "../\xfe target");
	in.rec.uid = 4000000000u;
	in.rec.gid = 17;
	in.rec.mtime_ns = -5;
	in.rec.xattrs = (const uint8_t *)"xa\0ttr";
	in.rec.xattrs_len = 6;
	in.inst.dev = UINT64_MAX;
	in.inst.ino = UINT64_MAX - 1;
	in.flags = ENTRY_RACY;
	assert_int_equal(capture_one(f, a_version(&in)), 1);
	struct index_entry out, copy;
	assert_ok(store_get(f->store, in.rec.path, &out, &f->err), &f->err);
	assert_int_equal(out.rec.uid, in.rec.uid);
	assert_int_equal(out.rec.gid, 17);
	assert_true(out.rec.mtime_ns == -5);
	assert_int_equal(out.rec.target_len, in.rec.target_len);
	assert_memory_equal(out.rec.target, in.rec.target, in.rec.target_len);
	assert_int_equal(out.rec.xattrs_len, 6);
	assert_memory_equal(out.rec.xattrs, in.rec.xattrs, 6);
	assert_true(file_stat_equal(&out.inst, &in.inst));
	assert_int_equal(out.flags, ENTRY_RACY);
	index_entry_copy(&copy, &out);
	assert_true(record_equal(&copy.rec, &in.rec, true));
	index_entry_release(&out);
	index_entry_release(&copy);
	assert_null(copy.rec.path);
}

static void an_equal_version_only_moves_the_stat(void **state)
{
	struct fixture *f = *state;
	capture_file(f, "a", 1);
	struct index_entry again = a_file("a", 1);
	again.inst.ctime_ns = 99;
	again.flags = ENTRY_RACY;
	assert_int_equal(capture_one(f, a_version(&again)), 0);
	assert_int_equal(seq_of(f, "a"), 1);
	struct index_entry e;
	assert_ok(store_get(f->store, "a", &e, &f->err), &f->err);
	assert_int_equal(e.inst.ctime_ns, 99);
	assert_int_equal(e.flags, ENTRY_RACY);
	index_entry_release(&e);
	again.flags = 0;
	struct captured same = {.kind = CAPTURED_SAME, .entry = &again};
	assert_int_equal(capture_one(f, same), 0);
	assert_ok(store_get(f->store, "a", &e, &f->err), &f->err);
	assert_int_equal(e.flags, 0);
	index_entry_release(&e);
	assert_int_equal(capture_file(f, "a", 2), 1);
	assert_int_equal(seq_of(f, "a"), 2);
	assert_digest_holds(f);
}

static void a_lost_directory_takes_all_beneath_along_deepest_first(void **state)
{
	struct fixture *f = *state;
	const char *paths[] = {"d", "d/a", "d/e", "d/e/x", "d-not", "d0", "d/e0"};
	for (size_t i = 0; i < ARRAY_LEN(paths); i++)
		strchr(paths[i], 'x') ? capture_file(f, paths[i], i) : capture_dir(f, paths[i]);
	struct index_entry late = a_file("z", 1);
	struct captured items[] = {a_version(&late), a_loss("d")};
	size_t changed;
	assert_ok(store_capture(f->store, items, 2, false, &changed, &f->err), &f->err);
	assert_int_equal(changed, 6);
	assert_true(seq_of(f, "d/e/x") < seq_of(f, "d/e"));
	assert_true(seq_of(f, "d/e") < seq_of(f, "d"));
	assert_true(seq_of(f, "d/a") < seq_of(f, "d"));
	assert_true(seq_of(f, "d/e0") < seq_of(f, "d"));
	assert_true(seq_of(f, "d") > seq_of(f, "z")); /* in the order given */
	assert_int_equal(kind_of(f, "d/e/x"), RECORD_ABSENT);
	assert_int_equal(kind_of(f, "d-not"), RECORD_DIR);
	assert_int_equal(kind_of(f, "d0"), RECORD_DIR);
	assert_int_equal(capture_loss(f, "d"), 0);
	assert_int_equal(capture_loss(f, "never"), 0);
	assert_digest_holds(f);
}

static void a_path_never_known_gets_a_tombstone_when_asked(void **state)
{
	struct fixture *f = *state;
	struct captured items[] = {{.kind = CAPTURED_TOMBSTONE, .path = "theirs"},
				   {.kind = CAPTURED_TOMBSTONE, .path = "ours"}};
	size_t changed;
	capture_file(f, "ours", 1);
	assert_ok(store_capture(f->store, items, 2, false, &changed, &f->err), &f->err);
	assert_int_equal(changed, 1);
	assert_int_equal(kind_of(f, "theirs"), RECORD_ABSENT);
	assert_int_equal(kind_of(f, "ours"), RECORD_FILE);
	assert_digest_holds(f);
}

static void losing_the_tree_leaves_no_live_record(void **state)
{
	struct fixture *f = *state;
	char path[32];
	capture_dir(f, "");
	for (int i = 0; i < 1500; i++) { /* more than one chunk */
		sprintf(path, "\xff%d", i);
		capture_file(f, path, 1);
	}
	assert_int_equal(capture_loss(f, ""), 1501);
	struct store_state now;
	store_state(f->store, &now);
	assert_int_equal(now.records, 0);
	assert_int_equal(now.bytes, 0);
	assert_int_equal(seq_of(f, ""), 3002);
	assert_digest_holds(f);
}

static void a_directory_that_became_a_file_buries_its_children_first(void **state)
{
	struct fixture *f = *state;
	capture_dir(f, "d");
	capture_file(f, "d/x", 1);
	assert_int_equal(capture_file(f, "d", 2), 2);
	assert_int_equal(kind_of(f, "d"), RECORD_FILE);
	assert_int_equal(kind_of(f, "d/x"), RECORD_ABSENT);
	assert_true(seq_of(f, "d/x") < seq_of(f, "d"));
	assert_digest_holds(f);
}

static void a_tombstone_is_plain_but_found_by_inode(void **state)
{
	struct fixture *f = *state;
	struct index_entry in = a_file("old", 3), e;
	capture_one(f, a_version(&in));
	capture_loss(f, "old");
	assert_ok(store_get(f->store, "old", &e, &f->err), &f->err);
	assert_int_equal(e.rec.size, 0);
	assert_int_equal(e.inst.mode, 0);
	index_entry_release(&e);
	assert_ok(store_find_inode(f->store, &in.inst, &e, &f->err), &f->err);
	assert_int_equal(e.rec.kind, RECORD_ABSENT);
	assert_memory_equal(e.rec.hash, in.rec.hash, HASH_LEN);
	assert_int_equal(e.rec.size, in.rec.size);
	index_entry_release(&e);
	struct file_stat other = in.inst;
	other.ctime_ns++;
	assert_int_equal(store_find_inode(f->store, &other, &e, &f->err), -ENOENT);
	in.flags = ENTRY_RACY;
	in.rec.mode = 0600;
	capture_one(f, a_version(&in));
	assert_int_equal(store_find_inode(f->store, &in.inst, &e, &f->err), -ENOENT);
}

static void what_leaves_the_profile_leaves_no_tombstone(void **state)
{
	struct fixture *f = *state;
	capture_dir(f, "d");
	capture_file(f, "d/x", 1);
	capture_file(f, "d/gone", 1);
	capture_loss(f, "d/gone");
	ack_current(f, "b", "d/x");
	const struct captured drop = {.kind = CAPTURED_DROPPED, .path = "d"};
	assert_int_equal(capture_one(f, drop), 0);
	assert_int_equal(kind_of(f, "d"), 0);
	assert_int_equal(kind_of(f, "d/x"), 0);
	assert_int_equal(kind_of(f, "d/gone"), 0);
	struct acked acked;
	assert_int_equal(store_acked(f->store, "b", "d/x", &acked, &f->err), -ENOENT);
	struct pending_summary sum;
	assert_ok(store_pending_summary(f->store, "b", &sum, &f->err), &f->err);
	assert_int_equal(sum.changes, 0);
	assert_digest_holds(f);
}

static void foreign_entries_get_no_seq_until_claimed(void **state)
{
	struct fixture *f = *state;
	struct index_entry e = a_file("mine", 1), d = a_dir("");
	struct captured items[] = {a_version(&d), a_version(&e)};
	size_t changed;
	assert_int_equal(store_capture(f->store, items, 2, false, &changed, &f->err), -EPERM);
	assert_ok(store_capture(f->store, items, 2, true, &changed, &f->err), &f->err);
	assert_int_equal(changed, 2);
	struct store_state now;
	store_state(f->store, &now);
	assert_int_equal(now.foreign, 2);
	assert_int_equal(now.last_seq, 0);
	assert_ok(store_capture(f->store, items, 2, true, &changed, &f->err), &f->err);
	assert_int_equal(changed, 0);
	struct captured loss = a_loss("mine");
	assert_ok(store_capture(f->store, &loss, 1, true, &changed, &f->err), &f->err);
	assert_int_equal(kind_of(f, "mine"), 0);
	assert_ok(store_capture(f->store, items, 2, true, &changed, &f->err), &f->err);
	assert_digest_holds(f);

	struct epoch_entry epoch = {.number = 4, .id = {1}, .base_seq = 100, .node = "a"};
	assert_int_equal(store_claim_foreign(f->store, &changed, &f->err), -EPERM);
	assert_ok(store_set_lineage(f->store, &epoch, 1, &f->err), &f->err);
	assert_ok(store_claim_foreign(f->store, &changed, &f->err), &f->err);
	assert_int_equal(changed, 2);
	store_state(f->store, &now);
	assert_int_equal(now.foreign, 0);
	assert_int_equal(seq_of(f, ""), 101);
	assert_int_equal(seq_of(f, "mine"), 102);
	assert_digest_holds(f);
}

static void a_superseded_node_disowns_what_it_alone_numbered(void **state)
{
	struct fixture *f = *state;
	char path[16];
	size_t changed;
	capture_file(f, "common", 1);
	capture_file(f, "gone", 1);
	ack_current(f, "b", "common");
	for (int i = 0; i < 600; i++) {
		sprintf(path, "%d", i);
		capture_file(f, path, 1);
	}
	capture_loss(f, "gone");
	assert_ok(store_disown_above(f->store, 2, NULL, &changed, &f->err), &f->err);
	assert_int_equal(changed, 601);
	struct store_state now;
	store_state(f->store, &now);
	assert_int_equal(now.foreign, 600);
	assert_int_equal(seq_of(f, "common"), 1);
	assert_int_equal(seq_of(f, "599"), 0);
	assert_int_equal(kind_of(f, "599"), RECORD_FILE);
	assert_int_equal(kind_of(f, "gone"), 0);
	struct pending_summary sum;
	assert_ok(store_pending_summary(f->store, "b", &sum, &f->err), &f->err);
	assert_int_equal(sum.changes, 0);
	assert_digest_holds(f);
}

static void an_equal_foreign_entry_gets_a_seq_when_captured(void **state)
{
	struct fixture *f = *state;
	struct index_entry e = a_file("mine", 1);
	struct captured item = a_version(&e);
	size_t changed;
	assert_ok(store_capture(f->store, &item, 1, true, &changed, &f->err), &f->err);
	assert_int_equal(capture_one(f, item), 1);
	assert_int_equal(seq_of(f, "mine"), 1);
	assert_digest_holds(f);
}

static void cursors_walk_in_byte_order_over_one_snapshot(void **state)
{
	struct fixture *f = *state;
	const char *order[] = {"", "a", "a\x01", "a/b", "a0", "b", "\xc3\xbc", "\xff"};
	for (size_t i = ARRAY_LEN(order); i-- > 0;)
		capture_dir(f, order[i]);
	AUTO(store_cursor) *all = NULL;
	AUTO(store_cursor) *some = NULL;
	const struct index_entry *e;
	assert_ok(store_cursor_open(&all, f->store, "", "", &f->err), &f->err);
	assert_ok(store_cursor_open(&some, f->store, "a/", "b", &f->err), &f->err);
	assert_int_equal(store_cursor_next(all, &e, &f->err), 1);
	capture_loss(f, "a");
	capture_file(f, "a2", 1);
	for (size_t i = 1; i < ARRAY_LEN(order); i++) {
		assert_int_equal(store_cursor_next(all, &e, &f->err), 1);
		assert_string_equal(e->rec.path, order[i]);
		assert_int_equal(e->rec.kind, RECORD_DIR);
	}
	assert_int_equal(store_cursor_next(all, &e, &f->err), 0);
	assert_int_equal(store_cursor_next(some, &e, &f->err), 1);
	assert_string_equal(e->rec.path, "a/b");
	assert_int_equal(e->rec.kind, RECORD_ABSENT);
	assert_int_equal(store_cursor_next(some, &e, &f->err), 1);
	assert_int_equal(store_cursor_next(some, &e, &f->err), 1);
	assert_string_equal(e->rec.path, "a2");
	assert_int_equal(store_cursor_next(some, &e, &f->err), 0);
}

static void a_failed_capture_changes_nothing(void **state)
{
	struct fixture *f = *state;
	capture_dir(f, "d");
	capture_file(f, "d/x", 1);
	struct store_state before, after;
	bool fired = true;
	for (long nth = 1; fired; nth++) {
		struct fault fault = {.nth = nth, .err = ENOSPC};
		struct index_entry e = a_file("y", 1);
		struct captured items[] = {a_version(&e), a_loss("d")};
		size_t changed;
		store_state(f->store, &before);
		fault_arm(&fault);
		int r = store_capture(f->store, items, 2, false, &changed, &f->err);
		fault_disarm();
		fired = fault.fired;
		store_state(f->store, &after);
		assert_int_equal(r, fired ? -ENOSPC : 0);
		if (fired) {
			assert_memory_equal(&before, &after, sizeof(before));
			assert_int_equal(kind_of(f, "y"), 0);
		}
		assert_digest_holds(f);
	}
	assert_int_equal(kind_of(f, "d"), RECORD_ABSENT);
}

/* Whatever happens, in whatever order: the digest and the counts stay those of the rows. */
static void digest_and_counts_hold_over_random_histories(void **state)
{
	struct fixture *f = *state;
	unsigned seed = (unsigned)time(NULL);
	print_message("seed %u\n", seed);
	srandom(seed);
	const char *names[] = {"", "a", "a/b", "a/b/c", "a/d", "e", "e/f", "a0"};
	for (int i = 0; i < 600; i++) {
		const char *path = names[(size_t)random() % ARRAY_LEN(names)];
		struct index_entry e;
		switch (random() % 3) {
		case 0: e = a_file(path, (uint64_t)random() % 3); break;
		case 1: e = a_dir(path); break;
		default: e = a_link(path, "t");
		}
		struct captured item = random() % 4 ? a_version(&e) : a_loss(path);
		size_t changed;
		assert_ok(store_capture(f->store, &item, 1, random() % 5 == 0, &changed, &f->err),
			  &f->err);
		if (random() % 3 == 0 && seq_of(f, path) > 0)
			ack_current(f, random() % 2 ? "b" : "c", path);
		struct pending_summary sum;
		struct pending page[16];
		size_t n;
		uint64_t bytes = 0, changes = 0, last = 0;
		assert_ok(store_pending_summary(f->store, "b", &sum, &f->err), &f->err);
		assert_ok(store_pending(f->store, "b", 0, page, 16, &n, &f->err), &f->err);
		for (size_t k = 0; k < n; k++) {
			if (page[k].seq >
			    last) { /* an ancestor that stands before its time comes again */
				bool again = false;
				for (size_t j = k + 1; j < n; j++)
					again |= strcmp(page[j].path, page[k].path) == 0;
				if (!again) {
					changes++;
					bytes += page[k].size;
				}
			}
		}
		for (size_t k = 0; k < n; k++)
			free(page[k].path);
		assert_int_equal(sum.changes, changes);
		assert_int_equal(sum.bytes, bytes);
		if (i % 50 == 0)
			assert_digest_holds(f);
	}
	fixture_reopen(f);
	assert_digest_holds(f);
}

static void owners_come_into_the_digest_when_asked(void **state)
{
	struct fixture *f = *state;
	struct index_entry e = a_file("a", 1);
	e.rec.uid = 5;
	capture_one(f, a_version(&e));
	struct store_state before, with, again;
	store_state(f->store, &before);
	assert_ok(store_set_preserve_ownership(f->store, true, &f->err), &f->err);
	store_state(f->store, &with);
	assert_memory_not_equal(before.digest, with.digest, HASH_LEN);
	assert_digest_holds(f);
	e.rec.uid = 6;
	assert_int_equal(capture_one(f, a_version(&e)), 1);
	assert_ok(store_set_preserve_ownership(f->store, false, &f->err), &f->err);
	store_state(f->store, &again);
	assert_memory_equal(before.digest, again.digest, HASH_LEN);
	assert_digest_holds(f);
}

#define ACTIVE(test) cmocka_unit_test_setup_teardown(test, fixture_active, fixture_end)
#define PASSIVE(test) cmocka_unit_test_setup_teardown(test, fixture_passive, fixture_end)

int main(void)
{
	const struct CMUnitTest tests[] = {
		ACTIVE(a_version_gets_the_next_seq_and_the_epoch),
		ACTIVE(every_field_survives),
		ACTIVE(an_equal_version_only_moves_the_stat),
		ACTIVE(a_lost_directory_takes_all_beneath_along_deepest_first),
		ACTIVE(a_path_never_known_gets_a_tombstone_when_asked),
		ACTIVE(losing_the_tree_leaves_no_live_record),
		ACTIVE(a_directory_that_became_a_file_buries_its_children_first),
		ACTIVE(a_tombstone_is_plain_but_found_by_inode),
		ACTIVE(what_leaves_the_profile_leaves_no_tombstone),
		PASSIVE(foreign_entries_get_no_seq_until_claimed),
		ACTIVE(a_superseded_node_disowns_what_it_alone_numbered),
		ACTIVE(an_equal_foreign_entry_gets_a_seq_when_captured),
		ACTIVE(cursors_walk_in_byte_order_over_one_snapshot),
		ACTIVE(a_failed_capture_changes_nothing),
		ACTIVE(digest_and_counts_hold_over_random_histories),
		ACTIVE(owners_come_into_the_digest_when_asked),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
