/* tree.h - the tree as a set of roots, each a directory opened once and used through its
 * descriptor. Every access is openat2(RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS
 * | RESOLVE_NO_XDEV) from there. Root 0 is the tree itself; the others are the directories in
 * `follow`, which are symbolic links or mounts. Each carries `.artifact-sync/` with a marker (a
 * random id), stage/ and salvage/, and is locked by the agent that claims it. Blocking; thread:
 * any, for tree_check() one at a time. */
#ifndef FS_TREE_H
#define FS_TREE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/base/alloc.h"
#include "agent/base/err.h"

#define ROOT_ID_LEN 16
#define ROOT_MAX 64

#define ROOT_WHY_MAX 192

/* tree_check() may find a root lost while workers are in it. The descriptors of a lost root are
 * therefore never closed: a number that another file gets would make a worker write there. When the
 * root comes back, the new directory takes over the same numbers. */
struct root {
	char *at;		/* path in the tree where it stands; "" for the tree */
	char *location;		/* the directory as configured, for messages and to open it again */
	_Atomic int fd;		/* O_DIRECTORY; -1 until it was healthy once */
	_Atomic int own_fd;	/* .artifact-sync */
	_Atomic int stage_fd;	/* .artifact-sync/stage */
	_Atomic int salvage_fd; /* .artifact-sync/salvage */
	_Atomic uint64_t dev, ino;
	uint8_t id[ROOT_ID_LEN];   /* all zero until a marker was seen */
	_Atomic bool remote;	   /* NFS, SMB, FUSE: no events of other clients, coarse clocks */
	_Atomic bool can_exchange; /* RENAME_EXCHANGE works here; probed when opened */
	_Atomic bool can_clone;	   /* FICLONERANGE works here; probed when opened */
	_Atomic bool can_lock;	   /* false: this file system keeps no second agent away */
	_Atomic bool healthy;
	bool told_unlocked;	    /* by whoever logs */
	int lock_fd;		    /* for tree_check(): on the marker; -1 = none is held */
	bool taken;		    /* for tree_check(): another agent has it */
	bool probed;		    /* for tree_check(): the two above are known, and not assumed */
	_Atomic uint64_t synced_ns; /* clock_mono_ns(): what was written before it is durable */
	_Atomic uint64_t
		unsynced_ns; /* what was written before it, and not yet synced, may be lost */
	struct leftovers *leftovers; /* leftovers.c */
	char why[ROOT_WHY_MAX]; /* when it is not; other threads than tree_check()'s ask root_why()
				 */
};

struct leftovers *leftovers_new(void);
void leftovers_free(struct leftovers *left); /* NULL is a no-op */

struct tree {
	struct root *roots;
	size_t n;
	char *holder; /* NULL: used without being claimed */
};

/* Whose roots they are. */
struct tree_claim {
	/* n_follow + 1 ids in order, or NULL: of a root whose id is all zero what its marker says
	 * is accepted */
	const uint8_t (*ids)[ROOT_ID_LEN];
	/* Who is to have them alone, in a line for people (copied). NULL: who only looks, or has
	 * the state directory alone and writes nothing. */
	const char *holder;
};

/**
 * Creates `.artifact-sync/{marker,stage,salvage}` (0700) in the tree and in each followed directory
 * that has none. Called by `init` only.
 */
int tree_prepare(const char *dir, char *const *follow, size_t n_follow, struct err *err);
/* The same for one directory that is to be followed, and nothing else. */
int tree_prepare_followed(const char *dir, const char *at, struct err *err);

/**
 * Opens the roots. A root that is missing or has no marker is opened as unhealthy, with the reason;
 * that is no error.
 * @param claim  borrowed; NULL is one of zeros
 * @return 0; -EBUSY when another agent has one of them, err naming it; -E2BIG
 */
int tree_open(struct tree **out, const char *dir, char *const *follow, size_t n_follow,
	      const struct tree_claim *claim, struct err *err);
void tree_free(struct tree *tree);
DEFINE_AUTO(tree)

/**
 * Looks whether each root still is what was opened (its location leads to the same dev and ino, the
 * marker is there with the same id) and opens again what came back.
 * @return true when any root's health changed
 */
bool tree_check(struct tree *tree);

/**
 * Looks whether a healthy root still is what was opened, changing nothing. Who saw that something
 * is absent asks afterwards, before believing it: in a directory that was unmounted or swapped
 * everything is absent.
 * @param why  receives the reason; may be NULL
 * @return 0, or -ESTALE
 */
int root_verify(const struct root *root, char why[ROOT_WHY_MAX]);

/* Why it is unhealthy; "" when it is not. Returns out. */
const char *root_why(const struct root *root, char out[ROOT_WHY_MAX]);

bool tree_is_healthy(const struct tree *tree);

/* The root that holds `path` (the longest `at` that contains it); *sub is the path beneath it, ""
 * for the root itself. Never NULL. */
struct root *tree_resolve(const struct tree *tree, const char *path, const char **sub);

/* Does a followed directory stand at or beneath `path`? It is mounted or linked there: when the way
 * to it is gone, its files are not. */
bool tree_leads_to_root(const struct tree *tree, const char *path);

/* openat2 beneath a root. sub "" or "." opens the root itself; O_CLOEXEC is added.
 * @return fd or negative errno; -ESTALE while the root is unhealthy, -EXDEV for a mount that is
 * not a root, -ELOOP for a symbolic link on the way */
int root_open(const struct root *root, const char *sub, int flags, unsigned mode);

/* Opens (O_PATH) the directory that holds sub and points *name at its last component.
 * @return fd or -errno; -EINVAL for "", which has none */
int root_open_parent(const struct root *root, const char *sub, const char **name);

/* Stat of a path beneath a root, no component of which is a link; the last may be one and is not
 * followed. @return 0 or negative errno as root_open() */
struct stat;
int root_stat(const struct root *root, const char *sub, struct stat *out);

/* True when errno means "the object is not there" (ENOENT, ENOTDIR, and ELOOP for a path that now
 * leads through a link), as opposed to "cannot tell" (EACCES, EIO, ESTALE, ...). */
bool errno_is_absence(int error);

#endif
