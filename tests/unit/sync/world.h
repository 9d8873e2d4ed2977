/* world.h - a tree with a marker, a store and a profile in a scratch directory, and the loop that a
 * node makes of scan, capture and store. The tree is "tree" in the current directory. */
#ifndef TEST_WORLD_H
#define TEST_WORLD_H

#include "agent/sync/capture.h"
#include "agent/sync/scan.h"
#include "tests/unit/fs/scratch.h"

struct world {
	char *dir;
	struct tree *tree;
	struct store *store;
	struct profile *profile;
	struct capture_env env;
	uint64_t bytes_hashed;
	struct scan_counts counts; /* of the last scan */
};

/* @param rules  NULL-terminated, before those of profile "all"; may be NULL */
struct world *world_new(const char *const *rules);
struct world *world_with_follow(const char *const *rules, char *const *follow, size_t n_follow);
void world_free(struct world *w);
void world_set_rules(struct world *w, const char *const *rules);

/* What a scan of `top` reports, one path after another, each followed by a newline ("" is ".").
 * Heap. */
char *scan_paths(struct world *w, const char *top);
int scan_result(struct world *w, const char *top, char **out);

/* Captures one path. The caller releases the item. */
struct capture_item capture_path(struct world *w, const char *path);
enum capture_outcome outcome_of(struct world *w, const char *path);

/* Scan, capture, store. @return how many records got a seq */
size_t index_all(struct world *w);

/* The index holds exactly what the tree does: nothing is reported, and every record is as a capture
 * from nothing would make it. */
void assert_indexed(struct world *w);

/* Waits until what was just written is old enough not to be racy. */
void let_age(void);

/* The index's entry; fails the test when it is not there. The caller releases it. */
struct index_entry entry_of(struct world *w, const char *path);

#endif
