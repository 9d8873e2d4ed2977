/* log.h - lines on standard error: `log_<level>(module, "key=value ...")`.
 * error = someone must act, warn = we coped, info = state changed, debug = every edge. Names from
 * disk or peer are always quoted (quote.h); content is never logged. A line equal to the one
 * before is counted, not repeated. One sink may be told what was written. Thread: any. */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include "agent/base/err.h"

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARN, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };
enum log_format { LOG_FORMAT_TEXT, LOG_FORMAT_JSON };

void log_init(enum log_format format, enum log_level lowest);

void log_set_lowest(enum log_level lowest);

struct log_line {
	const char *time; /* RFC 3339 in UTC with milliseconds */
	enum log_level level;
	const char *module;
	const char *text;
};

/* Called under the log's lock: it must not log, and must not wait for who does.
 * @return 0, or negative with *err: said once on standard error, until a line is taken again */
typedef int log_sink(void *arg, const struct log_line *line, struct err *err);

/* From now on `sink` gets each line of level info and above that is really written; NULL: nobody
 * does. After the return the one before is not called any more. */
void log_set_sink(log_sink *sink, void *arg);

const char *log_level_name(enum log_level level);

/* @param name "error", "warn", "info" or "debug"
 * @return the level, or -EINVAL */
int log_level_from_name(const char *name);

void log_write(enum log_level level, const char *module, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

#define log_error(module, ...) log_write(LOG_LEVEL_ERROR, module, __VA_ARGS__)
#define log_warn(module, ...) log_write(LOG_LEVEL_WARN, module, __VA_ARGS__)
#define log_info(module, ...) log_write(LOG_LEVEL_INFO, module, __VA_ARGS__)
#define log_debug(module, ...) log_write(LOG_LEVEL_DEBUG, module, __VA_ARGS__)

#endif
