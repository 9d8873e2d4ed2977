#include "agent/cli/text.h"

#include <inttypes.h>
#include <stdarg.h>
#include <string.h>

#include "agent/base/alloc.h"

const char *text_bytes(char out[TEXT_MAX], uint64_t bytes)
{
	static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
	double value = (double)bytes;
	size_t unit = 0;
	/* 1023.95 would be printed as 1024.0 */
	while (value >= (unit ? 1023.95 : 1024) && unit + 1 < ARRAY_LEN(units)) {
		value /= 1024;
		unit++;
	}
	snprintf(out, TEXT_MAX, unit ? "%.1f %s" : "%.0f %s", value, units[unit]);
	return out;
}

const char *text_count(char out[TEXT_MAX], uint64_t count)
{
	char digits[24];
	int len = snprintf(digits, sizeof(digits), "%" PRIu64, count);
	size_t used = 0;
	for (int i = 0; i < len; i++) {
		if (i > 0 && (len - i) % 3 == 0)
			out[used++] = ',';
		out[used++] = digits[i];
	}
	out[used] = '\0';
	return out;
}

const char *text_seconds(char out[TEXT_MAX], double seconds)
{
	uint64_t s = seconds > 0 ? (uint64_t)seconds : 0;
	if (seconds < 10)
		snprintf(out, TEXT_MAX, "%.2f s", seconds > 0 ? seconds : 0);
	else if (s < 60)
		snprintf(out, TEXT_MAX, "%" PRIu64 " s", s);
	else if (s < 3600)
		snprintf(out, TEXT_MAX, "%" PRIu64 " min %" PRIu64 " s", s / 60, s % 60);
	else if (s < 86400)
		snprintf(out, TEXT_MAX, "%" PRIu64 " h %" PRIu64 " min", s / 3600, s / 60 % 60);
	else
		snprintf(out, TEXT_MAX, "%" PRIu64 " d %" PRIu64 " h", s / 86400, s / 3600 % 24);
	return out;
}

char *text_safe(const char *text)
{
	const unsigned char *s = (const unsigned char *)text;
	char *out = x_calloc(strlen(text) + 1, 4);
	size_t used = 0;
	for (; *s; s++) {
		bool c1 = s[0] == 0xc2 && s[1] >= 0x80 && s[1] < 0xa0;
		if (*s < 0x20 || *s == 0x7f || c1)
			used += (size_t)sprintf(out + used, "\\x%02x", *s);
		else
			out[used++] = (char)*s;
		if (c1)
			used += (size_t)sprintf(out + used, "\\x%02x", *++s);
	}
	return out;
}

size_t text_width(const char *text)
{
	size_t width = 0;
	for (; *text; text++)
		width += ((unsigned char)*text & 0xc0) != 0x80;
	return width;
}

const char *colour_code(enum colour colour, bool colours)
{
	static const char *const codes[] = {
		[COLOUR_NONE] = "\033[0m", [COLOUR_GOOD] = "\033[32m", [COLOUR_WARN] = "\033[33m",
		[COLOUR_BAD] = "\033[31m", [COLOUR_DIM] = "\033[2m",   [COLOUR_BOLD] = "\033[1m",
	};
	return colours ? codes[colour] : "";
}

void table_add(struct table *table, enum colour colour, const char *fmt, ...)
{
	char text[8192];
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	GROW(table->cells, table->cap, table->n + 1);
	table->cells[table->n++] = (struct cell){.text = text_safe(text), .colour = colour};
}

static void print_cell(const struct table *table, FILE *out, size_t column, const char *text,
		       size_t width, enum colour colour, bool colours)
{
	int pad = (int)(width - text_width(text));
	bool last = column + 1 == table->columns;
	bool coloured = colour != COLOUR_NONE;
	fprintf(out, "%s%*s%s%s%s%*s", column ? "  " : "", table->right[column] ? pad : 0, "",
		coloured ? colour_code(colour, colours) : "", text,
		coloured ? colour_code(COLOUR_NONE, colours) : "",
		table->right[column] || last ? 0 : pad, "");
}

void table_print(struct table *table, FILE *out, int indent, bool colours)
{
	size_t width[TABLE_COLUMNS_MAX] = {0};
	table->columns = 0;
	while (table->columns < TABLE_COLUMNS_MAX && table->heading[table->columns])
		table->columns++;
	for (size_t c = 0; c < table->columns && !table->no_heading; c++)
		width[c] = text_width(table->heading[c]);
	for (size_t i = 0; i < table->n; i++) {
		size_t w = text_width(table->cells[i].text);
		if (w > width[i % table->columns])
			width[i % table->columns] = w;
	}
	for (size_t c = 0; c < table->columns && !table->no_heading; c++) {
		fprintf(out, "%*s", c ? 0 : indent, "");
		print_cell(table, out, c, table->heading[c], width[c], COLOUR_DIM, colours);
	}
	if (!table->no_heading)
		fputc('\n', out);
	for (size_t i = 0; i < table->n; i++) {
		size_t c = i % table->columns;
		fprintf(out, "%*s", c ? 0 : indent, "");
		print_cell(table, out, c, table->cells[i].text, width[c], table->cells[i].colour,
			   colours);
		if (c + 1 == table->columns)
			fputc('\n', out);
		free(table->cells[i].text);
	}
	free(table->cells);
	table->cells = NULL;
	table->n = table->cap = 0;
}
