/* relpath.h - may this be a path in the tree? Judged where it is parsed. Pure. */
#ifndef PROTOCOL_RELPATH_H
#define PROTOCOL_RELPATH_H

#include <stdbool.h>
#include <stddef.h>

#define RELPATH_OWN_DIR ".artifact-sync" /* our own directory in each root: never replicated */

/**
 * A path is one or more components joined by single slashes; no component is empty, ".", ".." or
 * our own directory, or longer than 255 bytes; no NUL; 1..4095 bytes. The empty path (the tree
 * itself) is legal only where `allow_root`.
 * @return NULL when it is legal, else what is wrong with it ("is absolute", ...), a constant
 */
const char *relpath_wrong(const void *path, size_t len, bool allow_root);

/* Is `path` equal to `dir` or beneath it? "" contains everything. */
bool relpath_is_within(const char *path, const char *dir);

/* Length of the parent's path; 0 for a top-level path and for "". */
size_t relpath_parent_len(const char *path);

/* The last component. */
const char *relpath_name(const char *path);

#endif
