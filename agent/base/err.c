#include "agent/base/err.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

int err_set(struct err *err, int code, const char *fmt, ...)
{
	if (err) {
		va_list ap;
		va_start(ap, fmt);
		vsnprintf(err->msg, sizeof(err->msg), fmt, ap);
		va_end(ap);
		err->code = code;
	}
	return code;
}

int err_sys(struct err *err, int errnum, const char *fmt, ...)
{
	if (err) {
		char text[sizeof(err->msg)];
		char why[96];
		va_list ap;
		va_start(ap, fmt);
		vsnprintf(text, sizeof(text), fmt, ap);
		va_end(ap);
		err_set(err, -errnum, "%.150s: %s", text, strerror_r(errnum, why, sizeof(why)));
	}
	return -errnum;
}

int err_wrap(struct err *err, const char *fmt, ...)
{
	if (!err)
		return -EIO;
	char inner[sizeof(err->msg)];
	char prefix[sizeof(err->msg)];
	memcpy(inner, err->msg, sizeof(inner));
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(prefix, sizeof(prefix), fmt, ap);
	va_end(ap);
	int kept = (int)(sizeof(err->msg) - strnlen(prefix, sizeof(prefix) - 1) - 3);
	snprintf(err->msg, sizeof(err->msg), "%s: %.*s", prefix, kept > 0 ? kept : 0, inner);
	return err->code ? err->code : -EIO;
}
