/* Extended attributes, as the bytes that a record carries: see meta_read_xattrs(). An ACL is
 * carried as the kernel's own little-endian form, which is the same on every machine. */
#include "agent/fs/meta.h"

#include <errno.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>

#include "agent/base/alloc.h"

#define LIST_MAX (64 * 1024) /* XATTR_LIST_MAX of the kernel */

struct attribute {
	const char *name; /* not NUL-terminated in an encoding */
	uint32_t name_len;
	const uint8_t *value;
	uint32_t value_len;
};

static bool is_replicated(const char *name, size_t len)
{
	static const char *const acls[] = {"system.posix_acl_access", "system.posix_acl_default"};
	for (size_t i = 0; i < ARRAY_LEN(acls); i++) {
		if (len == strlen(acls[i]) && memcmp(name, acls[i], len) == 0)
			return true;
	}
	return len > 5 && memcmp(name, "user.", 5) == 0;
}

/* ---- the encoding --------------------------------------------------------------------------- */

static void put_number(struct buf *out, uint32_t value, size_t bytes)
{
	uint8_t *at = buf_extend(out, bytes);
	for (size_t i = 0; i < bytes; i++)
		at[i] = (uint8_t)(value >> (8 * (bytes - 1 - i)));
}

static uint32_t get_number(const uint8_t *at, size_t bytes)
{
	uint32_t value = 0;
	for (size_t i = 0; i < bytes; i++)
		value = value << 8 | at[i];
	return value;
}

/* Takes the next attribute off [*at, end). @return false when it is cut short */
static bool next_attribute(struct attribute *out, const uint8_t **at, const uint8_t *end)
{
	if (end - *at < 2)
		return false;
	out->name_len = get_number(*at, 2);
	*at += 2;
	if ((size_t)(end - *at) < (size_t)out->name_len + 4)
		return false;
	out->name = (const char *)*at;
	*at += out->name_len;
	out->value_len = get_number(*at, 4);
	*at += 4;
	if ((size_t)(end - *at) < out->value_len)
		return false;
	out->value = *at;
	*at += out->value_len;
	return true;
}

static int compare_names(const char *a, size_t a_len, const char *b, size_t b_len)
{
	int order = memcmp(a, b, a_len < b_len ? a_len : b_len);
	return order ? order : (a_len > b_len) - (a_len < b_len);
}

int meta_check_xattrs(const uint8_t *xattrs, uint32_t len)
{
	struct attribute one, before = {.name = ""};
	if (len == 0)
		return 0;
	if (len > RECORD_XATTRS_MAX)
		return -EBADMSG;
	const uint8_t *at = xattrs, *end = xattrs + len;
	while (at < end) {
		if (!next_attribute(&one, &at, end) || one.name_len > XATTR_NAME_MAX ||
		    !is_replicated(one.name, one.name_len) || memchr(one.name, '\0', one.name_len))
			return -EBADMSG;
		if (compare_names(before.name, before.name_len, one.name, one.name_len) >= 0)
			return -EBADMSG;
		before = one;
	}
	return 0;
}

/* ---- reading -------------------------------------------------------------------------------- */

static bool has_no_attributes(int error)
{
	return error == ENOTSUP || error == ENOSYS;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Appends one attribute. One that vanished since it was listed is skipped. */
static int append_attribute(struct buf *out, int fd, const char *name, struct err *err)
{
	size_t name_len = strlen(name), start = out->len;
	size_t head = 2 + name_len + 4;
	if (out->len + head > RECORD_XATTRS_MAX)
		return err_set(err, -E2BIG, "extended attributes of more than %d bytes",
			       RECORD_XATTRS_MAX);
	put_number(out, (uint32_t)name_len, 2);
	buf_append(out, name, name_len);
	put_number(out, 0, 4);
	size_t room = RECORD_XATTRS_MAX - out->len;
	uint8_t *place = buf_extend(out, room);
	/* With a size of 0 the kernel answers the length, whatever it is. */
	ssize_t n = fgetxattr(fd, name, place, room);
	if (n < 0 && errno == ENODATA) {
		out->len = start;
		return 0;
	}
	if (n > (ssize_t)room || (n < 0 && errno == ERANGE))
		return err_set(err, -E2BIG, "extended attributes of more than %d bytes",
			       RECORD_XATTRS_MAX);
	if (n < 0)
		return err_sys(err, errno, "read an extended attribute");
	out->len -= room - (size_t)n;
	uint8_t *length = out->data + start + 2 + name_len;
	for (int i = 0; i < 4; i++)
		length[i] = (uint8_t)((size_t)n >> (24 - 8 * i));
	return 0;
}

static int append_listed(struct buf *out, int fd, const char *list, size_t len, struct err *err)
{
	AUTO_FREE const char **names = NULL;
	size_t n = 0, cap = 0;
	for (const char *at = list; at < list + len; at += strlen(at) + 1) {
		if (!is_replicated(at, strlen(at)))
			continue;
		GROW(names, cap, n + 1);
		names[n++] = at;
	}
	if (n > 1)
		qsort(names, n, sizeof(*names), by_name);
	for (size_t i = 0; i < n; i++) {
		int r = append_attribute(out, fd, names[i], err);
		if (r < 0)
			return r;
	}
	return 0;
}

int meta_read_xattrs(struct buf *out, int fd, struct err *err)
{
	char few[256]; /* most files have none or a security label */
	AUTO_FREE char *many = NULL;
	char *list = few;
	out->len = 0;
	ssize_t n = flistxattr(fd, few, sizeof(few));
	if (n < 0 && errno == ERANGE) {
		list = many = x_calloc(1, LIST_MAX);
		n = flistxattr(fd, many, LIST_MAX);
	}
	if (n < 0)
		return has_no_attributes(errno) ? 0
						: err_sys(err, errno, "list extended attributes");
	return append_listed(out, fd, list, (size_t)n, err);
}

/* ---- writing -------------------------------------------------------------------------------- */

static bool find_attribute(struct attribute *out, const uint8_t *xattrs, uint32_t len,
			   const struct attribute *like)
{
	const uint8_t *at = xattrs;
	const uint8_t *end = len ? xattrs + len : xattrs;
	while (at < end && next_attribute(out, &at, end)) {
		if (compare_names(out->name, out->name_len, like->name, like->name_len) == 0)
			return true;
	}
	return false;
}

static const char *name_text(char out[XATTR_NAME_MAX + 1], const struct attribute *one)
{
	memcpy(out, one->name, one->name_len);
	out[one->name_len] = '\0';
	return out;
}

/* user.* asks for write permission by mode, even of the owner: 0444 is opened for the moment. */
static int set_attribute(int fd, const struct attribute *one)
{
	char name[XATTR_NAME_MAX + 1];
	struct stat st;
	if (fsetxattr(fd, name_text(name, one), one->value, one->value_len, 0) == 0)
		return 0;
	if (errno != EACCES || fstat(fd, &st) < 0 || fchmod(fd, (st.st_mode & 0777) | 0200) < 0)
		return -errno;
	return fsetxattr(fd, name, one->value, one->value_len, 0) < 0 ? -errno : 0;
}

static int remove_strangers(int fd, const struct buf *have, const uint8_t *xattrs, uint32_t len,
			    struct err *err)
{
	const uint8_t *at = have->data;
	const uint8_t *end = have->len ? at + have->len : at;
	struct attribute one, kept;
	char name[XATTR_NAME_MAX + 1];
	while (at < end && next_attribute(&one, &at, end)) {
		if (find_attribute(&kept, xattrs, len, &one))
			continue;
		if (fremovexattr(fd, name_text(name, &one)) < 0 && errno != ENODATA)
			return err_sys(err, errno, "remove an extended attribute");
	}
	return 0;
}

static int set_missing(int fd, const struct buf *have, const uint8_t *xattrs, uint32_t len,
		       struct err *err)
{
	const uint8_t *at = xattrs;
	const uint8_t *end = len ? at + len : at;
	struct attribute one, old;
	while (at < end && next_attribute(&one, &at, end)) {
		if (find_attribute(&old, have->data, (uint32_t)have->len, &one) &&
		    old.value_len == one.value_len &&
		    memcmp(old.value, one.value, one.value_len) == 0)
			continue;
		int r = set_attribute(fd, &one);
		if (r < 0)
			return err_sys(err, -r, "set an extended attribute");
	}
	return 0;
}

static int change_attributes(int fd, struct buf *have, const uint8_t *xattrs, uint32_t len,
			     struct err *err)
{
	int r = meta_read_xattrs(have, fd, err);
	if (r < 0)
		return r;
	if (have->len == len && (len == 0 || memcmp(have->data, xattrs, len) == 0))
		return 0;
	r = remove_strangers(fd, have, xattrs, len, err);
	return r < 0 ? r : set_missing(fd, have, xattrs, len, err);
}

int meta_write_xattrs(int fd, const uint8_t *xattrs, uint32_t len, struct err *err)
{
	struct buf have = {0};
	if (meta_check_xattrs(xattrs, len) < 0)
		return err_set(err, -EBADMSG, "extended attributes are not in canonical form");
	int r = change_attributes(fd, &have, xattrs, len, err);
	buf_release(&have);
	return r;
}
