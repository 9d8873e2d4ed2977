#include "agent/base/log.h"

#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "agent/base/clock.h"

#define LINE_MAX_BYTES 2048 /* one write() of this size stays whole on a pipe */

static const char *const level_names[] = {"error", "warn", "info", "debug"};

static struct {
	pthread_mutex_t lock;
	enum log_format format;
	_Atomic int lowest;
	char last[LINE_MAX_BYTES];
	unsigned long repeats;
	log_sink *sink;
	void *sink_arg;
	unsigned long untaken; /* lines that the sink could not take, one after the other */
} state = {.lock = PTHREAD_MUTEX_INITIALIZER, .lowest = LOG_LEVEL_INFO};

void log_init(enum log_format format, enum log_level lowest)
{
	state.format = format;
	state.lowest = lowest;
}

void log_set_lowest(enum log_level lowest)
{
	state.lowest = lowest;
}

void log_set_sink(log_sink *sink, void *arg)
{
	pthread_mutex_lock(&state.lock);
	state.sink = sink;
	state.sink_arg = arg;
	state.untaken = 0;
	pthread_mutex_unlock(&state.lock);
}

const char *log_level_name(enum log_level level)
{
	return level_names[level];
}

int log_level_from_name(const char *name)
{
	for (int i = 0; i <= LOG_LEVEL_DEBUG; i++) {
		if (strcmp(name, level_names[i]) == 0)
			return i;
	}
	return -EINVAL;
}

/* JSON string escapes for what is already printable UTF-8 or a stray control byte. */
static void json_escape(char *out, size_t size, const char *text)
{
	size_t used = 0;
	for (const char *s = text; *s && used + 8 < size; s++) {
		if (*s == '"' || *s == '\\') {
			out[used++] = '\\';
			out[used++] = *s;
		} else if ((unsigned char)*s < 0x20) {
			used += (size_t)sprintf(out + used, "\\u%04x", (unsigned char)*s);
		} else {
			out[used++] = *s;
		}
	}
	out[used] = '\0';
}

static void print(const struct log_line *said)
{
	char line[LINE_MAX_BYTES * 2];
	const char *level = level_names[said->level];
	int n;
	if (state.format == LOG_FORMAT_JSON) {
		char escaped[LINE_MAX_BYTES + 512];
		json_escape(escaped, sizeof(escaped), said->text);
		n = snprintf(line, sizeof(line),
			     "{\"time\":\"%s\",\"level\":\"%s\",\"module\":\"%s\","
			     "\"message\":\"%s\"}\n",
			     said->time, level, said->module, escaped);
	} else {
		n = snprintf(line, sizeof(line), "%s %-5s %s: %s\n", said->time, level,
			     said->module, said->text);
	}
	if (n > (int)sizeof(line) - 1)
		n = (int)sizeof(line) - 1;
	/* A log that cannot be written has nowhere to be reported. */
	ssize_t written = write(STDERR_FILENO, line, (size_t)n);
	(void)written;
}

/* About the sink itself: where it is told of too, only its answer is not looked at. */
static void print_about_sink(const char *time, enum log_level level, const char *text)
{
	const struct log_line note = {time, level, "log", text};
	struct err err = {0};
	print(&note);
	if (state.untaken == 0)
		state.sink(state.sink_arg, &note, &err);
}

static void tell_sink(const struct log_line *said)
{
	struct err err = {0};
	char note[320];
	if (!state.sink || said->level > LOG_LEVEL_INFO)
		return;
	unsigned long before = state.untaken;
	if (state.sink(state.sink_arg, said, &err) < 0) {
		state.untaken++;
		snprintf(note, sizeof(note), "action=go-on err=\"%s\"", err.msg);
		if (before == 0)
			print_about_sink(said->time, LOG_LEVEL_WARN, note);
		return;
	}
	state.untaken = 0;
	snprintf(note, sizeof(note), "lines are kept again lost=%lu", before);
	if (before > 0)
		print_about_sink(said->time, LOG_LEVEL_INFO, note);
}

static void emit(enum log_level level, const char *module, const char *text)
{
	char time[CLOCK_TEXT_MAX];
	const struct log_line said = {clock_text(time, clock_real_ns()), level, module, text};
	print(&said);
	tell_sink(&said);
}

void log_write(enum log_level level, const char *module, const char *fmt, ...)
{
	if (level > state.lowest)
		return;
	char text[LINE_MAX_BYTES];
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);

	pthread_mutex_lock(&state.lock);
	if (strcmp(text, state.last) == 0) {
		state.repeats++;
	} else {
		if (state.repeats > 0) {
			char note[64];
			snprintf(note, sizeof(note), "previous line repeated %lu times",
				 state.repeats);
			emit(level, "log", note);
		}
		state.repeats = 0;
		snprintf(state.last, sizeof(state.last), "%s", text);
		emit(level, module, text);
	}
	pthread_mutex_unlock(&state.lock);
}
