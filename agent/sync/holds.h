/* holds.h - what is too much at once waits for a person. One object per node: it counts by a brake
 * for lost files (deleted or emptied) and one for rewritten ones, and keeps what they stop in the
 * store as a hold with a number, until `approve` or until it is no longer so. The active asks
 * before it indexes (losses), the passive before it journals (commit_brake.c). Moves do not count:
 * content that came elsewhere within the minute, or since the burst of changes began. Blocking
 * except where marked; thread: any. */
#ifndef SYNC_HOLDS_H
#define SYNC_HOLDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/base/err.h"
#include "agent/store/store.h"

struct holds;

struct holds *holds_new(struct store *store); /* borrowed */
void holds_free(struct holds *holds);	      /* NULL is a no-op */
DEFINE_AUTO(holds)

struct holds_limits {
	uint32_t max_delete, max_rewrite; /* per cent; 0: no brake */
	bool peer_approvals; /* what a person approved at the active is not asked again here */
};
/* What is held already stays so. (quick) */
void holds_configure(struct holds *holds, const struct holds_limits *limits);
/* Holds of the other side, left from before a change of roles, are void. */
int holds_take_side(struct holds *holds, enum hold_side side, struct err *err);

/* Is there nothing to ask: no limit and nothing held? (quick) */
bool holds_are_off(const struct holds *holds, enum hold_cause cause);
/* (quick) Before changes are made. */
void holds_see(struct holds *holds);

/* ---- the active's losses -------------------------------------------------------------------- */

enum loss_verdict {
	LOSS_FREE,
	LOSS_HELD,
	LOSS_LATER, /* too much as it looks now: ask again when it has become quiet */
};

struct loss {
	const char *path;	   /* what is indexed at and beneath it is no longer there */
	enum loss_verdict verdict; /* filled in */
};

/* Paths that flow though what they stood in is held: moved out of it. Heap. */
struct loose {
	char **paths;
	size_t n, cap;
};
void loose_release(struct loose *loose);

struct loss_query {
	struct loss *losses;
	size_t n;
	const struct record *const *coming; /* files that are indexed with them, not before */
	size_t n_coming;
	uint64_t burst_seq; /* the last seq given before the changes under way began */
	bool may_hold;	    /* all that may show where content went is indexed; else LOSS_LATER */
};
/* @param loose  appended to */
int holds_judge_losses(struct holds *holds, const struct loss_query *query, struct loose *loose,
		       struct err *err);

/* ---- rewrites ------------------------------------------------------------------------------- */

/* @param held  one per path, filled in */
int holds_judge_rewrites(struct holds *holds, const char *const *paths, size_t n, bool *held,
			 struct err *err);

/* Has a person approved what is held at this path? */
bool holds_is_approved(struct holds *holds, const char *path, enum hold_cause cause);

/* ---- for commit_brake.c --------------------------------------------------------------------- */

struct brake_view {
	uint64_t counted, base, after_seq;
};
void holds_view(struct holds *holds, enum hold_cause cause, struct brake_view *out); /* (quick) */
bool holds_trust_peers(const struct holds *holds);				     /* (quick) */
bool holds_too_much(struct holds *holds, enum hold_cause cause, uint64_t more);	     /* (quick) */
void holds_count(struct holds *holds, enum hold_cause cause, uint64_t n);	     /* (quick) */
/* Holds the paths, and counts n files.
 * @param out  id: the hold they join, or 0: a closed one of the last minute, else a new one; then
 *             which it was, with its reason */
int holds_add(struct holds *holds, enum hold_cause cause, const char *const *paths, size_t n_paths,
	      uint64_t n, struct hold *out, struct err *err);

/* ---- what a person decides ------------------------------------------------------------------ */

/* Approved, or rejected: what was counted counts no longer. */
int holds_decide(struct holds *holds, const struct hold *hold, enum hold_state state,
		 struct err *err);
/* How many paths wait for a decision, or were rejected. (quick) */
uint64_t holds_held(struct holds *holds);

#endif
