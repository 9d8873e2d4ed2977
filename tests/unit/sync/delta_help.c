#include "tests/unit/sync/delta_help.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "agent/base/alloc.h"
#include "agent/base/clock.h"
#include "agent/sync/delta.h"

struct random random_new(const char *what)
{
	const char *given = getenv("TEST_SEED");
	uint64_t seed = given ? strtoull(given, NULL, 0) : clock_mono_ns();
	printf("%s: TEST_SEED=%" PRIu64 "\n", what, seed);
	return (struct random){seed};
}

uint64_t random_next(struct random *rng) /* splitmix64 */
{
	uint64_t z = (rng->state += 0x9e3779b97f4a7c15u);
	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return z ^ (z >> 31);
}

uint64_t random_below(struct random *rng, uint64_t limit)
{
	return limit == 0 ? 0 : random_next(rng) % limit;
}

uint8_t *random_bytes(struct random *rng, size_t len)
{
	uint8_t *bytes = x_calloc(1, len + 8);
	for (size_t i = 0; i < len; i += 8) {
		uint64_t v = random_next(rng);
		memcpy(bytes + i, &v, 8);
	}
	return bytes;
}

static void append_random(struct random *rng, struct buf *out, size_t len)
{
	AUTO_FREE uint8_t *bytes = random_bytes(rng, len);
	buf_append(out, bytes, len);
}

uint8_t *random_edit(struct random *rng, const uint8_t *bytes, size_t len, size_t *out_len)
{
	struct buf out = {0};
	for (size_t at = 0; at < len;) {
		size_t run = random_below(rng, len / 4 + 2);
		run = run < len - at ? run : len - at;
		switch (random_below(rng, 6)) {
		case 0: append_random(rng, &out, run); break; /* replaced */
		case 1: break;				      /* removed */
		case 2:
			append_random(rng, &out, random_below(rng, 5000)); /* inserted before */
			buf_append(&out, bytes + at, run);
			break;
		case 3:
			buf_append(&out, bytes + random_below(rng, len - run + 1), run);
			break; /* moved */
		default: buf_append(&out, bytes + at, run); break;
		}
		at += run + (run == 0);
	}
	buf_append(&out, "", 1); /* never NULL */
	*out_len = out.len - 1;
	return out.data;
}

int memory_file(const uint8_t *bytes, size_t len)
{
	int fd = memfd_create("test", MFD_CLOEXEC);
	BUG_ON(fd < 0);
	for (size_t at = 0; at < len;) {
		ssize_t n = write(fd, bytes + at, len - at);
		BUG_ON(n <= 0);
		at += (size_t)n;
	}
	return fd;
}

struct bytes {
	const uint8_t *at;
	size_t len;
};

static rs_result give_basis(void *opaque, rs_long_t from, size_t *len, void **out)
{
	const struct bytes *basis = opaque;
	if (from < 0 || (uint64_t)from >= basis->len)
		return RS_INPUT_ENDED;
	if (*len > basis->len - (size_t)from)
		*len = basis->len - (size_t)from;
	*out = (void *)(basis->at + from);
	return RS_DONE;
}

rs_result patch_with_librsync(struct buf *out, const uint8_t *basis, size_t basis_len,
			      const uint8_t *delta, size_t delta_len)
{
	struct bytes source = {basis, basis_len};
	rs_job_t *job = rs_patch_begin(give_basis, &source);
	rs_buffers_t io = {.next_in = (char *)delta, .avail_in = delta_len, .eof_in = 1};
	rs_result result;
	do {
		io.next_out = (char *)buf_extend(out, 65536);
		io.avail_out = 65536;
		result = rs_job_iter(job, &io);
		out->len -= io.avail_out;
	} while (result == RS_BLOCKED);
	rs_job_free(job);
	return result;
}

struct patching {
	struct buf *out;
	struct bytes basis;
};

static int on_literal(void *owner, const uint8_t *bytes, size_t len)
{
	struct patching *p = owner;
	buf_append(p->out, bytes, len);
	return 0;
}

static int on_copy(void *owner, uint64_t from, uint64_t len)
{
	struct patching *p = owner;
	BUG_ON(from > p->basis.len || len > p->basis.len - from);
	buf_append(p->out, p->basis.at + from, (size_t)len);
	return 0;
}

int patch_with_parser(struct buf *out, const uint8_t *basis, size_t basis_len, size_t output_len,
		      const uint8_t *delta, size_t delta_len, size_t step)
{
	struct patching patching = {out, {basis, basis_len}};
	struct delta_sink sink = {on_literal, on_copy, &patching};
	AUTO(delta_parser) *parser = delta_parser_new(basis_len, output_len, &sink);
	for (size_t at = 0; at < delta_len; at += step) {
		size_t n = delta_len - at < step ? delta_len - at : step;
		int r = delta_parser_feed(parser, delta + at, n);
		BUG_ON(out->len > output_len);
		if (r < 0)
			return r;
	}
	return delta_parser_end(parser);
}
