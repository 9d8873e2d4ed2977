/* salvage_manifest.c - what a saved object is, as a file beside it: whoever has only the directory,
 * from a backup or after the state was lost, knows all that the catalogue knew. */
#include "agent/sync/salvage_private.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/base/clock.h"
#include "agent/base/fault.h"
#include "agent/base/hash.h"
#include "agent/base/quote.h"
#include "agent/fs/beneath.h"
#include "protocol/relpath.h"

#define MANIFEST_NAME_MAX 64

static void manifest_name(char out[MANIFEST_NAME_MAX], const struct salvage_row *row)
{
	snprintf(out, MANIFEST_NAME_MAX, "%s.json", row->id);
}

static const char *kind_of(const struct file_stat *stat)
{
	return S_ISDIR(stat->mode)   ? "directory"
	       : S_ISLNK(stat->mode) ? "link"
	       : S_ISREG(stat->mode) ? "file"
				     : "other";
}

static json_t *manifest_of(const struct salvage_row *row)
{
	char when[CLOCK_TEXT_MAX], mtime[CLOCK_TEXT_MAX], hex[HASH_HEX_MAX];
	AUTO_FREE char *path = quote_utf8(row->path);
	AUTO_FREE char *root = quote_utf8(row->root_at);
	AUTO_FREE char *name = quote_utf8(relpath_name(row->path));
	return json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:I, s:s, s:o, s:o, s:s, s:I, s:I, s:o}",
			 "id", row->id, "path", path, "root", root, "name", name, "why", row->why,
			 "when", clock_text(when, row->when_ns), "epoch", (json_int_t)row->epoch,
			 "kind", kind_of(&row->stat), "mode",
			 json_sprintf("%04o", row->stat.mode & 07777), "owner",
			 json_sprintf("%u:%u", row->stat.uid, row->stat.gid), "mtime",
			 clock_text(mtime, row->stat.mtime_ns), "mtime_ns",
			 (json_int_t)row->stat.mtime_ns, "bytes", (json_int_t)row->bytes, "sha256",
			 row->has_hash ? json_string(hash_hex(hex, row->hash)) : json_null());
}

static int write_text(int fd, const char *text, struct err *err)
{
	size_t len = strlen(text);
	while (len > 0) {
		int fault = fault_point("write manifest");
		ssize_t n = fault ? -1 : write(fd, text, len);
		if (n < 0)
			return err_sys(err, fault ? fault : errno, "write a manifest");
		text += n;
		len -= (size_t)n;
	}
	int fault = fault_point("sync manifest");
	if (fault || fsync(fd) < 0)
		return err_sys(err, fault ? fault : errno, "sync a manifest");
	return 0;
}

int salvage_write_manifest(const struct root *root, const struct salvage_row *row, struct err *err)
{
	char name[MANIFEST_NAME_MAX];
	json_t *manifest = manifest_of(row);
	BUG_ON(!manifest);
	AUTO_FREE char *text = json_dumps(manifest, JSON_INDENT(1));
	json_decref(manifest);
	manifest_name(name, row);
	int fault = fault_point("create manifest");
	AUTO_CLOSE int fd = fault ? -fault
				  : open_beneath(root->salvage_fd, name,
						 O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return err_sys(err, -fd, "create salvage/%s", name);
	return write_text(fd, text, err);
}

int salvage_forget(struct store *store, const struct root *root, const struct salvage_row *row,
		   struct err *err)
{
	char name[MANIFEST_NAME_MAX];
	manifest_name(name, row);
	unlinkat(root->salvage_fd, name, 0);
	unlinkat(root->salvage_fd, row->id, AT_REMOVEDIR);
	return store_salvage_forget(store, row->id, err);
}
