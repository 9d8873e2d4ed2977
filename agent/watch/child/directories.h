/* directories.h - the directories we know, as a tree of names. What identifies one is its watch:
 * the kernel gives the same number for the same inode, so a renamed directory is found again by it
 * and only hung elsewhere. Where the kernel last saw a directory and where the tree has it may
 * differ for a moment; walk.c brings them together. No I/O but port_unwatch(). */
#ifndef WATCH_CHILD_DIRECTORIES_H
#define WATCH_CHILD_DIRECTORIES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/base/hash_table.h"
#include "agent/watch/watch_pipe.h"

#define DUE_NAMES_OF_ONE 4096  /* then the directory is listed instead */
#define DUE_NAMES_OF_ALL 65536 /* then everything is */

/* A name in a directory where a directory appeared, went or changed. */
struct due_name {
	UT_hash_handle hh;
	char name[];
};

struct directory {
	struct directory *parent;   /* NULL for a root and for one that is adrift */
	struct directory *children; /* by name */
	char *name;
	int root_fd;	/* roots only, else -1; borrowed */
	uint8_t root;	/* roots only: the argument it came with */
	const char *at; /* roots only: its path in the tree */
	int wd;		/* 0: not watched */
	bool ended;	/* it was watched until it was deleted */
	bool gone;	/* roots: found deleted, and said so */
	uint64_t dev, ino;
	uint32_t seen; /* the listing of its parent that saw it last */
	bool relist;   /* list it again, with all beneath, when its turn comes */
	bool queued, adrift, bare;
	struct due_name *due;
	struct directory *queue_prev, *queue_next;
	struct directory *adrift_prev, *adrift_next;
	struct directory *bare_prev, *bare_next;
	UT_hash_handle by_name, by_wd;
};

/* Zeroed it is valid and empty. */
struct directories {
	struct directory *by_wd;
	struct directory *queue;  /* have due names or are to be listed */
	struct directory *adrift; /* missing where they were; may turn up elsewhere */
	struct directory *bare;	  /* present but not watched */
	size_t n, n_watched, n_bare, n_queued, n_due;
	bool too_many_due; /* set when DUE_NAMES_OF_ALL was passed and the names were forgotten */
	bool freed;	   /* a watch ended: another directory could have it */
};

struct directory *directory_new_root(struct directories *all, int fd, uint8_t root, const char *at);
struct directory *directory_new(struct directories *all, struct directory *parent,
				const char *name);
/* Frees it, detached or not, with all beneath, and ends the watches. */
void directory_free(struct directories *all, struct directory *d);

struct directory *directory_child(const struct directory *d, const char *name); /* or NULL */
struct directory *directory_by_wd(const struct directories *all, int wd);	/* or NULL */
bool directory_is_root(const struct directory *d);
bool directory_is_beneath(const struct directory *d, const struct directory *above); /* or is it */
/* The root it hangs on, NULL when it or one above it is adrift. */
struct directory *directory_root(const struct directory *d);

/**
 * Writes the path of `name` in d, or of d itself when name is NULL.
 * @param out  at least WATCH_PATH_MAX + 1 bytes
 * @param sub  receives the place in out where the path beneath the root begins
 * @return the root it is beneath; NULL when it is adrift or the path is too long
 */
struct directory *directory_path(const struct directory *d, const char *name, char *out,
				 const char **sub);

void directory_set_watch(struct directories *all, struct directory *d, int wd); /* 0: ended */
void directory_set_bare(struct directories *all, struct directory *d, bool bare);

/* Takes it out of its place; it keeps what is beneath. directories_sweep() frees it. */
void directory_retire(struct directories *all, struct directory *d);
/* Hangs it at `name` in `parent`, where nothing hangs. */
void directory_move(struct directories *all, struct directory *d, struct directory *parent,
		    const char *name);
void directories_sweep(struct directories *all);

/* Remembers to look at a name; at the directory as a whole; takes the next directory to look at. */
void directory_look_at(struct directories *all, struct directory *d, const char *name);
void directory_look_through(struct directories *all, struct directory *d);
struct directory *directories_take(struct directories *all); /* NULL when none */
/* Forgets the names d was to be looked at for. */
void directory_forget_due(struct directories *all, struct directory *d);

#endif
