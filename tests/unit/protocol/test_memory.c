/* Memory that runs out: the nth allocation fails, for every n. Nothing aborts, nothing leaks (the
 * address sanitizer looks), and what was refused can be tried again. */
#include "testing.h"

#include "protocol/frame.h"
#include "protocol/inbound.h"
#include "protocol/outbound.h"

static long left; /* allocations until one fails; negative = none */

void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *old, size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *old, size_t size);

static bool fails(void)
{
	return left >= 0 && left-- == 0;
}

void *__wrap_calloc(size_t n, size_t size)
{
	return fails() ? NULL : __real_calloc(n, size);
}

void *__wrap_realloc(void *old, size_t size)
{
	return fails() ? NULL : __real_realloc(old, size);
}

/* @return true when an allocation failed */
static bool offer_some(void)
{
	static const char *const paths[] = {"a/b/c/d", "a/b/x", "", "q"};
	const struct outbound_limits limits = {
		.records = 4, .bytes = 100, .streams = 1, .pending = 10};
	struct outbound *ob = outbound_new(&limits);
	if (!ob)
		return true;
	bool failed = false;
	for (size_t i = 0; i < COUNT(paths); i++) {
		int r = outbound_offer(ob, paths[i], i + 1, 1, 0);
		if (r < 0) {
			assert_int_equal(r, -ENOMEM);
			failed = true;
			assert_int_equal(outbound_pending(ob), i);
			assert_int_equal(outbound_offer(ob, paths[i], i + 1, 1, 0), 0);
		}
	}
	const struct outbound_item *item;
	while ((item = outbound_begin(ob)))
		assert_int_equal(outbound_done(ob, item->ticket), 0);
	assert_true(outbound_is_idle(ob));
	outbound_free(ob);
	return failed;
}

static bool receive_some(void)
{
	const struct inbound_limits limits = {.records = 4, .streams = 1, .batch = 4};
	struct inbound *ib = inbound_new(&limits);
	if (!ib)
		return true;
	int r = inbound_record(ib, 1, "a/b", true, 100);
	if (r < 0) {
		assert_int_equal(r, -ENOMEM);
		assert_int_equal(inbound_unanswered(ib), 0);
		assert_int_equal(inbound_record(ib, 1, "a/b", true, 100), 0);
	}
	inbound_free(ib);
	return r < 0;
}

static bool feed_some(void)
{
	struct frame_reader fr;
	uint8_t bytes[3000] = {0};
	bool failed = false;
	frame_reader_init(&fr);
	for (int i = 0; i < 5; i++) {
		int r = frame_feed(&fr, bytes, sizeof(bytes));
		if (r < 0) {
			assert_int_equal(r, -ENOMEM);
			failed = true;
			assert_int_equal(frame_feed(&fr, bytes, sizeof(bytes)), 0);
		}
	}
	assert_int_equal(fr.len, 5 * sizeof(bytes));
	frame_reader_release(&fr);
	return failed;
}

static void every_allocation_may_fail(void **state)
{
	bool (*const what[])(void) = {offer_some, receive_some, feed_some};
	for (size_t i = 0; i < COUNT(what); i++) {
		long nth = 0;
		for (bool failed = true; failed; nth++) {
			left = nth;
			failed = what[i]();
			left = -1;
		}
		assert_true(nth > 2);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_allocation_may_fail),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
