#include "agent/base/log.h"

#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define LINE_MAX_BYTES 2048 /* one write() of this size stays whole on a pipe */

static const char *const level_names[] = {"error", "warn", "info", "debug"};

static struct {
	pthread_mutex_t lock;
	enum log_format format;
	_Atomic int lowest;
	char last[LINE_MAX_BYTES];
	unsigned long repeats;
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

static void emit(enum log_level level, const char *module, const char *text)
{
	struct timespec now;
	struct tm tm;
	char when[40];
	char line[LINE_MAX_BYTES * 2];
	clock_gettime(CLOCK_REALTIME, &now);
	gmtime_r(&now.tv_sec, &tm);
	strftime(when, sizeof(when), "%Y-%m-%dT%H:%M:%S", &tm);
	int n;
	if (state.format == LOG_FORMAT_JSON) {
		char escaped[LINE_MAX_BYTES + 512];
		json_escape(escaped, sizeof(escaped), text);
		n = snprintf(line, sizeof(line),
			     "{\"time\":\"%s.%03ldZ\",\"level\":\"%s\",\"module\":\"%s\","
			     "\"message\":\"%s\"}\n",
			     when, now.tv_nsec / 1000000, level_names[level], module, escaped);
	} else {
		n = snprintf(line, sizeof(line), "%s.%03ldZ %-5s %s: %s\n", when,
			     now.tv_nsec / 1000000, level_names[level], module, text);
	}
	if (n > (int)sizeof(line) - 1)
		n = (int)sizeof(line) - 1;
	/* A log that cannot be written has nowhere to be reported. */
	ssize_t written = write(STDERR_FILENO, line, (size_t)n);
	(void)written;
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
