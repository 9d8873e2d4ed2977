/* scan.h - the truth: a walk of the tree (or a part of it) compared with the index by stat alone.
 * It reports paths that may differ; capture looks at them. Blocking, in slices; a scan is used by
 * one thread at a time. */
#ifndef SYNC_SCAN_H
#define SYNC_SCAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/base/err.h"
#include "agent/conf/profile.h"
#include "agent/fs/tree.h"
#include "agent/store/store.h"
#include "agent/sync/odd.h"

struct scan;

/* The first of its kind, for a person. */
struct scan_first {
	char path[256]; /* as bytes; a longer one is cut and ends in "..." */
	char why[64];
};

struct scan_counts {
	uint64_t entries; /* looked at */
	uint64_t directories;
	uint64_t special;    /* FIFOs, sockets, devices: counted, not sent */
	uint64_t too_long;   /* wanted paths of more than 4095 bytes: no record can name them */
	uint64_t unreadable; /* directories and entries: deletions beneath are suppressed */
	uint64_t starved;    /* of these for want of descriptors or memory: not the tree's state */
	uint64_t setid;	     /* setuid or setgid bits: sent without them, unless configured */
	uint64_t foreign_mounts;    /* mounts that are not in `follow`: not entered */
	char first_unreadable[192]; /* quoted path and reason of the first, "" if none */
	char first_mount[192];
	struct scan_first unreadable_first, too_long_first;
};

/**
 * Begins a scan of `top` ("" = the whole tree, entering followed roots that are healthy; nothing is
 * reported beneath an unhealthy root, deletions least of all). With the first path that is reported
 * come those of its ancestors that the index does not have.
 * @return 0; -EINVAL for a top that is no path; -ESTALE when its root is unhealthy
 */
int scan_begin(struct scan **out, struct tree *tree, struct store *store,
	       const struct profile *profile, const char *top, struct err *err);

/* Files that could have been written to without a trace are reported, too: file_is_suspect(). */
void scan_suspect(struct scan *scan, int64_t vouched_ns);

/**
 * Goes on until about `max` differing paths have been found or 20,000 entries looked at, parents
 * before children.
 * @param paths  receives heap strings (the caller frees the strings and the array); a vanished path
 * is reported like a changed one
 * @return 1 when there is more, 0 when done, negative errno when the walk as a whole failed
 * (-ESTALE: root lost); then nothing is returned in paths, and the scan is over
 */
int scan_step(struct scan *scan, size_t max, char ***paths, size_t *n, struct err *err);
const struct scan_counts *scan_counts(const struct scan *scan);
/* Their names. *special and *setid are released first. */
void scan_take_odd(struct scan *scan, struct odd *special, struct odd *setid);
void scan_free(struct scan *scan);

#endif
