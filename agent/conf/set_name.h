/* set_name.h - the name of a consistency set, as a rule gives it: letters, digits and `_-.:`, and
 * {1} to {9} for what a wildcard of the rule's pattern stood for, so that one rule makes a set per
 * application or tenant. Pure; thread: any. */
#ifndef CONF_SET_NAME_H
#define CONF_SET_NAME_H

#include <stdbool.h>
#include <stddef.h>

#include "agent/conf/glob.h"

#define SET_NAME_LEN_MAX 64 /* bytes, as written */
#define SET_NAME_REFS_MAX 2 /* {N} in one name */

/* @return 0, or -EINVAL with what is wrong with it for this pattern */
int set_name_check(const char *name, const struct glob *glob, struct err *err);

/* The name with what the wildcards stand for at `path`, which the glob matches. @return false when
 * it has more than size - 1 bytes */
bool set_name_expand(char *out, size_t size, const char *name, const struct glob *glob,
		     const char *path);

#endif
