/* What may be a path in the tree, by table; and small questions about paths. */
#include "testing.h"

#include "protocol/relpath.h"

static void paths_are_judged(void **state)
{
	const struct {
		const char *path;
		const char *wrong; /* a part of the answer; NULL = legal */
	} table[] = {
		{"a", NULL},
		{"a/b/c.xml", NULL},
		{".hidden", NULL},
		{"...", NULL},
		{"a/..b", NULL},
		{"a..", NULL},
		{"a b\n\xff", NULL},
		{"a\\b", NULL},
		{".artifact-sync.bak", NULL},
		{"artifact-sync", NULL},
		{"", "is empty"},
		{"/", "absolute"},
		{"/etc/passwd", "absolute"},
		{"a/", "empty component"},
		{"a//b", "empty component"},
		{".", "\".\""},
		{"a/./b", "\".\""},
		{"./a", "\".\""},
		{"..", "\"..\""},
		{"../a", "\"..\""},
		{"a/..", "\"..\""},
		{"a/../b", "\"..\""},
		{".artifact-sync", "own directory"},
		{".artifact-sync/stage/x", "own directory"},
		{"tenants/.artifact-sync/x", "own directory"},
		{"tenants/.Artifact-SYNC", "own directory"},
	};
	for (size_t i = 0; i < COUNT(table); i++) {
		const char *wrong = relpath_wrong(table[i].path, strlen(table[i].path), false);
		if (!wrong != !table[i].wrong || (wrong && !strstr(wrong, table[i].wrong)))
			fail_msg("\"%s\": %s", table[i].path, wrong ? wrong : "legal");
	}
	assert_null(relpath_wrong("", 0, true));
	assert_non_null(relpath_wrong("a\0b", 3, false));
	assert_non_null(relpath_wrong("a\0", 2, false));
}

static void lengths_are_limited(void **state)
{
	char path[5000];
	memset(path, 'a', sizeof(path));
	assert_null(relpath_wrong(path, 255, false));
	assert_non_null(relpath_wrong(path, 256, false));
	for (size_t i = 200; i < sizeof(path); i += 200)
		path[i] = '/';
	assert_null(relpath_wrong(path, 4095, false));
	assert_non_null(relpath_wrong(path, 4096, false));
	path[200] = 'a';
	assert_non_null(relpath_wrong(path, 4095, false)); /* 399 bytes in one component */
}

static void containment_is_by_component(void **state)
{
	assert_true(relpath_is_within("a/b", "a"));
	assert_true(relpath_is_within("a", "a"));
	assert_true(relpath_is_within("a", ""));
	assert_true(relpath_is_within("", ""));
	assert_false(relpath_is_within("ab", "a"));
	assert_false(relpath_is_within("a", "a/b"));
	assert_false(relpath_is_within("", "a"));
}

static void parents_and_names(void **state)
{
	assert_int_equal(relpath_parent_len("a/b/c"), 3);
	assert_int_equal(relpath_parent_len("a"), 0);
	assert_int_equal(relpath_parent_len(""), 0);
	assert_string_equal(relpath_name("a/b/c"), "c");
	assert_string_equal(relpath_name("a"), "a");
	assert_string_equal(relpath_name(""), "");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(paths_are_judged),
		cmocka_unit_test(lengths_are_limited),
		cmocka_unit_test(containment_is_by_component),
		cmocka_unit_test(parents_and_names),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
