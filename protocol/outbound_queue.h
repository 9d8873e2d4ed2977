/* outbound_queue.h - a record that outbound has to do with, and the queues in which such records
 * wait. Internal to outbound; the prefix of what is linked is its own. Pure. */
#ifndef PROTOCOL_OUTBOUND_QUEUE_H
#define PROTOCOL_OUTBOUND_QUEUE_H

#include <stdbool.h>
#include <stdint.h>

#include "protocol/outbound.h"

struct outbound_queue;
struct place;

struct outbound_entry {
	struct outbound_item item;
	struct place *place;
	struct outbound_queue *queue; /* NULL while under way */
	struct outbound_entry *prev, *next;
	struct outbound_entry *next_ticket; /* in its bucket, while under way */
	uint64_t order; /* of the first offer; survives replacement, unless of a deletion, and NEED
			 */
	bool recreated; /* what is pending turned from a leaf into a directory */
	bool sent;
	char path[];
};

/* Ascending in `order`. */
struct outbound_queue {
	struct outbound_entry *first, *last;
};

void outbound_queue_remove(struct outbound_entry *entry);
/* For entries that belong near the front; near the end. */
void outbound_queue_insert_from_first(struct outbound_queue *queue, struct outbound_entry *entry);
void outbound_queue_insert_from_last(struct outbound_queue *queue, struct outbound_entry *entry);

#endif
