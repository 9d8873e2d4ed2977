/* capture.h - reading what is at a path, so that it holds still: stat, read, hash, stat again; the
 * profile's gates; what is already known is not read. Blocking; run on a worker; any number at a
 * time, over disjoint paths. */
#ifndef SYNC_CAPTURE_H
#define SYNC_CAPTURE_H

#include <stddef.h>
#include <stdint.h>

#include "agent/conf/profile.h"
#include "agent/fs/meta.h"
#include "agent/fs/tree.h"
#include "agent/store/store.h"
#include "agent/sync/recent.h"

enum capture_outcome {
	CAPTURE_NOTHING, /* as indexed, or outside the profile and unknown */
	CAPTURE_CHANGED, /* entry is a new version */
	CAPTURE_SAME, /* content and metadata as indexed, but the stat or racy flag must be stored
		       */
	CAPTURE_GONE, /* surely absent, or now something that is never replicated; its root is
			 healthy */
	CAPTURE_DROPPED,    /* indexed, if only as deleted, and the profile no longer wants it */
	CAPTURE_AGAIN,	    /* changed while it was read */
	CAPTURE_HELD,	    /* a gate says no; `why` names it */
	CAPTURE_UNREADABLE, /* cannot tell; `why` says what the system said. Not a deletion */
	CAPTURE_SPECIAL,    /* FIFO, socket, device, and not indexed */
	CAPTURE_COMPARED,   /* compare-only: entry.rec.hash is its fingerprint */
};

struct capture_item {
	char *path;		      /* heap, owned by the item */
	enum capture_outcome outcome; /* filled in */
	struct index_entry entry; /* CHANGED, SAME, COMPARED: owned; epoch and seq 0 unless SAME */
	char why[160];
	/* What the index had there; filled in. */
	bool was_live, was_dir;
	bool special, setid; /* wanted, and a special file, or with these bits; filled in */
	uint64_t file_was;   /* a file with this inode, the deleted one included; 0: none */
	uint64_t links_was;
	bool loses; /* CHANGED: a file was emptied, or what was in a directory has gone with it */
	bool approved;	 /* such a change, or that it is GONE: by a person */
	bool rewrites;	 /* CHANGED: a file has other content, or became something else */
	bool force_read; /* an event on a racy entry, or deep verification: read whatever stat says
			  */
	int64_t vouched_ns; /* see file_is_suspect(): suspects are read; 0 for none */
};

struct capture_env {
	struct tree *tree;
	struct store *store;
	const struct profile *profile;
	struct meta_policy policy;
	struct recent
		*recent; /* small content goes there on its way to the sender; NULL: nowhere */
	uint64_t *files_hashed,
		*bytes_hashed; /* counters, atomically added to; NULL: nobody counts */
};

/**
 * Puts before each item those of its ancestors that are not live in the index, and orders all by
 * path, each once. Without this a new file could be indexed before the directory it is in, or in
 * one that the index knows only as kept for others.
 * @param items  heap array, grown
 */
void capture_add_parents(const struct capture_env *env, struct capture_item **items, size_t *n);

/* Fills in every item. Never fails as a whole: each item has its outcome. A directory that the
 * index has as kept is CHANGED only if something beneath it is in the same run. */
void capture_run(const struct capture_env *env, struct capture_item *items, size_t n);
void capture_item_release(struct capture_item *item);

/* Reads the content at `path` and compares with the entry, for `verify --deep`.
 * @return 0 equal, 1 different with `why`, negative errno with `why` (-EAGAIN: it changed
 * meanwhile) */
int capture_verify(const struct capture_env *env, const struct index_entry *entry, char why[160]);

#define RACY_LOCAL_NS (20 * 1000 * 1000)
#define RACY_REMOTE_NS (2000LL * 1000 * 1000)

#endif
