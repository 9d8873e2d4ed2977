/* sender_stream.c - large files: opened on a worker, then read, compared and compressed piece by
 * piece while the link takes them; a few at a time, taking turns with each other and with small
 * records. */
#include "agent/sync/sender_internal.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "agent/sync/compress.h"
#include "protocol/messages.h"

static void unlink_stream(struct parcel *p)
{
	struct parcel **at = &p->sd->streams;
	while (*at != p)
		at = &(*at)->next_stream;
	*at = p->next_stream;
	p->sd->n_streams--;
}

static void fail(struct parcel *p, int error, const struct err *err)
{
	if (error == -ECANCELED || error == -E2BIG || error == -EBADMSG)
		p->result = PARCEL_WASTE;
	else if (error == -EAGAIN || error == -ENOENT)
		p->result = PARCEL_CHANGED;
	else
		p->result = PARCEL_FAILED;
	snprintf(p->why, sizeof(p->why), "%.150s", err->msg);
}

bool parcel_is_streaming(const struct parcel *p)
{
	return p->streamed && (p->state == STREAM_SENDING || p->state == STREAM_ASKING);
}

static void send_abort(struct parcel *p)
{
	uint8_t body[64];
	struct wire_data m = {.stream = p->ticket, .flags = DATA_ABORT};
	struct wr w;
	wr_init(&w, body, sizeof(body));
	wire_encode_data(&w, &m);
	link_send(p->sd->setup.link, WIRE_DATA, body, wr_len(&w));
}

void parcel_end(struct parcel *p)
{
	if (!parcel_is_streaming(p)) {
		parcel_free(p);
		return;
	}
	send_abort(p);
	p->dead = true;
	if (!p->working) {
		unlink_stream(p);
		parcel_free(p);
	}
}

/* ---- opening -------------------------------------------------------------------------------- */

/* worker */
static void open_work(struct job *job)
{
	struct parcel *p = container_of(job, struct parcel, job);
	struct err err = {0};
	parcel_plan(p);
	if (p->result != PARCEL_READY || (p->op != OP_WHOLE && p->op != OP_DELTA))
		return;
	int r = source_open(&p->source, p->sd->setup.tree, &p->entry, &err);
	if (r < 0)
		fail(p, r, &err);
}

static void ask_signature(struct parcel *p)
{
	uint8_t body[WIRE_PATH_MAX + 64];
	struct wire_signature_ask ask = {.id = p->begun, .path = p->path};
	memcpy(ask.hash, p->basis, sizeof(ask.hash));
	struct wr w;
	wr_init(&w, body, sizeof(body));
	wire_encode_signature_ask(&w, &ask);
	p->state = STREAM_ASKING;
	link_send(p->sd->setup.link, WIRE_SIGNATURE_ASK, body, wr_len(&w));
}

static void begin_delta(struct parcel *p)
{
	struct err err = {0};
	int r = source_delta(&p->delta, p->source, p->signature, p->signature_len, p->basis_size,
			     &err);
	if (r < 0) {
		/* Not a signature to rely on: constructed collisions, or another format. */
		fail(p, -ECANCELED, &err);
		unlink_stream(p);
		sender_give_up(p);
		return;
	}
	sender_send_record(p);
	p->state = STREAM_SENDING;
}

static void open_done(struct job *job)
{
	struct parcel *p = container_of(job, struct parcel, job);
	struct sender *sd = p->sd;
	p->working = false;
	if (sd->closing) {
		/* on_timer_closed() frees it with the others */
	} else if (p->dead) {
		unlink_stream(p);
		parcel_free(p);
	} else if (p->result != PARCEL_READY) {
		unlink_stream(p);
		sender_give_up(p);
	} else if (p->op == OP_DELTA && p->ask_signature) {
		ask_signature(p);
	} else if (p->op == OP_DELTA) {
		begin_delta(p);
	} else {
		if (p->op != OP_WHOLE) {
			unlink_stream(p);
			p->state = STREAM_SENT;
		} else {
			p->state = STREAM_SENDING;
		}
		sender_send_record(p);
	}
	sender_job_ended(sd);
}

void sender_start_stream(struct parcel *p)
{
	struct sender *sd = p->sd;
	p->state = STREAM_OPENING;
	p->next_stream = sd->streams;
	sd->streams = p;
	sd->n_streams++;
	p->working = true;
	sd->jobs++;
	job_start(sd->setup.loop, &p->job, open_work, open_done);
}

int sender_on_signature(struct sender *sd, const struct wire_signature *m)
{
	struct parcel *p = sd->streams;
	while (p && !(p->state == STREAM_ASKING && p->begun == m->id))
		p = p->next_stream;
	if (!p)
		return -EPROTO;
	/* One byte more than the signature of a file of that size can have is already a lie. */
	if (p->asked.len + m->bytes_len > delta_signature_len(p->basis_size) ||
	    ((m->flags & SIGNATURE_LAST) && !(m->flags & SIGNATURE_NONE) &&
	     p->asked.len + m->bytes_len != delta_signature_len(p->basis_size)))
		return -EMSGSIZE;
	buf_append(&p->asked, m->bytes, m->bytes_len);
	if (!(m->flags & SIGNATURE_LAST))
		return 0;
	if (p->dead) {
		unlink_stream(p);
		parcel_free(p);
	} else if (m->flags & SIGNATURE_NONE) {
		p->result = PARCEL_WASTE;
		unlink_stream(p);
		sender_give_up(p);
	} else {
		p->signature_len = p->asked.len;
		p->signature = p->asked.data;
		p->asked = (struct buf){0};
		begin_delta(p);
	}
	sender_pump(sd);
	return 0;
}

/* ---- pieces --------------------------------------------------------------------------------- */

/* Appends one DATA body, compressed where it pays. */
static void add_piece(struct parcel *p, const uint8_t *raw, size_t len, uint8_t flags)
{
	static _Thread_local uint8_t packed[WIRE_CHUNK_MAX];
	struct wire_data m = {
		.flags = flags, .raw_len = (uint32_t)len, .bytes = raw, .bytes_len = (uint32_t)len};
	size_t n = len > 0 && compress_pays(p->path)
			   ? compress_chunk(packed, sizeof(packed), raw, len, &p->compressing)
			   : 0;
	if (n > 0) {
		m.flags |= DATA_COMPRESSED;
		m.bytes = packed;
		m.bytes_len = (uint32_t)n;
	}
	m.stream = p->ticket;
	uint8_t *place = buf_extend(&p->pieces, sizeof(uint32_t) + m.bytes_len + 64);
	struct wr w;
	wr_init(&w, place + sizeof(uint32_t), m.bytes_len + 64);
	wire_encode_data(&w, &m);
	BUG_ON(w.error);
	uint32_t body_len = (uint32_t)wr_len(&w);
	memcpy(place, &body_len, sizeof(body_len));
	p->pieces.len -= m.bytes_len + 64 - body_len;
}

/* worker: the bytes of the file itself. @return 1 more, 0 the end */
static int read_whole(struct parcel *p, struct buf *raw, struct err *err)
{
	int64_t n = source_read(p->source, buf_extend(raw, STREAM_STEP), STREAM_STEP, err);
	raw->len = n > 0 ? (size_t)n : 0;
	return n < 0 ? (int)n : n > 0;
}

/* worker */
static void step_work(struct job *job)
{
	struct parcel *p = container_of(job, struct parcel, job);
	struct err err = {0};
	struct buf raw = {0};
	int r = p->op == OP_DELTA ? delta_job_step(p->delta, &raw, STREAM_STEP, &err)
				  : read_whole(p, &raw, &err);
	if (r == 0) {
		int check = source_finish(p->source, &err);
		p->last = check == 0;
		r = check;
	}
	for (size_t at = 0; r >= 0 && at < raw.len; at += WIRE_CHUNK_MAX) {
		size_t len = raw.len - at < WIRE_CHUNK_MAX ? raw.len - at : WIRE_CHUNK_MAX;
		bool is_end = p->last && at + len == raw.len;
		add_piece(p, raw.data + at, len, is_end ? DATA_LAST : 0);
	}
	if (r >= 0 && raw.len == 0 && p->last)
		add_piece(p, NULL, 0, DATA_LAST);
	if (r < 0) {
		fail(p, r, &err);
		buf_release(&p->pieces);
	}
	buf_release(&raw);
}

static void send_pieces(struct parcel *p)
{
	struct sender *sd = p->sd;
	for (size_t at = 0; at < p->pieces.len;) {
		uint32_t len;
		memcpy(&len, p->pieces.data + at, sizeof(len));
		at += sizeof(len);
		link_send(sd->setup.link, WIRE_DATA, p->pieces.data + at, len);
		sender_spend(sd, len);
		sd->counts.content_bytes += len;
		at += len;
	}
	p->pieces.len = 0;
}

static void step_done(struct job *job)
{
	struct parcel *p = container_of(job, struct parcel, job);
	struct sender *sd = p->sd;
	p->working = false;
	if (sd->closing) {
		/* on_timer_closed() frees it with the others */
	} else if (p->dead) {
		unlink_stream(p);
		parcel_free(p);
	} else if (p->result != PARCEL_READY) {
		send_abort(p);
		unlink_stream(p);
		sender_give_up(p);
	} else {
		send_pieces(p);
		if (p->last) {
			unlink_stream(p);
			p->state = STREAM_SENT;
			outbound_sent(sd->outbound, p->begun);
			source_free(p->source);
			p->source = NULL;
		}
	}
	sender_job_ended(sd);
}

void sender_step_streams(struct sender *sd)
{
	for (struct parcel *p = sd->streams; p && sender_may_send(sd); p = p->next_stream) {
		if (p->state != STREAM_SENDING || p->working)
			continue;
		p->working = true;
		sd->jobs++;
		job_start(sd->setup.loop, &p->job, step_work, step_done);
	}
}
