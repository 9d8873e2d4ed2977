#include "protocol/digest.h"

static uint16_t lane_of(const uint8_t *element, size_t i)
{
	return (uint16_t)(element[2 * i] << 8 | element[2 * i + 1]);
}

void digest_add(struct digest *d, const uint8_t element[DIGEST_STATE_LEN])
{
	for (size_t i = 0; i < DIGEST_LANES; i++)
		d->lane[i] = (uint16_t)(d->lane[i] + lane_of(element, i));
}

void digest_remove(struct digest *d, const uint8_t element[DIGEST_STATE_LEN])
{
	for (size_t i = 0; i < DIGEST_LANES; i++)
		d->lane[i] = (uint16_t)(d->lane[i] - lane_of(element, i));
}

void digest_save(uint8_t out[DIGEST_STATE_LEN], const struct digest *d)
{
	for (size_t i = 0; i < DIGEST_LANES; i++) {
		out[2 * i] = (uint8_t)(d->lane[i] >> 8);
		out[2 * i + 1] = (uint8_t)d->lane[i];
	}
}

void digest_load(struct digest *d, const uint8_t in[DIGEST_STATE_LEN])
{
	for (size_t i = 0; i < DIGEST_LANES; i++)
		d->lane[i] = lane_of(in, i);
}
