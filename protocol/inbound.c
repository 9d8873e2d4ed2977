#include "protocol/inbound.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "protocol/wire.h"

/* A delta may be longer than the file: a header per literal. */
#define STREAM_SLACK (64u * 1024)

enum slot_state {
	SLOT_ARRIVED, /* being staged */
	SLOT_STAGED,
	SLOT_BATCHED,
	SLOT_ANSWERED, /* only its stream still comes: answered early, the sender has not noticed
			  yet */
};

/* A consistency set from its first RECORD until each of its members is answered, or SET_ABORT. */
struct set {
	struct set *next;
	uint32_t id, n;
	uint32_t expected; /* not yet answered, arrived or not; 0: it has ended */
	uint32_t arrived, staged;
	uint64_t last_position;
	bool dead, batched;
};

struct slot {
	struct slot *prev, *next; /* in order of arrival, unless SLOT_ANSWERED */
	struct slot *next_ticket, *next_path;
	uint64_t position;    /* of its arrival */
	uint64_t stream_room; /* bytes the stream may still bring */
	uint32_t ticket;
	enum slot_state state;
	bool stream_open;
	struct set *set; /* NULL: travels by itself */
	char path[];
};

struct barrier {
	uint64_t id;
	uint64_t position; /* of the last arrival before it */
	bool clean;
};

struct inbound {
	struct inbound_limits limits;
	struct slot *first, *last;
	struct slot **tickets, **paths; /* hash tables; both chained */
	size_t mask;
	struct barrier barriers[WIRE_BARRIERS_MAX];
	size_t n_barriers;
	uint64_t last_barrier;
	uint64_t arrivals;
	uint32_t last_ticket;
	uint32_t denials; /* NEED and REFUSED sent */
	size_t unanswered, streams;
	struct set *sets;
	size_t n_sets;
};

/* ---- slots -------------------------------------------------------------------------------- */

struct inbound *inbound_new(const struct inbound_limits *limits)
{
	struct inbound *ib = calloc(1, sizeof(*ib));
	if (!ib)
		return NULL;
	ib->limits = *limits;
	size_t n = 16;
	while (n < limits->records)
		n *= 2;
	ib->mask = n - 1;
	ib->tickets = calloc(n, sizeof(struct slot *));
	ib->paths = calloc(n, sizeof(struct slot *));
	if (!ib->tickets || !ib->paths) {
		inbound_free(ib);
		return NULL;
	}
	return ib;
}

void inbound_free(struct inbound *ib)
{
	if (!ib)
		return;
	for (size_t i = 0; ib->tickets && i <= ib->mask; i++) {
		struct slot *next;
		for (struct slot *slot = ib->tickets[i]; slot; slot = next) {
			next = slot->next_ticket;
			free(slot);
		}
	}
	for (struct set *set = ib->sets, *next; set; set = next) {
		next = set->next;
		free(set);
	}
	free(ib->tickets);
	free(ib->paths);
	free(ib);
}

static struct slot **ticket_link(const struct inbound *ib, uint32_t ticket)
{
	struct slot **link = &ib->tickets[ticket & ib->mask];
	while (*link && (*link)->ticket != ticket)
		link = &(*link)->next_ticket;
	return link;
}

static struct slot **path_link(const struct inbound *ib, const char *path)
{
	uint64_t hash = 0xcbf29ce484222325u; /* FNV-1a; collisions cost time within `records` */
	for (const char *c = path; *c; c++)
		hash = (hash ^ (uint8_t)*c) * 0x100000001b3u;
	struct slot **link = &ib->paths[(hash ^ hash >> 32) & ib->mask];
	while (*link && strcmp((*link)->path, path) != 0)
		link = &(*link)->next_path;
	return link;
}

static struct slot *unanswered(const struct inbound *ib, uint32_t ticket)
{
	struct slot *slot = *ticket_link(ib, ticket);
	return slot && slot->state != SLOT_ANSWERED ? slot : NULL;
}

static void forget_ticket(struct inbound *ib, struct slot *slot)
{
	*ticket_link(ib, slot->ticket) = slot->next_ticket;
	free(slot);
}

/* Leaves the order of arrival and the paths. It goes altogether unless its stream is still coming.
 */
static void leave(struct inbound *ib, struct slot *slot)
{
	*(slot->prev ? &slot->prev->next : &ib->first) = slot->next;
	*(slot->next ? &slot->next->prev : &ib->last) = slot->prev;
	*path_link(ib, slot->path) = slot->next_path;
	if (slot->set) {
		slot->set->arrived--;
		slot->set->staged -= slot->state == SLOT_STAGED;
		slot->set = NULL;
	}
	slot->state = SLOT_ANSWERED;
	ib->unanswered--;
	if (!slot->stream_open)
		forget_ticket(ib, slot);
}

/* ---- arrivals ----------------------------------------------------------------------------- */

/* Serial numbers: a session may see more than 2^32 records. */
static bool comes_after(uint32_t ticket, uint32_t last)
{
	return ticket != 0 && (int32_t)(ticket - last) > 0;
}

static uint64_t stream_room(uint64_t size)
{
	uint64_t slack = size / 8 + STREAM_SLACK;
	return size > UINT64_MAX - slack ? UINT64_MAX : size + slack;
}

static void enter(struct inbound *ib, struct slot *slot)
{
	*ticket_link(ib, slot->ticket) = slot;
	*path_link(ib, slot->path) = slot;
	slot->prev = ib->last;
	*(ib->last ? &ib->last->next : &ib->first) = slot;
	ib->last = slot;
	ib->last_ticket = slot->ticket;
	ib->streams += slot->stream_open;
	ib->unanswered++;
}

int inbound_record(struct inbound *ib, uint32_t ticket, const char *path, bool streamed,
		   uint64_t size)
{
	if (!comes_after(ticket, ib->last_ticket) || *path_link(ib, path) ||
	    *ticket_link(ib, ticket))
		return -EPROTO;
	if (ib->unanswered >= ib->limits.records || (streamed && ib->streams >= ib->limits.streams))
		return -EMSGSIZE;
	size_t len = strlen(path);
	struct slot *slot = calloc(1, sizeof(*slot) + len + 1);
	if (!slot)
		return -ENOMEM;
	memcpy(slot->path, path, len + 1);
	slot->ticket = ticket;
	slot->stream_open = streamed;
	slot->stream_room = stream_room(size);
	slot->position = ++ib->arrivals;
	enter(ib, slot);
	return 0;
}

/* ---- sets --------------------------------------------------------------------------------- */

static struct set *find_set(const struct inbound *ib, uint32_t id)
{
	struct set *set = ib->sets;
	while (set && set->id != id)
		set = set->next;
	return set;
}

static struct set *add_set(struct inbound *ib, uint32_t id, uint32_t n)
{
	struct set *set = calloc(1, sizeof(*set));
	if (!set)
		return NULL;
	set->id = id;
	set->n = set->expected = n;
	set->next = ib->sets;
	ib->sets = set;
	ib->n_sets++;
	return set;
}

static void end_set(struct inbound *ib, struct set *set)
{
	struct set **link = &ib->sets;
	while (*link != set)
		link = &(*link)->next;
	*link = set->next;
	ib->n_sets--;
	free(set);
}

int inbound_member(struct inbound *ib, uint32_t ticket, uint32_t id, uint32_t n)
{
	struct slot *slot = unanswered(ib, ticket);
	struct set *set = find_set(ib, id);
	if (!slot || n == 0 || n > ib->limits.batch || n > ib->limits.records)
		return -EPROTO;
	if (!set && ib->n_sets >= ib->limits.sets)
		return -EMSGSIZE;
	if (!set && !(set = add_set(ib, id, n)))
		return -ENOMEM;
	if (set->n != n || set->batched || set->arrived >= set->expected)
		return -EPROTO;
	set->arrived++;
	set->last_position = slot->position;
	slot->set = set;
	return 0;
}

static void spoil_barriers(struct inbound *ib, uint64_t position);

size_t inbound_set_abort(struct inbound *ib, uint32_t id, uint32_t *out)
{
	struct set *set = find_set(ib, id);
	size_t n = 0;
	if (!set || (set->batched && !set->dead))
		return 0;
	for (struct slot *slot = ib->first, *next; slot; slot = next) {
		next = slot->next;
		if (slot->set != set)
			continue;
		out[n++] = slot->ticket;
		spoil_barriers(ib, slot->position);
		leave(ib, slot);
	}
	end_set(ib, set);
	return n;
}

void inbound_left_out(struct inbound *ib, uint32_t ticket)
{
	struct slot *slot = unanswered(ib, ticket);
	if (slot && slot->set)
		slot->set->dead = true;
}

/* A denial before the batch is the end of all. Afterwards each member is answered for itself: the
 * others are in the tree. */
static void member_answered(struct inbound *ib, struct set *set, bool acknowledged)
{
	if (!acknowledged && !set->batched)
		set->dead = true;
	else if (--set->expected == 0)
		end_set(ib, set);
}

static bool is_complete(const struct set *set)
{
	return !set->dead && !set->batched && set->staged == set->expected;
}

static void close_stream(struct inbound *ib, struct slot *slot)
{
	slot->stream_open = false;
	ib->streams--;
	if (slot->state == SLOT_ANSWERED)
		forget_ticket(ib, slot);
}

int inbound_data(struct inbound *ib, uint32_t stream, uint32_t raw_len, bool last)
{
	struct slot *slot = *ticket_link(ib, stream);
	if (!slot || !slot->stream_open)
		return -EPROTO;
	if (raw_len > slot->stream_room)
		return -EMSGSIZE;
	slot->stream_room -= raw_len;
	if (last)
		close_stream(ib, slot);
	return 0;
}

/* Barriers behind this record cannot hold: it is not there. */
static void spoil_barriers(struct inbound *ib, uint64_t position)
{
	for (size_t i = 0; i < ib->n_barriers; i++) {
		if (ib->barriers[i].position >= position)
			ib->barriers[i].clean = false;
	}
}

int inbound_abort(struct inbound *ib, uint32_t stream)
{
	struct slot *slot = *ticket_link(ib, stream);
	if (!slot || !slot->stream_open)
		return -EPROTO;
	if (slot->state != SLOT_ANSWERED) {
		spoil_barriers(ib, slot->position);
		leave(ib, slot);
	}
	close_stream(ib, slot);
	return 0;
}

bool inbound_is_wanted(const struct inbound *ib, uint32_t ticket)
{
	return unanswered(ib, ticket) != NULL;
}

/* ---- batches and answers ------------------------------------------------------------------ */

void inbound_staged(struct inbound *ib, uint32_t ticket)
{
	struct slot *slot = unanswered(ib, ticket);
	if (!slot || slot->state != SLOT_ARRIVED || slot->stream_open)
		return;
	slot->state = SLOT_STAGED;
	if (slot->set)
		slot->set->staged++;
}

void inbound_answered(struct inbound *ib, uint32_t ticket, bool acknowledged)
{
	struct slot *slot = unanswered(ib, ticket);
	if (!slot)
		return;
	if (!acknowledged) {
		ib->denials++;
		spoil_barriers(ib, slot->position);
	}
	struct set *set = slot->set;
	leave(ib, slot);
	if (set)
		member_answered(ib, set, acknowledged);
}

/* From the set's first slot on. */
static size_t batch_set(struct slot *slot, uint32_t *out)
{
	struct set *set = slot->set;
	size_t n = 0;
	set->batched = true;
	for (; n < set->expected; slot = slot->next) {
		if (slot->set != set)
			continue;
		slot->state = SLOT_BATCHED;
		out[n++] = slot->ticket;
	}
	set->staged = 0;
	return n;
}

size_t inbound_batch(struct inbound *ib, uint32_t *out, size_t max)
{
	uint64_t end = ib->n_barriers ? ib->barriers[0].position : UINT64_MAX;
	size_t n = 0;
	if (max > ib->limits.batch)
		max = ib->limits.batch;
	for (struct slot *slot = ib->first; slot && slot->position <= end && n < max;
	     slot = slot->next) {
		struct set *set = slot->set;
		if (slot->state != SLOT_STAGED ||
		    (set && (!is_complete(set) || set->last_position > end)))
			continue;
		if (set) {
			if (set->expected > max - n)
				break;
			n += batch_set(slot, out + n);
			continue;
		}
		slot->state = SLOT_BATCHED;
		out[n++] = slot->ticket;
	}
	return n;
}

size_t inbound_unanswered(const struct inbound *ib)
{
	return ib->unanswered;
}

/* ---- barriers ----------------------------------------------------------------------------- */

/* A sender that has not received all denials yet believed, when it sent the barrier, that
 * everything before it would be acknowledged; a record it must send again may even be gone from the
 * slots by now. */
int inbound_barrier(struct inbound *ib, uint64_t id, uint32_t denials)
{
	if (id <= ib->last_barrier)
		return -EPROTO;
	if (ib->n_barriers == WIRE_BARRIERS_MAX)
		return -EMSGSIZE;
	ib->last_barrier = id;
	ib->barriers[ib->n_barriers++] = (struct barrier){
		.id = id, .position = ib->arrivals, .clean = denials == ib->denials};
	return 0;
}

uint64_t inbound_reached_barrier(struct inbound *ib, bool *clean)
{
	if (ib->n_barriers == 0)
		return 0;
	struct barrier reached = ib->barriers[0];
	if (ib->first && ib->first->position <= reached.position)
		return 0;
	ib->n_barriers--;
	memmove(&ib->barriers[0], &ib->barriers[1], ib->n_barriers * sizeof(ib->barriers[0]));
	*clean = reached.clean;
	return reached.id;
}
