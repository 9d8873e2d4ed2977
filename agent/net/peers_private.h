/* peers_private.h - shared by peers*.c only. Thread: the loop. */
#ifndef NET_PEERS_PRIVATE_H
#define NET_PEERS_PRIVATE_H

#include "agent/net/backoff.h"
#include "agent/net/link_private.h"
#include "agent/net/peers.h"

struct resolve;
struct probe_resolve;

struct peer {
	struct peers *peers;
	struct peer *prev, *next;
	char *node;
	char *address; /* NULL: it dials us */
	struct address target;
	unsigned rotation; /* which of several resolved addresses is next */
	struct backoff backoff;
	uv_timer_t retry;
	struct resolve *resolving;
	struct link *dialling; /* by us, not yet proven */
	struct link *link;     /* admitted: the peer's one */
	struct link *waiting;  /* proven; admitted when `link` has ended */
	unsigned references;   /* links whose slot this is */
	bool hurry;	       /* dial at once when the link has ended */
	bool removed;	       /* from the configuration; freed when nothing refers to it */
	bool retry_closed;
	char last_error[TLS_WHY_MAX];
	struct peers_probe probe;
	struct probe_resolve *probe_resolving;
	struct link *probe_link;
	unsigned probe_rotation; /* of several resolved addresses the one that answered */
};

struct peers {
	uv_loop_t *loop;
	char *self;
	struct tls_identity *identity;
	struct link_events events;
	struct link_guard guard, probe_guard;
	struct peers_timing timing;
	struct peer *list;  /* utlist */
	struct link *links; /* utlist: all that have not ended */
	uv_tcp_t listener;
	bool listener_open;
	unsigned half_open;
	struct { /* unauthenticated strangers can make us log only so much */
		uint64_t window_ms;
		unsigned lines, more;
	} rejects;
	bool closing, notified;
	uv_check_t
		last; /* closed last of all, so that peers_close() never reports within its call */
	void (*closed)(void *arg);
	void *closed_arg;
};

/* peers.c */
struct peer *peers_find(const struct peers *peers, const char *node);
void peers_settle(struct peers *peers); /* when closing and nothing is left: the end */
void peer_settle(struct peer *peer);	/* a removed one with nothing left goes */
void peers_link_setup(const struct peers *peers, struct link_setup *out);

/* peers_dial.c */
void peer_dial_soon(struct peer *peer); /* after the back-off, if there is reason to */
void peer_dial_now(struct peer *peer);
void peer_stop_dialling(struct peer *peer);
/* Remembers it for status; said once per reason, not once per attempt. */
void peer_note_failure(struct peer *peer, const char *address, const char *why);

/* peers_probe.c */
void peers_probe_setup(struct peers *peers);
void peer_probe_stop(struct peer *peer);
/* A probe of somebody's came through. */
void peers_answer_probe(struct link *link);

/* peers_listen.c */
int peers_listen(struct peers *peers, const char *text, struct err *err);

/* peers_links.c: the guard */
void peers_on_proven(void *owner, struct link *link);
void peers_on_live(void *owner, struct link *link);
void peers_on_ended(void *owner, struct link *link, uint16_t reason, const char *why);

#endif
