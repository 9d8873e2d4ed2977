/* dirty_set.h - paths that may have changed, until each is due. Pure data, no clock: times are
 * given. Thread: the loop. */
#ifndef WATCH_DIRTY_SET_H
#define WATCH_DIRTY_SET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct dirty_set;

/* @param limit  entries; past it, entries collapse into subtrees of their parent directories */
struct dirty_set *dirty_set_new(uint32_t settle_ms, uint32_t settle_max_ms, size_t limit);
void dirty_set_free(struct dirty_set *set);
void dirty_set_configure(struct dirty_set *set, uint32_t settle_ms, uint32_t settle_max_ms);

/* A settled hint: due settle_ms after the last one, at most settle_max_ms after the first. open = written and not yet
 * closed: due settle_max_ms after the first event, unless a settled hint comes. */
void dirty_set_add(struct dirty_set *set, const char *path, bool open, uint64_t now_ms);
/* To be looked at not before due_ms (racy, again, held). Keeps an earlier due time if there is one. */
void dirty_set_add_at(struct dirty_set *set, const char *path, uint64_t due_ms, uint64_t now_ms);
/* Everything at and beneath: swallows its entries. */
void dirty_set_add_subtree(struct dirty_set *set, const char *path, uint64_t now_ms);

/* Makes everything that is settled (not open) due at once; returns the set's generation: see
 * dirty_set_oldest_generation(). */
uint64_t dirty_set_flush(struct dirty_set *set, bool open_too, uint64_t now_ms);

/**
 * Takes a due path out.
 * @param path     receives a heap string
 * @param subtree  true: scan it
 * @return true while there is one
 */
bool dirty_set_take(struct dirty_set *set, char **path, bool *subtree, uint64_t now_ms);
/* When the next one is due; UINT64_MAX when empty. */
uint64_t dirty_set_next_due(const struct dirty_set *set);
size_t dirty_set_size(const struct dirty_set *set);
/* First event of the oldest entry, in the ms given to add; UINT64_MAX when empty. */
uint64_t dirty_set_oldest(const struct dirty_set *set);
/* Calls fn for up to max entries that are open or waiting (for messages). */
void dirty_set_each(const struct dirty_set *set, void (*fn)(void *arg, const char *path, bool open), void *arg);

#endif
