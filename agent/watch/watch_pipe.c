#include "agent/watch/watch_pipe.h"

#include <errno.h>
#include <string.h>

#include "agent/base/alloc.h"

static void put_number(struct buf *out, uint64_t value, size_t bytes)
{
	uint8_t *place = buf_extend(out, bytes);
	for (size_t i = 0; i < bytes; i++)
		place[i] = (uint8_t)(value >> (8 * (bytes - 1 - i)));
}

static uint64_t get_number(const uint8_t *data, size_t bytes)
{
	uint64_t value = 0;
	for (size_t i = 0; i < bytes; i++)
		value = value << 8 | data[i];
	return value;
}

static void put_header(struct buf *out, enum watch_record_type type, uint8_t root, size_t len)
{
	BUG_ON(len > WATCH_PAYLOAD_MAX);
	put_number(out, type, 1);
	put_number(out, root, 1);
	put_number(out, len, 4);
}

void watch_pipe_put_simple(struct buf *out, enum watch_record_type type, uint8_t root)
{
	put_header(out, type, root, 0);
}

void watch_pipe_put_changed(struct buf *out, uint8_t root, uint8_t hint, const char *path)
{
	size_t len = strlen(path);
	BUG_ON(len > WATCH_PATH_MAX);
	put_header(out, WATCH_CHANGED, root, 1 + len);
	put_number(out, hint, 1);
	buf_append(out, path, len);
}

void watch_pipe_put_subtree(struct buf *out, uint8_t root, const char *path, const char *why)
{
	size_t len = strlen(path), why_len = strnlen(why, WATCH_TEXT_MAX);
	BUG_ON(len > WATCH_PATH_MAX);
	put_header(out, WATCH_SUBTREE, root, 2 + len + why_len);
	put_number(out, len, 2);
	buf_append(out, path, len);
	buf_append(out, why, why_len);
}

void watch_pipe_put_fence(struct buf *out, uint64_t nonce, bool complete)
{
	put_header(out, WATCH_FENCE, 0, 9);
	put_number(out, nonce, 8);
	put_number(out, complete, 1);
}

void watch_pipe_put_counts(struct buf *out, uint64_t directories, uint64_t watched,
			   uint64_t overflows, const char *limit)
{
	size_t len = strnlen(limit, WATCH_TEXT_MAX);
	put_header(out, WATCH_COUNTS, 0, 24 + len);
	put_number(out, directories, 8);
	put_number(out, watched, 8);
	put_number(out, overflows, 8);
	buf_append(out, limit, len);
}

/* Copies a string that must not contain NUL. */
static int get_text(char *out, size_t max, const uint8_t *data, size_t len)
{
	if (len > max || memchr(data, '\0', len))
		return -EBADMSG;
	memcpy(out, data, len);
	out[len] = '\0';
	return 0;
}

static int get_changed(struct watch_record *out, const uint8_t *data, size_t len)
{
	if (len < 1 || data[0] > WATCH_OPEN)
		return -EBADMSG;
	out->hint = data[0];
	return get_text(out->path, WATCH_PATH_MAX, data + 1, len - 1);
}

static int get_subtree(struct watch_record *out, const uint8_t *data, size_t len)
{
	size_t path_len = len < 2 ? 0 : get_number(data, 2);
	if (len < 2 + path_len)
		return -EBADMSG;
	int r = get_text(out->path, WATCH_PATH_MAX, data + 2, path_len);
	return r < 0 ? r
		     : get_text(out->text, WATCH_TEXT_MAX, data + 2 + path_len, len - 2 - path_len);
}

static int get_fence(struct watch_record *out, const uint8_t *data, size_t len)
{
	if (len != 9 || data[8] > 1)
		return -EBADMSG;
	out->nonce = get_number(data, 8);
	out->complete = data[8];
	return 0;
}

static int get_counts(struct watch_record *out, const uint8_t *data, size_t len)
{
	if (len < 24)
		return -EBADMSG;
	out->directories = get_number(data, 8);
	out->watched = get_number(data + 8, 8);
	out->overflows = get_number(data + 16, 8);
	return get_text(out->text, WATCH_TEXT_MAX, data + 24, len - 24);
}

static int get_payload(struct watch_record *out, const uint8_t *data, size_t len)
{
	out->hint = 0;
	out->complete = false;
	out->nonce = out->directories = out->watched = out->overflows = 0;
	out->path[0] = out->text[0] = '\0';
	switch (out->type) {
	case WATCH_READY:
	case WATCH_ROOT_SUSPECT: return len == 0 ? 0 : -EBADMSG;
	case WATCH_CHANGED: return get_changed(out, data, len);
	case WATCH_SUBTREE: return get_subtree(out, data, len);
	case WATCH_FENCE: return get_fence(out, data, len);
	case WATCH_COUNTS: return get_counts(out, data, len);
	}
	return -EBADMSG;
}

long watch_pipe_get(struct watch_record *out, const uint8_t *data, size_t len)
{
	if (len < WATCH_HEADER_LEN)
		return 0;
	size_t payload = get_number(data + 2, 4);
	if (payload > WATCH_PAYLOAD_MAX)
		return -EBADMSG;
	if (len < WATCH_HEADER_LEN + payload)
		return 0;
	out->type = data[0];
	out->root = data[1];
	int r = get_payload(out, data + WATCH_HEADER_LEN, payload);
	return r < 0 ? r : (long)(WATCH_HEADER_LEN + payload);
}

void watch_pipe_put_command(uint8_t out[WATCH_COMMAND_LEN], uint64_t nonce)
{
	out[0] = WATCH_COMMAND_FENCE;
	for (size_t i = 0; i < 8; i++)
		out[1 + i] = (uint8_t)(nonce >> (8 * (7 - i)));
}

long watch_pipe_get_command(uint64_t *nonce, const uint8_t *data, size_t len)
{
	if (len > 0 && data[0] != WATCH_COMMAND_FENCE)
		return -EBADMSG;
	if (len < WATCH_COMMAND_LEN)
		return 0;
	*nonce = get_number(data + 1, 8);
	return WATCH_COMMAND_LEN;
}
