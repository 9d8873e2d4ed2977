#include "agent/ops/notify.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "agent/base/alloc.h"
#include "agent/base/clock.h"

static uint64_t watchdog_interval_ms(void)
{
	const char *usec = getenv("WATCHDOG_USEC");
	const char *pid = getenv("WATCHDOG_PID");
	if (!usec || (pid && strtol(pid, NULL, 10) != getpid()))
		return 0;
	uint64_t half_ms = strtoull(usec, NULL, 10) / 2000;
	return half_ms > 0 ? half_ms : 1;
}

static int connect_to(const char *path, struct err *err)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	size_t len = strlen(path);
	if ((path[0] != '/' && path[0] != '@') || len >= sizeof(address.sun_path))
		return err_set(err, -EINVAL, "NOTIFY_SOCKET names no socket");
	memcpy(address.sun_path, path, len);
	if (path[0] == '@')
		address.sun_path[0] = '\0'; /* an abstract name */
	AUTO_CLOSE int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	socklen_t size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len);
	if (fd < 0 || connect(fd, (struct sockaddr *)&address, size) < 0)
		return err_sys(err, errno, "connect to the service manager's socket");
	return STEAL_FD(fd);
}

int notify_init(struct notify *out, struct err *err)
{
	*out = (struct notify){.fd = -1, .watchdog_ms = watchdog_interval_ms()};
	const char *path = getenv("NOTIFY_SOCKET");
	int fd = path ? connect_to(path, err) : -1;
	unsetenv("WATCHDOG_USEC");
	unsetenv("WATCHDOG_PID");
	unsetenv("NOTIFY_SOCKET");
	if (fd < 0) {
		out->watchdog_ms = 0;
		return path ? fd : 0;
	}
	out->fd = fd;
	return 0;
}

void notify_release(struct notify *notify)
{
	if (notify->fd >= 0)
		close(notify->fd);
	notify->fd = -1;
}

/* A manager that does not read is not worth waiting for: what is lost is sent again with the next
 * change, and the watchdog's period allows for one loss. */
static void tell(const struct notify *notify, const char *text)
{
	if (notify->fd >= 0)
		(void)!send(notify->fd, text, strlen(text), MSG_NOSIGNAL);
}

void notify_ready(const struct notify *notify)
{
	tell(notify, "READY=1");
}

void notify_reloading(const struct notify *notify)
{
	char text[64];
	snprintf(text, sizeof(text), "RELOADING=1\nMONOTONIC_USEC=%" PRIu64,
		 clock_mono_ns() / 1000);
	tell(notify, text);
}

void notify_stopping(const struct notify *notify)
{
	tell(notify, "STOPPING=1");
}

void notify_alive(const struct notify *notify)
{
	tell(notify, "WATCHDOG=1");
}

void notify_status(const struct notify *notify, const char *fmt, ...)
{
	char text[256] = "STATUS=";
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(text + strlen(text), sizeof(text) - strlen(text), fmt, ap);
	va_end(ap);
	for (char *c = text; *c; c++) {
		if (*c == '\n')
			*c = ' '; /* would begin another assignment */
	}
	tell(notify, text);
}
