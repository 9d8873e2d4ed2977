/* Patterns: what they match, what they refuse, and that no choice of names makes them slow. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "agent/base/clock.h"
#include "agent/conf/glob.h"

#define I 1 /* matches itself */
#define A 2 /* itself or above */
#define B 4 /* may match beneath */

static const struct {
	const char *pattern, *path;
	unsigned want;
} cases[] = {
	{"a", "a", I | A},
	{"a", "", B},
	{"a", "a/b", A},
	{"a", "b", 0},
	{"a/*.xml", "a/x.xml", I | A},
	{"a/*.xml", "a/.xml", I | A},
	{"a/*.xml", "a/x.xmlx", 0},
	{"a/*.xml", "a/b/x.xml", 0},
	{"a/*.xml", "a", B},
	{"a/*.xml", "aa", 0},
	{"**", "", I | A | B},
	{"**", "x/y", I | A | B},
	{"a/**", "a", I | A | B},
	{"a/**", "a/b/c", I | A | B},
	{"a/**", "b", 0},
	{"**/a", "a", I | A | B},
	{"**/a", "b/a", I | A | B},
	{"**/a", "b/a/c", A | B},
	{"**/a", "b/aa", B},
	{"a/**/z", "a/z", I | A | B},
	{"a/**/z", "a/b/c/z", I | A | B},
	{"a/**/**/z", "a/z", I | A | B},
	{"a/**/m/**/z", "a/m/m/z", I | A | B},
	{"a/**/m/**/z", "a/x/z", B},
	{"?", "x", I | A},
	{"?", "xx", 0},
	{"a*b*c", "aXbYbZc", I | A},
	{"a*b*c", "aXbYbZ", 0},
	{"*", "anything", I | A},
	{"[a-c]x", "bx", I | A},
	{"[a-c]x", "dx", 0},
	{"[!a-c]x", "dx", I | A},
	{"[^a-c]x", "ax", 0},
	{"[]a]", "]", I | A},
	{"[a-]", "-", I | A},
	{"[\\]x]", "]", I | A},
	{"[0-9]*", "12", I | A},
	{"[0-9]*", "x1", 0},
	{"\\*", "*", I | A},
	{"\\*", "x", 0},
	{"\\{a,b\\}", "{a,b}", I | A},
	{"x}y", "x}y", I | A},
	{"{a,b}/{c,d}", "b/c", I | A},
	{"{a,b}/{c,d}", "b/e", 0},
	{"{a,b/c}.d", "b/c.d", I | A},
	{"{a,b/c}.d", "b", B},
	{"{a,{b,c}x}", "cx", I | A},
	{"{a,{b,c}x}", "c", 0},
	{"x{,.bak}", "x", I | A},
	{"[{]a", "{a", I | A},
	{"\xff*", "\xff\xfe", I | A},
};

static void patterns_match_what_they_say(void **state)
{
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		AUTO(glob) *glob = NULL;
		struct err err = {0};
		assert_int_equal(glob_new(&glob, cases[i].pattern, &err), 0);
		struct glob_match m = glob_match(glob, cases[i].path);
		assert_int_equal(glob_matches(glob, cases[i].path), m.itself);
		unsigned got = (m.itself ? I : 0) | (m.above ? A : 0) | (m.beneath ? B : 0);
		if (got != cases[i].want)
			fail_msg("%s on %s: %u, not %u", cases[i].pattern, cases[i].path, got,
				 cases[i].want);
	}
}

static void malformed_patterns_are_refused(void **state)
{
	static const char *const wrong[] = {"",	  "/a",	   "a/", "a//b", ".",	   "a/../b",
					    "[a", "[a/b]", "{a", "a\\",	 "{a,}/{", "{a,/b}"};
	for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
		struct glob *glob = NULL;
		struct err err = {0};
		if (glob_new(&glob, wrong[i], &err) != -EINVAL || !err.msg[0])
			fail_msg("\"%s\" was accepted", wrong[i]);
		assert_null(glob);
	}
}

static void braces_cannot_multiply_without_end(void **state)
{
	struct glob *glob = NULL;
	struct err err = {0};
	assert_int_equal(glob_new(&glob, "{a,b}{a,b}{a,b}{a,b}{a,b}{a,b}{a,b}{a,b}{a,b}", &err),
			 -EINVAL);
	assert_non_null(strstr(err.msg, "256"));
}

/* The textbook matcher needs more than 2^60 steps for each of these. */
static void hostile_names_cost_no_more_than_others(void **state)
{
	AUTO(glob) *deep = NULL, *wide = NULL;
	assert_int_equal(glob_new(&deep, "**/a/**/a/**/a/**/a/**/a/**/a/**/a/**/a/**/a/**/b", NULL),
			 0);
	assert_int_equal(glob_new(&wide, "*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*b", NULL), 0);
	char path[4095];
	for (size_t i = 0; i + 1 < sizeof(path); i++)
		path[i] = i % 2 ? '/' : 'a';
	path[sizeof(path) - 2] = 'a';
	path[sizeof(path) - 1] = '\0';
	char name[256];
	memset(name, 'a', 255);
	name[255] = '\0';
	uint64_t start = clock_mono_ms();
	for (int i = 0; i < 100; i++) {
		assert_false(glob_match(deep, path).itself);
		assert_false(glob_matches(deep, path));
		assert_false(glob_match(wide, name).itself);
	}
	assert_true(clock_mono_ms() - start < 5000);
}

static void a_wildcard_is_found_again(void **state)
{
	static const struct {
		const char *pattern;
		unsigned which;
		const char *path, *part; /* NULL: not to be asked for */
	} wildcards[] = {
		{"webapps/*.war", 1, "webapps/foo.war", "foo"},
		{"webapps/*/**", 1, "webapps/foo/a/b", "foo"},
		{"webapps/*/**", 1, "webapps/foo", "foo"},
		{"webapps/*/**", 2, "webapps/foo/a", NULL},
		{"**/*.war", 1, "a/foo.war", NULL},
		{"tenants/[0-9]*/u/*.xml", 1, "tenants/12/u/A.xml", "12"},
		{"tenants/[0-9]*/u/*.xml", 2, "tenants/12/u/A.xml", "A"},
		{"a?b*", 1, "axbyz", "x"},
		{"a?b*", 2, "axbyz", "yz"},
		{"*-v?.jar", 2, "lib-v7.jar", "7"},
		{"*-v?.jar", 1, "lib-v7.jar", "lib"},
		{"*x*", 1, "axb", NULL},
		{"a**b", 1, "a12b", "12"},
		{"\\**", 1, "*12", "12"},
		{"{a,bc}/*.{x,yy}", 1, "bc/n.yy", "n"},
		{"{a,*}/*", 1, "a/n", "n"},
		{"a/*", 1, "a/", NULL},
		{"abc", 1, "abc", NULL},
	};
	for (size_t i = 0; i < ARRAY_LEN(wildcards); i++) {
		AUTO(glob) *glob = NULL;
		struct glob_capture part;
		assert_int_equal(glob_new(&glob, wildcards[i].pattern, NULL), 0);
		bool found = glob_captured(&part, glob, wildcards[i].which, wildcards[i].path);
		if (found != (wildcards[i].part != NULL) ||
		    (found && (part.len != strlen(wildcards[i].part) ||
			       memcmp(part.at, wildcards[i].part, part.len) != 0)))
			fail_msg("%s %u %s", wildcards[i].pattern, wildcards[i].which,
				 wildcards[i].path);
		bool matches = glob_match(glob, wildcards[i].path).itself;
		assert_int_equal(glob_has_wildcard(glob, wildcards[i].which, NULL) == 0,
				 found || !matches);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(patterns_match_what_they_say),
		cmocka_unit_test(malformed_patterns_are_refused),
		cmocka_unit_test(braces_cannot_multiply_without_end),
		cmocka_unit_test(a_wildcard_is_found_again),
		cmocka_unit_test(hostile_names_cost_no_more_than_others),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
