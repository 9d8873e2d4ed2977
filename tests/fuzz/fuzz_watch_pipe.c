/* Records of the watching child, and commands to it: what is read writes the same bytes again; a
 * record is never longer than its header may say, and nothing is read beyond it. */
#include <errno.h>

#include "agent/base/alloc.h"
#include "agent/base/buf.h"
#include "agent/watch/watch_pipe.h"
#include "fuzz.h"

static void put(struct buf *out, const struct watch_record *r)
{
	switch (r->type) {
	case WATCH_READY:
	case WATCH_ROOT_SUSPECT: watch_pipe_put_simple(out, r->type, r->root); break;
	case WATCH_CHANGED: watch_pipe_put_changed(out, r->root, r->hint, r->path); break;
	case WATCH_SUBTREE: watch_pipe_put_subtree(out, r->root, r->path, r->text); break;
	case WATCH_FENCE: watch_pipe_put_fence(out, r->nonce, r->complete); break;
	case WATCH_COUNTS:
		watch_pipe_put_counts(out, r->directories, r->watched, r->overflows, r->text);
		break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct watch_record record;
	uint64_t nonce;
	uint8_t command[WATCH_COMMAND_LEN];
	long n;
	for (size_t at = 0; at < size; at += (size_t)n) {
		uint8_t *exact = exact_copy(data + at, size - at);
		n = watch_pipe_get(&record, exact, size - at);
		if (n > 0) {
			struct buf again = {0};
			CHECK((size_t)n <= WATCH_HEADER_LEN + WATCH_PAYLOAD_MAX);
			put(&again, &record);
			/* FENCE and COUNTS speak of all roots: their root is not kept. */
			CHECK(again.len == (size_t)n);
			CHECK(again.data[0] == exact[0]);
			CHECK(memcmp(again.data + 2, exact + 2, again.len - 2) == 0);
			CHECK(watch_pipe_get(&record, exact, (size_t)n - 1) == 0);
			buf_release(&again);
		} else {
			CHECK(n == 0 || n == -EBADMSG);
			CHECK(n < 0 || size - at < WATCH_HEADER_LEN + WATCH_PAYLOAD_MAX);
		}
		free(exact);
		if (n <= 0)
			break;
	}
	if (watch_pipe_get_command(&nonce, data, size) == WATCH_COMMAND_LEN) {
		watch_pipe_put_command(command, nonce);
		CHECK(memcmp(command, data, sizeof(command)) == 0);
	}
	return 0;
}
