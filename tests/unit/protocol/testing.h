/* What every unit test includes, in the order cmocka demands. */
#ifndef TEST_PROTOCOL_TESTING_H
#define TEST_PROTOCOL_TESTING_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <cmocka.h>

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

/* Random numbers that a printed seed reproduces (xorshift64*). SEED in the environment sets it. */
static inline uint64_t random_seed(void)
{
	const char *given = getenv("SEED");
	uint64_t seed = given ? strtoull(given, NULL, 0) : (uint64_t)time(NULL) * 2654435761u + 1;
	printf("SEED=%llu\n", (unsigned long long)seed);
	return seed ? seed : 1;
}

static inline uint32_t random_below(uint64_t *state, uint32_t n)
{
	*state ^= *state >> 12;
	*state ^= *state << 25;
	*state ^= *state >> 27;
	return (uint32_t)((*state * 2685821657736338717u) >> 32) % n;
}

#endif
