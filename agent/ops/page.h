/* page.h - the object of `status --json` for people who would rather look: who sends to whom, how
 * far behind, what is wrong. One page without scripts that asks again by itself. Thread: any. */
#ifndef OPS_PAGE_H
#define OPS_PAGE_H

#include <jansson.h>

/* Heap, zero-terminated. */
char *page_html(const json_t *status);

#endif
