/* Start, reload and end of the set of peers. */
#include "agent/net/peers.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <utlist.h>

#include "agent/base/log.h"
#include "agent/net/peers_private.h"

static void on_retry_closed(uv_handle_t *handle)
{
	struct peer *peer = handle->data;
	peer->retry_closed = true;
	peer_settle(peer);
}

static void peer_remove(struct peer *peer)
{
	if (peer->removed)
		return;
	peer->removed = true;
	peer_stop_dialling(peer);
	peer_probe_stop(peer);
	uv_close((uv_handle_t *)&peer->retry, on_retry_closed);
}

void peer_settle(struct peer *peer)
{
	struct peers *peers = peer->peers;
	if (!peer->removed || !peer->retry_closed || peer->references > 0)
		return;
	DL_DELETE(peers->list, peer);
	free(peer->node);
	free(peer->address);
	free(peer);
	peers_settle(peers);
}

static void peer_add(struct peers *peers, const struct peer_address *from)
{
	struct peer *peer = x_calloc(1, sizeof(*peer));
	peer->peers = peers;
	peer->node = x_strdup(from->node);
	peer->backoff = (struct backoff){.first_ms = peers->timing.redial_first_ms,
					 .max_ms = peers->timing.redial_max_ms};
	uv_timer_init(peers->loop, &peer->retry);
	peer->retry.data = peer;
	DL_APPEND(peers->list, peer);
}

/* @return whether the address is another than before */
static bool peer_set_address(struct peer *peer, const char *address)
{
	struct err ignored;
	bool same = peer->address && address ? strcmp(peer->address, address) == 0
					     : !peer->address && !address;
	if (same)
		return false;
	free(peer->address);
	peer->address = address ? x_strdup(address) : NULL;
	peer->rotation = 0;
	if (address)
		address_parse(&peer->target, address, &ignored); /* judged before */
	return true;
}

static int check_addresses(const struct peer_address *addresses, size_t n, struct err *err)
{
	struct address ignored;
	for (size_t i = 0; i < n; i++) {
		if (addresses[i].address &&
		    address_parse(&ignored, addresses[i].address, err) < 0) {
			err_wrap(err, "peer %.64s", addresses[i].node);
			return -EINVAL;
		}
	}
	return 0;
}

struct peer *peers_find(const struct peers *peers, const char *node)
{
	struct peer *peer;
	DL_FOREACH (peers->list, peer) {
		if (!peer->removed && strcmp(peer->node, node) == 0)
			return peer;
	}
	return NULL;
}

static bool is_listed(const char *node, const struct peer_address *addresses, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (strcmp(addresses[i].node, node) == 0)
			return true;
	}
	return false;
}

static void set_peers(struct peers *peers, const struct peer_address *addresses, size_t n)
{
	struct peer *peer, *next;
	DL_FOREACH_SAFE(peers->list, peer, next)
	{
		if (!is_listed(peer->node, addresses, n))
			peer_remove(peer);
	}
	for (size_t i = 0; i < n; i++) {
		if (!peers_find(peers, addresses[i].node))
			peer_add(peers, &addresses[i]);
		peer = peers_find(peers, addresses[i].node);
		if (peer_set_address(peer, addresses[i].address)) {
			backoff_reset(&peer->backoff);
			peer_stop_dialling(peer);
			peer_probe_stop(peer);
			peer->probe = (struct peers_probe){0};
			peer_dial_now(peer);
		}
	}
}

void peers_link_setup(const struct peers *peers, struct link_setup *out)
{
	*out = (struct link_setup){.loop = peers->loop,
				   .identity = peers->identity,
				   .guard = &peers->guard,
				   .events = &peers->events,
				   .timing = peers->timing.link};
}

static void peers_free(struct peers *peers)
{
	tls_identity_free(peers->identity);
	free(peers->self);
	free(peers);
}

int peers_start_timed(struct peers **out, uv_loop_t *loop, const char *self, const char *listen,
		      struct tls_identity *identity, const struct peer_address *addresses, size_t n,
		      const struct link_events *events, const struct peers_timing *timing,
		      struct err *err)
{
	int r = check_addresses(addresses, n, err);
	if (r < 0)
		return r;
	/* write() to a connection that the peer reset raises it; libuv has no way to say "don't".
	 */
	signal(SIGPIPE, SIG_IGN);
	struct peers *peers = x_calloc(1, sizeof(*peers));
	peers->loop = loop;
	peers->self = x_strdup(self);
	peers->identity = tls_identity_ref(identity);
	peers->events = *events;
	peers->timing = *timing;
	peers->guard = (struct link_guard){.owner = peers,
					   .proven = peers_on_proven,
					   .live = peers_on_live,
					   .ended = peers_on_ended};
	peers_probe_setup(peers);
	uv_check_init(loop, &peers->last);
	peers->last.data = peers;
	r = listen ? peers_listen(peers, listen, err) : 0;
	if (r < 0) {
		peers_close(peers, NULL, NULL); /* its handles outlive the call */
		return r;
	}
	set_peers(peers, addresses, n);
	*out = peers;
	return 0;
}

int peers_start(struct peers **out, uv_loop_t *loop, const char *self, const char *listen,
		struct tls_identity *identity, const struct peer_address *addresses, size_t n,
		const struct link_events *events, struct err *err)
{
	return peers_start_timed(out, loop, self, listen, identity, addresses, n, events,
				 &PEERS_TIMING_DEFAULT, err);
}

/* A link proven under the old trust must be so under the new one. */
static bool stays(const struct peers *peers, const struct link *l)
{
	return peers_find(peers, l->verdict.node) &&
	       tls_still_trusts(peers->identity, l->tls, &l->verdict);
}

int peers_update(struct peers *peers, struct tls_identity *identity,
		 const struct peer_address *addresses, size_t n, struct err *err)
{
	struct link *l, *next;
	int r = check_addresses(addresses, n, err);
	if (r < 0)
		return r;
	tls_identity_ref(identity);
	tls_identity_free(peers->identity);
	peers->identity = identity;
	set_peers(peers, addresses, n);
	DL_FOREACH_SAFE(peers->links, l, next)
	{
		/* A handshake that began under the old trust begins anew. */
		if (l->tls_done ? !stays(peers, l) : l->identity != peers->identity)
			link_close(
				l, BYE_UNKNOWN_PEER,
				"the configuration changed and no longer names this peer and key");
	}
	return 0;
}

void peers_redial(struct peers *peers, const char *node)
{
	struct peer *peer = peers_find(peers, node);
	if (!peer)
		return;
	backoff_reset(&peer->backoff);
	peer->hurry = peer->link != NULL;
	peer_dial_now(peer);
}

const char *peers_last_error(const struct peers *peers, const char *node)
{
	struct peer *peer = peers_find(peers, node);
	return peer ? peer->last_error : "";
}

struct link *peers_link(const struct peers *peers, const char *node)
{
	struct peer *peer = peers_find(peers, node);
	return peer && peer->link && peer->link->opened && !link_is_closing(peer->link) ? peer->link
											: NULL;
}

static void on_last_closed(uv_handle_t *handle)
{
	struct peers *peers = handle->data;
	void (*closed)(void *arg) = peers->closed;
	void *arg = peers->closed_arg;
	peers_free(peers);
	if (closed)
		closed(arg);
}

void peers_settle(struct peers *peers)
{
	if (!peers->closing || peers->list || peers->links || peers->listener_open ||
	    peers->notified)
		return;
	peers->notified = true;
	uv_close((uv_handle_t *)&peers->last, on_last_closed);
}

static void on_listener_closed(uv_handle_t *handle)
{
	struct peers *peers = handle->data;
	peers->listener_open = false;
	peers_settle(peers);
}

void peers_close(struct peers *peers, void (*closed)(void *arg), void *arg)
{
	struct peer *peer, *next_peer;
	struct link *l, *next;
	BUG_ON(peers->closing);
	peers->closing = true;
	peers->closed = closed;
	peers->closed_arg = arg;
	if (peers->listener_open)
		uv_close((uv_handle_t *)&peers->listener, on_listener_closed);
	DL_FOREACH_SAFE(peers->links, l, next)
	link_close(l, BYE_SHUTDOWN, "the agent ends");
	DL_FOREACH_SAFE(peers->list, peer, next_peer)
	peer_remove(peer);
	peers_settle(peers);
}
