/* recent.h - small content that capture has just read and the sender is about to send: kept in
 * memory by its hash for a moment, so that the file is opened, read and hashed once and not twice.
 * capture -> recent -> sender. A miss costs nothing but that. Thread: any. */
#ifndef SYNC_RECENT_H
#define SYNC_RECENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/base/alloc.h"
#include "agent/base/buf.h"
#include "agent/base/hash.h"

#define RECENT_FILE_MAX (32u * 1024)   /* bytes of one file */
#define RECENT_MAX (16u * 1024 * 1024) /* bytes of all */

struct recent;
struct recent *recent_new(void); /* nothing is kept until somebody wants it */
void recent_free(struct recent *recent);
DEFINE_AUTO(recent)

/* Somebody sends from now on, or nobody does: then everything is dropped. Counted: as often off as
 * on. */
void recent_want(struct recent *recent, bool on);
/* Is there a use, and room, for a file of this size? */
bool recent_has_room(struct recent *recent, uint64_t size);
/**
 * @param bytes  takes a heap block; freed when it is not kept
 * @param hash   SHA-256 of it
 */
void recent_put(struct recent *recent, const uint8_t hash[HASH_LEN], uint8_t *bytes, size_t len);
/* Appends the content to *out and forgets it. @return false when it is not there */
bool recent_take(struct recent *recent, const uint8_t hash[HASH_LEN], struct buf *out);

#endif
