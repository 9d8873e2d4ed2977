/* probe.h - what the file system beneath a directory can do, found out by doing it. For tree.c.
 * Blocking; thread: any. */
#ifndef FS_PROBE_H
#define FS_PROBE_H

#include <stdbool.h>

/* NFS, SMB, FUSE, ...: other machines change it without an event here. */
bool probe_is_remote(int fd);

/* Both work on objects of their own in stage_fd, which they remove. false when in doubt.
 * @param sure  becomes false when it could not be tried: a disk that is full or read-only for now
 */
bool probe_can_exchange(int stage_fd, bool *sure);
bool probe_can_clone(int stage_fd, bool *sure);

#endif
