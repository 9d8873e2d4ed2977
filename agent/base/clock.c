#include "agent/base/clock.h"

#include <stdio.h>
#include <time.h>

static uint64_t read_clock(clockid_t id)
{
	struct timespec now;
	clock_gettime(id, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

uint64_t clock_mono_ns(void)
{
	return read_clock(CLOCK_MONOTONIC);
}

uint64_t clock_mono_ms(void)
{
	return clock_mono_ns() / 1000000u;
}

uint64_t clock_boot_ns(void)
{
	return read_clock(CLOCK_BOOTTIME);
}

int64_t clock_real_ns(void)
{
	return (int64_t)read_clock(CLOCK_REALTIME);
}

const char *clock_text(char out[CLOCK_TEXT_MAX], int64_t real_ns)
{
	time_t seconds = real_ns / 1000000000;
	int ms = (int)(real_ns % 1000000000 / 1000000);
	struct tm tm;
	char when[24];
	gmtime_r(&seconds, &tm);
	strftime(when, sizeof(when), "%Y-%m-%dT%H:%M:%S", &tm);
	snprintf(out, CLOCK_TEXT_MAX, "%s.%03dZ", when, ms);
	return out;
}
