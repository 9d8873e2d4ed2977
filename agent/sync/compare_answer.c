/* compare_answer.c - on a worker: what one answer of the peer comes to. Their list is merged with
 * our index, their parts are compared with ours; what was found becomes durable. */
#include "agent/sync/compare_private.h"

#include <errno.h>
#include <string.h>

#include "protocol/messages.h"

static void add_difference(struct ask *ask, const char *path, const char *what)
{
	GROW(ask->differences, ask->cap_differences, ask->n_differences + 1);
	ask->differences[ask->n_differences++] =
		(struct difference){.path = x_strdup(path), .what = what};
}

static const char *what_differs(const struct record *ours, const struct record *theirs)
{
	if (ours->kind != theirs->kind)
		return "kind";
	if (!record_same_content(ours, theirs))
		return "content";
	if (ours->mode != theirs->mode)
		return "mode";
	if (ours->mtime_ns != theirs->mtime_ns)
		return "mtime";
	if (ours->xattrs_len != theirs->xattrs_len ||
	    (ours->xattrs_len > 0 && memcmp(ours->xattrs, theirs->xattrs, ours->xattrs_len) != 0))
		return "attributes";
	return "owner";
}

/* Notes that the peer has these bytes at this path, though not this version of the record: it will
 * be sent, as cheaply as that allows. */
static void note_theirs(struct ask *ask, const struct record *theirs)
{
	GROW(ask->rows, ask->cap_rows, ask->n_rows + 1);
	struct acked *row = &ask->rows[ask->n_rows++];
	*row = (struct acked){
		.path = x_strdup(theirs->path), .kind = theirs->kind, .size = theirs->size};
	memcpy(row->hash, theirs->hash, HASH_LEN);
}

/* Narrowing a profile never deletes: what it leaves out here is not missing here. */
static bool is_ours(const struct compare *c, const struct record *theirs)
{
	bool is_dir = theirs->kind == RECORD_DIR;
	enum profile_verdict verdict = profile_verdict(c->profile, theirs->path, is_dir);
	return verdict == PROFILE_REPLICATE || (is_dir && verdict == PROFILE_PASSAGE);
}

static void only_theirs(struct ask *ask, const struct record *theirs, bool tombstone)
{
	if (ask->compare->mode == COMPARE_LIST) {
		add_difference(ask, theirs->path, "missing here");
		return;
	}
	if (!is_ours(ask->compare, theirs))
		return;
	note_theirs(ask, theirs);
	if (!tombstone) {
		GROW(ask->tombstones, ask->cap_tombstones, ask->n_tombstones + 1);
		ask->tombstones[ask->n_tombstones++] = x_strdup(theirs->path);
	}
}

static void only_ours(struct ask *ask, const struct record *ours)
{
	if (ask->compare->mode == COMPARE_LIST) {
		add_difference(ask, ours->path, "missing there");
		return;
	}
	GROW(ask->unacks, ask->cap_unacks, ask->n_unacks + 1);
	ask->unacks[ask->n_unacks++] = x_strdup(ours->path);
}

static void both(struct ask *ask, const struct record *ours, const struct record *theirs,
		 bool owner)
{
	struct compare *c = ask->compare;
	struct acked have;
	bool equal = record_equal(ours, theirs, owner);
	if (c->mode == COMPARE_RECONCILE) {
		if (!equal || store_acked(c->store, c->peer, ours->path, &have, NULL) < 0)
			note_theirs(ask, theirs);
	} else if (!equal) {
		add_difference(ask, ours->path, what_differs(ours, theirs));
	}
}

/* An equal range: every record of it is there, even those for which no acknowledgement is noted. */
static int note_equal(struct ask *ask, const struct range *range)
{
	struct compare *c = ask->compare;
	AUTO(store_cursor) *cursor = NULL;
	const struct index_entry *entry;
	struct acked have;
	if (c->mode == COMPARE_LIST)
		return 0;
	int r = store_cursor_open(&cursor, c->store, range->lo, range->hi, &ask->err);
	while (r >= 0 && (r = store_cursor_next(cursor, &entry, &ask->err)) > 0) {
		if (entry->rec.kind != RECORD_ABSENT &&
		    store_acked(c->store, c->peer, entry->rec.path, &have, NULL) < 0)
			note_theirs(ask, &entry->rec);
	}
	return r;
}

/* Merges their list with our index. */
static int merge_list(struct ask *ask)
{
	struct compare *c = ask->compare;
	AUTO(store_cursor) *cursor = NULL;
	struct store_state state;
	struct rd list;
	struct record theirs;
	const struct index_entry *ours = NULL;
	store_state(c->store, &state);
	rd_init(&list, ask->listed.data, ask->listed.len);
	int r = store_cursor_open(&cursor, c->store, ask->range.lo, ask->range.hi, &ask->err);
	if (r < 0)
		return r;
	int more_ours = store_cursor_next(cursor, &ours, &ask->err);
	int more_theirs = wire_next_record(&theirs, &list);
	while (more_ours >= 0 && more_theirs >= 0 && (more_ours || more_theirs)) {
		int order = !more_ours	   ? 1
			    : !more_theirs ? -1
					   : strcmp(ours->rec.path, theirs.path);
		bool absent = more_ours && ours->rec.kind == RECORD_ABSENT;
		if (order < 0 && !absent)
			only_ours(ask, &ours->rec);
		else if (order > 0 || (order == 0 && absent))
			only_theirs(ask, &theirs, order == 0);
		else if (order == 0)
			both(ask, &ours->rec, &theirs, state.preserve_ownership);
		if (order <= 0)
			more_ours = store_cursor_next(cursor, &ours, &ask->err);
		if (order >= 0)
			more_theirs = wire_next_record(&theirs, &list);
	}
	return more_ours < 0 ? more_ours : more_theirs < 0 ? -EPROTO : 0;
}

static int check_parts(struct ask *ask)
{
	for (size_t i = 0; i < ask->n_parts; i++) {
		struct range *part = &ask->parts[i];
		struct range mine = {.lo = x_strdup(part->lo), .hi = x_strdup(part->hi)};
		int r = range_digest(&mine, ask->compare->store, &ask->err);
		bool equal = mine.records == part->records &&
			     memcmp(mine.digest, part->digest, HASH_LEN) == 0;
		if (r == 0 && equal)
			r = note_equal(ask, &mine);
		if (r < 0 || equal)
			range_release(&mine);
		else
			ask->todo[ask->n_todo++] = mine;
		if (r < 0)
			return r;
	}
	return 0;
}

/* What was found becomes durable: tombstones first, so that no row speaks of a path the index does
 * not know. */
static int write_found(struct ask *ask)
{
	struct compare *c = ask->compare;
	int r = 0;
	if (ask->n_tombstones > 0) {
		AUTO_FREE struct captured *gone = x_calloc(ask->n_tombstones, sizeof(*gone));
		for (size_t i = 0; i < ask->n_tombstones; i++)
			gone[i] = (struct captured){.kind = CAPTURED_TOMBSTONE,
						    .path = ask->tombstones[i]};
		r = store_capture(c->store, gone, ask->n_tombstones, false, NULL, &ask->err);
	}
	if (r == 0 && ask->n_rows > 0)
		r = store_ack(c->store, c->peer, ask->rows, ask->n_rows, &ask->err);
	if (r == 0 && ask->n_unacks > 0)
		r = store_unack(c->store, c->peer, (const char *const *)ask->unacks, ask->n_unacks,
				&ask->err);
	return r;
}

void compare_ask_work(struct job *job)
{
	struct ask *ask = container_of(job, struct ask, job);
	if (ask->equal)
		ask->result = note_equal(ask, &ask->range);
	else if (ask->n_parts > 0)
		ask->result = check_parts(ask);
	else
		ask->result = merge_list(ask);
	if (ask->result >= 0)
		ask->result = write_found(ask);
}
