#include "agent/watch/child/watch_limits.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

uint64_t limits_read(const char *path, uint64_t otherwise)
{
	uint64_t value;
	FILE *f = fopen(path, "re");
	if (!f)
		return otherwise;
	if (fscanf(f, "%" SCNu64, &value) != 1)
		value = otherwise;
	fclose(f);
	return value;
}

void limits_of_watches(char out[WATCH_TEXT_MAX + 1], uint64_t missing, uint64_t directories)
{
	uint64_t now = limits_read("/proc/sys/fs/inotify/max_user_watches", 8192);
	uint64_t here = limits_read("/proc/sys/user/max_inotify_watches", now);
	/* The limit counts all programs of the user: twice what there is and what we lack. */
	uint64_t raised = 524288;
	while (raised < 2 * (now + missing))
		raised *= 2;
	snprintf(out, WATCH_TEXT_MAX + 1,
		 "%" PRIu64 " of %" PRIu64
		 " directories are not watched: sysctl fs.inotify.max_user_watches=%" PRIu64 "%s",
		 missing, directories, raised,
		 here < now ? " user.max_inotify_watches=2147483647" : "");
}

void limits_of_instances(char out[WATCH_TEXT_MAX + 1], int error)
{
	uint64_t now = limits_read("/proc/sys/fs/inotify/max_user_instances", 128);
	if (error == EMFILE)
		snprintf(out, WATCH_TEXT_MAX + 1,
			 "scans only, no inotify instance left: sysctl "
			 "fs.inotify.max_user_instances=%" PRIu64,
			 now < 512 ? 1024 : 2 * now);
	else
		snprintf(out, WATCH_TEXT_MAX + 1, "scans only, inotify does not work here: %s",
			 strerror(error));
}
