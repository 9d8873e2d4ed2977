/* intake_private.h - what the files of the intake share: its state, and the verbs by which they
 * hand on to each other. Nobody else includes it. Thread: the loop; workers see their job only. */
#ifndef NODE_INTAKE_PRIVATE_H
#define NODE_INTAKE_PRIVATE_H

#include "agent/base/hash_table.h"
#include "agent/node/intake.h"
#include "agent/node/intake_links.h"
#include "agent/node/intake_sets.h"
#include "agent/watch/dirty_set.h"

#define UNREADABLE_MS 10000 /* after which what could not be read is tried again */

struct path_entry {
	UT_hash_handle hh;
	uint64_t since_ms;
	bool overtaken; /* in `under_way`: a scan that looks there has begun since */
	/* in `gone` */
	bool fence_passed; /* the watcher has handed over all that was before it */
	bool judged;	   /* the brake lets it go */
	char path[];
};

/* Still to be scanned. */
struct top {
	char *path;
	int64_t vouched_ns; /* 0: no event was lost */
};

struct intake {
	struct intake_setup setup;
	struct dirty_set *dirty;
	struct intake_sets *sets; /* what is in no consistency set goes through `dirty` */
	uv_timer_t timer;
	bool timer_open;
	bool held, closing;
	int jobs, captures;
	unsigned started; /* captures so far */
	struct recent_links links;
	bool unstored;			   /* a capture failed, and none has been stored since */
	uint64_t store_wait_ms, resume_ms; /* nothing is read that could not be indexed */
	/* paths being captured: taken again only when they are back */
	struct path_entry *under_way;
	/* deletions waiting for quiet */
	struct path_entry *gone;
	bool fence_pending;
	bool judging;
	uint64_t judge_ms; /* not before, unless it is quiet */
	bool sweeping;
	uint64_t sweep_since_ms;
	uint64_t sweep_ms; /* since when all that is held is to be looked at; 0: it is not */
	uint64_t idle_seq; /* the last one given when nothing was under way: what was indexed since
			      may be where a path went that is gone now */
	/* scanning */
	struct top *tops;
	size_t n_tops, cap_tops;
	int64_t vouched_ns, lost_after_ns; /* lost_after_ns: 0 = none since the last subtree */
	int64_t scan_vouched_ns;	   /* of the running scan, and of its backlog */
	uint64_t tops_since_ms;
	struct scan *scan;
	bool scan_is_whole, stepping;
	bool whole_ended;   /* a whole scan has walked the tree; its findings are being captured */
	int scan_captures;  /* workers capturing what a scan found */
	uint64_t rescan_ms; /* when to scan again after one that failed; 0: none has */
	uint64_t rescan_since_ms; /* what had happened by then is still to be seen */
	uint64_t whole_since_ms;
	int64_t whole_since_real_ns;
	uint64_t scan_since_ms;
	int64_t scan_since_real_ns;
	uint64_t scan_begun_ms, whole_begun_ms; /* when the walk itself began */
	char **backlog;
	size_t n_backlog, cap_backlog, backlog_at;
	uint64_t backlog_since_ms; /* of the oldest scan that found any of it */
	struct intake_counts counts;
	struct odd special, setid; /* as the last whole scan found them, and captures since */
};

/* Only an active numbers changes, and only there does it matter which belong together. */
static inline struct intake_sets *sets_of(const struct intake *in)
{
	return in->setup.mode == INTAKE_INDEX ? in->sets : NULL;
}

/* intake.c */
void intake_run(struct intake *in); /* starts what can be started */
void intake_job_ended(struct intake *in);
bool intake_is_quiet(const struct intake *in);
uint64_t intake_oldest_dirty(const struct intake *in);
void intake_mark_dirty_at(struct intake *in, const char *path, uint64_t due_ms, uint64_t since_ms);
void intake_add_parents(struct intake *in, const char *path, uint64_t since_ms);

/* intake_paths.c: sets of paths */
struct path_entry *path_entry_find(struct path_entry *set, const char *path);
struct path_entry *path_entry_add(struct path_entry **set, const char *path, uint64_t since_ms);
void path_entry_drop(struct path_entry **set, struct path_entry *entry);
uint64_t path_entry_oldest(struct path_entry *set);
void path_entry_drop_all(struct path_entry **set);

/* intake_capture.c. @return false: nothing is due */
bool intake_start_capture(struct intake *in);

/* intake_gone.c */
void intake_add_gone(struct intake *in, const char *path, uint64_t since_ms);
bool intake_gone_is_due(const struct path_entry *e, uint64_t now, bool quiet);
void intake_judge_gone(struct intake *in, uint64_t now, bool quiet);

/* intake_scan.c
 * @param path  taken */
void intake_queue_scan(struct intake *in, char *path, int64_t vouched_ns, uint64_t since_ms);
void intake_step_scan(struct intake *in);
void intake_report_scanned(struct intake *in);
void intake_want_sweep(struct intake *in);
void intake_sweep(struct intake *in);

#endif
