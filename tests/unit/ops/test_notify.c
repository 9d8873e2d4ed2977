/* What the service manager hears. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include <cmocka.h>

#include "agent/ops/notify.h"

static int manager(struct sockaddr_un *address, socklen_t size)
{
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0);
	assert_true(fd >= 0);
	assert_int_equal(bind(fd, (struct sockaddr *)address, size), 0);
	return fd;
}

static void expect_heard(int fd, const char *wanted)
{
	char text[300];
	ssize_t n = recv(fd, text, sizeof(text) - 1, 0);
	assert_true(n >= 0);
	text[n] = '\0';
	assert_string_equal(text, wanted);
}

static void each_state_is_told(void **state)
{
	char dir[] = "/tmp/test-notify.XXXXXX";
	assert_non_null(mkdtemp(dir));
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	snprintf(address.sun_path, sizeof(address.sun_path), "%s/s", dir);
	int fd = manager(&address, sizeof(address));
	setenv("NOTIFY_SOCKET", address.sun_path, 1);
	setenv("WATCHDOG_USEC", "3000000", 1);
	struct notify notify;
	assert_int_equal(notify_init(&notify, NULL), 0);
	assert_null(getenv("NOTIFY_SOCKET"));
	assert_int_equal(notify.watchdog_ms, 1500);
	notify_ready(&notify);
	notify_status(&notify, "%s\nREADY=0", "in sync");
	notify_alive(&notify);
	notify_stopping(&notify);
	expect_heard(fd, "READY=1");
	expect_heard(fd, "STATUS=in sync READY=0");
	expect_heard(fd, "WATCHDOG=1");
	expect_heard(fd, "STOPPING=1");
	notify_reloading(&notify);
	char text[100] = "";
	assert_true(recv(fd, text, sizeof(text) - 1, 0) > 0);
	assert_int_equal(strncmp(text, "RELOADING=1\nMONOTONIC_USEC=", 27), 0);
	close(fd);
	notify_alive(&notify); /* nobody listens any more */
	notify_release(&notify);
	unlink(address.sun_path);
	rmdir(dir);
}

static void an_abstract_socket_will_do(void **state)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	char name[60];
	snprintf(name, sizeof(name), "@test-notify-%d", (int)getpid());
	memcpy(address.sun_path, name, strlen(name));
	address.sun_path[0] = '\0';
	int fd = manager(&address,
			 (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(name)));
	setenv("NOTIFY_SOCKET", name, 1);
	struct notify notify;
	assert_int_equal(notify_init(&notify, NULL), 0);
	notify_ready(&notify);
	expect_heard(fd, "READY=1");
	notify_release(&notify);
	close(fd);
}

static void without_a_manager_nothing_happens(void **state)
{
	struct notify notify;
	setenv("WATCHDOG_USEC", "3000000", 1);
	assert_int_equal(notify_init(&notify, NULL), 0);
	assert_int_equal(notify.watchdog_ms, 0);
	notify_ready(&notify);
	notify_status(&notify, "x");
	notify_release(&notify);
	struct err err = {0};
	setenv("NOTIFY_SOCKET", "relative", 1);
	assert_true(notify_init(&notify, &err) < 0);
	notify_ready(&notify);
	setenv("NOTIFY_SOCKET", "/nonexistent/socket", 1);
	assert_true(notify_init(&notify, &err) < 0);
	assert_int_equal(notify.fd, -1);
}

static void the_watchdog_of_another_process_is_not_ours(void **state)
{
	struct notify notify;
	setenv("WATCHDOG_USEC", "3000000", 1);
	setenv("WATCHDOG_PID", "1", 1);
	assert_int_equal(notify_init(&notify, NULL), 0);
	assert_int_equal(notify.watchdog_ms, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_state_is_told),
		cmocka_unit_test(an_abstract_socket_will_do),
		cmocka_unit_test(without_a_manager_nothing_happens),
		cmocka_unit_test(the_watchdog_of_another_process_is_not_ours),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
