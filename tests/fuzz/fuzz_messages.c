/* One message at a time: byte 0 chooses the type, the rest is its body. What a decoder accepts must
 * encode to the same bytes, and those must decode again; what it refuses names its field, and so
 * does every truncation of what it accepts. */
#include "fuzz.h"
#include "protocol/wire.h"
#include "samples.h"

static int recode(uint8_t type, const uint8_t *body, size_t len, uint8_t *out, size_t *out_len)
{
	const char *field;
	uint8_t *exact = exact_copy(body, len);
	int r = samples_recode(type, exact, len, out, out_len, &field);
	free(exact);
	CHECK(r == 0 || (r < 0 && field));
	return r;
}

/* HELLO of another version is read no further than its first six bytes. */
static bool is_foreign_hello(uint8_t type, const uint8_t *body, size_t len)
{
	return type == WIRE_HELLO && len >= 6 && (body[4] << 8 | body[5]) != WIRE_VERSION;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static uint8_t once[WIRE_FRAME_MAX], twice[WIRE_FRAME_MAX];
	size_t n, once_len, twice_len;
	const struct wire_rule *rules = wire_rules(&n);
	if (size < 1)
		return 0;
	const struct wire_rule *rule = &rules[data[0] % n];
	const uint8_t *body = data + 1;
	size_t len = size - 1;
	if (len > rule->body_max || recode(rule->type, body, len, once, &once_len) < 0)
		return 0;
	CHECK(once_len == len && memcmp(once, body, len) == 0);
	CHECK(recode(rule->type, once, once_len, twice, &twice_len) == 0);
	CHECK(twice_len == once_len && memcmp(twice, once, once_len) == 0);
	if (is_foreign_hello(rule->type, body, len))
		return 0;
	for (size_t cut = 0; cut < len && cut < 600; cut++)
		CHECK(recode(rule->type, body, cut, twice, &twice_len) < 0);
	return 0;
}
