/* node_internal.h - the agent's parts, for the files of node/ only: node.c (start, stop,
 * clockwork), node_intake.c, node_peers.c and node_prune.c (what it keeps going), open.c and
 * roots.c (what it works with), session.c, session_modules.c, hello.c and heartbeat.c (one peer),
 * drift_guard.c (the passive's own tree), requests.c and verify.c (commands that take time),
 * status.c, status_problems.c and http.c (what is shown). Thread: the loop. */
#ifndef NODE_NODE_INTERNAL_H
#define NODE_NODE_INTERNAL_H

#include <jansson.h>
#include <uv.h>

#include "agent/base/hash_table.h"
#include "agent/conf/conf.h"
#include "agent/conf/conf_table.h"
#include "agent/net/peers.h"
#include "agent/node/canary.h"
#include "agent/node/drill.h"
#include "agent/node/exposure.h"
#include "agent/node/intake.h"
#include "agent/node/node.h"
#include "agent/node/readiness.h"
#include "agent/node/roles.h"
#include "agent/ops/control.h"
#include "agent/ops/notify.h"
#include "agent/store/store.h"
#include "agent/sync/compare.h"
#include "agent/sync/deep.h"
#include "agent/sync/drift.h"
#include "agent/sync/history_server.h"
#include "agent/sync/holds.h"
#include "agent/sync/pace.h"
#include "agent/sync/receiver.h"
#include "agent/sync/sender.h"
#include "agent/watch/watcher.h"
#include "protocol/lineage.h"

#define BEATS_REMEMBERED 16 /* heartbeats whose echo may still come */
#define MODULE_SESSION "session"

/* One configured peer, connected or not. */
struct session {
	struct node *node;
	struct session *next;
	char peer[WIRE_NAME_MAX + 1];
	struct link *link; /* HELLO sent; NULL while disconnected */
	struct link *
		next_link; /* came while the modules of the one before were still closing; paused */
	int closing;	   /* modules that have not closed yet */
	bool live;
	bool reconciling; /* comparing before anything is sent */
	enum handshake outcome;
	uint8_t peer_role;
	bool profile_differs;
	struct sender *sender;
	struct receiver *receiver;
	struct range_server *ranges;
	struct history_server *past; /* on the receiving side */
	struct compare *reconcile;
	struct deep *deep; /* the peer asked us to read everything */
	uint32_t deep_id;
	uint32_t next_compare_id;
	char trouble[256]; /* why it is not connected, or what is wrong with it */
	/* the last matched barrier */
	uint64_t matched_seq;
	uint8_t matched_digest[32];
	int64_t recovery_ns;	  /* active: the peer's recovery point; 0 = unknown */
	uint64_t matched_ms;	  /* when we knew, monotonic; 0 = never in this run */
	bool mismatch;		  /* the last one did not match */
	uint64_t behind_since_ms; /* active: when it fell behind; 0 = it is not */
	double lag_s;		  /* the last catching-up took so long; < 0 = unknown */
	uint64_t caught_up_ms;	  /* when it ended */
	/* heartbeats */
	uint64_t beat, beat_seen, beat_seen_us;
	uint64_t asked_beat; /* whose answer is awaited; 0 = none */
	bool asked_promise;  /* likewise: of a failover here */
	struct wire_heartbeat theirs;
	bool have_theirs;
	double rtt_ms;				 /* < 0 = unknown */
	uint64_t beat_sent_us[BEATS_REMEMBERED]; /* by nonce */
	/* progress */
	struct pending_summary pending;
	uint64_t rate_bytes, rate_ms;
	double rate; /* bytes per second, smoothed */
	uint64_t mismatches, reconciliations;
	/* handshake */
	struct wire_hello said; /* as it was sent: the other side judges with the same */
	struct epoch_entry *said_lineage;
	uint64_t their_chain_n; /* as their HELLO said */
	uint8_t their_chain[32];
	uint64_t noted_chain_n; /* what is remembered of theirs from this connection; 0 = nothing */
	uint64_t noted_ms;
	bool rolled_back; /* they have met a state that this node has never had */
	unsigned offers;  /* words of this connection that may have to be refused for ever */
	struct session_readiness readiness;
	struct session_exposure exposure;
	struct session_canary canary;
};

/* A compare-only path and what each side has there. */
struct fingerprint {
	UT_hash_handle hh;
	uint8_t ours[HASH_LEN], theirs[HASH_LEN];
	bool has_ours, has_theirs;
	char path[];
};

enum request_phase {
	REQUEST_FENCE,	 /* the watcher hands over what it has */
	REQUEST_CAPTURE, /* until that is indexed */
	REQUEST_PEERS,	 /* until every peer has it, proven by a barrier */
	REQUEST_RANGES,	 /* verify: comparing the indexes */
	REQUEST_DEEP,	 /* verify --deep: both sides read everything */
};

/* A command that takes time: `wait`, and `verify`, which begins like one. */
struct request {
	struct control_call *call; /* NULL: the command hung up */
	struct node *node;
	struct request *next;
	bool is_verify, deep;
	enum request_phase phase;
	uint64_t deadline_ms, reported_ms;
	bool begins_again;  /* when what a person rejected has been put back */
	uint64_t nonce;	    /* of its fence */
	uint64_t fenced_ms; /* everything before this moment counts */
	uint64_t wanted;    /* seq that the command named, or 0 */
	uint64_t target;    /* seq */
	uint64_t peers_ms;  /* barriers matched after this moment count */
	uint64_t barriers;  /* on the passive: how many had been matched when it began */
	/* verify */
	struct session *session;
	struct compare *compare;
	struct deep *deep_here;
	bool deep_there;
	uint32_t deep_id;
	uint64_t files, bytes, files_there, bytes_there;
	uint64_t began_seq;
	int rounds;
	json_t *differences;
	bool failed;
	char why[200];
};

struct node {
	uv_loop_t loop;
	const struct conf *conf;
	struct conf *reloaded; /* the latest configuration read on SIGHUP, or NULL */
	struct store *store;
	struct events *events; /* the log's sink; NULL: not kept */
	struct tree *tree;
	struct history *history;
	struct profile *profile;
	struct recent *recent; /* content on its way from the intake to the senders */
	struct capture_env capture;
	struct commit_env commit;
	struct holds *holds;
	uint64_t salvage_max; /* bytes; 0: no limit */
	uint8_t profile_hash[32];
	struct tls_identity *identity;
	struct peers *peers;
	struct watcher *watcher;
	struct intake *intake;
	struct drift *drift;	 /* a passive whose tree is guarded; else NULL */
	bool distrusted;	 /* its index is to be compared first */
	bool met;		 /* an active has spoken to it in this run */
	bool guarded_alone;	 /* nobody has, and it guards all the same */
	bool guard_spares;	 /* what the index does not have is left alone */
	struct commit_turn turn; /* who commits, or mends */
	struct pace pace;	 /* of all that is sent */
	struct control_server *control;
	struct session *sessions;
	struct request *requests;
	struct restore_job *restores;
	struct roles *roles;
	const char *remedy;    /* of a configuration that cannot be used; NULL */
	bool failed;	       /* something that must be durable could not be made so */
	struct rewind *rewind; /* at most one */
	struct put_back *put_back;
	struct fingerprint *fingerprints;
	bool fingerprints_changed;
	uv_timer_t tick;
	uv_signal_t sigterm, sigint, sighup;
	uint64_t started_ms;
	bool stopping, ready_told;
	int closing; /* modules that have not closed yet */
	bool paused;
	bool checking_tree, was_healthy, recovering, recovered;
	/* fences */
	uint64_t fence_nonce, fence_seen;
	uint64_t fence_asked_ms[64]; /* by nonce modulo 64 */
	int64_t fence_asked_real_ns[64];
	int64_t fenced_real_ns; /* asking time of the newest answered fence */
	bool watcher_ready, fence_complete;
	/* the passive: its last matched barrier */
	int64_t recovery_ns;
	uint64_t recovery_boot_ns; /* when it was received; 0 = in an earlier run */
	uint64_t barrier_count;
	uint64_t scanned_ms, scan_due_ms, prune_due_ms;
	bool pruning;
	bool holding; /* nothing is indexed until a barrier has gone out */
	struct notify notify;
	uint64_t syncing_since_ms;		/* 0 = in sync, or not syncing */
	json_t *last_verify;			/* for status; NULL = none in this run */
	struct http *http;			/* NULL: not configured */
	uint64_t link_bytes_in, link_bytes_out; /* of connections that are closed */
	uint64_t drifted; /* changes on a passive by somebody else, in this run */
	struct readiness *readiness;
	struct drills *drills;
};

/* node.c */
bool node_is_active(const struct node *node); /* others follow it; also while it hands over */
bool node_is_healthy(const struct node *node);
const struct conf *node_conf(const struct node *node);
void node_stop(struct node *node);
void node_closed_one(struct node *node);
void node_hold_intake(struct node *node); /* or lets it go on: whatever holds now */
void node_barrier_sent(struct node *node);
uint32_t node_scan_interval_s(const struct node *node);
void node_plan_scan(struct node *node); /* the next one, by the interval that holds now */

/* node_intake.c */
uint64_t node_fence(struct node *node); /* @return its nonce */
int64_t node_barrier_clock(struct node *node);
void node_start_intake(struct node *node); /* after what a crash left behind is settled */
void node_start_watcher(struct node *node);

/* node_peers.c: the key, certificate and peers of a configuration. @return 0 or negative errno */
int node_load_identity(struct tls_identity **out, const struct conf *conf, struct err *err);
void node_start_peers(struct node *node); /* stops the node when it cannot */
void node_reload(struct node *node);	  /* goes on with the old one when it cannot */

/* node_prune.c */
#define PRUNE_MS 600000 /* from one to the next */
void node_prune(struct node *node);

/* open.c: fills in everything up to the first job. @return 0 or negative errno */
int node_open(struct node *node, struct err *err);

/* roots.c */
void roots_check(struct node *node); /* on a worker; settles what a crash left behind, too */
void roots_changed(struct node *node);
/* The roots that no marker is known of, and only these, belong to this state from now on. */
int roots_bind_new(struct node *node, struct err *err);

/* hello.c */
void hello_send(struct session *s);
int hello_frame(struct session *s, const struct frame *frame); /* negative: the link is closed */
/* A barrier says that the trees are equal; chain_n and chain are of the peer's state. */
void hello_matched(struct session *s, uint64_t chain_n, const uint8_t chain[HASH_LEN]);

/* heartbeat.c. A frame: @return 0 or -EBADMSG */
void heartbeat_send(struct session *s);
void heartbeat_ask(struct session *s); /* asked_beat becomes 0 when the answer is here */
int heartbeat_frame(struct session *s, const struct frame *frame);

/* deep_answer.c. @return 0 or -EBADMSG */
int deep_answer_frame(struct session *s, const struct frame *frame);

/* session.c */
struct session *session_new(struct node *node, const char *peer);
void session_on_open(struct node *node, struct link *link, const char *peer);
int session_on_frame(struct node *node, struct link *link, const struct frame *frame);
void session_on_writable(struct node *node, struct link *link);
void session_on_closed(struct node *node, struct link *link, uint16_t reason, const char *why);
void session_tick(struct session *s);
void session_resume(struct session *s);	 /* a connection that waited for a new role may begin */
void session_indexed(struct session *s); /* the index grew */
void session_want_barrier(struct session *s); /* prove equality as soon as everything is sent */
bool session_is_in_sync(const struct session *s);
bool session_is_idle(const struct session *s); /* live, and nothing flows: nobody is active */
void session_free_all(struct node *node);
void session_close_link(struct session *s, uint16_t reason, const char *text);
void session_module_closed(void *owner); /* a module of the session's last connection ended */
struct session *session_find(struct node *node, const char *peer);
uint32_t session_compare_id(struct session *s);

/* session_modules.c */
void session_start_sender(struct session *s);
void session_start_receiver(struct session *s);
void session_scanned(struct session *s); /* the index is what the tree is */

/* fingerprints.c: compare-only paths */
void fingerprints_set_ours(struct node *node, const char *path, const uint8_t hash[HASH_LEN]);
int fingerprints_frame(struct session *s, const struct frame *frame);
void fingerprints_send(struct session *s);
void fingerprints_add_problems(const struct node *node, json_t *problems);
void fingerprints_free(struct node *node);

/* http.c: what is served under http.listen, if anything is */
void http_start(struct node *node);
void http_tick(struct node *node);
const char *http_trouble(const struct node *node); /* why nothing listens; NULL: all is well */
void http_stop(struct node *node);

/* drift_guard.c: all of them do nothing on a node that guards nothing */
bool drift_guard_applies(const struct node *node); /* what it holds was received, all of it */
void drift_guard_start(struct node *node);
void drift_guard_suspect(struct node *node, const char *path, bool hurry);
/* It follows an active; trusted: by the handshake its index is what that one sent. */
void drift_guard_session(struct node *node, bool trusted);
void drift_guard_barrier(struct node *node, bool matched); /* one was judged */
void drift_guard_arrived(struct node *node);		   /* records were committed */
void drift_guard_configure(struct node *node);
void drift_guard_tick(struct node *node);
uint64_t drift_guard_count(const struct node *node);
void drift_guard_stop(struct node *node);
void drift_guard_resume(struct node *node); /* after drift_guard_stop(), still a passive */

/* requests.c (wait and the short ones), verify.c, salvage_requests.c */
void requests_on_request(void *owner, struct control_call *call, const char *verb,
			 const json_t *args);
void requests_on_cancelled(void *owner, struct control_call *call);
void requests_tick(struct node *node); /* something may have become true */
void requests_fenced(struct node *node, uint64_t nonce);
/* @return true when a running `verify` took the frame */
bool verify_frame(struct session *s, const struct frame *frame);
void verify_session_lost(struct session *s);
void requests_stop(struct node *node);
void request_free(struct request *q);
void request_fail(struct request *q, enum exit_code code, const char *remedy, const char *text);
void verify_begin(struct request *q); /* the waiting is over */
void verify_close(struct request *q); /* the command is gone or out of time */
void salvage_request(struct node *node, struct control_call *call, const json_t *args);

/* history_requests.c: `history` and `restore` */
void history_request(struct node *node, struct control_call *call, const json_t *args);
void restore_request(struct node *node, struct control_call *call, const json_t *args);
void history_requests_tick(struct node *node); /* progress */
void history_requests_stop(struct node *node);
/* holds_requests.c: what the brakes hold, and `approve` and `reject` */
void holds_request(struct node *node, struct control_call *call, const json_t *args, bool approve);
void holds_configure_from(struct node *node, const struct conf *conf);
json_t *holds_json(struct node *node);
void holds_add_held(struct node *node, json_t *list);  /* to status's `held`; bounded */
void holds_add_paths(struct node *node, json_t *list); /* for left_out.c; with refused ones */
void holds_add_problems(struct node *node, json_t *problems);
/* left_out.c */
uint64_t left_out_count(const struct node *node); /* without what is held */
/* Did the last scan find some of it? Only another scan sees that it is no longer so. */
bool left_out_by_scan(const struct node *node);
json_t *left_out_json(struct node *node); /* with it: objects with path, what, reason; bounded */
void left_out_add_one(json_t *list, const char *what, const char *path, const char *reason);
/* troubles.c */
void troubles_add_problems(const struct node *node, json_t *problems);
/* What to do about what the system says somewhere in the text, or NULL. */
const char *troubles_remedy(const char *text);

/* status.c */
json_t *status_json(struct node *node);
const char *status_state(struct node *node);
const char *status_paused_on(const struct node *node); /* the name of a node, or NULL */
bool status_is_good(
	struct node *node); /* in sync, or catching up for less than a minute without problems */
void status_tick(struct node *node);			     /* once a second */
void status_line(struct node *node, char *out, size_t size); /* for systemd */

/* status_problems.c */
#define WATCH_LATE_MS 10000 /* the watching process is asked each second, and answers at once */
json_t *status_problems_json(struct node *node);
/* Of those that somebody is to mend: what is odd about a tree may stay so. */
bool status_has_problems(struct node *node);

#endif
