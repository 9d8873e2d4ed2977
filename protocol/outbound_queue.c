#include "protocol/outbound_queue.h"

#include <stddef.h>

void outbound_queue_remove(struct outbound_entry *entry)
{
	struct outbound_queue *queue = entry->queue;
	*(entry->prev ? &entry->prev->next : &queue->first) = entry->next;
	*(entry->next ? &entry->next->prev : &queue->last) = entry->prev;
	entry->prev = entry->next = NULL;
	entry->queue = NULL;
}

static void insert_before(struct outbound_queue *queue, struct outbound_entry *next,
			  struct outbound_entry *entry)
{
	entry->queue = queue;
	entry->next = next;
	entry->prev = next ? next->prev : queue->last;
	*(entry->prev ? &entry->prev->next : &queue->first) = entry;
	*(next ? &next->prev : &queue->last) = entry;
}

void outbound_queue_insert_from_first(struct outbound_queue *queue, struct outbound_entry *entry)
{
	struct outbound_entry *next = queue->first;
	while (next && next->order < entry->order)
		next = next->next;
	insert_before(queue, next, entry);
}

void outbound_queue_insert_from_last(struct outbound_queue *queue, struct outbound_entry *entry)
{
	struct outbound_entry *next = NULL, *prev = queue->last;
	while (prev && prev->order > entry->order) {
		next = prev;
		prev = prev->prev;
	}
	insert_before(queue, next, entry);
}
