/* hook_runner.h - the process that starts hooks: forked from the agent at its very beginning,
 * before it gives up privileges and before it has threads, since hooks remount file systems and
 * call the service manager. It knows the argument vectors of the configuration and accepts an index
 * into them, facts for the environment, and a deadline; nothing that the agent reads from the
 * network can name a program. One hook at a time, in the order asked for.
 *
 * A hook that outlives its deadline, or the agent, is ended with everything that it has started,
 * wherever that has gone. What a hook that has ended by itself leaves running, stays. */
#ifndef OPS_HOOK_RUNNER_H
#define OPS_HOOK_RUNNER_H

#include <stddef.h>
#include <stdint.h>

#define HOOKS_MAX 8
#define HOOK_FACTS_MAX 32
#define HOOK_FACTS_LEN 8192  /* bytes of NAME=VALUE with their zeros in one request */
#define HOOK_OUTPUT_MAX 4096 /* bytes of output that are kept: the last ones */

struct hook_request {
	uint32_t index;
	uint32_t deadline_ms;
	uint32_t facts_len;
	char facts[HOOK_FACTS_LEN]; /* NAME=VALUE, each with its zero */
};

enum hook_end { HOOK_EXITED = 1, HOOK_KILLED = 2, HOOK_TIMED_OUT = 3, HOOK_NOT_STARTED = 4 };

struct hook_reply {
	uint32_t end;  /* enum hook_end */
	int32_t value; /* exit status, signal, or errno */
	uint32_t output_len;
	char output[HOOK_OUTPUT_MAX];
};

/**
 * Runs until the other end of the socket is closed; then a hook that still runs is ended with all
 * it has started, so that a restarted agent does not run it beside itself.
 * @param socket  SOCK_SEQPACKET; requests come in, replies go out, one for one
 * @param argvs   HOOKS_MAX argument vectors, NULL where none is configured
 */
_Noreturn void hook_runner_main(int socket, char *const *const argvs[HOOKS_MAX]);

#endif
