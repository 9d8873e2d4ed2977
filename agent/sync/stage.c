/* stage.c - objects that are made in one go. Those that arrive in pieces: stage_stream.c. */
#include "agent/sync/stage.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/base/clock.h"
#include "agent/base/fault.h"
#include "agent/base/hash.h"
#include "agent/sync/stage_output.h"

static const struct root *root_of(const struct stage_env *env, const struct record *record)
{
	const char *sub;
	return tree_resolve(env->tree, record->path, &sub);
}

static int put_bytes(struct staged *out, struct stage_output *o, const struct stage_env *env,
		     const struct record *record, const void *bytes, struct err *err)
{
	int r = stage_output_open(o, root_of(env, record), record->size, false, err);
	if (r < 0)
		return r;
	r = stage_output_write(o, bytes, (size_t)record->size, err);
	if (r < 0)
		return r;
	return stage_output_finish(out, o, record, &env->policy, err);
}

int stage_bytes(struct staged *out, const struct stage_env *env, const struct record *record,
		const void *bytes, size_t len, struct err *err)
{
	struct stage_output o;
	uint8_t hash[HASH_LEN];
	if (len != record->size)
		return err_set(err, -EBADMSG, "the content has not the announced size");
	hash_bytes(hash, bytes, len);
	if (memcmp(hash, record->hash, HASH_LEN) != 0)
		return err_set(err, -EBADMSG, "the content has not the announced hash");
	int r = put_bytes(out, &o, env, record, bytes, err);
	stage_output_release(&o);
	return r;
}

void stage_made(struct staged *out, const struct stat *st)
{
	file_stat_from(&out->stat, st);
	out->written_ns = clock_mono_ns();
}

static int make_symlink(struct staged *out, const struct root *root, const struct record *record,
			const struct meta_policy *policy, struct err *err)
{
	struct stat st;
	AUTO_FREE char *target = x_strndup((const char *)record->target, record->target_len);
	int fault = fault_point("stage-symlink");
	if (fault)
		return err_sys(err, fault, "create a link in staging");
	if (symlinkat(target, root->stage_fd, out->temp) < 0)
		return err_sys(err, errno, "create a link in staging");
	int r = meta_apply_symlink(root->stage_fd, out->temp, record, policy, err);
	if (r == 0 && fstatat(root->stage_fd, out->temp, &st, AT_SYMLINK_NOFOLLOW) < 0)
		r = err_sys(err, errno, "look at a staged link");
	if (r < 0)
		stage_discard_or_later(root, out->temp, NULL);
	else
		stage_made(out, &st);
	return r;
}

int stage_symlink(struct staged *out, const struct stage_env *env, const struct record *record,
		  struct err *err)
{
	const struct root *root = root_of(env, record);
	struct staged made = {0};
	if (!root->healthy)
		return err_sys(err, ESTALE, "create a link in staging");
	if (record->target_len == 0 || record->target_len > RECORD_TARGET_MAX ||
	    memchr(record->target, '\0', record->target_len))
		return err_set(err, -EBADMSG, "a link whose target no link can have");
	stage_name(made.temp);
	int r = make_symlink(&made, root, record, &env->policy, err);
	if (r == 0)
		*out = made;
	return r;
}

/* @return an open regular file of the record's size, or -ENOENT for whatever keeps us from having
 * one */
static int open_hint(const struct stage_env *env, const struct record *record, const char *hint,
		     struct err *err)
{
	const char *sub;
	struct stat st;
	const struct root *root = tree_resolve(env->tree, hint, &sub);
	/* O_NONBLOCK: a FIFO with this name must not hold the worker. */
	AUTO_CLOSE int fd = root_open(root, sub, O_RDONLY | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC, 0);
	if (fd < 0 || fstat(fd, &st) < 0)
		return err_set(err, -ENOENT, "the file referred to cannot be opened");
	if (!S_ISREG(st.st_mode) || (uint64_t)st.st_size != record->size)
		return err_set(err, -ENOENT, "the file referred to is another one by now");
	return STEAL_FD(fd);
}

static int copy_hint(struct staged *out, struct stage_output *o, const struct stage_env *env,
		     const struct record *record, int hint_fd, struct err *err)
{
	int r = stage_output_open(o, root_of(env, record), record->size, true, err);
	if (r < 0)
		return r;
	r = stage_output_copy(o, hint_fd, 0, record->size, err);
	if (r == 0)
		r = stage_output_finish(out, o, record, &env->policy, err);
	return r == -EBADMSG ? -ENOENT : r;
}

int stage_ref(struct staged *out, const struct stage_env *env, const struct record *record,
	      const char *hint, struct err *err)
{
	AUTO_CLOSE int fd = open_hint(env, record, hint, err);
	return fd < 0 ? fd : stage_copy(out, env, record, fd, err);
}

int stage_copy(struct staged *out, const struct stage_env *env, const struct record *record, int fd,
	       struct err *err)
{
	struct stage_output o;
	int r = copy_hint(out, &o, env, record, fd, err);
	stage_output_release(&o);
	return r;
}

static int clean_root(const struct root *root, bool (*keep)(const char *temp, void *arg), void *arg,
		      struct err *err)
{
	int r = 0;
	int fd = openat(root->stage_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	if (!dir) {
		r = err_sys(err, errno, "read the staging directory");
		if (fd >= 0)
			close(fd);
		return r;
	}
	for (struct dirent *e; r == 0 && (errno = 0, e = readdir(dir));) {
		if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
			continue;
		if (!keep || !keep(e->d_name, arg))
			r = stage_discard(root, e->d_name, err);
	}
	if (r == 0 && errno != 0)
		r = err_sys(err, errno, "read the staging directory");
	closedir(dir);
	return r;
}

int stage_clean(struct tree *tree, bool (*keep)(const char *temp, void *arg), void *arg,
		struct err *err)
{
	for (size_t i = 0; i < tree->n; i++) {
		if (!tree->roots[i].healthy)
			continue;
		int r = clean_root(&tree->roots[i], keep, arg, err);
		if (r < 0)
			return r;
	}
	return 0;
}
