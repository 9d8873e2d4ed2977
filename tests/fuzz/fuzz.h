/* fuzz.h - what the targets share: the entry point, a check that aborts, and the input as a
 * sequence of small choices (0 for ever when it is used up, so that every input is a whole run). */
#ifndef TEST_FUZZ_H
#define TEST_FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define CHECK(condition)                                                                        \
	do {                                                                                    \
		if (!(condition)) {                                                             \
			fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition); \
			abort();                                                                \
		}                                                                               \
	} while (0)

struct input {
	const uint8_t *at, *end;
};

static inline struct input input_of(const uint8_t *data, size_t size)
{
	return (struct input){data, data + size};
}

static inline size_t input_left(const struct input *in)
{
	return (size_t)(in->end - in->at);
}

static inline uint8_t input_u8(struct input *in)
{
	return in->at < in->end ? *in->at++ : 0;
}

static inline uint32_t input_u32(struct input *in)
{
	uint32_t value = 0;
	for (int i = 0; i < 4; i++)
		value = value << 8 | input_u8(in);
	return value;
}

/* At most `max` bytes, as many as the next byte (or two) says and as there are. */
static inline const uint8_t *input_bytes(struct input *in, size_t *len, size_t max)
{
	size_t want = input_u8(in);
	if (max > 255)
		want = want << 8 | input_u8(in);
	if (want > max)
		want = max;
	if (want > input_left(in))
		want = input_left(in);
	const uint8_t *bytes = in->at;
	in->at += want;
	*len = want;
	return bytes;
}

/* A copy of the exact size, so that a sanitizer sees one byte too many. Freed by the caller. */
static inline uint8_t *exact_copy(const void *bytes, size_t len)
{
	uint8_t *copy = malloc(len ? len : 1);
	CHECK(copy);
	memcpy(copy, bytes, len);
	return copy;
}

#endif
