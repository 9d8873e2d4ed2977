/* rewind.h - `rewind --to TIME` on the active: an earlier state of the tree becomes the current
 * one. The passive says what the paths that changed since were; what this node has not is fetched
 * from there; then everything is committed here as one batch, journaled like any, and numbered like
 * any change. What the batch displaces is on the passive, or, if it was not acknowledged, goes to
 * the salvage. Until the batch nothing in the tree has changed. One at a time. Thread: the loop. */
#ifndef NODE_REWIND_H
#define NODE_REWIND_H

#include "agent/node/node_internal.h"

void rewind_request(struct node *node, struct control_call *call, const json_t *args);
/* HISTORY_LIST, CONTENT. @return 0, or -EBADMSG */
int rewind_frame(struct session *s, const struct frame *frame);
void rewind_session_lost(struct session *s);
void rewind_tick(struct node *node); /* progress; gone commands */
void rewind_stop(struct node *node);

#endif
