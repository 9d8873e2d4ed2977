/* intake_paths.c - sets of paths, by name. */
#include "agent/node/intake_private.h"

#include <string.h>

struct path_entry *path_entry_find(struct path_entry *set, const char *path)
{
	struct path_entry *entry;
	HASH_FIND_STR(set, path, entry);
	return entry;
}

struct path_entry *path_entry_add(struct path_entry **set, const char *path, uint64_t since_ms)
{
	struct path_entry *entry = path_entry_find(*set, path);
	if (entry)
		return entry;
	size_t len = strlen(path);
	entry = x_calloc(1, sizeof(*entry) + len + 1);
	memcpy(entry->path, path, len + 1);
	entry->since_ms = since_ms;
	HASH_ADD_STR(*set, path, entry);
	return entry;
}

void path_entry_drop(struct path_entry **set, struct path_entry *entry)
{
	HASH_DEL(*set, entry);
	free(entry);
}

uint64_t path_entry_oldest(struct path_entry *set)
{
	uint64_t oldest = UINT64_MAX;
	for (struct path_entry *e = set; e; e = e->hh.next) {
		if (e->since_ms < oldest)
			oldest = e->since_ms;
	}
	return oldest;
}

void path_entry_drop_all(struct path_entry **set)
{
	struct path_entry *e, *tmp;
	HASH_ITER (hh, *set, e, tmp) {
		path_entry_drop(set, e);
	}
}
