/* wan-emulator - a long cable between two network namespaces, for tests on one machine.
 *
 *     wan-emulator --a NAMESPACE --b NAMESPACE [--net 10.77.0.0] [--delay-ms 25] [--queue-mb 64]
 *
 * Makes a TUN device "wan0" in each namespace, .1/30 in a and .2/30 in b, and carries packets
 * between them, each held for the one-way delay. Says "ready" on standard output when packets can
 * flow. SIGUSR1 prints the bytes carried each way as a line of JSON; SIGUSR2 cuts the cable without
 * telling anybody (packets vanish), and mends it the next time. SIGTERM, or the end of a device,
 * ends it with the same line. (Its descriptors keep the namespaces alive: end it before removing
 * them.)
 *
 * Why not netem: sch_netem is often not built into the kernel of a container's host; TUN always is.
 *
 * Two things decide whether TCP is fast across it. A packet must be taken from the device at
 * once, because the sender's kernel lets only little of one connection lie in a device ("small
 * queues"): gathering packets for even 0.1 ms throttles it tenfold. And segmentation is left to the
 * far kernel (IFF_VNET_HDR with TSO), so that one read carries up to 64 KiB; the bytes counted are
 * those that the segments would have on a cable. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <linux/if_tun.h>
#include <linux/virtio_net.h>
#include <net/if.h>
#include <netinet/ip.h>
#include <netinet/ip6.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#define DEVICE "wan0"
#define PACKET_MAX (sizeof(struct virtio_net_hdr) + 65535)
#define TX_QUEUE_PACKETS 10000 /* what the device may hold while we are not scheduled */

struct packet {
	uint64_t due_ns;
	uint32_t len; /* 0: the ring goes on at its start */
	unsigned char data[];
};

/* Packets under way in one direction, in a ring of bytes. One thread owns it. */
struct cable {
	int from, to;
	uint64_t delay_ns;
	unsigned char *ring;
	size_t size, head, tail, held; /* head: the oldest; held: bytes */
	atomic_ullong bytes, packets, dropped;
};

static atomic_bool is_cut;
static pthread_t main_thread;

_Noreturn static void die(const char *fmt, ...)
{
	int errnum = errno;
	va_list ap;
	va_start(ap, fmt);
	fputs("wan-emulator: ", stderr);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fprintf(stderr, ": %s\n", strerror(errnum));
	exit(1);
}

static uint64_t now_ns(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* ---- devices ---- */

static void enter_namespace(const char *name)
{
	char path[256];
	snprintf(path, sizeof(path), "/run/netns/%s", name);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || setns(fd, CLONE_NEWNET) < 0)
		die("enter the network namespace %s", name);
	close(fd);
}

static void set_address(int ctl, struct ifreq *request, unsigned long what, in_addr_t address)
{
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = address};
	memcpy(&request->ifr_addr, &in, sizeof(in));
	if (ioctl(ctl, what, request) < 0)
		die("set an address of " DEVICE);
}

static void configure(in_addr_t address)
{
	struct ifreq request = {.ifr_name = DEVICE};
	int ctl = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (ctl < 0)
		die("socket");
	request.ifr_qlen = TX_QUEUE_PACKETS;
	if (ioctl(ctl, SIOCSIFTXQLEN, &request) < 0)
		die("set the queue of " DEVICE);
	set_address(ctl, &request, SIOCSIFADDR, address);
	set_address(ctl, &request, SIOCSIFNETMASK, htonl(0xfffffffc));
	request.ifr_flags = IFF_UP | IFF_RUNNING;
	if (ioctl(ctl, SIOCSIFFLAGS, &request) < 0)
		die("bring " DEVICE " up");
	close(ctl);
}

/* The device belongs to the namespace in which /dev/net/tun was opened; the descriptor works
 * from anywhere. */
static int make_device(const char *namespace, in_addr_t address)
{
	struct ifreq request = {.ifr_name = DEVICE,
				.ifr_flags = IFF_TUN | IFF_NO_PI | IFF_VNET_HDR};
	enter_namespace(namespace);
	int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0)
		die("open /dev/net/tun");
	if (ioctl(fd, TUNSETIFF, &request) < 0)
		die("make " DEVICE " in %s", namespace);
	if (ioctl(fd, TUNSETOFFLOAD, TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6) < 0)
		die("offer segmentation");
	configure(address);
	return fd;
}

/* ---- one direction ---- */

static void cable_init(struct cable *c, int from, int to, uint64_t delay_ns, size_t size)
{
	*c = (struct cable){.from = from, .to = to, .delay_ns = delay_ns, .size = size};
	c->ring = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (c->ring == MAP_FAILED)
		die("memory for packets");
}

static size_t space_of(size_t len)
{
	return (sizeof(struct packet) + len + 15) & ~(size_t)15;
}

/* Room for the largest packet in one piece, or NULL when the cable is full. */
static struct packet *cable_room(struct cable *c)
{
	size_t need = space_of(PACKET_MAX);
	if (c->size - c->held < 2 * need)
		return NULL;
	if (c->size - c->tail < need) {
		struct packet *mark = (struct packet *)(c->ring + c->tail);
		mark->len = 0;
		c->held += c->size - c->tail;
		c->tail = 0;
		if (c->size - c->held < need)
			return NULL;
	}
	return (struct packet *)(c->ring + c->tail);
}

static struct packet *cable_oldest(struct cable *c)
{
	if (c->held == 0)
		return NULL;
	struct packet *p = (struct packet *)(c->ring + c->head);
	if (p->len == 0) {
		c->held -= c->size - c->head;
		c->head = 0;
		if (c->held == 0)
			return NULL;
		p = (struct packet *)c->ring;
	}
	return p;
}

/* What the packet would weigh on a cable: segmented, each segment has the headers again. */
static uint64_t weight_of(const struct packet *p)
{
	struct virtio_net_hdr net;
	memcpy(&net, p->data, sizeof(net));
	const unsigned char *ip = p->data + sizeof(net);
	size_t len = p->len - sizeof(net);
	if (net.gso_type == VIRTIO_NET_HDR_GSO_NONE || net.gso_size == 0)
		return len;
	size_t headers = ip[0] >> 4 == 6 ? sizeof(struct ip6_hdr) : (size_t)(ip[0] & 15) * 4;
	if (headers + sizeof(struct tcphdr) > len)
		return len;
	headers += (size_t)(ip[headers + 12] >> 4) * 4; /* TCP's data offset */
	if (headers >= len)
		return len;
	size_t payload = len - headers;
	return payload + (payload + net.gso_size - 1) / net.gso_size * headers;
}

/* @return false when the device is gone */
static bool take_in(struct cable *c)
{
	static _Thread_local unsigned char waste[PACKET_MAX];
	for (;;) {
		struct packet *p = cable_room(c);
		ssize_t n = read(c->from, p ? p->data : waste, PACKET_MAX);
		if (n < 0)
			return errno == EAGAIN || errno == EINTR;
		if (!p || n < (ssize_t)sizeof(struct virtio_net_hdr) || is_cut) {
			c->dropped++;
			continue;
		}
		p->due_ns = now_ns() + c->delay_ns;
		p->len = (uint32_t)n;
		c->tail += space_of(p->len);
		c->held += space_of(p->len);
	}
}

/* @return false when the device is gone. A device that is down (EIO) swallows what it is given, as
 * a pulled plug does. */
static bool give_out(struct cable *c)
{
	struct packet *p;
	while ((p = cable_oldest(c)) && p->due_ns <= now_ns()) {
		ssize_t n = is_cut ? -1 : write(c->to, p->data, p->len);
		if (n < 0 && !is_cut && errno == EBADFD)
			return false;
		if (n < 0) {
			c->dropped++;
		} else {
			c->bytes += weight_of(p);
			c->packets++;
		}
		c->head += space_of(p->len);
		c->held -= space_of(p->len);
	}
	return true;
}

static void *carry(void *arg)
{
	struct cable *c = arg;
	struct pollfd in = {.fd = c->from, .events = POLLIN};
	prctl(PR_SET_TIMERSLACK, 1); /* nanosecond; the default adds 50 us to every packet */
	for (;;) {
		struct packet *oldest = cable_oldest(c);
		struct timespec wait = {0};
		if (oldest) {
			uint64_t now = now_ns();
			uint64_t left = oldest->due_ns > now ? oldest->due_ns - now : 0;
			wait = (struct timespec){.tv_sec = (time_t)(left / 1000000000u),
						 .tv_nsec = (long)(left % 1000000000u)};
		}
		if (ppoll(&in, 1, oldest ? &wait : NULL, NULL) < 0 && errno != EINTR)
			break;
		if ((in.revents & (POLLERR | POLLHUP | POLLNVAL)) || !take_in(c) || !give_out(c))
			break; /* without this a removed device would be polled for ever */
	}
	pthread_kill(main_thread, SIGTERM);
	return NULL;
}

/* ---- control ---- */

static void report(const struct cable *ab, const struct cable *ba)
{
	printf("{\"a_to_b\":%llu,\"b_to_a\":%llu,\"packets_a_to_b\":%llu,\"packets_b_to_a\":%llu,"
	       "\"dropped\":%llu,\"cut\":%s}\n",
	       ab->bytes, ba->bytes, ab->packets, ba->packets, ab->dropped + ba->dropped,
	       is_cut ? "true" : "false");
	fflush(stdout);
}

static void obey_signals(const struct cable *ab, const struct cable *ba, const sigset_t *signals)
{
	for (;;) {
		int signal = 0;
		sigwait(signals, &signal);
		if (signal == SIGUSR2)
			is_cut = !is_cut;
		report(ab, ba);
		if (signal == SIGTERM || signal == SIGINT)
			return;
	}
}

struct options {
	const char *a, *b;
	in_addr_t net;
	double delay_ms;
	size_t queue_mb;
};

static void read_options(struct options *out, int argc, char **argv)
{
	static const struct option known[] = {{"a", required_argument, NULL, 'a'},
					      {"b", required_argument, NULL, 'b'},
					      {"net", required_argument, NULL, 'n'},
					      {"delay-ms", required_argument, NULL, 'd'},
					      {"queue-mb", required_argument, NULL, 'q'},
					      {0}};
	int letter;
	*out = (struct options){.net = inet_addr("10.77.0.0"), .delay_ms = 25, .queue_mb = 64};
	while ((letter = getopt_long(argc, argv, "", known, NULL)) != -1) {
		switch (letter) {
		case 'a': out->a = optarg; break;
		case 'b': out->b = optarg; break;
		case 'n': out->net = inet_addr(optarg); break;
		case 'd': out->delay_ms = atof(optarg); break;
		case 'q': out->queue_mb = (size_t)atol(optarg); break;
		default: exit(2);
		}
	}
	if (!out->a || !out->b || out->net == INADDR_NONE || out->delay_ms < 0 ||
	    out->queue_mb < 1) {
		fputs("usage: wan-emulator --a NAMESPACE --b NAMESPACE [--net 10.77.0.0] "
		      "[--delay-ms 25] [--queue-mb 64]\n",
		      stderr);
		exit(2);
	}
}

int main(int argc, char **argv)
{
	static struct cable ab, ba;
	struct options options;
	sigset_t signals;
	pthread_t threads[2];
	read_options(&options, argc, argv);
	sigemptyset(&signals);
	for (size_t i = 0; i < 4; i++)
		sigaddset(&signals, (const int[]){SIGTERM, SIGINT, SIGUSR1, SIGUSR2}[i]);
	pthread_sigmask(SIG_BLOCK, &signals, NULL); /* and in the threads made below */
	main_thread = pthread_self();

	int a = make_device(options.a, options.net + htonl(1));
	int b = make_device(options.b, options.net + htonl(2));
	uint64_t delay_ns = (uint64_t)(options.delay_ms * 1e6);
	cable_init(&ab, a, b, delay_ns, options.queue_mb << 20);
	cable_init(&ba, b, a, delay_ns, options.queue_mb << 20);
	if (pthread_create(&threads[0], NULL, carry, &ab) != 0 ||
	    pthread_create(&threads[1], NULL, carry, &ba) != 0)
		die("start a thread");
	puts("ready");
	fflush(stdout);
	obey_signals(&ab, &ba, &signals);
	return 0;
}
