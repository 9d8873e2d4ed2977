/* writers.h - does anybody hold a file open for writing? inotify tells of writes and of the close
 * under the name that was opened; who writes through one name and renames or removes it is never
 * seen to close the other. The kernel knows: it grants no read lease on a file that is open for
 * writing. Blocking. Thread: any. */
#ifndef FS_WRITERS_H
#define FS_WRITERS_H

#include <stdbool.h>

struct root;

/* @return true also when it cannot be told: the file is another user's and we lack CAP_LEASE, or
 * the file system has no leases. False for what is not there or no regular file. */
bool root_may_have_writer(const struct root *root, const char *sub);

#endif
