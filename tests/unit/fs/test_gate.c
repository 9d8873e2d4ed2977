/* Gates: what is whole passes, what was cut or built to hurt does not. */
#include <setjmp.h>
#include <stdbool.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>
#include <jansson.h>
#include <cmocka.h>

#include "agent/base/alloc.h"
#include "agent/base/clock.h"
#include "agent/fs/gate.h"

static int hold(const void *bytes, size_t len)
{
	int fd = memfd_create("gate", MFD_CLOEXEC);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, bytes, len), len);
	return fd;
}

static char why[GATE_WHY_MAX];

static int xml_bytes(const void *bytes, size_t len)
{
	AUTO_CLOSE int fd = hold(bytes, len);
	return gate_check_xml(fd, len, why);
}

static int xml(const char *text)
{
	return xml_bytes(text, strlen(text));
}

static int json_bytes(const void *bytes, size_t len)
{
	AUTO_CLOSE int fd = hold(bytes, len);
	return gate_check_json(fd, len, why);
}

static int json(const char *text)
{
	return json_bytes(text, strlen(text));
}

static void whole_xml_passes(void **state)
{
	assert_int_equal(xml("<a/>"), 0);
	assert_int_equal(
		xml("<?xml version=\"1.0\"?>\n<a b='c'>t\xc3\xbct<!-- x --><![CDATA[<]]></a>\n"),
		0);
	assert_int_equal(xml("<?xml version='1.0' encoding='windows-1252'?><a>\x80\xfc</a>"), 0);
	assert_int_equal(xml("<?xml version='1.0' encoding='ISO-8859-15'?><a>\xa4</a>"), 0);
	assert_int_equal(xml("<!DOCTYPE a SYSTEM 'http://example.invalid/a.dtd'><a>&unknown;</a>"),
			 0);
	assert_int_equal(xml("<!DOCTYPE a [<!ENTITY e SYSTEM 'file:///etc/passwd'>]><a>&e;</a>"),
			 0);
	assert_int_equal(xml("<!DOCTYPE a [<!ENTITY e 'text'>]><a>&e;</a>"), 0);
}

static void broken_xml_is_named_by_line(void **state)
{
	assert_int_equal(xml(""), -EBADMSG);
	assert_int_equal(xml("<a>\n<b>\n</a>"), -EBADMSG);
	assert_string_equal(why, "not well-formed XML: line 3: mismatched tag");
	assert_int_equal(xml("<a>"), -EBADMSG);
	assert_int_equal(xml("<a/><b/>"), -EBADMSG);
	assert_int_equal(xml("text"), -EBADMSG);
	assert_int_equal(xml("<a>\xff</a>"), -EBADMSG);
	assert_int_equal(xml_bytes("<a>\0</a>", 8), -EBADMSG);
	static const char whole[] = "<?xml version='1.0'?><a><b c='d'>e</b></a>";
	for (size_t len = 0; len < sizeof(whole) - 1; len++)
		assert_int_equal(xml_bytes(whole, len), -EBADMSG);
}

static void entities_do_not_explode(void **state)
{
	char text[4096], *at = text;
	at += sprintf(at, "<!DOCTYPE a [<!ENTITY e0 'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa'>");
	for (int i = 1; i < 12; i++) {
		at += sprintf(at, "<!ENTITY e%d '", i);
		for (int k = 0; k < 10; k++)
			at += sprintf(at, "&e%d;", i - 1);
		at += sprintf(at, "'>");
	}
	sprintf(at, "]><a>&e11;</a>");
	uint64_t start = clock_mono_ms();
	assert_int_equal(xml(text), -EBADMSG);
	assert_true(clock_mono_ms() - start < 5000);
}

static char *repeat(const char *before, const char *unit, size_t times, const char *after,
		    size_t *len)
{
	size_t n = strlen(unit);
	*len = strlen(before) + n * times + strlen(after);
	char *out = x_calloc(1, *len + 1), *at = stpcpy(out, before);
	for (size_t i = 0; i < times; i++)
		memcpy(at + i * n, unit, n);
	strcpy(at + n * times, after);
	return out;
}

static void large_xml_is_read_in_pieces_and_large_tags_refused(void **state)
{
	size_t len;
	AUTO_FREE char *rows = repeat("<a>", "<b c='d'>some text</b>\n", 500000, "</a>", &len);
	assert_int_equal(xml_bytes(rows, len), 0);
	AUTO_FREE char *text = repeat("<a>", "text", 5000000, "</a>", &len);
	assert_int_equal(xml_bytes(text, len), 0);
	AUTO_FREE char *tag = repeat("<a b='", "x", 40000000, "'/>", &len);
	uint64_t start = clock_mono_ms();
	assert_int_equal(xml_bytes(tag, len), -EBADMSG);
	assert_non_null(strstr(why, "too large"));
	assert_true(clock_mono_ms() - start < 10000);
	AUTO_FREE char *deep = repeat("", "<a>", 3000000, "", &len);
	assert_int_equal(xml_bytes(deep, len), -EBADMSG);
	assert_int_equal(xml("<a/>"), 0); /* and the next one is judged afresh */
}

static void a_file_that_shrinks_is_tried_again(void **state)
{
	AUTO_CLOSE int fd = hold("<a/>", 4);
	assert_int_equal(gate_check_xml(fd, 5, why), -EAGAIN);
	assert_int_equal(gate_check_json(fd, 5, why), -EBADMSG);
	AUTO_CLOSE int other = hold("[1", 2);
	assert_int_equal(gate_check_json(other, 3, why), -EAGAIN);
}

static void whole_json_passes(void **state)
{
	static const char *const good[] = {"{}",
					   "[]",
					   " { \"a\" : [ 1 , -2.5e+10 , true , null ] } \n",
					   "0",
					   "-0",
					   "\"\\u00e4\\n\"",
					   "false",
					   "1e5",
					   "0.1",
					   "\xef\xbb\xbf{}",
					   "[[[]]]",
					   "{\"a\":{\"b\":{}}}",
					   "\"gr\xc3\xbc\xc3\x9f\""};
	for (size_t i = 0; i < ARRAY_LEN(good); i++)
		assert_int_equal(json(good[i]), 0);
}

static void broken_json_is_named_by_line(void **state)
{
	static const char *const bad[] = {"",	      " ",	  "{",	   "[1,]",    "{\"a\":1,}",
					  "{\"a\"}",  "{a:1}",	  "[1 2]", "01",      "-",
					  "1.",	      "1e",	  ".5",	   "+1",      "tru",
					  "truee",    "nul",	  "\"",	   "\"\\x\"", "\"\\u12g4\"",
					  "\"a\nb\"", "[}",	  "{]",	   "]",	      "1 2",
					  "{} {}",    "// c\n{}", "'a'",   "[1}",     "\"\\"};
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		assert_int_equal(json(bad[i]), -EBADMSG);
	assert_int_equal(json("{\n\"a\": 1\n\"b\": 2\n}"), -EBADMSG);
	assert_string_equal(why, "not JSON: line 3: a comma is missing");
	assert_int_equal(json_bytes("[1]\0", 4), -EBADMSG);
	assert_int_equal(json_bytes("\"\\\0\"", 4), -EBADMSG);
}

static void depth_is_bounded_and_size_is_not(void **state)
{
	size_t len;
	AUTO_FREE char *deep = repeat("", "[", 1024, "", &len);
	AUTO_FREE char *closed = repeat(deep, "]", 1024, "", &len);
	assert_int_equal(json_bytes(closed, len), 0);
	AUTO_FREE char *deeper = repeat("", "[", 1025, "", &len);
	assert_int_equal(json_bytes(deeper, len), -EBADMSG);
	assert_string_equal(why, "not JSON: line 1: nested too deeply");
	AUTO_FREE char *wide = repeat("[0", ",1", 10000000, "]", &len);
	assert_int_equal(json_bytes(wide, len), 0);
}

/* Whatever is written, jansson and the gate must agree; jansson judges UTF-8 too, so bytes are
 * ASCII. */
static void the_gate_agrees_with_a_parser(void **state)
{
	static const char alphabet[] = "{}[]:,\"\\ \n0123456789-+.eEtrufalsn/bu";
	static const char seed_text[] =
		"{\"a\": [1, -2.5e+3, true, false, null, \"x\\n\\u0041\"], \"b\": {}}";
	unsigned seed = (unsigned)clock_real_ns();
	print_message("seed %u\n", seed);
	srand(seed);
	for (int round = 0; round < 200000; round++) {
		char text[sizeof(seed_text) + 4];
		strcpy(text, seed_text);
		for (int change = rand() % 4; change >= 0; change--) {
			size_t len = strlen(text), at = (size_t)rand() % len;
			if (rand() % 3 == 0)
				memmove(text + at, text + at + 1, len - at);
			else
				text[at] = alphabet[(size_t)rand() % (sizeof(alphabet) - 1)];
		}
		json_error_t error;
		json_t *doc = json_loads(text, JSON_DECODE_ANY | JSON_ALLOW_NUL, &error);
		int mine = json(text);
		/* These are judgements on the value, not on the syntax. */
		bool value_only =
			!doc && (strstr(error.text, "too big") || strstr(error.text, "overflow") ||
				 strstr(error.text, "surrogate") || strstr(error.text, "UTF-8") ||
				 strstr(error.text, "invalid Unicode"));
		if (!value_only && (doc != NULL) != (mine == 0))
			fail_msg("seed %u: jansson %s (%s), gate %s: %s", seed, doc ? "yes" : "no",
				 error.text, mine ? why : "yes", text);
		json_decref(doc);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(whole_xml_passes),
		cmocka_unit_test(broken_xml_is_named_by_line),
		cmocka_unit_test(entities_do_not_explode),
		cmocka_unit_test(large_xml_is_read_in_pieces_and_large_tags_refused),
		cmocka_unit_test(a_file_that_shrinks_is_tried_again),
		cmocka_unit_test(whole_json_passes),
		cmocka_unit_test(broken_json_is_named_by_line),
		cmocka_unit_test(depth_is_bounded_and_size_is_not),
		cmocka_unit_test(the_gate_agrees_with_a_parser),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
