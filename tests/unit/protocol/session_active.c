/* The active side of the random sessions: a tree that changes, and what an agent does with
 * outbound. */
#include "session_world.h"

const char *const session_paths[N_PATHS] = {
	"",	 "a", "a/b", "a/b/c", "a/b/c/d", "a/b/e",   "a/f", "g",	  "g/h", "g/h/i",
	"g/h/j", "k", "l",   "l/m",   "l/m/n",	 "l/m/n/o", "l/p", "l/q", "l/r", "s"};

const uint32_t session_set_of[N_PATHS] = {0, 0, 0, 1, 0, 1, 0, 0, 2, 2,
					  2, 1, 0, 3, 3, 3, 3, 0, 0, 0};

uint32_t session_chance(struct world *w, uint32_t n)
{
	return random_below(&w->seed, n);
}

void session_push(struct fifo *fifo, struct message message)
{
	assert_true(fifo->n < LINK_MAX);
	fifo->messages[(fifo->first + fifo->n++) % LINK_MAX] = message;
}

struct message session_pop(struct fifo *fifo)
{
	struct message message = fifo->messages[fifo->first];
	fifo->first = (fifo->first + 1) % LINK_MAX;
	fifo->n--;
	return message;
}

bool session_is_beneath(size_t path, size_t dir)
{
	return path != dir && relpath_is_within(session_paths[path], session_paths[dir]);
}

size_t session_parent(size_t path)
{
	size_t len = relpath_parent_len(session_paths[path]);
	for (size_t i = 0; i < N_PATHS; i++) {
		if (strlen(session_paths[i]) == len &&
		    strncmp(session_paths[i], session_paths[path], len) == 0)
			return i;
	}
	abort();
}

/* ---- the active --------------------------------------------------------------------------- */

void active_change(struct world *w, size_t path, enum kind kind)
{
	w->tree[path] = (struct version){++w->last_seq, kind};
	w->times_acked[path] = 0;
}

/* Deepest first: in this table a path stands before what is beneath it. */
static void remove_beneath(struct world *w, size_t dir)
{
	for (size_t i = N_PATHS; i-- > 0;) {
		if (session_is_beneath(i, dir) && w->tree[i].kind != GONE)
			active_change(w, i, GONE);
	}
}

static void change_one(struct world *w, size_t path)
{
	enum kind kind = (enum kind)session_chance(w, 4);
	if (path == 0)
		kind = DIRECTORY;
	else if (w->tree[session_parent(path)].kind != DIRECTORY)
		return;
	if (kind == GONE && w->tree[path].kind == GONE)
		return;
	if (kind != DIRECTORY && w->tree[path].kind == DIRECTORY)
		remove_beneath(w, path);
	active_change(w, path, kind);
}

void active_remember(struct world *w)
{
	assert_true(w->n_history < N_HISTORY);
	memcpy(w->history[w->n_history++], w->tree, sizeof(w->tree));
}

/* One transaction: members of a set change together. */
void active_change_something(struct world *w)
{
	size_t path = session_chance(w, N_PATHS);
	change_one(w, path);
	for (size_t i = 0; session_set_of[path] && i < N_PATHS; i++) {
		if (i != path && session_set_of[i] == session_set_of[path] && session_chance(w, 3))
			change_one(w, i);
	}
	active_remember(w);
}

static const unsigned flags_of[] = {
	[GONE] = OUTBOUND_DELETION,
	[FILE_SMALL] = OUTBOUND_LEAF,
	[FILE_LARGE] = OUTBOUND_LEAF | OUTBOUND_STREAMED,
	[DIRECTORY] = 0,
};

static bool is_pending(const struct world *w, size_t path)
{
	return w->tree[path].seq != 0 && w->acked[path] != w->tree[path].seq;
}

/* All that is pending of it, deletions last. One that is under way is offered when that has ended.
 */
static bool offer_set(struct world *w, uint32_t set)
{
	struct outbound_offer offers[N_PATHS];
	size_t n = 0;
	for (int deletions = 0; deletions < 2; deletions++) {
		for (size_t i = 0; i < N_PATHS; i++) {
			struct version v = w->tree[i];
			if (session_set_of[i] == set && is_pending(w, i) &&
			    (v.kind == GONE) == deletions)
				offers[n++] = (struct outbound_offer){
					session_paths[i], v.seq, v.kind == FILE_LARGE ? 500 : 10,
					flags_of[v.kind]};
		}
	}
	char key[8];
	snprintf(key, sizeof(key), "s%u", set);
	int r = outbound_offer_set(w->ob, key, offers, n);
	if (r == -EAGAIN)
		return false;
	assert_true(r == 0 || r == -EALREADY || r == -EBUSY);
	for (size_t i = 0; r != -EBUSY && i < N_PATHS; i++) {
		if (session_set_of[i] == set && is_pending(w, i))
			w->offered[i] = w->tree[i].seq;
	}
	return true;
}

/* False when there is no room: whoever goes on would break the order. */
static bool offer(struct world *w, size_t path)
{
	struct version v = w->tree[path];
	if (!is_pending(w, path))
		return true;
	if (session_set_of[path])
		return offer_set(w, session_set_of[path]);
	if (w->offered[path] == v.seq)
		return true;
	int r = outbound_offer(w->ob, session_paths[path], v.seq, v.kind == FILE_LARGE ? 500 : 10,
			       flags_of[v.kind]);
	if (r == -EAGAIN)
		return false;
	assert_int_equal(r, 0);
	w->offered[path] = v.seq;
	return true;
}

static size_t next_by_seq(const struct world *w, uint64_t after)
{
	size_t next = N_PATHS;
	for (size_t i = 0; i < N_PATHS; i++) {
		if (w->tree[i].seq > after &&
		    (next == N_PATHS || w->tree[i].seq < w->tree[next].seq))
			next = i;
	}
	return next;
}

/* In the order of seq, live directories before what is beneath them, like the store. */
void active_offer_pending(struct world *w)
{
	size_t next;
	const char *wanted = outbound_wanted(w->ob);
	if (wanted)
		assert_true(offer_set(w, (uint32_t)atoi(wanted + 1)));
	outbound_begin_pass(w->ob);
	for (uint64_t after = 0; (next = next_by_seq(w, after)) < N_PATHS;
	     after = w->tree[next].seq) {
		for (size_t i = 0; i < N_PATHS; i++) {
			if (i < next && session_is_beneath(next, i) &&
			    w->tree[i].kind == DIRECTORY && !offer(w, i))
				return;
		}
		if (!offer(w, next))
			return;
	}
	outbound_end_pass(w->ob);
}

static void abort_stream(struct world *w, struct stream *stream);

/* The tickets of its members have ended. */
static void break_set(struct world *w, uint32_t set)
{
	if (set == 0)
		return;
	for (size_t i = 0; i < N_STREAMS; i++) {
		if (w->streams[i].ticket && w->streams[i].set == set)
			abort_stream(w, &w->streams[i]);
	}
	session_push(&w->there, (struct message){.kind = SET_ABORT, .set = set});
	w->set_aborts++;
}

void active_begin_one(struct world *w)
{
	const struct outbound_item *item = outbound_begin(w->ob);
	if (!item)
		return;
	size_t path = 0;
	while (strcmp(session_paths[path], item->path) != 0)
		path++;
	bool member = session_set_of[path] != 0;
	if ((member || (item->leaf && !item->streamed && !item->deletion)) &&
	    w->tree[path].seq != item->seq) {
		/* Gone or another by now, before it was read; the newer version will be offered. */
		uint32_t set = item->set;
		assert_int_equal(outbound_abandon(w->ob, item->ticket), 0);
		break_set(w, set);
		return;
	}
	struct message m = {.kind = RECORD, .ticket = item->ticket, .path = path};
	m.version.seq = item->seq;
	m.set = item->set;
	m.set_n = item->set_n;
	m.version.kind = item->deletion	  ? GONE
			 : item->streamed ? FILE_LARGE
			 : item->leaf	  ? FILE_SMALL
					  : DIRECTORY;
	session_push(&w->there, m);
	if (!item->streamed) {
		outbound_sent(w->ob, item->ticket);
		return;
	}
	size_t i = 0;
	while (w->streams[i].ticket)
		assert_true(++i < N_STREAMS);
	w->streams[i] = (struct stream){item->ticket, item->set, 1 + session_chance(w, 6)};
}

static void abort_stream(struct world *w, struct stream *stream)
{
	session_push(&w->there, (struct message){.kind = ABORT, .ticket = stream->ticket});
	stream->ticket = 0;
	w->aborts++;
}

/* Dropped: the operator mends it, and it is offered anew. */
static void forget_offers(struct world *w, const char *path, uint64_t seq)
{
	size_t p = 0;
	while (strcmp(session_paths[p], path) != 0)
		p++;
	if (w->offered[p] == seq)
		w->offered[p] = 0;
	for (size_t i = 0; session_set_of[p] && i < N_PATHS; i++) {
		if (session_set_of[i] == session_set_of[p])
			w->offered[i] = 0;
	}
}

void active_go_on_with_a_stream(struct world *w)
{
	struct stream *stream = &w->streams[session_chance(w, N_STREAMS)];
	if (!stream->ticket)
		return;
	if (!w->calm && session_chance(w, 20) == 0) { /* the source changed */
		const struct outbound_item *item = outbound_find(w->ob, stream->ticket);
		for (size_t i = 0; i < N_PATHS; i++) {
			if (strcmp(session_paths[i], item->path) == 0 &&
			    w->tree[i].seq == item->seq) {
				active_change(w, i, FILE_LARGE);
				active_remember(w);
			}
		}
		uint32_t set = stream->set;
		assert_int_equal(outbound_abandon(w->ob, stream->ticket), 0);
		abort_stream(w, stream);
		break_set(w, set);
		return;
	}
	if (!w->calm && session_chance(w, 30) == 0) { /* a delta that saves nothing */
		uint32_t set = stream->set, ticket = stream->ticket;
		const struct outbound_item *item = outbound_find(w->ob, ticket);
		uint64_t seq = item->seq;
		char path[64];
		snprintf(path, sizeof(path), "%s", item->path);
		abort_stream(w, stream);
		bool dropped = outbound_otherwise(w->ob, ticket) == -ELOOP;
		break_set(w, set);
		if (dropped)
			forget_offers(w, path, seq);
		return;
	}
	bool last = --stream->left == 0;
	session_push(&w->there,
		     (struct message){.kind = DATA, .ticket = stream->ticket, .last = last});
	if (last) {
		outbound_sent(w->ob, stream->ticket);
		stream->ticket = 0;
	}
}

void active_send_barrier(struct world *w)
{
	size_t unacked = 0;
	for (size_t i = 0; i < N_PATHS; i++) {
		if (w->acked[i] == w->tree[i].seq)
			continue;
		if (w->offered[i] != w->tree[i].seq)
			return;
		unacked++;
	}
	if (!outbound_is_drained(w->ob) || unacked != outbound_under_way(w->ob) ||
	    w->barriers_out == WIRE_BARRIERS_MAX || w->last_barrier + 1 >= MAX_BARRIERS)
		return;
	w->barriers_out++;
	memcpy(w->snapshots[++w->last_barrier], w->tree, sizeof(w->tree));
	session_push(&w->there, (struct message){.kind = BARRIER,
						 .id = w->last_barrier,
						 .denials = outbound_denials(w->ob)});
}

void active_on_answer(struct world *w)
{
	if (w->back.n == 0)
		return;
	struct message m = session_pop(&w->back);
	if (m.kind == BARRIER_DONE) {
		w->barriers_out--;
		return;
	}
	const struct outbound_item *item = outbound_find(w->ob, m.ticket);
	uint64_t seq = item ? item->seq : 0;
	uint32_t set = item ? item->set : 0;
	for (size_t i = 0; i < N_STREAMS; i++) {
		if (w->streams[i].ticket == m.ticket)
			abort_stream(w, &w->streams[i]);
	}
	if (m.kind == ACK) {
		assert_non_null(item);
		w->acked[m.path] = seq;
		w->times_acked[m.path] += seq == w->tree[m.path].seq;
		assert_int_equal(outbound_done(w->ob, m.ticket), 0);
		return;
	}
	int r = m.kind == NEED ? outbound_needed(w->ob, m.ticket, m.need) : -ELOOP;
	if (m.kind == REFUSED)
		outbound_refused(w->ob, m.ticket);
	break_set(w, set);
	if (r < 0 && seq)
		forget_offers(w, session_paths[m.path], seq);
}
