/* Counting what is the profile's business: followed links, other links, directories that cannot be
 * read. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "agent/cli/survey.h"

static char top[] = "/tmp/test-survey.XXXXXX";

static const char *at(const char *name)
{
	static char path[200];
	snprintf(path, sizeof(path), "%s/%s", top, name);
	return path;
}

static void put(const char *name, const char *text)
{
	FILE *f = fopen(at(name), "w");
	assert_non_null(f);
	fputs(text, f);
	fclose(f);
}

static int make(void **state)
{
	assert_non_null(mkdtemp(top));
	static const char *const dirs[] = {"tree",
					   "tree/conf",
					   "tree/tenants",
					   "tree/tenants/1",
					   "tree/tenants/1/userstores",
					   "tree/logs",
					   "away",
					   "away/2",
					   "away/2/userstores"};
	for (size_t i = 0; i < ARRAY_LEN(dirs); i++)
		assert_int_equal(mkdir(at(dirs[i]), 0755), 0);
	put("tree/tenants/1/userstores/A.xml", "<a/>");
	put("tree/tenants/1/userstores/A.tmp", "<a/>");
	put("tree/conf/deployment.toml", "x");
	put("tree/logs/big.log", "xxxxxxxxxx");
	put("away/2/userstores/B.xml", "<bb/>");
	return 0;
}

static int clean(void **state)
{
	char command[100];
	snprintf(command, sizeof(command), "rm -rf %s", top);
	return system(command);
}

static void survey(struct survey *out, const char *name, char *const *follow, size_t n)
{
	AUTO(tree) *tree = NULL;
	AUTO(profile) *profile = NULL;
	struct err err = {0};
	char dir[200];
	snprintf(dir, sizeof(dir), "%s/tree", top);
	if (tree_prepare(dir, follow, n, &err) < 0 ||
	    tree_open(&tree, dir, follow, n, NULL, &err) < 0)
		fail_msg("%s", err.msg);
	assert_int_equal(profile_new(&profile, name, NULL, 0, true, NULL), 0);
	survey_tree(out, tree, profile);
}

static void the_profile_decides_what_counts(void **state)
{
	struct survey s;
	survey(&s, "wso2is", NULL, 0);
	assert_int_equal(s.directories, 5); /* the tree, conf, tenants, 1, userstores */
	assert_int_equal(s.files, 1);
	assert_int_equal(s.bytes, 4);
	assert_int_equal(s.unreadable, 0);
	survey_release(&s);
	survey(&s, "all", NULL, 0);
	assert_int_equal(s.directories, 6);
	assert_int_equal(s.files, 4);
	survey_release(&s);
}

static void a_link_is_entered_only_when_followed(void **state)
{
	struct survey s;
	char target[200];
	snprintf(target, sizeof(target), "%s/away/2", top);
	assert_int_equal(symlink(target, at("tree/tenants/2")), 0);
	survey(&s, "wso2is", NULL, 0);
	assert_int_equal(s.files, 1);
	survey_release(&s);
	char *follow[] = {"tenants/2"};
	survey(&s, "wso2is", follow, 1);
	assert_int_equal(s.files, 2);
	assert_int_equal(s.bytes, 9);
	assert_int_equal(s.directories, 7);
	survey_release(&s);
	unlink(at("tree/tenants/2"));
}

static void what_cannot_be_read_is_named(void **state)
{
	struct survey s;
	if (geteuid() == 0)
		skip(); /* root reads everything */
	assert_int_equal(chmod(at("tree/tenants/1"), 0), 0);
	survey(&s, "wso2is", NULL, 0);
	assert_int_equal(s.unreadable, 1);
	assert_string_equal(s.unreadable_path, "tenants/1");
	survey_release(&s);
	chmod(at("tree/tenants/1"), 0755);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_profile_decides_what_counts),
		cmocka_unit_test(a_link_is_entered_only_when_followed),
		cmocka_unit_test(what_cannot_be_read_is_named),
	};
	return cmocka_run_group_tests(tests, make, clean);
}
