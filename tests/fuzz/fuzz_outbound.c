/* protocol/outbound against a model that knows only what the header promises. The input is a
 * sequence of operations; at its end everything must drain, or a record would have waited for ever.
 */
#include <errno.h>
#include <stdbool.h>

#include "fuzz.h"
#include "protocol/outbound.h"
#include "protocol/relpath.h"
#include "protocol/wire.h"

#define RECORDS 6
#define STREAMS 2
#define PENDING 9
#define BYTES 1000
#define TICKETS_MAX 4096

static const char *const paths[] = {"",	   "a", "a/b",	 "a/b/c", "a/b/c/d", "a/b2", "a/e",   "f",
				    "f/g", "h", "h/i/j", "k",	  "l",	     "m",    "a/b/x", "n"};
#define N_PATHS (sizeof(paths) / sizeof(paths[0]))

struct version {
	bool there;
	uint64_t seq, order;
	unsigned flags;
	bool recreated; /* turned from a leaf into a directory while it waited */
	uint8_t need, attempts;
	uint32_t ticket;
	bool sent;
};

struct model {
	struct outbound *ob;
	struct version pending[N_PATHS], under_way[N_PATHS];
	uint64_t next_seq, next_order;
	uint32_t denials, last_ticket;
};

static bool is_leaf(const struct version *v)
{
	return v->flags & (OUTBOUND_LEAF | OUTBOUND_DELETION);
}

static size_t count(const struct version *versions)
{
	size_t n = 0;
	for (size_t i = 0; i < N_PATHS; i++)
		n += versions[i].there;
	return n;
}

static bool is_beneath(size_t path, size_t above)
{
	return path != above && relpath_is_within(paths[path], paths[above]);
}

static int path_of(const struct model *m, uint32_t ticket)
{
	for (size_t i = 0; i < N_PATHS; i++) {
		if (m->under_way[i].there && m->under_way[i].ticket == ticket)
			return (int)i;
	}
	return -1;
}

static void on_offer(struct model *m, struct input *in)
{
	size_t path = input_u8(in) % N_PATHS;
	uint8_t how = input_u8(in);
	uint64_t seq = how & 0x80 ? m->next_seq : ++m->next_seq; /* sometimes known already */
	uint64_t size = (uint64_t)(how >> 3 & 7) * 200;
	unsigned flags = path == 0 ? 0 : how & 7;
	if (flags & OUTBOUND_DELETION)
		flags = OUTBOUND_DELETION, size = 0;
	else if (flags & OUTBOUND_STREAMED)
		flags |= OUTBOUND_LEAF;
	struct version *pending = &m->pending[path], *going = &m->under_way[path];
	int expected = 0;
	if ((pending->there && pending->seq >= seq) || (going->there && going->seq >= seq))
		expected = -EALREADY;
	else if (!pending->there && count(m->pending) >= PENDING) /* NEEDs may exceed it */
		expected = -EAGAIN;
	CHECK(outbound_offer(m->ob, paths[path], seq, size, flags) == expected);
	if (expected < 0)
		return;
	if (pending->there) {
		bool was_leaf = is_leaf(pending);
		pending->flags = flags;
		pending->recreated = !is_leaf(pending) && (was_leaf || pending->recreated);
		pending->attempts = 0;
	} else {
		*pending =
			(struct version){.there = true, .flags = flags, .order = m->next_order++};
	}
	pending->seq = seq;
}

/* What the header says of the order. */
static void check_may_begin(const struct model *m, size_t path)
{
	const struct version *v = &m->pending[path];
	CHECK(v->there && !m->under_way[path].there);
	for (size_t i = 0; i < N_PATHS; i++) {
		const struct version *other = &m->pending[i];
		if (!other->there)
			continue;
		CHECK(!(is_leaf(v) && is_beneath(i, path)));
		if (!is_beneath(path, i) || is_leaf(other))
			continue;
		/* A directory above is pending. It may be passed only when one is there. */
		CHECK(v->need != NEED_PARENT);
		CHECK(m->under_way[i].there ? !is_leaf(&m->under_way[i])
					    : !other->recreated && other->order > v->order);
	}
}

static bool on_begin(struct model *m)
{
	const struct outbound_item *item = outbound_begin(m->ob);
	if (!item) {
		/* Nothing under way: the window is empty, so something must be able to go. */
		CHECK(count(m->pending) == 0 || count(m->under_way) > 0);
		return false;
	}
	size_t path = 0;
	while (path < N_PATHS && strcmp(paths[path], item->path) != 0)
		path++;
	CHECK(path < N_PATHS && count(m->under_way) < RECORDS);
	check_may_begin(m, path);
	struct version *v = &m->pending[path];
	CHECK(item->seq == v->seq && item->need == v->need && item->leaf == is_leaf(v));
	CHECK(item->streamed == !!(v->flags & OUTBOUND_STREAMED));
	CHECK(item->deletion == !!(v->flags & OUTBOUND_DELETION));
	CHECK(item->ticket == m->last_ticket + 1);
	m->last_ticket = item->ticket;
	m->under_way[path] = *v;
	m->under_way[path].ticket = item->ticket;
	m->under_way[path].sent = false;
	v->there = false;
	size_t open = 0;
	for (size_t i = 0; i < N_PATHS; i++)
		open += m->under_way[i].there && !m->under_way[i].sent &&
			(m->under_way[i].flags & OUTBOUND_STREAMED);
	CHECK(open <= STREAMS);
	return true;
}

static uint32_t some_ticket(const struct model *m, struct input *in)
{
	uint8_t which = input_u8(in);
	if (which == 255)
		return input_u32(in);
	for (size_t i = 0; i < N_PATHS; i++) {
		size_t path = (i + which) % N_PATHS;
		if (m->under_way[path].there)
			return m->under_way[path].ticket;
	}
	return which;
}

static void on_sent(struct model *m, struct input *in)
{
	uint32_t ticket = some_ticket(m, in);
	int path = path_of(m, ticket);
	outbound_sent(m->ob, ticket);
	if (path >= 0)
		m->under_way[path].sent = true;
}

static void on_end(struct model *m, struct input *in, bool refused)
{
	uint32_t ticket = some_ticket(m, in);
	int path = path_of(m, ticket);
	int r = refused ? outbound_refused(m->ob, ticket) : outbound_done(m->ob, ticket);
	m->denials += refused;
	CHECK(r == (path < 0 ? -ENOENT : 0));
	if (path >= 0)
		m->under_way[path].there = false;
}

static void on_again(struct model *m, struct input *in, bool by_peer)
{
	uint32_t ticket = some_ticket(m, in);
	uint8_t need = by_peer ? input_u8(in) % 5 : NEED_CONTENT;
	int path = path_of(m, ticket);
	bool known = need >= NEED_CONTENT && need <= NEED_VERIFY;
	int r = by_peer ? outbound_needed(m->ob, ticket, need) : outbound_otherwise(m->ob, ticket);
	m->denials += by_peer && known;
	if (!known || path < 0) {
		CHECK(r == (known ? -ENOENT : -EINVAL));
		return;
	}
	struct version *going = &m->under_way[path], *next = &m->pending[path];
	bool too_often = !next->there && ++going->attempts >= OUTBOUND_ATTEMPTS_MAX;
	CHECK(r == (too_often ? -ELOOP : 0));
	if (next->there) {
		next->need = need;
	} else if (!too_often) {
		*next = *going;
		next->need = need;
	}
	going->there = false;
}

/* Only what may be given up: not a deletion, and nothing that has been sent whole. */
static void on_abandon(struct model *m, struct input *in)
{
	uint32_t ticket = some_ticket(m, in);
	int path = path_of(m, ticket);
	if (path >= 0 && (m->under_way[path].sent || m->under_way[path].flags & OUTBOUND_DELETION))
		return;
	CHECK(outbound_abandon(m->ob, ticket) == (path < 0 ? -ENOENT : 0));
	if (path >= 0)
		m->under_way[path].there = false;
}

static void check(const struct model *m)
{
	bool unsent = false;
	for (size_t i = 0; i < N_PATHS; i++) {
		const struct version *v = &m->under_way[i];
		if (!v->there)
			continue;
		unsent |= !v->sent;
		const struct outbound_item *item = outbound_find(m->ob, v->ticket);
		CHECK(item && strcmp(item->path, paths[i]) == 0 && item->seq == v->seq);
	}
	size_t pending = count(m->pending), going = count(m->under_way);
	CHECK(outbound_pending(m->ob) == pending && outbound_under_way(m->ob) == going);
	CHECK(outbound_room(m->ob) == (pending < PENDING ? PENDING - pending : 0));
	CHECK(outbound_is_drained(m->ob) == (pending == 0 && !unsent));
	CHECK(outbound_is_idle(m->ob) == (pending == 0 && going == 0));
	CHECK(outbound_denials(m->ob) == m->denials);
}

static void drain(struct model *m)
{
	for (size_t rounds = 0; !outbound_is_idle(m->ob); rounds++) {
		CHECK(rounds <= 2 * N_PATHS);
		while (on_begin(m))
			;
		for (size_t i = 0; i < N_PATHS; i++) {
			if (!m->under_way[i].there)
				continue;
			outbound_sent(m->ob, m->under_way[i].ticket);
			CHECK(outbound_done(m->ob, m->under_way[i].ticket) == 0);
			m->under_way[i].there = false;
		}
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = input_of(data, size);
	struct outbound_limits limits = {
		.records = RECORDS, .bytes = BYTES, .streams = STREAMS, .pending = PENDING};
	static struct model m;
	memset(&m, 0, sizeof(m));
	m.ob = outbound_new(&limits);
	CHECK(m.ob);
	for (size_t n = 0; input_left(&in) > 0 && n < TICKETS_MAX; n++) {
		switch (input_u8(&in) % 10) {
		case 0:
		case 1:
		case 2: on_offer(&m, &in); break;
		case 3: on_begin(&m); break;
		case 4: on_sent(&m, &in); break;
		case 5: on_end(&m, &in, false); break;
		case 6: on_end(&m, &in, true); break;
		case 7: on_again(&m, &in, true); break;
		case 8: on_again(&m, &in, false); break;
		case 9: on_abandon(&m, &in); break;
		}
		check(&m);
	}
	drain(&m);
	outbound_free(m.ob);
	return 0;
}
