/* outbound_window.c - what is under way: who may begin, the tickets, what the window of records,
 * streams and bytes has room for, and the ways in which a record ends or comes back. */
#include "protocol/outbound_private.h"

#include <errno.h>

#include "protocol/wire.h"

/* ---- beginning ---------------------------------------------------------------------------- */

/* A stream is bounded by its turn on the link, not by its size: counted in full, one large file
 * would keep all others from beginning until it is answered. */
static uint64_t cost(const struct outbound *ob, const struct outbound_item *item)
{
	uint64_t share = ob->limits.streams ? ob->limits.bytes / ob->limits.streams : 0;
	return item->streamed && item->size > share ? share : item->size;
}

static bool fits(const struct outbound *ob, const struct outbound_entry *entry)
{
	uint64_t used = ob->bytes[outbound_class_of(entry)];
	if (entry->item.streamed && ob->streams >= ob->limits.streams)
		return false;
	return used == 0 ||
	       (used <= ob->limits.bytes && cost(ob, &entry->item) <= ob->limits.bytes - used);
}

/* The first of the queue that is not blocked, if the window has room for it: one that does not fit
 * is not overtaken by a smaller one. */
static struct outbound_entry *candidate(struct outbound *ob, enum size_class class)
{
	struct outbound_entry *entry;
	while ((entry = ob->queues[class].first) && outbound_is_blocked(entry)) {
		outbound_queue_remove(entry);
		outbound_queue_insert_from_last(&ob->parked, entry);
	}
	return entry && fits(ob, entry) ? entry : NULL;
}

static struct outbound_entry **ticket_bucket(const struct outbound *ob, uint32_t ticket)
{
	return &ob->tickets[ticket & ob->ticket_mask];
}

static void set_under_way(struct place *place, struct outbound_entry *entry)
{
	place->under_way = entry;
	for (struct place *above = place->parent; above; above = above->parent)
		above->under_way_beneath++;
}

static void clear_under_way(struct outbound *ob, struct place *place)
{
	place->under_way = NULL;
	outbound_wake(ob, place);
	for (struct place *above = place->parent; above; above = above->parent) {
		if (--above->under_way_beneath == 0)
			outbound_wake(ob, above);
	}
}

static uint32_t next_ticket(struct outbound *ob)
{
	if (++ob->last_ticket == 0)
		ob->last_ticket = 1; /* 0 means no ticket */
	return ob->last_ticket;
}

static void put_under_way(struct outbound *ob, struct outbound_entry *entry)
{
	outbound_queue_remove(entry);
	ob->pending--;
	entry->item.ticket = next_ticket(ob);
	entry->sent = false;
	struct outbound_entry **head = ticket_bucket(ob, entry->item.ticket);
	entry->next_ticket = *head;
	*head = entry;
	ob->under_way++;
	ob->unsent++;
	ob->streams += entry->item.streamed;
	if (!entry->set)
		ob->bytes[outbound_class_of(entry)] += cost(ob, &entry->item);
	set_under_way(entry->place, entry);
	if (entry->set)
		outbound_set_counts(ob, entry, 1);
	outbound_clear_pending(ob, entry->place);
}

/* Members of sets are not counted against the window of bytes: none of them is answered before all
 * have been sent, and so a set larger than the window would wait for itself. */
static struct outbound_entry *candidate_of(struct outbound *ob, enum size_class class)
{
	return class == MEMBERS ? outbound_set_candidate(ob) : candidate(ob, class);
}

const struct outbound_item *outbound_begin(struct outbound *ob)
{
	struct outbound_entry *entry = NULL;
	if (ob->under_way >= ob->limits.records || outbound_set_needs_room(ob))
		return NULL;
	for (unsigned i = 0; !entry && i < N_TURNS; i++)
		entry = candidate_of(ob, (enum size_class)((ob->turn + i) % N_TURNS));
	if (!entry && ob->under_way == 0)
		entry = outbound_set_force(ob);
	if (!entry)
		return NULL;
	ob->turn = (enum size_class)(((entry->set ? MEMBERS : outbound_class_of(entry)) + 1) %
				     N_TURNS);
	put_under_way(ob, entry);
	return &entry->item;
}

/* ---- under way, and its ends -------------------------------------------------------------- */

static struct outbound_entry *find(const struct outbound *ob, uint32_t ticket)
{
	struct outbound_entry *entry = *ticket_bucket(ob, ticket);
	while (entry && entry->item.ticket != ticket)
		entry = entry->next_ticket;
	return entry;
}

const struct outbound_item *outbound_find(const struct outbound *ob, uint32_t ticket)
{
	struct outbound_entry *entry = find(ob, ticket);
	return entry ? &entry->item : NULL;
}

static void mark_sent(struct outbound *ob, struct outbound_entry *entry)
{
	if (entry->sent)
		return;
	entry->sent = true;
	outbound_wake(ob, entry->place);
	ob->unsent--;
	ob->streams -= entry->item.streamed;
}

void outbound_sent(struct outbound *ob, uint32_t ticket)
{
	struct outbound_entry *entry = find(ob, ticket);
	if (entry)
		mark_sent(ob, entry);
}

/* Not under way any longer. The entry still has its place. */
struct outbound_entry *outbound_take_back(struct outbound *ob, uint32_t ticket)
{
	struct outbound_entry **link = ticket_bucket(ob, ticket);
	while (*link && (*link)->item.ticket != ticket)
		link = &(*link)->next_ticket;
	struct outbound_entry *entry = *link;
	if (!entry)
		return NULL;
	*link = entry->next_ticket;
	entry->next_ticket = NULL;
	mark_sent(ob, entry);
	ob->under_way--;
	if (entry->set)
		outbound_set_counts(ob, entry, -1);
	else
		ob->bytes[outbound_class_of(entry)] -= cost(ob, &entry->item);
	clear_under_way(ob, entry->place);
	return entry;
}

static int end(struct outbound *ob, uint32_t ticket)
{
	struct outbound_entry *entry = outbound_take_back(ob, ticket);
	if (!entry)
		return -ENOENT;
	struct outbound_set *set = entry->set;
	outbound_entry_drop(ob, entry);
	if (set)
		outbound_set_left(ob, set);
	return 0;
}

int outbound_done(struct outbound *ob, uint32_t ticket)
{
	return end(ob, ticket);
}

static struct outbound_set *set_of(const struct outbound *ob, uint32_t ticket)
{
	struct outbound_entry *entry = find(ob, ticket);
	return entry ? entry->set : NULL;
}

int outbound_abandon(struct outbound *ob, uint32_t ticket)
{
	struct outbound_set *set = set_of(ob, ticket);
	if (!set)
		return end(ob, ticket);
	outbound_set_take_back(ob, set, SET_STALE);
	return 0;
}

/* Counted even for a ticket abandoned meanwhile: the receiver counted it, too. */
int outbound_refused(struct outbound *ob, uint32_t ticket)
{
	struct outbound_set *set = set_of(ob, ticket);
	ob->denials++;
	if (!set)
		return end(ob, ticket);
	outbound_set_take_back(ob, set, SET_STALE);
	return 0;
}

/* Back to pending, unless a newer version goes in its stead. */
static int take_again(struct outbound *ob, uint32_t ticket, uint8_t need)
{
	struct outbound_entry *entry = outbound_take_back(ob, ticket);
	if (!entry)
		return -ENOENT;
	struct outbound_entry *newer = entry->place->pending;
	int r = !newer && ++entry->item.attempts >= OUTBOUND_ATTEMPTS_MAX ? -ELOOP : 0;
	if (newer || r < 0) {
		if (newer)
			newer->item.need = need;
		outbound_entry_drop(ob, entry);
		return r;
	}
	entry->item.need = need;
	entry->item.ticket = 0;
	outbound_queue_insert_from_first(&ob->queues[outbound_class_of(entry)], entry);
	outbound_set_pending(entry->place, entry);
	ob->pending++;
	return 0;
}

/* Back to pending: by itself, or the whole set. */
static int again(struct outbound *ob, uint32_t ticket, uint8_t need)
{
	struct outbound_entry *entry = find(ob, ticket);
	if (!entry || !entry->set)
		return take_again(ob, ticket, need);
	entry->item.need = need;
	return outbound_set_again(ob, entry->set);
}

int outbound_needed(struct outbound *ob, uint32_t ticket, uint8_t need)
{
	if (need < NEED_CONTENT || need > NEED_VERIFY)
		return -EINVAL;
	ob->denials++;
	return again(ob, ticket, need);
}

int outbound_otherwise(struct outbound *ob, uint32_t ticket)
{
	return again(ob, ticket, NEED_CONTENT);
}
