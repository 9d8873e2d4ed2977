/* What the active sends next: order, window, turns, one version of a path at a time, and what waits
 * for whom. */
#include "testing.h"

#include "protocol/outbound.h"
#include "protocol/wire.h"

static const struct outbound_limits wide = {
	.records = 100, .bytes = 1000, .streams = 4, .pending = 100};

/* Offers a version, its kind told by a letter: D directory, T tombstone, F file, L large file. */
static void offer(struct outbound *ob, char kind, const char *path, uint64_t seq)
{
	unsigned flags = kind == 'D'   ? 0
			 : kind == 'T' ? OUTBOUND_DELETION
			 : kind == 'L' ? OUTBOUND_LEAF | OUTBOUND_STREAMED
				       : OUTBOUND_LEAF;
	assert_int_equal(outbound_offer(ob, path, seq, kind == 'L' ? 500 : 1, flags), 0);
}

static uint32_t expect(struct outbound *ob, const char *path, uint64_t seq)
{
	const struct outbound_item *item = outbound_begin(ob);
	if (!path) {
		if (item)
			fail_msg("%s began", item->path);
		return 0;
	}
	if (!item)
		fail_msg("nothing began, not %s", path);
	assert_string_equal(item->path, path);
	assert_int_equal(item->seq, seq);
	assert_ptr_equal(outbound_find(ob, item->ticket), item);
	return item->ticket;
}

static void small_records_go_in_order(void **state)
{
	struct outbound *ob = outbound_new(&wide);
	offer(ob, 'D', "", 1);
	offer(ob, 'D', "a", 2);
	offer(ob, 'T', "a/b", 3);
	assert_int_equal(outbound_pending(ob), 3);
	assert_int_equal(expect(ob, "", 1), 1);
	assert_int_equal(expect(ob, "a", 2), 2);
	assert_int_equal(expect(ob, "a/b", 3), 3);
	expect(ob, NULL, 0);
	assert_int_equal(outbound_under_way(ob), 3);
	assert_int_equal(outbound_done(ob, 2), 0);
	assert_int_equal(outbound_done(ob, 2), -ENOENT);
	assert_null(outbound_find(ob, 2));
	outbound_free(ob);
}

static void versions_replace_or_wait(void **state)
{
	struct outbound *ob = outbound_new(&wide);
	offer(ob, 'T', "a", 1);
	offer(ob, 'T', "b", 2);
	offer(ob, 'T', "a", 3); /* keeps its place */
	assert_int_equal(outbound_offer(ob, "a", 3, 1, OUTBOUND_LEAF), -EALREADY);
	assert_int_equal(outbound_offer(ob, "a", 1, 1, OUTBOUND_LEAF), -EALREADY);
	uint32_t first = expect(ob, "a", 3);
	assert_int_equal(outbound_offer(ob, "a", 3, 1, OUTBOUND_LEAF), -EALREADY);
	offer(ob, 'T', "a", 4);
	expect(ob, "b", 2);
	expect(ob, NULL, 0); /* a is under way */
	assert_int_equal(outbound_done(ob, first), 0);
	expect(ob, "a", 4);
	outbound_free(ob);
}

static void large_ones_take_turns_and_have_their_own_window(void **state)
{
	const struct outbound_limits limits = {
		.records = 10, .bytes = 1000, .streams = 2, .pending = 100};
	struct outbound *ob = outbound_new(&limits);
	assert_int_equal(
		outbound_offer(ob, "huge", 1, 1ull << 40, OUTBOUND_LEAF | OUTBOUND_STREAMED), 0);
	offer(ob, 'L', "l2", 2);
	offer(ob, 'L', "l3", 3);
	offer(ob, 'T', "s4", 4);
	offer(ob, 'T', "s5", 5);
	expect(ob, "s4", 4);
	uint32_t huge = expect(ob, "huge", 1);
	expect(ob, "s5", 5);
	uint32_t l2 = expect(ob, "l2", 2);
	expect(ob, NULL, 0); /* two streams are open */
	offer(ob, 'T', "s6", 6);
	expect(ob, "s6", 6); /* and delay nobody small */
	outbound_sent(ob, l2);
	expect(ob, NULL, 0); /* the bytes are still under way */
	assert_int_equal(outbound_done(ob, l2), 0);
	expect(ob, "l3", 3);
	assert_int_equal(outbound_done(ob, huge), 0);
	outbound_free(ob);
}

static void the_window_limits_records_and_bytes(void **state)
{
	const struct outbound_limits limits = {
		.records = 3, .bytes = 1000, .streams = 2, .pending = 4};
	struct outbound *ob = outbound_new(&limits);
	assert_int_equal(outbound_room(ob), 4);
	assert_int_equal(outbound_offer(ob, "a", 1, 5000, OUTBOUND_LEAF), 0);
	assert_int_equal(outbound_offer(ob, "b", 2, 600, OUTBOUND_LEAF), 0);
	assert_int_equal(outbound_offer(ob, "c", 3, 600, OUTBOUND_LEAF), 0);
	assert_int_equal(outbound_offer(ob, "d", 4, 1, OUTBOUND_LEAF), 0);
	assert_int_equal(outbound_room(ob), 0);
	assert_int_equal(outbound_offer(ob, "e", 5, 1, OUTBOUND_LEAF), -EAGAIN);
	assert_int_equal(outbound_offer(ob, "d", 6, 1, OUTBOUND_LEAF), 0); /* needs no room */
	uint32_t a = expect(ob, "a", 1); /* larger than the window: alone */
	expect(ob, NULL, 0);
	assert_int_equal(outbound_done(ob, a), 0);
	uint32_t b = expect(ob, "b", 2);
	expect(ob, NULL, 0); /* c does not fit, and d does not overtake it */
	assert_int_equal(outbound_done(ob, b), 0);
	expect(ob, "c", 3);
	expect(ob, "d", 6);
	assert_int_equal(outbound_offer(ob, "f", 7, 0, OUTBOUND_LEAF), 0);
	assert_int_equal(outbound_offer(ob, "g", 8, 0, OUTBOUND_LEAF), 0);
	expect(ob, "f", 7);
	expect(ob, NULL, 0); /* three records */
	outbound_free(ob);
}

static void the_window_may_change(void **state)
{
	const struct outbound_limits limits = {
		.records = 10, .bytes = 1000, .streams = 2, .pending = 10};
	struct outbound *ob = outbound_new(&limits);
	for (uint64_t seq = 1; seq <= 5; seq++) {
		const char name[] = {(char)('a' + seq - 1), '\0'};
		assert_int_equal(outbound_offer(ob, name, seq, 600, OUTBOUND_LEAF), 0);
	}
	uint32_t a = expect(ob, "a", 1);
	expect(ob, NULL, 0);
	outbound_set_bytes(ob, 2000);
	uint32_t b = expect(ob, "b", 2);
	uint32_t c = expect(ob, "c", 3);
	expect(ob, NULL, 0);
	outbound_set_bytes(ob, 1000); /* more is under way than is allowed now */
	expect(ob, NULL, 0);
	assert_int_equal(outbound_done(ob, a), 0);
	assert_int_equal(outbound_done(ob, b), 0);
	expect(ob, NULL, 0);
	assert_int_equal(outbound_done(ob, c), 0);
	expect(ob, "d", 4);
	outbound_free(ob);
}

static void a_stream_waits_for_its_directory(void **state)
{
	struct outbound *ob = outbound_new(&wide);
	offer(ob, 'T', "x", 1);
	offer(ob, 'D', "d", 2);
	offer(ob, 'L', "d/large", 3);
	expect(ob, "x", 1);
	uint32_t d = expect(ob, "d", 2); /* the stream's turn, but its directory is pending */
	outbound_sent(ob, d);
	expect(ob, "d/large", 3);
	offer(ob, 'D', "d", 4);
	offer(ob, 'T', "d/new", 5);
	expect(ob, "d/new", 5); /* d is on its way: newer metadata of it need not be waited for */
	assert_int_equal(outbound_done(ob, d), 0);
	expect(ob, "d", 4);
	outbound_free(ob);
}

/* It is opened beside the small records and could be on the link before them. */
static void a_stream_begins_when_its_directory_was_sent(void **state)
{
	struct outbound *ob = outbound_new(&wide);
	offer(ob, 'D', "d", 1);
	offer(ob, 'L', "d/large", 2);
	offer(ob, 'F', "d/small", 3);
	uint32_t d = expect(ob, "d", 1);
	expect(ob, "d/small", 3);
	expect(ob, NULL, 0);
	outbound_sent(ob, d);
	expect(ob, "d/large", 2);
	outbound_free(ob);
}

static void a_deletion_goes_after_what_is_beneath(void **state)
{
	struct outbound *ob = outbound_new(&wide);
	offer(ob, 'T', "d/f", 1);
	uint32_t f = expect(ob, "d/f", 1);
	offer(ob, 'T', "d/f", 2); /* tombstones: of the file, then of its directory */
	offer(ob, 'T', "d", 3);
	offer(ob, 'T', "z", 4);
	expect(ob, "z", 4); /* unrelated ones go on */
	expect(ob, NULL, 0);
	assert_int_equal(outbound_done(ob, f), 0);
	expect(ob, "d/f", 2);
	expect(ob, "d", 3);
	outbound_free(ob);
}

/* A large one may arrive whole before the deletions that were sent ahead of it are done. */
static void a_file_in_the_place_of_a_directory_waits_for_the_answers(void **state)
{
	const char kinds[] = {'F', 'L'};
	for (size_t i = 0; i < sizeof(kinds); i++) {
		struct outbound *ob = outbound_new(&wide);
		offer(ob, 'T', "d/e/f", 1);
		offer(ob, 'T', "d/e", 2);
		offer(ob, kinds[i], "d", 3);
		uint32_t f = expect(ob, "d/e/f", 1), e = expect(ob, "d/e", 2);
		expect(ob, NULL, 0);
		assert_int_equal(outbound_done(ob, f), 0);
		expect(ob, NULL, 0);
		assert_int_equal(outbound_needed(ob, e, NEED_VERIFY), 0);
		e = expect(ob, "d/e", 2);
		expect(ob, NULL, 0);
		assert_int_equal(outbound_refused(ob, e), 0);
		expect(ob, "d", 3);
		outbound_free(ob);
	}
}

static void what_is_made_anew_waits_for_its_directory(void **state)
{
	struct outbound *ob = outbound_new(&wide);
	offer(ob, 'T', "d/f", 1);
	offer(ob, 'T', "d", 2);
	uint32_t f = expect(ob, "d/f", 1), d = expect(ob, "d", 2);
	offer(ob, 'D', "d", 3);
	offer(ob, 'T', "d/g", 4);
	offer(ob, 'T', "d/f", 5);
	expect(ob, NULL, 0); /* d is being deleted, then made */
	assert_int_equal(outbound_done(ob, f), 0);
	expect(ob, NULL, 0);
	assert_int_equal(outbound_done(ob, d), 0);
	expect(ob, "d", 3);
	expect(ob, "d/g", 4);
	expect(ob, "d/f", 5);
	outbound_free(ob);

	ob = outbound_new(
		&wide); /* replaced while pending: the child's place is before the directory's */
	offer(ob, 'T', "d/f", 1);
	offer(ob, 'T', "d", 2);
	offer(ob, 'D', "d", 3);
	offer(ob, 'T', "d/f", 4);
	expect(ob, "d", 3);
	expect(ob, "d/f", 4);
	outbound_free(ob);
}

/* The deletion of the file was offered before the directory in which the next one is. */
static void a_deletion_replaced_by_a_version_waits_for_its_directory(void **state)
{
	struct outbound *ob = outbound_new(&wide);
	offer(ob, 'T', "x", 1);
	offer(ob, 'T', "d/f", 2);
	offer(ob, 'D', "d", 3);
	offer(ob, 'F', "d/f", 4);
	offer(ob, 'F', "z", 5);
	expect(ob, "x", 1);
	expect(ob, "d", 3);
	expect(ob, "d/f", 4);
	expect(ob, "z", 5);
	outbound_free(ob);
}

static void a_replaced_directory_does_not_lock_its_children(void **state)
{
	struct outbound *ob = outbound_new(&wide);
	offer(ob, 'D', "d", 1);
	offer(ob, 'T', "d/f", 2);
	offer(ob, 'T', "d/f", 3); /* now tombstones in the places of the live ones */
	offer(ob, 'T', "d", 4);
	expect(ob, "d/f", 3);
	expect(ob, "d", 4);
	outbound_free(ob);
}

static void a_way_given_up_here_is_no_denial(void **state)
{
	struct outbound *ob = outbound_new(&wide);
	offer(ob, 'T', "a", 1);
	offer(ob, 'T', "b", 2);
	uint32_t a = expect(ob, "a", 1);
	assert_int_equal(outbound_otherwise(ob, a), 0);
	assert_int_equal(outbound_denials(ob), 0); /* or no barrier would ever hold again */
	a = expect(ob, "a", 1);
	assert_int_equal(outbound_find(ob, a)->need, NEED_CONTENT);
	assert_int_equal(outbound_otherwise(ob, 77), -ENOENT);
	for (int i = 2; i < OUTBOUND_ATTEMPTS_MAX; i++) {
		assert_int_equal(outbound_otherwise(ob, a), 0);
		a = expect(ob, "a", 1);
	}
	assert_int_equal(outbound_otherwise(ob, a), -ELOOP);
	assert_int_equal(outbound_denials(ob), 0);
	outbound_free(ob);
}

static void what_is_needed_again_goes_first(void **state)
{
	struct outbound *ob = outbound_new(&wide);
	offer(ob, 'T', "a", 1);
	offer(ob, 'T', "b", 2);
	offer(ob, 'T', "c", 3);
	uint32_t a = expect(ob, "a", 1);
	assert_int_equal(outbound_needed(ob, a, 0), -EINVAL);
	assert_int_equal(outbound_needed(ob, a, NEED_CONTENT), 0);
	assert_int_equal(outbound_denials(ob), 1);
	a = expect(ob, "a", 1);
	assert_int_equal(a, 2);
	assert_int_equal(outbound_find(ob, a)->need, NEED_CONTENT);
	offer(ob, 'T', "a", 4);
	assert_int_equal(outbound_needed(ob, a, NEED_VERIFY), 0); /* the newer one goes instead */
	assert_int_equal(outbound_pending(ob), 3);
	assert_int_equal(outbound_needed(ob, 77, NEED_VERIFY), -ENOENT);
	assert_int_equal(outbound_refused(ob, 78), -ENOENT);
	assert_int_equal(outbound_denials(ob), 4); /* the receiver counted those, too */
	expect(ob, "b", 2);
	expect(ob, "c", 3);
	a = expect(ob, "a", 4);
	assert_int_equal(outbound_find(ob, a)->need, NEED_VERIFY);
	for (int i = 1; i < OUTBOUND_ATTEMPTS_MAX; i++) {
		assert_int_equal(outbound_needed(ob, a, NEED_VERIFY), 0);
		a = expect(ob, "a", 4);
	}
	assert_int_equal(outbound_needed(ob, a, NEED_VERIFY), -ELOOP);
	expect(ob, NULL, 0);
	assert_int_equal(outbound_under_way(ob), 2);
	outbound_free(ob);
}

static void a_missing_parent_is_waited_for(void **state)
{
	struct outbound *ob = outbound_new(&wide);
	offer(ob, 'T', "p/q/f", 1);
	uint32_t f = expect(ob, "p/q/f", 1);
	assert_int_equal(outbound_needed(ob, f, NEED_PARENT), 0);
	offer(ob, 'T', "other", 2);
	offer(ob, 'D', "p", 3);
	offer(ob, 'D', "p/q", 4);
	expect(ob, "other", 2);
	expect(ob, "p", 3);
	expect(ob, "p/q", 4);
	expect(ob, "p/q/f", 1);
	outbound_free(ob);
}

static void drained_means_sent_and_idle_means_answered(void **state)
{
	struct outbound *ob = outbound_new(&wide);
	assert_true(outbound_is_drained(ob));
	assert_true(outbound_is_idle(ob));
	offer(ob, 'L', "a", 1);
	assert_false(outbound_is_drained(ob));
	uint32_t a = expect(ob, "a", 1);
	assert_false(outbound_is_drained(ob));
	outbound_sent(ob, a);
	outbound_sent(ob, a);
	assert_true(outbound_is_drained(ob));
	assert_false(outbound_is_idle(ob));
	assert_int_equal(outbound_needed(ob, a, NEED_CONTENT), 0);
	assert_false(outbound_is_drained(ob));
	a = expect(ob, "a", 1);
	assert_int_equal(outbound_abandon(ob, a), 0); /* with its stream open */
	assert_true(outbound_is_idle(ob));
	assert_true(outbound_is_drained(ob));
	outbound_free(ob);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(small_records_go_in_order),
		cmocka_unit_test(versions_replace_or_wait),
		cmocka_unit_test(large_ones_take_turns_and_have_their_own_window),
		cmocka_unit_test(the_window_limits_records_and_bytes),
		cmocka_unit_test(the_window_may_change),
		cmocka_unit_test(a_stream_waits_for_its_directory),
		cmocka_unit_test(a_stream_begins_when_its_directory_was_sent),
		cmocka_unit_test(a_deletion_goes_after_what_is_beneath),
		cmocka_unit_test(a_file_in_the_place_of_a_directory_waits_for_the_answers),
		cmocka_unit_test(what_is_made_anew_waits_for_its_directory),
		cmocka_unit_test(a_deletion_replaced_by_a_version_waits_for_its_directory),
		cmocka_unit_test(a_replaced_directory_does_not_lock_its_children),
		cmocka_unit_test(a_way_given_up_here_is_no_denial),
		cmocka_unit_test(what_is_needed_again_goes_first),
		cmocka_unit_test(a_missing_parent_is_waited_for),
		cmocka_unit_test(drained_means_sent_and_idle_means_answered),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
