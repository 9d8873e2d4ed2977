/* delta_parser.c - reads librsync's delta format, byte by byte if need be.
 *
 * librsync's own patch job trusts the delta: it produces whatever length the commands ask for,
 * hands positions beyond the basis to its callback, loops for ever on a callback that returns
 * nothing, and says "done" with bytes left over. This side faces bytes that a peer chose, so each
 * command is judged against the two sizes before anything is produced, and nothing is buffered but
 * one command's numbers. */
#include "agent/sync/delta.h"

#include <errno.h>
#include <string.h>

#include "agent/sync/delta_format.h"

enum parser_state { AT_MAGIC, AT_COMMAND, IN_NUMBERS, IN_LITERAL, AT_END };

#define NUMBERS_MAX 16 /* bytes: COPY_N8_N8 */

struct delta_parser {
	struct delta_sink sink;
	uint64_t basis_size;
	uint64_t room; /* bytes that may still be produced */
	enum parser_state state;
	int failed; /* sticky */
	uint8_t op;
	uint8_t numbers[NUMBERS_MAX]; /* of the command, or the magic */
	size_t have, want;	      /* bytes of numbers */
	uint64_t literal;	      /* bytes that follow of the current literal */
};

struct delta_parser *delta_parser_new(uint64_t basis_size, uint64_t output_size,
				      const struct delta_sink *sink)
{
	struct delta_parser *p = x_calloc(1, sizeof(*p));
	p->sink = *sink;
	p->basis_size = basis_size;
	p->room = output_size;
	p->state = AT_MAGIC;
	p->want = 4;
	return p;
}

void delta_parser_free(struct delta_parser *p)
{
	free(p);
}

static int begin_literal(struct delta_parser *p, uint64_t len)
{
	if (len == 0)
		return -EBADMSG;
	if (len > p->room)
		return -EFBIG;
	p->literal = len;
	p->state = IN_LITERAL;
	return 0;
}

static int copy(struct delta_parser *p, uint64_t from, uint64_t len)
{
	if (len == 0 || from > p->basis_size || len > p->basis_size - from)
		return -EBADMSG;
	if (len > p->room)
		return -EFBIG;
	p->room -= len;
	p->state = AT_COMMAND;
	return p->sink.copy(p->sink.owner, from, len);
}

static uint64_t number(const uint8_t *bytes, size_t len)
{
	uint64_t v = 0;
	for (size_t i = 0; i < len; i++)
		v = v << 8 | bytes[i];
	return v;
}

/* The widths of the command's numbers; *second is 0 for a literal. */
static void number_widths(uint8_t op, size_t *first, size_t *second)
{
	if (op <= DELTA_OP_LITERAL_N8) {
		*first = (size_t)1 << (op - DELTA_OP_LITERAL_N1);
		*second = 0;
		return;
	}
	*first = (size_t)1 << ((op - DELTA_OP_COPY_N1_N1) / 4);
	*second = (size_t)1 << ((op - DELTA_OP_COPY_N1_N1) % 4);
}

static int begin_command(struct delta_parser *p, uint8_t op)
{
	size_t first, second;
	if (op == DELTA_OP_END) {
		p->state = AT_END;
		return 0;
	}
	if (op <= DELTA_OP_LITERAL_IMMEDIATE_MAX)
		return begin_literal(p, op);
	if (op > DELTA_OP_COPY_N8_N8)
		return -EBADMSG;
	number_widths(op, &first, &second);
	p->op = op;
	p->have = 0;
	p->want = first + second;
	p->state = IN_NUMBERS;
	return 0;
}

static int numbers_complete(struct delta_parser *p)
{
	size_t first, second;
	if (p->state == AT_MAGIC) {
		p->state = AT_COMMAND;
		return get_be32(p->numbers) == DELTA_MAGIC ? 0 : -EBADMSG;
	}
	number_widths(p->op, &first, &second);
	if (second == 0)
		return begin_literal(p, number(p->numbers, first));
	return copy(p, number(p->numbers, first), number(p->numbers + first, second));
}

static size_t smaller(uint64_t a, size_t b)
{
	return a < b ? (size_t)a : b;
}

/* Takes at least one of the `len` bytes. @return how many, or negative errno */
static int64_t take(struct delta_parser *p, const uint8_t *bytes, size_t len)
{
	size_t n = 1;
	int r = 0;
	switch (p->state) {
	case AT_COMMAND: r = begin_command(p, bytes[0]); break;
	case AT_MAGIC:
	case IN_NUMBERS:
		n = smaller(p->want - p->have, len);
		memcpy(p->numbers + p->have, bytes, n);
		p->have += n;
		if (p->have == p->want)
			r = numbers_complete(p);
		break;
	case IN_LITERAL:
		n = smaller(p->literal, len);
		p->literal -= n;
		p->room -= n;
		if (p->literal == 0)
			p->state = AT_COMMAND;
		r = p->sink.literal(p->sink.owner, bytes, n);
		break;
	case AT_END: r = -EBADMSG; break;
	}
	return r < 0 ? r : (int64_t)n;
}

int delta_parser_feed(struct delta_parser *p, const uint8_t *bytes, size_t len)
{
	while (len > 0 && p->failed == 0) {
		int64_t n = take(p, bytes, len);
		if (n < 0) {
			p->failed = (int)n;
			break;
		}
		bytes += n;
		len -= (size_t)n;
	}
	return p->failed;
}

int delta_parser_end(const struct delta_parser *p)
{
	return p->failed == 0 && p->state == AT_END && p->room == 0 ? 0 : -EBADMSG;
}
