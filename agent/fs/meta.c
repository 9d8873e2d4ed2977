#include "agent/fs/meta.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/base/fault.h"

#define NS_PER_S 1000000000

int64_t meta_ns(const struct timespec *time)
{
	return (int64_t)time->tv_sec * NS_PER_S + time->tv_nsec;
}

struct timespec meta_timespec(int64_t ns)
{
	int64_t seconds = ns / NS_PER_S, rest = ns % NS_PER_S;
	if (rest < 0) { /* before 1970 */
		seconds--;
		rest += NS_PER_S;
	}
	return (struct timespec){.tv_sec = seconds, .tv_nsec = rest};
}

void file_stat_from(struct file_stat *out, const struct stat *st)
{
	*out = (struct file_stat){
		.dev = st->st_dev,
		.ino = st->st_ino,
		.size = (uint64_t)st->st_size,
		.mtime_ns = meta_ns(&st->st_mtim),
		.ctime_ns = meta_ns(&st->st_ctim),
		.mode = st->st_mode,
		.uid = st->st_uid,
		.gid = st->st_gid,
		.nlink = st->st_nlink,
	};
}

bool file_stat_equal_moved(const struct file_stat *a, const struct file_stat *b)
{
	/* Not the device: its number changes with a reboot or a mount, and the same path of the
	 * same root is on the same file system, or the root is not what its marker says. */
	return a->ino == b->ino && a->size == b->size && a->mtime_ns == b->mtime_ns &&
	       a->mode == b->mode && a->uid == b->uid && a->gid == b->gid;
}

bool file_stat_equal(const struct file_stat *a, const struct file_stat *b)
{
	return file_stat_equal_moved(a, b) && a->ctime_ns == b->ctime_ns;
}

static enum record_kind kind_of(mode_t mode)
{
	return S_ISREG(mode)   ? RECORD_FILE
	       : S_ISDIR(mode) ? RECORD_DIR
	       : S_ISLNK(mode) ? RECORD_SYMLINK
			       : RECORD_ABSENT;
}

static uint32_t permitted_mode(uint32_t mode, const struct meta_policy *policy)
{
	return mode & (policy->allow_setid ? 07777 : 01777);
}

int meta_to_record(struct record *out, const struct stat *st, const struct meta_policy *policy)
{
	enum record_kind kind = kind_of(st->st_mode);
	if (kind == RECORD_ABSENT)
		return -ENOTSUP;
	out->kind = kind;
	out->mode = kind == RECORD_SYMLINK ? 0 : permitted_mode(st->st_mode, policy);
	out->uid = st->st_uid;
	out->gid = st->st_gid;
	out->mtime_ns = meta_ns(&st->st_mtim);
	out->size = kind == RECORD_FILE ? (uint64_t)st->st_size : 0;
	return 0;
}

/* ---- putting it on -------------------------------------------------------------------------- */

static bool wanted_owner(uid_t *uid, gid_t *gid, const struct record *record,
			 const struct meta_policy *policy)
{
	switch (policy->ownership) {
	case OWNERSHIP_IGNORE: return false;
	case OWNERSHIP_PRESERVE:
		*uid = record->uid;
		*gid = record->gid;
		return true;
	case OWNERSHIP_FIXED:
		*uid = policy->uid;
		*gid = policy->gid;
		return true;
	}
	return false;
}

/* An agent without the capability is told EPERM; one in a user namespace without the id, EINVAL. */
static bool owner_is_beyond_us(int error)
{
	return error == EPERM || error == EINVAL;
}

/* @return 1 when the owner is as wanted, 0 when it could not be set, -errno */
static int apply_owner(int fd, const struct stat *st, const struct record *record,
		       const struct meta_policy *policy, struct err *err)
{
	uid_t uid;
	gid_t gid;
	if (!wanted_owner(&uid, &gid, record, policy))
		return 1;
	if ((st->st_uid == uid && st->st_gid == gid) || fchown(fd, uid, gid) == 0)
		return 1;
	if (!owner_is_beyond_us(errno))
		return err_sys(err, errno, "set owner %u:%u", uid, gid);
	/* A group that we are in may be set without any capability. */
	if (st->st_gid != gid && fchown(fd, (uid_t)-1, gid) < 0 && !owner_is_beyond_us(errno))
		return err_sys(err, errno, "set group %u", gid);
	return 0;
}

/* With the access time: inotify tells of a modification time that is set alone as of content that
 * was written, and whoever watches would wait for a close that never comes. */
int meta_apply_mtime(int fd, int64_t mtime_ns, struct err *err)
{
	struct timespec times[2] = {{.tv_nsec = UTIME_NOW}, meta_timespec(mtime_ns)};
	if (futimens(fd, times) < 0)
		return err_sys(err, errno, "set mtime");
	return 0;
}

int meta_apply_rights(int fd, const struct record *record, const struct meta_policy *policy,
		      struct err *err)
{
	struct stat st;
	int hit = fault_point("apply metadata");
	if (hit || fstat(fd, &st) < 0)
		return err_sys(err, hit ? hit : errno, "apply metadata");
	int owned = apply_owner(fd, &st, record, policy, err);
	if (owned < 0)
		return owned;
	int r = meta_write_xattrs(fd, record->xattrs, record->xattrs_len, err);
	if (r < 0)
		return r;
	/* Always: chown clears bits, and an ACL changes the group's. */
	uint32_t mode = permitted_mode(record->mode, policy);
	if (!owned)
		mode &= 01777; /* setuid of a file that is not its owner's would lend our rights */
	if (fchmod(fd, mode) < 0)
		return err_sys(err, errno, "set mode %04o", mode);
	return 0;
}

int meta_apply(int fd, const struct record *record, int64_t mtime_ns,
	       const struct meta_policy *policy, struct err *err)
{
	int r = meta_apply_rights(fd, record, policy, err);
	if (r < 0 || (record->kind == RECORD_DIR && mtime_ns == RECORD_NO_MTIME))
		return r;
	return meta_apply_mtime(fd, mtime_ns, err);
}

int meta_apply_symlink(int dirfd, const char *name, const struct record *record,
		       const struct meta_policy *policy, struct err *err)
{
	uid_t uid;
	gid_t gid;
	int hit = fault_point("apply metadata of link");
	if (hit)
		return err_sys(err, hit, "apply metadata of link");
	if (wanted_owner(&uid, &gid, record, policy) &&
	    fchownat(dirfd, name, uid, gid, AT_SYMLINK_NOFOLLOW) < 0 && !owner_is_beyond_us(errno))
		return err_sys(err, errno, "set owner %u:%u of link", uid, gid);
	struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, meta_timespec(record->mtime_ns)};
	if (utimensat(dirfd, name, times, AT_SYMLINK_NOFOLLOW) < 0)
		return err_sys(err, errno, "set mtime of link");
	return 0;
}
