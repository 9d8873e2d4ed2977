/* leftovers.c - staged objects nobody needs that could not be removed: the disk said no for a
 * while. They are tried again, since the next start, which empties staging, may be months away. */
#include <errno.h>
#include <pthread.h>
#include <string.h>

#include "agent/fs/publish.h"

#define LEFTOVERS_MAX 100000 /* names; what is beyond waits for the next start */

struct leftovers {
	pthread_mutex_t lock;
	char (*names)[STAGE_NAME_MAX];
	size_t n, cap;
};

struct leftovers *leftovers_new(void)
{
	struct leftovers *left = x_calloc(1, sizeof(*left));
	pthread_mutex_init(&left->lock, NULL);
	return left;
}

void leftovers_free(struct leftovers *left)
{
	if (!left)
		return;
	pthread_mutex_destroy(&left->lock);
	free(left->names);
	free(left);
}

static void remember(struct leftovers *left, const char *temp)
{
	pthread_mutex_lock(&left->lock);
	if (left->n < LEFTOVERS_MAX) {
		GROW(left->names, left->cap, left->n + 1);
		memset(left->names[left->n], 0, STAGE_NAME_MAX);
		memcpy(left->names[left->n++], temp, strnlen(temp, STAGE_NAME_MAX - 1));
	}
	pthread_mutex_unlock(&left->lock);
}

int stage_discard_or_later(const struct root *root, const char *temp, struct err *err)
{
	int r = root->healthy ? stage_discard(root, temp, err)
			      : err_set(err, -ESTALE, "%.200s is not healthy", root->location);
	if (r < 0 && root->leftovers)
		remember(root->leftovers, temp);
	return r;
}

static bool take(struct leftovers *left, char temp[STAGE_NAME_MAX])
{
	pthread_mutex_lock(&left->lock);
	bool any = left->n > 0;
	if (any)
		memcpy(temp, left->names[--left->n], STAGE_NAME_MAX);
	pthread_mutex_unlock(&left->lock);
	return any;
}

void stage_discard_leftovers(const struct root *root)
{
	char temp[STAGE_NAME_MAX];
	if (!root->leftovers || !root->healthy)
		return;
	while (take(root->leftovers, temp)) {
		if (stage_discard_or_later(root, temp, NULL) < 0)
			return;
	}
}
