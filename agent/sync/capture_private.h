/* capture_private.h - shared by capture.c (what became of a path) and capture_read.c (what is in
 * it). */
#ifndef SYNC_CAPTURE_PRIVATE_H
#define SYNC_CAPTURE_PRIVATE_H

#include <sys/stat.h>

#include "agent/sync/capture.h"

/* All that is known of one path while it is captured. */
struct look {
	const struct capture_env *env;
	struct capture_item *item;
	const struct root *root;
	const char *sub;
	struct index_entry old; /* as indexed; zero when it is not */
	bool live;		/* ... and not a tombstone */
	bool buried;		/* a tombstone */
	struct stat st;
	struct file_stat now;
	struct profile_judgement judgement;
	uint8_t *content; /* small, read and hashed on its way to the sender; or NULL */
};

enum capture_outcome capture_why(struct capture_item *item, enum capture_outcome outcome,
				 const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* An open that failed, of something that was there a moment ago. */
enum capture_outcome capture_not_opened(struct look *look, int error);

/* Reads what is there into item->entry.
 * @return CAPTURE_CHANGED when it could be read; AGAIN, HELD or UNREADABLE */
enum capture_outcome capture_read_dir(struct look *look);
enum capture_outcome capture_read_file(struct look *look);
enum capture_outcome capture_read_symlink(struct look *look);

#endif
