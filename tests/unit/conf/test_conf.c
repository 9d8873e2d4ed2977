/* The configuration: what is read, what is refused and how it is said, and that it is never half
 * written. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "agent/base/fault.h"
#include "agent/conf/conf.h"
#include "agent/conf/conf_table.h"
#include "agent/conf/conf_where.h"

#define HEX "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define FINGERPRINT "sha256:" HEX
#define OTHER_FINGERPRINT "sha256:a" HEX

static char dir[] = "/tmp/test-conf.XXXXXX";
static char path[64];

static int make_dir(void **state)
{
	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/config.json", dir);
	return 0;
}

static int remove_dir(void **state)
{
	unlink(path);
	return rmdir(dir);
}

static void nothing_is_left_behind(void)
{
	DIR *d = opendir(dir);
	assert_non_null(d);
	for (struct dirent *e; (e = readdir(d));) {
		if (e->d_name[0] != '.' && strcmp(e->d_name, "config.json") != 0)
			fail_msg("%s", e->d_name);
	}
	closedir(d);
}

static void put(const char *text)
{
	FILE *f = fopen(path, "w");
	assert_non_null(f);
	assert_int_equal(fwrite(text, 1, strlen(text), f), strlen(text));
	assert_int_equal(fclose(f), 0);
}

static char *get(void)
{
	char *text = x_calloc(1, 65536);
	FILE *f = fopen(path, "r");
	assert_non_null(f);
	assert_true(fread(text, 1, 65535, f) < 65535);
	fclose(f);
	return text;
}

#define MINIMAL                                                               \
	"{\n\"node\": \"a\",\n\"group\": \"g\",\n\"tree\": \"/srv/tree/\",\n" \
	"\"state_dir\": \"/var/lib/as\""
#define FULL                                                                                 \
	MINIMAL ", \"listen\": \"[::1]:7443\", \"follow\": [\"tenants\", \"d/u\"],\n"        \
		"\"peers\": [{\"node\": \"b\", \"address\": \"h:1\", \"fingerprints\": "     \
		"[\"" FINGERPRINT                                                            \
		"\"]},\n {\"node\": \"c\", \"ca\": \"/ca.pem\", \"name\": \"c.org\"}],\n"    \
		"\"tls\": {\"certificate\": \"/c.pem\", \"key\": \"/k.pem\"}, \"profile\": " \
		"\"all\",\n"                                                                 \
		"\"rules\": [\"- **/*.log\"], \"ownership\": \"0:0\", \"setid\": true, "     \
		"\"settle_ms\": 1,\n"                                                        \
		"\"settle_max_ms\": 200, \"set_settle_ms\": 5, \"scan_interval_s\": 3, "     \
		"\"max_delete\": 4, "                                                        \
		"\"max_rewrite\": 9, \"peer_approvals\": false, \"drift\": "                 \
		"\"report\",\n"                                                              \
		"\"gates\": false, \"hooks\": {\"before_demote\": [\"/bin/true\", \"x\"], "  \
		"\"on_drift\": []},\n"                                                       \
		"\"http\": {\"listen\": \"127.0.0.1:0\"}, \"history\": {\"keep_days\": 5, "  \
		"\"keep_bytes\": 6},\n"                                                      \
		"\"limits\": {\"rate_bytes_per_s\": 7, \"window_bytes\": 1048576, "          \
		"\"salvage_bytes\": 10}, "                                                   \
		"\"tombstone_days\": 8,\n"                                                   \
		"\"log\": \"debug\"}"

static void defaults_are_those_of_the_table(void **state)
{
	put(MINIMAL "}");
	AUTO(conf) *conf = NULL;
	struct err err = {0};
	if (conf_load(&conf, path, &err) < 0)
		fail_msg("%s", err.msg);
	assert_string_equal(conf->tree, "/srv/tree");
	assert_string_equal(conf->tls_certificate, "/var/lib/as/node.crt");
	assert_string_equal(conf->tls_key, "/var/lib/as/node.key");
	assert_string_equal(conf->profile, "wso2is");
	assert_string_equal(conf->ownership, "ignore");
	assert_string_equal(conf->drift, "revert");
	assert_string_equal(conf->log_level, "info");
	assert_null(conf->listen);
	assert_null(conf->http_listen);
	assert_null(conf->hook_on_fenced);
	assert_true(conf->gates);
	assert_false(conf->setid);
	assert_int_equal(conf->settle_ms, 25);
	assert_int_equal(conf->settle_max_ms, 30000);
	assert_int_equal(conf->scan_interval_s, 600);
	assert_true(conf->max_delete == UINT32_MAX);
	assert_int_equal(conf->max_rewrite, 0);
	assert_true(conf->peer_approvals);
	assert_true(conf->salvage_bytes == UINT64_C(10) << 30);
	assert_int_equal(conf->window_bytes, 32 << 20);
	assert_int_equal(conf->rate_bytes_per_s, 0);
	assert_int_equal(conf->tombstone_days, 30);
}

static void every_key_is_read(void **state)
{
	put(FULL);
	AUTO(conf) *conf = NULL;
	struct err err = {0};
	if (conf_load(&conf, path, &err) < 0)
		fail_msg("%s", err.msg);
	assert_int_equal(conf->n_follow, 2);
	assert_string_equal(conf->follow[1], "d/u");
	assert_int_equal(conf->n_peers, 2);
	assert_string_equal(conf->peers[0].fingerprints[0], FINGERPRINT);
	assert_string_equal(conf->peers[0].address, "h:1");
	assert_null(conf->peers[1].address);
	assert_string_equal(conf->peers[1].name, "c.org");
	assert_string_equal(conf->tls_key, "/k.pem");
	assert_string_equal(conf->rules[0], "- **/*.log");
	assert_false(conf->gates);
	assert_true(conf->setid);
	assert_string_equal(conf->hook_before_demote[1], "x");
	assert_null(conf->hook_before_demote[2]);
	assert_null(conf->hook_on_drift);
	assert_string_equal(conf->http_listen, "127.0.0.1:0");
	assert_int_equal(conf->history_keep_days, 5);
	assert_int_equal(conf->history_keep_bytes, 6);
	assert_int_equal(conf->rate_bytes_per_s, 7);
	assert_int_equal(conf->max_delete, 4);
	assert_int_equal(conf->max_rewrite, 9);
	assert_false(conf->peer_approvals);
	assert_int_equal(conf->salvage_bytes, 10);
	assert_int_equal(conf->tombstone_days, 8);
	uint32_t uid = 9, gid = 9;
	assert_int_equal(conf_owner(conf, &uid, &gid, &err), 1);
	assert_int_equal(uid, 0);
	assert_int_equal(gid, 0);
}

/* Every row of the table stands in the file above: a new key is tested or this fails. */
static void the_full_file_has_every_key(void **state)
{
	for (const struct conf_key *k = conf_keys; k->name; k++) {
		bool unused_hook = strncmp(k->name, "hooks.", 6) == 0;
		if (conf_line_of(FULL, k->name) == 0 && !unused_hook)
			fail_msg("%s", k->name);
	}
}

static void what_is_wrong_is_said(void **state)
{
	static const struct {
		const char *text;
		const char *says[3];
	} cases[] = {
		{MINIMAL ",\n\"setle_ms\": 5}", {"line 6", "\"setle_ms\"", "\"settle_ms\""}},
		{MINIMAL ",\n\"window_bytes\": 5}",
		 {"line 6", "\"window_bytes\"", "limits.window_bytes"}},
		{MINIMAL ",\n\"tls\": {\n\"keys\": 5}}", {"line 7", "\"tls.keys\"", "\"tls.key\""}},
		{MINIMAL ", \"peers\": [\n{\"node\":\"b\",\n\"adress\": 5}]}",
		 {"line 7", "peers[0].adress", "\"address\""}},
		{MINIMAL ",\n\"settle_ms\": 60001}", {"line 6", "settle_ms", "0 to 60000"}},
		{MINIMAL ",\n\"settle_ms\": -1}", {"line 6", "settle_ms", "0 to 60000"}},
		{MINIMAL ",\n\"settle_ms\": \"5\"}", {"settle_ms", "number", "milliseconds"}},
		{MINIMAL ",\n\"settle_ms\": 1.5}", {"settle_ms", "whole number", ""}},
		{MINIMAL ",\n\"settle_ms\": 1000, \"settle_max_ms\": 999}",
		 {"settle_max_ms", "1000", ""}},
		{MINIMAL ",\n\"gates\": 1}", {"gates", "true or false", ""}},
		{MINIMAL ",\n\"drift\": \"revret\"}", {"drift", "\"revert\", \"report\"", ""}},
		{MINIMAL ",\n\"listen\": \"7443\"}", {"listen", "HOST:PORT", ""}},
		{MINIMAL ",\n\"listen\": \"::1:7443\"}", {"listen", "[::1]:7443", ""}},
		{MINIMAL ",\n\"listen\": \"h:65536\"}", {"listen", "HOST:PORT", ""}},
		{MINIMAL ",\n\"follow\": [\"a\",\n\"/b\"]}", {"line 7", "follow[1]", "absolute"}},
		{MINIMAL ",\n\"rules\": [\"- a\",\n\"b\"]}",
		 {"line 7", "rules[1]", "compare only"}},
		{MINIMAL ",\n\"profile\": \"wso\"}", {"line 6", "profile", "wso2is"}},
		{MINIMAL ",\n\"tls\": 3}", {"tls", "object", ""}},
		{MINIMAL ",\n\"hooks\": {\"on_drift\": [\"sh\"]}}",
		 {"hooks.on_drift", "absolute", ""}},
		{MINIMAL ",\n\"hooks\": {\"on_drift\": \"sh\"}}", {"hooks.on_drift", "list", ""}},
		{MINIMAL ",\n\"ownership\": \"me\"}", {"ownership", "USER:GROUP", ""}},
		{MINIMAL ",\n\"node\": \"b\"}", {"duplicate", "line", ""}},
		{MINIMAL ",}", {"line 5", "JSON", ""}},
		{"[]", {"object", "", ""}},
		{"{}", {"lacks \"node\"", "", ""}},
		{"{\"node\": \"a b\"}", {"letters", "", ""}},
		{MINIMAL ",\n\"peers\": [{\"node\": \"b\", \"address\": \"h:1\"}]}",
		 {"line 6", "peers[0]", "fingerprints"}},
		{MINIMAL ",\n\"peers\": [{\"node\": \"a\", \"address\": \"h:1\", \"ca\": \"/x\"}]}",
		 {"peers[0]", "own name", ""}},
		{MINIMAL ",\n\"peers\": [{\"node\": \"b\", \"ca\": \"/x\"}]}",
		 {"peers[0]", "address", "listen"}},
		{MINIMAL ",\n\"peers\": [{\"node\": \"b\", \"fingerprints\": [\"sha256:0\"]}]}",
		 {"fingerprints[0]", "64", ""}},
		{"{\"node\":\"a\",\"group\":\"g\",\"tree\":\"/t\",\"state_dir\":\"/t/s\"}",
		 {"state_dir", "inside the tree", ""}},
		{"{\"node\":\"a\",\"group\":\"g\",\"tree\":\"/t\",\"state_dir\":\"s\"}",
		 {"state_dir", "absolute", ""}},
	};
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		put(cases[i].text);
		struct conf *conf = NULL;
		struct err err = {0};
		int r = conf_load(&conf, path, &err);
		assert_null(conf);
		if (r != -EINVAL)
			fail_msg("%s: %d", cases[i].text, r);
		for (size_t j = 0; j < 3; j++) {
			if (!strstr(err.msg, cases[i].says[j]))
				fail_msg("\"%s\" does not say \"%s\"", err.msg, cases[i].says[j]);
		}
	}
}

static void a_file_cut_anywhere_is_refused(void **state)
{
	for (size_t len = 0; len < strlen(FULL); len++) {
		AUTO_FREE char *cut = x_strndup(FULL, len);
		put(cut);
		struct conf *conf = NULL;
		struct err err = {0};
		assert_int_equal(conf_load(&conf, path, &err), -EINVAL);
		assert_non_null(strstr(err.msg, "line"));
	}
	unlink(path);
	struct conf *conf = NULL;
	struct err err = {0};
	assert_int_equal(conf_load(&conf, path, &err), -ENOENT);
	assert_non_null(strstr(err.msg, path));
}

static void what_is_wrong_is_said_on_one_line(void **state)
{
	struct conf *conf = NULL;
	struct err err = {0};
	put("{\"node\":\"\\\\\n\x1b[31m\"}");
	assert_int_equal(conf_load(&conf, path, &err), -EINVAL);
	for (const char *c = err.msg; *c; c++)
		assert_true((unsigned char)*c >= ' ');
	unlink(path);
}

static const struct conf_init init = {.node = "a",
				      .group = "g",
				      .tree = "/t",
				      .state_dir = "/s",
				      .listen = "h:7",
				      .profile = "all"};

static void init_and_pair_write_what_load_reads(void **state)
{
	struct err err = {0};
	assert_int_equal(conf_write_new(path, &init, &err), 0);
	assert_int_equal(conf_write_new(path, &init, &err), -EEXIST);
	struct stat st;
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	assert_int_equal(chmod(path, 0640), 0);
	assert_int_equal(conf_add_peer(path, "b", "h:1", "SHA256:" HEX, &err), 0);
	assert_int_equal(conf_add_peer(path, "b", "h:2", FINGERPRINT, &err), 0);
	assert_int_equal(conf_add_peer(path, "c", NULL, FINGERPRINT, &err), 0);
	AUTO(conf) *conf = NULL;
	assert_int_equal(conf_load(&conf, path, &err), 0);
	assert_string_equal(conf->profile, "all");
	assert_int_equal(conf->n_peers, 2);
	assert_string_equal(conf->peers[0].address, "h:2");
	assert_int_equal(conf->peers[0].n_fingerprints, 1);
	assert_null(conf->peers[1].address);
	assert_int_equal(
		conf_add_peer(
			path, "b", NULL,
			"sha256:ffff456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
			&err),
		0);
	AUTO(conf) *rotated = NULL;
	assert_int_equal(conf_load(&rotated, path, &err), 0);
	assert_int_equal(rotated->peers[0].n_fingerprints, 2);
	assert_string_equal(rotated->peers[0].address, "h:2");
	assert_int_equal(conf_replace_peer(path, "b", NULL, FINGERPRINT, &err), 0);
	AUTO(conf) *replaced = NULL;
	assert_int_equal(conf_load(&replaced, path, &err), 0);
	assert_int_equal(replaced->peers[0].n_fingerprints, 1);
	assert_string_equal(replaced->peers[0].fingerprints[0], FINGERPRINT);
	assert_string_equal(replaced->peers[0].address, "h:2");
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0640);
	unlink(path);
}

static void pair_refuses_what_load_would(void **state)
{
	put(FULL);
	AUTO_FREE char *before = get();
	struct err err = {0};
	assert_int_equal(conf_add_peer(path, "a", "h:1", FINGERPRINT, &err),
			 -EINVAL); /* ourselves */
	assert_int_equal(conf_add_peer(path, "d", "h", FINGERPRINT, &err), -EINVAL);
	assert_int_equal(conf_add_peer(path, "d", "h:1", OTHER_FINGERPRINT, &err), -EINVAL);
	assert_int_equal(conf_add_peer(path, "d d", "h:1", FINGERPRINT, &err), -EINVAL);
	AUTO_FREE char *after = get();
	assert_string_equal(before, after);
	nothing_is_left_behind();
}

/* The nth disk call fails: what the name leads to is the old file or the new one. */
static void a_failing_disk_never_leaves_half_a_file(void **state)
{
	for (long nth = 1;; nth++) {
		put(FULL);
		AUTO_FREE char *before = get();
		struct fault fault = {.nth = nth, .err = ENOSPC};
		struct err err = {0};
		fault_arm(&fault);
		int r = conf_add_peer(path, "d", "h:1", FINGERPRINT, &err);
		fault_disarm();
		assert_int_equal(r, fault.fired ? -ENOSPC : 0);
		nothing_is_left_behind();
		AUTO_FREE char *after = get();
		AUTO(conf) *conf = NULL;
		assert_int_equal(conf_load(&conf, path, &err), 0);
		assert_true(strcmp(before, after) == 0 || conf->n_peers == 3);
		if (!fault.fired)
			break;
		assert_true(nth < 100);
	}
	for (long nth = 1;; nth++) {
		unlink(path);
		struct fault fault = {.nth = nth, .err = EIO};
		fault_arm(&fault);
		int r = conf_write_new(path, &init, NULL);
		fault_disarm();
		assert_int_equal(r, fault.fired ? -EIO : 0);
		nothing_is_left_behind();
		if (!fault.fired)
			break;
		assert_true(nth < 100);
	}
}

static void reload_names_what_cannot_change(void **state)
{
	put(FULL);
	AUTO(conf) *now = NULL;
	assert_int_equal(conf_load(&now, path, NULL), 0);
	char out[200];
	conf_reload_obstacles(out, sizeof(out), now, now);
	assert_string_equal(out, "");
	put(MINIMAL ", \"listen\": \"[::1]:7443\", \"settle_ms\": 3}");
	AUTO(conf) *next = NULL;
	assert_int_equal(conf_load(&next, path, NULL), 0);
	conf_reload_obstacles(out, sizeof(out), now, next);
	assert_non_null(strstr(out, "follow, "));
	assert_non_null(strstr(out, "hooks.before_demote"));
	assert_null(strstr(out, "settle_ms"));
	assert_null(strstr(out, "state_dir"));
	conf_reload_obstacles(out, 10, now, next);
	assert_true(strlen(out) < 10);
}

static void lines_are_found_in_any_layout(void **state)
{
	static const char text[] = "\n{ \"a\" :\n {\"b\": [1, {\"c\\\"\": \"}\\\"]\"},\n "
				   "[[],\n2]], \"d\":null}\n,\"e\":1}";
	assert_int_equal(conf_line_of(text, "a"), 2);
	assert_int_equal(conf_line_of(text, "a.b"), 3);
	assert_int_equal(conf_line_of(text, "a.b[1].c\\\""), 3);
	assert_int_equal(conf_line_of(text, "a.b[2][1]"), 5);
	assert_int_equal(conf_line_of(text, "a.d"), 5);
	assert_int_equal(conf_line_of(text, "e"), 6);
	assert_int_equal(conf_line_of(text, "f"), 0);
}

/* No default is outside its own bounds, and each text default passes its own check. */
static void the_table_agrees_with_itself(void **state)
{
	for (const struct conf_key *k = conf_keys; k->name; k++) {
		struct err err = {0};
		bool number = k->type == CONF_U32 || k->type == CONF_U64;
		if (number && (!k->unit || ((k->def < k->min || k->def > k->max) && !k->without)))
			fail_msg("%s: its default is out of its bounds, or it has no unit",
				 k->name);
		if (k->def_text && k->check && k->check(k->def_text, &err) < 0)
			fail_msg("%s: %s", k->name, err.msg);
		if (!k->help || (!k->required && !k->def_text && !k->without && !number &&
				 k->type != CONF_BOOL))
			fail_msg("%s: nobody learns what happens without it", k->name);
		if (strcmp(conf_nearest_key(conf_keys, k->name), k->name) != 0)
			fail_msg("%s is not nearest to itself", k->name);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(defaults_are_those_of_the_table),
		cmocka_unit_test(every_key_is_read),
		cmocka_unit_test(the_full_file_has_every_key),
		cmocka_unit_test(what_is_wrong_is_said),
		cmocka_unit_test(a_file_cut_anywhere_is_refused),
		cmocka_unit_test(what_is_wrong_is_said_on_one_line),
		cmocka_unit_test(init_and_pair_write_what_load_reads),
		cmocka_unit_test(pair_refuses_what_load_would),
		cmocka_unit_test(a_failing_disk_never_leaves_half_a_file),
		cmocka_unit_test(reload_names_what_cannot_change),
		cmocka_unit_test(lines_are_found_in_any_layout),
		cmocka_unit_test(the_table_agrees_with_itself),
	};
	return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
