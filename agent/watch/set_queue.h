/* set_queue.h - members of consistency sets that may have changed, until their set is quiet as a
 * whole. Beside the dirty set, where each path becomes due for itself. Pure data, no clock: times
 * are given. Thread: the loop. */
#ifndef WATCH_SET_QUEUE_H
#define WATCH_SET_QUEUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct set_queue;

/* @param limit      paths kept in all; past it, those of a set are dropped and it is `lost`
 * @param set_max    paths of one set; one that has more is due at once and is taken in parts */
struct set_queue *set_queue_new(size_t limit, size_t set_max);
void set_queue_free(struct set_queue *q);
/* @param quiet_ms  after the last event of any member
 * @param open_ms   instead, while a member is open for writing */
void set_queue_configure(struct set_queue *q, uint32_t quiet_ms, uint32_t open_ms);

enum set_hint {
	SET_SETTLED, /* closed after write, moved, deleted */
	SET_OPEN,    /* written to and not closed */
	SET_FOUND,   /* a scan says that it differs; the set waits for the scan's end, too */
};
/* @param since_ms  of the first event of it that is not indexed; now_ms as a rule */
void set_queue_add(struct set_queue *q, const char *set, const char *path, enum set_hint hint,
		   uint64_t since_ms, uint64_t now_ms);

/* A set as it was taken. Its paths are heap; set_queue_end() frees all. */
struct due_set {
	char *set;
	char **paths;
	bool *events; /* the path had an event: it is read whatever its stat says */
	size_t n;
	uint64_t since_ms;
	bool too_large; /* one part of it */
	bool lost;	/* paths of it were dropped: a scan finds them */
};

/**
 * Takes a set that is due. It is busy until set_queue_end(): what changes meanwhile waits.
 * @param scanning  sets with members that a scan found are left alone
 * @return false when there is none
 */
bool set_queue_take(struct set_queue *q, struct due_set *out, bool scanning, uint64_t now_ms);

enum set_end {
	SET_DONE,  /* indexed */
	SET_AGAIN, /* looked at again when it has been quiet, not before again_ms */
	SET_HELD,  /* its paths wait for the next event of any member */
};
void set_queue_end(struct set_queue *q, struct due_set *due, enum set_end end, uint64_t again_ms);

/* When the next one may be due; UINT64_MAX when nothing waits for a time. */
uint64_t set_queue_next_due(const struct set_queue *q);
/* First event of the oldest that is not indexed, not held and not restless; UINT64_MAX when there
 * is none. */
uint64_t set_queue_oldest(const struct set_queue *q);
size_t set_queue_size(const struct set_queue *q); /* paths */
bool set_queue_is_open(const struct set_queue *q, const char *set, const char *path);
/* A set that changes all the time, and now for so long that somebody should know: it counts as held
 * from here on, until it is taken. Each is told once. @return false: there is none; else *set and
 * *path (of one member) are heap */
bool set_queue_restless(struct set_queue *q, char **set, char **path, uint64_t now_ms);

#endif
