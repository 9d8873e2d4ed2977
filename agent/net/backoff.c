#include "agent/net/backoff.h"

#include <sys/random.h>

#define SHIFT_MAX 16 /* far beyond any max_ms, and no overflow of 64 bits */

static uint32_t random_u32(void)
{
	uint32_t value;
	/* Non-blocking and short: after boot it cannot fail; if it does, there is no spread. */
	if (getrandom(&value, sizeof(value), GRND_NONBLOCK) != sizeof(value))
		value = UINT32_MAX / 2;
	return value;
}

uint32_t backoff_next(struct backoff *backoff)
{
	unsigned shift = backoff->attempts < SHIFT_MAX ? backoff->attempts : SHIFT_MAX;
	uint64_t middle = (uint64_t)backoff->first_ms << shift;
	if (middle > backoff->max_ms)
		middle = backoff->max_ms;
	backoff->attempts++;
	uint64_t low = middle - middle / 4;
	return (uint32_t)(low + random_u32() % (middle / 2 + 1));
}

void backoff_reset(struct backoff *backoff)
{
	backoff->attempts = 0;
}
