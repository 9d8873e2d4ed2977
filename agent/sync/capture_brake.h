/* capture_brake.h - what of a group of captures must wait for the brakes. Losses (a path is gone, a
 * file was emptied, a file or a directory gave way) are judged all together, when it is quiet
 * (holds_judge_losses()); rewrites at once, group by group. Blocking; run on a worker. */
#ifndef SYNC_CAPTURE_BRAKE_H
#define SYNC_CAPTURE_BRAKE_H

#include "agent/sync/capture.h"
#include "agent/sync/holds.h"

enum capture_stop {
	CAPTURE_GOES,
	CAPTURE_WAITS, /* a loss that is still to be judged */
	CAPTURE_STOPS, /* held */
};

/* Marks what a person approved, too.
 * @param stops  one per item, filled in
 * @param judged  the losses among them have been judged, and may go */
int capture_brake(struct holds *holds, struct store *store, struct capture_item *items, size_t n,
		  bool judged, enum capture_stop *stops, struct err *err);

/* They are indexed: what of them was held is so no longer.
 * @return true when something held has come back: what was in it may have, too */
bool capture_brake_release(struct store *store, const struct capture_item *items, size_t n,
			   bool judged, const enum capture_stop *stops);

/* Looks at all that is held: what came back as it was (a directory that was moved away and back)
 * is not reported by any scan. */
int capture_brake_sweep(const struct capture_env *env, struct err *err);

#endif
