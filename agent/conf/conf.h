/* conf.h - the configuration, read once into a const struct; reload builds a second one. One table
 * (conf_table.c) parses, bounds, defaults and documents every key; unknown keys are errors that
 * name the key, its line and the nearest known one. Thread: any, read-only. */
#ifndef CONF_CONF_H
#define CONF_CONF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/base/alloc.h"
#include "agent/base/err.h"

#define CONF_DEFAULT_PATH "/etc/artifact-sync/config.json"

struct conf_peer {
	char *node;
	char *address; /* host:port; NULL: it dials us */
	char **fingerprints;
	size_t n_fingerprints;
	char *ca, *name; /* NULL unless a CA is used */
};

struct conf {
	char *path; /* of the file */
	char *node, *group, *tree, *state_dir, *listen, *profile;
	char **follow;
	size_t n_follow;
	struct conf_peer *peers;
	size_t n_peers;
	char *tls_certificate, *tls_key; /* default <state_dir>/node.crt, node.key */
	char **rules;
	size_t n_rules;
	char *ownership; /* "ignore" (default), "preserve" or "uid:gid" (numbers or names) */
	bool setid;	 /* replicate setuid and setgid bits */
	bool gates;
	uint32_t settle_ms, settle_max_ms; /* 25, 30000 */
	uint32_t set_settle_ms;		   /* 1000 */
	uint32_t scan_interval_s;	   /* 600 */
	uint32_t max_delete;		   /* per cent; UINT32_MAX: the profile's default */
	uint32_t max_rewrite;		   /* per cent; 0: no brake */
	bool peer_approvals;
	uint64_t salvage_bytes;	   /* 10 GiB; 0: no limit */
	char *drift;		   /* "revert" | "report" */
	uint64_t rate_bytes_per_s; /* 0: unlimited */
	uint64_t window_bytes;	   /* 32 MiB */
	uint32_t tombstone_days;   /* 30 */
	char *http_listen;	   /* NULL: none */
	uint32_t history_keep_days;
	uint64_t history_keep_bytes; /* 7, 1 GiB; keep_days 0: none */
	char *log_level;	     /* "info" */
	/* hooks: argv arrays; NULL-terminated; NULL when not configured */
	char **hook_before_demote, **hook_after_demote, **hook_before_promote, **hook_after_promote,
		**hook_on_fenced, **hook_on_drift;
};

/* @return 0; -ENOENT; -EINVAL with a message that names key and line; *out is heap */
int conf_load(struct conf **out, const char *path, struct err *err);
void conf_free(struct conf *conf);
DEFINE_AUTO(conf)

/* What `init` writes: a new file (0600), synced, in a directory that is made when only it is
 * missing. -EEXIST when there is one. NULL and zero: the key is left out. */
struct conf_init {
	const char *node, *group, *tree, *state_dir, *listen, *profile;
	char *const *follow;
	size_t n_follow;
};
int conf_write_new(const char *path, const struct conf_init *init, struct err *err);

/* What `init --follow` does on a node that exists: one more followed directory, atomically. */
int conf_add_follow(const char *path, const char *follow, struct err *err);

/* What `pair` does: adds or replaces a peer, atomically (rename). A second fingerprint for the same
 * node is added beside. */
int conf_add_peer(const char *path, const char *node, const char *address, const char *fingerprint,
		  struct err *err);
/* The same, and no other fingerprint of that node is left. */
int conf_replace_peer(const char *path, const char *node, const char *address,
		      const char *fingerprint, struct err *err);

/**
 * The owner of `"ownership": "USER:GROUP"`; names are looked up here. Not thread-safe (getpwnam).
 * @return 1 with both ids, 0 when ownership is "ignore" or "preserve", -EINVAL for a name that is
 * not there
 */
int conf_owner(const struct conf *conf, uint32_t *uid, uint32_t *gid, struct err *err);

/* Which settings differ between two and cannot change while running; "" when reload is possible. */
void conf_reload_obstacles(char *out, size_t size, const struct conf *now, const struct conf *next);

#endif
