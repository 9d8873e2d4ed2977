/* door.h - where somebody knocks: a listening socket that can be answered also when the
 * process has as many descriptors as it may have, which is when somebody wants to ask it why. It
 * keeps a few in reserve for that; libuv has one too, but only to turn callers away. Thread: the
 * loop's. */
#ifndef OPS_DOOR_H
#define OPS_DOOR_H

#include <uv.h>

#include "agent/base/err.h"

struct door;

/* @param fd      a bound socket of its own kind, not listening yet; taken when it succeeds
 * @param backlog as listen()
 * @param came    a connection, whose descriptor is now the callee's (non-blocking, close-on-exec)
 * @return 0 or a negative errno; then *out is not set and fd is still the caller's */
int door_open(struct door **out, uv_loop_t *loop, int fd, int backlog,
	      void (*came)(void *owner, int fd), void *owner, struct err *err);

/* Nobody comes any more; then closed() is called and *door is gone. */
void door_close(struct door *door, void (*closed)(void *owner));

#endif
