/* drill.c - one rehearsal at a time: clone, wait for what the command says of its hook, remove,
 * keep the verdict. The command's connection is its life line: when it hangs up, at whatever
 * moment, the clone goes. */
#include "agent/node/drill.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "agent/base/clock.h"
#include "agent/base/log.h"
#include "agent/base/quote.h"
#include "agent/fs/beneath.h"
#include "agent/fs/listing.h"
#include "agent/fs/publish.h"
#include "agent/history/restore.h"
#include "agent/node/drill_internal.h"
#include "agent/node/node_internal.h"
#include "agent/ops/drill_report.h"
#include "agent/sync/job.h"
#include "protocol/relpath.h"

#define CLONES "drill" /* in .artifact-sync of the tree */
#define HOOK_TIMEOUT_S 300
#define HOOK_TIMEOUT_MAX_S 86400
#define HOOK_GRACE_MS 30000		/* beyond the hook's deadline: then the command is stuck */
#define ROOM_SPARE_BYTES (256ull << 20) /* left free beside the clone: replication goes on */
#define MISSING_NAMED_MAX 20
#define FAILURES_NAMED_MAX 10
#define HOOK_ARGV_MAX 64

enum drill_phase { DRILL_CLONING, DRILL_HOOK, DRILL_ENDING };

struct drill {
	struct node *node;
	struct control_call *call; /* NULL: the command hung up */
	enum drill_phase phase;
	char id[DRILL_ID_MAX];
	struct job job;
	/* the clone; the worker's while it runs */
	struct restore_order order;
	struct restore_progress progress;
	struct restore_result result;
	int error;
	struct err err;
	/* the report */
	json_t *report, *timeline, *reasons;
	json_t *argv; /* of the hook, to be shown; NULL: there is none */
	uint64_t began_ms, phase_ms, deadline_ms;
	uint32_t hook_timeout_s;
	bool failed, aborted;
	struct drill_record record; /* of all, when this one is among them */
};

__attribute__((format(printf, 2, 3))) static void fail(struct drill *d, const char *fmt, ...)
{
	char text[400];
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	d->failed = true;
	json_array_append_new(d->reasons, control_text(text));
}

static void note_phase(struct drill *d, const char *name, uint64_t ms, bool ok)
{
	json_array_append_new(d->timeline,
			      json_pack("{s:s, s:I, s:I, s:b}", "phase", name, "start_ms",
					(json_int_t)(d->phase_ms - d->began_ms), "ms",
					(json_int_t)ms, "ok", ok));
}

static void drill_free(struct drill *d)
{
	restore_result_release(&d->result);
	json_decref(d->report);
	json_decref(d->timeline);
	json_decref(d->reasons);
	json_decref(d->argv);
	free((void *)d->order.to);
	free(d);
}

/* ---- the directory of clones ---------------------------------------------------------------- */

static int open_clones(const struct node *node, bool create, struct err *err)
{
	const struct root *root = &node->tree->roots[0];
	if (!root->healthy)
		return err_set(err, -ESTALE, "the tree is not there");
	if (create && mkdirat(root->own_fd, CLONES, 0700) < 0 && errno != EEXIST)
		return err_sys(err, errno, "make " RELPATH_OWN_DIR "/" CLONES);
	int fd = open_beneath(root->own_fd, CLONES, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
	return fd < 0 ? err_sys(err, -fd, "open " RELPATH_OWN_DIR "/" CLONES) : fd;
}

/* Through stage/, which is emptied at every start: what a crash interrupts is ended there. Whatever
 * a hook has built goes, however deep. */
static int remove_clone(const struct root *root, int clones, const char *name, struct err *err)
{
	char temp[STAGE_NAME_MAX], q[QUOTED_MAX];
	stage_name(temp);
	if (renameat(clones, name, root->stage_fd, temp) < 0)
		return err_sys(err, errno, "move %.100s away", quote_path(q, name));
	return stage_discard(root, temp, err);
}

int drills_clear(const struct node *node, struct err *err)
{
	AUTO_CLOSE int fd = open_clones(node, false, err);
	struct listing list = {0};
	if (fd == -ENOENT) {
		*err = (struct err){0};
		return 0;
	}
	int r = fd < 0 ? fd : listing_read(&list, fd, err);
	for (size_t i = 0; r == 0 && i < list.n; i++)
		r = remove_clone(&node->tree->roots[0], fd, listing_name(&list, i), err);
	listing_release(&list);
	return r;
}

/* ---- the end -------------------------------------------------------------------------------- */

static void end_work(struct job *job)
{
	struct drill *d = container_of(job, struct drill, job);
	struct err err = {0};
	if (drills_clear(d->node, &err) < 0)
		fail(d,
		     "the clone could not be removed: %s; remove what is in the way, the next "
		     "start "
		     "or drill tries again",
		     err.msg);
	note_phase(d, "remove the clone", clock_mono_ms() - d->phase_ms, err.code == 0);
	const char *verdict = d->aborted ? "aborted" : d->failed ? "failed" : "passed";
	json_object_set_new(d->report, "verdict", json_string(verdict));
	json_object_set(d->report, "reasons", d->reasons);
	json_object_set(d->report, "timeline", d->timeline);
	json_object_set_new(d->report, "seconds",
			    json_real((double)(clock_mono_ms() - d->began_ms) / 1000));
	d->error = drill_report_keep(d->node->conf->state_dir, d->report, &d->err);
	drill_report_load(&d->record, d->node->conf->state_dir);
}

static void end_done(struct job *job)
{
	struct drill *d = container_of(job, struct drill, job);
	struct node *node = d->node;
	const char *verdict = json_string_value(json_object_get(d->report, "verdict"));
	node->drills->running = NULL;
	drills_take_record(node->drills, &d->record);
	if (d->error < 0)
		log_error("drill", "id=%s verdict=%s err=\"%s\" action=\"the report is not kept\"",
			  d->id, verdict, d->err.msg);
	else
		log_info("drill", "id=%s verdict=%s", d->id, verdict);
	if (d->call) {
		control_call_set_data(d->call, NULL);
		json_object_set_new(d->report, "kept",
				    d->error < 0 ? control_text(d->err.msg) : json_true());
		control_done(d->call, d->failed || d->aborted ? EXIT_NO : EXIT_DONE,
			     json_incref(d->report));
	}
	drill_free(d);
	node_closed_one(node);
}

static void begin_end(struct drill *d)
{
	d->phase = DRILL_ENDING;
	d->phase_ms = clock_mono_ms();
	d->node->closing++;
	job_start(&d->node->loop, &d->job, end_work, end_done);
}

static void abort_drill(struct drill *d, const char *why)
{
	d->aborted = true;
	fail(d, "%s", why);
	if (d->phase == DRILL_HOOK)
		begin_end(d);
	else
		d->progress.cancelled = true; /* begun to end when the worker has noticed */
}

/* ---- cloning -------------------------------------------------------------------------------- */

static void clone_work(struct job *job)
{
	struct drill *d = container_of(job, struct drill, job);
	/* Of an earlier drill that could not be removed, or a crash. */
	d->error = drills_clear(d->node, &d->err);
	AUTO_CLOSE int fd = d->error == 0 ? open_clones(d->node, true, &d->err) : -1;
	if (d->error == 0)
		d->error = fd < 0 ? fd : 0;
	if (d->error == 0 && mkdirat(fd, d->id, 0700) < 0)
		d->error = err_sys(&d->err, errno, "make a directory for the clone");
	if (d->error == 0)
		d->error = restore_run(&d->result, &d->order, &d->progress, &d->err);
}

static json_t *hex_json(const uint8_t hash[HASH_LEN])
{
	char hex[HASH_HEX_MAX];
	return json_string(hash_hex(hex, hash));
}

static void report_clone(struct drill *d, uint64_t ms)
{
	const struct restore_result *r = &d->result;
	char text[CLOCK_TEXT_MAX];
	json_object_set_new(d->report, "barrier",
			    json_pack("{s:I, s:o, s:I, s:s}", "seq", (json_int_t)r->barrier.seq,
				      "digest", hex_json(r->barrier.digest), "records",
				      (json_int_t)r->barrier.records, "time",
				      clock_text(text, r->barrier.first_ns)));
	json_object_set_new(d->report, "clone",
			    json_pack("{s:f, s:I, s:I, s:I, s:I, s:s, s:I}", "seconds",
				      (double)ms / 1000, "files", (json_int_t)r->files,
				      "directories", (json_int_t)r->directories, "links",
				      (json_int_t)r->links, "bytes", (json_int_t)r->bytes, "how",
				      d->node->tree->roots[0].can_clone ? "reflink" : "copy",
				      "failed", (json_int_t)r->n_failures));
	json_object_set_new(d->report, "digest", hex_json(r->digest));
	json_object_set_new(d->report, "verified",
			    json_boolean(r->digest_matches && r->n_failures == 0));
	for (size_t i = 0; i < r->n_failures && i < FAILURES_NAMED_MAX; i++)
		fail(d, "not cloned: %.200s: %.150s", r->failures[i].path, r->failures[i].why);
	if (!r->digest_matches)
		fail(d, "the digest of the clone is not the barrier's; artifact-sync verify --deep "
			"finds what differs");
}

/* The command runs its program now. What it needs to know goes with it. */
static void ask_for_hook(struct drill *d)
{
	char text[CLOCK_TEXT_MAX];
	d->phase = DRILL_HOOK;
	d->phase_ms = clock_mono_ms();
	d->deadline_ms = d->phase_ms + 1000ull * d->hook_timeout_s + HOOK_GRACE_MS;
	control_progress(d->call,
			 json_pack("{s:s, s:s, s:o, s:s, s:s, s:I, s:o, s:s, s:i}", "phase", "hook",
				   "id", d->id, "tree", control_path(d->order.to), "node",
				   d->node->conf->node, "group", d->node->conf->group, "seq",
				   (json_int_t)d->result.barrier.seq, "digest",
				   hex_json(d->result.barrier.digest), "recovery_point",
				   clock_text(text, d->node->recovery_ns), "timeout_s",
				   (int)d->hook_timeout_s));
}

static void clone_done(struct job *job)
{
	struct drill *d = container_of(job, struct drill, job);
	struct node *node = d->node;
	uint64_t ms = clock_mono_ms() - d->phase_ms;
	if (d->error < 0 && !d->aborted)
		fail(d, "the tree could not be cloned: %s", d->err.msg);
	else if (d->error == 0)
		report_clone(d, ms);
	note_phase(d, "clone and verify", ms, !d->failed);
	if (!d->call && !d->aborted) {
		d->aborted = true;
		fail(d, "the command ended before the drill did");
	}
	d->error = 0;
	d->err = (struct err){0};
	if (d->argv && d->call && !d->failed && !node->stopping)
		ask_for_hook(d);
	else
		begin_end(d);
	node_closed_one(node);
}

/* ---- requests ------------------------------------------------------------------------------- */

static bool room_is_there(const struct node *node, struct err *err)
{
	const struct root *root = &node->tree->roots[0];
	struct store_state state;
	struct statvfs fs;
	store_state(node->store, &state);
	if (root->can_clone || fstatvfs(root->own_fd, &fs) < 0)
		return true;
	uint64_t have = (uint64_t)fs.f_bavail * fs.f_frsize;
	if (have >= state.bytes && have - state.bytes >= ROOM_SPARE_BYTES)
		return true;
	err_set(err, -ENOSPC,
		"the clone takes %" PRIu64
		" MiB beside the tree, which cannot share blocks with it "
		"there, and %" PRIu64 " MiB are free; %llu MiB must stay free for replication",
		state.bytes >> 20, have >> 20, ROOM_SPARE_BYTES >> 20);
	return false;
}

/* @return false when it was answered */
static bool may_begin(struct node *node, struct control_call *call)
{
	struct history_barrier barrier;
	struct err err = {0};
	enum wire_role role = roles_role(node->roles);
	if (role != WIRE_ROLE_PASSIVE)
		control_fail(call, EXIT_REFUSED,
			     "run it on the passive node, which is the one that would take over",
			     "a drill is held on a node that could take over without disturbing "
			     "anybody, and this node is %s",
			     roles_name(role));
	else if (node->drills->running || node->drills->sweeping)
		control_fail(call, EXIT_NO, "try again when it has ended", "a drill is running");
	else if (!node->tree->roots[0].healthy)
		control_fail(call, EXIT_NO, "artifact-sync status says why",
			     "the tree is not there");
	else if (store_history_barrier(node->store, INT64_MAX, &barrier, NULL) < 0)
		control_fail(call, EXIT_NO,
			     node_conf(node)->history_keep_days == 0
				     ? "set history.keep_days to 1 at least, and wait for a change"
				     : "wait until the trees have been proven equal: artifact-sync "
				       "status",
			     "there is no state that both nodes agreed on");
	else if (!room_is_there(node, &err))
		control_fail(call, EXIT_NO, "free some space (df)", "%s", err.msg);
	else
		return true;
	return false;
}

/* How old the recovery point is, by this node's own clock where it has seen it come. */
static double recovery_age_s(const struct node *node)
{
	if (node->recovery_boot_ns != 0)
		return (double)(clock_boot_ns() - node->recovery_boot_ns) / 1e9;
	double age = (double)(clock_real_ns() - node->recovery_ns) / 1e9;
	return age > 0 ? age : 0;
}

static void report_begin(struct drill *d)
{
	struct node *node = d->node;
	char began[CLOCK_TEXT_MAX], point[CLOCK_TEXT_MAX];
	json_t *exposed = exposure_json(node), *named = json_array();
	json_t *paths = json_object_get(exposed, "paths");
	for (size_t i = 0; i < json_array_size(paths) && i < MISSING_NAMED_MAX; i++)
		json_array_append(named, json_object_get(json_array_get(paths, i), "path"));
	d->report = json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:f, s:O, s:o, s:o}", "id", d->id,
			      "kind", "clone", "node", node->conf->node, "group", node->conf->group,
			      "time", clock_text(began, clock_real_ns()), "recovery_point",
			      clock_text(point, node->recovery_ns), "rpo_seconds",
			      recovery_age_s(node), "missing", json_object_get(exposed, "changes"),
			      "missing_paths", named, "recovery_time_s", json_null());
	json_decref(exposed);
}

static bool argv_is_legal(const json_t *argv)
{
	size_t i;
	const json_t *word;
	bool legal = json_array_size(argv) > 0 && json_array_size(argv) <= HOOK_ARGV_MAX;
	json_array_foreach((json_t *)argv, i, word) legal &= json_is_string(word);
	return legal;
}

static void begin(struct node *node, struct control_call *call, const json_t *args)
{
	json_t *argv = json_object_get(args, "hook");
	json_int_t timeout = json_integer_value(json_object_get(args, "hook_timeout_s"));
	if (argv && !argv_is_legal(argv)) {
		control_fail(call, EXIT_USAGE, NULL, "the hook is no list of words");
		return;
	}
	if (!may_begin(node, call))
		return;
	struct drill *d = x_calloc(1, sizeof(*d));
	d->node = node;
	d->call = call;
	d->argv = argv ? json_incref(argv) : NULL;
	d->hook_timeout_s =
		(uint32_t)(timeout > 0 && timeout <= HOOK_TIMEOUT_MAX_S ? timeout : HOOK_TIMEOUT_S);
	d->timeline = json_array();
	d->reasons = json_array();
	drill_report_id(d->id, clock_real_ns());
	d->order = (struct restore_order){.history = node->history,
					  .store = node->store,
					  .tree = node->tree,
					  .policy = node->commit.policy,
					  .at_ns = INT64_MAX,
					  .rehearsal = true};
	d->order.to = x_asprintf("%s/" RELPATH_OWN_DIR "/" CLONES "/%s/tree",
				 node->tree->roots[0].location, d->id);
	d->began_ms = d->phase_ms = clock_mono_ms();
	report_begin(d);
	node->drills->running = d;
	control_call_set_data(call, &d->call);
	log_info("drill", "id=%s begins", d->id);
	node->closing++;
	job_start(&node->loop, &d->job, clone_work, clone_done);
}

static void take_hook(struct node *node, struct control_call *call, const json_t *args)
{
	struct drill *d = node->drills->running;
	const char *id = json_string_value(json_object_get(args, "id"));
	if (!d || d->phase != DRILL_HOOK || !id || strcmp(id, d->id) != 0) {
		control_fail(call, EXIT_NO, NULL, "no drill waits for this hook");
		return;
	}
	bool ok = json_is_true(json_object_get(args, "ok"));
	const char *said = json_string_value(json_object_get(args, "text"));
	const char *output = json_string_value(json_object_get(args, "output"));
	double ms = json_number_value(json_object_get(args, "ms"));
	uint64_t elapsed = clock_mono_ms() - d->phase_ms;
	uint64_t took = ms >= 0 && ms <= (double)elapsed ? (uint64_t)ms : elapsed;
	json_object_set_new(d->report, "hook",
			    json_pack("{s:O, s:b, s:o, s:o, s:I}", "argv", d->argv, "ok", ok,
				      "text", control_text(said ? said : ""), "output",
				      control_text(output ? output : ""), "ms", (json_int_t)took));
	if (ok)
		json_object_set_new(d->report, "recovery_time_s", json_real((double)took / 1000));
	else
		fail(d, "the hook %.200s", said ? said : "failed");
	note_phase(d, "hook", took, ok);
	begin_end(d);
	control_done(call, EXIT_DONE, NULL);
}

void drill_request(struct node *node, struct control_call *call, const json_t *args)
{
	const char *action = json_string_value(json_object_get(args, "action"));
	if (action && strcmp(action, "begin") == 0)
		begin(node, call, args);
	else if (action && strcmp(action, "hook") == 0)
		take_hook(node, call, args);
	else if (action && strcmp(action, "record") == 0)
		drills_record_request(node, call, args);
	else
		control_fail(call, EXIT_USAGE,
			     "the command and the agent may be of different versions",
			     "the agent does not know this request");
}

/* ---- clockwork ------------------------------------------------------------------------------ */

void drills_tick(struct node *node)
{
	struct drill *d = node->drills->running;
	if (!d || d->phase == DRILL_ENDING)
		return;
	if (!d->call && !d->aborted)
		abort_drill(d, "the command ended before the drill did");
	else if (d->phase == DRILL_HOOK && clock_mono_ms() >= d->deadline_ms)
		abort_drill(d, "the command did not say what came of the hook");
	else if (d->phase == DRILL_CLONING && d->call)
		control_progress(d->call, json_pack("{s:s, s:I, s:I}", "phase", "clone", "files",
						    (json_int_t)d->progress.files, "bytes",
						    (json_int_t)d->progress.bytes));
}

/* What is left then is removed at the next start. */
void drills_stop(struct node *node)
{
	struct drill *d = node->drills->running;
	if (!d)
		return;
	d->progress.cancelled = true;
	if (d->call) {
		control_call_set_data(d->call, NULL);
		control_fail(STEAL(d->call), EXIT_NOT_RUNNING, "hold the drill again",
			     "the agent is stopping");
	}
	if (d->phase == DRILL_HOOK) {
		node->drills->running = NULL;
		drill_free(d);
	}
}
