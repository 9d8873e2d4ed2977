/* exposure.h - what would be lost if the active died now, named on both sides: on the active what
 * is not acknowledged, on the passive what was announced to it (ANNOUNCE) and is not in its index.
 * What a passive knows outlives the connection, and not the agent. Thread: the loop. */
#ifndef NODE_EXPOSURE_H
#define NODE_EXPOSURE_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

struct node;
struct session;
struct frame;
struct announced;

/* Of one peer. Valid when zeroed. */
struct session_exposure {
	/* the active */
	uint64_t announced_seq; /* up to here, in this connection */
	bool announcing;	/* a job reads what comes next */
	bool too_much;		/* to be named for now */
	uint64_t said_changes;
	/* the passive */
	struct announced *missing; /* uthash, by path */
	uint64_t changes, bytes;   /* as the active counts */
	bool unnamed;		   /* more are missing than could be named */
	uint64_t swept_ms;
	uint64_t seen_seq; /* the greatest that was announced in this run */
};

void exposure_live(struct session *s);
void exposure_indexed(struct session *s);
void exposure_tick(struct session *s);
int exposure_frame(struct session *s, const struct frame *frame); /* 0 or -EBADMSG */
void exposure_session_free(struct session *s);

/* The greatest seq that any active has announced to this node in this run: none up to it may be
 * given to another change. */
uint64_t exposure_seen_seq(const struct node *node);

/* Passive: adds the paths that were announced and are not here, each once. */
void exposure_add_missing(struct node *node, json_t *paths, size_t max);

/* The answer to `exposure`: {"changes":, "bytes":, "paths":[{"path":, "peer":, "seq":, "size":,
 * "age_s":}], "truncated":, "announced":}; `announced` is true on a passive. */
json_t *exposure_json(struct node *node);

#endif
