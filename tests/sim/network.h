/* network.h - connections: two byte streams, delivered in pieces of any size after any delay,
 * closed by either side or cut in between. Which of several connections of a pair is used is
 * decided as in agent/net/peers_links.c. */
#ifndef SIM_NETWORK_H
#define SIM_NETWORK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "protocol/frame.h"

struct world;
struct node;

struct side {
	struct connection *connection;
	struct node *node;
	int peer;
	bool dialled;
	bool open;     /* this side has not closed it */
	bool told;     /* and heard that it is over */
	bool admitted; /* reads */
	bool live;     /* both HELLOs were judged */
	uint64_t live_at;
	unsigned from; /* who the peer is, when live: FROM_ACTIVE or FROM_PASSIVE */
	struct frame_reader reader;
	uint8_t *out; /* on its way to the other side */
	size_t out_at, out_len, out_cap;
	bool arriving; /* an event will bring bytes of the other side's here */
};

struct connection {
	uint32_t id; /* 0: free */
	bool cut;
	struct side sides[2];
};

void network_dial(struct world *w, struct node *node, int peer);
void network_cut(struct world *w, struct connection *c);
/* A side that got a BYE: `handle` is the connection's id and, in the lowest bit, which side. */
void network_ended(struct world *w, uint32_t handle);
void network_release(struct world *w);

struct side *side_other(const struct side *side);
void side_admit(struct world *w, struct side *side);
void side_send(struct world *w, struct side *side, uint8_t type, const uint8_t *body, size_t len);
bool side_is_writable(const struct side *side);
/* Sends BYE and closes; session_on_closed() follows. */
void side_close(struct world *w, struct side *side, uint16_t reason, const char *text);
/* Power failure of one end. */
void side_vanish(struct world *w, struct side *side);

#endif
