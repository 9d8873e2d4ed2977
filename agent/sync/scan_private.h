/* scan_private.h - shared by scan.c (the merge), scan_levels.c (the walk) and scan_findings.c. */
#ifndef SYNC_SCAN_PRIVATE_H
#define SYNC_SCAN_PRIVATE_H

#include <limits.h>

#include "agent/fs/listing.h"
#include "agent/sync/scan.h"

#define PATH_BYTES (PATH_MAX + 256 + 2) /* a path that is too long is built once, to be counted */
#define PATH_LEN_MAX 4095

/* A place in the order of a directory: an entry, or, with `enter`, what is beneath it. */
struct key {
	uint32_t entry;
	bool enter;
};

enum entering { STAY_OUT, ENTER, ENTER_OWED };

struct level {
	char *path; /* of the directory */
	size_t path_len;
	struct listing list;
	struct key *keys;
	uint8_t *entering; /* enum entering, per entry */
	size_t n, next;	   /* keys */
	/* The index does not have the directory itself, because nothing of ours was in it (a kept
	 * one, the ancestors of the top): to be reported before the first thing that is. */
	bool is_owed;
};

struct scan {
	struct tree *tree;
	struct store *store;
	const struct profile *profile;
	int64_t vouched_ns;
	struct scan_counts counts;
	struct odd special, setid;
	char *top;
	struct level *levels; /* levels[0] is a made-up one whose only entry is the top */
	size_t n_levels, levels_cap;
	char **covered; /* each a prefix, as bytes, of the next */
	size_t n_covered, covered_cap;
	bool missed; /* in this step something was found missing */
	bool is_done;

	struct store_cursor *cursor;   /* in a step */
	const struct index_entry *row; /* borrowed from the cursor; NULL at its end */
	char **found;
	size_t n_found, found_cap;
	char key[PATH_BYTES]; /* path of the current place in the walk */
	size_t key_len;
	char passed[PATH_BYTES]; /* everything up to here has been dealt with ... */
	bool has_passed;	 /* ... if anything has */
};

/* ---- scan_findings.c ------------------------------------------------------------------------ */

void scan_report(struct scan *s, const char *path);

/* Something that is there; what is owed comes before it. */
void scan_report_present(struct scan *s, const char *path);

/* From here on nothing is concluded from rows at or beneath path. In path order only. */
void scan_cover(struct scan *s, const char *path);
bool scan_is_covered(struct scan *s, const char *path);

/* Counted, the first remembered, and covered. */
/* Remembers it if it is the first. */
void scan_first(struct scan_first *first, const char *path, const char *why);
void scan_unreadable(struct scan *s, const char *path, const char *why);
void scan_foreign_mount(struct scan *s, const char *path);

void scan_drop_findings(struct scan *s);

/* ---- scan_levels.c -------------------------------------------------------------------------- */

struct level *level_push(struct scan *s, const char *path);
void level_sort(struct level *level); /* once its listing is complete */
void level_put_roots(struct scan *s, struct level *level);
void level_release(struct level *level);

/* Drops levels that are done. @return the level of the next place with its path in s->key, or NULL
 * at the end */
struct level *scan_next_place(struct scan *s);

#endif
