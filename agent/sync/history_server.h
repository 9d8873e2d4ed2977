/* history_server.h - the passive's answers about the past: which paths were what at a barrier
 * (HISTORY_ASK), and bytes of content it has or keeps (CONTENT_ASK). What one peer can make it hold
 * is bounded: one page, and a window for each of a few contents. Thread: the loop. */
#ifndef SYNC_HISTORY_SERVER_H
#define SYNC_HISTORY_SERVER_H

#include <uv.h>

#include "agent/history/history.h"
#include "agent/net/link.h"
#include "protocol/frame.h"

struct history_server;

/* @param link  used until history_server_close() */
struct history_server *history_server_new(uv_loop_t *loop, struct link *link,
					  struct history *history, struct store *store);
/* HISTORY_ASK, CONTENT_ASK. @return 0; -EBADMSG malformed, or more at once than is allowed */
int history_server_frame(struct history_server *server, const struct frame *frame);
/* `closed` when nothing of it runs any more; *server is gone then. */
void history_server_close(struct history_server *server, void (*closed)(void *arg), void *arg);

#endif
