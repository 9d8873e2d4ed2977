/* Ranges of the index: the same set gives the same digest however it came about, parts cover the
 * whole, and going down into the part that differs ends at the path that differs. */
#include "tests/unit/store/store_help.h"

#include <stdio.h>
#include <time.h>

#include "agent/sync/range.h"

#define PATHS 700

static void path_of(char out[32], int i)
{
	snprintf(out, 32, "d%02d/f%04d", i % 23, i);
}

static void fill(struct fixture *f, bool backwards)
{
	char path[32];
	capture_dir(f, "");
	for (int i = 0; i < 23; i++) {
		snprintf(path, sizeof(path), "d%02d", i);
		capture_dir(f, path);
	}
	for (int k = 0; k < PATHS; k++) {
		path_of(path, backwards ? PATHS - 1 - k : k);
		capture_file(f, path, 7);
	}
}

static struct range whole(struct fixture *f)
{
	struct range range = {.lo = x_strdup(""), .hi = x_strdup("")};
	assert_ok(range_digest(&range, f->store, &f->err), &f->err);
	return range;
}

struct two {
	void *a, *b;
};

static int set_up(void **state)
{
	struct two *two = x_calloc(1, sizeof(*two));
	*state = two;
	return fixture_active(&two->a) || fixture_active(&two->b);
}

static int tear_down(void **state)
{
	struct two *two = *state;
	fixture_end(&two->a);
	fixture_end(&two->b);
	free(two);
	return 0;
}

static void equal_sets_have_equal_digests(void **state)
{
	struct two *two = *state;
	fill(two->a, false);
	fill(two->b, true);
	capture_file(two->b, "gone", 1);
	capture_loss(two->b, "gone"); /* a tombstone does not count */
	struct range a = whole(two->a), b = whole(two->b);
	assert_int_equal(a.records, PATHS + 24);
	assert_int_equal(a.records, b.records);
	assert_memory_equal(a.digest, b.digest, HASH_LEN);
	range_release(&a);
	range_release(&b);
}

static void parts_cover_the_whole_in_order(void **state)
{
	struct two *two = *state;
	struct fixture *f = two->a;
	struct range parts[WIRE_RANGES_MAX];
	size_t n;
	uint64_t records = 0;
	fill(f, false);
	struct range all = whole(f);
	assert_ok(range_split(parts, &n, &all, f->store, &f->err), &f->err);
	assert_in_range(n, 2, RANGE_PARTS);
	assert_string_equal(parts[0].lo, "");
	assert_string_equal(parts[n - 1].hi, "");
	for (size_t i = 0; i < n; i++) {
		struct range again = {.lo = x_strdup(parts[i].lo), .hi = x_strdup(parts[i].hi)};
		assert_ok(range_digest(&again, f->store, &f->err), &f->err);
		assert_memory_equal(again.digest, parts[i].digest, HASH_LEN);
		records += parts[i].records;
		if (i > 0)
			assert_string_equal(parts[i].lo, parts[i - 1].hi);
		range_release(&again);
	}
	for (size_t i = 0; i < n; i++)
		range_release(&parts[i]);
	assert_int_equal(records, all.records);
	range_release(&all);
}

/* Splits a's range and keeps the parts that b has otherwise, down to lists; returns how many were
 * left. */
static size_t descend(struct two *two, struct range range, const char *path)
{
	struct fixture *a = two->a, *b = two->b;
	struct range parts[WIRE_RANGES_MAX];
	size_t n, found = 0;
	if (range.records <= RANGE_LIST_MAX) {
		assert_true(strcmp(range.lo, path) <= 0);
		assert_true(*range.hi == '\0' || strcmp(path, range.hi) < 0);
		range_release(&range);
		return 1;
	}
	assert_ok(range_split(parts, &n, &range, a->store, &a->err), &a->err);
	for (size_t i = 0; i < n; i++) {
		struct range mine = {.lo = x_strdup(parts[i].lo), .hi = x_strdup(parts[i].hi)};
		assert_ok(range_digest(&mine, b->store, &b->err), &b->err);
		if (memcmp(mine.digest, parts[i].digest, HASH_LEN) != 0)
			found += descend(two, parts[i], path);
		else
			range_release(&parts[i]);
		range_release(&mine);
	}
	range_release(&range);
	return found;
}

static void going_down_ends_at_what_differs(void **state)
{
	struct two *two = *state;
	const char *given = getenv("TEST_SEED");
	unsigned seed = given ? (unsigned)atoi(given) : (unsigned)time(NULL);
	char path[32];
	printf("seed %u\n", seed);
	srand(seed);
	fill(two->a, false);
	fill(two->b, false);
	path_of(path, rand() % PATHS);
	capture_file(two->b, path, 8);
	assert_int_equal(descend(two, whole(two->a), path), 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(equal_sets_have_equal_digests, set_up, tear_down),
		cmocka_unit_test_setup_teardown(parts_cover_the_whole_in_order, set_up, tear_down),
		cmocka_unit_test_setup_teardown(going_down_ends_at_what_differs, set_up, tear_down),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
