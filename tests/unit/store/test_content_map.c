/* Where content was acknowledged: many entries, the latest one of equal content. */
#include "tests/unit/store/store_help.h"

#include <openssl/sha.h>

#include "agent/store/content_map.h"

#define MANY 5000

static void hash_of(uint8_t out[HASH_LEN], uint64_t i)
{
	SHA256((const unsigned char *)&i, sizeof(i), out);
}

static void every_entry_is_found_again(void **state)
{
	(void)state;
	struct content_map map = {0};
	uint8_t hash[HASH_LEN];
	hash_of(hash, 0);
	assert_int_equal(content_map_get(&map, hash), 0);
	for (uint64_t i = 1; i <= MANY; i++) {
		hash_of(hash, i);
		content_map_put(&map, hash, i);
	}
	assert_int_equal(map.n, MANY);
	for (uint64_t i = 1; i <= MANY; i++) {
		hash_of(hash, i);
		assert_int_equal(content_map_get(&map, hash), i);
		hash_of(hash, MANY + i);
		assert_int_equal(content_map_get(&map, hash), 0);
	}
	content_map_release(&map);
}

static void the_latest_place_counts(void **state)
{
	(void)state;
	struct content_map map = {0};
	uint8_t hash[HASH_LEN];
	hash_of(hash, 1);
	content_map_put(&map, hash, 7);
	content_map_put(&map, hash, 9);
	assert_int_equal(content_map_get(&map, hash), 9);
	assert_int_equal(map.n, 1);
	content_map_release(&map);
}

/* All that share the low bits stand in one row of slots. */
static void keys_that_collide_are_told_apart(void **state)
{
	(void)state;
	struct content_map map = {0};
	uint8_t hash[HASH_LEN] = {0};
	for (unsigned i = 1; i <= 200; i++) {
		hash[7] = (uint8_t)i;
		content_map_put(&map, hash, i);
	}
	for (unsigned i = 1; i <= 200; i++) {
		hash[7] = (uint8_t)i;
		assert_int_equal(content_map_get(&map, hash), i);
	}
	hash[7] = 201;
	assert_int_equal(content_map_get(&map, hash), 0);
	content_map_release(&map);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_entry_is_found_again),
		cmocka_unit_test(the_latest_place_counts),
		cmocka_unit_test(keys_that_collide_are_told_apart),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
