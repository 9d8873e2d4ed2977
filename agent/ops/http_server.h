/* http_server.h - GET and HEAD for browsers, probes and Prometheus, over libmicrohttpd in the
 * agent's own loop: no threads, few connections, bounded memory, no request bodies. It only shows;
 * nothing can be changed through it. What listens on a loopback address answers nobody who asks
 * for a name that is none of loopback, so that a web page elsewhere cannot read it through a
 * browser here (DNS rebinding). Thread: the loop's. */
#ifndef OPS_HTTP_SERVER_H
#define OPS_HTTP_SERVER_H

#include <stdbool.h>
#include <stddef.h>
#include <uv.h>

#include "agent/base/err.h"

#define HTTP_CONNECTIONS_MAX 32
#define HTTP_TIMEOUT_S 10 /* of a connection that says nothing */

struct http_server;

struct http_answer {
	unsigned status;  /* 200, 404, 503 */
	const char *type; /* a literal, as of Content-Type */
	char *body;	  /* heap, zero-terminated; taken */
};

/* One GET. @param path  without the query, decoded; bytes of a stranger */
typedef void http_get_fn(void *owner, const char *path, struct http_answer *answer);

/**
 * A name is resolved here, which may block. Thread: any.
 * @param listen  "host:port"
 * @return a bound socket; -EINVAL when the address cannot be used; another negative errno
 */
int http_server_bind(const char *listen, struct err *err);

/**
 * @param fd  as http_server_bind() gave it; taken when it succeeds
 * @return 0 or a negative errno
 */
int http_server_start(struct http_server **out, uv_loop_t *loop, int fd, http_get_fn *get,
		      void *owner, struct err *err);

/* Closes what is open; then closed() is called and *s is gone. */
void http_server_close(struct http_server *s, void (*closed)(void *owner));

#endif
