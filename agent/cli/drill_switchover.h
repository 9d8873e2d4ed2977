/* drill_switchover.h - a rehearsal that is none: the roles are exchanged and exchanged back, with
 * the hooks of the configuration and the operator's own in between. Blocking. */
#ifndef CLI_DRILL_SWITCHOVER_H
#define CLI_DRILL_SWITCHOVER_H

#include "agent/cli/cmd.h"

struct drill_switchover {
	const struct cli *cli;
	const struct conf *conf;
	char *const *argv; /* of the hook; argv[0] NULL: none */
	uint32_t hook_timeout_s;
};

/**
 * @param report  a new reference, kept by the agent too; NULL when nothing was begun, and why was
 * said
 * @return an exit code
 */
int drill_switchover(const struct drill_switchover *s, json_t **report);

#endif
