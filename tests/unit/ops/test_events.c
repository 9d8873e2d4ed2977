/* Events: what the log says is kept, bounded, and read across crashes and exchanged files. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/base/alloc.h"
#include "agent/base/quote.h"
#include "agent/ops/events.h"

#define TIME "2026-01-01T00:00:00.000Z"

static char place[] = "/tmp/events-XXXXXX";

static int make_place(void **state)
{
	(void)state;
	memcpy(place, "/tmp/events-XXXXXX", sizeof(place));
	return mkdtemp(place) ? 0 : -1;
}

static int remove_place(void **state)
{
	AUTO_FREE char *command = x_asprintf("rm -rf %s", place);
	(void)state;
	return system(command);
}

static struct events *opened(void)
{
	struct events *events;
	assert_int_equal(events_open(&events, place, NULL), 0);
	return events;
}

static int take(struct events *events, const char *text)
{
	const struct log_line line = {TIME, LOG_LEVEL_WARN, "drift", text};
	return events_take(events, &line, NULL);
}

static int64_t size_of(const char *name)
{
	struct stat st;
	AUTO_FREE char *path = x_asprintf("%s/%s", place, name);
	return stat(path, &st) == 0 ? st.st_size : -1;
}

static void append(const char *name, const char *text)
{
	AUTO_FREE char *path = x_asprintf("%s/%s", place, name);
	AUTO_CLOSE int fd = open(path, O_WRONLY | O_APPEND);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
}

/* The next one's text; "" when there is none. */
static const char *next(struct events_reader *reader)
{
	static char text[2048];
	json_t *event;
	struct err err = {0};
	int r = events_next(reader, &event, &err);
	assert_true(r >= 0);
	if (r == 0)
		return "";
	snprintf(text, sizeof(text), "%s", json_string_value(json_object_get(event, "text")));
	json_decref(event);
	return text;
}

static void a_line_becomes_an_event_with_its_fields(void **state)
{
	static const char *const simple[][2] = {
		{"path=\"a \\\"b\\\" \\xff\\\\\" epoch=7 action=put-back", "a \"b\" \\xff\\\\"},
		{"path=plain", "plain"},
		{"path=\"\" n=1", ""},
	};
	static const char *const not_simple[] = {
		"stopping",
		"digests differ path=x",
		"path=\"x\"y",
		"path=\"never closed",
		"path=x and more words",
		"path=\"x\" ",
		"=x",
		"",
		"path=\"x\\",
	};
	struct events_reader reader;
	struct events *events = opened();
	json_t *event;
	(void)state;
	events_reader_init(&reader, place);
	for (size_t i = 0; i < ARRAY_LEN(simple); i++) {
		assert_int_equal(take(events, simple[i][0]), 0);
		assert_int_equal(events_next(&reader, &event, NULL), 1);
		json_t *fields = json_object_get(event, "fields");
		assert_string_equal(json_string_value(json_object_get(event, "text")),
				    simple[i][0]);
		assert_string_equal(json_string_value(json_object_get(fields, "path")),
				    simple[i][1]);
		assert_string_equal(json_string_value(json_object_get(event, "level")), "warn");
		assert_string_equal(json_string_value(json_object_get(event, "time")), TIME);
		json_decref(event);
	}
	for (size_t i = 0; i < ARRAY_LEN(not_simple); i++) {
		assert_int_equal(take(events, not_simple[i]), 0);
		assert_int_equal(events_next(&reader, &event, NULL), 1);
		assert_null(json_object_get(event, "fields"));
		json_decref(event);
	}
	assert_int_equal(take(events, "cut \xc3"), 0);
	assert_string_equal(next(&reader), "cut \\xc3");
	events_reader_release(&reader);
	events_close(events);
}

static void a_torn_line_is_skipped_and_cut(void **state)
{
	struct events_reader reader;
	struct events *events = opened();
	(void)state;
	take(events, "one");
	events_close(events);
	int64_t whole = size_of(EVENTS_NAME);
	append(EVENTS_NAME, "{\"time\":\"2026");
	events_reader_init(&reader, place);
	assert_string_equal(next(&reader), "one");
	assert_string_equal(next(&reader), "");
	events = opened();
	assert_int_equal(size_of(EVENTS_NAME), whole);
	take(events, "two");
	assert_string_equal(next(&reader), "two");
	assert_string_equal(next(&reader), "");
	assert_int_equal(reader.bad, 0);
	events_reader_release(&reader);
	events_close(events);
}

static void what_is_no_event_is_counted(void **state)
{
	struct events_reader reader;
	struct events *events = opened();
	AUTO_FREE char *long_line = x_calloc(1, 3 * EVENTS_LINE_MAX);
	(void)state;
	memset(long_line, 'x', 3 * EVENTS_LINE_MAX - 2);
	take(events, "one");
	append(EVENTS_NAME, "no JSON\n[1]\n{\"time\":1}\n\n");
	append(EVENTS_NAME, long_line);
	append(EVENTS_NAME, "\n");
	take(events, "two");
	events_reader_init(&reader, place);
	assert_string_equal(next(&reader), "one");
	assert_string_equal(next(&reader), "two");
	assert_true(reader.bad >= 5);
	events_reader_release(&reader);
	events_close(events);
}

/* Three files' worth: two are left, none of them too long, and what is left has no gap. A reader
 * that keeps up gets all of it. */
static void it_is_bounded_and_a_reader_follows(void **state)
{
	struct events_reader follower, later;
	struct events *events = opened();
	char text[1024], filler[900];
	int written = 0, rotations = 0;
	(void)state;
	memset(filler, 'x', sizeof(filler));
	filler[sizeof(filler) - 1] = '\0';
	events_reader_init(&follower, place);
	for (int64_t before = 0; rotations < 3; written++) {
		snprintf(text, sizeof(text), "n=%d filler=%s", written, filler);
		assert_int_equal(take(events, text), 0);
		assert_string_equal(next(&follower), text);
		rotations += size_of(EVENTS_NAME) < before;
		before = size_of(EVENTS_NAME);
		assert_true(before <= EVENTS_MAX);
	}
	assert_string_equal(next(&follower), "");
	assert_true(size_of(EVENTS_OLD_NAME) <= EVENTS_MAX);
	assert_true(size_of(EVENTS_OLD_NAME) > EVENTS_MAX - 4096);
	events_reader_init(&later, place);
	int n = atoi(next(&later) + 2);
	assert_true(n > 0);
	for (n++; n < written; n++)
		assert_int_equal(atoi(next(&later) + 2), n);
	assert_string_equal(next(&later), "");
	events_reader_release(&follower);
	events_reader_release(&later);
	events_close(events);
}

static void a_reader_that_slept_through_a_rotation_misses_nothing(void **state)
{
	struct events_reader reader;
	struct events *events = opened();
	AUTO_FREE char *from = x_asprintf("%s/%s", place, EVENTS_NAME);
	AUTO_FREE char *to = x_asprintf("%s/%s", place, EVENTS_OLD_NAME);
	(void)state;
	events_reader_init(&reader, place);
	take(events, "one");
	assert_string_equal(next(&reader), "one");
	take(events, "two");
	assert_int_equal(rename(from, to), 0);
	assert_string_equal(next(&reader), "two");
	assert_string_equal(next(&reader), "");
	events_close(events);
	events = opened();
	take(events, "three");
	assert_string_equal(next(&reader), "three");
	assert_int_equal(rename(from, to), 0);
	events_close(events);
	events = opened();
	take(events, "four");
	assert_int_equal(rename(from, to), 0);
	events_close(events);
	events = opened();
	take(events, "five");
	assert_string_equal(next(&reader), "four");
	assert_string_equal(next(&reader), "five");
	assert_string_equal(next(&reader), "");
	events_reader_release(&reader);
	events_close(events);
}

static void a_file_that_somebody_removes_or_empties_is_made_anew(void **state)
{
	struct events_reader reader;
	struct events *events = opened();
	AUTO_FREE char *path = x_asprintf("%s/%s", place, EVENTS_NAME);
	(void)state;
	events_reader_init(&reader, place);
	take(events, "one");
	assert_string_equal(next(&reader), "one");
	assert_int_equal(unlink(path), 0);
	assert_string_equal(next(&reader), "");
	take(events, "two");
	assert_string_equal(next(&reader), "two");
	assert_int_equal(truncate(path, 0), 0);
	assert_string_equal(next(&reader), "");
	take(events, "three");
	assert_string_equal(next(&reader), "three");
	events_reader_release(&reader);
	events_close(events);
}

static void limit_files_to(rlim_t bytes)
{
	struct rlimit limit;
	getrlimit(RLIMIT_FSIZE, &limit);
	limit.rlim_cur = bytes;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

/* The log goes on, half a line is taken back, and it is said when it works again. */
static void a_write_that_fails_breaks_nothing(void **state)
{
	struct events_reader reader;
	struct events *events = opened();
	(void)state;
	signal(SIGXFSZ, SIG_IGN);
	log_set_sink(events_take, events);
	log_info("test", "n=1");
	int64_t whole = size_of(EVENTS_NAME);
	limit_files_to((rlim_t)whole + 10);
	log_info("test", "n=2");
	log_info("test", "n=3");
	assert_int_equal(size_of(EVENTS_NAME), whole);
	limit_files_to(RLIM_INFINITY);
	log_info("test", "n=4");
	log_debug("test", "n=5");
	log_set_sink(NULL, NULL);
	log_info("test", "n=6");
	events_reader_init(&reader, place);
	assert_string_equal(next(&reader), "n=1");
	assert_string_equal(next(&reader), "n=4");
	assert_string_equal(next(&reader), "lines are kept again lost=2");
	assert_string_equal(next(&reader), "");
	events_reader_release(&reader);
	events_close(events);
}

static void it_is_nobody_elses(void **state)
{
	struct stat st;
	AUTO_FREE char *path = x_asprintf("%s/%s", place, EVENTS_NAME);
	(void)state;
	events_close(opened());
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, make_place, remove_place)
	const struct CMUnitTest tests[] = {
		TEST(a_line_becomes_an_event_with_its_fields),
		TEST(a_torn_line_is_skipped_and_cut),
		TEST(what_is_no_event_is_counted),
		TEST(it_is_bounded_and_a_reader_follows),
		TEST(a_reader_that_slept_through_a_rotation_misses_nothing),
		TEST(a_file_that_somebody_removes_or_empties_is_made_anew),
		TEST(a_write_that_fails_breaks_nothing),
		TEST(it_is_nobody_elses),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
