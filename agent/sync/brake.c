#include "agent/sync/brake.h"

/* The second's slot, begun anew when it is one of an earlier minute. */
static struct brake_second *slot(struct brake *brake, uint64_t now_ms)
{
	uint64_t at = now_ms / 1000;
	struct brake_second *second = &brake->seconds[at % BRAKE_WINDOW_S];
	if (second->at != at)
		*second = (struct brake_second){.at = at, .seq = UINT64_MAX};
	return second;
}

static bool is_within(const struct brake_second *second, uint64_t now_ms)
{
	return second->at + BRAKE_WINDOW_S > now_ms / 1000;
}

void brake_see(struct brake *brake, uint64_t now_ms, uint64_t files, uint64_t seq)
{
	struct brake_second *second = slot(brake, now_ms);
	if (files > second->files)
		second->files = files;
	if (seq < second->seq)
		second->seq = seq;
}

uint64_t brake_base(const struct brake *brake, uint64_t now_ms, uint64_t files)
{
	for (int i = 0; i < BRAKE_WINDOW_S; i++) {
		const struct brake_second *second = &brake->seconds[i];
		if (is_within(second, now_ms) && second->files > files)
			files = second->files;
	}
	return files;
}

uint64_t brake_seq(const struct brake *brake, uint64_t now_ms, uint64_t seq)
{
	for (int i = 0; i < BRAKE_WINDOW_S; i++) {
		const struct brake_second *second = &brake->seconds[i];
		if (second->at != 0 && is_within(second, now_ms) && second->seq < seq)
			seq = second->seq;
	}
	return seq;
}

uint64_t brake_counted(const struct brake *brake, uint64_t now_ms)
{
	uint64_t counted = 0;
	for (int i = 0; i < BRAKE_WINDOW_S; i++) {
		if (is_within(&brake->seconds[i], now_ms))
			counted += brake->seconds[i].count;
	}
	return counted;
}

bool brake_holds(const struct brake *brake, uint64_t now_ms, uint64_t files, uint64_t more)
{
	if (brake->percent == 0 || more == 0)
		return false;
	uint64_t counted = brake_counted(brake, now_ms) + more;
	return counted > BRAKE_FLOOR &&
	       counted * 100 > brake_base(brake, now_ms, files) * brake->percent;
}

bool brake_empties(const struct brake *brake, uint64_t now_ms, uint64_t files, uint64_t more)
{
	return brake->percent != 0 && more > 0 && more >= files &&
	       brake_base(brake, now_ms, files) >= BRAKE_EMPTY_FLOOR;
}

void brake_count(struct brake *brake, uint64_t now_ms, uint64_t n)
{
	slot(brake, now_ms)->count += n;
}

void brake_forgive(struct brake *brake)
{
	for (int i = 0; i < BRAKE_WINDOW_S; i++)
		brake->seconds[i].count = 0;
}
