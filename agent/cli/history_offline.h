/* history_offline.h - `history` and `restore` while no agent runs: the state database and the tree
 * are opened by the command itself. An agent that is started meanwhile finds them in use. */
#ifndef CLI_HISTORY_OFFLINE_H
#define CLI_HISTORY_OFFLINE_H

#include "agent/cli/report.h"

/* Like cli_ask(), but answers the request (taken) itself when no agent runs. */
int history_ask(const struct cli *cli, const struct question *question, json_t **result);

/* A path as it was typed, relative to the tree: one that begins with the tree's own is shortened.
 * @return heap JSON string */
json_t *history_path(const struct conf *conf, const char *typed);

#endif
