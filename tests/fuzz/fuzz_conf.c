/* The configuration: any bytes are loaded or refused with a reason; what is loaded holds what every
 * user of it relies on, and loading it again gives the same. */
#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

#include "agent/conf/conf.h"
#include "fuzz.h"

static void check_loaded(const struct conf *c)
{
	CHECK(c->node && c->group && c->tree && c->state_dir && c->profile);
	CHECK(c->tls_certificate && c->tls_key && c->ownership && c->drift && c->log_level);
	CHECK(c->tree[0] == '/' && c->state_dir[0] == '/');
	for (size_t i = 0; i < c->n_peers; i++) {
		CHECK(c->peers[i].node);
		CHECK(strcmp(c->peers[i].node, c->node) != 0);
		CHECK(c->peers[i].n_fingerprints > 0 || c->peers[i].ca);
		CHECK(c->peers[i].address || c->listen);
		for (size_t k = 0; k < c->peers[i].n_fingerprints; k++)
			CHECK(c->peers[i].fingerprints[k]);
	}
	for (size_t i = 0; i < c->n_rules; i++)
		CHECK(c->rules[i]);
	for (size_t i = 0; i < c->n_follow; i++)
		CHECK(c->follow[i] && c->follow[i][0]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char path[64], obstacles[512];
	struct err err = {0};
	struct conf *conf = NULL, *again = NULL;
	int fd = memfd_create("conf", MFD_CLOEXEC);
	CHECK(fd >= 0 && write(fd, data, size) == (ssize_t)size);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	int r = conf_load(&conf, path, &err);
	CHECK(r <= 0);
	if (r < 0) {
		CHECK(!conf && err.code == r && err.msg[0]);
		CHECK(!memchr(err.msg, '\n', strlen(err.msg)));
	} else {
		CHECK(conf && err.code == 0);
		check_loaded(conf);
		CHECK(conf_load(&again, path, &err) == 0);
		conf_reload_obstacles(obstacles, sizeof(obstacles), conf, again);
		CHECK(obstacles[0] == '\0');
	}
	conf_free(conf);
	conf_free(again);
	close(fd);
	return 0;
}
