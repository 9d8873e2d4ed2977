/* record.h - what is known of one path: the unit that is indexed, sent, acknowledged and compared.
 * Pure. All pointers are borrowed from whoever made the record. */
#ifndef PROTOCOL_RECORD_H
#define PROTOCOL_RECORD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RECORD_HASH_LEN 32	      /* SHA-256 */
#define RECORD_TARGET_MAX 4095	      /* bytes of a symbolic link's target */
#define RECORD_XATTRS_MAX (48 * 1024) /* bytes of the encoded extended attributes */

enum record_kind {
	RECORD_FILE = 1,
	RECORD_DIR = 2,
	RECORD_SYMLINK = 3,
	RECORD_ABSENT = 4, /* a tombstone: the path was there and is gone */
};

/* No file system has it; 0 is 1970, which images built to be reproducible are full of. */
#define RECORD_NO_MTIME INT64_MIN

struct record {
	const char *path; /* relative to the tree, judged by relpath; "" is the tree itself */
	enum record_kind kind;
	uint32_t mode;	   /* 07777 of st_mode; 0 for a symbolic link and a tombstone */
	uint32_t uid, gid; /* of the source; compared only where both ends preserve ownership */
	int64_t mtime_ns;  /* 0 for a tombstone; RECORD_NO_MTIME for a directory whose mtime is not
			      replicated */
	uint64_t size;	   /* bytes of a file; 0 otherwise */
	uint8_t hash[RECORD_HASH_LEN]; /* SHA-256 of a file's content; zero otherwise */
	const uint8_t *target;	       /* of a symbolic link: bytes, never followed */
	uint32_t target_len;
	const uint8_t *xattrs; /* user.* attributes and POSIX ACLs, encoded as in agent/fs/meta.h */
	uint32_t xattrs_len;
	uint64_t epoch; /* number of the epoch in which it last changed; 0 = never replicated */
	uint64_t seq;	/* position of its last change; 0 = never replicated */
};

/**
 * The bytes that two nodes must agree on to call a path equal: path, kind, mode, mtime, size,
 * content hash or target, attributes, and owner where `with_owner`. Not in it: epoch and seq.
 * @param out      receives at most `size` bytes
 * @return the length the encoding has, whether or not it fitted (compare with size)
 */
size_t record_element(uint8_t *out, size_t size, const struct record *record, bool with_owner);

#define RECORD_ELEMENT_MAX (4096 + RECORD_TARGET_MAX + RECORD_XATTRS_MAX + 128)

/* Equal by content alone: same kind and same hash and size, or same target. */
bool record_same_content(const struct record *a, const struct record *b);

/* Equal in all that record_element() covers. */
bool record_equal(const struct record *a, const struct record *b, bool with_owner);

#endif
