/* A passive that protects itself: what of a batch is refused, and that the rest of it is done. */
#include "tests/unit/sync/commit_help.h"

#include <stdio.h>

#include "agent/sync/holds.h"

#define FILES 40

static struct node node;
static struct holds *holds;
static char names[FILES][32];

static void limit(uint32_t max_delete, uint32_t max_rewrite, bool peer_approvals)
{
	const struct holds_limits limits = {max_delete, max_rewrite, peer_approvals};
	holds_configure(holds, &limits);
}

static int begin(void **state)
{
	struct line lines[FILES + 1] = {
		{OP_META, "d", RECORD_DIR, NULL, 0755, S(1)},
	};
	node = (struct node){0};
	node_make(&node);
	for (int i = 0; i < FILES; i++) {
		snprintf(names[i], sizeof(names[i]), "d/%02d", i);
		lines[i + 1] = (struct line){OP_WHOLE, names[i], RECORD_FILE, names[i], 0644, S(1)};
	}
	commit_lines(&node, lines, FILES + 1);
	holds = holds_new(node.store);
	holds_take_side(holds, HOLD_PEERS, NULL);
	node.env.holds = holds;
	limit(20, 0, true);
	const uint8_t digest[HASH_LEN] = {0};
	assert_fine(store_set_barrier(node.store, node.seq, S(9), digest, &node.err), &node.err);
	return 0;
}

static int end(void **state)
{
	holds_free(holds);
	node_remove(&node);
	return 0;
}

static struct line deletion(const char *path)
{
	return (struct line){OP_DELETE, path, RECORD_ABSENT, NULL, 0, 0};
}

/* Commits n lines. @return how many were refused as held; the others were done */
static size_t commit_some(const struct line *lines, size_t n, bool approved)
{
	size_t refused = 0;
	struct commit_item *items = items_make(&node, lines, n);
	for (size_t i = 0; i < n; i++)
		items[i].approved = approved;
	assert_fine(commit_run(&node.env, items, n, &node.err), &node.err);
	for (size_t i = 0; i < n; i++) {
		if (items[i].result == COMMIT_DONE)
			continue;
		assert_int_equal(items[i].result, COMMIT_REFUSED);
		assert_int_equal(items[i].reason, REFUSED_HELD);
		assert_non_null(strstr(items[i].text, "artifact-sync approve"));
		refused++;
	}
	items_free(items, n);
	assert_consistent(&node);
	return refused;
}

static size_t delete_from(int first, int n, bool approved)
{
	struct line lines[FILES];
	for (int i = 0; i < n; i++)
		lines[i] = deletion(names[first + i]);
	return commit_some(lines, (size_t)n, approved);
}

static struct hold only_hold(void)
{
	AUTO_FREE struct hold *list = NULL;
	size_t n;
	assert_fine(store_holds(node.store, &list, &n, &node.err), &node.err);
	assert_int_equal(n, 1);
	assert_int_equal(list[0].paths, store_note_count(node.store, NOTE_BRAKE));
	assert_int_equal(list[0].side, HOLD_PEERS);
	return list[0];
}

static bool stands(const char *path)
{
	AUTO_FREE char *content = read_local(&node, path);
	return content != NULL;
}

static void a_mass_delete_is_refused_and_the_rest_is_done(void **state)
{
	struct line lines[31];
	for (int i = 0; i < 30; i++)
		lines[i] = deletion(names[i]);
	lines[30] = (struct line){OP_WHOLE, "beside", RECORD_FILE, "new", 0644, S(2)};
	assert_int_equal(commit_some(lines, 31, false), 30);
	assert_true(stands("beside") && stands(names[0]) && stands(names[29]));
	assert_int_equal(only_hold().paths, 30);
	/* Again and again, as an active does: nothing is counted twice. */
	assert_int_equal(delete_from(0, 30, false), 30);
	assert_int_equal(only_hold().paths, 30);
	assert_non_null(strstr(only_hold().reason, "30 of 40 files"));
}

static void batch_after_batch_is_counted_together(void **state)
{
	size_t refused = 0;
	for (int i = 0; i < 30; i += 3)
		refused += delete_from(i, 3, false);
	assert_int_equal(refused, 21); /* nine of forty went, more would be a fifth and past ten */
	assert_int_equal(only_hold().paths, 21);
}

static void what_is_approved_here_is_taken(void **state)
{
	delete_from(0, 30, false);
	struct hold hold = only_hold();
	assert_fine(holds_decide(holds, &hold, HOLD_REJECTED, &node.err), &node.err);
	assert_int_equal(delete_from(0, 30, false), 30);
	assert_fine(holds_decide(holds, &hold, HOLD_APPROVED, &node.err), &node.err);
	assert_int_equal(delete_from(0, 30, false), 0);
	assert_false(stands(names[0]));
	assert_int_equal(store_note_count(node.store, NOTE_BRAKE), 0);
	assert_int_equal(delete_from(30, 1, false), 0);
}

static void what_was_approved_there_is_a_matter_of_trust(void **state)
{
	assert_int_equal(delete_from(0, 20, true), 0);
	limit(20, 0, false);
	assert_int_equal(delete_from(20, 20, true), 20);
}

static void a_directory_stays_while_anything_in_it_is_held(void **state)
{
	struct line lines[FILES + 1];
	for (int i = 0; i < FILES; i++)
		lines[i] = deletion(names[i]);
	lines[FILES] = deletion("d");
	assert_int_equal(commit_some(lines, FILES + 1, false), FILES + 1);
	const struct line alone = deletion("d");
	assert_int_equal(commit_some(&alone, 1, false), 1);
	struct hold hold = only_hold();
	assert_fine(holds_decide(holds, &hold, HOLD_APPROVED, &node.err), &node.err);
	assert_int_equal(commit_some(lines, FILES + 1, false), 0);
}

static void a_file_does_not_take_the_place_of_a_full_directory(void **state)
{
	const struct line line = {OP_WHOLE, "d", RECORD_FILE, "a file now", 0644, S(3)};
	assert_int_equal(commit_some(&line, 1, false), 1);
	assert_true(stands(names[0]));
	struct hold hold = only_hold();
	assert_fine(holds_decide(holds, &hold, HOLD_APPROVED, &node.err), &node.err);
	assert_int_equal(commit_some(&line, 1, false), 0);
	assert_true(stands("d"));
	assert_int_equal(store_note_count(node.store, NOTE_BRAKE), 0);
}

static void moves_are_free_before_and_within_the_batch(void **state)
{
	struct line lines[FILES];
	char moved[FILES][32];
	for (int i = 0; i < FILES; i++) {
		snprintf(moved[i], sizeof(moved[i]), "m%02d", i);
		lines[i] = (struct line){OP_WHOLE, moved[i], RECORD_FILE, names[i], 0644, S(1)};
	}
	assert_int_equal(commit_some(lines, 20, false), 0);
	for (int i = 0; i < 20; i++)
		lines[i] = deletion(names[i]);
	assert_int_equal(commit_some(lines, 20, false), 0);
	for (int i = 20; i < FILES; i++)
		lines[i - 20] = deletion(names[i]);
	for (int i = 20; i < FILES; i++)
		lines[i] = (struct line){OP_WHOLE, moved[i], RECORD_FILE, names[i], 0644, S(1)};
	assert_int_equal(commit_some(lines, FILES, false), 0);
	struct brake_view view;
	holds_view(holds, HOLD_LOSS, &view);
	assert_int_equal(view.counted, 0);
}

/* The window has forgotten the new names, which a restart does as a minute would. */
static void a_move_that_takes_long_is_free(void **state)
{
	struct line lines[FILES];
	char moved[FILES][32];
	for (int i = 0; i < FILES; i++) {
		snprintf(moved[i], sizeof(moved[i]), "m%02d", i);
		lines[i] = (struct line){OP_WHOLE, moved[i], RECORD_FILE, names[i], 0644, S(1)};
	}
	assert_int_equal(commit_some(lines, FILES, false), 0);
	holds_free(holds);
	node.env.holds = holds = holds_new(node.store);
	limit(20, 0, true);
	assert_int_equal(delete_from(0, FILES, false), 0);
}

/* Both were equal with two copies; losing one of the two, forty times, is a loss. */
static void what_came_before_the_last_barrier_is_no_move(void **state)
{
	struct line lines[FILES];
	char copies[FILES][32];
	const uint8_t digest[HASH_LEN] = {0};
	for (int i = 0; i < FILES; i++) {
		snprintf(copies[i], sizeof(copies[i]), "m%02d", i);
		lines[i] = (struct line){OP_WHOLE, copies[i], RECORD_FILE, names[i], 0644, S(1)};
	}
	assert_int_equal(commit_some(lines, FILES, false), 0);
	assert_fine(store_set_barrier(node.store, node.seq, S(10), digest, &node.err), &node.err);
	holds_free(holds);
	node.env.holds = holds = holds_new(node.store);
	limit(20, 0, true);
	assert_int_equal(delete_from(0, FILES, false), FILES);
}

static void what_was_never_replicated_is_not_lost(void **state)
{
	struct line lines[30];
	char local[30][32];
	for (int i = 0; i < 30; i++) {
		snprintf(local[i], sizeof(local[i]), "local-%d", i);
		write_local(&node, local[i], local[i]);
		capture_foreign(&node, local[i]);
		lines[i] = (struct line){OP_ABSENT, local[i], RECORD_ABSENT, NULL, 0, 0};
	}
	assert_int_equal(commit_some(lines, 30, false), 0);
	assert_true(is_in_salvage(&node, "local-7"));
}

static void a_first_sync_is_not_braked(void **state)
{
	const uint8_t digest[HASH_LEN] = {0};
	assert_fine(store_set_barrier(node.store, 0, 0, digest, &node.err), &node.err);
	assert_int_equal(delete_from(0, FILES, false), 0);
}

static void emptying_counts_as_losing_and_rewriting_apart(void **state)
{
	struct line lines[FILES];
	for (int i = 0; i < FILES; i++)
		lines[i] = (struct line){OP_WHOLE, names[i], RECORD_FILE, i < 20 ? "" : "other",
					 0644,	   S(2)};
	assert_int_equal(commit_some(lines, FILES, false), 20);
	assert_int_equal(only_hold().cause, HOLD_LOSS);
	limit(20, 20, true);
	for (int i = 20; i < FILES; i++)
		lines[i].content = "third";
	assert_int_equal(commit_some(lines + 20, 20, false), 20);
	AUTO_FREE struct hold *list = NULL;
	size_t n;
	assert_fine(store_holds(node.store, &list, &n, &node.err), &node.err);
	assert_int_equal(n, 2);
	assert_int_equal(list[1].cause, HOLD_REWRITE);
}

#define NODE(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void)
{
	const struct CMUnitTest tests[] = {
		NODE(a_mass_delete_is_refused_and_the_rest_is_done),
		NODE(batch_after_batch_is_counted_together),
		NODE(what_is_approved_here_is_taken),
		NODE(what_was_approved_there_is_a_matter_of_trust),
		NODE(a_directory_stays_while_anything_in_it_is_held),
		NODE(a_file_does_not_take_the_place_of_a_full_directory),
		NODE(moves_are_free_before_and_within_the_batch),
		NODE(a_move_that_takes_long_is_free),
		NODE(what_came_before_the_last_barrier_is_no_move),
		NODE(what_was_never_replicated_is_not_lost),
		NODE(a_first_sync_is_not_braked),
		NODE(emptying_counts_as_losing_and_rewriting_apart),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
