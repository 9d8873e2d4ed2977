/* The attributes of a record: what passes the check is put on a file and read back as the same
 * bytes; what does not pass is put on nothing. A file beforehand may have others. */
#include <errno.h>
#include <sys/mman.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "agent/base/alloc.h"
#include "agent/fs/meta.h"
#include "fuzz.h"

static int has_acl(const uint8_t *blob, size_t len)
{
	return memmem(blob, len, "system.", 7) != NULL;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct err err = {0};
	struct buf have = {0};
	if (size > RECORD_XATTRS_MAX + 100)
		return 0;
	uint8_t *blob = exact_copy(data, size);
	int legal = meta_check_xattrs(blob, (uint32_t)size);
	CHECK(legal == 0 || legal == -EBADMSG);
	/* A file in memory, which keeps user.* where the kernel can. */
	int fd = memfd_create("xattrs", MFD_CLOEXEC);
	CHECK(fd >= 0);
	(void)!fsetxattr(fd, "user.before", "x", 1, 0);
	int r = meta_write_xattrs(fd, blob, (uint32_t)size, &err);
	if (legal < 0)
		CHECK(r == -EBADMSG && fgetxattr(fd, "user.before", NULL, 0) != 0);
	if (r == 0 && !has_acl(blob, size)) {
		CHECK(meta_read_xattrs(&have, fd, &err) == 0);
		CHECK(have.len == size && (size == 0 || memcmp(have.data, blob, size) == 0));
	}
	buf_release(&have);
	close(fd);
	free(blob);
	return 0;
}
