/* fault.h - the nth disk call fails, or the process dies there. Every wrapper in fs/ and store/
 * that makes something durable or names it asks fault_point() first. Armed by tests in the process,
 * or, in a build with -Dfaults=true, from outside; docs/TESTING.md says how. Thread: any. */
#ifndef BASE_FAULT_H
#define BASE_FAULT_H

#include <stdbool.h>

struct fault {
	long nth;   /* counts from 1; the call that is hit */
	int err;    /* positive errno to report; 0 = SIGKILL to ourselves */
	long times; /* so many calls from there on fail, 0 like 1; < 0: all */
	bool fired; /* set when the nth call was reached */
	long seen;  /* calls so far */
};

void fault_arm(struct fault *fault); /* borrowed until fault_disarm() */
void fault_disarm(void);

/* With -Dfaults=true: what the file that ARTIFACT_SYNC_FAULT_FILE names says, <nth>:<errno|kill>
 * [:<times>], is armed whenever another file has that name. Each hit is a line on standard error.
 * Without: nothing. */
void fault_arm_from_environment(void);

/* @return 0 to go on, or a positive errno with which the caller must fail without acting */
int fault_point(const char *name);

#endif
