#include "agent/sync/mend_private.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/sync/current.h"
#include "agent/sync/put_on.h"
#include "agent/sync/suspect.h"

void mend_end(struct mend *m, enum mend_result result, const char *fmt, ...)
{
	va_list ap;
	m->way = WAY_NONE;
	m->item->result = result;
	va_start(ap, fmt);
	vsnprintf(m->item->why, sizeof(m->item->why), fmt, ap);
	va_end(ap);
}

void mend_item_release(struct mend_item *item)
{
	free(item->path);
	*item = (struct mend_item){0};
}

/* ---- the first turn: is it drift at all? ---------------------------------------------------- */

/* Beneath a root that was unmounted everything is missing. */
static bool root_is_good(struct mend *m, bool *verified)
{
	char why[ROOT_WHY_MAX];
	bool *known = &verified[m->root - m->env->tree->roots];
	if (!*known)
		*known = root_verify(m->root, why) == 0;
	if (!*known)
		mend_end(m, MEND_AWAY, "its root is not there: %.100s", why);
	return *known;
}

static void judge(struct mend *m, bool *verified)
{
	struct err err = {0};
	m->root = tree_resolve(m->env->tree, m->item->path, &m->sub);
	if (!root_is_good(m, verified))
		return;
	int r = store_get(m->env->store, m->item->path, &m->entry, &err);
	if (r < 0 && r != -ENOENT) {
		mend_end(m, MEND_FAILED, "%.150s", err.msg);
		return;
	}
	m->live = r == 0 && entry_is_live(&m->entry);
	enum suspicion suspicion = suspect_judge(&m->now, m->env->tree, m->env->profile,
						 m->item->path, r == 0 ? &m->entry : NULL);
	bool spared = !m->live && m->item->spare_added;
	if ((suspicion == SUSPECT_DRIFT || suspicion == SUSPECT_TIME) && !spared)
		m->way = WAY_COMMIT; /* mend_look() says how */
	else if (suspicion == SUSPECT_UNKNOWN)
		mend_end(m, MEND_FAILED, "it cannot be looked at");
	else
		mend_end(m, MEND_MATCHES, "%s", "");
}

static void end_all(struct mend *mends, size_t n, enum mend_result result, const char *why)
{
	for (size_t i = 0; i < n; i++)
		mend_end(&mends[i], result, "%.150s", why);
}

/* Between a batch's journal and its index everything in it looks like drift. */
static int judge_all(const struct commit_env *env, struct mend *mends, size_t n, struct err *err)
{
	bool verified[ROOT_MAX] = {0};
	int r = commit_enter(env, err);
	if (r < 0)
		return r;
	for (size_t i = 0; i < n; i++)
		judge(&mends[i], verified);
	commit_leave(env);
	return 0;
}

/* ---- between the turns: reading and staging, which may take long ------------------------------
 */

static int stage(struct mend *m, struct err *err)
{
	const struct stage_env env = {.tree = m->env->tree, .policy = m->env->policy};
	switch (m->entry.rec.kind) {
	case RECORD_FILE: return mend_stage_content(m, err);
	case RECORD_SYMLINK: return stage_symlink(&m->commit.staged, &env, &m->entry.rec, err);
	default: return 0;
	}
}

static void prepare_put_back(struct mend *m)
{
	struct err err = {0};
	int r = stage(m, &err);
	if (r < 0) {
		mend_end(m, r == -ENOENT ? MEND_CONTENT : MEND_FAILED, "%.150s", err.msg);
		return;
	}
	m->commit.op = m->entry.rec.kind == RECORD_FILE ? OP_WHOLE : OP_META;
	m->commit.mend = COMMIT_PUT_BACK;
	index_entry_copy(&m->commit.entry, &m->entry);
}

/* A tombstone stays one; where there is none, none is made. */
static void prepare_take_away(struct mend *m)
{
	struct index_entry gone = {.rec = {.path = m->item->path, .kind = RECORD_ABSENT}};
	gone.rec.epoch = m->entry.rec.epoch;
	gone.rec.seq = m->entry.rec.seq;
	m->commit.op = gone.rec.seq ? OP_DELETE : OP_ABSENT;
	m->commit.mend = COMMIT_TAKE_AWAY;
	index_entry_copy(&m->commit.entry, &gone);
}

static void prepare(struct mend *m)
{
	bool harmless = m->way == WAY_TAKE_OVER;
	if (m->way == WAY_NONE || harmless)
		return;
	if (m->item->report_only)
		mend_end(m, m->only_time ? MEND_MATCHES : MEND_REPORTED, "%s", "");
	else if (m->way == WAY_COMMIT && m->live)
		prepare_put_back(m);
	else if (m->way == WAY_COMMIT)
		prepare_take_away(m);
}

/* What is moved away as one takes with it whatever is beneath. */
static void drop_covered(struct mend *mends, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		for (size_t k = 0; k < n; k++) {
			const struct mend *dir = &mends[k];
			size_t len = strlen(dir->item->path);
			const char *path = mends[i].item->path;
			if (i != k && dir->way == WAY_COMMIT && !dir->live &&
			    strncmp(path, dir->item->path, len) == 0 && path[len] == '/')
				mend_end(&mends[i], MEND_MATCHES, "%s", "");
		}
	}
}

/* ---- the second turn: content and names ------------------------------------------------------ */

static void take_answer(struct mend *m)
{
	struct mend_item *item = m->item;
	const struct commit_item *answer = &m->commit;
	if (answer->result == COMMIT_DONE) {
		item->result = m->only_time ? MEND_QUIET : MEND_DONE;
		item->new_dir = m->live && m->entry.rec.kind == RECORD_DIR && !S_ISDIR(m->now.mode);
	} else if (answer->result == COMMIT_NEED && answer->reason == NEED_PARENT) {
		mend_end(m, MEND_PARENT, "%s", answer->text);
	} else if (answer->result == COMMIT_NEED) {
		mend_end(m, MEND_AGAIN, "%s", answer->text);
	} else {
		mend_end(m, MEND_FAILED, "%s", answer->text);
	}
}

static void commit_all(const struct commit_env *env, struct mend *mends, size_t n)
{
	struct err err = {0};
	struct commit_env here = *env;
	AUTO_FREE struct commit_item *items = x_calloc(n, sizeof(*items));
	AUTO_FREE struct mend **whose = x_calloc(n, sizeof(struct mend *));
	size_t count = 0;
	here.salvage_why = "drift";
	here.holds = NULL; /* nothing that was replicated goes, and what is held stays so */
	for (size_t i = 0; i < n; i++) {
		if (mends[i].way != WAY_COMMIT)
			continue;
		whose[count] = &mends[i];
		items[count++] = mends[i].commit; /* and back */
	}
	if (count == 0)
		return;
	int r = commit_run(&here, items, count, &err);
	for (size_t i = 0; i < count; i++) {
		whose[i]->commit = items[i];
		if (r < 0)
			mend_end(whose[i], MEND_FAILED, "%.150s", err.msg);
		else
			take_answer(whose[i]);
	}
}

/* ---- the third: metadata alone, and stats ---------------------------------------------------- */

static bool is_as_seen(const struct mend *m)
{
	struct stat st;
	struct file_stat now;
	struct index_entry entry;
	if (root_stat(m->root, m->sub, &st) < 0)
		return false;
	file_stat_from(&now, &st);
	if (!file_stat_equal(&now, &m->now) ||
	    store_get(m->env->store, m->item->path, &entry, NULL) < 0)
		return false;
	bool same = entry.rec.kind == m->entry.rec.kind && entry.rec.seq == m->entry.rec.seq &&
		    entry.rec.epoch == m->entry.rec.epoch;
	index_entry_release(&entry);
	return same;
}

static int open_as_seen(const struct mend *m, struct err *err)
{
	struct stat st;
	struct file_stat now;
	AUTO_CLOSE int fd = root_open(m->root, m->sub, O_RDONLY | O_NOFOLLOW | O_NONBLOCK, 0);
	if (fd < 0 || fstat(fd, &st) < 0)
		return err_sys(err, fd < 0 ? -fd : errno, "open the file");
	file_stat_from(&now, &st);
	if (!file_stat_equal(&now, &m->now))
		return err_set(err, -EAGAIN, "it is changing");
	return STEAL_FD(fd);
}

/* Not journaled: half of it is found by the next look, and is half done. */
static int put_on(struct mend *m, struct err *err)
{
	const struct put_on what = {.rec = &m->entry.rec,
				    .mtime_ns = entry_installed_mtime(&m->entry),
				    .policy = &m->env->policy};
	if (m->entry.rec.kind == RECORD_SYMLINK)
		return put_on_link(&m->now, m->root, m->sub, &what, err);
	AUTO_CLOSE int fd = open_as_seen(m, err);
	if (fd < 0)
		return fd;
	const struct file_stat judged = m->now;
	int r = put_on_file(&m->now, fd, &judged, &what, err);
	if (r == 0 && fsync(fd) < 0)
		r = err_sys(err, errno, "sync metadata");
	return r;
}

/* m->now is the stat of what was judged. Were one taken that is fresher than the last look, what
 * somebody wrote in between would be taken for ours for ever.
 * @return true when entry.inst is to be stored */
static bool settle(struct mend *m)
{
	struct err err = {0};
	bool put = m->way == WAY_METADATA;
	int r = is_as_seen(m) ? 0 : -EAGAIN;
	if (r == 0 && put) {
		r = put_on(m, &err);
		if (r == 0 && !is_as_seen(m))
			r = -EAGAIN;
	}
	if (r == -EAGAIN || errno_is_absence(r)) {
		mend_end(m, MEND_AGAIN, "index or tree have changed meanwhile");
		return false;
	}
	if (r < 0) {
		mend_end(m, MEND_FAILED, "%.150s", err.msg);
		return false;
	}
	m->entry.inst = m->now;
	m->entry.flags &= ~(unsigned)ENTRY_RACY;
	m->item->result = put ? MEND_DONE : MEND_MATCHES;
	return true;
}

static void settle_all(const struct commit_env *env, struct mend *mends, size_t n)
{
	struct err err = {0};
	AUTO_FREE struct index_entry *settled = x_calloc(n, sizeof(*settled));
	size_t count = 0;
	bool any = false;
	for (size_t i = 0; i < n; i++)
		any |= mends[i].way == WAY_METADATA || mends[i].way == WAY_TAKE_OVER;
	if (!any)
		return;
	int r = commit_enter(env, &err);
	for (size_t i = 0; i < n; i++) {
		struct mend *m = &mends[i];
		if (m->way != WAY_METADATA && m->way != WAY_TAKE_OVER)
			continue;
		if (r < 0)
			mend_end(m, MEND_FAILED, "%.150s", err.msg);
		else if (settle(m))
			settled[count++] = m->entry; /* borrowed */
	}
	if (r < 0)
		return;
	if (count > 0)
		r = store_set_installed(env->store, settled, count, &err);
	commit_leave(env);
	for (size_t i = 0; r < 0 && i < n; i++) {
		if (mends[i].way == WAY_METADATA || mends[i].way == WAY_TAKE_OVER)
			mend_end(&mends[i], MEND_FAILED, "%.150s", err.msg);
	}
}

/* ---- all of it --------------------------------------------------------------------------------
 */

static void release(struct mend *m)
{
	if (m->entry.rec.path)
		index_entry_release(&m->entry);
	commit_item_release(&m->commit);
	for (size_t i = 0; i < m->n_copies; i++)
		free(m->copies[i]);
}

void mend_run(const struct commit_env *env, struct mend_item *items, size_t n)
{
	struct err err = {0};
	AUTO_FREE struct mend *mends = x_calloc(n, sizeof(*mends));
	for (size_t i = 0; i < n; i++) {
		mends[i] = (struct mend){.env = env, .item = &items[i]};
		items[i].result = MEND_MATCHES;
		*items[i].what = *items[i].why = '\0';
		items[i].was_added = items[i].new_dir = false;
	}
	if (judge_all(env, mends, n, &err) < 0) {
		end_all(mends, n, MEND_FAILED, err.msg);
		return;
	}
	for (size_t i = 0; i < n; i++) {
		if (mends[i].way == WAY_COMMIT)
			mend_look(&mends[i]);
	}
	mend_find_copies(env, mends, n);
	for (size_t i = 0; i < n; i++)
		prepare(&mends[i]);
	drop_covered(mends, n);
	commit_all(env, mends, n);
	settle_all(env, mends, n);
	for (size_t i = 0; i < n; i++)
		release(&mends[i]);
}
