/* outbound_sets.c - consistency sets on their way out. The members of a set that the peer still
 * needs are offered together, as of one moment, and begun together: the peer puts them into one
 * batch. At most one set of a key exists, so two moments of it can never overtake each other.
 *
 * Nothing waits for ever: a set waits as its members would by themselves, except for each other.
 * Two sets that wait for directories of each other are the one knot this leaves; it is cut by
 * outbound_set_force() when nothing else moves, and then they come apart where they must. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "protocol/outbound_private.h"
#include "protocol/wire.h"

static struct outbound_set *find_set(const struct outbound *ob, const char *key)
{
	struct outbound_set *set = ob->sets;
	while (set && strcmp(set->key, key) != 0)
		set = set->next;
	return set;
}

static struct outbound_set *set_new(struct outbound *ob, const char *key)
{
	size_t len = strlen(key);
	struct outbound_set *set = calloc(1, sizeof(*set) + len + 1);
	if (!set)
		return NULL;
	memcpy(set->key, key, len + 1);
	set->prev = ob->last_set;
	*(ob->last_set ? &ob->last_set->next : &ob->sets) = set;
	ob->last_set = set;
	return set;
}

static void set_free(struct outbound *ob, struct outbound_set *set)
{
	*(set->prev ? &set->prev->next : &ob->sets) = set->next;
	*(set->next ? &set->next->prev : &ob->last_set) = set->prev;
	ob->open_sets -= set->state == SET_OPEN;
	free(set->reserved);
	free(set);
}

/* Its entries have been freed, and the places go with the table. */
void outbound_sets_release(struct outbound *ob)
{
	while (ob->sets)
		set_free(ob, ob->sets);
}

static void set_state(struct outbound *ob, struct outbound_set *set, enum set_state state)
{
	ob->open_sets -= set->state == SET_OPEN;
	set->state = state;
	set->id = 0;
	set->pass = ob->pass;
	ob->wanted += set->n_reserved > 0;
}

void outbound_set_left(struct outbound *ob, struct outbound_set *set)
{
	if (--set->members_left > 0)
		return;
	if (set->n_reserved > 0)
		set_state(ob, set, SET_STALE);
	else
		set_free(ob, set);
}

/* ---- what waits for the end of an open set ------------------------------------------------ */

static void release_reserved(struct outbound *ob, struct outbound_set *set)
{
	for (size_t i = 0; i < set->n_reserved; i++) {
		struct place *place = set->reserved[i];
		for (struct place *above = place->parent; above; above = above->parent) {
			if (--above->pending_beneath == 0)
				outbound_wake(ob, above);
		}
		places_put(&ob->places, place);
	}
	ob->wanted -= set->n_reserved > 0 && set->state != SET_OPEN;
	free(set->reserved);
	set->reserved = NULL;
	set->n_reserved = 0;
}

static int reserve(struct outbound *ob, struct outbound_set *set,
		   const struct outbound_offer *offers, size_t n)
{
	release_reserved(ob, set);
	set->reserved = calloc(n, sizeof(*set->reserved));
	for (size_t i = 0; set->reserved && i < n; i++) {
		struct place *place = places_get(&ob->places, offers[i].path);
		if (!place)
			return -ENOMEM;
		for (struct place *above = place->parent; above; above = above->parent)
			above->pending_beneath++;
		set->reserved[set->n_reserved++] = place;
	}
	return set->reserved ? -EBUSY : -ENOMEM;
}

const char *outbound_wanted(const struct outbound *ob)
{
	const struct outbound_set *set = ob->wanted > 0 ? ob->sets : NULL;
	while (set && !(set->n_reserved > 0 && set->state != SET_OPEN))
		set = set->next;
	return set ? set->key : NULL;
}

void outbound_begin_pass(struct outbound *ob)
{
	ob->pass++;
}

void outbound_end_pass(struct outbound *ob)
{
	for (struct outbound_set *set = ob->sets, *next; set; set = next) {
		next = set->next;
		if (set->state == SET_STALE && set->pass != ob->pass)
			outbound_set_drop(ob, set);
	}
}

void outbound_sets_wake(struct outbound *ob)
{
	for (struct outbound_set *set = ob->sets; set; set = set->next) {
		if (set->state == SET_PARKED)
			set->state = SET_WAITING;
	}
}

void outbound_set_counts(struct outbound *ob, struct outbound_entry *entry, int step)
{
	for (struct place *above = entry->place->parent; above; above = above->parent) {
		above->sets_beneath += (size_t)step;
		if (step < 0 && above->sets_beneath == 0)
			outbound_wake(ob, above);
	}
}

/* ---- offering ----------------------------------------------------------------------------- */

/* Everything offered is in the set already, as it is. */
static bool is_known(const struct outbound *ob, const struct outbound_set *set,
		     const struct outbound_offer *offers, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		const struct place *place = places_find(&ob->places, offers[i].path);
		const struct outbound_entry *entry = place ? place->pending : NULL;
		if (place && (!entry || entry->set != set))
			entry = place->under_way;
		if (!entry || entry->set != set || entry->item.seq < offers[i].seq)
			return false;
	}
	return set->state == SET_OPEN || set->members_left == n;
}

/* Is a path of it in another set that is under way? */
static bool is_entangled(const struct outbound *ob, const struct outbound_offer *offers, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		const struct place *place = places_find(&ob->places, offers[i].path);
		if (place && place->pending && place->pending->set &&
		    place->pending->set->state == SET_OPEN)
			return true;
	}
	return false;
}

static void drop_pending(struct outbound *ob, struct outbound_entry *entry)
{
	struct outbound_set *set = entry->set;
	outbound_queue_remove(entry);
	outbound_clear_pending(ob, entry->place);
	ob->pending--;
	outbound_entry_drop(ob, entry);
	if (set)
		outbound_set_left(ob, set);
}

static int add_member(struct outbound *ob, struct outbound_set *set,
		      const struct outbound_offer *offer)
{
	struct place *place = places_find(&ob->places, offer->path);
	if (place && place->pending) {
		if (place->pending->set)
			outbound_set_drop(ob, place->pending->set);
		else
			drop_pending(ob, place->pending);
	}
	struct outbound_entry *entry =
		outbound_entry_new(ob, offer->path, offer->seq, offer->size, offer->flags);
	if (!entry)
		return -ENOMEM;
	entry->set = set;
	set->members_left++;
	outbound_queue_insert_from_last(&set->members, entry);
	outbound_set_pending(entry->place, entry);
	ob->pending++;
	return 0;
}

int outbound_offer_set(struct outbound *ob, const char *key, const struct outbound_offer *offers,
		       size_t n)
{
	struct outbound_set *set = find_set(ob, key);
	if (n > WIRE_SET_MAX || n > ob->limits.records || n > ob->limits.pending)
		return -E2BIG;
	if (set && set->state != SET_STALE && is_known(ob, set, offers, n))
		return -EALREADY;
	if (set && set->state == SET_OPEN)
		return reserve(ob, set, offers, n);
	if (is_entangled(ob, offers, n))
		return -EAGAIN;
	/* One that is stale had its room, and may be what all the others wait for. */
	bool stale = set && set->state == SET_STALE;
	if (!stale && n > outbound_room(ob) + (set ? set->members_left : 0))
		return -EAGAIN;
	if (set)
		outbound_set_drop(ob, set);
	if (n == 0)
		return 0;
	set = set_new(ob, key);
	if (!set)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++) {
		if (add_member(ob, set, &offers[i]) == 0)
			continue;
		if (set->members_left > 0)
			outbound_set_drop(ob, set);
		else
			set_free(ob, set);
		return -ENOMEM;
	}
	return 0;
}

/* ---- beginning ---------------------------------------------------------------------------- */

static void count_own(const struct outbound_set *set, int step)
{
	for (const struct outbound_entry *e = set->members.first; e; e = e->next) {
		for (struct place *above = e->place->parent; above; above = above->parent)
			above->own_beneath += (size_t)step;
	}
}

static bool set_is_blocked(const struct outbound_set *set)
{
	bool blocked = false;
	count_own(set, 1);
	for (const struct outbound_entry *e = set->members.first; e && !blocked; e = e->next)
		blocked = outbound_is_blocked(e);
	count_own(set, -1);
	return blocked;
}

/* The first that may go; those that may not are parked. */
static struct outbound_set *next_set(struct outbound *ob)
{
	struct outbound_set *set = ob->sets;
	for (; set; set = set->next) {
		if (set->state != SET_WAITING)
			continue;
		if (!set_is_blocked(set))
			return set;
		set->state = SET_PARKED;
	}
	return NULL;
}

static void open_set(struct outbound *ob, struct outbound_set *set)
{
	set->state = SET_OPEN;
	set->n = (uint32_t)set->members_left;
	if (++ob->last_set_id == 0)
		ob->last_set_id = 1;
	set->id = set->n > 1 ? ob->last_set_id : 0;
	ob->open_sets++;
}

/* A stream that finds no place is passed over: the rest of its set need not wait. */
static struct outbound_entry *next_member(struct outbound *ob, struct outbound_set *set)
{
	struct outbound_entry *e = set->members.first;
	while (e && e->item.streamed && ob->streams >= ob->limits.streams)
		e = e->next;
	if (e) {
		e->item.set = set->id;
		e->item.set_n = set->n;
	}
	return e;
}

/* One set is begun to its end before the next is. */
static struct outbound_set *unfinished(const struct outbound *ob)
{
	struct outbound_set *set = ob->sets;
	while (set && !(set->state == SET_OPEN && set->members.first))
		set = set->next;
	return set;
}

static bool has_room(const struct outbound *ob, const struct outbound_set *set)
{
	return ob->under_way + set->members_left <= ob->limits.records;
}

bool outbound_set_needs_room(struct outbound *ob)
{
	if (!ob->sets || ob->open_sets >= ob->limits.sets || unfinished(ob))
		return false;
	struct outbound_set *set = next_set(ob);
	return set && !has_room(ob, set);
}

struct outbound_entry *outbound_set_candidate(struct outbound *ob)
{
	struct outbound_set *set = unfinished(ob);
	if (set)
		return next_member(ob, set);
	if (ob->open_sets >= ob->limits.sets || !(set = next_set(ob)))
		return NULL;
	open_set(ob, set);
	return next_member(ob, set);
}

struct outbound_entry *outbound_set_force(struct outbound *ob)
{
	for (struct outbound_set *set = ob->sets; set; set = set->next) {
		if (set->state != SET_PARKED)
			continue;
		open_set(ob, set);
		return next_member(ob, set);
	}
	return NULL;
}

/* ---- ends --------------------------------------------------------------------------------- */

static struct outbound_entry *under_way_of(const struct outbound *ob,
					   const struct outbound_set *set)
{
	for (size_t i = 0; i <= ob->ticket_mask; i++) {
		for (struct outbound_entry *e = ob->tickets[i]; e; e = e->next_ticket) {
			if (e->set == set)
				return e;
		}
	}
	return NULL;
}

/* They wait beside what may still be offered, so they have a bound of their own; past it the oldest
 * are forgotten, and with them what waits for them only loses its order. */
static void bound_stale(struct outbound *ob, struct outbound_set *newest)
{
	ob->stale += newest->members_left;
	for (struct outbound_set *set = ob->sets, *next; set; set = next) {
		next = set->next;
		if (ob->stale > ob->limits.pending && set->state == SET_STALE && set != newest)
			outbound_set_drop(ob, set);
	}
}

void outbound_set_take_back(struct outbound *ob, struct outbound_set *set, enum set_state state)
{
	struct outbound_entry *entry;
	set_state(ob, set, state == SET_WAITING && set->n_reserved > 0 ? SET_STALE : state);
	while ((entry = under_way_of(ob, set))) {
		outbound_take_back(ob, entry->item.ticket);
		entry->item.ticket = entry->item.set = entry->item.set_n = 0;
		outbound_queue_insert_from_first(&set->members, entry);
		outbound_set_pending(entry->place, entry);
		ob->pending++;
	}
	if (set->state == SET_STALE)
		bound_stale(ob, set);
}

int outbound_set_again(struct outbound *ob, struct outbound_set *set)
{
	if (++set->attempts >= OUTBOUND_ATTEMPTS_MAX) {
		set->attempts = 0;
		outbound_set_take_back(ob, set, SET_STALE);
		return -ELOOP;
	}
	outbound_set_take_back(ob, set, SET_WAITING);
	return 0;
}

void outbound_set_drop(struct outbound *ob, struct outbound_set *set)
{
	ob->stale -= set->state == SET_STALE ? set->members_left : 0;
	release_reserved(ob, set);
	set->members_left++; /* keeps it until the end */
	for (struct outbound_entry *e, *next = set->members.first; (e = next);) {
		next = e->next;
		drop_pending(ob, e);
	}
	struct outbound_entry *entry;
	while (set->members_left > 1 && (entry = under_way_of(ob, set))) {
		outbound_take_back(ob, entry->item.ticket);
		outbound_entry_drop(ob, entry);
		set->members_left--;
	}
	outbound_set_left(ob, set);
}
