/* refusals.h - the paths that this node could not take lately: what status shows of them, and a log
 * in which the same reason is not repeated for each of thousands. It lives as long as a session:
 * whoever comes anew offers all of them again. Thread: the loop. */
#ifndef SYNC_REFUSALS_H
#define SYNC_REFUSALS_H

#include <stddef.h>

struct refusals;

struct refusals *refusals_new(void);
void refusals_free(struct refusals *refusals); /* NULL is a no-op */

/* @param error  the errno behind it, or 0
 * @param text   why, for people */
void refusals_add(struct refusals *refusals, const char *path, int error, const char *text);
void refusals_settle(struct refusals *refusals, const char *path); /* it was taken */
void refusals_settle_all(struct refusals *refusals);		   /* nothing is missing here */

size_t refusals_count(const struct refusals *refusals);
/* The latest that still stands. The strings are the refusals' own.
 * @return its error, or 0; *path is NULL when there is none */
int refusals_latest(const struct refusals *refusals, const char **path, const char **text);

#endif
