/* range_server.c - answering RANGE_ASK: equal, split, or listed. */
#include <errno.h>
#include <string.h>

#include "agent/base/log.h"
#include "agent/sync/compare.h"
#include "agent/sync/job.h"
#include "agent/sync/range.h"
#include "protocol/messages.h"

#define ASKS_MAX 64
#define LIST_FLUSH (WIRE_FRAME_MAX - RECORD_ELEMENT_MAX - 4096)

struct range_server {
	uv_loop_t *loop;
	struct link *link;
	struct store *store;
	int jobs;
	bool closing;
	void (*closed)(void *arg);
	void *closed_arg;
};

struct answer_job {
	struct job job;
	struct range_server *server;
	uint32_t id;
	struct range asked, ours;
	struct range parts[WIRE_RANGES_MAX];
	size_t n_parts;
	bool listed;
	struct buf list; /* encoded records */
	uint16_t n_listed;
	int result;
	struct err err;
};

struct range_server *range_server_new(uv_loop_t *loop, struct link *link, struct store *store)
{
	struct range_server *rs = x_calloc(1, sizeof(*rs));
	rs->loop = loop;
	rs->link = link;
	rs->store = store;
	return rs;
}

static int list_records(struct answer_job *answer)
{
	AUTO(store_cursor) *cursor = NULL;
	AUTO_FREE uint8_t *one = x_calloc(1, RECORD_ELEMENT_MAX + 4096);
	const struct index_entry *entry;
	int r = store_cursor_open(&cursor, answer->server->store, answer->ours.lo, answer->ours.hi,
				  &answer->err);
	while (r >= 0 && (r = store_cursor_next(cursor, &entry, &answer->err)) > 0) {
		struct wr w;
		if (entry->rec.kind == RECORD_ABSENT)
			continue;
		wr_init(&w, one, RECORD_ELEMENT_MAX + 4096);
		wire_encode_one_record(&w, &entry->rec);
		uint32_t len = (uint32_t)wr_len(&w);
		buf_append(&answer->list, &len, sizeof(len));
		buf_append(&answer->list, one, len);
	}
	return r;
}

/* worker */
static void answer_work(struct job *job)
{
	struct answer_job *answer = container_of(job, struct answer_job, job);
	struct store *store = answer->server->store;
	answer->ours.lo = x_strdup(answer->asked.lo);
	answer->ours.hi = x_strdup(answer->asked.hi);
	answer->result = range_digest(&answer->ours, store, &answer->err);
	if (answer->result < 0)
		return;
	if (answer->ours.records == answer->asked.records &&
	    memcmp(answer->ours.digest, answer->asked.digest, HASH_LEN) == 0)
		return; /* equal: no parts */
	answer->listed = answer->ours.records <= RANGE_LIST_MAX;
	answer->result = answer->listed ? list_records(answer)
					: range_split(answer->parts, &answer->n_parts,
						      &answer->ours, store, &answer->err);
}

static void send_list_frame(struct answer_job *answer, const uint8_t *records, size_t len,
			    uint16_t n, bool last)
{
	AUTO_FREE uint8_t *body = x_calloc(1, WIRE_FRAME_MAX);
	struct wire_range_list m = {.id = answer->id, .flags = last ? RANGE_LAST : 0, .n = n};
	struct wr w;
	m.records = records;
	m.records_len = (uint32_t)len;
	wr_init(&w, body, WIRE_FRAME_MAX);
	wire_encode_range_list(&w, &m);
	BUG_ON(w.error);
	link_send(answer->server->link, WIRE_RANGE_LIST, body, wr_len(&w));
}

static void send_list(struct answer_job *answer)
{
	struct buf frame = {0};
	uint16_t n = 0;
	for (size_t at = 0; at < answer->list.len;) {
		uint32_t len;
		memcpy(&len, answer->list.data + at, sizeof(len));
		at += sizeof(len);
		if (frame.len > 0 && frame.len + len > LIST_FLUSH) {
			send_list_frame(answer, frame.data, frame.len, n, false);
			frame.len = n = 0;
		}
		buf_append(&frame, answer->list.data + at, len);
		at += len;
		n++;
	}
	send_list_frame(answer, frame.data, frame.len, n, true);
	buf_release(&frame);
}

static void send_split(struct answer_job *answer)
{
	AUTO_FREE uint8_t *body = x_calloc(1, WIRE_FRAME_MAX);
	struct wire_subrange ranges[WIRE_RANGES_MAX];
	for (size_t i = 0; i < answer->n_parts; i++) {
		ranges[i].hi = answer->parts[i].hi;
		ranges[i].records = answer->parts[i].records;
		memcpy(ranges[i].digest, answer->parts[i].digest, HASH_LEN);
	}
	struct wire_range_split m = {
		.id = answer->id, .n = (uint16_t)answer->n_parts, .ranges = ranges};
	struct wr w;
	wr_init(&w, body, WIRE_FRAME_MAX);
	wire_encode_range_split(&w, &m);
	BUG_ON(w.error);
	link_send(answer->server->link, WIRE_RANGE_SPLIT, body, wr_len(&w));
}

static void finish_close(struct range_server *rs)
{
	if (rs->jobs > 0)
		return;
	void (*closed)(void *arg) = rs->closed;
	void *arg = rs->closed_arg;
	free(rs);
	closed(arg);
}

static void answer_done(struct job *job)
{
	struct answer_job *answer = container_of(job, struct answer_job, job);
	struct range_server *rs = answer->server;
	rs->jobs--;
	if (answer->result < 0)
		log_error("compare", "range could not be read err=\"%s\"", answer->err.msg);
	else if (!rs->closing && answer->listed)
		send_list(answer);
	else if (!rs->closing)
		send_split(answer);
	for (size_t i = 0; i < answer->n_parts; i++)
		range_release(&answer->parts[i]);
	range_release(&answer->asked);
	range_release(&answer->ours);
	buf_release(&answer->list);
	free(answer);
	if (rs->closing)
		finish_close(rs);
}

int range_server_frame(struct range_server *rs, const struct frame *frame)
{
	struct wire_range_ask m;
	struct rd r;
	rd_init(&r, frame->body, frame->len);
	if (wire_decode_range_ask(&m, &r) < 0)
		return -EBADMSG;
	if (rs->jobs >= ASKS_MAX)
		return -EBUSY;
	struct answer_job *answer = x_calloc(1, sizeof(*answer));
	answer->server = rs;
	answer->id = m.id;
	answer->asked.lo = x_strdup(m.lo);
	answer->asked.hi = x_strdup(m.hi);
	answer->asked.records = m.records;
	memcpy(answer->asked.digest, m.digest, HASH_LEN);
	rs->jobs++;
	job_start(rs->loop, &answer->job, answer_work, answer_done);
	return 0;
}

void range_server_close(struct range_server *rs, void (*closed)(void *arg), void *arg)
{
	rs->closing = true;
	rs->closed = closed;
	rs->closed_arg = arg;
	finish_close(rs);
}
