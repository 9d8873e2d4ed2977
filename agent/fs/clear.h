/* clear.h - removes everything beneath a directory of our own, whatever was put there: no path is
 * too deep, no mode in the way, no link followed, no mount entered. Blocking; thread: any. */
#ifndef FS_CLEAR_H
#define FS_CLEAR_H

#include "agent/base/err.h"

/**
 * Empties a directory. The directory itself stays.
 * @param fd  opened for reading
 * @return 0; -EBUSY for a mount in it; another errno: what could be removed is gone
 */
int clear_directory(int fd, struct err *err);

#endif
