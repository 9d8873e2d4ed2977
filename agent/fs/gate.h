/* gate.h - is this file whole? A server that rewrites its configuration in place is seen half-way;
 * what does not parse is held back and the last good version stays at the peer. Content is hostile:
 * both gates read in pieces and use memory that does not depend on the file. Blocking; thread: any.
 */
#ifndef FS_GATE_H
#define FS_GATE_H

#include <stdint.h>

#define GATE_WHY_MAX 128

/**
 * Well-formed XML? External entities are not read; entities that expand to much more than the file
 * are refused, and so are single tags, comments or attributes of several megabytes. Any encoding in
 * which ASCII is ASCII will do.
 * @param size  bytes from the beginning of fd that are the file; its offset is not moved
 * @param why   on -EBADMSG what is wrong, with the line, not quoted from the content
 * @return 0; -EBADMSG; -EAGAIN when the file is shorter than size; another errno
 */
int gate_check_xml(int fd, uint64_t size, char why[GATE_WHY_MAX]);

/* One JSON value (RFC 8259; a byte order mark before it is let pass), nested at most 1024 deep. As
 * above. */
int gate_check_json(int fd, uint64_t size, char why[GATE_WHY_MAX]);

#endif
