/* Random schedules of a whole session: a tree that changes, outbound, a FIFO link each way,
 * inbound, and a passive that stages, commits, denies. What must hold whatever the schedule:
 *  - inbound never sees a violation: no path twice under way, no window exceeded;
 *  - a directory is removed or replaced only when nothing is beneath it;
 *  - a barrier judged clean finds exactly the tree the active had when it sent it;
 *  - when the denials stop, every newest version is acknowledged, once. */
#include "testing.h"

#include "protocol/inbound.h"
#include "protocol/outbound.h"
#include "protocol/relpath.h"
#include "protocol/wire.h"

static const char *const paths[] = {"",	     "a",	"a/b",	 "a/b/c", "a/b/c/d", "a/b/e", "a/f",
				    "g",     "g/h",	"g/h/i", "g/h/j", "k",	     "l",     "l/m",
				    "l/m/n", "l/m/n/o", "l/p",	 "l/q",	  "l/r",     "s"};
#define N_PATHS COUNT(paths)

enum kind { GONE, FILE_SMALL, FILE_LARGE, DIRECTORY };

struct version {
	uint64_t seq;
	enum kind kind;
};

enum frame_kind { RECORD, DATA, ABORT, BARRIER, ACK, NEED, REFUSED, BARRIER_DONE };

struct message {
	enum frame_kind kind;
	uint32_t ticket;
	size_t path;
	struct version version;
	bool last;
	uint64_t id;
	uint32_t denials;
	uint8_t need;
};

#define LINK_MAX 4096
struct fifo {
	struct message messages[LINK_MAX];
	size_t first, n;
};

struct stream {
	uint32_t ticket; /* 0 = unused */
	unsigned left;
};

#define N_STREAMS 2
#define N_RECORDS 8
#define MAX_BARRIERS 4096

struct slot {
	uint32_t ticket; /* 0 = unused */
	size_t path;
	struct version version;
	bool arriving, staged;
};

struct world {
	uint64_t seed;
	uint64_t last_seq;
	bool calm; /* no changes and no denials any more */
	/* the active */
	struct version tree[N_PATHS];
	uint64_t offered[N_PATHS], acked[N_PATHS];
	unsigned times_acked[N_PATHS]; /* this very version */
	struct outbound *ob;
	struct stream streams[N_STREAMS];
	uint64_t last_barrier;
	size_t barriers_out;
	struct version snapshots[MAX_BARRIERS][N_PATHS];
	/* the link */
	struct fifo there, back;
	/* the passive */
	struct inbound *ib;
	struct version copy[N_PATHS];
	struct slot slots[N_RECORDS + N_STREAMS];
	uint32_t batch[N_RECORDS];
	size_t n_batch;
	/* what happened, to know that the schedule was worth something */
	size_t clean, dropped, acks, needs, refusals, aborts;
};

static uint32_t chance(struct world *w, uint32_t n)
{
	return random_below(&w->seed, n);
}

static void push(struct fifo *fifo, struct message message)
{
	assert_true(fifo->n < LINK_MAX);
	fifo->messages[(fifo->first + fifo->n++) % LINK_MAX] = message;
}

static struct message pop(struct fifo *fifo)
{
	struct message message = fifo->messages[fifo->first];
	fifo->first = (fifo->first + 1) % LINK_MAX;
	fifo->n--;
	return message;
}

static bool is_beneath(size_t path, size_t dir)
{
	return path != dir && relpath_is_within(paths[path], paths[dir]);
}

static size_t parent_of(size_t path)
{
	size_t len = relpath_parent_len(paths[path]);
	for (size_t i = 0; i < N_PATHS; i++) {
		if (strlen(paths[i]) == len && strncmp(paths[i], paths[path], len) == 0)
			return i;
	}
	abort();
}

/* ---- the active --------------------------------------------------------------------------- */

static void change(struct world *w, size_t path, enum kind kind)
{
	w->tree[path] = (struct version){++w->last_seq, kind};
	w->times_acked[path] = 0;
}

/* Deepest first: in this table a path stands before what is beneath it. */
static void remove_beneath(struct world *w, size_t dir)
{
	for (size_t i = N_PATHS; i-- > 0;) {
		if (is_beneath(i, dir) && w->tree[i].kind != GONE)
			change(w, i, GONE);
	}
}

static void change_something(struct world *w)
{
	size_t path = chance(w, N_PATHS);
	enum kind kind = (enum kind)chance(w, 4);
	if (path == 0)
		kind = DIRECTORY;
	else if (w->tree[parent_of(path)].kind != DIRECTORY)
		return;
	if (kind == GONE && w->tree[path].kind == GONE)
		return;
	if (kind != DIRECTORY && w->tree[path].kind == DIRECTORY)
		remove_beneath(w, path);
	change(w, path, kind);
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
	int r = outbound_offer(w->ob, paths[path], v.seq, v.kind == FILE_LARGE ? 500 : 10,
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
static void offer_pending(struct world *w)
{
	size_t next;
	for (uint64_t after = 0; (next = next_by_seq(w, after)) < N_PATHS;
	     after = w->tree[next].seq) {
		for (size_t i = 0; i < next; i++) {
			if (is_beneath(next, i) && w->tree[i].kind == DIRECTORY && !offer(w, i))
				return;
		}
		if (!offer(w, next))
			return;
	}
}

static void begin_one(struct world *w)
{
	const struct outbound_item *item = outbound_begin(w->ob);
	if (!item)
		return;
	size_t path = 0;
	while (strcmp(paths[path], item->path) != 0)
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
	push(&w->there, m);
	if (!item->streamed) {
		outbound_sent(w->ob, item->ticket);
		return;
	}
	size_t i = 0;
	while (w->streams[i].ticket)
		assert_true(++i < N_STREAMS);
	w->streams[i] = (struct stream){item->ticket, 1 + chance(w, 6)};
}

static void abort_stream(struct world *w, struct stream *stream)
{
	push(&w->there, (struct message){.kind = ABORT, .ticket = stream->ticket});
	stream->ticket = 0;
	w->aborts++;
}

static void go_on_with_a_stream(struct world *w)
{
	struct stream *stream = &w->streams[chance(w, N_STREAMS)];
	if (!stream->ticket)
		return;
	if (!w->calm && chance(w, 20) == 0) { /* the source changed */
		const struct outbound_item *item = outbound_find(w->ob, stream->ticket);
		for (size_t i = 0; i < N_PATHS; i++) {
			if (strcmp(paths[i], item->path) == 0 && w->tree[i].seq == item->seq)
				change(w, i, FILE_LARGE);
		}
		assert_int_equal(outbound_abandon(w->ob, stream->ticket), 0);
		abort_stream(w, stream);
		return;
	}
	bool last = --stream->left == 0;
	push(&w->there, (struct message){.kind = DATA, .ticket = stream->ticket, .last = last});
	if (last) {
		outbound_sent(w->ob, stream->ticket);
		stream->ticket = 0;
	}
}

static void send_barrier(struct world *w)
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
	push(&w->there, (struct message){.kind = BARRIER,
					 .id = w->last_barrier,
					 .denials = outbound_denials(w->ob)});
}

static void on_answer(struct world *w)
{
	if (w->back.n == 0)
		return;
	struct message m = pop(&w->back);
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
	} else if (outbound_again(w->ob, m.ticket, m.need) == 0) {
		return;
	}
	if (m.kind != ACK && item && w->offered[m.path] == seq)
		w->offered[m.path] = 0; /* the operator mended it: offered anew */
}

/* ---- the passive -------------------------------------------------------------------------- */

static struct slot *slot_of(struct world *w, uint32_t ticket)
{
	for (size_t i = 0; i < COUNT(w->slots); i++) {
		if (w->slots[i].ticket == ticket)
			return &w->slots[i];
	}
	return NULL;
}

static void answer(struct world *w, struct slot *slot, enum frame_kind kind, uint8_t need)
{
	assert_true(inbound_is_wanted(w->ib, slot->ticket));
	push(&w->back,
	     (struct message){
		     .kind = kind, .ticket = slot->ticket, .path = slot->path, .need = need});
	inbound_answered(w->ib, slot->ticket, kind == ACK);
	slot->ticket = 0;
	w->acks += kind == ACK;
	w->needs += kind == NEED;
	w->refusals += kind == REFUSED;
}

static void on_record(struct world *w, const struct message *m)
{
	bool streamed = m->version.kind == FILE_LARGE;
	assert_int_equal(inbound_record(w->ib, m->ticket, paths[m->path], streamed, 500), 0);
	struct slot *slot = slot_of(w, 0);
	assert_non_null(slot);
	/* What has no content is staged by arriving, so that it cannot be overtaken. */
	bool staged = m->version.kind == GONE || m->version.kind == DIRECTORY;
	*slot = (struct slot){m->ticket, m->path, m->version, streamed, staged};
	if (staged)
		inbound_staged(w->ib, m->ticket);
}

static void on_frame(struct world *w)
{
	if (w->there.n == 0)
		return;
	struct message m = pop(&w->there);
	struct slot *slot = m.ticket ? slot_of(w, m.ticket) : NULL;
	switch (m.kind) {
	case RECORD: on_record(w, &m); break;
	case DATA:
		assert_int_equal(inbound_data(w->ib, m.ticket, 80, m.last), 0);
		assert_int_equal(inbound_is_wanted(w->ib, m.ticket), slot != NULL);
		if (slot && m.last)
			slot->arriving = false;
		break;
	case ABORT:
		assert_int_equal(inbound_abort(w->ib, m.ticket), 0);
		if (slot)
			slot->ticket = 0;
		break;
	default: assert_int_equal(inbound_barrier(w->ib, m.id, m.denials), 0);
	}
}

/* Content may turn out to be unusable. */
static void stage_something(struct world *w)
{
	struct slot *slot = &w->slots[chance(w, COUNT(w->slots))];
	if (!slot->ticket || slot->staged)
		return;
	if (!w->calm && chance(w, 8) == 0) {
		answer(w, slot, chance(w, 3) ? NEED : REFUSED, NEED_CONTENT);
		return;
	}
	if (slot->arriving)
		return;
	slot->staged = true;
	inbound_staged(w->ib, slot->ticket);
}

static void begin_commit(struct world *w)
{
	if (w->n_batch == 0)
		w->n_batch = inbound_batch(w->ib, w->batch, N_RECORDS);
}

static bool has_beneath(const struct world *w, size_t dir)
{
	for (size_t i = 0; i < N_PATHS; i++) {
		if (is_beneath(i, dir) && w->copy[i].kind != GONE)
			return true;
	}
	return false;
}

static void install(struct world *w, struct slot *slot)
{
	enum kind kind = slot->version.kind;
	if (kind != GONE && slot->path && w->copy[parent_of(slot->path)].kind != DIRECTORY) {
		answer(w, slot, NEED, NEED_PARENT);
		return;
	}
	if (kind != DIRECTORY && has_beneath(w, slot->path))
		fail_msg("\"%s\" goes while something is beneath it", paths[slot->path]);
	w->copy[slot->path] = slot->version;
	answer(w, slot, ACK, 0);
}

/* The commit's order: what makes room for a file, directories, files, deletions deepest first. */
static int pass_of(const struct world *w, const struct slot *slot)
{
	if (slot->version.kind == DIRECTORY)
		return 1;
	if (slot->version.kind != GONE)
		return 2;
	for (size_t i = 0; i < w->n_batch; i++) {
		for (size_t k = 0; k < COUNT(w->slots); k++) {
			const struct slot *other = &w->slots[k];
			if (other->ticket == w->batch[i] && other->version.kind != DIRECTORY &&
			    other->version.kind != GONE && is_beneath(slot->path, other->path))
				return 0;
		}
	}
	return 3;
}

static void end_commit(struct world *w)
{
	if (w->n_batch == 0)
		return;
	for (int pass = 0; pass < 4; pass++) {
		for (size_t p = 0; p < N_PATHS; p++) {
			size_t path = pass == 0 || pass == 3 ? N_PATHS - 1 - p : p;
			for (size_t i = 0; i < w->n_batch; i++) {
				struct slot *slot = slot_of(w, w->batch[i]);
				if (slot && slot->path == path && pass_of(w, slot) == pass)
					install(w, slot);
			}
		}
	}
	w->n_batch = 0;
}

static void judge_barrier(struct world *w)
{
	bool clean;
	uint64_t id = inbound_reached_barrier(w->ib, &clean);
	if (id == 0)
		return;
	push(&w->back, (struct message){.kind = BARRIER_DONE, .id = id});
	w->clean += clean;
	w->dropped += !clean;
	for (size_t i = 0; clean && i < N_PATHS; i++) {
		struct version was = w->snapshots[id][i];
		if (was.kind != w->copy[i].kind || (was.kind != GONE && was.seq != w->copy[i].seq))
			fail_msg("barrier %d: \"%s\" is %d/%d, was %d/%d", (int)id, paths[i],
				 (int)w->copy[i].seq, w->copy[i].kind, (int)was.seq, was.kind);
	}
}

/* ---- schedules ---------------------------------------------------------------------------- */

static void step(struct world *w)
{
	switch (chance(w, w->calm ? 9 : 10)) {
	case 0: offer_pending(w); break;
	case 1: begin_one(w); break;
	case 2: go_on_with_a_stream(w); break;
	case 3:
		if (chance(w, 4) == 0)
			send_barrier(w);
		break;
	case 4: on_answer(w); break;
	case 5: on_frame(w); break;
	case 6: stage_something(w); break;
	case 7: chance(w, 2) ? begin_commit(w) : end_commit(w); break;
	case 8: judge_barrier(w); break;
	default:
		for (uint32_t n = chance(w, 3); n > 0; n--)
			change_something(w);
	}
}

static void expect_all_acknowledged(const struct world *w)
{
	for (size_t i = 0; i < N_PATHS; i++) {
		if (w->tree[i].seq == 0)
			continue;
		if (w->acked[i] != w->tree[i].seq)
			fail_msg("\"%s\" is not acknowledged", paths[i]);
		assert_int_equal(w->times_acked[i], 1);
		assert_int_equal(w->copy[i].seq, w->tree[i].seq);
		assert_int_equal(w->copy[i].kind, w->tree[i].kind);
	}
}

static void run(struct world *w, uint64_t seed, size_t steps)
{
	const struct outbound_limits out = {.records = N_RECORDS,
					    .bytes = 1000,
					    .streams = N_STREAMS,
					    .pending = 4 + seed % 12};
	const struct inbound_limits in = {
		.records = N_RECORDS, .streams = N_STREAMS, .batch = 1 + seed % N_RECORDS};
	memset(w, 0, sizeof(*w));
	w->seed = seed;
	w->ob = outbound_new(&out);
	w->ib = inbound_new(&in);
	change(w, 0, DIRECTORY);
	for (size_t i = 0; i < steps; i++)
		step(w);
	w->calm = true;
	for (size_t i = 0; i < 20000; i++)
		step(w);
	expect_all_acknowledged(w);
	assert_true(outbound_is_idle(w->ob));
	assert_int_equal(inbound_unanswered(w->ib), 0);
	outbound_free(w->ob);
	inbound_free(w->ib);
}

static void random_sessions_end_in_agreement(void **state)
{
	static struct world w;
	uint64_t seed = random_seed();
	size_t clean = 0, dropped = 0, acks = 0, needs = 0, refusals = 0, aborts = 0;
	for (int i = 0; i < 60; i++) {
		uint64_t one = seed + (uint64_t)i * 0x9e3779b97f4a7c15u;
		print_message("session %llu\n", (unsigned long long)one);
		run(&w, one ? one : 1, 15000);
		clean += w.clean;
		dropped += w.dropped;
		acks += w.acks;
		needs += w.needs;
		refusals += w.refusals;
		aborts += w.aborts;
	}
	print_message(
		"acks %zu, needs %zu, refusals %zu, aborts %zu, barriers %zu clean, %zu dropped\n",
		acks, needs, refusals, aborts, clean, dropped);
	assert_true(acks > 1000 && needs > 100 && refusals > 100 && aborts > 100);
	assert_true(clean > 100 && dropped > 10);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(random_sessions_end_in_agreement),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
