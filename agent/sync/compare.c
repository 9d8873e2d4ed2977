/* compare.c - the asking side: a list of ranges still to be settled, a few asked at a time. */
#include "agent/sync/compare.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "agent/sync/job.h"
#include "agent/sync/range.h"
#include "protocol/messages.h"

#define ASKS_MAX 16	      /* ranges under way at once */
#define LISTED_MAX (8u << 20) /* bytes of records one listed range may have */
/* Borders of ranges still to be asked, in bytes; a peer that splits for ever is stopped. Those that
 * were found last are asked first, so an honest one needs ASKS_MAX * WIRE_RANGES_MAX of them for
 * each of a few levels. */
#define TODO_MAX (32u << 20)

struct difference {
	char *path;
	const char *what;
};

/* A range that was asked for, until it is settled. */
struct ask {
	struct job job;
	struct compare *compare;
	struct ask *next;
	uint32_t id;
	struct range range; /* ours */
	struct buf listed;  /* theirs, when listed */
	char *last_listed;  /* path of the last record in it */
	size_t n_listed;
	struct range parts[WIRE_RANGES_MAX]; /* theirs, when split */
	size_t n_parts;
	bool equal;
	bool answered; /* the peer has said all it may say to it */
	/* what the worker found */
	struct acked *rows; /* to be noted of the peer; paths owned */
	size_t n_rows, cap_rows;
	char **tombstones, **unacks;
	size_t n_tombstones, cap_tombstones, n_unacks, cap_unacks;
	struct range todo[WIRE_RANGES_MAX];
	size_t n_todo;
	struct difference *differences;
	size_t n_differences, cap_differences;
	int result;
	struct err err;
};

struct compare {
	uv_loop_t *loop;
	struct link *link;
	struct store *store;
	char peer[WIRE_NAME_MAX + 1];
	enum compare_mode mode;
	const struct profile *profile;
	struct compare_events events;
	uint32_t next_id;
	struct ask *asks;
	size_t n_asks;
	int jobs;
	struct range *todo; /* still to be asked */
	size_t n_todo, cap_todo;
	size_t todo_bytes; /* of their borders */
	int result;
	char why[256];
	bool ended;
};

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

/* ---- on the worker: what one answer comes to ------------------------------------------------ */

static void add_difference(struct ask *ask, const char *path, const char *what)
{
	GROW(ask->differences, ask->cap_differences, ask->n_differences + 1);
	ask->differences[ask->n_differences++] =
		(struct difference){.path = x_strdup(path), .what = what};
}

static const char *what_differs(const struct record *ours, const struct record *theirs)
{
	if (ours->kind != theirs->kind)
		return "kind";
	if (!record_same_content(ours, theirs))
		return "content";
	if (ours->mode != theirs->mode)
		return "mode";
	if (ours->mtime_ns != theirs->mtime_ns)
		return "mtime";
	if (ours->xattrs_len != theirs->xattrs_len ||
	    (ours->xattrs_len > 0 && memcmp(ours->xattrs, theirs->xattrs, ours->xattrs_len) != 0))
		return "attributes";
	return "owner";
}

/* Notes that the peer has these bytes at this path, though not this version of the record: it will
 * be sent, as cheaply as that allows. */
static void note_theirs(struct ask *ask, const struct record *theirs)
{
	GROW(ask->rows, ask->cap_rows, ask->n_rows + 1);
	struct acked *row = &ask->rows[ask->n_rows++];
	*row = (struct acked){
		.path = x_strdup(theirs->path), .kind = theirs->kind, .size = theirs->size};
	memcpy(row->hash, theirs->hash, HASH_LEN);
}

/* Narrowing a profile never deletes: what it leaves out here is not missing here. */
static bool is_ours(const struct compare *c, const struct record *theirs)
{
	bool is_dir = theirs->kind == RECORD_DIR;
	enum profile_verdict verdict = profile_verdict(c->profile, theirs->path, is_dir);
	return verdict == PROFILE_REPLICATE || (is_dir && verdict == PROFILE_PASSAGE);
}

static void only_theirs(struct ask *ask, const struct record *theirs, bool tombstone)
{
	if (ask->compare->mode == COMPARE_LIST) {
		add_difference(ask, theirs->path, "missing here");
		return;
	}
	if (!is_ours(ask->compare, theirs))
		return;
	note_theirs(ask, theirs);
	if (!tombstone) {
		GROW(ask->tombstones, ask->cap_tombstones, ask->n_tombstones + 1);
		ask->tombstones[ask->n_tombstones++] = x_strdup(theirs->path);
	}
}

static void only_ours(struct ask *ask, const struct record *ours)
{
	if (ask->compare->mode == COMPARE_LIST) {
		add_difference(ask, ours->path, "missing there");
		return;
	}
	GROW(ask->unacks, ask->cap_unacks, ask->n_unacks + 1);
	ask->unacks[ask->n_unacks++] = x_strdup(ours->path);
}

static void both(struct ask *ask, const struct record *ours, const struct record *theirs,
		 bool owner)
{
	struct compare *c = ask->compare;
	struct acked have;
	bool equal = record_equal(ours, theirs, owner);
	if (c->mode == COMPARE_RECONCILE) {
		if (!equal || store_acked(c->store, c->peer, ours->path, &have, NULL) < 0)
			note_theirs(ask, theirs);
	} else if (!equal) {
		add_difference(ask, ours->path, what_differs(ours, theirs));
	}
}

/* An equal range: every record of it is there, even those for which no acknowledgement is noted. */
static int note_equal(struct ask *ask, const struct range *range)
{
	struct compare *c = ask->compare;
	AUTO(store_cursor) *cursor = NULL;
	const struct index_entry *entry;
	struct acked have;
	if (c->mode == COMPARE_LIST)
		return 0;
	int r = store_cursor_open(&cursor, c->store, range->lo, range->hi, &ask->err);
	while (r >= 0 && (r = store_cursor_next(cursor, &entry, &ask->err)) > 0) {
		if (entry->rec.kind != RECORD_ABSENT &&
		    store_acked(c->store, c->peer, entry->rec.path, &have, NULL) < 0)
			note_theirs(ask, &entry->rec);
	}
	return r;
}

/* Merges their list with our index. */
static int merge_list(struct ask *ask)
{
	struct compare *c = ask->compare;
	AUTO(store_cursor) *cursor = NULL;
	struct store_state state;
	struct rd list;
	struct record theirs;
	const struct index_entry *ours = NULL;
	store_state(c->store, &state);
	rd_init(&list, ask->listed.data, ask->listed.len);
	int r = store_cursor_open(&cursor, c->store, ask->range.lo, ask->range.hi, &ask->err);
	if (r < 0)
		return r;
	int more_ours = store_cursor_next(cursor, &ours, &ask->err);
	int more_theirs = wire_next_record(&theirs, &list);
	while (more_ours >= 0 && more_theirs >= 0 && (more_ours || more_theirs)) {
		int order = !more_ours	   ? 1
			    : !more_theirs ? -1
					   : strcmp(ours->rec.path, theirs.path);
		bool absent = more_ours && ours->rec.kind == RECORD_ABSENT;
		if (order < 0 && !absent)
			only_ours(ask, &ours->rec);
		else if (order > 0 || (order == 0 && absent))
			only_theirs(ask, &theirs, order == 0);
		else if (order == 0)
			both(ask, &ours->rec, &theirs, state.preserve_ownership);
		if (order <= 0)
			more_ours = store_cursor_next(cursor, &ours, &ask->err);
		if (order >= 0)
			more_theirs = wire_next_record(&theirs, &list);
	}
	return more_ours < 0 ? more_ours : more_theirs < 0 ? -EPROTO : 0;
}

static int check_parts(struct ask *ask)
{
	for (size_t i = 0; i < ask->n_parts; i++) {
		struct range *part = &ask->parts[i];
		struct range mine = {.lo = x_strdup(part->lo), .hi = x_strdup(part->hi)};
		int r = range_digest(&mine, ask->compare->store, &ask->err);
		bool equal = mine.records == part->records &&
			     memcmp(mine.digest, part->digest, HASH_LEN) == 0;
		if (r == 0 && equal)
			r = note_equal(ask, &mine);
		if (r < 0 || equal)
			range_release(&mine);
		else
			ask->todo[ask->n_todo++] = mine;
		if (r < 0)
			return r;
	}
	return 0;
}

/* What was found becomes durable: tombstones first, so that no row speaks of a path the index does
 * not know. */
static int write_found(struct ask *ask)
{
	struct compare *c = ask->compare;
	int r = 0;
	if (ask->n_tombstones > 0) {
		AUTO_FREE struct captured *gone = x_calloc(ask->n_tombstones, sizeof(*gone));
		for (size_t i = 0; i < ask->n_tombstones; i++)
			gone[i] = (struct captured){.kind = CAPTURED_TOMBSTONE,
						    .path = ask->tombstones[i]};
		r = store_capture(c->store, gone, ask->n_tombstones, false, NULL, &ask->err);
	}
	if (r == 0 && ask->n_rows > 0)
		r = store_ack(c->store, c->peer, ask->rows, ask->n_rows, &ask->err);
	if (r == 0 && ask->n_unacks > 0)
		r = store_unack(c->store, c->peer, (const char *const *)ask->unacks, ask->n_unacks,
				&ask->err);
	return r;
}

static void ask_work(struct job *job)
{
	struct ask *ask = container_of(job, struct ask, job);
	if (ask->equal)
		ask->result = note_equal(ask, &ask->range);
	else if (ask->n_parts > 0)
		ask->result = check_parts(ask);
	else
		ask->result = merge_list(ask);
	if (ask->result >= 0)
		ask->result = write_found(ask);
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
	job_start(ask->compare->loop, &ask->job, ask_work, ask_done);
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
