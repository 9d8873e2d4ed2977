#include "agent/sync/deep.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "agent/sync/job.h"

#define SLICE_RECORDS 256
#define SLICE_BYTES (64u << 20)

struct finding {
	char *path;
	char why[160];
};

struct deep {
	struct job job;
	uv_loop_t *loop;
	const struct capture_env *env;
	struct deep_events events;
	char *at; /* where the next slice begins */
	uint64_t files, bytes;
	struct finding *findings;
	size_t n_findings, cap_findings;
	bool more, closing;
	int result;
	struct err err;
};

static void check_one(struct deep *deep, const struct index_entry *entry)
{
	char why[160] = "";
	if (capture_verify(deep->env, entry, why) != 0) {
		GROW(deep->findings, deep->cap_findings, deep->n_findings + 1);
		struct finding *f = &deep->findings[deep->n_findings++];
		f->path = x_strdup(entry->rec.path);
		memcpy(f->why, why, sizeof(f->why));
	}
	deep->files += entry->rec.kind == RECORD_FILE;
	deep->bytes += entry->rec.size;
}

/* worker: a cursor is opened anew for each slice, so that no snapshot is held while gigabytes are
 * read. */
static void slice_work(struct job *job)
{
	struct deep *deep = container_of(job, struct deep, job);
	AUTO(store_cursor) *cursor = NULL;
	const struct index_entry *entry;
	uint64_t start = deep->bytes;
	int n = 0;
	deep->more = false;
	int r = store_cursor_open(&cursor, deep->env->store, deep->at, "", &deep->err);
	while (r >= 0 && (r = store_cursor_next(cursor, &entry, &deep->err)) > 0) {
		if (n == SLICE_RECORDS || deep->bytes - start > SLICE_BYTES) {
			free(deep->at);
			deep->at = x_strdup(entry->rec.path);
			deep->more = true;
			break;
		}
		n++;
		if (entry->rec.kind != RECORD_ABSENT)
			check_one(deep, entry);
	}
	deep->result = r < 0 ? r : 0;
}

static void slice_done(struct job *job)
{
	struct deep *deep = container_of(job, struct deep, job);
	for (size_t i = 0; i < deep->n_findings; i++) {
		if (!deep->closing)
			deep->events.difference(deep->events.owner, deep->findings[i].path,
						deep->findings[i].why);
		free(deep->findings[i].path);
	}
	deep->n_findings = 0;
	if (deep->more && deep->result == 0 && !deep->closing) {
		deep->events.progress(deep->events.owner, deep->files, deep->bytes);
		job_start(deep->loop, &deep->job, slice_work, slice_done);
		return;
	}
	struct deep_events events = deep->events;
	int result = deep->closing ? -ECANCELED : deep->result;
	char why[sizeof(deep->err.msg)];
	memcpy(why, deep->err.msg, sizeof(why));
	if (result == 0)
		events.progress(events.owner, deep->files, deep->bytes);
	free(deep->findings);
	free(deep->at);
	free(deep);
	events.done(events.owner, result, why);
}

struct deep *deep_start(uv_loop_t *loop, const struct capture_env *env,
			const struct deep_events *events)
{
	struct deep *deep = x_calloc(1, sizeof(*deep));
	deep->loop = loop;
	deep->env = env;
	deep->events = *events;
	deep->at = x_strdup("");
	job_start(loop, &deep->job, slice_work, slice_done);
	return deep;
}

void deep_close(struct deep *deep)
{
	deep->closing = true;
}
