/* salvage_diff.h - how a saved object differs from what now stands in its place. Thread: one. */
#ifndef CLI_SALVAGE_DIFF_H
#define CLI_SALVAGE_DIFF_H

#include "agent/cli/report.h"

/* @param shown  the agent's answer to `salvage show`
 * @return EXIT_DONE: alike; EXIT_NO: different, or it failed and has been said why */
int salvage_diff(const struct cli *cli, const json_t *shown);

#endif
