/* When two records are equal, and the bytes that say so; the digest of a set of them. */
#include "testing.h"

#include "protocol/digest.h"
#include "protocol/record.h"

#define N_VARIANTS 18

/* Records that differ from the first each in one thing that counts. */
static void make_variants(struct record out[N_VARIANTS])
{
	static const uint8_t one[] = {1}, two[] = {2};
	const struct record file = {.path = "a",
				    .kind = RECORD_FILE,
				    .mode = 0644,
				    .mtime_ns = 5,
				    .size = 1,
				    .hash = "x"};
	for (size_t i = 0; i < N_VARIANTS; i++)
		out[i] = file;
	out[1].path = "b";
	out[2].path = "a/b";
	out[3].mode = 0600;
	out[4].mtime_ns = 6;
	out[5].size = 2;
	out[6].hash[31] = 1;
	out[7].xattrs = one;
	out[7].xattrs_len = 1;
	out[8].xattrs = two;
	out[8].xattrs_len = 1;
	out[9].kind = RECORD_DIR;
	out[10].kind = RECORD_SYMLINK;
	out[10].target = one;
	out[10].target_len = 1;
	out[11].kind = RECORD_SYMLINK;
	out[11].target = two;
	out[11].target_len = 1;
	/* The same bytes once as target and once as attributes. */
	out[12].kind = RECORD_SYMLINK;
	out[12].xattrs = one;
	out[12].xattrs_len = 1;
	out[13].kind = RECORD_ABSENT;
	out[14].uid = 1;
	out[15].gid = 1;
	out[16].seq = 7; /* counts for nothing */
	out[17].epoch = 7;
}

static void equal_means_equal_elements(void **state)
{
	struct record records[N_VARIANTS];
	static uint8_t a[RECORD_ELEMENT_MAX], b[RECORD_ELEMENT_MAX];
	make_variants(records);
	for (size_t owner = 0; owner < 2; owner++) {
		for (size_t i = 0; i < N_VARIANTS; i++) {
			size_t a_len = record_element(a, sizeof(a), &records[i], owner);
			for (size_t k = 0; k < N_VARIANTS; k++) {
				size_t b_len = record_element(b, sizeof(b), &records[k], owner);
				bool same = a_len == b_len && memcmp(a, b, a_len) == 0;
				assert_int_equal(record_equal(&records[i], &records[k], owner),
						 same);
				bool alike =
					i == k ||
					((i == 0 || i >= 14) && (k == 0 || k >= 14) &&
					 (!owner || (i != 14 && i != 15 && k != 14 && k != 15)));
				if (same != alike)
					fail_msg("%zu and %zu", i, k);
			}
		}
	}
}

static void an_element_that_does_not_fit_says_how_long_it_is(void **state)
{
	struct record records[N_VARIANTS];
	uint8_t whole[256], part[256];
	make_variants(records);
	for (size_t i = 0; i < N_VARIANTS; i++) {
		size_t len = record_element(whole, sizeof(whole), &records[i], true);
		assert_true(len < sizeof(whole));
		for (size_t size = 0; size <= len; size++) {
			memset(part, 0xee, sizeof(part));
			assert_int_equal(record_element(part, size, &records[i], true), len);
			assert_int_equal(part[size], 0xee);
		}
	}
	assert_true(record_element(NULL, 0, &records[0], false) > 0);
}

static void the_longest_element_has_room(void **state)
{
	static char path[4096];
	static uint8_t bytes[RECORD_XATTRS_MAX], out[RECORD_ELEMENT_MAX];
	memset(path, 'p', 4095);
	struct record r = {.path = path,
			   .kind = RECORD_SYMLINK,
			   .target = bytes,
			   .target_len = RECORD_TARGET_MAX,
			   .xattrs = bytes,
			   .xattrs_len = RECORD_XATTRS_MAX};
	assert_true(record_element(out, sizeof(out), &r, true) <= sizeof(out));
}

static void content_is_compared_by_kind(void **state)
{
	struct record records[N_VARIANTS];
	make_variants(records);
	assert_true(record_same_content(&records[0], &records[4]));
	assert_true(record_same_content(&records[0], &records[1]));
	assert_false(record_same_content(&records[0], &records[5]));
	assert_false(record_same_content(&records[0], &records[6]));
	assert_false(record_same_content(&records[0], &records[9]));
	assert_false(record_same_content(&records[10], &records[11]));
	assert_false(record_same_content(&records[10], &records[12]));
	assert_true(record_same_content(&records[9], &records[9]));
}

/* Pinned: two versions of the program must agree on every byte. */
static void the_element_is_the_specified_one(void **state)
{
	uint8_t out[128];
	static const uint8_t expected[] = {1, 0, 1, 'a', 0, 2, 0, 0, 1, 0xed, 0, 0, 0, 0, 0, 0,
					   0, 5, 0, 0,	 0, 0, 1, 0, 0, 0,    7, 0, 0, 0, 8};
	struct record dir = {
		.path = "a", .kind = RECORD_DIR, .mode = 0755, .mtime_ns = 5, .uid = 7, .gid = 8};
	assert_int_equal(record_element(out, sizeof(out), &dir, true), sizeof(expected));
	assert_memory_equal(out, expected, sizeof(expected));
}

/* ---- digest ------------------------------------------------------------------------------- */

#define N_ELEMENTS 50

static void fill(uint8_t elements[N_ELEMENTS][DIGEST_STATE_LEN], uint64_t *seed)
{
	for (size_t i = 0; i < N_ELEMENTS; i++) {
		for (size_t k = 0; k < DIGEST_STATE_LEN; k++)
			elements[i][k] = (uint8_t)random_below(seed, 256);
	}
}

static void order_does_not_matter_and_removal_undoes(void **state)
{
	static uint8_t elements[N_ELEMENTS][DIGEST_STATE_LEN];
	uint64_t seed = random_seed();
	struct digest forth = {0}, back = {0}, empty = {0};
	fill(elements, &seed);
	for (size_t i = 0; i < N_ELEMENTS; i++) {
		digest_add(&forth, elements[i]);
		digest_add(&back, elements[N_ELEMENTS - 1 - i]);
	}
	assert_memory_equal(&forth, &back, sizeof(forth));
	digest_add(&forth, elements[3]); /* a multiset: twice is not once, nor never */
	assert_memory_not_equal(&forth, &back, sizeof(forth));
	digest_remove(&forth, elements[3]);
	assert_memory_equal(&forth, &back, sizeof(forth));
	for (size_t i = 0; i < N_ELEMENTS; i++)
		digest_remove(&forth, elements[(i * 7) % N_ELEMENTS]);
	assert_memory_equal(&forth, &empty, sizeof(forth));
}

static void a_saved_state_is_big_endian_and_loads(void **state)
{
	static uint8_t elements[N_ELEMENTS][DIGEST_STATE_LEN];
	uint8_t saved[DIGEST_STATE_LEN];
	uint64_t seed = random_seed();
	struct digest one = {0}, loaded;
	fill(elements, &seed);
	digest_add(&one, elements[0]);
	digest_save(saved, &one);
	assert_memory_equal(saved, elements[0], DIGEST_STATE_LEN); /* 0 + x is x */
	digest_load(&loaded, saved);
	assert_memory_equal(&loaded, &one, sizeof(one));
	struct digest carry = {.lane = {0xffff}};
	uint8_t plus_one[DIGEST_STATE_LEN] = {0, 1};
	digest_add(&carry, plus_one);
	assert_int_equal(carry.lane[0], 0);
	assert_int_equal(carry.lane[1], 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(equal_means_equal_elements),
		cmocka_unit_test(an_element_that_does_not_fit_says_how_long_it_is),
		cmocka_unit_test(the_longest_element_has_room),
		cmocka_unit_test(content_is_compared_by_kind),
		cmocka_unit_test(the_element_is_the_specified_one),
		cmocka_unit_test(order_does_not_matter_and_removal_undoes),
		cmocka_unit_test(a_saved_state_is_big_endian_and_loads),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
