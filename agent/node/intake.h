/* intake.h - from hints to the index: dirty paths and scans -> captures on workers -> records with
 * a seq. Deletions come last: one is applied only when nothing else is under way that may show the
 * content to have moved, so that a rename is sent as a reference and not as bytes. Thread: the
 * loop. */
#ifndef NODE_INTAKE_H
#define NODE_INTAKE_H

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "agent/base/err.h"
#include "agent/sync/capture.h"
#include "agent/sync/holds.h"
#include "agent/sync/scan.h"
#include "agent/watch/watcher.h"

struct intake;

struct intake_events {
	void *owner;
	/* The index changed: `changed` records got a seq. */
	void (*indexed)(void *owner, size_t changed);
	/* A whole scan of the tree ended. */
	void (*scanned)(void *owner, const struct scan_counts *counts);
	/* A watcher fence shall be asked for; answer with intake_fenced(). Without a watcher:
	 * answer at once. */
	void (*fence_wanted)(void *owner);
	/* A compare-only path and its fingerprint (all zero: it is gone). */
	void (*compared)(void *owner, const char *path, const uint8_t hash[HASH_LEN]);
	/* INTAKE_GUARD: this path may not be as installed; without hurry: it may be nothing but the
	 * time of a directory. */
	void (*suspect)(void *owner, const char *path, bool hurry);
	void (*closed)(void *owner);
};

enum intake_mode {
	INTAKE_INDEX,	/* the active: changes get a seq */
	INTAKE_FOREIGN, /* a new passive looks at what it holds already: nothing gets a seq */
	INTAKE_COMPARE, /* a passive that is not guarded (yet): only the fingerprints of
			   compare-only paths */
	INTAKE_GUARD,	/* a passive: those, and what is not as installed is a suspect */
};

struct intake_setup {
	uv_loop_t *loop;
	struct capture_env env; /* borrowed until closed */
	uint32_t settle_ms, settle_max_ms, set_settle_ms;
	enum intake_mode mode;
	int64_t vouched_ns;  /* until when an earlier run was told all events, real time; 0 = never
			      */
	struct holds *holds; /* the brakes; borrowed until closed */
	struct intake_events events;
};

struct intake_counts {
	uint64_t files_hashed, bytes_hashed;
	uint64_t waiting; /* paths known to be dirty */
	bool scanning;
	uint64_t scan_entries;	 /* looked at by the running scan, or by the last whole one */
	struct scan_counts scan; /* of the last whole scan */
	uint64_t scanned_ms;	 /* monotonic; when the last whole scan ended; 0 = never */
	int64_t scanned_real_ns; /* when that one had begun */
	uint64_t scan_begun_ms;	 /* the same, monotonic */
};

struct intake *intake_new(const struct intake_setup *setup);
void intake_configure(struct intake *in, uint32_t settle_ms, uint32_t settle_max_ms,
		      uint32_t set_settle_ms);
void intake_set_mode(struct intake *in, enum intake_mode mode); /* for what is begun from now on */
void intake_changed(struct intake *in, const char *path, enum watch_hint hint);
void intake_subtree(struct intake *in, const char *path);
/* A scan of the whole tree, now. What is open for writing keeps its time. */
void intake_scan(struct intake *in);
void intake_fenced(struct intake *in);
/* All events up to then, real time, have been handed over. What changed about that time or later is
 * read again by the scan that follows a loss. */
void intake_vouched(struct intake *in, int64_t real_ns);

/* What is settled becomes due now; with _open also what somebody is still writing to. */
void intake_flush(struct intake *in);
void intake_flush_open(struct intake *in);
/* One that waits because it is open for writing: heap, or NULL. */
char *intake_open_path(const struct intake *in);

/* Is everything handed over up to `mono_ms` indexed? (What is open for writing waits for its time
 * and does not count with `but_open`.) */
bool intake_is_done(const struct intake *in, uint64_t mono_ms);
/* First event of the oldest thing under way, monotonic ms; UINT64_MAX when nothing is. */
uint64_t intake_oldest(const struct intake *in);
/* Holds back the start of new work (an unhealthy node, one that hands over). */
void intake_hold(struct intake *in, bool hold);
bool intake_is_working(const struct intake *in); /* a worker has something of it */
void intake_counts(const struct intake *in, struct intake_counts *out);
/* What is wanted and does not arrive as it is; borrowed until the loop goes on. */
const struct odd *intake_special(const struct intake *in);
const struct odd *intake_setid(const struct intake *in);
void intake_close(struct intake *in);

#endif
