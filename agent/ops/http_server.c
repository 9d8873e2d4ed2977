#include "agent/ops/http_server.h"

#include <arpa/inet.h>
#include <errno.h>
#include <microhttpd.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include "agent/base/alloc.h"
#include "agent/base/log.h"
#include "agent/base/quote.h"
#include "agent/net/address.h"
#include "agent/ops/door.h"

#define LIBRARY "libmicrohttpd.so.12"
#define BACKLOG 32
#define CONNECTION_BYTES 32768 /* for headers and answer's head */

/* The library is loaded by who serves, and stays: it brings GnuTLS and nine more, which would cost
 * every start of every command a third of its time. */
static struct {
	bool loaded;
	uv_lib_t handle;
	typeof(&MHD_add_connection) add_connection;
	typeof(&MHD_add_response_header) add_response_header;
	typeof(&MHD_create_response_from_buffer) create_response_from_buffer;
	typeof(&MHD_destroy_response) destroy_response;
	typeof(&MHD_get_daemon_info) get_daemon_info;
	typeof(&MHD_get_timeout) get_timeout;
	typeof(&MHD_lookup_connection_value) lookup_connection_value;
	typeof(&MHD_queue_response) queue_response;
	typeof(&MHD_run) run;
	typeof(&MHD_start_daemon) start_daemon;
	typeof(&MHD_stop_daemon) stop_daemon;
} mhd;

static int load_library(struct err *err)
{
	const struct {
		const char *name;
		void *at;
	} symbols[] = {
		{"MHD_add_connection", &mhd.add_connection},
		{"MHD_add_response_header", &mhd.add_response_header},
		{"MHD_create_response_from_buffer", &mhd.create_response_from_buffer},
		{"MHD_destroy_response", &mhd.destroy_response},
		{"MHD_get_daemon_info", &mhd.get_daemon_info},
		{"MHD_get_timeout", &mhd.get_timeout},
		{"MHD_lookup_connection_value", &mhd.lookup_connection_value},
		{"MHD_queue_response", &mhd.queue_response},
		{"MHD_run", &mhd.run},
		{"MHD_start_daemon", &mhd.start_daemon},
		{"MHD_stop_daemon", &mhd.stop_daemon},
	};
	if (mhd.loaded)
		return 0;
	int r = uv_dlopen(LIBRARY, &mhd.handle);
	for (size_t i = 0; r == 0 && i < ARRAY_LEN(symbols); i++)
		r = uv_dlsym(&mhd.handle, symbols[i].name, symbols[i].at);
	mhd.loaded = r == 0;
	if (r == 0)
		return 0;
	err_set(err, -ELIBACC, "%.180s: install libmicrohttpd12", uv_dlerror(&mhd.handle));
	uv_dlclose(&mhd.handle);
	return -ELIBACC;
}

struct http_server {
	struct MHD_Daemon *daemon;
	struct door *door; /* NULL: closed */
	uv_poll_t poll;
	uv_timer_t timer;
	int handles; /* still known to libuv */
	bool loopback;
	http_get_fn *get;
	void (*closed)(void *owner);
	void *owner;
};

/* ---- answering ------------------------------------------------------------------------------ */

/* A browser always says whom it asks, and an address cannot mean anything else than itself. */
static bool is_loopback_name(const char *host)
{
	char name[64];
	struct in_addr v4;
	const char *bracket = *host == '[' ? strchr(host, ']') : NULL;
	size_t len = bracket ? (size_t)(bracket + 1 - host) : strcspn(host, ":");
	if (len >= sizeof(name) || (host[len] && host[len] != ':'))
		return false;
	snprintf(name, sizeof(name), "%.*s", (int)len, host);
	return strcasecmp(name, "localhost") == 0 || strcmp(name, "[::1]") == 0 ||
	       (inet_pton(AF_INET, name, &v4) == 1 && ntohl(v4.s_addr) >> 24 == IN_LOOPBACKNET);
}

static void say(struct http_answer *answer, unsigned status, const char *text)
{
	*answer = (struct http_answer){
		.status = status, .type = "text/plain; charset=utf-8", .body = x_strdup(text)};
}

static enum MHD_Result send_answer(struct MHD_Connection *connection,
				   const struct http_answer *answer)
{
	static const char *const headers[][2] = {
		{"Cache-Control", "no-store"},
		{"X-Content-Type-Options", "nosniff"},
		{"Content-Security-Policy",
		 "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"},
	};
	struct MHD_Response *response = mhd.create_response_from_buffer(
		strlen(answer->body), answer->body, MHD_RESPMEM_MUST_FREE);
	if (!response) {
		free(answer->body);
		return MHD_NO;
	}
	mhd.add_response_header(response, "Content-Type", answer->type);
	for (size_t i = 0; i < ARRAY_LEN(headers); i++)
		mhd.add_response_header(response, headers[i][0], headers[i][1]);
	if (answer->status == MHD_HTTP_METHOD_NOT_ALLOWED)
		mhd.add_response_header(response, "Allow", "GET, HEAD");
	enum MHD_Result r = mhd.queue_response(connection, answer->status, response);
	mhd.destroy_response(response);
	return r;
}

/* The first call of a request comes before its body: a second one is waited for, and a body refused
 * at once. */
static enum MHD_Result on_request(void *owner, struct MHD_Connection *connection, const char *url,
				  const char *method, const char *version, const char *data,
				  size_t *data_size, void **state)
{
	static int seen;
	struct http_server *s = owner;
	struct http_answer answer;
	const char *host = mhd.lookup_connection_value(connection, MHD_HEADER_KIND, "Host");
	bool reads = strcmp(method, "GET") == 0 || strcmp(method, "HEAD") == 0;
	if (reads && !*state) {
		*state = &seen;
		return MHD_YES;
	}
	if (*data_size != 0)
		return MHD_NO;
	if (!reads)
		say(&answer, MHD_HTTP_METHOD_NOT_ALLOWED, "only GET and HEAD are answered\n");
	else if (s->loopback && host && !is_loopback_name(host))
		say(&answer, MHD_HTTP_MISDIRECTED_REQUEST,
		    "this agent listens on a loopback address: ask for localhost\n");
	else
		s->get(s->owner, url, &answer);
	return send_answer(connection, &answer);
}

/* ---- the library in our loop ---------------------------------------------------------------- */

static void on_timer(uv_timer_t *timer);
static void on_poll(uv_poll_t *poll, int status, int events);

/* Never again at once, whatever the library says: libuv does not look at anything else while a
 * timer that is due starts itself anew, and the library has states in which it always has something
 * to do (a request whose buffer is full). And as long at rest as it was at work, so that who asks
 * without end leaves half of the loop to what the agent is for. */
static void turn(struct http_server *s)
{
	MHD_UNSIGNED_LONG_LONG ms;
	uint64_t began = uv_hrtime();
	mhd.run(s->daemon);
	uint64_t rest = (uv_hrtime() - began) / 1000000;
	uv_update_time(s->timer.loop);
	if (rest > 0) {
		uv_poll_stop(&s->poll);
		uv_timer_start(&s->timer, on_timer, rest, 0);
		return;
	}
	if (!uv_is_active((uv_handle_t *)&s->poll))
		uv_poll_start(&s->poll, UV_READABLE, on_poll);
	if (mhd.get_timeout(s->daemon, &ms) == MHD_YES)
		uv_timer_start(&s->timer, on_timer, ms > 0 ? ms : 1, 0);
	else
		uv_timer_stop(&s->timer);
}

static void on_timer(uv_timer_t *timer)
{
	turn(timer->data);
}

static void on_poll(uv_poll_t *poll, int status, int events)
{
	turn(poll->data);
}

/* What the library cannot take, it closes; what it takes is writable, which on_poll() is told. */
static void on_connection(void *owner, int fd)
{
	struct http_server *s = owner;
	struct sockaddr_storage from = {0};
	socklen_t len = sizeof(from);
	if (getpeername(fd, (struct sockaddr *)&from, &len) < 0) {
		close(fd);
		return;
	}
	if (mhd.add_connection(s->daemon, fd, (struct sockaddr *)&from, len) != MHD_YES)
		log_debug("http", "err=\"a connection was turned away\"");
}

static void on_library_log(void *owner, const char *fmt, va_list ap)
{
	char text[300];
	vsnprintf(text, sizeof(text), fmt, ap);
	text[strcspn(text, "\r\n")] = '\0';
	AUTO_FREE char *quoted = quote_utf8(text);
	log_debug("http", "library=\"%s\"", quoted);
}

/* ---- starting and ending -------------------------------------------------------------------- */

static bool is_loopback(const struct sockaddr *at)
{
	if (at->sa_family == AF_INET6) {
		const struct in6_addr *v6 = &((const struct sockaddr_in6 *)at)->sin6_addr;
		return IN6_IS_ADDR_LOOPBACK(v6) ||
		       (IN6_IS_ADDR_V4MAPPED(v6) && v6->s6_addr[12] == IN_LOOPBACKNET);
	}
	return ntohl(((const struct sockaddr_in *)at)->sin_addr.s_addr) >> 24 == IN_LOOPBACKNET;
}

static int bind_one(const struct addrinfo *at)
{
	int one = 1;
	AUTO_CLOSE int fd = socket(at->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) < 0 ||
	    bind(fd, at->ai_addr, at->ai_addrlen) < 0)
		return -errno;
	return STEAL_FD(fd);
}

/* A name may mean an address of IPv6, which this host does not have, before one that it has. */
int http_server_bind(const char *listen, struct err *err)
{
	const struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE};
	struct address address;
	struct addrinfo *found = NULL;
	int r = address_parse(&address, listen, err);
	if (r < 0)
		return r;
	r = getaddrinfo(address.host, address.port, &hints, &found);
	if (r != 0)
		return err_set(err, -EINVAL, "resolve %.150s: %s", address.host, gai_strerror(r));
	int fd = -EINVAL;
	for (const struct addrinfo *at = found; at && fd < 0; at = at->ai_next)
		fd = bind_one(at);
	freeaddrinfo(found);
	return fd < 0 ? err_sys(err, -fd, "bind %.150s", listen) : fd;
}

static bool listens_on_loopback(int fd)
{
	struct sockaddr_storage at = {0};
	socklen_t len = sizeof(at);
	return getsockname(fd, (struct sockaddr *)&at, &len) == 0 &&
	       is_loopback((struct sockaddr *)&at);
}

static void end_when_closed(struct http_server *s)
{
	if (s->door || s->handles > 0)
		return;
	void (*closed)(void *) = s->closed;
	void *owner = s->owner;
	free(s);
	if (closed)
		closed(owner);
}

static void on_handle_closed(uv_handle_t *handle)
{
	struct http_server *s = handle->data;
	s->handles--;
	end_when_closed(s);
}

static void on_door_closed(void *owner)
{
	struct http_server *s = owner;
	s->door = NULL;
	end_when_closed(s);
}

static int start_library(struct http_server *s, uv_loop_t *loop, struct err *err)
{
	s->daemon = mhd.start_daemon(MHD_USE_EPOLL | MHD_USE_NO_LISTEN_SOCKET | MHD_USE_ERROR_LOG,
				     0, NULL, NULL, on_request, s, MHD_OPTION_EXTERNAL_LOGGER,
				     on_library_log, s, MHD_OPTION_CONNECTION_LIMIT,
				     (unsigned)HTTP_CONNECTIONS_MAX, MHD_OPTION_CONNECTION_TIMEOUT,
				     (unsigned)HTTP_TIMEOUT_S, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
				     (size_t)CONNECTION_BYTES, MHD_OPTION_END);
	const union MHD_DaemonInfo *info =
		s->daemon ? mhd.get_daemon_info(s->daemon, MHD_DAEMON_INFO_EPOLL_FD) : NULL;
	int r = info ? uv_poll_init(loop, &s->poll, info->epoll_fd) : -EMFILE;
	if (r < 0 && s->daemon)
		mhd.stop_daemon(s->daemon);
	return r < 0 ? err_sys(err, -r, "start libmicrohttpd") : 0;
}

int http_server_start(struct http_server **out, uv_loop_t *loop, int fd, http_get_fn *get,
		      void *owner, struct err *err)
{
	int r = load_library(err);
	if (r < 0)
		return r;
	struct http_server *s = x_calloc(1, sizeof(*s));
	s->get = get;
	s->owner = owner;
	s->loopback = listens_on_loopback(fd);
	r = start_library(s, loop, err);
	if (r < 0) {
		free(s);
		return r;
	}
	uv_timer_init(loop, &s->timer);
	s->poll.data = s->timer.data = s;
	s->handles = 2;
	r = door_open(&s->door, loop, fd, BACKLOG, on_connection, s, err);
	if (r < 0) {
		http_server_close(s, NULL);
		return r;
	}
	uv_poll_start(&s->poll, UV_READABLE, on_poll);
	*out = s;
	return 0;
}

void http_server_close(struct http_server *s, void (*closed)(void *owner))
{
	s->closed = closed;
	uv_close((uv_handle_t *)&s->poll, on_handle_closed);
	uv_close((uv_handle_t *)&s->timer, on_handle_closed);
	if (s->door)
		door_close(s->door, on_door_closed);
	mhd.stop_daemon(s->daemon);
	s->daemon = NULL;
}
