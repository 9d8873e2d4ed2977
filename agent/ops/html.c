#include "agent/ops/html.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "agent/base/alloc.h"

#define ITEMS_MAX 200 /* shown of a list */

static const char style[] =
	"body{font:15px/1.5 system-ui,sans-serif;max-width:720px;margin:2em auto;padding:0 1em;"
	"color:#1b1f24}h1{font-size:1.4em}h2{font-size:1.1em;margin-top:1.5em}"
	"table{border-collapse:collapse}th{text-align:left;font-weight:normal;color:#57606a;"
	"padding:2px 16px 2px 0;vertical-align:top}td{word-break:break-all}"
	"pre{background:#f6f8fa;padding:10px;overflow:auto;white-space:pre-wrap}"
	"svg{font:13px system-ui,sans-serif;max-width:100%;height:auto}"
	".good{fill:#2da44e}.bad{fill:#cf222e}.verdict{padding:2px 10px;border-radius:4px;"
	"color:#fff}.passed{background:#2da44e}.failed{background:#cf222e}"
	".middling{background:#9a6700}";

void html_put(struct html *page, const char *fmt, ...)
{
	char text[1024];
	va_list ap;
	va_start(ap, fmt);
	int n = vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	BUG_ON(n < 0 || (size_t)n >= sizeof(text));
	buf_append(&page->text, text, (size_t)n);
}

void html_text(struct html *page, const char *text)
{
	for (; *text; text++) {
		const unsigned char c = (unsigned char)*text;
		const char *as = c == '<'			     ? "&lt;"
				 : c == '>'			     ? "&gt;"
				 : c == '&'			     ? "&amp;"
				 : c == '"'			     ? "&quot;"
				 : c == '\''			     ? "&#39;"
				 : c < ' ' && c != '\n' && c != '\t' ? "?"
				 : c == 0x7f			     ? "?"
								     : NULL;
		/* U+FFFE and U+FFFF: ef bf be, ef bf bf */
		if (!as && c == 0xef && (unsigned char)text[1] == 0xbf &&
		    (unsigned char)text[2] >= 0xbe) {
			as = "?";
			text += 2;
		}
		buf_append(&page->text, as ? as : text, as ? strlen(as) : 1);
	}
}

void html_begin(struct html *page, const char *title, int refresh_s)
{
	html_put(page, "<!DOCTYPE html>\n<html xmlns=\"http://www.w3.org/1999/xhtml\" "
		       "lang=\"en\">\n<head><meta charset=\"utf-8\"/>");
	if (refresh_s > 0)
		html_put(page, "<meta http-equiv=\"refresh\" content=\"%d\"/>", refresh_s);
	html_put(page, "<title>");
	html_text(page, title);
	html_put(page, "</title><style>");
	buf_append(&page->text, style, sizeof(style) - 1);
	html_put(page, "</style></head>\n<body>\n");
}

void html_row(struct html *page, const char *name, const char *value)
{
	if (!*value)
		return;
	html_put(page, "<tr><th>%s</th><td>", name);
	html_text(page, value);
	html_put(page, "</td></tr>\n");
}

void html_list(struct html *page, const char *title, const json_t *list)
{
	size_t i;
	const json_t *item;
	if (json_array_size(list) == 0)
		return;
	html_put(page, "<h2>%s</h2>\n<ul>\n", title);
	json_array_foreach((json_t *)list, i, item)
	{
		if (i == ITEMS_MAX) {
			html_put(page, "<li>and %zu more</li>\n", json_array_size(list) - i);
			break;
		}
		const char *reason = html_text_of(item, "reason");
		html_put(page, "<li>");
		html_text(page, json_is_string(item) ? json_string_value(item)
						     : html_text_of(item, "path"));
		html_put(page, *reason ? ": " : "");
		html_text(page, reason);
		html_put(page, "</li>\n");
	}
	html_put(page, "</ul>\n");
}

char *html_end(struct html *page)
{
	html_put(page, "</body>\n</html>\n");
	buf_append(&page->text, "", 1);
	char *text = (char *)page->text.data;
	*page = (struct html){0};
	return text;
}

const char *html_text_of(const json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));
	return text ? text : "";
}

double html_number_of(const json_t *object, const char *key, double fallback)
{
	const json_t *value = json_object_get(object, key);
	return json_is_number(value) ? json_number_value(value) : fallback;
}
