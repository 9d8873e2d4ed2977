/* mounts.h - notices when something was mounted or unmounted at, above or beneath a root. inotify
 * has no event for it: a mount hides a watched directory, an unmount brings back one that was let
 * go. */
#ifndef WATCH_CHILD_MOUNTS_H
#define WATCH_CHILD_MOUNTS_H

#include <stdbool.h>
#include <stddef.h>

struct mounts;

/**
 * @param fds  the roots; borrowed, n of them
 * @return NULL when the mounts cannot be read here; then nothing is noticed
 */
struct mounts *mounts_new(const int *fds, size_t n);
/* To be polled for POLLPRI: some mount of the system changed. */
int mounts_fd(const struct mounts *mounts);
/* Reads the mounts. @return true when those that concern the roots are others than last time */
bool mounts_changed(struct mounts *mounts);

#endif
