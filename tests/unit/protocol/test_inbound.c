/* What the passive accepts, when a batch closes, and when a barrier may be judged. */
#include "testing.h"

#include "protocol/inbound.h"
#include "protocol/wire.h"

static const struct inbound_limits limits = {.records = 8, .streams = 2, .batch = 4, .sets = 2};

static void record(struct inbound *ib, uint32_t ticket)
{
	char path[16];
	snprintf(path, sizeof(path), "p%u", ticket);
	assert_int_equal(inbound_record(ib, ticket, path, false, 0), 0);
}

static void expect_batch(struct inbound *ib, const uint32_t *tickets, size_t n)
{
	uint32_t out[16];
	size_t got = inbound_batch(ib, out, COUNT(out));
	assert_int_equal(got, n);
	for (size_t i = 0; i < n; i++)
		assert_int_equal(out[i], tickets[i]);
}
#define BATCH(ib, ...)                                    \
	expect_batch(ib, (const uint32_t[]){__VA_ARGS__}, \
		     sizeof((const uint32_t[]){__VA_ARGS__}) / sizeof(uint32_t))

static void the_next_batch_is_what_is_staged(void **state)
{
	struct inbound *ib = inbound_new(&limits);
	for (uint32_t t = 1; t <= 6; t++)
		record(ib, t);
	expect_batch(ib, NULL, 0);
	inbound_staged(ib, 4);
	inbound_staged(ib, 2);
	BATCH(ib, 2, 4); /* in order of arrival */
	inbound_staged(ib, 1);
	BATCH(ib, 1);
	expect_batch(ib, NULL, 0); /* nothing twice */
	inbound_staged(ib, 2);	   /* too late: it is batched */
	expect_batch(ib, NULL, 0);
	inbound_answered(ib, 2, true);
	inbound_answered(ib, 2, true); /* nothing more */
	assert_int_equal(inbound_unanswered(ib), 5);
	assert_false(inbound_is_wanted(ib, 2));
	assert_true(inbound_is_wanted(ib, 4));
	inbound_free(ib);
}

static void a_batch_is_limited(void **state)
{
	struct inbound *ib = inbound_new(&limits);
	for (uint32_t t = 1; t <= 6; t++) {
		record(ib, t);
		inbound_staged(ib, t);
	}
	uint32_t one;
	assert_int_equal(inbound_batch(ib, &one, 1), 1);
	assert_int_equal(one, 1);
	BATCH(ib, 2, 3, 4, 5);
	BATCH(ib, 6);
	inbound_free(ib);
}

static void violations_are_found(void **state)
{
	struct inbound *ib = inbound_new(&limits);
	assert_int_equal(inbound_record(ib, 0, "a", false, 0), -EPROTO);
	record(ib, 5); /* a gap is an abandoned ticket */
	assert_int_equal(inbound_record(ib, 5, "x", false, 0), -EPROTO);
	assert_int_equal(inbound_record(ib, 4, "x", false, 0), -EPROTO);
	assert_int_equal(inbound_record(ib, 6, "p5", false, 0), -EPROTO); /* still unanswered */
	inbound_answered(ib, 5, true);
	assert_int_equal(inbound_record(ib, 6, "p5", false, 0), 0);
	for (uint32_t t = 7; t <= 13; t++)
		record(ib, t);
	assert_int_equal(inbound_record(ib, 14, "x", false, 0), -EMSGSIZE);
	assert_int_equal(inbound_data(ib, 6, 1, false), -EPROTO); /* not a stream */
	assert_int_equal(inbound_data(ib, 99, 1, false), -EPROTO);
	assert_int_equal(inbound_abort(ib, 6), -EPROTO);
	inbound_free(ib);
}

static void tickets_wrap(void **state)
{
	struct inbound *ib = inbound_new(&limits);
	record(ib, 0x7fffffff);
	record(ib, 0xfffffffe);
	record(ib, 0xffffffff);
	assert_int_equal(inbound_record(ib, 0, "x", false, 0), -EPROTO);
	record(ib, 1);
	record(ib, 2);
	assert_int_equal(inbound_record(ib, 0xffffffff, "x", false, 0), -EPROTO);
	inbound_free(ib);
}

static void streams_are_counted_and_bounded(void **state)
{
	struct inbound *ib = inbound_new(&limits);
	assert_int_equal(inbound_record(ib, 1, "a", true, 80000), 0);
	assert_int_equal(inbound_record(ib, 2, "b", true, 80000), 0);
	assert_int_equal(inbound_record(ib, 3, "c", true, 80000), -EMSGSIZE);
	inbound_staged(ib, 1); /* its stream is not over */
	expect_batch(ib, NULL, 0);
	assert_int_equal(inbound_data(ib, 1, 80000, true), 0);
	assert_int_equal(inbound_data(ib, 1, 0, true), -EPROTO);
	inbound_staged(ib, 1);
	BATCH(ib, 1);
	assert_int_equal(inbound_record(ib, 3, "c", true, UINT64_MAX), 0);
	assert_int_equal(inbound_data(ib, 2, 80000 + 10000 + 65536, false), 0);
	assert_int_equal(inbound_data(ib, 2, 1, false), -EMSGSIZE);
	inbound_free(ib);
}

static void a_stream_answered_early_drains(void **state)
{
	struct inbound *ib = inbound_new(&limits);
	assert_int_equal(inbound_record(ib, 1, "a", true, 1000), 0);
	inbound_answered(ib, 1, false);
	assert_int_equal(inbound_unanswered(ib), 0);
	assert_false(inbound_is_wanted(ib, 1));
	assert_int_equal(inbound_data(ib, 1, 10, false), 0);	     /* was under way on the link */
	assert_int_equal(inbound_record(ib, 2, "a", true, 1000), 0); /* the path is free already */
	assert_int_equal(inbound_record(ib, 3, "b", true, 1000), -EMSGSIZE); /* the stream is not */
	assert_int_equal(inbound_abort(ib, 1), 0);
	assert_int_equal(inbound_abort(ib, 1), -EPROTO);
	assert_int_equal(inbound_record(ib, 3, "b", true, 1000), 0);
	assert_int_equal(inbound_abort(ib, 2), 0); /* the source changed: no answer */
	assert_int_equal(inbound_unanswered(ib), 1);
	inbound_free(ib);
}

static void expect_barrier(struct inbound *ib, uint64_t id, bool clean)
{
	bool got = !clean;
	assert_int_equal(inbound_reached_barrier(ib, &got), id);
	if (id)
		assert_int_equal(got, clean);
}

static void a_barrier_closes_the_intake(void **state)
{
	struct inbound *ib = inbound_new(&limits);
	record(ib, 1);
	record(ib, 2);
	assert_int_equal(inbound_barrier(ib, 1, 0), 0);
	record(ib, 3);
	for (uint32_t t = 1; t <= 3; t++)
		inbound_staged(ib, t);
	BATCH(ib, 1, 2);
	expect_batch(ib, NULL, 0); /* 3 is behind it */
	expect_barrier(ib, 0, false);
	inbound_answered(ib, 1, true);
	expect_barrier(ib, 0, false);
	inbound_answered(ib, 2, true);
	expect_batch(ib, NULL, 0); /* not before it was judged */
	expect_barrier(ib, 1, true);
	BATCH(ib, 3);
	expect_barrier(ib, 0, false);
	inbound_free(ib);
}

static void a_denied_record_spoils_barriers_behind_it(void **state)
{
	struct inbound *ib = inbound_new(&limits);
	assert_int_equal(inbound_barrier(ib, 1, 0), 0);
	record(ib, 1);
	assert_int_equal(inbound_barrier(ib, 2, 0), 0);
	assert_int_equal(inbound_barrier(ib, 3, 0), 0);
	inbound_answered(ib, 1, false);
	expect_barrier(ib, 1, true); /* stood before it */
	expect_barrier(ib, 2, false);
	expect_barrier(ib, 3, false);
	/* Sent before the denial arrived there, although its record is gone from here. */
	assert_int_equal(inbound_barrier(ib, 4, 0), 0);
	expect_barrier(ib, 4, false);
	assert_int_equal(inbound_barrier(ib, 5, 1), 0);
	expect_barrier(ib, 5, true);
	inbound_free(ib);
}

static void barriers_are_limited_and_grow(void **state)
{
	struct inbound *ib = inbound_new(&limits);
	record(ib, 1);
	for (uint64_t id = 1; id <= WIRE_BARRIERS_MAX; id++)
		assert_int_equal(inbound_barrier(ib, id, 0), 0);
	assert_int_equal(inbound_barrier(ib, 99, 0), -EMSGSIZE);
	inbound_answered(ib, 1, true);
	expect_barrier(ib, 1, true);
	assert_int_equal(inbound_barrier(ib, 16, 0), -EPROTO);
	assert_int_equal(inbound_barrier(ib, 17, 0), 0);
	inbound_free(ib);
}

static void member(struct inbound *ib, uint32_t ticket, uint32_t set, uint32_t n)
{
	record(ib, ticket);
	assert_int_equal(inbound_member(ib, ticket, set, n), 0);
}

static void a_set_is_batched_whole(void **state)
{
	struct inbound *ib = inbound_new(&limits);
	record(ib, 1);
	member(ib, 2, 7, 3);
	inbound_staged(ib, 2);
	member(ib, 3, 7, 3);
	inbound_staged(ib, 1);
	inbound_staged(ib, 3);
	record(ib, 4);
	inbound_staged(ib, 4);
	BATCH(ib, 1, 4); /* the third has not come */
	member(ib, 5, 7, 3);
	expect_batch(ib, NULL, 0);
	record(ib, 6);
	inbound_staged(ib, 6);
	inbound_staged(ib, 5);
	uint32_t out[4];
	assert_int_equal(inbound_batch(ib, out, 2), 0); /* no room: nothing goes before it */
	BATCH(ib, 2, 3, 5, 6);
	inbound_answered(ib, 2, true);
	inbound_answered(ib, 3, false); /* in the journal already: for itself */
	inbound_answered(ib, 5, true);
	assert_int_equal(inbound_set_abort(ib, 7, out), 0);
	assert_int_equal(inbound_unanswered(ib), 3);
	inbound_free(ib);
}

static void a_denied_member_stops_its_set(void **state)
{
	struct inbound *ib = inbound_new(&limits);
	uint32_t out[WIRE_SET_MAX];
	member(ib, 1, 7, 3);
	member(ib, 2, 7, 3);
	inbound_staged(ib, 1);
	inbound_answered(ib, 2, false);
	member(ib, 3, 7, 3); /* was on the link */
	inbound_staged(ib, 3);
	expect_batch(ib, NULL, 0);
	assert_int_equal(inbound_barrier(ib, 1, 1), 0);
	assert_int_equal(inbound_unanswered(ib), 2);
	assert_int_equal(inbound_set_abort(ib, 7, out), 2);
	assert_int_equal(inbound_set_abort(ib, 7, out), 0);
	expect_barrier(ib, 1, false);
	member(ib, 4, 8, 2);
	inbound_answered(ib, 4, true); /* there already */
	member(ib, 5, 8, 2);
	inbound_staged(ib, 5);
	BATCH(ib, 5);
	inbound_left_out(ib, 5);
	expect_batch(ib, NULL, 0);
	assert_int_equal(inbound_set_abort(ib, 8, out), 1);
	assert_int_equal(inbound_unanswered(ib), 0);
	inbound_free(ib);
}

static void sets_are_bounded(void **state)
{
	struct inbound *ib = inbound_new(&limits);
	record(ib, 1);
	assert_int_equal(inbound_member(ib, 1, 1, 5), -EPROTO); /* more than a batch takes */
	assert_int_equal(inbound_member(ib, 1, 1, 2), 0);
	member(ib, 2, 2, 2);
	record(ib, 3);
	assert_int_equal(inbound_member(ib, 3, 3, 2), -EMSGSIZE);
	assert_int_equal(inbound_member(ib, 3, 2, 3), -EPROTO);
	assert_int_equal(inbound_member(ib, 3, 2, 2), 0);
	record(ib, 4);
	assert_int_equal(inbound_member(ib, 4, 2, 2), -EPROTO);
	inbound_free(ib);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_next_batch_is_what_is_staged),
		cmocka_unit_test(a_batch_is_limited),
		cmocka_unit_test(violations_are_found),
		cmocka_unit_test(tickets_wrap),
		cmocka_unit_test(streams_are_counted_and_bounded),
		cmocka_unit_test(a_stream_answered_early_drains),
		cmocka_unit_test(a_barrier_closes_the_intake),
		cmocka_unit_test(a_denied_record_spoils_barriers_behind_it),
		cmocka_unit_test(barriers_are_limited_and_grow),
		cmocka_unit_test(a_set_is_batched_whole),
		cmocka_unit_test(a_denied_member_stops_its_set),
		cmocka_unit_test(sets_are_bounded),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
