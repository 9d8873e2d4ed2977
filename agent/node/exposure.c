/* exposure.c - the active names what it has indexed before the bytes go, page by page as the index
 * grows; the passive keeps the names until it has the records. So whoever fails over knows not only
 * that something is missing, but what. A first sync is counted and not named: its paths would take
 * longer to say than to remember. */
#include "agent/node/exposure.h"

#include <errno.h>
#include <string.h>

#include "agent/base/clock.h"
#include "agent/base/log.h"
#include "agent/base/quote.h"
#include "agent/node/node_internal.h"
#include "agent/sync/job.h"
#include "protocol/messages.h"

#define LISTED_MAX 1000	      /* paths in an answer */
#define PAGE 512	      /* records named in one job */
#define QUEUED_MAX (8u << 20) /* bytes in the link's queue: names wait, too */
#define FORGET_EACH_TICK 512  /* paths looked up in the index, each a point read */
#define SWEEP_MS 1000
#define FLUSH (WIRE_FRAME_MAX - WIRE_PATH_MAX - 128)

struct announced {
	UT_hash_handle hh;
	uint64_t seq, size;
	uint64_t since_ms; /* monotonic */
	char path[];
};

/* ---- the active ----------------------------------------------------------------------------- */

struct announce_job {
	struct job job;
	struct session *s;
	char peer[WIRE_NAME_MAX + 1];
	struct store *store;
	uint64_t after, covered;
	struct pending page[PAGE];
	size_t n;
	int result;
};

static void announce_work(struct job *job)
{
	struct announce_job *a = container_of(job, struct announce_job, job);
	struct store_state state;
	store_state(a->store, &state); /* before the page, which then holds all up to it */
	a->covered = state.last_seq;
	a->result = store_pending(a->store, a->peer, a->after, a->page, PAGE, &a->n, NULL);
}

static void flush(struct session *s, struct wr *entries, struct wire_announce *m)
{
	AUTO_FREE uint8_t *body = x_calloc(1, WIRE_FRAME_MAX);
	struct wr w;
	m->changes = s->pending.changes;
	m->bytes = s->pending.bytes;
	m->entries = entries->start;
	m->entries_len = (uint32_t)wr_len(entries);
	wr_init(&w, body, WIRE_FRAME_MAX);
	wire_encode_announce(&w, m);
	BUG_ON(w.error);
	link_send(s->link, WIRE_ANNOUNCE, body, wr_len(&w));
	s->exposure.said_changes = m->changes;
	m->n = 0;
}

static void say(struct session *s, const struct pending *page, size_t n)
{
	AUTO_FREE uint8_t *buffer = x_calloc(1, WIRE_FRAME_MAX);
	struct wire_announce m = {.seq = s->exposure.announced_seq};
	struct wr entries;
	wr_init(&entries, buffer, WIRE_FRAME_MAX);
	for (size_t i = 0; i < n; i++) {
		const struct wire_announced entry = {.path = page[i].path,
						     .kind = (uint8_t)page[i].kind,
						     .seq = page[i].seq,
						     .size = page[i].size};
		if (wr_len(&entries) > FLUSH) {
			flush(s, &entries, &m);
			wr_init(&entries, buffer, WIRE_FRAME_MAX);
		}
		wire_encode_one_announced(&entries, &entry);
		m.n++;
	}
	flush(s, &entries, &m);
}

static bool may_announce(const struct session *s)
{
	return s->live && s->link && s->sender && !s->exposure.announcing &&
	       !s->exposure.too_much && link_queued(s->link) < QUEUED_MAX;
}

static void announce_done(struct job *job)
{
	struct announce_job *a = container_of(job, struct announce_job, job);
	struct session *s = a->s;
	struct session_exposure *e = &s->exposure;
	e->announcing = false;
	/* Another connection began meanwhile, and begins anew. */
	bool current =
		a->result == 0 && s->live && s->link && s->sender && e->announced_seq == a->after;
	if (current) {
		e->announced_seq = a->n == PAGE ? a->page[a->n - 1].seq : a->covered;
		if (a->n > 0)
			say(s, a->page, a->n);
	}
	for (size_t i = 0; i < a->n; i++)
		free(a->page[i].path);
	bool again = a->result == 0 && (a->n == PAGE || !current); /* else at the next tick */
	struct node *node = s->node;
	free(a);
	if (again)
		exposure_indexed(s);
	node_closed_one(node);
}

void exposure_indexed(struct session *s)
{
	struct store_state state;
	store_state(s->node->store, &state);
	if (!may_announce(s) || s->node->stopping || state.last_seq <= s->exposure.announced_seq)
		return;
	struct announce_job *a = x_calloc(1, sizeof(*a));
	a->s = s;
	snprintf(a->peer, sizeof(a->peer), "%s", s->peer);
	a->store = s->node->store;
	a->after = s->exposure.announced_seq;
	s->exposure.announcing = true;
	s->node->closing++;
	job_start(&s->node->loop, &a->job, announce_work, announce_done);
}

static void tick_active(struct session *s)
{
	struct session_exposure *e = &s->exposure;
	bool too_much = s->pending.changes > WIRE_ANNOUNCED_MAX;
	/* When it can be named again, everything that is missing is. */
	if (too_much != e->too_much)
		e->announced_seq = 0;
	e->too_much = too_much;
	exposure_indexed(s);
	if (!e->announcing && s->pending.changes != e->said_changes &&
	    link_queued(s->link) < QUEUED_MAX)
		say(s, NULL, 0);
}

/* ---- the passive ---------------------------------------------------------------------------- */

static void forget(struct session *s, struct announced *a)
{
	HASH_DEL(s->exposure.missing, a);
	free(a);
}

static bool has_come(const struct session *s, const struct announced *a)
{
	struct index_entry entry;
	if (store_get(s->node->store, a->path, &entry, NULL) < 0)
		return false;
	bool come = entry.rec.seq >= a->seq;
	index_entry_release(&entry);
	return come;
}

/* The oldest first, in the order of the hash: what has come is forgotten, what has not is looked at
 * again later. */
static void forget_what_came(struct session *s, size_t max)
{
	struct announced *a, *next;
	size_t n = 0;
	store_begin_reads(s->node->store);
	HASH_ITER (hh, s->exposure.missing, a, next) {
		if (n++ == max)
			break;
		if (has_come(s, a))
			forget(s, a);
	}
	store_end_reads(s->node->store);
}

static void remember(struct session *s, const struct wire_announced *entry)
{
	struct session_exposure *e = &s->exposure;
	struct announced *a;
	HASH_FIND_STR(e->missing, entry->path, a);
	/* Not for each of them: a peer that announces without end must not keep the loop busy. */
	if (!a && HASH_COUNT(e->missing) >= WIRE_ANNOUNCED_MAX &&
	    clock_mono_ms() - e->swept_ms > SWEEP_MS) {
		forget_what_came(s, SIZE_MAX);
		e->swept_ms = clock_mono_ms();
	}
	if (!a && HASH_COUNT(e->missing) >= WIRE_ANNOUNCED_MAX) {
		e->unnamed = true;
		return;
	}
	if (!a) {
		size_t len = strlen(entry->path);
		a = x_calloc(1, sizeof(*a) + len + 1);
		memcpy(a->path, entry->path, len + 1);
		a->since_ms = clock_mono_ms();
		HASH_ADD_STR(e->missing, path, a);
	}
	a->seq = entry->seq;
	a->size = entry->size;
}

/* A seq that leaps beyond all measure would use the numbers up (wire.h). */
static bool leaps(struct session *s, const struct wire_announce *m)
{
	struct wire_announced entry;
	struct store_state state;
	struct rd entries;
	uint64_t greatest = m->seq;
	rd_init(&entries, m->entries, m->entries_len);
	while (wire_next_announced(&entry, &entries) == 1)
		greatest = entry.seq > greatest ? entry.seq : greatest;
	store_state(s->node->store, &state);
	if (greatest > state.last_seq + WIRE_SEQ_LEAP)
		return true;
	if (greatest > s->exposure.seen_seq)
		s->exposure.seen_seq = greatest;
	return false;
}

uint64_t exposure_seen_seq(const struct node *node)
{
	uint64_t seen = 0;
	for (const struct session *s = node->sessions; s; s = s->next)
		seen = s->exposure.seen_seq > seen ? s->exposure.seen_seq : seen;
	return seen;
}

int exposure_frame(struct session *s, const struct frame *frame)
{
	struct wire_announced entry;
	struct wire_announce m;
	struct rd r, entries;
	rd_init(&r, frame->body, frame->len);
	if (wire_decode_announce(&m, &r) < 0)
		return -EBADMSG;
	if (leaps(s, &m))
		return -EBADMSG;
	s->exposure.changes = m.changes;
	s->exposure.bytes = m.bytes;
	s->exposure.unnamed = m.seq == 0;
	rd_init(&entries, m.entries, m.entries_len);
	while (wire_next_announced(&entry, &entries) == 1)
		remember(s, &entry);
	return 0;
}

void exposure_live(struct session *s)
{
	/* What was announced before, by whomever, is answered by what this active has now. */
	for (struct session *each = s->node->sessions; s->receiver && each; each = each->next)
		exposure_session_free(each);
	s->exposure.announced_seq = 0;
	s->exposure.said_changes = 0;
	s->exposure.too_much = false;
	exposure_indexed(s);
}

void exposure_tick(struct session *s)
{
	if (s->live && s->link && s->sender)
		tick_active(s);
	if (node_is_active(s->node))
		exposure_session_free(s); /* of the time before it took over */
	else
		forget_what_came(s, FORGET_EACH_TICK);
}

void exposure_session_free(struct session *s)
{
	struct announced *a, *next;
	HASH_ITER (hh, s->exposure.missing, a, next)
		forget(s, a);
	s->exposure.changes = s->exposure.bytes = 0;
	s->exposure.unnamed = false;
}

/* ---- the answer ----------------------------------------------------------------------------- */

struct listing {
	json_t *paths;
	uint64_t changes, bytes;
	bool truncated;
};

static void list(struct listing *l, const char *path, const char *peer, uint64_t seq, uint64_t size,
		 double age_s)
{
	json_array_append_new(
		l->paths, json_pack("{s:o, s:s, s:I, s:I, s:o}", "path", control_path(path), "peer",
				    peer, "seq", (json_int_t)seq, "size", (json_int_t)size, "age_s",
				    age_s < 0 ? json_null() : json_real(age_s)));
}

static void list_unacknowledged(struct listing *l, struct session *s)
{
	struct pending *page = x_calloc(LISTED_MAX, sizeof(*page));
	int64_t now = clock_real_ns();
	size_t n = 0;
	store_pending_summary(s->node->store, s->peer, &s->pending, NULL);
	l->changes += s->pending.changes;
	l->bytes += s->pending.bytes;
	store_pending(s->node->store, s->peer, 0, page, LISTED_MAX, &n, NULL);
	l->truncated |= n < s->pending.changes;
	for (size_t i = 0; i < n; i++) {
		int64_t age = page[i].mtime_ns ? now - page[i].mtime_ns : -1;
		list(l, page[i].path, s->peer, page[i].seq, page[i].size,
		     age < 0 ? -1 : (double)age / 1e9);
		free(page[i].path);
	}
	free(page);
}

static void list_announced(struct listing *l, struct session *s)
{
	const struct announced *a;
	uint64_t n = 0, bytes = 0;
	forget_what_came(s, SIZE_MAX);
	for (a = s->exposure.missing; a; a = a->hh.next) {
		n++;
		bytes += a->size;
		if (json_array_size(l->paths) < LISTED_MAX)
			list(l, a->path, s->peer, a->seq, a->size,
			     (double)(clock_mono_ms() - a->since_ms) / 1000);
		else
			l->truncated = true;
	}
	/* What was counted and not named is there all the same. */
	bool unnamed = s->exposure.unnamed && s->exposure.changes > n;
	l->truncated |= unnamed;
	l->changes += unnamed ? s->exposure.changes : n;
	l->bytes += unnamed ? s->exposure.bytes : bytes;
}

static bool is_listed(const json_t *paths, const char *name)
{
	size_t i;
	const json_t *path;
	json_array_foreach((json_t *)paths, i, path)
	{
		if (strcmp(json_string_value(path), name) == 0)
			return true;
	}
	return false;
}

void exposure_add_missing(struct node *node, json_t *paths, size_t max)
{
	for (struct session *s = node->sessions; s; s = s->next) {
		forget_what_came(s, SIZE_MAX);
		for (const struct announced *a = s->exposure.missing; a; a = a->hh.next) {
			json_t *name = control_path(a->path);
			if (json_array_size(paths) < max &&
			    !is_listed(paths, json_string_value(name)))
				json_array_append(paths, name);
			json_decref(name);
		}
	}
}

json_t *exposure_json(struct node *node)
{
	struct listing l = {.paths = json_array()};
	bool active = node_is_active(node);
	for (struct session *s = node->sessions; s; s = s->next) {
		if (active)
			list_unacknowledged(&l, s);
		else
			list_announced(&l, s);
	}
	/* What no record speaks of is in no list of records, and would be lost all the same. */
	json_t *left_out = active ? left_out_json(node) : json_array();
	return json_pack("{s:I, s:I, s:o, s:b, s:b, s:o}", "changes", (json_int_t)l.changes,
			 "bytes", (json_int_t)l.bytes, "paths", l.paths, "truncated", l.truncated,
			 "announced", !active, "held", left_out);
}
