#include "agent/ops/events.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/base/alloc.h"
#include "agent/base/quote.h"

/* ---- a line -----------------------------------------------------------------------------------
 */

/* The log's texts may be cut within a character. */
static json_t *to_json(const char *text)
{
	json_t *string = json_string(text);
	if (string)
		return string;
	AUTO_FREE char *valid = quote_utf8(text);
	return json_string(valid);
}

/* A value between quotes: \" \n \t are what they stand for, and \\ and \xHH stay, as in every path
 * that a command prints.
 * @return behind the closing quote, or NULL when there is none */
static const char *unquote(char *out, const char *s)
{
	for (; *s && *s != '"'; s++) {
		if (*s == '\\' && (s[1] == '"' || s[1] == 'n' || s[1] == 't')) {
			s++;
			*out++ = *s == '"' ? '"' : *s == 'n' ? '\n' : '\t';
			continue;
		}
		if (*s == '\\' && s[1] == '\\')
			*out++ = *s++;
		*out++ = *s;
	}
	*out = '\0';
	return *s == '"' ? s + 1 : NULL;
}

/* @return behind the value, or NULL */
static const char *take_value(char *out, const char *s)
{
	if (*s == '"')
		return unquote(out, s + 1);
	size_t len = strcspn(s, " \"");
	memcpy(out, s, len);
	out[len] = '\0';
	return s + len;
}

/* @return NULL unless the text is key=value and nothing else */
static json_t *fields_of(const char *text)
{
	json_t *fields = json_object();
	AUTO_FREE char *value = x_calloc(1, strlen(text) + 1);
	const char *s = text;
	while (s) {
		size_t len = strspn(s, "abcdefghijklmnopqrstuvwxyz_-0123456789");
		AUTO_FREE char *key = x_strndup(s, len);
		s = len > 0 && s[len] == '=' ? take_value(value, s + len + 1) : NULL;
		if (!s || (*s != ' ' && *s != '\0'))
			break;
		json_object_set_new(fields, key, to_json(value));
		if (*s++ == '\0')
			return fields;
	}
	json_decref(fields);
	return NULL;
}

/* @return heap, ends in a newline; NULL when it is too long */
static char *line_of(const struct log_line *said)
{
	json_t *event = json_pack("{s:s, s:s, s:s, s:o}", "time", said->time, "level",
				  log_level_name(said->level), "module", said->module, "text",
				  to_json(said->text));
	json_t *fields = fields_of(said->text);
	if (fields)
		json_object_set_new(event, "fields", fields);
	AUTO_FREE char *text = json_dumps(event, JSON_COMPACT);
	json_decref(event);
	return text && strlen(text) < EVENTS_LINE_MAX ? x_asprintf("%s\n", text) : NULL;
}

/* ---- writing ----------------------------------------------------------------------------------
 */

struct events {
	char *path, *old_path;
	int fd; /* -1 after a failure: opened again with the next line */
};

/* Behind a line that was never finished the next one could not be told from it. */
static int cut_torn_line(int fd)
{
	char tail[EVENTS_LINE_MAX];
	struct stat st;
	if (fstat(fd, &st) < 0)
		return -1;
	off_t from = st.st_size > (off_t)sizeof(tail) ? st.st_size - (off_t)sizeof(tail) : 0;
	ssize_t n = pread(fd, tail, sizeof(tail), from);
	if (n <= 0)
		return (int)n;
	const char *newline = memrchr(tail, '\n', (size_t)n);
	off_t end = newline ? from + (newline - tail) + 1 : from;
	return end == st.st_size ? 0 : ftruncate(fd, end);
}

static int open_file(struct events *events, struct err *err)
{
	int fd = open(events->path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return err_sys(err, errno, "open %s", events->path);
	if (cut_torn_line(fd) < 0) {
		int error = errno;
		close(fd);
		return err_sys(err, error, "mend the end of %s", events->path);
	}
	events->fd = fd;
	return 0;
}

static void close_file(struct events *events)
{
	if (events->fd >= 0)
		close(events->fd);
	events->fd = -1;
}

int events_open(struct events **out, const char *state_dir, struct err *err)
{
	struct events *events = x_calloc(1, sizeof(*events));
	events->fd = -1;
	events->path = x_asprintf("%s/%s", state_dir, EVENTS_NAME);
	events->old_path = x_asprintf("%s/%s", state_dir, EVENTS_OLD_NAME);
	int r = open_file(events, err);
	if (r < 0)
		events_close(events);
	else
		*out = events;
	return r;
}

void events_close(struct events *events)
{
	if (!events)
		return;
	close_file(events);
	free(events->path);
	free(events->old_path);
	free(events);
}

/* A file that somebody removed is made anew; one that is full makes room.
 * @param size  receives how long the file is */
static int make_room(struct events *events, size_t len, off_t *size, struct err *err)
{
	struct stat st = {0};
	if (events->fd >= 0 && fstat(events->fd, &st) < 0)
		return err_sys(err, errno, "look at %s", events->path);
	bool full = st.st_size > 0 && (uint64_t)st.st_size + len > EVENTS_MAX;
	if (events->fd >= 0 && st.st_nlink > 0 && !full) {
		*size = st.st_size;
		return 0;
	}
	if (full && st.st_nlink > 0 && rename(events->path, events->old_path) < 0)
		return err_sys(err, errno, "rename %s", events->path);
	close_file(events);
	int r = open_file(events, err);
	if (r == 0 && fstat(events->fd, &st) < 0)
		return err_sys(err, errno, "look at %s", events->path);
	*size = st.st_size;
	return r;
}

int events_take(void *arg, const struct log_line *said, struct err *err)
{
	struct events *events = arg;
	off_t size = 0;
	AUTO_FREE char *line = line_of(said);
	if (!line)
		return err_set(err, -EMSGSIZE, "a line is too long for %s", EVENTS_NAME);
	size_t len = strlen(line);
	int r = make_room(events, len, &size, err);
	if (r < 0)
		return r;
	ssize_t n = write(events->fd, line, len);
	if (n == (ssize_t)len)
		return 0;
	int error = n < 0 ? errno : ENOSPC;
	if (n > 0 && ftruncate(events->fd, size) < 0)
		close_file(events); /* cut when it is opened again */
	return err_sys(err, error, "write %s", events->path);
}

/* ---- reading ----------------------------------------------------------------------------------
 */

void events_reader_init(struct events_reader *reader, const char *state_dir)
{
	*reader = (struct events_reader){.state_dir = x_strdup(state_dir), .fd = -1, .left_fd = -1};
	reader->data = x_calloc(1, EVENTS_LINE_MAX);
}

void events_reader_release(struct events_reader *reader)
{
	if (reader->fd >= 0)
		close(reader->fd);
	if (reader->left_fd >= 0)
		close(reader->left_fd);
	free(reader->data);
	free(reader->state_dir);
}

static void forget_data(struct events_reader *reader)
{
	reader->begin = reader->len = 0;
}

/* @return 1 with a whole line, without its newline, in *out; 0: the rest is not written yet */
static int next_line(struct events_reader *reader, char **out, struct err *err)
{
	for (;;) {
		char *begin = reader->data + reader->begin;
		char *end = memchr(begin, '\n', reader->len);
		if (end) {
			size_t len = (size_t)(end - begin) + 1;
			*end = '\0';
			*out = begin;
			reader->begin += len;
			reader->len -= len;
			reader->at += (int64_t)len;
			return 1;
		}
		if (reader->len == EVENTS_LINE_MAX) { /* not one of ours */
			reader->at += (int64_t)reader->len;
			reader->bad++;
			forget_data(reader);
		}
		memmove(reader->data, reader->data + reader->begin, reader->len);
		reader->begin = 0;
		ssize_t n = pread(reader->fd, reader->data + reader->len,
				  EVENTS_LINE_MAX - reader->len, reader->at + (int64_t)reader->len);
		if (n < 0)
			return err_sys(err, errno, "read the events");
		if (n == 0) {
			forget_data(reader); /* an unfinished line may be cut and written anew */
			return 0;
		}
		reader->len += (size_t)n;
	}
}

/* @return a descriptor, -ENOENT, or another negative errno */
static int open_one(const struct events_reader *reader, const char *name, struct err *err)
{
	AUTO_FREE char *path = x_asprintf("%s/%s", reader->state_dir, name);
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	return fd >= 0 ? fd : err_sys(err, errno, "read %s", path);
}

/* An inode is not given to another file as long as one of the two is open. */
static bool is_same(int one, int other)
{
	struct stat st, of_other;
	return one >= 0 && other >= 0 && fstat(one, &st) == 0 && fstat(other, &of_other) == 0 &&
	       st.st_ino == of_other.st_ino && st.st_dev == of_other.st_dev;
}

/* The file behind the one that is read: what became the old one since, or the one that is written.
 * @return a descriptor; -ENOENT: there is none; another negative errno */
static int open_next(const struct events_reader *reader, struct err *err)
{
	AUTO_CLOSE int current = open_one(reader, EVENTS_NAME, err);
	if (is_same(current, reader->fd))
		return -ENOENT;
	AUTO_CLOSE int old = open_one(reader, EVENTS_OLD_NAME, err);
	if (old >= 0 && !is_same(old, reader->fd) && !is_same(old, reader->left_fd))
		return STEAL_FD(old);
	return current >= 0 ? STEAL_FD(current) : current;
}

static void turn_to(struct events_reader *reader, int fd)
{
	if (reader->left_fd >= 0)
		close(reader->left_fd);
	reader->left_fd = reader->fd;
	reader->fd = fd;
	reader->at = 0;
	forget_data(reader);
}

/* A file that somebody emptied is read from its beginning. */
static void notice_emptied(struct events_reader *reader)
{
	struct stat st;
	if (reader->fd >= 0 && fstat(reader->fd, &st) == 0 && st.st_size < reader->at) {
		reader->at = 0;
		forget_data(reader);
	}
}

/* @return as events_next() */
static int next_in_files(struct events_reader *reader, char **line, struct err *err)
{
	for (;;) {
		notice_emptied(reader);
		int r = reader->fd >= 0 ? next_line(reader, line, err) : 0;
		if (r != 0)
			return r;
		AUTO_CLOSE int next = open_next(reader, err);
		if (next < 0)
			return next == -ENOENT ? 0 : next;
		/* Nothing is added to a file that is not the current one any more, but something
		 * may have been between our reading and its leaving. */
		r = reader->fd >= 0 ? next_line(reader, line, err) : 0;
		if (r != 0)
			return r;
		turn_to(reader, STEAL_FD(next));
	}
}

static bool is_event(const json_t *event)
{
	static const char *const members[] = {"time", "level", "module", "text"};
	for (size_t i = 0; i < ARRAY_LEN(members); i++) {
		if (!json_is_string(json_object_get(event, members[i])))
			return false;
	}
	return true;
}

int events_next(struct events_reader *reader, json_t **out, struct err *err)
{
	char *line;
	int r;
	while ((r = next_in_files(reader, &line, err)) > 0) {
		json_t *event = json_loads(line, JSON_REJECT_DUPLICATES, NULL);
		if (is_event(event)) {
			*out = event;
			return 1;
		}
		json_decref(event);
		reader->bad++;
	}
	return r;
}
