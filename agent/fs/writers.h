/* writers.h - does anybody have a file open for writing? Events cannot tell: a file that was cut by
 * its name was never opened, and one that was renamed is closed under its new name. Blocking for a
 * moment; thread: any. */
#ifndef FS_WRITERS_H
#define FS_WRITERS_H

#include "agent/fs/tree.h"

/* @return 1; 0: nobody has, or it is no regular file, or not there; negative errno: it cannot be
 * told (a remote file system, another owner's file without CAP_LEASE) */
int root_is_written(const struct root *root, const char *sub);

#endif
