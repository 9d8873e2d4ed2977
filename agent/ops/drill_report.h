/* drill_report.h - the verdict of a rehearsal, as it is kept: `drills/<id>.json` and `.html` in the
 * state directory, the newest DRILL_REPORTS_MAX of them. The page is complete in itself: no script,
 * nothing from elsewhere, every text escaped. Blocking; thread: any, one at a time. */
#ifndef OPS_DRILL_REPORT_H
#define OPS_DRILL_REPORT_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "agent/base/err.h"

#define DRILL_REPORTS_MAX 30
#define DRILL_REPORT_BYTES_MAX (256u * 1024) /* of one, as JSON */
#define DRILL_ID_MAX 40
#define DRILL_DIR "drills"

/* A new id, which sorts by time: "20260131T123000.123Z-4711". */
void drill_report_id(char out[DRILL_ID_MAX], int64_t real_ns);

/* Is it an object with an id that names a file, and a verdict, and not too large? */
bool drill_report_is_legal(const json_t *report);

/* Writes both files durably and forgets the oldest. @return 0 or negative errno */
int drill_report_keep(const char *state_dir, const json_t *report, struct err *err);

struct drill_record {
	json_t *last; /* a new reference; NULL: there is none */
	unsigned kept, passed, failed;
};
/* Files that cannot be read, or are not what we write, are left out. */
void drill_report_load(struct drill_record *out, const char *state_dir);

/* The page, heap. */
char *drill_report_html(const json_t *report);

#endif
