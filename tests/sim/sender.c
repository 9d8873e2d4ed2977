/* sender.c - what goes next, what came back: after agent/sync/sender.c, sender_prepare.c and
 * sender_acks.c. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "protocol/messages.h"
#include "world.h"

#define RETRY_FIRST SECOND
#define RETRY_MAX (60 * SECOND)

void sender_start(struct session *s)
{
	struct world *w = s->w;
	struct outbound_limits limits = {.records = 4 + below(w, UNDER_WAY_MAX - 3),
					 .bytes = 300 + below(w, 3000),
					 .streams = STREAMS_MAX,
					 .pending = 4 * PAGE_ROWS};
	s->sender = (struct sender){.outbound = outbound_new(&limits), .retry_wait = RETRY_FIRST};
}

void sender_release(struct session *s)
{
	outbound_free(s->sender.outbound);
	s->sender.outbound = NULL;
	s->sender.retry_timer++;
}

/* ---- what is offered again after a while ----------------------------------------------------- */

static void on_retry(struct world *w, struct node *node, int peer, uint32_t arg)
{
	struct session *s = &node->sessions[peer];
	(void)w;
	if (!s->sender.outbound || s->sender.retry_timer != arg || s->closing)
		return;
	s->sender.retry_at = 0;
	sender_kick(s, true);
}

static void retry_later(struct session *s)
{
	struct sender *sd = &s->sender;
	if (sd->retry_at != 0 || s->closing)
		return;
	sd->retry_at = s->w->now + sd->retry_wait;
	later(s->w, s->node, sd->retry_wait, "retry", on_retry, s->peer, ++sd->retry_timer);
	if (sd->retry_wait < RETRY_MAX)
		sd->retry_wait *= 2;
}

/* ---- pages of the index --------------------------------------------------------------------- */

static int offer(struct session *s, const struct pending *p)
{
	bool leaf = p->kind == RECORD_FILE || p->kind == RECORD_SYMLINK;
	unsigned flags = (p->size > CONTENT_INLINE_MAX ? OUTBOUND_STREAMED : 0) |
			 (leaf ? OUTBOUND_LEAF : 0) |
			 (p->kind == RECORD_ABSENT ? OUTBOUND_DELETION : 0);
	int r = outbound_offer(s->sender.outbound, path_text[p->path], p->seq, p->size, flags);
	trace(s->w, s->node, "  offers %s seq %llu flags %u: %d", path_text[p->path],
	      (unsigned long long)p->seq, flags, r);
	return r;
}

static void offer_page(struct session *s)
{
	struct sender *sd = &s->sender;
	/* A page is cut short also where a record and the directories above it do not fit. */
	size_t least = s->w->mutation == MUTATE_SHORT_PAGE ? PAGE_ROWS : 1;
	for (size_t i = 0; i < sd->n_page; i++) {
		/* What was asked for again has taken the room meanwhile: the page is read again. */
		if (offer(s, &sd->page[i]) == -EAGAIN)
			return;
	}
	if (sd->n_page > 0)
		sd->cursor = sd->page[sd->n_page - 1].seq;
	if (sd->n_page >= least)
		return;
	sd->covered = sd->page_covered;
	if (sd->cursor < sd->covered)
		sd->cursor = sd->covered;
	sd->more = s->node->store.last_seq > sd->covered;
}

static void refill_done(struct session *s, uint32_t arg)
{
	(void)arg;
	s->sender.refilling = false;
	if (s->closing)
		return;
	if (!s->sender.restart)
		offer_page(s);
	sender_pump(s);
}

static void refill_work(struct session *s, uint32_t arg)
{
	struct sender *sd = &s->sender;
	(void)arg;
	sd->page_covered = s->node->store.last_seq;
	sd->n_page = store_pending(&s->node->store, s->peer, sd->cursor, sd->page, PAGE_ROWS);
	session_job(s, MS, "refill-done", refill_done, 0);
}

static void refill(struct session *s)
{
	struct sender *sd = &s->sender;
	if (!sd->more || sd->refilling || outbound_room(sd->outbound) < PAGE_ROWS)
		return;
	if (sd->restart)
		sd->cursor = sd->covered = 0;
	sd->restart = false;
	sd->refilling = true;
	session_job(s, MS, "refill", refill_work, 0);
}

void sender_kick(struct session *s, bool from_start)
{
	s->sender.more = true;
	s->sender.restart |= from_start;
	sender_pump(s);
}

/* ---- barriers ------------------------------------------------------------------------------- */

void sender_want_barrier(struct session *s)
{
	s->sender.want_barrier = true;
	sender_pump(s);
}

static void send_barrier_if_drained(struct session *s)
{
	struct sender *sd = &s->sender;
	struct store *store = &s->node->store;
	uint8_t body[256];
	struct wr w;
	bool early = s->w->mutation == MUTATE_BARRIER_EARLY;
	if (!sd->want_barrier || (sd->retry_at != 0 && !early) || sd->more || sd->refilling ||
	    sd->n_barriers == sizeof(sd->barriers) / sizeof(sd->barriers[0]) ||
	    !outbound_is_drained(sd->outbound))
		return;
	if (store->last_seq != sd->covered) {
		sd->more = true;
		refill(s);
		return;
	}
	struct wire_barrier barrier = {.seq = store->last_seq,
				       .clock_ns = (int64_t)s->w->now * 1000,
				       .records = store->records,
				       .id = ++sd->barrier_id,
				       .denials = outbound_denials(sd->outbound)};
	memcpy(barrier.digest, store_digest(store), sizeof(barrier.digest));
	barrier.chain_n = store->chain_n;
	memcpy(barrier.chain, store->chain, sizeof(barrier.chain));
	wr_init(&w, body, sizeof(body));
	wire_encode_barrier(&w, &barrier);
	session_send(s, WIRE_BARRIER, &w);
	sd->want_barrier = false;
	struct barrier_sent *sent = &sd->barriers[sd->n_barriers++];
	sent->id = barrier.id;
	sent->seq = barrier.seq;
	memcpy(sent->rows, store->rows, sizeof(sent->rows));
}

static void on_barrier_done(struct session *s, const struct frame *frame)
{
	struct sender *sd = &s->sender;
	struct wire_barrier_done m;
	struct rd r;
	rd_init(&r, frame->body, frame->len);
	if (wire_decode_barrier_done(&m, &r) < 0 || sd->n_barriers == 0 ||
	    sd->barriers[0].id != m.id)
		session_violated(s, "BARRIER_DONE");
	uint64_t seq = sd->barriers[0].seq;
	memmove(&sd->barriers[0], &sd->barriers[1], --sd->n_barriers * sizeof(sd->barriers[0]));
	if (m.outcome == BARRIER_MATCHED) {
		s->matched_seq = seq;
		session_matched(s, s->their_chain_n, s->their_chain);
	} else if (m.outcome == BARRIER_MISMATCH) {
		session_on_mismatch(s);
	}
}

/* ---- small records, in groups -----------------------------------------------------------------
 */

static struct parcel *parcel_new(struct session *s, const struct outbound_item *item)
{
	for (size_t i = 0; i < PARCELS_MAX; i++) {
		struct parcel *p = &s->sender.parcels[i];
		if (p->used)
			continue;
		*p = (struct parcel){.used = true,
				     .begun = item->ticket,
				     .seq = item->seq,
				     .need = item->need,
				     .path = path_find(item->path),
				     .streamed = item->streamed};
		return p;
	}
	world_fail(s->w, "more records under way than outbound was allowed");
}

static int find_hint(const struct session *s, const struct parcel *p)
{
	const struct peer_rows *peer = &s->node->store.peers[s->peer];
	if (p->row.kind != RECORD_FILE || p->need != 0 || p->row.content == 0)
		return -1;
	for (int path = 1; path < N_PATHS; path++) {
		if (peer->acked[path].present && peer->acked[path].kind == RECORD_FILE &&
		    peer->acked[path].content == p->row.content)
			return path;
	}
	return -1;
}

static uint8_t choose_op(struct session *s, struct parcel *p, const struct acked_row *acked)
{
	bool known = acked->present && acked->kind == RECORD_FILE;
	if (p->row.kind == RECORD_ABSENT)
		return OP_DELETE;
	if (p->row.kind != RECORD_FILE)
		return OP_META;
	if (p->need == 0 && known && acked->content == p->row.content)
		return OP_META;
	if ((p->need == 0 || p->need == NEED_PARENT) && p->hint > 0)
		return OP_REF;
	if (p->need == 0 && known && p->streamed &&
	    content_size(acked->content) > CONTENT_INLINE_MAX) {
		p->basis = acked->content;
		p->ask_signature = below(s->w, 2) == 0; /* or it is in the cache */
		return OP_DELTA;
	}
	return OP_WHOLE;
}

/* worker */
void sender_plan(struct session *s, struct parcel *p)
{
	p->row = s->node->store.rows[p->path];
	if (p->row.kind == 0 || p->row.seq != p->seq) {
		p->result = PARCEL_STALE;
		return;
	}
	p->hint = find_hint(s, p);
	p->op = choose_op(s, p, &s->node->store.peers[s->peer].acked[p->path]);
}

/* worker: reads at one moment; what is there must be what was indexed. */
static void load(struct session *s, struct parcel *p)
{
	const struct disk *disk = &s->node->disk;
	faults_race(s->w, s->node, p->path);
	uint32_t ino = disk_at(disk, p->path);
	struct disk_stat now = disk_stat(disk, ino);
	if (p->result != PARCEL_READY || p->op != OP_WHOLE)
		return;
	if (!disk_stat_equal(&now, &p->row.inst, true) ||
	    disk_attrs(disk, ino)->content != p->row.content)
		p->result = PARCEL_CHANGED;
}

static void group_done(struct session *s, uint32_t arg)
{
	struct sender *sd = &s->sender;
	(void)arg;
	sd->preparing = false;
	if (s->closing)
		return;
	for (size_t i = 0; i < sd->n_group; i++) {
		struct parcel *p = &sd->parcels[sd->group[i]];
		if (p->result == PARCEL_READY)
			sender_send_record(s, p);
		else
			sender_give_up(s, p);
	}
	sender_pump(s);
}

static void group_load(struct session *s, uint32_t at)
{
	struct sender *sd = &s->sender;
	load(s, &sd->parcels[sd->group[at]]);
	if (at + 1 < sd->n_group)
		session_job(s, MS / 2, "load", group_load, at + 1);
	else
		session_job(s, MS / 2, "group-done", group_done, 0);
}

static void group_plan(struct session *s, uint32_t arg)
{
	struct sender *sd = &s->sender;
	(void)arg;
	for (size_t i = 0; i < sd->n_group; i++)
		sender_plan(s, &sd->parcels[sd->group[i]]);
	session_job(s, MS / 2, "load", group_load, 0);
}

static bool may_send(const struct session *s)
{
	return !s->closing && s->link && side_is_writable(s->link);
}

static void prepare_group(struct session *s)
{
	struct sender *sd = &s->sender;
	const struct outbound_item *item;
	if (sd->preparing || !may_send(s))
		return;
	sd->n_group = 0;
	while (sd->n_group < GROUP_MAX && (item = outbound_begin(sd->outbound))) {
		struct parcel *p = parcel_new(s, item);
		trace(s->w, s->node, "  begins %s seq %llu need %d", item->path,
		      (unsigned long long)item->seq, item->need);
		if (p->streamed)
			sender_start_stream(s, p);
		else
			sd->group[sd->n_group++] = (uint8_t)(p - sd->parcels);
	}
	if (sd->n_group == 0)
		return;
	sd->preparing = true;
	session_job(s, MS, "plan", group_plan, 0);
}

void sender_send_record(struct session *s, struct parcel *p)
{
	static uint8_t body[WIRE_FRAME_MAX];
	struct sender *sd = &s->sender;
	struct wire_record m = {.op = p->op, .ticket = p->ticket = ++sd->last_ticket};
	struct record_bytes bytes;
	uint8_t content[CONTENT_MAX];
	struct wr w;
	if (p->streamed && (p->op == OP_WHOLE || p->op == OP_DELTA))
		m.stream = p->ticket;
	row_record(&m.record, &bytes, p->path, &p->row);
	if (p->op == OP_DELTA)
		content_hash(m.basis, p->basis);
	if (p->op == OP_REF)
		m.hint = path_text[p->hint];
	if (p->op == OP_WHOLE && m.stream == 0) {
		m.raw_len = m.bytes_len = content_bytes(content, p->row.content);
		m.bytes = content;
	}
	trace(s->w, s->node, "  -> %s RECORD %u op %d %s seq %llu", s->w->nodes[s->peer].name,
	      p->ticket, p->op, path_text[p->path], (unsigned long long)p->seq);
	wr_init(&w, body, sizeof(body));
	wire_encode_record(&w, &m);
	session_send(s, WIRE_RECORD, &w);
	if (m.stream == 0)
		outbound_sent(sd->outbound, p->begun);
}

void sender_give_up(struct session *s, struct parcel *p)
{
	struct sender *sd = &s->sender;
	s->w->stats.give_ups++;
	if (p->result == PARCEL_WASTE) {
		int r = s->w->mutation == MUTATE_COUNT_GIVE_UP
				? outbound_needed(sd->outbound, p->begun, NEED_CONTENT)
				: outbound_otherwise(sd->outbound, p->begun);
		if (r < 0)
			retry_later(s);
	} else {
		sd->gave_up = true;
		outbound_abandon(sd->outbound, p->begun);
		if (p->result == PARCEL_CHANGED)
			intake_changed(s->w, s->node, 1ull << p->path);
		retry_later(s);
	}
	p->used = false;
}

void sender_pump(struct session *s)
{
	if (s->closing)
		return;
	refill(s);
	prepare_group(s);
	sender_step_streams(s);
	send_barrier_if_drained(s);
}

/* ---- answers -------------------------------------------------------------------------------- */

static struct parcel *find_sent(struct session *s, uint32_t ticket, const char *what)
{
	if (ticket == 0 || ticket > s->sender.last_ticket)
		session_violated(s, what);
	for (size_t i = 0; i < PARCELS_MAX; i++) {
		struct parcel *p = &s->sender.parcels[i];
		if (p->used && !p->dead && p->ticket == ticket)
			return p;
	}
	return NULL; /* it crossed our abort */
}

static void on_ack(struct session *s, const struct frame *frame)
{
	static uint32_t tickets[WIRE_ACKS_MAX];
	struct sender *sd = &s->sender;
	struct wire_ack m;
	struct rd r;
	rd_init(&r, frame->body, frame->len);
	if (wire_decode_ack(&m, tickets, &r) < 0)
		session_violated(s, "ACK");
	for (uint32_t i = 0; i < m.n; i++) {
		struct parcel *p = find_sent(s, m.tickets[i], "ACK");
		if (!p)
			continue;
		if (parcel_is_streaming(p))
			session_violated(s, "ACK of a stream that runs");
		outbound_done(sd->outbound, p->begun);
		sd->acks[sd->n_acks++] = (struct ack_item){
			.path = p->path,
			.row = {.present = true,
				.kind = p->row.kind,
				.seq = p->seq,
				.content = p->row.kind == RECORD_FILE ? p->row.content : 0}};
		if (sd->n_acks == 2 * PARCELS_MAX)
			world_fail(s->w, "acknowledgements pile up");
		p->used = false;
	}
	sd->chain_n = m.chain_n;
	memcpy(sd->chain, m.chain, sizeof(sd->chain));
	sd->retry_wait = RETRY_FIRST;
	sender_store_acks(s);
	sender_pump(s);
}

static void on_need(struct session *s, const struct frame *frame)
{
	struct sender *sd = &s->sender;
	struct wire_need m;
	struct rd r;
	rd_init(&r, frame->body, frame->len);
	if (wire_decode_need(&m, &r) < 0)
		session_violated(s, "NEED");
	s->w->stats.needs++;
	struct parcel *p = find_sent(s, m.ticket, "NEED");
	if (!p) {
		if (s->w->mutation != MUTATE_FORGET_CROSSING)
			outbound_needed(sd->outbound, 0, m.reason);
		return;
	}
	if (m.reason == NEED_PARENT) {
		store_unack(&s->node->store, s->peer, path_above[p->path] & ~1ull);
		sd->restart = sd->more = true;
	}
	if (outbound_needed(sd->outbound, p->begun, m.reason) < 0)
		retry_later(s);
	if (m.reason == NEED_VERIFY)
		intake_changed(s->w, s->node, 1ull << p->path);
	parcel_end(s, p);
	sender_pump(s);
}

static void on_refused(struct session *s, const struct frame *frame)
{
	struct wire_refused m;
	struct rd r;
	rd_init(&r, frame->body, frame->len);
	if (wire_decode_refused(&m, &r) < 0)
		session_violated(s, "REFUSED");
	s->w->stats.refusals++;
	struct parcel *p = find_sent(s, m.ticket, "REFUSED");
	if (p || s->w->mutation != MUTATE_FORGET_CROSSING)
		outbound_refused(s->sender.outbound, p ? p->begun : 0);
	if (!p)
		return;
	parcel_end(s, p);
	retry_later(s);
	sender_pump(s);
}

void sender_frame(struct session *s, const struct frame *frame)
{
	if (s->closing)
		return;
	switch (frame->type) {
	case WIRE_ACK: on_ack(s, frame); break;
	case WIRE_NEED: on_need(s, frame); break;
	case WIRE_REFUSED: on_refused(s, frame); break;
	case WIRE_BARRIER_DONE: on_barrier_done(s, frame); break;
	case WIRE_SIGNATURE: sender_on_signature(s, frame); break;
	default: session_violated(s, wire_rule(frame->type)->name);
	}
}
