/* Between frames and socket: TLS over two memory BIOs. Everything that arrived is put into one and
 * pulled out as clear text until it is empty or the user paused; everything TLS wants to say is
 * taken from the other and written. OpenSSL never touches the socket. */
#include <errno.h>
#include <openssl/err.h>
#include <string.h>

#include "agent/base/clock.h"
#include "agent/base/quote.h"
#include "agent/net/link_private.h"
#include "protocol/messages.h"

#define TLS_RECORD_ALERT 0x15
#define TLS_RECORD_HANDSHAKE 0x16
#define COMPACT_AT                                                                     \
	(256u * 1024) /* bytes sent of the queue before the rest is moved to its front \
		       */

static void tls_failed(struct link *l, int result)
{
	char why[TLS_WHY_MAX];
	int error = SSL_get_error(l->tls, result);
	l->tls_broken = error != SSL_ERROR_ZERO_RETURN;
	tls_explain(why, l->identity, &l->verdict, error);
	if (error == SSL_ERROR_ZERO_RETURN)
		link_drop(l, 0, "%s", why);
	else
		link_end(l, 0, "%s",
			 why); /* flushes TLS's alert, so that the other side knows too */
}

static bool needs_more(struct link *l, int result)
{
	return SSL_get_error(l->tls, result) == SSL_ERROR_WANT_READ;
}

static bool shake_hands(struct link *l)
{
	ERR_clear_error();
	int r = SSL_do_handshake(l->tls);
	if (r == 1) {
		l->tls_done = true;
		l->probe = tls_is_probe(l->tls);
		link_become(l, LINK_PROVEN);
		link_update_reading(l);
		l->guard->proven(l->guard->owner, l);
		return true;
	}
	if (!needs_more(l, r))
		tls_failed(l, r);
	return false;
}

static void bad_frame(struct link *l, const struct frame *f, int error)
{
	const struct wire_rule *rule = wire_rule(f->type);
	const char *name = rule ? rule->name : "?";
	if (error == -EBADMSG)
		link_end(l, BYE_MALFORMED, "a frame of the unknown type 0x%02x arrived", f->type);
	else if (error == -EMSGSIZE)
		link_end(l, BYE_OVERSIZED, "a %s of %u bytes arrived; it may have %u", name, f->len,
			 rule ? rule->body_max : 0);
	else if (error == -EPROTO)
		link_end(l, BYE_OUT_OF_PHASE, "a %s arrived %s", name,
			 l->phase == PHASE_HELLO ? "before HELLO was agreed"
						 : "from a side or at a time that may not send it");
	else
		link_end(l, BYE_INTERNAL, "frame: %s", strerror(-error));
}

static void on_bye(struct link *l, const struct frame *f)
{
	struct wire_bye bye;
	struct rd r;
	char q[QUOTED_MAX];
	rd_init(&r, f->body, f->len);
	if (wire_decode_bye(&bye, &r) < 0)
		link_drop(l, BYE_MALFORMED, "it said BYE, malformed in the field %s", r.field);
	else
		link_drop(l, bye.reason, "it said BYE (%s): %s", wire_reason_name(bye.reason),
			  quote_bytes(q, bye.text, strlen(bye.text)));
}

/* @return false when the buffered bytes hold no whole frame */
static bool deliver_frame(struct link *l)
{
	struct frame f;
	size_t before = l->frames.used;
	int r = frame_next(&l->frames, &f, l->phase, l->sender);
	if (r == 0)
		return false;
	if (r < 0) {
		bad_frame(l, &f, r);
	} else if (f.type == WIRE_BYE) {
		on_bye(l, &f);
	} else if (l->state == LINK_PROVEN) {
		l->frames.used = before; /* put back: open() may pause or close */
		link_open(l);
	} else if (l->events->frame(l->events->owner, l, &f) < 0) {
		link_end(l, BYE_INTERNAL, "a frame could not be handled"); /* if not closed yet */
	}
	return true;
}

static bool decrypt(struct link *l)
{
	ERR_clear_error();
	int n = SSL_read(l->tls, l->input, sizeof(l->input));
	if (n > 0) {
		if (frame_feed(&l->frames, l->input, (size_t)n) < 0)
			link_end(l, BYE_INTERNAL, "out of memory");
		return true;
	}
	if (!needs_more(l, n))
		tls_failed(l, n);
	return false;
}

/* One step; false when there is nothing to do until more arrives or the user resumes. */
static bool step(struct link *l)
{
	switch (l->state) {
	case LINK_TLS: return shake_hands(l);
	case LINK_PROVEN: return l->admitted && (deliver_frame(l) || decrypt(l));
	case LINK_HELLO:
	case LINK_LIVE: return !l->paused && (deliver_frame(l) || decrypt(l));
	default: return false;
	}
}

void link_pump(struct link *l)
{
	while (step(l))
		;
	link_flush(l);
}

static bool is_plain_text(const struct link *l)
{
	return l->state == LINK_TLS && l->input[0] != TLS_RECORD_HANDSHAKE &&
	       l->input[0] != TLS_RECORD_ALERT;
}

void link_take(struct link *l, size_t len)
{
	char q[QUOTED_MAX];
	bool first = l->bytes_in == 0;
	l->bytes_in += len;
	l->heard_ms = clock_mono_ms();
	if (l->state == LINK_FLUSH)
		return; /* read so that closing does not reset the connection under our last words
			 */
	if (first && is_plain_text(l)) {
		link_end(l, 0, "it does not speak TLS: it began with %s",
			 quote_bytes(q, l->input, len < 16 ? len : 16));
		return;
	}
	int n = BIO_write(SSL_get_rbio(l->tls), l->input, (int)len);
	BUG_ON(n != (int)len); /* a memory BIO takes all */
	link_pump(l);
}

static bool may_encrypt(const struct link *l)
{
	return l->tls_done && !l->tls_broken && !l->write_failed && l->state != LINK_CLOSED &&
	       l->sent < l->plain.len && l->in_flight < LINK_IN_FLIGHT_MAX;
}

/* Moving the rest to the front at every flush would copy a full queue dozens of times. */
static void drop_sent(struct link *l)
{
	if (l->sent == l->plain.len || l->sent >= COMPACT_AT) {
		buf_consume(&l->plain, l->sent);
		l->sent = 0;
	}
}

static void say_goodbye(struct link *l)
{
	if (l->said_goodbye || (l->sent < l->plain.len && !l->tls_broken))
		return;
	l->said_goodbye = true;
	if (l->tls_done && !l->tls_broken) {
		ERR_clear_error();
		SSL_shutdown(l->tls); /* tells a cut connection from an ended one */
		link_write(l);
	}
	link_finish_writing(l);
}

void link_flush(struct link *l)
{
	if (l->state == LINK_CONNECT || l->state == LINK_CLOSED)
		return;
	link_write(l);
	while (may_encrypt(l)) {
		size_t left = l->plain.len - l->sent;
		ERR_clear_error();
		int n = SSL_write(l->tls, l->plain.data + l->sent,
				  (int)(left < LINK_BUFFER ? left : LINK_BUFFER));
		if (n <= 0) {
			tls_failed(l, n);
			return;
		}
		l->sent += (size_t)n;
		link_write(l);
	}
	drop_sent(l);
	if (l->state == LINK_FLUSH)
		say_goodbye(l);
}
