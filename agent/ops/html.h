/* html.h - the bytes of a page: well-formed XML as well as HTML, complete in itself (no script,
 * nothing from elsewhere), every text escaped. Thread: any. */
#ifndef OPS_HTML_H
#define OPS_HTML_H

#include <jansson.h>

#include "agent/base/buf.h"

struct html {
	struct buf text;
};

/* The beginning up to the open <body>.
 * @param refresh_s  the browser asks again after so many seconds; 0: never */
void html_begin(struct html *page, const char *title, int refresh_s);

/* Numbers and literals; never a text from elsewhere. At most 1023 bytes. */
void html_put(struct html *page, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* A text, escaped; what XML cannot hold becomes a question mark. */
void html_text(struct html *page, const char *text);

/* <tr><th>name</th><td>value</td></tr>, or nothing when the value is empty. */
void html_row(struct html *page, const char *name, const char *value);

/* A heading and the first 200 of a list; nothing when the list is empty. An item is a text, or an
 * object whose members `path' and `reason' are shown. */
void html_list(struct html *page, const char *title, const json_t *list);

/* @return the whole, heap; *page is empty again */
char *html_end(struct html *page);

/* Members of an object, with what is said when there is none of that kind. */
const char *html_text_of(const json_t *object, const char *key);
double html_number_of(const json_t *object, const char *key, double fallback);

#endif
