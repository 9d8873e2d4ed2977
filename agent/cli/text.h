/* text.h - numbers, times and names as people read them. Thread: one. */
#ifndef CLI_TEXT_H
#define CLI_TEXT_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#define TEXT_MAX 64

/* Each returns out. */
const char *text_bytes(char out[TEXT_MAX], uint64_t bytes); /* "24.5 MiB" */
const char *text_count(char out[TEXT_MAX], uint64_t count); /* "1,423" */
const char *text_seconds(char out[TEXT_MAX],
			 double seconds); /* "0.02 s", "3 min 20 s", "2 d 4 h" */

/**
 * A text that may hold a file's name, safe for a terminal: control characters become \xHH. An
 * agent's answer is UTF-8 but may contain an escape sequence, because a file's name may.
 * @return heap string
 */
char *text_safe(const char *text);

/* How many columns it takes on a terminal, near enough: UTF-8 sequences count as one. */
size_t text_width(const char *text);

enum colour { COLOUR_NONE, COLOUR_GOOD, COLOUR_WARN, COLOUR_BAD, COLOUR_DIM, COLOUR_BOLD };

/* ---- a table: columns as wide as their widest cell, two spaces between -------------------------
 */

#define TABLE_COLUMNS_MAX 12

struct table {
	const char *
		heading[TABLE_COLUMNS_MAX]; /* NULL after the last; all of them NULL-free strings */
	bool right[TABLE_COLUMNS_MAX];	    /* aligned to the right: numbers */
	bool no_heading;		    /* the first heading row is left out */
	struct cell {
		char *text;
		enum colour colour;
	} * cells; /* row by row */
	size_t n, cap;
	size_t columns;
};

/* Adds the next cell, left to right, row after row. */
void table_add(struct table *table, enum colour colour, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
/* Prints each line behind `indent` spaces and empties the table. */
void table_print(struct table *table, FILE *out, int indent, bool colours);

/* The escape sequence that begins a colour; "" without colours. COLOUR_NONE ends one. */
const char *colour_code(enum colour colour, bool colours);

#endif
