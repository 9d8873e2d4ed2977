/* put_back.h - what follows `reject` on the active: each path of a rejected hold stands in the tree
 * again as the index, and the peer, have it. What is not here is fetched from there; what stands
 * there instead goes to the salvage. No record changes, so nothing of it travels. It goes on until
 * the hold is empty: after a restart, when a peer is there, and again after a while for what could
 * not be put back. One at a time, and not beside a rewind. Thread: the loop. */
#ifndef NODE_PUT_BACK_H
#define NODE_PUT_BACK_H

#include "agent/node/node_internal.h"

struct put_back *put_back_new(struct node *node);
void put_back_free(struct put_back *b); /* not while it is busy; NULL is a no-op */
/* There may be something to do: look now. */
void put_back_want(struct node *node);
void put_back_tick(struct node *node);
/* CONTENT. @return 1 it was asked for here, 0 it was not, -EBADMSG */
int put_back_frame(struct session *s, const struct frame *frame);
void put_back_session_lost(struct session *s);
void put_back_stop(struct node *node);
bool put_back_is_busy(const struct node *node);	       /* under way, or about to begin */
const char *put_back_trouble(const struct node *node); /* of the last attempt; "" without one */

#endif
