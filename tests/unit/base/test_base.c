/* The floor: errors that grow context, names made printable, hashes against published vectors. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <errno.h>
#include <cmocka.h>

#include "agent/base/alloc.h"
#include "agent/base/buf.h"
#include "agent/base/err.h"
#include "agent/base/fault.h"
#include "agent/base/hash.h"
#include "agent/base/quote.h"

static void errors_keep_code_and_gain_context(void **state)
{
	struct err err = {0};
	assert_int_equal(err_sys(&err, ENOSPC, "create %s", "epoch.tmp"), -ENOSPC);
	assert_int_equal(err_wrap(&err, "store epoch %d", 7), -ENOSPC);
	assert_string_equal(err.msg, "store epoch 7: create epoch.tmp: No space left on device");
	char longer[600];
	memset(longer, 'x', sizeof(longer) - 1);
	longer[sizeof(longer) - 1] = '\0';
	assert_int_equal(err_wrap(&err, "%s", longer), -ENOSPC);
	assert_true(strlen(err.msg) < sizeof(err.msg));
}

static void names_are_made_printable(void **state)
{
	char q[QUOTED_MAX];
	assert_string_equal(quote_path(q, "a\nb\"\\\x01"), "\"a\\nb\\\"\\\\\\x01\"");
	assert_string_equal(quote_path(q, "gr\xc3\xbc\xc3\x9f\xff"), "\"gr\xc3\xbc\xc3\x9f\\xff\"");
	assert_string_equal(quote_path(q, "\xc0\xaf\xed\xa0\x80"), "\"\\xc0\\xaf\\xed\\xa0\\x80\"");
	char big[4000];
	memset(big, '\xff', sizeof(big) - 1);
	big[sizeof(big) - 1] = '\0';
	assert_true(strlen(quote_path(q, big)) < QUOTED_MAX);
}

static void utf8_quoting_can_be_undone(void **state)
{
	for (unsigned a = 1; a < 256; a++) {
		for (unsigned b = 1; b < 256; b++) {
			char name[4] = {(char)a, (char)b, 'x', 0};
			AUTO_FREE char *text = quote_utf8(name);
			AUTO_FREE char *back = unquote_utf8(text);
			assert_string_equal(back, name);
		}
	}
	assert_null(unquote_utf8("\\x0"));
	assert_null(unquote_utf8("\\x00"));
	assert_null(unquote_utf8("\\q"));
}

static void hashes_match_published_vectors(void **state)
{
	uint8_t hash[HASH_LEN], again[HASH_LEN];
	char hex[HASH_HEX_MAX];
	hash_bytes(hash, "abc", 3);
	assert_string_equal(hash_hex(hex, hash),
			    "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
	struct hasher *h = hasher_new();
	hasher_add(h, "a", 1);
	hasher_add(h, "bc", 2);
	hasher_end(h, again);
	hasher_free(h);
	assert_memory_equal(hash, again, HASH_LEN);
	assert_int_equal(hash_from_hex(again, hex), 0);
	assert_int_equal(hash_from_hex(again, "ba78"), -EINVAL);
	hash_expand(hash, HASH_LEN, "", 0);
	assert_string_equal(hash_hex(hex, hash),
			    "98c37c1a7542eb45daa0d48d9c1adee0f41178a94d590b96ae0f9595e1c3008f");
}

static void a_buffer_grows_and_drains(void **state)
{
	struct buf buf = {0};
	for (int i = 0; i < 1000; i++)
		buf_append(&buf, "0123456789", 10);
	assert_int_equal(buf.len, 10000);
	buf_consume(&buf, 9995);
	assert_memory_equal(buf.data, "56789", 5);
	buf_release(&buf);
	assert_null(buf.data);
}

static void the_nth_call_fails_once(void **state)
{
	struct fault fault = {.nth = 2, .err = EIO};
	fault_arm(&fault);
	assert_int_equal(fault_point("x"), 0);
	assert_int_equal(fault_point("x"), EIO);
	assert_int_equal(fault_point("x"), 0);
	fault_disarm();
	assert_true(fault.fired);
	assert_int_equal(fault_point("x"), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(errors_keep_code_and_gain_context),
		cmocka_unit_test(names_are_made_printable),
		cmocka_unit_test(utf8_quoting_can_be_undone),
		cmocka_unit_test(hashes_match_published_vectors),
		cmocka_unit_test(a_buffer_grows_and_drains),
		cmocka_unit_test(the_nth_call_fails_once),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
