/* root_lock.h - one agent per root: a lock on its marker, held for the agent's life. Two with state
 * directories of their own would empty each other's stage/. For tree.c. Blocking; thread: any. */
#ifndef FS_ROOT_LOCK_H
#define FS_ROOT_LOCK_H

#include <stdbool.h>

#include "agent/base/err.h"

/**
 * Takes the lock and leaves word of who has it. Nothing is written before it is taken.
 * @param lock_fd    -1, or what an earlier call put there: the root may be the same one, come back
 * @param holder     one line, for whoever finds it taken
 * @param supported  false when this file system knows no such locks: then the answer is 0
 * @return 0; -EBUSY, err naming the holder; -ENOENT without a marker; negative errno
 */
int root_lock_take(int *lock_fd, bool *supported, int root_fd, const char *holder, struct err *err);

#define ROOT_HOLDER_MAX 160

/* Who had the lock last, printable; "" when nobody left word. Returns out. */
const char *root_lock_holder(char out[ROOT_HOLDER_MAX], int root_fd);

#endif
