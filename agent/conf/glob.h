/* glob.h - one path pattern, compiled. `*` and `?` stay within a component, `**` as a whole
 * component stands for any number of them (none too), `[a-z]` and `[!a-z]` are byte classes,
 * `{a,b}` alternatives, and a backslash takes the next byte literally.
 *
 * Matching costs at most (bytes of the path) x (bytes of the pattern): a tenant chooses names, and
 * a matcher that backtracks over `**` can be made to run for years. So the set of places in the
 * pattern that the path read so far can have led to is carried from component to component. Pure
 * after it is built; thread: any. */
#ifndef CONF_GLOB_H
#define CONF_GLOB_H

#include <stdbool.h>
#include <stddef.h>

#include "agent/base/alloc.h"
#include "agent/base/err.h"

#define GLOB_LEN_MAX 1024	  /* bytes of a pattern */
#define GLOB_COMPONENTS_MAX 63	  /* of one alternative: its places fit in one 64-bit set */
#define GLOB_ALTERNATIVES_MAX 256 /* that braces may multiply to */

struct glob;

/* @return 0, or -EINVAL with what is wrong with the pattern and how to write it */
int glob_new(struct glob **out, const char *pattern, struct err *err);
void glob_free(struct glob *glob); /* NULL is a no-op */
DEFINE_AUTO(glob)

struct glob_match {
	bool itself;  /* the pattern matches the path */
	bool above;   /* it matches the path or a directory above it */
	bool beneath; /* it may match something beneath the path */
};

/* @param path  relative, components joined by single slashes; "" is the top */
struct glob_match glob_match(const struct glob *glob, const char *path);
/* glob_match().itself, for less. */
bool glob_matches(const struct glob *glob, const char *path);

/* What a wildcard stood for. Wildcards are counted from 1, from left to right; neighbours
 * (`[0-9]*`) are one. Only one that can stand for one thing alone can be asked for: none behind a
 * `**`, and none in a component with two stars. */
struct glob_capture {
	const char *at; /* in the path */
	size_t len;
};
/* @return 0; -EINVAL with the reason when an alternative has no such wildcard */
int glob_has_wildcard(const struct glob *glob, unsigned which, struct err *err);
/* @return false when the pattern does not match the path, or glob_has_wildcard() says no */
bool glob_captured(struct glob_capture *out, const struct glob *glob, unsigned which,
		   const char *path);

#endif
