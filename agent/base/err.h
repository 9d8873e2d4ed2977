/* err.h - a failure with its story: a negative errno and one line of context that grows on the way
 * up ("store epoch 7: create epoch.tmp: No space left on device"). Low code describes, middle code
 * wraps, the level that decides logs it, once. Untouched on success. Thread: any. */
#ifndef BASE_ERR_H
#define BASE_ERR_H

struct err {
	int code;      /* negative errno; 0 as initialised */
	char msg[256]; /* NUL-terminated; cut at the end when longer */
};

/**
 * Records a failure.
 * @param err   may be NULL when the caller does not want the text
 * @param code  negative errno
 * @return code
 */
int err_set(struct err *err, int code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/**
 * Records a failed system call: the text, then ": ", then what the system says of errnum.
 * @param errnum  positive errno
 * @return -errnum
 */
int err_sys(struct err *err, int errnum, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/**
 * Prefixes "text: " to what is recorded.
 * @return err->code, or -EIO when err is NULL or records nothing
 */
int err_wrap(struct err *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif
