#include "protocol/record.h"

#include <string.h>

#include "protocol/wr.h"

/* The first byte of every element. Another one means another digest everywhere: nodes that disagree
 * on the encoding must not by accident agree on a tree. */
#define ELEMENT_FORMAT 1

/* Each field is of fixed length or carries its own, and kind and owner flag say which fields
 * follow: no two different records have the same encoding. */
size_t record_element(uint8_t *out, size_t size, const struct record *record, bool with_owner)
{
	struct wr w;
	wr_init(&w, out, size);
	wr_u8(&w, ELEMENT_FORMAT);
	wr_text(&w, record->path);
	wr_u8(&w, (uint8_t)record->kind);
	wr_u32(&w, record->mode);
	wr_u64(&w, (uint64_t)record->mtime_ns);
	if (record->kind == RECORD_FILE) {
		wr_u64(&w, record->size);
		wr_raw(&w, record->hash, RECORD_HASH_LEN);
	} else if (record->kind == RECORD_SYMLINK) {
		wr_bytes(&w, record->target, record->target_len);
	}
	wr_bytes(&w, record->xattrs, record->xattrs_len);
	wr_u8(&w, with_owner);
	if (with_owner) {
		wr_u32(&w, record->uid);
		wr_u32(&w, record->gid);
	}
	return w.wanted;
}

static bool same_bytes(const uint8_t *a, uint32_t a_len, const uint8_t *b, uint32_t b_len)
{
	return a_len == b_len && (a_len == 0 || memcmp(a, b, a_len) == 0);
}

bool record_same_content(const struct record *a, const struct record *b)
{
	if (a->kind != b->kind)
		return false;
	if (a->kind == RECORD_FILE)
		return a->size == b->size && memcmp(a->hash, b->hash, RECORD_HASH_LEN) == 0;
	if (a->kind == RECORD_SYMLINK)
		return same_bytes(a->target, a->target_len, b->target, b->target_len);
	return true;
}

bool record_equal(const struct record *a, const struct record *b, bool with_owner)
{
	return strcmp(a->path, b->path) == 0 && record_same_content(a, b) && a->mode == b->mode &&
	       a->mtime_ns == b->mtime_ns &&
	       same_bytes(a->xattrs, a->xattrs_len, b->xattrs, b->xattrs_len) &&
	       (!with_owner || (a->uid == b->uid && a->gid == b->gid));
}
