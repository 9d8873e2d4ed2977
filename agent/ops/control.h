/* control.h - how a command asks the agent: a Unix socket in the state directory (control.sock,
 * 0600, peer uid must be ours or root), one JSON object on a line each way. A request is {"verb":
 * "...", ...arguments}; replies are {"progress": {...}} any number of times and then {"done": <exit
 * code>, "result": {...}} or
 * {"done": <exit code>, "error": "text", "remedy": "text"}. A command that ends hangs up; the
 * server then cancels. */
#ifndef OPS_CONTROL_H
#define OPS_CONTROL_H

#include <jansson.h>
#include <stdbool.h>
#include <uv.h>

#include "agent/base/err.h"

#define CONTROL_SOCKET "control.sock"
#define CONTROL_REQUEST_MAX (64 * 1024)
#define CONTROL_CALLS_MAX 64		/* commands at the same time; more are told to come back */
#define CONTROL_REQUEST_TIMEOUT_MS 5000 /* from connecting to the end of the request */
#define CONTROL_QUEUE_MAX \
	(1u << 20) /* bytes a slow command may leave unread before progress is left out */

#define CONTROL_DEADLINE_MAX_S 604800 /* the longest that a command may be given, a week */

/* Exit codes of the contract. */
enum exit_code {
	EXIT_DONE = 0,
	EXIT_NO = 1,	  /* the answer is no, or it failed */
	EXIT_USAGE = 2,	  /* usage or configuration */
	EXIT_REFUSED = 3, /* by a safety rule, which is named */
	EXIT_NOT_RUNNING = 4,
	EXIT_UNREACHABLE = 5,
	EXIT_TIMED_OUT = 6,
};

struct control_server;

/* One request being answered, and its connection: a connection carries one request. Valid from
 * request() until control_done(), control_fail() or cancelled(), whichever comes first. */
struct control_call;

struct control_events {
	void *owner;
	/* A request. Answer now or later through control_*; the object is borrowed for the call. */
	void (*request)(void *owner, struct control_call *call, const char *verb,
			const json_t *args);
	/* The command hung up before it was answered: forget the call. */
	void (*cancelled)(void *owner, struct control_call *call);
};

/* A socket that an earlier agent left behind is replaced: whoever calls holds the state directory's
 * lock. */
int control_server_start(struct control_server **out, uv_loop_t *loop, const char *state_dir,
			 const struct control_events *events, struct err *err);
/* Unanswered calls are cancelled (their commands are told that the agent stops), the socket is
 * removed, then `closed` is called and *s is gone. */
void control_server_close(struct control_server *s, void (*closed)(void *arg), void *arg);

/* Left out when the command does not keep up: the next one says more. */
void control_progress(struct control_call *call, json_t *progress /* taken */);
void control_done(struct control_call *call, enum exit_code code,
		  json_t *result /* taken; may be NULL */);
void control_fail(struct control_call *call, enum exit_code code,
		  const char *remedy /* may be NULL */, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));
void control_call_set_data(struct control_call *call, void *data);
void *control_call_data(const struct control_call *call);

/* New JSON texts that are always valid: a name from the disk by quote_utf8(), which can be undone;
 * and a sentence, which is left as it is unless it was cut within a character. */
json_t *control_path(const char *path);
json_t *control_text(const char *text);

#endif
