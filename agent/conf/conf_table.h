/* conf_table.h - every key of the configuration, once: what it is called, where it goes, what it
 * may be, what it is when it is left out, and what it does. The parser, the reload and the manual
 * read the same rows. Data only. */
#ifndef CONF_CONF_TABLE_H
#define CONF_CONF_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/base/err.h"

struct conf;

#define CONF_FILE_MAX (1u << 20) /* bytes */
#define CONF_TEXT_MAX 4095	 /* bytes of one value */
#define CONF_LIST_MAX 1000	 /* elements */
#define CONF_PEERS_MAX 16

enum conf_type {
	CONF_TEXT,  /* char *                                    */
	CONF_LIST,  /* char **, and a size_t at count_off        */
	CONF_ARGV,  /* char **, ended by NULL; NULL when empty   */
	CONF_BOOL,  /* bool                                      */
	CONF_U32,   /* uint32_t                                  */
	CONF_U64,   /* uint64_t                                  */
	CONF_PEERS, /* struct conf_peer *, and a size_t          */
};

struct conf_key {
	const char *name; /* dots for nested objects: "tls.key"; NULL ends the table */
	enum conf_type type;
	size_t off, count_off;
	bool required;
	bool live;		/* a reload may change it while the agent runs */
	uint64_t min, max, def; /* of numbers and booleans */
	const char *def_text;	/* of texts: the value when it is left out; NULL: none */
	const char *without; /* what is done when it is left out, where the default alone does not
				say it */
	const char *const *choices; /* of texts: NULL-terminated, or NULL */
	int (*check)(const char *value,
		     struct err *err); /* of texts and each element; NULL: anything */
	const char *unit;	       /* "milliseconds", or NULL */
	const char *example;	       /* as JSON */
	const char *help;
};

extern const struct conf_key conf_keys[];      /* offsets in struct conf */
extern const struct conf_key conf_peer_keys[]; /* offsets in struct conf_peer */

/* conf_load() without the file's name in the message: for a file that nobody knows by its name yet.
 */
int conf_read(struct conf **out, const char *path, struct err *err);

/* @return 0, or -EINVAL with what the value must be, a phrase that follows "must be" or "must" */
int conf_check_name(const char *value, struct err *err);
int conf_check_directory(const char *value, struct err *err);
int conf_check_listen(const char *value, struct err *err);
int conf_check_address(const char *value, struct err *err);
int conf_check_fingerprint(const char *value, struct err *err);
int conf_check_followed(const char *value, struct err *err);
int conf_check_ownership(const char *value, struct err *err);
int conf_check_text(const char *value, struct err *err);

#endif
