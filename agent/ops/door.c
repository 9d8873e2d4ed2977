#include "agent/ops/door.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <sys/socket.h>
#include <unistd.h>

#include "agent/base/alloc.h"

#define RESERVE 4 /* commands that are answered at the same time without a descriptor to be had */
#define REFILL_MS 100
#define AT_ONCE 16 /* connections taken before the loop goes on with other work */

struct door {
	uv_poll_t poll;
	uv_timer_t refill;
	int handles; /* still known to libuv */
	int fd;
	int reserve[RESERVE];
	size_t n; /* of these are held */
	void (*came)(void *owner, int fd);
	void (*closed)(void *owner);
	void *owner;
};

static void fill(struct door *door)
{
	while (door->n < RESERVE) {
		int fd = open("/", O_PATH | O_CLOEXEC);
		if (fd < 0)
			return;
		door->reserve[door->n++] = fd;
	}
}

static void on_ready(uv_poll_t *poll, int status, int events);

static void on_refill(uv_timer_t *timer)
{
	struct door *door = timer->data;
	fill(door);
	if (door->n == RESERVE)
		uv_timer_stop(timer);
	uv_poll_start(&door->poll, UV_READABLE, on_ready);
}

/* @return a descriptor; -1: nobody is there, or nothing is left to take him with */
static int take(struct door *door)
{
	for (;;) {
		int fd = accept4(door->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (fd >= 0 || errno == EAGAIN)
			return fd;
		if (door->n == 0 || (errno != EMFILE && errno != ENFILE)) {
			uv_poll_stop(&door->poll); /* it would be ready again at once */
			return -1;
		}
		close(door->reserve[--door->n]);
	}
}

static void on_ready(uv_poll_t *poll, int status, int events)
{
	struct door *door = poll->data;
	for (int fd, i = 0; i < AT_ONCE && (fd = take(door)) >= 0; i++)
		door->came(door->owner, fd);
	bool waits = door->n < RESERVE || !uv_is_active((uv_handle_t *)&door->poll);
	if (waits && !uv_is_active((uv_handle_t *)&door->refill))
		uv_timer_start(&door->refill, on_refill, REFILL_MS, REFILL_MS);
}

static void on_handle_closed(uv_handle_t *handle)
{
	struct door *door = handle->data;
	if (--door->handles > 0)
		return;
	void (*closed)(void *) = door->closed;
	void *owner = door->owner;
	close(door->fd);
	while (door->n > 0)
		close(door->reserve[--door->n]);
	free(door);
	closed(owner);
}

void door_close(struct door *door, void (*closed)(void *owner))
{
	door->closed = closed;
	uv_close((uv_handle_t *)&door->poll, on_handle_closed);
	uv_close((uv_handle_t *)&door->refill, on_handle_closed);
}

int door_open(struct door **out, uv_loop_t *loop, int fd, int backlog,
	      void (*came)(void *owner, int fd), void *owner, struct err *err)
{
	if (listen(fd, backlog) < 0)
		return err_sys(err, errno, "listen");
	struct door *door = x_calloc(1, sizeof(*door));
	int r = uv_poll_init(loop, &door->poll, fd);
	if (r < 0) {
		free(door);
		return err_sys(err, -r, "poll");
	}
	uv_timer_init(loop, &door->refill);
	door->poll.data = door->refill.data = door;
	door->handles = 2;
	door->fd = fd;
	door->came = came;
	door->owner = owner;
	fill(door);
	uv_poll_start(&door->poll, UV_READABLE, on_ready);
	*out = door;
	return 0;
}
