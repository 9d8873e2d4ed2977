#include "network.h"

#include <stdlib.h>
#include <string.h>

#include "protocol/messages.h"
#include "world.h"

#define WRITABLE_BELOW 1500 /* bytes on their way */
#define USUAL_LATENCY (2 * MS)

static struct connection *find(struct world *w, uint32_t id)
{
	for (size_t i = 0; i < CONNECTIONS_MAX; i++) {
		if (w->connections[i].id == id)
			return &w->connections[i];
	}
	return NULL;
}

struct side *side_other(const struct side *side)
{
	struct connection *c = side->connection;
	return &c->sides[side == &c->sides[0]];
}

static void release(struct connection *c)
{
	for (int i = 0; i < 2; i++) {
		frame_reader_release(&c->sides[i].reader);
		free(c->sides[i].out);
	}
	*c = (struct connection){0};
}

static void release_if_over(struct connection *c)
{
	if (c->sides[0].told && c->sides[1].told)
		release(c);
}

void network_release(struct world *w)
{
	for (size_t i = 0; i < CONNECTIONS_MAX; i++) {
		if (w->connections[i].id)
			release(&w->connections[i]);
	}
}

/* ---- the end -------------------------------------------------------------------------------- */

static void on_told(struct world *w, struct node *node, int peer, uint32_t arg)
{
	struct connection *c = find(w, arg >> 1);
	if (!c)
		return;
	struct side *side = &c->sides[arg & 1];
	if (side->told)
		return;
	side->open = false;
	side->told = true;
	session_on_closed(w, side);
	release_if_over(c);
	(void)node;
	(void)peer;
}

void network_ended(struct world *w, uint32_t handle)
{
	on_told(w, NULL, 0, handle);
}

static uint32_t handle_of(const struct side *side)
{
	return side->connection->id << 1 | (side == &side->connection->sides[1]);
}

static void tell(struct world *w, struct side *side, uint64_t usual)
{
	later(w, side->node, delay(w, usual), "closed", on_told, side->peer, handle_of(side));
}

/* ---- bytes ---------------------------------------------------------------------------------- */

static void arrive(struct world *w, struct side *side);

static void on_arrival(struct world *w, struct node *node, int peer, uint32_t arg)
{
	struct connection *c = find(w, arg >> 1);
	if (!c || !c->sides[arg & 1].open)
		return;
	struct side *side = &c->sides[arg & 1], *from = side_other(side);
	side->arriving = false;
	uint32_t left = (uint32_t)(from->out_len - from->out_at);
	if (left == 0 && !from->open) {
		tell(w, side, MS);
		return;
	}
	bool was_writable = side_is_writable(from);
	uint32_t n = left == 0 ? 0 : 1 + below(w, below(w, 3) ? left : left < 7 ? left : 7);
	if (frame_feed(&side->reader, from->out + from->out_at, n) < 0)
		abort();
	from->out_at += n;
	if (!was_writable && side_is_writable(from) && from->open)
		later(w, from->node, delay(w, MS), "writable", session_on_writable, from->peer, 0);
	arrive(w, side); /* before the frames: they may close the connection */
	session_on_bytes(w, side);
	(void)node;
	(void)peer;
}

/* Brings the next bytes, or the news that there are no more. */
static void arrive(struct world *w, struct side *side)
{
	struct side *from = side_other(side);
	if (side->arriving || !side->open || !side->admitted ||
	    (from->out_at == from->out_len && from->open))
		return;
	side->arriving = true;
	later(w, side->node, delay(w, USUAL_LATENCY), "arrival", on_arrival, side->peer,
	      handle_of(side));
}

void side_admit(struct world *w, struct side *side)
{
	side->admitted = true;
	arrive(w, side);
}

bool side_is_writable(const struct side *side)
{
	return side->out_len - side->out_at < WRITABLE_BELOW;
}

static void append(struct side *side, const void *bytes, size_t len)
{
	if (side->out_at > 4096) {
		memmove(side->out, side->out + side->out_at, side->out_len - side->out_at);
		side->out_len -= side->out_at;
		side->out_at = 0;
	}
	if (side->out_cap - side->out_len < len) {
		side->out_cap = 2 * (side->out_len + len) + 256;
		side->out = realloc(side->out, side->out_cap);
	}
	memcpy(side->out + side->out_len, bytes, len);
	side->out_len += len;
}

void side_send(struct world *w, struct side *side, uint8_t type, const uint8_t *body, size_t len)
{
	uint8_t header[WIRE_HEADER_LEN];
	if (!side || !side->open || side->connection->cut)
		return;
	frame_header(header, type, (uint32_t)len);
	append(side, header, sizeof(header));
	if (len > 0)
		append(side, body, len);
	arrive(w, side_other(side));
}

void side_close(struct world *w, struct side *side, uint16_t reason, const char *text)
{
	uint8_t body[512];
	struct wire_bye bye = {.reason = reason};
	struct wr writer;
	if (!side->open)
		return;
	strncpy(bye.text, text, sizeof(bye.text) - 1);
	wr_init(&writer, body, sizeof(body));
	wire_encode_bye(&writer, &bye);
	side_send(w, side, WIRE_BYE, body, wr_len(&writer));
	side->open = false;
	arrive(w, side_other(side));
	if (!side_other(side)->admitted)
		tell(w, side_other(side), 10 * MS); /* it does not read: it notices otherwise */
	tell(w, side, MS);
}

void side_vanish(struct world *w, struct side *side)
{
	struct side *other = side_other(side);
	struct connection *c = side->connection;
	side->open = false;
	side->told = true;
	c->cut = true;
	if (!other->told)
		tell(w, other, below(w, 2) ? 5 * MS : SECOND); /* a reset, or silence */
	release_if_over(c);
}

/* What was on its way arrives up to some byte. */
void network_cut(struct world *w, struct connection *c)
{
	c->cut = true;
	for (int i = 0; i < 2; i++) {
		struct side *side = &c->sides[i];
		uint32_t left = (uint32_t)(side->out_len - side->out_at);
		side->out_len = side->out_at + below(w, left + 1);
		if (!side->told)
			tell(w, side, below(w, 2) ? 5 * MS : SECOND);
	}
}

/* ---- the beginning -------------------------------------------------------------------------- */

static void on_proven(struct world *w, struct node *node, int peer, uint32_t arg)
{
	struct connection *c = find(w, arg >> 1);
	if (c && c->sides[arg & 1].open)
		session_on_proven(w, &c->sides[arg & 1]);
	(void)node;
	(void)peer;
}

void network_dial(struct world *w, struct node *node, int peer)
{
	struct connection *c = find(w, 0);
	struct node *other = &w->nodes[peer];
	if (!c || !other->up || !other->listening)
		return;
	c->id = ++w->last_connection;
	for (int i = 0; i < 2; i++) {
		struct side *side = &c->sides[i];
		side->connection = c;
		side->node = i ? other : node;
		side->peer = i ? node->number : peer;
		side->dialled = i == 0;
		side->open = true;
		frame_reader_init(&side->reader);
		later(w, side->node, delay(w, 5 * MS), "proven", on_proven, side->peer,
		      handle_of(side));
	}
}
