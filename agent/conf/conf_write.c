/* The ways in which the program itself changes its configuration: init and pair. */
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "agent/base/fault.h"
#include "agent/base/quote.h"
#include "agent/conf/conf.h"
#include "agent/conf/conf_table.h"

#define TEXT_FLAGS (JSON_INDENT(2) | JSON_ENSURE_ASCII)

static char *parent_of(const char *path)
{
	AUTO_FREE char *copy = x_strdup(path);
	return x_strdup(dirname(copy));
}

static int sync_parent(const char *path, struct err *err)
{
	AUTO_FREE char *dir = parent_of(path);
	AUTO_CLOSE int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int fault = fault_point("conf sync directory");
	if (fault || fd < 0 || fsync(fd) < 0)
		return err_sys(err, fault ? fault : errno, "sync directory %.100s", dir);
	return 0;
}

static int write_all(int fd, const char *text, struct err *err)
{
	int fault = fault_point("conf write");
	if (fault)
		return err_sys(err, fault, "write");
	for (size_t left = strlen(text); left > 0;) {
		ssize_t n = write(fd, text, left);
		if (n < 0)
			return err_sys(err, errno, "write");
		text += n;
		left -= (size_t)n;
	}
	fault = fault_point("conf sync");
	if (fault || fsync(fd) < 0)
		return err_sys(err, fault ? fault : errno, "sync");
	return 0;
}

/* Writes `root` beside `path` and gives the temporary's name, which the caller unlinks or renames.
 * It is read back the way the agent will read it: a file that the agent refuses never takes the
 * place of one that it accepts. */
static int write_beside(char **temp, const char *path, const json_t *root, const struct stat *like,
			struct err *err)
{
	AUTO_FREE char *text = json_dumps(root, TEXT_FLAGS);
	BUG_ON(!text);
	AUTO_FREE char *with_newline = x_asprintf("%s\n", text);
	AUTO_FREE char *name = x_asprintf("%s.XXXXXX", path);
	AUTO_CLOSE int fd = mkostemp(name, O_CLOEXEC);
	if (fd < 0)
		return err_sys(err, errno, "create a file beside it");
	int r = write_all(fd, with_newline, err);
	/* An owner we may not give is kept as ours: mode 0600 and our own, as init makes it. */
	if (r == 0 && like && fchown(fd, like->st_uid, like->st_gid) == 0 &&
	    fchmod(fd, like->st_mode & 07777) < 0)
		r = err_sys(err, errno, "give it its mode");
	AUTO(conf) *read_back = NULL;
	if (r == 0)
		r = conf_read(&read_back, name, err);
	if (r < 0) {
		unlink(name);
		return r;
	}
	*temp = STEAL(name);
	return 0;
}

static int make_parent(const char *path, struct err *err)
{
	AUTO_FREE char *dir = parent_of(path);
	if (mkdir(dir, 0755) == 0)
		return sync_parent(dir, err);
	if (errno != EEXIST)
		return err_sys(err, errno, "make directory %.100s", dir);
	return 0;
}

static json_t *init_object(const struct conf_init *init)
{
	json_t *root = json_object();
	const struct {
		const char *key, *value;
	} texts[] = {
		{"node", init->node},	  {"group", init->group},
		{"tree", init->tree},	  {"state_dir", init->state_dir},
		{"listen", init->listen}, {"profile", init->profile},
	};
	for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
		if (texts[i].value)
			json_object_set_new(root, texts[i].key, json_string(texts[i].value));
	}
	json_t *follow = json_array();
	for (size_t i = 0; i < init->n_follow; i++)
		json_array_append_new(follow, json_string(init->follow[i]));
	if (init->n_follow > 0)
		json_object_set(root, "follow", follow);
	json_decref(follow);
	json_object_set_new(root, "peers", json_array());
	return root;
}

int conf_write_new(const char *path, const struct conf_init *init, struct err *err)
{
	char q[QUOTED_MAX];
	AUTO_FREE char *temp = NULL;
	json_t *root = init_object(init);
	int r = make_parent(path, err);
	if (r == 0)
		r = write_beside(&temp, path, root, NULL, err);
	json_decref(root);
	if (r == 0) {
		/* link, not rename: it never takes the place of a file that is there. */
		int fault = fault_point("conf link");
		if (fault || link(temp, path) < 0)
			r = err_sys(err, fault ? fault : errno, "create");
		unlink(temp);
	}
	if (r == 0)
		r = sync_parent(path, err);
	return r < 0 ? err_wrap(err, "configuration %.100s", quote_path(q, path)) : 0;
}

static json_t *find_peer(json_t *peers, const char *node)
{
	size_t i;
	json_t *peer;
	json_array_foreach(peers, i, peer)
	{
		const char *name = json_string_value(json_object_get(peer, "node"));
		if (name && strcmp(name, node) == 0)
			return peer;
	}
	peer = json_object();
	json_object_set_new(peer, "node", json_string(node));
	json_array_append_new(peers, peer);
	return peer;
}

/* `under` gives the member of that name, made when it is missing. Borrowed. */
static json_t *list_in(json_t *object, const char *name)
{
	if (!json_object_get(object, name))
		json_object_set_new(object, name, json_array());
	return json_object_get(object, name);
}

static void add_fingerprint(json_t *peer, const char *fingerprint)
{
	json_t *list = list_in(peer, "fingerprints");
	size_t i;
	json_t *known;
	json_array_foreach(list, i, known)
	{
		if (strcasecmp(json_string_value(known), fingerprint) == 0)
			return;
	}
	json_array_append_new(list, json_string(fingerprint));
}

static int replace(const char *path, const json_t *root, struct err *err)
{
	struct stat st;
	if (stat(path, &st) < 0)
		return err_sys(err, errno, "stat");
	AUTO_FREE char *temp = NULL;
	int r = write_beside(&temp, path, root, &st, err);
	if (r < 0)
		return r;
	int fault = fault_point("conf rename");
	if (fault || rename(temp, path) < 0) {
		r = err_sys(err, fault ? fault : errno, "rename over it");
		unlink(temp);
		return r;
	}
	return sync_parent(path, err);
}

/* hash_from_hex() reads lower case; people paste either. */
static char *fingerprint_lower(const char *fingerprint)
{
	char *lower = x_strdup(fingerprint);
	for (char *c = lower; *c; c++)
		*c = (char)tolower((unsigned char)*c);
	return lower;
}

static int check_arguments(const char *node, const char *address, const char *fingerprint,
			   struct err *err)
{
	struct err why = {0};
	if (conf_check_name(node, &why) < 0)
		return err_set(err, -EINVAL, "node name \"%.64s\" %s", node, why.msg);
	if (address && conf_check_address(address, &why) < 0)
		return err_set(err, -EINVAL, "address \"%.64s\" %s", address, why.msg);
	if (conf_check_fingerprint(fingerprint, &why) < 0)
		return err_set(err, -EINVAL, "fingerprint \"%.80s\" %s", fingerprint, why.msg);
	return 0;
}

int conf_add_follow(const char *path, const char *follow, struct err *err)
{
	AUTO(conf) *conf = NULL;
	int r = conf_load(&conf, path, err);
	if (r < 0)
		return r;
	AUTO_FREE char *real = realpath(path, NULL);
	json_t *root = real ? json_load_file(real, 0, NULL) : NULL;
	if (!root)
		return err_set(err, -EIO, "configuration %.100s cannot be read a second time",
			       path);
	json_array_append_new(list_in(root, "follow"), json_string(follow));
	r = replace(real, root, err);
	json_decref(root);
	return r < 0 ? err_wrap(err, "configuration %.100s", path) : 0;
}

static int change_peer(const char *path, const char *node, const char *address,
		       const char *fingerprint, bool alone, struct err *err)
{
	AUTO_FREE char *lower = fingerprint_lower(fingerprint);
	int r = check_arguments(node, address, lower, err);
	if (r < 0)
		return r;
	/* Only a file that is right as it stands is changed: then its shape is known below. */
	AUTO(conf) *conf = NULL;
	r = conf_load(&conf, path, err);
	if (r < 0)
		return r;
	/* A configuration that is a symbolic link (a mounted secret, a managed file) stays one. */
	AUTO_FREE char *real = realpath(path, NULL);
	json_t *root = real ? json_load_file(real, 0, NULL) : NULL;
	if (!root)
		return err_set(err, -EIO, "configuration %.100s cannot be read a second time",
			       path);
	json_t *peer = find_peer(list_in(root, "peers"), node);
	if (address)
		json_object_set_new(peer, "address", json_string(address));
	if (alone)
		json_object_set_new(peer, "fingerprints", json_array());
	add_fingerprint(peer, lower);
	r = replace(real, root, err);
	json_decref(root);
	return r < 0 ? err_wrap(err, "configuration %.100s", path) : 0;
}

int conf_add_peer(const char *path, const char *node, const char *address, const char *fingerprint,
		  struct err *err)
{
	return change_peer(path, node, address, fingerprint, false, err);
}

int conf_replace_peer(const char *path, const char *node, const char *address,
		      const char *fingerprint, struct err *err)
{
	return change_peer(path, node, address, fingerprint, true, err);
}
