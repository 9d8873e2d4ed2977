/* What the active holds of its own losses and rewrites, on a real store. */
#include "tests/unit/store/store_help.h"

#include <stdio.h>

#include "agent/base/clock.h"
#include "agent/sync/holds.h"

static struct holds *holds;
static const struct holds_limits limits = {.max_delete = 20, .max_rewrite = 20};

/* `n` files, each of its own content, in `dir`. */
static void fill(struct fixture *f, const char *dir, int n, uint64_t first)
{
	capture_dir(f, dir);
	for (int i = 0; i < n; i++) {
		char path[64];
		snprintf(path, sizeof(path), "%s/%05d", dir, i);
		capture_file(f, path, first + (uint64_t)i);
	}
}

static void begin(struct fixture *f)
{
	holds = holds_new(f->store);
	holds_configure(holds, &limits);
	fill(f, "many", 60, 1000);
	fill(f, "few", 5, 2000);
}

static uint64_t last_seq(struct fixture *f)
{
	struct store_state state;
	store_state(f->store, &state);
	return state.last_seq;
}

/* One loss: its verdict. `burst` is the last seq before the changes began. */
static enum loss_verdict judge(struct fixture *f, const char *path, uint64_t burst, bool may_hold,
			       size_t *n_loose)
{
	struct loss loss = {.path = path};
	struct loose loose = {0};
	const struct loss_query query = {
		.losses = &loss, .n = 1, .burst_seq = burst, .may_hold = may_hold};
	assert_ok(holds_judge_losses(holds, &query, &loose, &f->err), &f->err);
	if (n_loose)
		*n_loose = loose.n;
	else
		assert_int_equal(loose.n, 0);
	loose_release(&loose);
	return loss.verdict;
}

static struct hold only_hold(struct fixture *f)
{
	AUTO_FREE struct hold *list = NULL;
	size_t n;
	assert_ok(store_holds(f->store, &list, &n, &f->err), &f->err);
	assert_int_equal(n, 1);
	assert_int_equal(list[0].paths, store_note_count(f->store, NOTE_BRAKE));
	return list[0];
}

static void a_mass_loss_is_held_with_all_it_had(void **state)
{
	struct fixture *f = *state;
	begin(f);
	assert_int_equal(judge(f, "many", last_seq(f), false, NULL), LOSS_LATER);
	assert_int_equal(store_note_count(f->store, NOTE_BRAKE), 0);
	assert_int_equal(judge(f, "many", last_seq(f), true, NULL), LOSS_HELD);
	assert_int_equal(only_hold(f).paths, 61);
	assert_int_equal(holds_held(holds), 61);
	assert_non_null(strstr(only_hold(f).reason, "60 of 65 files"));
	/* Found again by a scan, it is what it was; another loss joins it. */
	assert_int_equal(judge(f, "many", last_seq(f), true, NULL), LOSS_HELD);
	assert_int_equal(judge(f, "many/00003", last_seq(f), true, NULL), LOSS_HELD);
	assert_int_equal(only_hold(f).paths, 61);
	assert_int_equal(judge(f, "few/00001", last_seq(f), true, NULL), LOSS_HELD);
	assert_int_equal(only_hold(f).paths, 62);
}

static void a_few_go_until_it_is_too_much(void **state)
{
	struct fixture *f = *state;
	char path[32];
	int freed = 0;
	begin(f);
	for (int i = 0; i < 40; i++) {
		snprintf(path, sizeof(path), "many/%05d", i);
		if (judge(f, path, last_seq(f), true, NULL) == LOSS_FREE) {
			capture_loss(f, path);
			freed++;
		}
	}
	assert_int_equal(freed, 13); /* a fifth of 65 */
	assert_int_equal(only_hold(f).paths, 27);
}

static void a_renamed_directory_goes_free(void **state)
{
	struct fixture *f = *state;
	begin(f);
	uint64_t before = last_seq(f);
	fill(f, "moved", 60, 1000);
	assert_int_equal(judge(f, "many", before, true, NULL), LOSS_FREE);
	capture_loss(f, "many");
	/* ... and counts for nothing. */
	assert_int_equal(judge(f, "few", last_seq(f), true, NULL), LOSS_FREE);
	struct brake_view view;
	holds_view(holds, HOLD_LOSS, &view);
	assert_int_equal(view.counted, 5);
}

static void what_stood_there_before_is_no_move(void **state)
{
	struct fixture *f = *state;
	begin(f);
	/* An old copy of all content lives elsewhere, from before the minute and the burst. */
	holds_free(holds);
	fill(f, "copy", 60, 1000);
	holds = holds_new(f->store);
	holds_configure(holds, &limits);
	assert_int_equal(judge(f, "many", last_seq(f), true, NULL), LOSS_HELD);
}

static void one_new_file_excuses_one_loss(void **state)
{
	struct fixture *f = *state;
	begin(f);
	capture_dir(f, "same");
	for (int i = 0; i < 40; i++) {
		char path[32];
		snprintf(path, sizeof(path), "same/%d", i);
		capture_file(f, path, 77); /* all of one content */
	}
	holds_free(holds);
	holds = holds_new(f->store);
	holds_configure(holds, &limits);
	uint64_t before = last_seq(f);
	capture_file(f, "the-only-copy", 77);
	assert_int_equal(judge(f, "same", before, false, NULL), LOSS_LATER);
}

static void what_moved_out_of_it_is_let_loose(void **state)
{
	struct fixture *f = *state;
	size_t n_loose;
	begin(f);
	uint64_t before = last_seq(f);
	capture_file(f, "rescued", 1003);
	assert_int_equal(judge(f, "many", before, true, &n_loose), LOSS_HELD);
	assert_int_equal(n_loose, 1);
	assert_int_equal(only_hold(f).paths, 60);
}

static void losses_beneath_each_other_are_counted_once(void **state)
{
	struct fixture *f = *state;
	struct loss losses[3] = {{.path = "many/00000"}, {.path = "many"}, {.path = "many/00001"}};
	struct loose loose = {0};
	begin(f);
	const struct loss_query query = {
		.losses = losses, .n = 3, .burst_seq = last_seq(f), .may_hold = true};
	assert_ok(holds_judge_losses(holds, &query, &loose, &f->err), &f->err);
	for (int i = 0; i < 3; i++)
		assert_int_equal(losses[i].verdict, LOSS_HELD);
	assert_int_equal(loose.n, 0);
	assert_non_null(strstr(only_hold(f).reason, "60 of 65 files"));
}

static void a_directory_waits_for_what_is_held_in_it(void **state)
{
	struct fixture *f = *state;
	begin(f);
	for (int i = 0; i < 59; i++) {
		char path[32];
		snprintf(path, sizeof(path), "many/%05d", i);
		judge(f, path, last_seq(f), true, NULL);
	}
	struct hold hold = only_hold(f);
	assert_int_equal(judge(f, "many", last_seq(f), true, NULL), LOSS_HELD);
	assert_int_equal(only_hold(f).id, hold.id);
	assert_int_equal(only_hold(f).paths, 61); /* the 13 that were judged free are joined */
}

static void an_approval_lets_all_of_it_go(void **state)
{
	struct fixture *f = *state;
	begin(f);
	judge(f, "many", last_seq(f), true, NULL);
	struct hold hold = only_hold(f);
	assert_ok(holds_decide(holds, &hold, HOLD_APPROVED, &f->err), &f->err);
	assert_int_equal(holds_held(holds), 0);
	holds_free(holds);
	fixture_reopen(f);
	holds = holds_new(f->store);
	holds_configure(holds, &limits);
	assert_int_equal(judge(f, "many", last_seq(f), true, NULL), LOSS_FREE);
	assert_true(holds_is_approved(holds, "many", HOLD_LOSS));
	const struct captured gone = {.kind = CAPTURED_GONE, .path = "many", .approved = true};
	capture_one(f, gone);
	struct index_entry entry;
	assert_ok(store_get(f->store, "many/00007", &entry, &f->err), &f->err);
	assert_true(entry.rec.kind == RECORD_ABSENT && entry.flags & ENTRY_APPROVED);
	index_entry_release(&entry);
	assert_ok(store_hold_release_beneath(f->store, "many", &f->err), &f->err);
	const char *path = "many";
	assert_ok(store_hold_release(f->store, &path, 1, &f->err), &f->err);
	assert_int_equal(store_note_count(f->store, NOTE_BRAKE), 0);
	/* It counts for nothing, and its number is not given again. */
	assert_int_equal(judge(f, "few/00001", last_seq(f), true, NULL), LOSS_FREE);
	fill(f, "more", 60, 5000);
	judge(f, "more", last_seq(f), true, NULL);
	assert_true(only_hold(f).id > hold.id);
}

static void a_rejection_lasts_and_takes_in_nothing_new(void **state)
{
	struct fixture *f = *state;
	begin(f);
	judge(f, "many", last_seq(f), true, NULL);
	struct hold hold = only_hold(f);
	assert_ok(holds_decide(holds, &hold, HOLD_REJECTED, &f->err), &f->err);
	holds_free(holds);
	fixture_reopen(f);
	holds = holds_new(f->store);
	holds_configure(holds, &limits);
	assert_int_equal(judge(f, "many", last_seq(f), true, NULL), LOSS_HELD);
	assert_int_equal(only_hold(f).state, HOLD_REJECTED);
	fill(f, "more", 60, 5000);
	assert_int_equal(judge(f, "more", last_seq(f), true, NULL), LOSS_HELD);
	AUTO_FREE struct hold *list = NULL;
	size_t n;
	assert_ok(store_holds(f->store, &list, &n, &f->err), &f->err);
	assert_int_equal(n, 2);
	assert_ok(store_holds_clear(f->store, HOLD_OURS, &f->err), &f->err);
	assert_int_equal(store_note_count(f->store, NOTE_BRAKE), 0);
}

static void rewrites_are_held_past_their_share(void **state)
{
	struct fixture *f = *state;
	const char *paths[20];
	bool held[20];
	char names[20][16];
	begin(f);
	for (int i = 0; i < 20; i++) {
		snprintf(names[i], sizeof(names[i]), "many/%05d", i);
		paths[i] = names[i];
	}
	assert_ok(holds_judge_rewrites(holds, paths, 12, held, &f->err), &f->err);
	assert_false(held[0]);
	assert_ok(holds_judge_rewrites(holds, paths + 12, 8, held, &f->err), &f->err);
	assert_true(held[0] && held[7]);
	struct hold hold = only_hold(f);
	assert_int_equal(hold.cause, HOLD_REWRITE);
	assert_int_equal(hold.paths, 8);
	/* The same file written once more is held once. */
	assert_ok(holds_judge_rewrites(holds, paths + 19, 1, held, &f->err), &f->err);
	assert_true(held[0]);
	assert_int_equal(only_hold(f).paths, 8);
	/* A loss is judged by its own brake, whatever holds the path. */
	assert_int_equal(judge(f, "many/00019", last_seq(f), true, NULL), LOSS_FREE);
	assert_ok(holds_decide(holds, &hold, HOLD_APPROVED, &f->err), &f->err);
	assert_ok(holds_judge_rewrites(holds, paths + 12, 8, held, &f->err), &f->err);
	assert_false(held[0]);
}

/* Not a measurement that can fail: it prints what the question costs. */
static void ten_thousand_moved_files_are_recognised(void **state)
{
	struct fixture *f = *state;
	begin(f);
	struct captured items[500];
	struct index_entry entries[500];
	char names[500][32];
	uint64_t before = 0;
	for (int side = 0; side < 2; side++) {
		before = side ? last_seq(f) : 0;
		capture_dir(f, side ? "new" : "old");
		for (int i = 0; i < 10000; i++) {
			int k = i % 500;
			snprintf(names[k], sizeof(names[k]), "%s/%05d", side ? "new" : "old", i);
			entries[k] = a_file(names[k], 100000 + (uint64_t)i);
			items[k] = a_version(&entries[k]);
			if (k == 499)
				assert_ok(store_capture(f->store, items, 500, false, NULL, &f->err),
					  &f->err);
		}
	}
	uint64_t began = clock_mono_ns();
	assert_int_equal(judge(f, "old", before, true, NULL), LOSS_FREE);
	print_message("10,000 moved files were judged in %.1f ms\n",
		      (double)(clock_mono_ns() - began) / 1e6);
}

static int end(void **state)
{
	holds_free(holds);
	holds = NULL;
	return fixture_end(state);
}

#define HOLDS(name) cmocka_unit_test_setup_teardown(name, fixture_active, end)

int main(void)
{
	const struct CMUnitTest tests[] = {
		HOLDS(a_mass_loss_is_held_with_all_it_had),
		HOLDS(a_few_go_until_it_is_too_much),
		HOLDS(a_renamed_directory_goes_free),
		HOLDS(what_stood_there_before_is_no_move),
		HOLDS(one_new_file_excuses_one_loss),
		HOLDS(what_moved_out_of_it_is_let_loose),
		HOLDS(losses_beneath_each_other_are_counted_once),
		HOLDS(a_directory_waits_for_what_is_held_in_it),
		HOLDS(an_approval_lets_all_of_it_go),
		HOLDS(a_rejection_lasts_and_takes_in_nothing_new),
		HOLDS(rewrites_are_held_past_their_share),
		HOLDS(ten_thousand_moved_files_are_recognised),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
