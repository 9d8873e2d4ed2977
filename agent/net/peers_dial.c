/* Reaching out: resolve, connect, and if it fails wait a little longer each time. */
#include <stdio.h>
#include <string.h>
#include <utlist.h>

#include "agent/base/log.h"
#include "agent/net/peers_private.h"

/* Owned by libuv until its callback, because a resolver that waits for a name server cannot be
 * stopped; `peer` is NULL when nobody wants the answer any more. */
struct resolve {
	uv_getaddrinfo_t request;
	struct peer *peer;
};

void peer_note_failure(struct peer *peer, const char *address, const char *why)
{
	if (strcmp(peer->last_error, why) != 0)
		log_warn("net", "peer=%s address=%s err=\"%s\" action=\"%s\"", peer->node, address,
			 why, peer->address ? "try again" : "wait for it to call");
	snprintf(peer->last_error, sizeof(peer->last_error), "%s", why);
}

static void dial_failed(struct peer *peer, const char *why)
{
	peer_note_failure(peer, peer->address, why);
	peer_dial_soon(peer);
}

static void connect_to(struct peer *peer, const struct sockaddr *to)
{
	struct peers *peers = peer->peers;
	struct link_setup setup;
	peers_link_setup(peers, &setup);
	setup.expected = peer->node;
	setup.address = peer->address;
	setup.slot = peer;
	struct link *l = link_dial(to, &setup);
	DL_APPEND(peers->links, l);
	peer->dialling = l;
	peer->references++;
}

/* Each attempt takes the next address, so that a dead one (IPv6 without a route) costs one attempt
 * and not the connection. */
static const struct addrinfo *pick(struct peer *peer, const struct addrinfo *all)
{
	unsigned n = 0;
	for (const struct addrinfo *a = all; a; a = a->ai_next)
		n++;
	unsigned skip = peer->rotation++ % n;
	while (skip-- > 0)
		all = all->ai_next;
	return all;
}

static void on_resolved(uv_getaddrinfo_t *request, int status, struct addrinfo *all)
{
	struct resolve *resolve = container_of(request, struct resolve, request);
	struct peer *peer = resolve->peer;
	free(resolve);
	if (peer) {
		peer->resolving = NULL;
		if (status == 0 && all) {
			connect_to(peer, pick(peer, all)->ai_addr);
		} else {
			char why[ADDRESS_TEXT_MAX + 80];
			snprintf(why, sizeof(why), "resolve %s: %s", peer->target.host,
				 status ? uv_strerror(status) : "no address");
			dial_failed(peer, why);
		}
	}
	uv_freeaddrinfo(all);
}

static void resolve(struct peer *peer)
{
	const struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
	struct resolve *asked = x_calloc(1, sizeof(*asked));
	int r = uv_getaddrinfo(peer->peers->loop, &asked->request, on_resolved, peer->target.host,
			       peer->target.port, &hints);
	if (r < 0) {
		free(asked);
		dial_failed(peer, uv_strerror(r));
		return;
	}
	asked->peer = peer;
	peer->resolving = asked;
}

static bool has_reason_to_dial(const struct peer *peer)
{
	return peer->address && !peer->removed && !peer->peers->closing && !peer->link &&
	       !peer->waiting && !peer->dialling && !peer->resolving;
}

void peer_dial_now(struct peer *peer)
{
	struct sockaddr_storage to;
	if (!has_reason_to_dial(peer))
		return;
	uv_timer_stop(&peer->retry);
	log_debug("net", "peer=%s address=%s dialling attempt=%u", peer->node, peer->address,
		  peer->backoff.attempts);
	if (address_is_numeric(&peer->target, &to))
		connect_to(peer, (struct sockaddr *)&to);
	else
		resolve(peer);
}

static void on_retry(uv_timer_t *timer)
{
	struct peer *peer = container_of(timer, struct peer, retry);
	peer_dial_now(peer);
}

void peer_dial_soon(struct peer *peer)
{
	if (!has_reason_to_dial(peer) || uv_is_active((uv_handle_t *)&peer->retry))
		return;
	uint64_t wait_ms = peer->hurry ? 0 : backoff_next(&peer->backoff);
	peer->hurry = false;
	uv_timer_start(&peer->retry, on_retry, wait_ms, 0);
}

void peer_stop_dialling(struct peer *peer)
{
	uv_timer_stop(&peer->retry);
	if (peer->resolving) {
		peer->resolving->peer = NULL;
		uv_cancel((uv_req_t *)&peer->resolving->request);
		peer->resolving = NULL;
	}
	if (peer->dialling)
		link_close(peer->dialling, BYE_SHUTDOWN, "no longer wanted");
}
