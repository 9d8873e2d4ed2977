/* meta.h - metadata of one object: what stat says, what is replicated of it, how it is put on.
 * Blocking; thread: any. */
#ifndef FS_META_H
#define FS_META_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

#include "agent/base/buf.h"
#include "agent/base/err.h"
#include "protocol/record.h"

/* As installed on this node: what scans compare with. */
struct file_stat {
	uint64_t dev, ino;
	uint64_t size;
	int64_t mtime_ns, ctime_ns;
	uint32_t mode; /* all of st_mode; 0 = nothing known */
	uint32_t uid, gid;
	uint64_t nlink;
};

void file_stat_from(struct file_stat *out, const struct stat *st);
/* ino, size, mtime, ctime, mode, uid, gid all equal (not nlink; not dev, which a reboot may change)
 */
bool file_stat_equal(const struct file_stat *a, const struct file_stat *b);
/* the same without ctime, which a rename changes */
bool file_stat_equal_moved(const struct file_stat *a, const struct file_stat *b);

enum ownership { OWNERSHIP_IGNORE, OWNERSHIP_PRESERVE, OWNERSHIP_FIXED };

struct meta_policy {
	enum ownership ownership;
	uint32_t uid, gid; /* for OWNERSHIP_FIXED */
	bool allow_setid;  /* else setuid and setgid bits are neither captured nor installed */
};

/**
 * Fills kind, mode, uid, gid, mtime_ns, size of `out` from st (a file, directory or link).
 * @return 0, or -ENOTSUP for a FIFO, socket or device
 */
int meta_to_record(struct record *out, const struct stat *st, const struct meta_policy *policy);

/* Nanoseconds since 1970 <-> what the system calls take. */
int64_t meta_ns(const struct timespec *time);
struct timespec meta_timespec(int64_t ns);

/**
 * Reads user.* attributes and POSIX ACLs of an open file or directory in a canonical order:
 * u16 name length, name, u32 value length, value (big-endian); names sorted, each once.
 * @param out  replaced; at most RECORD_XATTRS_MAX bytes
 * @return 0, -E2BIG over the limit, or another errno; a file system without attributes gives 0 and
 *         nothing
 */
int meta_read_xattrs(struct buf *out, int fd, struct err *err);

/* @return 0, or -EBADMSG if the encoding is not canonical, too long, or names an attribute that is
 * not user.* or a POSIX ACL */
int meta_check_xattrs(const uint8_t *xattrs, uint32_t len);

/**
 * Makes the attributes of an open file or directory those of the encoding: what is there and not in
 * it is removed. Touches nothing when they are equal.
 * @return 0, -EBADMSG (meta_check_xattrs), -ENOTSUP where the file system has none, or another
 * errno
 */
int meta_write_xattrs(int fd, const uint8_t *xattrs, uint32_t len, struct err *err);

/**
 * Puts owner (by policy), attributes and mode on an open file or directory, in that order, because
 * each may disturb those before it. An owner that may not be set is left as it is, and setuid and
 * setgid are then not set.
 */
int meta_apply_rights(int fd, const struct record *record, const struct meta_policy *policy,
		      struct err *err);
int meta_apply_mtime(int fd, int64_t mtime_ns, struct err *err);

/**
 * Both, the time at the end.
 * @param mtime_ns  what to install, usually record->mtime_ns; RECORD_NO_MTIME on a directory: left
 * alone
 */
int meta_apply(int fd, const struct record *record, int64_t mtime_ns,
	       const struct meta_policy *policy, struct err *err);

/* The same for a symbolic link, by name beneath an open directory. */
int meta_apply_symlink(int dirfd, const char *name, const struct record *record,
		       const struct meta_policy *policy, struct err *err);

#endif
