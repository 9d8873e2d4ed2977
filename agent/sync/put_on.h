/* put_on.h - metadata onto a file or link that stands in the tree and whose content was judged a
 * moment ago. The stat of the result becomes the as-installed one, which vouches for the content
 * from then on: so whoever writes meanwhile must be seen, or his content would pass for ours for
 * ever. Setting the time wipes out the trace that a write left in it. Blocking; run on a worker. */
#ifndef SYNC_PUT_ON_H
#define SYNC_PUT_ON_H

#include "agent/base/err.h"
#include "agent/fs/meta.h"
#include "agent/fs/tree.h"

struct put_on {
	const struct record *rec;
	int64_t mtime_ns; /* to install */
	const struct meta_policy *policy;
};

/**
 * @param judged  of fd when its content was judged to be the record's
 * @param out     on success the stat of that content with the metadata on it. It is the caller's to
 * look again when he has made it durable: any difference, also of the ctime, is somebody's doing
 * @return 0; -EAGAIN somebody wrote to it meanwhile, and the metadata may be on; negative errno
 */
int put_on_file(struct file_stat *out, int fd, const struct file_stat *judged,
		const struct put_on *what, struct err *err);

/* The same for the link `sub`, whose target is judged here. */
int put_on_link(struct file_stat *out, const struct root *root, const char *sub,
		const struct put_on *what, struct err *err);

#endif
