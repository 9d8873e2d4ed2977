/* scan.c - one merge of two sorted streams: what the tree has and what the index has, both in the
 * byte order of whole paths.
 *
 * That order is not the order of a walk: "a", "a-b", "a/c" are sorted, since '-' comes before '/'.
 * So a directory stands twice among its siblings: as NAME, where it is compared, and as NAME/,
 * where it is entered; sorting these keys gives exactly the order of the index, with one directory
 * per level in memory.
 *
 *   listing of "":   a (dir)  a-b  b         keys: "a"  "a-b"  "a/" -> enter  "b"
 *   index:           a  a-b  a/c  b
 *
 * An index row that the walk has passed without meeting it is missing. Nothing is concluded from a
 * place that could not be looked at: it is `covered`, and rows beneath it are passed over. A
 * directory that is gone is reported and covered too, since who acts on it acts on all beneath it.
 */
#include "agent/sync/scan.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "agent/base/quote.h"
#include "agent/fs/listing.h"
#include "agent/sync/current.h"
#include "protocol/relpath.h"

#define SLICE_ENTRIES 20000		/* per step: some 50 ms */
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
	struct scan_counts counts;
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

/* ---- results -------------------------------------------------------------------------------- */

static void report(struct scan *s, const char *path)
{
	GROW(s->found, s->found_cap, s->n_found + 1);
	s->found[s->n_found++] = x_strdup(path);
}

static void report_ancestors(struct scan *s)
{
	for (const char *end = s->top; *end; end++) {
		if (end != s->top && *end != '/')
			continue;
		AUTO_FREE char *path = x_strndup(s->top, (size_t)(end - s->top));
		struct index_entry entry;
		int r = store_get(s->store, path, &entry, NULL);
		if (r == 0 ? !entry_is_live(&entry) : r == -ENOENT)
			report(s, path);
		if (r == 0)
			index_entry_release(&entry);
	}
}

/* Something that is there; what is owed comes before it. */
static void report_present(struct scan *s, const char *path)
{
	for (size_t i = 0; i < s->n_levels; i++) {
		if (s->levels[i].is_owed && i == 0)
			report_ancestors(s);
		else if (s->levels[i].is_owed)
			report(s, s->levels[i].path);
		s->levels[i].is_owed = false;
	}
	report(s, path);
}

static void remember(char out[192], const char *path, const char *why)
{
	char q[QUOTED_MAX];
	if (!*out)
		snprintf(out, 192, "%.120s: %.60s", quote_path(q, path), why);
}

/* ---- what is not to be concluded from ------------------------------------------------------- */

static void uncover_up_to(struct scan *s, const char *path)
{
	while (s->n_covered > 0) {
		const char *last = s->covered[s->n_covered - 1];
		if (strncmp(last, path, strlen(last)) == 0)
			break;
		free(s->covered[--s->n_covered]);
	}
}

static void cover(struct scan *s, const char *path)
{
	uncover_up_to(s, path);
	GROW(s->covered, s->covered_cap, s->n_covered + 1);
	s->covered[s->n_covered++] = x_strdup(path);
}

static bool is_covered(struct scan *s, const char *path)
{
	uncover_up_to(s, path);
	for (size_t i = 0; i < s->n_covered; i++) {
		if (relpath_is_within(path, s->covered[i]))
			return true;
	}
	return false;
}

static void unreadable(struct scan *s, const char *path, const char *why)
{
	s->counts.unreadable++;
	remember(s->counts.first_unreadable, path, why);
	cover(s, path);
}

static void foreign_mount(struct scan *s, const char *path)
{
	s->counts.foreign_mounts++;
	remember(s->counts.first_mount, path,
		 "a mount that is not in `follow`: add it there or leave it out");
	cover(s, path);
}

/* A followed directory whose way is gone is not a deleted one. */
static bool leads_to_root(const struct tree *tree, const char *path)
{
	for (size_t i = 1; i < tree->n; i++) {
		if (relpath_is_within(tree->roots[i].at, path))
			return true;
	}
	return false;
}

/* ---- levels --------------------------------------------------------------------------------- */

static void level_release(struct level *level)
{
	listing_release(&level->list);
	free(level->path);
	free(level->keys);
	free(level->entering);
}

static struct level *level_push(struct scan *s, const char *path)
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

static void level_sort(struct level *level)
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
static void put_roots(struct scan *s, struct level *level)
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

/* ---- looking at one entry ------------------------------------------------------------------- */

static const struct root *root_standing_at(const struct tree *tree, const char *path)
{
	for (size_t i = 1; i < tree->n; i++) {
		if (strcmp(tree->roots[i].at, path) == 0)
			return &tree->roots[i];
	}
	return NULL;
}

/* Could it be looked at at all? Counts and covers it if not. */
static bool is_visible(struct scan *s, const struct listing_entry *entry)
{
	char why[80];
	if (s->key_len > PATH_LEN_MAX) {
		s->counts.too_long++;
		return false;
	}
	if (entry->is_mount || entry->error == EXDEV) {
		foreign_mount(s, s->key);
		return false;
	}
	if (entry->error) {
		const struct root *root = root_standing_at(s->tree, s->key);
		if (root && !root->healthy)
			cover(s, s->key); /* reported as a root, not here */
		else
			unreadable(s, s->key, strerror_r(entry->error, why, sizeof(why)));
		return false;
	}
	return true;
}

/* What the profile does not want, or nobody can send. @return true when it goes no further */
static bool is_left_out(struct scan *s, const struct listing_entry *entry,
			enum profile_verdict verdict, bool indexed)
{
	bool special = current_kind(entry->stat.mode) == RECORD_ABSENT;
	if (verdict != PROFILE_LEAVE && special)
		s->counts.special++;
	if (verdict != PROFILE_LEAVE && !special)
		return false;
	if (indexed) {
		report_present(s, s->key);
		cover(s, s->key);
	}
	return true;
}

static bool is_kept(const struct index_entry *row)
{
	return row && !entry_is_live(row) && row->flags & ENTRY_KEPT;
}

static bool differs(const struct index_entry *row, const struct listing_entry *entry,
		    enum profile_verdict verdict)
{
	bool is_dir = S_ISDIR(entry->stat.mode);
	if (verdict == PROFILE_COMPARE)
		return !is_dir || entry_is_live(row); /* fingerprints are not in the index */
	if (is_dir && is_kept(row))
		return false;
	return !entry_is_current(row, &entry->stat, verdict);
}

/* @param row  of the index at this very path, or NULL */
static void visit(struct scan *s, struct level *level, uint32_t i, const struct index_entry *row)
{
	const struct listing_entry *entry = &level->list.entries[i];
	s->counts.entries++;
	if (!is_visible(s, entry))
		return;
	bool is_dir = S_ISDIR(entry->stat.mode);
	enum profile_verdict verdict = profile_judge(s->profile, s->key, is_dir).verdict;
	if (is_left_out(s, entry, verdict, entry_is_live(row)))
		return;
	if (is_dir)
		level->entering[i] = is_kept(row) ? ENTER_OWED : ENTER;
	if (differs(row, entry, verdict))
		report_present(s, s->key);
}

/* ---- entering a directory ------------------------------------------------------------------- */

/* Between its listing and now it went away or became something else: capture will see which. */
static void report_vanished(struct scan *s, const char *path)
{
	if (leads_to_root(s->tree, path)) {
		unreadable(s, path, "a followed directory stands beneath it");
		return;
	}
	report(s, path);
	cover(s, path);
	s->missed = true;
}

static void list_level(struct scan *s, const char *path, int fd, bool is_owed)
{
	struct err err = {0};
	struct level *level = level_push(s, path);
	level->is_owed = is_owed;
	s->counts.directories++;
	if (listing_read(&level->list, fd, &err) < 0)
		unreadable(s, path, err.msg);
	put_roots(s, level);
	level_sort(level);
}

static void enter(struct scan *s, bool is_owed)
{
	char why[80];
	const char *sub;
	AUTO_FREE char *path = x_strndup(s->key, s->key_len - (s->key_len > 0)); /* no slash */
	const struct root *root = tree_resolve(s->tree, path, &sub);
	AUTO_CLOSE int fd = root_open(root, sub, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
	if (fd >= 0)
		list_level(s, path, fd, is_owed);
	else if (errno_is_absence(fd))
		report_vanished(s, path);
	else if (fd == -EXDEV)
		foreign_mount(s, path);
	else
		unreadable(s, path, strerror_r(-fd, why, sizeof(why)));
}

/* ---- the merge ------------------------------------------------------------------------------ */

static bool is_ours(const char *name)
{
	return strcmp(name, RELPATH_OWN_DIR) == 0;
}

/* Puts the path of the next place of the walk into s->key. @return NULL at the end */
static struct level *next_place(struct scan *s)
{
	while (s->n_levels > 0) {
		struct level *level = &s->levels[s->n_levels - 1];
		if (level->next < level->n)
			return level;
		if (s->n_levels == 1)
			return NULL; /* levels[0] stays, for report_present() */
		level_release(level);
		s->n_levels--;
	}
	return NULL;
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

static void set_passed(struct scan *s, const char *path)
{
	size_t len = strlen(path);
	BUG_ON(len >= sizeof(s->passed));
	memcpy(s->passed, path, len + 1);
	s->has_passed = true;
}

static int advance_row(struct scan *s, struct err *err)
{
	int r;
	while ((r = store_cursor_next(s->cursor, &s->row, err)) > 0) {
		/* "top-x" lies between "top" and "top/x". */
		if (relpath_is_within(s->row->rec.path, s->top) &&
		    (!s->has_passed || strcmp(s->row->rec.path, s->passed) > 0))
			return 0;
	}
	s->row = NULL;
	return r;
}

static bool is_in_healthy_root(const struct scan *s, const char *path)
{
	const char *sub;
	return tree_resolve(s->tree, path, &sub)->healthy;
}

static void miss_row(struct scan *s)
{
	const char *path = s->row->rec.path;
	if (!entry_is_live(s->row) || is_covered(s, path) || !is_in_healthy_root(s, path))
		return;
	if (s->row->rec.kind == RECORD_DIR) {
		report_vanished(s, path);
		return;
	}
	report(s, path);
	s->missed = true;
}

/* Deals with the next place of the walk. @param row  at this very path, or NULL */
static void take_place(struct scan *s, struct level *level, const struct index_entry *row)
{
	struct key key = level->keys[level->next++];
	if (is_ours(listing_name(&level->list, key.entry)))
		return;
	if (!key.enter)
		visit(s, level, key.entry, row);
	else if (level->entering[key.entry] != STAY_OUT)
		enter(s, level->entering[key.entry] == ENTER_OWED);
}

/* @return 1 when there is more, 0 at the end, negative errno */
static int merge_one(struct scan *s, struct err *err)
{
	struct level *level = next_place(s);
	int order = 1; /* of the row against the place */
	if (level) {
		build_key(s, level);
		order = s->row ? strcmp(s->row->rec.path, s->key) : 1;
	} else if (!s->row) {
		return 0;
	}
	if (!level || order < 0) {
		miss_row(s);
		set_passed(s, s->row->rec.path);
		int r = advance_row(s, err);
		return r < 0 ? r : 1;
	}
	bool same = order == 0 && !level->keys[level->next].enter;
	set_passed(s, s->key);
	take_place(s, level, same ? s->row : NULL);
	int r = same ? advance_row(s, err) : 0;
	return r < 0 ? r : 1;
}

/* ---- steps ---------------------------------------------------------------------------------- */

/* A cursor sees one snapshot and holds back the database's clean-up: one per step. */
static int open_rows(struct scan *s, struct err *err)
{
	AUTO_FREE char *end = *s->top ? x_asprintf("%s%c", s->top, '/' + 1) : x_strdup("");
	int r = store_cursor_open(&s->cursor, s->store, s->has_passed ? s->passed : s->top, end,
				  err);
	return r < 0 ? r : advance_row(s, err);
}

static int merge_slice(struct scan *s, size_t max, struct err *err)
{
	int r = open_rows(s, err);
	for (size_t n = 0; r >= 0 && n < SLICE_ENTRIES && s->n_found < max; n++) {
		r = merge_one(s, err);
		if (r == 0) {
			s->is_done = true;
			break;
		}
	}
	store_cursor_free(s->cursor);
	s->cursor = NULL;
	s->row = NULL;
	return r;
}

/* In a directory that was unmounted or swapped under us everything is missing. */
static int check_root(struct scan *s, struct err *err)
{
	char why[ROOT_WHY_MAX];
	const char *sub;
	const struct root *root = tree_resolve(s->tree, s->top, &sub);
	if (root->healthy && (!s->missed || root_verify(root, why) == 0))
		return 0;
	if (!root->healthy)
		root_why(root, why);
	return err_set(err, -ESTALE, "%.120s is lost: %.100s", root->location, why);
}

static void drop_found(struct scan *s)
{
	for (size_t i = 0; i < s->n_found; i++)
		free(s->found[i]);
	free(s->found);
	s->found = NULL;
	s->n_found = s->found_cap = 0;
}

int scan_step(struct scan *s, size_t max, char ***paths, size_t *n, struct err *err)
{
	*paths = NULL;
	*n = 0;
	if (s->is_done)
		return 0;
	s->missed = false;
	int r = merge_slice(s, max, err);
	if (r >= 0) {
		int lost = check_root(s, err);
		r = lost < 0 ? lost : r;
	}
	if (r < 0) {
		drop_found(s);
		s->is_done = true;
		return r;
	}
	*n = s->n_found;
	*paths = STEAL(s->found);
	s->n_found = s->found_cap = 0;
	return !s->is_done;
}

int scan_begin(struct scan **out, struct tree *tree, struct store *store,
	       const struct profile *profile, const char *top, struct err *err)
{
	const char *sub, *wrong = relpath_wrong(top, strlen(top), true);
	struct stat st = {0};
	struct file_stat stat;
	if (wrong)
		return err_set(err, -EINVAL, "cannot scan a path that %s", wrong);
	const struct root *root = tree_resolve(tree, top, &sub);
	if (!root->healthy)
		return err_set(err, -ESTALE, "%.200s is not healthy", root->location);
	struct scan *s = x_calloc(1, sizeof(*s));
	s->tree = tree;
	s->store = store;
	s->profile = profile;
	s->top = x_strdup(top);
	struct level *level = level_push(s, "");
	level->is_owed = *top;
	int r = root_stat(root, sub, &st);
	file_stat_from(&stat, &st);
	if (r == 0 || !errno_is_absence(r))
		listing_put(&level->list, top, &stat, -r);
	level_sort(level);
	*out = s;
	return 0;
}

const struct scan_counts *scan_counts(const struct scan *s)
{
	return &s->counts;
}

void scan_free(struct scan *s)
{
	if (!s)
		return;
	drop_found(s);
	while (s->n_levels > 0)
		level_release(&s->levels[--s->n_levels]);
	while (s->n_covered > 0)
		free(s->covered[--s->n_covered]);
	free(s->levels);
	free(s->covered);
	free(s->top);
	free(s);
}
