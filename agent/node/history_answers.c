#include "agent/node/history_answers.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "agent/base/clock.h"
#include "agent/base/quote.h"
#include "agent/ops/control.h"
#include "protocol/relpath.h"

#define VERSIONS_MAX 1000 /* listed; older ones are counted as "truncated" */

int history_policy(struct meta_policy *out, const struct conf *conf, struct err *err)
{
	*out = (struct meta_policy){.ownership = OWNERSHIP_IGNORE, .allow_setid = conf->setid};
	int r = conf_owner(conf, &out->uid, &out->gid, err);
	if (r < 0)
		return r;
	if (r > 0)
		out->ownership = OWNERSHIP_FIXED;
	else if (strcmp(conf->ownership, "preserve") == 0)
		out->ownership = OWNERSHIP_PRESERVE;
	return 0;
}

static json_t *text_json(const char *bytes)
{
	AUTO_FREE char *text = quote_utf8(bytes);
	return json_string(text);
}

static json_t *time_json(int64_t ns)
{
	char text[CLOCK_TEXT_MAX];
	return json_string(clock_text(text, ns));
}

/* ---- versions ------------------------------------------------------------------------------- */

static const char *kind_name(enum record_kind kind)
{
	static const char *const names[] = {"unknown", "file", "directory", "link", "absent"};
	return names[kind >= RECORD_FILE && kind <= RECORD_ABSENT ? kind : 0];
}

static json_t *record_json(const struct record *rec)
{
	char hex[HASH_HEX_MAX];
	json_t *out = json_pack("{s:s}", "kind", kind_name(rec->kind));
	if (rec->kind == RECORD_ABSENT)
		return out;
	json_object_set_new(out, "mtime", time_json(rec->mtime_ns));
	if (rec->kind != RECORD_SYMLINK)
		json_object_set_new(out, "mode", json_sprintf("%04o", rec->mode));
	if (rec->kind == RECORD_FILE) {
		json_object_set_new(out, "size", json_integer((json_int_t)rec->size));
		json_object_set_new(out, "hash", json_string(hash_hex(hex, rec->hash)));
	}
	if (rec->kind == RECORD_SYMLINK) {
		AUTO_FREE char *target = x_strndup((const char *)rec->target, rec->target_len);
		json_object_set_new(out, "target", text_json(target));
	}
	return out;
}

static json_t *version_json(struct history *history, const struct history_version *version,
			    const struct history_version *older)
{
	json_t *out = record_json(&version->entry.rec);
	json_object_set_new(out, "version", json_integer((json_int_t)version->txn));
	json_object_set_new(out, "from", older ? time_json(older->until_ns) : json_null());
	json_object_set_new(out, "until", time_json(version->until_ns));
	if (version->entry.rec.kind != RECORD_ABSENT)
		json_object_set_new(out, "content",
				    json_string(history_where(history, &version->entry.rec)));
	return out;
}

static json_t *current_json(struct store *store, const char *path)
{
	struct index_entry entry;
	if (store_get(store, path, &entry, NULL) < 0)
		return json_null();
	json_t *out = record_json(&entry.rec);
	index_entry_release(&entry);
	return out;
}

json_t *history_answer(struct history *history, struct store *store, const char *path,
		       struct err *err)
{
	AUTO_FREE struct history_version *versions = x_calloc(VERSIONS_MAX + 1, sizeof(*versions));
	size_t n;
	if (store_history_versions(store, path, versions, VERSIONS_MAX + 1, &n, err) < 0)
		return NULL;
	json_t *list = json_array();
	for (size_t i = 0; i < n && i < VERSIONS_MAX; i++)
		json_array_append_new(list, version_json(history, &versions[i],
							 i + 1 < n ? &versions[i + 1] : NULL));
	for (size_t i = 0; i < n; i++)
		history_version_release(&versions[i]);
	return json_pack("{s:o, s:o, s:o, s:b}", "path", text_json(path), "current",
			 current_json(store, path), "versions", list, "truncated",
			 n > VERSIONS_MAX);
}

/* ---- restoring ------------------------------------------------------------------------------ */

static int read_paths(struct restore_order *out, const json_t *list, struct err *err)
{
	char **paths = x_calloc(json_array_size(list) + 1, sizeof(*paths));
	size_t i;
	const json_t *value;
	out->paths = paths;
	json_array_foreach((json_t *)list, i, value)
	{
		const char *text = json_string_value(value);
		char *path = text ? unquote_utf8(text) : NULL;
		const char *wrong =
			path ? relpath_wrong(path, strlen(path), true) : "is not a path";
		if (wrong) {
			free(path);
			return err_set(err, -EINVAL, "the path \"%.100s\" %s", text ? text : "",
				       wrong);
		}
		paths[out->n_paths++] = path;
	}
	return 0;
}

int restore_order_read(struct restore_order *out, const json_t *args, struct err *err)
{
	const char *to = json_string_value(json_object_get(args, "to"));
	const json_t *at = json_object_get(args, "at_ns");
	*out = (struct restore_order){
		.at_ns = json_integer_value(at),
		.version = (uint64_t)json_integer_value(json_object_get(args, "version"))};
	out->to = to ? unquote_utf8(to) : NULL;
	if (!out->to || *out->to != '/')
		return err_set(err, -EINVAL, "the directory to restore to must be absolute");
	int r = read_paths(out, json_object_get(args, "paths"), err);
	if (r < 0)
		return r;
	if (out->version && out->n_paths != 1)
		return err_set(err, -EINVAL, "a version is one of exactly one path");
	if (!out->version && !json_is_integer(at))
		return err_set(err, -EINVAL, "restore needs a time or a version");
	return 0;
}

void restore_order_release(struct restore_order *order)
{
	for (size_t i = 0; i < order->n_paths; i++)
		free(order->paths[i]);
	free((void *)order->paths);
	free((void *)order->to);
	*order = (struct restore_order){0};
}

static json_t *barrier_json(const struct restore_result *result)
{
	char hex[HASH_HEX_MAX];
	const struct history_barrier *b = &result->barrier;
	if (b->txn == 0)
		return json_null();
	json_t *out = json_pack("{s:I, s:s, s:I}", "seq", (json_int_t)b->seq, "digest",
				hash_hex(hex, b->digest), "records", (json_int_t)b->records);
	json_object_set_new(out, "time", time_json(b->first_ns));
	json_object_set_new(out, "until", time_json(b->last_ns));
	return out;
}

json_t *restore_answer(const struct restore_result *result)
{
	char hex[HASH_HEX_MAX];
	json_t *failures = json_array();
	for (size_t i = 0; i < result->n_failures && i < RESTORE_FAILURES_MAX; i++)
		json_array_append_new(failures,
				      json_pack("{s:o, s:o}", "path",
						text_json(result->failures[i].path), "reason",
						text_json(result->failures[i].why)));
	return json_pack("{s:o, s:s, s:b, s:I, s:I, s:I, s:I, s:I, s:o}", "barrier",
			 barrier_json(result), "digest", hash_hex(hex, result->digest),
			 "digest_matches", result->digest_matches, "files",
			 (json_int_t)result->files, "directories", (json_int_t)result->directories,
			 "links", (json_int_t)result->links, "bytes", (json_int_t)result->bytes,
			 "failed", (json_int_t)result->n_failures, "failures", failures);
}

int restore_exit_code(int error, const char **remedy)
{
	switch (error) {
	case -ENOENT:
		*remedy = "artifact-sync history PATH lists what is kept of a path; `history' in "
			  "`status --json' says since when trees can be restored";
		return EXIT_NO;
	case -EEXIST:
	case -EPERM:
		*remedy = "name an empty or a new directory outside the tree";
		return EXIT_REFUSED;
	case -EINVAL: *remedy = NULL; return EXIT_USAGE;
	default: *remedy = "what was restored so far is incomplete: remove it"; return EXIT_NO;
	}
}
