#include "agent/sync/capture_private.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "agent/sync/current.h"
#include "protocol/relpath.h"

/* ---- whose business it is ------------------------------------------------------------------- */

static bool is_replicated(struct profile_judgement judgement)
{
	return judgement.verdict == PROFILE_REPLICATE || judgement.verdict == PROFILE_PASSAGE;
}

/* Does the profile still want what is indexed? */
static bool wants_indexed(const struct look *look)
{
	return is_replicated(profile_judge(look->env->profile, look->item->path,
					   look->old.rec.kind == RECORD_DIR));
}

static bool wants_anything(const struct look *look)
{
	const struct profile *profile = look->env->profile;
	const char *path = look->item->path;
	return profile_verdict(profile, path, false) != PROFILE_LEAVE ||
	       profile_verdict(profile, path, true) != PROFILE_LEAVE;
}

/* ---- absence -------------------------------------------------------------------------------- */

/* What is indexed here is not here any longer. GONE is still to be confirmed by the root. */
static enum capture_outcome judge_gone(struct look *look)
{
	if (!wants_indexed(look))
		return CAPTURE_DROPPED;
	if (!*look->sub || tree_leads_to_root(look->env->tree, look->item->path))
		return capture_why(look->item, CAPTURE_UNREADABLE,
				   "a followed directory stands at or beneath it");
	return CAPTURE_GONE;
}

/* A tombstone that the profile leaves out would be offered to peers that refuse it, for ever. */
static enum capture_outcome judge_unindexed(struct look *look)
{
	bool left_out =
		look->buried && !profile_may_replicate(look->env->profile, look->item->path);
	return left_out ? CAPTURE_DROPPED : CAPTURE_NOTHING;
}

static enum capture_outcome judge_absent(struct look *look)
{
	return look->live ? judge_gone(look) : judge_unindexed(look);
}

static enum capture_outcome judge_unreadable(struct look *look, int error)
{
	char why[ROOT_WHY_MAX], text[80];
	if (look->live ? !wants_indexed(look) : !wants_anything(look))
		return look->live ? CAPTURE_DROPPED : CAPTURE_NOTHING;
	if (!look->root->healthy)
		return capture_why(look->item, CAPTURE_UNREADABLE, "%.150s",
				   root_why(look->root, why));
	if (error == EXDEV)
		return capture_why(look->item, CAPTURE_UNREADABLE,
				   "lies on a mount that is not in `follow`");
	return capture_why(look->item, CAPTURE_UNREADABLE, "%s",
			   strerror_r(error, text, sizeof(text)));
}

/* ---- presence ------------------------------------------------------------------------------- */

/* Where this node's own copy is as it was installed, the record keeps the source's values: an owner
 * that is not preserved or a time that was moved on is no change of the file's. */
static void keep_source_values(struct look *look)
{
	const struct file_stat *then = &look->old.inst, *now = &look->now;
	const struct record *old = &look->old.rec;
	struct record *rec = &look->item->entry.rec;
	if (!look->live || old->kind != rec->kind || then->mode == 0)
		return;
	if (then->mode == now->mode)
		rec->mode = old->mode;
	if (then->uid == now->uid && then->gid == now->gid) {
		rec->uid = old->uid;
		rec->gid = old->gid;
	}
	if (then->mtime_ns == now->mtime_ns)
		rec->mtime_ns = old->mtime_ns;
}

/* For the brakes: what a new version costs. A file that gives way to a link or a directory is as
 * lost as one that is deleted. */
static void weigh(struct look *look)
{
	const struct record *old = &look->old.rec, *rec = &look->item->entry.rec;
	if (!look->live)
		return;
	bool was_file = old->kind == RECORD_FILE, is_file = rec->kind == RECORD_FILE;
	look->item->loses = (old->kind == RECORD_DIR && rec->kind != RECORD_DIR) ||
			    (was_file && !is_file) || (was_file && rec->size == 0 && old->size > 0);
	look->item->rewrites =
		was_file && !look->item->loses && memcmp(old->hash, rec->hash, HASH_LEN) != 0;
}

/* What was read against what is indexed. */
static enum capture_outcome judge_read(struct look *look)
{
	struct index_entry *entry = &look->item->entry;
	bool with_owner = look->env->policy.ownership == OWNERSHIP_PRESERVE;
	keep_source_values(look);
	if (!look->live || !record_equal(&look->old.rec, &entry->rec, with_owner)) {
		weigh(look);
		return CAPTURE_CHANGED;
	}
	unsigned racy = entry->flags;
	entry->flags = (look->old.flags & ~(unsigned)ENTRY_RACY) | racy;
	entry->rec.epoch = look->old.rec.epoch;
	entry->rec.seq = look->old.rec.seq;
	bool stored =
		entry->flags == look->old.flags && file_stat_equal(&look->old.inst, &entry->inst);
	return stored ? CAPTURE_NOTHING : CAPTURE_SAME;
}

static enum capture_outcome read_kind(struct look *look)
{
	switch (current_kind(look->st.st_mode)) {
	case RECORD_FILE: return capture_read_file(look);
	case RECORD_DIR: return capture_read_dir(look);
	case RECORD_SYMLINK: return capture_read_symlink(look);
	default: return CAPTURE_SPECIAL;
	}
}

static enum capture_outcome capture_compared(struct look *look)
{
	look->judgement.attributes = 0; /* a broken one has a fingerprint too */
	enum capture_outcome outcome = read_kind(look);
	return outcome == CAPTURE_CHANGED ? CAPTURE_COMPARED : outcome;
}

static enum capture_outcome capture_wanted(struct look *look)
{
	if (!look->item->force_read && look->live &&
	    !file_is_suspect(&look->now, look->item->vouched_ns) &&
	    entry_is_current(&look->old, &look->now, look->judgement.verdict))
		return CAPTURE_NOTHING;
	bool was_dir = look->live && look->old.rec.kind == RECORD_DIR;
	if (was_dir && !S_ISDIR(look->st.st_mode) &&
	    tree_leads_to_root(look->env->tree, look->item->path))
		return capture_why(look->item, CAPTURE_UNREADABLE,
				   "a followed directory stood beneath it");
	enum capture_outcome outcome = read_kind(look);
	return outcome == CAPTURE_CHANGED ? judge_read(look) : outcome;
}

static enum capture_outcome judge_present(struct look *look)
{
	bool is_dir = S_ISDIR(look->st.st_mode);
	bool special = current_kind(look->st.st_mode) == RECORD_ABSENT;
	look->judgement = profile_judge(look->env->profile, look->item->path, is_dir);
	look->item->special = special && look->judgement.verdict != PROFILE_LEAVE;
	look->item->setid = !special && is_replicated(look->judgement) &&
			    (look->st.st_mode & (S_ISUID | S_ISGID));
	if (is_replicated(look->judgement) && !special)
		return capture_wanted(look);
	if (look->live)
		return judge_gone(look);
	if (look->judgement.verdict == PROFILE_LEAVE)
		return judge_unindexed(look);
	if (special)
		return CAPTURE_SPECIAL;
	return is_dir ? CAPTURE_NOTHING : capture_compared(look);
}

/* ---- one item ------------------------------------------------------------------------------- */

static enum capture_outcome look_and_judge(struct look *look)
{
	int r = root_stat(look->root, look->sub, &look->st);
	if (r == 0) {
		file_stat_from(&look->now, &look->st);
		return judge_present(look);
	}
	return errno_is_absence(r) ? judge_absent(look) : judge_unreadable(look, -r);
}

static bool has_entry(enum capture_outcome outcome)
{
	return outcome == CAPTURE_CHANGED || outcome == CAPTURE_SAME || outcome == CAPTURE_COMPARED;
}

/* What the index has at a path. */
struct known {
	struct index_entry entry;
	int result;
	struct err err;
};

static struct known *look_up(struct store *store, const struct capture_item *items, size_t n)
{
	struct known *known = x_calloc(n, sizeof(*known));
	store_begin_reads(store);
	for (size_t i = 0; i < n; i++)
		known[i].result = store_get(store, items[i].path, &known[i].entry, &known[i].err);
	store_end_reads(store);
	return known;
}

/* @return the index in env->tree->roots of the root it lies in */
static size_t capture_one(const struct capture_env *env, struct capture_item *item,
			  struct known *known)
{
	struct look look = {.env = env, .item = item, .old = known->entry};
	int r = known->result;
	item->why[0] = '\0';
	item->special = item->setid = false;
	look.root = tree_resolve(env->tree, item->path, &look.sub);
	look.live = r == 0 && look.old.rec.kind != RECORD_ABSENT;
	look.buried = r == 0 && !look.live;
	if (r < 0 && r != -ENOENT)
		item->outcome = capture_why(item, CAPTURE_UNREADABLE, "%.150s", known->err.msg);
	else
		item->outcome = look_and_judge(&look);
	item->was_dir = look.live && look.old.rec.kind == RECORD_DIR;
	item->was_live = look.live;
	item->links_was = look.old.inst.nlink;
	item->file_was = S_ISREG(look.old.inst.mode) ? look.old.inst.ino : 0;
	if (!has_entry(item->outcome))
		index_entry_release(&item->entry);
	if (r == 0)
		index_entry_release(&look.old);
	return (size_t)(look.root - env->tree->roots);
}

/* ---- a run ---------------------------------------------------------------------------------- */

/* Asked after all absences were seen, so that a root lost at any time before is noticed. */
static void confirm_gone(const struct capture_env *env, struct capture_item *items,
			 const uint8_t *roots, size_t n)
{
	bool asked[ROOT_MAX] = {0};
	char why[ROOT_MAX][ROOT_WHY_MAX];
	for (size_t i = 0; i < n; i++) {
		size_t root = roots[i];
		if (items[i].outcome != CAPTURE_GONE)
			continue;
		if (!asked[root]) {
			asked[root] = true;
			if (root_verify(&env->tree->roots[root], why[root]) == 0)
				why[root][0] = '\0';
		}
		if (*why[root])
			items[i].outcome =
				capture_why(&items[i], CAPTURE_UNREADABLE, "%.150s", why[root]);
	}
}

static bool is_kept(const struct capture_env *env, const char *path)
{
	struct index_entry entry;
	if (store_get(env->store, path, &entry, NULL) < 0)
		return false;
	bool kept = entry.rec.kind == RECORD_ABSENT && entry.flags & ENTRY_KEPT;
	index_entry_release(&entry);
	return kept;
}

static bool has_change_beneath(const struct capture_item *items, size_t n, const char *dir)
{
	for (size_t i = 0; i < n; i++) {
		const char *path = items[i].path;
		if (items[i].outcome == CAPTURE_CHANGED && relpath_is_within(path, dir) &&
		    strcmp(path, dir) != 0)
			return true;
	}
	return false;
}

/* A directory that was deleted and stays because of files that are not ours comes back only with
 * one that is. From the last to the first: the reason may itself be such a directory. */
static void settle_kept(const struct capture_env *env, struct capture_item *items, size_t n)
{
	for (size_t i = n; i-- > 0;) {
		struct capture_item *item = &items[i];
		if (item->outcome != CAPTURE_CHANGED || item->entry.rec.kind != RECORD_DIR ||
		    !is_kept(env, item->path) || has_change_beneath(items, n, item->path))
			continue;
		item->outcome = CAPTURE_NOTHING;
		index_entry_release(&item->entry);
	}
}

void capture_run(const struct capture_env *env, struct capture_item *items, size_t n)
{
	AUTO_FREE uint8_t *roots = x_calloc(n, sizeof(*roots));
	AUTO_FREE struct known *known = look_up(env->store, items, n);
	for (size_t i = 0; i < n; i++)
		roots[i] = (uint8_t)capture_one(env, &items[i], &known[i]);
	confirm_gone(env, items, roots, n);
	settle_kept(env, items, n);
}

void capture_item_release(struct capture_item *item)
{
	index_entry_release(&item->entry);
	free(item->path);
	*item = (struct capture_item){0};
}

/* ---- parents -------------------------------------------------------------------------------- */

static bool is_live(const struct capture_env *env, const char *path)
{
	struct index_entry entry;
	if (store_get(env->store, path, &entry, NULL) < 0)
		return false;
	bool live = entry_is_live(&entry);
	index_entry_release(&entry);
	return live;
}

static int by_path(const void *a, const void *b)
{
	return strcmp(((const struct capture_item *)a)->path,
		      ((const struct capture_item *)b)->path);
}

/* Sorted: a path that is there twice is kept once, and read if either asks for it. */
static size_t drop_doubles(struct capture_item *items, size_t n)
{
	size_t kept = 0;
	for (size_t i = 0; i < n; i++) {
		if (kept > 0 && strcmp(items[kept - 1].path, items[i].path) == 0) {
			items[kept - 1].force_read |= items[i].force_read;
			if (items[kept - 1].vouched_ns == 0)
				items[kept - 1].vouched_ns = items[i].vouched_ns;
			capture_item_release(&items[i]);
		} else {
			items[kept++] = items[i];
		}
	}
	return kept;
}

void capture_add_parents(const struct capture_env *env, struct capture_item **items, size_t *n)
{
	size_t cap = *n, given = *n;
	for (size_t i = 0; i < given; i++) {
		AUTO_FREE char *path = x_strdup((*items)[i].path);
		while (*path) {
			path[relpath_parent_len(path)] = '\0';
			if (is_live(env, path)) /* and so are those above it */
				break;
			GROW(*items, cap, *n + 1);
			(*items)[(*n)++] = (struct capture_item){.path = x_strdup(path)};
		}
	}
	if (*n > 1)
		qsort(*items, *n, sizeof(**items), by_path);
	*n = drop_doubles(*items, *n);
}

/* ---- verify --deep -------------------------------------------------------------------------- */

static int different(char why[160], const char *what)
{
	snprintf(why, 160, "%s", what);
	return 1;
}

static int compare_read(const struct index_entry *entry, const struct index_entry *found,
			char why[160])
{
	const struct record *a = &entry->rec, *b = &found->rec;
	if (!record_same_content(a, b))
		return different(why, "content differs");
	if (entry->inst.mode && entry->inst.mode != found->inst.mode)
		return different(why, "mode differs");
	if (a->xattrs_len != b->xattrs_len ||
	    (a->xattrs_len > 0 && memcmp(a->xattrs, b->xattrs, a->xattrs_len) != 0))
		return different(why, "attributes or ACL differ");
	if (a->kind != RECORD_DIR && entry->inst.mode &&
	    entry->inst.mtime_ns != found->inst.mtime_ns)
		return different(why, "mtime differs");
	return 0;
}

static int verify_read(struct look *look, const struct index_entry *entry, char why[160])
{
	if (current_kind(look->st.st_mode) != entry->rec.kind)
		return different(why, "it is another kind of thing");
	file_stat_from(&look->now, &look->st);
	enum capture_outcome outcome = read_kind(look);
	if (outcome == CAPTURE_CHANGED)
		return compare_read(entry, &look->item->entry, why);
	snprintf(why, 160, "%s",
		 outcome == CAPTURE_AGAIN ? "it is being written" : look->item->why);
	return outcome == CAPTURE_AGAIN ? -EAGAIN : -EIO;
}

int capture_verify(const struct capture_env *env, const struct index_entry *entry, char why[160])
{
	struct capture_item item = {.path = x_strdup(entry->rec.path), .force_read = true};
	struct look look = {.env = env, .item = &item};
	char text[80];
	look.root = tree_resolve(env->tree, item.path, &look.sub);
	int r = root_stat(look.root, look.sub, &look.st);
	if (r == 0)
		r = verify_read(&look, entry, why);
	else if (errno_is_absence(r))
		r = different(why, "it is missing");
	else
		snprintf(why, 160, "%s", strerror_r(-r, text, sizeof(text)));
	capture_item_release(&item);
	return r;
}
