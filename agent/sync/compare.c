/* compare.c - the asking side: a list of ranges still to be settled, a few asked at a time. What an
 * answer comes to is found in compare_answer.c. */
#include "agent/sync/compare_private.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "protocol/messages.h"

#define ASKS_MAX 16	      /* ranges under way at once */
#define LISTED_MAX (8u << 20) /* bytes of records one listed range may have */
/* Borders of ranges still to be asked, in bytes; a peer that splits for ever is stopped. Those that
 * were found last are asked first, so an honest one needs ASKS_MAX * WIRE_RANGES_MAX of them for
 * each of a few levels. */
#define TODO_MAX (32u << 20)

static void settle(struct compare *c);

static void end_compare(struct compare *c, int result, const char *why)
{
	if (!c->ended) {
		c->ended = true;
		c->result = result;
		snprintf(c->why, sizeof(c->why), "%s", why);
	}
	settle(c);
}

static void free_strings(char **strings, size_t n)
{
	for (size_t i = 0; i < n; i++)
		free(strings[i]);
	free(strings);
}

static void free_ask(struct ask *ask)
{
	struct compare *c = ask->compare;
	struct ask **at = &c->asks;
	while (*at != ask)
		at = &(*at)->next;
	*at = ask->next;
	c->n_asks--;
	range_release(&ask->range);
	buf_release(&ask->listed);
	free(ask->last_listed);
	for (size_t i = 0; i < ask->n_parts; i++)
		range_release(&ask->parts[i]);
	for (size_t i = 0; i < ask->n_differences; i++)
		free(ask->differences[i].path);
	free(ask->differences);
	for (size_t i = 0; i < ask->n_rows; i++)
		free((char *)ask->rows[i].path);
	free(ask->rows);
	free_strings(ask->tombstones, ask->n_tombstones);
	free_strings(ask->unacks, ask->n_unacks);
	free(ask);
}

static void send_ask(struct compare *c, struct range range)
{
	uint8_t body[2 * WIRE_PATH_MAX + 128];
	struct ask *ask = x_calloc(1, sizeof(*ask));
	ask->compare = c;
	ask->id = c->next_id++;
	ask->range = range;
	ask->next = c->asks;
	c->asks = ask;
	c->n_asks++;
	struct wire_range_ask m = {
		.id = ask->id, .lo = range.lo, .hi = range.hi, .records = range.records};
	memcpy(m.digest, range.digest, sizeof(m.digest));
	struct wr w;
	wr_init(&w, body, sizeof(body));
	wire_encode_range_ask(&w, &m);
	BUG_ON(w.error);
	link_send(c->link, WIRE_RANGE_ASK, body, wr_len(&w));
}

static size_t todo_cost(const struct range *range)
{
	return sizeof(*range) + strlen(range->lo) + strlen(range->hi);
}

/* Asks on, or ends when nothing is left. */
static void settle(struct compare *c)
{
	while (!c->ended && c->n_todo > 0 && c->n_asks < ASKS_MAX) {
		c->todo_bytes -= todo_cost(&c->todo[--c->n_todo]);
		send_ask(c, c->todo[c->n_todo]);
	}
	if (c->jobs > 0 || (!c->ended && c->n_asks > 0))
		return;
	while (c->asks)
		free_ask(c->asks);
	for (size_t i = 0; i < c->n_todo; i++)
		range_release(&c->todo[i]);
	free(c->todo);
	struct compare_events events = c->events;
	int result = c->result;
	char why[sizeof(c->why)];
	memcpy(why, c->why, sizeof(why));
	free(c);
	events.done(events.owner, result, why);
}

static void ask_done(struct job *job)
{
	struct ask *ask = container_of(job, struct ask, job);
	struct compare *c = ask->compare;
	c->jobs--;
	for (size_t i = 0; i < ask->n_differences && !c->ended; i++)
		c->events.difference(c->events.owner, ask->differences[i].path,
				     ask->differences[i].what);
	for (size_t i = 0; i < ask->n_todo; i++) {
		GROW(c->todo, c->cap_todo, c->n_todo + 1);
		c->todo[c->n_todo++] = ask->todo[i];
		c->todo_bytes += todo_cost(&ask->todo[i]);
	}
	int result = ask->result;
	struct err err = ask->err;
	free_ask(ask);
	if (result < 0)
		end_compare(c, result,
			    result == -EPROTO ? "the peer's list is malformed" : err.msg);
	else if (c->todo_bytes > TODO_MAX)
		end_compare(c, -EPROTO, "the peer keeps splitting ranges");
	else
		settle(c);
}

/* ---- frames --------------------------------------------------------------------------------- */

static struct ask *find_ask(struct compare *c, uint32_t id)
{
	struct ask *ask = c->asks;
	while (ask && (ask->id != id || ask->answered))
		ask = ask->next;
	return ask;
}

static void start_ask_job(struct ask *ask)
{
	ask->answered = true;
	ask->compare->jobs++;
	job_start(ask->compare->loop, &ask->job, compare_ask_work, ask_done);
}

/* The parts must cover the range in order: lo < hi1 < hi2 ... < hin = hi. */
static int take_split(struct ask *ask, const struct wire_range_split *m)
{
	const char *lo = ask->range.lo;
	ask->equal = m->n == 0;
	for (uint16_t i = 0; i < m->n; i++) {
		const char *hi = m->ranges[i].hi;
		bool is_last = i + 1 == m->n;
		if (is_last ? strcmp(hi, ask->range.hi) != 0
			    : strcmp(hi, lo) <= 0 ||
				      (*ask->range.hi && strcmp(hi, ask->range.hi) >= 0))
			return -EPROTO;
		struct range *part = &ask->parts[ask->n_parts++];
		*part = (struct range){
			.lo = x_strdup(lo), .hi = x_strdup(hi), .records = m->ranges[i].records};
		memcpy(part->digest, m->ranges[i].digest, HASH_LEN);
		lo = part->hi;
	}
	return 0;
}

static bool on_split(struct compare *c, const struct frame *frame)
{
	struct wire_range_split m;
	struct wire_subrange ranges[WIRE_RANGES_MAX];
	struct rd r;
	rd_init(&r, frame->body, frame->len);
	int bad = wire_decode_range_split(&m, ranges, &r);
	struct ask *ask = bad ? NULL : find_ask(c, m.id);
	if (!bad && !ask)
		return false;
	if (bad || take_split(ask, &m) < 0)
		end_compare(c, -EPROTO, "RANGE_SPLIT is malformed");
	else
		start_ask_job(ask);
	return true;
}

/* What a list may name: paths of the range that was asked for, in order over all its frames. A path
 * outside would be merged with nothing, and so be given up as one that only the peer has. The frame
 * itself has been checked. */
static bool list_belongs(struct ask *ask, const struct wire_range_list *m)
{
	struct rd r;
	struct record record;
	const char *last = ask->last_listed;
	rd_init(&r, m->records, m->records_len);
	while (wire_next_record(&record, &r) == 1) {
		if (strcmp(record.path, ask->range.lo) < 0 ||
		    (*ask->range.hi && strcmp(record.path, ask->range.hi) >= 0) ||
		    (last && strcmp(record.path, last) <= 0))
			return false;
		last = record.path;
	}
	if (last && last != ask->last_listed) {
		free(ask->last_listed);
		ask->last_listed = x_strdup(last);
	}
	return true;
}

static bool on_list(struct compare *c, const struct frame *frame)
{
	struct wire_range_list m;
	struct rd r;
	rd_init(&r, frame->body, frame->len);
	int bad = wire_decode_range_list(&m, &r);
	struct ask *ask = bad ? NULL : find_ask(c, m.id);
	if (!bad && !ask)
		return false;
	if (bad || ask->listed.len + m.records_len > LISTED_MAX || !list_belongs(ask, &m)) {
		end_compare(c, -EPROTO, "RANGE_LIST is malformed");
		return true;
	}
	buf_append(&ask->listed, m.records, m.records_len);
	if (m.flags & RANGE_LAST)
		start_ask_job(ask);
	return true;
}

bool compare_frame(struct compare *c, const struct frame *frame)
{
	if (c->ended)
		return true;
	return frame->type == WIRE_RANGE_SPLIT ? on_split(c, frame) : on_list(c, frame);
}

/* ---- beginning and end ---------------------------------------------------------------------- */

struct first_job {
	struct job job;
	struct compare *compare;
	struct range range;
	int result;
	struct err err;
};

static void first_work(struct job *job)
{
	struct first_job *first = container_of(job, struct first_job, job);
	first->result = range_digest(&first->range, first->compare->store, &first->err);
}

static void first_done(struct job *job)
{
	struct first_job *first = container_of(job, struct first_job, job);
	struct compare *c = first->compare;
	c->jobs--;
	if (first->result < 0) {
		range_release(&first->range);
		end_compare(c, first->result, first->err.msg);
	} else {
		GROW(c->todo, c->cap_todo, 1);
		c->todo[c->n_todo++] = first->range;
		c->todo_bytes += todo_cost(&first->range);
		settle(c);
	}
	free(first);
}

struct compare *compare_start(uv_loop_t *loop, struct link *link, struct store *store,
			      const char *peer, enum compare_mode mode,
			      const struct profile *profile, uint32_t first_id,
			      const struct compare_events *events)
{
	struct compare *c = x_calloc(1, sizeof(*c));
	struct first_job *first = x_calloc(1, sizeof(*first));
	c->loop = loop;
	c->link = link;
	c->store = store;
	snprintf(c->peer, sizeof(c->peer), "%s", peer);
	c->mode = mode;
	c->profile = profile;
	c->next_id = first_id;
	c->events = *events;
	first->compare = c;
	first->range.lo = x_strdup("");
	first->range.hi = x_strdup("");
	c->jobs++;
	job_start(loop, &first->job, first_work, first_done);
	return c;
}

void compare_close(struct compare *c)
{
	end_compare(c, -ECANCELED, "the connection ended");
}
