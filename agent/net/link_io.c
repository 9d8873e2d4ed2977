/* libuv's callbacks of a link. */
#include <string.h>

#include "agent/net/link_private.h"

struct write {
	uv_write_t request;
	struct link *link;
	size_t len;
	char data[];
};

static void on_written(uv_write_t *request, int status)
{
	struct write *write = container_of(request, struct write, request);
	struct link *l = write->link;
	l->in_flight -= write->len;
	free(write);
	if (l->state == LINK_CLOSED)
		return;
	if (status < 0) {
		link_write_error(l);
		return;
	}
	link_flush(l);
	bool usable = l->state == LINK_HELLO || l->state == LINK_LIVE;
	if (usable && l->above_high && link_queued(l) < LINK_SEND_LOW) {
		l->above_high = false;
		l->events->writable(l->events->owner, l);
	}
}

void link_write(struct link *l)
{
	BIO *out = SSL_get_wbio(l->tls);
	size_t len = BIO_ctrl_pending(out);
	if (len == 0 || l->write_failed)
		return;
	struct write *write = x_realloc(NULL, 1, sizeof(*write) + len); /* need not be zeroed */
	write->link = l;
	write->len = len;
	BIO_read(out, write->data, (int)len);
	uv_buf_t data = uv_buf_init(write->data, (unsigned)len);
	l->in_flight += len;
	l->bytes_out += len;
	int r = uv_write(&write->request, (uv_stream_t *)&l->tcp, &data, 1, on_written);
	if (r < 0) {
		l->in_flight -= len;
		free(write);
		link_write_error(l);
	}
}

static void on_shut(uv_shutdown_t *request, int status)
{
	struct link *l = container_of(request, struct link, shutdown);
	if (status < 0)
		link_destroy(l);
}

/* After our FIN the other side closes, and its FIN ends the link; or the flush deadline does. */
void link_finish_writing(struct link *l)
{
	if (uv_shutdown(&l->shutdown, (uv_stream_t *)&l->tcp, on_shut) < 0)
		link_destroy(l);
}

static void on_room(uv_handle_t *handle, size_t suggested, uv_buf_t *out)
{
	struct link *l = handle->data;
	*out = uv_buf_init((char *)l->input, sizeof(l->input));
}

static void stream_ended(struct link *l, int status)
{
	const char *how = status == UV_EOF ? "the other side closed it" : uv_strerror(status);
	if (l->state == LINK_FLUSH)
		link_destroy(l);
	else if (l->state == LINK_TLS && l->bytes_in == 0)
		link_drop(l, 0, "connection ended before a byte arrived: %s", how);
	else if (l->state == LINK_TLS)
		link_drop(l, 0, "connection ended in the TLS handshake: %s", how);
	else
		link_drop(l, 0, "connection lost: %s", how);
}

static void on_read(uv_stream_t *stream, ssize_t nread, const uv_buf_t *buf)
{
	struct link *l = stream->data;
	if (nread < 0)
		stream_ended(l, (int)nread);
	else if (nread > 0)
		link_take(l, (size_t)nread);
}

void link_read(struct link *l, bool wanted)
{
	if (wanted == l->reading)
		return;
	l->reading = wanted;
	if (!wanted)
		uv_read_stop((uv_stream_t *)&l->tcp);
	else if (uv_read_start((uv_stream_t *)&l->tcp, on_room, on_read) < 0)
		link_drop(l, 0, "the socket cannot be read");
}

void link_on_connected(uv_connect_t *request, int status)
{
	struct link *l = container_of(request, struct link, connect);
	if (l->state == LINK_CLOSED)
		return; /* cancelled by closing */
	if (status < 0)
		link_drop(l, 0, "connect: %s", uv_strerror(status));
	else
		link_start(l);
}
