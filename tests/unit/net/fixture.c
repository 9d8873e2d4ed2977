#include "tests/unit/net/fixture.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <openssl/err.h>
#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/base/alloc.h"

const struct peers_timing quick = {
	.link = {.handshake_ms = 10000, .idle_ms = 8000, .flush_ms = 500},
	.redial_first_ms = 10,
	.redial_max_ms = 80,
};

static char directory[64];
static const char *const all_nodes[NODES] = {"a", "b", "c"};

static const char *in_directory(const char *name, const char *suffix)
{
	static char paths[8][160];
	static unsigned next;
	char *path = paths[next++ % 8];
	snprintf(path, sizeof(paths[0]), "%s/%s%s", directory, name, suffix);
	return path;
}

const char *key_file(const char *node)
{
	return in_directory(node, ".key");
}

const char *certificate_file(const char *node)
{
	return in_directory(node, ".crt");
}

const char *scratch_file(const char *name)
{
	return in_directory(name, "");
}

int keys_make(void **state)
{
	struct err err = {0};
	signal(SIGPIPE, SIG_IGN); /* the raw client's, before the first peers_start() */
	log_init(LOG_FORMAT_TEXT, getenv("TEST_DEBUG") ? LOG_LEVEL_DEBUG : LOG_LEVEL_WARN);
	snprintf(directory, sizeof(directory), "/tmp/net-test-XXXXXX");
	if (!mkdtemp(directory))
		return -1;
	for (int i = 0; i < NODES; i++) {
		if (tls_make_identity(certificate_file(all_nodes[i]), key_file(all_nodes[i]),
				      all_nodes[i], &err) < 0) {
			print_error("%s\n", err.msg);
			return -1;
		}
	}
	return 0;
}

int keys_remove(void **state)
{
	char command[128];
	snprintf(command, sizeof(command), "rm -rf '%s'", directory);
	return system(command);
}

struct tls_identity *identity_of(const char *node)
{
	struct err err = {0};
	char prints[NODES][TLS_FINGERPRINT_MAX];
	const char *pins[NODES];
	struct tls_peer peers[NODES];
	size_t n = 0;
	for (int i = 0; i < NODES; i++) {
		if (strcmp(all_nodes[i], node) == 0)
			continue;
		assert_int_equal(tls_fingerprint(prints[n], certificate_file(all_nodes[i]), &err),
				 0);
		pins[n] = prints[n];
		peers[n] = (struct tls_peer){
			.node = all_nodes[i], .fingerprints = &pins[n], .n_fingerprints = 1};
		n++;
	}
	struct tls_identity *identity = NULL;
	if (tls_identity_new(&identity, certificate_file(node), key_file(node), peers, n, &err) < 0)
		fail_msg("%s", err.msg);
	return identity;
}

static void on_tick(uv_timer_t *timer)
{
}

void world_begin(struct world *world)
{
	assert_int_equal(uv_loop_init(&world->loop), 0);
	uv_timer_init(&world->loop, &world->tick);
	uv_timer_start(&world->tick, on_tick, 20, 20);
}

void world_end(struct world *world)
{
	uv_close((uv_handle_t *)&world->tick, NULL);
	uv_run(&world->loop, UV_RUN_DEFAULT);
	assert_int_equal(uv_loop_close(&world->loop), 0);
}

bool run_once(struct world *world, uint64_t began_ms)
{
	uv_run(&world->loop, UV_RUN_ONCE);
	return clock_mono_ms() - began_ms < WATCHDOG_MS;
}

void side_go_live(struct link *link)
{
	link_go_live(link, FROM_EITHER);
}

static void on_open(void *owner, struct link *link, const char *peer_name)
{
	struct side *side = owner;
	side->opens++;
	assert_int_equal(++side->up, 1);
	assert_string_equal(peer_name, link_peer(link));
	side->link = link;
	if (side->on_open)
		side->on_open(side, link);
	else
		link_send(link, WIRE_HELLO, "hello", 5);
}

static int on_frame(void *owner, struct link *link, const struct frame *frame)
{
	struct side *side = owner;
	side->frames++;
	side->body_bytes += frame->len;
	if (side->on_frame)
		return side->on_frame(side, link, frame);
	if (frame->type == WIRE_HELLO)
		side_go_live(link);
	return 0;
}

static void on_writable(void *owner, struct link *link)
{
	struct side *side = owner;
	side->writables++;
	if (side->on_writable)
		side->on_writable(side, link);
}

static void on_closed(void *owner, struct link *link, uint16_t reason, const char *why)
{
	struct side *side = owner;
	side->closes++;
	side->up--;
	side->reason = reason;
	snprintf(side->why, sizeof(side->why), "%s", why);
	if (side->on_closed)
		side->on_closed(side, link);
	side->link = NULL;
}

void side_begin_timed(struct side *side, struct world *world, const char *name, bool listens,
		      const char *to, const struct peers_timing *timing)
{
	struct err err = {0};
	struct peer_address addresses[NODES] = {0};
	const struct link_events events = {.owner = side,
					   .open = on_open,
					   .frame = on_frame,
					   .writable = on_writable,
					   .closed = on_closed};
	AUTO_FREE char *copy = x_strdup(to);
	size_t n = 0;
	for (char *word = strtok(copy, " "); word; word = strtok(NULL, " ")) {
		char *equals = strchr(word, '=');
		if (equals)
			*equals = '\0';
		addresses[n++] =
			(struct peer_address){.node = word, .address = equals ? equals + 1 : NULL};
	}
	side->world = world;
	side->name = name;
	if (!side->identity)
		side->identity = identity_of(name);
	if (peers_start_timed(&side->peers, &world->loop, name, listens ? "127.0.0.1:0" : NULL,
			      side->identity, addresses, n, &events, timing, &err) < 0)
		fail_msg("%s", err.msg);
}

void side_begin(struct side *side, struct world *world, const char *name, bool listens,
		const char *to)
{
	side_begin_timed(side, world, name, listens, to, &quick);
}

static void on_gone(void *arg)
{
	struct side *side = arg;
	side->gone = true;
}

void side_close(struct side *side)
{
	peers_close(side->peers, on_gone, side);
	side->peers = NULL;
}

void side_end(struct side *side)
{
	if (side->peers)
		side_close(side);
	RUN_UNTIL(side->world, side->gone);
	assert_int_equal(side->opens, side->closes);
	tls_identity_free(side->identity);
}

const char *address_of(const struct side *side)
{
	static char text[32];
	snprintf(text, sizeof(text), "127.0.0.1:%d", peers_port(side->peers));
	return text;
}

static int connect_to_port(int port)
{
	struct sockaddr_in to = {.sin_family = AF_INET,
				 .sin_port = htons((uint16_t)port),
				 .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (connect(fd, (struct sockaddr *)&to, sizeof(to)) < 0)
		abort();
	return fd;
}

static void read_to_end(struct raw *raw, SSL *ssl, int fd)
{
	uint8_t waste[4096];
	for (;;) {
		bool keep = raw->got_len < sizeof(raw->got);
		uint8_t *at = keep ? raw->got + raw->got_len : waste;
		size_t room = keep ? sizeof(raw->got) - raw->got_len : sizeof(waste);
		ssize_t n = ssl ? SSL_read(ssl, at, (int)room) : recv(fd, at, room, 0);
		if (n <= 0)
			return;
		if (keep)
			raw->got_len += (size_t)n;
	}
}

static void talk_tls(struct raw *raw, int fd)
{
	SSL_CTX *context = SSL_CTX_new(TLS_client_method());
	if (raw->max_version)
		SSL_CTX_set_max_proto_version(context, raw->max_version);
	if (raw->node) {
		SSL_CTX_use_certificate_file(context, certificate_file(raw->node),
					     SSL_FILETYPE_PEM);
		SSL_CTX_use_PrivateKey_file(context, key_file(raw->node), SSL_FILETYPE_PEM);
	}
	SSL *ssl = SSL_new(context);
	SSL_set_fd(ssl, fd);
	raw->shook_hands = SSL_connect(ssl) == 1;
	if (raw->shook_hands) {
		size_t sent = 0;
		while (sent < raw->len) {
			size_t left = raw->len - sent;
			int n = SSL_write(ssl, (const char *)raw->bytes + sent,
					  (int)(left < 65536 ? left : 65536));
			if (n <= 0)
				break;
			sent += (size_t)n;
		}
		read_to_end(raw, ssl, fd);
	}
	SSL_free(ssl);
	SSL_CTX_free(context);
	ERR_clear_error();
}

static void *raw_main(void *arg)
{
	struct raw *raw = arg;
	int fd = connect_to_port(raw->port);
	if (raw->plain)
		send(fd, raw->plain, strlen(raw->plain), MSG_NOSIGNAL);
	if (raw->plain || raw->stay_silent)
		read_to_end(raw, NULL, fd);
	else
		talk_tls(raw, fd);
	close(fd);
	raw->done = true;
	return NULL;
}

void raw_start(struct raw *raw)
{
	assert_int_equal(pthread_create(&raw->thread, NULL, raw_main, raw), 0);
}

void raw_join(struct raw *raw)
{
	pthread_join(raw->thread, NULL);
}

unsigned raw_bye_reason(const struct raw *raw)
{
	size_t at = 0;
	while (at + WIRE_HEADER_LEN + 2 <= raw->got_len) {
		const uint8_t *p = raw->got + at;
		size_t len = (size_t)p[0] << 24 | (size_t)p[1] << 16 | (size_t)p[2] << 8 | p[3];
		if (p[4] == WIRE_BYE)
			return (unsigned)p[5] << 8 | p[6];
		at += WIRE_HEADER_LEN + len;
	}
	return 0;
}

static int saved_stderr = -1;
static int capture = -1;

void log_capture(void)
{
	capture = memfd_create("log", MFD_CLOEXEC);
	saved_stderr = dup(STDERR_FILENO);
	dup2(capture, STDERR_FILENO);
}

char *log_captured(void)
{
	struct stat st;
	dup2(saved_stderr, STDERR_FILENO);
	close(saved_stderr);
	fstat(capture, &st);
	char *text = x_calloc(1, (size_t)st.st_size + 1);
	ssize_t n = pread(capture, text, (size_t)st.st_size, 0);
	assert_int_equal(n, st.st_size);
	close(capture);
	return text;
}

uint64_t random_seed(void)
{
	const char *given = getenv("TEST_SEED");
	uint64_t seed = given ? strtoull(given, NULL, 0) : clock_mono_ns();
	print_message("TEST_SEED=0x%llx\n", (unsigned long long)seed);
	return seed;
}

uint32_t random_next(uint64_t *seed) /* splitmix64 */
{
	uint64_t z = *seed += 0x9e3779b97f4a7c15u;
	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
	z = (z ^ z >> 27) * 0x94d049bb133111ebu;
	return (uint32_t)((z ^ z >> 31) >> 16);
}
