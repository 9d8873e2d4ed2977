/* scan_levels.c - the tree as a stream of places, in the order of whole paths: see scan.c. */
#include "agent/sync/scan_private.h"

#include <string.h>
#include <sys/stat.h>

#include "protocol/relpath.h"

/* ---- levels --------------------------------------------------------------------------------- */

void level_release(struct level *level)
{
	listing_release(&level->list);
	free(level->path);
	free(level->keys);
	free(level->entering);
}

struct level *level_push(struct scan *s, const char *path)
{
	GROW(s->levels, s->levels_cap, s->n_levels + 1);
	struct level *level = &s->levels[s->n_levels++];
	*level = (struct level){.path = x_strdup(path), .path_len = strlen(path)};
	return level;
}

/* Like strcmp(), as if a slash ended the name of a key that enters. */
static int compare_keys(const void *a, const void *b, void *arg)
{
	const struct key *x = a, *y = b;
	const struct listing *list = arg;
	const unsigned char *p = (const unsigned char *)listing_name(list, x->entry);
	const unsigned char *q = (const unsigned char *)listing_name(list, y->entry);
	while (*p && *p == *q)
		p++, q++;
	int left = *p ? *p : x->enter ? '/' : 0, right = *q ? *q : y->enter ? '/' : 0;
	if (left != right)
		return left - right;
	return 0; /* one entry and one way: the same key */
}

void level_sort(struct level *level)
{
	const struct listing *list = &level->list;
	level->keys = x_calloc(2 * list->n, sizeof(*level->keys));
	level->entering = x_calloc(list->n, sizeof(*level->entering));
	bool any_enter = false;
	for (size_t i = 0; i < list->n; i++) {
		level->keys[level->n++] = (struct key){.entry = (uint32_t)i};
		if (S_ISDIR(list->entries[i].stat.mode)) {
			level->keys[level->n++] = (struct key){.entry = (uint32_t)i, .enter = true};
			any_enter = true;
		}
	}
	if (any_enter) /* else it is sorted already */
		qsort_r(level->keys, level->n, sizeof(*level->keys), compare_keys, &level->list);
}

/* Roots that stand in this directory are listed as what they are, whatever stands there: a link, a
 * mount, or nothing at all. */
void level_put_roots(struct scan *s, struct level *level)
{
	for (size_t i = 1; i < s->tree->n; i++) {
		const struct root *root = &s->tree->roots[i];
		size_t parent_len = relpath_parent_len(root->at);
		struct stat st = {.st_mode = S_IFDIR};
		struct file_stat stat;
		if (parent_len != level->path_len || memcmp(root->at, level->path, parent_len) != 0)
			continue;
		int r = root_stat(root, "", &st);
		file_stat_from(&stat, &st);
		listing_put(&level->list, relpath_name(root->at), &stat, -r);
	}
}

static void build_key(struct scan *s, const struct level *level)
{
	const struct key *key = &level->keys[level->next];
	const char *name = listing_name(&level->list, key->entry);
	size_t len = level->path_len, name_len = strlen(name);
	memcpy(s->key, level->path, len);
	if (len > 0 && name_len > 0)
		s->key[len++] = '/';
	memcpy(s->key + len, name, name_len);
	len += name_len;
	if (key->enter && len > 0)
		s->key[len++] = '/';
	s->key[len] = '\0';
	s->key_len = len;
}

struct level *scan_next_place(struct scan *s)
{
	while (s->n_levels > 0) {
		struct level *level = &s->levels[s->n_levels - 1];
		if (level->next < level->n) {
			build_key(s, level);
			return level;
		}
		if (s->n_levels == 1)
			return NULL; /* levels[0] stays: it may owe */
		level_release(level);
		s->n_levels--;
	}
	return NULL;
}
