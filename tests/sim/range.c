/* range.c - answering RANGE_ASK: equal, split, or listed: after agent/sync/range.c and
 * range_server.c, with smaller ranges, so that few paths make many of them. */
#include <string.h>

#include "protocol/messages.h"
#include "world.h"

static size_t split(struct range out[RANGES_MAX + 1], const struct store *store,
		    const struct range *range)
{
	uint64_t per_part = range->records / RANGES_MAX + 1, in_part = 0;
	size_t n = 0;
	out[0].lo = range->lo;
	for (int path = range->lo; path < range->hi; path++) {
		if (!row_is_live(&store->rows[path]))
			continue;
		if (in_part++ == per_part && n < RANGES_MAX) {
			out[n++].hi = path;
			out[n].lo = path;
			in_part = 1;
		}
	}
	out[n++].hi = range->hi;
	for (size_t i = 0; i < n; i++)
		out[i].records = store_range_digest(store, out[i].lo, out[i].hi, out[i].digest);
	return n;
}

static void send_split(struct session *s, uint32_t id, const struct range *parts, size_t n)
{
	static uint8_t body[WIRE_FRAME_MAX];
	struct wire_subrange ranges[RANGES_MAX + 1];
	struct wire_range_split m = {.id = id, .n = (uint16_t)n, .ranges = ranges};
	struct wr w;
	for (size_t i = 0; i < n; i++) {
		ranges[i].hi = parts[i].hi == N_PATHS ? "" : path_text[parts[i].hi];
		ranges[i].records = parts[i].records;
		memcpy(ranges[i].digest, parts[i].digest, 32);
	}
	wr_init(&w, body, sizeof(body));
	wire_encode_range_split(&w, &m);
	session_send(s, WIRE_RANGE_SPLIT, &w);
}

static void send_list_frame(struct session *s, uint32_t id, const struct wr *records, uint16_t n,
			    bool last)
{
	static uint8_t body[WIRE_FRAME_MAX];
	struct wire_range_list m = {.id = id,
				    .flags = last ? RANGE_LAST : 0,
				    .n = n,
				    .records = records->start,
				    .records_len = (uint32_t)wr_len(records)};
	struct wr w;
	wr_init(&w, body, sizeof(body));
	wire_encode_range_list(&w, &m);
	session_send(s, WIRE_RANGE_LIST, &w);
}

static void send_list(struct session *s, uint32_t id, const struct range *range)
{
	uint8_t buffer[1024];
	struct wr list;
	struct record record;
	struct record_bytes bytes;
	uint16_t n = 0;
	wr_init(&list, buffer, sizeof(buffer));
	for (int path = range->lo; path < range->hi; path++) {
		const struct row *row = &s->node->store.rows[path];
		if (!row_is_live(row))
			continue;
		if (n > 0 && below(s->w, 3) == 0) {
			send_list_frame(s, id, &list, n, false);
			wr_init(&list, buffer, sizeof(buffer));
			n = 0;
		}
		row_record(&record, &bytes, path, row);
		wire_encode_one_record(&list, &record);
		n++;
	}
	send_list_frame(s, id, &list, n, true);
}

static void answer_work(struct session *s, uint32_t at)
{
	struct answer *answer = &s->answers[at];
	const struct range *asked = &answer->asked;
	struct range ours = *asked, parts[RANGES_MAX + 1];
	if (s->closing)
		return;
	ours.records = store_range_digest(&s->node->store, ours.lo, ours.hi, ours.digest);
	answer->used = false;
	if (ours.records == asked->records && memcmp(ours.digest, asked->digest, 32) == 0)
		send_split(s, answer->id, NULL, 0);
	else if (ours.records <= LIST_MAX)
		send_list(s, answer->id, &ours);
	else
		send_split(s, answer->id, parts, split(parts, &s->node->store, &ours));
}

void range_answer(struct session *s, const struct frame *frame)
{
	struct wire_range_ask m;
	struct rd r;
	rd_init(&r, frame->body, frame->len);
	if (wire_decode_range_ask(&m, &r) < 0)
		session_violated(s, "RANGE_ASK");
	for (uint32_t i = 0; i < 2 * ASKS_MAX; i++) {
		struct answer *answer = &s->answers[i];
		if (answer->used)
			continue;
		*answer = (struct answer){.used = true, .id = m.id};
		answer->asked.lo = path_find(m.lo);
		answer->asked.hi = *m.hi ? path_find(m.hi) : N_PATHS;
		answer->asked.records = m.records;
		memcpy(answer->asked.digest, m.digest, sizeof(m.digest));
		session_job(s, 2 * MS, "answer", answer_work, i);
		return;
	}
	session_violated(s, "RANGE_ASK: too many at once");
}
