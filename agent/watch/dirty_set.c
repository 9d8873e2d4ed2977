/* The paths form a trie: a subtree that arrives finds what it swallows beneath its own spot, and a
 * path that arrives meets a waiting subtree on its way down. Two rankings over the same entries
 * answer "what is due" and "what is oldest". */
#include "agent/watch/dirty_set.h"

#include <string.h>

#include "agent/base/alloc.h"
#include "agent/base/hash_table.h"
#include "agent/watch/ranking.h"

enum { BY_DUE, BY_FIRST };

/* One component of a path. It is an entry when `dirty`, else only on the way to one. */
struct spot {
	struct spot *parent;
	struct spot *children;
	UT_hash_handle hh;
	struct ranked ranked;
	uint32_t depth; /* components; 0 is the tree itself */
	bool dirty;
	bool subtree;
	bool open;
	char name[];
};

struct dirty_set {
	uint32_t settle_ms, settle_max_ms;
	size_t limit;
	struct spot *top;
	struct ranking due, first;
};

static struct spot *spot_new(struct spot *parent, const char *name, size_t len)
{
	struct spot *s = x_calloc(1, sizeof(*s) + len + 1);
	memcpy(s->name, name, len);
	s->parent = parent;
	if (parent) {
		s->depth = parent->depth + 1;
		HASH_ADD_KEYPTR(hh, parent->children, s->name, len, s);
	}
	return s;
}

struct dirty_set *dirty_set_new(uint32_t settle_ms, uint32_t settle_max_ms, size_t limit)
{
	struct dirty_set *set = x_calloc(1, sizeof(*set));
	dirty_set_configure(set, settle_ms, settle_max_ms);
	set->limit = limit > 0 ? limit : 1;
	set->due.which = BY_DUE;
	set->first.which = BY_FIRST;
	set->top = spot_new(NULL, "", 0);
	return set;
}

void dirty_set_configure(struct dirty_set *set, uint32_t settle_ms, uint32_t settle_max_ms)
{
	set->settle_ms = settle_ms;
	set->settle_max_ms = settle_max_ms > settle_ms ? settle_max_ms : settle_ms;
}

static uint64_t first_of(const struct spot *s)
{
	return s->ranked.key[BY_FIRST];
}

static uint64_t due_of(const struct spot *s)
{
	return s->ranked.key[BY_DUE];
}

static struct spot *spot_of(struct ranked *ranked)
{
	return container_of(ranked, struct spot, ranked);
}

static uint64_t earlier(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static void spot_clean(struct dirty_set *set, struct spot *s)
{
	if (!s->dirty)
		return;
	ranking_remove(&set->due, &s->ranked);
	ranking_remove(&set->first, &s->ranked);
	s->dirty = s->subtree = s->open = false;
}

/* Frees everything beneath. As deep as a path has components (2048), with small frames. */
static void prune(struct dirty_set *set, struct spot *s)
{
	struct spot *child, *next;
	HASH_ITER (hh, s->children, child, next) {
		prune(set, child);
		spot_clean(set, child);
		HASH_DEL(s->children, child);
		free(child);
	}
}

/* Frees s and the ways to it that lead nowhere else. */
static void drop_if_useless(struct dirty_set *set, struct spot *s)
{
	while (s != set->top && !s->dirty && !s->children) {
		struct spot *parent = s->parent;
		HASH_DEL(parent->children, s);
		free(s);
		s = parent;
	}
}

void dirty_set_free(struct dirty_set *set)
{
	if (!set)
		return;
	prune(set, set->top);
	ranking_release(&set->due);
	ranking_release(&set->first);
	free(set->top);
	free(set);
}

/* The spot of `path`, made if need be; or the waiting subtree that contains it. */
static struct spot *find_or_make(struct dirty_set *set, const char *path)
{
	struct spot *s = set->top;
	while (*path && !s->subtree) {
		size_t len = strcspn(path, "/");
		struct spot *child;
		HASH_FIND(hh, s->children, path, len, child);
		s = child ? child : spot_new(s, path, len);
		path += len;
		path += strspn(path, "/");
	}
	return s;
}

static void mark(struct dirty_set *set, struct spot *s, uint64_t first, uint64_t due)
{
	if (!s->dirty) {
		s->dirty = true;
		ranking_add(&set->first, &s->ranked, first);
		ranking_add(&set->due, &s->ranked, due);
		return;
	}
	if (first < first_of(s))
		ranking_move(&set->first, &s->ranked, first);
	ranking_move(&set->due, &s->ranked, due);
}

/* Beneath s (s included): the least of the first event times, and of the due times. */
static void least_beneath(const struct spot *s, uint64_t *first, uint64_t *due)
{
	if (s->dirty) {
		*first = earlier(*first, first_of(s));
		*due = earlier(*due, due_of(s));
	}
	for (const struct spot *child = s->children; child; child = child->hh.next)
		least_beneath(child, first, due);
}

static void make_subtree(struct dirty_set *set, struct spot *s, uint64_t first, uint64_t due)
{
	least_beneath(s, &first, &due);
	prune(set, s);
	mark(set, s, first, due);
	s->subtree = true;
	s->open = false;
}

/* Turns every entry at `depth` or deeper into part of a subtree at depth - 1. */
static void collapse_below(struct dirty_set *set, struct spot *s, uint32_t depth)
{
	if (s->depth + 1 >= depth) {
		if (s->children)
			make_subtree(set, s, UINT64_MAX, UINT64_MAX);
		return;
	}
	for (struct spot *child = s->children; child; child = child->hh.next)
		collapse_below(set, child, depth);
}

static uint32_t deepest(const struct spot *s)
{
	uint32_t depth = s->depth;
	for (const struct spot *child = s->children; child; child = child->hh.next) {
		uint32_t there = deepest(child);
		depth = there > depth ? there : depth;
	}
	return depth;
}

/* Down to half, so that the work is paid for by the additions until the next time. */
static void keep_within_limit(struct dirty_set *set)
{
	if (set->due.n <= set->limit)
		return;
	for (uint32_t depth = deepest(set->top); depth > 0 && set->due.n > set->limit / 2; depth--)
		collapse_below(set, set->top, depth);
}

void dirty_set_add(struct dirty_set *set, const char *path, bool open, uint64_t now_ms)
{
	struct spot *s = find_or_make(set, path);
	if (s->subtree)
		return;
	uint64_t first = s->dirty ? first_of(s) : now_ms;
	uint64_t latest = first + set->settle_max_ms;
	s->open = open;
	mark(set, s, first, open ? latest : earlier(now_ms + set->settle_ms, latest));
	keep_within_limit(set);
}

void dirty_set_add_at(struct dirty_set *set, const char *path, uint64_t due_ms, uint64_t now_ms)
{
	struct spot *s = find_or_make(set, path);
	if (s->subtree)
		return;
	if (s->dirty && s->open)
		return; /* its time comes when it is closed */
	mark(set, s, now_ms, s->dirty ? earlier(due_of(s), due_ms) : due_ms);
	keep_within_limit(set);
}

void dirty_set_add_subtree(struct dirty_set *set, const char *path, uint64_t now_ms)
{
	struct spot *s = find_or_make(set, path);
	if (s->subtree)
		return;
	/* What it swallows was perhaps due later (open) or earlier: only the age is inherited. */
	uint64_t first = now_ms, ignored = 0;
	least_beneath(s, &first, &ignored);
	prune(set, s);
	mark(set, s, first, now_ms + set->settle_ms);
	s->subtree = true;
	s->open = false;
	keep_within_limit(set);
}

void dirty_set_flush(struct dirty_set *set, bool open_too, uint64_t now_ms)
{
	/* Moving an item disturbs the order of the array that is walked, so the other one is. */
	for (size_t i = 0; i < set->first.n; i++) {
		struct spot *s = spot_of(set->first.items[i]);
		if ((open_too || !s->open) && due_of(s) > now_ms)
			ranking_move(&set->due, &s->ranked, now_ms);
	}
}

static char *path_of(const struct spot *s)
{
	size_t len = 0;
	for (const struct spot *up = s; up->parent; up = up->parent)
		len += strlen(up->name) + 1;
	char *path = x_calloc(len + 1, 1);
	for (char *end = path + len; s->parent; s = s->parent) {
		size_t part = strlen(s->name);
		end -= part + 1;
		memcpy(end, s->name, part);
		end[part] = '/';
	}
	if (len > 0)
		path[len - 1] = '\0';
	return path;
}

bool dirty_set_take(struct dirty_set *set, char **path, bool *subtree, uint64_t now_ms)
{
	struct ranked *least = ranking_least(&set->due);
	if (!least || least->key[BY_DUE] > now_ms)
		return false;
	struct spot *s = spot_of(least);
	*path = path_of(s);
	*subtree = s->subtree;
	spot_clean(set, s);
	drop_if_useless(set, s);
	return true;
}

uint64_t dirty_set_next_due(const struct dirty_set *set)
{
	struct ranked *least = ranking_least(&set->due);
	return least ? least->key[BY_DUE] : UINT64_MAX;
}

size_t dirty_set_size(const struct dirty_set *set)
{
	return set->due.n;
}

uint64_t dirty_set_oldest(const struct dirty_set *set)
{
	struct ranked *least = ranking_least(&set->first);
	return least ? least->key[BY_FIRST] : UINT64_MAX;
}

bool dirty_set_has_before(const struct dirty_set *set, uint64_t first_ms)
{
	return set->first.n > 0 && dirty_set_oldest(set) <= first_ms;
}

void dirty_set_each(const struct dirty_set *set, void (*fn)(void *arg, const char *path, bool open),
		    void *arg)
{
	for (size_t i = 0; i < set->due.n; i++) {
		struct spot *s = spot_of(set->due.items[i]);
		AUTO_FREE char *path = path_of(s);
		fn(arg, path, s->open);
	}
}

bool dirty_set_is_open(const struct dirty_set *set, const char *path)
{
	const struct spot *s = set->top;
	while (s && *path) {
		size_t len = strcspn(path, "/");
		struct spot *child;
		HASH_FIND(hh, s->children, path, len, child);
		s = child;
		path += len;
		path += strspn(path, "/");
	}
	return s && s->dirty && s->open;
}
