/* stage_stream.c - a file that arrives in pieces: whole, or as a delta against what stands at its
 * path.
 *
 * Neighbouring copies of a delta are merged before they are carried out, so that a range the
 * sender's blocks cut up is cloned in one piece. The basis is not verified: the hash of the result
 * is the judge. */
#include "agent/sync/stage.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/base/alloc.h"
#include "agent/sync/delta.h"
#include "agent/sync/stage_output.h"

struct stage_stream {
	struct record record; /* path is not kept; xattrs are a copy */
	struct meta_policy policy;
	struct stage_output output;
	struct delta_parser *parser; /* NULL: whole content */
	int basis_fd;
	uint64_t copy_from, copy_len; /* judged, not yet carried out */
	int sink_failed;	      /* what ended the parse was our own failure */
	struct err *err;	      /* of the call under way */
};

static int carry_out_copy(struct stage_stream *s)
{
	uint64_t len = s->copy_len;
	s->copy_len = 0;
	if (len == 0)
		return 0;
	s->sink_failed = stage_output_copy(&s->output, s->basis_fd, s->copy_from, len, s->err);
	return s->sink_failed;
}

static int on_literal(void *owner, const uint8_t *bytes, size_t len)
{
	struct stage_stream *s = owner;
	int r = carry_out_copy(s);
	if (r == 0)
		r = s->sink_failed = stage_output_write(&s->output, bytes, len, s->err);
	return r;
}

static int on_copy(void *owner, uint64_t from, uint64_t len)
{
	struct stage_stream *s = owner;
	if (s->copy_len > 0 && s->copy_from + s->copy_len == from) {
		s->copy_len += len;
		return 0;
	}
	int r = carry_out_copy(s);
	s->copy_from = from;
	s->copy_len = len;
	return r;
}

static int open_basis(struct stage_stream *s, const struct root *root, const char *sub,
		      struct err *err)
{
	struct stat st;
	struct delta_sink sink = {.literal = on_literal, .copy = on_copy, .owner = s};
	/* O_NONBLOCK: a FIFO with this name must not hold the worker. */
	s->basis_fd = root_open(root, sub, O_RDONLY | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC, 0);
	if (s->basis_fd < 0 || fstat(s->basis_fd, &st) < 0 || !S_ISREG(st.st_mode))
		return err_set(err, -ENOENT, "the basis of a delta cannot be opened");
	s->parser = delta_parser_new((uint64_t)st.st_size, s->record.size, &sink);
	return 0;
}

static void keep_record(struct stage_stream *s, const struct record *record)
{
	s->record = *record;
	s->record.path = NULL;
	s->record.target = NULL;
	s->record.target_len = 0;
	s->record.xattrs = x_memdup(record->xattrs, record->xattrs_len);
}

int stage_stream_open(struct stage_stream **out, const struct stage_env *env,
		      const struct record *record, const uint8_t *basis, struct err *err)
{
	const char *sub;
	const struct root *root = tree_resolve(env->tree, record->path, &sub);
	struct stage_stream *s = x_calloc(1, sizeof(*s));
	keep_record(s, record);
	s->policy = env->policy;
	s->basis_fd = -1;
	s->output.fd = -1;
	int r = stage_output_open(&s->output, root, record->size, true, err);
	if (r == 0 && basis)
		r = open_basis(s, root, sub, err);
	if (r < 0)
		stage_stream_free(s);
	else
		*out = s;
	return r;
}

void stage_stream_free(struct stage_stream *s)
{
	if (!s)
		return;
	stage_output_release(&s->output);
	delta_parser_free(s->parser);
	if (s->basis_fd >= 0)
		close(s->basis_fd);
	free((void *)s->record.xattrs);
	free(s);
}

int stage_stream_write(struct stage_stream *s, const void *bytes, size_t len, struct err *err)
{
	if (!s->parser)
		return stage_output_write(&s->output, bytes, len, err);
	s->err = err;
	int r = delta_parser_feed(s->parser, bytes, len);
	s->err = NULL;
	if (r == 0 || r == s->sink_failed)
		return r;
	return err_set(err, -EBADMSG,
		       r == -EFBIG ? "the delta makes more than the announced size"
				   : "the delta is malformed");
}

static int finish_delta(struct stage_stream *s, struct err *err)
{
	if (!s->parser)
		return 0;
	s->err = err;
	int r = carry_out_copy(s);
	s->err = NULL;
	if (r < 0)
		return r;
	if (delta_parser_end(s->parser) < 0)
		return err_set(err, -EBADMSG, "the delta ends too early");
	return 0;
}

int stage_stream_finish(struct staged *out, struct stage_stream *s, struct err *err)
{
	int r = finish_delta(s, err);
	if (r == 0)
		r = stage_output_finish(out, &s->output, &s->record, &s->policy, err);
	/* Closed at once: a finished stream may wait for its free, and descriptors are few. */
	stage_output_release(&s->output);
	return r;
}
