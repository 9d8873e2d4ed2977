/* conf_where.h - where in the text a key stands, and which key somebody may have meant. Pure. */
#ifndef CONF_CONF_WHERE_H
#define CONF_CONF_WHERE_H

#include <stddef.h>

#include "agent/conf/conf_table.h"

#define CONF_PATH_MAX 256 /* bytes of "peers[3].fingerprints[0]"; longer ones are cut */

/**
 * @param text  well-formed JSON, NUL-terminated
 * @param path  "peers[0].node": the line of the key; "rules[2]": of the value
 * @return the line, counted from 1; 0 when it is not there
 */
unsigned conf_line_of(const char *text, const char *path);

/* Insertions, deletions, replacements and swaps of neighbours that make one text of the other; the
 * first 40 bytes count. */
unsigned edit_distance(const char *a, const char *b);

/* The key of the table whose name, or last part of it, is nearest to `name`. Never NULL. */
const char *conf_nearest_key(const struct conf_key *keys, const char *name);

#endif
