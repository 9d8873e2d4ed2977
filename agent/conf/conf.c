#include "agent/conf/conf.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/conf/conf_table.h"

static void texts_free(char **texts, size_t n)
{
	for (size_t i = 0; texts && i < n; i++)
		free(texts[i]);
	free(texts);
}

static size_t argv_length(char *const *argv)
{
	size_t n = 0;
	while (argv && argv[n])
		n++;
	return n;
}

static void release_keys(const struct conf_key *keys, void *base)
{
	for (const struct conf_key *k = keys; k->name; k++) {
		void *field = (char *)base + k->off;
		size_t *count = (size_t *)((char *)base + k->count_off);
		if (k->type == CONF_TEXT)
			free(*(char **)field);
		else if (k->type == CONF_LIST)
			texts_free(*(char ***)field, *count);
		else if (k->type == CONF_ARGV)
			texts_free(*(char ***)field, argv_length(*(char ***)field));
	}
}

void conf_free(struct conf *conf)
{
	if (!conf)
		return;
	for (size_t i = 0; i < conf->n_peers; i++)
		release_keys(conf_peer_keys, &conf->peers[i]);
	free(conf->peers);
	release_keys(conf_keys, conf);
	free(conf->path);
	free(conf);
}

static bool text_equal(const char *a, const char *b)
{
	return a && b ? strcmp(a, b) == 0 : a == b;
}

static bool texts_equal(char *const *a, size_t n_a, char *const *b, size_t n_b)
{
	if (n_a != n_b)
		return false;
	for (size_t i = 0; i < n_a; i++) {
		if (!text_equal(a[i], b[i]))
			return false;
	}
	return true;
}

static bool peers_equal(const struct conf *a, const struct conf *b);

static bool key_equal(const struct conf_key *k, const void *a, const void *b)
{
	const void *at = (const char *)a + k->off, *bt = (const char *)b + k->off;
	switch (k->type) {
	case CONF_TEXT: return text_equal(*(char *const *)at, *(char *const *)bt);
	case CONF_LIST:
		return texts_equal(
			*(char **const *)at, *(const size_t *)((const char *)a + k->count_off),
			*(char **const *)bt, *(const size_t *)((const char *)b + k->count_off));
	case CONF_ARGV: {
		char *const *x = *(char **const *)at, *const *y = *(char **const *)bt;
		return texts_equal(x, argv_length(x), y, argv_length(y));
	}
	case CONF_BOOL: return *(const bool *)at == *(const bool *)bt;
	case CONF_U32: return *(const uint32_t *)at == *(const uint32_t *)bt;
	case CONF_U64: return *(const uint64_t *)at == *(const uint64_t *)bt;
	case CONF_PEERS: return peers_equal(a, b);
	}
	return false;
}

static bool peers_equal(const struct conf *a, const struct conf *b)
{
	if (a->n_peers != b->n_peers)
		return false;
	for (size_t i = 0; i < a->n_peers; i++) {
		for (const struct conf_key *k = conf_peer_keys; k->name; k++) {
			if (!key_equal(k, &a->peers[i], &b->peers[i]))
				return false;
		}
	}
	return true;
}

void conf_reload_obstacles(char *out, size_t size, const struct conf *now, const struct conf *next)
{
	size_t len = 0;
	out[0] = '\0';
	for (const struct conf_key *k = conf_keys; k->name; k++) {
		if (k->live || key_equal(k, now, next) || len >= size)
			continue;
		len += (size_t)snprintf(out + len, size - len, "%s%s", len ? ", " : "", k->name);
	}
}

static int number_or(const char *text, uint32_t *out)
{
	char *end;
	errno = 0;
	unsigned long n = strtoul(text, &end, 10);
	if (*text < '0' || *text > '9' || *end || errno || n >= UINT32_MAX)
		return -EINVAL;
	*out = (uint32_t)n;
	return 0;
}

int conf_owner(const struct conf *conf, uint32_t *uid, uint32_t *gid, struct err *err)
{
	const char *colon = strchr(conf->ownership, ':');
	if (!colon)
		return 0;
	AUTO_FREE char *user = x_strndup(conf->ownership, (size_t)(colon - conf->ownership));
	if (number_or(user, uid) < 0) {
		const struct passwd *pw = getpwnam(user);
		if (!pw)
			return err_set(err, -EINVAL,
				       "ownership \"%.100s\": there is no user \"%.60s\" here",
				       conf->ownership, user);
		*uid = pw->pw_uid;
	}
	if (number_or(colon + 1, gid) < 0) {
		const struct group *gr = getgrnam(colon + 1);
		if (!gr)
			return err_set(err, -EINVAL,
				       "ownership \"%.100s\": there is no group \"%.60s\" here",
				       conf->ownership, colon + 1);
		*gid = gr->gr_gid;
	}
	return 1;
}
