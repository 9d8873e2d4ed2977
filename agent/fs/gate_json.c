/* gate_json.c - a syntax check that builds nothing. A library that builds the document takes thirty
 * times the file in memory ("[1,1,1,...": 32 bytes for each value), chosen by whoever wrote the
 * file; this one takes one bit per level, whatever the size. */
#include "agent/fs/gate.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/base/alloc.h"

#define PIECE (64 * 1024)
#define DEPTH_MAX 1024

/* What may come next. */
enum expectation {
	VALUE,	    /* any value */
	FIRST_ITEM, /* a value or ] */
	FIRST_KEY,  /* a string or } */
	KEY,	    /* a string */
	COLON,
	AFTER_VALUE, /* , or the end of what is open; at depth 0 nothing more */
	IN_STRING,
	IN_ESCAPE, /* after a backslash */
	IN_HEX,	   /* of \uXXXX: `left` digits to come */
	IN_WORD,   /* of true, false, null: `word` is what is left */
	IN_NUMBER,
};

/* Where in a number: the states in which it may end are odd. */
enum number {
	SIGN = 0,
	ZERO = 1,
	POINT = 2,
	INTEGER = 3,
	EXPONENT = 4,
	FRACTION = 5,
	EXPONENT_SIGN = 6,
	EXPONENT_DIGITS = 7
};

struct json {
	enum expectation expect;
	bool string_is_key;
	unsigned left;
	const char *word;
	enum number number;
	unsigned depth;
	uint8_t is_object[DEPTH_MAX / 8]; /* one bit per level */
	uint64_t line;
	const char *wrong;
};

static bool in_object(const struct json *j)
{
	unsigned level = j->depth - 1;
	return j->depth > 0 && (j->is_object[level / 8] >> (level % 8) & 1);
}

static bool fail(struct json *j, const char *wrong)
{
	j->wrong = wrong;
	return false;
}

static bool open_level(struct json *j, bool object)
{
	if (j->depth == DEPTH_MAX)
		return fail(j, "nested too deeply");
	unsigned level = j->depth++;
	uint8_t bit = (uint8_t)(1u << (level % 8));
	j->is_object[level / 8] = (uint8_t)((j->is_object[level / 8] & ~bit) | (object ? bit : 0));
	j->expect = object ? FIRST_KEY : FIRST_ITEM;
	return true;
}

static bool close_level(struct json *j, char c)
{
	if (j->depth == 0 || in_object(j) != (c == '}'))
		return fail(j, "a bracket that closes nothing");
	j->depth--;
	j->expect = AFTER_VALUE;
	return true;
}

static bool begin_string(struct json *j, bool key)
{
	j->string_is_key = key;
	j->expect = IN_STRING;
	return true;
}

static bool begin_word(struct json *j, const char *rest)
{
	j->word = rest;
	j->expect = IN_WORD;
	return true;
}

static bool begin_value(struct json *j, char c)
{
	switch (c) {
	case '{': return open_level(j, true);
	case '[': return open_level(j, false);
	case '"': return begin_string(j, false);
	case 't': return begin_word(j, "rue");
	case 'f': return begin_word(j, "alse");
	case 'n': return begin_word(j, "ull");
	default: break;
	}
	if (c != '-' && (c < '0' || c > '9'))
		return fail(j, "a value is missing");
	j->number = c == '-' ? SIGN : c == '0' ? ZERO : INTEGER;
	j->expect = IN_NUMBER;
	return true;
}

static bool after_value(struct json *j, char c)
{
	if (j->depth == 0)
		return fail(j, "something follows the end");
	if (c == '}' || c == ']')
		return close_level(j, c);
	if (c != ',')
		return fail(j, "a comma is missing");
	j->expect = in_object(j) ? KEY : VALUE;
	return true;
}

static bool in_string(struct json *j, char c)
{
	if (c == '\\')
		j->expect = IN_ESCAPE;
	else if (c == '"')
		j->expect = j->string_is_key ? COLON : AFTER_VALUE;
	else if ((unsigned char)c < 0x20)
		return fail(j, "a control character in a string");
	return true;
}

static bool in_escape(struct json *j, char c)
{
	if (c == 'u') {
		j->left = 4;
		j->expect = IN_HEX;
		return true;
	}
	if (!c || !strchr("\"\\/bfnrt", c))
		return fail(j, "an unknown escape");
	j->expect = IN_STRING;
	return true;
}

static bool in_hex(struct json *j, char c)
{
	if (!c || !strchr("0123456789abcdefABCDEF", c))
		return fail(j, "an incomplete \\u escape");
	if (--j->left == 0)
		j->expect = IN_STRING;
	return true;
}

static bool in_word(struct json *j, char c)
{
	if (c != *j->word)
		return fail(j, "an unknown word");
	if (!*++j->word)
		j->expect = AFTER_VALUE;
	return true;
}

/* @return the state after c, or -1 when c does not go on with the number */
static int number_after(enum number state, char c)
{
	bool digit = c >= '0' && c <= '9', sign = c == '-' || c == '+', e = c == 'e' || c == 'E';
	switch (state) {
	case SIGN: return c == '0' ? ZERO : digit ? INTEGER : -1;
	case ZERO: return c == '.' ? POINT : e ? EXPONENT : -1;
	case INTEGER: return digit ? INTEGER : c == '.' ? POINT : e ? EXPONENT : -1;
	case POINT: return digit ? FRACTION : -1;
	case FRACTION: return digit ? FRACTION : e ? EXPONENT : -1;
	case EXPONENT: return digit ? EXPONENT_DIGITS : sign ? EXPONENT_SIGN : -1;
	case EXPONENT_SIGN: return digit ? EXPONENT_DIGITS : -1;
	case EXPONENT_DIGITS: return digit ? EXPONENT_DIGITS : -1;
	}
	return -1;
}

static bool is_space(char c)
{
	return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static bool between(struct json *j, char c)
{
	if (is_space(c))
		return true;
	switch (j->expect) {
	case VALUE: return begin_value(j, c);
	case FIRST_ITEM: return c == ']' ? close_level(j, c) : begin_value(j, c);
	case FIRST_KEY:
		if (c == '}')
			return close_level(j, c);
		return c == '"' ? begin_string(j, true) : fail(j, "a key is missing");
	case KEY: return c == '"' ? begin_string(j, true) : fail(j, "a key is missing");
	case COLON: j->expect = VALUE; return c == ':' ? true : fail(j, "a colon is missing");
	default: return after_value(j, c);
	}
}

static bool take(struct json *j, char c)
{
	if (c == '\n')
		j->line++;
	switch (j->expect) {
	case IN_STRING: return in_string(j, c);
	case IN_ESCAPE: return in_escape(j, c);
	case IN_HEX: return in_hex(j, c);
	case IN_WORD: return in_word(j, c);
	case IN_NUMBER: break;
	default: return between(j, c);
	}
	int next = number_after(j->number, c);
	if (next >= 0) {
		j->number = (enum number)next;
		return true;
	}
	if (!(j->number & 1))
		return fail(j, "an incomplete number");
	j->expect = AFTER_VALUE; /* c is what ended it */
	return between(j, c);
}

static bool is_whole(struct json *j)
{
	bool ended = j->expect == AFTER_VALUE || (j->expect == IN_NUMBER && (j->number & 1));
	return (ended && j->depth == 0) || fail(j, "the end is missing");
}

static int check(struct json *j, int fd, uint64_t size, char *piece)
{
	for (uint64_t at = 0; at < size;) {
		size_t want = size - at < PIECE ? (size_t)(size - at) : PIECE;
		ssize_t n = pread(fd, piece, want, (off_t)at);
		if (n <= 0)
			return n < 0 ? -errno : -EAGAIN;
		ssize_t first = at == 0 && n >= 3 && memcmp(piece, "\xef\xbb\xbf", 3) == 0 ? 3 : 0;
		for (ssize_t i = first; i < n; i++) {
			if (!take(j, piece[i]))
				return -EBADMSG;
		}
		at += (uint64_t)n;
	}
	return is_whole(j) ? 0 : -EBADMSG;
}

int gate_check_json(int fd, uint64_t size, char why[GATE_WHY_MAX])
{
	struct json j = {.expect = VALUE, .line = 1};
	AUTO_FREE char *piece = x_calloc(1, PIECE);
	int r = check(&j, fd, size, piece);
	if (r == -EBADMSG)
		snprintf(why, GATE_WHY_MAX, "not JSON: line %llu: %s", (unsigned long long)j.line,
			 j.wrong);
	return r;
}
