/* child_harness.h - runs artifact-sync-watch on a fresh directory, and keeps a mirror of the tree
 * that is changed only where a record says so: CHANGED looks at one path, SUBTREE at all beneath.
 * After a fence a mirror that differs from the tree is an event that was lost. */
#ifndef TESTS_CHILD_HARNESS_H
#define TESTS_CHILD_HARNESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "agent/base/buf.h"
#include "agent/watch/watch_pipe.h"

struct mirror_entry;

struct harness {
	char dir[64]; /* absolute, holds tree/ and outside/ */
	char tree[80];
	int root_fd;
	pid_t pid;
	int commands, records; /* pipes */
	uint64_t nonce;	       /* of the last fence */
	struct buf received;
	struct mirror_entry *mirror;
	/* Records since harness_forget(), as lines: "CHANGED a/b open", "SUBTREE a overflow", ...
	 */
	char *log;
	size_t log_len;
	uint64_t n_records;	    /* in all */
	struct watch_record counts; /* the last COUNTS */
	struct watch_record last;
	bool fence_was_complete;
};

/* A fresh directory; harness_start() may follow preparations in it. */
void harness_init(struct harness *h);
void harness_start(struct harness *h);
/* The same, with a limit of the user namespace set first, e.g. "max_inotify_watches".
 * @return false when user namespaces are not allowed here */
bool harness_start_limited(struct harness *h, const char *limit, unsigned value);
/* Closes the child's input, waits for its end; @return its exit status. */
int harness_stop(struct harness *h);
void harness_release(struct harness *h); /* stops it if need be, removes the directory */

/* Takes records until the pipe is silent; up to and including the next of that type. */
void harness_take_available(struct harness *h);
void harness_take_until(struct harness *h, enum watch_record_type type);
void harness_fence(struct harness *h); /* asks and takes until the answer */
void harness_forget(struct harness *h);
bool harness_saw(const struct harness *h, const char *line); /* a whole line of the log */
bool harness_saw_path(const struct harness *h,
		      const char *path); /* CHANGED of it or SUBTREE at or above */

/* Compares the mirror with the tree; prints the differences. @return how many */
int harness_differences(struct harness *h);

/* Shell-like helpers beneath tree/; they fail the test when the system does. */
const char *harness_path(const struct harness *h, const char *rel); /* absolute; 8 at a time */
void make_directories(struct harness *h, const char *rel);	    /* mkdir -p */
void write_file(struct harness *h, const char *rel, const char *text);
void move(struct harness *h, const char *from, const char *to);
void remove_all(const char *absolute); /* rm -rf, forgiving */
long resident_kb(pid_t pid);

#endif
