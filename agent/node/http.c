/* http.c - what is served under http.listen: the same answers as the commands give, for browsers,
 * probes, load balancers and Prometheus. An address that cannot be used keeps nobody from
 * replicating: status names it, and it is tried again. */
#include "agent/node/node_internal.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "agent/base/clock.h"
#include "agent/base/log.h"
#include "agent/ops/http_server.h"
#include "agent/ops/metrics.h"
#include "agent/ops/page.h"
#include "agent/sync/job.h"

#define AGAIN_MS 10000

struct http {
	struct http_server *server; /* NULL: not listening */
	bool binding;		    /* a worker finds out what the address means */
	uint64_t again_ms;
	char trouble[256];
};

static void say(struct http_answer *answer, unsigned status, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
static void say(struct http_answer *answer, unsigned status, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	answer->status = status;
	answer->type = "text/plain; charset=utf-8";
	answer->body = x_vasprintf(fmt, ap);
	va_end(ap);
}

static void get_status(struct node *node, struct http_answer *answer)
{
	json_t *status = status_json(node);
	answer->status = 200;
	answer->type = "application/json";
	answer->body = json_dumps(status, JSON_COMPACT | JSON_REAL_PRECISION(12));
	json_decref(status);
	BUG_ON(!answer->body);
}

static void get_metrics(struct node *node, struct http_answer *answer)
{
	json_t *status = status_json(node);
	answer->status = 200;
	answer->type = METRICS_TYPE;
	answer->body = metrics_text(status);
	json_decref(status);
}

static void get_page(struct node *node, struct http_answer *answer)
{
	json_t *status = status_json(node);
	answer->status = 200;
	answer->type = "text/html; charset=utf-8";
	answer->body = page_html(status);
	json_decref(status);
}

/* That it is answered at all is the answer. */
static void get_alive(struct node *node, struct http_answer *answer)
{
	say(answer, 200, "%s\n", status_state(node));
}

static void get_ready(struct node *node, struct http_answer *answer)
{
	json_t *reasons = readiness_reasons(node);
	struct buf text = {0};
	size_t i;
	const json_t *reason;
	json_array_foreach(reasons, i, reason)
	{
		const char *line = json_string_value(reason);
		buf_append(&text, line, strlen(line));
		buf_append(&text, "\n", 1);
	}
	buf_append(&text, "", 1);
	bool ready = json_array_size(reasons) == 0;
	say(answer, ready ? 200 : 503, "%s", ready ? "ready\n" : (const char *)text.data);
	buf_release(&text);
	json_decref(reasons);
}

/* As `role --require active' and `role --require passive'. */
static void get_role(struct node *node, struct http_answer *answer, enum wire_role wanted)
{
	enum wire_role role = roles_role(node->roles);
	bool confirmed = wanted != WIRE_ROLE_ACTIVE || roles_is_confirmed(node->roles);
	say(answer, role == wanted && confirmed ? 200 : 503, "%s%s\n", roles_name(role),
	    confirmed ? "" : ", not confirmed by a peer");
}

static void get_active(struct node *node, struct http_answer *answer)
{
	get_role(node, answer, WIRE_ROLE_ACTIVE);
}

static void get_passive(struct node *node, struct http_answer *answer)
{
	get_role(node, answer, WIRE_ROLE_PASSIVE);
}

static const struct {
	const char *path;
	void (*get)(struct node *node, struct http_answer *answer);
} served[] = {
	{"/", get_page},
	{"/metrics", get_metrics},
	{"/healthz", get_alive},
	{"/readyz", get_ready},
	{"/role/active", get_active},
	{"/role/passive", get_passive},
	{"/api/v1/status", get_status},
};

static void on_get(void *owner, const char *path, struct http_answer *answer)
{
	for (size_t i = 0; i < ARRAY_LEN(served); i++) {
		if (strcmp(path, served[i].path) == 0) {
			served[i].get(owner, answer);
			return;
		}
	}
	say(answer, 404,
	    "there are / /metrics /healthz /readyz /role/active /role/passive /api/v1/status\n");
}

/* ---- listening ------------------------------------------------------------------------------ */

/* @param fd  bound, taken; or negative, and err says why */
static void listen_on(struct node *node, int fd, struct err *err)
{
	struct http *http = node->http;
	const char *at = node->conf->http_listen;
	int r = fd < 0 ? fd : http_server_start(&http->server, &node->loop, fd, on_get, node, err);
	if (r == 0) {
		log_info("http", "listening address=%s", at);
		*http->trouble = '\0';
		return;
	}
	if (fd >= 0) {
		close(fd);
		err_wrap(err, "%.150s", at);
	}
	if (strcmp(http->trouble, err->msg) != 0)
		log_warn("http", "err=\"%s\" action=\"go on without, and try again\"", err->msg);
	snprintf(http->trouble, sizeof(http->trouble), "%s", err->msg);
	http->again_ms = clock_mono_ms() + AGAIN_MS;
}

/* As with the peers' address, the agent starts when it knows what the name means. */
void http_start(struct node *node)
{
	struct err err = {0};
	if (!node->conf->http_listen)
		return;
	node->http = x_calloc(1, sizeof(*node->http));
	listen_on(node, http_server_bind(node->conf->http_listen, &err), &err);
}

/* Later it goes on with its work while somebody finds out. */
struct bind_job {
	struct job job;
	struct node *node;
	const char *at;
	int fd;
	struct err err;
};

static void bind_work(struct job *work)
{
	struct bind_job *job = container_of(work, struct bind_job, job);
	job->fd = http_server_bind(job->at, &job->err);
}

static void bind_done(struct job *work)
{
	struct bind_job *job = container_of(work, struct bind_job, job);
	struct node *node = job->node;
	if (node->http) {
		node->http->binding = false;
		listen_on(node, job->fd, &job->err);
	} else if (job->fd >= 0) {
		close(job->fd);
	}
	free(job);
	node_closed_one(node);
}

void http_tick(struct node *node)
{
	struct http *http = node->http;
	if (!http || http->server || http->binding || clock_mono_ms() < http->again_ms)
		return;
	struct bind_job *job = x_calloc(1, sizeof(*job));
	job->node = node;
	job->at = node->conf->http_listen;
	http->binding = true;
	node->closing++;
	job_start(&node->loop, &job->job, bind_work, bind_done);
}

const char *http_trouble(const struct node *node)
{
	return node->http && *node->http->trouble ? node->http->trouble : NULL;
}

static void on_closed(void *owner)
{
	node_closed_one(owner);
}

void http_stop(struct node *node)
{
	struct http *http = STEAL(node->http);
	if (!http)
		return;
	if (http->server) {
		node->closing++;
		http_server_close(http->server, on_closed);
	}
	free(http);
}
