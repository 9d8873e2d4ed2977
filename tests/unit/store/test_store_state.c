/* The state database itself: making, opening, locking, damage; role, lineage, chain, barrier;
 * notes, signatures, markers, salvage. */
#include "tests/unit/store/store_help.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/base/fault.h"

static void there_is_one_state_and_one_agent_on_it(void **state)
{
	struct fixture *f = *state;
	const struct store_state initial = {.node = "x", .group = "y"};
	struct store *second;
	assert_int_equal(store_create(f->dir, &initial, NULL, &f->err), -EEXIST);
	assert_int_equal(store_open(&second, f->dir, &f->err), -EBUSY);
	assert_int_equal(store_open(&second, "/tmp/there/is/none", &f->err), -ENOENT);
	struct store_state now;
	store_state(f->store, &now);
	assert_string_equal(now.node, "a");
	assert_string_equal(now.group, "g");
	assert_int_equal(now.role, WIRE_ROLE_ACTIVE);
	char path[128];
	struct stat st;
	sprintf(path, "%s/state.db", f->dir);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	sprintf(path, "%s/state.db.new", f->dir);
	assert_int_equal(stat(path, &st), -1);
}

static void creation_is_whole_or_not_at_all(void **state)
{
	bool fired = true;
	for (long nth = 1; fired; nth++) {
		char dir[] = "/tmp/store-test-XXXXXX";
		struct fault fault = {.nth = nth, .err = EIO};
		const struct store_state initial = {.node = "x", .group = "y"};
		struct err err = {0};
		struct store *store = NULL;
		assert_non_null(mkdtemp(dir));
		fault_arm(&fault);
		int r = store_create(dir, &initial, NULL, &err);
		fault_disarm();
		fired = fault.fired;
		assert_int_equal(r, fired ? -EIO : 0);
		assert_int_equal(store_open(&store, dir, &err), fired ? -ENOENT : 0);
		store_close(store);
		if (fired)
			assert_ok(store_create(dir, &initial, NULL, &err), &err);
		remove_dir(dir);
	}
}

static void damage_is_noticed(void **state)
{
	struct fixture *f = *state;
	char path[128];
	char junk[4096];
	for (int i = 0; i < 300; i++) {
		sprintf(path, "some/longer/path/%d", i);
		capture_file(f, path, 1);
	}
	store_close(f->store);
	f->store = NULL;
	sprintf(path, "%s/state.db", f->dir);
	int fd = open(path, O_RDWR);
	memset(junk, 0x5a, sizeof(junk));
	assert_int_equal(pwrite(fd, junk, sizeof(junk), 0), sizeof(junk));
	close(fd);
	assert_int_equal(store_open(&f->store, f->dir, &f->err), -EUCLEAN);
	assert_int_equal(truncate(path, 0), 0);
	assert_int_equal(store_open(&f->store, f->dir, &f->err), -EUCLEAN);
	f->store = NULL;
}

static void state_survives_and_failed_writes_leave_it(void **state)
{
	struct fixture *f = *state;
	const uint8_t digest[HASH_LEN] = {3};
	assert_ok(store_set_role(f->store, WIRE_ROLE_FENCED, &f->err), &f->err);
	assert_ok(store_set_populated_checked(f->store, &f->err), &f->err);
	assert_ok(store_set_barrier(f->store, 17, -4, digest, &f->err), &f->err);
	assert_ok(store_clear_adopt(f->store, &f->err), &f->err);
	struct fault fault = {.nth = 2, .err = EIO};
	fault_arm(&fault);
	assert_int_equal(store_set_role(f->store, WIRE_ROLE_ACTIVE, &f->err), -EIO);
	fault_disarm();
	struct store_state before, after;
	store_state(f->store, &before);
	fixture_reopen(f);
	store_state(f->store, &after);
	assert_memory_equal(&before, &after, sizeof(after));
	assert_int_equal(after.role, WIRE_ROLE_FENCED);
	assert_true(after.populated_checked);
	assert_int_equal(after.barrier_seq, 17);
	assert_true(after.barrier_clock_ns == -4);
	assert_memory_equal(after.barrier_digest, digest, HASH_LEN);
}

static void the_lineage_is_kept_whole(void **state)
{
	struct fixture *f = *state;
	struct epoch_entry *entries;
	size_t n;
	assert_ok(store_lineage(f->store, &entries, &n, &f->err), &f->err);
	assert_int_equal(n, 1);
	assert_int_equal(entries[0].number, 1);
	free(entries);
	struct epoch_entry all[WIRE_LINEAGE_MAX + 1] = {0};
	for (size_t i = 0; i <= WIRE_LINEAGE_MAX; i++) {
		all[i].number = 2 * i + 1;
		all[i].id[15] = (uint8_t)i;
		all[i].parent[0] = (uint8_t)i;
		all[i].base_seq = i * 10;
		sprintf(all[i].node, "n%zu", i);
	}
	assert_int_equal(store_set_lineage(f->store, all, WIRE_LINEAGE_MAX + 1, &f->err), -E2BIG);
	assert_ok(store_set_lineage(f->store, all, WIRE_LINEAGE_MAX, &f->err), &f->err);
	fixture_reopen(f);
	assert_ok(store_lineage(f->store, &entries, &n, &f->err), &f->err);
	assert_int_equal(n, WIRE_LINEAGE_MAX);
	for (size_t i = 0; i < n; i++) {
		assert_int_equal(entries[i].number, all[i].number);
		assert_memory_equal(entries[i].id, all[i].id, WIRE_ID_LEN);
		assert_memory_equal(entries[i].parent, all[i].parent, WIRE_ID_LEN);
		assert_int_equal(entries[i].base_seq, all[i].base_seq);
		assert_string_equal(entries[i].node, all[i].node);
	}
	free(entries);
	capture_file(f, "a", 1);
	assert_int_equal(seq_of(f, "a"), (WIRE_LINEAGE_MAX - 1) * 10 + 1);
}

static void a_state_that_was_ours_is_told_from_one_that_was_not(void **state)
{
	struct fixture *f = *state;
	struct store_state at[8], now;
	uint8_t other[HASH_LEN] = {9};
	for (size_t i = 0; i < ARRAY_LEN(at); i++) {
		store_state(f->store, &at[i]);
		capture_file(f, "a", i);
	}
	for (size_t i = 0; i < ARRAY_LEN(at); i++) {
		assert_int_equal(at[i].chain_n, i);
		assert_true(store_chain_was_ours(f->store, at[i].chain_n, at[i].chain));
		assert_int_equal(store_chain_was_ours(f->store, at[i].chain_n, other), i == 0);
	}
	store_state(f->store, &now);
	assert_false(store_chain_was_ours(f->store, now.chain_n + 1, now.chain));
	for (int i = 0; i < 4100; i++)
		assert_ok(store_set_role(f->store, (uint8_t)(1 + i % 2), &f->err), &f->err);
	assert_true(store_chain_was_ours(f->store, 3, other)); /* older than what is remembered */
	assert_true(store_chain_was_ours(f->store, now.chain_n, now.chain));
}

static void a_copy_that_went_another_way_has_another_chain(void **state)
{
	struct fixture *f = *state;
	char command[256];
	capture_file(f, "a", 1);
	store_close(f->store);
	sprintf(command, "cp -r %s %s.copy", f->dir, f->dir);
	assert_int_equal(system(command), 0);
	assert_ok(store_open(&f->store, f->dir, &f->err), &f->err);
	capture_file(f, "a", 2);
	struct store_state seen, now;
	store_state(f->store, &seen);
	store_close(f->store);
	char copy[80];
	sprintf(copy, "%s.copy", f->dir);
	assert_ok(store_open(&f->store, copy, &f->err), &f->err);
	assert_false(store_chain_was_ours(f->store, seen.chain_n, seen.chain));
	capture_file(f, "a", 3);
	store_state(f->store, &now);
	assert_int_equal(now.chain_n, seen.chain_n);
	assert_false(store_chain_was_ours(f->store, seen.chain_n, seen.chain));
	remove_dir(copy);
}

static void what_others_never_learn_does_not_extend_the_chain(void **state)
{
	struct fixture *f = *state;
	struct store_state before, after;
	const uint8_t id[16] = {1}, chain[HASH_LEN] = {2};
	capture_file(f, "a", 1);
	store_state(f->store, &before);
	struct index_entry e = a_file("a", 1);
	assert_ok(store_set_installed(f->store, &e, 1, &f->err), &f->err);
	assert_ok(store_note(f->store, NOTE_HELD, "a", "x", &f->err), &f->err);
	assert_ok(store_set_root_id(f->store, "", id, &f->err), &f->err);
	assert_ok(store_set_peer_chain(f->store, "b", 5, chain, &f->err), &f->err);
	assert_ok(store_journal_end(f->store, NULL, 0, NULL, 0, &f->err), &f->err);
	store_state(f->store, &after);
	assert_memory_equal(&before, &after, sizeof(after));
	uint64_t n;
	uint8_t got[HASH_LEN];
	assert_ok(store_peer_chain(f->store, "b", &n, got, &f->err), &f->err);
	assert_int_equal(n, 5);
	assert_memory_equal(got, chain, HASH_LEN);
	assert_ok(store_peer_chain(f->store, "never", &n, got, &f->err), &f->err);
	assert_int_equal(n, 0);
	uint8_t root[16];
	assert_ok(store_root_id(f->store, "", root, &f->err), &f->err);
	assert_memory_equal(root, id, 16);
	assert_int_equal(store_root_id(f->store, "other", root, &f->err), -ENOENT);
	char *follow[] = {"other"};
	uint8_t both[2][16];
	static const uint8_t none[16];
	assert_ok(store_root_ids(f->store, follow, 1, both, 2, &f->err), &f->err);
	assert_memory_equal(both[0], root, 16);
	assert_memory_equal(both[1], none, 16);
	assert_int_equal(store_root_ids(f->store, follow, 1, both, 1, &f->err), -E2BIG);
}

static void notes_keep_their_age(void **state)
{
	struct fixture *f = *state;
	struct note *first, *second;
	size_t n;
	assert_ok(store_note(f->store, NOTE_HELD, "x", "bad xml", &f->err), &f->err);
	assert_ok(store_notes(f->store, NOTE_HELD, &first, &n, &f->err), &f->err);
	assert_int_equal(n, 1);
	assert_ok(store_note(f->store, NOTE_HELD, "x", "bad xml", &f->err), &f->err);
	assert_ok(store_notes(f->store, NOTE_HELD, &second, &n, &f->err), &f->err);
	assert_int_equal(n, 1);
	assert_true(first[0].since_ns == second[0].since_ns);
	notes_free(second, n);
	assert_ok(store_note(f->store, NOTE_HELD, "x", "emptied", &f->err), &f->err);
	assert_ok(store_notes(f->store, NOTE_HELD, &second, &n, &f->err), &f->err);
	assert_string_equal(second[0].reason, "emptied");
	assert_true(first[0].since_ns < second[0].since_ns);
	notes_free(first, 1);
	notes_free(second, n);
	const char *paths[] = {"a", "b", "a"};
	assert_ok(store_note_many(f->store, NOTE_RECONCILE, paths, 3, "differs", &f->err), &f->err);
	assert_int_equal(store_note_count(f->store, NOTE_RECONCILE), 2);
	fixture_reopen(f);
	assert_int_equal(store_note_count(f->store, NOTE_RECONCILE), 2);
	assert_int_equal(store_note_count(f->store, NOTE_HELD), 1);
	assert_ok(store_unnote(f->store, NOTE_HELD, "x", &f->err), &f->err);
	assert_ok(store_unnote(f->store, NOTE_HELD, "x", &f->err), &f->err);
	assert_int_equal(store_note_count(f->store, NOTE_HELD), 0);
	assert_ok(store_notes(f->store, NOTE_HELD, &first, &n, &f->err), &f->err);
	assert_int_equal(n, 0);
	notes_free(first, n);
}

static void signatures_live_as_long_as_they_are_needed(void **state)
{
	struct fixture *f = *state;
	struct index_entry mine = a_file("a", 1), theirs = a_file("b", 2), nobodys = a_file("c", 3);
	uint8_t *sig;
	size_t len;
	const uint8_t bytes[] = "signature";
	mine.rec.size = STORE_SIGNED_MIN;
	capture_one(f, a_version(&mine));
	capture_one(f, a_version(&theirs));
	ack_current(f, "p", "b");
	capture_loss(f, "b");
	const struct index_entry *all[] = {&mine, &theirs, &nobodys};
	for (size_t i = 0; i < 3; i++)
		assert_ok(store_set_signature(f->store, all[i]->rec.hash, bytes, sizeof(bytes),
					      &f->err),
			  &f->err);
	assert_ok(store_prune_signatures(f->store, &f->err), &f->err);
	for (size_t i = 0; i < 2; i++) {
		assert_ok(store_signature(f->store, all[i]->rec.hash, &sig, &len, &f->err),
			  &f->err);
		assert_int_equal(len, sizeof(bytes));
		assert_memory_equal(sig, bytes, len);
		free(sig);
	}
	assert_int_equal(store_signature(f->store, nobodys.rec.hash, &sig, &len, &f->err), -ENOENT);
}

static void the_salvage_counts_what_has_arrived(void **state)
{
	struct fixture *f = *state;
	struct salvage_row row = {.path = "a/b", .root_at = "r", .why = "drift", .when_ns = 9};
	struct salvage_row *rows;
	uint64_t unseen;
	size_t n;
	strcpy(row.id, "0002");
	row.epoch = 3;
	row.stat.ino = 77;
	assert_ok(store_salvage_begin(f->store, &row, &f->err), &f->err);
	strcpy(row.id, "0001");
	assert_ok(store_salvage_begin(f->store, &row, &f->err), &f->err);
	assert_int_equal(store_salvage_count(f->store), 0);
	assert_ok(store_salvage_end(f->store, "0002", &f->err), &f->err);
	assert_ok(store_salvage_end(f->store, "0002", &f->err), &f->err);
	assert_int_equal(store_salvage_count(f->store), 1);
	fixture_reopen(f);
	assert_int_equal(store_salvage_count(f->store), 1);
	assert_ok(store_salvage_list(f->store, &rows, &n, &f->err), &f->err);
	assert_int_equal(n, 2);
	assert_string_equal(rows[0].id, "0001");
	assert_false(rows[0].complete);
	assert_true(rows[1].complete);
	assert_string_equal(rows[1].path, "a/b");
	assert_string_equal(rows[1].root_at, "r");
	assert_string_equal(rows[1].why, "drift");
	assert_int_equal(rows[1].stat.ino, 77);
	/* What a person is shown is what is complete, whatever its id sorts like. */
	assert_ok(store_salvage_see(f->store, rows, n, &f->err), &f->err);
	salvage_rows_free(rows, n);
	assert_ok(store_salvage_unseen(f->store, &unseen, &f->err), &f->err);
	assert_int_equal(unseen, 0);
	struct fault fault = {.nth = 1, .err = EIO};
	fault_arm(&fault);
	assert_int_equal(store_salvage_end(f->store, "0001", &f->err), -EIO);
	fault_disarm();
	assert_int_equal(store_salvage_count(f->store), 1);
	assert_ok(store_salvage_end_left(f->store, &f->err), &f->err);
	assert_int_equal(store_salvage_count(f->store), 2);
	assert_ok(store_salvage_unseen(f->store, &unseen, &f->err), &f->err);
	assert_int_equal(unseen, 1);
	assert_ok(store_salvage_end_left(f->store, &f->err), &f->err);
	assert_ok(store_salvage_forget(f->store, "0001", &f->err), &f->err);
	assert_int_equal(store_salvage_count(f->store), 1);
	assert_ok(store_salvage_forget(f->store, "0002", &f->err), &f->err);
	assert_int_equal(store_salvage_count(f->store), 0);
}

#define ACTIVE(test) cmocka_unit_test_setup_teardown(test, fixture_active, fixture_end)

int main(void)
{
	const struct CMUnitTest tests[] = {
		ACTIVE(there_is_one_state_and_one_agent_on_it),
		cmocka_unit_test(creation_is_whole_or_not_at_all),
		ACTIVE(damage_is_noticed),
		ACTIVE(state_survives_and_failed_writes_leave_it),
		ACTIVE(the_lineage_is_kept_whole),
		ACTIVE(a_state_that_was_ours_is_told_from_one_that_was_not),
		ACTIVE(a_copy_that_went_another_way_has_another_chain),
		ACTIVE(what_others_never_learn_does_not_extend_the_chain),
		ACTIVE(notes_keep_their_age),
		ACTIVE(signatures_live_as_long_as_they_are_needed),
		ACTIVE(the_salvage_counts_what_has_arrived),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
