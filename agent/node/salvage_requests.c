/* salvage_requests.c - `salvage list`, `show`, `restore` and `purge`: what was moved out of the
 * way, the way back, and the end of it. */
#include "agent/node/node_internal.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>

#include "agent/base/clock.h"
#include "agent/base/log.h"
#include "agent/base/quote.h"
#include "agent/sync/job.h"
#include "agent/sync/salvage.h"

static json_t *text_json(const char *bytes)
{
	AUTO_FREE char *text = quote_utf8(bytes);
	return json_string(text);
}

static const char *kind_of(const struct file_stat *stat)
{
	return S_ISDIR(stat->mode)   ? "directory"
	       : S_ISLNK(stat->mode) ? "link"
	       : S_ISREG(stat->mode) ? "file"
				     : "other";
}

static json_t *row_json(const struct salvage_row *row)
{
	char when[CLOCK_TEXT_MAX];
	return json_pack("{s:s, s:o, s:o, s:s, s:I, s:s, s:b}", "id", row->id, "path",
			 text_json(row->path), "why", text_json(row->why), "when",
			 clock_text(when, row->when_ns), "size", (json_int_t)row->bytes, "kind",
			 kind_of(&row->stat), "complete", row->complete);
}

static void answer_list(struct node *node, struct control_call *call,
			const struct salvage_row *rows, size_t n)
{
	json_t *entries = json_array();
	for (size_t i = 0; i < n; i++) {
		if (rows[i].complete)
			json_array_append_new(entries, row_json(&rows[i]));
	}
	control_done(call, EXIT_DONE,
		     json_pack("{s:o, s:I, s:I}", "entries", entries, "bytes",
			       (json_int_t)store_salvage_bytes(node->store), "limit_bytes",
			       (json_int_t)node->salvage_max));
}

/* Where it stood: an absolute path. */
static char *standing_at(const struct node *node, const struct salvage_row *row)
{
	const char *sub;
	const struct root *root = tree_resolve(node->tree, row->path, &sub);
	return *sub ? x_asprintf("%s/%s", root->location, sub) : x_strdup(root->location);
}

static void answer_show(struct node *node, struct control_call *call, const struct salvage_row *row)
{
	char mtime[CLOCK_TEXT_MAX], hex[HASH_HEX_MAX];
	AUTO_FREE char *standing = standing_at(node, row);
	AUTO_FREE char *location = salvage_location(node->tree, row);
	json_t *out = row_json(row);
	json_object_set_new(out, "location", location ? text_json(location) : json_null());
	json_object_set_new(out, "stood_at", text_json(standing));
	json_object_set_new(out, "sha256",
			    row->has_hash ? json_string(hash_hex(hex, row->hash)) : json_null());
	json_object_set_new(out, "root", text_json(row->root_at));
	json_object_set_new(out, "epoch", json_integer((json_int_t)row->epoch));
	json_object_set_new(out, "mode", json_sprintf("%04o", row->stat.mode & 07777));
	json_object_set_new(out, "owner", json_sprintf("%u:%u", row->stat.uid, row->stat.gid));
	json_object_set_new(out, "mtime", json_string(clock_text(mtime, row->stat.mtime_ns)));
	control_done(call, EXIT_DONE, out);
}

struct restore_job {
	struct job job;
	struct node *node;
	struct control_call *call; /* NULL: the command hung up; the restoring ends all the same */
	struct salvage_row *rows;
	size_t n, at;
	char *to, *restored;
	int result;
	struct err err;
};

static void restore_work(struct job *job)
{
	struct restore_job *r = container_of(job, struct restore_job, job);
	r->result = salvage_restore(&r->restored, r->node->store, r->node->tree, &r->rows[r->at],
				    r->to, &r->err);
}

static void restore_done(struct job *job)
{
	struct restore_job *r = container_of(job, struct restore_job, job);
	struct node *node = r->node;
	struct control_call *call = r->call;
	if (call)
		control_call_set_data(call, NULL);
	if (call && r->result < 0)
		control_fail(call, EXIT_NO, "name another place with --to; nothing was changed",
			     "%s", r->err.msg);
	else if (call)
		control_done(call, EXIT_DONE,
			     json_pack("{s:o}", "restored", text_json(r->restored)));
	salvage_rows_free(r->rows, r->n);
	free(r->to);
	free(r->restored);
	free(r);
	node_closed_one(node);
}

/* Takes the rows. */
static void restore(struct node *node, struct control_call *call, struct salvage_row *rows,
		    size_t n, size_t at, const char *to)
{
	struct restore_job *r = x_calloc(1, sizeof(*r));
	r->node = node;
	r->call = call;
	r->rows = rows;
	r->n = n;
	r->at = at;
	r->to = to ? unquote_utf8(to) : NULL;
	control_call_set_data(call, &r->call);
	node->closing++;
	job_start(&node->loop, &r->job, restore_work, restore_done);
}

/* ---- purging --------------------------------------------------------------------------------- */

struct purge_job {
	struct job job;
	struct node *node;
	struct control_call *call; /* NULL: the command hung up; the removing ends all the same */
	struct salvage_row *rows;
	size_t n;
	bool *chosen;
	size_t purged, failed;
	uint64_t bytes;
	struct err err; /* of the first that failed */
};

static void purge_work(struct job *job)
{
	struct purge_job *p = container_of(job, struct purge_job, job);
	for (size_t i = 0; i < p->n; i++) {
		struct err err = {0};
		if (!p->chosen[i])
			continue;
		if (salvage_purge(p->node->store, p->node->tree, &p->rows[i], &err) == 0) {
			p->purged++;
			p->bytes += p->rows[i].bytes;
		} else if (p->failed++ == 0) {
			p->err = err;
		}
	}
}

static void purge_done(struct job *job)
{
	struct purge_job *p = container_of(job, struct purge_job, job);
	struct node *node = p->node;
	log_info("salvage", "purged=%zu bytes=%" PRIu64 " failed=%zu", p->purged, p->bytes,
		 p->failed);
	if (p->call)
		control_call_set_data(p->call, NULL);
	if (p->call && p->failed > 0)
		control_fail(p->call, EXIT_NO, "artifact-sync salvage list shows what is left",
			     "%zu entries were removed and %zu could not be: %s", p->purged,
			     p->failed, p->err.msg);
	else if (p->call)
		control_done(p->call, EXIT_DONE,
			     json_pack("{s:I, s:I}", "purged", (json_int_t)p->purged, "bytes",
				       (json_int_t)p->bytes));
	salvage_rows_free(p->rows, p->n);
	free(p->chosen);
	free(p);
	node_closed_one(node);
}

static bool choose_id(struct purge_job *p, const char *id)
{
	for (size_t i = 0; id && i < p->n; i++) {
		if (strcmp(p->rows[i].id, id) == 0) {
			p->chosen[i] = true;
			return true;
		}
	}
	return false;
}

/* @return false when it was answered: an entry is not there */
static bool choose(struct purge_job *p, const json_t *args)
{
	const json_t *ids = json_object_get(args, "ids"), *id;
	const json_t *before = json_object_get(args, "before_ns");
	size_t k;
	/* What came while a person was asked was not meant by "all". */
	for (size_t i = 0; json_is_integer(before) && i < p->n; i++)
		p->chosen[i] =
			p->rows[i].complete && p->rows[i].when_ns < json_integer_value(before);
	json_array_foreach((json_t *)ids, k, id)
	{
		if (choose_id(p, json_string_value(id)))
			continue;
		control_fail(p->call, EXIT_NO, "artifact-sync salvage list prints the IDs",
			     "the salvage has no entry %.60s; nothing was removed",
			     json_is_string(id) ? json_string_value(id) : "?");
		return false;
	}
	return true;
}

/* Takes the rows. */
static void purge(struct node *node, struct control_call *call, const json_t *args,
		  struct salvage_row *rows, size_t n)
{
	struct purge_job *p = x_calloc(1, sizeof(*p));
	p->node = node;
	p->call = call;
	p->rows = rows;
	p->n = n;
	p->chosen = x_calloc(n ? n : 1, sizeof(*p->chosen));
	if (!choose(p, args)) {
		salvage_rows_free(rows, n);
		free(p->chosen);
		free(p);
		return;
	}
	control_call_set_data(call, &p->call);
	node->closing++;
	job_start(&node->loop, &p->job, purge_work, purge_done);
}

void salvage_request(struct node *node, struct control_call *call, const json_t *args)
{
	const char *action = json_string_value(json_object_get(args, "action"));
	const char *id = json_string_value(json_object_get(args, "id"));
	const char *to = json_string_value(json_object_get(args, "to"));
	struct salvage_row *rows = NULL;
	struct err err = {0};
	size_t n = 0, at = 0;
	if (store_salvage_list(node->store, &rows, &n, &err) < 0) {
		control_fail(call, EXIT_NO, NULL, "%s", err.msg);
		return;
	}
	while (id && at < n && strcmp(rows[at].id, id) != 0)
		at++;
	bool is_list = action && strcmp(action, "list") == 0;
	bool is_restore = action && strcmp(action, "restore") == 0;
	if (is_list) {
		answer_list(node, call, rows, n);
		readiness_salvage_shown(node, rows, n);
	} else if (action && strcmp(action, "purge") == 0)
		purge(node, call, args, STEAL(rows), n);
	else if (!id || at == n)
		control_fail(call, EXIT_NO, "artifact-sync salvage list prints the IDs",
			     "the salvage has no entry %.60s", id ? id : "without an ID");
	else if (is_restore && !to && !node_is_active(node))
		control_fail(call, EXIT_REFUSED,
			     "name another place with --to, or restore it on the active node",
			     "the tree of a passive node is written by nobody but the active one");
	else if (is_restore)
		restore(node, call, STEAL(rows), n, at, to);
	else
		answer_show(node, call, &rows[at]);
	if (rows)
		salvage_rows_free(rows, n);
}
