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
#include "agent/sync/scan_private.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "agent/sync/current.h"
#include "protocol/relpath.h"

#define SLICE_ENTRIES 20000 /* per step: some 50 ms */

/* ---- looking at one entry ------------------------------------------------------------------- */

static const struct root *root_standing_at(const struct tree *tree, const char *path)
{
	for (size_t i = 1; i < tree->n; i++) {
		if (strcmp(tree->roots[i].at, path) == 0)
			return &tree->roots[i];
	}
	return NULL;
}

/* Of an entry without a stat the profile is asked for either kind: an alarm over what nobody wants
 * is none. */
static enum profile_verdict judge(const struct scan *s, const struct listing_entry *entry)
{
	enum profile_verdict verdict =
		profile_verdict(s->profile, s->key, S_ISDIR(entry->stat.mode));
	if (verdict == PROFILE_LEAVE && entry->error)
		verdict = profile_verdict(s->profile, s->key, true);
	return verdict;
}

/* The process lacks something: that says nothing about the tree. */
static bool is_starvation(int error)
{
	return error == EMFILE || error == ENFILE || error == ENOMEM;
}

/* @param why  NULL: what the error says */
static void cannot_look(struct scan *s, const char *path, int error, const char *why)
{
	char text[80];
	s->counts.starved += is_starvation(error);
	scan_unreadable(s, path, why ? why : strerror_r(error, text, sizeof(text)));
}

/* Could it be looked at at all? Counts and covers it if not. */
static bool is_visible(struct scan *s, const struct listing_entry *entry)
{
	if (entry->is_mount || entry->error == EXDEV) {
		scan_foreign_mount(s, s->key);
		return false;
	}
	if (entry->error) {
		const struct root *root = root_standing_at(s->tree, s->key);
		if (root && !root->healthy)
			scan_cover(s, s->key); /* reported as a root, not here */
		else
			cannot_look(s, s->key, entry->error, NULL);
		return false;
	}
	return true;
}

static bool is_kept(const struct index_entry *row)
{
	return row && !entry_is_live(row) && row->flags & ENTRY_KEPT;
}

static bool differs(const struct scan *s, const struct index_entry *row,
		    const struct listing_entry *entry, enum profile_verdict verdict)
{
	bool is_dir = S_ISDIR(entry->stat.mode);
	if (verdict == PROFILE_COMPARE)
		return !is_dir || entry_is_live(row); /* fingerprints are not in the index */
	if (is_dir && is_kept(row))
		return false;
	return file_is_suspect(&entry->stat, s->vouched_ns) ||
	       !entry_is_current(row, &entry->stat, verdict);
}

/* The deletion of what nobody replicates any longer. */
static bool is_buried_in_vain(const struct scan *s, const struct index_entry *row)
{
	return row && row->rec.kind == RECORD_ABSENT &&
	       !profile_may_replicate(s->profile, row->rec.path);
}

/* It is not, or no longer, ours to send: if it is indexed, capture will say what becomes of that.
 */
static void leave_out(struct scan *s, const struct index_entry *row)
{
	if (!entry_is_live(row) && !is_buried_in_vain(s, row))
		return;
	scan_report_present(s, s->key);
	scan_cover(s, s->key);
}

static void visit_wanted(struct scan *s, struct level *level, uint32_t i,
			 const struct index_entry *row, enum profile_verdict verdict)
{
	const struct listing_entry *entry = &level->list.entries[i];
	if (verdict == PROFILE_REPLICATE && (entry->stat.mode & (S_ISUID | S_ISGID))) {
		s->counts.setid++;
		odd_add(&s->setid, s->key);
	}
	if (S_ISDIR(entry->stat.mode))
		level->entering[i] = is_kept(row) ? ENTER_OWED : ENTER;
	if (!differs(s, row, entry, verdict))
		return;
	scan_report_present(s, s->key);
	if (entry_is_live(row) && row->rec.kind == RECORD_DIR && !S_ISDIR(entry->stat.mode))
		scan_cover(s, s->key); /* what was beneath went with it */
}

/* @param row  of the index at this very path, or NULL */
static void visit(struct scan *s, struct level *level, uint32_t i, const struct index_entry *row)
{
	const struct listing_entry *entry = &level->list.entries[i];
	s->counts.entries++;
	enum profile_verdict verdict = judge(s, entry);
	if (verdict == PROFILE_LEAVE) {
		leave_out(s, row);
	} else if (s->key_len > PATH_LEN_MAX) {
		s->counts.too_long++;
		scan_first(&s->counts.too_long_first, s->key, "its path is too long");
	} else if (!is_visible(s, entry)) {
		return;
	} else if (current_kind(entry->stat.mode) == RECORD_ABSENT) {
		s->counts.special++;
		odd_add(&s->special, s->key);
		leave_out(s, row);
	} else {
		visit_wanted(s, level, i, row, verdict);
	}
}

/* ---- entering a directory ------------------------------------------------------------------- */

/* Between its listing and now it went away or became something else: capture will see which. */
static void report_vanished(struct scan *s, const char *path)
{
	if (tree_leads_to_root(s->tree, path)) {
		scan_unreadable(s, path, "a followed directory stands beneath it");
		return;
	}
	scan_report(s, path);
	scan_cover(s, path);
	s->missed = true;
}

static void list_level(struct scan *s, const char *path, int fd, bool is_owed)
{
	struct err err = {0};
	struct level *level = level_push(s, path);
	level->is_owed = is_owed;
	s->counts.directories++;
	int r = listing_read(&level->list, fd, &err);
	if (r < 0)
		cannot_look(s, path, -r, err.msg);
	level_put_roots(s, level);
	level_sort(level);
}

static void enter(struct scan *s, bool is_owed)
{
	const char *sub;
	AUTO_FREE char *path = x_strndup(s->key, s->key_len - (s->key_len > 0)); /* no slash */
	const struct root *root = tree_resolve(s->tree, path, &sub);
	AUTO_CLOSE int fd = root_open(root, sub, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
	if (fd >= 0)
		list_level(s, path, fd, is_owed);
	else if (errno_is_absence(fd))
		report_vanished(s, path);
	else if (fd == -EXDEV)
		scan_foreign_mount(s, path);
	else
		cannot_look(s, path, -fd, NULL);
}

/* ---- the merge ------------------------------------------------------------------------------ */

static bool is_ours(const char *name)
{
	return strcmp(name, RELPATH_OWN_DIR) == 0;
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
	if (scan_is_covered(s, path) || !is_in_healthy_root(s, path))
		return;
	if (!entry_is_live(s->row)) {
		if (is_buried_in_vain(s, s->row))
			scan_report(s, path);
		return;
	}
	if (s->row->rec.kind == RECORD_DIR) {
		report_vanished(s, path);
		return;
	}
	scan_report(s, path);
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
	struct level *level = scan_next_place(s);
	int order = 1; /* of the row against the place */
	if (!level && !s->row)
		return 0;
	if (level && s->row)
		order = strcmp(s->row->rec.path, s->key);
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
		scan_drop_findings(s);
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

void scan_suspect(struct scan *s, int64_t vouched_ns)
{
	s->vouched_ns = vouched_ns;
}

const struct scan_counts *scan_counts(const struct scan *s)
{
	return &s->counts;
}

void scan_take_odd(struct scan *s, struct odd *special, struct odd *setid)
{
	odd_move(special, &s->special);
	odd_move(setid, &s->setid);
}

void scan_free(struct scan *s)
{
	if (!s)
		return;
	odd_release(&s->special);
	odd_release(&s->setid);
	scan_drop_findings(s);
	while (s->n_levels > 0)
		level_release(&s->levels[--s->n_levels]);
	while (s->n_covered > 0)
		free(s->covered[--s->n_covered]);
	free(s->levels);
	free(s->covered);
	free(s->top);
	free(s);
}
