/* drill_hook.h - the operator's program in a drill: run by the command, with the rights of whoever
 * typed it, by the same runner as the agent's hooks: an environment of its own, a deadline, its
 * last words kept, and nothing left running when the command ends, however it ends. Blocking. */
#ifndef CLI_DRILL_HOOK_H
#define CLI_DRILL_HOOK_H

#include <stdbool.h>
#include <stdint.h>

#include "agent/base/err.h"
#include "agent/ops/hook_runner.h"

struct drill_hook_result {
	bool ok;			  /* exited with 0 */
	char text[200];			  /* for people: "exited with 3" */
	char output[HOOK_OUTPUT_MAX + 1]; /* its end; NUL bytes became blanks */
	uint64_t ms;
};

/* The program's path as it will be started: as typed, or found in PATH. Heap, or NULL with *err. */
char *drill_hook_find(const char *program, struct err *err);

/**
 * @param argv   NULL-terminated; argv[0] absolute
 * @param facts  NULL-terminated NAME=VALUE
 * @return 0 with *out, also when it failed; negative errno when it could not be tried
 */
int drill_hook_run(struct drill_hook_result *out, char *const *argv, const char *const *facts,
		   uint32_t timeout_s, struct err *err);

#endif
