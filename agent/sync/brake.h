/* brake.h - how much has gone within the last minute, and whether more would be too much. Pure: no
 * clock, disk or lock; the caller gives the time. holds.c keeps what it stops. Thread: any, one at
 * a time. */
#ifndef SYNC_BRAKE_H
#define SYNC_BRAKE_H

#include <stdbool.h>
#include <stdint.h>

#define BRAKE_WINDOW_S 60
#define BRAKE_FLOOR 10 /* files; so many may always go, or a tree of five could never lose two */
#define BRAKE_EMPTY_FLOOR 3 /* files; a tree that had so many is not emptied without a question */

/* One second in which something changed. */
struct brake_second {
	uint64_t at;	/* seconds */
	uint64_t files; /* the most the tree had in it */
	uint64_t seq;	/* the last one given before it */
	uint64_t count; /* what went, or was held */
};

/* Zeroed: nothing has happened, and nothing is braked. */
struct brake {
	uint32_t percent; /* of the files; 0: no brake */
	struct brake_second seconds[BRAKE_WINDOW_S];
};

/* The tree as it is before a change that is about to be made. */
void brake_see(struct brake *brake, uint64_t now_ms, uint64_t files, uint64_t seq);

/**
 * The number of files that the share is taken of: the most the tree had within the minute. Not
 * those at its start alone, or whoever unpacks a tree and tidies it up would be stopped.
 * @param files  as of now
 */
uint64_t brake_base(const struct brake *brake, uint64_t now_ms, uint64_t files);
/* The last seq given before the minute began. @param seq  as of now */
uint64_t brake_seq(const struct brake *brake, uint64_t now_ms, uint64_t seq);

uint64_t brake_counted(const struct brake *brake, uint64_t now_ms);
/* Would `more` make it too much? */
bool brake_holds(const struct brake *brake, uint64_t now_ms, uint64_t files, uint64_t more);
/* Would nothing be left after `more` are lost, of a tree that had something within the minute?
 * However few they were: a tree that somebody emptied looks like one that is not there. */
bool brake_empties(const struct brake *brake, uint64_t now_ms, uint64_t files, uint64_t more);
void brake_count(struct brake *brake, uint64_t now_ms, uint64_t n);
/* A person has approved what went: it counts no longer. */
void brake_forgive(struct brake *brake);

#endif
