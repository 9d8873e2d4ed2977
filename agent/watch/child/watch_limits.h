/* watch_limits.h - the kernel's limits on watching, and what to do about them. */
#ifndef WATCH_CHILD_WATCH_LIMITS_H
#define WATCH_CHILD_WATCH_LIMITS_H

#include <stdint.h>

#include "agent/watch/watch_pipe.h"

/* A number from /proc/sys. */
uint64_t limits_read(const char *path, uint64_t otherwise);

/* The line that raises the watch limit so that `missing` more find room. */
void limits_of_watches(char out[WATCH_TEXT_MAX + 1], uint64_t missing, uint64_t directories);
/* Why nothing is watched. @param error  positive errno of starting inotify */
void limits_of_instances(char out[WATCH_TEXT_MAX + 1], int error);

#endif
