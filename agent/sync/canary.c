#include "agent/sync/canary.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "agent/base/fault.h"
#include "agent/fs/copy.h"
#include "agent/fs/publish.h"

static int write_bytes(int fd, const uint8_t *bytes, struct err *err)
{
	int hit = fault_point("write canary");
	ssize_t n = hit ? -1 : pwrite(fd, bytes, WIRE_CANARY_LEN, 0);
	if (n != WIRE_CANARY_LEN)
		return err_sys(err, hit ? hit : n < 0 ? errno : ENOSPC, "write the canary");
	return 0;
}

static int sync_fd(int fd, const char *what, struct err *err)
{
	int hit = fault_point("sync canary");
	if (hit || fsync(fd) < 0)
		return err_sys(err, hit ? hit : errno, "sync %s", what);
	return 0;
}

static int give_name(const struct root *root, const char *temp, struct err *err)
{
	int hit = fault_point("name canary");
	if (hit || renameat(root->stage_fd, temp, root->own_fd, CANARY_NAME) < 0)
		return err_sys(err, hit ? hit : errno, "name the canary");
	return 0;
}

/* Staged, with what it holds now hashed. @return fd or negative errno; temp is made then only */
static int stage(char temp[STAGE_NAME_MAX], uint8_t hash[HASH_LEN], const struct root *root,
		 const uint8_t *bytes, struct err *err)
{
	int fd = stage_create(temp, root, err);
	if (fd < 0)
		return fd;
	int r = write_bytes(fd, bytes, err);
	if (r == 0)
		r = hash_content(hash, fd, WIRE_CANARY_LEN, NULL, err);
	if (r == 0)
		return fd;
	close(fd);
	stage_discard(root, temp, NULL);
	return r;
}

int canary_write(struct wire_canary *out, const struct tree *tree, struct store *store,
		 struct err *err)
{
	const struct root *root = &tree->roots[0];
	char temp[STAGE_NAME_MAX];
	if (getrandom(out->bytes, sizeof(out->bytes), 0) != sizeof(out->bytes))
		return err_sys(err, errno, "ask the system for random bytes");
	AUTO_CLOSE int fd = stage(temp, out->hash, root, out->bytes, err);
	if (fd < 0)
		return fd;
	int r = give_name(root, temp, err);
	if (r < 0)
		stage_discard(root, temp, NULL);
	return r < 0 ? r : store_canary(store, out->nonce, err);
}

static int publish(const struct wire_canary *canary, const struct commit_env *env,
		   const struct root *root, const char *temp, struct err *err)
{
	int r = give_name(root, temp, err);
	if (r == 0)
		r = sync_fd(root->own_fd, "the directory of the canary", err);
	return r < 0 ? r : store_canary(env->store, canary->nonce, err);
}

int canary_commit(const struct wire_canary *canary, const struct commit_env *env, struct err *err)
{
	const struct root *root = &env->tree->roots[0];
	char temp[STAGE_NAME_MAX];
	uint8_t hash[HASH_LEN];
	AUTO_CLOSE int fd = stage(temp, hash, root, canary->bytes, err);
	if (fd < 0)
		return fd;
	int r = memcmp(hash, canary->hash, HASH_LEN) == 0
			? sync_fd(fd, "the canary", err)
			: err_set(err, -EBADMSG, "the canary's bytes are not what its hash says");
	if (r == 0) {
		pthread_mutex_lock(&env->turn->lock);
		r = publish(canary, env, root, temp, err);
		pthread_mutex_unlock(&env->turn->lock);
	}
	if (r < 0)
		stage_discard(root, temp, NULL);
	return r;
}
