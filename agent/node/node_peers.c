/* node_peers.c - the links to the peers of the configuration, and another configuration while the
 * agent runs. */
#include "agent/node/node_internal.h"

#include <errno.h>

#include "agent/base/log.h"
#include "agent/ops/notify.h"

static void on_open(void *owner, struct link *link, const char *peer)
{
	session_on_open(owner, link, peer);
}

static int on_frame(void *owner, struct link *link, const struct frame *frame)
{
	return session_on_frame(owner, link, frame);
}

static void on_writable(void *owner, struct link *link)
{
	session_on_writable(owner, link);
}

static void on_closed(void *owner, struct link *link, uint16_t reason, const char *why)
{
	session_on_closed(owner, link, reason, why);
}

int node_load_identity(struct tls_identity **out, const struct conf *conf, struct err *err)
{
	AUTO_FREE struct tls_peer *peers = x_calloc(conf->n_peers, sizeof(*peers));
	for (size_t i = 0; i < conf->n_peers; i++) {
		const struct conf_peer *peer = &conf->peers[i];
		peers[i] =
			(struct tls_peer){.node = peer->node,
					  .fingerprints = (const char *const *)peer->fingerprints,
					  .n_fingerprints = peer->n_fingerprints,
					  .ca = peer->ca,
					  .name = peer->name};
	}
	return tls_identity_new(out, conf->tls_certificate, conf->tls_key, peers, conf->n_peers,
				err);
}

static struct peer_address *peer_addresses(const struct conf *conf)
{
	struct peer_address *out = x_calloc(conf->n_peers, sizeof(*out));
	for (size_t i = 0; i < conf->n_peers; i++)
		out[i] = (struct peer_address){.node = conf->peers[i].node,
					       .address = conf->peers[i].address};
	return out;
}

void node_start_peers(struct node *node)
{
	const struct conf *conf = node_conf(node);
	struct err err = {0};
	struct link_events events = {.owner = node,
				     .open = on_open,
				     .frame = on_frame,
				     .writable = on_writable,
				     .closed = on_closed};
	AUTO_FREE struct peer_address *addresses = peer_addresses(conf);
	if (peers_start(&node->peers, &node->loop, conf->node, conf->listen, node->identity,
			addresses, conf->n_peers, &events, &err) < 0) {
		log_error("node",
			  "err=\"%s\" remedy=\"another program may use the address: see `listen`\"",
			  err.msg);
		node->peers = NULL;
		node->failed = true;
		node_stop(node);
	}
}

/* ---- another configuration ------------------------------------------------------------------ */

/* What a running agent takes over from another configuration. Every key that the table calls live
 * is either here or read where it is used. */
static void apply(struct node *node, const struct conf *conf)
{
	log_set_lowest((enum log_level)log_level_from_name(conf->log_level));
	history_configure(node->history, &(struct history_keep){conf->history_keep_days,
								conf->history_keep_bytes});
	holds_configure_from(node, conf);
	if (node->intake) {
		intake_configure(node->intake, conf->settle_ms, conf->settle_max_ms,
				 conf->set_settle_ms);
		if (node->scan_due_ms != 0)
			node_plan_scan(node);
	}
	drift_guard_configure(node);
	pace_configure(&node->pace, conf->rate_bytes_per_s);
	for (struct session *s = node->sessions; s; s = s->next) {
		if (s->sender)
			sender_set_window(s->sender, conf->window_bytes);
	}
}

void node_reload(struct node *node)
{
	struct conf *next = NULL;
	struct tls_identity *identity = NULL;
	struct err err = {0};
	char obstacles[512];
	notify_reloading(&node->notify);
	int r = conf_load(&next, node->conf->path, &err);
	if (r == 0) {
		conf_reload_obstacles(obstacles, sizeof(obstacles), node_conf(node), next);
		if (*obstacles)
			r = err_set(&err, -EINVAL, "these need a restart: %.200s", obstacles);
	}
	if (r == 0)
		r = node_load_identity(&identity, next, &err);
	if (r == 0 && node->peers) {
		AUTO_FREE struct peer_address *addresses = peer_addresses(next);
		for (size_t i = 0; i < next->n_peers; i++) {
			if (!session_find(node, next->peers[i].node))
				session_new(node, next->peers[i].node);
		}
		r = peers_update(node->peers, identity, addresses, next->n_peers, &err);
	}
	if (r == 0) {
		tls_identity_free(node->identity);
		node->identity = STEAL(identity);
		conf_free(node->reloaded);
		node->reloaded = STEAL(next);
		apply(node, node->reloaded);
		log_info("node", "configuration reloaded");
	} else {
		log_error("node", "configuration not reloaded action=go-on-with-the-old err=\"%s\"",
			  err.msg);
	}
	tls_identity_free(identity);
	conf_free(next);
	notify_ready(&node->notify);
}
