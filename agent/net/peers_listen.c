/* Being reached. Strangers can open connections: they are few at a time, short-lived, and what they
 * make us log is bounded (peers_links.c). */
#include <errno.h>
#include <stdio.h>
#include <utlist.h>

#include "agent/base/log.h"
#include "agent/net/peers_private.h"

#define BACKLOG 64

static void on_refused_closed(uv_handle_t *handle)
{
	free(handle);
}

/* It must be accepted to be got rid of; libuv would wait for us for ever. */
static void refuse(struct peers *peers)
{
	uv_tcp_t *tcp = x_calloc(1, sizeof(*tcp));
	uv_tcp_init(peers->loop, tcp);
	uv_accept((uv_stream_t *)&peers->listener, (uv_stream_t *)tcp);
	uv_close((uv_handle_t *)tcp, on_refused_closed);
	log_warn("net",
		 "err=\"%d connections are half open; one more was closed\" "
		 "action=\"go on; if they are not yours, restrict who reaches the port\"",
		 PEERS_HALF_OPEN_MAX);
}

static void on_connection(uv_stream_t *listener, int status)
{
	struct peers *peers = listener->data;
	struct link_setup setup;
	if (status < 0) {
		log_warn("net", "err=\"accept: %s\" action=\"go on\"", uv_strerror(status));
		return;
	}
	if (peers->half_open >= PEERS_HALF_OPEN_MAX) {
		refuse(peers);
		return;
	}
	peers_link_setup(peers, &setup);
	struct link *l = link_accept(listener, &setup);
	DL_APPEND(peers->links, l);
	peers->half_open++;
}

static int resolve_here(struct peers *peers, struct sockaddr_storage *out, const char *text,
			struct err *err)
{
	const struct addrinfo hints = {
		.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE};
	struct address address;
	uv_getaddrinfo_t request;
	int r = address_parse(&address, text, err);
	if (r < 0 || address_is_numeric(&address, out))
		return r;
	r = uv_getaddrinfo(peers->loop, &request, NULL, address.host, address.port, &hints);
	if (r < 0)
		return err_set(err, -EINVAL, "resolve %.150s: %s", address.host, uv_strerror(r));
	memcpy(out, request.addrinfo->ai_addr, request.addrinfo->ai_addrlen);
	uv_freeaddrinfo(request.addrinfo);
	return 0;
}

int peers_listen(struct peers *peers, const char *text, struct err *err)
{
	struct sockaddr_storage at;
	int r = resolve_here(peers, &at, text, err);
	if (r < 0) {
		err_wrap(err, "listen");
		return r;
	}
	uv_tcp_init(peers->loop, &peers->listener);
	peers->listener.data = peers;
	peers->listener_open = true;
	r = uv_tcp_bind(&peers->listener, (struct sockaddr *)&at, 0);
	if (r == 0)
		r = uv_listen((uv_stream_t *)&peers->listener, BACKLOG, on_connection);
	if (r < 0)
		return err_set(err, r, "listen on %.150s: %s%s", text, uv_strerror(r),
			       r == UV_EADDRINUSE ? "; is another agent running?" : "");
	log_info("net", "listening address=%s port=%d", text, peers_port(peers));
	return 0;
}

int peers_port(const struct peers *peers)
{
	struct sockaddr_storage at = {0};
	int len = sizeof(at);
	if (!peers->listener_open ||
	    uv_tcp_getsockname(&peers->listener, (struct sockaddr *)&at, &len) < 0)
		return 0;
	return ntohs(at.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&at)->sin6_port
					      : ((struct sockaddr_in *)&at)->sin_port);
}
