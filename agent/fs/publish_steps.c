/* publish_steps.c - publishing where a root has no RENAME_EXCHANGE (NFS, some FUSE): a second name,
 * a rename, a rename. The displaced object always has a name: it is linked to stage/<temp>~ before
 * the new one takes its place. What cannot be linked (a directory; anything on SMB) is moved there,
 * and then the name is free for a moment: `check` reports that window.
 *
 *   before        name = old, temp = new
 *   linked        name = old, temp = new, temp~ = old      \ a crash here: publish_recover() goes
 *   moved         name free,  temp = new, temp~ = old      / back to before
 *   renamed       name = new, temp~ = old                    ... goes on to after
 *   after         name = new, temp = old
 */
#include "agent/fs/publish_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/base/fault.h"
#include "agent/base/quote.h"
#include "agent/fs/beneath.h"

#define ASIDE_MAX (STAGE_NAME_MAX + 1)

static const char *aside_name(char out[ASIDE_MAX], const char *temp)
{
	snprintf(out, ASIDE_MAX, "%s~", temp);
	return out;
}

/* A rename that replaces nothing we know of; the look and the rename are two steps. */
static int move_if_free(int from_fd, const char *from, int to_fd, const char *to)
{
	struct sighting there;
	int r = look_at(&there, to_fd, to);
	if (r < 0)
		return r;
	if (there.present)
		return -EEXIST;
	return renameat(from_fd, from, to_fd, to) < 0 ? -errno : 0;
}

/* These say "not possible here", as opposed to a failure of the disk. */
static bool cannot_link(int error)
{
	return error == EPERM || error == EOPNOTSUPP || error == ENOSYS || error == EMLINK ||
	       error == EINVAL;
}

int steps_into_free_name(const struct root *root, const char *temp, int parent, const char *name)
{
	if (linkat(root->stage_fd, temp, parent, name, 0) == 0) {
		int hit = fault_point("unlink the staged name");
		if (hit || unlinkat(root->stage_fd, temp, 0) < 0) {
			int error = hit ? hit : errno;
			unlinkat(parent, name, 0);
			return -error;
		}
		return 0;
	}
	if (!cannot_link(errno))
		return -errno;
	return move_if_free(root->stage_fd, temp, parent, name);
}

/* The old object gets its second name. *moved: it has lost the first, because it cannot have two or
 * because a directory comes, which no rename puts in the place of anything. */
static int set_aside(bool *moved, bool dir_comes, int parent, const char *name, int stage_fd,
		     const char *aside)
{
	*moved = dir_comes;
	if (!dir_comes && linkat(parent, name, stage_fd, aside, 0) == 0)
		return 0;
	if (!dir_comes && !cannot_link(errno))
		return -errno;
	*moved = true;
	return move_if_free(parent, name, stage_fd, aside);
}

static void put_back(bool moved, int parent, const char *name, int stage_fd, const char *aside)
{
	if (moved)
		move_if_free(stage_fd, aside, parent, name);
	else
		unlinkat(stage_fd, aside, 0);
}

int steps_exchange(const struct root *root, const char *temp, int parent, const char *name)
{
	char aside[ASIDE_MAX];
	struct sighting staged;
	bool moved = false;
	int r = look_at(&staged, root->stage_fd, temp);
	if (r == 0)
		r = set_aside(&moved, S_ISDIR(staged.stat.mode), parent, name, root->stage_fd,
			      aside_name(aside, temp));
	if (r < 0)
		return r;
	int hit = fault_point("rename over the old name");
	r = hit	    ? -hit
	    : moved ? move_if_free(root->stage_fd, temp, parent, name)
		    : (renameat(root->stage_fd, temp, parent, name) < 0 ? -errno : 0);
	if (r < 0) {
		put_back(moved, parent, name, root->stage_fd, aside);
		return r == -EEXIST ? -EAGAIN : r;
	}
	/* From here on it has happened: a failure leaves what publish_recover() finishes, and the
	 * next rename is tried now, since the caller would not know of the second name. */
	if (renameat(root->stage_fd, aside, root->stage_fd, temp) < 0)
		return -errno;
	return 0;
}

int steps_remove(const struct root *root, const char *temp, int parent, const char *name)
{
	return move_if_free(parent, name, root->stage_fd, temp);
}

/* ---- after a crash -------------------------------------------------------------------------- */

static int recover_linked_name(const struct root *root, const char *temp,
			       const struct sighting *staged, const struct sighting *named)
{
	bool both = staged->present && named->present &&
		    is_same_object(&staged->stat, &named->stat) && !S_ISDIR(named->stat.mode);
	if (both && unlinkat(root->stage_fd, temp, 0) < 0)
		return -errno;
	return 0;
}

static int recover_aside(const struct root *root, const char *temp, const char *aside,
			 const struct sighting *old, int parent, const char *name)
{
	struct sighting staged, named = {0};
	int r = look_at(&staged, root->stage_fd, temp);
	if (r == 0 && parent >= 0)
		r = look_at(&named, parent, name);
	if (r < 0)
		return r;
	if (!staged.present)
		return renameat(root->stage_fd, aside, root->stage_fd, temp) < 0 ? -errno : 0;
	if (named.present && is_same_object(&named.stat, &old->stat))
		return unlinkat(root->stage_fd, aside, 0) < 0 ? -errno : 0;
	if (named.present || parent < 0)
		return -EBUSY;
	return move_if_free(root->stage_fd, aside, parent, name);
}

static int recover_steps(const struct root *root, const char *temp, int parent, const char *name)
{
	char aside[ASIDE_MAX];
	struct sighting old, staged, named;
	int r = look_at(&old, root->stage_fd, aside_name(aside, temp));
	if (r < 0)
		return r;
	if (old.present)
		return recover_aside(root, temp, aside, &old, parent, name);
	if (parent < 0)
		return 0;
	r = look_at(&staged, root->stage_fd, temp);
	if (r == 0)
		r = look_at(&named, parent, name);
	return r < 0 ? r : recover_linked_name(root, temp, &staged, &named);
}

int publish_recover(const struct root *root, const char *temp, const char *sub, struct err *err)
{
	char q[QUOTED_MAX];
	const char *name = "";
	if (root->can_exchange || !*sub)
		return 0;
	AUTO_CLOSE int parent = root_open_parent(root, sub, &name);
	if (parent < 0 && !errno_is_absence(parent))
		return err_sys(err, -parent, "open the directory of %s", quote_path(q, sub));
	int hit = fault_point("recover");
	int r = hit ? -hit : recover_steps(root, temp, parent, name);
	if (r < 0)
		return err_sys(err, -r, "finish publishing %s (see %s~ in stage)",
			       quote_path(q, sub), temp);
	return 0;
}
