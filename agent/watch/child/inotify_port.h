/* inotify_port.h - the only door to libinotifytools: five of its calls and the clean-up. The
 * library keeps one static instance, has no accessor for its descriptor or for the number of a new
 * watch, and cannot drop the entry of a directory that is gone; three libc functions that it calls
 * are therefore defined here, where they note both and forgive the third. Thread: one. */
#ifndef WATCH_CHILD_INOTIFY_PORT_H
#define WATCH_CHILD_INOTIFY_PORT_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/inotify.h>

/**
 * Starts inotify and proves that the library calls our functions.
 * @param dirfd  any readable directory, watched for a moment
 * @param is_known  has the caller this watch already? The library must not hear of it twice: it
 * would leak an entry for every directory that was moved
 * @return 0, -ELIBBAD when the library does not work as expected, else -errno (EMFILE: no more
 *         instances for this user; ENOSYS)
 */
int port_open(int dirfd, bool (*is_known)(void *arg, int wd), void *arg);
void port_close(void);
int port_fd(void); /* readable when there are events; -1 while closed */

/**
 * Watches the directory behind a descriptor, however long its path.
 * @return the watch, > 0, the same as before when it was watched already; or -errno (ENOSPC: limit)
 */
int port_watch(int dirfd, uint32_t mask);
/* Ends a watch, or frees what the library keeps of one that the kernel ended. */
void port_unwatch(int wd);

/**
 * The next event, valid until the next call. The library reads many at once: the descriptor may
 * be silent while events remain here, so call until NULL.
 * @param error  0, or why there is NULL although something may be there
 */
const struct inotify_event *port_next(int *error);

#endif
