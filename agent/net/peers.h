/* peers.h - keeps one link to each configured peer: listens, dials with back-off and jitter, lets one
 * of two crossing connections win, caps half-open ones. Thread: the loop. */
#ifndef NET_PEERS_H
#define NET_PEERS_H

#include <uv.h>

#include "agent/net/link.h"
#include "agent/net/tls.h"

struct peers;

struct peer_address {
	const char *node;
	const char *address; /* "host:port", or NULL: it dials us */
};

/**
 * Starts listening and dialling. Links are reported through link_events; each link's owner pointer is events->owner.
 * One deadline of 5 s covers TCP, TLS and HELLO. At most 32 half-open connections. When a second
 * authenticated connection with a peer comes up, the one dialled by the node whose name sorts first wins, the other
 * is closed with BYE_REPLACED before its `open` is reported (or, if open already, closed likewise).
 * @param listen  "host:port" or NULL; port 0 picks one (peers_port())
 * @param self    our node name
 */
int peers_start(struct peers **out, uv_loop_t *loop, const char *self, const char *listen,
		struct tls_identity *identity, const struct peer_address *addresses, size_t n,
		const struct link_events *events, struct err *err);
int peers_port(const struct peers *peers);
/* Last failure to reach that peer, for status; "" when connected or never tried. */
const char *peers_last_error(const struct peers *peers, const char *node);
/* Closes every link (BYE_SHUTDOWN) and the listener; then `closed` is called and *peers is gone. */
void peers_close(struct peers *peers, void (*closed)(void *arg), void *arg);

#endif
