/* drift_book.h - which paths of a passive are suspected, when each is looked at, and how often it
 * was put back. Pure data, no clock: times are given, in ms. Thread: the loop.
 *
 *     suspected -> taken -> matches | quiet | put back | left | wants its bytes -> asked for
 */
#ifndef SYNC_DRIFT_BOOK_H
#define SYNC_DRIFT_BOOK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/base/alloc.h"

#define DRIFT_PATHS_MAX 8192	/* paths remembered; what does not fit is found by a scan */
#define DRIFT_REVERTS_MAX 3	/* times a path is put back ... */
#define DRIFT_REVERTS_MS 60000	/* ... within so long */
#define DRIFT_LEFT_MS 3600000	/* and then it is left alone for so long */
#define DRIFT_ASK_MS 5000	/* until its bytes are asked for again */
#define DRIFT_WANT_MS 2000	/* until one that waits for its bytes is looked at again ... */
#define DRIFT_WANT_MAX_MS 30000 /* ... growing with the wait to this */
#define DRIFT_AGAIN_MS 30	/* past the granularity of timestamps */
#define DRIFT_AGAIN_MAX_MS 2000
#define DRIFT_SHOWN_MS 5000	  /* until one that is only reported is read again */
#define DRIFT_FAILED_MS 1000	  /* until what failed is tried again, whatever happens to it ... */
#define DRIFT_FAILED_MAX_MS 30000 /* ... growing with each time to this */
#define DRIFT_AWAY_MS 10000	  /* until it is seen whether a root is back */
#define DRIFT_QUIET_MS 1000	  /* a directory's time is put back no sooner than this again */
#define DRIFT_QUIET_MAX_MS 60000  /* growing to this while others go on working in it */

struct drift_book;

struct drift_book *drift_book_new(void);
void drift_book_free(struct drift_book *book);
DEFINE_AUTO(drift_book)

/* @param hurry  false: it may be nothing but the time of a directory in which others work
 * @return false when the book is full: a scan must find it later */
bool drift_book_suspect(struct drift_book *book, const char *path, bool hurry, uint64_t now_ms);

struct drift_taken {
	const char *path;    /* the book's, until it is told what became of it */
	bool left;	     /* put back too often: to be reported only */
	uint64_t waiting_ms; /* for how long it has waited for its bytes; 0: it does not */
};
/* Takes paths that are due, at most `max`. They are not given again before one of the verdicts
 * below.
 */
size_t drift_book_take(struct drift_book *book, struct drift_taken *out, size_t max,
		       uint64_t now_ms);
/* When the next is due; UINT64_MAX: none. */
uint64_t drift_book_next(const struct drift_book *book);

/* Verdicts on a path that was taken. One that was suspected again meanwhile is due at once. */
/* @return true when it waited for its bytes, which have come: it counts as put back */
bool drift_book_matches(struct drift_book *book, const char *path, uint64_t now_ms);
void drift_book_quiet(struct drift_book *book, const char *path, uint64_t now_ms);
void drift_book_put_back(struct drift_book *book, const char *path, uint64_t now_ms);
void drift_book_reported(struct drift_book *book, const char *path, uint64_t now_ms);
/* It is changing: soon, and then less and less often. */
void drift_book_again(struct drift_book *book, const char *path, uint64_t now_ms);
/* Not sooner for being suspected: the attempt itself may have moved it to and fro, and been seen.
 */
void drift_book_failed(struct drift_book *book, const char *path, uint64_t now_ms);
void drift_book_away(struct drift_book *book, const char *path, uint64_t now_ms);
void drift_book_wants(struct drift_book *book, const char *path, uint64_t now_ms);

/* Whose bytes are to be asked for now: so many that at most `max` are asked for at a time. The
 * strings are the book's. @param paths  room for `max` */
size_t drift_book_ask(struct drift_book *book, const char **paths, size_t max, uint64_t now_ms);
/* Something arrived: those that were asked for are due. */
void drift_book_arrived(struct drift_book *book, uint64_t now_ms);
/* Who was asked is gone. */
void drift_book_forget_asked(struct drift_book *book);

/* What was only reported may be put back now, and what failed may succeed: neither is waited with.
 */
void drift_book_show_again(struct drift_book *book);
/* Paths known to differ that will be mended without anybody's doing. */
size_t drift_book_open(const struct drift_book *book);
/* Forgets what needs no memory any longer. @return true when there was no room at some time since
 * the last call, and there is now */
bool drift_book_tidy(struct drift_book *book, uint64_t now_ms);

#endif
