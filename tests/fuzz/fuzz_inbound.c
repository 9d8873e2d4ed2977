/* protocol/inbound against a model that is written the slow way: a list of everything that ever
 * arrived. The input is a sequence of operations. */
#include <errno.h>
#include <stdbool.h>

#include "fuzz.h"
#include "protocol/inbound.h"
#include "protocol/wire.h"

#define RECORDS 8
#define STREAMS 3
#define BATCH 5
#define ARRIVALS_MAX 512
#define BARRIERS 512

static const char *const paths[] = {"a", "b", "c", "d", "a/b", "a/c", "e", "f", "g", "h", "i", "j"};
#define N_PATHS (sizeof(paths) / sizeof(paths[0]))

enum fate { WAITS, STAGED, BATCHED, GONE };

struct arrival {
	uint32_t ticket;
	size_t path;
	bool streaming;
	uint64_t room;
	enum fate fate;
};

struct gate {
	uint64_t id;
	size_t after; /* arrivals before it */
	bool spoilt, judged;
};

struct model {
	struct inbound *ib;
	struct arrival arrivals[ARRIVALS_MAX];
	size_t n;
	struct gate gates[BARRIERS];
	size_t n_gates;
	uint64_t last_id;
	uint32_t last_ticket, denials;
};

static size_t unanswered(const struct model *m)
{
	size_t n = 0;
	for (size_t i = 0; i < m->n; i++)
		n += m->arrivals[i].fate != GONE;
	return n;
}

static size_t streams(const struct model *m)
{
	size_t n = 0;
	for (size_t i = 0; i < m->n; i++)
		n += m->arrivals[i].streaming;
	return n;
}

static size_t open_gates(const struct model *m)
{
	size_t n = 0;
	for (size_t i = 0; i < m->n_gates; i++)
		n += !m->gates[i].judged;
	return n;
}

/* The newest with that ticket that the machine still knows. */
static struct arrival *known(struct model *m, uint32_t ticket)
{
	for (size_t i = m->n; i-- > 0;) {
		struct arrival *a = &m->arrivals[i];
		if (a->ticket == ticket && (a->fate != GONE || a->streaming))
			return a;
	}
	return NULL;
}

static void spoil(struct model *m, const struct arrival *a)
{
	for (size_t i = 0; i < m->n_gates; i++) {
		if ((size_t)(a - m->arrivals) < m->gates[i].after && !m->gates[i].judged)
			m->gates[i].spoilt = true;
	}
}

static void on_record(struct model *m, struct input *in)
{
	uint8_t how = input_u8(in);
	/* Mostly the next ticket, sometimes far ahead, sometimes an old one. */
	uint32_t step = how & 0x40 ? (uint32_t)input_u8(in) << 24 | input_u8(in) : 1;
	uint32_t ticket = how & 0x80 ? m->last_ticket - (how & 3) : m->last_ticket + step;
	size_t path = input_u8(in) % N_PATHS;
	bool streamed = how & 1;
	uint64_t size = streamed ? (uint64_t)input_u8(in) << 12 : 0;
	bool busy = false;
	for (size_t i = 0; i < m->n; i++)
		busy |= m->arrivals[i].fate != GONE && m->arrivals[i].path == path;
	int expected = 0;
	if (ticket == 0 || ticket - m->last_ticket - 1 >= 0x7fffffffu || busy || known(m, ticket))
		expected = -EPROTO;
	else if (unanswered(m) == RECORDS || (streamed && streams(m) == STREAMS))
		expected = -EMSGSIZE;
	CHECK(inbound_record(m->ib, ticket, paths[path], streamed, size) == expected);
	if (expected < 0)
		return;
	m->last_ticket = ticket;
	m->arrivals[m->n++] = (struct arrival){.ticket = ticket,
					       .path = path,
					       .streaming = streamed,
					       .room = size + size / 8 + 65536};
}

static uint32_t some_ticket(struct model *m, struct input *in)
{
	uint8_t which = input_u8(in);
	return which == 255 || m->n == 0 ? input_u32(in)
					 : m->arrivals[m->n - 1 - which % m->n].ticket;
}

static void on_data(struct model *m, struct input *in)
{
	uint32_t stream = some_ticket(m, in);
	uint32_t len = (uint32_t)input_u8(in) << 10;
	bool last = input_u8(in) & 1;
	struct arrival *a = known(m, stream);
	int expected = !a || !a->streaming ? -EPROTO : len > a->room ? -EMSGSIZE : 0;
	CHECK(inbound_data(m->ib, stream, len, last) == expected);
	if (expected < 0)
		return;
	a->room -= len;
	a->streaming = !last;
}

static void on_abort(struct model *m, struct input *in)
{
	uint32_t stream = some_ticket(m, in);
	struct arrival *a = known(m, stream);
	int expected = !a || !a->streaming ? -EPROTO : 0;
	CHECK(inbound_abort(m->ib, stream) == expected);
	if (expected < 0)
		return;
	if (a->fate != GONE)
		spoil(m, a);
	a->fate = GONE;
	a->streaming = false;
}

static void on_staged(struct model *m, struct input *in)
{
	uint32_t ticket = some_ticket(m, in);
	struct arrival *a = known(m, ticket);
	inbound_staged(m->ib, ticket);
	if (a && a->fate == WAITS && !a->streaming)
		a->fate = STAGED;
}

static void on_answered(struct model *m, struct input *in)
{
	uint32_t ticket = some_ticket(m, in);
	bool acknowledged = input_u8(in) & 1;
	struct arrival *a = known(m, ticket);
	inbound_answered(m->ib, ticket, acknowledged);
	if (!a || a->fate == GONE)
		return;
	a->fate = GONE;
	if (!acknowledged) {
		m->denials++;
		spoil(m, a);
	}
}

static void on_barrier(struct model *m, struct input *in)
{
	uint8_t how = input_u8(in);
	uint64_t id = m->last_id + (how & 3);
	uint32_t denials = m->denials + (how >> 2 & 1);
	int expected = id <= m->last_id			    ? -EPROTO
		       : open_gates(m) == WIRE_BARRIERS_MAX ? -EMSGSIZE
							    : 0;
	CHECK(inbound_barrier(m->ib, id, denials) == expected);
	if (expected < 0)
		return;
	m->last_id = id;
	m->gates[m->n_gates++] =
		(struct gate){.id = id, .after = m->n, .spoilt = denials != m->denials};
}

static struct gate *first_gate(struct model *m)
{
	for (size_t i = 0; i < m->n_gates; i++) {
		if (!m->gates[i].judged)
			return &m->gates[i];
	}
	return NULL;
}

static void on_batch(struct model *m, struct input *in)
{
	uint32_t got[BATCH + 2];
	size_t max = input_u8(in) % (BATCH + 2), n = 0;
	const struct gate *gate = first_gate(m);
	size_t end = gate ? gate->after : m->n, most = max < BATCH ? max : BATCH;
	size_t taken = inbound_batch(m->ib, got, max);
	for (size_t i = 0; i < end && n < most; i++) {
		if (m->arrivals[i].fate != STAGED)
			continue;
		CHECK(n < taken && got[n] == m->arrivals[i].ticket);
		m->arrivals[i].fate = BATCHED;
		n++;
	}
	CHECK(n == taken);
}

static void on_reached(struct model *m)
{
	bool clean = false;
	struct gate *gate = first_gate(m);
	uint64_t id = inbound_reached_barrier(m->ib, &clean);
	for (size_t i = 0; gate && i < gate->after; i++) {
		if (m->arrivals[i].fate != GONE)
			gate = NULL;
	}
	CHECK(id == (gate ? gate->id : 0));
	if (!gate)
		return;
	CHECK(clean == !gate->spoilt);
	gate->judged = true;
}

static void check(struct model *m)
{
	CHECK(inbound_unanswered(m->ib) == unanswered(m));
	for (size_t i = 0; i < m->n; i++) {
		const struct arrival *a = known(m, m->arrivals[i].ticket);
		CHECK(inbound_is_wanted(m->ib, m->arrivals[i].ticket) == (a && a->fate != GONE));
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = input_of(data, size);
	struct inbound_limits limits = {.records = RECORDS, .streams = STREAMS, .batch = BATCH};
	static struct model m;
	memset(&m, 0, sizeof(m));
	m.ib = inbound_new(&limits);
	CHECK(m.ib);
	while (input_left(&in) > 0 && m.n < ARRIVALS_MAX && m.n_gates < BARRIERS) {
		switch (input_u8(&in) % 8) {
		case 0: on_record(&m, &in); break;
		case 1: on_data(&m, &in); break;
		case 2: on_abort(&m, &in); break;
		case 3: on_staged(&m, &in); break;
		case 4: on_answered(&m, &in); break;
		case 5: on_barrier(&m, &in); break;
		case 6: on_batch(&m, &in); break;
		case 7: on_reached(&m); break;
		}
		check(&m);
	}
	inbound_free(m.ib);
	return 0;
}
