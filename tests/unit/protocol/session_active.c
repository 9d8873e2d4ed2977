/* The active side of the random sessions: a tree that changes, and what an agent does with
 * outbound. */
#include "session_world.h"

const char *const session_paths[N_PATHS] = {
	"",	 "a", "a/b", "a/b/c", "a/b/c/d", "a/b/e",   "a/f", "g",	  "g/h", "g/h/i",
	"g/h/j", "k", "l",   "l/m",   "l/m/n",	 "l/m/n/o", "l/p", "l/q", "l/r", "s"};

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

void active_change_something(struct world *w)
{
	size_t path = session_chance(w, N_PATHS);
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

/* False when there is no room: whoever goes on would break the order. */
static bool offer(struct world *w, size_t path)
{
	struct version v = w->tree[path];
	if (v.seq == 0 || w->acked[path] == v.seq || w->offered[path] == v.seq)
		return true;
	static const unsigned flags_of[] = {
		[GONE] = OUTBOUND_DELETION,
		[FILE_SMALL] = OUTBOUND_LEAF,
		[FILE_LARGE] = OUTBOUND_LEAF | OUTBOUND_STREAMED,
		[DIRECTORY] = 0,
	};
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
	for (uint64_t after = 0; (next = next_by_seq(w, after)) < N_PATHS;
	     after = w->tree[next].seq) {
		for (size_t i = 0; i < next; i++) {
			if (session_is_beneath(next, i) && w->tree[i].kind == DIRECTORY &&
			    !offer(w, i))
				return;
		}
		if (!offer(w, next))
			return;
	}
}

void active_begin_one(struct world *w)
{
	const struct outbound_item *item = outbound_begin(w->ob);
	if (!item)
		return;
	size_t path = 0;
	while (strcmp(session_paths[path], item->path) != 0)
		path++;
	if (item->leaf && !item->streamed && !item->deletion && w->tree[path].seq != item->seq) {
		/* Gone or another by now, before it was read; the newer version will be offered. */
		assert_int_equal(outbound_abandon(w->ob, item->ticket), 0);
		return;
	}
	struct message m = {.kind = RECORD, .ticket = item->ticket, .path = path};
	m.version.seq = item->seq;
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
	w->streams[i] = (struct stream){item->ticket, 1 + session_chance(w, 6)};
}

static void abort_stream(struct world *w, struct stream *stream)
{
	session_push(&w->there, (struct message){.kind = ABORT, .ticket = stream->ticket});
	stream->ticket = 0;
	w->aborts++;
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
			    w->tree[i].seq == item->seq)
				active_change(w, i, FILE_LARGE);
		}
		assert_int_equal(outbound_abandon(w->ob, stream->ticket), 0);
		abort_stream(w, stream);
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
	for (size_t i = 0; i < N_STREAMS; i++) {
		if (w->streams[i].ticket == m.ticket)
			abort_stream(w, &w->streams[i]);
	}
	if (m.kind == ACK) {
		assert_non_null(item);
		w->acked[m.path] = seq;
		w->times_acked[m.path] += seq == w->tree[m.path].seq;
		assert_int_equal(outbound_done(w->ob, m.ticket), 0);
	} else if (m.kind == REFUSED) {
		outbound_refused(w->ob, m.ticket);
	} else if (outbound_needed(w->ob, m.ticket, m.need) == 0) {
		return;
	}
	if (m.kind != ACK && item && w->offered[m.path] == seq)
		w->offered[m.path] = 0; /* the operator mended it: offered anew */
}
