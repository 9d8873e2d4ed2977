/* outbound_private.h - shared by outbound.c (what is pending), outbound_window.c (what is under
 * way) and outbound_sets.c (consistency sets). Nobody else includes it. */
#ifndef PROTOCOL_OUTBOUND_PRIVATE_H
#define PROTOCOL_OUTBOUND_PRIVATE_H

#include "protocol/outbound.h"
#include "protocol/places.h"

struct outbound_set;

struct outbound_entry {
	struct outbound_item item;
	struct place *place;
	struct outbound_set *set; /* NULL: travels by itself */
	struct queue *queue;	  /* NULL while under way */
	struct outbound_entry *prev, *next;
	struct outbound_entry *next_ticket; /* in its bucket, while under way */
	uint64_t order; /* of the first offer; survives replacement, unless of a deletion, and NEED
			 */
	bool recreated; /* what is pending turned from a leaf into a directory */
	bool sent;
	char path[];
};

/* Ascending in `order`. */
struct queue {
	struct outbound_entry *first, *last;
};

/* MEMBERS takes turns with the two classes and has no queue of its own. */
enum size_class { SMALL, STREAMED, N_CLASSES, MEMBERS = N_CLASSES, N_TURNS };

enum set_state {
	SET_WAITING,
	SET_PARKED, /* looked at: a member must wait for something outside */
	SET_STALE,  /* it did not go, or changed meanwhile: it is to be offered again */
	SET_OPEN,   /* members are under way */
};

/* At most one of a key. It goes when its last member does. */
struct outbound_set {
	struct outbound_set *prev, *next; /* in order of the first offer, newest last */
	enum set_state state;
	uint32_t id;	     /* while open; 0 for a single member */
	uint32_t n;	     /* members when it was opened */
	size_t members_left; /* pending or under way */
	uint8_t attempts;
	uint32_t pass;	      /* in which it became stale */
	struct queue members; /* not begun */
	/* What was offered while it was open: the paths wait like pending ones, so that no
	 * directory above them goes first. */
	struct place **reserved;
	size_t n_reserved;
	char key[];
};

struct outbound {
	struct outbound_limits limits;
	struct places places;
	struct queue queues[N_CLASSES];
	struct queue parked;
	struct outbound_entry **tickets; /* hash table of what is under way */
	size_t ticket_mask;
	uint64_t next_order;
	uint32_t last_ticket;
	uint32_t denials;
	size_t pending, under_way, unsent, streams;
	uint64_t bytes[N_CLASSES]; /* under way, in the measure of cost() */
	enum size_class turn;
	struct outbound_set *sets, *last_set;
	size_t open_sets;
	uint32_t last_set_id;
	size_t stale; /* of `pending`: members of stale sets, which take no room */
	uint32_t pass;
	size_t wanted; /* sets that ended with something reserved */
};

static inline enum size_class outbound_class_of(const struct outbound_entry *entry)
{
	return entry->item.streamed ? STREAMED : SMALL;
}

/* outbound.c */
void outbound_queue_remove(struct outbound_entry *entry);
void outbound_queue_insert_from_first(struct queue *queue, struct outbound_entry *entry);
void outbound_queue_insert_from_last(struct queue *queue, struct outbound_entry *entry);
void outbound_describe(struct outbound_item *item, uint64_t seq, uint64_t size, unsigned flags);
void outbound_wake(struct outbound *ob, struct place *place);
void outbound_set_pending(struct place *place, struct outbound_entry *entry);
void outbound_clear_pending(struct outbound *ob, struct place *place);
bool outbound_is_blocked(const struct outbound_entry *entry);
/* With its place, in no queue. NULL when memory is exhausted. */
struct outbound_entry *outbound_entry_new(struct outbound *ob, const char *path, uint64_t seq,
					  uint64_t size, unsigned flags);
void outbound_entry_drop(struct outbound *ob, struct outbound_entry *entry); /* in no queue */

/* outbound_window.c */
/* Not under way any longer; still with its place. NULL for an unknown ticket. */
struct outbound_entry *outbound_take_back(struct outbound *ob, uint32_t ticket);

/* outbound_sets.c */
void outbound_sets_wake(struct outbound *ob);
struct outbound_entry *outbound_set_candidate(struct outbound *ob);
/* A set that may go needs more of the window than is free: nothing else may take it. */
bool outbound_set_needs_room(struct outbound *ob);
/* Nothing is under way and every set waits, for each other then: the first may go. */
struct outbound_entry *outbound_set_force(struct outbound *ob);
/* A member goes under way (1) or comes back (-1). */
void outbound_set_counts(struct outbound *ob, struct outbound_entry *entry, int step);
void outbound_set_left(struct outbound *ob, struct outbound_set *set); /* one member is gone */
void outbound_set_take_back(struct outbound *ob, struct outbound_set *set, enum set_state state);
int outbound_set_again(struct outbound *ob, struct outbound_set *set); /* 0, -ELOOP: stale */
void outbound_sets_release(struct outbound *ob);
void outbound_set_drop(struct outbound *ob, struct outbound_set *set);

#endif
