/* The delta parser: whatever the bytes, no copy beyond the basis and no output beyond the announced
 * size. */
#include <stddef.h>
#include <stdint.h>

#include "agent/base/alloc.h"
#include "agent/sync/delta.h"

struct sizes {
	uint64_t basis, output, made;
};

static int on_literal(void *owner, const uint8_t *bytes, size_t len)
{
	struct sizes *s = owner;
	volatile uint8_t seen =
		len > 0 ? bytes[0] ^ bytes[len - 1] : 0; /* reads what it was given */
	(void)seen;
	BUG_ON(len == 0 || len > s->output - s->made);
	s->made += len;
	return 0;
}

static int on_copy(void *owner, uint64_t from, uint64_t len)
{
	struct sizes *s = owner;
	BUG_ON(len == 0 || from > s->basis || len > s->basis - from || len > s->output - s->made);
	s->made += len;
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Input: basis size and output size (u32 each, little-endian), how much to feed at once (u8), the
 * delta. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size < 9)
		return 0;
	struct sizes sizes = {0};
	for (int i = 0; i < 4; i++) {
		sizes.basis |= (uint64_t)data[i] << 8 * i;
		sizes.output |= (uint64_t)data[4 + i] << 8 * i;
	}
	size_t step = (size_t)data[8] + 1;
	struct delta_sink sink = {on_literal, on_copy, &sizes};
	AUTO(delta_parser) *parser = delta_parser_new(sizes.basis, sizes.output, &sink);
	int r = 0;
	for (size_t at = 9; at < size && r == 0; at += step)
		r = delta_parser_feed(parser, data + at, size - at < step ? size - at : step);
	if (delta_parser_end(parser) == 0)
		BUG_ON(r != 0 || sizes.made != sizes.output);
	return 0;
}
