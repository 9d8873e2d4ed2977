#include "protocol/rd.h"

#include <errno.h>
#include <string.h>

#include "protocol/relpath.h"
#include "protocol/wire.h"

void rd_init(struct rd *r, const void *body, size_t len)
{
	r->at = body;
	r->end = len ? r->at + len : r->at; /* NULL + 0 is undefined in C */
	r->error = 0;
	r->field = NULL;
}

void rd_fail(struct rd *r, int error, const char *field)
{
	if (r->error)
		return;
	r->error = error;
	r->field = field;
	r->at = r->end; /* nothing can be read any more */
}

bool rd_check(struct rd *r, bool ok, const char *field)
{
	if (!ok)
		rd_fail(r, -EBADMSG, field);
	return !r->error;
}

/* The next `len` bytes, or NULL after a failure. The comparison cannot overflow: both are lengths
 * of what is really there or was asked for, never pointers moved past the end. */
static const uint8_t *take(struct rd *r, size_t len, const char *field)
{
	if (!rd_check(r, (size_t)(r->end - r->at) >= len, field))
		return NULL;
	const uint8_t *bytes = r->at;
	r->at += len;
	return bytes;
}

static uint64_t number(struct rd *r, size_t len, const char *field)
{
	const uint8_t *bytes = take(r, len, field);
	uint64_t v = 0;
	for (size_t i = 0; bytes && i < len; i++)
		v = v << 8 | bytes[i];
	return v;
}

uint8_t rd_u8(struct rd *r, const char *field)
{
	return (uint8_t)number(r, 1, field);
}

uint16_t rd_u16(struct rd *r, const char *field)
{
	return (uint16_t)number(r, 2, field);
}

uint32_t rd_u32(struct rd *r, const char *field)
{
	return (uint32_t)number(r, 4, field);
}

uint64_t rd_u64(struct rd *r, const char *field)
{
	return number(r, 8, field);
}

uint64_t rd_counter(struct rd *r, const char *field)
{
	uint64_t v = rd_u64(r, field);
	return rd_check(r, v < WIRE_COUNTER_END, field) ? v : 0;
}

void rd_copy(struct rd *r, void *out, size_t len, const char *field)
{
	const uint8_t *bytes = take(r, len, field);
	if (bytes)
		memcpy(out, bytes, len);
	else
		memset(out, 0, len);
}

const uint8_t *rd_bytes(struct rd *r, uint32_t *len, uint32_t max, const char *field)
{
	*len = 0;
	uint32_t n = rd_u32(r, field);
	if (n > max)
		rd_fail(r, -EMSGSIZE, field);
	const uint8_t *bytes = take(r, n, field);
	if (bytes)
		*len = n;
	return bytes;
}

const char *rd_text(struct rd *r, size_t max, const char *field)
{
	uint16_t len = rd_u16(r, field);
	if (len > max)
		rd_fail(r, -EMSGSIZE, field);
	const uint8_t *bytes = take(r, (size_t)len + 1, field);
	if (!bytes || !rd_check(r, memchr(bytes, '\0', (size_t)len + 1) == bytes + len, field))
		return "";
	return (const char *)bytes;
}

const char *rd_path(struct rd *r, bool allow_root, const char *field)
{
	const char *path = rd_text(r, 4095, field);
	if (r->error || !rd_check(r, !relpath_wrong(path, strlen(path), allow_root), field))
		return "";
	return path;
}

int rd_end(struct rd *r)
{
	rd_check(r, r->at == r->end, "end");
	return r->error;
}
