/* node.h - the agent: owns the loop and wires the modules. */
#ifndef NODE_NODE_H
#define NODE_NODE_H

#include "agent/base/err.h"
#include "agent/conf/conf.h"

/**
 * Runs the agent until SIGTERM or SIGINT. SIGHUP loads conf->path again.
 * @param conf  borrowed; must stay until it returns
 * @return 0 after a clean end, negative after a failure
 */
int node_run(const struct conf *conf, struct err *err);

#endif
