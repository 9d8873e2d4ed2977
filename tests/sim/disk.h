/* disk.h - the disk of a simulated node: inodes, names, and for both what would be left of them if
 * the power failed now. Every change is made to what the programs see; what is safe follows only by
 * fsync, by sync, or, on a crash, by chance: each change of a name that was not followed by a sync
 * of its directory is there or not there, in any order that a file system could have written them
 * (a rename is one change; a change of an entry depends on earlier changes of the same entry).
 * Contents and metadata that were not synced are there, are those of before, or are neither. */
#ifndef SIM_DISK_H
#define SIM_DISK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "random.h"

#define INO_TREE 1 /* the roots of a disk: always there */
#define INO_STAGE 2
#define INO_SALVAGE 3

struct disk_attrs {
	uint8_t kind; /* enum record_kind; 0: there is nothing */
	uint16_t mode;
	int64_t mtime;
	uint64_t content; /* of a file or link; 0: empty */
};

struct disk_name {
	uint32_t name, ino;
};

struct disk_names {
	struct disk_name *at;
	uint32_t n, cap;
};

struct inode {
	uint32_t ino; /* 0: free */
	uint32_t generation;
	bool dirty; /* now differs from safe */
	struct disk_attrs now, safe;
	uint64_t ctime;
	struct disk_names names, safe_names; /* of a directory */
};

struct disk_change {
	struct {
		uint32_t dir, name, ino;
	} set[2];
	int n;
};

struct disk {
	struct inode *inodes;
	uint32_t n_inodes;
	struct disk_change *changes; /* of names, not yet safe, in their order */
	size_t n_changes, cap_changes;
	uint64_t ctime;
};

/* What fstat() says, as far as anybody compares it. kind 0: nothing. */
struct disk_stat {
	uint32_t ino;
	uint8_t kind;
	uint16_t mode;
	uint32_t size;
	int64_t mtime;
	uint64_t ctime;
};

void disk_init(struct disk *d);
void disk_release(struct disk *d);
void disk_copy(struct disk *to, const struct disk *from); /* `to` is initialised */

/* 0 when there is nothing. A path is walked from the tree; what is no directory ends the walk. */
uint32_t disk_lookup(const struct disk *d, uint32_t dir, uint32_t name);
uint32_t disk_at(const struct disk *d, int path);
uint32_t disk_parent(const struct disk *d, int path);			 /* its directory, or 0 */
const struct disk_attrs *disk_attrs(const struct disk *d, uint32_t ino); /* NULL: no such inode */
struct disk_stat disk_stat(const struct disk *d, uint32_t ino);
bool disk_is_empty(const struct disk *d, uint32_t dir);
uint32_t disk_first(const struct disk *d, uint32_t dir); /* a name in it that is not empty */

/* The same of what is safe. */
uint32_t disk_safe_at(const struct disk *d, int path);
const struct disk_attrs *disk_safe_attrs(const struct disk *d, uint32_t ino);
const struct disk_names *disk_safe_names(const struct disk *d, uint32_t dir);

/* Two stats of one object; ctime only counts when asked for, since a rename changes it. */
bool disk_stat_equal(const struct disk_stat *a, const struct disk_stat *b, bool with_ctime);

uint32_t disk_create(struct disk *d, uint32_t dir, uint32_t name, const struct disk_attrs *attrs);
void disk_set(struct disk *d, uint32_t ino, const struct disk_attrs *attrs);
void disk_unlink(struct disk *d, uint32_t dir, uint32_t name);
/* Into a free name, or over what is there. */
void disk_rename(struct disk *d, uint32_t from, uint32_t name, uint32_t to, uint32_t to_name);
void disk_exchange(struct disk *d, uint32_t a, uint32_t a_name, uint32_t b, uint32_t b_name);

void disk_sync(struct disk *d, uint32_t ino); /* fsync */
void disk_sync_all(struct disk *d);	      /* syncfs */

/* @param torn  contents that came to be by a crash get its next numbers */
void disk_crash(struct disk *d, struct random *random, uint64_t (*torn)(void *arg), void *arg);

#endif
