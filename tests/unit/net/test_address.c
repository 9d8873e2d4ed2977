/* Addresses as people write them, and waiting times. */
#include "tests/unit/net/fixture.h"

#include <errno.h>

#include "agent/net/address.h"
#include "agent/net/backoff.h"

static void addresses_are_parsed_or_explained(void **state)
{
	static const struct {
		const char *text, *host, *port;
	} good[] = {
		{"10.0.0.1:7443", "10.0.0.1", "7443"},
		{"[::1]:7443", "::1", "7443"},
		{"region-b.example:1", "region-b.example", "1"},
		{"[fe80::1%eth0]:0", "fe80::1%eth0", "0"},
	};
	static const char *const bad[] = {
		"",	      "host",	    "host:",   ":7443", "::1:7443", "[::1:7",	     "[]:7",
		"host:70000", "host:7 443", "host:-1", "[::1]", "host:x",   "host:7443/path"};
	struct address address;
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		assert_int_equal(address_parse(&address, good[i].text, NULL), 0);
		assert_string_equal(address.host, good[i].host);
		assert_string_equal(address.port, good[i].port);
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct err err = {0};
		if (address_parse(&address, bad[i], &err) != -EINVAL)
			fail_msg("accepted: %s", bad[i]);
		assert_non_null(strstr(err.msg, "HOST:PORT"));
	}
	char longest[400];
	memset(longest, 'a', sizeof(longest));
	strcpy(longest + 300, ":1");
	assert_int_equal(address_parse(&address, longest, NULL), -EINVAL);
}

static void numbers_need_no_resolver(void **state)
{
	struct address address;
	struct sockaddr_storage at;
	char text[ADDRESS_TEXT_MAX];
	address_parse(&address, "[::1]:7443", NULL);
	assert_true(address_is_numeric(&address, &at));
	assert_string_equal(address_text(text, (struct sockaddr *)&at), "[::1]:7443");
	address_parse(&address, "127.0.0.1:80", NULL);
	assert_true(address_is_numeric(&address, &at));
	assert_string_equal(address_text(text, (struct sockaddr *)&at), "127.0.0.1:80");
	address_parse(&address, "localhost:80", NULL);
	assert_false(address_is_numeric(&address, &at));
}

static void waiting_doubles_within_bounds_and_is_spread(void **state)
{
	struct backoff backoff = {.first_ms = 200, .max_ms = 10000};
	uint32_t middle = 200, least = UINT32_MAX, most = 0;
	for (int i = 0; i < 100; i++) {
		uint32_t ms = backoff_next(&backoff);
		assert_true(ms >= middle - middle / 4 && ms <= middle + middle / 4);
		middle = middle * 2 > 10000 ? 10000 : middle * 2;
		if (i > 10) {
			least = ms < least ? ms : least;
			most = ms > most ? ms : most;
		}
	}
	assert_true(most - least > 1000);
	backoff_reset(&backoff);
	assert_true(backoff_next(&backoff) <= 250);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(addresses_are_parsed_or_explained),
		cmocka_unit_test(numbers_need_no_resolver),
		cmocka_unit_test(waiting_doubles_within_bounds_and_is_spread),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
