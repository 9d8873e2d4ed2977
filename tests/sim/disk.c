#include "disk.h"

#include <stdlib.h>
#include <string.h>

#include "content.h"
#include "paths.h"
#include "protocol/record.h"

#define SLOTS 1024	/* inodes; those that nothing leads to are used again */
#define CHANGES_MAX 512 /* past it the kernel has long written them back */

/* ---- names ---------------------------------------------------------------------------------- */

static uint32_t names_find(const struct disk_names *names, uint32_t name)
{
	for (uint32_t i = 0; i < names->n; i++) {
		if (names->at[i].name == name)
			return names->at[i].ino;
	}
	return 0;
}

static void names_set(struct disk_names *names, uint32_t name, uint32_t ino)
{
	for (uint32_t i = 0; i < names->n; i++) {
		if (names->at[i].name != name)
			continue;
		if (ino)
			names->at[i].ino = ino;
		else
			names->at[i] = names->at[--names->n];
		return;
	}
	if (!ino)
		return;
	if (names->n == names->cap) {
		names->cap = names->cap ? 2 * names->cap : 8;
		names->at = realloc(names->at, names->cap * sizeof(*names->at));
	}
	names->at[names->n++] = (struct disk_name){name, ino};
}

static void names_copy(struct disk_names *to, const struct disk_names *from)
{
	if (to->cap < from->n) {
		to->cap = from->n;
		to->at = realloc(to->at, to->cap * sizeof(*to->at));
	}
	to->n = from->n;
	if (from->n > 0)
		memcpy(to->at, from->at, from->n * sizeof(*to->at));
}

static void names_release(struct disk_names *names)
{
	free(names->at);
	*names = (struct disk_names){0};
}

/* ---- inodes --------------------------------------------------------------------------------- */

static struct inode *inode_of(const struct disk *d, uint32_t ino)
{
	struct inode *inode = &d->inodes[ino % SLOTS];
	return ino && inode->ino == ino ? inode : NULL;
}

static void mark(const struct disk *d, bool *used, uint32_t ino)
{
	const struct inode *inode = inode_of(d, ino);
	if (!inode || used[ino % SLOTS])
		return;
	used[ino % SLOTS] = true;
	for (uint32_t i = 0; i < inode->names.n; i++)
		mark(d, used, inode->names.at[i].ino);
	for (uint32_t i = 0; i < inode->safe_names.n; i++)
		mark(d, used, inode->safe_names.at[i].ino);
}

static void collect(struct disk *d)
{
	bool used[SLOTS] = {0};
	for (uint32_t ino = INO_TREE; ino <= INO_SALVAGE; ino++)
		mark(d, used, ino);
	for (size_t i = 0; i < d->n_changes; i++) {
		for (int k = 0; k < d->changes[i].n; k++) {
			mark(d, used, d->changes[i].set[k].dir);
			mark(d, used, d->changes[i].set[k].ino);
		}
	}
	for (uint32_t i = 1; i < SLOTS; i++) {
		if (!used[i])
			d->inodes[i].ino = 0;
	}
}

static struct inode *inode_new(struct disk *d)
{
	for (int attempt = 0; attempt < 2; attempt++) {
		for (uint32_t i = INO_SALVAGE + 1; i < SLOTS; i++) {
			struct inode *inode = &d->inodes[i];
			if (inode->ino)
				continue;
			inode->ino = ++inode->generation * SLOTS + i;
			inode->names.n = inode->safe_names.n = 0;
			inode->safe = (struct disk_attrs){0};
			return inode;
		}
		collect(d);
	}
	abort(); /* more objects than a tree of N_PATHS can have */
}

void disk_init(struct disk *d)
{
	*d = (struct disk){.inodes = calloc(SLOTS, sizeof(struct inode)), .n_inodes = SLOTS};
	for (uint32_t ino = INO_TREE; ino <= INO_SALVAGE; ino++) {
		struct inode *inode = &d->inodes[ino];
		inode->ino = ino;
		inode->now = inode->safe = (struct disk_attrs){.kind = RECORD_DIR, .mode = 0755};
	}
}

void disk_release(struct disk *d)
{
	for (uint32_t i = 0; i < SLOTS; i++) {
		names_release(&d->inodes[i].names);
		names_release(&d->inodes[i].safe_names);
	}
	free(d->inodes);
	free(d->changes);
}

void disk_copy(struct disk *to, const struct disk *from)
{
	for (uint32_t i = 0; i < SLOTS; i++) {
		struct inode *t = &to->inodes[i];
		const struct inode *f = &from->inodes[i];
		struct disk_names names = t->names, safe_names = t->safe_names;
		uint32_t generation = t->generation; /* a number is never given twice */
		names_copy(&names, &f->names);
		names_copy(&safe_names, &f->safe_names);
		*t = *f;
		t->names = names;
		t->safe_names = safe_names;
		t->generation = generation > f->generation ? generation : f->generation;
	}
	to->ctime = to->ctime > from->ctime ? to->ctime : from->ctime;
	to->n_changes = 0;
	for (size_t i = 0; i < from->n_changes; i++) {
		if (to->n_changes == to->cap_changes) {
			to->cap_changes = to->cap_changes ? 2 * to->cap_changes : 64;
			to->changes = realloc(to->changes, to->cap_changes * sizeof(*to->changes));
		}
		to->changes[to->n_changes++] = from->changes[i];
	}
}

/* ---- looking -------------------------------------------------------------------------------- */

uint32_t disk_lookup(const struct disk *d, uint32_t dir, uint32_t name)
{
	const struct inode *inode = inode_of(d, dir);
	return inode ? names_find(&inode->names, name) : 0;
}

uint32_t disk_at(const struct disk *d, int path)
{
	if (path == 0)
		return INO_TREE;
	return disk_lookup(d, disk_parent(d, path), path_name[path]);
}

uint32_t disk_parent(const struct disk *d, int path)
{
	uint32_t dir = path > 0 ? disk_at(d, path_parent[path]) : 0;
	const struct inode *inode = inode_of(d, dir);
	return inode && inode->now.kind == RECORD_DIR ? dir : 0;
}

const struct disk_attrs *disk_attrs(const struct disk *d, uint32_t ino)
{
	const struct inode *inode = inode_of(d, ino);
	return inode ? &inode->now : NULL;
}

struct disk_stat disk_stat(const struct disk *d, uint32_t ino)
{
	const struct inode *inode = inode_of(d, ino);
	if (!inode)
		return (struct disk_stat){0};
	return (struct disk_stat){.ino = ino,
				  .kind = inode->now.kind,
				  .mode = inode->now.mode,
				  .size = content_size(inode->now.content),
				  .mtime = inode->now.mtime,
				  .ctime = inode->ctime};
}

bool disk_is_empty(const struct disk *d, uint32_t dir)
{
	const struct inode *inode = inode_of(d, dir);
	return !inode || inode->names.n == 0;
}

uint32_t disk_first(const struct disk *d, uint32_t dir)
{
	return inode_of(d, dir)->names.at[0].name;
}

uint32_t disk_safe_at(const struct disk *d, int path)
{
	if (path == 0)
		return INO_TREE;
	const struct inode *dir = inode_of(d, disk_safe_at(d, path_parent[path]));
	return dir && dir->safe.kind == RECORD_DIR ? names_find(&dir->safe_names, path_name[path])
						   : 0;
}

const struct disk_attrs *disk_safe_attrs(const struct disk *d, uint32_t ino)
{
	const struct inode *inode = inode_of(d, ino);
	return inode ? &inode->safe : NULL;
}

const struct disk_names *disk_safe_names(const struct disk *d, uint32_t dir)
{
	const struct inode *inode = inode_of(d, dir);
	return inode ? &inode->safe_names : NULL;
}

bool disk_stat_equal(const struct disk_stat *a, const struct disk_stat *b, bool with_ctime)
{
	return a->ino == b->ino && a->kind == b->kind && a->mode == b->mode && a->size == b->size &&
	       a->mtime == b->mtime && (!with_ctime || a->ctime == b->ctime);
}

/* ---- changing ------------------------------------------------------------------------------- */

static struct disk_change *new_change(struct disk *d)
{
	if (d->n_changes >= CHANGES_MAX)
		disk_sync_all(d);
	if (d->n_changes == d->cap_changes) {
		d->cap_changes = d->cap_changes ? 2 * d->cap_changes : 64;
		d->changes = realloc(d->changes, d->cap_changes * sizeof(*d->changes));
	}
	struct disk_change *change = &d->changes[d->n_changes++];
	change->n = 0;
	return change;
}

static void set_name(struct disk *d, struct disk_change *change, uint32_t dir, uint32_t name,
		     uint32_t ino)
{
	names_set(&inode_of(d, dir)->names, name, ino);
	change->set[change->n].dir = dir;
	change->set[change->n].name = name;
	change->set[change->n++].ino = ino;
}

static void touch(struct disk *d, uint32_t ino)
{
	struct inode *inode = inode_of(d, ino);
	if (inode)
		inode->ctime = ++d->ctime;
}

/* A name changed in it: its mtime moves to a time that no record has. */
static void touch_dir(struct disk *d, uint32_t dir)
{
	struct inode *inode = inode_of(d, dir);
	inode->now.mtime = -(int64_t)++d->ctime;
	inode->ctime = d->ctime;
	inode->dirty = true;
}

uint32_t disk_create(struct disk *d, uint32_t dir, uint32_t name, const struct disk_attrs *attrs)
{
	struct inode *inode = inode_new(d);
	uint32_t ino = inode->ino;
	inode->now = *attrs;
	/* A directory or link is nothing but its inode, which its name brings along. */
	inode->safe = *attrs;
	if (attrs->kind == RECORD_FILE)
		inode->safe.content = CONTENT_TORN;
	inode->dirty = attrs->kind == RECORD_FILE;
	set_name(d, new_change(d), dir, name, ino);
	touch(d, ino);
	touch_dir(d, dir);
	return ino;
}

void disk_set(struct disk *d, uint32_t ino, const struct disk_attrs *attrs)
{
	struct inode *inode = inode_of(d, ino);
	inode->now = *attrs;
	inode->dirty = true;
	touch(d, ino);
}

void disk_unlink(struct disk *d, uint32_t dir, uint32_t name)
{
	touch(d, disk_lookup(d, dir, name));
	set_name(d, new_change(d), dir, name, 0);
	touch_dir(d, dir);
}

void disk_rename(struct disk *d, uint32_t from, uint32_t name, uint32_t to, uint32_t to_name)
{
	uint32_t ino = disk_lookup(d, from, name);
	struct disk_change *change = new_change(d);
	touch(d, disk_lookup(d, to, to_name));
	set_name(d, change, from, name, 0);
	set_name(d, change, to, to_name, ino);
	touch(d, ino);
	touch_dir(d, from);
	touch_dir(d, to);
}

void disk_exchange(struct disk *d, uint32_t a, uint32_t a_name, uint32_t b, uint32_t b_name)
{
	uint32_t from_a = disk_lookup(d, a, a_name), from_b = disk_lookup(d, b, b_name);
	struct disk_change *change = new_change(d);
	set_name(d, change, a, a_name, from_b);
	set_name(d, change, b, b_name, from_a);
	touch(d, from_a);
	touch(d, from_b);
	touch_dir(d, a);
	touch_dir(d, b);
}

/* ---- durability ----------------------------------------------------------------------------- */

static void make_safe(struct disk *d, const struct disk_change *change)
{
	for (int i = 0; i < change->n; i++) {
		struct inode *dir = inode_of(d, change->set[i].dir);
		if (dir)
			names_set(&dir->safe_names, change->set[i].name, change->set[i].ino);
	}
}

static bool share_a_name(const struct disk_change *a, const struct disk_change *b)
{
	for (int i = 0; i < a->n; i++) {
		for (int k = 0; k < b->n; k++) {
			if (a->set[i].dir == b->set[k].dir && a->set[i].name == b->set[k].name)
				return true;
		}
	}
	return false;
}

static bool touches(const struct disk_change *change, uint32_t dir)
{
	return change->set[0].dir == dir || (change->n > 1 && change->set[1].dir == dir);
}

/* What is needed becomes safe, in order; the rest stays. */
static void settle_changes(struct disk *d, const bool *needed)
{
	size_t kept = 0;
	for (size_t i = 0; i < d->n_changes; i++) {
		if (needed[i])
			make_safe(d, &d->changes[i]);
		else
			d->changes[kept++] = d->changes[i];
	}
	d->n_changes = kept;
}

static void sync_names(struct disk *d, uint32_t dir)
{
	bool needed[CHANGES_MAX];
	for (size_t i = d->n_changes; i-- > 0;) {
		needed[i] = touches(&d->changes[i], dir);
		for (size_t k = i + 1; !needed[i] && k < d->n_changes; k++)
			needed[i] = needed[k] && share_a_name(&d->changes[i], &d->changes[k]);
	}
	settle_changes(d, needed);
}

void disk_sync(struct disk *d, uint32_t ino)
{
	struct inode *inode = inode_of(d, ino);
	if (!inode)
		return;
	inode->safe = inode->now;
	inode->dirty = false;
	if (inode->now.kind == RECORD_DIR)
		sync_names(d, ino);
}

void disk_sync_all(struct disk *d)
{
	for (size_t i = 0; i < d->n_changes; i++)
		make_safe(d, &d->changes[i]);
	d->n_changes = 0;
	for (uint32_t i = 1; i < SLOTS; i++) {
		struct inode *inode = &d->inodes[i];
		if (inode->ino && inode->dirty)
			inode->safe = inode->now;
		inode->dirty = false;
	}
}

/* No file system keeps what was put into a directory and forgets the directory. */
static bool makes_dir_of(const struct disk_change *earlier, const struct disk_change *change)
{
	for (int i = 0; i < earlier->n; i++) {
		for (int k = 0; k < change->n; k++) {
			if (earlier->set[i].ino == change->set[k].dir)
				return true;
		}
	}
	return false;
}

static void crash_names(struct disk *d, struct random *random)
{
	bool lost[CHANGES_MAX];
	uint32_t survive = random_below(random, 3) * 500; /* none, half, all */
	for (size_t i = 0; i < d->n_changes; i++) {
		lost[i] = !random_chance(random, survive);
		for (size_t k = 0; !lost[i] && k < i; k++)
			lost[i] = lost[k] && (share_a_name(&d->changes[i], &d->changes[k]) ||
					      makes_dir_of(&d->changes[k], &d->changes[i]));
		if (!lost[i])
			make_safe(d, &d->changes[i]);
	}
	d->n_changes = 0;
}

void disk_crash(struct disk *d, struct random *random, uint64_t (*torn)(void *arg), void *arg)
{
	crash_names(d, random);
	for (uint32_t i = 1; i < SLOTS; i++) {
		struct inode *inode = &d->inodes[i];
		if (!inode->ino)
			continue;
		uint32_t fate = inode->dirty ? random_below(random, 3) : 0;
		if (fate == 1)
			inode->safe = inode->now;
		else if (fate == 2 && inode->safe.content != inode->now.content)
			inode->safe.content = CONTENT_TORN;
		if (inode->safe.content == CONTENT_TORN)
			inode->safe.content = torn(arg);
		inode->now = inode->safe;
		inode->dirty = false;
		inode->ctime = inode->ctime ? inode->ctime : 1;
		names_copy(&inode->names, &inode->safe_names);
	}
	collect(d);
}
