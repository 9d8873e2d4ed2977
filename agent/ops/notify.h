/* notify.h - what the service manager wants to know (sd_notify(3)): a datagram to the socket that
 * $NOTIFY_SOCKET names. Without that variable every call is a no-op. The socket is connected once,
 * before the sandbox closes the way to it. Thread: the loop. */
#ifndef OPS_NOTIFY_H
#define OPS_NOTIFY_H

#include <stdint.h>

#include "agent/base/err.h"

struct notify {
	int fd;		      /* -1: nobody listens */
	uint64_t watchdog_ms; /* how often notify_alive() is due, half of what the manager waits; 0:
				 never */
};

/* Takes NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID out of the environment: a hook must not speak
 * for us.
 * @return 0 also when there is no service manager; else negative, and *out is a no-op all the same
 */
int notify_init(struct notify *out, struct err *err);
void notify_release(struct notify *notify);

void notify_ready(const struct notify *notify);
void notify_reloading(const struct notify *notify); /* then notify_ready() when it is done */
void notify_stopping(const struct notify *notify);
void notify_alive(const struct notify *notify); /* the watchdog */
/* One line for `systemctl status`. */
void notify_status(const struct notify *notify, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

#endif
