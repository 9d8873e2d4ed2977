/* readiness_internal.h - shared by readiness*.c only. Thread: the loop. */
#ifndef NODE_READINESS_INTERNAL_H
#define NODE_READINESS_INTERNAL_H

#include "agent/net/link.h"
#include "agent/node/readiness.h"

struct readiness {
	struct readiness_look here; /* the last one that ended */
	uint64_t looked_ms;	    /* began; 0 = never */
	bool looking, looked;
};

/* What is being said: `own` is what this node can tell by itself, and travels. */
struct judgement {
	json_t *all, *own;
};

/* readiness_judge.c */
struct judgement readiness_judge(struct node *node);
void judgement_release(struct judgement *j);
/* Of the clocks: theirs ahead of ours, ns; 0 before the first heartbeat. */
int64_t readiness_skew_ns(const struct session *s);
/* Is the peer's certificate good for a short time only (and not pinned)? */
bool readiness_expires_soon(const struct session *s, struct link_certificate *out);

#endif
