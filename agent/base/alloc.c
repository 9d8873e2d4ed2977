#include "agent/base/alloc.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>

_Noreturn void bug_on_failed(const char *file, int line, const char *what)
{
	fprintf(stderr, "artifact-sync: broken invariant at %s:%d: %s\n", file, line, what);
	abort();
}

static void *or_abort(void *p)
{
	if (!p) {
		fputs("artifact-sync: out of memory\n", stderr);
		abort();
	}
	return p;
}

void *x_calloc(size_t count, size_t size)
{
	return or_abort(calloc(count ? count : 1, size ? size : 1));
}

void *x_realloc(void *old, size_t count, size_t size)
{
	return or_abort(reallocarray(old, count ? count : 1, size ? size : 1));
}

char *x_strdup(const char *text)
{
	return or_abort(strdup(text));
}

char *x_strndup(const char *text, size_t len)
{
	return or_abort(strndup(text, len));
}

void *x_memdup(const void *data, size_t len)
{
	void *copy = x_calloc(1, len);
	if (len > 0)
		memcpy(copy, data, len);
	return copy;
}

char *x_vasprintf(const char *fmt, va_list ap)
{
	char *out = NULL;
	int n = vasprintf(&out, fmt, ap);
	return or_abort(n < 0 ? NULL : out);
}

char *x_asprintf(const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	char *out = x_vasprintf(fmt, ap);
	va_end(ap);
	return out;
}
