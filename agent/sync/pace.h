/* pace.h - how fast all senders of a node may send together: bytes per slice of time, handed out by
 * turns. Each has a window of its own; the line is one. Thread: the loop. */
#ifndef SYNC_PACE_H
#define SYNC_PACE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PACE_SLICE_MS 50
#define PACE_WAITING_MAX 64 /* who comes when so many wait takes what is left, as it comes */

struct pace_turn {
	const void *who;
	uint64_t asked_ms;
};

struct pace { /* all zero: no limit */
	uint64_t bytes_per_s;
	int64_t budget; /* of this slice; what was overdrawn is owed by the next ones */
	uint64_t slice_ms;
	bool opened; /* by whose turn it was: what that one leaves is for whoever comes */
	struct pace_turn waiting[PACE_WAITING_MAX]; /* the first has the next turn */
	size_t n_waiting;
};

void pace_configure(struct pace *pace, uint64_t bytes_per_s);

/* May `who` send now? If not it is in line, and is to ask again after PACE_SLICE_MS; who does not
 * has lost its turn. */
bool pace_may_send(struct pace *pace, const void *who, uint64_t now_ms);
void pace_spend(struct pace *pace, size_t bytes);
void pace_leave(struct pace *pace, const void *who);

#endif
