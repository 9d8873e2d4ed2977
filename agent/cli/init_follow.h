/* init_follow.h - `init --follow PATH' on a node that exists: one more root. */
#ifndef CLI_INIT_FOLLOW_H
#define CLI_INIT_FOLLOW_H

#include "agent/cli/cmd.h"

/* Makes the marker, binds the state to it and adds the path to the configuration, in this order: a
 * run that was interrupted can be repeated. The agent must not run. @return an exit code */
int init_follow(const struct cli *cli, const struct option_list *follow);

#endif
