/* Writes tests/fuzz/corpus/frames: one file per sample message. Run by hand after the format
 * changed. */
#include <stdio.h>
#include <stdlib.h>

#include "protocol/frame.h"
#include "samples.h"

int main(int argc, char **argv)
{
	static uint8_t out[2 + WIRE_HEADER_LEN + WIRE_FRAME_MAX];
	if (argc != 2) {
		fprintf(stderr, "usage: %s DIRECTORY\n", argv[0]);
		return 2;
	}
	for (size_t i = 0; i < n_samples; i++) {
		size_t len = samples[i].build(out + 2 + WIRE_HEADER_LEN, WIRE_FRAME_MAX);
		out[0] = 3 << 1 | (samples[i].type == WIRE_HELLO ? 0 : 1);
		out[1] = 255;
		frame_header(out + 2, samples[i].type, (uint32_t)len);
		char path[4096];
		snprintf(path, sizeof(path), "%s/%s", argv[1], samples[i].name);
		FILE *f = fopen(path, "wb");
		if (!f ||
		    fwrite(out, 1, 2 + WIRE_HEADER_LEN + len, f) != 2 + WIRE_HEADER_LEN + len ||
		    fclose(f) != 0) {
			perror(path);
			return 1;
		}
	}
	return 0;
}
