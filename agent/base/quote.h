/* quote.h - names from the disk or a peer, made safe to print. Names are bytes: a file may be
 * called "x\nERROR all lost". Thread: any. */
#ifndef BASE_QUOTE_H
#define BASE_QUOTE_H

#include <stddef.h>

#define QUOTED_MAX 512 /* bytes; longer names are cut and end in "..." */

/**
 * Writes `text` between double quotes; control bytes, quotes, backslashes and whatever is not
 * valid UTF-8 become \n, \t, \", \\ or \xHH.
 * @param out  at least QUOTED_MAX bytes
 * @return out, so that it can stand in an argument list
 */
const char *quote_bytes(char out[QUOTED_MAX], const void *text, size_t len);

/* The same for a NUL-terminated path. */
const char *quote_path(char out[QUOTED_MAX], const char *path);

/**
 * A copy of `path` that is valid UTF-8, for JSON: bytes that are not UTF-8 become \xHH and a
 * backslash becomes two. Equal results mean equal paths.
 * @return heap string, the caller frees it
 */
char *quote_utf8(const char *path);

/**
 * Undoes quote_utf8(), so that a path printed by a command can be given back to one.
 * @return heap string, or NULL when an escape is malformed or names the NUL byte
 */
char *unquote_utf8(const char *text);

#endif
