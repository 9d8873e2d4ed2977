#include "agent/sync/refusals.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/base/alloc.h"
#include "agent/base/clock.h"
#include "agent/base/hash_table.h"
#include "agent/base/log.h"
#include "agent/base/quote.h"

#define REMEMBERED_MAX 5000 /* paths; a batch and what may be under way beside it */
#define REPEAT_MS 10000	    /* the same error is logged again after that */

struct refusal {
	UT_hash_handle hh;
	int error;
	char text[160];
	char path[];
};

struct refusals {
	struct refusal *paths; /* in the order of their coming */
	int logged_error;
	uint64_t logged_ms; /* 0: nothing yet */
	uint64_t unlogged;
};

struct refusals *refusals_new(void)
{
	return x_calloc(1, sizeof(struct refusals));
}

static void forget(struct refusals *refusals, struct refusal *one)
{
	HASH_DEL(refusals->paths, one);
	free(one);
}

void refusals_settle_all(struct refusals *refusals)
{
	struct refusal *one, *next;
	HASH_ITER (hh, refusals->paths, one, next) {
		forget(refusals, one);
	}
}

void refusals_free(struct refusals *refusals)
{
	if (!refusals)
		return;
	refusals_settle_all(refusals);
	free(refusals);
}

static void tell(struct refusals *refusals, const char *path, int error, const char *text)
{
	char q[QUOTED_MAX];
	uint64_t now = clock_mono_ms();
	bool repeated = refusals->logged_ms != 0 && error == refusals->logged_error && error != 0 &&
			now - refusals->logged_ms < REPEAT_MS;
	if (repeated) {
		refusals->unlogged++;
		return;
	}
	log_warn("receiver", "path=%s action=refused others=%" PRIu64 " err=\"%s\"",
		 quote_path(q, path), refusals->unlogged, text);
	refusals->unlogged = 0;
	refusals->logged_error = error;
	refusals->logged_ms = now;
}

void refusals_add(struct refusals *refusals, const char *path, int error, const char *text)
{
	struct refusal *one;
	tell(refusals, path, error, text);
	refusals_settle(refusals, path);
	if (HASH_COUNT(refusals->paths) >= REMEMBERED_MAX)
		return;
	size_t len = strlen(path);
	one = x_calloc(1, sizeof(*one) + len + 1);
	memcpy(one->path, path, len + 1);
	one->error = error;
	snprintf(one->text, sizeof(one->text), "%s", text);
	HASH_ADD_KEYPTR(hh, refusals->paths, one->path, len, one);
}

void refusals_settle(struct refusals *refusals, const char *path)
{
	struct refusal *one;
	if (!refusals->paths)
		return;
	HASH_FIND_STR(refusals->paths, path, one);
	if (one)
		forget(refusals, one);
}

size_t refusals_count(const struct refusals *refusals)
{
	return HASH_COUNT(refusals->paths);
}

int refusals_latest(const struct refusals *refusals, const char **path, const char **text)
{
	const struct refusal *last = NULL;
	if (refusals->paths)
		last = ELMT_FROM_HH(refusals->paths->hh.tbl, refusals->paths->hh.tbl->tail);
	*path = last ? last->path : NULL;
	*text = last ? last->text : "";
	return last ? last->error : 0;
}
