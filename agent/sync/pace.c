#include "agent/sync/pace.h"

#include <string.h>

#define LOST_TURN_MS (3 * PACE_SLICE_MS) /* it is paused, gone, or has nothing to send */

void pace_configure(struct pace *pace, uint64_t bytes_per_s)
{
	pace->bytes_per_s = bytes_per_s;
	if (pace->budget < 0)
		pace->budget = 0; /* owed by the old rate */
}

static void take_out(struct pace *pace, size_t at)
{
	pace->n_waiting--;
	memmove(&pace->waiting[at], &pace->waiting[at + 1],
		(pace->n_waiting - at) * sizeof(pace->waiting[0]));
}

void pace_leave(struct pace *pace, const void *who)
{
	for (size_t i = 0; i < pace->n_waiting; i++) {
		if (pace->waiting[i].who == who) {
			take_out(pace, i);
			return;
		}
	}
}

static void refill(struct pace *pace, uint64_t now_ms)
{
	int64_t slice = (int64_t)(pace->bytes_per_s * PACE_SLICE_MS / 1000);
	if (now_ms - pace->slice_ms < PACE_SLICE_MS)
		return;
	/* At least one byte, or a rate below 20 bytes a second would be none. */
	slice = slice > 0 ? slice : 1;
	pace->budget = pace->budget > 0 ? slice : pace->budget + slice;
	pace->slice_ms = now_ms;
	pace->opened = false;
}

static void get_in_line(struct pace *pace, const void *who, uint64_t now_ms)
{
	for (size_t i = 0; i < pace->n_waiting; i++) {
		if (pace->waiting[i].who == who) {
			pace->waiting[i].asked_ms = now_ms;
			return;
		}
	}
	if (pace->n_waiting < PACE_WAITING_MAX)
		pace->waiting[pace->n_waiting++] = (struct pace_turn){who, now_ms};
}

bool pace_may_send(struct pace *pace, const void *who, uint64_t now_ms)
{
	if (pace->bytes_per_s == 0)
		return true;
	refill(pace, now_ms);
	while (pace->n_waiting > 0 && pace->waiting[0].who != who &&
	       now_ms - pace->waiting[0].asked_ms > LOST_TURN_MS)
		take_out(pace, 0);
	pace->opened |= pace->n_waiting == 0 || pace->waiting[0].who == who;
	if (pace->budget > 0 && pace->opened) {
		pace_leave(pace, who);
		return true;
	}
	get_in_line(pace, who, now_ms);
	return false;
}

void pace_spend(struct pace *pace, size_t bytes)
{
	if (pace->bytes_per_s > 0)
		pace->budget -= (int64_t)bytes;
}
