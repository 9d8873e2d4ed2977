/* A compressed chunk from a peer: never more than the announced length, never a byte beyond it. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "agent/base/alloc.h"
#include "agent/sync/compress.h"
#include "protocol/wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Input: announced length (u24, little-endian), the frame. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size < 3)
		return 0;
	size_t raw_len =
		(data[0] | (size_t)data[1] << 8 | (size_t)data[2] << 16) % (WIRE_RAW_MAX + 1);
	AUTO_FREE uint8_t *out =
		malloc(raw_len + 1); /* exact, so that the sanitizer sees a byte too many */
	BUG_ON(!out);
	decompress_chunk(out, raw_len, data + 3, size - 3);
	return 0;
}
