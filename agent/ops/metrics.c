#include "agent/ops/metrics.h"

#include <math.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "agent/base/alloc.h"
#include "agent/base/buf.h"

#define PREFIX "artifact_sync_"

struct metric {
	const char *name; /* without the prefix; a counter ends in _total */
	const char *at;	  /* members, from the outside: "watch.overflows" */
	const char *help;
};

static const struct metric of_node[] = {
	{"epoch", "epoch", "Number of the epoch: it grows with each change of roles"},
	{"seq", "seq", "Sequence number of the last change"},
	{"files", "files", "Replicated files"},
	{"bytes", "bytes", "Bytes of the replicated files"},
	{"recovery_point_timestamp_seconds", "recovery_point",
	 "When the passive side was last proven equal; on the active the oldest peer's"},
	{"rpo_seconds", "rpo_seconds", "Age of the recovery point: what a failover now would lose"},
	{"watch_directories", "watch.directories", "Directories of the tree"},
	{"watch_directories_watched", "watch.watched", "Directories watched; the rest is scanned"},
	{"watch_overflows_total", "watch.overflows", "Overflows of the kernel's event queue"},
	{"watch_restarts_total", "watch.restarts", "New starts of the watching child"},
	{"held_paths", "held_count", "Paths held back here, by a gate or a brake"},
	{"drift_paths", "drift", "Paths of the passive that differ from what was replicated"},
	{"drift_total", "drift_total", "Changes that somebody else made on the passive"},
	{"salvage_entries", "salvage", "What was displaced and is kept until a person looks at it"},
	{"salvage_bytes", "salvage_bytes", "Bytes of the salvage"},
	{"history_versions", "history.versions", "Earlier versions kept"},
	{"history_bytes", "history.bytes", "Bytes of the earlier versions"},
	{"pending_changes", "progress.pending_changes",
	 "Changes not yet acknowledged, of all peers"},
	{"pending_bytes", "progress.pending_bytes", "Their bytes"},
	{"ready", "ready", "1: a reverse is possible now"},
	{"not_ready_reasons", "not_ready", "Reasons against a reverse"},
	{"problems", "problems", "Problems that status shows"},
	{"files_hashed_total", "work.files_hashed", "Files read and hashed"},
	{"bytes_hashed_total", "work.bytes_hashed", "Bytes read and hashed"},
	{"link_sent_bytes_total", "work.bytes_sent", "Bytes sent to peers"},
	{"link_received_bytes_total", "work.bytes_received", "Bytes received from peers"},
	{"special_files", "work.special_files", "FIFOs, sockets and devices: not replicated"},
	{"last_verify_timestamp_seconds", "last_verify.time", "When verify last ended"},
	{"last_verify_equal", "last_verify.equal", "1: it found both trees equal"},
	{"last_drill_timestamp_seconds", "last_drill.time", "When the last drill began"},
	{"drills_passed", "drills.passed", "Drills kept that passed"},
	{"drills_failed", "drills.failed", "Drills kept that failed"},
	{"uptime_seconds", "uptime_s", "Time since the agent started"},
};

static const struct metric of_peer[] = {
	{"peer_connected", "connected", "1: the peer is connected"},
	{"peer_in_sync", "in_sync", "1: the peer is proven equal"},
	{"peer_acked_seq", "acked_seq", "The last change that the peer has made durable"},
	{"peer_pending_changes", "pending_changes", "Changes that it has not acknowledged"},
	{"peer_pending_bytes", "pending_bytes", "Their bytes"},
	{"peer_lag_seconds", "lag_seconds", "How far behind it is"},
	{"peer_rtt_seconds", "rtt_ms", "Time of a message there and back"},
	{"peer_mismatches_total", "mismatches", "Barriers at which the digests differed"},
};

static const char *const states[] = {"in_sync",	 "syncing", "disconnected", "paused",	"held",
				     "draining", "fenced",  "split",	    "unhealthy"};
static const char *const roles[] = {"active", "passive", "draining", "fenced", "split"};

__attribute__((format(printf, 2, 3))) static void put(struct buf *out, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	AUTO_FREE char *text = x_vasprintf(fmt, ap);
	va_end(ap);
	buf_append(out, text, strlen(text));
}

static void put_label(struct buf *out, const char *name, const char *value)
{
	put(out, "%s=\"", name);
	for (; *value; value++) {
		const char *as = *value == '\\'	  ? "\\\\"
				 : *value == '"'  ? "\\\""
				 : *value == '\n' ? "\\n"
						  : NULL;
		buf_append(out, as ? as : value, as ? 2 : 1);
	}
	put(out, "\"");
}

static void put_head(struct buf *out, const char *name, const char *help)
{
	size_t len = strlen(name);
	bool counter = len > 6 && strcmp(name + len - 6, "_total") == 0;
	put(out, "# HELP " PREFIX "%s %s\n# TYPE " PREFIX "%s %s\n", name, help, name,
	    counter ? "counter" : "gauge");
}

static const json_t *find(const json_t *object, const char *at)
{
	AUTO_FREE char *path = x_strdup(at);
	char *rest = path;
	for (const char *key; object && (key = strsep(&rest, "."));)
		object = json_object_get(object, key);
	return object;
}

/* "2026-01-01T00:00:00.000Z" */
static double seconds_of(const char *text)
{
	struct tm tm = {0};
	const char *rest = strptime(text, "%Y-%m-%dT%H:%M:%S", &tm);
	return !rest ? NAN : (double)timegm(&tm) + (*rest == '.' ? strtod(rest, NULL) : 0);
}

/* NAN: there is none. A list counts. */
static double value_of(const struct metric *metric, const json_t *value)
{
	if (json_is_boolean(value))
		return json_is_true(value) ? 1 : 0;
	if (json_is_array(value))
		return (double)json_array_size(value);
	if (json_is_string(value))
		return seconds_of(json_string_value(value));
	if (!json_is_number(value))
		return NAN;
	return json_number_value(value) / (strcmp(metric->at, "rtt_ms") == 0 ? 1000 : 1);
}

static void put_node(struct buf *out, const struct metric *metric, const json_t *status)
{
	double value = value_of(metric, find(status, metric->at));
	if (isnan(value))
		return;
	put_head(out, metric->name, metric->help);
	put(out, PREFIX "%s %.15g\n", metric->name, value);
}

static void put_peers(struct buf *out, const struct metric *metric, const json_t *peers)
{
	size_t i;
	const json_t *peer;
	bool begun = false;
	json_array_foreach((json_t *)peers, i, peer)
	{
		double value = value_of(metric, json_object_get(peer, metric->at));
		if (isnan(value))
			continue;
		if (!begun)
			put_head(out, metric->name, metric->help);
		begun = true;
		put(out, PREFIX "%s{", metric->name);
		put_label(out, "peer", json_string_value(json_object_get(peer, "node")));
		put(out, "} %.15g\n", value);
	}
}

/* One series for each word that may stand there, 1 for the one that does. */
static void put_one_of(struct buf *out, const char *name, const char *help,
		       const char *const *words, size_t n, const json_t *status)
{
	const char *is = json_string_value(json_object_get(status, name));
	put_head(out, name, help);
	for (size_t i = 0; i < n; i++)
		put(out, PREFIX "%s{%s=\"%s\"} %d\n", name, name, words[i],
		    is && strcmp(is, words[i]) == 0);
}

static void put_info(struct buf *out, const json_t *status)
{
	static const char *const labels[] = {"node", "group", "version"};
	put_head(out, "info", "Always 1; who this is");
	put(out, PREFIX "info{");
	for (size_t i = 0; i < ARRAY_LEN(labels); i++) {
		const char *value = json_string_value(json_object_get(status, labels[i]));
		put(out, i ? "," : "");
		put_label(out, labels[i], value ? value : "");
	}
	put(out, "} 1\n");
}

char *metrics_text(const json_t *status)
{
	struct buf out = {0};
	const json_t *peers = json_object_get(status, "peers");
	put_info(&out, status);
	put_one_of(&out, "role", "1 for the role of this node", roles, ARRAY_LEN(roles), status);
	put_one_of(&out, "state", "1 for the state that status shows", states, ARRAY_LEN(states),
		   status);
	for (size_t i = 0; i < ARRAY_LEN(of_node); i++)
		put_node(&out, &of_node[i], status);
	for (size_t i = 0; i < ARRAY_LEN(of_peer); i++)
		put_peers(&out, &of_peer[i], peers);
	buf_append(&out, "", 1);
	return (char *)out.data;
}
