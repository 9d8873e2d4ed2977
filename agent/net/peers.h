/* peers.h - keeps one link to each configured peer: listens, dials with back-off and jitter, lets
 * one of two crossing connections win, caps half-open ones. Failures before a link is live are
 * logged here; afterwards it is for whoever hears closed(). Thread: the loop. */
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

#define PEERS_HALF_OPEN_MAX 32 /* accepted and not yet live; more are closed at once */

/* Milliseconds; tests give less. */
struct peers_timing {
	struct link_timing link;
	uint32_t redial_first_ms; /* 200 */
	uint32_t redial_max_ms;	  /* 10000 */
};
#define PEERS_TIMING_DEFAULT    \
	((struct peers_timing){ \
		.link = LINK_TIMING_DEFAULT, .redial_first_ms = 200, .redial_max_ms = 10000})

/**
 * Starts listening and dialling. Links are reported through link_events; each link's owner pointer
 * is events->owner. One deadline of 5 s covers TCP, TLS and HELLO. At most 32 half-open
 * connections. When a second authenticated connection with a peer comes up, the one dialled by the
 * node whose name sorts first wins, the other is closed with BYE_REPLACED before its `open` is
 * reported (or, if open already, closed likewise; open() of the one is then reported after closed()
 * of the other, so a peer never has two). When both were dialled by one side, or the first has been
 * live for longer than a handshake may last, the newer wins: its dialler would not have dialled
 * with a link. Ignores SIGPIPE for the process. Resolves `listen` in the call.
 * @param listen  "host:port" or NULL; port 0 picks one (peers_port())
 * @param self    our node name
 * @param identity  a reference is kept; the caller's own stays the caller's
 */
int peers_start(struct peers **out, uv_loop_t *loop, const char *self, const char *listen,
		struct tls_identity *identity, const struct peer_address *addresses, size_t n,
		const struct link_events *events, struct err *err);
/* The same with other deadlines, for tests. */
int peers_start_timed(struct peers **out, uv_loop_t *loop, const char *self, const char *listen,
		      struct tls_identity *identity, const struct peer_address *addresses, size_t n,
		      const struct link_events *events, const struct peers_timing *timing,
		      struct err *err);

/**
 * Takes a reloaded configuration. Links to peers that are still configured and still trusted
 * by their present certificate stay; others are closed with BYE_UNKNOWN_PEER. New addresses are
 * used by the next dial; new peers are dialled at once. The listener stays as it is.
 * @return 0, or -EINVAL for a bad address: then nothing has changed
 */
int peers_update(struct peers *peers, struct tls_identity *identity,
		 const struct peer_address *addresses, size_t n, struct err *err);

/* Dials that peer now rather than when the back-off ends; when it is connected, as soon as that
 * link has ended. Nothing when it has no address. */
void peers_redial(struct peers *peers, const char *node);

/* What came of trying to reach that peer beside the connection there is. */
struct peers_probe {
	bool running;
	bool good;	   /* the last one that ended: TLS was done and the peer let us in */
	uint64_t began_ms; /* of the last one, running or not; monotonic; 0 = none yet */
	uint64_t ended_ms; /* of the last that ended */
	struct link_certificate certificate; /* that it was shown, at ended_ms */
	char why[512];			     /* when it was not good; for people */
};

/**
 * Tries to reach a peer at its configured address, without a session: the one there is stays as it
 * is. Nothing when a probe runs or there is no address.
 */
void peers_probe(struct peers *peers, const char *node);
/* @return what is known; NULL for a peer that is not configured, or has no address: it dials us.
 * Borrowed until the next call of the loop */
const struct peers_probe *peers_probed(const struct peers *peers, const char *node);

int peers_port(const struct peers *peers); /* 0 without a listener */
/* Last failure to reach that peer, for status; "" when connected or never tried. */
const char *peers_last_error(const struct peers *peers, const char *node);
/* The open link with that peer, or NULL. */
struct link *peers_link(const struct peers *peers, const char *node);
/* Closes every link (BYE_SHUTDOWN) and the listener; then `closed` is called and *peers is gone. */
void peers_close(struct peers *peers, void (*closed)(void *arg), void *arg);

#endif
