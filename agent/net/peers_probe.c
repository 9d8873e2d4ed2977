/* Trying the other direction. Two nodes have one connection, dialled by one of them; whether the
 * other could have dialled it shows only when the first is gone, which is the worst moment. So it
 * is tried beside it: TCP, TLS, and the other side's word that it would let us in, which matters
 * because in TLS 1.3 the dialler is done before its certificate has been judged. The client says
 * what it is before it is proven (ALPN), so that it cannot be taken for a connection that replaces
 * another (peers_links.c). */
#include <stdio.h>
#include <string.h>
#include <utlist.h>

#include "agent/base/clock.h"
#include "agent/base/log.h"
#include "agent/net/peers_private.h"

/* Owned by libuv until its callback; `peer` is NULL when nobody wants the answer any more. */
struct probe_resolve {
	uv_getaddrinfo_t request;
	struct peer *peer;
};

static void probe_ended(struct peer *peer, bool good, const char *why)
{
	struct peers_probe *probe = &peer->probe;
	if (!good && strcmp(probe->why, why) != 0)
		log_warn("net", "peer=%s address=%s probe=failed err=\"%s\"", peer->node,
			 peer->address ? peer->address : "", why);
	peer->probe_rotation += !good;
	probe->running = false;
	probe->good = good;
	probe->ended_ms = clock_mono_ms();
	snprintf(probe->why, sizeof(probe->why), "%s", good ? "" : why);
}

/* ---- the link ------------------------------------------------------------------------------- */

static void on_probe_proven(void *owner, struct link *l)
{
	struct peer *peer = l->slot;
	(void)owner;
	link_certificate(l, &peer->probe.certificate);
	link_admit(l); /* its next word is BYE */
}

static void on_probe_live(void *owner, struct link *l)
{
	(void)owner;
	(void)l;
}

static void on_probe_over(void *owner, struct link *l, uint16_t reason, const char *why)
{
	struct peers *peers = owner;
	struct peer *peer = l->slot;
	DL_DELETE(peers->links, l);
	peer->references--;
	/* One that was given up meanwhile says nothing of the address there is now. */
	if (peer->probe_link == l) {
		peer->probe_link = NULL;
		probe_ended(peer, reason == BYE_PROBED, why);
	}
	peer_settle(peer);
	peers_settle(peers);
}

/* Whoever answers with anything else does not know probes. */
static void on_probe_open(void *owner, struct link *l, const char *peer)
{
	(void)owner;
	(void)peer;
	link_close(l, BYE_SHUTDOWN, "this was a probe, and it was not answered as one");
}

static int on_probe_frame(void *owner, struct link *l, const struct frame *frame)
{
	(void)owner;
	(void)l;
	(void)frame;
	return 0;
}

static void on_probe_closed(void *owner, struct link *l, uint16_t reason, const char *why)
{
	(void)owner;
	(void)l;
	(void)reason;
	(void)why;
}

static const struct link_events probe_events = {
	.open = on_probe_open, .frame = on_probe_frame, .closed = on_probe_closed};

void peers_probe_setup(struct peers *peers)
{
	peers->probe_guard = (struct link_guard){.owner = peers,
						 .proven = on_probe_proven,
						 .live = on_probe_live,
						 .ended = on_probe_over};
}

static void connect_to(struct peer *peer, const struct sockaddr *to)
{
	struct peers *peers = peer->peers;
	struct link_setup setup;
	peers_link_setup(peers, &setup);
	setup.guard = &peers->probe_guard;
	setup.events = &probe_events;
	setup.expected = peer->node;
	setup.address = peer->address;
	setup.slot = peer;
	setup.probe = true;
	struct link *l = link_dial(to, &setup);
	DL_APPEND(peers->links, l);
	peer->probe_link = l;
	peer->references++;
}

void peers_answer_probe(struct link *l)
{
	link_close(l, BYE_PROBED, "you are let in");
}

/* ---- the address ---------------------------------------------------------------------------- */

static const struct addrinfo *pick(const struct peer *peer, const struct addrinfo *all)
{
	unsigned n = 0;
	for (const struct addrinfo *a = all; a; a = a->ai_next)
		n++;
	for (unsigned skip = peer->probe_rotation % n; skip > 0; skip--)
		all = all->ai_next;
	return all;
}

static void on_resolved(uv_getaddrinfo_t *request, int status, struct addrinfo *all)
{
	struct probe_resolve *resolve = container_of(request, struct probe_resolve, request);
	struct peer *peer = resolve->peer;
	char why[ADDRESS_TEXT_MAX + 80];
	free(resolve);
	if (peer) {
		peer->probe_resolving = NULL;
		snprintf(why, sizeof(why), "resolve %s: %s", peer->target.host,
			 status ? uv_strerror(status) : "no address");
		if (status == 0 && all)
			connect_to(peer, pick(peer, all)->ai_addr);
		else
			probe_ended(peer, false, why);
	}
	uv_freeaddrinfo(all);
}

static void resolve(struct peer *peer)
{
	const struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
	struct probe_resolve *asked = x_calloc(1, sizeof(*asked));
	int r = uv_getaddrinfo(peer->peers->loop, &asked->request, on_resolved, peer->target.host,
			       peer->target.port, &hints);
	if (r < 0) {
		free(asked);
		probe_ended(peer, false, uv_strerror(r));
		return;
	}
	asked->peer = peer;
	peer->probe_resolving = asked;
}

/* ---- verbs ---------------------------------------------------------------------------------- */

void peers_probe(struct peers *peers, const char *node)
{
	struct peer *peer = peers_find(peers, node);
	struct sockaddr_storage to;
	if (!peer || !peer->address || peer->probe.running || peers->closing)
		return;
	peer->probe.running = true;
	peer->probe.began_ms = clock_mono_ms();
	if (address_is_numeric(&peer->target, &to))
		connect_to(peer, (struct sockaddr *)&to);
	else
		resolve(peer);
}

const struct peers_probe *peers_probed(const struct peers *peers, const char *node)
{
	const struct peer *peer = peers_find(peers, node);
	return peer && peer->address ? &peer->probe : NULL;
}

void peer_probe_stop(struct peer *peer)
{
	struct link *l = STEAL(peer->probe_link);
	if (peer->probe_resolving) {
		peer->probe_resolving->peer = NULL;
		uv_cancel((uv_req_t *)&peer->probe_resolving->request);
		peer->probe_resolving = NULL;
	}
	peer->probe.running = false;
	if (l)
		link_close(l, BYE_SHUTDOWN, "no longer wanted");
}
