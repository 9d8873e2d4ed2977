/* sender_stream.c - large files, piece by piece while the tenant goes on writing: after
 * agent/sync/sender_stream.c. A delta is the number of its basis and then the content: who does not
 * have the basis cannot make anything of it. */
#include <string.h>

#include "protocol/messages.h"
#include "world.h"

bool parcel_is_streaming(const struct parcel *p)
{
	return p->streamed && (p->state == STREAM_SENDING || p->state == STREAM_ASKING);
}

static void send_data(struct session *s, const struct parcel *p, uint8_t flags,
		      const uint8_t *bytes, uint32_t len)
{
	uint8_t body[CHUNK + 64];
	struct wire_data m = {.stream = p->ticket,
			      .flags = flags,
			      .raw_len = len,
			      .bytes = bytes,
			      .bytes_len = len};
	struct wr w;
	wr_init(&w, body, sizeof(body));
	wire_encode_data(&w, &m);
	session_send(s, WIRE_DATA, &w);
}

static void send_abort(struct session *s, const struct parcel *p)
{
	s->w->stats.aborts++;
	send_data(s, p, DATA_ABORT, NULL, 0);
}

void parcel_end(struct session *s, struct parcel *p)
{
	if (!parcel_is_streaming(p)) {
		p->used = false;
		return;
	}
	send_abort(s, p);
	p->dead = true;
	p->in_streams = false;
	if (!p->working)
		p->used = false;
}

/* ---- opening -------------------------------------------------------------------------------- */

static void open_work(struct session *s, uint32_t at);

void sender_start_stream(struct session *s, struct parcel *p)
{
	p->state = STREAM_OPENING;
	p->in_streams = p->working = true;
	session_job(s, MS, "open", open_work, (uint32_t)(p - s->sender.parcels));
}

static void begin_delta(struct session *s, struct parcel *p)
{
	if (chance(s->w, s->w->weather.give_up)) { /* not a signature to rely on */
		p->result = PARCEL_WASTE;
		p->in_streams = false;
		sender_give_up(s, p);
		return;
	}
	sender_send_record(s, p);
	p->state = STREAM_SENDING;
}

static void ask_signature(struct session *s, struct parcel *p)
{
	uint8_t body[WIRE_PATH_MAX + 64];
	struct wire_signature_ask ask = {.id = p->begun, .path = path_text[p->path]};
	struct wr w;
	content_hash(ask.hash, p->basis);
	wr_init(&w, body, sizeof(body));
	wire_encode_signature_ask(&w, &ask);
	p->state = STREAM_ASKING;
	session_send(s, WIRE_SIGNATURE_ASK, &w);
}

static void open_done(struct session *s, uint32_t at)
{
	struct parcel *p = &s->sender.parcels[at];
	p->working = false;
	if (s->closing)
		return;
	if (p->result != PARCEL_READY) {
		p->in_streams = false;
		sender_give_up(s, p);
	} else if (p->op == OP_DELTA && p->ask_signature) {
		ask_signature(s, p);
	} else if (p->op == OP_DELTA) {
		begin_delta(s, p);
	} else {
		p->in_streams = p->op == OP_WHOLE;
		p->state = p->op == OP_WHOLE ? STREAM_SENDING : STREAM_SENT;
		sender_send_record(s, p);
	}
	sender_pump(s);
}

static void open_work(struct session *s, uint32_t at)
{
	struct parcel *p = &s->sender.parcels[at];
	const struct disk *disk = &s->node->disk;
	sender_plan(s, p);
	if (p->result == PARCEL_READY && (p->op == OP_WHOLE || p->op == OP_DELTA)) {
		struct disk_stat now = disk_stat(disk, disk_at(disk, p->path));
		p->source = now.ino;
		if (!disk_stat_equal(&now, &p->row.inst, true))
			p->result = PARCEL_CHANGED;
	}
	session_job(s, MS, "open-done", open_done, at);
}

void sender_on_signature(struct session *s, const struct frame *frame)
{
	struct wire_signature m;
	struct rd r;
	struct parcel *p = NULL;
	rd_init(&r, frame->body, frame->len);
	if (wire_decode_signature(&m, &r) < 0)
		session_violated(s, "SIGNATURE");
	for (size_t i = 0; i < PARCELS_MAX; i++) {
		struct parcel *one = &s->sender.parcels[i];
		if (one->used && one->streamed && one->state == STREAM_ASKING && one->begun == m.id)
			p = one;
	}
	if (!p)
		session_violated(s, "SIGNATURE that nobody asked for");
	if (m.flags & SIGNATURE_NONE) {
		p->result = PARCEL_WASTE;
		p->in_streams = false;
		sender_give_up(s, p);
	} else {
		begin_delta(s, p);
	}
	sender_pump(s);
}

/* ---- pieces --------------------------------------------------------------------------------- */

static uint32_t stream_bytes(uint8_t out[8 + CONTENT_MAX], uint64_t content, const struct parcel *p)
{
	if (p->op != OP_DELTA)
		return content_bytes(out, content);
	memcpy(out, &p->basis, 8);
	return 8 + content_bytes(out + 8, content);
}

/* What is read now, of the file as it is now: torn, when it is being written to. */
static bool read_piece(struct session *s, struct parcel *p, uint8_t *piece, uint32_t *len)
{
	uint8_t bytes[8 + CONTENT_MAX];
	const struct disk_attrs *attrs = disk_attrs(&s->node->disk, p->source);
	if (!attrs)
		return false;
	uint32_t total = stream_bytes(bytes, attrs->content, p);
	*len = p->at >= total ? 0 : total - p->at < CHUNK ? total - p->at : CHUNK;
	memcpy(piece, bytes + p->at, *len);
	p->at += *len;
	return true;
}

/* The end of the file as it was indexed, and a second look at it. */
static bool finish_source(struct session *s, struct parcel *p)
{
	struct disk_stat now = disk_stat(&s->node->disk, p->source);
	return disk_stat_equal(&now, &p->row.inst, true);
}

static void step_done(struct session *s, uint32_t at);

static void step_work(struct session *s, uint32_t at)
{
	struct parcel *p = &s->sender.parcels[at];
	faults_race(s->w, s->node, p->path);
	if (p->op == OP_DELTA && chance(s->w, s->w->weather.give_up / 4))
		p->result = PARCEL_WASTE; /* too much of it is new */
	session_job(s, MS, "step-done", step_done, at);
}

static void step_done(struct session *s, uint32_t at)
{
	struct parcel *p = &s->sender.parcels[at];
	uint8_t piece[CHUNK];
	uint32_t len = 0, size = content_size(p->row.content) + (p->op == OP_DELTA ? 8 : 0);
	p->working = false;
	if (s->closing)
		return;
	if (p->dead) {
		p->used = false;
		return;
	}
	if (p->result == PARCEL_READY && !read_piece(s, p, piece, &len))
		p->result = PARCEL_CHANGED;
	p->last = p->at >= size || len == 0;
	if (p->result == PARCEL_READY && p->last && !finish_source(s, p))
		p->result = PARCEL_CHANGED;
	if (p->result != PARCEL_READY) {
		send_abort(s, p);
		p->in_streams = false;
		sender_give_up(s, p);
	} else {
		send_data(s, p, p->last ? DATA_LAST : 0, piece, len);
		if (p->last) {
			p->in_streams = false;
			p->state = STREAM_SENT;
			outbound_sent(s->sender.outbound, p->begun);
		}
	}
	sender_pump(s);
}

void sender_step_streams(struct session *s)
{
	for (uint32_t i = 0; i < PARCELS_MAX; i++) {
		struct parcel *p = &s->sender.parcels[i];
		if (!p->used || !p->in_streams || p->state != STREAM_SENDING || p->working ||
		    !s->link || !side_is_writable(s->link))
			continue;
		p->working = true;
		session_job(s, MS, "step", step_work, i);
	}
}
