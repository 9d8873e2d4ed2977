/* compare.c - finding what differs, the asking side: after agent/sync/compare.c and
 * compare_answer.c. */
#include <string.h>

#include "protocol/messages.h"
#include "world.h"

static void send_ask(struct session *s, struct range range)
{
	static uint8_t body[2 * WIRE_PATH_MAX + 128];
	struct compare *c = &s->compare;
	struct ask *ask = c->asks;
	struct wr w;
	while (ask->used)
		ask++;
	*ask = (struct ask){.used = true, .id = c->next_id++, .range = range};
	struct wire_range_ask m = {.id = ask->id,
				   .lo = path_text[range.lo],
				   .hi = range.hi == N_PATHS ? "" : path_text[range.hi],
				   .records = range.records};
	memcpy(m.digest, range.digest, sizeof(m.digest));
	wr_init(&w, body, sizeof(body));
	wire_encode_range_ask(&w, &m);
	session_send(s, WIRE_RANGE_ASK, &w);
}

static size_t count_asks(const struct compare *c)
{
	size_t n = 0;
	for (size_t i = 0; i < ASKS_MAX; i++)
		n += c->asks[i].used;
	return n;
}

static void settle(struct session *s)
{
	struct compare *c = &s->compare;
	if (s->closing)
		return;
	while (c->n_todo > 0 && count_asks(c) < ASKS_MAX)
		send_ask(s, c->todo[--c->n_todo]);
	if (count_asks(c) > 0)
		return;
	c->running = false;
	session_reconciled(s);
}

/* ---- on the worker: what one answer comes to ---------------------------------------------------
 */

static void merge_list(struct session *s, struct ask *ask)
{
	const struct store *store = &s->node->store;
	for (int path = ask->range.lo; path < ask->range.hi; path++) {
		const struct row *ours = &store->rows[path], *theirs = &ask->listed[path];
		const struct acked_row *acked = &store->peers[s->peer].acked[path];
		uint64_t bit = 1ull << path;
		if (row_is_live(ours) && theirs->kind == 0) {
			ask->unacks |= bit;
		} else if (!row_is_live(ours) && theirs->kind != 0) {
			ask->rows |= bit;
			ask->theirs[path] = *theirs;
			ask->tombstones |= ours->kind == 0 ? bit : 0;
		} else if (row_is_live(ours) && (!row_equal(ours, theirs) || !acked->present)) {
			ask->rows |= bit;
			ask->theirs[path] = *theirs;
		}
	}
}

static void note_equal(struct session *s, struct ask *ask, const struct range *range)
{
	const struct store *store = &s->node->store;
	for (int path = range->lo; path < range->hi; path++) {
		if (!row_is_live(&store->rows[path]) || store->peers[s->peer].acked[path].present)
			continue;
		ask->rows |= 1ull << path;
		ask->theirs[path] = store->rows[path];
	}
}

static void check_parts(struct session *s, struct ask *ask)
{
	for (size_t i = 0; i < ask->n_parts; i++) {
		const struct range *part = &ask->parts[i];
		struct range mine = *part;
		mine.records = store_range_digest(&s->node->store, mine.lo, mine.hi, mine.digest);
		if (mine.records == part->records && memcmp(mine.digest, part->digest, 32) == 0)
			note_equal(s, ask, &mine);
		else
			ask->todo[ask->n_todo++] = mine;
	}
}

/* What was found becomes durable, one transaction after the other. */

static void ask_done(struct session *s, uint32_t at)
{
	struct compare *c = &s->compare;
	struct ask *ask = &c->asks[at];
	memcpy(c->todo + c->n_todo, ask->todo, ask->n_todo * sizeof(ask->todo[0]));
	c->n_todo += ask->n_todo;
	ask->used = false;
	settle(s);
}

static void write_unacks(struct session *s, uint32_t at)
{
	struct ask *ask = &s->compare.asks[at];
	if (ask->unacks)
		store_unack(&s->node->store, s->peer, ask->unacks);
	session_job(s, MS, "ask-done", ask_done, at);
}

static void write_rows(struct session *s, uint32_t at)
{
	struct ask *ask = &s->compare.asks[at];
	int paths[N_PATHS];
	struct acked_row rows[N_PATHS];
	size_t n = 0;
	for (int path = 0; path < N_PATHS; path++) {
		if (!(ask->rows >> path & 1))
			continue;
		const struct row *theirs = &ask->theirs[path];
		paths[n] = path;
		rows[n++] = (struct acked_row){
			.present = true,
			.kind = theirs->kind,
			.content = theirs->kind == RECORD_FILE ? theirs->content : 0};
	}
	if (n > 0)
		store_ack(&s->node->store, s->peer, paths, rows, n);
	session_job(s, MS, "write-unacks", write_unacks, at);
}

static void write_tombstones(struct session *s, uint32_t at)
{
	struct ask *ask = &s->compare.asks[at];
	struct captured gone[N_PATHS];
	size_t n = 0;
	for (int i = 0; i < N_PATHS; i++) {
		if (ask->tombstones >> i & 1)
			gone[n++] = (struct captured){.kind = CAPTURED_TOMBSTONE, .path = i};
	}
	if (n > 0)
		store_capture(&s->node->store, gone, n, false);
	session_job(s, MS, "write-rows", write_rows, at);
}

static void ask_work(struct session *s, uint32_t at)
{
	struct ask *ask = &s->compare.asks[at];
	if (ask->equal)
		note_equal(s, ask, &ask->range);
	else if (ask->n_parts > 0)
		check_parts(s, ask);
	else
		merge_list(s, ask);
	session_job(s, MS, "write-tombstones", write_tombstones, at);
}

/* ---- frames --------------------------------------------------------------------------------- */

static struct ask *find_ask(struct session *s, uint32_t id, const char *what)
{
	for (size_t i = 0; i < ASKS_MAX; i++) {
		struct ask *ask = &s->compare.asks[i];
		if (s->compare.running && ask->used && !ask->working && ask->id == id)
			return ask;
	}
	session_violated(s, what);
	return NULL;
}

static void start_work(struct session *s, struct ask *ask)
{
	ask->working = true;
	session_job(s, MS, "ask", ask_work, (uint32_t)(ask - s->compare.asks));
}

static void on_split(struct session *s, const struct frame *frame)
{
	struct wire_range_split m;
	struct wire_subrange ranges[WIRE_RANGES_MAX];
	struct rd r;
	rd_init(&r, frame->body, frame->len);
	if (wire_decode_range_split(&m, ranges, &r) < 0)
		session_violated(s, "RANGE_SPLIT");
	struct ask *ask = find_ask(s, m.id, "RANGE_SPLIT");
	int lo = ask->range.lo;
	ask->equal = m.n == 0;
	for (uint16_t i = 0; i < m.n; i++) {
		struct range *part = &ask->parts[ask->n_parts++];
		part->lo = lo;
		part->hi = lo = *m.ranges[i].hi ? path_find(m.ranges[i].hi) : N_PATHS;
		part->records = m.ranges[i].records;
		memcpy(part->digest, m.ranges[i].digest, 32);
	}
	if (m.n > 0 && lo != ask->range.hi)
		session_violated(s, "RANGE_SPLIT does not cover the range");
	start_work(s, ask);
}

static void on_list(struct session *s, const struct frame *frame)
{
	struct wire_range_list m;
	struct record record;
	struct rd r, list;
	rd_init(&r, frame->body, frame->len);
	if (wire_decode_range_list(&m, &r) < 0)
		session_violated(s, "RANGE_LIST");
	struct ask *ask = find_ask(s, m.id, "RANGE_LIST");
	rd_init(&list, m.records, m.records_len);
	while (wire_next_record(&record, &list) == 1)
		row_of_record(&ask->listed[path_find(record.path)], &record);
	if (m.flags & RANGE_LAST)
		start_work(s, ask);
}

void compare_frame(struct session *s, const struct frame *frame)
{
	if (s->closing)
		return;
	if (frame->type == WIRE_RANGE_SPLIT)
		on_split(s, frame);
	else
		on_list(s, frame);
}

/* ---- beginning and end ------------------------------------------------------------------------
 */

static void first_work(struct session *s, uint32_t arg)
{
	struct compare *c = &s->compare;
	struct range all = {.lo = 0, .hi = N_PATHS};
	(void)arg;
	all.records = store_range_digest(&s->node->store, 0, N_PATHS, all.digest);
	c->todo[c->n_todo++] = all;
	settle(s);
}

void compare_start(struct session *s)
{
	uint32_t next_id = s->compare.next_id;
	memset(&s->compare, 0, sizeof(s->compare));
	s->compare.running = true;
	s->compare.next_id = next_id + 1;
	session_job(s, MS, "compare", first_work, 0);
}

void compare_stop(struct session *s)
{
	s->compare.running = false;
	memset(s->answers, 0, sizeof(s->answers));
}
