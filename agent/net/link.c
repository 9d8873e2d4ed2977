/* The life of a link: its states, their deadlines, and the two ways it ends. */
#include "agent/net/link.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "agent/base/clock.h"
#include "agent/base/log.h"
#include "agent/net/link_private.h"
#include "protocol/messages.h"

#define GRACE_AFTER_WRITE_ERROR_MS 100
#define BYE_BODY_MAX 512

/* A deadline is a field of struct link_timing, or KEEPS the one that is running: a single
 * one covers everything from the first packet to HELLO, so that no state can be stretched. */
#define KEEPS SIZE_MAX
#define STOPS (SIZE_MAX - 1)
#define ENDING (BIT(LINK_FLUSH) | BIT(LINK_CLOSED))
static const struct {
	const char *name;
	unsigned may_become;
	size_t deadline;
} link_rules[LINK_STATES] = {
	[LINK_CONNECT] = {"connect", BIT(LINK_TLS) | BIT(LINK_CLOSED),
			  offsetof(struct link_timing, handshake_ms)},
	[LINK_TLS] = {"tls", BIT(LINK_PROVEN) | ENDING, KEEPS},
	[LINK_PROVEN] = {"proven", BIT(LINK_HELLO) | ENDING, KEEPS},
	[LINK_HELLO] = {"hello", BIT(LINK_LIVE) | ENDING, KEEPS},
	[LINK_LIVE] = {"live", ENDING, offsetof(struct link_timing, idle_ms)},
	[LINK_FLUSH] = {"flush", BIT(LINK_CLOSED), offsetof(struct link_timing, flush_ms)},
	[LINK_CLOSED] = {"closed", 0, STOPS},
};

static void on_deadline(uv_timer_t *timer);

static void start_deadline(struct link *l)
{
	size_t which = link_rules[l->state].deadline;
	if (which == STOPS)
		uv_timer_stop(&l->deadline);
	else if (which != KEEPS)
		uv_timer_start(&l->deadline, on_deadline,
			       *(const uint32_t *)((const char *)&l->timing + which), 0);
}

/* The only writer of l->state after link_new(). */
void link_become(struct link *l, enum link_state next)
{
	BUG_ON(!(link_rules[l->state].may_become & BIT(next)));
	log_debug("net", "address=%s peer=%s %s -> %s", l->address,
		  l->verdict.node[0] ? l->verdict.node : "?", link_rules[l->state].name,
		  link_rules[next].name);
	l->state = next;
	l->last_look = false;
	start_deadline(l);
}

static void expire(struct link *l)
{
	uint32_t handshake = l->timing.handshake_ms;
	switch (l->state) {
	case LINK_CONNECT: link_drop(l, 0, "no answer in %u ms", handshake); break;
	case LINK_TLS: link_end(l, 0, "no complete TLS handshake in %u ms", handshake); break;
	case LINK_PROVEN:
	case LINK_HELLO: link_end(l, BYE_TIMEOUT, "no complete HELLO in %u ms", handshake); break;
	case LINK_LIVE:
		link_end(l, BYE_TIMEOUT, "nothing was heard for %u ms", l->timing.idle_ms);
		break;
	default: link_destroy(l); break;
	}
}

/* Milliseconds until a live link is idle too long; the timer is not moved at each arrival. */
static uint64_t idle_left(struct link *l)
{
	uint64_t now = clock_mono_ms();
	if (l->paused)
		l->heard_ms = now;
	uint64_t end = l->heard_ms + l->timing.idle_ms;
	return end > now ? end - now : 0;
}

static void on_deadline(uv_timer_t *timer)
{
	struct link *l = container_of(timer, struct link, deadline);
	uint64_t left = l->state == LINK_LIVE ? idle_left(l) : 0;
	if (l->write_failed)
		link_drop(l, 0, "connection lost while sending");
	else if (left == 0 && l->last_look)
		expire(l);
	else {
		/* If the loop itself was held up, what would have saved the link may lie in
		 * the socket: timers run before the poll. So one poll more, then judge. */
		l->last_look = left == 0;
		uv_timer_start(timer, on_deadline, left ? left : 1, 0);
	}
}

void link_write_error(struct link *l)
{
	if (l->state == LINK_FLUSH) {
		link_destroy(l);
		return;
	}
	/* The peer's last word (an alert, a BYE) may still be unread, and says more than
	 * "broken pipe": reading gets a moment to find it. */
	l->write_failed = true;
	uv_timer_start(&l->deadline, on_deadline, GRACE_AFTER_WRITE_ERROR_MS, 0);
}

static void on_kick(uv_idle_t *kick)
{
	struct link *l = container_of(kick, struct link, kick);
	uv_idle_stop(kick);
	link_pump(l);
	link_update_reading(l);
}

/* An idle handle, not a prepare handle: one started while its own phase runs (a frame of one link
 * makes us send on another) keeps the loop from sleeping, where the other would run after the
 * sleep. */
void link_wake(struct link *l)
{
	if (l->state != LINK_CLOSED)
		uv_idle_start(&l->kick, on_kick);
}

static struct link *link_new(const struct link_setup *setup)
{
	struct link *l = x_calloc(1, sizeof(*l));
	l->timing = setup->timing;
	l->guard = setup->guard;
	l->events = setup->events;
	l->slot = setup->slot;
	l->identity = tls_identity_ref(setup->identity);
	l->expected = setup->expected ? x_strdup(setup->expected) : NULL;
	l->dialled = setup->expected != NULL;
	l->probe = setup->probe;
	l->phase = PHASE_HELLO;
	l->sender = FROM_EITHER;
	l->state = LINK_CONNECT;
	frame_reader_init(&l->frames);
	uv_tcp_init(setup->loop, &l->tcp);
	uv_timer_init(setup->loop, &l->deadline);
	uv_idle_init(setup->loop, &l->kick);
	l->tcp.data = l->deadline.data = l->kick.data = l;
	l->handles = 3;
	l->verdict = (struct tls_verdict){
		.expected = l->expected, .address = l->address, .peer_is_server = l->dialled};
	start_deadline(l);
	return l;
}

static void name_after_socket(struct link *l)
{
	struct sockaddr_storage from = {0};
	int len = sizeof(from);
	uv_tcp_getpeername(&l->tcp, (struct sockaddr *)&from, &len);
	address_text(l->address, (struct sockaddr *)&from);
}

struct link *link_accept(uv_stream_t *listener, const struct link_setup *setup)
{
	struct link *l = link_new(setup);
	int r = uv_accept(listener, (uv_stream_t *)&l->tcp);
	if (r < 0) {
		link_drop(l, 0, "accept: %s", uv_strerror(r));
		return l;
	}
	name_after_socket(l);
	link_start(l);
	return l;
}

struct link *link_dial(const struct sockaddr *to, const struct link_setup *setup)
{
	struct link *l = link_new(setup);
	snprintf(l->address, sizeof(l->address), "%s", setup->address);
	int r = uv_tcp_connect(&l->connect, &l->tcp, to, link_on_connected);
	if (r < 0)
		link_drop(l, 0, "connect: %s", uv_strerror(r));
	return l;
}

/* A frame waits for nothing but the end of the loop's turn: without TCP_NODELAY the kernel would
 * hold the last segment of an acknowledgement back for a round trip. */
void link_start(struct link *l)
{
	uv_tcp_nodelay(&l->tcp, 1);
	l->tls = tls_session_new(l->identity, &l->verdict);
	if (l->probe)
		tls_ask_as_probe(l->tls);
	link_become(l, LINK_TLS);
	link_update_reading(l);
	link_pump(l);
}

void link_admit(struct link *l)
{
	l->admitted = true;
	if (!l->dialled)
		link_open(l);
	link_update_reading(l);
	link_wake(l); /* the peer's HELLO may be here already */
}

void link_open(struct link *l)
{
	link_become(l, LINK_HELLO);
	l->opened = true;
	l->events->open(l->events->owner, l, l->verdict.node);
}

void link_go_live(struct link *l, unsigned peer_sender)
{
	if (link_is_closing(l))
		return;
	l->sender = peer_sender;
	if (l->state == LINK_LIVE)
		return;
	l->phase = PHASE_LIVE;
	l->heard_ms = l->live_ms = clock_mono_ms();
	link_become(l, LINK_LIVE);
	l->guard->live(l->guard->owner, l);
}

void link_update_reading(struct link *l)
{
	bool taking = l->state == LINK_TLS || (l->state == LINK_PROVEN && l->admitted) ||
		      l->state == LINK_HELLO || l->state == LINK_LIVE;
	link_read(l, (taking && !l->paused) || l->state == LINK_FLUSH);
}

void link_pause(struct link *l)
{
	l->paused = true;
	link_update_reading(l);
}

void link_resume(struct link *l)
{
	if (!l->paused)
		return;
	l->paused = false;
	l->heard_ms = clock_mono_ms();
	link_wake(l); /* delivers what is here already, then reads on */
}

static void queue_frame(struct link *l, uint8_t type, const void *body, size_t len)
{
	frame_header(buf_extend(&l->plain, WIRE_HEADER_LEN), type, (uint32_t)len);
	buf_append(&l->plain, body, len);
}

bool link_send(struct link *l, uint8_t type, const void *body, size_t len)
{
	const struct wire_rule *rule = wire_rule(type);
	BUG_ON(!rule || len > rule->body_max);
	if (l->state != LINK_HELLO && l->state != LINK_LIVE)
		return false;
	queue_frame(l, type, body, len);
	if (l->plain.len - l->sent >= LINK_BUFFER)
		link_flush(l);
	else
		link_wake(l);
	if (link_queued(l) > LINK_SEND_MAX)
		link_end(l, BYE_TIMEOUT, "%u MiB wait to be sent and it does not read them",
			 LINK_SEND_MAX >> 20);
	l->above_high = l->above_high || link_queued(l) > LINK_SEND_HIGH;
	return !l->above_high;
}

static void queue_bye(struct link *l, uint16_t reason)
{
	uint8_t body[BYE_BODY_MAX];
	struct wire_bye bye = {.reason = reason};
	struct wr w;
	snprintf(bye.text, sizeof(bye.text), "%.*s", WIRE_TEXT_MAX, l->why);
	wr_init(&w, body, sizeof(body));
	wire_encode_bye(&w, &bye);
	queue_frame(l, WIRE_BYE, body, wr_len(&w));
}

static void remember(struct link *l, uint16_t reason, const char *fmt, va_list ap)
{
	l->reason = reason;
	vsnprintf(l->why, sizeof(l->why), fmt, ap);
}

void link_end(struct link *l, uint16_t reason, const char *fmt, ...)
{
	if (link_is_closing(l))
		return;
	va_list ap;
	va_start(ap, fmt);
	remember(l, reason, fmt, ap);
	va_end(ap);
	if (l->state == LINK_CONNECT || l->write_failed) {
		link_destroy(l);
		return;
	}
	if (reason != 0 && l->tls_done && !l->tls_broken)
		queue_bye(l, reason);
	link_become(l, LINK_FLUSH);
	link_update_reading(l);
	link_flush(l);
}

void link_drop(struct link *l, uint16_t reason, const char *fmt, ...)
{
	if (link_is_closing(l))
		return;
	va_list ap;
	va_start(ap, fmt);
	remember(l, reason, fmt, ap);
	va_end(ap);
	link_destroy(l);
}

void link_close(struct link *l, uint16_t reason, const char *text)
{
	link_end(l, reason, "%s", text);
}

static void link_free(struct link *l)
{
	SSL_free(l->tls);
	tls_identity_free(l->identity);
	frame_reader_release(&l->frames);
	buf_release(&l->plain);
	free(l->expected);
	free(l);
}

static void on_handle_closed(uv_handle_t *handle)
{
	struct link *l = handle->data;
	if (--l->handles > 0)
		return; /* libuv still points into *l */
	if (l->opened)
		l->events->closed(l->events->owner, l, l->reason, l->why);
	l->guard->ended(l->guard->owner, l, l->reason, l->why);
	link_free(l);
}

void link_destroy(struct link *l)
{
	if (l->state == LINK_CLOSED)
		return;
	link_become(l, LINK_CLOSED);
	uv_close((uv_handle_t *)&l->tcp, on_handle_closed);
	uv_close((uv_handle_t *)&l->deadline, on_handle_closed);
	uv_close((uv_handle_t *)&l->kick, on_handle_closed);
}

bool link_is_closing(const struct link *l)
{
	return l->state >= LINK_FLUSH;
}

bool link_is_writable(const struct link *l)
{
	return !l->above_high && (l->state == LINK_HELLO || l->state == LINK_LIVE);
}

size_t link_queued(const struct link *l)
{
	return l->plain.len - l->sent + l->in_flight;
}

const char *link_peer(const struct link *l)
{
	return l->opened ? l->verdict.node : NULL;
}

const char *link_address(const struct link *l)
{
	return l->address;
}

bool link_was_dialled(const struct link *l)
{
	return l->dialled;
}

uint64_t link_bytes_in(const struct link *l)
{
	return l->bytes_in;
}

uint64_t link_bytes_out(const struct link *l)
{
	return l->bytes_out;
}
