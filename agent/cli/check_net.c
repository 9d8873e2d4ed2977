/* check: who we are, whom we trust, where we meet. */
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/cli/check_report.h"
#include "agent/net/address.h"
#include "agent/net/tls.h"

#define EXPIRY_WARNING_DAYS 30
#define CONNECT_TIMEOUT_MS 3000

/* ---- identity -------------------------------------------------------------------------------- */

static int days_left(const char *certificate, int *days)
{
	FILE *f = fopen(certificate, "re");
	X509 *x = f ? PEM_read_X509(f, NULL, NULL, NULL) : NULL;
	int seconds;
	int r = x && ASN1_TIME_diff(days, &seconds, NULL, X509_get0_notAfter(x)) ? 0 : -EBADMSG;
	X509_free(x);
	if (f)
		fclose(f);
	return r;
}

static void check_expiry(struct check_report *report, const struct conf *conf)
{
	int days;
	if (days_left(conf->tls_certificate, &days) < 0)
		return; /* loading it has said why */
	if (days < 0)
		check_add(report, FINDING_BAD, "identity",
			  "Make a new certificate for the same key, or a new identity.",
			  "%s expired %d days ago", conf->tls_certificate, -days);
	else
		check_add(report, days < EXPIRY_WARNING_DAYS ? FINDING_NOTE : FINDING_OK,
			  "identity",
			  days < EXPIRY_WARNING_DAYS ? "Renew it soon; a certificate for the same "
						       "key keeps its fingerprint."
						     : NULL,
			  "certificate valid for %d days", days);
}

/* Loads all that the agent will load: that key and certificate belong together, that each peer's
 * trust can be read. */
static void check_loads(struct check_report *report, const struct conf *conf)
{
	struct tls_peer *peers = x_calloc(conf->n_peers + 1, sizeof(*peers));
	for (size_t i = 0; i < conf->n_peers; i++) {
		const struct conf_peer *p = &conf->peers[i];
		peers[i] = (struct tls_peer){.node = p->node,
					     .fingerprints = (const char *const *)p->fingerprints,
					     .n_fingerprints = p->n_fingerprints,
					     .ca = p->ca,
					     .name = p->name};
	}
	AUTO(tls_identity) *identity = NULL;
	struct err err = {0};
	if (tls_identity_new(&identity, conf->tls_certificate, conf->tls_key, peers, conf->n_peers,
			     &err) < 0)
		check_add(report, FINDING_BAD, "identity",
			  "Mend tls or the peer's ca in the configuration; `artifact-sync init' "
			  "makes a key on a new node.",
			  "%s", err.msg);
	free(peers);
}

void check_identity(struct check_report *report, const struct conf *conf)
{
	char fingerprint[TLS_FINGERPRINT_MAX];
	struct stat st;
	if (tls_fingerprint(fingerprint, conf->tls_certificate, NULL) == 0)
		check_add(report, FINDING_OK, "fingerprint", NULL, "%s", fingerprint);
	if (stat(conf->tls_key, &st) == 0 && (st.st_mode & 077) != 0)
		check_add(report, FINDING_BAD, "identity",
			  "chmod 600 the key; if others have read it, make a new one.",
			  "%s can be read by others (mode %04o)", conf->tls_key,
			  st.st_mode & 07777);
	check_loads(report, conf);
	check_expiry(report, conf);
}

/* ---- peers ----------------------------------------------------------------------------------- */

static int resolve(struct addrinfo **out, const char *text, int flags, const char **why)
{
	struct address address;
	struct err err = {0};
	*why = "is not HOST:PORT";
	if (address_parse(&address, text, &err) < 0)
		return -EINVAL;
	const struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = flags};
	int r = getaddrinfo(*address.host ? address.host : NULL, address.port, &hints, out);
	*why = gai_strerror(r);
	return r == 0 ? 0 : -EHOSTUNREACH;
}

static int try_connect(const struct addrinfo *a)
{
	AUTO_CLOSE int fd = socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	if (connect(fd, a->ai_addr, a->ai_addrlen) == 0)
		return 0;
	if (errno != EINPROGRESS)
		return -errno;
	struct pollfd p = {.fd = fd, .events = POLLOUT};
	if (poll(&p, 1, CONNECT_TIMEOUT_MS) <= 0)
		return -ETIMEDOUT;
	int error = 0;
	socklen_t len = sizeof(error);
	getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len);
	return -error;
}

static void check_reach(struct check_report *report, const struct conf_peer *peer)
{
	struct addrinfo *list = NULL;
	const char *why;
	if (resolve(&list, peer->address, 0, &why) < 0) {
		check_add(report, FINDING_NOTE, "peer",
			  "Mend the address in the configuration, or the name service.",
			  "%s: %s: %s", peer->node, peer->address, why);
		return;
	}
	int r = -ENOENT;
	for (const struct addrinfo *a = list; a && r < 0; a = a->ai_next)
		r = try_connect(a);
	freeaddrinfo(list);
	if (r < 0)
		check_add(report, FINDING_NOTE, "peer",
			  "Start its agent; see that a firewall lets this port through.",
			  "%s cannot be reached at %s now: %s", peer->node, peer->address,
			  strerror(-r));
	else
		check_add(report, FINDING_OK, "peer", NULL, "%s can be reached at %s", peer->node,
			  peer->address);
}

static void check_peer(struct check_report *report, const struct conf *conf,
		       const struct conf_peer *peer)
{
	char own[TLS_FINGERPRINT_MAX] = "";
	tls_fingerprint(own, conf->tls_certificate, NULL);
	for (size_t i = 0; i < peer->n_fingerprints; i++) {
		bool same = strcmp(peer->fingerprints[i], own) == 0;
		check_add(report, same ? FINDING_BAD : FINDING_OK, "peer",
			  same ? "Replace it by the one that check prints on that node." : NULL,
			  "%s is known by %s%s", peer->node, peer->fingerprints[i],
			  same ? ", which is this node's own fingerprint" : "");
	}
	if (peer->ca)
		check_add(report, FINDING_OK, "peer", NULL, "%s is known by %s as %s", peer->node,
			  peer->ca, peer->name ? peer->name : peer->node);
	if (peer->address)
		check_reach(report, peer);
}

void check_peers(struct check_report *report, const struct conf *conf)
{
	if (conf->n_peers == 0)
		check_add(report, FINDING_NOTE, "peer", "Add one with `artifact-sync pair'.",
			  "there is none yet");
	for (size_t i = 0; i < conf->n_peers; i++)
		check_peer(report, conf, &conf->peers[i]);
}

/* ---- listening ------------------------------------------------------------------------------- */

static int try_bind(const struct addrinfo *a)
{
	AUTO_CLOSE int fd = socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int on = 1;
	if (fd < 0)
		return -errno;
	/* As the agent does: connections that have just ended are no obstacle. */
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (bind(fd, a->ai_addr, a->ai_addrlen) < 0 || listen(fd, 1) < 0)
		return -errno;
	return 0;
}

void check_listen(struct check_report *report, const char *key, const char *address, bool running)
{
	if (!address)
		return;
	if (running) {
		check_add(report, FINDING_OK, key, NULL, "%s (the agent is running)", address);
		return;
	}
	struct addrinfo *list = NULL;
	const char *why;
	int r = resolve(&list, address, AI_PASSIVE, &why);
	if (r == 0) {
		r = try_bind(list);
		why = strerror(-r);
		freeaddrinfo(list);
	}
	if (r < 0)
		check_add(report, FINDING_BAD, key,
			  "Choose an address of this host and a port that nothing else uses.",
			  "%s: %s", address, why);
	else
		check_add(report, FINDING_OK, key, NULL, "%s is free", address);
}
