/* outbound.c - what is pending: its order, and who waits for whom. What is under way is in
 * outbound_window.c.
 *
 * A pending record is in the queue of its size class, or parked: it was looked at and may not go
 * yet. Whoever blocks it has its place marked, so that a change there brings the parked ones back;
 * a look that finds nothing new costs nothing. Why nothing can wait for ever: a record waits for
 * its own path under way, which will be answered; a leaf waits for what is pending beneath it, and
 * one that is no deletion for what is under way there; the rest waits for directories above it that
 * are pending, and these wait for nothing beneath them, or that are under way, to be sent. */
#include "protocol/outbound.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "protocol/outbound_private.h"
#include "protocol/wire.h"

/* ---- queues ------------------------------------------------------------------------------- */

void outbound_queue_remove(struct outbound_entry *entry)
{
	struct queue *queue = entry->queue;
	*(entry->prev ? &entry->prev->next : &queue->first) = entry->next;
	*(entry->next ? &entry->next->prev : &queue->last) = entry->prev;
	entry->prev = entry->next = NULL;
	entry->queue = NULL;
}

static void queue_insert_before(struct queue *queue, struct outbound_entry *next,
				struct outbound_entry *entry)
{
	entry->queue = queue;
	entry->next = next;
	entry->prev = next ? next->prev : queue->last;
	*(entry->prev ? &entry->prev->next : &queue->first) = entry;
	*(next ? &next->prev : &queue->last) = entry;
}

/* For entries that belong near the front. */
void outbound_queue_insert_from_first(struct queue *queue, struct outbound_entry *entry)
{
	struct outbound_entry *next = queue->first;
	while (next && next->order < entry->order)
		next = next->next;
	queue_insert_before(queue, next, entry);
}

/* For entries that belong near the end. */
void outbound_queue_insert_from_last(struct queue *queue, struct outbound_entry *entry)
{
	struct outbound_entry *next = NULL, *prev = queue->last;
	while (prev && prev->order > entry->order) {
		next = prev;
		prev = prev->prev;
	}
	queue_insert_before(queue, next, entry);
}

/* ---- who waits for whom ------------------------------------------------------------------- */

/* Brings the parked ones back. From the last to the first, so that each is put before those put
 * back already and the whole costs one pass. */
void outbound_wake(struct outbound *ob, struct place *place)
{
	if (!place->wakes)
		return;
	place->wakes = false;
	while (ob->parked.last) {
		struct outbound_entry *entry = ob->parked.last;
		outbound_queue_remove(entry);
		outbound_queue_insert_from_first(&ob->queues[outbound_class_of(entry)], entry);
	}
	outbound_sets_wake(ob);
}

void outbound_set_pending(struct place *place, struct outbound_entry *entry)
{
	place->pending = entry;
	for (struct place *above = place->parent; above; above = above->parent)
		above->pending_beneath++;
}

void outbound_clear_pending(struct outbound *ob, struct place *place)
{
	place->pending = NULL;
	outbound_wake(ob, place);
	for (struct place *above = place->parent; above; above = above->parent) {
		if (--above->pending_beneath == 0)
			outbound_wake(ob, above);
	}
}

/* A directory of a set is there when its set is: the order on the link says nothing of it. */
static bool set_is_due(const struct outbound_entry *entry, const struct place *above)
{
	const struct outbound_entry *dir = above->under_way;
	return dir && dir->set && dir->set != entry->set && !dir->item.leaf;
}

/* Must `entry` wait for what is at `above`, a place above its own? */
static bool waits_for(const struct outbound_entry *entry, const struct place *above)
{
	if (set_is_due(entry, above))
		return true;
	if (above->pending && entry->set && above->pending->set == entry->set)
		return false; /* they come into the tree together */
	/* Small records are sent in the order in which they began; a stream is opened beside them
	 * and would be ahead of its directory. */
	if (entry->item.streamed && above->under_way && !above->under_way->sent)
		return true;
	if (!above->pending || above->pending->item.leaf)
		return false; /* nothing to come, or something that waits for us */
	if (entry->item.need == NEED_PARENT)
		return true;
	if (above->under_way)
		return above->under_way->item
			.leaf; /* else the directory is there, with older metadata */
	return above->pending->recreated || above->pending->order < entry->order;
}

/* A deletion follows those beneath it closely, since the receiver keeps to their order. What takes
 * the place of a directory may come in a stream and be ready before them: it waits until the
 * directory is known to be empty. */
static bool waits_for_beneath(const struct outbound_entry *entry)
{
	const struct place *place = entry->place;
	return entry->item.leaf &&
	       (place->pending_beneath > place->own_beneath || place->sets_beneath > 0 ||
		(!entry->item.deletion && place->under_way_beneath > 0));
}

bool outbound_is_blocked(const struct outbound_entry *entry)
{
	struct place *place = entry->place;
	if (place->under_way || waits_for_beneath(entry)) {
		place->wakes = true;
		return true;
	}
	for (struct place *above = place->parent; above; above = above->parent) {
		if (waits_for(entry, above)) {
			above->wakes = true;
			return true;
		}
	}
	return false;
}

/* ---- life --------------------------------------------------------------------------------- */

struct outbound *outbound_new(const struct outbound_limits *limits)
{
	struct outbound *ob = calloc(1, sizeof(*ob));
	if (!ob)
		return NULL;
	ob->limits = *limits;
	size_t n = 16;
	while (n < limits->records)
		n *= 2;
	ob->ticket_mask = n - 1;
	ob->tickets = calloc(n, sizeof(struct outbound_entry *));
	if (!ob->tickets ||
	    places_init(&ob->places, 2 * ((size_t)limits->pending + limits->records)) < 0) {
		outbound_free(ob);
		return NULL;
	}
	return ob;
}

void outbound_set_bytes(struct outbound *ob, uint64_t bytes)
{
	ob->limits.bytes = bytes;
}

static void free_chain(struct outbound_entry *entry, bool by_ticket)
{
	while (entry) {
		struct outbound_entry *next = by_ticket ? entry->next_ticket : entry->next;
		free(entry);
		entry = next;
	}
}

void outbound_free(struct outbound *ob)
{
	if (!ob)
		return;
	for (size_t i = 0; i < N_CLASSES; i++)
		free_chain(ob->queues[i].first, false);
	free_chain(ob->parked.first, false);
	for (struct outbound_set *set = ob->sets; set; set = set->next)
		free_chain(set->members.first, false);
	outbound_sets_release(ob);
	for (size_t i = 0; ob->tickets && i <= ob->ticket_mask; i++)
		free_chain(ob->tickets[i], true);
	free(ob->tickets);
	places_release(&ob->places);
	free(ob);
}

/* ---- offering ----------------------------------------------------------------------------- */

void outbound_describe(struct outbound_item *item, uint64_t seq, uint64_t size, unsigned flags)
{
	item->seq = seq;
	item->size = size;
	item->streamed = flags & OUTBOUND_STREAMED;
	item->leaf = flags & (OUTBOUND_LEAF | OUTBOUND_DELETION);
	item->deletion = flags & OUTBOUND_DELETION;
}

/* The newer version takes over the entry; what is known of the peer's needs stays true of the path.
 */
static void replace(struct outbound *ob, struct outbound_entry *entry, uint64_t seq, uint64_t size,
		    unsigned flags)
{
	enum size_class before = outbound_class_of(entry);
	bool was_leaf = entry->item.leaf, was_deletion = entry->item.deletion;
	bool parked = entry->queue == &ob->parked;
	outbound_describe(&entry->item, seq, size, flags);
	entry->item.attempts = 0;
	entry->recreated = !entry->item.leaf && (was_leaf || entry->recreated);
	/* A deletion needs no directory, what comes in its stead does: one that was offered since
	 * goes before it. */
	bool anew = was_deletion && !entry->item.deletion;
	if (anew)
		entry->order = ob->next_order++;
	if (anew || (outbound_class_of(entry) != before && !parked)) {
		outbound_queue_remove(entry);
		(anew ? outbound_queue_insert_from_last : outbound_queue_insert_from_first)(
			parked ? &ob->parked : &ob->queues[outbound_class_of(entry)], entry);
	}
	outbound_wake(ob, entry->place);
}

struct outbound_entry *outbound_entry_new(struct outbound *ob, const char *path, uint64_t seq,
					  uint64_t size, unsigned flags)
{
	size_t len = strlen(path);
	struct outbound_entry *entry = calloc(1, sizeof(*entry) + len + 1);
	struct place *place = places_get(&ob->places, path);
	if (!entry || !place) {
		free(entry);
		places_put(&ob->places, place);
		return NULL;
	}
	memcpy(entry->path, path, len + 1);
	entry->item.path = entry->path;
	outbound_describe(&entry->item, seq, size, flags);
	entry->place = place;
	entry->order = ob->next_order++;
	return entry;
}

void outbound_entry_drop(struct outbound *ob, struct outbound_entry *entry)
{
	places_put(&ob->places, entry->place);
	free(entry);
}

static int add(struct outbound *ob, const char *path, uint64_t seq, uint64_t size, unsigned flags)
{
	struct outbound_entry *entry = outbound_entry_new(ob, path, seq, size, flags);
	if (!entry)
		return -ENOMEM;
	outbound_queue_insert_from_last(&ob->queues[outbound_class_of(entry)], entry);
	outbound_set_pending(entry->place, entry);
	ob->pending++;
	return 0;
}

int outbound_offer(struct outbound *ob, const char *path, uint64_t seq, uint64_t size,
		   unsigned flags)
{
	struct place *place = places_find(&ob->places, path);
	struct outbound_entry *pending = place ? place->pending : NULL;
	struct outbound_entry *under_way = place ? place->under_way : NULL;
	if ((pending && pending->item.seq >= seq) || (under_way && under_way->item.seq >= seq))
		return -EALREADY;
	/* Two versions of a member under way: the older set could never be completed again. */
	if ((under_way && under_way->set) ||
	    (pending && pending->set && pending->set->state == SET_OPEN))
		return -EAGAIN;
	if (pending && pending->set) {
		outbound_set_drop(ob, pending->set);
		pending = NULL;
	}
	if (pending) {
		replace(ob, pending, seq, size, flags);
		return 0;
	}
	if (outbound_room(ob) == 0)
		return -EAGAIN;
	return add(ob, path, seq, size, flags);
}

size_t outbound_room(const struct outbound *ob)
{
	size_t waiting = ob->pending - ob->stale;
	return waiting < ob->limits.pending ? ob->limits.pending - waiting : 0;
}

/* ---- looking ------------------------------------------------------------------------------ */

uint32_t outbound_denials(const struct outbound *ob)
{
	return ob->denials;
}

bool outbound_is_drained(const struct outbound *ob)
{
	return ob->pending == 0 && ob->unsent == 0;
}

bool outbound_is_idle(const struct outbound *ob)
{
	return ob->pending == 0 && ob->under_way == 0;
}

size_t outbound_pending(const struct outbound *ob)
{
	return ob->pending;
}

size_t outbound_under_way(const struct outbound *ob)
{
	return ob->under_way;
}
