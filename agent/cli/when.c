#include "agent/cli/when.h"

#include <ctype.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "agent/base/alloc.h"

#define NS_PER_S 1000000000ll
#define BACK_MAX_S (100ll * 366 * 86400)

/* ---- back from now ----------------------------------------------------------------------------
 */

static const struct {
	const char *name;
	int64_t seconds;
} units[] = {
	{"s", 1},	 {"sec", 1},	 {"second", 1},	  {"seconds", 1},  {"min", 60},
	{"mins", 60},	 {"minute", 60}, {"minutes", 60}, {"h", 3600},	   {"hour", 3600},
	{"hours", 3600}, {"d", 86400},	 {"day", 86400},  {"days", 86400},
};

/* "15min" or "15 minutes". "m" could be a month: it is not taken. */
static bool parse_span(int64_t *out, const char *text, size_t len)
{
	char *unit;
	if (len == 0 || !isdigit((unsigned char)*text))
		return false;
	int64_t n = strtoll(text, &unit, 10);
	while (*unit == ' ')
		unit++;
	size_t unit_len = (size_t)(text + len - unit);
	for (size_t i = 0; i < ARRAY_LEN(units); i++) {
		if (strlen(units[i].name) != unit_len ||
		    strncasecmp(units[i].name, unit, unit_len) != 0)
			continue;
		*out = n * units[i].seconds;
		return n <= BACK_MAX_S / units[i].seconds;
	}
	return false;
}

static bool parse_back(int64_t *out, const char *text)
{
	static const char ago[] = " ago";
	size_t len = strlen(text), tail = sizeof(ago) - 1;
	if (*text == '-')
		return parse_span(out, text + 1, len - 1);
	return len > tail && strcasecmp(text + len - tail, ago) == 0 &&
	       parse_span(out, text, len - tail);
}

/* ---- a date -----------------------------------------------------------------------------------
 */

/* Exactly n digits. */
static bool take_number(int *out, const char **text, int n)
{
	*out = 0;
	for (int i = 0; i < n; i++, (*text)++) {
		if (!isdigit((unsigned char)**text))
			return false;
		*out = *out * 10 + (**text - '0');
	}
	return true;
}

static bool take(const char **text, const char *any_of)
{
	if (**text == '\0' || !strchr(any_of, **text))
		return false;
	(*text)++;
	return true;
}

static bool take_fraction(int64_t *ns, const char **text)
{
	int64_t unit = NS_PER_S;
	*ns = 0;
	if (!take(text, "."))
		return true;
	while (unit > 1 && isdigit((unsigned char)**text)) {
		unit /= 10;
		*ns += (*(*text)++ - '0') * unit;
	}
	if (unit == NS_PER_S)
		return false;
	*ns += unit - 1;
	return true;
}

/* @return false also for a zone that is none; *local: there is none */
static bool take_zone(int *offset_s, bool *local, const char **text)
{
	int hours, minutes, sign = **text == '-' ? -1 : 1;
	*offset_s = 0;
	*local = **text == '\0';
	if (*local || take(text, "Zz"))
		return true;
	if (!take(text, "+-") || !take_number(&hours, text, 2) || !take(text, ":") ||
	    !take_number(&minutes, text, 2) || hours > 23 || minutes > 59)
		return false;
	*offset_s = sign * (hours * 3600 + minutes * 60);
	return true;
}

static bool take_day_and_time(struct tm *tm, const char **text)
{
	int year, month;
	if (!take_number(&year, text, 4) || !take(text, "-") || !take_number(&month, text, 2) ||
	    !take(text, "-") || !take_number(&tm->tm_mday, text, 2) || !take(text, "Tt ") ||
	    !take_number(&tm->tm_hour, text, 2) || !take(text, ":") ||
	    !take_number(&tm->tm_min, text, 2))
		return false;
	if (take(text, ":") && !take_number(&tm->tm_sec, text, 2))
		return false;
	tm->tm_year = year - 1900;
	tm->tm_mon = month - 1;
	return year >= 1970;
}

/* The 31st of February would become a day of March. */
static bool is_on_the_calendar(const struct tm *given, const struct tm *made)
{
	return given->tm_mon == made->tm_mon && given->tm_mday == made->tm_mday &&
	       given->tm_hour < 24 && given->tm_min < 60 && given->tm_sec < 60;
}

static bool parse_date(int64_t *out, const char *text)
{
	struct tm given = {.tm_isdst = -1}, made;
	int64_t fraction;
	int offset_s;
	bool local;
	if (!take_day_and_time(&given, &text) || !take_fraction(&fraction, &text) ||
	    !take_zone(&offset_s, &local, &text) || *text)
		return false;
	made = given;
	time_t seconds = local ? mktime(&made) : timegm(&made);
	*out = ((int64_t)seconds - offset_s) * NS_PER_S + fraction;
	return is_on_the_calendar(&given, &made);
}

bool when_parse(int64_t *out, const char *text, int64_t now_ns)
{
	int64_t back;
	if (strcasecmp(text, "now") == 0) {
		*out = now_ns;
		return true;
	}
	if (!parse_back(&back, text))
		return parse_date(out, text);
	*out = now_ns - back * NS_PER_S;
	return true;
}
