/* batch_perform.c - names appear, change and vanish: after agent/sync/commit_publish.c,
 * agent/fs/publish.c and agent/sync/salvage.c. */
#include <string.h>

#include "world.h"

enum displaced { DISPLACED_NOTHING, DISPLACED_EXPECTED, DISPLACED_UNKNOWN };

static uint32_t temp_of(const struct node *node, const struct op *op)
{
	return op->row.temp ? disk_lookup(&node->disk, INO_STAGE, op->row.temp) : 0;
}

static void fail(struct op *op, uint8_t need, uint8_t refused)
{
	op->state = OP_FAILED;
	op->need = need;
	op->refused = refused;
}

/* Nothing was denied, nothing local stands there, nobody was put back to a copy: then each record
 * finds what it needs, and nothing is in its way. */
static void check_order(const struct node *node, const struct op *op, const char *what)
{
	const struct session *s = node->batch.session;
	if (s && s->w->nodes[s->peer].sessions[node->number].sender.gave_up)
		return;
	if (!s || s->receiver.denied || s->excused || node->restored || node->was_populated)
		return;
	/* An acknowledgement of a deletion that was lost, and then the path came again: the sender
	 * still believes in the directory of before, and hears NEED. */
	const struct peer_rows *noted = &s->w->nodes[s->peer].store.peers[node->number];
	for (int above = path_parent[op->row.path]; above >= 0; above = path_parent[above]) {
		const struct disk_attrs *there =
			disk_attrs(&node->disk, disk_at(&node->disk, above));
		if ((!there || there->kind != RECORD_DIR) && noted->acked[above].present &&
		    noted->acked[above].kind == RECORD_DIR)
			return;
	}
	for (size_t i = 0; i < node->batch.n; i++) {
		if (node->batch.ops[i].state == OP_FAILED)
			return;
	}
	world_fail(node->w, "%s: \"%s\": %s", node->name, path_text[op->row.path], what);
}

/* ---- what was displaced --------------------------------------------------------------------- */

/* Is stage/<temp>, which was `seen` under the name, what the index says stood there? */
static enum displaced judge(const struct node *node, const struct op *op,
			    const struct disk_stat *seen)
{
	const struct disk_stat *expected = &op->row.row.inst;
	struct disk_stat now = disk_stat(&node->disk, temp_of(node, op));
	if (expected->kind == 0)
		return DISPLACED_UNKNOWN;
	if (now.kind == RECORD_DIR)
		return now.ino == expected->ino && disk_is_empty(&node->disk, now.ino)
			       ? DISPLACED_EXPECTED
			       : DISPLACED_UNKNOWN;
	return disk_stat_equal(seen, expected, true) && disk_stat_equal(&now, expected, false)
		       ? DISPLACED_EXPECTED
		       : DISPLACED_UNKNOWN;
}

/* By its bytes: after a crash its ctime says nothing. */
static bool holds_indexed_content(const struct node *node, const struct op *op)
{
	const struct row *old = &node->store.rows[op->row.path];
	const struct disk_attrs *attrs = disk_attrs(&node->disk, temp_of(node, op));
	return attrs && (old->kind == RECORD_FILE || old->kind == RECORD_SYMLINK) &&
	       attrs->kind == old->kind && attrs->content == old->content;
}

static void save_displaced(struct node *node, struct op *op)
{
	struct disk *disk = &node->disk;
	uint32_t ino = temp_of(node, op);
	if (disk_attrs(disk, ino)->kind == RECORD_DIR && disk_is_empty(disk, ino))
		disk_unlink(disk, INO_STAGE, op->row.temp);
	else {
		check_order(node, op, "displaces what is not expected there");
		op->salvaging = 1;
	}
}

static void settle_displaced(struct node *node, struct op *op, enum displaced displaced)
{
	op->state = OP_PERFORMED;
	if (displaced == DISPLACED_NOTHING)
		return;
	bool expected = displaced == DISPLACED_EXPECTED;
	if (node->batch.recovering && !expected)
		expected = holds_indexed_content(node, op);
	if ((expected && !op->row.keep_foreign) || node->w->mutation == MUTATE_OVERWRITE)
		op->retire = true;
	else
		save_displaced(node, op);
}

/* One step of the way of stage/<temp> to the salvage. */
static void salvage_step(struct node *node, struct op *op)
{
	struct disk *disk = &node->disk;
	switch (op->salvaging++) {
	case 1: op->salvage = store_salvage_begin(&node->store, ++node->w->last_temp, 0); break;
	case 2: disk_sync(disk, temp_of(node, op)); break;
	case 3: disk_rename(disk, INO_STAGE, op->row.temp, INO_SALVAGE, op->salvage->name); break;
	case 4: disk_sync(disk, INO_SALVAGE); break;
	default:
		op->salvage->complete = true;
		op->salvaging = 0;
		node->w->stats.salvaged++;
	}
}

/* ---- one attempt ---------------------------------------------------------------------------- */

static void publish(struct node *node, struct op *op)
{
	struct disk *disk = &node->disk;
	uint32_t parent = disk_parent(disk, op->row.path), name = path_name[op->row.path];
	if (!parent) {
		check_order(node, op, "came before its directory");
		fail(op, NEED_PARENT, 0);
		return;
	}
	if (!temp_of(node, op)) {
		fail(op, NEED_CONTENT, 0);
		return;
	}
	struct disk_stat seen = disk_stat(disk, disk_lookup(disk, parent, name));
	if (seen.kind == 0) {
		disk_rename(disk, INO_STAGE, op->row.temp, parent, name);
		settle_displaced(node, op, DISPLACED_NOTHING);
	} else {
		disk_exchange(disk, INO_STAGE, op->row.temp, parent, name);
		settle_displaced(node, op, judge(node, op, &seen));
	}
}

static void make_dir(struct node *node, struct op *op)
{
	const struct disk_attrs fresh = {.kind = RECORD_DIR, .mode = 0700};
	struct disk *disk = &node->disk;
	uint32_t parent = disk_parent(disk, op->row.path), name = path_name[op->row.path];
	if (op->row.path == 0) {
		op->state = OP_PERFORMED;
		return;
	}
	if (!parent) {
		check_order(node, op, "came before its directory");
		fail(op, NEED_PARENT, 0);
		return;
	}
	struct disk_stat seen = disk_stat(disk, disk_lookup(disk, parent, name));
	if (seen.kind == 0) {
		disk_create(disk, parent, name, &fresh);
	} else if (seen.kind != RECORD_DIR) {
		disk_create(disk, INO_STAGE, op->row.temp, &fresh);
		disk_exchange(disk, INO_STAGE, op->row.temp, parent, name);
		settle_displaced(node, op, judge(node, op, &seen));
		return;
	}
	op->state = OP_PERFORMED;
}

static void remove_name(struct node *node, struct op *op)
{
	struct disk *disk = &node->disk;
	uint32_t parent = disk_parent(disk, op->row.path), name = path_name[op->row.path];
	struct disk_stat seen = disk_stat(disk, disk_lookup(disk, parent, name));
	if (seen.kind == 0) {
		op->state = OP_PERFORMED;
		return;
	}
	disk_rename(disk, parent, name, INO_STAGE, op->row.temp);
	settle_displaced(node, op, judge(node, op, &seen));
}

static void remove_dir(struct node *node, struct op *op)
{
	struct disk *disk = &node->disk;
	uint32_t parent = disk_parent(disk, op->row.path), name = path_name[op->row.path];
	struct disk_stat there = disk_stat(disk, disk_lookup(disk, parent, name));
	if (there.kind != 0 && there.kind != RECORD_DIR) {
		remove_name(node, op);
		return;
	}
	bool keeps = there.kind == RECORD_DIR && !disk_is_empty(disk, there.ino);
	if (keeps)
		check_order(node, op, "was deleted before what is in it");
	op->kept = keeps;
	if (!keeps && there.kind == RECORD_DIR)
		disk_unlink(disk, parent, name);
	op->state = OP_PERFORMED;
}

static void put_metadata(struct node *node, struct op *op)
{
	struct disk *disk = &node->disk;
	uint32_t ino = disk_at(disk, op->row.path);
	struct disk_stat now = disk_stat(disk, ino);
	const struct row *row = &op->row.row;
	bool same = node->batch.recovering ? now.kind == RECORD_FILE &&
						     disk_attrs(disk, ino)->content == row->content
					   : disk_stat_equal(&now, &row->inst, true);
	if (!same) {
		fail(op, NEED_CONTENT, 0);
		return;
	}
	struct disk_attrs attrs = *disk_attrs(disk, ino);
	attrs.mode = row->mode;
	attrs.mtime = row->mtime;
	disk_set(disk, ino, &attrs);
	if (node->batch.sync_each)
		disk_sync(disk, ino);
	op->staged = disk_stat(disk, ino);
	op->state = OP_PERFORMED;
}

static void attempt(struct node *node, struct op *op)
{
	switch (op->row.op) {
	case JOURNAL_PUBLISH: publish(node, op); break;
	case JOURNAL_DIR: make_dir(node, op); break;
	case JOURNAL_META: put_metadata(node, op); break;
	case JOURNAL_REMOVE: remove_name(node, op); break;
	case JOURNAL_RMDIR: remove_dir(node, op); break;
	}
}

/* ---- an attempt after a crash -----------------------------------------------------------------
 */

static void publish_again(struct node *node, struct op *op)
{
	uint32_t temp = temp_of(node, op);
	if (temp == op->row.temp_ino)
		publish(node, op);
	else if (temp)
		settle_displaced(node, op, DISPLACED_UNKNOWN);
	else if (disk_at(&node->disk, op->row.path) == op->row.temp_ino)
		op->state = OP_PERFORMED;
	else
		fail(op, NEED_CONTENT, 0);
}

static void make_dir_again(struct node *node, struct op *op)
{
	const struct disk_attrs *temp = disk_attrs(&node->disk, temp_of(node, op));
	if (temp && temp->kind == RECORD_DIR)
		disk_unlink(&node->disk, INO_STAGE, op->row.temp);
	else if (temp)
		settle_displaced(node, op, DISPLACED_UNKNOWN);
	if (op->salvaging)
		op->make_dir_next = true;
	else
		make_dir(node, op);
}

static void attempt_again(struct node *node, struct op *op)
{
	bool removal = op->row.op == JOURNAL_REMOVE || op->row.op == JOURNAL_RMDIR;
	if (op->row.op == JOURNAL_PUBLISH)
		publish_again(node, op);
	else if (op->row.op == JOURNAL_DIR)
		make_dir_again(node, op);
	else if (removal && temp_of(node, op))
		settle_displaced(node, op, DISPLACED_UNKNOWN);
	else
		attempt(node, op);
}

/* ---- all of them ---------------------------------------------------------------------------- */

static bool comes_again(const struct batch *b, int path)
{
	for (size_t i = 0; i < b->n; i++) {
		if (b->ops[i].planned && b->ops[i].row.path == path &&
		    b->ops[i].row.row.kind != RECORD_ABSENT)
			return true;
	}
	return false;
}

/* A directory that was deleted and kept for the sake of what has left it now goes, too. */
static void remove_kept_above(struct node *node, const struct op *op)
{
	struct disk *disk = &node->disk;
	struct batch *b = &node->batch;
	bool removal = op->row.op == JOURNAL_REMOVE || op->row.op == JOURNAL_RMDIR;
	if (op->state != OP_PERFORMED || !removal || op->kept ||
	    node->w->mutation == MUTATE_KEPT_FOR_EVER)
		return;
	for (int path = path_parent[op->row.path]; path > 0; path = path_parent[path]) {
		const struct row *row = &node->store.rows[path];
		struct disk_stat there = disk_stat(disk, disk_at(disk, path));
		if (row->kind != RECORD_ABSENT || !(row->flags & ROW_KEPT) ||
		    comes_again(b, path) ||
		    (there.kind != 0 &&
		     (there.kind != RECORD_DIR || !disk_is_empty(disk, there.ino))))
			return;
		if (there.kind == RECORD_DIR)
			disk_unlink(disk, disk_parent(disk, path), path_name[path]);
		b->no_longer_kept |= 1ull << path;
		b->touched |= 1ull << path_parent[path];
	}
}

static void perform(struct node *node, struct op *op)
{
	struct batch *b = &node->batch;
	if (b->recovering)
		attempt_again(node, op);
	else if (chance(node->w, node->w->weather.deny / 2))
		fail(op, 0, REFUSED_FAILED); /* tried twice, and the system said no */
	else
		attempt(node, op);
	if (op->row.op == JOURNAL_DIR)
		b->touched |= 1ull << op->row.path;
	if (op->row.op != JOURNAL_META && op->row.path != 0)
		b->touched |= 1ull << path_parent[op->row.path];
	trace(node->w, node, "  %s %s op %d kind %d: %s", b->recovering ? "again" : "perform",
	      path_text[op->row.path], op->row.op, op->row.row.kind,
	      op->state == OP_PERFORMED ? "done" : "failed");
}

bool batch_perform(struct node *node)
{
	struct batch *b = &node->batch;
	while (b->at < b->n && !b->ops[b->at].planned)
		b->at++;
	if (b->at == b->n)
		return false;
	struct op *op = &b->ops[b->at];
	if (op->salvaging) {
		salvage_step(node, op);
		if (!op->salvaging && op->make_dir_next)
			make_dir(node, op);
	} else {
		perform(node, op);
	}
	if (!op->salvaging) {
		remove_kept_above(node, op);
		b->at++;
	}
	return true;
}
