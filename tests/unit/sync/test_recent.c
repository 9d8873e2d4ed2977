/* Content on its way from capture to the sender. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "agent/sync/recent.h"

static void put(struct recent *recent, uint8_t name, size_t len)
{
	uint8_t hash[HASH_LEN] = {name, (uint8_t)(len >> 8)};
	uint8_t *bytes = x_calloc(1, len + 1);
	memset(bytes, name, len);
	recent_put(recent, hash, bytes, len);
}

static bool take(struct recent *recent, uint8_t name, size_t len)
{
	struct buf out = {0};
	uint8_t hash[HASH_LEN] = {name, (uint8_t)(len >> 8)};
	buf_append(&out, "before", 6);
	bool there = recent_take(recent, hash, &out);
	assert_int_equal(out.len, there ? 6 + len : 6);
	assert_true(!there || (out.data[6] == name && out.data[5 + len] == name));
	buf_release(&out);
	return there;
}

static void nothing_is_kept_that_nobody_wants(void **state)
{
	struct recent *recent = recent_new();
	(void)state;
	assert_false(recent_has_room(recent, 100));
	put(recent, 'a', 100);
	recent_want(recent, true);
	assert_false(take(recent, 'a', 100));
	put(recent, 'b', 100);
	recent_want(recent, true);
	recent_want(recent, false);
	assert_true(take(recent, 'b', 100));
	put(recent, 'c', 100);
	recent_want(recent, false);
	recent_want(recent, true);
	assert_false(take(recent, 'c', 100));
	recent_free(recent);
}

static void what_is_taken_is_gone(void **state)
{
	struct recent *recent = recent_new();
	(void)state;
	recent_want(recent, true);
	put(recent, 'a', 100);
	put(recent, 'a', 100);
	assert_true(take(recent, 'a', 100));
	assert_false(take(recent, 'a', 100));
	recent_free(recent);
}

static void the_first_in_stay_when_it_is_full(void **state)
{
	struct recent *recent = recent_new();
	size_t n = RECENT_MAX / RECENT_FILE_MAX;
	(void)state;
	recent_want(recent, true);
	assert_false(recent_has_room(recent, RECENT_FILE_MAX + 1));
	assert_false(recent_has_room(recent, 0));
	for (size_t i = 0; i < n; i++) {
		assert_true(recent_has_room(recent, RECENT_FILE_MAX));
		uint8_t hash[HASH_LEN] = {(uint8_t)i, (uint8_t)(i >> 8)};
		recent_put(recent, hash, x_calloc(1, RECENT_FILE_MAX), RECENT_FILE_MAX);
	}
	assert_false(recent_has_room(recent, 1));
	put(recent, 'z', 0x300);
	assert_false(take(recent, 'z', 0x300));
	struct buf out = {0};
	assert_true(recent_take(recent, (uint8_t[HASH_LEN]){0}, &out));
	assert_int_equal(out.len, RECENT_FILE_MAX);
	buf_release(&out);
	assert_true(recent_has_room(recent, RECENT_FILE_MAX));
	recent_free(recent);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nothing_is_kept_that_nobody_wants),
		cmocka_unit_test(what_is_taken_is_gone),
		cmocka_unit_test(the_first_in_stay_when_it_is_full),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
