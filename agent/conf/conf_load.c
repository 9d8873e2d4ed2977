/* From the file to a struct conf: the table says what may stand there, this file walks both. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "agent/base/buf.h"
#include "agent/base/quote.h"
#include "agent/conf/conf.h"
#include "agent/conf/conf_table.h"
#include "agent/conf/conf_where.h"
#include "agent/conf/profile.h"

struct loader {
	const char *text; /* of the file, for line numbers */
	struct err *err;
};

/* "key" and its line, then what the caller says of it. */
static int wrong(const struct loader *l, const char *path, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
static int wrong(const struct loader *l, const char *path, const char *fmt, ...)
{
	char said[200];
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(said, sizeof(said), fmt, ap);
	va_end(ap);
	if (*path == '\0')
		return err_set(l->err, -EINVAL, "it %s", said);
	unsigned line = conf_line_of(l->text, path);
	char q[QUOTED_MAX];
	quote_path(q, path);
	if (line == 0)
		return err_set(l->err, -EINVAL, "%.80s %s", q, said);
	return err_set(l->err, -EINVAL, "line %u: %.80s %s", line, q, said);
}

static int load_text(const struct loader *l, const struct conf_key *key, const char *path,
		     const json_t *value, char **out)
{
	const char *text = json_string_value(value);
	bool shown = key->example && key->type == CONF_TEXT; /* that of a list is a list */
	if (!text)
		return wrong(l, path, "must be a text in double quotes%s%s",
			     shown ? ", as in " : "", shown ? key->example : "");
	if (json_string_length(value) > CONF_TEXT_MAX)
		return wrong(l, path, "is longer than %d bytes", CONF_TEXT_MAX);
	struct err why = {0};
	if (key->check && key->check(text, &why) < 0)
		return wrong(l, path, "%s", why.msg);
	bool known = !key->choices;
	char choices[120] = "";
	for (const char *const *c = key->choices; c && *c; c++) {
		known |= strcmp(*c, text) == 0;
		size_t len = strlen(choices);
		snprintf(choices + len, sizeof(choices) - len, "%s\"%s\"", len ? ", " : "", *c);
	}
	if (!known)
		return wrong(l, path, "must be one of %s", choices);
	*out = x_strdup(text);
	return 0;
}

static void element_path(char out[CONF_PATH_MAX], const char *path, size_t i)
{
	snprintf(out, CONF_PATH_MAX, "%.200s[%zu]", path, i);
}

/* The elements and a NULL after them. */
static int load_list(const struct loader *l, const struct conf_key *key, const char *path,
		     const json_t *value, char ***out, size_t *n)
{
	if (!json_is_array(value))
		return wrong(l, path, "must be a list of texts in square brackets%s%s",
			     key->example ? ", as in " : "", key->example ? key->example : "");
	size_t count = json_array_size(value);
	if (count > CONF_LIST_MAX)
		return wrong(l, path, "has %zu elements; at most %d are read", count,
			     CONF_LIST_MAX);
	*out = x_calloc(count + 1, sizeof(**out));
	for (size_t i = 0; i < count; i++) {
		char element[CONF_PATH_MAX];
		element_path(element, path, i);
		*n = i + 1;
		int r = load_text(l, key, element, json_array_get(value, i), &(*out)[i]);
		if (r < 0)
			return r;
	}
	return 0;
}

static int load_argv(const struct loader *l, const struct conf_key *key, const char *path,
		     const json_t *value, char ***out)
{
	size_t n = 0;
	int r = load_list(l, key, path, value, out, &n);
	if (r == 0 && n > 0 && (*out)[0][0] != '/')
		return wrong(l, path,
			     "must begin with the absolute path of a program: there is no shell to "
			     "find it");
	if (r == 0 && n == 0) {
		free(*out);
		*out = NULL;
	}
	return r;
}

static int load_number(const struct loader *l, const struct conf_key *key, const char *path,
		       const json_t *value, uint64_t *out)
{
	json_int_t n = json_integer_value(value);
	if (!json_is_integer(value) || n < 0 || (uint64_t)n < key->min || (uint64_t)n > key->max)
		return wrong(l, path, "must be a whole number from %" PRIu64 " to %" PRIu64 " (%s)",
			     key->min, key->max, key->unit);
	*out = (uint64_t)n;
	return 0;
}

static int load_object(const struct loader *l, const json_t *object, const char *path,
		       const char *prefix, const struct conf_key *keys, void *base);
static int finish_object(const struct loader *l, const char *path, const struct conf_key *keys,
			 void *base);

static int load_peers(const struct loader *l, const char *path, const json_t *value,
		      struct conf_peer **out, size_t *n)
{
	if (!json_is_array(value))
		return wrong(l, path, "must be a list of objects, [{\"node\": ..., ...}]");
	size_t count = json_array_size(value);
	if (count > CONF_PEERS_MAX)
		return wrong(l, path, "has %zu elements; at most %d peers are served", count,
			     CONF_PEERS_MAX);
	*out = x_calloc(count + 1, sizeof(**out));
	for (size_t i = 0; i < count; i++) {
		char element[CONF_PATH_MAX];
		element_path(element, path, i);
		*n = i + 1;
		int r = load_object(l, json_array_get(value, i), element, "", conf_peer_keys,
				    &(*out)[i]);
		if (r == 0)
			r = finish_object(l, element, conf_peer_keys, &(*out)[i]);
		if (r < 0)
			return r;
	}
	return 0;
}

static int load_value(const struct loader *l, const struct conf_key *key, const char *path,
		      const json_t *value, void *base)
{
	char *field = (char *)base + key->off;
	size_t *count = (size_t *)((char *)base + key->count_off);
	uint64_t number = 0;
	int r = 0;
	switch (key->type) {
	case CONF_TEXT: return load_text(l, key, path, value, (char **)field);
	case CONF_LIST: return load_list(l, key, path, value, (char ***)field, count);
	case CONF_ARGV: return load_argv(l, key, path, value, (char ***)field);
	case CONF_PEERS: return load_peers(l, path, value, (struct conf_peer **)field, count);
	case CONF_BOOL:
		if (!json_is_boolean(value))
			return wrong(l, path, "must be true or false");
		*(bool *)field = json_is_true(value);
		return 0;
	case CONF_U32:
		r = load_number(l, key, path, value, &number);
		if (r == 0)
			*(uint32_t *)field = (uint32_t)number;
		return r;
	case CONF_U64:
		r = load_number(l, key, path, value, &number);
		if (r == 0)
			*(uint64_t *)field = number;
		return r;
	}
	return r;
}

static const struct conf_key *key_find(const struct conf_key *keys, const char *name)
{
	for (; keys->name; keys++) {
		if (strcmp(keys->name, name) == 0)
			return keys;
	}
	return NULL;
}

static bool is_group(const struct conf_key *keys, const char *name)
{
	size_t len = strlen(name);
	for (; keys->name; keys++) {
		if (strncmp(keys->name, name, len) == 0 && keys->name[len] == '.')
			return true;
	}
	return false;
}

/* @param path    of the object in the file, for messages; "" for the whole
 * @param prefix  of its keys in the table: "tls." inside "tls" */
static int load_object(const struct loader *l, const json_t *object, const char *path,
		       const char *prefix, const struct conf_key *keys, void *base)
{
	if (!json_is_object(object))
		return wrong(l, path, "must be an object in braces");
	const char *member;
	json_t *value;
	json_object_foreach((json_t *)object, member, value)
	{
		char name[CONF_PATH_MAX], full[CONF_PATH_MAX];
		snprintf(name, sizeof(name), "%s%s", prefix, member);
		snprintf(full, sizeof(full), "%s%s%s", path, *path ? "." : "", member);
		const struct conf_key *key = key_find(keys, name);
		int r;
		if (key) {
			r = load_value(l, key, full, value, base);
		} else if (!*prefix && is_group(keys, name)) {
			char inner[CONF_PATH_MAX + 1];
			snprintf(inner, sizeof(inner), "%s.", name);
			r = load_object(l, value, full, inner, keys, base);
		} else {
			r = wrong(l, full, "is no key; the nearest there is \"%s\"",
				  conf_nearest_key(keys, name));
		}
		if (r < 0)
			return r;
	}
	return 0;
}

/* What is missing gets its default, or is missed. */
static int finish_object(const struct loader *l, const char *path, const struct conf_key *keys,
			 void *base)
{
	for (const struct conf_key *k = keys; k->name; k++) {
		char **text = (char **)((char *)base + k->off);
		if (k->type != CONF_TEXT || *text)
			continue;
		if (k->required)
			return wrong(l, path, "lacks \"%s\", as in %s", k->name, k->example);
		if (k->def_text)
			*text = x_strdup(k->def_text);
	}
	return 0;
}

static void set_number_defaults(struct conf *conf)
{
	for (const struct conf_key *k = conf_keys; k->name; k++) {
		char *field = (char *)conf + k->off;
		if (k->type == CONF_BOOL)
			*(bool *)field = k->def;
		else if (k->type == CONF_U32)
			*(uint32_t *)field = (uint32_t)k->def;
		else if (k->type == CONF_U64)
			*(uint64_t *)field = k->def;
	}
}

static int read_file(struct buf *out, const char *path, struct err *err)
{
	AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return err_sys(err, errno, "open");
	struct stat st;
	if (fstat(fd, &st) < 0)
		return err_sys(err, errno, "stat");
	if (!S_ISREG(st.st_mode))
		return err_set(err, -EINVAL, "is not a regular file");
	/* One byte more than is read in the end: a file that grows meanwhile is noticed, not cut.
	 */
	while (out->len <= CONF_FILE_MAX) {
		ssize_t n = read(fd, buf_extend(out, 4096), 4096);
		out->len -= n < 0 ? 4096 : 4096 - (size_t)n;
		if (n < 0)
			return err_sys(err, errno, "read");
		if (n == 0)
			break;
	}
	if (out->len > CONF_FILE_MAX)
		return err_set(err, -EINVAL, "is larger than %u bytes", CONF_FILE_MAX);
	buf_append(out, "", 1);
	return 0;
}

static void strip_slashes(char *path)
{
	for (size_t len = strlen(path); len > 1 && path[len - 1] == '/'; len--)
		path[len - 1] = '\0';
}

static bool is_within(const char *path, const char *dir)
{
	size_t len = strlen(dir);
	return strncmp(path, dir, len) == 0 && (path[len] == '/' || path[len] == '\0' || len == 1);
}

static int check_peer(const struct loader *l, const struct conf *conf, size_t i)
{
	char path[CONF_PATH_MAX];
	element_path(path, "peers", i);
	const struct conf_peer *peer = &conf->peers[i];
	if (strcmp(peer->node, conf->node) == 0)
		return wrong(l, path, "has this node's own name, \"%s\"", conf->node);
	for (size_t j = 0; j < i; j++) {
		if (strcmp(conf->peers[j].node, peer->node) == 0)
			return wrong(l, path, "has the same name as peers[%zu], \"%s\"", j,
				     peer->node);
	}
	if (peer->n_fingerprints == 0 && !peer->ca)
		return wrong(
			l, path,
			"has neither \"fingerprints\" nor \"ca\": nothing would prove who it is");
	if (!peer->address && !conf->listen)
		return wrong(l, path,
			     "has no \"address\", and this node does not \"listen\": they would "
			     "never meet");
	return 0;
}

/* What no single key can tell. */
static int check_together(const struct loader *l, struct conf *conf)
{
	strip_slashes(conf->tree);
	strip_slashes(conf->state_dir);
	if (is_within(conf->state_dir, conf->tree))
		return wrong(l, "state_dir", "must not be inside the tree: it would be replicated");
	if (is_within(conf->tree, conf->state_dir))
		return wrong(l, "tree", "must not be inside state_dir");
	if (conf->settle_max_ms < conf->settle_ms)
		return wrong(l, "settle_max_ms", "must not be less than settle_ms (%u)",
			     conf->settle_ms);
	struct err why = {0};
	AUTO(profile) *profile = NULL;
	if (profile_new(&profile, conf->profile, NULL, 0, true, &why) < 0)
		return wrong(l, "profile", "is unknown: %s", why.msg);
	for (size_t i = 0; i < conf->n_rules; i++) {
		char path[CONF_PATH_MAX];
		element_path(path, "rules", i);
		const char *rule = conf->rules[i];
		AUTO(profile) *one = NULL;
		if (profile_new(&one, "all", &rule, 1, true, &why) < 0)
			return wrong(l, path, "cannot be read: %s", why.msg);
	}
	for (size_t i = 0; i < conf->n_peers; i++) {
		int r = check_peer(l, conf, i);
		if (r < 0)
			return r;
	}
	return 0;
}

static void set_paths(struct conf *conf, const char *path)
{
	conf->path = x_strdup(path);
	if (!conf->tls_certificate)
		conf->tls_certificate = x_asprintf("%s/node.crt", conf->state_dir);
	if (!conf->tls_key)
		conf->tls_key = x_asprintf("%s/node.key", conf->state_dir);
}

/* The parser's text shows a piece of the file as it is; a message is one line. */
static void blank_controls(char *text)
{
	for (; *text; text++) {
		if ((unsigned char)*text < ' ' || *text == 0x7f)
			*text = ' ';
	}
}

/* @param file  its last byte is a NUL of our own */
static int parse(struct conf *conf, const struct buf *file, struct err *err)
{
	const char *text = (const char *)file->data;
	json_error_t where;
	json_t *root = json_loadb(text, file->len - 1, JSON_REJECT_DUPLICATES, &where);
	if (!root) {
		blank_controls(where.text);
		return err_set(err, -EINVAL, "line %d: is not JSON: %s", where.line, where.text);
	}
	struct loader l = {.text = text, .err = err};
	set_number_defaults(conf);
	int r = load_object(&l, root, "", "", conf_keys, conf);
	if (r == 0)
		r = finish_object(&l, "", conf_keys, conf);
	if (r == 0)
		r = check_together(&l, conf);
	json_decref(root);
	return r;
}

int conf_read(struct conf **out, const char *path, struct err *err)
{
	struct buf text = {0};
	AUTO(conf) *conf = x_calloc(1, sizeof(*conf));
	int r = read_file(&text, path, err);
	if (r == 0)
		r = parse(conf, &text, err);
	buf_release(&text);
	if (r < 0)
		return r;
	set_paths(conf, path);
	*out = STEAL(conf);
	return 0;
}

int conf_load(struct conf **out, const char *path, struct err *err)
{
	char q[QUOTED_MAX];
	int r = conf_read(out, path, err);
	return r < 0 ? err_wrap(err, "configuration %.100s", quote_path(q, path)) : 0;
}
