/* samples.h - one or more legal bodies of every message, and a way to push any body through its
 * decoder and encoder. For the unit tests, the fuzz targets and their seeds. */
#ifndef TEST_PROTOCOL_SAMPLES_H
#define TEST_PROTOCOL_SAMPLES_H

#include <stddef.h>
#include <stdint.h>

struct sample {
	const char *name;
	uint8_t type;
	size_t (*build)(uint8_t *out, size_t size); /* 0 on failure */
};
extern const struct sample samples[];
extern const size_t n_samples;

/**
 * Decodes a body and encodes what came out.
 * @param out    room for WIRE_FRAME_MAX bytes; receives *out_len
 * @param field  receives the name of the field that failed, else NULL
 * @return the decoder's result; an encoder that fails on what a decoder accepted aborts
 */
int samples_recode(uint8_t type, const uint8_t *body, size_t len, uint8_t *out, size_t *out_len,
		   const char **field);

#endif
