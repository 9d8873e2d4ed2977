/* hooks.h - programs of the operator that the agent runs when roles change. The agent's side: it
 * asks the runner (hook_runner.h) and tells what came of it. Thread: the loop. */
#ifndef OPS_HOOKS_H
#define OPS_HOOKS_H

#include <stdbool.h>
#include <uv.h>

#include "agent/base/err.h"
#include "agent/ops/hook_runner.h"

struct hooks;

struct hook_result {
	bool done;	/* it exited with 0, or none is configured */
	char text[256]; /* for people: "exited with 3: cannot stop wso2is"; control characters
			   quoted */
	char output[HOOK_OUTPUT_MAX + 1]; /* the last of what it printed, as it stands, but for
					     NUL bytes, which became blanks */
};

/**
 * Forks the runner. Before the first thread, and before privileges are given up.
 * @param argvs  HOOKS_MAX argument vectors, NULL-terminated, NULL where none is configured; copied
 * by the fork
 * @return 0 or negative errno
 */
int hooks_fork(struct hooks **out, char *const *const argvs[HOOKS_MAX], struct err *err);
/* From here on results arrive. @param done  told once for each hooks_run(), in their order */
void hooks_open(struct hooks *hooks, uv_loop_t *loop,
		void (*done)(void *owner, unsigned index, const struct hook_result *result),
		void *owner);
/**
 * Asks for a hook. Without a configured one the result is `done`, told from the loop all the same.
 * @param facts  NULL-terminated NAME=VALUE; what exceeds HOOK_FACTS_LEN or HOOK_FACTS_MAX is left
 * out
 */
void hooks_run(struct hooks *hooks, unsigned index, const char *const *facts, uint32_t deadline_ms);
/* The runner ends, and with it a hook that still runs. closed() when nothing is left; also before
 * hooks_open(), then at once. */
void hooks_close(struct hooks *hooks, void (*closed)(void *owner), void *owner);

#endif
