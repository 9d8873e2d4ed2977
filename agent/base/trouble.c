#include "agent/base/trouble.h"

#include <pthread.h>
#include <string.h>

#include "agent/base/clock.h"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct trouble troubles[TROUBLES_MAX];
static _Atomic size_t n_troubles;

/* Under the lock. */
static struct trouble *find(const char *what)
{
	for (size_t i = 0; i < n_troubles; i++) {
		if (strcmp(troubles[i].what, what) == 0)
			return &troubles[i];
	}
	return NULL;
}

void trouble_is(const char *what, const struct err *err)
{
	pthread_mutex_lock(&lock);
	struct trouble *trouble = find(what);
	if (!trouble && n_troubles < TROUBLES_MAX) {
		trouble = &troubles[n_troubles++];
		*trouble = (struct trouble){.what = what, .since_ms = clock_mono_ms()};
	}
	if (trouble) {
		trouble->err = *err;
		trouble->times++;
	}
	pthread_mutex_unlock(&lock);
}

void trouble_over(const char *what)
{
	if (n_troubles == 0)
		return;
	pthread_mutex_lock(&lock);
	struct trouble *trouble = find(what);
	if (trouble) {
		size_t behind = (size_t)(troubles + n_troubles - trouble - 1);
		memmove(trouble, trouble + 1, behind * sizeof(*trouble));
		n_troubles--;
	}
	pthread_mutex_unlock(&lock);
}

int trouble_result(const char *what, int result, const struct err *err)
{
	if (result < 0)
		trouble_is(what, err);
	else
		trouble_over(what);
	return result;
}

size_t trouble_list(struct trouble out[TROUBLES_MAX])
{
	pthread_mutex_lock(&lock);
	size_t n = n_troubles;
	memcpy(out, troubles, n * sizeof(*out));
	pthread_mutex_unlock(&lock);
	return n;
}
