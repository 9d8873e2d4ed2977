/* dirty_set.h - paths that may have changed, until each is due. Pure data, no clock: times are
 * given. Thread: the loop. */
#ifndef WATCH_DIRTY_SET_H
#define WATCH_DIRTY_SET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct dirty_set;

/* @param limit  entries (a count); past it, entries collapse into subtrees of their parent
 *               directories, as often as it takes to come down to half of it */
struct dirty_set *dirty_set_new(uint32_t settle_ms, uint32_t settle_max_ms, size_t limit);
void dirty_set_free(struct dirty_set *set);
void dirty_set_configure(struct dirty_set *set, uint32_t settle_ms, uint32_t settle_max_ms);

/* A settled hint: due settle_ms after the last one, at most settle_max_ms after the first. open =
 * written and not yet closed: due settle_max_ms after the first event, unless a settled hint comes.
 * The later of two hints holds. An entry beneath a subtree that waits is part of that subtree. */
void dirty_set_add(struct dirty_set *set, const char *path, bool open, uint64_t now_ms);
/* To be looked at not before due_ms (racy, again, held). Keeps an earlier due time if there is one,
 * and what is open for writing as it is. */
void dirty_set_add_at(struct dirty_set *set, const char *path, uint64_t due_ms, uint64_t now_ms);
/* Everything at and beneath: swallows its entries, and later ones until it is taken. Due settle_ms
 * after the first such call; later hints beneath do not put it off. */
void dirty_set_add_subtree(struct dirty_set *set, const char *path, uint64_t now_ms);

/* Makes everything that is settled due at once; with open_too also what is still open for writing.
 */
void dirty_set_flush(struct dirty_set *set, bool open_too, uint64_t now_ms);

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
/* First event of the oldest entry, in the ms given to add; UINT64_MAX when empty. A subtree is as
 * old as the oldest entry that it swallowed. */
uint64_t dirty_set_oldest(const struct dirty_set *set);
/* Is this path waiting because it is written to and not yet closed? */
bool dirty_set_is_open(const struct dirty_set *set, const char *path);
/* Is there an entry whose first event was at or before first_ms? Who notes the time when a fence is
 * answered and waits until this is false has taken everything that had happened before the fence.
 */
bool dirty_set_has_before(const struct dirty_set *set, uint64_t first_ms);
/* Calls fn for every entry (for messages: fn stops counting by itself); not to be changed
 * meanwhile. */
void dirty_set_each(const struct dirty_set *set, void (*fn)(void *arg, const char *path, bool open),
		    void *arg);

#endif
