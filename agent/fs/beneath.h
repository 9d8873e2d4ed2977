/* beneath.h - the one way a path is walked: openat2 from a directory descriptor, never out of it,
 * never through a link, never into another mount. A name that a tenant swaps for a link between two
 * calls then fails instead of leading elsewhere. Blocking; thread: any. */
#ifndef FS_BENEATH_H
#define FS_BENEATH_H

#include <sys/stat.h>

/**
 * @param sub   relative path; "" or "." is the directory itself
 * @param mode  used with O_CREAT only
 * @return a close-on-exec descriptor, or negative errno: -EXDEV at a mount, -ELOOP at a link
 */
int open_beneath(int dirfd, const char *sub, int flags, unsigned mode);

/* Stat of what `name`, one component, is; a link is not followed. @return 0 or negative errno */
int stat_name(int dirfd, const char *name, struct stat *out);

#endif
