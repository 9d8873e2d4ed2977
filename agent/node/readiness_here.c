/* readiness_here.c - what this machine has to offer for the other role: room, watches, hooks that
 * can be started, the right to give files their owners. Blocking; run on a worker: a file server
 * that hangs must not hang the loop. */
#include "agent/node/readiness.h"

#include <errno.h>
#include <inttypes.h>
#include <linux/capability.h>
#include <stdio.h>
#include <string.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "agent/base/alloc.h"
#include "agent/base/quote.h"

/* Staging, journal and history need room before anything is replaced. */
#define ROOM_BYTES (256ull << 20)
#define ROOM_INODES 1000u
#define ROOM_PERCENT 5	 /* of a small file system; the lesser of the two counts */
#define WATCHES_SPARE 10 /* a tenth of the limit is for other programs of the user */

static uint64_t least(uint64_t wanted, uint64_t all)
{
	uint64_t part = all / 100 * ROOM_PERCENT;
	return part < wanted ? part : wanted;
}

static void look_at_room(struct readiness_look *out, const char *where)
{
	struct statvfs fs;
	char q[QUOTED_MAX];
	if (*out->space || statvfs(where, &fs) < 0)
		return; /* a directory that is not there is said elsewhere */
	uint64_t free_bytes = (uint64_t)fs.f_bavail * fs.f_frsize;
	if (free_bytes < least(ROOM_BYTES, (uint64_t)fs.f_blocks * fs.f_frsize))
		snprintf(out->space, sizeof(out->space),
			 "space: %.200s has only %" PRIu64 " MiB left; free some (df)",
			 quote_path(q, where), free_bytes >> 20);
	/* Some file systems make inodes as they go, and count none. */
	else if (fs.f_files > 0 && fs.f_favail < least(ROOM_INODES, fs.f_files))
		snprintf(out->space, sizeof(out->space),
			 "space: %.200s has only %" PRIu64 " inodes left; remove files (df -i)",
			 quote_path(q, where), (uint64_t)fs.f_favail);
}

static uint64_t read_limit(const char *path)
{
	unsigned long long value = 0;
	FILE *f = fopen(path, "re");
	if (f && fscanf(f, "%llu", &value) != 1)
		value = 0;
	if (f)
		fclose(f);
	return value;
}

static void look_at_watches(struct readiness_look *out, uint64_t directories)
{
	uint64_t all = read_limit("/proc/sys/fs/inotify/max_user_watches");
	uint64_t here = read_limit("/proc/sys/user/max_inotify_watches");
	uint64_t limit = here > 0 && here < all ? here : all;
	if (limit == 0 || directories <= limit - limit / WATCHES_SPARE)
		return;
	snprintf(out->watches, sizeof(out->watches),
		 "watches: %" PRIu64
		 " directories are to be watched and the user's limit is %" PRIu64
		 "; sysctl -w fs.inotify.max_user_watches=%" PRIu64 "%s, and in /etc/sysctl.d",
		 directories, limit, directories * 2 + 8192,
		 limit < all ? " user.max_inotify_watches=2147483647" : "");
}

static void look_at_hooks(struct readiness_look *out, const struct readiness_ask *ask)
{
	char q[QUOTED_MAX];
	for (size_t i = 0; i < ARRAY_LEN(ask->hooks) && !*out->hooks; i++) {
		const char *program = ask->hooks[i] ? ask->hooks[i][0] : NULL;
		if (program && access(program, X_OK) < 0)
			snprintf(out->hooks, sizeof(out->hooks),
				 "hook: %.200s cannot be started: %s; mend `hooks` in the "
				 "configuration, or the program",
				 quote_path(q, program), strerror(errno));
	}
}

static void look_at_owners(struct readiness_look *out, bool wanted)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = {0};
	if (!wanted || syscall(SYS_capget, &header, data) < 0)
		return;
	if ((data[0].effective & BIT(CAP_CHOWN)) == 0)
		snprintf(out->owners, sizeof(out->owners),
			 "owners: `ownership` asks for owners, and the agent has not the right to "
			 "give them (CAP_CHOWN); grant it, or set `ownership` to \"ignore\" on "
			 "both");
}

void readiness_look(struct readiness_look *out, const struct readiness_ask *ask)
{
	memset(out, 0, sizeof(*out));
	look_at_room(out, ask->state_dir);
	look_at_room(out, ask->tree);
	for (size_t i = 0; i < ask->n_follow; i++) {
		AUTO_FREE char *where = x_asprintf("%s/%s", ask->tree, ask->follow[i]);
		look_at_room(out, where);
	}
	look_at_watches(out, ask->directories);
	look_at_hooks(out, ask);
	look_at_owners(out, ask->owners);
}
