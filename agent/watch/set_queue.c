/* A set has one time for all its members: every event of one puts the whole off. There is no
 * longest time, as the dirty set has for a path: a set that is read while it changes is what this
 * is there to prevent. */
#include "agent/watch/set_queue.h"

#include <string.h>

#include "agent/base/alloc.h"
#include "agent/base/hash_table.h"

#define PATIENCE 2 /* times open_ms: then a set that never falls quiet is reported */

struct member {
	UT_hash_handle hh;
	bool open, event;
	char path[];
};

struct set {
	UT_hash_handle hh;
	struct member *members;
	uint64_t first_ms, due_ms;
	size_t open;
	bool busy, held, found, lost, restless;
	uint64_t busy_since_ms;
	char name[];
};

struct set_queue {
	struct set *sets;
	size_t limit, set_max, n;
	uint32_t quiet_ms, open_ms;
};

struct set_queue *set_queue_new(size_t limit, size_t set_max)
{
	struct set_queue *q = x_calloc(1, sizeof(*q));
	q->limit = limit;
	q->set_max = set_max;
	return q;
}

void set_queue_configure(struct set_queue *q, uint32_t quiet_ms, uint32_t open_ms)
{
	q->quiet_ms = quiet_ms;
	q->open_ms = open_ms > quiet_ms ? open_ms : quiet_ms;
}

static void drop_member(struct set_queue *q, struct set *set, struct member *m)
{
	set->open -= m->open;
	HASH_DEL(set->members, m);
	free(m);
	q->n--;
}

static void drop_members(struct set_queue *q, struct set *set)
{
	struct member *m, *next;
	HASH_ITER (hh, set->members, m, next) {
		drop_member(q, set, m);
	}
}

static void drop_set(struct set_queue *q, struct set *set)
{
	drop_members(q, set);
	HASH_DEL(q->sets, set);
	free(set);
}

void set_queue_free(struct set_queue *q)
{
	if (!q)
		return;
	struct set *set, *next;
	HASH_ITER (hh, q->sets, set, next) {
		drop_set(q, set);
	}
	free(q);
}

static struct set *find_or_make(struct set_queue *q, const char *name)
{
	struct set *set;
	HASH_FIND_STR(q->sets, name, set);
	if (set)
		return set;
	size_t len = strlen(name);
	set = x_calloc(1, sizeof(*set) + len + 1);
	memcpy(set->name, name, len + 1);
	set->first_ms = UINT64_MAX;
	HASH_ADD_STR(q->sets, name, set);
	return set;
}

static struct member *find_or_make_member(struct set_queue *q, struct set *set, const char *path)
{
	struct member *m;
	HASH_FIND_STR(set->members, path, m);
	if (m)
		return m;
	if (q->n >= q->limit) {
		set->lost = true;
		return NULL;
	}
	size_t len = strlen(path);
	m = x_calloc(1, sizeof(*m) + len + 1);
	memcpy(m->path, path, len + 1);
	HASH_ADD_STR(set->members, path, m);
	q->n++;
	return m;
}

static void put_off(struct set *set, uint64_t due_ms)
{
	if (set->due_ms < due_ms)
		set->due_ms = due_ms;
}

void set_queue_add(struct set_queue *q, const char *name, const char *path, enum set_hint hint,
		   uint64_t since_ms, uint64_t now_ms)
{
	struct set *set = find_or_make(q, name);
	struct member *m = find_or_make_member(q, set, path);
	if (m && hint != SET_FOUND) {
		bool open = hint == SET_OPEN;
		set->open += (size_t)open - (size_t)m->open;
		m->open = open;
		m->event = true;
	}
	set->found |= hint == SET_FOUND;
	set->held = false;
	if (since_ms < set->first_ms)
		set->first_ms = since_ms;
	if (hint == SET_FOUND)
		put_off(set, now_ms + q->quiet_ms);
	else /* the last one to be closed makes it due earlier again */
		set->due_ms = now_ms + (set->open > 0 ? q->open_ms : q->quiet_ms);
}

static bool is_too_large(const struct set_queue *q, const struct set *set)
{
	return HASH_COUNT(set->members) > q->set_max;
}

static bool is_due(const struct set_queue *q, const struct set *set, bool scanning, uint64_t now_ms)
{
	if (set->busy || (!set->members && !set->lost))
		return false;
	if (is_too_large(q, set))
		return true;
	return !set->held && !(scanning && set->found) && set->due_ms <= now_ms;
}

static void take(struct set_queue *q, struct set *set, struct due_set *out)
{
	size_t n = HASH_COUNT(set->members);
	*out = (struct due_set){.set = x_strdup(set->name),
				.too_large = n > q->set_max,
				.lost = set->lost,
				.since_ms = set->first_ms};
	n = n > q->set_max ? q->set_max : n;
	out->paths = x_calloc(n + 1, sizeof(*out->paths));
	out->events = x_calloc(n + 1, sizeof(*out->events));
	struct member *m, *next;
	HASH_ITER (hh, set->members, m, next) {
		if (out->n == n)
			break;
		out->paths[out->n] = x_strdup(m->path);
		out->events[out->n++] = m->event;
		drop_member(q, set, m);
	}
	set->busy = true;
	set->restless = false;
	set->busy_since_ms = set->first_ms;
	set->lost = false;
	if (!set->members) {
		set->found = false;
		set->first_ms = UINT64_MAX;
	}
}

bool set_queue_take(struct set_queue *q, struct due_set *out, bool scanning, uint64_t now_ms)
{
	for (struct set *set = q->sets; set; set = set->hh.next) {
		if (is_due(q, set, scanning, now_ms)) {
			take(q, set, out);
			return true;
		}
	}
	return false;
}

/* They come back as they were; an event of the meantime stays. */
static void give_back(struct set_queue *q, struct set *set, const struct due_set *due)
{
	for (size_t i = 0; i < due->n; i++) {
		struct member *m = find_or_make_member(q, set, due->paths[i]);
		if (m)
			m->event |= due->events[i];
	}
	if (due->since_ms < set->first_ms)
		set->first_ms = due->since_ms;
}

void set_queue_end(struct set_queue *q, struct due_set *due, enum set_end end, uint64_t again_ms)
{
	struct set *set;
	HASH_FIND_STR(q->sets, due->set, set);
	BUG_ON(!set || !set->busy);
	set->busy = false;
	bool changed = set->members != NULL; /* meanwhile: then it is not held yet */
	if (end != SET_DONE)
		give_back(q, set, due);
	if (end == SET_AGAIN)
		put_off(set, again_ms);
	set->held = end == SET_HELD && !changed;
	if (!set->members && !set->lost)
		drop_set(q, set);
	for (size_t i = 0; i < due->n; i++)
		free(due->paths[i]);
	free(due->paths);
	free(due->events);
	free(due->set);
	*due = (struct due_set){0};
}

uint64_t set_queue_next_due(const struct set_queue *q)
{
	uint64_t next = UINT64_MAX;
	for (const struct set *set = q->sets; set; set = set->hh.next) {
		if (!set->busy && !set->held && set->due_ms < next)
			next = set->due_ms;
	}
	return next;
}

uint64_t set_queue_oldest(const struct set_queue *q)
{
	uint64_t oldest = UINT64_MAX;
	for (const struct set *set = q->sets; set; set = set->hh.next) {
		if (!set->held && !set->restless && set->first_ms < oldest)
			oldest = set->first_ms;
		if (set->busy && set->busy_since_ms < oldest)
			oldest = set->busy_since_ms;
	}
	return oldest;
}

size_t set_queue_size(const struct set_queue *q)
{
	return q->n;
}

bool set_queue_is_open(const struct set_queue *q, const char *name, const char *path)
{
	struct set *set;
	struct member *m = NULL;
	HASH_FIND_STR(q->sets, name, set);
	if (set)
		HASH_FIND_STR(set->members, path, m);
	return m && m->open;
}

bool set_queue_restless(struct set_queue *q, char **name, char **path, uint64_t now_ms)
{
	for (struct set *set = q->sets; set; set = set->hh.next) {
		if (set->restless || set->held || set->busy || !set->members ||
		    set->due_ms <= now_ms || now_ms - set->first_ms < PATIENCE * q->open_ms ||
		    now_ms < set->first_ms)
			continue;
		set->restless = true;
		*name = x_strdup(set->name);
		*path = x_strdup(set->members->path);
		return true;
	}
	return false;
}
