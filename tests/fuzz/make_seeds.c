/* Writes tests/fuzz/corpus/frames and messages: one file per sample message in each. Run by hand
 * after the format changed. */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

#include "protocol/frame.h"
#include "samples.h"

static bool write_file(const char *dir, const char *target, const char *name, const uint8_t *data,
		       size_t len)
{
	char path[4096];
	snprintf(path, sizeof(path), "%s/%s/%s", dir, target, name);
	FILE *f = fopen(path, "wb");
	if (f && fwrite(data, 1, len, f) == len && fclose(f) == 0)
		return true;
	perror(path);
	return false;
}

/* What fuzz_messages takes for the type. */
static uint8_t index_of(uint8_t type)
{
	size_t n;
	const struct wire_rule *rules = wire_rules(&n);
	uint8_t i = 0;
	while (rules[i].type != type)
		i++;
	return i;
}

int main(int argc, char **argv)
{
	static uint8_t out[2 + WIRE_HEADER_LEN + WIRE_FRAME_MAX];
	if (argc != 2) {
		fprintf(stderr, "usage: %s tests/fuzz/corpus\n", argv[0]);
		return 2;
	}
	for (size_t i = 0; i < n_samples; i++) {
		uint8_t *body = out + 2 + WIRE_HEADER_LEN;
		size_t len = samples[i].build(body, WIRE_FRAME_MAX);
		out[0] = 3 << 1 | (samples[i].type == WIRE_HELLO ? 0 : 1);
		out[1] = 255;
		frame_header(out + 2, samples[i].type, (uint32_t)len);
		if (!write_file(argv[1], "frames", samples[i].name, out, 2 + WIRE_HEADER_LEN + len))
			return 1;
		body[-1] = index_of(samples[i].type);
		if (!write_file(argv[1], "messages", samples[i].name, body - 1, len + 1))
			return 1;
	}
	return 0;
}
