/* From items to operations: what the index and the disk say must be replaced, and in which order.
 * Nothing is changed yet, except that the mtime of a staged file may be moved. */
#include "agent/sync/commit_private.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "agent/base/fault.h"
#include "agent/fs/beneath.h"
#include "agent/sync/salvage.h"
#include "protocol/relpath.h"

#define NS_PER_S 1000000000

void plan_refuse(struct commit_item *item, enum commit_result result, uint8_t reason,
		 const char *text)
{
	item->result = result;
	item->reason = reason;
	snprintf(item->text, sizeof(item->text), "%.159s", text);
}

static bool is_removal(uint8_t op)
{
	return op == OP_DELETE || op == OP_ABSENT;
}

/* ---- one item ---------------------------------------------------------------------------------
 */

static int64_t floor_to_s(int64_t ns)
{
	return ns / NS_PER_S - (ns % NS_PER_S < 0);
}

/* A server that looks only at whole seconds of the mtime would take this version for the one it
 * has. */
static bool needs_mtime_step(const struct commit_env *env, const struct index_entry *old,
			     const struct record *rec)
{
	if (!env->profile || rec->kind != RECORD_FILE || old->rec.kind != RECORD_FILE ||
	    old->inst.mode == 0 || record_same_content(&old->rec, rec))
		return false;
	if (floor_to_s(old->inst.mtime_ns) != floor_to_s(rec->mtime_ns))
		return false;
	return profile_judge(env->profile, rec->path, false).attributes & RULE_MTIME_STEP;
}

int plan_set_mtime(struct commit_op *op, int64_t mtime_ns, struct err *err)
{
	struct stat st;
	op->row.install_mtime_ns = mtime_ns;
	struct timespec times[2] = {{.tv_nsec = UTIME_OMIT},
				    meta_timespec(op->row.install_mtime_ns)};
	int fault = fault_point("step mtime");
	if (fault || utimensat(op->root->stage_fd, op->row.temp, times, AT_SYMLINK_NOFOLLOW) < 0 ||
	    fstatat(op->root->stage_fd, op->row.temp, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return err_sys(err, fault ? fault : errno, "set the mtime of a staged file");
	file_stat_from(&op->staged, &st);
	op->must_sync = true;
	return 0;
}

int plan_publish(const struct commit_env *env, struct commit_op *op, const struct index_entry *old,
		 struct err *err)
{
	struct commit_item *item = op->item;
	op->row.op = JOURNAL_PUBLISH;
	op->phase = PHASE_FILES;
	op->displaces_dir = old->rec.kind == RECORD_DIR || old->flags & ENTRY_KEPT;
	if (env->profile)
		op->order_class =
			profile_judge(env->profile, item->entry.rec.path, false).order_class;
	if (!*op->sub) {
		plan_refuse(item, COMMIT_REFUSED, REFUSED_KIND, "a root of this node stands there");
		return 0;
	}
	if (!*op->row.temp) {
		plan_refuse(item, COMMIT_NEED, NEED_CONTENT, "nothing was staged");
		return 0;
	}
	if (staged_is_spoilt(&item->staged, op->root)) {
		plan_refuse(item, COMMIT_NEED, NEED_VERIFY,
			    "a sync of the file system failed since");
		return 0;
	}
	if (needs_mtime_step(env, old, &item->entry.rec)) {
		int r = plan_set_mtime(op, op->row.install_mtime_ns + NS_PER_S, err);
		if (r < 0)
			return r;
	}
	return 1;
}

static int plan_meta(struct commit_op *op, const struct index_entry *old)
{
	struct stat st;
	struct file_stat now = {0};
	op->row.op = JOURNAL_META;
	op->phase = PHASE_META;
	if (root_stat(op->root, op->sub, &st) == 0)
		file_stat_from(&now, &st);
	if (old->rec.kind == RECORD_FILE && old->inst.mode != 0 &&
	    file_stat_equal(&now, &old->inst) &&
	    record_same_content(&old->rec, &op->item->entry.rec))
		return 1;
	plan_refuse(op->item, COMMIT_NEED, NEED_CONTENT, "the file here has other content");
	return 0;
}

/* A directory is removed by rmdir, so that what is local in it keeps it; anything else is moved
 * away and looked at. The index says which, or the disk where the index knows nothing. */
static int plan_removal(struct commit_op *op, const struct index_entry *old)
{
	struct stat st;
	bool dir = old->rec.kind == RECORD_DIR;
	if (old->inst.mode == 0 && root_stat(op->root, op->sub, &st) == 0)
		dir = S_ISDIR(st.st_mode);
	op->row.op = dir || !*op->sub ? JOURNAL_RMDIR : JOURNAL_REMOVE;
	op->phase = PHASE_REMOVE;
	stage_name(op->row.temp);
	return 1;
}

static int plan_kind(const struct commit_env *env, struct commit_op *op,
		     const struct index_entry *old, struct err *err)
{
	struct record *rec = &op->row.entry.rec;
	if (op->item->mend)
		return plan_mend(env, op, old, err);
	if (is_removal(op->item->op)) {
		rec->kind = RECORD_ABSENT;
		return plan_removal(op, old);
	}
	if (rec->kind == RECORD_DIR) {
		op->row.op = JOURNAL_DIR;
		op->phase = PHASE_DIRS;
		stage_name(op->row.temp);
		return 1;
	}
	if (rec->kind == RECORD_FILE && op->item->op == OP_META)
		return plan_meta(op, old);
	if (rec->kind == RECORD_FILE || rec->kind == RECORD_SYMLINK)
		return plan_publish(env, op, old, err);
	plan_refuse(op->item, COMMIT_REFUSED, REFUSED_KIND,
		    "a kind of object this node does not know");
	return 0;
}

/* Is what stands there on a peer, which keeps it when it is replaced there? */
static bool is_proven(const struct commit_env *env, const struct index_entry *old)
{
	struct acked acked;
	if (!env->peer || !old->rec.path || old->rec.kind == RECORD_ABSENT)
		return true;
	return store_acked(env->store, env->peer, old->rec.path, &acked, NULL) == 0 &&
	       acked.seq == old->rec.seq;
}

void op_remember_was(struct commit_op *op, const struct index_entry *old)
{
	op->was = (struct op_was){.kind = (uint8_t)old->rec.kind,
				  .foreign = old->flags & ENTRY_FOREIGN,
				  .size = old->rec.size};
	memcpy(op->was.hash, old->rec.hash, HASH_LEN);
}

static void fill_row(const struct commit_env *env, struct commit_op *op,
		     const struct index_entry *old)
{
	const struct commit_item *item = op->item;
	op->row.entry = (struct index_entry){.rec = item->entry.rec, .inst = old->inst};
	op_remember_was(op, old);
	op->row.install_mtime_ns = item->entry.rec.mtime_ns;
	op->row.temp_ino = item->staged.stat.ino;
	op->staged = item->staged.stat;
	op->must_sync = !staged_is_durable(&item->staged, op->root);
	memcpy(op->row.temp, item->staged.temp, sizeof(op->row.temp));
	/* What was never replicated is kept, unless its bytes are those that come. */
	op->row.keep_foreign = ((old->flags & ENTRY_FOREIGN) != 0 || !is_proven(env, old)) &&
			       !record_same_content(&old->rec, &item->entry.rec);
}

/* Nothing happens in a directory before its marker has been read: beneath an unmounted one
 * everything is absent. Asked once per batch. */
static bool root_is_good(struct batch *b, struct commit_op *op)
{
	char text[320], why[ROOT_WHY_MAX];
	bool *verified = &b->verified[op->root - b->env->tree->roots];
	if (!*verified)
		*verified = root_verify(op->root, why) == 0;
	if (*verified)
		return true;
	snprintf(text, sizeof(text), "the root \"%.60s\" is not there: %s", op->root->at, why);
	plan_refuse(op->item, COMMIT_REFUSED, REFUSED_FAILED, text);
	return false;
}

/* Something may stand there that is not a directory that stays one. Where nothing should, nobody
 * looks before the name is taken. */
static bool displaces(const struct commit_op *op, const struct index_entry *old)
{
	if (op->row.op == JOURNAL_META || op->row.op == JOURNAL_RMDIR)
		return false;
	return op->item->mend || (old->inst.mode != 0 && !S_ISDIR(old->inst.mode));
}

static uint64_t bytes_to_save(const struct commit_op *op)
{
	struct stat st;
	struct file_stat now;
	if (root_stat(op->root, op->sub, &st) < 0)
		return 0;
	file_stat_from(&now, &st);
	if (!op->row.keep_foreign && file_stat_equal(&now, &op->row.entry.inst))
		return 0;
	if (S_ISDIR(st.st_mode))
		return op->row.op == JOURNAL_DIR ? 0 : salvage_bytes_in(op->root->fd, op->sub);
	return S_ISREG(st.st_mode) ? now.size : 0;
}

/* Has the salvage room for what is displaced? What is known not to fit is not moved there and back:
 * whoever reads it would find it missing meanwhile, each time it is tried.
 * @return as plan_publish(), without errors */
static int plan_room(const struct commit_env *env, struct commit_op *op)
{
	struct err err = {0};
	uint64_t max = commit_salvage_max(env);
	uint64_t bytes = max ? bytes_to_save(op) : 0;
	int r = bytes ? salvage_has_room(env->store, max, bytes, &err) : 0;
	if (r == 0)
		return 1;
	plan_refuse(op->item, COMMIT_REFUSED, REFUSED_SALVAGE, err.msg);
	op->item->error = -r;
	return 0;
}

static int plan_item(struct batch *b, struct commit_op *op, struct commit_item *item,
		     struct err *err)
{
	const struct commit_env *env = b->env;
	struct index_entry old = {0};
	*op = (struct commit_op){.item = item};
	op->root = tree_resolve(env->tree, item->entry.rec.path, &op->sub);
	if (!root_is_good(b, op))
		return 0;
	int r = store_get(env->store, item->entry.rec.path, &old, err);
	if (r < 0 && r != -ENOENT)
		return r;
	fill_row(env, op, &old);
	r = plan_kind(env, op, &old, err);
	if (r > 0 && displaces(op, &old))
		r = plan_room(env, op);
	index_entry_release(&old);
	return r;
}

/* ---- order ------------------------------------------------------------------------------------
 */

/* Only a delete beneath a path where a file or link takes the place of a directory must go before;
 * such paths are few. */
static bool is_beneath_displaced(const struct batch *b, const char *path)
{
	for (size_t i = 0; i < b->n; i++) {
		if (b->ops[i].displaces_dir &&
		    relpath_is_within(path, b->ops[i].row.entry.rec.path))
			return true;
	}
	return false;
}

static void clear_before_displacing(struct batch *b)
{
	bool any = false;
	for (size_t i = 0; i < b->n; i++)
		any |= b->ops[i].displaces_dir;
	for (size_t i = 0; any && i < b->n; i++) {
		if (b->ops[i].phase == PHASE_REMOVE &&
		    is_beneath_displaced(b, b->ops[i].row.entry.rec.path))
			b->ops[i].phase = PHASE_CLEAR;
	}
}

/* Paths in their order put a directory before what is beneath it; backwards, behind. */
static int compare_ops(const void *pa, const void *pb)
{
	const struct commit_op *a = pa, *b = pb;
	if (a->phase != b->phase)
		return a->phase < b->phase ? -1 : 1;
	if (a->order_class != b->order_class)
		return a->order_class < b->order_class ? -1 : 1;
	int order = strcmp(a->row.entry.rec.path, b->row.entry.rec.path);
	return a->phase == PHASE_CLEAR || a->phase == PHASE_REMOVE ? -order : order;
}

/* ---- sets ------------------------------------------------------------------------------------
 */

static bool batch_makes_dir(const struct batch *b, const char *path, size_t len)
{
	for (size_t i = 0; i < b->n; i++) {
		const char *made = b->ops[i].row.entry.rec.path;
		if (b->ops[i].row.op == JOURNAL_DIR && strncmp(made, path, len) == 0 && !made[len])
			return true;
	}
	return false;
}

/* A record by itself may find out at its own publishing that its directory is missing; by then the
 * other members of a set would be in the tree. */
static void need_parents(const struct batch *b, struct commit_item *items, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		struct commit_item *item = &items[i];
		const char *path = item->entry.rec.path, *sub;
		size_t len = relpath_parent_len(path);
		struct stat st;
		if (item->set == 0 || item->result != COMMIT_DONE || is_removal(item->op) ||
		    len == 0 || batch_makes_dir(b, path, len))
			continue;
		AUTO_FREE char *parent = x_strndup(path, len);
		const struct root *root = tree_resolve(b->env->tree, parent, &sub);
		if (root_stat(root, sub, &st) < 0 || !S_ISDIR(st.st_mode))
			plan_refuse(item, COMMIT_NEED, NEED_PARENT,
				    "the directory above is not there");
	}
}

static bool set_is_broken(const struct commit_item *items, size_t n, uint32_t set)
{
	for (size_t i = 0; i < n; i++) {
		if (items[i].set == set && items[i].result != COMMIT_DONE &&
		    items[i].result != COMMIT_LEFT)
			return true;
	}
	return false;
}

static void leave_sets_out(struct batch *b, struct commit_item *items, size_t n)
{
	need_parents(b, items, n);
	uint32_t set = 0;
	bool broken = false;
	for (size_t i = 0; i < n; i++) { /* members stand beside each other */
		if (items[i].set != set)
			broken = items[i].set != 0 && set_is_broken(items, n, items[i].set);
		set = items[i].set;
		if (broken && items[i].result == COMMIT_DONE)
			items[i].result = COMMIT_LEFT;
	}
	size_t kept = 0;
	for (size_t i = 0; i < b->n; i++) {
		if (b->ops[i].item->result == COMMIT_DONE)
			b->ops[kept++] = b->ops[i];
	}
	b->n = kept;
}

int batch_plan(struct batch *b, struct commit_item *items, size_t n, struct err *err)
{
	b->ops = x_calloc(n, sizeof(*b->ops));
	int r = 0;
	store_begin_reads(b->env->store);
	for (size_t i = 0; r >= 0 && i < n; i++) {
		r = plan_item(b, &b->ops[b->n], &items[i], err);
		b->n += r > 0 ? (size_t)r : 0;
	}
	store_end_reads(b->env->store);
	if (r < 0)
		return r;
	leave_sets_out(b, items, n);
	size_t planned = b->n;
	if (b->env->holds)
		r = batch_brake(b, err);
	if (r < 0)
		return r;
	if (b->n < planned)
		leave_sets_out(b, items, n); /* a set of which a member is held */
	clear_before_displacing(b);
	qsort(b->ops, b->n, sizeof(*b->ops), compare_ops);
	return 0;
}
