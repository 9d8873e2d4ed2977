/* drill.h - `drill`: the passive's tree as it was at its last barrier, cloned into a directory of
 * its own while replication goes on, so that an operator's program can be tried against it. The
 * agent clones, verifies, removes and keeps the verdict; the program is run by the command, with
 * the rights of whoever typed it. Thread: the loop; cloning and removing are jobs. */
#ifndef NODE_DRILL_H
#define NODE_DRILL_H

#include <jansson.h>

struct node;
struct control_call;
struct drills;

void drills_start(struct node *node); /* after the roots were opened; what a crash left goes */
/* The verb "drill": "action" is "begin" (answered when it is over), "hook" (what came of the
 * program) or "record" (the report of a switchover that the command has made). */
void drill_request(struct node *node, struct control_call *call, const json_t *args);
void drills_tick(struct node *node);
void drills_stop(struct node *node);
void drills_free(struct node *node);

/* last_drill and drills of status. */
void drills_add_status(const struct node *node, json_t *status);

#endif
