/* control_client.h - a command asks the agent and waits, until a deadline, for its answer.
 * Blocking. */
#ifndef CLI_CONTROL_CLIENT_H
#define CLI_CONTROL_CLIENT_H

#include <jansson.h>
#include <stdint.h>

#include "agent/base/err.h"

#define CONTROL_ANSWER_MAX \
	(256u << 20) /* bytes of one line: a verify of a large tree may list every path */

struct control_answer {
	int code;	/* exit code */
	json_t *result; /* NULL when there is none */
	char *error;	/* NULL unless it failed */
	char *remedy;
};
void control_answer_release(struct control_answer *answer); /* a zeroed struct is released */

/**
 * Sends a request and waits for the line that says "done".
 * @param request      taken
 * @param deadline_ms  of the whole, by clock_mono_ms(); 0: none
 * @param progress     called with each report; NULL when nobody wants them; the object is borrowed
 * @return 0 with *out; -ENOENT or -ECONNREFUSED: no agent is running with this state directory;
 * -EACCES; -ETIMEDOUT; -EPIPE: the agent ended without an answer; -EBADMSG. *out is empty after a
 * failure
 */
int control_ask(struct control_answer *out, const char *state_dir, json_t *request,
		uint64_t deadline_ms, void (*progress)(void *arg, const json_t *report), void *arg,
		struct err *err);

/* Is there an agent that accepts connections? */
int control_is_running(const char *state_dir,
		       struct err *err); /* 1, 0, or negative when that cannot be told */

#endif
