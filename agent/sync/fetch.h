/* fetch.h - "get the content of this record from the peer": each becomes a verified object in
 * stage/, as a record that arrives would, ready for commit. A few at a time, each with one window
 * of bytes under way. For `rewind`, and for whoever wants files back on the active. Thread: the
 * loop. */
#ifndef SYNC_FETCH_H
#define SYNC_FETCH_H

#include <uv.h>

#include "agent/net/link.h"
#include "agent/sync/stage.h"
#include "protocol/frame.h"

struct fetcher;

struct fetch_events {
	void *owner;
	/* One is done: result 0 with *staged; -ENOENT the peer has not these bytes either;
	 * -ECANCELED after fetcher_close(); errno. */
	void (*fetched)(void *owner, void *arg, int result, const struct staged *staged,
			const char *why);
	/* After fetcher_close(), when nothing of it runs any more and every fetched() has come. */
	void (*closed)(void *owner);
};

/* @param link  used until fetcher_close(); env is copied, its tree borrowed
 * @param first_id  ids from here on are this fetcher's */
struct fetcher *fetcher_new(uv_loop_t *loop, struct link *link, const struct stage_env *env,
			    uint32_t first_id, const struct fetch_events *events);
/* @param record  of a file; borrowed until fetched(). Any number may wait. */
void fetcher_get(struct fetcher *fetcher, const struct record *record, void *arg);
/* CONTENT. @return 1 it was one of ours, 0 it was not, -EBADMSG */
int fetcher_frame(struct fetcher *fetcher, const struct frame *frame);
/* Also when the link is gone. */
void fetcher_close(struct fetcher *fetcher);

#endif
