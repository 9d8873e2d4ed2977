/* Which paths are whose business, in the shipped profiles and with rules of one's own. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "agent/conf/profile.h"
#include "agent/conf/profile_rules.h"

#define L PROFILE_LEAVE
#define R PROFILE_REPLICATE
#define C PROFILE_COMPARE
#define P PROFILE_PASSAGE
#define XML (GATE_XML | GATE_NOT_EMPTIED)
#define JSON (GATE_JSON | GATE_NOT_EMPTIED)
#define STEP RULE_MTIME_STEP

struct expected {
	const char *path; /* a directory when it ends in a slash */
	enum profile_verdict verdict;
	unsigned attributes;
	int order_class;
};

static void expect(const struct profile *profile, const struct expected *cases, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		AUTO_FREE char *path = x_strdup(cases[i].path);
		size_t len = strlen(path);
		bool is_dir = len == 0 || path[len - 1] == '/';
		if (len && is_dir)
			path[len - 1] = '\0';
		struct profile_judgement j = profile_judge(profile, path, is_dir);
		if (j.verdict != cases[i].verdict)
			fail_msg("%s: verdict %d, not %d", cases[i].path, j.verdict,
				 cases[i].verdict);
		if (is_dir || j.verdict == L)
			continue;
		if (j.attributes != cases[i].attributes || j.order_class != cases[i].order_class)
			fail_msg("%s: attributes %x class %d, not %x and %d", cases[i].path,
				 j.attributes, j.order_class, cases[i].attributes,
				 cases[i].order_class);
	}
}

static void wso2is_takes_what_the_server_writes(void **state)
{
	static const struct expected cases[] = {
		{"", P},
		{"deployment/", P},
		{"deployment/server/userstores/", P},
		{"deployment/server/userstores/A.xml", R, XML | STEP, ORDER_USER_STORES},
		{"deployment/server/userstores/A.xml/", R},
		{"deployment/server/userstores/A.enc", L},
		{"deployment/server/userstores/.A.xml", L},
		{"deployment/server/userstores/A.xml~", L},
		{"deployment/server/userstores/deep/", L},
		{"deployment/server/webapps/", L},
		{"deployment/server/webapps/x.war", L},
		{"deployment/server/bpel/x.zip", R, STEP, ORDER_ARCHIVES},
		{"deployment/server/eventstreams/x.json", R, JSON | STEP, ORDER_STREAMS},
		{"deployment/server/eventpublishers/x.xml", R, XML | STEP, ORDER_PUBLISHERS},
		{"tenants/", P},
		{"tenants/17/", P},
		{"tenants/x17/", L},
		{"tenants/17/userstores/A.xml", R, XML | STEP, ORDER_TENANTS},
		{"tenants/17/eventstreams/A.json", R, JSON | STEP, ORDER_STREAMS},
		{"tenants/17/webapps/", L},
		{"tenants/.artifact-sync/", L},
		{"tenants/.svn/", L},
		{"resources/security/", P},
		{"resources/security/wso2carbon.jks", C, STEP, ORDER_KEYS},
		{"conf/deployment.toml", C, STEP, ORDER_SETTINGS},
		{"conf/carbon.xml", L},
		{"conf/identity/service-providers/a.xml", C, XML | STEP, ORDER_OTHER},
		{"logs/", L},
		{"database/", L},
		{"components/", L},
	};
	AUTO(profile) *profile = NULL;
	assert_int_equal(profile_new(&profile, "wso2is", NULL, 0, true, NULL), 0);
	expect(profile, cases, ARRAY_LEN(cases));
	assert_int_equal(profile_max_delete(profile), 20);
}

static void sub_profiles_add_to_it(void **state)
{
	static const struct expected cases[] = {
		{"resources/security/wso2carbon.jks", R, STEP, ORDER_KEYS},
		{"resources/security/.hidden.jks", L},
		{"conf/security/cipher-text.properties", R, STEP, ORDER_SETTINGS},
		{"conf/deployment.toml", C, STEP, ORDER_SETTINGS},
		{"deployment/server/webapps/x.war", R, STEP, ORDER_ARCHIVES},
		{"deployment/server/webapps/x/", L},
		{"deployment/server/jaggeryapps/", R},
		{"deployment/server/jaggeryapps/a/b.js", R, STEP, ORDER_OTHER},
		{"deployment/server/jaggeryapps/a/.git/", L},
		{"deployment/server/jaggeryapps/a/.git/config", L},
		{"components/dropins/x.jar", L},
	};
	AUTO(profile) *profile = NULL;
	assert_int_equal(profile_new(&profile, "wso2is+keys+webapps", NULL, 0, true, NULL), 0);
	expect(profile, cases, ARRAY_LEN(cases));
	AUTO(profile) *all = NULL;
	assert_int_equal(profile_new(&all, "wso2is+keys+conf+webapps+ext", NULL, 0, true, NULL), 0);
	assert_int_equal(profile_judge(all, "conf/deployment.toml", false).verdict, R);
	assert_int_equal(profile_judge(all, "components/lib/x.jar", false).verdict, R);
	assert_int_equal(profile_judge(all, "resources/identity/extensions/a/b", false).verdict, R);
}

static void all_takes_everything_but_our_own(void **state)
{
	static const struct expected cases[] = {
		{"", R},
		{"a/", R},
		{"a/.git/config", R, 0, ORDER_OTHER},
		{"conf/templates/broken.xml", R, 0, ORDER_OTHER},
		{"x/userstores/A.xml", R, XML, ORDER_OTHER},
		{"tenants/1/eventstreams/A.json", R, JSON, ORDER_STREAMS},
		{".artifact-sync/", L},
		{".artifact-sync/stage/x", L},
		{"a/b/.artifact-sync/x", L},
		{"a/.artifact-sync", L},
		{"a/.artifact-sync2", R, 0, ORDER_OTHER},
	};
	AUTO(profile) *profile = NULL;
	assert_int_equal(profile_new(&profile, "all", NULL, 0, true, NULL), 0);
	expect(profile, cases, ARRAY_LEN(cases));
	assert_int_equal(profile_max_delete(profile), 50);
}

static void own_rules_come_first(void **state)
{
	static const char *const rules[] = {"+ logs/keep/*.log", "- logs", "= big/*.bin",
					    "- cache/*/tmp/**", "+ .artifact-sync/**"};
	static const struct expected cases[] = {
		{"logs/", P},
		{"logs/keep/", P},
		{"logs/keep/a.log", R, 0, ORDER_OTHER},
		{"logs/keep/a", L},
		{"logs/other/", L},
		{"big/", R},
		{"big/a.bin", C, 0, ORDER_OTHER},
		{"big/a", R, 0, ORDER_OTHER},
		{"cache/x/tmp/", L},
		{"cache/x/", R},
		{".artifact-sync/", L},
	};
	AUTO(profile) *profile = NULL;
	assert_int_equal(profile_new(&profile, "all", rules, ARRAY_LEN(rules), true, NULL), 0);
	expect(profile, cases, ARRAY_LEN(cases));
}

static void gates_can_be_turned_off_here(void **state)
{
	AUTO(profile) *on = NULL, *off = NULL;
	assert_int_equal(profile_new(&on, "wso2is", NULL, 0, true, NULL), 0);
	assert_int_equal(profile_new(&off, "wso2is", NULL, 0, false, NULL), 0);
	assert_int_equal(profile_judge(off, "tenants/1/userstores/A.xml", false).attributes, STEP);
	uint8_t a[32], b[32];
	profile_hash(on, a);
	profile_hash(off, b);
	assert_memory_equal(a, b, 32);
}

static void the_hash_is_of_what_is_replicated(void **state)
{
	static const char *const rules[] = {"- x"};
	AUTO(profile) *one = NULL, *same = NULL, *other = NULL, *ruled = NULL;
	assert_int_equal(profile_new(&one, "wso2is+keys+ext", NULL, 0, true, NULL), 0);
	assert_int_equal(profile_new(&same, "wso2is+ext+keys", NULL, 0, true, NULL), 0);
	assert_int_equal(profile_new(&other, "wso2is+keys", NULL, 0, true, NULL), 0);
	assert_int_equal(profile_new(&ruled, "wso2is+keys+ext", rules, 1, true, NULL), 0);
	uint8_t hash[4][32];
	profile_hash(one, hash[0]);
	profile_hash(same, hash[1]);
	profile_hash(other, hash[2]);
	profile_hash(ruled, hash[3]);
	assert_memory_equal(hash[0], hash[1], 32);
	assert_memory_not_equal(hash[0], hash[2], 32);
	assert_memory_not_equal(hash[0], hash[3], 32);
}

static void what_is_wrong_is_named(void **state)
{
	static const struct {
		const char *name, *rule, *says;
	} cases[] = {
		{"wso2", NULL, "wso2is"},
		{"", NULL, "neither"},
		{"all+keys", NULL, "rules"},
		{"wso2is+key", NULL, "keys, conf"},
		{"wso2is+", NULL, "sub-profile"},
		{"keys", NULL, "neither"},
		{"all", "a/b", "leave out"},
		{"all", "+a", "replicate"},
		{"all", "+ /a", "relative"},
		{"all", "", "replicate"},
		{"all", "- set=x a", "replicated"},
		{"all", "= set=x a", "\\set="},
		{"all", "+ set=x", "PATTERN"},
		{"all", "+ set=x ", "PATTERN"},
		{"all", "+ set= a", "1 to 64"},
		{"all", "+ set=a/b a", "letters"},
		{"all", "+ set={0} *", "letters"},
		{"all", "+ set={2} *", "wildcard 2"},
		{"all", "+ set={1} **/*", "before"},
		{"all", "+ set={1} *a*", "two stars"},
		{"all", "+ set={1}{1}{1} *", "more than 2"},
	};
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct profile *profile = NULL;
		struct err err = {0};
		assert_int_equal(profile_new(&profile, cases[i].name, &cases[i].rule,
					     cases[i].rule ? 1 : 0, true, &err),
				 -EINVAL);
		if (!strstr(err.msg, cases[i].says))
			fail_msg("%s", err.msg);
	}
}

static void rules_make_sets(void **state)
{
	/* "*" followed by two stars takes the archive, too: its rule comes first. */
	static const char *const rules[] = {
		"- webapps/*/tmp",
		"+ set=app:{1} webapps/*.war",
		"+ set=app:{1} webapps/*/**",
		"+ plain/**",
		"+ set=t{1}-{2} t/[0-9]*/?.xml",
		"+ \\set=x y",
		"= conf/x",
		"+ set=all conf/**",
	};
	static const struct {
		const char *path, *set;
	} cases[] = {
		{"webapps/foo.war", "app:foo"},
		{"webapps/foo", "app:foo"},
		{"webapps/foo/a/b", "app:foo"},
		{"webapps/foo/tmp/b", NULL},
		{"webapps/bar.war", "app:bar"},
		{"webapps", NULL},
		{"plain/a", NULL},
		{"t/12/a.xml", "t12-a"},
		{"conf/x", NULL},
		{"conf/y", "all"},
		{".artifact-sync/x", NULL},
		{"other", NULL},
		{"set=x y", NULL},
	};
	AUTO(profile) *profile = NULL;
	struct err err = {0};
	if (profile_new(&profile, "all", rules, ARRAY_LEN(rules), true, &err) < 0)
		fail_msg("%s", err.msg);
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		char set[PROFILE_SET_MAX];
		bool in = profile_set(profile, cases[i].path, set);
		if (in != (cases[i].set != NULL) || (in && strcmp(set, cases[i].set) != 0))
			fail_msg("%s: set \"%s\"", cases[i].path, in ? set : "none");
	}
	assert_int_equal(profile_judge(profile, "set=x y", false).verdict, R);
}

static void keys_and_the_settings_that_name_them_are_one_set(void **state)
{
	AUTO(profile) *both = NULL, *one = NULL, *none = NULL;
	char a[PROFILE_SET_MAX], b[PROFILE_SET_MAX];
	assert_int_equal(profile_new(&both, "wso2is+keys+conf", NULL, 0, true, NULL), 0);
	assert_int_equal(profile_new(&one, "wso2is+keys", NULL, 0, true, NULL), 0);
	assert_int_equal(profile_new(&none, "wso2is", NULL, 0, true, NULL), 0);
	assert_true(profile_set(both, "resources/security/wso2carbon.jks", a));
	assert_true(profile_set(both, "conf/deployment.toml", b));
	assert_string_equal(a, b);
	assert_false(profile_set(one, "conf/deployment.toml", b)); /* compared only */
	assert_false(profile_set(none, "resources/security/wso2carbon.jks", a));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(wso2is_takes_what_the_server_writes),
		cmocka_unit_test(sub_profiles_add_to_it),
		cmocka_unit_test(all_takes_everything_but_our_own),
		cmocka_unit_test(own_rules_come_first),
		cmocka_unit_test(gates_can_be_turned_off_here),
		cmocka_unit_test(the_hash_is_of_what_is_replicated),
		cmocka_unit_test(what_is_wrong_is_named),
		cmocka_unit_test(rules_make_sets),
		cmocka_unit_test(keys_and_the_settings_that_name_them_are_one_set),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
