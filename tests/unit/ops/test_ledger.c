/* The ledger: what is written verifies; every way of changing it is found. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <openssl/evp.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/base/alloc.h"
#include "agent/base/buf.h"
#include "agent/base/fault.h"
#include "agent/net/signing.h"
#include "agent/net/tls.h"
#include "agent/ops/ledger.h"

#define LINES 5

struct rig {
	char dir[64], certificate[128], key[128], file[128];
	struct ledger_place place;
	struct ledger_head head;
};

static void write_file(const char *path, const char *text, size_t len)
{
	FILE *file = fopen(path, "w");
	assert_non_null(file);
	assert_int_equal(fwrite(text, 1, len, file), len);
	assert_int_equal(fclose(file), 0);
}

static char *read_file(const char *path, size_t *len)
{
	FILE *file = fopen(path, "r");
	assert_non_null(file);
	char *text = calloc(1, 1 << 20);
	*len = fread(text, 1, (1 << 20) - 1, file);
	fclose(file);
	return text;
}

static void append(struct rig *rig, int i)
{
	struct err err = {0};
	json_t *entry = json_pack("{s:s, s:i, s:s}", "event", "reversed", "epoch", i, "reason",
				  "a \"drill\"\nand more");
	if (ledger_append(&rig->place, &rig->head, entry, &err) < 0)
		fail_msg("%s", err.msg);
	json_decref(entry);
}

static void begin(struct rig *rig)
{
	struct err err = {0};
	memset(rig, 0, sizeof(*rig));
	strcpy(rig->dir, "/tmp/artifact-sync-test-ledgerXXXXXX");
	assert_non_null(mkdtemp(rig->dir));
	snprintf(rig->certificate, sizeof(rig->certificate), "%s/node.crt", rig->dir);
	snprintf(rig->key, sizeof(rig->key), "%s/node.key", rig->dir);
	snprintf(rig->file, sizeof(rig->file), "%s/%s", rig->dir, LEDGER_NAME);
	assert_int_equal(tls_make_identity(rig->certificate, rig->key, "a", &err), 0);
	rig->place = (struct ledger_place){
		.state_dir = rig->dir, .certificate = rig->certificate, .key = rig->key};
	for (int i = 1; i <= LINES; i++)
		append(rig, i);
	assert_int_equal(rig->head.n, LINES);
}

static void end(struct rig *rig)
{
	unlink(rig->file);
	unlink(rig->certificate);
	unlink(rig->key);
	rmdir(rig->dir);
}

static void count_line(void *owner, const json_t *entry, const char *why)
{
	assert_null(why);
	assert_int_equal(json_integer_value(json_object_get(entry, "epoch")), ++*(int *)owner);
}

static struct ledger_report verify(struct rig *rig)
{
	struct ledger_report report;
	struct err err = {0};
	if (ledger_verify(&rig->place, &rig->head, NULL, NULL, &report, &err) < 0)
		fail_msg("%s", err.msg);
	return report;
}

static void what_is_written_verifies(void **state)
{
	struct rig rig;
	struct ledger_report report;
	int lines = 0;
	(void)state;
	begin(&rig);
	assert_int_equal(ledger_verify(&rig.place, &rig.head, count_line, &lines, &report, NULL),
			 0);
	assert_true(report.good);
	assert_int_equal(report.lines, LINES);
	assert_int_equal(lines, LINES);
	end(&rig);
	rig.head = (struct ledger_head){0};
	strcpy(rig.dir, "/nonexistent");
	assert_int_equal(ledger_verify(&rig.place, &rig.head, NULL, NULL, &report, NULL), -ENOENT);
}

static void every_changed_byte_is_found(void **state)
{
	struct rig rig;
	size_t len;
	(void)state;
	begin(&rig);
	AUTO_FREE char *text = read_file(rig.file, &len);
	for (size_t at = 0; at < len; at += 1 + at % 7) {
		text[at] ^= 1;
		write_file(rig.file, text, len);
		if (verify(&rig).good)
			fail_msg("byte %zu of %zu", at, len);
		text[at] ^= 1;
	}
	write_file(rig.file, text, len);
	assert_true(verify(&rig).good);
	end(&rig);
}

static void a_line_that_is_gone_is_found(void **state)
{
	struct rig rig;
	size_t len;
	(void)state;
	begin(&rig);
	AUTO_FREE char *text = read_file(rig.file, &len);
	size_t line = len / LINES; /* all of much the same length */
	for (int which = 0; which < LINES; which++) {
		char *from = text, *to;
		for (int i = 0; i < which; i++)
			from = strchr(from, '\n') + 1;
		to = strchr(from, '\n') + 1;
		AUTO_FREE char *without = calloc(1, len);
		memcpy(without, text, (size_t)(from - text));
		memcpy(without + (from - text), to, len - (size_t)(to - text));
		write_file(rig.file, without, len - (size_t)(to - from));
		struct ledger_report report = verify(&rig);
		assert_false(report.good);
		assert_int_equal(report.bad_line, which == LINES - 1 ? 0 : which + 1);
	}
	assert_true(line > 100);
	write_file(rig.file, text, 0);
	assert_false(verify(&rig).good);
	json_t *entry = json_object();
	assert_int_equal(ledger_append(&rig.place, &rig.head, entry, NULL), -EUCLEAN);
	json_decref(entry);
	end(&rig);
}

static void exchange_key(struct rig *rig)
{
	unlink(rig->certificate);
	unlink(rig->key);
	assert_int_equal(tls_make_identity(rig->certificate, rig->key, "a", NULL), 0);
}

static void a_key_may_be_exchanged(void **state)
{
	struct rig rig;
	(void)state;
	begin(&rig);
	exchange_key(&rig);
	assert_true(verify(&rig).good); /* also before the next line is written */
	append(&rig, LINES + 1);
	append(&rig, LINES + 2);
	exchange_key(&rig);
	append(&rig, LINES + 3);
	assert_true(verify(&rig).good);
	assert_int_equal(verify(&rig).lines, LINES + 3);
	end(&rig);
}

/* Behind the head only a crash can have left a line, and that one is the node's own. */
static void a_line_added_with_another_key_is_found(void **state)
{
	struct rig rig;
	(void)state;
	begin(&rig);
	struct ledger_head before = rig.head;
	exchange_key(&rig);
	append(&rig, LINES + 1);
	exchange_key(&rig);
	rig.head = before;
	struct ledger_report report = verify(&rig);
	assert_false(report.good);
	assert_int_equal(report.bad_line, LINES + 1);
	assert_non_null(strstr(report.why, "another key"));
	end(&rig);
}

/* Signs the last line once more, without the name of the key before it; the head follows. */
static void hide_exchange(struct rig *rig)
{
	size_t len;
	struct buf signature = {0};
	unsigned char encoded[2048];
	AUTO_FREE char *text = read_file(rig->file, &len);
	char *last = text;
	for (int i = 0; i < LINES; i++)
		last = strchr(last, '\n') + 1;
	json_t *entry = json_loads(last, 0, NULL);
	assert_int_equal(json_object_del(entry, "key_before"), 0);
	assert_int_equal(json_object_del(entry, "signature"), 0);
	AUTO_FREE char *bare = json_dumps(entry, JSON_COMPACT | JSON_SORT_KEYS);
	assert_int_equal(signing_sign(&signature, rig->key, bare, strlen(bare), NULL), 0);
	EVP_EncodeBlock(encoded, signature.data, (int)signature.len);
	json_object_set_new(entry, "signature", json_string((const char *)encoded));
	AUTO_FREE char *line = json_dumps(entry, JSON_COMPACT | JSON_SORT_KEYS);
	hash_bytes(rig->head.hash, line, strlen(line));
	snprintf(last, (1u << 20) - (size_t)(last - text), "%s\n", line);
	write_file(rig->file, text, strlen(text));
	json_decref(entry);
	buf_release(&signature);
}

static void an_unstated_change_of_keys_is_found(void **state)
{
	struct rig rig;
	(void)state;
	begin(&rig);
	exchange_key(&rig);
	append(&rig, LINES + 1);
	hide_exchange(&rig);
	struct ledger_report report = verify(&rig);
	assert_false(report.good);
	assert_non_null(strstr(report.why, "does not name"));
	end(&rig);
}

static void a_crash_leaves_a_line_too_many_or_half_a_line(void **state)
{
	struct rig rig;
	size_t len;
	(void)state;
	begin(&rig);
	struct ledger_head before = rig.head;
	append(&rig, LINES + 1);
	rig.head = before; /* the database never heard of it */
	assert_true(verify(&rig).good);
	append(&rig, LINES + 2);
	assert_int_equal(rig.head.n, LINES + 2);
	AUTO_FREE char *text = read_file(rig.file, &len);
	write_file(rig.file, text, len - 20);
	rig.head.n--; /* half of the last line, and the database as before it */
	hash_bytes(rig.head.hash, "", 0);
	char *last = strchr(text, '\n');
	for (int i = 1; i < LINES; i++)
		last = strchr(last + 1, '\n');
	hash_bytes(rig.head.hash, last + 1, (size_t)(strchr(last + 1, '\n') - last - 1));
	assert_true(verify(&rig).good);
	append(&rig, LINES + 2);
	assert_true(verify(&rig).good);
	assert_int_equal(verify(&rig).lines, LINES + 2);
	end(&rig);
}

struct seen {
	int lines, bad;
	int bad_at[LINES + 1];
};

static void see_line(void *owner, const json_t *entry, const char *why)
{
	struct seen *seen = owner;
	seen->lines++;
	if (why)
		seen->bad_at[seen->bad++] = seen->lines;
	if (seen->lines != 2)
		assert_int_equal(json_integer_value(json_object_get(entry, "epoch")), seen->lines);
}

/* What stands in the others is still evidence: each is told, and the bad ones as such. */
static void a_bad_line_hides_no_other(void **state)
{
	struct rig rig;
	struct seen seen = {0};
	struct ledger_report report;
	size_t len;
	(void)state;
	begin(&rig);
	AUTO_FREE char *text = read_file(rig.file, &len);
	char *second = strchr(text, '\n') + 1;
	memcpy(second, "{", 1);
	memset(second + 1, ' ', 3);
	write_file(rig.file, text, len);
	assert_int_equal(ledger_verify(&rig.place, &rig.head, see_line, &seen, &report, NULL), 0);
	assert_false(report.good);
	assert_int_equal(report.bad_line, 2);
	assert_int_equal(report.lines, LINES);
	assert_int_equal(seen.lines, LINES);
	assert_int_equal(seen.bad, 2); /* and the third, which does not follow it any more */
	assert_int_equal(seen.bad_at[0], 2);
	assert_int_equal(seen.bad_at[1], 3);
	end(&rig);
}

/* A crash between the line and the head leaves the entry waiting: it is not written twice. */
static void an_entry_is_written_once(void **state)
{
	struct rig rig;
	(void)state;
	begin(&rig);
	struct ledger_head before = rig.head, after;
	json_t *entry = json_pack("{s:s, s:s, s:s, s:i}", "time", "now", "epoch_id", "00", "kind",
				  "planned", "epoch", 7);
	assert_int_equal(ledger_append(&rig.place, &rig.head, entry, NULL), 0);
	after = rig.head;
	rig.head = before;
	assert_int_equal(ledger_append(&rig.place, &rig.head, entry, NULL), 0);
	assert_int_equal(rig.head.n, LINES + 1);
	assert_memory_equal(rig.head.hash, after.hash, HASH_LEN);
	assert_int_equal(verify(&rig).lines, LINES + 1);
	json_object_set_new(entry, "time", json_string("later"));
	rig.head = before;
	assert_int_equal(ledger_append(&rig.place, &rig.head, entry, NULL), 0);
	assert_int_equal(rig.head.n, LINES + 2);
	assert_true(verify(&rig).good);
	json_decref(entry);
	end(&rig);
}

static void a_disk_that_fails_leaves_it_as_it_was(void **state)
{
	struct rig rig;
	struct fault fault = {.nth = 1, .err = ENOSPC};
	struct err err = {0};
	(void)state;
	begin(&rig);
	json_t *entry = json_object();
	fault_arm(&fault);
	assert_int_equal(ledger_append(&rig.place, &rig.head, entry, &err), -ENOSPC);
	fault_disarm();
	assert_true(fault.fired);
	assert_int_equal(rig.head.n, LINES);
	assert_true(verify(&rig).good);
	json_decref(entry);
	end(&rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_written_verifies),
		cmocka_unit_test(every_changed_byte_is_found),
		cmocka_unit_test(a_line_that_is_gone_is_found),
		cmocka_unit_test(a_key_may_be_exchanged),
		cmocka_unit_test(a_line_added_with_another_key_is_found),
		cmocka_unit_test(an_unstated_change_of_keys_is_found),
		cmocka_unit_test(a_crash_leaves_a_line_too_many_or_half_a_line),
		cmocka_unit_test(a_bad_line_hides_no_other),
		cmocka_unit_test(an_entry_is_written_once),
		cmocka_unit_test(a_disk_that_fails_leaves_it_as_it_was),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
