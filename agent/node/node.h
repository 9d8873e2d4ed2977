/* node.h - the agent: owns the loop and wires the modules to each other. docs/ARCHITECTURE.md has
 * the picture. */
#ifndef NODE_NODE_H
#define NODE_NODE_H

#include "agent/base/err.h"
#include "agent/conf/conf.h"

/* Before the configuration is read: a SIGHUP that comes from here on waits for node_run(), and does
 * not end the process. */
void node_hold_reload(void);

/**
 * Runs the agent in the foreground until SIGTERM or SIGINT.
 * @param conf  borrowed until return; SIGHUP loads conf->path again
 * @param remedy  what to mend when it is the configuration that is wrong: to start it again does
 *                not help; else NULL
 * @return 0 after a clean end; negative errno when it could not start: -ENOENT no state (init),
 * -EBUSY another agent runs, -EUCLEAN corrupt state, others as they come
 */
int node_run(const struct conf *conf, const char **remedy, struct err *err);

#endif
