/* trouble.h - what does not work now and is tried again. Who retries says here that it failed, and
 * that it works again; who shows the state of things asks. Like the log it is one for the process.
 * Thread: any. */
#ifndef BASE_TROUBLE_H
#define BASE_TROUBLE_H

#include <stddef.h>
#include <stdint.h>

#include "agent/base/err.h"

#define TROUBLES_MAX 16 /* kinds of things that can fail; there are fewer */

struct trouble {
	const char *what; /* "index changes" */
	struct err err;
	uint64_t since_ms; /* monotonic */
	uint64_t times;	   /* since then */
};

/* @param what  a literal; the same failure is one trouble however often it comes */
void trouble_is(const char *what, const struct err *err);
void trouble_over(const char *what); /* cheap when there is none */

/* @return how many were copied, the oldest first */
size_t trouble_list(struct trouble out[TROUBLES_MAX]);

/* How it went: either of the two. Returns `result`. */
int trouble_result(const char *what, int result, const struct err *err);

#endif
